//! Everything the plan needs, read from the cluster. What is wrong with what people wrote comes back as findings, all
//! at once: whoever mends a gateway should not have to do it one error at a time.

pub mod audit;
pub mod audit_keys;
pub mod guests;
pub mod hostkeys;
pub mod keys;
pub mod known;
pub mod observed;
pub mod pod_check;
pub mod pods;
pub mod policy;
pub mod refs;
pub mod servers;

use std::sync::Arc;

use containerssh_crds::{CONSENT_ANNOTATION, SSHGateway, conditions::Reason, namespace_consents};

use crate::{
    children::Owner,
    context::Context,
    error::Error,
    finding::{Finding, Subject},
    plan::{Audit, Inputs, config, hostkeys::HostKeys, pods_namespace},
    status,
};
use audit::Resolved;

/// What was found out about one gateway.
#[derive(Debug)]
pub struct Gathered {
    /// What is wrong; empty exactly if `inputs` is there.
    pub findings: Vec<Finding>,
    /// The audit that applies, if the policies gave any.
    pub resolved: Option<Resolved>,
    /// The same with its keys: known even when something else is wrong, so that it can be imposed on a gateway that runs.
    pub audit: Option<Audit>,
    pub host_keys: Option<HostKeys>,
    pub inputs: Option<Inputs>,
}

/// Reads what a gateway depends on.
pub async fn gather(context: &Context, gateway: &Arc<SSHGateway>, owner: &Owner) -> Result<Gathered, Error> {
    let mut findings = Vec::new();
    let pods = pods_namespace(gateway, owner);
    let admitted = pods_namespace_admits(context, pods, owner);
    let may_enter = admitted.is_none();
    findings.extend(admitted);

    findings.extend(image_admitted(context, gateway));

    let volumes = match pod_check::known_volumes(gateway) {
        Ok(volumes) => volumes,
        Err(finding) => {
            findings.push(finding);
            Vec::new()
        }
    };
    let pod = match pod_check::known_fields(&gateway.spec.backend.kubernetes.pod_template.spec) {
        Ok(pod) => Some(pod),
        Err(finding) => {
            findings.push(finding);
            None
        }
    };
    // A dry run in a namespace that does not let us in would tell what is in there.
    if may_enter && pod.is_some() {
        findings.extend(context.pod_checks.check(&context.client, gateway, &owner.name, pods).await?);
    }

    let (resolved, audit) = audit_of(context, gateway, owner, &mut findings).await?;
    findings.extend(resolved.as_ref().and_then(|resolved| mode_allowed(gateway, resolved)));

    let (spec, namespace, reader) = (&gateway.spec, owner.namespace(), &context.reader);
    let authorities = keys::gather(reader, spec, namespace, &mut findings).await?;
    let servers = servers::gather(reader, spec, namespace, &mut findings).await?;

    let found = hostkeys::host_keys(&context.client, reader, &context.metrics, gateway, owner).await?;
    let host_keys = match found {
        Ok(keys) => Some(keys),
        Err(finding) => {
            findings.push(finding);
            None
        }
    };
    let inputs = match (&audit, &host_keys, pod) {
        (Some(audit), Some(host_keys), Some(pod)) if findings.is_empty() => Some(Inputs {
            gateway: Arc::clone(gateway),
            owner: owner.clone(),
            default_image: context.settings.gateway_image.clone(),
            agent_image: context.settings.agent_image.clone(),
            operator_namespace: context.operator_namespace.clone(),
            pod,
            volumes,
            audit: audit.clone(),
            host_keys: host_keys.clone(),
            authorities,
            servers,
            served: context.served.kinds(),
        }),
        _ => None,
    };
    Ok(Gathered { findings, resolved, audit, host_keys, inputs })
}

/// The audit that applies, with its keys.
pub async fn audit_of(
    context: &Context,
    gateway: &SSHGateway,
    owner: &Owner,
    findings: &mut Vec<Finding>,
) -> Result<(Option<Resolved>, Option<Audit>), Error> {
    let policies = context.policies.state();
    let labels = |name: &str| context.labels_of(name);
    let fallback = &context.settings.fallback;
    let resolved = match audit::resolve(gateway, owner, &policies, labels, fallback, &status::now())? {
        Ok(resolved) => resolved,
        Err(finding) => {
            findings.push(finding);
            return Ok((None, None));
        }
    };
    let effective = &resolved.merged.effective;
    match audit_keys::gather(effective, &context.reader, owner, &context.operator_namespace).await? {
        Ok(keys) => {
            let audit = resolved.audit(keys);
            // What the schema cannot know, such as a mistyped recipient. Found before it is imposed on anything.
            if let Err(problems) = config::check(&audit) {
                let message =
                    format!("the settings of {} cannot be used: {problems}", resolved.merged.policy());
                findings.push(Finding::new(Subject::AuditPolicyResolved, Reason::Invalid, message));
                return Ok((Some(resolved), None));
            }
            Ok((Some(resolved), Some(audit)))
        }
        Err(finding) => {
            findings.push(finding);
            Ok((Some(resolved), None))
        }
    }
}

/// A finding if the policies allow no gateway of this execution model. What runs is kept from running programs by the
/// configuration that the policies impose.
fn mode_allowed(gateway: &SSHGateway, resolved: &Resolved) -> Option<Finding> {
    let allowed = resolved.merged.effective.allow.modes.as_ref()?;
    let mode = gateway.spec.backend.kubernetes.mode.unwrap_or_default();
    (!allowed.contains(&mode)).then(|| {
        let message = format!(
            "backend.kubernetes.mode: {mode:?} is not allowed by {}, which allows {allowed:?}; choose one of those, or ask whoever may edit AuditPolicies",
            resolved.merged.policy()
        );
        Finding::new(Subject::Accepted, Reason::Invalid, message)
    })
}

/// A finding if the gateway names an image that nobody allowed: it could run anything, recorded or not.
fn image_admitted(context: &Context, gateway: &SSHGateway) -> Option<Finding> {
    let image = gateway.spec.image.as_deref()?;
    (!context.settings.allows_image(image)).then(|| {
        let message = format!(
            "image: {image} is not among those that this operator lets gateways run; remove the field, or have the operator's administrator add --allow-gateway-image={image} (chart: gateway.allowedImages)"
        );
        Finding::new(Subject::Accepted, Reason::Invalid, message)
    })
}

/// A finding if the gateway may not place pods there.
fn pods_namespace_admits(context: &Context, pods: &str, owner: &Owner) -> Option<Finding> {
    let refuse =
        |message: String| Some(Finding::new(Subject::Accepted, Reason::NamespaceNotPermitted, message));
    let own = owner.namespace();
    if pods == own {
        return None;
    }
    if !context.watches(pods) {
        return refuse(format!(
            "backend.kubernetes.namespace: this operator does not manage namespace {pods}; name another, or have its administrator add --watch-namespace={pods}"
        ));
    }
    let Some(namespace) = context.namespace(pods) else {
        return refuse(format!("backend.kubernetes.namespace: namespace {pods} does not exist; create it"));
    };
    let annotations = namespace.metadata.annotations.clone().unwrap_or_default();
    if namespace_consents(pods, &annotations, own) {
        return None;
    }
    refuse(format!(
        "backend.kubernetes.namespace: namespace {pods} does not let gateways of {own} in; its owner allows that with the annotation {CONSENT_ANNOTATION}: {own}"
    ))
}
