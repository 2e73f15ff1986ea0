//! The programs themselves, as users run them: converting.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking; clippy.toml exempts test functions, not their helpers"
)]

#[path = "../../auditlog/tests/common/mod.rs"]
mod common;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use common::{RECORDED, io, message, segmented, vector, vector_path};
use containerssh_auditlog::{IoStream, Message, Payload};
use serde_json::Value;

const TOOL: &str = env!("CARGO_BIN_EXE_containerssh-auditlog-tool");
const DECODER: &str = env!("CARGO_BIN_EXE_containerssh-auditlog-decoder");

fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn run_with_input(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(TOOL)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || {
        // The program may stop reading: it is not this side's error.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    output
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn path(name: &str) -> String {
    vector_path(name, "bin").into_os_string().into_string().unwrap()
}

fn temporary(directory: &tempfile::TempDir, name: &str, content: &[u8]) -> PathBuf {
    let path = directory.path().join(name);
    std::fs::write(&path, content).unwrap();
    path
}

fn name(path: &Path) -> &str {
    path.to_str().unwrap()
}

// JSON

#[test]
fn it_prints_what_the_reference_decoder_prints() {
    for log in RECORDED.iter().chain(&["v1-all-types"]) {
        let golden = std::fs::read(vector_path(log, "jsonl")).unwrap();
        for (program, arguments) in [
            (TOOL, vec!["--input", "FILE", "--format", "json"]),
            (TOOL, vec!["--input", "FILE", "--output", "-"]),
            (TOOL, vec!["-file", "FILE"]),
            (DECODER, vec!["-file", "FILE"]),
            (DECODER, vec!["--file", "FILE"]),
        ] {
            let path = path(log);
            let arguments: Vec<&str> = arguments
                .into_iter()
                .map(|argument| if argument == "FILE" { &path } else { argument })
                .collect();
            let output = run(program, &arguments);
            assert_eq!(output.status.code(), Some(0), "{log} {arguments:?}: {}", text(&output.stderr));
            assert!(output.stdout == golden, "{log} {arguments:?}:\n{}", text(&output.stdout));
            assert_eq!(text(&output.stderr), "");
        }
    }
}

#[test]
fn it_reads_standard_input_and_writes_files() {
    let directory = tempfile::tempdir().unwrap();
    let result = directory.path().join("out.jsonl");
    let output = run_with_input(&["--input", "-", "--output", name(&result)], &vector("v2-pty-shell"));
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stdout.is_empty());
    assert!(std::fs::read(result).unwrap() == std::fs::read(vector_path("v2-pty-shell", "jsonl")).unwrap());
}

#[test]
fn a_cut_off_log_is_printed_as_far_as_it_goes_with_status_2() {
    let directory = tempfile::tempdir().unwrap();
    let whole = vector("v2-pty-shell");
    let cut = temporary(&directory, "cut", &whole[..whole.len() - 100]);
    let output = run(DECODER, &["-file", name(&cut)]);
    assert_eq!(output.status.code(), Some(2));
    let golden = std::fs::read_to_string(vector_path("v2-pty-shell", "jsonl")).unwrap();
    let mut lines: Vec<&str> = text(&output.stdout).lines().collect();
    let last: Value = serde_json::from_str(lines.pop().unwrap()).unwrap();
    assert!(last["error"].as_str().unwrap().contains("cut off after"), "{last}");
    assert!(lines.len() > 5 && golden.lines().zip(&lines).all(|(golden, line)| golden == *line));
    assert!(text(&output.stderr).contains("damaged in 1 place"), "{}", text(&output.stderr));
}

// Errors

#[test]
fn what_cannot_be_done_is_said_with_status_1() {
    let directory = tempfile::tempdir().unwrap();
    let other = temporary(&directory, "other", b"something else entirely");
    let log = path("v1-shell");
    for (arguments, expected) in [
        (vec!["--input", "/does/not/exist"], "cannot open /does/not/exist: No such file"),
        (vec!["--input", "/tmp"], "cannot open /tmp: is a directory"),
        (vec!["--input", name(&other)], "not an audit log"),
        (vec!["--input", &log, "--output", "/does/not/exist"], "cannot write /does/not/exist: No such file"),
        (vec!["--input", &log, "--format", "xml"], "invalid value 'xml'"),
        (vec![], "<LOG>"),
    ] {
        let output = run(TOOL, &arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(text(&output.stderr).contains(expected), "{arguments:?}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn the_log_is_never_overwritten_by_its_own_reading() {
    let directory = tempfile::tempdir().unwrap();
    let log = temporary(&directory, "log", &vector("v1-shell"));
    let link = directory.path().join("link");
    std::fs::hard_link(&log, &link).unwrap();
    for output in [&log, &link] {
        let result = run(TOOL, &["--input", name(&log), "--output", name(output)]);
        assert_eq!(result.status.code(), Some(1));
        assert!(text(&result.stderr).contains("is the log itself"), "{}", text(&result.stderr));
    }
    assert!(std::fs::read(&log).unwrap() == vector("v1-shell"));
}

#[test]
fn a_wrong_input_does_not_cost_an_existing_output() {
    let directory = tempfile::tempdir().unwrap();
    let output = temporary(&directory, "precious", b"precious");
    let result = run(TOOL, &["--input", "/does/not/exist", "--output", name(&output)]);
    assert_eq!(result.status.code(), Some(1));
    assert_eq!(std::fs::read(output).unwrap(), b"precious");
}

#[test]
fn help_and_version_are_no_errors() {
    let help = run(TOOL, &["--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(text(&help.stdout).contains("Exit status"));
    assert_eq!(run(TOOL, &["--version"]).status.code(), Some(0));
}

#[test]
fn a_reader_that_stops_reading_ends_it_quietly() {
    let messages: Vec<Message> = (0..20_000).map(|number| message(number, io(b"much to print"))).collect();
    let directory = tempfile::tempdir().unwrap();
    let log = temporary(&directory, "log", &segmented(&[&messages]).concat());
    let mut child = Command::new(TOOL)
        .args(["--input", name(&log)])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
}

// Text

#[test]
fn a_transcript_tells_the_session() {
    let output = run(TOOL, &["--input", &path("v2-pty-shell"), "--format", "text"]);
    assert_eq!(output.status.code(), Some(0));
    let transcript = text(&output.stdout);
    for expected in [
        "2026-11-21T09:45:38.468981Z        connection  26f1f7c6f52847faa34c7f996b6e1cd0 from 127.0.0.1 (XX)\n",
        "login       Password authentication: password recorded (see --format json), username foo\n",
        "#2    request     terminal xterm, 80x24\n",
        "#2    request     environment LANG=C.UTF-8\n",
        "#2    in          stty size\\n\n",
        "#2    out         24 80\\r\\n\n",
        "#2    request     window 120x40\n",
        "#2    out         caf\u{e9} \\e[31mred\\e[0m\\r\\n\n",
        "#2    exit        status 5\n",
        "connection  ended\n",
    ] {
        assert!(transcript.contains(expected), "no {expected:?} in\n{transcript}");
    }
    // What was recorded as a password is not shown.
    assert!(!transcript.contains("eA=="));
}

#[test]
fn nothing_that_a_user_sent_acts_on_the_terminal_of_whoever_reads_the_transcript() {
    let evil = "\u{1b}]0;title\u{7}\u{202e}\r\u{9b}31m\n2026-01-01T00:00:00Z  forged";
    let material = common::Material {
        text: evil.into(),
        other: evil.into(),
        bytes: Some(evil.as_bytes().to_vec().into()),
        data: evil.as_bytes().to_vec().into(),
        small: 1,
        large: 1,
        flag: true,
    };
    let messages: Vec<Message> =
        common::every_type(&material).into_iter().map(|payload| message(0, payload)).collect();
    let output = run_with_input(&["-i-", "--format", "text"], &segmented(&[&messages]).concat());
    let transcript = text(&output.stdout);
    assert!(transcript.chars().all(|c| c == '\n' || !(c.is_control() || c == '\u{202e}')), "{transcript:?}");
    let forged = |line: &&str| line.starts_with("2026-01-01");
    assert_eq!(transcript.lines().filter(forged).count(), 0);
    // Each record is there: one line, and one more for the line break in the data.
    assert_eq!(transcript.lines().count(), messages.len() + 1);
}

#[test]
fn a_character_cut_in_two_is_whole_in_the_transcript() {
    let other = Payload::Io { stream: IoStream::Stderr, data: (&b"x"[..]).into() };
    let mut messages = [message(0, io(b"caf\xc3")), message(1, other), message(2, io(b"\xa9"))];
    messages.iter_mut().for_each(|message| message.channel_id = Some(0));
    let output = run_with_input(&["-i", "-", "--format", "text"], &segmented(&[&messages]).concat());
    let shown: Vec<&str> =
        text(&output.stdout).lines().map(|line| line.rsplit("  ").next().unwrap()).collect();
    assert_eq!(shown, ["caf", "x", "\u{e9}"]);
}

// asciicast

#[test]
fn a_shell_session_becomes_an_asciicast() {
    for (arguments, input) in [(["--input", "FILE"], false), (["--input", "-"], true)] {
        let path = path("v2-pty-shell");
        let mut arguments: Vec<&str> =
            arguments.into_iter().map(|argument| if argument == "FILE" { &path } else { argument }).collect();
        arguments.extend(["--format", "asciicast"]);
        let data = if input { vector("v2-pty-shell") } else { Vec::new() };
        let output = run_with_input(&arguments, &data);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let lines: Vec<Value> =
            text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(
            lines[0],
            serde_json::json!({
                "version": 2, "width": 80, "height": 24, "timestamp": 1_795_254_338, "env": {"TERM": "xterm"}
            })
        );
        let times: Vec<f64> = lines[1..].iter().map(|event| event[0].as_f64().unwrap()).collect();
        assert!(times.is_sorted() && times[0] >= 0.0 && times[times.len() - 1] < 3.0, "{times:?}");
        let joined = |kind: &str| -> String {
            lines[1..]
                .iter()
                .filter(|event| event[1] == kind)
                .map(|event| event[2].as_str().unwrap())
                .collect()
        };
        assert_eq!(joined("r"), "120x40");
        assert_eq!(joined("i"), "");
        assert!(joined("o").starts_with("Last login: "));
        assert!(joined("o").ends_with("caf\u{e9} \u{1b}[31mred\u{1b}[0m\r\nlogout\r\n"));
    }
}

#[test]
fn of_several_terminals_one_has_to_be_chosen() {
    let pty = |columns| Payload::ChannelRequestPty {
        request_id: 0,
        term: "xterm".into(),
        columns,
        rows: 24,
        width: 0,
        height: 0,
        mode_list: None,
    };
    let on = |channel, payload| Message { channel_id: Some(channel), ..message(0, payload) };
    let messages = [
        on(4, pty(80)),
        on(4, Payload::ChannelRequestShell { request_id: 1 }),
        on(9, pty(90)),
        on(9, Payload::ChannelRequestExec { request_id: 1, program: "top\u{1b}[2J".into() }),
        on(11, Payload::ChannelRequestSubsystem { request_id: 1, subsystem: "sftp".into() }),
    ];
    let log = segmented(&[&messages]).concat();
    let output = run_with_input(&["-i", "-", "--format", "asciicast"], &log);
    assert_eq!(output.status.code(), Some(1));
    let complaint = text(&output.stderr);
    for expected in [
        "2 channels of this log have a terminal; choose with --channel N:\n",
        "\n  4  terminal, shell\n",
        "\n  9  terminal, top\\e[2J\n",
        "\n  11  no terminal, sftp\n",
    ] {
        assert!(complaint.contains(expected), "no {expected:?} in {complaint}");
    }
    let output = run_with_input(&["-i", "-", "--format", "asciicast", "--channel", "9"], &log);
    assert_eq!(output.status.code(), Some(0));
    let header: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&header["width"], &header["command"]), (&90.into(), &"top\u{1b}[2J".into()));

    let output = run_with_input(&["-i", "-", "--format", "asciicast", "--channel", "5"], &log);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("no program ran on a channel 5"));
}

#[test]
fn a_log_without_a_terminal_says_what_it_has_instead() {
    let output = run(TOOL, &["--input", &path("v2-exec"), "--format", "asciicast"]);
    assert_eq!(output.status.code(), Some(1));
    let complaint = text(&output.stderr);
    assert!(complaint.contains("no channel of this log has a terminal"), "{complaint}");
    assert!(complaint.contains("  1  no terminal, true"), "{complaint}");
    let output = run(TOOL, &["--input", &path("v2-reverse-forward"), "--format", "asciicast"]);
    assert!(text(&output.stderr).contains("no program was run on this connection"));
}
