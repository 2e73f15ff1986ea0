//! Records as bytes: what a gateway does for every byte that passes.
//!
//! [`Encoder`] appends to a caller's buffer and keeps nothing but the constant start of every record of its
//! connection. An I/O record is that prefix, one head and one copy of the data; the result is byte for byte what
//! ContainerSSH writes.

use crate::cbor::{self, ARRAY_OPEN, BREAK, NULL, major};
use crate::message::{IoStream, Message};
use crate::payload::Payload;

/// The most data that one I/O record holds, in bytes; longer data is cut into several records. SSH hands over at most
/// one packet at a time (256 KiB), so that cutting is rare, and every reader can hold a record.
pub const MAX_IO_DATA: usize = 1 << 20;

/// What an I/O record takes beside its data, rounded up: the prefix (67 bytes with the usual connection id),
/// timestamp, keys, heads.
const IO_OVERHEAD: usize = 160;

const AFTER_TIMESTAMP: &[u8] = b"\x64type";
const IO_TYPE_TO_STREAM: &[u8] = b"\x64type\x19\x01\xf4\x67payload\xa2\x66stream";
const IO_DATA_KEY: &[u8] = b"\x64data";
const CHANNEL_ID_KEY: &[u8] = b"\x69channelId";

/// Opens the array around the records: the first byte of a FORMAT v1 log's content.
pub fn open(out: &mut Vec<u8>) {
    out.push(ARRAY_OPEN);
}

/// Closes the array: the last byte of a FORMAT v1 log's content.
pub fn close(out: &mut Vec<u8>) {
    out.push(BREAK);
}

/// Encodes the records of one connection.
#[derive(Clone, Debug)]
pub struct Encoder {
    /// Map head, connection id, the key of the timestamp.
    prefix: Box<[u8]>,
}

impl Encoder {
    /// An encoder for the connection with this id.
    #[must_use]
    pub fn new(connection_id: &str) -> Self {
        let mut prefix = Vec::with_capacity(64 + connection_id.len());
        cbor::head(&mut prefix, major::MAP, 5);
        cbor::text(&mut prefix, "connectionId");
        cbor::text(&mut prefix, connection_id);
        cbor::text(&mut prefix, "timestamp");
        Self { prefix: prefix.into() }
    }

    /// Appends one record. `timestamp` is in nanoseconds since 1970.
    pub fn record(&self, out: &mut Vec<u8>, timestamp: u64, channel_id: Option<u64>, payload: &Payload) {
        out.extend_from_slice(&self.prefix);
        cbor::head(out, major::UNSIGNED, timestamp);
        out.extend_from_slice(AFTER_TIMESTAMP);
        cbor::head(out, major::UNSIGNED, u64::from(payload.type_code()));
        cbor::text(out, "payload");
        payload.encode(out);
        channel(out, channel_id);
    }

    /// Appends data that passed, as one record, or as several if it is longer than [`MAX_IO_DATA`].
    pub fn io(
        &self,
        out: &mut Vec<u8>,
        timestamp: u64,
        channel_id: Option<u64>,
        stream: IoStream,
        data: &[u8],
    ) {
        let (mut piece, mut rest) = data.split_at(data.len().min(MAX_IO_DATA));
        loop {
            out.reserve(IO_OVERHEAD + piece.len());
            out.extend_from_slice(&self.prefix);
            cbor::head(out, major::UNSIGNED, timestamp);
            out.extend_from_slice(IO_TYPE_TO_STREAM);
            cbor::head(out, major::UNSIGNED, u64::from(stream.code()));
            out.extend_from_slice(IO_DATA_KEY);
            cbor::bytes(out, piece);
            channel(out, channel_id);
            if rest.is_empty() {
                return;
            }
            (piece, rest) = rest.split_at(rest.len().min(MAX_IO_DATA));
        }
    }
}

impl Message {
    /// Appends the record. A writer of many records of one connection uses an [`Encoder`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        Encoder::new(&self.connection_id).record(out, self.timestamp, self.channel_id, &self.payload);
    }
}

fn channel(out: &mut Vec<u8>, channel_id: Option<u64>) {
    out.extend_from_slice(CHANNEL_ID_KEY);
    match channel_id {
        Some(channel_id) => cbor::head(out, major::UNSIGNED, channel_id),
        None => out.push(NULL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn the_fast_path_writes_what_the_table_says() {
        let encoder = Encoder::new("0123456789abcdef0123456789abcdef");
        for (channel, stream) in
            [(Some(0), IoStream::Stdin), (Some(300), IoStream::Stdout), (None, IoStream::Stderr)]
        {
            let data = Bytes::from_static(b"hello \xff");
            let (mut fast, mut table) = (Vec::new(), Vec::new());
            encoder.io(&mut fast, 1_795_252_585_569_015_274, channel, stream, &data);
            encoder.record(&mut table, 1_795_252_585_569_015_274, channel, &Payload::Io { stream, data });
            assert_eq!(fast, table);
        }
    }

    #[test]
    fn data_of_any_length_is_cut_into_records_that_readers_take() {
        let encoder = Encoder::new("c");
        for (length, records) in
            [(0, 1), (1, 1), (MAX_IO_DATA, 1), (MAX_IO_DATA + 1, 2), (3 * MAX_IO_DATA, 3)]
        {
            let mut out = Vec::new();
            encoder.io(&mut out, 1, None, IoStream::Stdout, &vec![b'x'; length]);
            assert_eq!(out.iter().filter(|byte| **byte == b'x').count(), length);
            assert_eq!(
                out.windows(6).filter(|window| window == b"stream").count(),
                records,
                "{length} bytes"
            );
        }
    }
}
