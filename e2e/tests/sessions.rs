//! What a user does with the OpenSSH client, and what the record holds of it.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use containerssh_auditlog::{IoStream, Payload};
use containerssh_e2e::bytes::{random_file, sha256, unique};
use containerssh_e2e::fixture::Shared;
use containerssh_e2e::ssh::finish;
use containerssh_e2e::{bytes, fixture};
use serde_json::json;
use tokio::process::Command;

/// The size of the transfers in which the reference and `kubectl exec` lose data.
const BIG: usize = 100_000_000;

async fn gateway() -> Result<Shared> {
    fixture::shared("sessions", json!({})).await
}

#[tokio::test]
async fn a_command_runs_in_a_pod_of_its_own_that_is_gone_afterwards_and_its_record_is_in_s3() -> Result<()> {
    let shared = gateway().await?;
    let marker = unique();
    let finished = shared.login.run(&format!("echo {marker}; hostname")).await?.expect_code(0)?;
    let output = finished.out();
    let (first, pod) = output.trim_end().split_once('\n').context("two lines")?;
    ensure!(first == marker, "output: {output}");
    let record = shared.record_of(&marker).await?;
    ensure!(pod.starts_with("containerssh-"), "the pod is called {pod}");
    ensure!(
        record.connection_id.starts_with(pod.trim_start_matches("containerssh-")),
        "{pod} does not come from connection {}",
        record.connection_id
    );
    let types: Vec<u32> = record.messages.iter().map(|message| message.payload.type_code()).collect();
    // connect, key offered, key proven, handshake, channel, exec, output, exit, the closes, disconnect
    for expected in [0, 104, 105, 199, 301, 403, 500, 499, 1] {
        ensure!(types.contains(&expected), "no record of type {expected} in {types:?}");
    }
    ensure!(types.first() == Some(&0) && types.last() == Some(&1), "order: {types:?}");
    ensure!(record.io(IoStream::Stdout) == finished.stdout, "the record holds other output");
    ensure!(
        record.object.metadata.get("sha256") == Some(&sha256(&record.object.bytes)),
        "metadata: {:?}",
        record.object.metadata
    );
    shared.gateway.no_guests().await
}

#[tokio::test]
async fn exit_codes_and_the_two_output_streams_arrive_as_they_left() -> Result<()> {
    let shared = gateway().await?;
    for code in [0, 1, 42, 255] {
        shared.login.run(&format!("exit {code}")).await?.expect_code(code)?;
    }
    let finished = shared.login.run("echo out; echo err >&2; exit 3").await?.expect_code(3)?;
    ensure!(finished.out() == "out\n" && finished.err() == "err\n", "{finished:?}");
    shared.login.run("kill -TERM $$").await?.expect_code(143)?;
    Ok(())
}

#[tokio::test]
async fn a_command_is_run_exactly_as_sent() -> Result<()> {
    let shared = gateway().await?;
    let finished = shared.login.run("/bin/echo \"$((6*7))\" '| ; > &' | tr 4 5").await?.expect_code(0)?;
    ensure!(finished.out() == "52 | ; > &\n", "{}", finished.out());
    // What ends the reference's whole process is nothing but an empty script.
    shared.login.run(" ").await?.expect_code(0)?;
    shared.login.run("echo $'\\xff\\xfe' | wc -c").await?.expect_code(0)?;
    Ok(())
}

#[tokio::test]
async fn an_interactive_terminal_has_the_clients_size_and_type() -> Result<()> {
    let shared = gateway().await?;
    let marker = unique();
    let mut ssh = shared.login.clone().option("RequestTTY=force").ssh();
    ssh.arg(format!("stty size; echo $TERM {marker}; tty"));
    let line = shell_line(&ssh);
    let mut terminal = Command::new("script");
    terminal
        .args(["-qec", &format!("stty cols 101 rows 37; {line}"), "/dev/null"])
        .env("TERM", "xterm-256color");
    let finished = finish(terminal.stdin(Stdio::null())).await?.expect_code(0)?;
    let output = finished.out();
    ensure!(output.contains("37 101"), "{output}");
    ensure!(output.contains(&format!("xterm-256color {marker}")), "{output}");
    ensure!(output.contains("/dev/pts/"), "{output}");
    let record = shared.record_of(&marker).await?;
    let pty = record.messages.iter().find_map(|message| match &message.payload {
        Payload::ChannelRequestPty { columns, rows, .. } => Some((*columns, *rows)),
        _ => None,
    });
    ensure!(pty == Some((101, 37)), "recorded terminal: {pty:?}");
    Ok(())
}

#[tokio::test]
async fn a_shell_reads_what_is_typed_and_leaves_with_its_exit_code() -> Result<()> {
    let shared = gateway().await?;
    let marker = unique();
    let login = shared.login.clone().option("RequestTTY=force");
    let mut ssh = login.ssh();
    let mut child = ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().context("piped")?;
    tokio::io::AsyncWriteExt::write_all(&mut stdin, format!("echo typed-{marker}\nexit 7\n").as_bytes())
        .await?;
    let finished = containerssh_e2e::ssh::collect(child).await?.expect_code(7)?;
    ensure!(finished.out().contains(&format!("typed-{marker}\r\n")), "{}", finished.out());
    let record = shared.record_of(&format!("typed-{marker}")).await?;
    let typed = String::from_utf8_lossy(&record.io(IoStream::Stdin)).into_owned();
    ensure!(typed == format!("echo typed-{marker}\nexit 7\n"), "recorded input: {typed:?}");
    Ok(())
}

#[tokio::test]
async fn the_environment_arrives_unharmed() -> Result<()> {
    let shared = gateway().await?;
    let value = "it's \"quoted\" $HOME `id` and\\backslashed";
    let login = shared.login.clone().option("SendEnv=LC_E2E");
    let mut ssh = login.ssh();
    let finished = finish(ssh.env("LC_E2E", value).arg("printenv LC_E2E").stdin(Stdio::null())).await?;
    let finished = finished.expect_code(0)?;
    ensure!(finished.out() == format!("{value}\n"), "{}", finished.out());
    Ok(())
}

#[tokio::test]
async fn several_sessions_of_one_connection_share_one_pod() -> Result<()> {
    let shared = gateway().await?;
    let directory = tempfile::tempdir()?;
    let control = format!("ControlPath={}", directory.path().join("mux").display());
    let login = shared.login.clone().option(&control);
    let marker = unique();
    let mut master =
        login.clone().option("ControlMaster=yes").spawn(&format!("echo {marker}; hostname; cat"))?;
    let mut lines =
        tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(master.stdout.take().context("piped")?));
    let first = lines.next_line().await?.unwrap_or_default();
    ensure!(first == marker, "{first}");
    let pod = lines.next_line().await?.unwrap_or_default();
    for _ in 0..3 {
        let finished = login.run("hostname").await?.expect_code(0)?;
        ensure!(finished.out().trim() == pod, "{} is not {pod}", finished.out());
    }
    drop(master.stdin.take());
    master.wait().await?;
    let record = shared.record_of(&marker).await?;
    let channels: std::collections::BTreeSet<_> =
        record.messages.iter().filter_map(|message| message.channel_id).collect();
    ensure!(channels.len() == 4, "channels: {channels:?}");
    Ok(())
}

#[tokio::test]
async fn sftp_moves_a_file_there_and_back() -> Result<()> {
    let shared = gateway().await?;
    let directory = tempfile::tempdir()?;
    let bytes = bytes::random_bytes(5_000_000);
    std::fs::write(directory.path().join("there"), &bytes)?;
    shared
        .login
        .sftp("put there /tmp/moved\nls -l /tmp/moved\nget /tmp/moved back\n", directory.path())
        .await?
        .expect_code(0)?;
    ensure!(std::fs::read(directory.path().join("back"))? == bytes, "the file came back changed");
    Ok(())
}

/// containerd closes a command's standard input as soon as the command closes *either* of its outputs; without a parent
/// that holds both, each of these loses its input silently and reports success.
#[tokio::test]
async fn input_survives_a_command_that_closes_its_outputs() -> Result<()> {
    let shared = gateway().await?;
    let (file, hash) = random_file(BIG)?;
    for pattern in [
        "exec cat >/tmp/x",
        "cat >/tmp/x 2>/dev/null",
        "exec cat 2>&- >/tmp/x",
        "exec 1>&- 2>&-; cat >/tmp/x",
        "sleep 100 >/dev/null 2>&1 & exec cat >/tmp/x",
    ] {
        // The hash is taken by a second session of the same connection's pod, so one connection does both.
        let remote = format!("{{ {pattern}; }}");
        let script = format!("( {remote} ); sha256sum </tmp/x");
        let finished = shared
            .login
            .run_with_input(&script, Stdio::from(file.reopen()?))
            .await?
            .expect_code(0)
            .context(pattern)?;
        ensure!(finished.out().starts_with(&hash), "{pattern}: stored {}", finished.out());
    }
    let finished = shared
        .login
        .run_with_input("exec wc -c 2>/dev/null", Stdio::from(file.reopen()?))
        .await?
        .expect_code(0)?;
    ensure!(finished.out().trim() == BIG.to_string(), "counted {}", finished.out());
    Ok(())
}

#[tokio::test]
async fn input_survives_when_the_whole_command_is_the_one_that_closes_its_output() -> Result<()> {
    let shared = gateway().await?;
    let (file, hash) = random_file(BIG)?;
    let directory = tempfile::tempdir()?;
    let control = format!("ControlPath={}", directory.path().join("mux").display());
    let login = shared.login.clone().option(&control);
    let mut master = login.clone().option("ControlMaster=yes").spawn("echo up; cat")?;
    let mut lines =
        tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(master.stdout.take().context("piped")?));
    ensure!(lines.next_line().await?.as_deref() == Some("up"), "the master did not come up");
    for pattern in ["cat >/tmp/x", "exec cat >/tmp/x 2>/dev/null", "exec >&-; cat >/tmp/x"] {
        login.run_with_input(pattern, Stdio::from(file.reopen()?)).await?.expect_code(0).context(pattern)?;
        let finished = login.run("sha256sum </tmp/x; rm /tmp/x").await?.expect_code(0)?;
        ensure!(finished.out().starts_with(&hash), "{pattern}: stored {}", finished.out());
    }
    drop(master.stdin.take());
    master.wait().await?;
    Ok(())
}

#[tokio::test]
async fn every_byte_of_64_mb_each_way_is_delivered_and_recorded() -> Result<()> {
    let shared = gateway().await?;
    let (file, hash) = random_file(64 << 20)?;
    let marker = unique();
    let up = format!(": {marker}-up; sha256sum");
    let finished = shared.login.run_with_input(&up, Stdio::from(file.reopen()?)).await?.expect_code(0)?;
    ensure!(finished.out().starts_with(&hash), "arrived as {}", finished.out());
    let record = shared.record_of(&format!("{marker}-up")).await?;
    ensure!(sha256(&record.io(IoStream::Stdin)) == hash, "recorded other bytes than were sent");

    let down = format!(": {marker}-down; head -c {} /dev/urandom", 64 << 20);
    let finished = shared.login.run(&down).await?.expect_code(0)?;
    ensure!(finished.stdout.len() == 64 << 20, "{} bytes arrived", finished.stdout.len());
    let record = shared.record_of(&format!("{marker}-down")).await?;
    ensure!(record.io(IoStream::Stdout) == finished.stdout, "recorded other bytes than were shown");
    Ok(())
}

#[tokio::test]
async fn an_image_of_nothing_but_busybox_serves_as_well() -> Result<()> {
    let shared = gateway().await?;
    let template = containerssh_e2e::gateway::guest_template(&shared.cluster.environment.busybox_image);
    let gateway = containerssh_e2e::Gateway::with_key(
        &shared.namespace,
        "busybox",
        fixture::USER,
        &fixture::key().await?.public,
        json!({"backend": {"kubernetes": {"podTemplate": template}}}),
    )
    .await?;
    gateway.ready().await?;
    let login = containerssh_e2e::Login::with_key(&gateway, fixture::USER, fixture::key().await?).await?;
    let (file, hash) = random_file(BIG)?;
    let finished = login
        .run_with_input(
            "(exec cat >/tmp/x 2>/dev/null); sha256sum </tmp/x; exit 4",
            Stdio::from(file.reopen()?),
        )
        .await?
        .expect_code(4)?;
    ensure!(finished.out().starts_with(&hash), "stored {}", finished.out());
    Ok(())
}

/// The words of a command, quoted for a shell.
fn shell_line(command: &Command) -> String {
    let command = command.as_std();
    let quote = |word: &std::ffi::OsStr| format!("'{}'", word.to_string_lossy().replace('\'', "'\\''"));
    std::iter::once(quote(command.get_program()))
        .chain(command.get_args().map(quote))
        .collect::<Vec<_>>()
        .join(" ")
}
