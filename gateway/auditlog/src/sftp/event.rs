//! What happened to a file: the type that consumers see, whatever protocol it was read from.
//!
//! Names are bytes, as file systems have them. [`RemotePath`] keeps them as they were sent; text is made of them only where
//! they are shown. [`super::json`] fixes the form that events have as JSON.

use std::fmt;
use std::sync::Arc;

use crate::message::IoStream;

/// The longest path that an event holds, in bytes: Linux refuses longer ones (`PATH_MAX`). The rest is cut off, and
/// the event says so.
pub const MAX_PATH: usize = 4096;
/// The longest text of the other side that an event holds, in bytes: error messages, names of extensions.
pub const MAX_TEXT: usize = 256;

/// One thing that happened to a file or a directory.
///
/// `Serialize` gives a flat JSON object; docs/sftp-audit.md lists its fields, which do not change.
#[derive(Clone, Debug, PartialEq)]
pub struct FileEvent {
    /// When it was known, in nanoseconds since 1970: the time of the record with the answer.
    pub timestamp: u64,
    /// Counts the events of a decoder, from 0.
    pub sequence: u64,
    /// Nanoseconds since the request; for [`Operation::Close`] and [`Operation::Closedir`] since the file was opened.
    pub duration: u64,
    /// What it was read from.
    pub protocol: Protocol,
    /// What was done.
    pub operation: Operation,
    /// How it went; `None` for what is no request (protocol version, what is wrong with the stream).
    pub outcome: Option<Outcome>,
}

/// A protocol that moves files through a session channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// SSH File Transfer Protocol, version 3.
    Sftp,
    /// The protocol of rcp, as spoken by `scp -O` and by clients from before 2022.
    Scp,
}

impl Protocol {
    /// `sftp` or `scp`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sftp => "sftp",
            Self::Scp => "scp",
        }
    }
}

/// A path as the client wrote it: any bytes, at most [`MAX_PATH`] of them.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RemotePath {
    bytes: Arc<[u8]>,
    truncated: bool,
}

impl RemotePath {
    /// Keeps the path, or the start of one that no file system would take.
    #[must_use]
    pub fn new(path: &[u8]) -> Self {
        let kept = path.get(..MAX_PATH);
        Self { bytes: kept.unwrap_or(path).into(), truncated: kept.is_some() && path.len() > MAX_PATH }
    }

    /// The bytes that were sent.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether there was more of it than is kept.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// The path as text; bytes that are no UTF-8 become U+FFFD.
    #[must_use]
    pub fn display(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.bytes)
    }
}

impl fmt::Debug for RemotePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.display(), f)
    }
}

/// What was done. `transfer` numbers the files that were opened through one channel, from 0.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// Both sides have said which version and extensions they speak. `None`: that side is not in the record.
    Version {
        /// The client's version.
        client: Option<u32>,
        /// The server's version.
        server: Option<u32>,
        /// Names of the server's extensions.
        extensions: Vec<String>,
    },
    /// A file was opened.
    Open {
        /// The file.
        path: RemotePath,
        /// scp: the name that the sender gave. If `path` is a directory, which the protocol does not tell, it is the
        /// file's name in it.
        name: Option<RemotePath>,
        /// `read`, `write`, `append`, `create`, `truncate`, `exclusive`.
        flags: OpenFlags,
        /// What a file that is created by it gets.
        attributes: Attributes,
        /// The number of the transfer; `None` if it could not be opened.
        transfer: Option<u64>,
    },
    /// A file was closed, or the session ended with it open.
    Close {
        /// The file; `None` if its opening is not in the record.
        path: Option<RemotePath>,
        /// The path is that of the last file the client asked to open: the server's answer is not in the record.
        path_inferred: bool,
        /// The number of the transfer.
        transfer: u64,
        /// What was read; `None` if nothing was asked for.
        read: Option<Transferred>,
        /// What was written; `None` if the file was not opened for writing and nothing was written.
        written: Option<Transferred>,
    },
    /// A directory was opened to be listed.
    Opendir {
        /// The directory.
        path: RemotePath,
    },
    /// A directory was closed.
    Closedir {
        /// The directory; `None` if its opening is not in the record.
        path: Option<RemotePath>,
        /// Entries that the client was told.
        entries: u64,
        /// Whether it was told all of them.
        complete: bool,
    },
    /// A file was removed.
    Remove {
        /// The file.
        path: RemotePath,
    },
    /// A directory was made.
    Mkdir {
        /// The directory.
        path: RemotePath,
        /// What it gets.
        attributes: Attributes,
    },
    /// A directory was removed.
    Rmdir {
        /// The directory.
        path: RemotePath,
    },
    /// A file was renamed.
    Rename {
        /// What it was called.
        path: RemotePath,
        /// What it is called.
        target: RemotePath,
        /// Whether an existing target is replaced (`posix-rename@openssh.com`).
        replace: bool,
    },
    /// A symbolic link was made.
    Symlink {
        /// The link.
        path: RemotePath,
        /// What it points to.
        target: RemotePath,
    },
    /// A hard link was made (`hardlink@openssh.com`).
    Link {
        /// The new name.
        path: RemotePath,
        /// The old one.
        target: RemotePath,
    },
    /// It was asked what a symbolic link points to.
    Readlink {
        /// The link.
        path: RemotePath,
        /// What it points to, if that was answered.
        target: Option<RemotePath>,
    },
    /// Mode, owner, size or times were set.
    Setstat {
        /// The file; `None` if it was named by a handle whose opening is not in the record.
        path: Option<RemotePath>,
        /// What was set.
        attributes: Attributes,
        /// Whether a link was followed (not with `lsetstat@openssh.com`).
        follow: bool,
    },
    /// Attributes were asked for. Only with [`super::Options::lookups`].
    Stat {
        /// The file; `None` if it was named by a handle whose opening is not in the record.
        path: Option<RemotePath>,
        /// What was answered.
        attributes: Attributes,
        /// Whether a link was followed.
        follow: bool,
    },
    /// It was asked for the absolute form of a path. Only with [`super::Options::lookups`].
    Realpath {
        /// The path.
        path: RemotePath,
        /// Its absolute form.
        target: Option<RemotePath>,
    },
    /// A part of a file was copied within the server (`copy-data`).
    Copy {
        /// The file that was read.
        path: Option<RemotePath>,
        /// The file that was written.
        target: Option<RemotePath>,
        /// First byte, counted from 0.
        offset: u64,
        /// Bytes; 0 is "to the end of the file".
        length: u64,
    },
    /// Another extension was used.
    Extended {
        /// Its name.
        name: String,
        /// The path that it was for, where the extension is known and has one.
        path: Option<RemotePath>,
    },
    /// A request of a type that SFTP version 3 does not have.
    UnknownRequest {
        /// The type.
        code: u8,
    },
    /// A packet could not be understood; reading goes on with the next one.
    Malformed {
        /// The stream.
        stream: IoStream,
        /// Where the packet starts, in bytes from the start of the stream.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
    /// From here on nothing more could be understood of a stream.
    Desynchronised {
        /// The stream.
        stream: IoStream,
        /// From where, in bytes from the start of the stream.
        offset: u64,
        /// What was found.
        reason: String,
    },
    /// At the end: answers without their requests, because only the server's stream is in the record, or because the server
    /// answered what nobody had asked.
    Unpaired {
        /// Such answers.
        replies: u64,
        /// Bytes of files in them.
        bytes: u64,
        /// Entries of directories in them.
        entries: u64,
        /// How many of them were errors.
        errors: u64,
    },
}

/// How a request went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Ok,
    /// Refused or failed.
    Failed {
        /// SSH_FX_… (draft-ietf-secsh-filexfer-02 section 7); for scp 1 (warning) or 2 (fatal).
        code: u32,
        /// What the server said, lossy, at most [`MAX_TEXT`] bytes.
        message: String,
    },
    /// There was no answer until the session ended, or until too many other requests had been sent.
    Unanswered,
    /// The stream that would hold the answer is not in the record.
    NotRecorded,
    /// The answer is of a kind that this request does not have.
    UnexpectedReply,
    /// Too many files were open at once for this one to be followed any longer.
    NotFollowed,
    /// The server gave its handle to another file.
    HandleReused,
}

impl Outcome {
    /// A stable name: `ok`, `noSuchFile`, `permissionDenied`, …, `unanswered`.
    #[must_use]
    pub fn name(&self, protocol: Protocol) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed { code, .. } if protocol == Protocol::Sftp => match code {
                1 => "eof",
                2 => "noSuchFile",
                3 => "permissionDenied",
                4 => "failure",
                5 => "badMessage",
                6 => "noConnection",
                7 => "connectionLost",
                8 => "unsupported",
                _ => "otherError",
            },
            Self::Failed { code: 1, .. } => "failure",
            Self::Failed { .. } => "fatal",
            Self::Unanswered => "unanswered",
            Self::NotRecorded => "notRecorded",
            Self::UnexpectedReply => "unexpectedReply",
            Self::NotFollowed => "notFollowed",
            Self::HandleReused => "handleReused",
        }
    }
}

/// The flags of SSH_FXP_OPEN (draft section 6.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenFlags(pub u32);

impl OpenFlags {
    /// SSH_FXF_READ.
    pub const READ: u32 = 1;
    /// SSH_FXF_WRITE.
    pub const WRITE: u32 = 2;
    /// SSH_FXF_APPEND.
    pub const APPEND: u32 = 4;
    /// SSH_FXF_CREAT.
    pub const CREATE: u32 = 8;
    /// SSH_FXF_TRUNC.
    pub const TRUNCATE: u32 = 16;
    /// SSH_FXF_EXCL.
    pub const EXCLUSIVE: u32 = 32;

    const NAMES: [(u32, &'static str); 6] = [
        (Self::READ, "read"),
        (Self::WRITE, "write"),
        (Self::APPEND, "append"),
        (Self::CREATE, "create"),
        (Self::TRUNCATE, "truncate"),
        (Self::EXCLUSIVE, "exclusive"),
    ];

    /// Whether any of these is set.
    #[must_use]
    pub const fn any(self, flags: u32) -> bool {
        self.0 & flags != 0
    }

    /// The names of those that are set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(flag, _)| self.any(*flag)).map(|(_, name)| name)
    }
}

/// Attributes of a file, as far as they were sent (draft section 5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// In bytes.
    pub size: Option<u64>,
    /// User and group.
    pub owner: Option<(u32, u32)>,
    /// Type and permissions, as `st_mode`.
    pub mode: Option<u32>,
    /// Access and modification, in seconds since 1970.
    pub times: Option<(u32, u32)>,
}

/// What passed through an open file in one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transferred {
    /// Bytes that were delivered (read) or that the server confirmed (written).
    pub bytes: u64,
    /// The whole file passed, each byte from the first to the end.
    pub complete: bool,
    /// The digest of the whole file, or why there is none.
    pub sha256: Result<[u8; 32], NoDigest>,
    /// Which bytes passed: ascending, apart from each other, without their ends.
    pub ranges: Vec<(u64, u64)>,
    /// There were too many ranges to note them all.
    pub ranges_omitted: bool,
}

/// Why the digest of a transfer is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoDigest {
    /// The first bytes of the file did not pass.
    NotFromStart,
    /// The bytes passed in an order too far from that in the file.
    NotSequential,
    /// A byte was written twice.
    Rewritten,
    /// The file was opened to append: where the bytes went is not in the protocol.
    Appended,
    /// The file was shortened after it was written.
    Truncated,
    /// A part was copied into it within the server.
    CopiedOnServer,
    /// A write failed.
    Failed,
    /// A write was never answered.
    Unanswered,
    /// Parts are missing between those that passed.
    Gaps,
    /// It is not known whether the file goes on behind the last byte.
    EndNotSeen,
}

impl NoDigest {
    /// A stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotFromStart => "notFromStart",
            Self::NotSequential => "notSequential",
            Self::Rewritten => "rewritten",
            Self::Appended => "appended",
            Self::Truncated => "truncated",
            Self::CopiedOnServer => "copiedOnServer",
            Self::Failed => "failed",
            Self::Unanswered => "unanswered",
            Self::Gaps => "gaps",
            Self::EndNotSeen => "endNotSeen",
        }
    }

    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::NotFromStart => "not from the start",
            Self::NotSequential => "not sequential",
            Self::Rewritten => "written twice",
            Self::Appended => "appended",
            Self::Truncated => "shortened afterwards",
            Self::CopiedOnServer => "copied within the server",
            Self::Failed => "a write failed",
            Self::Unanswered => "a write was not answered",
            Self::Gaps => "parts are missing",
            Self::EndNotSeen => "end of file not seen",
        }
    }
}

/// Text of the other side for an event: lossy, at most [`MAX_TEXT`] bytes.
pub(super) fn short_text(bytes: &[u8]) -> String {
    crate::text::lossy(bytes.get(..MAX_TEXT).unwrap_or(bytes))
}
