//! The gateway's host keys: those that the team brings, those that were made, or new ones.

use containerssh_crds::{SSHGateway, conditions::Reason};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, api::PostParams};

use super::refs::Reader;
use crate::{
    MANAGER,
    apply::CALL_TIMEOUT,
    children::Owner,
    error::{Error, within},
    finding::{Finding, Subject},
    index::{Kind, Name},
    metrics::Metrics,
    plan::hostkeys::{self, HostKeys},
};

/// Finds the keys, and makes them if there are none and the team brings none.
pub async fn host_keys(
    client: &Client,
    reader: &Reader,
    metrics: &Metrics,
    gateway: &SSHGateway,
    owner: &Owner,
) -> Result<Result<HostKeys, Finding>, Error> {
    let finding = |reason, message| Ok(Err(Finding::new(Subject::ResolvedRefs, reason, message)));
    let brought = gateway.spec.ssh.as_ref().and_then(|ssh| ssh.host_keys_secret_ref.as_ref());
    let namespace = owner.namespace();
    let name =
        brought.map_or_else(|| hostkeys::secret_name(&owner.name.name), |brought| brought.name.clone());
    let target = (Kind::Secret, Name::within(namespace, name));
    if let Some(keys) = reader.known.host_keys(&target) {
        return Ok(Ok(keys));
    }
    let epoch = reader.known.epoch();
    let secret = match brought {
        Some(reference) => match reader.secret(namespace, &reference.name).await? {
            Some(secret) => secret,
            None => {
                return finding(
                    Reason::RefNotFound,
                    format!(
                        "Secret {namespace}/{} (ssh.hostKeysSecretRef) does not exist; create it, or remove the reference to have keys made",
                        reference.name
                    ),
                );
            }
        },
        None => match reader.secret(namespace, &hostkeys::secret_name(&owner.name.name)).await? {
            Some(secret) => secret,
            None => make(client, metrics, owner).await?,
        },
    };
    match hostkeys::read(&secret) {
        Ok(keys) => {
            reader.known.keep_host_keys(epoch, target, keys.clone());
            Ok(Ok(keys))
        }
        Err(why) => finding(Reason::RefInvalid, why),
    }
}

/// Creates, never overwrites: whoever was faster made the keys that count, and clients may know them already.
async fn make(client: &Client, metrics: &Metrics, owner: &Owner) -> Result<Secret, Error> {
    let owner_of_keys = owner.clone();
    let secret = tokio::task::spawn_blocking(move || hostkeys::generate(&owner_of_keys))
        .await
        .map_err(|error| Error::HostKey(error.to_string()))??;
    let api: Api<Secret> = Api::namespaced(client.clone(), owner.namespace());
    let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
    let name = hostkeys::secret_name(&owner.name.name);
    let what = || format!("create Secret {}/{name}", owner.namespace());
    metrics.wrote("Secret", "create");
    match within(CALL_TIMEOUT, what, api.create(&params, &secret)).await {
        Err(error) if error.status_code() == Some(409) => within(CALL_TIMEOUT, what, api.get(&name)).await,
        other => other,
    }
}
