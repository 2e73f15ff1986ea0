//! Casts in asciinema.

use std::path::Path;
use std::process::{Command, Stdio};

use super::TOOL;
use super::session::{Log, a_shell};
use super::terminal::Terminal;

/// What the channel's program printed, as it was recorded.
fn printed(log: &Path) -> String {
    let decoder =
        containerssh_auditlog::Decoder::new(std::io::BufReader::new(std::fs::File::open(log).unwrap()));
    let mut printed = Vec::new();
    for message in decoder.unwrap() {
        if let containerssh_auditlog::Payload::Io { stream: containerssh_auditlog::IoStream::Stdout, data } =
            message.unwrap().payload
        {
            printed.extend_from_slice(&data);
        }
    }
    String::from_utf8(printed).unwrap()
}

fn cast(log: &Path, options: &[&str]) -> std::path::PathBuf {
    let cast = log.with_extension("cast");
    let status = Command::new(TOOL)
        .args(["--format", "asciicast", "-i", log.to_str().unwrap(), "-o", cast.to_str().unwrap()])
        .args(options)
        .status()
        .unwrap();
    assert!(status.success());
    cast
}

#[test]
fn asciinema_plays_exactly_what_the_terminal_got() {
    let directory = tempfile::tempdir().unwrap();
    let log = a_shell(directory.path());
    let cast = cast(&log, &[]);
    let output = Command::new("asciinema")
        .args(["play", "-i", "0.01", "-s", "100", cast.to_str().unwrap()])
        .env("HOME", directory.path())
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), printed(&log));
}

#[test]
fn asciinema_cat_prints_exactly_what_the_terminal_got() {
    let directory = tempfile::tempdir().unwrap();
    let log = a_shell(directory.path());
    let cast = cast(&log, &["--with-input"]);
    let copy = directory.path().join("copy");
    // cat insists on a terminal of its own.
    let command = format!(
        "HOME={} LC_ALL=C.UTF-8 asciinema cat {} >{}; echo status=$?",
        directory.path().display(),
        cast.display(),
        copy.display()
    );
    let (rows, _) = Terminal::run(&command, 80, 24).end();
    assert_eq!(rows[0], "status=0", "{rows:?}");
    assert_eq!(std::fs::read_to_string(copy).unwrap(), printed(&log));
}

#[test]
fn a_program_without_a_terminal_is_played_with_its_lines_at_the_left() {
    let directory = tempfile::tempdir().unwrap();
    let log = Log::alice().exec(0, "seq 2").out(0, "1\n2\n").exit(0, 0).save(directory.path());
    let cast = cast(&log, &["--channel", "0"]);
    let command =
        format!("HOME={} LC_ALL=C.UTF-8 asciinema play {}", directory.path().display(), cast.display());
    let (rows, _) = Terminal::run(&command, 80, 24).end();
    assert_eq!(rows[..2], ["1", "2"]);
}
