//! `html` in a browser.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use containerssh_auditlog::{IoStream, Payload};

use super::TOOL;
use super::session::{LAST_LINES, Log, a_hostile_one, a_shell};

fn page(log: &Path, options: &[&str]) -> PathBuf {
    let page = log.with_extension("html");
    let output = Command::new(TOOL)
        .args(["html", log.to_str().unwrap(), "-o", page.to_str().unwrap()])
        .args(options)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    page
}

/// The page as the browser has it after its script ran.
fn opened(page: &Path, place: &str) -> Dom {
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--virtual-time-budget=20000",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(["--dump-dom", &format!("file://{}#{place}", page.display())])
        .env("HOME", profile.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let dom = Dom(String::from_utf8(output.stdout).unwrap());
    assert!(dom.0.contains("data-state=\"ready\""), "{}\n{}", dom.0, String::from_utf8_lossy(&output.stderr));
    dom
}

/// A document as text.
struct Dom(String);

impl Dom {
    /// The text of the element with this id.
    fn text(&self, id: &str) -> String {
        plain(self.element(id))
    }

    fn element(&self, id: &str) -> &str {
        let at = self.0.find(&format!(" id=\"{id}\"")).unwrap_or_else(|| panic!("no {id}"));
        let start = self.0[..at].rfind('<').unwrap();
        let name = self.0[start + 1..at].split(' ').next().unwrap();
        let (open, close) = (format!("<{name}"), format!("</{name}>"));
        let (mut depth, mut end) = (0, start);
        loop {
            let rest = &self.0[end..];
            let next_open = rest.find(&open).unwrap_or(usize::MAX);
            let next_close = rest.find(&close).unwrap();
            if next_open < next_close {
                depth += 1;
                end += next_open + open.len();
            } else {
                depth -= 1;
                end += next_close + close.len();
                if depth == 0 {
                    return &self.0[start..end];
                }
            }
        }
    }

    /// What is on the screen.
    fn rows(&self) -> Vec<String> {
        self.element("rows")
            .split("<div class=\"row")
            .skip(1)
            .map(|row| plain(&format!("<div{row}")))
            .collect()
    }
}

fn plain(markup: &str) -> String {
    let mut text = String::new();
    let mut inside = false;
    for character in markup.chars() {
        match character {
            '<' => inside = true,
            '>' if inside => inside = false,
            _ if !inside => text.push(character),
            _ => {}
        }
    }
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&nbsp;", "\u{a0}").replace("&amp;", "&")
}

fn shows(rows: &[String], lines: &[&str]) -> bool {
    rows.windows(lines.len()).any(|window| window == lines)
}

#[test]
fn a_session_can_be_looked_at_at_any_time() {
    let directory = tempfile::tempdir().unwrap();
    let page = page(&a_shell(directory.path()), &[]);
    let start = opened(&page, "t=0");
    assert_eq!(start.rows(), [""; 0]);
    assert_eq!(start.text("note"), "Nothing was shown yet.");

    let middle = opened(&page, "t=3.5&c=0");
    assert!(shows(&middle.rows(), &[" note ", "~", "~"]), "{:?}", middle.rows());
    let shell = opened(&page, "t=10");
    assert!(
        shows(&shell.rows(), &["$ ls", "bin  note", "\u{6f22}\u{5b57} caf\u{e9}", "$ vim note"]),
        "{:?}",
        shell.rows()
    );
    assert!(shell.element("rows").contains("color: rgb(255, 128, 0)"), "{}", shell.element("rows"));
    assert!(shell.element("rows").contains("width: 2ch"), "wide characters have two columns");

    let end = opened(&page, "t=99999");
    assert!(shows(&end.rows(), &LAST_LINES), "{:?}", end.rows());
    assert!(end.text("history").contains("line 33"), "{}", end.text("history"));
    assert_eq!(end.text("note"), "50 \u{d7} 8");
    assert!(end.text("time").starts_with("1:06.0 / 1:06"), "{}", end.text("time"));
    let about = end.text("about");
    for expected in ["alice", "192.0.2.17 (AT)", "0123456789abcdef0123456789abcdef", "2026-11-21T09:16:25Z"] {
        assert!(about.contains(expected), "{expected} in {about}");
    }
    let events = end.text("events");
    for expected in ["Password authentication failed", "run a shell", "status 3"] {
        assert!(events.contains(expected), "{expected} in {events}");
    }
    assert!(!end.0.contains("secret"), "what was typed is not in the page unless it was asked for");
}

#[test]
fn it_plays_to_the_end_and_skips_what_is_idle() {
    let directory = tempfile::tempdir().unwrap();
    let page = page(&a_shell(directory.path()), &[]);
    // Twenty seconds of the browser's time; the session lasts more than a minute.
    let played = opened(&page, "t=0&play=1");
    assert!(shows(&played.rows(), &LAST_LINES), "{:?}", played.rows());
    assert_eq!(played.text("play"), "Play");
}

#[test]
fn the_digest_is_that_of_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let log = a_shell(directory.path());
    let output = Command::new("sha256sum").arg(&log).output().unwrap();
    let digest = String::from_utf8(output.stdout).unwrap()[..64].to_owned();
    assert!(opened(&page(&log, &[]), "").text("about").contains(&digest));
}

#[test]
fn what_was_shown_can_be_searched_even_where_it_rushed_by() {
    let directory = tempfile::tempdir().unwrap();
    let page = page(&a_shell(directory.path()), &[]);
    let found = opened(&page, "q=LINE 17");
    assert_eq!(found.text("count"), "1 place");
    assert!(found.text("found").contains("1:05#0line 17"), "{}", found.text("found"));
    assert_eq!(opened(&page, "q=nowhere").text("count"), "0 places");
}

#[test]
fn typed_text_is_listed_if_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let dom = opened(&page(&a_shell(directory.path()), &["--with-input"]), "");
    assert!(dom.text("events").contains("typed #0secret\\r"), "{}", dom.text("events"));
}

#[test]
fn a_program_without_a_terminal_and_data_that_is_no_text() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = Log::alice();
    log.exec(0, "make").out(0, "one\ntwo\n").io(0, IoStream::Stderr, b"wrong\n").exit(0, 2);
    log.exec(1, "tar c .").io(1, IoStream::Stdout, b"\0\x01\x02binary").exit(1, 0);
    log.record(Some(2), &Payload::ChannelRequestSubsystem { request_id: 1, subsystem: "sftp".into() });
    log.io(2, IoStream::Stdout, b"\0\0\0\x05\x02\0\0\0\x03").exit(2, 0);
    let page = page(&log.save(directory.path()), &[]);
    let make = opened(&page, "c=0&t=9");
    assert!(shows(&make.rows(), &["one", "two", "wrong", ""]), "{:?}", make.rows());
    let tar = opened(&page, "c=1&t=9");
    assert_eq!(tar.text("note"), "The output is no text; it is not shown.");
    let sftp = opened(&page, "c=2&t=9");
    assert_eq!(sftp.text("note"), "Files were moved here: the events tell which.");
    assert!(sftp.text("events").contains("file #2"), "{}", sftp.text("events"));
}

#[test]
fn a_hostile_session_is_shown_as_text_and_nothing_of_it_runs() {
    let directory = tempfile::tempdir().unwrap();
    for options in [&[][..], &["--uncompressed"]] {
        let page = page(&a_hostile_one(directory.path()), options);
        let dom = opened(&page, "t=0.25&c=0&q=img");
        assert!(
            shows(
                &dom.rows(),
                &[
                    "</script><script>document.title='XSS'</script><!--",
                    "<img src=x onerror=\"document.title='XSS'\"> &amp; '\"\\"
                ]
            ),
            "{:?}",
            dom.rows()
        );
        for element in ["<img", "<svg", "<iframe", "<b>bold", "<title>XSS"] {
            assert!(!dom.0.contains(element), "{element}");
        }
        // Data, facts, player.
        assert_eq!(dom.0.matches("<script").count(), 3);
        assert!(dom.0.contains("<title>Recorded SSH session</title>"));
        let end = opened(&page, "t=9&c=0");
        assert_eq!(end.rows()[0], "the end");
    }
}

/// Were recorded text ever taken for markup, it could not run, and nothing can be loaded or sent.
#[test]
fn the_policy_of_the_page_allows_only_its_own_player() {
    let directory = tempfile::tempdir().unwrap();
    let path = page(&a_shell(directory.path()), &[]);
    let html = std::fs::read_to_string(&path).unwrap();
    assert!(
        !html.contains("http:") && !html.contains("https:") && !html.contains("//cdn"),
        "it names no other place"
    );
    let injected = html.replace(
        "<main>",
        "<script>document.title='XSS'</script><img src=\"data:,x\" onerror=\"document.title='XSS'\">\
         <style>header { --x: url(data:,x) }</style><main>",
    );
    assert_ne!(injected, html);
    std::fs::write(&path, injected).unwrap();
    let dom = opened(&path, "t=10");
    assert!(dom.0.contains("<title>Recorded SSH session</title>"), "an injected script ran");
    assert!(shows(&dom.rows(), &["$ ls"]));
}

#[test]
fn what_does_not_fit_is_left_out_and_said() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = Log::alice();
    log.shell(0, 80, 24).out(0, "the beginning\r\n");
    // Text that does not compress much.
    let mut state = 1_u64;
    for _ in 0..200 {
        let lines: String = (0..100)
            .map(|_| {
                let mut words = String::new();
                for _ in 0..4 {
                    state =
                        state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    words += &format!("{state:016x}");
                }
                words + "\r\n"
            })
            .collect();
        log.after(100).out(0, &lines);
    }
    let path = log.exit(0, 7).save(directory.path());
    for options in [&["--max-bytes", "400000"][..], &["--max-bytes", "400000", "--uncompressed"]] {
        let page = page(&path, options);
        let size = std::fs::metadata(&page).unwrap().len();
        assert!(size <= 400_000 && size > 200_000, "{size}");
        let dom = opened(&page, "t=0.04");
        assert!(dom.rows().iter().any(|row| row == "the beginning"), "{:?}", dom.rows());
        let warnings = dom.text("warnings");
        assert!(warnings.contains("the rest did not fit") && warnings.contains("--max-bytes"), "{warnings}");
        assert!(dom.text("events").contains("status 7"), "events are kept: {}", dom.text("events"));
    }
    assert_eq!(opened(&page(&path, &[]), "t=99").text("warnings"), "");
}
