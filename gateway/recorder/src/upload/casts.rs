//! Format `asciinema`: the casts of a record's session channels.
//!
//! The record in the spool stays the truth; casts are made from it when it is delivered, in the same way each time, so
//! that a delivery which is tried again finds what it has already stored. Nothing is kept on disk: text may be many times
//! as large as the record, and the spool's limit is for records. A pass over the record yields the casts of a few channels;
//! those that are small are kept whole, of large ones only their length, and they are made again as they are sent.
//!
//! What the user typed is in the cast if it is in the record: `audit.intercept.stdin` decides.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use containerssh_auditlog::asciicast::Cast;
use containerssh_auditlog::{DecodeError, Decoder, Message, Payload};

use super::content::Content;

/// Channels per pass. Connections with more than a few are rare, and each holds [`SMALL`] bytes at most.
const GROUP: usize = 64;

/// A cast that is no longer is kept in memory.
const SMALL: usize = 64 * 1024;

/// Some of a record's casts.
#[derive(Debug)]
pub(crate) struct Group {
    /// By channel, in order.
    pub(crate) casts: Vec<(u64, Content)>,
    /// The channel after which the next group begins; `None` after the last.
    pub(crate) next: Option<u64>,
}

/// One channel during a pass.
#[derive(Debug)]
struct Making {
    cast: Cast,
    /// A program was started, or something was read or written.
    used: bool,
    /// It forwards a connection: no session.
    forwards: bool,
    bytes: u64,
    text: Vec<u8>,
}

/// Makes the casts of the first channels whose id is greater than `after`. Blocks for one pass over the record.
pub(crate) fn group(record: &Path, after: Option<u64>) -> io::Result<Group> {
    let mut making: BTreeMap<u64, Making> = BTreeMap::new();
    let mut more = false;
    each_message(record, |message| {
        let Some(channel) = message.channel_id.filter(|id| after.is_none_or(|after| *id > after)) else {
            return;
        };
        if !making.contains_key(&channel) && making.len() >= GROUP {
            more = true;
            // The lowest ids are this pass's, whatever the order in which they come.
            if making.last_key_value().is_none_or(|(last, _)| channel > *last) {
                return;
            }
            let _for_the_next_pass = making.pop_last();
        }
        making.entry(channel).or_insert_with(|| Making::new(channel)).take(&message);
    })?;
    let next = making.last_key_value().map(|(last, _)| *last).filter(|_| more);
    let casts = making
        .into_iter()
        .filter(|(_, making)| making.used && !making.forwards)
        .map(|(channel, making)| (channel, making.finish(record, channel)))
        .collect();
    Ok(Group { casts, next })
}

impl Making {
    fn new(channel: u64) -> Self {
        Self { cast: Cast::new(channel, true), used: false, forwards: false, bytes: 0, text: Vec::new() }
    }

    fn take(&mut self, message: &Message) {
        match &message.payload {
            Payload::ChannelRequestExec { .. }
            | Payload::ChannelRequestShell { .. }
            | Payload::ChannelRequestSubsystem { .. }
            | Payload::Io { .. } => self.used = true,
            Payload::NewChannel { channel_type } => self.forwards = channel_type != "session",
            Payload::NewForwardChannel { .. }
            | Payload::NewReverseForwardChannel { .. }
            | Payload::NewReverseX11ForwardChannel { .. }
            | Payload::NewForwardStreamLocalChannel { .. }
            | Payload::NewReverseStreamLocalChannel { .. } => self.forwards = true,
            _ => {}
        }
        let before = self.text.len();
        self.cast.push(message, &mut self.text);
        self.count(before);
    }

    /// Counts what was added, and forgets the text once it is too long to be kept.
    fn count(&mut self, before: usize) {
        self.bytes += (self.text.len() - before) as u64;
        if self.bytes > SMALL as u64 {
            self.text = Vec::new();
        }
    }

    fn finish(mut self, record: &Path, channel: u64) -> Content {
        let before = self.text.len();
        self.cast.finish(&mut self.text);
        self.count(before);
        if self.bytes > SMALL as u64 {
            Content::Cast { record: record.to_owned(), channel, bytes: self.bytes }
        } else {
            Content::Memory(self.text.into())
        }
    }
}

fn each_message(record: &Path, mut each: impl FnMut(Message)) -> io::Result<()> {
    for message in open(record)? {
        match message {
            Ok(message) => each(message),
            Err(DecodeError::Io(error)) => return Err(error),
            // What is damaged is left out of the cast, as it would be by the tool.
            Err(_) => {}
        }
    }
    Ok(())
}

fn open(record: &Path) -> io::Result<Decoder<BufReader<File>>> {
    let file = BufReader::new(File::open(record)?);
    Decoder::new(file).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Makes a cast as it is read.
#[derive(Debug)]
pub(crate) struct CastReader {
    decoder: Decoder<BufReader<File>>,
    cast: Cast,
    text: Vec<u8>,
    /// Up to where the text was handed out.
    read: usize,
    ended: bool,
}

impl CastReader {
    pub(crate) fn open(record: &Path, channel: u64) -> io::Result<Self> {
        let (decoder, cast) = (open(record)?, Cast::new(channel, true));
        Ok(Self { decoder, cast, text: Vec::new(), read: 0, ended: false })
    }
}

impl Read for CastReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.read == self.text.len() && !self.ended {
            self.text.clear();
            self.read = 0;
            match self.decoder.next() {
                Some(Ok(message)) => self.cast.push(&message, &mut self.text),
                Some(Err(DecodeError::Io(error))) => return Err(error),
                Some(Err(_)) => {}
                None => {
                    self.cast.finish(&mut self.text);
                    self.ended = true;
                }
            }
        }
        let length = self.text.get(self.read..).unwrap_or_default().read(out)?;
        self.read += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use containerssh_auditlog::member::{self, Scratch};
    use containerssh_auditlog::{Encoder, IoStream, Version, encode, header};

    use super::*;

    /// A finished record of these messages.
    fn record(messages: &[(Option<u64>, Payload)]) -> tempfile::NamedTempFile {
        let mut content = Vec::new();
        encode::open(&mut content);
        let encoder = Encoder::new("c");
        for (number, (channel, payload)) in messages.iter().enumerate() {
            encoder.record(&mut content, 1_000_000_000 * number as u64, *channel, payload);
        }
        encode::close(&mut content);
        let mut file = header(Version::V1).to_vec();
        member::compress(&content, &mut file, &mut Scratch::new());
        let named = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(named.path(), file).unwrap();
        named
    }

    fn shell(channel: u64, output: Bytes) -> [(Option<u64>, Payload); 2] {
        [
            (Some(channel), Payload::ChannelRequestShell { request_id: 0 }),
            (Some(channel), Payload::Io { stream: IoStream::Stdout, data: output }),
        ]
    }

    fn text(content: &Content) -> String {
        let mut text = String::new();
        content.open().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text.len() as u64, content.size().unwrap());
        text
    }

    #[test]
    fn every_session_channel_has_a_cast_and_nothing_else_has() {
        let mut messages = vec![(None, Payload::Close), (Some(9), Payload::Close)];
        messages.extend(shell(3, Bytes::from_static(b"three")));
        messages.extend(shell(0, Bytes::from_static(b"zero")));
        let record = record(&messages);
        let group = group(record.path(), None).unwrap();
        assert_eq!(group.casts.iter().map(|(channel, _)| *channel).collect::<Vec<_>>(), [0, 3]);
        assert!(text(&group.casts[0].1).ends_with("\"o\",\"zero\"]\n"));
        assert_eq!(group.next, None);
    }

    #[test]
    fn a_long_cast_is_made_as_it_is_read_and_is_the_same() {
        let output = Bytes::from(vec![b'x'; 30_000]);
        let mut messages = Vec::new();
        for _ in 0..5 {
            messages.extend(shell(1, output.clone()));
            messages.extend(shell(2, Bytes::from_static(b"other")));
        }
        let record = record(&messages);
        let group = group(record.path(), None).unwrap();
        let (_, long) = &group.casts[0];
        assert!(matches!(long, Content::Cast { bytes: 150_000.., .. }), "{long:?}");
        assert_eq!(text(long).matches('x').count(), 150_000);
        assert!(matches!(group.casts[1].1, Content::Memory(_)));
    }

    #[test]
    fn any_number_of_channels_comes_in_groups_and_none_is_left_out() {
        let channels = GROUP as u64 * 2 + 7;
        let mut messages = Vec::new();
        // Not in order, and twice each.
        for channel in (0..channels).rev().chain(0..channels) {
            messages.extend(shell(channel, Bytes::from(format!("<{channel}>"))));
        }
        let record = record(&messages);
        let (mut after, mut seen) = (None, Vec::new());
        loop {
            let group = group(record.path(), after).unwrap();
            assert!(group.casts.len() <= GROUP);
            for (channel, content) in &group.casts {
                assert_eq!(text(content).matches(&format!("<{channel}>")).count(), 2);
                seen.push(*channel);
            }
            after = group.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, (0..channels).collect::<Vec<_>>());
    }
}
