//! ContainerSSH audit logs: record types, FORMAT v1 and v2 codec, asciicast, and the tool that reads them.
//!
//! An audit log is a 40-byte [`header()`] and gzip around CBOR records. What this crate offers follows a record's way:
//! a [`Message`] with its [`Payload`]; an [`Encoder`] that appends it to a buffer.
//!
//! No network, no async runtime: the gateway's recorder and the command line tool both build on it.

mod cbor;
pub mod encode;
mod field;
mod header;
mod message;
mod payload;
pub mod text;

pub use cbor::split::{Damage, MAX_RECORD};
pub use cbor::value::Value;
pub use encode::{Encoder, MAX_IO_DATA};
pub use header::{HEADER_LEN, HeaderError, Version, header};
pub use message::{Answer, IoStream, Message, Question};
pub use payload::Payload;
