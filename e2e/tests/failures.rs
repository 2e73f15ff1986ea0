//! Things that break while somebody is logged in: each ends with a clear word, a whole record and no pod left.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use containerssh_e2e::bytes::unique;
use containerssh_e2e::fixture::{Shared, USER};
use containerssh_e2e::gateway::guest_template;
use containerssh_e2e::{Cluster, Gateway, Login, record, wait};
use containerssh_e2e::{bytes, fixture, policy};
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout};

async fn gateway() -> Result<Shared> {
    fixture::shared("failures", json!({})).await
}

/// A session that has begun and echoes what it is sent.
async fn begun(login: &Login, marker: &str) -> Result<(Child, Lines<BufReader<ChildStdout>>)> {
    let mut child = login.spawn(&format!("echo {marker}; cat"))?;
    let mut lines = BufReader::new(child.stdout.take().context("piped")?).lines();
    let first = lines.next_line().await?;
    ensure!(first.as_deref() == Some(marker), "the session began with {first:?}");
    Ok((child, lines))
}

fn pods(shared: &Shared) -> Api<Pod> {
    Api::namespaced(shared.cluster.client.clone(), &shared.namespace.name)
}

#[tokio::test]
async fn an_image_that_does_not_exist_is_named_to_the_user_and_leaves_nothing() -> Result<()> {
    let shared = gateway().await?;
    let gateway = Gateway::with_key(
        &shared.namespace,
        "noimage",
        USER,
        &fixture::key().await?.public,
        json!({"backend": {"kubernetes": {"podTemplate": guest_template("localhost/no-such-image:1")}}}),
    )
    .await?;
    gateway.ready().await?;
    let login = Login::with_key(&gateway, USER, fixture::key().await?).await?;
    let marker = unique();
    let finished = login.run(&format!("echo {marker}")).await?;
    ensure!(finished.code() != 0, "it reported success");
    ensure!(finished.err().contains("localhost/no-such-image:1"), "the user saw: {}", finished.err());
    gateway.no_guests().await?;
    let prefix = format!("{}/noimage/", shared.namespace.name);
    let record = record::find(&shared.cluster, &prefix, &marker).await?;
    record.expect_whole()
}

#[tokio::test]
async fn a_client_that_leaves_while_its_pod_starts_leaves_no_pod() -> Result<()> {
    let shared = gateway().await?;
    // No node has this label, so the pod stays pending for as long as anybody waits.
    let mut template = guest_template(&shared.cluster.environment.debian_image);
    template["spec"]["nodeSelector"] = json!({"e2e/none": "such"});
    let gateway = Gateway::with_key(
        &shared.namespace,
        "pending",
        USER,
        &fixture::key().await?.public,
        json!({"backend": {"kubernetes": {"podTemplate": template}}}),
    )
    .await?;
    gateway.ready().await?;
    let login = Login::with_key(&gateway, USER, fixture::key().await?).await?;
    let mut child = login.spawn("true")?;
    wait::until("the guest to be made", Duration::from_secs(60), || async {
        ensure!(!gateway.guests().await?.is_empty(), "no guest yet");
        Ok(())
    })
    .await?;
    child.kill().await?;
    gateway.no_guests().await
}

#[tokio::test]
async fn whoever_waits_at_a_terminal_sees_why() -> Result<()> {
    let shared = gateway().await?;
    let mut template = guest_template(&shared.cluster.environment.debian_image);
    template["spec"]["nodeSelector"] = json!({"e2e/none": "such"});
    let gateway = Gateway::with_key(
        &shared.namespace,
        "waiting",
        USER,
        &fixture::key().await?.public,
        json!({"backend": {"kubernetes": {"podTemplate": template, "timeouts": {"podStart": "8s"}}}}),
    )
    .await?;
    gateway.ready().await?;
    let login = Login::with_key(&gateway, USER, fixture::key().await?).await?.option("RequestTTY=force");
    let finished = login.run("true").await?;
    ensure!(finished.code() != 0, "it reported success");
    let seen = finished.out() + &finished.err();
    ensure!(seen.contains("node(s)"), "the scheduler's reason is not in: {seen}");
    gateway.no_guests().await
}

#[tokio::test]
async fn a_pod_deleted_mid_session_ends_it_with_a_word_and_a_whole_record() -> Result<()> {
    let shared = gateway().await?;
    let gateway =
        Gateway::with_key(&shared.namespace, "deleted", USER, &fixture::key().await?.public, json!({}))
            .await?;
    gateway.ready().await?;
    let login = Login::with_key(&gateway, USER, fixture::key().await?).await?;
    let marker = unique();
    let (child, _lines) = begun(&login, &marker).await?;
    let guest = gateway.one_guest().await?;
    pods(&shared).delete(&guest.name_any(), &DeleteParams::default().grace_period(0)).await?;
    let finished = containerssh_e2e::ssh::collect(child).await?;
    ensure!(finished.code() != 0, "it reported success");
    ensure!(!finished.err().trim().is_empty(), "the user saw nothing");
    gateway.no_guests().await?;
    let prefix = format!("{}/deleted/", shared.namespace.name);
    let record = record::find(&shared.cluster, &prefix, &marker).await?;
    record.expect_whole()
}

#[tokio::test]
async fn a_client_that_is_killed_leaves_no_pod_and_a_whole_record() -> Result<()> {
    let shared = gateway().await?;
    let gateway =
        Gateway::with_key(&shared.namespace, "killed", USER, &fixture::key().await?.public, json!({}))
            .await?;
    gateway.ready().await?;
    let login = Login::with_key(&gateway, USER, fixture::key().await?).await?;
    let marker = unique();
    let (mut child, _lines) = begun(&login, &marker).await?;
    child.kill().await?;
    gateway.no_guests().await?;
    let prefix = format!("{}/killed/", shared.namespace.name);
    let record = record::find(&shared.cluster, &prefix, &marker).await?;
    record.expect_whole()
}

#[tokio::test]
async fn a_record_waits_in_the_spool_while_s3_is_away() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let name = "e2e-outage";
    // S3 under a name of the test's own, which leads nowhere until the test says otherwise.
    policy::record_everything(
        &cluster,
        name,
        json!({"storage": {"s3": {"endpoint": format!("http://store.{name}.svc:9000")}}}),
    )
    .await?;
    let namespace = cluster.namespace(name).await?;
    let endpoint = cluster.environment.s3_endpoint.trim_start_matches("http://").to_owned();
    let (ip, port) = endpoint.rsplit_once(':').context("an endpoint with a port")?;
    let gateway =
        Gateway::with_key(&namespace, "outage", USER, &fixture::key().await?.public, json!({})).await?;
    gateway.ready().await?;
    let login = Login::with_key(&gateway, USER, fixture::key().await?).await?;
    let marker = unique();
    login.run(&format!("echo {marker}")).await?.expect_code(0)?;
    gateway.no_guests().await?;
    let bucket = containerssh_e2e::s3::Bucket::new(&cluster.environment);
    let prefix = format!("{name}/outage/");
    let before = bucket.keys(&prefix).await?;
    let of_this_run = before.len();
    cluster
        .apply(&format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: store, namespace: {name}}}\n\
             spec: {{clusterIP: None, ports: [{{name: s3, port: 9000}}]}}\n\
             ---\n\
             apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: store, namespace: {name}, labels: {{kubernetes.io/service-name: store}}}}\n\
             addressType: IPv4\nports: [{{name: s3, port: {port}}}]\nendpoints: [{{addresses: ['{ip}']}}]\n"
        ))
        .await?;
    record::find(&cluster, &prefix, &marker).await?;
    ensure!(bucket.keys(&prefix).await?.len() > of_this_run, "it was there before S3 was");
    namespace.discard().await
}

#[tokio::test]
async fn a_killed_gateway_comes_back_uploads_what_it_left_and_sweeps_its_pods() -> Result<()> {
    let shared = gateway().await?;
    let gateway = Gateway::with_key(
        &shared.namespace,
        "crashing",
        USER,
        &fixture::key().await?.public,
        json!({"spool": {"medium": "Persistent", "size": "1Gi"}}),
    )
    .await?;
    gateway.ready().await?;
    let login = Login::with_key(&gateway, USER, fixture::key().await?).await?;
    let marker = unique();
    let (mut child, mut lines) = begun(&login, &marker).await?;
    let mut stdin = child.stdin.take().context("piped")?;
    stdin.write_all(b"before the crash\n").await?;
    ensure!(lines.next_line().await?.as_deref() == Some("before the crash"), "no echo");
    let pod = gateway.pods().await?.pop().context("a gateway pod")?;
    pods(&shared).delete(&pod.name_any(), &DeleteParams::default().grace_period(0)).await?;
    let _ = child.wait().await?;
    gateway.ready().await?;
    let prefix = format!("{}/crashing/", shared.namespace.name);
    let record = record::find(&shared.cluster, &prefix, &marker).await?;
    let typed = String::from_utf8_lossy(&record.io(containerssh_auditlog::IoStream::Stdin)).into_owned();
    ensure!(typed == "before the crash\n", "recorded input: {typed:?}");
    gateway.no_guests().await
}

#[tokio::test]
async fn an_image_without_a_shell_says_so_and_reports_no_success() -> Result<()> {
    let shared = gateway().await?;
    let template = guest_template(&shared.cluster.environment.noshell_image);
    let gateway = Gateway::with_key(
        &shared.namespace,
        "noshell",
        USER,
        &fixture::key().await?.public,
        json!({"backend": {"kubernetes": {"podTemplate": template, "idleCommand": ["/pause"]}}}),
    )
    .await?;
    gateway.ready().await?;
    let login = Login::with_key(&gateway, USER, fixture::key().await?).await?;
    let finished =
        login.run_with_input("cat >/tmp/x", Stdio::from(bytes::random_file(1_000_000)?.0.reopen()?)).await?;
    ensure!(finished.code() != 0, "it reported success");
    ensure!(finished.err().contains("/bin/sh"), "the user saw: {}", finished.err());
    gateway.no_guests().await
}
