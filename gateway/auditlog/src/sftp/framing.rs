//! Packets from a stream that is cut anywhere.
//!
//! Only the start of a packet is ever held: all of it for requests and answers that can be understood at all, nothing but
//! the fields before the data for the two kinds that carry a file's content. The content itself passes through as it
//! comes, so that neither its length nor what its length field claims costs memory.

use super::wire::kind;
use crate::message::IoStream;

/// The longest packet without a file's content, in bytes: OpenSSH's client and server give up at longer ones
/// (`SFTP_MAX_MSG_LENGTH`).
const MAX_PACKET: u32 = 256 << 10;
/// The longest packet with a file's content, in bytes. OpenSSH's are below 256 KiB, some servers offer 4 MiB through
/// `limits@openssh.com`; with fields before the content. More is no SFTP.
const MAX_DATA_PACKET: u32 = (4 << 20) + 4096;
/// Bytes kept of a packet: several paths as long as a system takes them, with room for attributes. What is behind
/// (the entries of a large directory, which are only counted) is skipped.
const KEPT: usize = 32 << 10;
/// The longest handle, in bytes (draft section 6.3: "MUST NOT exceed 256 bytes").
const MAX_HANDLE: usize = 256;
/// Kept buffers above this size are given back when a packet is done, in bytes.
const LASTING: usize = 1 << 10;
/// Length and type.
const PREFIX: usize = 5;

/// What comes next in a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// A packet without file content: its type and what follows it, up to [`KEPT`] bytes.
    Packet { kind: u8, body: &'a [u8], at: u64 },
    /// A packet with file content begins: its type, the fields before the content, and the content's length.
    DataStart { kind: u8, head: &'a [u8], length: u32, at: u64 },
    /// Content.
    Data(&'a [u8]),
    /// The content is over.
    DataEnd,
    /// A packet with file content whose fields contradict each other. It is skipped.
    Malformed { kind: u8, at: u64 },
    /// Nothing more can be understood from here on. Comes once.
    Lost { at: u64, reason: String },
}

#[derive(Debug)]
enum State {
    /// Before a packet, or within its length and type.
    Prefix,
    /// Fields: `want` bytes of them make a piece; `left` bytes of the packet are still to come, these included.
    Fields {
        kind: u8,
        want: usize,
        left: u32,
    },
    /// Content: `data` bytes of it, then `skip` bytes that mean nothing.
    Data {
        data: u32,
        skip: u32,
    },
    Skip {
        left: u32,
    },
    Lost,
}

/// Cuts one direction into packets.
#[derive(Debug)]
pub(super) struct Framing {
    stream: IoStream,
    state: State,
    /// Part of the prefix or of the fields, from earlier pushes.
    held: Vec<u8>,
    /// `held` has been handed out and is to be cleared.
    used: bool,
    /// Bytes taken so far.
    taken: u64,
    /// Where the present packet starts.
    packet_at: u64,
    first: bool,
}

impl Framing {
    pub(super) fn new(stream: IoStream) -> Self {
        let (held, state) = (Vec::new(), State::Prefix);
        Self { stream, state, held, used: false, taken: 0, packet_at: 0, first: true }
    }

    /// Bytes taken so far.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Where an unfinished packet starts, if there is one.
    pub(super) fn unfinished(&self) -> Option<u64> {
        let within = match self.state {
            State::Prefix => !self.held.is_empty() && !self.used,
            State::Lost => false,
            _ => true,
        };
        within.then_some(self.packet_at)
    }

    /// The next piece of `input`, which is shortened by what has been taken; `None` when more is needed.
    pub(super) fn next<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Option<Piece<'a>> {
        if std::mem::take(&mut self.used) {
            self.held.clear();
            if self.held.capacity() > LASTING {
                self.held = Vec::new();
            }
        }
        loop {
            match self.state {
                State::Lost => {
                    self.skip(input, usize::MAX);
                    return None;
                }
                State::Skip { left } => {
                    let skipped = self.skip(input, left as usize);
                    let left = left.saturating_sub(skipped);
                    self.state = if left == 0 { State::Prefix } else { State::Skip { left } };
                    if left > 0 {
                        return None;
                    }
                }
                State::Data { data: 0, skip } => {
                    self.state = State::Skip { left: skip };
                    return Some(Piece::DataEnd);
                }
                State::Data { data, skip } => {
                    let piece = split_front(input, data as usize);
                    if piece.is_empty() {
                        return None;
                    }
                    self.taken += piece.len() as u64;
                    // No longer than `data`, so it fits.
                    let left = data.saturating_sub(u32::try_from(piece.len()).unwrap_or(data));
                    self.state = State::Data { data: left, skip };
                    return Some(Piece::Data(piece));
                }
                State::Prefix => {
                    if input.is_empty() {
                        return None;
                    }
                    if self.held.is_empty() {
                        self.packet_at = self.taken;
                    }
                    let missing = PREFIX - self.held.len().min(PREFIX);
                    let part = split_front(input, missing);
                    self.taken += part.len() as u64;
                    self.held.extend_from_slice(part);
                    let &[a, b, c, d, kind] = self.held.first_chunk::<PREFIX>()?;
                    self.held.clear();
                    if let Err(reason) = self.begin(u32::from_be_bytes([a, b, c, d]), kind) {
                        self.state = State::Lost;
                        return Some(Piece::Lost { at: self.packet_at, reason });
                    }
                }
                State::Fields { kind, want, left } => {
                    if self.held.is_empty() && input.len() >= want {
                        // The usual case: all in one piece, nothing is copied.
                        let fields = input.get(..want).unwrap_or_default();
                        match self.fields(kind, fields, left) {
                            Next::Want(more) => self.state = State::Fields { kind, want: more, left },
                            Next::Piece(state, made) => {
                                self.taken += split_front(input, want).len() as u64;
                                self.state = state;
                                return Some(made.piece(kind, fields, self.packet_at));
                            }
                        }
                        continue;
                    }
                    let missing = want.saturating_sub(self.held.len());
                    let part = split_front(input, missing);
                    self.taken += part.len() as u64;
                    self.held.extend_from_slice(part);
                    if self.held.len() < want {
                        return None;
                    }
                    match self.fields(kind, &self.held, left) {
                        Next::Want(more) => self.state = State::Fields { kind, want: more, left },
                        Next::Piece(state, made) => {
                            self.state = state;
                            self.used = true;
                            return Some(made.piece(kind, &self.held, self.packet_at));
                        }
                    }
                }
            }
        }
    }

    fn skip(&mut self, input: &mut &[u8], length: usize) -> u32 {
        let skipped = split_front(input, length).len();
        self.taken += skipped as u64;
        u32::try_from(skipped).unwrap_or(u32::MAX)
    }

    fn carries_data(&self, kind: u8) -> bool {
        match self.stream {
            IoStream::Stdin => kind == kind::WRITE,
            _ => kind == kind::DATA,
        }
    }

    /// Length and type are known: what of the packet is wanted first.
    fn begin(&mut self, length: u32, kind: u8) -> Result<(), String> {
        let hello = if self.stream == IoStream::Stdin { kind::INIT } else { kind::VERSION };
        if std::mem::take(&mut self.first) && (kind != hello || length > MAX_PACKET || length == 0) {
            let start = crate::text::lossy(&[&length.to_be_bytes()[..], &[kind]].concat());
            return Err(format!(
                "this is not SFTP: it starts with {start:?} instead of a version (does the shell print something?)"
            ));
        }
        let data = self.carries_data(kind);
        let most = if data { MAX_DATA_PACKET } else { MAX_PACKET };
        if length == 0 || length > most {
            return Err(format!(
                "a packet of type {kind} that claims {length} bytes; at most {most} are possible"
            ));
        }
        // The type has been taken.
        let left = length - 1;
        // Of those with content first the id and a length: the handle's or the content's.
        let most = if data { 8 } else { KEPT };
        self.state = State::Fields { kind, want: most.min(left as usize), left };
        Ok(())
    }

    /// What `fields`, the start of a packet of which `left` bytes come in all after its type, amount to.
    fn fields(&self, kind: u8, fields: &[u8], left: u32) -> Next {
        let rest = left.saturating_sub(u32::try_from(fields.len()).unwrap_or(u32::MAX));
        let malformed = Next::Piece(State::Skip { left: rest }, Made::Malformed);
        if !self.carries_data(kind) {
            return Next::Piece(State::Skip { left: rest }, Made::Packet);
        }
        let number = |at: usize| {
            let bytes = fields.get(at..)?.first_chunk::<4>()?;
            Some(u32::from_be_bytes(*bytes))
        };
        let length = match kind {
            kind::WRITE => {
                let Some(handle) = number(4).map(|length| length as usize).filter(|l| *l <= MAX_HANDLE)
                else {
                    return malformed;
                };
                // Id, the handle with its length, the offset, the content's length.
                let want = 4 + 4 + handle + 8 + 4;
                if fields.len() < want {
                    return if want <= left as usize { Next::Want(want) } else { malformed };
                }
                number(want - 4)
            }
            _ => number(4),
        };
        match length {
            Some(length) if length <= rest => {
                Next::Piece(State::Data { data: length, skip: rest - length }, Made::Data(length))
            }
            _ => malformed,
        }
    }
}

enum Next {
    /// So many bytes of fields are needed.
    Want(usize),
    Piece(State, Made),
}

enum Made {
    Packet,
    Data(u32),
    Malformed,
}

impl Made {
    fn piece(self, kind: u8, fields: &[u8], at: u64) -> Piece<'_> {
        match self {
            Self::Packet => Piece::Packet { kind, body: fields, at },
            Self::Data(length) => Piece::DataStart { kind, head: fields, length, at },
            Self::Malformed => Piece::Malformed { kind, at },
        }
    }
}

fn split_front<'a>(input: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (front, rest) = input.split_at(length.min(input.len()));
    *input = rest;
    front
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(stream: IoStream, chunks: &[&[u8]]) -> Vec<String> {
        let mut framing = Framing::new(stream);
        let mut seen = Vec::new();
        for chunk in chunks {
            let mut rest = *chunk;
            while let Some(piece) = framing.next(&mut rest) {
                seen.push(format!("{piece:?}"));
            }
            assert!(rest.is_empty());
        }
        seen
    }

    const HELLO: [u8; 9] = [0, 0, 0, 5, 1, 0, 0, 0, 3];

    #[test]
    fn a_length_beyond_the_limit_ends_the_stream_at_its_packet() {
        let seen = pieces(IoStream::Stdin, &[&HELLO, &[0xff, 0xff, 0xff, 0xff, 3], &[1, 2, 3]]);
        assert_eq!(seen.len(), 2);
        assert!(seen[1].starts_with("Lost { at: 9,"), "{seen:?}");
    }

    #[test]
    fn text_in_front_of_the_first_packet_is_named() {
        let seen = pieces(IoStream::Stdout, &[b"Welcome to bash"]);
        assert!(seen[0].contains("it starts with \\\"Welco\\\""), "{seen:?}");
    }

    #[test]
    fn content_that_claims_more_than_its_packet_is_skipped_and_the_next_packet_read() {
        // DATA: type, id, length 100 with one byte in the packet; then a status.
        let data = [0, 0, 0, 10, 103, 0, 0, 0, 1, 0, 0, 0, 100, 7];
        let status = [0, 0, 0, 9, 101, 0, 0, 0, 2, 0, 0, 0, 0];
        let hello = [0, 0, 0, 5, 2, 0, 0, 0, 3];
        let seen = pieces(IoStream::Stdout, &[&hello, &data, &status]);
        assert!(seen[1].starts_with("Malformed { kind: 103, at: 9"), "{seen:?}");
        assert!(seen[2].starts_with("Packet { kind: 101"), "{seen:?}");
    }
}
