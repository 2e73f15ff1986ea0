//! The script is run for real, with every shell that the machine has.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command as Process, Output, Stdio};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::signal;

const TOKEN: &str = "0123456789abcdef";

/// Shells to test with: the words before `-c`. dash and bash are on every machine that builds this; busybox often.
fn shells() -> Vec<Vec<&'static str>> {
    let found = |program: &str| Process::new(program).arg("-c").arg(":").output().is_ok();
    let mut shells = vec![vec!["/bin/sh"]];
    shells.extend(
        [vec!["dash"], vec!["bash"], vec!["bash", "--posix"]].into_iter().filter(|shell| found(shell[0])),
    );
    if Process::new("busybox").arg("true").output().is_ok() {
        shells.push(vec!["busybox", "sh"]);
    }
    shells
}

fn spec(command: Command, env: &[(&str, &str)]) -> ProgramSpec {
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    ProgramSpec { channel: 0, command, env, pty: None, x11: None, auth_agent: false }
}

fn exec(line: &str) -> ProgramSpec {
    spec(Command::Exec(line.to_owned()), &[])
}

fn subsystems(program: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("sftp".to_owned(), program.to_owned())])
}

fn started(spec: &ProgramSpec) -> Launch {
    launch(spec, &["/bin/sh".to_owned()], &subsystems("/usr/lib/openssh/sftp-server"), TOKEN).unwrap()
}

/// In a process group of its own and with no signal ignored, as the runtime does it: what starts the tests in the background
/// may ignore some, which no shell can undo.
fn process(shell: &[&str], argv: &[String]) -> Process {
    assert_eq!(argv[0], SHELL);
    let mut process = Process::new("env");
    process.arg("--default-signal").args(shell).args(&argv[1..]).process_group(0).env_remove("SHELL");
    process.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    process
}

/// Runs to the end with `input`; standard output without the announcement, standard error without the farewell, which must
/// say what the exit status says.
fn run(shell: &[&str], launch: &Launch, input: &[u8]) -> Output {
    let mut child = process(shell, &launch.argv).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let mut output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let announcement = launch.marker.find(&output.stdout).expect("an announcement");
    output.stdout.drain(announcement.start..announcement.end);
    if let (Some(farewell), Some(code)) = (&launch.farewell, output.status.code())
        && announcement.group.is_some()
    {
        let line = format!("{farewell}{code}\n");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(errors.ends_with(&line), "no farewell {line:?} in {errors:?}");
        output.stderr.truncate(output.stderr.len() - line.len());
    }
    output
}

#[test]
fn exit_statuses_come_through_the_parent() {
    for shell in shells() {
        for (line, code) in
            [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), (" ", 0), ("", 0), ("no-such-program", 127)]
        {
            let output = run(&shell, &started(&exec(line)), b"");
            assert_eq!(output.status.code(), Some(code), "{shell:?} {line:?}");
        }
        let output = run(&shell, &started(&exec("kill -9 $$")), b"");
        assert_eq!(output.status.code(), Some(137), "{shell:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{shell:?}: the parent is not heard");
    }
}

#[test]
fn a_command_line_is_the_shells_exactly_as_sent() {
    for shell in shells() {
        let line = "/bin/echo 'a  b' \"$((1+1))\" | tr a-z A-Z; echo '$x' && echo \\\\";
        let output = run(&shell, &started(&exec(line)), b"");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "A  B 2\n$x\n\\\n", "{shell:?}");
    }
}

#[test]
fn standard_error_is_the_programs_and_stays_separate() {
    for shell in shells() {
        let output = run(&shell, &started(&exec("echo out; echo err >&2")), b"");
        assert_eq!((output.stdout, output.stderr), (b"out\n".to_vec(), b"err\n".to_vec()), "{shell:?}");
    }
}

#[test]
fn variables_come_through_whatever_they_contain() {
    let value = "it's \"quoted\" $HOME `id` \\n\nsecond line; exit 3 # 猫 *";
    for shell in shells() {
        let spec = spec(
            Command::Exec("printf %s \"$A\"; printf %s \"$B\" >&2".to_owned()),
            &[("A", value), ("B", "")],
        );
        let output = run(&shell, &started(&spec), b"");
        assert_eq!(String::from_utf8_lossy(&output.stdout), value, "{shell:?}");
        assert_eq!(output.stderr, b"", "{shell:?}");
    }
}

#[test]
fn names_that_a_shell_refuses_do_not_stop_the_program() {
    let env = [
        ("UID", "0"),
        ("PPID", "1"),
        ("SHELLOPTS", "xtrace"),
        ("1A", "x"),
        ("A-B", "x"),
        ("", "x"),
        ("OK", "yes"),
    ];
    for shell in shells() {
        let output = run(&shell, &started(&spec(Command::Exec("echo $OK".to_owned()), &env)), b"");
        assert_eq!((output.status.code(), output.stdout), (Some(0), b"yes\n".to_vec()), "{shell:?}");
        assert_eq!(output.stderr, b"", "{shell:?}");
    }
}

#[test]
fn the_client_cannot_choose_what_reads_the_command_line() {
    let launch = started(&spec(Command::Exec("true".to_owned()), &[("SHELL", "/tmp/evil"), ("TERM", "x")]));
    assert!(!launch.argv.iter().any(|word| word.contains("evil")));
    assert!(launch.argv.contains(&"TERM=x".to_owned()));
}

#[test]
fn the_images_shell_reads_the_command_line_unless_it_is_none() {
    let bash = Process::new("bash").args(["-c", "command -v bash"]).output().unwrap();
    let bash = String::from_utf8(bash.stdout).unwrap().trim().to_owned();
    for shell in shells() {
        for (login, expected) in
            [(bash.as_str(), true), ("/usr/sbin/nologin", false), ("/no/such/shell", false)]
        {
            let launch = started(&exec("echo ${BASH_VERSION:+bash}"));
            let output = process(&shell, &launch.argv).env("SHELL", login).output().unwrap();
            assert_eq!(output.status.code(), Some(0), "{shell:?} {login}");
            assert!(!expected || output.stdout.ends_with(b"bash\n"), "{shell:?} {login}");
        }
    }
}

#[test]
fn exported_variables_of_the_image_keep_their_values() {
    for shell in shells() {
        let launch = started(&exec("env"));
        let output =
            process(&shell, &launch.argv).env("token", "a").env("s", "b").env("IFS", ",").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("\ntoken=a\n") && text.contains("\ns=b\n"), "{shell:?} {text}");
    }
}

/// Descriptors that the program must not close for its parent: the trap that this module exists for.
#[test]
fn the_parent_holds_all_three_streams_while_the_program_closes_its_own() {
    for shell in shells() {
        for line in ["exec cat >/dev/null 2>/dev/null", "exec 1>&- 2>&-; cat >/dev/null", "cat >/dev/null"] {
            let launch = started(&exec(line));
            let mut child = process(&shell, &launch.argv).spawn().unwrap();
            let (mut stdout, _) = announced(&mut child, &launch);
            let group = child.id();
            wait_until(|| has_child_named(group, "cat"), "the program runs");
            for stream in ["0", "1", "3"] {
                let target = std::fs::read_link(format!("/proc/{group}/fd/{stream}")).unwrap();
                assert!(
                    target.to_string_lossy().starts_with("pipe:"),
                    "{shell:?} {line:?}: {stream} is {target:?}"
                );
            }
            drop(child.stdin.take());
            assert!(child.wait().unwrap().success(), "{shell:?} {line:?}");
            let mut rest = Vec::new();
            stdout.read_to_end(&mut rest).unwrap();
        }
    }
}

#[test]
fn the_program_inherits_the_standard_streams_and_no_other() {
    for shell in shells() {
        // The parent's descriptor 3 must be closed, or a background program would hold the session's error stream.
        let output = run(
            &shell,
            &started(&exec("if { true >&3; } 2>/dev/null; then echo open; else echo closed; fi")),
            b"",
        );
        assert_eq!(String::from_utf8_lossy(&output.stdout), "closed\n", "{shell:?}");
    }
}

#[test]
fn input_reaches_the_program_whole() {
    let input: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    for shell in shells() {
        let output = run(&shell, &started(&exec("wc -c 2>/dev/null")), &input);
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "4000000", "{shell:?}");
    }
}

#[test]
fn signals_end_the_program_and_not_the_report() {
    for shell in shells() {
        for (name, code) in
            [("TERM", 143), ("HUP", 129), ("INT", 130), ("USR1", 138), ("ALRM", 142), ("QUIT", 131)]
        {
            let launch = started(&exec("exec sleep 60"));
            let mut child = process(&shell, &launch.argv).spawn().unwrap();
            let (_, announcement) = announced(&mut child, &launch);
            assert_eq!(announcement.group, Some(child.id()));
            wait_until(|| has_child_named(child.id(), "sleep"), "the program runs");
            let sent = send(&shell, name, &announcement, false);
            assert!(sent.status.success(), "{shell:?} {name}: {}", String::from_utf8_lossy(&sent.stderr));
            let output = child.wait_with_output().unwrap();
            assert_eq!(output.status.code(), Some(code), "{shell:?} {name}");
            let farewell = format!("{}{code}\n", launch.farewell.as_deref().unwrap());
            assert_eq!(String::from_utf8_lossy(&output.stderr), farewell, "{shell:?} {name}");
        }
    }
}

#[test]
fn a_program_that_handles_a_signal_goes_on() {
    for shell in shells() {
        let launch = started(&exec("trap 'echo got; exit 5' USR2; echo ready; while :; do sleep 0.05; done"));
        let mut child = process(&shell, &launch.argv).spawn().unwrap();
        let (mut stdout, announcement) = announced(&mut child, &launch);
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        assert!(send(&shell, "USR2", &announcement, false).status.success());
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).unwrap();
        assert_eq!((rest.as_str(), child.wait().unwrap().code()), ("got\n", Some(5)), "{shell:?}");
    }
}

#[test]
fn kill_ends_the_parent_too() {
    for shell in shells() {
        let launch = started(&exec("exec sleep 60"));
        let mut child = process(&shell, &launch.argv).spawn().unwrap();
        let (_, announcement) = announced(&mut child, &launch);
        assert!(send(&shell, "KILL", &announcement, false).status.success());
        assert_eq!(child.wait().unwrap().signal(), Some(9), "{shell:?}");
    }
}

#[test]
fn a_signal_for_what_has_ended_says_so() {
    for shell in shells() {
        let launch = started(&exec("exit 0"));
        let mut child = process(&shell, &launch.argv).spawn().unwrap();
        let (_, announcement) = announced(&mut child, &launch);
        child.wait().unwrap();
        for terminal in [false, true] {
            let sent = send(&shell, "TERM", &announcement, terminal);
            assert_eq!(sent.status.code(), Some(signal::GONE), "{shell:?} {terminal}");
        }
    }
}

#[test]
fn a_missing_subsystem_is_announced_as_such() {
    for shell in shells() {
        let spec = spec(Command::Subsystem("sftp".to_owned()), &[]);
        let launch = launch(&spec, &[], &subsystems("/no/such/program"), TOKEN).unwrap();
        let output = process(&shell, &launch.argv).output().unwrap();
        assert_eq!(launch.marker.find(&output.stdout).unwrap().group, None, "{shell:?}");
    }
}

#[test]
fn a_subsystem_runs_the_first_candidate_that_exists() {
    let spec = spec(Command::Subsystem("sftp".to_owned()), &[]);
    let launch = launch(&spec, &[], &subsystems("/bin/pwd"), TOKEN).unwrap();
    for shell in shells() {
        let output = run(&shell, &launch, b"");
        assert!(output.status.success() && output.stdout.starts_with(b"/"), "{shell:?}");
    }
    let default = started(&spec);
    let dashes = default.argv.iter().position(|word| word == "--").unwrap();
    assert_eq!(default.argv[dashes + 1..].to_vec(), SFTP_SERVERS.map(str::to_owned).to_vec());
}

#[test]
fn an_unknown_subsystem_and_a_nul_are_refused_here() {
    let unknown = launch(&spec(Command::Subsystem("nope".to_owned()), &[]), &[], &subsystems("/x"), TOKEN);
    assert!(matches!(unknown, Err(BackendError::ProgramFailed(text)) if text.contains("\"nope\"")));
    let nul = launch(&exec("a\0b"), &[], &subsystems("/x"), TOKEN);
    assert!(matches!(nul, Err(BackendError::ProgramFailed(text)) if text.contains("NUL")));
}

#[test]
fn with_a_terminal_the_script_becomes_the_program() {
    let pty = Pty {
        term: "xterm-256color".to_owned(),
        size: WindowSize { columns: 132, rows: 50, ..WindowSize::default() },
        modes: Bytes::new(),
    };
    for shell in shells() {
        let spec = ProgramSpec { pty: Some(pty.clone()), ..exec("echo $TERM $$; exit 4") };
        let launch = started(&spec);
        assert!(launch.argv[2].contains("stty cols 132 rows 50"));
        let child = process(&shell, &launch.argv).spawn().unwrap();
        let pid = child.id();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(4), "{shell:?}");
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            format!("containerssh-start:{TOKEN}:{pid}\nxterm-256color {pid}\n"),
            "{shell:?}"
        );
    }
}

#[test]
fn an_announcement_is_found_wherever_it_is_and_only_whole() {
    let marker = Marker::new(TOKEN);
    let line = format!("containerssh-start:{TOKEN}:4711\r\n");
    let output = format!("ld.so: complaint\n{line}hello");
    let announcement = marker.find(output.as_bytes()).unwrap();
    assert_eq!(announcement.group, Some(4711));
    assert_eq!(&output[announcement.end..], "hello");
    assert_eq!(&output[..announcement.start], "ld.so: complaint\n");
    for end in 0..line.len() {
        assert_eq!(marker.find(&line.as_bytes()[..end]), None);
    }
    assert_eq!(Marker::new("other").find(output.as_bytes()), None);
    assert_eq!(marker.find(format!("containerssh-start:{TOKEN}:1\n").as_bytes()).unwrap().group, None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_value_of_a_variable_arrives_unchanged(value in "[^\\x00]{0,200}") {
        for shell in shells() {
            let spec = spec(Command::Exec("printf %s \"$A\"".to_owned()), &[("A", value.as_str())]);
            let output = run(&shell, &started(&spec), b"");
            prop_assert_eq!(String::from_utf8_lossy(&output.stdout), value.as_str());
        }
    }

    #[test]
    fn arbitrary_output_is_searched_without_panic(output in prop::collection::vec(any::<u8>(), 0..200)) {
        let marker = Marker::new("");
        let mut bytes = PREFIX.as_bytes().to_vec();
        bytes.push(b':');
        bytes.extend(output);
        if let Some(found) = marker.find(&bytes) {
            prop_assert!(found.start < found.end && found.end <= bytes.len());
        }
    }
}

fn announced(child: &mut Child, launch: &Launch) -> (BufReader<std::process::ChildStdout>, Announcement) {
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = Vec::new();
    stdout.read_until(b'\n', &mut line).unwrap();
    (stdout, launch.marker.find(&line).expect("an announcement"))
}

fn send(shell: &[&str], name: &str, announcement: &Announcement, terminal: bool) -> Output {
    let signal = containerssh_backend::Signal::parse(name).unwrap();
    let argv = signal::argv(signal, announcement.group.unwrap(), terminal);
    process(shell, &argv).stdin(Stdio::null()).output().unwrap()
}

fn has_child_named(parent: u32, name: &str) -> bool {
    let children =
        std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    children.split_whitespace().any(|child| {
        let child: u32 = child.parse().unwrap();
        let comm = std::fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
        comm.trim() == name || has_child_named(child, name)
    })
}

fn wait_until(mut condition: impl FnMut() -> bool, what: &str) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "waiting until {what}");
        std::thread::yield_now();
    }
}
