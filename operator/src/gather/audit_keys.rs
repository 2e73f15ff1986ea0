//! The Secrets that an audit needs: keys of the storage, the signing key, credentials of receivers of events.
//!
//! Only whoever names a Secret decides where it is looked for: a policy's in the operator's namespace, a gateway's in
//! its own. What is found goes into the gateway's configuration, so that a team cannot swap it by editing a Secret of
//! the same name.

use containerssh_config::Secret as Hidden;
use containerssh_crds::{
    AuditPolicy, AuditTier, EffectiveAudit, EventTarget, NameRef,
    conditions::Reason,
    defaults,
    merge::{Origin, OriginKind},
};

use super::refs::Reader;
use crate::{
    children::Owner,
    error::Error,
    finding::{Finding, Subject},
    index::Kind,
    plan::{AuditKeys, S3Keys, TargetKeys},
};

const SUBJECT: Subject = Subject::AuditPolicyResolved;
/// Data keys of a Secret of type kubernetes.io/tls.
const CERTIFICATE: &str = "tls.crt";
const PRIVATE_KEY: &str = "tls.key";

/// Where Secrets of one who names them are looked for.
struct Place<'a> {
    reader: &'a Reader,
    namespace: &'a str,
    /// What the reference is called, for the message.
    asked_by: String,
}

impl Place<'_> {
    async fn text(&self, reference: &NameRef, key: &str) -> Result<Result<Hidden, Finding>, Error> {
        let found = self
            .reader
            .text(SUBJECT, Kind::Secret, self.namespace, &reference.name, key, &self.asked_by)
            .await?;
        // Keys are often stored with the line end of the file they came from.
        Ok(found.map(|text| Hidden::new(text.trim())))
    }

    /// The same for PEM, which the gateway tells from a file name by how it begins.
    async fn pem(
        &self,
        reference: &NameRef,
        key: &str,
        label: &str,
    ) -> Result<Result<Hidden, Finding>, Error> {
        let text = match self.text(reference, key).await? {
            Ok(text) => text,
            finding => return Ok(finding),
        };
        let begins = text.expose().lines().next().unwrap_or_default();
        Ok(if begins.starts_with("-----BEGIN ") && begins.contains(label) {
            Ok(text)
        } else {
            Err(Finding::new(
                SUBJECT,
                Reason::RefInvalid,
                format!(
                    "Secret {}/{} ({}): data key {key:?} is no PEM text beginning with a {label}",
                    self.namespace, reference.name, self.asked_by
                ),
            ))
        })
    }
}

/// Takes the value out, or returns the finding from the function.
macro_rules! or_finding {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(finding) => return Ok(Err(finding)),
        }
    };
}

/// Everything that the settings need.
pub async fn gather(
    effective: &EffectiveAudit,
    reader: &Reader,
    owner: &Owner,
    operator_namespace: &str,
) -> Result<Result<AuditKeys, Finding>, Error> {
    let place = |field: &str, from: &Origin| Place {
        reader,
        namespace: match from.kind {
            OriginKind::Policy | OriginKind::Baseline => operator_namespace,
            OriginKind::Gateway => owner.namespace(),
        },
        asked_by: format!("{field} of {from}"),
    };
    let mut keys = AuditKeys::default();
    if let Some(storage) = &effective.storage
        && let Some(reference) = storage.s3.secret()
    {
        let place = place("storage.s3.credentials", &storage.from);
        keys.s3 = Some(S3Keys {
            access_key: or_finding!(place.text(reference, defaults::S3_ACCESS_KEY).await?),
            secret_key: or_finding!(place.text(reference, defaults::S3_SECRET_KEY).await?),
        });
    }
    if let Some(signing) = &effective.signing {
        let place = place("signing.secretRef", &signing.from);
        let key = place.pem(&signing.key.secret_ref, defaults::SIGNING_KEY, "PRIVATE KEY").await?;
        keys.signing = Some(or_finding!(key));
    }
    for events in &effective.events {
        keys.events.push(or_finding!(receiver(&events.target, &place("events", &events.from)).await?));
    }
    Ok(Ok(keys))
}

async fn receiver(target: &EventTarget, place: &Place<'_>) -> Result<Result<TargetKeys, Finding>, Error> {
    let mut keys = TargetKeys::default();
    let webhook = target.webhook.as_ref();
    if let Some(reference) = webhook.and_then(|webhook| webhook.bearer_token_secret_ref.as_ref()) {
        keys.bearer_token = Some(or_finding!(place.text(reference, defaults::BEARER_TOKEN).await?));
    }
    let syslog = target.syslog.as_ref();
    let certificate = webhook
        .and_then(|webhook| webhook.client_certificate_secret_ref.as_ref())
        .or_else(|| syslog.and_then(|syslog| syslog.client_certificate_secret_ref.as_ref()));
    if let Some(reference) = certificate {
        keys.certificate = Some(or_finding!(place.pem(reference, CERTIFICATE, "CERTIFICATE").await?));
        keys.key = Some(or_finding!(place.pem(reference, PRIVATE_KEY, "PRIVATE KEY").await?));
    }
    Ok(Ok(keys))
}

/// The Secrets that one tier refers to, each with the path of the field.
pub fn secrets_of(tier: &AuditTier) -> impl Iterator<Item = (&'static str, &str)> {
    let storage = tier.storage.as_ref().and_then(|storage| storage.s3.secret());
    let signing = tier.signing.as_ref().map(|signing| &signing.secret_ref);
    let events = tier.events.iter().flat_map(EventTarget::secrets);
    storage
        .map(|reference| ("storage.s3.credentials.secretRef", reference))
        .into_iter()
        .chain(signing.map(|reference| ("signing.secretRef", reference)))
        .chain(events.map(|reference| ("events", reference)))
        .map(|(path, reference)| (path, reference.name.as_str()))
}

/// The Secrets in the operator's namespace that a policy refers to.
pub fn secrets_of_policy(policy: &AuditPolicy) -> impl Iterator<Item = (&'static str, &str)> {
    [policy.spec.enforce.as_ref(), policy.spec.default.as_ref()].into_iter().flatten().flat_map(secrets_of)
}
