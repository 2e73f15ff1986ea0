//! Tells of each finished record how to look at it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::Duration;

use containerssh_auditlog::{Decoder, Payload};

use super::place::shell_word;
use super::say;

/// How soon after a session its line comes. A directory of a handful of files costs nothing to list.
const LOOK: Duration = Duration::from_millis(200);
/// The tool's name; where it lies beside us it is named by its path.
const TOOL: &str = "containerssh-auditlog-tool";

/// Watches the directory of finished records.
#[derive(Debug)]
pub(super) struct Announcer {
    directory: PathBuf,
    seen: BTreeSet<PathBuf>,
}

/// What of a record decides how it is looked at.
#[derive(Debug, Default, PartialEq, Eq)]
struct Summary {
    logged_in: bool,
    terminal: bool,
}

impl Announcer {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory, seen: BTreeSet::new() }
    }

    /// Looks again and again. Does not end.
    pub(super) async fn run(&mut self) {
        loop {
            self.look();
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Tells of the records that have come since.
    pub(super) fn look(&mut self) {
        let Ok(entries) = std::fs::read_dir(&self.directory) else { return };
        for path in entries.flatten().map(|entry| entry.path()) {
            // Records are files named by their connection alone; what is being written has an extension or a directory.
            if !path.is_file() || path.extension().is_some() || !self.seen.insert(path.clone()) {
                continue;
            }
            if let Some(text) = announcement(&path, &summary(&path)) {
                say(&text);
            }
        }
    }
}

/// Connections that nobody logged in on (scans, keys that were refused) are not worth a line.
fn announcement(path: &Path, summary: &Summary) -> Option<String> {
    let (tool, record) = (tool(), shell_word(&path.display().to_string()));
    summary.logged_in.then(|| {
        if summary.terminal {
            format!("\nA session has ended. Replay it:\n\n  {tool} play {record}\n")
        } else {
            format!("\nA session has ended. Read it:\n\n  {tool} {record} --format text\n")
        }
    })
}

fn summary(path: &Path) -> Summary {
    let mut summary = Summary::default();
    let Ok(file) = File::open(path) else { return summary };
    let Ok(messages) = Decoder::new(BufReader::new(file)) else { return summary };
    for message in messages.map_while(Result::ok) {
        match message.payload {
            Payload::NewChannelSuccessful { .. } => summary.logged_in = true,
            Payload::ChannelRequestPty { .. } => {
                summary.terminal = true;
                break;
            }
            _ => {}
        }
    }
    summary
}

fn tool() -> String {
    std::env::current_exe()
        .ok()
        .map(|own| own.with_file_name(TOOL))
        .filter(|beside| beside.is_file())
        .map_or_else(|| TOOL.to_owned(), |beside| shell_word(&beside.display().to_string()))
}
