//! Commands, their streams, their environment.

use containerssh_agent::{Accounts, Base, HostGuest};
use containerssh_backend::{Command, Guest as _, Output, ProgramSpec};

use crate::support::{collect, guest, run, run_with, settings, spec, start, within};

#[tokio::test]
async fn a_command_line_is_the_shells_whole_and_its_status_the_programs() {
    let finished = run("echo 'a  b' | tr a-z A-Z; echo oops >&2; exit 7").await;
    assert_eq!((finished.stdout().as_str(), finished.stderr().as_str()), ("A  B\n", "oops\n"));
    assert_eq!(finished.last, Output::Exit(7));
    for empty in ["", "  "] {
        let finished = run(empty).await;
        assert_eq!((finished.stdout().as_str(), &finished.last), ("", &Output::Exit(0)), "{empty:?}");
    }
    let finished = run("no-such-program").await;
    assert_eq!(finished.last, Output::Exit(127));
    assert!(finished.stderr().contains("no-such-program"));
}

#[tokio::test]
async fn bytes_pass_unchanged_in_both_directions_at_once() {
    let sent: Vec<u8> =
        (0..8_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let finished = run_with(spec("cat"), &sent).await;
    assert!(finished.stdout == sent, "{} bytes of {}", finished.stdout.len(), sent.len());
    assert_eq!(finished.last, Output::Exit(0));
}

#[tokio::test]
async fn output_goes_on_after_the_end_of_input_and_input_after_that_of_output() {
    let finished = run_with(spec("sort; echo sorted"), b"b\na\n").await;
    assert_eq!(finished.stdout(), "a\nb\nsorted\n");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("late");
    let command = format!("exec >&- 2>&-; cat > {}", file.display());
    assert_eq!(run_with(spec(&command), b"stored").await.last, Output::Exit(0));
    assert_eq!(std::fs::read(file).unwrap(), b"stored");
}

#[tokio::test]
async fn a_program_that_closes_its_input_says_so_to_who_writes() {
    let (guest, mut input, mut output) = start(spec("exec <&-; echo closed; sleep 600")).await;
    assert_eq!(within("output", output.next()).await.unwrap(), Output::Stdout("closed\n".into()));
    assert!(input.stdin("x".into()).await.is_err());
    guest.close().await;
}

#[tokio::test]
async fn the_environment_is_the_containers_then_the_clients() {
    let mut wanted = spec("echo \"$LANG|$USER|$SSH_CONNECTION|$FROM_AUTH|$SSH_TTY|$HOME|$0\"");
    wanted.env = vec![
        ("LANG".into(), "C.UTF-8".into()),
        ("SSH_CONNECTION".into(), "192.0.2.1 5 192.0.2.2 22".into()),
        ("USER".into(), "somebody".into()),
    ];
    let mut settings = settings(Base::Host);
    settings.environment.push(("FROM_AUTH".into(), "token".into()));
    let accounts = Accounts::of_host();
    let guest = HostGuest::new("here".into(), settings, &accounts);
    let mut program = guest.start(wanted).await.unwrap();
    program.input.eof().await.unwrap();
    let finished = collect(program.output.as_mut()).await;
    let me = accounts.by_uid(rustix::process::getuid().as_raw()).unwrap();
    let shell = me.shell.rsplit('/').next().unwrap();
    assert_eq!(
        finished.stdout(),
        format!("C.UTF-8|{}|192.0.2.1 5 192.0.2.2 22|token||{}|{shell}\n", me.name, me.home),
        "{}",
        finished.stderr()
    );
}

#[tokio::test]
async fn nothing_of_ours_is_inherited() {
    let finished =
        run("ls /proc/$$/fd; ps -o pid=,pgid=,sid= -p $$; cat /proc/$$/cmdline | tr '\\0' ' '; exit 0").await;
    let lines = finished.stdout();
    // Whoever runs the tests may leave descriptors open for us, and so for everybody.
    let inherited = |number: &str| {
        let flags = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap_or_default();
        let flags =
            flags.lines().find_map(|line| line.strip_prefix("flags:")).map(|flags| flags.trim().to_owned());
        flags.is_some_and(|flags| u32::from_str_radix(&flags, 8).unwrap() & 0o2_000_000 == 0)
    };
    // bash keeps its own copy of a script's descriptor at 255.
    let open: Vec<&str> = lines
        .lines()
        .take_while(|line| line.split_whitespace().count() == 1)
        .filter(|number| *number != "255" && !inherited(number))
        .collect();
    assert!(open.is_empty(), "{lines}");
    let ids: Vec<&str> =
        lines.lines().find(|line| line.split_whitespace().count() == 3).unwrap().split_whitespace().collect();
    assert!(ids[0] == ids[1] && ids[1] == ids[2], "a session of its own: {ids:?}");
    assert!(!lines.contains("launch-program"), "{lines}");
}

#[tokio::test]
async fn requests_that_cannot_be_carried_out_fail_with_a_reason() {
    let guest = guest();
    for command in [Command::Subsystem("netconf".into()), Command::Exec("a\0b".into())] {
        let error = guest.start(ProgramSpec { command, ..spec("") }).await.unwrap_err().to_string();
        assert!(error.contains("netconf") || error.contains("NUL"), "{error}");
    }
    guest.close().await;
    assert!(guest.start(spec("true")).await.is_err(), "a closed guest starts nothing");
}
