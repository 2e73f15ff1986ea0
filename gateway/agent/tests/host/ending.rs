//! How programs end, and who ends them.

use containerssh_backend::{Guest as _, Output, ProgramSpec, Signal};

use crate::support::{collect, ended, pty, read_until, run, spec, start, within};

#[tokio::test]
async fn a_signal_reaches_the_whole_group_and_is_told_as_what_ended_it() {
    let (_guest, mut input, mut output) = start(spec("sh -c 'echo up; sleep 600 & wait'")).await;
    read_until(output.as_mut(), "up").await;
    input.signal(Signal::parse("TERM").unwrap()).await.unwrap();
    let finished = collect(output.as_mut()).await;
    let Output::ExitSignal { signal, core_dumped, .. } = finished.last else { panic!("{finished:?}") };
    assert_eq!((signal.as_str(), core_dumped), ("TERM", false));
    assert!(input.signal(Signal::KILL).await.is_err(), "there is nobody left");
}

#[tokio::test]
async fn a_signal_without_a_name_in_the_rfc_has_openssh_name() {
    let Output::ExitSignal { signal, .. } = run("kill -BUS $$").await.last else { panic!() };
    assert_eq!(signal, "SIG@openssh.com");
}

#[tokio::test]
async fn a_program_that_nobody_is_connected_to_is_ended_with_its_group() {
    for stubborn in ["", "trap '' HUP; "] {
        let (_guest, input, mut output) =
            start(spec(&format!("{stubborn}sleep 600 & echo $! $$; wait; sleep 600"))).await;
        let pids = read_until(output.as_mut(), "\n").await;
        drop(input);
        // The other half is still there, and so is the program.
        let (child, parent) = pids.trim().split_once(' ').unwrap();
        assert!(std::path::Path::new(&format!("/proc/{child}")).exists());
        drop(output);
        ended(child).await;
        ended(parent).await;
    }
}

#[tokio::test]
async fn closing_the_guest_ends_all_its_programs() {
    let (guest, _input, mut output) =
        start(ProgramSpec { pty: pty(b""), ..spec("echo $$; exec sleep 600") }).await;
    let pid = read_until(output.as_mut(), "\r\n").await;
    within("closing", guest.close()).await;
    ended(&pid).await;
    assert!(
        matches!(collect(output.as_mut()).await.last, Output::ExitSignal { signal, .. } if signal == "HUP")
    );
}

#[tokio::test]
async fn children_left_behind_hold_a_pipe_open_and_a_terminal_not() {
    // Without a terminal the output is theirs as well, as under sshd.
    let finished = run("(sleep 0.3; echo late) & echo soon").await;
    assert_eq!((finished.stdout().as_str(), finished.last), ("soon\nlate\n", Output::Exit(0)));
    // With one it ends with the program.
    let (_guest, _input, mut output) =
        start(ProgramSpec { pty: pty(b""), ..spec("trap '' HUP; sleep 600 & echo $!; exit 6") }).await;
    let finished = collect(output.as_mut()).await;
    assert_eq!(finished.last, Output::Exit(6));
    let pid = finished.stdout().trim().to_owned();
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists(), "it asked to stay");
    assert!(std::process::Command::new("kill").arg(&pid).status().unwrap().success());
}
