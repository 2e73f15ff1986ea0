//! The gateway's host keys: those that the team brings, those that were made, or new ones.

use containerssh_crds::{SSHGateway, conditions::Reason};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};

use super::refs::Reader;
use crate::{
    MANAGER,
    apply::CALL_TIMEOUT,
    children::Owner,
    error::{Error, within},
    finding::{Finding, Subject},
    index::{Kind, Name},
    metrics::Metrics,
    plan::hostkeys::{self, HostKeys, Stored, Wanted},
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
    let target = (Kind::Secret, Name::within(namespace, &name));
    let wanted = Wanted::of(&gateway.spec);
    let known = reader.known.host_keys(&target);
    let epoch = reader.known.epoch();
    let stored = match known {
        Some(stored) => stored,
        None => {
            let secret = match reader.secret(namespace, &name).await? {
                Some(secret) => secret,
                None if brought.is_some() => {
                    return finding(
                        Reason::RefNotFound,
                        format!(
                            "Secret {namespace}/{name} (ssh.hostKeysSecretRef) does not exist; create it, or remove the reference to have keys made"
                        ),
                    );
                }
                None => make(client, metrics, owner, &wanted).await?,
            };
            match hostkeys::read(&secret) {
                Ok(stored) => stored,
                Err(why) => return finding(Reason::RefInvalid, why),
            }
        }
    };
    if brought.is_some() {
        reader.known.keep_host_keys(epoch, target, stored.clone());
        return Ok(Ok(stored.keys));
    }
    let stored = match amend(client, metrics, owner, &wanted, stored).await? {
        Ok(stored) => stored,
        Err(why) => return finding(Reason::RefInvalid, why),
    };
    let keys = stored.choose(&wanted);
    if keys.files.is_empty() {
        return finding(
            Reason::RefInvalid,
            format!(
                "Secret {namespace}/{name} holds no key of ssh.hostKeys.algorithms, and was not made by the operator, which therefore adds none; add one, or name the Secret in ssh.hostKeysSecretRef"
            ),
        );
    }
    reader.known.keep_host_keys(epoch, target, stored);
    Ok(Ok(keys))
}

/// Adds keys that are missing, and says whether the Secret goes with its gateway. What is read of the result may be no good;
/// the error then is a sentence for the status.
async fn amend(
    client: &Client,
    metrics: &Metrics,
    owner: &Owner,
    wanted: &Wanted,
    stored: Stored,
) -> Result<Result<Stored, String>, Error> {
    let (looked, ours, amended) = (stored.clone(), owner.clone(), wanted.clone());
    let patch = tokio::task::spawn_blocking(move || looked.amend(&amended, &ours))
        .await
        .map_err(|error| Error::HostKey(error.to_string()))??;
    let Some(patch) = patch else { return Ok(Ok(stored)) };
    let api: Api<Secret> = Api::namespaced(client.clone(), owner.namespace());
    let name = &stored.keys.secret;
    let what = || format!("add to Secret {}/{name}", owner.namespace());
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    metrics.wrote("Secret", "patch");
    let secret = within(CALL_TIMEOUT, what, api.patch(name, &params, &Patch::Merge(patch))).await?;
    Ok(hostkeys::read(&secret))
}

/// Creates, never overwrites: whoever was faster made the keys that count, and clients may know them already.
async fn make(client: &Client, metrics: &Metrics, owner: &Owner, wanted: &Wanted) -> Result<Secret, Error> {
    let (owner_of_keys, wanted) = (owner.clone(), wanted.clone());
    let secret = tokio::task::spawn_blocking(move || hostkeys::generate(&owner_of_keys, &wanted))
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
