//! Bytes of one channel on their way into messages, whatever pieces they came in.
//!
//! What a message costs on its way (three processes take it apart and put it together again) hardly depends on its
//! length, so a client that sends small packets must not cause small messages; and messages that end in the middle of a
//! TLS record are read in more steps than those that fill theirs. So bytes are gathered into messages of [`FULL`] bytes
//! while more of them wait. Only what is left behind a full message, which is the middle of a flow, may be kept a moment for
//! what follows it ([`Gather::flows`]): else each time the queue runs empty costs one more message.

use std::collections::VecDeque;

use bytes::Bytes;

use super::websocket::encode_message;

/// Payload of a full message: with header (4 bytes), mask (4) and channel byte it is 32 KiB, two full TLS records. Also no more
/// than what the API server, the kubelet and containerd copy at a time.
pub(super) const FULL: usize = 32 * 1024 - 9;

/// See the module's description.
#[derive(Debug, Default)]
pub(super) struct Gather {
    channel: u8,
    pieces: VecDeque<Bytes>,
    length: usize,
    /// A full message has been made since the last [`Gather::finish`].
    full: bool,
}

impl Gather {
    /// Adds bytes for a channel, and appends the messages that are complete with them to `out`.
    pub(super) fn add(&mut self, channel: u8, data: Bytes, out: &mut Vec<u8>) {
        if channel != self.channel {
            self.finish(out);
            self.channel = channel;
        }
        self.length += data.len();
        self.pieces.push_back(data);
        while self.length >= FULL {
            self.emit(FULL, out);
            self.full = true;
        }
    }

    /// Whether there are bytes left behind a full message.
    pub(super) fn flows(&self) -> bool {
        self.full && self.length > 0
    }

    /// Appends what is left as a message.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        if self.length > 0 {
            self.emit(self.length, out);
        }
        self.full = false;
    }

    /// Appends the first `length` bytes as a message.
    fn emit(&mut self, length: usize, out: &mut Vec<u8>) {
        let mut rest = length;
        let mut message = Vec::with_capacity(self.pieces.len());
        while rest > 0
            && let Some(mut piece) = self.pieces.pop_front()
        {
            if piece.len() > rest {
                self.pieces.push_front(piece.split_off(rest));
            }
            rest -= piece.len();
            message.push(piece);
        }
        self.length -= length;
        encode_message(out, self.channel, length, message.iter().map(AsRef::as_ref), rand::random());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Channel and payload of each message.
    fn messages(mut wire: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let mut found = Vec::new();
        while let [0x82, length, rest @ ..] = wire {
            let (length, rest) = match length & 0x7f {
                126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
                length => (usize::from(length), rest),
            };
            let (mask, rest) = rest.split_at(4);
            let (payload, rest) = rest.split_at(length);
            let payload: Vec<u8> =
                payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
            found.push((payload[0], payload[1..].to_vec()));
            wire = rest;
        }
        assert!(wire.is_empty());
        found
    }

    #[test]
    fn a_full_message_fills_two_tls_records() {
        let (mut gather, mut out) = (Gather::default(), Vec::new());
        gather.add(0, vec![7; FULL].into(), &mut out);
        assert_eq!(out.len(), 2 * 16 * 1024);
        gather.finish(&mut out);
        assert_eq!(messages(&out), [(0, vec![7; FULL])]);
    }

    #[test]
    fn what_is_left_behind_a_full_message_is_the_middle_of_a_flow() {
        let (mut gather, mut out) = (Gather::default(), Vec::new());
        gather.add(0, vec![7; 10].into(), &mut out);
        assert!(!gather.flows(), "a keystroke waits for nothing");
        gather.add(0, vec![7; FULL].into(), &mut out);
        assert!(gather.flows());
        gather.finish(&mut out);
        gather.add(0, vec![7; 10].into(), &mut out);
        assert!(!gather.flows());
        assert_eq!(messages(&out).len(), 2);
    }

    #[test]
    fn what_another_channel_says_keeps_its_place() {
        let (mut gather, mut out) = (Gather::default(), Vec::new());
        for (channel, data) in [(0, "a"), (0, "b"), (255, "end"), (0, "c")] {
            gather.add(channel, data.into(), &mut out);
        }
        gather.finish(&mut out);
        assert_eq!(messages(&out), [(0, b"ab".to_vec()), (255, b"end".to_vec()), (0, b"c".to_vec())]);
    }

    proptest! {
        #[test]
        fn bytes_arrive_in_order_in_full_messages_whatever_pieces_they_came_in(
            lengths in proptest::collection::vec(1_usize..100_000, 0..12),
        ) {
            let (mut gather, mut out, mut sent) = (Gather::default(), Vec::new(), Vec::new());
            for (number, length) in lengths.into_iter().enumerate() {
                let piece: Vec<u8> = (0..length).map(|at| (at * 31 + number) as u8).collect();
                sent.extend_from_slice(&piece);
                gather.add(0, piece.into(), &mut out);
            }
            gather.finish(&mut out);
            let messages = messages(&out);
            let full = messages.len().saturating_sub(1);
            prop_assert!(messages.iter().take(full).all(|(_, payload)| payload.len() == FULL));
            let arrived: Vec<u8> = messages.into_iter().flat_map(|(_, payload)| payload).collect();
            prop_assert_eq!(arrived, sent);
        }
    }
}
