//! What the owner of a namespace may do to its gateways: the API server itself is asked, with the rights of the cluster's
//! own role `admin`, about objects as the operator makes them.

use anyhow::{Context, Result, ensure};
use containerssh_e2e::{Cluster, Namespace, wait};
use serde_json::json;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// Who owns the namespace.
const TENANT: &str = "e2e-tenant";
const DEADLINE: Duration = Duration::from_secs(60);
/// What every refusal of ours names.
const OURS: &str = "SSHGateway";

/// A namespace with an owner, and a gateway's objects in it.
struct Home {
    cluster: Cluster,
    namespace: Namespace,
    /// The gateway pod.
    pod: String,
}

/// A role that gives more than `admin` does: the admission must not lean on what RBAC happens to forbid.
const GENEROUS: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: generous, namespace: NAMESPACE}
rules:
- {apiGroups: [""], resources: [pods/ephemeralcontainers, pods/proxy, pods/resize], verbs: [get, create, update, patch]}
- {apiGroups: [containerssh.io], resources: [sshgateways, sshgateways/status, sshgateways/scale], verbs: [get, list, create, update, patch, delete]}
"#;

/// What the operator makes, as far as it matters here.
const CHILDREN: &str = r#"
apiVersion: v1
kind: Secret
metadata: {name: dev-config, namespace: NAMESPACE, labels: LABELS}
stringData: {config.yaml: "audit: {}"}
---
apiVersion: v1
kind: Service
metadata: {name: dev, namespace: NAMESPACE, labels: LABELS}
spec: {ports: [{port: 22}], selector: {app.kubernetes.io/name: containerssh-gateway}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: dev-gateway, namespace: NAMESPACE, labels: LABELS}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: dev-gateway, namespace: NAMESPACE, labels: LABELS}
rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: dev-gateway, namespace: NAMESPACE, labels: LABELS}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: dev-gateway}
subjects: [{kind: ServiceAccount, name: dev-gateway, namespace: NAMESPACE}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: dev, namespace: NAMESPACE, labels: LABELS}
spec: {podSelector: {matchLabels: {app.kubernetes.io/name: containerssh-gateway}}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: dev, namespace: NAMESPACE, labels: LABELS}
spec: {maxUnavailable: 1, selector: {matchLabels: {app.kubernetes.io/name: containerssh-gateway}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: spool-dev-0, namespace: NAMESPACE, labels: LABELS}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: dev, namespace: NAMESPACE, labels: LABELS}
spec:
  replicas: 1
  selector: {matchLabels: {app.kubernetes.io/name: containerssh-gateway, app.kubernetes.io/instance: dev}}
  template:
    metadata: {labels: LABELS}
    spec:
      serviceAccountName: dev-gateway
      terminationGracePeriodSeconds: 0
      containers: [{name: gateway, image: "IMAGE", command: [/bin/busybox, sleep, "3600"]}]
"#;

const LABELS: &str = "{app.kubernetes.io/name: containerssh-gateway, app.kubernetes.io/instance: dev, \
                      app.kubernetes.io/managed-by: containerssh-operator}";

async fn kubectl(arguments: &[&str], input: &str) -> Result<(bool, String)> {
    let mut child = Command::new("kubectl")
        .args(["--request-timeout=20s"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("kubectl is needed")?;
    child.stdin.take().context("stdin")?.write_all(input.as_bytes()).await?;
    let output = tokio::time::timeout(DEADLINE, child.wait_with_output()).await??;
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Ok((output.status.success(), text))
}

impl Home {
    async fn new(name: &str) -> Result<Self> {
        let cluster = Cluster::connect().await?;
        let namespace = cluster.namespace(name).await?;
        let home = Self { cluster, namespace, pod: String::new() };
        let rights = ["create", "rolebinding", "tenant", "--clusterrole=admin"];
        home.admin(&[&rights[..], &[&format!("--user={TENANT}")]].concat()).await?;
        home.apply(GENEROUS).await?;
        home.admin(&["create", "rolebinding", "generous", "--role=generous", &format!("--user={TENANT}")])
            .await?;
        home.apply(CHILDREN).await?;
        let pod = wait::until("the gateway pod", DEADLINE, || async {
            let pods = home.namespace.pods("app.kubernetes.io/instance=dev").await?;
            let running = pods.into_iter().find(|pod| {
                pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
            });
            running.and_then(|pod| pod.metadata.name).context("it does not run")
        })
        .await?;
        Ok(Self { pod, ..home })
    }

    fn fill(&self, manifest: &str) -> String {
        manifest
            .replace("NAMESPACE", &self.namespace.name)
            .replace("LABELS", LABELS)
            .replace("IMAGE", &self.cluster.environment.busybox_image)
    }

    async fn apply(&self, manifest: &str) -> Result<()> {
        self.cluster.apply(&self.fill(manifest)).await
    }

    async fn admin(&self, arguments: &[&str]) -> Result<String> {
        let (done, text) = kubectl(&[&["-n", &self.namespace.name], arguments].concat(), "").await?;
        ensure!(done, "kubectl {arguments:?}: {text}");
        Ok(text)
    }

    async fn tenant(&self, arguments: &[&str], input: &str) -> Result<(bool, String)> {
        let whose = ["-n", &self.namespace.name, "--as", TENANT];
        kubectl(&[&whose[..], arguments].concat(), &self.fill(input)).await
    }

    /// The tenant is refused, and by us.
    async fn refused(&self, arguments: &[&str], input: &str) -> Result<()> {
        let (done, text) = self.tenant(arguments, input).await?;
        ensure!(!done, "{arguments:?} was allowed: {text}");
        ensure!(text.contains("ValidatingAdmissionPolicy") && text.contains(OURS), "{arguments:?}: {text}");
        // A rule that cannot be evaluated refuses as well, and says so instead of what it should.
        ensure!(!text.contains("resulted in error"), "{arguments:?}: {text}");
        Ok(())
    }

    async fn allowed(&self, arguments: &[&str], input: &str) -> Result<()> {
        let (done, text) = self.tenant(arguments, input).await?;
        ensure!(done, "{arguments:?} was refused: {text}");
        Ok(())
    }
}

#[tokio::test]
async fn an_owner_can_neither_change_nor_delete_what_the_operator_made() -> Result<()> {
    let home = Home::new("e2e-admission-owned").await?;
    let pod = format!("pod/{}", home.pod);
    for kind in [
        "secret/dev-config",
        "service/dev",
        "serviceaccount/dev-gateway",
        "role/dev-gateway",
        "rolebinding/dev-gateway",
        "networkpolicy/dev",
        "poddisruptionbudget/dev",
        "persistentvolumeclaim/spool-dev-0",
        "deployment/dev",
        &pod,
    ] {
        home.refused(&["delete", kind, "--wait=false"], "").await?;
        home.refused(&["label", kind, "app.kubernetes.io/managed-by-", "app.kubernetes.io/name-"], "")
            .await?;
    }
    home.refused(&["delete", "secrets", "--all"], "").await?;
    let collection = format!("/api/v1/namespaces/{}/secrets", home.namespace.name);
    home.refused(&["delete", "--raw", &collection], "").await?;
    home.refused(&["patch", "secret", "dev-config", "-p", r#"{"stringData":{"config.yaml":"x"}}"#], "")
        .await?;
    home.refused(&["patch", "service", "dev", "-p", r#"{"spec":{"selector":{"a":"b"}}}"#], "").await?;
    let role = r#"{"rules":[{"apiGroups":[""],"resources":["pods"],"verbs":["get","list"]}]}"#;
    home.refused(&["patch", "role", "dev-gateway", "-p", role], "").await?;
    home.refused(&["patch", "networkpolicy", "dev", "-p", r#"{"spec":{"ingress":[{}]}}"#], "").await?;
    home.refused(&["patch", "pdb", "dev", "-p", r#"{"spec":{"maxUnavailable":2}}"#], "").await?;
    home.refused(&["set", "image", "deployment/dev", "gateway=evil"], "").await?;
    home.refused(&["set", "image", &pod, "gateway=evil"], "").await?;
    home.refused(&["rollout", "restart", "deployment/dev"], "").await?;
    home.refused(&["scale", "deployment/dev", "--replicas=0"], "").await?;
    home.refused(&["delete", "replicasets", "--all"], "").await?;
    home.namespace.discard().await
}

#[tokio::test]
async fn an_owner_gets_into_no_gateway_pod_and_takes_no_identity() -> Result<()> {
    let home = Home::new("e2e-admission-pods").await?;
    home.refused(&["exec", &home.pod, "--", "/bin/busybox", "true"], "").await?;
    home.refused(&["attach", &home.pod], "").await?;
    home.refused(&["port-forward", &home.pod, ":22"], "").await?;
    let image = format!("--image={}", home.cluster.environment.busybox_image);
    home.refused(&["debug", &home.pod, &image, "--", "/bin/busybox", "true"], "").await?;
    let proxy = format!("/api/v1/namespaces/{}/pods/{}/proxy/", home.namespace.name, home.pod);
    home.refused(&["get", "--raw", &proxy], "").await?;
    let path = format!("/api/v1/namespaces/{}/pods/{}/eviction", home.namespace.name, home.pod);
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": home.pod}});
    home.refused(&["create", "--raw", &path, "-f", "-"], &eviction.to_string()).await?;
    home.refused(&["create", "token", "dev-gateway"], "").await?;
    let borrowed = r#"{apiVersion: v1, kind: Pod, metadata: {name: borrowed}, spec: {serviceAccountName: dev-gateway, containers: [{name: a, image: "IMAGE"}]}}"#;
    home.refused(&["create", "-f", "-"], borrowed).await?;
    // By way of a controller, which the cluster trusts with pods, it is no different.
    let indirect = r#"{apiVersion: batch/v1, kind: Job, metadata: {name: indirect}, spec: {template: {spec: {restartPolicy: Never, serviceAccountName: dev-gateway, containers: [{name: a, image: "IMAGE"}]}}}}"#;
    home.allowed(&["create", "-f", "-"], indirect).await?;
    wait::until("the Job's pod to be refused", DEADLINE, || async {
        let events = home.admin(&["get", "events", "-o", "jsonpath={.items[*].message}"]).await?;
        ensure!(events.contains("use another one for this pod"), "{events}");
        ensure!(home.namespace.pods("job-name=indirect").await?.is_empty(), "it has a pod");
        Ok(())
    })
    .await?;
    home.namespace.discard().await
}

#[tokio::test]
async fn an_owner_can_forge_no_object_of_a_gateway() -> Result<()> {
    let home = Home::new("e2e-admission-forged").await?;
    for document in CHILDREN.split("\n---\n") {
        let forged = document.replace("{name: dev", "{name: forged");
        home.refused(&["create", "-f", "-"], &forged).await?;
    }
    let pod = |labels: &str| {
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: forged, labels: {labels}}}, spec: {{containers: [{{name: a, image: \"IMAGE\"}}]}}}}"
        )
    };
    // These two labels are what the Service and the operator look for.
    let selected = "{app.kubernetes.io/name: containerssh-gateway, app.kubernetes.io/instance: dev}";
    home.refused(&["create", "-f", "-"], &pod(selected)).await?;
    home.refused(&["create", "-f", "-"], &pod("{containerssh.io/gateway-uid: x}")).await?;
    let owned = r#"{apiVersion: v1, kind: Secret, metadata: {name: owned, ownerReferences: [{apiVersion: containerssh.io/v1alpha1, kind: SSHGateway, name: dev, uid: x}]}}"#;
    home.refused(&["create", "-f", "-"], owned).await?;
    let template = format!(
        "{{metadata: {{labels: {selected}}}, spec: {{restartPolicy: Never, containers: [{{name: a, image: \"IMAGE\"}}]}}}}"
    );
    let job = format!(
        "{{apiVersion: batch/v1, kind: Job, metadata: {{name: forged}}, spec: {{template: {template}}}}}"
    );
    home.refused(&["create", "-f", "-"], &job).await?;
    let cron = format!(
        "{{apiVersion: batch/v1, kind: CronJob, metadata: {{name: forged}}, spec: {{schedule: '1 1 1 1 *', jobTemplate: {{spec: {{template: {template}}}}}}}}}"
    );
    home.refused(&["create", "-f", "-"], &cron).await?;
    let plain = "{apiVersion: v1, kind: Secret, metadata: {name: plain}}";
    let as_operator = ["apply", "--server-side", "--field-manager=containerssh-operator", "-f", "-"];
    home.refused(&as_operator, plain).await?;
    home.allowed(&["create", "-f", "-"], plain).await?;

    let gateway = r#"{apiVersion: containerssh.io/v1alpha1, kind: SSHGateway, metadata: {name: own}, spec: {replicas: 0,
        authentication: {publicKey: {authorizedKeysFrom: [{secretRef: {name: plain}}]}},
        backend: {kubernetes: {podTemplate: {spec: {containers: [{name: shell, image: "IMAGE"}]}}}}}}"#;
    home.refused(&as_operator, gateway).await?;
    home.allowed(&["create", "-f", "-"], gateway).await?;
    home.allowed(&["scale", "sshgateway/own", "--replicas=0"], "").await?;
    let status = ["patch", "sshgateway", "own", "--subresource=status", "--type=merge", "-p"];
    home.refused(&[&status[..], &[r#"{"status":{"sessions":7}}"#]].concat(), "").await?;
    home.allowed(&["delete", "sshgateway", "own"], "").await?;
    home.namespace.discard().await
}

#[tokio::test]
async fn what_is_an_owners_own_and_what_the_cluster_does_goes_on() -> Result<()> {
    let home = Home::new("e2e-admission-free").await?;
    // Networks, clouds and storage annotate what they serve.
    home.allowed(&["annotate", "service", "dev", "example.net/note=1"], "").await?;
    home.allowed(&["annotate", "pod", &home.pod, "example.net/note=1"], "").await?;
    let own = r#"{apiVersion: apps/v1, kind: Deployment, metadata: {name: own}, spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {terminationGracePeriodSeconds: 0, containers: [{name: a, image: "IMAGE", command: [/bin/busybox, sleep, "3600"]}]}}}}"#;
    home.allowed(&["create", "-f", "-"], own).await?;
    home.allowed(&["rollout", "status", "deployment/own", "--timeout=50s"], "").await?;
    home.allowed(&["exec", "deployment/own", "--", "/bin/busybox", "true"], "").await?;
    home.allowed(&["scale", "deployment/own", "--replicas=2"], "").await?;
    home.allowed(&["create", "token", "default"], "").await?;
    home.allowed(&["delete", "deployment", "own"], "").await?;
    home.allowed(&["create", "secret", "generic", "own"], "").await?;
    home.allowed(&["delete", "secret", "own"], "").await?;

    // Whoever may edit AuditPolicies may do all that, and the cluster's controllers replace the pod.
    home.admin(&["exec", &home.pod, "--", "/bin/busybox", "true"]).await?;
    home.admin(&["delete", "pod", &home.pod, "--wait=false"]).await?;
    wait::until("another gateway pod", DEADLINE, || async {
        let pods = home.namespace.pods("app.kubernetes.io/instance=dev").await?;
        let other = pods.iter().any(|pod| {
            pod.metadata.name.as_deref() != Some(home.pod.as_str())
                && pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
        });
        ensure!(other, "{} pods", pods.len());
        Ok(())
    })
    .await?;
    // Garbage collection, and the end of a namespace, with a gateway's objects in it.
    home.admin(&["delete", "deployment", "dev", "--cascade=foreground"]).await?;
    home.namespace.remove().await
}
