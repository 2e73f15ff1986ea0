//! `search` as its users run it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking; clippy.toml exempts test functions, not their helpers"
)]

#[path = "../../auditlog/tests/common/mod.rs"]
mod common;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use common::{message, noise, segmented, vector_path};
use containerssh_auditlog::{IoStream, Message, Payload};
use serde_json::Value;

const TOOL: &str = env!("CARGO_BIN_EXE_containerssh-auditlog-tool");

fn search(arguments: &[&str]) -> Output {
    Command::new(TOOL).arg("search").args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn lines(output: &Output) -> Vec<&str> {
    text(&output.stdout).lines().collect()
}

fn vectors() -> String {
    vector_path("x", "bin").parent().unwrap().to_str().unwrap().to_owned()
}

fn on(channel: u64, number: u64, payload: Payload) -> Message {
    Message { channel_id: Some(channel), ..message(number, payload) }
}

fn io(stream: IoStream, data: &[u8]) -> Payload {
    Payload::Io { stream, data: data.to_vec().into() }
}

fn pty(columns: u32, rows: u32) -> Payload {
    let (request_id, term, mode_list) = (7, "xterm".to_owned(), None);
    Payload::ChannelRequestPty { request_id, term, columns, rows, width: 0, height: 0, mode_list }
}

fn log(directory: &Path, name: &str, messages: &[Message]) -> String {
    let path = directory.join(name);
    fs::write(&path, segmented(&[messages]).concat()).unwrap();
    path.into_os_string().into_string().unwrap()
}

#[test]
fn a_directory_is_searched_and_each_line_says_whose_it_is() {
    let output = search(&["caf.*red", &vectors()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let lines = lines(&output);
    assert_eq!(lines.len(), 3, "{lines:#?}");
    for (line, end) in lines.iter().zip([
        "Z  foo  26f1f7c6f52847faa34c7f996b6e1cd0  #2   typed    stty size; printf \"caf\\\\303\\\\251 \\\\033[31mred\\\\033[0m\\\\n\"; exit 5",
        "Z  foo  26f1f7c6f52847faa34c7f996b6e1cd0  #2   seen     root@vm:~# stty size; printf \"caf\\\\303\\\\251 \\\\033[31mred\\\\033[0m\\\\n\"; exit 5",
        "Z  foo  26f1f7c6f52847faa34c7f996b6e1cd0  #2   seen     caf\u{e9} red",
    ]) {
        assert!(line.contains("v2-pty-shell.bin  2026-11-21T09:45:41.06") && line.ends_with(end), "{line}");
    }
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn json_has_the_same_for_programs() {
    let path = vector_path("v2-pty-shell", "bin");
    let output = search(&["--format", "json", "--in", "seen", "^caf.*red$", path.to_str().unwrap()]);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        found,
        serde_json::json!({
            "file": path, "connectionId": "26f1f7c6f52847faa34c7f996b6e1cd0", "user": "foo",
            "time": "2026-11-21T09:45:41.068043Z", "timestamp": 1_795_254_341_068_043_072_u64,
            "channelId": 2, "in": "seen", "line": "caf\u{e9} red",
        })
    );
}

#[test]
fn where_to_look_can_be_chosen() {
    let directory = tempfile::tempdir().unwrap();
    let messages = [
        on(0, 0, Payload::ChannelRequestExec { request_id: 1, program: "echo needle\nmore".into() }),
        on(0, 1, io(IoStream::Stdin, b"needle in\n")),
        on(0, 2, io(IoStream::Stdout, b"needle out\n")),
        on(0, 3, io(IoStream::Stderr, b"needle err\n")),
        on(1, 4, Payload::ChannelRequestSubsystem { request_id: 1, subsystem: "needle".into() }),
    ];
    let log = log(directory.path(), "log", &messages);
    for (scope, expected) in [
        ("all", vec!["echo needle", "needle in", "needle out", "needle err", "subsystem needle"]),
        ("commands", vec!["echo needle", "subsystem needle"]),
        ("typed", vec!["needle in"]),
        ("seen", vec!["needle out", "needle err"]),
    ] {
        let output = search(&["needle", &log, "--in", scope]);
        let found: Vec<&str> =
            lines(&output).into_iter().map(|line| line.rsplit("  ").next().unwrap()).collect();
        assert_eq!(found, expected, "{scope}");
    }
}

#[test]
fn a_terminal_is_rendered_and_a_refused_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let shown = |channel| on(channel, 3, io(IoStream::Stdout, b"\x1b[4Gsecret\x1b[1Gmy"));
    let refused = Payload::RequestFailed { request_id: 7, reason: "no".into() };
    let messages = [on(1, 0, pty(80, 24)), on(2, 1, pty(80, 24)), on(2, 2, refused), shown(1), shown(2)];
    let log = log(directory.path(), "log", &messages);
    assert_eq!(lines(&search(&["my secret", &log])).len(), 1);
    assert_eq!(lines(&search(&["secretmy", &log])).len(), 1);
}

#[test]
fn exit_codes_are_those_of_grep() {
    let directory = tempfile::tempdir().unwrap();
    let pieces = segmented(&[
        &[on(0, 0, io(IoStream::Stdout, b"needle\n"))],
        &[on(0, 1, io(IoStream::Stdout, b"hay\n"))],
    ]);
    let whole = pieces.concat();
    let cut = directory.path().join("cut");
    fs::write(&cut, pieces[..2].concat()).unwrap();
    let whole_path = directory.path().join("whole");
    fs::write(&whole_path, &whole).unwrap();
    let (cut, whole) = (cut.to_str().unwrap(), whole_path.to_str().unwrap());
    for (arguments, code, complaint) in [
        (vec!["needle", whole], 0, ""),
        (vec!["nothing", whole], 1, ""),
        (vec!["needle", cut], 2, "cut: the log is damaged in 1 place"),
        (vec!["needle", "/does/not/exist", whole], 2, "cannot open /does/not/exist"),
        (vec!["needle", "Cargo.toml"], 2, "not an audit log"),
        (vec!["(", whole], 2, "the pattern cannot be understood"),
        (vec!["needle"], 2, "<LOG>"),
    ] {
        let output = search(&arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(complaint), "{arguments:?}: {}", text(&output.stderr));
        if complaint.is_empty() {
            assert_eq!(text(&output.stderr), "");
        }
    }
    // Trouble with one log costs nothing of the others.
    assert_eq!(lines(&search(&["needle", "/does/not/exist", whole])).len(), 1);
    assert_eq!(lines(&search(&["needle", cut])).len(), 1);
}

#[test]
fn other_files_in_a_directory_are_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a.manifest.json"), "{}").unwrap();
    fs::create_dir(directory.path().join("2026")).unwrap();
    log(&directory.path().join("2026"), "log", &[on(0, 0, io(IoStream::Stdout, b"needle\n"))]);
    let output = search(&["-l", "needle", directory.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(lines(&output), [directory.path().join("2026/log").to_str().unwrap()]);
}

#[test]
fn standard_input_is_a_log_too_and_case_can_be_ignored() {
    let mut child = Command::new(TOOL)
        .args(["search", "-iF", "RED\u{9}", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let log = segmented(&[&[on(0, 0, io(IoStream::Stdout, b"a red\tb\n"))]]).concat();
    child.stdin.take().unwrap().write_all(&log).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(lines(&output)[0].starts_with("standard input  2026-"), "{}", text(&output.stdout));
    assert!(lines(&output)[0].ends_with("seen     a red\\tb"));
}

#[test]
fn nothing_that_is_found_acts_on_the_terminal_of_whoever_searches() {
    let directory = tempfile::tempdir().unwrap();
    let evil = "needle \u{1b}[2J\u{202e}\u{7}".as_bytes();
    let messages = [
        message(0, Payload::HandshakeSuccessful { username: "ev\u{1b}[2Jil\u{202e}".into() }),
        on(0, 1, io(IoStream::Stdin, evil)),
        on(
            0,
            2,
            Payload::ChannelRequestExec { request_id: 0, program: String::from_utf8(evil.to_vec()).unwrap() },
        ),
        on(0, 3, io(IoStream::Stdout, evil)),
    ];
    let log = log(directory.path(), "log", &messages);
    let output = search(&["needle", &log]);
    assert_eq!(lines(&output).len(), 3);
    assert!(text(&output.stdout).chars().all(|c| c == '\n' || !(c.is_control() || c == '\u{202e}')));
}

/// Windows of any size on any number of channels, each with something on it: what is kept of them is bounded.
#[test]
fn a_log_with_more_and_larger_terminals_than_anybody_has_is_searched_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let shown = |channel| format!("needle {channel} \u{1b}[999;999H!");
    let window =
        || Payload::ChannelRequestWindow { request_id: 8, columns: u32::MAX, rows: 0, width: 0, height: 0 };
    let large = (0..30).flat_map(|channel| {
        [
            on(channel, channel, pty(u32::MAX, u32::MAX)),
            on(channel, channel, io(IoStream::Stdout, shown(channel).as_bytes())),
            on(channel, channel, window()),
        ]
    });
    let many =
        (30..2_000).map(|channel| on(channel, channel, io(IoStream::Stdout, shown(channel).as_bytes())));
    let messages: Vec<Message> = large.chain(many).collect();
    let log = log(directory.path(), "log", &messages);
    let output = Command::new("sh")
        .args(["-c", "ulimit -v 600000; exec \"$0\" search needle \"$1\"", TOOL, &log])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(lines(&output).len(), 2_000);
}

#[test]
fn arbitrary_bytes_where_a_log_should_be_make_it_neither_fail_nor_hang() {
    let directory = tempfile::tempdir().unwrap();
    let mut file = containerssh_auditlog::header(containerssh_auditlog::Version::V1).to_vec();
    file.extend(common::gzip(&noise(1 << 20)));
    let path = directory.path().join("noise");
    fs::write(&path, file).unwrap();
    let output = search(&["x", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("the log is damaged in"), "{}", text(&output.stderr));
}
