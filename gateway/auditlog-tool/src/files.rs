//! What happened to files, in words.

use std::fmt::Write as _;

use containerssh_auditlog::sftp::{
    Attributes, FileEvent, OpenFlags, Operation, Outcome, RemotePath, Transferred, hex,
};
use containerssh_auditlog::text::visible;

/// One line about an event; safe to show on any terminal.
pub(crate) fn describe(event: &FileEvent) -> String {
    let mut line = operation(&event.operation);
    match &event.outcome {
        None | Some(Outcome::Ok) => {}
        Some(Outcome::Failed { message, .. }) if !message.is_empty() => {
            // Writing to a String cannot fail.
            let _ = write!(line, ": {}", visible(message));
        }
        Some(outcome) => {
            let words = match outcome {
                Outcome::Unanswered => "not answered",
                Outcome::NotRecorded => "the answer is not in the record",
                Outcome::UnexpectedReply => "the answer does not fit",
                Outcome::NotFollowed => "no longer followed, too many open files",
                Outcome::HandleReused => "its handle was given to another file",
                other => other.name(event.protocol),
            };
            let _ = write!(line, ": {words}");
        }
    }
    line
}

fn operation(operation: &Operation) -> String {
    use Operation as O;
    match operation {
        O::Version { client, server, .. } => {
            let version = |version: &Option<u32>| version.map_or("unknown".to_owned(), |v| v.to_string());
            format!("sftp, version {} (client), {} (server)", version(client), version(server))
        }
        O::Open { path, name, flags, attributes, .. } => {
            let named = name.as_ref().map(|name| format!(" (sent as {})", shown(name))).unwrap_or_default();
            let created = if flags.any(OpenFlags::WRITE) { settings(attributes) } else { String::new() };
            format!(
                "open {}{named} to {}{created}",
                shown(path),
                flags.names().collect::<Vec<_>>().join(", ")
            )
        }
        O::Close { path, path_inferred, read, written, .. } => {
            let guess = if *path_inferred { " (the last one asked for)" } else { "" };
            let mut line = format!("close {}{guess}", optional(path.as_ref()));
            for (way, moved) in [("read", read), ("written", written)] {
                if let Some(moved) = moved {
                    let _ = write!(line, ", {}", transferred(way, moved));
                }
            }
            line
        }
        O::Opendir { path } => format!("open directory {}", shown(path)),
        O::Closedir { path, entries, complete } => {
            let all = if *complete { "all of its" } else { "the first" };
            format!("close directory {}, {all} {entries} entries listed", optional(path.as_ref()))
        }
        O::Remove { path } => format!("remove {}", shown(path)),
        O::Mkdir { path, attributes } => format!("make directory {}{}", shown(path), settings(attributes)),
        O::Rmdir { path } => format!("remove directory {}", shown(path)),
        O::Rename { path, target, .. } => format!("rename {} to {}", shown(path), shown(target)),
        O::Symlink { path, target } => format!("link {} to {}", shown(path), shown(target)),
        O::Link { path, target } => format!("hard link {} to {}", shown(path), shown(target)),
        O::Readlink { path, target } => format!("read link {}, {}", shown(path), optional(target.as_ref())),
        O::Setstat { path, attributes, .. } => {
            format!("set {}{}", optional(path.as_ref()), settings(attributes))
        }
        O::Stat { path, attributes, .. } => {
            format!("look at {}{}", optional(path.as_ref()), settings(attributes))
        }
        O::Realpath { path, target } => format!("resolve {}, {}", shown(path), optional(target.as_ref())),
        O::Copy { path, target, offset, length } => {
            let part = match (offset, length) {
                (0, 0) => String::new(),
                (offset, 0) => format!(" from byte {offset}"),
                (offset, length) => format!(", {length} bytes from byte {offset}"),
            };
            format!(
                "copy {} to {}{part}, within the server",
                optional(path.as_ref()),
                optional(target.as_ref())
            )
        }
        O::Extended { name, path } => {
            let path = path.as_ref().map(|path| format!(" of {}", shown(path))).unwrap_or_default();
            format!("{}{path}", visible(name))
        }
        O::UnknownRequest { code } => format!("unknown request {code}"),
        O::Malformed { stream, offset, reason } => {
            format!("malformed: {}, at byte {offset} of {}", visible(reason), stream.name())
        }
        O::Desynchronised { stream, offset, reason } => {
            format!("cannot be read from byte {offset} of {} on: {}", stream.name(), visible(reason))
        }
        O::Unpaired { replies, bytes, entries, errors } => format!(
            "{replies} answers without a request: {bytes} bytes of files, {entries} entries of directories, {errors} errors"
        ),
    }
}

/// A path, made visible; quoted only if something about it could mislead.
pub(crate) fn shown(path: &RemotePath) -> String {
    let text = visible(&path.display());
    let cut = if path.is_truncated() { " (cut)" } else { "" };
    if text.is_empty() || text.contains([' ', '"', ',', '\u{fffd}']) {
        format!("\"{text}\"{cut}")
    } else {
        text + cut
    }
}

fn optional(path: Option<&RemotePath>) -> String {
    path.map_or_else(|| "(unknown)".to_owned(), shown)
}

fn transferred(way: &str, moved: &Transferred) -> String {
    let bytes = moved.bytes;
    match (&moved.sha256, moved.complete) {
        (Ok(digest), _) => format!("{way} whole: {bytes} bytes, sha256 {}", hex(digest)),
        (Err(reason), true) => format!("{way} whole: {bytes} bytes, no digest: {}", reason.words()),
        (Err(reason), false) => {
            /// As many as one looks at.
            const SHOWN: usize = 4;
            let ranges: Vec<_> =
                moved.ranges.iter().take(SHOWN).map(|(start, end)| format!("{start}-{end}")).collect();
            let more = if moved.ranges.len() > SHOWN || moved.ranges_omitted { ", …" } else { "" };
            let which = match ranges.as_slice() {
                [] => String::new(),
                ranges => format!(" ({}{more})", ranges.join(", ")),
            };
            format!("{way} in part: {bytes} bytes{which}, no digest: {}", reason.words())
        }
    }
}

fn settings(attributes: &Attributes) -> String {
    let mut line = String::new();
    if let Some(permissions) = attributes.permissions() {
        let _ = write!(line, ", mode {permissions}");
    }
    if let Some((user, group)) = attributes.owner {
        let _ = write!(line, ", owner {user}:{group}");
    }
    if let Some(size) = attributes.size {
        let _ = write!(line, ", size {size}");
    }
    if let Some((_, modified)) = attributes.times {
        let _ = write!(line, ", modified {}", crate::time::text(u64::from(modified) * 1_000_000_000));
    }
    line
}
