//! ContainerSSH audit logs: record types, FORMAT v1 and v2 codec, asciicast.
//!
//! An audit log is a 40-byte [`header()`] and gzip around CBOR records. What this crate offers follows a record's way:
//!
//! ```text
//! Message/Payload ─► Encoder ─► member::compress ─► file ─► recover::scan (if the writer died)
//!                                                    └────► Decoder ─► JSON, text, asciicast
//! ```
//!
//! - [`Message`] and [`Payload`]: one table of all record types, from which codec and JSON follow.
//! - [`Encoder`] appends records to a buffer, byte for byte as ContainerSSH writes them.
//! - [`member`] turns a buffer into one complete gzip member; [`recover`] mends a file that lacks its end.
//! - [`chain`] links the members, and [`manifest`] says beside the file what it is: both so that a change shows.
//! - [`encrypted`] is how records are stored that only the holders of some keys may read.
//! - [`Decoder`] reads what any ContainerSSH has written, whole or damaged.
//! - [`sftp`] tells what happened to files in a session.
//! - [`asciicast`] is what players take. The command line program is a crate of its own, containerssh-auditlog-tool.
//!
//! No network, no async runtime: the gateway's recorder and the command line tool both build on it.

pub mod asciicast;
mod cbor;
pub mod chain;
mod decode;
mod deflate;
pub mod encode;
pub mod encrypted;
mod field;
mod gzip;
mod hash;
mod header;
mod inflate;
pub mod manifest;
pub mod member;
mod message;
mod payload;
pub mod recover;
pub mod sftp;
pub mod tally;
pub mod text;
pub mod verify;

pub use cbor::split::{Damage, MAX_RECORD};
pub use cbor::value::Value;
pub use decode::{DecodeError, Decoder, RecordError};
pub use encode::{Encoder, MAX_IO_DATA};
pub use header::{HEADER_LEN, HeaderError, Version, header};
pub use message::{Answer, IoStream, Message, Question};
pub use payload::Payload;
