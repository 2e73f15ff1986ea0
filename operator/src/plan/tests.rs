//! Golden renders: every object of the plan, for inputs that between them use every field. A change of any byte that
//! reaches a cluster shows up here; review it with `cargo insta review`.

use std::sync::Arc;

use crate::{
    args::NoPolicy,
    children::{Child, ChildKind, Owner},
    gather::{audit, pod_check},
    index::Name,
    plan::{Inputs, Plan, PlanError, S3Keys, WebhookFiles, config, hostkeys::HostKeys, plan},
};
use containerssh_crds::{AuditPolicy, SSHGateway, merge};
use kube::core::DeserializeGuard;
use serde_json::Value;

fn yaml<T: serde::de::DeserializeOwned>(text: &str) -> T {
    serde_saphyr::from_str(text).unwrap()
}

fn gateway(spec: &str) -> SSHGateway {
    let spec: Value = yaml(spec);
    serde_json::from_value(serde_json::json!({
        "apiVersion": "containerssh.io/v1alpha1",
        "kind": "SSHGateway",
        "metadata": {"name": "dev", "namespace": "team-a", "uid": "3e6d3c4e-0000-4000-8000-000000000001", "generation": 1},
        "spec": spec,
    }))
    .unwrap()
}

fn inputs(spec: &str, policies: &[&str], keys: Option<S3Keys>) -> Inputs {
    let gateway = gateway(spec);
    let owner = Owner { name: Name::within("team-a", "dev"), uid: gateway.metadata.uid.clone().unwrap() };
    let policies: Vec<_> =
        policies.iter().map(|text| Arc::new(DeserializeGuard(Ok(yaml::<AuditPolicy>(text))))).collect();
    let resolved = audit::resolve(&gateway, &owner, &policies, |_| Some([].into()), NoPolicy::Baseline)
        .unwrap()
        .unwrap();
    let pod = pod_check::known_fields(&gateway.spec.backend.kubernetes.pod_template.spec).unwrap();
    Inputs {
        owner,
        default_image: "registry.example.com/containerssh-gateway:0.1.0".into(),
        operator_namespace: "containerssh".into(),
        pod,
        audit: resolved.audit(keys),
        host_keys: HostKeys {
            secret: "dev-host-keys".into(),
            files: vec!["ssh_host_ecdsa_key".into(), "ssh_host_ed25519_key".into()],
            fingerprints: vec!["SHA256:one".into(), "SHA256:two".into()],
        },
        password: WebhookFiles::default(),
        public_key: WebhookFiles::default(),
        gateway: Arc::new(gateway),
    }
}

const SMALLEST: &str = r#"
authentication:
  publicKey:
    authorizedKeysFrom: [{secretRef: {name: team-a-keys}}]
backend:
  kubernetes:
    podTemplate: {spec: {containers: [{name: shell, image: "debian:12"}]}}
"#;

const EVERYTHING: &str = r#"
replicas: 3
image: registry.example.com/own-gateway@sha256:0000
imagePullPolicy: Always
resources: {requests: {cpu: 1, memory: 1Gi}, limits: {memory: 2Gi}}
service: {type: LoadBalancer, port: 2200, externalTrafficPolicy: Cluster, annotations: {lb.example.com/internal: "true"}}
ssh:
  banner: "Authorised use only.\n"
  hostKeysSecretRef: {name: own-keys}
  loginGraceTime: 30s
  keepAlive: {interval: 15s, countMax: 5}
  limits: {connections: 500, perSource: 10, sessionsPerConnection: 8}
authentication:
  password: {webhook: {url: "https://auth.example.com:8443/ssh", timeout: 9s, caSecretRef: {name: ca}, clientCertificateSecretRef: {name: client}}}
  publicKey:
    webhook: {url: "http://auth.internal/ssh"}
    authorizedKeysFrom: [{secretRef: {name: keys}}, {configMapRef: {name: more-keys}}]
backend:
  kubernetes:
    namespace: team-a-shells
    mode: Connection
    consoleContainer: shell
    shellCommand: [/bin/zsh, -l]
    idleCommand: [/bin/idle]
    subsystems: {sftp: /usr/libexec/sftp-server, rsync: /usr/bin/rsync}
    deadline: 12h
    timeouts: {podStart: 2m, podStop: 10s, commandStart: 20s}
    podTemplate:
      metadata: {labels: {team: a, containerssh.io/mine: "no"}, annotations: {note: hello}}
      spec:
        serviceAccountName: shells
        automountServiceAccountToken: false
        containers:
          - {name: helper, image: "busybox:1"}
          - {name: shell, image: "debian:12", resources: {limits: {cpu: 2}}}
audit: {intercept: {stdout: Require}}
spool: {size: 20Gi}
drain: {timeout: 8h}
log: {level: Debug, format: Text}
template:
  metadata: {labels: {cost-centre: "42", app.kubernetes.io/name: forged}, annotations: {sidecar.example.com/inject: "false"}}
  nodeSelector: {pool: ssh}
  tolerations: [{key: ssh, operator: Exists}]
  affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: gpu, operator: DoesNotExist}]}]}}}
  priorityClassName: important
  serviceAccountAnnotations: {eks.amazonaws.com/role-arn: "arn:aws:iam::1:role/audit"}
networkPolicy: {enabled: true}
"#;

const POLICY: &str = r#"
apiVersion: containerssh.io/v1alpha1
kind: AuditPolicy
metadata: {name: production, generation: 2}
spec:
  namespaces: [team-a]
  enforce:
    intercept: {stdin: Require, passwords: Forbid}
    storage:
      s3:
        bucket: audit-logs
        region: us-east-1
        endpoint: https://minio.storage:9000
        pathStyleAccess: true
        prefix: "{namespace}/{gateway}/{year}/"
        acl: BucketOwnerFullControl
        credentials: {type: Secret, secretRef: {name: s3}}
    onFailure: Deny
    spool: {onFull: Deny}
    sessions: {maxDuration: 12h, idleTimeout: 30m}
    allow: {subsystems: [sftp]}
"#;

const PERSISTENT: &str = r#"
apiVersion: containerssh.io/v1alpha1
kind: AuditPolicy
metadata: {name: durable}
spec:
  namespaceSelector: {}
  enforce: {spool: {medium: Persistent, size: 5Gi}}
"#;

fn s3_keys() -> S3Keys {
    use containerssh_config::Secret;
    S3Keys { access_key: Secret::new("AKIAEXAMPLE"), secret_key: Secret::new("not-a-real-key") }
}

/// All objects as YAML documents, the gateway's configuration as text instead of base64.
fn render(plan: &Plan) -> String {
    let mut text = String::new();
    for child in &plan.children {
        text.push_str(&format!("--- # {child}\n"));
        let mut manifest = child.manifest.clone();
        let config = manifest.pointer_mut("/data/config.yaml").map(Value::take);
        text.push_str(&serde_saphyr::to_string(&manifest).unwrap());
        if let Some(config) = config {
            let decoded: k8s_openapi::ByteString = serde_json::from_value(config).unwrap();
            text.push_str("# config.yaml:\n");
            for line in String::from_utf8(decoded.0).unwrap().lines() {
                text.push_str(&format!("# {line}\n"));
            }
        }
    }
    text
}

fn child(plan: &Plan, kind: ChildKind) -> &Value {
    &plan.children.iter().find(|child| child.kind == kind).unwrap().manifest
}

/// The pod template: what restarts pods when it changes.
fn template(inputs: &Inputs) -> Value {
    let plan = plan(inputs).unwrap();
    child(&plan, plan.workload)["spec"]["template"].clone()
}

#[test]
fn the_smallest_gateway() {
    insta::assert_snapshot!(render(&plan(&inputs(SMALLEST, &[], None)).unwrap()));
}

#[test]
fn everything_set() {
    let mut inputs = inputs(EVERYTHING, &[POLICY], Some(s3_keys()));
    inputs.host_keys.secret = "own-keys".into();
    let pem = |label: &str| Some(format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n"));
    inputs.password =
        WebhookFiles { ca: pem("CERTIFICATE"), certificate: pem("CERTIFICATE"), key: pem("PRIVATE KEY") };
    insta::assert_snapshot!(render(&plan(&inputs).unwrap()));
}

#[test]
fn a_policy_that_demands_a_persistent_spool() {
    insta::assert_snapshot!(render(&plan(&inputs(SMALLEST, &[PERSISTENT], None)).unwrap()));
}

#[test]
fn passwords_by_webhook() {
    let spec = r#"
authentication: {password: {webhook: {url: "https://auth.example.com/ssh"}}}
backend: {kubernetes: {podTemplate: {spec: {containers: [{name: shell, image: "debian:12"}]}}}}
networkPolicy: {enabled: false}
template: {serviceAccountName: brought}
"#;
    insta::assert_snapshot!(render(&plan(&inputs(spec, &[], None)).unwrap()));
}

#[test]
fn pods_in_another_namespace() {
    let spec = SMALLEST.replace("kubernetes:", "kubernetes:\n    namespace: team-a-shells");
    let plan = plan(&inputs(&spec, &[], None)).unwrap();
    let elsewhere: Vec<_> = plan.children.iter().filter(|child| child.namespace != "team-a").collect();
    let names: Vec<String> = elsewhere.iter().map(ToString::to_string).collect();
    assert_eq!(
        names,
        ["Role team-a-shells/team-a-dev-gateway", "RoleBinding team-a-shells/team-a-dev-gateway"]
    );
    for child in elsewhere {
        assert!(
            child.manifest["metadata"].get("ownerReferences").is_none(),
            "owners do not cross namespaces"
        );
    }
    insta::assert_snapshot!(render(&plan));
}

#[test]
fn what_the_gateway_reloads_restarts_no_pod() {
    let before = template(&inputs(SMALLEST, &[], None));
    let banner =
        format!("{SMALLEST}ssh: {{banner: hello, limits: {{connections: 5}}}}\nlog: {{level: Debug}}\n");
    assert_eq!(template(&inputs(&banner, &[], None)), before);
    assert_eq!(template(&inputs(SMALLEST, &[POLICY], Some(s3_keys()))), before, "a policy");
    let image = SMALLEST.replace("debian:12", "debian:13");
    assert_eq!(template(&inputs(&image, &[], None)), before, "the users' pods");
}

#[test]
fn what_the_gateway_cannot_reload_does() {
    let original = inputs(SMALLEST, &[], None);
    let before = template(&original);
    let mut keys = original.clone();
    keys.host_keys.fingerprints = vec!["SHA256:other".into()];
    assert_ne!(template(&keys), before, "host keys");
    assert_ne!(
        template(&inputs(&format!("{SMALLEST}spool: {{size: 30Gi}}\n"), &[], None)),
        before,
        "the spool"
    );
    assert_ne!(template(&inputs(&format!("{SMALLEST}image: other\n"), &[], None)), before, "the image");
}

#[test]
fn equal_inputs_give_equal_digests() {
    let digests = |plan: Plan| plan.children.iter().map(Child::digest).collect::<Vec<_>>();
    let one = digests(plan(&inputs(EVERYTHING, &[POLICY], Some(s3_keys()))).unwrap());
    let two = digests(plan(&inputs(EVERYTHING, &[POLICY], Some(s3_keys()))).unwrap());
    assert_eq!(one, two);
}

#[test]
fn a_stricter_policy_is_imposed_on_a_configuration_that_stands() {
    let mut standing = config::render(&inputs(SMALLEST, &[], None));
    let strict = inputs(SMALLEST, &[POLICY], Some(s3_keys()));
    config::impose(&mut standing, &strict.audit);
    assert_eq!(standing, config::render(&strict));
    assert!(standing.audit.enable && standing.audit.intercept.stdin);
}

#[test]
fn a_policy_that_cannot_be_read_gives_no_plan_at_all() {
    let gateway = gateway(SMALLEST);
    let owner = Owner { name: Name::within("team-a", "dev"), uid: "u".into() };
    let guarded: DeserializeGuard<AuditPolicy> = serde_json::from_str(
        r#"{"apiVersion": "containerssh.io/v1alpha1", "kind": "AuditPolicy", "metadata": {"name": "new"},
            "spec": {"namespaces": ["elsewhere"], "enforce": {"onFailure": "Explode"}}}"#,
    )
    .unwrap();
    let finding =
        audit::resolve(&gateway, &owner, &[Arc::new(guarded)], |_| Some([].into()), NoPolicy::Baseline)
            .unwrap()
            .unwrap_err();
    assert!(finding.message.contains("AuditPolicy new cannot be read"), "{finding}");
}

#[test]
fn without_a_policy_the_operator_may_refuse() {
    let gateway = gateway(SMALLEST);
    let owner = Owner { name: Name::within("team-a", "dev"), uid: "u".into() };
    let resolve = |policies: &[_]| {
        audit::resolve(&gateway, &owner, policies, |_| Some([].into()), NoPolicy::Deny).unwrap()
    };
    assert!(resolve(&[]).unwrap_err().message.contains("no AuditPolicy covers namespace team-a"));
    assert!(resolve(&[Arc::new(DeserializeGuard(Ok(yaml(PERSISTENT))))]).is_ok());
}

#[test]
fn a_namespace_that_is_not_known_yet_is_waited_for() {
    let gateway = gateway(SMALLEST);
    let owner = Owner { name: Name::within("team-a", "dev"), uid: "u".into() };
    let error = audit::resolve(&gateway, &owner, &[], |_| None, NoPolicy::Baseline).unwrap_err();
    assert_eq!(error.reason(), "NamespaceUnseen");
}

#[test]
fn a_configuration_that_the_gateway_would_refuse_is_a_finding() {
    let spec = SMALLEST.replace("kubernetes:", "kubernetes:\n    deadline: 1ms");
    let error = plan(&inputs(&spec, &[], None)).unwrap_err();
    assert!(matches!(&error, PlanError::Finding(finding) if finding.message.contains("deadline")), "{error}");
}

#[test]
fn secrets_stay_out_of_debug_output() {
    let inputs = inputs(EVERYTHING, &[POLICY], Some(s3_keys()));
    let shown = format!("{inputs:?} {:?}", plan(&inputs).unwrap());
    assert!(!shown.contains("not-a-real-key") && !shown.contains("AKIAEXAMPLE"), "{shown}");
    assert_eq!(merge::baseline().storage, None);
}
