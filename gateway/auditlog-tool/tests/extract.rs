//! The programs themselves, as users run them: files in a log, shown and got back out.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking; clippy.toml exempts test functions, not their helpers"
)]

#[path = "../../auditlog/tests/common/mod.rs"]
mod common;
#[path = "../../auditlog/tests/common/conversation.rs"]
mod conversation;

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use common::noise;
use containerssh_auditlog::{IoStream, Payload};
use conversation::{Conversation, scp, sftp};
use serde_json::Value;

use IoStream::{Stdin, Stdout};

fn tool(arguments: &[&str]) -> Output {
    let tool = env!("CARGO_BIN_EXE_containerssh-auditlog-tool");
    Command::new(tool).args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A session that is kept with the decoder's tests.
fn recorded() -> String {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../auditlog/tests/data/sftp-session.log").to_owned()
}

struct Bench {
    directory: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn log(&self, conversation: &Conversation) -> String {
        let path = self.path("log");
        fs::write(&path, conversation.log()).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Extracts everything; the tool's output.
    fn extract_all(&self, conversation: &Conversation, more: &[&str]) -> Output {
        let (log, out) = (self.log(conversation), self.path("out"));
        tool(&[&["extract", &log, "--all", "-o", out.to_str().unwrap()], more].concat())
    }

    /// All files below the output, by their paths in it.
    fn found(&self) -> Vec<(String, Vec<u8>)> {
        let mut found = Vec::new();
        let out = self.path("out");
        let mut directories = vec![out.clone()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    directories.push(path);
                } else {
                    let name = path.strip_prefix(&out).unwrap().to_string_lossy().into_owned();
                    found.push((name, fs::read(&path).unwrap()));
                }
            }
        }
        found.sort();
        found
    }
}

fn packet(kind: u8, fields: &[&[u8]]) -> Vec<u8> {
    let body = fields.concat();
    [&(body.len() as u32 + 1).to_be_bytes()[..], &[kind], &body].concat()
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat()
}

/// An upload with these writes, each confirmed.
fn upload(path: &[u8], writes: &[(u64, &[u8])]) -> Vec<(IoStream, Vec<u8>)> {
    let number = u32::to_be_bytes;
    let status = |id: u32| packet(101, &[&number(id), &number(0), &string(b""), &string(b"")]);
    let mut pieces = vec![
        (Stdin, packet(3, &[&number(1), &string(path), &number(2 | 8 | 16), &number(0)])),
        (Stdout, packet(102, &[&number(1), &string(b"h")])),
    ];
    for (offset, data) in writes {
        let write = packet(6, &[&number(2), &string(b"h"), &offset.to_be_bytes(), &string(data)]);
        pieces.extend([(Stdin, write), (Stdout, status(2))]);
    }
    pieces.extend([(Stdin, packet(4, &[&number(3), &string(b"h")])), (Stdout, status(3))]);
    pieces
}

fn session(transfers: impl IntoIterator<Item = Vec<(IoStream, Vec<u8>)>>) -> Conversation {
    let request = Payload::ChannelRequestSubsystem { request_id: 0, subsystem: "sftp".into() };
    let version = 3_u32.to_be_bytes();
    let mut pieces = vec![(Stdin, packet(1, &[&version])), (Stdout, packet(2, &[&version]))];
    pieces.extend(transfers.into_iter().flatten());
    Conversation { request, pieces }
}

#[test]
fn what_openssh_moved_comes_back_byte_for_byte() {
    let bench = Bench::new();
    let content = noise(10 << 20);
    fs::write(bench.path("local"), &content).unwrap();
    let conversation = sftp(bench.directory.path(), "put local remote\nget remote back\n");
    let output = bench.extract_all(&conversation, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let found = bench.found();
    let names: Vec<&str> = found.iter().map(|(name, _)| name.rsplit('/').next().unwrap()).collect();
    assert_eq!(names, ["remote", "remote.2"]);
    assert!(found.iter().all(|(_, bytes)| *bytes == content));
    let lines: Vec<&str> = text(&output.stdout).lines().collect();
    assert!(
        lines[0].contains("whole  upload    2.0") && lines[1].contains("whole  download  2.1"),
        "{lines:?}"
    );

    // The same by its number, to standard output.
    let log = bench.log(&conversation);
    let output = tool(&["extract", &log, "--transfer", "2.1", "-o", "-"]);
    assert_eq!((output.status.code(), output.stdout == content), (Some(0), true));
    let digest = lines[1].split(' ').next().unwrap();
    assert!(text(&output.stderr).contains(digest));
    // By its path there are two.
    let remote = bench.path("remote");
    let output = tool(&["extract", &log, remote.to_str().unwrap(), "-o", "-"]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    assert!(text(&output.stderr).contains("2 transfers fit"));
}

#[test]
fn what_scp_moved_comes_back_too() {
    let bench = Bench::new();
    let content = noise(1_000_000);
    fs::write(bench.path("local"), &content).unwrap();
    let output = bench.extract_all(&scp(bench.directory.path(), &["local", "host:there"]), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(bench.found(), [("there".to_owned(), content)]);
}

#[test]
fn a_list_tells_what_there_is() {
    let output = tool(&["extract", &recorded(), "--list"]);
    let digest = "9d7173329cf6f2c7d1570cffba9715a057fa0c38a183c10821835a0d75910644";
    let listed = text(&output.stdout);
    assert!(listed.contains(&format!(
        "2.0       upload    whole         67890  {digest}  /home/alice/docs/notes.txt\n"
    )));
    assert!(listed.contains(&format!(
        "2.1       download  whole         67890  {digest}  /home/alice/docs/notes.txt\n"
    )));
    assert_eq!(listed.lines().count(), 3);
}

#[test]
fn writes_in_any_order_and_holes_are_put_in_their_places() {
    let bench = Bench::new();
    let writes: [(u64, &[u8]); 3] = [(6, b"world"), (0, b"hello "), (20, b"!")];
    let output = bench.extract_all(&session([upload(b"/f", &writes)]), &[]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(bench.found(), [("f.partial".to_owned(), b"hello world\0\0\0\0\0\0\0\0\0!".to_vec())]);
}

#[test]
fn no_name_in_a_log_leads_out_of_the_directory() {
    let bench = Bench::new();
    fs::create_dir_all(bench.path("out")).unwrap();
    fs::create_dir(bench.path("outside")).unwrap();
    std::os::unix::fs::symlink(bench.path("outside"), bench.path("out/link")).unwrap();
    std::os::unix::fs::symlink(bench.path("outside/new"), bench.path("out/dangling")).unwrap();
    fs::write(bench.path("out/mine"), "untouched").unwrap();
    let long = [b"/".as_slice(), &[b'n'; 3000]].concat();
    let names: [&[u8]; 9] =
        [b"../../escape", b"/etc/passwd", b"link/x", b"dangling", b"a\0b", b"mine", b"..", b"/", &long];
    let transfers = names.map(|name| upload(name, &[(0, name)]));
    let output = bench.extract_all(&session(transfers), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(fs::read_dir(bench.path("outside")).unwrap().count(), 0);
    let mut beside: Vec<_> =
        fs::read_dir(bench.directory.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    beside.sort();
    assert_eq!(beside, ["log", "out", "outside"]);
    fs::remove_file(bench.path("out/link")).unwrap();
    fs::remove_file(bench.path("out/dangling")).unwrap();
    let mut found: Vec<String> = bench.found().into_iter().map(|(name, _)| name).collect();
    found.sort_by_key(String::len);
    let expected = [
        "%2E%2E",
        "mine",
        "unnamed",
        "mine.2",
        "x",
        "a%00b",
        "dangling.2",
        "etc/passwd",
        "%2E%2E/%2E%2E/escape",
    ];
    for name in expected.iter().filter(|name| **name != "%2E%2E") {
        assert!(found.iter().any(|found| found == name), "{name} in {found:?}");
    }
    assert_eq!(found.len(), 10, "{found:?}");
    assert_eq!(fs::read(bench.path("out/mine")).unwrap(), b"untouched");
}

#[test]
fn the_disk_is_not_filled() {
    let bench = Bench::new();
    let transfers =
        [upload(b"small", &[(0, b"1234")]), upload(b"huge", &[(0, b"12"), (u64::MAX - 9, b"34")])];
    let output = bench.extract_all(&session(transfers), &["--max-bytes", "64KiB"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("--max-bytes was reached"));
    assert!(text(&output.stdout).contains("huge -> ") && text(&output.stdout).contains("cut off"));
    assert_eq!(bench.found(), [("huge.partial".into(), b"12".to_vec()), ("small".into(), b"1234".to_vec())]);

    let other = Bench::new();
    let empty = (0..100).map(|number| upload(format!("{number}").as_bytes(), &[]));
    let output = other.extract_all(&session(empty), &["--max-bytes", "64KiB"]);
    assert_eq!((output.status.code(), other.found().len()), (Some(1), 16));
}

#[test]
fn streams_of_any_program_come_out_raw() {
    let bench = Bench::new();
    let request = Payload::ChannelRequestExec { request_id: 0, program: "tar x".into() };
    let pieces =
        vec![(Stdin, b"part one, ".to_vec()), (Stdout, b"output".to_vec()), (Stdin, b"part two".to_vec())];
    let log = bench.log(&Conversation { request, pieces });
    let output = tool(&["extract", &log, "--channel", "2", "--stream", "stdin", "-o", "-"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "part one, part two"));
    let output = tool(&["extract", &log, "--channel", "3", "--stream", "stdin", "-o", "-"]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn wrong_use_is_explained() {
    for (arguments, part) in [
        (&["extract", &recorded(), "-o", "-"][..], "name the files"),
        (&["extract", &recorded(), "/no/such", "-o", "-"], "no such transfer"),
        (&["extract", &recorded(), "--transfer", "x", "-o", "-"], "such as 2.0"),
        (&["extract", &recorded(), "--all"], "--output"),
        (&["extract", &recorded(), "--all", "-o", "-", "--max-bytes", "1GB"], "10GiB"),
    ] {
        let output = tool(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(text(&output.stderr).contains(part), "{}", text(&output.stderr));
    }
}

#[test]
fn a_transcript_shows_files_instead_of_packets() {
    let output = tool(&["-i", &recorded(), "--format", "text"]);
    let shown = text(&output.stdout);
    for line in [
        "#2    request     subsystem sftp\n",
        "#2    file        open /home/alice/docs/notes.txt to write, create, truncate, mode 0644\n",
        "#2    file        close /home/alice/docs/notes.txt, written whole: 67890 bytes, sha256 9d71",
        "#2    file        remove directory /home/alice/docs/box: Failure\n",
        "#2    channel     closed\n",
    ] {
        assert!(shown.contains(line), "{line} in {shown}");
    }
    assert!(!shown.contains("  in  ") && !shown.contains("  out  "));
    let files = tool(&["-i", &recorded(), "--format", "text", "--files"]);
    assert!(text(&files.stdout).lines().all(|line| line.contains("  file  ")));
}

#[test]
fn json_lines_of_files_are_the_events() {
    let golden = fs::read_to_string(Path::new(&recorded()).with_extension("jsonl")).unwrap();
    let output = tool(&["-i", &recorded(), "--files"]);
    let lines: Vec<&str> = text(&output.stdout).lines().collect();
    assert_eq!(lines.len(), golden.lines().count());
    for (line, golden) in lines.iter().zip(golden.lines()) {
        let mut line: Value = serde_json::from_str(line).unwrap();
        let fields = line.as_object_mut().unwrap();
        assert_eq!(fields.remove("connectionId").unwrap(), common::ID);
        assert_eq!(fields.remove("channelId").unwrap(), 2);
        assert_eq!(line, serde_json::from_str::<Value>(golden).unwrap());
    }
    let all = tool(&["-i", &recorded(), "--files", "--lookups"]);
    assert!(text(&all.stdout).contains("\"event\":\"realpath\""));
}

#[test]
fn names_that_are_no_text_can_be_named_either_way() {
    let bench = Bench::new();
    let log = bench.log(&session([upload(b"caf\xe9", &[(0, b"x")])]));
    for name in [std::ffi::OsStr::from_bytes(b"caf\xe9"), std::ffi::OsStr::new("caf\u{fffd}")] {
        let output = Command::new(env!("CARGO_BIN_EXE_containerssh-auditlog-tool"))
            .args(["extract", &log, "-o", "-"])
            .arg(name)
            .output()
            .unwrap();
        assert_eq!(text(&output.stdout), "x");
    }
}
