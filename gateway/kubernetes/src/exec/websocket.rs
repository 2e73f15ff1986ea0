//! The client side of RFC 6455 on an upgraded connection: a pure push parser and a pure encoder.
//!
//! `tungstenite` parses and writes the headers. What is around them is ours, for three reasons that its message API
//! cannot serve:
//!
//! - **Streaming.** A message is handed on as its bytes arrive, so the memory that a peer can make us hold is our
//!   read buffer, whatever length its frame headers claim.
//! - **Halves.** Reading and writing share no state, so that a program which stops reading its input cannot hold up its
//!   own output.
//! - **Copies.** Received bytes are slices of the read buffer. Sent bytes are copied once, which masking
//!   (RFC 6455 section 5.3) makes unavoidable.

use std::io::Cursor;

use bytes::{Buf, Bytes, BytesMut};
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// RFC 6455 section 5.5: control frames carry at most this many bytes.
pub(crate) const MAX_CONTROL_PAYLOAD: u64 = 125;

/// Payloads up to this length are copied out of the read buffer: a slice would keep the whole buffer alive for a few
/// bytes while they wait, for instance to be recorded.
const COPY_LIMIT: usize = 1024;

/// What the peer did that RFC 6455 or the channel protocol forbids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProtocolError {
    #[error("a frame with a reserved bit or operation code")]
    Reserved,
    #[error("a masked frame from a server")]
    Masked,
    #[error("a control frame that is fragmented or longer than 125 bytes")]
    Control,
    #[error("a continuation of no message")]
    Continuation,
    #[error("a new message inside an unfinished one")]
    Interleaved,
    #[error("a text message in the binary protocol")]
    Text,
}

/// A piece of what the peer sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// Bytes of a message.
    Message {
        /// The message's first byte, which names the channel.
        channel: u8,
        /// The next bytes behind it; may be empty.
        data: Bytes,
        /// Whether the message is now complete.
        complete: bool,
    },
    /// A ping whose payload is to be sent back.
    Ping(Bytes),
    /// A pong.
    Pong,
    /// The closing handshake.
    Close,
}

/// The message that is being received, across its frames.
#[derive(Debug, Clone, Copy)]
struct Message {
    /// `None` until its first byte has come.
    channel: Option<u8>,
}

/// The frame that is being received.
#[derive(Debug, Clone, Copy)]
enum Frame {
    Data { remaining: u64, last: bool },
    Control { kind: ControlKind, length: usize },
}

#[derive(Debug, Clone, Copy)]
enum ControlKind {
    Ping,
    Pong,
    Close,
}

/// Turns received bytes into [`Event`]s. Feed [`Decoder::buffer`], then call [`Decoder::next`] until it has none.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    buffer: BytesMut,
    frame: Option<Frame>,
    message: Option<Message>,
}

impl Decoder {
    /// Where received bytes go.
    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The next event, or `None` if more bytes are needed.
    pub(crate) fn next(&mut self) -> Result<Option<Event>, ProtocolError> {
        loop {
            match self.frame {
                None => {
                    if !self.header()? {
                        return Ok(None);
                    }
                }
                Some(Frame::Control { kind, length }) => {
                    if self.buffer.len() < length {
                        return Ok(None);
                    }
                    let payload = Bytes::copy_from_slice(&self.buffer.split_to(length));
                    self.frame = None;
                    return Ok(Some(match kind {
                        ControlKind::Ping => Event::Ping(payload),
                        ControlKind::Pong => Event::Pong,
                        ControlKind::Close => Event::Close,
                    }));
                }
                Some(Frame::Data { remaining, last }) => match self.data(remaining, last) {
                    Step::Event(event) => return Ok(Some(event)),
                    Step::Again => {}
                    Step::NeedMore => return Ok(None),
                },
            }
        }
    }

    /// Parses a frame header; `false` if it is not complete yet.
    fn header(&mut self) -> Result<bool, ProtocolError> {
        let mut cursor = Cursor::new(&self.buffer[..]);
        let Some((header, length)) = FrameHeader::parse(&mut cursor).map_err(|_| ProtocolError::Reserved)?
        else {
            return Ok(false);
        };
        let parsed = usize::try_from(cursor.position()).unwrap_or(usize::MAX).min(self.buffer.len());
        self.buffer.advance(parsed);

        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(ProtocolError::Reserved);
        }
        if header.mask.is_some() {
            return Err(ProtocolError::Masked);
        }
        self.frame = Some(match header.opcode {
            OpCode::Control(control) => {
                if !header.is_final || length > MAX_CONTROL_PAYLOAD {
                    return Err(ProtocolError::Control);
                }
                let kind = match control {
                    Control::Ping => ControlKind::Ping,
                    Control::Pong => ControlKind::Pong,
                    Control::Close => ControlKind::Close,
                    Control::Reserved(_) => return Err(ProtocolError::Reserved),
                };
                Frame::Control { kind, length: usize::try_from(length).unwrap_or(0) }
            }
            OpCode::Data(data) => {
                match (data, self.message.is_some()) {
                    (Data::Binary, false) => self.message = Some(Message { channel: None }),
                    (Data::Continue, true) => {}
                    (Data::Continue, false) => return Err(ProtocolError::Continuation),
                    (Data::Binary | Data::Text, true) => return Err(ProtocolError::Interleaved),
                    (Data::Text, false) => return Err(ProtocolError::Text),
                    (Data::Reserved(_), _) => return Err(ProtocolError::Reserved),
                }
                Frame::Data { remaining: length, last: header.is_final }
            }
        });
        Ok(true)
    }

    fn data(&mut self, remaining: u64, last: bool) -> Step {
        let mut remaining = remaining;
        let channel = match self.message.and_then(|message| message.channel) {
            Some(channel) => channel,
            None if remaining == 0 => {
                // A frame without a byte. A whole message without one names no channel: it means nothing.
                self.frame = None;
                if last {
                    self.message = None;
                }
                return Step::Again;
            }
            None => {
                let Some(&channel) = self.buffer.first() else { return Step::NeedMore };
                self.buffer.advance(1);
                remaining -= 1;
                self.message = Some(Message { channel: Some(channel) });
                channel
            }
        };

        let available = usize::try_from(remaining).unwrap_or(usize::MAX).min(self.buffer.len());
        let data = if available <= COPY_LIMIT {
            let data = Bytes::copy_from_slice(self.buffer.get(..available).unwrap_or_default());
            self.buffer.advance(available);
            data
        } else {
            self.buffer.split_to(available).freeze()
        };
        remaining -= available as u64;

        let complete = remaining == 0 && last;
        self.frame = (remaining > 0).then_some(Frame::Data { remaining, last });
        if complete {
            self.message = None;
        }
        if data.is_empty() && !complete {
            return if remaining == 0 { Step::Again } else { Step::NeedMore };
        }
        Step::Event(Event::Message { channel, data, complete })
    }
}

enum Step {
    Event(Event),
    Again,
    NeedMore,
}

/// The most that [`encode_message`] and [`encode_control`] add to a payload: header, mask and channel byte.
pub(crate) const MAX_OVERHEAD: usize = 15;

/// Appends one binary message: the channel byte, then the pieces of its payload, `length` bytes together, masked with `mask`.
pub(crate) fn encode_message<'a>(
    out: &mut Vec<u8>,
    channel: u8,
    length: usize,
    payload: impl IntoIterator<Item = &'a [u8]>,
    mask: [u8; 4],
) {
    let start = begin(out, OpCode::Data(Data::Binary), length as u64 + 1, mask);
    out.push(channel);
    payload.into_iter().for_each(|piece| out.extend_from_slice(piece));
    debug_assert_eq!(out.len() - start, length + 1);
    apply_mask(out.get_mut(start..).unwrap_or_default(), mask);
}

/// A control frame of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ControlFrame {
    Ping,
    Pong,
    /// With status 1000, "normal closure" (RFC 6455 section 7.4.1).
    Close,
}

/// Appends one control frame. `payload` longer than 125 bytes is cut: nobody may send more, so nobody gets here with it.
pub(crate) fn encode_control(out: &mut Vec<u8>, kind: ControlFrame, payload: &[u8], mask: [u8; 4]) {
    const NORMAL_CLOSURE: [u8; 2] = 1000_u16.to_be_bytes();
    let (control, payload) = match kind {
        ControlFrame::Ping => (Control::Ping, payload),
        ControlFrame::Pong => (Control::Pong, payload),
        ControlFrame::Close => (Control::Close, &NORMAL_CLOSURE[..]),
    };
    let payload = payload.get(..MAX_CONTROL_PAYLOAD as usize).unwrap_or(payload);
    let start = begin(out, OpCode::Control(control), payload.len() as u64, mask);
    out.extend_from_slice(payload);
    apply_mask(out.get_mut(start..).unwrap_or_default(), mask);
}

/// Writes the header; returns where the payload starts.
fn begin(out: &mut Vec<u8>, opcode: OpCode, length: u64, mask: [u8; 4]) -> usize {
    let header =
        FrameHeader { is_final: true, rsv1: false, rsv2: false, rsv3: false, opcode, mask: Some(mask) };
    out.reserve(usize::try_from(length).unwrap_or(0) + MAX_OVERHEAD);
    // Writing to a vector cannot fail.
    let _ = header.format(length, out);
    out.len()
}

/// XOR with the repeated mask, eight bytes at a time: the compiler makes vector instructions of this loop.
fn apply_mask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut chunks = payload.chunks_exact_mut(8);
    for chunk in &mut chunks {
        if let Ok(bytes) = <[u8; 8]>::try_from(&*chunk) {
            chunk.copy_from_slice(&(u64::from_ne_bytes(bytes) ^ wide).to_ne_bytes());
        }
    }
    for (byte, mask) in chunks.into_remainder().iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio_tungstenite::tungstenite::{Message as Whole, WebSocket, protocol::Role};

    use super::*;

    fn server_frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        match payload.len() {
            length @ 0..=125 => frame.push(length as u8),
            length @ 126..=65535 => {
                frame.push(126);
                frame.extend_from_slice(&(length as u16).to_be_bytes());
            }
            length => {
                frame.push(127);
                frame.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        frame.extend_from_slice(payload);
        frame
    }

    /// Feeds in pieces of the given sizes, then joins what belongs to one message.
    fn decode(bytes: &[u8], pieces: &[usize]) -> Result<Vec<(u8, Vec<u8>)>, ProtocolError> {
        let mut decoder = Decoder::default();
        let mut messages = Vec::new();
        let mut current: Option<(u8, Vec<u8>)> = None;
        let mut rest = bytes;
        let mut sizes = pieces.iter().copied().chain(std::iter::repeat(usize::MAX));
        while !rest.is_empty() {
            let (piece, tail) = rest.split_at(sizes.next().unwrap().clamp(1, rest.len()));
            rest = tail;
            decoder.buffer().extend_from_slice(piece);
            while let Some(event) = decoder.next()? {
                if let Event::Message { channel, data, complete } = event {
                    let (_, bytes) = current.get_or_insert_with(|| (channel, Vec::new()));
                    bytes.extend_from_slice(&data);
                    if complete {
                        messages.extend(current.take());
                    }
                }
            }
        }
        Ok(messages)
    }

    #[test]
    fn a_message_split_into_frames_keeps_the_channel_of_its_first_byte() {
        let mut bytes = server_frame(0x02, b"\x01hel");
        bytes.extend(server_frame(0x89, b"ping inside a message"));
        bytes.extend(server_frame(0x00, b""));
        bytes.extend(server_frame(0x80, b"lo"));
        assert_eq!(decode(&bytes, &[]).unwrap(), vec![(1, b"hello".to_vec())]);
    }

    #[test]
    fn bytes_are_handed_on_before_their_message_is_complete() {
        let mut decoder = Decoder::default();
        decoder.buffer().extend_from_slice(&[0x82, 127, 0, 0, 1, 0, 0, 0, 0, 0, 1, b'a', b'b']);
        let event = decoder.next().unwrap();
        assert_eq!(
            event,
            Some(Event::Message { channel: 1, data: Bytes::from_static(b"ab"), complete: false })
        );
        assert_eq!(decoder.next().unwrap(), None);
        assert!(decoder.buffer().capacity() < 1 << 16, "a claimed length allocates nothing");
    }

    #[test]
    fn a_ping_carries_its_payload_and_a_close_is_seen() {
        let mut decoder = Decoder::default();
        decoder.buffer().extend_from_slice(&server_frame(0x89, b"xyz"));
        decoder.buffer().extend_from_slice(&server_frame(0x88, &[3, 232]));
        assert_eq!(decoder.next().unwrap(), Some(Event::Ping(Bytes::from_static(b"xyz"))));
        assert_eq!(decoder.next().unwrap(), Some(Event::Close));
        assert_eq!(decoder.next().unwrap(), None);
    }

    #[test]
    fn what_rfc_6455_forbids_is_an_error() {
        for (frame, error) in [
            (server_frame(0xC2, b"\x01"), ProtocolError::Reserved),
            (server_frame(0x83, b"\x01"), ProtocolError::Reserved),
            (server_frame(0x81, b"\x01"), ProtocolError::Text),
            (server_frame(0x80, b"\x01"), ProtocolError::Continuation),
            (server_frame(0x09, b""), ProtocolError::Control),
            (server_frame(0x89, &[0; 126]), ProtocolError::Control),
            ([server_frame(0x02, b"\x01"), server_frame(0x82, b"\x01")].concat(), ProtocolError::Interleaved),
            (vec![0x82, 0x81, 1, 2, 3, 4, 5], ProtocolError::Masked),
        ] {
            assert_eq!(decode(&frame, &[]).unwrap_err(), error);
        }
    }

    #[test]
    fn a_pong_longer_than_the_limit_is_cut() {
        let mut out = Vec::new();
        encode_control(&mut out, ControlFrame::Pong, &[7; 300], [0; 4]);
        assert_eq!(out.len(), 2 + 4 + 125);
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_messages(
            messages in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..3000), 1_usize..4), 0..8),
            pieces in prop::collection::vec(1_usize..2000, 0..40),
        ) {
            let mut bytes = Vec::new();
            for (channel, payload, frames) in &messages {
                let whole: Vec<u8> = std::iter::once(*channel).chain(payload.iter().copied()).collect();
                let parts: Vec<&[u8]> = whole.chunks(whole.len().div_ceil(*frames)).collect();
                for (index, part) in parts.iter().enumerate() {
                    let opcode = if index == 0 { 0x02 } else { 0x00 };
                    let fin = if index + 1 == parts.len() { 0x80 } else { 0 };
                    bytes.extend(server_frame(opcode | fin, part));
                }
            }
            let expected: Vec<(u8, Vec<u8>)> = messages.into_iter().map(|(channel, payload, _)| (channel, payload)).collect();
            prop_assert_eq!(decode(&bytes, &pieces).unwrap(), expected);
        }

        #[test]
        fn arbitrary_bytes_never_panic_and_never_grow(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
            let mut decoder = Decoder::default();
            decoder.buffer().extend_from_slice(&bytes);
            let mut received = 0;
            while let Ok(Some(event)) = decoder.next() {
                if let Event::Message { data, .. } = event {
                    received += data.len();
                }
            }
            prop_assert!(received <= bytes.len());
            prop_assert!(decoder.buffer().capacity() <= 8192);
        }

        #[test]
        fn a_server_reads_what_we_encode(
            messages in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..70_000)), 1..4),
            mask in any::<[u8; 4]>(),
        ) {
            let mut out = Vec::new();
            for (channel, payload) in &messages {
                encode_message(&mut out, *channel, payload.len(), [payload.as_slice()], mask);
            }
            encode_control(&mut out, ControlFrame::Close, &[], mask);
            let mut peer = WebSocket::from_raw_socket(Cursor::new(out), Role::Server, None);
            for (channel, payload) in &messages {
                let expected: Vec<u8> = std::iter::once(*channel).chain(payload.iter().copied()).collect();
                prop_assert_eq!(peer.read().unwrap(), Whole::Binary(expected.into()));
            }
            prop_assert!(matches!(peer.read().unwrap(), Whole::Close(Some(frame)) if u16::from(frame.code) == 1000));
        }
    }
}
