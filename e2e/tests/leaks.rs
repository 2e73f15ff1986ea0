//! No pod outlives its connection, however that ends, in any model.
//!
//! The gateway runs as a process here, so that it can be killed. `E2E_LEAK_CONNECTIONS=500` ends so many connections in each
//! model; a few by default.

use std::net::SocketAddr;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use containerssh_e2e::fixture::{USER, key};
use containerssh_e2e::process::Process;
use containerssh_e2e::{Cluster, Login, Namespace, cut, wait};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;
use tokio::sync::OnceCell;

/// Pods that belong to a connection.
const GUESTS: &str = ",containerssh_connection_id";
/// Pods that wait for one.
const WARM: &str = ",containerssh.io/pool=warm";
/// At once: what a small node starts without queueing for long.
const AT_ONCE: usize = 8;
/// So many bytes end a connection at any place from its first packet to the middle of an upload. A login takes about
/// 4,000.
const CUTS: [usize; 8] = [100, 1_500, 2_500, 3_500, 5_000, 20_000, 300_000, 2_000_000];
/// A program that does not care about its input, to be found by its argument.
const PROGRAM: &str = "sleep 4711471147";
/// Counts those that run; the brackets keep it from finding itself.
const COUNT: &str = "for each in /proc/[0-9]*; do tr '\\0' ' ' <$each/cmdline 2>/dev/null; echo; done | grep -c '[s]leep 4711471147'";

fn connections() -> Result<usize> {
    Ok(match std::env::var("E2E_LEAK_CONNECTIONS") {
        Ok(number) => number.parse().context("E2E_LEAK_CONNECTIONS")?,
        Err(_) => 24,
    })
}

async fn namespace() -> Result<Namespace> {
    static MADE: OnceCell<()> = OnceCell::const_new();
    let cluster = Cluster::connect().await?;
    let name = "e2e-leaks";
    MADE.get_or_try_init(|| async { cluster.namespace(name).await.map(drop) }).await?;
    Ok(Namespace { cluster, name: name.to_owned() })
}

async fn gateway(name: &str, pod: Value) -> Result<Process> {
    Process::start(&namespace().await?, name, USER, key().await?, pod).await
}

/// A session that runs until somebody ends it.
async fn begun(login: &Login) -> Result<Child> {
    let mut child = login.spawn(&format!("echo begun; {PROGRAM}"))?;
    let mut lines = BufReader::new(child.stdout.take().context("piped")?).lines();
    let first = lines.next_line().await?;
    ensure!(first.as_deref() == Some("begun"), "the session began with {first:?}");
    Ok(child)
}

/// Ends one connection in the way of its number.
async fn end_badly(process: &Process, number: usize) -> Result<()> {
    let login = process.login(USER, key().await?);
    match number % 3 {
        0 => begun(&login).await?.kill().await.map_err(Into::into),
        1 => {
            let finished = login.run("echo fine; exit 7").await?;
            // On a busy machine the cluster loses the end of an exec's output now and then, which the user is told; that ends
            // the connection as well, and pods are what is counted here.
            let lost = finished.code() == 255 && finished.err().contains("the end of its output was lost");
            ensure!(lost || (finished.code() == 7 && finished.out() == "fine\n"), "{finished:?}");
            Ok(())
        }
        _ => {
            let target = SocketAddr::from(([127, 0, 0, 1], login.port));
            let (port, ended) =
                cut::after(target, *CUTS.get(number / 3 % CUTS.len()).context("one of them")?).await?;
            let cut_short = Login { port, ..login };
            let finished = cut_short
                .run_with_input("cat >/dev/null", Stdio::from(std::fs::File::open("/dev/zero")?))
                .await?;
            ensure!(finished.code() != 0, "it survived its cut");
            ended.await.context("the connection is over")
        }
    }
}

async fn end_all_badly(process: &Process) -> Result<()> {
    stream::iter(0..connections()?)
        .map(|number| async move {
            end_badly(process, number).await.with_context(|| format!("{number}:\n{}", process.last_words()))
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

/// Sessions that are under way when their gateway dies, and some whose pods are only starting.
async fn die_in_the_middle(process: &mut Process) -> Result<Vec<Child>> {
    let login = process.login(USER, key().await?);
    let mut clients: Vec<Child> =
        stream::iter(0..4).map(|_| begun(&login)).buffer_unordered(AT_ONCE).try_collect().await?;
    let before = process.pods(GUESTS).await?.len();
    for _ in 0..4 {
        clients.push(login.spawn("cat")?);
    }
    wait::until("another pod to be made", std::time::Duration::from_secs(60), || async {
        ensure!(process.pods(GUESTS).await?.len() > before, "none yet");
        Ok(())
    })
    .await?;
    process.kill().await?;
    Ok(clients)
}

async fn nothing_is_left(mut process: Process) -> Result<()> {
    process.wait_for_pods(GUESTS, 0).await?;
    drop(die_in_the_middle(&mut process).await?);
    process.come_back().await?;
    process.wait_for_pods(GUESTS, 0).await?;
    drop(die_in_the_middle(&mut process).await?);
    process.be_replaced().await?;
    process.wait_for_pods(GUESTS, 0).await?;
    // And in good order, with somebody logged in.
    let client = begun(&process.login(USER, key().await?)).await?;
    process.stop().await?;
    drop(client);
    process.wait_for_pods("", 0).await.map(drop)
}

#[tokio::test]
async fn a_connections_pod_never_outlives_it() -> Result<()> {
    let process = gateway("connection", json!({})).await?;
    end_all_badly(&process).await?;
    nothing_is_left(process).await
}

#[tokio::test]
async fn a_sessions_pod_never_outlives_it() -> Result<()> {
    let process = gateway("session", json!({"mode": "session"})).await?;
    end_all_badly(&process).await?;
    nothing_is_left(process).await
}

#[tokio::test]
async fn a_pod_of_the_warm_pool_is_used_once_and_never_outlives_its_connection_or_its_gateway() -> Result<()>
{
    const SIZE: usize = 3;
    let process = gateway("warm", json!({"warmPool": {"size": SIZE}})).await?;
    process.wait_for_pods(WARM, SIZE).await?;
    end_all_badly(&process).await?;
    process.wait_for_pods(GUESTS, 0).await?;
    process.wait_for_pods(WARM, SIZE).await?;
    // What somebody leaves in a pod, nobody finds.
    wait::until("a pod of the pool for each of two logins", std::time::Duration::from_secs(120), || async {
        let claimed =
            process.metric("containerssh_kubernetes_warm_claims_total{outcome=\"claimed\"}").await?;
        let login = process.login(USER, key().await?);
        let found = login.run("cat /tmp/left 2>/dev/null; echo left >/tmp/left").await?.expect_code(0)?;
        assert_eq!(found.out(), "", "a used pod was given away");
        let after = process.metric("containerssh_kubernetes_warm_claims_total{outcome=\"claimed\"}").await?;
        ensure!(after > claimed, "it was a cold start");
        Ok(())
    })
    .await?;
    nothing_is_left(process).await
}

#[tokio::test]
async fn a_persistent_pod_stays_with_what_is_in_it_and_without_the_programs_of_who_left() -> Result<()> {
    let pod =
        json!({"mode": "persistent", "createMissingPods": true, "metadata": {"name": "dev-{username}"}});
    let mut process = gateway("persistent", pod).await?;
    let login = process.login(USER, key().await?);
    // Whoever comes first makes the pod, the others use it.
    let names: Vec<String> = stream::iter(0..AT_ONCE)
        .map(|_| async { Ok::<_, anyhow::Error>(login.run("hostname").await?.expect_code(0)?.out()) })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    ensure!(names.iter().all(|name| name == &format!("dev-{USER}\n")), "they ran in {names:?}");
    login.run("echo kept >/tmp/kept").await?.expect_code(0)?;
    end_all_badly(&process).await?;
    wait::until("the programs of those who left to end", std::time::Duration::from_secs(60), || async {
        let finished = login.run(COUNT).await?;
        ensure!(finished.out().trim() == "0", "{} still run", finished.out().trim());
        Ok(())
    })
    .await?;
    let pods = process.wait_for_pods("", 1).await?;
    let uid = pods[0].uid();
    process.kill().await?;
    process.be_replaced().await?;
    let kept = process.login(USER, key().await?).run("cat /tmp/kept").await?.expect_code(0)?;
    ensure!(kept.out() == "kept\n", "found {}", kept.out());
    // Nor do programs stay when the gateway goes in good order.
    let client = begun(&process.login(USER, key().await?)).await?;
    process.stop().await?;
    drop(client);
    process.be_replaced().await?;
    let left = process.login(USER, key().await?).run(COUNT).await?;
    ensure!(left.out().trim() == "0", "{} still run", left.out().trim());
    process.stop().await?;
    let pods = process.wait_for_pods("", 1).await?;
    ensure!(pods[0].uid() == uid, "it is another pod");
    let api: Api<Pod> = Api::namespaced(Cluster::connect().await?.client, "e2e-leaks");
    api.delete(&pods[0].name_any(), &Default::default()).await?;
    process.wait_for_pods("", 0).await.map(drop)
}
