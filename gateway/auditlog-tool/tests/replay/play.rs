//! `play` on a terminal.

use std::path::Path;
use std::process::{Command, Stdio};

use super::TOOL;
use super::session::{HOSTILE, LAST_LINES, Log, a_hostile_one, a_shell};
use super::terminal::Terminal;

fn play(log: &Path, options: &str) -> String {
    format!("{TOOL} play {} {options}; echo status=$?; stty -a", log.display())
}

fn shows(rows: &[String], lines: &[&str]) -> bool {
    rows.windows(lines.len()).any(|window| window.iter().zip(lines).all(|(row, line)| row.starts_with(line)))
}

/// The terminal is as before: the screen, and how it treats what is typed.
fn assert_given_back(rows: &[String], status: &str) {
    assert!(rows.iter().any(|row| row == status), "no {status} in {rows:#?}");
    let modes: Vec<&str> = rows.iter().flat_map(|row| row.split_whitespace()).collect();
    for mode in ["icanon", "echo", "isig", "opost", "icrnl"] {
        assert!(modes.contains(&mode), "no {mode} in {rows:#?}");
    }
}

#[test]
fn a_session_is_played_to_its_end_as_its_user_saw_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::run(&play(&a_shell(directory.path()), "--idle-limit 0.3"), 100, 40);
    let editing = terminal.see("-- INSERT --");
    assert!(shows(&editing, &[" note", "~", "~"]) && !shows(&editing, &["$ ls"]), "{editing:#?}");
    let back = terminal.see("\u{6f22}\u{5b57} caf\u{e9}");
    assert!(shows(&back, &["$ ls", "bin  note", "\u{6f22}\u{5b57} caf\u{e9}"]), "{back:#?}");
    let end = terminal.wait("the end", |rows| shows(rows, &LAST_LINES));
    // The window is smaller by then, and the frame shows it.
    assert!(end.iter().any(|row| *row == "\u{2500}".repeat(50)), "{end:#?}");
    let end = terminal.see("\u{25a0}");
    assert!(end[39].contains("alice@192.0.2.17 #0 shell  50x8"), "{end:#?}");
    terminal.press("q");
    let (rows, _) = terminal.end();
    assert_given_back(&rows, "status=0");
}

#[test]
fn keys_pause_seek_and_step() {
    let directory = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::run(&play(&a_shell(directory.path()), ""), 100, 40);
    terminal.see("\u{25b6} 0:00");
    terminal.press(" ");
    terminal.see("\u{2016} 0:00");
    // The end, without waiting for the minute in which nothing happens.
    terminal.press("\x1b[F");
    terminal.wait("the end", |rows| shows(rows, &LAST_LINES) && rows[39].contains("\u{25a0}"));
    // From change to change, backwards and forwards.
    terminal.press(",");
    terminal
        .wait("one step back", |rows| shows(rows, &["line 39", "line 40", "$"]) && !shows(rows, &LAST_LINES));
    terminal.press(",,");
    let before = terminal.wait("before the lines", |rows| shows(rows, &["$ ls"]));
    assert!(before[39].contains("60x10"), "{before:#?}");
    terminal.press("...");
    terminal.wait("the end again", |rows| shows(rows, &LAST_LINES));
    // The beginning, five seconds on, and back.
    terminal.press("0");
    terminal.wait("an empty screen", |rows| rows[0].is_empty() || rows[0].starts_with(' '));
    terminal.press("\x1b[C");
    terminal.wait("five seconds in", |rows| rows[39].contains("0:05") && shows(rows, &["$ ls"]));
    terminal.press("\x1b[D");
    terminal.wait("back at the start", |rows| rows[39].contains("\u{2016} 0:00") && !shows(rows, &["$ ls"]));
    terminal.press("?");
    terminal.see("PgUp PgDn");
    terminal.press("q");
    assert_given_back(&terminal.end().0, "status=0");
}

#[test]
fn it_starts_where_one_wants_and_ends_by_itself_if_told() {
    let directory = tempfile::tempdir().unwrap();
    let log = a_shell(directory.path());
    for start in ["1:04", "2026-11-21T09:17:30Z"] {
        let mut terminal = Terminal::run(&play(&log, &format!("--start-at {start} --speed 0.02")), 100, 40);
        let first = terminal.wait("the first screen", |rows| shows(rows, &["line 39", "line 40", "$"]));
        assert!(first[39].contains("1:04 / 1:05") && first[39].contains("0.02x"), "{first:#?}");
        terminal.press("q");
        assert_given_back(&terminal.end().0, "status=0");
    }
    let terminal = Terminal::run(&play(&log, "--start-at 1:04 --speed 8 --quit-at-end"), 100, 40);
    assert_given_back(&terminal.end().0, "status=0");
}

#[test]
fn a_signal_gives_the_terminal_back_before_it_ends_the_player() {
    let directory = tempfile::tempdir().unwrap();
    let log = a_shell(directory.path());
    let pid = directory.path().join("pid");
    for (signal, status) in [("TERM", "status=143"), ("HUP", "status=129")] {
        let command = format!(
            "sh -c 'echo $$ >{}; exec {TOOL} play {}'; echo status=$?; stty -a",
            pid.display(),
            log.display()
        );
        let mut terminal = Terminal::run(&command, 100, 40);
        terminal.see("\u{25b6}");
        let number = std::fs::read_to_string(&pid).unwrap();
        assert!(Command::new("kill").args(["-s", signal, number.trim()]).status().unwrap().success());
        let (rows, written) = terminal.end();
        assert_given_back(&rows, status);
        assert!(String::from_utf8_lossy(&written).contains("\x1b[?1049l"));
    }
}

#[test]
fn nothing_of_a_hostile_session_reaches_the_viewers_terminal() {
    let directory = tempfile::tempdir().unwrap();
    let log = a_hostile_one(directory.path());
    let mut terminal = Terminal::run(&play(&log, "--channel 0 --idle-limit 0.2"), 200, 40);
    terminal.see("<img src=x onerror");
    terminal.see("\u{fffd}txt.exe\u{fffd}");
    terminal.see("the end");
    terminal.press("q");
    let (_, written) = terminal.end();
    let written = String::from_utf8(written).unwrap();
    assert!(HOSTILE.concat().contains("\x1b]") && !written.contains("owned\x07"));
    for sequence in [
        "\x1b]", "\x1bP", "\x1b_", "\x1b^", "\x1b(", "\x1b=", "[6n", "[5n", "[c", "[>", "[18t", "\x05",
        "?1000", "?2004", "\u{9d}", "\u{202e}", "\u{200b}",
    ] {
        assert!(!written.contains(sequence), "{sequence:?} was written");
    }
}

#[test]
fn without_a_terminal_the_text_is_printed_in_its_time() {
    let directory = tempfile::tempdir().unwrap();
    let log = a_hostile_one(directory.path());
    let play = |log: &Path, options: &[&str]| {
        let output = Command::new(TOOL)
            .args(["play", log.to_str().unwrap()])
            .args(options)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let text = play(&log, &["--channel", "0", "--idle-limit", "0"]);
    assert!(text.contains("<img src=x onerror") && text.contains("the end"), "{text}");
    assert!(!text.chars().any(|c| c.is_control() && c != '\n' && c != '\t'), "{text:?}");
    assert!(!text.contains("owned"), "{text:?}");
    assert_eq!(play(&log, &["--channel", "1", "-i", "0"]), "one\ntwo\n");

    let mut log = Log::alice();
    log.exec(0, "x").out(0, "a\n").after(3_000).out(0, "b\n").exit(0, 0);
    let log = log.save(directory.path());
    let begin = std::time::Instant::now();
    // The only program: no channel needs to be named.
    assert_eq!(play(&log, &["--speed", "10"]), "a\nb\n");
    assert!(begin.elapsed().as_millis() >= 300);
    assert_eq!(play(&log, &["--start-at", "2s", "--speed", "10"]), "b\n");
}

#[test]
fn which_channel_is_asked_where_several_have_a_terminal() {
    let directory = tempfile::tempdir().unwrap();
    let log = Log::alice().shell(4, 80, 24).shell(9, 80, 24).save(directory.path());
    let output =
        Command::new(TOOL).args(["play", log.to_str().unwrap()]).stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(
        complaint.contains("choose with --channel N:\n  4  terminal, shell\n  9  terminal, shell"),
        "{complaint}"
    );
}
