//! What happened to files: SFTP and scp, read from the streams of a session channel.
//!
//! A record of a file transfer holds every byte, and tells nobody anything: packets of a binary protocol, a hundred of them in
//! flight, cut wherever a read ended. [`SftpDecoder`] turns the two streams back into what an auditor asks for: which
//! file, which way, whole or not, with which digest, and whether it worked.
//!
//! ```text
//! stdin  ─► framing ─► request ─► pending ┐
//!                                         ├─► session (handles, transfers) ─► FileEvent, contents
//! stdout ─► framing ─► answer  ───────────┘
//! ```
//!
//! - [`FileDecoder`] picks the decoder for a channel by what was started in it; [`Channels`] does so for a whole connection.
//! - The protocol is SFTP version 3 (draft-ietf-secsh-filexfer-02) with OpenSSH's extensions (its file PROTOCOL), which is
//!   what OpenSSH and nearly all others speak; and the protocol of rcp for old scp clients ([`ScpDecoder`]).
//! - Streaming: contents are hashed as they pass and never kept, but for a window of 4 MiB for what comes out of order. Every
//!   table has a limit, and whoever is beyond it is named in an event; nothing is passed over in silence. One channel costs
//!   at most some 10 MiB, a usual one a few KiB.
//! - Neither side is trusted: both can send anything. A stream that is no SFTP, or stops being it, gives one
//!   [`Operation::Desynchronised`] with the place.

mod channels;
mod digest;
mod event;
mod framing;
mod handles;
mod json;
mod observer;
mod pending;
mod ranges;
mod request;
mod scp;
mod session;
mod transfer;
mod wire;

use crate::message::IoStream;

use framing::{Framing, Piece};
use session::Session;
use wire::kind;

pub use channels::{ChannelObserver, Channels, FileDecoder};
pub use event::{
    Attributes, FileEvent, MAX_PATH, MAX_TEXT, NoDigest, OpenFlags, Operation, Outcome, Protocol, RemotePath,
    Transferred,
};
pub use json::hex;
pub use observer::{Chunk, Direction, Observer};
pub use scp::{ScpCommand, ScpDecoder};

/// What is known about a recording, and what is wanted of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whether the server's stream is in the record (`intercept.stdout`). If not, requests give their events at once,
    /// with [`Outcome::NotRecorded`].
    pub replies_recorded: bool,
    /// Also events for what only looks: stat, lstat, fstat, realpath.
    pub lookups: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { replies_recorded: true, lookups: false }
    }
}

/// Reads one SFTP session.
#[derive(Debug)]
pub struct SftpDecoder {
    client: Framing,
    server: Framing,
    session: Session,
}

impl SftpDecoder {
    /// A decoder for a channel in which SFTP was started.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            client: Framing::new(IoStream::Stdin),
            server: Framing::new(IoStream::Stdout),
            session: Session::new(options),
        }
    }

    /// Takes the bytes of one record, in the order of the records; `timestamp` is the record's, in nanoseconds since 1970.
    pub fn push(&mut self, stream: IoStream, data: &[u8], timestamp: u64, observer: &mut impl Observer) {
        self.session.at(timestamp);
        let mut rest = data;
        match stream {
            IoStream::Stdin => {
                while let Some(piece) = self.client.next(&mut rest) {
                    client(&mut self.session, piece, observer);
                }
            }
            IoStream::Stdout => {
                if !data.is_empty() {
                    self.session.server_spoke();
                }
                while let Some(piece) = self.server.next(&mut rest) {
                    server(&mut self.session, piece, observer);
                }
            }
            // sftp-server's own complaints.
            IoStream::Stderr => {}
        }
    }

    /// The channel is closed, or the record ends: what was under way is reported as such.
    pub fn finish(&mut self, timestamp: u64, observer: &mut impl Observer) {
        self.session.at(timestamp);
        for (stream, framing) in [(IoStream::Stdin, &self.client), (IoStream::Stdout, &self.server)] {
            if let Some(offset) = framing.unfinished() {
                let missing = format!("the stream ends inside a packet, at byte {}", framing.taken());
                self.session.lost(stream, offset, missing, observer);
            }
        }
        self.session.finish(observer);
    }
}

fn client(session: &mut Session, piece: Piece<'_>, observer: &mut impl Observer) {
    match piece {
        Piece::Packet { kind, body, at } => session.request(kind, body, at, observer),
        Piece::DataStart { head, length, at, .. } => session.write_start(head, length, at, observer),
        Piece::Data(bytes) => session.write(bytes, observer),
        Piece::DataEnd => session.write_end(),
        Piece::Malformed { kind, at } => session.malformed(IoStream::Stdin, kind, at, observer),
        Piece::Lost { at, reason } => session.lost(IoStream::Stdin, at, reason, observer),
    }
}

fn server(session: &mut Session, piece: Piece<'_>, observer: &mut impl Observer) {
    match piece {
        Piece::Packet { kind, body, at } => session.reply(kind, body, at, observer),
        Piece::DataStart { kind, head, length, .. } => {
            debug_assert_eq!(kind, kind::DATA);
            session.data_start(head, length, observer);
        }
        Piece::Data(bytes) => session.data(bytes, observer),
        Piece::DataEnd => session.data_end(),
        Piece::Malformed { kind, at } => session.malformed(IoStream::Stdout, kind, at, observer),
        Piece::Lost { at, reason } => session.lost(IoStream::Stdout, at, reason, observer),
    }
}
