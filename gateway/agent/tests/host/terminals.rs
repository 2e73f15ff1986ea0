//! Programs on a terminal.

use containerssh_backend::{Command, Output, ProgramSpec, Signal, WindowSize};

use crate::support::{collect, pty, read_until, run_with, spec, start};

fn on_terminal(command: &str) -> ProgramSpec {
    ProgramSpec { pty: pty(b""), ..spec(command) }
}

#[tokio::test]
async fn a_terminal_is_the_programs_own_with_its_name_type_and_size() {
    let finished = run_with(
        on_terminal("tty; echo $SSH_TTY $TERM; stty size; exec 3<>/dev/tty && echo controls >&3"),
        b"",
    )
    .await;
    let text = finished.stdout();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("/dev/pts/"), "{text}");
    assert_eq!(lines[1..], [&format!("{} xterm-test", lines[0]), "17 91", "controls"]);
    assert_eq!(finished.last, Output::Exit(0));
}

#[tokio::test]
async fn modes_are_set_before_the_program_starts() {
    // ECHO and ONLCR off, VERASE ^H.
    let modes = b"\x35\0\0\0\0\x48\0\0\0\0\x03\0\0\0\x08\0";
    let finished = run_with(ProgramSpec { pty: pty(modes), ..spec("stty -a; printf 'a\\nb'") }, b"").await;
    let text = finished.stdout();
    for part in ["-echo ", "-onlcr", "erase = ^H", "intr = ^C", "icanon"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(text.ends_with("a\nb"), "{text:?}");
}

#[tokio::test]
async fn what_is_typed_is_echoed_and_a_key_interrupts() {
    let (guest, mut input, mut output) = start(on_terminal(
        "trap 'echo caught; exit 5' INT; echo ready; while :; do read line; echo \"<$line>\"; done",
    ))
    .await;
    read_until(output.as_mut(), "ready").await;
    input.stdin("hello\r".into()).await.unwrap();
    assert!(read_until(output.as_mut(), "<hello>").await.contains("hello\r\n<hello>"));
    input.stdin("\x03".into()).await.unwrap();
    let finished = collect(output.as_mut()).await;
    assert!(finished.stdout().contains("caught"), "{finished:?}");
    assert_eq!(finished.last, Output::Exit(5));
    containerssh_backend::Guest::close(&guest).await;
}

#[tokio::test]
async fn a_new_size_reaches_the_program() {
    let (_guest, mut input, mut output) =
        start(on_terminal("trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done")).await;
    read_until(output.as_mut(), "ready").await;
    input.resize(WindowSize { columns: 132, rows: 50, width: 1, height: 70_000 }).await.unwrap();
    read_until(output.as_mut(), "50 132").await;
}

#[tokio::test]
async fn the_shell_is_a_login_shell_and_ends_with_exit() {
    let (_guest, mut input, mut output) =
        start(ProgramSpec { command: Command::Shell, ..on_terminal("") }).await;
    input.stdin("echo name=$0; exit 3\r".into()).await.unwrap();
    let finished = collect(output.as_mut()).await;
    assert!(finished.stdout().contains("name=-"), "{finished:?}");
    assert_eq!(finished.last, Output::Exit(3));
}

#[tokio::test]
async fn a_signal_reaches_what_runs_in_the_foreground() {
    let (_guest, mut input, mut output) =
        start(ProgramSpec { command: Command::Shell, ..on_terminal("") }).await;
    input.stdin("PS1=; set -m; sh -c 'trap \"echo got it; exit\" USR1; echo up\"\"; while :; do sleep 0.05; done'; echo still here; exit 4\r".into()).await.unwrap();
    read_until(output.as_mut(), "\r\nup").await;
    input.signal(Signal::parse("USR1").unwrap()).await.unwrap();
    let finished = collect(output.as_mut()).await;
    assert!(finished.stdout().contains("got it") && finished.stdout().contains("still here"), "{finished:?}");
    assert_eq!(finished.last, Output::Exit(4));
}

#[tokio::test]
async fn the_last_words_of_a_program_are_read_before_its_end_is_told() {
    for _ in 0..20 {
        let finished = run_with(on_terminal("seq 1 5000"), b"").await;
        assert!(finished.stdout().ends_with("\r\n5000\r\n"), "{} bytes", finished.stdout.len());
        assert_eq!(finished.last, Output::Exit(0));
    }
}
