//! Our SFTP server with the client that people use, and with names and sizes that clients meet.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Stdio;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::support::within;

/// Runs a batch of `sftp` in `directory`; returns what it printed. Fails if a command fails.
async fn sftp(directory: &Path, batch: &str) -> String {
    let (text, status) = try_sftp(directory, batch).await;
    assert!(status, "{text}");
    text
}

async fn try_sftp(directory: &Path, batch: &str) -> (String, bool) {
    let server = format!("{} sftp-server", env!("CARGO_BIN_EXE_containerssh-agent"));
    let mut child = Command::new("sftp")
        .args(["-D", &server, "-b", "-"])
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(batch.as_bytes()).await.unwrap();
    let output = within("sftp", child.wait_with_output()).await.unwrap();
    let text = [output.stdout, output.stderr].concat();
    (String::from_utf8_lossy(&text).into_owned(), output.status.success())
}

#[tokio::test]
async fn files_go_there_and_back_with_their_modes_and_times() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let content: Vec<u8> =
        (0..5_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(at("original"), &content).unwrap();
    std::fs::set_permissions(at("original"), std::fs::Permissions::from_mode(0o640)).unwrap();
    sftp(directory.path(), "put -pf original there\nget -p there back\n").await;
    assert!(std::fs::read(at("back")).unwrap() == content);
    let (original, there) = (at("original").metadata().unwrap(), at("there").metadata().unwrap());
    assert_eq!((there.mode(), there.mtime()), (original.mode(), original.mtime()));
}

#[tokio::test]
async fn names_are_made_moved_linked_and_removed() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    std::fs::write(at("a"), "a").unwrap();
    std::fs::write(at("b"), "b").unwrap();
    let text = sftp(
        directory.path(),
        "mkdir d\nrename a d/moved\nsymlink d/moved soft\nln d/moved hard\nchmod 600 b\nrename d/moved b\n\
         ls -l soft b\nrm hard\nrmdir d\npwd\ndf .\n",
    )
    .await;
    assert_eq!(std::fs::read(at("b")).unwrap(), b"a", "OpenSSH's rename replaces");
    assert_eq!(std::fs::read_link(at("soft")).unwrap(), Path::new("d/moved"));
    assert!(!at("hard").exists() && !at("d").exists());
    assert!(text.contains("lrwxrwxrwx"), "{text}");
    assert!(text.contains(&directory.path().canonicalize().unwrap().display().to_string()), "{text}");
}

#[tokio::test]
async fn large_directories_and_names_of_any_bytes_are_listed_whole() {
    let directory = tempfile::tempdir().unwrap();
    let wanted: BTreeSet<String> =
        (0..1234).map(|number| format!("file-{number}-{}", "x".repeat(200))).collect();
    for name in &wanted {
        std::fs::write(directory.path().join(name), "").unwrap();
    }
    let text = sftp(directory.path(), "ls -1a\n").await;
    let listed: BTreeSet<String> =
        text.lines().filter(|line| line.starts_with("file-")).map(|line| line.trim().to_owned()).collect();
    assert!(listed == wanted, "{} of {}", listed.len(), wanted.len());
    let odd = OsStr::from_bytes(b"caf\xe9 \xff");
    std::fs::write(directory.path().join(odd), "odd").unwrap();
    sftp(directory.path(), "mkdir copy\nget caf* copy\n").await;
    assert_eq!(std::fs::read(directory.path().join("copy").join(odd)).unwrap(), b"odd");
}

#[tokio::test]
async fn what_cannot_be_done_is_said_in_words() {
    let directory = tempfile::tempdir().unwrap();
    for (batch, words) in [
        ("get nothing\n", "not found"),
        ("mkdir a/b\n", "No such file"),
        ("rmdir full\n", "Failure"),
        ("chdir full/file\n", "directory"),
    ] {
        std::fs::create_dir_all(directory.path().join("full")).unwrap();
        std::fs::write(directory.path().join("full/file"), "").unwrap();
        let (text, success) = try_sftp(directory.path(), batch).await;
        assert!(!success && text.to_lowercase().contains(&words.to_lowercase()), "{batch}: {text}");
    }
}
