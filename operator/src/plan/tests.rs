//! Golden renders: every object of the plan, for inputs that between them use every field. A change of any byte that
//! reaches a cluster shows up here; review it with `cargo insta review`.

use std::sync::Arc;
use std::time::Duration;

use crate::{
    baseline::{Fallback, NoPolicy},
    children::{Child, ChildKind, Owner},
    gather::{audit, audit::GuardedPolicy, pod_check},
    index::Name,
    plan::{
        AuditKeys, Inputs, Plan, PlanError, S3Keys, ServerFiles, TargetKeys, TlsFiles, config,
        hostkeys::HostKeys, plan,
    },
    served::Kinds,
    status::now,
};
use containerssh_crds::{AuditFormat, AuditPolicy, AuditTier, SSHGateway, merge};
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

fn inputs(spec: &str, policies: &[&str], keys: Option<AuditKeys>) -> Inputs {
    let gateway = gateway(spec);
    let owner = Owner { name: Name::within("team-a", "dev"), uid: gateway.metadata.uid.clone().unwrap() };
    let policies: Vec<_> =
        policies.iter().map(|text| Arc::new(GuardedPolicy(Ok(yaml::<AuditPolicy>(text))))).collect();
    let resolved =
        audit::resolve(&gateway, &owner, &policies, |_| Some([].into()), &Fallback::default(), &now())
            .unwrap()
            .unwrap();
    let pod = pod_check::known_fields(&gateway.spec.backend.kubernetes.pod_template.spec).unwrap();
    Inputs {
        owner,
        default_image: "registry.example.com/containerssh-gateway:0.1.0".into(),
        agent_image: "registry.example.com/containerssh-agent:0.1.0".into(),
        operator_namespace: "containerssh".into(),
        pod,
        volumes: pod_check::known_volumes(&gateway).unwrap(),
        audit: resolved.audit(keys.unwrap_or_default()),
        host_keys: HostKeys {
            secret: "dev-host-keys".into(),
            files: vec!["ssh_host_ecdsa_key".into(), "ssh_host_ed25519_key".into()],
            fingerprints: vec!["SHA256:one".into(), "SHA256:two".into()],
        },
        authorities: Vec::new(),
        servers: ServerFiles::default(),
        served: Kinds { service_monitor: true, tcp_route: true },
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
service: {type: LoadBalancer, port: 2200, externalTrafficPolicy: Local, annotations: {lb.example.com/internal: "true"}, nodePort: 30022, loadBalancerClass: example.com/lb, loadBalancerSourceRanges: [192.0.2.0/24], tcpRoute: {parentRefs: [{name: edge, namespace: network, sectionName: ssh}, {name: other, port: 2200}]}}
ssh:
  banner: "Authorised use only.\n"
  hostKeysSecretRef: {name: own-keys}
  loginGraceTime: 30s
  keepAlive: {interval: 15s, countMax: 5}
  motd: "Welcome.\n"
  proxyProtocol: {trustedCIDRs: [10.1.0.0/16]}
  limits: {connections: 500, unauthenticated: 50, perSource: 10, perUser: 3, sessionsPerConnection: 8}
  algorithms: {profile: NIST}
  penalties: {authFail: 7s, max: 30m, exempt: [10.0.0.0/8]}
authentication:
  password: {webhook: {url: "https://auth.example.com:8443/ssh", timeout: 9s, caSecretRef: {name: ca}, clientCertificateSecretRef: {name: client}}}
  publicKey:
    webhook: {url: "http://auth.internal/ssh"}
    authorizedKeysFrom: [{secretRef: {name: keys}}, {configMapRef: {name: more-keys}}]
    certificateAuthorities: {configMapRef: {name: user-ca}, principalsFrom: {configMapRef: {name: principals}}}
    revokedKeysFrom: [{secretRef: {name: revoked, key: revoked.krl}}, {configMapRef: {name: revoked, key: keys}}]
  keyboardInteractive:
    oidc:
      issuer: https://idp.example.com:5554
      clientID: ssh-gateway
      clientSecretRef: {name: oidc}
      flows: [AuthorizationCode, Device]
      redirectURI: https://ssh-login.example.com/
      usernameClaim: email
      enforceUsername: true
      extraScopes: [email, groups]
      enforceScopes: [groups]
      qrCodeClients: [SSH-2.0-OpenSSH]
      deviceFlowClients: [SSH-2.0-PuTTY]
      timeout: 90s
      caConfigMapRef: {name: idp-ca}
  authorization: {webhook: {url: "https://authz.example.com:8444/ssh", timeout: 6s, caSecretRef: {name: ca}, clientCertificateSecretRef: {name: client}}}
  require: [[publicKey, keyboardInteractive], [password]]
configServer: {url: "https://config.example.com:8445/ssh?team=a", timeout: 5s, transmitSensitiveMetadata: true, caSecretRef: {name: ca}, clientCertificateSecretRef: {name: client}}
backend:
  kubernetes:
    namespace: team-a-shells
    mode: Connection
    consoleContainer: shell
    shellCommand: [/bin/zsh, -l]
    idleCommand: [/bin/idle]
    subsystems: {sftp: /usr/libexec/sftp-server, rsync: /usr/bin/rsync}
    agent: {transport: Direct}
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
security:
  defaultMode: Enable
  env: {mode: Filter, allow: [LANG]}
  command: {mode: Filter, allow: [id], allowPatterns: ["scp -t .*"]}
  shell: {mode: Disable}
  subsystem: {mode: Enable, deny: [rsync]}
  tty: {mode: Enable}
  signal: {mode: Filter, allow: [TERM]}
  maxSessions: 4
  forwarding: [Direct, Reverse, X11]
audit: {intercept: {stdout: Require}}
spool: {size: 20Gi}
drain: {timeout: 8h}
log: {level: Debug, format: Text}
metrics: {serviceMonitor: {labels: {release: prometheus, containerssh.io/gateway: forged}, interval: 15s}}
template:
  metadata: {labels: {cost-centre: "42", app.kubernetes.io/name: forged}, annotations: {sidecar.example.com/inject: "false"}}
  nodeSelector: {pool: ssh}
  tolerations: [{key: ssh, operator: Exists}]
  affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: gpu, operator: DoesNotExist}]}]}}}
  priorityClassName: important
  serviceAccountAnnotations: {eks.amazonaws.com/role-arn: "arn:aws:iam::1:role/audit"}
  env: [{name: TZ, value: Europe/Berlin}]
  volumes: [{name: extra, configMap: {name: extra}}]
  volumeMounts: [{name: extra, mountPath: /mnt/extra}]
  topologySpreadConstraints: [{maxSkew: 2, topologyKey: rack, whenUnsatisfiable: DoNotSchedule}]
  imagePullSecrets: [{name: registry}]
  runtimeClassName: gvisor
networkPolicy: {enabled: true, sources: [192.0.2.0/24, "2001:db8::/32"]}
podDisruptionBudget: {maxUnavailable: 2}
"#;

const AUTHORITY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO6vSqCZE2CmfN1cIktvGcA9gYbCSEBSSOobNKb5YJ9X ca@example";

const POLICY: &str = r#"
apiVersion: containerssh.io/v1alpha1
kind: AuditPolicy
metadata: {name: production, generation: 2}
spec:
  namespaces: [team-a]
  enforce:
    intercept: {stdin: Require, passwords: Forbid, forwarding: Require}
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
    allow: {subsystems: [sftp], forwarding: [Direct], modes: [Connection]}
"#;

/// Everything that makes a record evidence, from several policies and the gateway itself.
const EVIDENCE: [&str; 2] = [
    r#"
apiVersion: containerssh.io/v1alpha1
kind: AuditPolicy
metadata: {name: evidence, generation: 4}
spec:
  namespaces: [team-a]
  priority: 10
  enforce:
    format: Binary
    formatVersion: 2
    storage:
      s3:
        bucket: audit-logs
        region: us-east-1
        serverSideEncryption: {type: KMS, kmsKeyId: alias/audit}
        credentials: {type: Secret, secretRef: {name: s3}}
    objectLock: {mode: Compliance, retention: 8760h}
    encryptTo: [age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj]
    signing: {secretRef: {name: audit-signing}}
    spool: {durability: Strict}
    events:
    - webhook:
        url: https://siem.example:8443/ingest
        encoding: NDJSON
        compression: Gzip
        bearerTokenSecretRef: {name: siem-token}
        clientCertificateSecretRef: {name: siem-client}
        timeout: 5s
        batch: {events: 100, bytes: 512Ki, delay: 500ms}
        include: [connect, exec, sftp, disconnect]
"#,
    r#"
apiVersion: containerssh.io/v1alpha1
kind: AuditPolicy
metadata: {name: hold, generation: 1}
spec:
  namespaces: [team-a]
  enforce:
    objectLock: {mode: Governance, retention: 17520h, legalHold: true}
    events:
    - syslog:
        address: logs.example:6514
        clientCertificateSecretRef: {name: siem-client}
        facility: 10
"#,
];

const PERSISTENT: &str = r#"
apiVersion: containerssh.io/v1alpha1
kind: AuditPolicy
metadata: {name: durable}
spec:
  namespaceSelector: {}
  enforce: {spool: {medium: Persistent, size: 5Gi}}
"#;

fn s3_keys() -> AuditKeys {
    use containerssh_config::Secret;
    let s3 = S3Keys { access_key: Secret::new("AKIAEXAMPLE"), secret_key: Secret::new("not-a-real-key") };
    AuditKeys { s3: Some(s3), ..AuditKeys::default() }
}

fn pem(label: &str) -> String {
    format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----")
}

/// What the Secrets of [`EVIDENCE`] hold.
fn evidence_keys() -> AuditKeys {
    use containerssh_config::Secret;
    let certificate = || (Some(Secret::new(pem("CERTIFICATE"))), Some(Secret::new(pem("PRIVATE KEY"))));
    let (webhook, syslog) = (certificate(), certificate());
    AuditKeys {
        signing: Some(Secret::new(pem("PRIVATE KEY"))),
        // In the order of the effective settings.
        events: vec![
            TargetKeys { bearer_token: None, certificate: syslog.0, key: syslog.1 },
            TargetKeys {
                bearer_token: Some(Secret::new("token-of-siem")),
                certificate: webhook.0,
                key: webhook.1,
            },
        ],
        ..s3_keys()
    }
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
    let files =
        || TlsFiles { ca: pem("CERTIFICATE"), certificate: pem("CERTIFICATE"), key: pem("PRIVATE KEY") };
    inputs.servers = ServerFiles {
        password: files(),
        authorization: files(),
        provider: TlsFiles { ca: pem("CERTIFICATE"), ..TlsFiles::default() },
        config_server: files(),
        client_secret: Some(containerssh_config::Secret::new("secret-of-the-client")),
        ..ServerFiles::default()
    };
    inputs.authorities = vec![AUTHORITY.to_owned()];
    insta::assert_snapshot!(render(&plan(&inputs).unwrap()));
}

#[test]
fn a_policy_that_demands_a_persistent_spool() {
    insta::assert_snapshot!(render(&plan(&inputs(SMALLEST, &[PERSISTENT], None)).unwrap()));
}

#[test]
fn policies_that_want_evidence() {
    let inputs = inputs(SMALLEST, &EVIDENCE, Some(evidence_keys()));
    assert_eq!(config::check(&inputs.audit), Ok(()));
    insta::assert_snapshot!(render(&plan(&inputs).unwrap()));
}

#[test]
fn what_the_gateway_would_refuse_of_an_audit_is_found_before_it_is_imposed() {
    let policy = EVIDENCE[0].replace("age1zvkyg2", "age1zvkyg3");
    let error = config::check(&inputs(SMALLEST, &[&policy], Some(evidence_keys())).audit).unwrap_err();
    assert!(error.contains("audit.encryption.recipients[0]"), "{error}");
    let policy = EVIDENCE[0].replace("sftp", "teleport");
    let error = config::check(&inputs(SMALLEST, &[&policy], Some(evidence_keys())).audit).unwrap_err();
    assert!(error.contains("\"teleport\" is not one of"), "{error}");
}

#[test]
fn an_exclusion_lifts_a_policy_until_it_expires() {
    let text = EVIDENCE[0].replace(
        "  priority: 10",
        "  exclude: [{namespace: team-a, gateway: dev, reason: migration, expiresAt: '2030-01-01T00:00:00Z'}]",
    );
    let policies = [Arc::new(GuardedPolicy(Ok(yaml::<AuditPolicy>(&text))))];
    let gateway = gateway(SMALLEST);
    let owner = Owner { name: Name::within("team-a", "dev"), uid: "u".into() };
    let at = |text: &str| k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(text.parse().unwrap());
    let resolve = |now: &str| {
        audit::resolve(&gateway, &owner, &policies, |_| Some([].into()), &Fallback::default(), &at(now))
            .unwrap()
            .unwrap()
    };
    let during = resolve("2029-12-31T23:59:59Z");
    assert_eq!(during.merged.policy(), "Baseline");
    assert_eq!(during.exclusions[0].reason, "migration");
    assert_eq!(during.next_expiry(), Some(&at("2030-01-01T00:00:00Z")));
    let after = resolve("2030-01-01T00:00:00Z");
    assert_eq!((after.merged.policy().as_str(), after.exclusions.len()), ("evidence", 0));
    let covers = |name: &str, now: &str| {
        let policy = policies[0].0.as_ref().unwrap();
        let selects = |namespace: &str| containerssh_crds::matches(&policy.spec, namespace, &[].into());
        audit::covers_gateway(policy, &Name::within("team-a", name), None, selects, &at(now))
    };
    assert!(!covers("dev", "2029-01-01T00:00:00Z") && covers("dev", "2031-01-01T00:00:00Z"));
    assert!(covers("other", "2029-01-01T00:00:00Z"), "the exclusion names one gateway");
}

#[test]
fn a_baseline_of_the_operators_own_holds_where_no_policy_does() {
    let own = AuditTier {
        format: Some(AuditFormat::Binary),
        storage: Some(yaml("{s3: {bucket: floor, region: r}}")),
        ..merge::baseline()
    };
    let fallback = Fallback { baseline: own, ..Fallback::default() };
    let gateway = gateway(SMALLEST);
    let owner = Owner { name: Name::within("team-a", "dev"), uid: "u".into() };
    let resolved =
        audit::resolve(&gateway, &owner, &[], |_| Some([].into()), &fallback, &now()).unwrap().unwrap();
    assert_eq!(resolved.merged.effective.storage.as_ref().unwrap().s3.bucket, "floor");
    assert_eq!(resolved.merged.why["storage"], "the operator's baseline");
}

#[test]
fn passwords_by_webhook() {
    let spec = r#"
authentication: {password: {webhook: {url: "https://auth.example.com/ssh"}}}
backend: {kubernetes: {podTemplate: {spec: {containers: [{name: shell, image: "debian:12"}]}}}}
networkPolicy: {enabled: false}
podDisruptionBudget: {enabled: false}
ssh: {algorithms: {profile: Compatible}}
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
fn the_models_of_execution_and_the_permission_that_they_need() {
    let with = |extra: &str| {
        let spec = SMALLEST.replace("kubernetes:", &format!("kubernetes:\n    {extra}"));
        let inputs = inputs(&spec, &[], None);
        let config = config::render(&inputs);
        config.clone().validate().unwrap();
        let role = crate::plan::rbac::roles(&inputs).swap_remove(0).0;
        let patch = role.rules.unwrap()[0].verbs.contains(&"patch".to_owned());
        (config.kubernetes.pod, patch)
    };
    let (pod, patch) = with("mode: Session");
    assert_eq!((pod.mode, patch), (containerssh_config::PodMode::Session, false));

    let (pod, patch) = with("warmPool: {size: 4}");
    assert_eq!((pod.warm_pool.size, pod.warm_pool.max_age, patch), (4, Duration::from_secs(3600), true));

    let (pod, patch) = with(
        "mode: Persistent\n    persistent: {podName: \"dev-{username}\", createMissing: true, idleTimeout: 8h}",
    );
    assert_eq!(pod.metadata.name.as_deref(), Some("dev-{username}"));
    assert!(pod.create_missing_pods && patch);
    assert_eq!(pod.idle_timeout, Duration::from_secs(8 * 3600));
    assert!(!with("mode: Persistent\n    persistent: {podName: box}").1);
}

#[test]
fn what_the_gateway_reloads_restarts_no_pod() {
    let before = template(&inputs(SMALLEST, &[], None));
    for reloaded in [
        "ssh: {banner: hello, limits: {connections: 5}}\nlog: {level: Debug}\n",
        "ssh: {algorithms: {profile: NIST}, penalties: {}}\n",
        "security: {shell: {mode: Disable}, maxSessions: 1}\n",
        "configServer: {url: \"https://config.example.com\"}\n",
        "service: {type: NodePort, nodePort: 30022}\npodDisruptionBudget: {enabled: false}\n",
        "networkPolicy: {enabled: true, sources: [192.0.2.0/24]}\nreplicas: 5\n",
    ] {
        assert_eq!(template(&inputs(&format!("{SMALLEST}{reloaded}"), &[], None)), before, "{reloaded}");
    }
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
    let everything = || {
        let authorities = vec![AUTHORITY.to_owned()];
        Inputs { authorities, ..inputs(EVERYTHING, &[POLICY], Some(s3_keys())) }
    };
    let (one, two) = (digests(plan(&everything()).unwrap()), digests(plan(&everything()).unwrap()));
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
    let resolve = |namespace: &str| {
        let guarded: GuardedPolicy = serde_json::from_value(serde_json::json!({
            "apiVersion": "containerssh.io/v1alpha1", "kind": "AuditPolicy", "metadata": {"name": "new"},
            "spec": {"namespaces": [namespace], "enforce": {"onFailure": "Explode"}},
        }))
        .unwrap();
        let policies = [Arc::new(guarded)];
        audit::resolve(&gateway, &owner, &policies, |_| Some([].into()), &Fallback::default(), &now())
            .unwrap()
    };
    let finding = resolve("team-a").unwrap_err();
    assert!(finding.message.contains("AuditPolicy new cannot be read"), "{finding}");
    assert_eq!(resolve("elsewhere").unwrap().merged.policy(), "Baseline", "and harms nobody else");
}

#[test]
fn without_a_policy_the_operator_may_refuse() {
    let gateway = gateway(SMALLEST);
    let owner = Owner { name: Name::within("team-a", "dev"), uid: "u".into() };
    let resolve = |policies: &[_]| {
        let fallback = Fallback { no_policy: NoPolicy::Deny, ..Fallback::default() };
        audit::resolve(&gateway, &owner, policies, |_| Some([].into()), &fallback, &now()).unwrap()
    };
    assert!(resolve(&[]).unwrap_err().message.contains("no AuditPolicy covers namespace team-a"));
    assert!(resolve(&[Arc::new(GuardedPolicy(Ok(yaml(PERSISTENT))))]).is_ok());
}

#[test]
fn a_namespace_that_is_not_known_yet_is_waited_for() {
    let gateway = gateway(SMALLEST);
    let owner = Owner { name: Name::within("team-a", "dev"), uid: "u".into() };
    let error = audit::resolve(&gateway, &owner, &[], |_| None, &Fallback::default(), &now()).unwrap_err();
    assert_eq!(error.reason(), "NamespaceUnseen");
}

#[test]
fn a_configuration_that_the_gateway_would_refuse_is_a_finding() {
    let spec = SMALLEST.replace("kubernetes:", "kubernetes:\n    deadline: 1ms");
    let error = plan(&inputs(&spec, &[], None)).unwrap_err();
    assert!(matches!(&error, PlanError::Finding(finding) if finding.message.contains("deadline")), "{error}");
}

#[test]
fn a_gateway_may_know_its_users_by_certificates_alone() {
    let spec = SMALLEST.replace(
        "authorizedKeysFrom: [{secretRef: {name: team-a-keys}}]",
        "certificateAuthorities: {secretRef: {name: ca}}",
    );
    let mut inputs = inputs(&spec, &[], None);
    assert!(plan(&inputs).is_err(), "without an authority nobody could log in");
    inputs.authorities = vec![AUTHORITY.to_owned()];
    plan(&inputs).unwrap();
    let certificates = config::render(&inputs).auth.public_key.certificates;
    assert_eq!((certificates.authorities, certificates.principals_file), (vec![AUTHORITY.to_owned()], None));
}

#[test]
fn a_login_at_a_provider_is_by_the_device_flow_unless_the_gateway_says_otherwise() {
    let provider = "{issuer: 'https://idp.example', clientID: ssh}";
    let spec = SMALLEST
        .replace("authentication:", &format!("authentication:\n  keyboardInteractive: {{oidc: {provider}}}"));
    let inputs = inputs(&spec, &[], None);
    let plan = plan(&inputs).unwrap();
    let oidc = config::render(&inputs).auth.keyboard_interactive.oauth2.oidc;
    assert_eq!((oidc.device_flow, oidc.authorization_code_flow), (true, false));
    assert_eq!(oidc.username_field, "sub");
    let services = plan.children.iter().filter(|child| child.kind == ChildKind::Service);
    assert_eq!(services.count(), 1, "nothing comes back to the gateway");
}

#[test]
fn lists_of_methods_that_got_past_the_api_server_are_refused_and_not_left_out() {
    let cases = [("[]", "names"), ("[publicKey, publicKey]", "twice"), ("[password]", "not configured")];
    for (list, says) in cases {
        let spec = SMALLEST.replace("authentication:", &format!("authentication:\n  require: [{list}]"));
        let error = plan(&inputs(&spec, &[], None)).unwrap_err().to_string();
        assert!(error.contains("[0]") && (list == "[]" || error.contains(says)), "{list}: {error}");
    }
}

#[test]
fn a_source_of_revoked_keys_that_names_nothing_leads_to_no_file() {
    let spec = SMALLEST.replace("publicKey:", "publicKey:\n    revokedKeysFrom: [{}]");
    let revoked = config::render(&inputs(&spec, &[], None)).auth.public_key.revoked_keys;
    assert_eq!(revoked, ["/etc/containerssh/revoked-keys/0/missing"], "which lets no key in");
}

#[test]
fn the_grace_period_follows_the_drain() {
    let grace = |spec: &str| {
        template(&inputs(spec, &[], None))["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap()
    };
    let (short, long) = (grace(SMALLEST), grace(&format!("{SMALLEST}drain: {{timeout: 8h}}\n")));
    assert!(short > 60 && long - short == 8 * 3600 - 60, "{short} {long}");
}

#[test]
fn a_volume_of_the_future_is_refused_by_its_path() {
    let spec = format!("{SMALLEST}template: {{volumes: [{{name: a, cloud: {{size: 1}}}}]}}\n");
    let finding = pod_check::known_volumes(&gateway(&spec)).unwrap_err();
    assert!(finding.message.contains("template.volumes[0].cloud is not known"), "{finding}");
}

#[test]
fn what_a_policy_does_not_allow_is_not_rendered_whatever_the_gateway_says() {
    let policy = |allow: &str| {
        format!(
            "{{apiVersion: containerssh.io/v1alpha1, kind: AuditPolicy, metadata: {{name: p}}, spec: {{namespaceSelector: {{}}, enforce: {{allow: {allow}}}}}}}"
        )
    };
    let wish = format!(
        "{SMALLEST}audit: {{allow: {{subsystems: [sftp, netconf], forwarding: [Direct, X11]}}}}\nsecurity: {{forwarding: [Direct, X11, Agent]}}\n"
    );
    let inputs = inputs(&wish, &[&policy("{subsystems: [], forwarding: [Direct]}")], None);
    let allow = &inputs.audit.effective.allow;
    assert_eq!((allow.subsystems.as_deref(), allow.forwarding.as_ref().unwrap().len()), (Some(&[][..]), 1));
    let rendered = config::render(&inputs);
    assert!(rendered.kubernetes.pod.subsystems.is_empty());
    use containerssh_config::ForwardingMode::{Disable, Enable};
    let forwarding = rendered.security.forwarding;
    assert_eq!(
        [forwarding.forwarding_mode, forwarding.x11_forwarding_mode, forwarding.agent_forwarding_mode],
        [Enable, Disable, Disable]
    );
}

#[test]
fn what_a_policy_took_the_configuration_server_of_a_gateway_cannot_give_back() {
    let spec = format!("{SMALLEST}configServer: {{url: \"https://config.example\"}}\n");
    let rendered = config::render(&inputs(&spec, &[POLICY], Some(s3_keys())));
    let refused = |answer: Value| rendered.overlaid(&answer).unwrap_err().to_string();
    for answer in [
        serde_json::json!({"security": {"forwarding": {"x11ForwardingMode": "enable"}}}),
        serde_json::json!({"kubernetes": {"pod": {"mode": "session"}}}),
        serde_json::json!({"kubernetes": {"pod": {"subsystems": {"netconf": "/bin/netconf"}}}}),
    ] {
        let error = refused(answer);
        assert!(error.contains("audit policy"), "{error}");
    }
    let left = serde_json::json!({"security": {"forwarding": {"forwardingMode": "enable"}}});
    rendered.overlaid(&left).unwrap();
}

#[test]
fn a_gateway_does_without_the_kinds_that_its_cluster_lacks_and_says_so() {
    let spec = format!(
        "{SMALLEST}metrics: {{serviceMonitor: {{}}}}\nservice: {{tcpRoute: {{parentRefs: [{{name: edge}}]}}}}\n"
    );
    let with = |service_monitor, tcp_route| {
        let served = Kinds { service_monitor, tcp_route };
        plan(&Inputs { served, ..inputs(&spec, &[], None) }).unwrap()
    };
    let names = |plan: &Plan| -> Vec<String> { plan.children.iter().map(ToString::to_string).collect() };
    let (all, none) = (with(true, true), with(false, false));
    assert_eq!(all.missing, Some(vec![]));
    let optional = ["Service team-a/dev-metrics", "ServiceMonitor team-a/dev", "TCPRoute team-a/dev"];
    assert!(optional.iter().all(|name| names(&all).iter().any(|found| found == name)), "{:?}", names(&all));
    let missing = none.missing.clone().unwrap();
    assert!(missing[0].contains("metrics.serviceMonitor") && missing[0].contains("monitoring.coreos.com/v1"));
    assert!(
        missing[1].contains("service.tcpRoute") && missing[1].contains("gateway.networking.k8s.io/v1alpha2")
    );
    let smallest = plan(&inputs(SMALLEST, &[], None)).unwrap();
    assert_eq!(names(&none), names(&smallest), "everything else is made");
    assert_eq!(smallest.missing, None);
    assert_eq!(with(true, false).missing.unwrap().len(), 1);
}

#[test]
fn volumes_go_with_the_gateway_only_where_no_policy_wants_their_records() {
    let retention = |policies: &[&str]| {
        let spec = format!(
            "{SMALLEST}spool: {{medium: Persistent, persistentVolumeClaimRetentionPolicy: {{whenDeleted: Delete}}}}\n"
        );
        let plan = plan(&inputs(&spec, policies, None)).unwrap();
        let spec = child(&plan, ChildKind::StatefulSet)["spec"].clone();
        let policy = &spec["persistentVolumeClaimRetentionPolicy"];
        [policy["whenDeleted"].clone(), policy["whenScaled"].clone()]
    };
    assert_eq!(retention(&[]), ["Delete", "Retain"]);
    assert_eq!(retention(&[PERSISTENT]), ["Retain", "Retain"]);
}

#[test]
fn secrets_stay_out_of_debug_output() {
    let inputs = inputs(EVERYTHING, &[POLICY], Some(s3_keys()));
    let mut inputs = inputs;
    inputs.authorities = vec![AUTHORITY.to_owned()];
    inputs.servers.client_secret = Some(containerssh_config::Secret::new("secret-of-the-client"));
    let shown = format!("{inputs:?} {:?}", plan(&inputs).unwrap());
    assert!(!shown.contains("secret-of-the-client"), "{shown}");
    assert!(!shown.contains("not-a-real-key") && !shown.contains("AKIAEXAMPLE"), "{shown}");
    let shown = format!("{:?}", super::tests::inputs(SMALLEST, &EVIDENCE, Some(evidence_keys())));
    assert!(!shown.contains("token-of-siem") && !shown.contains("BEGIN PRIVATE KEY"), "{shown}");
    assert_eq!(merge::baseline().storage, None);
}

/// Rows of the tables below a heading of docs/permissions.md, as (resource, verbs).
fn documented_rights(table: usize) -> Vec<(String, Vec<String>)> {
    let text = include_str!("../../../docs/permissions.md");
    let section = text.split("\n## ").find_map(|section| section.strip_prefix("Gateway\n")).unwrap();
    let tables: Vec<&str> = section.split("|---|---|---|---|\n").skip(1).collect();
    let rows = tables[table].lines().take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        assert_eq!((cells[1], cells[4].is_empty()), ("core", false), "{row}");
        let mut verbs: Vec<String> = cells[3].split(", ").map(str::to_owned).collect();
        verbs.sort();
        (cells[2].trim_matches('`').to_owned(), verbs)
    })
    .collect()
}

#[test]
fn every_right_of_a_gateway_is_documented_with_its_reason() {
    let elsewhere = SMALLEST.replace("kubernetes:", "kubernetes:\n    namespace: team-a-shells");
    let plan = plan(&inputs(&elsewhere, &[], None)).unwrap();
    let rights = |namespace: &str| -> Vec<(String, Vec<String>)> {
        let role = plan.children.iter().find(|c| c.kind == ChildKind::Role && c.namespace == namespace);
        let rules = role.unwrap().manifest["rules"].as_array().unwrap().clone();
        let words = |list: &Value| -> Vec<String> { serde_json::from_value(list.clone()).unwrap() };
        rules.iter().map(|rule| (words(&rule["resources"]).join(","), words(&rule["verbs"]))).collect()
    };
    assert_eq!(rights("team-a-shells"), documented_rights(0));
    assert_eq!(rights("team-a"), documented_rights(1));
}
