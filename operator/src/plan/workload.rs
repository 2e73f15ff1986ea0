//! The gateway's pods.
//!
//! A Deployment while the spool may die with its pod, a StatefulSet when records must outlive it: only a StatefulSet
//! gives each pod a volume of its own that comes back with it.
//!
//! A restart ends sessions, so the pod template holds nothing that the gateway can reload: the configuration is mounted
//! and watched, and of it only the fingerprint of what cannot be reloaded stands in an annotation. The labels leave the
//! operator's version out for the same reason.

use std::{collections::BTreeMap, time::Duration};

use containerssh_crds::{
    AuthorizedKeysSource, PublicKeyAuthentication, PullPolicy, Retention, RevokedKeysSource, SSHGatewaySpec,
    SpoolMedium, defaults,
};
use k8s_openapi::{
    api::{
        apps::v1::{
            Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment, StatefulSet,
            StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec,
        },
        core::v1::{
            Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EmptyDirVolumeSource, EnvVar,
            EnvVarSource, HTTPGetAction, Lifecycle, LifecycleHandler, LocalObjectReference,
            ObjectFieldSelector, PersistentVolumeClaim, PersistentVolumeClaimSpec, PodSecurityContext,
            PodSpec, PodTemplateSpec, Probe, ResourceRequirements, SeccompProfile, SecretVolumeSource,
            SecurityContext, SleepAction, TopologySpreadConstraint, Volume, VolumeMount,
            VolumeResourceRequirements,
        },
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};
use kube::api::ObjectMeta;

use super::{
    Inputs, PORT_HEALTH, PORT_METRICS, PORT_NAME_HEALTH, PORT_NAME_METRICS, PORT_NAME_SSH, PORT_SSH, config,
    hostkeys, rbac,
};
use crate::{
    children::{Child, ChildKind},
    error::Error,
};

/// The image's user and group ("nonroot" of distroless images).
const USER: i64 = 65532;
/// Time for the uploads that are under way when the last session has ended. What is not uploaded by then stays in
/// the spool (Persistent) or is lost with it (EmptyDir).
const UPLOAD_BUDGET: Duration = Duration::from_secs(60);
/// Endpoints need a moment to forget a pod that ends; until then it goes on accepting.
const ENDPOINT_LAG: Duration = Duration::from_secs(5);
/// Room in an emptyDir beyond what the gateway may use: the kubelet evicts a pod that exceeds its limit, and the
/// gateway notices a full spool only at its next write.
const EMPTY_DIR_SLACK: u64 = 256 << 20;
const CONFIG_VOLUME: &str = "config";
const HOST_KEYS_VOLUME: &str = "host-keys";
const PRINCIPALS_VOLUME: &str = "principals";
const SPOOL_VOLUME: &str = "spool";
/// Domains of labels and annotations on gateway pods that decide which pods are a gateway's.
const OURS: [&str; 2] = ["containerssh.io", "app.kubernetes.io"];
/// Readable by the gateway's group (`fsGroup`), by nobody else.
const SECRET_MODE: i32 = 0o440;

/// The workload, and of which kind it is.
pub fn workload(inputs: &Inputs, fingerprint: &str) -> Result<(ChildKind, Child), Error> {
    match inputs.audit.effective.spool.medium {
        SpoolMedium::EmptyDir => {
            let child = Child::new(ChildKind::Deployment, &deployment(inputs, fingerprint))?;
            Ok((ChildKind::Deployment, child))
        }
        SpoolMedium::Persistent => {
            let child = Child::new(ChildKind::StatefulSet, &stateful_set(inputs, fingerprint))?;
            Ok((ChildKind::StatefulSet, child))
        }
    }
}

fn deployment(inputs: &Inputs, fingerprint: &str) -> Deployment {
    Deployment {
        metadata: inputs.meta(&inputs.owner.name.name),
        spec: Some(DeploymentSpec {
            replicas: Some(inputs.spec().replicas),
            selector: selector(inputs),
            revision_history_limit: Some(3),
            // Never fewer gateways than asked for: an old one drains while the new one serves.
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(IntOrString::Int(1)),
                    max_unavailable: Some(IntOrString::Int(0)),
                }),
            }),
            template: pod_template(inputs, fingerprint, "pod-template-hash", Some(empty_dir_spool(inputs))),
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}

fn stateful_set(inputs: &Inputs, fingerprint: &str) -> StatefulSet {
    let storage = Quantity(inputs.audit.effective.spool.size.to_string());
    StatefulSet {
        metadata: inputs.meta(&inputs.owner.name.name),
        spec: Some(StatefulSetSpec {
            replicas: Some(inputs.spec().replicas),
            selector: selector(inputs),
            service_name: Some(inputs.owner.name.name.clone()),
            // Gateways do not know each other: no reason to start them one after the other.
            pod_management_policy: Some("Parallel".to_owned()),
            revision_history_limit: Some(3),
            template: pod_template(inputs, fingerprint, "controller-revision-hash", None),
            volume_claim_templates: Some(vec![PersistentVolumeClaim {
                // These labels can never change: only those that identify the gateway.
                metadata: ObjectMeta {
                    name: Some(SPOOL_VOLUME.to_owned()),
                    labels: Some(inputs.owner.selector_labels()),
                    ..ObjectMeta::default()
                },
                spec: Some(PersistentVolumeClaimSpec {
                    access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
                    storage_class_name: inputs
                        .spec()
                        .spool
                        .as_ref()
                        .and_then(|spool| spool.storage_class_name.clone()),
                    resources: Some(VolumeResourceRequirements {
                        requests: Some(BTreeMap::from([("storage".to_owned(), storage)])),
                        ..VolumeResourceRequirements::default()
                    }),
                    ..PersistentVolumeClaimSpec::default()
                }),
                status: None,
            }]),
            persistent_volume_claim_retention_policy: Some(retention(inputs)),
            ..StatefulSetSpec::default()
        }),
        status: None,
    }
}

/// A volume may hold records that S3 has not got yet: whoever deletes it does so knowingly, and not where somebody else's
/// policy wants those records.
fn retention(inputs: &Inputs) -> StatefulSetPersistentVolumeClaimRetentionPolicy {
    let spool = inputs.spec().spool.as_ref().filter(|_| inputs.audit.sources.is_empty());
    let wanted = spool.and_then(|spool| spool.persistent_volume_claim_retention_policy).unwrap_or_default();
    let word = |wanted: Option<Retention>| {
        let word = match wanted.unwrap_or_default() {
            Retention::Retain => "Retain",
            Retention::Delete => "Delete",
        };
        Some(word.to_owned())
    };
    StatefulSetPersistentVolumeClaimRetentionPolicy {
        when_deleted: word(wanted.when_deleted),
        when_scaled: word(wanted.when_scaled),
    }
}

fn selector(inputs: &Inputs) -> LabelSelector {
    LabelSelector { match_labels: Some(inputs.owner.selector_labels()), ..LabelSelector::default() }
}

fn pod_template(
    inputs: &Inputs,
    fingerprint: &str,
    revision_label: &str,
    spool: Option<Volume>,
) -> PodTemplateSpec {
    let template = inputs.spec().template.clone().unwrap_or_default();
    let own = template.metadata.unwrap_or_default();
    let mut labels = theirs(own.labels, &OURS);
    labels.extend(inputs.owner.pod_labels());
    let mut annotations = theirs(own.annotations, &OURS);
    annotations.insert("containerssh.io/static-config".to_owned(), fingerprint.to_owned());
    annotations.insert("containerssh.io/host-keys".to_owned(), inputs.host_keys.digest());
    let grace = grace_period(inputs.spec());
    let spread = if template.topology_spread_constraints.is_empty() {
        template.affinity.is_none().then(|| spread(inputs, revision_label))
    } else {
        Some(template.topology_spread_constraints)
    };
    let pull_secrets: Vec<_> = (template.image_pull_secrets.into_iter())
        .map(|reference| LocalObjectReference { name: reference.name })
        .collect();
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            containers: vec![container(inputs)],
            volumes: Some(volumes(inputs, spool)),
            service_account_name: Some(rbac::service_account_name(inputs)),
            // Environment variables for every Service of the namespace: noise, and slow where there are many.
            enable_service_links: Some(false),
            security_context: Some(PodSecurityContext {
                run_as_non_root: Some(true),
                run_as_user: Some(USER),
                run_as_group: Some(USER),
                fs_group: Some(USER),
                fs_group_change_policy: Some("OnRootMismatch".to_owned()),
                seccomp_profile: Some(SeccompProfile {
                    type_: "RuntimeDefault".to_owned(),
                    localhost_profile: None,
                }),
                ..PodSecurityContext::default()
            }),
            termination_grace_period_seconds: Some(i64::try_from(grace.as_secs()).unwrap_or(i64::MAX)),
            topology_spread_constraints: spread,
            affinity: template.affinity,
            node_selector: (!template.node_selector.is_empty()).then_some(template.node_selector),
            tolerations: (!template.tolerations.is_empty()).then_some(template.tolerations),
            priority_class_name: template.priority_class_name,
            runtime_class_name: template.runtime_class_name,
            image_pull_secrets: (!pull_secrets.is_empty()).then_some(pull_secrets),
            ..PodSpec::default()
        }),
    }
}

/// How long a gateway pod may take to end: sessions, then uploads.
pub fn grace_period(spec: &SSHGatewaySpec) -> Duration {
    let drain = spec.drain.and_then(|drain| drain.timeout).map_or(defaults::DRAIN_TIMEOUT, Duration::from);
    drain.saturating_add(UPLOAD_BUDGET).saturating_add(ENDPOINT_LAG)
}

/// Labels or annotations that a team may choose: those outside the domains given.
pub(super) fn theirs(map: BTreeMap<String, String>, ours: &[&str]) -> BTreeMap<String, String> {
    let reserved = |key: &str| {
        let domain = key.split_once('/').map_or("", |(domain, _)| domain);
        ours.iter().any(|ours| domain == *ours || domain.ends_with(&format!(".{ours}")))
    };
    map.into_iter().filter(|(key, _)| !reserved(key)).collect()
}

fn spread(inputs: &Inputs, revision_label: &str) -> Vec<TopologySpreadConstraint> {
    ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
        .map(|key| TopologySpreadConstraint {
            max_skew: 1,
            topology_key: key.to_owned(),
            // A preference: one node short must not mean one gateway short.
            when_unsatisfiable: "ScheduleAnyway".to_owned(),
            label_selector: Some(selector(inputs)),
            // Counts each revision by itself, or a rollout would place new pods by where the old ones stand.
            match_label_keys: Some(vec![revision_label.to_owned()]),
            ..TopologySpreadConstraint::default()
        })
        .into()
}

fn container(inputs: &Inputs) -> Container {
    let spec = inputs.spec();
    let pull = spec.image_pull_policy.unwrap_or_default();
    Container {
        name: "gateway".to_owned(),
        image: Some(spec.image.clone().unwrap_or_else(|| inputs.default_image.clone())),
        image_pull_policy: Some(
            match pull {
                PullPolicy::Always => "Always",
                PullPolicy::IfNotPresent => "IfNotPresent",
                PullPolicy::Never => "Never",
            }
            .to_owned(),
        ),
        args: Some(vec!["--config".to_owned(), format!("{}/{}", config::DIRECTORY, config::FILE)]),
        env: Some(environment(inputs)),
        ports: Some(vec![
            port(PORT_NAME_SSH, PORT_SSH),
            port(PORT_NAME_HEALTH, PORT_HEALTH),
            port(PORT_NAME_METRICS, PORT_METRICS),
        ]),
        resources: Some(spec.resources.clone().unwrap_or_else(default_resources)),
        volume_mounts: Some(mounts(inputs)),
        liveness_probe: Some(Probe { period_seconds: Some(10), timeout_seconds: Some(5), ..probe("/livez") }),
        readiness_probe: Some(Probe {
            period_seconds: Some(5),
            timeout_seconds: Some(5),
            ..probe("/readyz")
        }),
        lifecycle: Some(Lifecycle {
            pre_stop: Some(LifecycleHandler {
                sleep: Some(SleepAction { seconds: ENDPOINT_LAG.as_secs().try_into().unwrap_or(5) }),
                ..LifecycleHandler::default()
            }),
            ..Lifecycle::default()
        }),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
            ..SecurityContext::default()
        }),
        ..Container::default()
    }
}

fn default_resources() -> ResourceRequirements {
    let requests =
        [("cpu", "100m"), ("memory", "128Mi")].map(|(k, v)| (k.to_owned(), Quantity(v.to_owned())));
    ResourceRequirements { requests: Some(requests.into()), ..ResourceRequirements::default() }
}

fn port(name: &str, number: u16) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: i32::from(number),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

fn probe(path: &str) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(PORT_NAME_HEALTH.to_owned()),
            ..HTTPGetAction::default()
        }),
        ..Probe::default()
    }
}

/// The gateway's identity: it labels the users' pods, owns them, and names its records.
fn environment(inputs: &Inputs) -> Vec<EnvVar> {
    let fields = [
        ("POD_NAME", "metadata.name"),
        ("POD_NAMESPACE", "metadata.namespace"),
        ("POD_UID", "metadata.uid"),
        ("NODE_NAME", "spec.nodeName"),
    ];
    let mut env: Vec<EnvVar> = fields
        .map(|(name, path)| EnvVar {
            name: name.to_owned(),
            value_from: Some(EnvVarSource {
                field_ref: Some(ObjectFieldSelector {
                    api_version: Some("v1".to_owned()),
                    field_path: path.to_owned(),
                }),
                ..EnvVarSource::default()
            }),
            ..EnvVar::default()
        })
        .into();
    env.push(EnvVar {
        name: "GATEWAY_NAME".to_owned(),
        value: Some(inputs.owner.name.name.clone()),
        ..EnvVar::default()
    });
    let own = inputs.spec().template.iter().flat_map(|template| &template.env);
    env.extend(own.map(|own| EnvVar {
        name: own.name.clone(),
        value: Some(own.value.clone()),
        ..EnvVar::default()
    }));
    env
}

fn mounts(inputs: &Inputs) -> Vec<VolumeMount> {
    let read_only = |name: String, path: String| VolumeMount {
        name,
        mount_path: path,
        read_only: Some(true),
        ..VolumeMount::default()
    };
    let mut mounts = vec![
        read_only(CONFIG_VOLUME.to_owned(), config::DIRECTORY.to_owned()),
        read_only(HOST_KEYS_VOLUME.to_owned(), hostkeys::DIRECTORY.to_owned()),
        VolumeMount {
            name: SPOOL_VOLUME.to_owned(),
            mount_path: config::SPOOL_DIRECTORY.to_owned(),
            ..VolumeMount::default()
        },
    ];
    for number in 0..authorized_keys(inputs).len() {
        mounts.push(read_only(authorized_keys_volume(number), config::authorized_keys_directory(number)));
    }
    if principals(inputs).is_some() {
        mounts.push(read_only(PRINCIPALS_VOLUME.to_owned(), config::PRINCIPALS_DIRECTORY.to_owned()));
    }
    for number in 0..revoked_keys(inputs).len() {
        mounts.push(read_only(revoked_keys_volume(number), config::revoked_keys_directory(number)));
    }
    let own = inputs.spec().template.iter().flat_map(|template| &template.volume_mounts);
    mounts.extend(own.map(|own| VolumeMount {
        read_only: Some(own.read_only.unwrap_or(true)),
        ..read_only(own.name.clone(), own.mount_path.clone())
    }));
    mounts
}

fn volumes(inputs: &Inputs, spool: Option<Volume>) -> Vec<Volume> {
    let secret = |name: &str| SecretVolumeSource {
        secret_name: Some(name.to_owned()),
        default_mode: Some(SECRET_MODE),
        ..SecretVolumeSource::default()
    };
    let mut volumes = vec![
        Volume {
            name: CONFIG_VOLUME.to_owned(),
            secret: Some(secret(&config::secret_name(&inputs.owner.name.name))),
            ..Volume::default()
        },
        Volume {
            name: HOST_KEYS_VOLUME.to_owned(),
            secret: Some(secret(&inputs.host_keys.secret)),
            ..Volume::default()
        },
    ];
    volumes.extend(spool);
    let mounted = |name: String, in_secret: Option<&str>, in_config_map: Option<&str>| Volume {
        name,
        secret: in_secret.map(secret),
        config_map: in_config_map.map(|name| ConfigMapVolumeSource {
            name: name.to_owned(),
            default_mode: Some(SECRET_MODE),
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    };
    let of_users = |name: String, source: &AuthorizedKeysSource| {
        let in_secret = source.secret_ref.as_ref().map(|reference| reference.name.as_str());
        mounted(name, in_secret, source.config_map_ref.as_ref().map(|reference| reference.name.as_str()))
    };
    let listed = authorized_keys(inputs).iter().enumerate();
    volumes.extend(listed.map(|(number, source)| of_users(authorized_keys_volume(number), source)));
    volumes.extend(principals(inputs).map(|source| of_users(PRINCIPALS_VOLUME.to_owned(), source)));
    volumes.extend(revoked_keys(inputs).iter().enumerate().map(|(number, source)| {
        let in_secret = source.secret_ref.as_ref().map(|reference| reference.name.as_str());
        let in_config_map = source.config_map_ref.as_ref().map(|reference| reference.name.as_str());
        mounted(revoked_keys_volume(number), in_secret, in_config_map)
    }));
    volumes.extend(inputs.volumes.iter().cloned());
    volumes
}

fn empty_dir_spool(inputs: &Inputs) -> Volume {
    let size = inputs.audit.effective.spool.size.bytes().saturating_add(EMPTY_DIR_SLACK);
    Volume {
        name: SPOOL_VOLUME.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource { size_limit: Some(Quantity(size.to_string())), medium: None }),
        ..Volume::default()
    }
}

fn public_key(inputs: &Inputs) -> Option<&PublicKeyAuthentication> {
    inputs.spec().authentication.public_key.as_ref()
}

fn authorized_keys(inputs: &Inputs) -> &[AuthorizedKeysSource] {
    public_key(inputs).map_or(&[], |key| key.authorized_keys_from.as_slice())
}

fn principals(inputs: &Inputs) -> Option<&AuthorizedKeysSource> {
    public_key(inputs)?.certificate_authorities.as_ref()?.principals_from.as_ref()
}

fn revoked_keys(inputs: &Inputs) -> &[RevokedKeysSource] {
    public_key(inputs).map_or(&[], |key| key.revoked_keys_from.as_slice())
}

fn authorized_keys_volume(number: usize) -> String {
    format!("authorized-keys-{number}")
}

fn revoked_keys_volume(number: usize) -> String {
    format!("revoked-keys-{number}")
}
