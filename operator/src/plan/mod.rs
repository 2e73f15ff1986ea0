//! The plan: what should exist for one gateway. A pure function of [`Inputs`], which are values; nothing here asks
//! the cluster, so that a test can show every object for every input, and the same inputs always give the same plan.

pub mod config;
pub mod disruption;
pub mod hostkeys;
pub mod network;
pub mod optional;
pub mod rbac;
pub mod service;
pub mod workload;

use std::{collections::BTreeMap, sync::Arc};

use containerssh_config::Secret as Hidden;
use containerssh_crds::{EffectiveAudit, OidcFlow, SSHGateway, SSHGatewaySpec, conditions::Reason};
use k8s_openapi::{
    ByteString,
    api::core::v1::{PodSpec, Secret, Volume},
};
use kube::api::ObjectMeta;

use crate::{
    children::{Child, ChildKind, Owner},
    error::Error,
    finding::{Finding, Subject},
    served::Kinds,
};
use hostkeys::HostKeys;

/// Ports of the gateway's container. Above 1024: it runs without privileges.
pub const PORT_SSH: u16 = 2222;
pub const PORT_METRICS: u16 = 9100;
pub const PORT_HEALTH: u16 = crate::gather::pods::HEALTH_PORT;
/// Where a login by the authorization code flow ends, if it is on.
pub const PORT_REDIRECT: u16 = 8080;
pub const PORT_NAME_SSH: &str = "ssh";
pub const PORT_NAME_METRICS: &str = "metrics";
pub const PORT_NAME_HEALTH: &str = "health";

/// Everything that decides what one gateway looks like.
#[derive(Debug, Clone)]
pub struct Inputs {
    pub gateway: Arc<SSHGateway>,
    pub owner: Owner,
    /// Image where the gateway names none.
    pub default_image: String,
    /// Image of agents where the gateway names none.
    pub agent_image: String,
    /// Where the operator itself runs.
    pub operator_namespace: String,
    /// Spec of the users' pods, as far as this release knows its fields.
    pub pod: PodSpec,
    /// Volumes that the team adds to the gateway's pods, likewise.
    pub volumes: Vec<Volume>,
    pub audit: Audit,
    pub host_keys: HostKeys,
    /// Public keys that may sign users' certificates.
    pub authorities: Vec<String>,
    pub servers: ServerFiles,
    /// Optional kinds that the cluster has.
    pub served: Kinds,
}

/// What the references of the servers led to that a gateway asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerFiles {
    pub password: TlsFiles,
    pub public_key: TlsFiles,
    pub authorization: TlsFiles,
    pub provider: TlsFiles,
    pub config_server: TlsFiles,
    /// The secret of the client at the identity provider.
    pub client_secret: Option<Hidden>,
}

/// The audit that applies.
#[derive(Debug, Clone, PartialEq)]
pub struct Audit {
    pub effective: EffectiveAudit,
    /// Hash of the effective settings.
    pub hash: String,
    /// Names of the policies, strongest first.
    pub sources: Vec<String>,
    /// What the settings' Secrets hold.
    pub keys: AuditKeys,
}

/// What the Secrets of an audit hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditKeys {
    /// Keys for the storage, if it needs any.
    pub s3: Option<S3Keys>,
    /// The signing key, PEM.
    pub signing: Option<Hidden>,
    /// Of each receiver of events, in their order.
    pub events: Vec<TargetKeys>,
}

/// Credentials for one receiver of events; PEM but for the token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TargetKeys {
    pub bearer_token: Option<Hidden>,
    pub certificate: Option<Hidden>,
    pub key: Option<Hidden>,
}

/// Static S3 credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Keys {
    pub access_key: Hidden,
    pub secret_key: Hidden,
}

/// PEM texts that a server's references led to.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    pub ca: Option<String>,
    pub certificate: Option<String>,
    pub key: Option<String>,
}

impl std::fmt::Debug for TlsFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsFiles")
            .field("ca", &self.ca.is_some())
            .field("certificate", &self.certificate.is_some())
            .field("key", &self.key.as_ref().map(|_| "***"))
            .finish()
    }
}

impl Inputs {
    pub fn spec(&self) -> &SSHGatewaySpec {
        &self.gateway.spec
    }

    /// Whether browsers come back to this gateway from an identity provider.
    pub fn has_redirect(&self) -> bool {
        let interactive = self.spec().authentication.keyboard_interactive.as_ref();
        interactive.is_some_and(|interactive| interactive.oidc.has_flow(OidcFlow::AuthorizationCode))
    }

    /// Where the users' pods run.
    pub fn pods_namespace(&self) -> &str {
        pods_namespace(&self.gateway, &self.owner)
    }

    /// Addresses that the gateway calls, besides the apiserver.
    fn addresses_called(&self) -> impl Iterator<Item = String> {
        let authentication = &self.spec().authentication;
        let password = authentication.password.as_ref().map(|password| &password.webhook);
        let public_key = authentication.public_key.as_ref().and_then(|key| key.webhook.as_ref());
        let authorization = authentication.authorization.as_ref().map(|wanted| &wanted.webhook);
        let webhooks = [password, public_key, authorization].into_iter().flatten();
        let provider = authentication.keyboard_interactive.as_ref().map(|wanted| wanted.oidc.issuer.clone());
        let config_server = self.spec().config_server.as_ref().map(|server| server.url.clone());
        let servers = webhooks.map(|webhook| webhook.url.clone()).chain(provider).chain(config_server);
        let effective = &self.audit.effective;
        let storage = effective.storage.as_ref().and_then(|storage| storage.s3.endpoint.clone());
        let events = effective.events.iter().filter_map(|events| {
            let webhook = events.target.webhook.as_ref().map(|webhook| webhook.url.clone());
            webhook.or_else(|| Some(format!("syslog://{}", events.target.syslog.as_ref()?.address)))
        });
        servers.chain(storage).chain(events)
    }

    /// What the team wants of the Service.
    fn service(&self) -> containerssh_crds::Service {
        self.spec().service.clone().unwrap_or_default()
    }

    /// Metadata of a child in the gateway's namespace: the garbage collector deletes it with the gateway.
    fn meta(&self, name: &str) -> ObjectMeta {
        ObjectMeta {
            owner_references: Some(vec![self.owner.reference()]),
            ..self.labelled(self.owner.namespace(), name)
        }
    }

    /// Metadata of a child anywhere; in another namespace, the finalizer deletes it.
    fn meta_in(&self, namespace: &str, name: &str) -> ObjectMeta {
        if namespace == self.owner.namespace() { self.meta(name) } else { self.labelled(namespace, name) }
    }

    fn labelled(&self, namespace: &str, name: &str) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some(self.owner.labels()),
            ..ObjectMeta::default()
        }
    }
}

/// Where the users' pods of a gateway run.
pub fn pods_namespace<'a>(gateway: &'a SSHGateway, owner: &'a Owner) -> &'a str {
    gateway.spec.backend.kubernetes.namespace.as_deref().unwrap_or_else(|| owner.namespace())
}

/// What should exist for a gateway, in the order in which to apply it.
#[derive(Debug, Clone)]
pub struct Plan {
    pub children: Vec<Child>,
    /// Kind of the workload.
    pub workload: ChildKind,
    /// What the gateway asks for of kinds that the cluster may lack: None = nothing, else what it lacks.
    pub missing: Option<Vec<String>>,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The inputs are each valid, and wrong together.
    #[error("{0}")]
    Finding(Finding),
    #[error(transparent)]
    Render(#[from] Error),
}

/// Turns inputs into objects.
pub fn plan(inputs: &Inputs) -> Result<Plan, PlanError> {
    if let Some(problem) = config::untranslatable(inputs.spec()) {
        return Err(PlanError::Finding(Finding::new(Subject::Accepted, Reason::Invalid, problem)));
    }
    let config = config::render(inputs);
    config.validate().map_err(|error| {
        // Every value came through the schema, so what is left is a combination that no single field shows.
        PlanError::Finding(Finding::new(Subject::Accepted, Reason::Invalid, error.to_string()))
    })?;
    let fingerprint = config.static_fingerprint();
    let (workload, workload_child) = workload::workload(inputs, &fingerprint)?;
    let mut children = Vec::with_capacity(ChildKind::ALL.len());
    if let Some(account) = rbac::service_account(inputs) {
        children.push(Child::new(ChildKind::ServiceAccount, &account)?);
    }
    for (role, binding) in rbac::roles(inputs) {
        children.push(Child::new(ChildKind::Role, &role)?);
        children.push(Child::new(ChildKind::RoleBinding, &binding)?);
    }
    children.push(Child::new(ChildKind::Secret, &config_secret(inputs, &config)?)?);
    if let Some(policy) = network::network_policy(inputs) {
        children.push(Child::new(ChildKind::NetworkPolicy, &policy)?);
    }
    children.push(Child::new(ChildKind::Service, &service::service(inputs))?);
    if let Some(redirect) = service::redirect(inputs) {
        children.push(Child::new(ChildKind::Service, &redirect)?);
    }
    if let Some(budget) = disruption::disruption_budget(inputs) {
        children.push(Child::new(ChildKind::PodDisruptionBudget, &budget)?);
    }
    children.extend(optional::children(inputs)?);
    children.push(workload_child);
    Ok(Plan { children, workload, missing: optional::missing(inputs) })
}

/// The rendered configuration, in a Secret because it holds credentials. Its name never changes: the gateway
/// watches the mounted file and takes changes up without a restart.
fn config_secret(inputs: &Inputs, config: &containerssh_config::Config) -> Result<Secret, Error> {
    let text = config.to_yaml().map_err(|error| Error::render("the gateway's configuration", error))?;
    Ok(Secret {
        metadata: inputs.meta(&config::secret_name(&inputs.owner.name.name)),
        type_: Some("Opaque".to_owned()),
        data: Some(BTreeMap::from([(config::FILE.to_owned(), ByteString(text.into_bytes()))])),
        ..Secret::default()
    })
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
