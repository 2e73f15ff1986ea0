//! Programs at a distance are as programs here.

use std::sync::Arc;

use bytes::Bytes;
use containerssh_backend::{BackendError, Command, Guest as _, Output, ProgramSpec, Pty, Signal, WindowSize};

use crate::support::{Agent, Relayed, collect, noise, send_all, spec, within};

#[tokio::test(flavor = "multi_thread")]
async fn streams_statuses_and_reasons_come_through() {
    let agent = Agent::start().await;
    let guest = agent.connect().await;
    let mut program = guest.start(spec("echo out; echo err >&2; exit 3")).await.unwrap();
    let (stdout, stderr, last) = collect(program.output.as_mut()).await;
    assert_eq!((&stdout[..], &stderr[..], last), (&b"out\n"[..], &b"err\n"[..], Output::Exit(3)));

    let subsystem = |name: &str| ProgramSpec { command: Command::Subsystem(name.into()), ..spec("") };
    let mut program = guest.start(subsystem("who")).await.unwrap();
    assert!(collect(program.output.as_mut()).await.0.starts_with(b"uid="));
    let error = guest.start(subsystem("netconf")).await.unwrap_err();
    assert!(matches!(&error, BackendError::ProgramFailed(reason) if reason.contains("netconf")), "{error}");

    let mut program = guest.start(spec("echo up; exec sleep 600")).await.unwrap();
    assert_eq!(within("output", program.output.next()).await.unwrap(), Output::Stdout("up\n".into()));
    program.input.signal(Signal::parse("USR1").unwrap()).await.unwrap();
    let (_, _, last) = collect(program.output.as_mut()).await;
    assert!(matches!(last, Output::ExitSignal { signal, .. } if signal == "USR1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_pass_unchanged_both_ways_at_once_by_either_carrier() {
    let agent = Agent::start().await;
    let sent = noise(5_000_000);
    for relayed in [false, true] {
        let guest = if relayed {
            // The agent serves one gateway, so it gets another one.
            let agent = Agent::start().await;
            agent.connect_by(Arc::new(Relayed(agent.hello.port))).await
        } else {
            agent.connect().await
        };
        let mut program = guest.start(spec("cat")).await.unwrap();
        let ((), (stdout, _, last)) =
            tokio::join!(send_all(program.input.as_mut(), &sent), collect(program.output.as_mut()));
        assert!(stdout == sent, "{} bytes of {}", stdout.len(), sent.len());
        assert_eq!(last, Output::Exit(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn terminals_have_their_size_and_change_it() {
    let agent = Agent::start().await;
    let guest = agent.connect().await;
    let size = WindowSize { columns: 91, rows: 17, width: 910, height: 340 };
    // ECHO off.
    let pty = Pty { term: "xterm-test".into(), size, modes: Bytes::from_static(b"\x35\0\0\0\0\0") };
    let command = "stty size; echo $TERM; stty -a | grep -o -e '-echo '; read line; stty size";
    let mut program = guest.start(ProgramSpec { pty: Some(pty), ..spec(command) }).await.unwrap();
    program.input.resize(WindowSize { columns: 100, rows: 30, width: 0, height: 0 }).await.unwrap();
    program.input.stdin("go\r".into()).await.unwrap();
    let (stdout, _, last) = collect(program.output.as_mut()).await;
    let text = String::from_utf8(stdout).unwrap();
    assert!(text.contains("\r\nxterm-test\r\n-echo \r\n") && text.ends_with("30 100\r\n"), "{text}");
    assert_eq!(last, Output::Exit(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_does_not_read_holds_nobody_else_up() {
    let agent = Agent::start().await;
    let guest = agent.connect().await;
    let mut stuck = guest.start(spec("echo $$; exec sleep 600")).await.unwrap();
    let Output::Stdout(pid) = within("output", stuck.output.next()).await.unwrap() else { panic!() };
    let flood = tokio::spawn(async move {
        let data = Bytes::from(vec![0; 64 * 1024]);
        while stuck.input.stdin(data.clone()).await.is_ok() {}
        drop(stuck);
    });
    for _ in 0..20 {
        let mut other = guest.start(spec("head -c 1000000 /dev/zero")).await.unwrap();
        assert_eq!(collect(other.output.as_mut()).await.0.len(), 1_000_000);
    }
    // Nobody is connected to it any more, and nothing tells the agent but the closed connection.
    flood.abort();
    vanished(&pid).await;
}

/// Waits until a process is gone.
async fn vanished(pid: &[u8]) {
    let place = format!("/proc/{}", std::str::from_utf8(pid).unwrap().trim());
    within("the end of the program", async {
        while std::path::Path::new(&place).exists() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_ends_with_the_guest() {
    let agent = Agent::start().await;
    let guest = agent.connect().await;
    let mut program = guest.start(spec("trap '' HUP; echo $$; exec sleep 600")).await.unwrap();
    let Output::Stdout(pid) = within("output", program.output.next()).await.unwrap() else { panic!() };
    guest.close().await;
    within("news", guest.gone()).await;
    assert!(within("its end", program.output.next()).await.is_err(), "no status, no success");
    agent.ended().await;
    vanished(&pid).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_killed_is_noticed_and_no_program_succeeds() {
    let agent = Agent::start().await;
    let guest = agent.connect().await;
    let mut program = guest.start(spec("kill -9 $PPID; sleep 600")).await.unwrap();
    let error = within("the program's loss", program.output.next()).await.unwrap_err();
    assert!(matches!(error, BackendError::StreamBroken(_)), "{error}");
    assert!(matches!(within("news", guest.gone()).await, BackendError::GuestGone(_)));
    assert!(within("a refusal", guest.start(spec("true"))).await.is_err());
}
