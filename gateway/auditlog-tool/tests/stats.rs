//! `stats`, completions and the manual page as their users run them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking; clippy.toml exempts test functions, not their helpers"
)]

#[path = "../../auditlog/tests/common/mod.rs"]
mod common;

use std::fs;
use std::process::{Command, Output, Stdio};

use common::{RECORDED, vector, vector_path};
use serde_json::{Value, json};

const TOOL: &str = env!("CARGO_BIN_EXE_containerssh-auditlog-tool");

fn run(arguments: &[&str]) -> Output {
    Command::new(TOOL).args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn path(name: &str) -> String {
    vector_path(name, "bin").into_os_string().into_string().unwrap()
}

#[test]
fn a_log_is_summed_up() {
    let path = path("v2-pty-shell");
    let output = run(&["stats", "--format", "json", &path]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let lines: Vec<Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [log, total] = &lines[..] else { panic!("{lines:?}") };
    // As its records say, which another decoder printed.
    let golden = fs::read_to_string(vector_path("v2-pty-shell", "jsonl")).unwrap();
    let records: Vec<Value> = golden.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of_type = |code: u64| records.iter().filter(|record| record["type"] == code).count();
    assert_eq!(log["records"], records.len());
    assert_eq!((&log["user"], &log["authenticated"]), (&json!("foo"), &json!(true)));
    assert_eq!(log["authAttempts"], of_type(100) + of_type(104));
    assert_eq!((&log["shells"], &log["channels"]), (&json!(of_type(405)), &json!(of_type(301))));
    assert_eq!((&log["exitCodes"], &log["whole"]), (&json!({"5": 1}), &json!(true)));
    assert_eq!(log["started"], "2026-11-21T09:45:38.468981Z");
    assert!(log["stdout"].as_u64().unwrap() > 100 && log["stdin"].as_u64().unwrap() > 10, "{log}");
    assert_eq!((&total["total"]["logs"], &total["total"]["records"]), (&json!(1), &json!(records.len())));
}

#[test]
fn several_logs_have_a_line_each_and_a_total() {
    let paths: Vec<String> = RECORDED.iter().map(|name| path(name)).collect();
    let arguments: Vec<&str> = ["stats"].into_iter().chain(paths.iter().map(|path| &**path)).collect();
    let output = run(&arguments);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("USER "), "{table}");
    for (line, path) in lines[1..].iter().zip(&paths) {
        assert!(line.ends_with(&format!("  {path}")), "{table}");
    }
    assert!(table.contains("\n\n5 logs of 2 users, "), "{table}");
    assert!(
        lines.iter().any(|line| line.contains("2026-11-21 09:45:38") && line.contains("whole")),
        "{table}"
    );
}

#[test]
fn damage_and_what_cannot_be_read_show_and_cost_the_others_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let whole = vector("v2-pty-shell");
    let cut = directory.path().join("cut");
    fs::write(&cut, &whole[..whole.len() - 100]).unwrap();
    let output = run(&["stats", cut.to_str().unwrap(), "/does/not/exist", &path("v1-shell")]);
    assert_eq!(output.status.code(), Some(2));
    let table = text(&output.stdout);
    assert!(table.contains("  damaged, no end  "), "{table}");
    assert!(table.contains("\n2 logs of 1 user, ") && table.contains("\n1 damaged place\n"), "{table}");
    assert!(text(&output.stderr).contains("cannot open /does/not/exist"));
}

#[test]
fn completions_and_the_manual_page_know_all_subcommands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = run(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0));
        for word in ["containerssh-auditlog-tool", "search", "stats", "ignore-case"] {
            assert!(text(&output.stdout).contains(word), "{shell}: {word}");
        }
    }
    for (arguments, words) in [
        (
            vec!["man"],
            [".TH containerssh-auditlog-tool 1", "tool\\-search", "completions", "Exit status: 0 every"],
        ),
        (
            vec!["man", "search"],
            ["containerssh\\-auditlog\\-tool\\-search", "\\-\\-ignore\\-case", "LOG", "Exit status: 0 found"],
        ),
    ] {
        let page = run(&arguments);
        assert_eq!(page.status.code(), Some(0));
        for word in words {
            assert!(text(&page.stdout).contains(word), "no {word:?} in\n{}", text(&page.stdout));
        }
    }
    let page = run(&["man", "nothing"]);
    assert_eq!(page.status.code(), Some(1));
    assert!(text(&page.stderr).contains("there is no subcommand nothing; there are convert, "));
}
