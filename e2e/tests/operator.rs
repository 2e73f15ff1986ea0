//! What platform teams see: objects, conditions, refusals, and nothing left after a deletion.

use anyhow::{Context, Result, ensure};
use containerssh_e2e::fixture::USER;
use containerssh_e2e::{Cluster, Gateway, Login, wait};
use containerssh_e2e::{bytes, fixture, policy};
use kube::ResourceExt;
use kube::api::{Api, DynamicObject};
use serde_json::json;
use std::time::Duration;
use tokio::process::Command;

/// Everything in a namespace that the operator may have made.
async fn children(namespace: &str) -> Result<Vec<String>> {
    let output = Command::new("kubectl")
        .args(["-n", namespace, "get", "-o", "name", "-l", "app.kubernetes.io/managed-by=containerssh-operator"])
        .arg("deployments,statefulsets,services,configmaps,secrets,serviceaccounts,roles,rolebindings,networkpolicies,poddisruptionbudgets")
        .output()
        .await?;
    ensure!(output.status.success(), "kubectl: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
}

async fn kubectl(arguments: &[&str]) -> Result<String> {
    let output = Command::new("kubectl").args(arguments).output().await?;
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Ok(text)
}

#[tokio::test]
async fn the_smallest_gateway_gets_all_it_needs_and_deletion_removes_it() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let namespace = cluster.namespace("e2e-smallest").await?;
    let key = fixture::key().await?;
    let gateway = Gateway::with_key(&namespace, "small", USER, &key.public, json!({})).await?;
    gateway.ready().await?;
    let objects = children(&namespace.name).await?;
    for kind in [
        "deployment.apps/",
        "service/",
        "secret/",
        "serviceaccount/",
        "role.rbac",
        "rolebinding.rbac",
        "networkpolicy.",
        "poddisruptionbudget.",
    ] {
        ensure!(objects.iter().any(|name| name.starts_with(kind)), "no {kind} in {objects:?}");
    }
    let status = gateway.get().await?.data["status"].clone();
    let fingerprint = status["hostKeyFingerprints"][0].as_str().context("a host key fingerprint")?.to_owned();
    ensure!(fingerprint.starts_with("SHA256:"), "{fingerprint}");
    let table = kubectl(&["-n", &namespace.name, "get", "sshgw"]).await?;
    ensure!(table.contains("READY") && table.contains("True"), "{table}");

    gateway.delete().await?;
    wait::until("everything but the host keys to be gone", Duration::from_secs(90), || async {
        let left = children(&namespace.name).await?;
        let others: Vec<_> = left.iter().filter(|name| !name.contains("host-keys")).collect();
        ensure!(others.is_empty(), "left: {others:?}");
        Ok(())
    })
    .await?;

    // The same gateway made again is the same host to its users.
    let again = Gateway::with_key(&namespace, "small", USER, &key.public, json!({})).await?;
    again.ready().await?;
    let status = again.get().await?.data["status"].clone();
    ensure!(status["hostKeyFingerprints"][0] == json!(fingerprint), "the host keys changed: {status}");
    namespace.discard().await
}

#[tokio::test]
async fn host_keys_are_added_and_hidden_and_go_with_the_gateway_when_asked_to() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let namespace = cluster.namespace("e2e-host-keys").await?;
    let key = fixture::key().await?;
    let with = async |algorithms: &[&str]| {
        let wanted = json!({"ssh": {"hostKeys": {"algorithms": algorithms, "retention": "Delete"}}});
        Gateway::with_key(&namespace, "known", USER, &key.public, wanted).await
    };
    let shown = async |gateway: &Gateway, count: usize| {
        wait::until("the host keys", Duration::from_secs(120), || async {
            let status = gateway.get().await?.data["status"]["hostKeyFingerprints"].clone();
            let shown: Vec<String> = serde_json::from_value(status)?;
            ensure!(shown.len() == count, "{shown:?}");
            Ok(shown)
        })
        .await
    };
    let gateway = with(&["Ed25519"]).await?;
    let first = shown(&gateway, 1).await?;
    with(&["Ed25519", "ECDSAP384"]).await?;
    let both = shown(&gateway, 2).await?;
    ensure!(both.contains(&first[0]), "{first:?} was replaced: {both:?}");
    with(&["ECDSAP384"]).await?;
    let last = shown(&gateway, 1).await?;
    ensure!(last != first && both.contains(&last[0]), "{last:?} of {both:?}");
    gateway.ready().await?;
    Login::with_key(&gateway, USER, key).await?.run("true").await?.expect_code(0)?;
    gateway.delete().await?;
    wait::until("everything to be gone", Duration::from_secs(90), || async {
        let left = children(&namespace.name).await?;
        ensure!(left.is_empty(), "left: {left:?}");
        Ok(())
    })
    .await?;
    namespace.discard().await
}

#[tokio::test]
async fn guests_live_in_another_namespace_when_asked_to() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let namespace = cluster.namespace("e2e-front").await?;
    let guests = cluster.namespace("e2e-guests").await?;
    // Whoever owns a namespace decides whose gateways may place pods in it.
    kubectl(&["annotate", "namespace", "e2e-guests", "containerssh.io/allow-gateways-from=e2e-front"])
        .await?;
    let key = fixture::key().await?;
    let gateway = Gateway::with_key(
        &namespace,
        "front",
        USER,
        &key.public,
        json!({"backend": {"kubernetes": {"namespace": guests.name}}}),
    )
    .await?;
    gateway.ready().await?;
    let login = Login::with_key(&gateway, USER, key).await?;
    let finished = login.run("hostname").await?.expect_code(0)?;
    ensure!(finished.out().starts_with("containerssh-"), "{}", finished.out());
    wait::until("the guest to be gone", Duration::from_secs(60), || async {
        let left = guests.pods("containerssh_connection_id").await?.len();
        ensure!(left == 0, "{left} guests");
        Ok(())
    })
    .await?;
    gateway.delete().await?;
    ensure!(children(&guests.name).await?.is_empty(), "left: {:?}", children(&guests.name).await?);
    guests.discard().await?;
    namespace.discard().await
}

#[tokio::test]
async fn what_is_wrong_is_refused_or_named_in_a_condition() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let namespace = cluster.namespace("e2e-wrong").await?;
    let key = fixture::key().await?;
    let template = containerssh_e2e::gateway::guest_template(&cluster.environment.debian_image);

    // At admission.
    let no_method = Gateway::apply(
        &namespace,
        "nobody",
        json!({"authentication": {}, "backend": {"kubernetes": {"podTemplate": template}}}),
    )
    .await;
    let error = format!("{:#}", no_method.err().context("a gateway that lets nobody in was accepted")?);
    ensure!(error.contains("authentication"), "{error}");
    let wrong_value =
        Gateway::with_key(&namespace, "level", USER, &key.public, json!({"log": {"level": "Loud"}})).await;
    let error = format!("{:#}", wrong_value.err().context("an unknown log level was accepted")?);
    ensure!(error.contains("log.level"), "{error}");

    // Known only later.
    let missing = Gateway::apply(
        &namespace,
        "missing",
        json!({
            "authentication": {"publicKey": {"authorizedKeysFrom": [{"secretRef": {"name": "not-there"}}]}},
            "backend": {"kubernetes": {"podTemplate": template}},
        }),
    )
    .await?;
    let message = missing.wait_condition("ResolvedRefs", "False").await?;
    ensure!(message.contains("not-there"), "{message}");
    let ready = missing.condition("Ready").await?.0;
    ensure!(ready != "True", "Ready={ready}");
    namespace.secret("not-there", json!({USER: key.public})).await?;
    missing.ready().await?;

    let bad_pod = Gateway::with_key(
        &namespace,
        "badpod",
        USER,
        &key.public,
        json!({"backend": {"kubernetes": {"podTemplate": {"spec": {"containers": [
            {"name": "shell", "image": "x", "volumeMounts": [{"name": "no-such-volume", "mountPath": "/mnt"}]}
        ]}}}}}),
    )
    .await?;
    let message = bad_pod.wait_condition("Accepted", "False").await?;
    ensure!(message.contains("no-such-volume"), "{message}");
    namespace.discard().await
}

/// Each object's name and resourceVersion, so that a write shows.
async fn versions(namespace: &str) -> Result<Vec<String>> {
    let text = kubectl(&[
        "-n",
        namespace,
        "get",
        "deployments,services,configmaps,secrets,serviceaccounts,roles,rolebindings,networkpolicies,poddisruptionbudgets,sshgateways",
        "-o",
        "jsonpath={range .items[*]}{.kind}/{.metadata.name}={.metadata.resourceVersion}{\"\\n\"}{end}",
    ])
    .await?;
    Ok(text.lines().map(str::to_owned).collect())
}

#[tokio::test]
async fn applying_the_same_again_changes_nothing() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let namespace = cluster.namespace("e2e-same").await?;
    let key = fixture::key().await?;
    let gateway = Gateway::with_key(&namespace, "same", USER, &key.public, json!({})).await?;
    gateway.ready().await?;
    let before = wait::until("the namespace to be quiet", Duration::from_secs(90), || async {
        let first = versions(&namespace.name).await?;
        // A label on the gateway makes the operator look again.
        kubectl(&["-n", &namespace.name, "annotate", "--overwrite", "sshgw/same", "e2e/look=1"]).await?;
        kubectl(&["-n", &namespace.name, "annotate", "sshgw/same", "e2e/look-"]).await?;
        let second = versions(&namespace.name).await?;
        let children = |list: &[String]| {
            list.iter().filter(|line| !line.starts_with("SSHGateway/")).cloned().collect::<Vec<_>>()
        };
        ensure!(children(&first) == children(&second), "still changing");
        Ok(second)
    })
    .await?;
    for _ in 0..100 {
        Gateway::with_key(&namespace, "same", USER, &key.public, json!({})).await?;
    }
    gateway.ready().await?;
    let after = versions(&namespace.name).await?;
    ensure!(before == after, "changed: {before:?} -> {after:?}");
    namespace.discard().await
}

#[tokio::test]
async fn a_policy_decides_what_is_recorded_and_a_change_needs_no_restart() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let name = "e2e-policy";
    policy::record_everything(&cluster, name, json!({"intercept": {"stdin": "Forbid"}})).await?;
    let namespace = cluster.namespace(name).await?;
    let key = fixture::key().await?;
    let gateway = Gateway::with_key(
        &namespace,
        "ruled",
        USER,
        &key.public,
        // The tenant would rather not be recorded at all.
        json!({"audit": {"intercept": {"stdout": "Forbid", "stdin": "Forbid"}}}),
    )
    .await?;
    gateway.ready().await?;
    let hash = |object: &DynamicObject| object.data["status"]["audit"]["hash"].as_str().map(str::to_owned);
    let before = hash(&gateway.get().await?).context("a policy hash")?;
    let login = Login::with_key(&gateway, USER, key).await?;
    let marker = bytes::unique();
    let command = format!("echo shown-{marker}; cat >/dev/null");
    login.run_with_bytes(&command, b"typed in secret".to_vec()).await?.expect_code(0)?;
    let prefix = format!("{name}/ruled/");
    let record = containerssh_e2e::record::find(&cluster, &prefix, &marker).await?;
    let out = record.io(containerssh_auditlog::IoStream::Stdout);
    ensure!(String::from_utf8_lossy(&out).contains(&marker), "the tenant weakened the policy");
    ensure!(
        record.io(containerssh_auditlog::IoStream::Stdin).is_empty(),
        "input was recorded though forbidden"
    );

    // The change reaches the running gateway: same pod, no restart, a live session untouched.
    let pod = gateway.pods().await?.pop().context("a gateway pod")?.name_any();
    let mut live = login.spawn("echo up; cat")?;
    let mut lines =
        tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(live.stdout.take().context("piped")?));
    ensure!(lines.next_line().await?.as_deref() == Some("up"), "no session");
    policy::record_everything(&cluster, name, json!({})).await?;
    wait::until("the gateway to run the new policy", Duration::from_secs(180), || async {
        let now = hash(&gateway.get().await?);
        ensure!(now.is_some_and(|now| now != before), "the hash is still {before}");
        let (resolved, message) = gateway.condition("AuditPolicyResolved").await?;
        ensure!(resolved == "True", "{message}");
        let policy = policies(&cluster).get(name).await?;
        let status = &policy.data["status"];
        ensure!(
            status["observedGeneration"].as_i64() == policy.metadata.generation,
            "an old status: {status}"
        );
        ensure!(status["programmedGateways"] == json!(1), "{status}");
        Ok(())
    })
    .await?;
    let marker = bytes::unique();
    login
        .run_with_bytes(&format!(": {marker}; cat >/dev/null"), b"typed openly".to_vec())
        .await?
        .expect_code(0)?;
    let record = containerssh_e2e::record::find(&cluster, &prefix, &marker).await?;
    ensure!(record.io(containerssh_auditlog::IoStream::Stdin) == b"typed openly", "input was not recorded");
    ensure!(gateway.pods().await?.iter().any(|now| now.name_any() == pod), "the gateway was restarted");
    drop(live.stdin.take());
    ensure!(live.wait().await?.success(), "the live session was cut");
    namespace.discard().await
}

fn policies(cluster: &Cluster) -> Api<DynamicObject> {
    let resource = kube::api::ApiResource {
        group: "containerssh.io".into(),
        version: "v1alpha1".into(),
        api_version: "containerssh.io/v1alpha1".into(),
        kind: "AuditPolicy".into(),
        plural: "auditpolicies".into(),
    };
    Api::all_with(cluster.client.clone(), &resource)
}

#[tokio::test]
async fn kubectl_explains_the_fields() -> Result<()> {
    let text = kubectl(&["explain", "sshgateway.spec.backend.kubernetes"]).await?;
    ensure!(text.contains("podTemplate") && text.contains("DESCRIPTION"), "{text}");
    let text = kubectl(&["explain", "auditpolicy.spec.enforce.intercept"]).await?;
    ensure!(text.contains("stdin"), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_restricted_namespace_takes_gateways_guests_and_the_operator() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    let namespace = cluster.namespace_labelled("e2e-restricted", labels).await?;
    let key = fixture::key().await?;

    // A guest that such a namespace does not take is found out before anybody logs in.
    let plain = Gateway::with_key(&namespace, "plain", USER, &key.public, json!({"replicas": 0})).await?;
    let message = plain.wait_condition("Accepted", "False").await?;
    ensure!(message.contains("PodSecurity") && message.contains("restricted"), "{message}");

    let mut template = containerssh_e2e::gateway::guest_template(&cluster.environment.debian_image);
    template["spec"]["securityContext"] =
        json!({"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}});
    template["spec"]["containers"][0]["securityContext"] =
        json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    let extra = json!({"backend": {"kubernetes": {"podTemplate": template}}});
    let gateway = Gateway::with_key(&namespace, "strict", USER, &key.public, extra).await?;
    gateway.ready().await?;
    let login = Login::with_key(&gateway, USER, key).await?;
    let finished = login.run("id -u").await?.expect_code(0)?;
    ensure!(finished.out().trim() == "1000", "{}", finished.out());

    let deployments: Api<k8s_openapi::api::apps::v1::Deployment> =
        Api::namespaced(cluster.client.clone(), &cluster.environment.operator_namespace);
    let selector = kube::api::ListParams::default().labels("app.kubernetes.io/name=containerssh-operator");
    let operator = deployments.list(&selector).await?.items.pop().context("an operator")?;
    let template = operator.spec.context("a spec")?.template;
    let mut pod: k8s_openapi::api::core::v1::Pod = serde_json::from_value(json!({
        "metadata": {"generateName": "operator-"}, "spec": template.spec,
    }))?;
    if let Some(spec) = &mut pod.spec {
        // Its account is in another namespace.
        spec.service_account_name = None;
        spec.service_account = None;
    }
    let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(cluster.client.clone(), &namespace.name);
    let dry = kube::api::PostParams { dry_run: true, ..Default::default() };
    pods.create(&dry, &pod).await.context("the operator's pod in a restricted namespace")?;
    namespace.discard().await
}

#[tokio::test]
async fn deleting_a_gateway_ends_its_guests_wherever_they_are() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let namespace = cluster.namespace("e2e-leaving").await?;
    let guests = cluster.namespace("e2e-left").await?;
    kubectl(&["annotate", "namespace", "e2e-left", "containerssh.io/allow-gateways-from=e2e-leaving"])
        .await?;
    let key = fixture::key().await?;
    let extra = json!({"backend": {"kubernetes": {"namespace": guests.name}}, "drain": {"timeout": "5s"}});
    let gateway = Gateway::with_key(&namespace, "leaving", USER, &key.public, extra).await?;
    gateway.ready().await?;
    let login = Login::with_key(&gateway, USER, key).await?;
    let mut live = login.spawn("echo up; cat")?;
    let mut lines =
        tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(live.stdout.take().context("piped")?));
    ensure!(lines.next_line().await?.as_deref() == Some("up"), "no session");
    gateway.delete().await?;
    let left = guests.pods("containerssh_connection_id").await?;
    ensure!(left.iter().all(|pod| pod.metadata.deletion_timestamp.is_some()), "{} guests go on", left.len());
    ensure!(children(&guests.name).await?.is_empty(), "left: {:?}", children(&guests.name).await?);
    ensure!(!live.wait().await?.success(), "the session goes on");
    guests.discard().await?;
    namespace.discard().await
}

#[tokio::test]
async fn what_a_gateway_forbids_is_refused_without_a_restart() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let namespace = cluster.namespace("e2e-security").await?;
    let key = fixture::key().await?;
    let gateway = Gateway::with_key(&namespace, "dev", USER, &key.public, json!({})).await?;
    gateway.ready().await?;
    let pod = gateway.pods().await?.pop().context("a gateway pod")?.name_any();
    let login = Login::with_key(&gateway, USER, key).await?;
    login.run("echo free").await?.expect_code(0)?;

    let security = json!({"security": {"command": {"mode": "Filter", "allow": ["id -u"]}, "shell": {"mode": "Disable"}}});
    Gateway::with_key(&namespace, "dev", USER, &key.public, security).await?;
    // The kubelet brings the file to the pod in its own time.
    wait::until("other commands to be refused", Duration::from_secs(180), || async {
        let code = login.run("echo free").await?.code();
        ensure!(code != 0, "they are still run");
        Ok(())
    })
    .await?;
    login.run("id -u").await?.expect_code(0)?;
    ensure!(gateway.pods().await?.iter().any(|now| now.name_any() == pod), "the gateway was restarted");
    namespace.discard().await
}

#[tokio::test]
async fn a_rotated_secret_is_taken_up() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let namespace = cluster.namespace("e2e-rotated").await?;
    let rotate = || async {
        let key = containerssh_e2e::ssh::Key::generate().await?;
        let text = std::fs::read_to_string(key.path())?;
        namespace.secret("own-keys", json!({"ssh_host_ed25519_key": text})).await?;
        let output = Command::new("ssh-keygen").arg("-lf").arg(key.path()).output().await?;
        let line = String::from_utf8(output.stdout)?;
        Ok::<_, anyhow::Error>(line.split(' ').nth(1).context("a fingerprint")?.to_owned())
    };
    let extra = json!({"replicas": 0, "ssh": {"hostKeysSecretRef": {"name": "own-keys"}}});
    let mut gateway = None;
    for round in 0..3 {
        let fingerprint = rotate().await?;
        let gateway = match &gateway {
            Some(gateway) => gateway,
            None => {
                let made =
                    Gateway::with_key(&namespace, "dev", USER, "ssh-ed25519 AAAA", extra.clone()).await?;
                gateway.insert(made)
            }
        };
        wait::until(&format!("key {round} to be that of the gateway"), Duration::from_secs(60), || async {
            let status = gateway.get().await?.data["status"].clone();
            ensure!(status["hostKeyFingerprints"] == json!([fingerprint]), "{status}");
            Ok(())
        })
        .await?;
    }
    namespace.discard().await
}
