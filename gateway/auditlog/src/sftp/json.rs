//! Events as JSON: flat objects in camelCase, fields without a value left out, so that a search in a SIEM is `path: …`.
//!
//! A path that is no UTF-8 is given twice: with U+FFFD under its name, and exactly under the name with `Base64`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::event::{Attributes, FileEvent, OpenFlags, Operation, Outcome, RemotePath, Transferred};

impl Operation {
    /// The stable name of the operation: the field `event`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Version { .. } => "version",
            Self::Open { .. } => "open",
            Self::Close { .. } => "close",
            Self::Opendir { .. } => "opendir",
            Self::Closedir { .. } => "closedir",
            Self::Remove { .. } => "remove",
            Self::Mkdir { .. } => "mkdir",
            Self::Rmdir { .. } => "rmdir",
            Self::Rename { .. } => "rename",
            Self::Symlink { .. } => "symlink",
            Self::Link { .. } => "link",
            Self::Readlink { .. } => "readlink",
            Self::Setstat { .. } => "setstat",
            Self::Stat { .. } => "stat",
            Self::Realpath { .. } => "realpath",
            Self::Copy { .. } => "copy",
            Self::Extended { .. } => "extended",
            Self::UnknownRequest { .. } => "unknownRequest",
            Self::Malformed { .. } => "malformed",
            Self::Desynchronised { .. } => "desynchronised",
            Self::Unpaired { .. } => "unpaired",
        }
    }

    fn entries<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        match self {
            Self::Version { client, server, extensions } => {
                optional(map, "clientVersion", client.as_ref())?;
                optional(map, "serverVersion", server.as_ref())?;
                map.serialize_entry("extensions", extensions)
            }
            Self::Open { path, name, flags, attributes, transfer } => {
                path_entry(map, &PATH, Some(path))?;
                path_entry(map, &NAME, name.as_ref())?;
                map.serialize_entry("flags", flags)?;
                attributes_entry(map, attributes)?;
                optional(map, "transfer", transfer.as_ref())
            }
            Self::Close { path, path_inferred, transfer, read, written } => {
                path_entry(map, &PATH, path.as_ref())?;
                if *path_inferred {
                    map.serialize_entry("pathInferred", &true)?;
                }
                map.serialize_entry("transfer", transfer)?;
                optional(map, "read", read.as_ref())?;
                optional(map, "written", written.as_ref())
            }
            Self::Closedir { path, entries, complete } => {
                path_entry(map, &PATH, path.as_ref())?;
                map.serialize_entry("entries", entries)?;
                map.serialize_entry("complete", complete)
            }
            Self::Opendir { path } | Self::Remove { path } | Self::Rmdir { path } => {
                path_entry(map, &PATH, Some(path))
            }
            Self::Mkdir { path, attributes } => {
                path_entry(map, &PATH, Some(path))?;
                attributes_entry(map, attributes)
            }
            Self::Rename { path, target, replace } => {
                path_entry(map, &PATH, Some(path))?;
                path_entry(map, &TARGET, Some(target))?;
                map.serialize_entry("replace", replace)
            }
            Self::Symlink { path, target } | Self::Link { path, target } => {
                path_entry(map, &PATH, Some(path))?;
                path_entry(map, &TARGET, Some(target))
            }
            Self::Readlink { path, target } | Self::Realpath { path, target } => {
                path_entry(map, &PATH, Some(path))?;
                path_entry(map, &TARGET, target.as_ref())
            }
            Self::Setstat { path, attributes, follow } | Self::Stat { path, attributes, follow } => {
                path_entry(map, &PATH, path.as_ref())?;
                attributes_entry(map, attributes)?;
                map.serialize_entry("follow", follow)
            }
            Self::Copy { path, target, offset, length } => {
                path_entry(map, &PATH, path.as_ref())?;
                path_entry(map, &TARGET, target.as_ref())?;
                map.serialize_entry("offset", offset)?;
                map.serialize_entry("length", length)
            }
            Self::Extended { name, path } => {
                map.serialize_entry("extension", name)?;
                path_entry(map, &PATH, path.as_ref())
            }
            Self::UnknownRequest { code } => map.serialize_entry("code", code),
            Self::Malformed { stream, offset, reason } | Self::Desynchronised { stream, offset, reason } => {
                map.serialize_entry("stream", stream.name())?;
                map.serialize_entry("offset", offset)?;
                map.serialize_entry("reason", reason)
            }
            Self::Unpaired { replies, bytes, entries, errors } => {
                map.serialize_entry("replies", replies)?;
                map.serialize_entry("bytes", bytes)?;
                map.serialize_entry("entries", entries)?;
                map.serialize_entry("errors", errors)
            }
        }
    }
}

impl FileEvent {
    /// Adds the event's fields to a JSON object that has others too.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn entries<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        map.serialize_entry("event", self.operation.name())?;
        map.serialize_entry("protocol", self.protocol.name())?;
        map.serialize_entry("timestamp", &self.timestamp)?;
        map.serialize_entry("sequence", &self.sequence)?;
        self.operation.entries(map)?;
        let Some(outcome) = &self.outcome else { return Ok(()) };
        map.serialize_entry("durationNs", &self.duration)?;
        map.serialize_entry("result", outcome.name(self.protocol))?;
        if let Outcome::Failed { code, message } = outcome {
            map.serialize_entry("resultCode", code)?;
            map.serialize_entry("resultMessage", message)?;
        }
        Ok(())
    }
}

impl Serialize for FileEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.entries(&mut map)?;
        map.end()
    }
}

/// The keys of a path: as text, exactly, and whether it was cut.
type Keys = [&'static str; 3];
const PATH: Keys = ["path", "pathBase64", "pathTruncated"];
const NAME: Keys = ["name", "nameBase64", "nameTruncated"];
const TARGET: Keys = ["target", "targetBase64", "targetTruncated"];

fn path_entry<M: SerializeMap>(map: &mut M, keys: &Keys, path: Option<&RemotePath>) -> Result<(), M::Error> {
    let (Some(path), [text, base64, truncated]) = (path, keys) else { return Ok(()) };
    map.serialize_entry(text, &path.display())?;
    if std::str::from_utf8(path.as_bytes()).is_err() {
        map.serialize_entry(base64, &STANDARD.encode(path.as_bytes()))?;
    }
    if path.is_truncated() {
        map.serialize_entry(truncated, &true)?;
    }
    Ok(())
}

fn optional<M: SerializeMap>(
    map: &mut M,
    key: &'static str,
    value: Option<&impl Serialize>,
) -> Result<(), M::Error> {
    value.map_or(Ok(()), |value| map.serialize_entry(key, value))
}

fn attributes_entry<M: SerializeMap>(map: &mut M, attributes: &Attributes) -> Result<(), M::Error> {
    if *attributes == Attributes::default() {
        return Ok(());
    }
    map.serialize_entry("attributes", attributes)
}

impl Attributes {
    /// Permissions as one writes them: four octal digits.
    #[must_use]
    pub fn permissions(&self) -> Option<String> {
        self.mode.map(|mode| format!("{:04o}", mode & 0o7777))
    }
}

impl Serialize for Attributes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        optional(&mut map, "size", self.size.as_ref())?;
        optional(&mut map, "mode", self.permissions().as_ref())?;
        if let Some((user, group)) = self.owner {
            map.serialize_entry("uid", &user)?;
            map.serialize_entry("gid", &group)?;
        }
        if let Some((accessed, modified)) = self.times {
            map.serialize_entry("accessed", &accessed)?;
            map.serialize_entry("modified", &modified)?;
        }
        map.end()
    }
}

impl Serialize for OpenFlags {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.names())
    }
}

impl Serialize for Transferred {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("bytes", &self.bytes)?;
        map.serialize_entry("complete", &self.complete)?;
        match &self.sha256 {
            Ok(digest) => map.serialize_entry("sha256", &hex(digest))?,
            Err(reason) => map.serialize_entry("noDigest", reason.name())?,
        }
        if !self.complete {
            map.serialize_entry("ranges", &self.ranges)?;
        }
        if self.ranges_omitted {
            map.serialize_entry("rangesOmitted", &true)?;
        }
        map.end()
    }
}

/// A digest as one compares it: 64 lowercase hexadecimal digits.
#[must_use]
pub fn hex(digest: &[u8; 32]) -> String {
    use std::fmt::Write;
    digest.iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
