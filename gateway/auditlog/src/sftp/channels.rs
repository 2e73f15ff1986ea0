//! Which channels of a connection move files, and in which protocol.

use std::collections::BTreeMap;

use super::event::FileEvent;
use super::observer::{Chunk, Observer};
use super::scp::{ScpCommand, ScpDecoder};
use super::{Options, SftpDecoder};
use crate::message::IoStream;
use crate::payload::Payload;

/// Channels that are followed at once. OpenSSH's server allows 10 sessions; a forged log must not fill the memory.
const MAX_CHANNELS: usize = 256;

/// The decoder for one channel.
#[derive(Debug)]
pub enum FileDecoder {
    /// SFTP.
    Sftp(Box<SftpDecoder>),
    /// The protocol of rcp.
    Scp(Box<ScpDecoder>),
}

impl FileDecoder {
    /// The decoder for a subsystem; `None` if it moves no files that are understood here.
    #[must_use]
    pub fn for_subsystem(name: &str, options: Options) -> Option<Self> {
        (name == "sftp").then(|| Self::Sftp(Box::new(SftpDecoder::new(options))))
    }

    /// The decoder for a command: `scp -t` and `scp -f` as scp clients start them, and sftp-server started by hand.
    #[must_use]
    pub fn for_command(command: &str, options: Options) -> Option<Self> {
        if let Some(command) = ScpCommand::parse(command) {
            return Some(Self::Scp(Box::new(ScpDecoder::new(command, options))));
        }
        let program = command.split_ascii_whitespace().next()?;
        let name = program.rsplit('/').next()?;
        matches!(name, "sftp-server" | "internal-sftp")
            .then(|| Self::Sftp(Box::new(SftpDecoder::new(options))))
    }

    /// The decoder for what a channel request starts.
    #[must_use]
    pub fn for_request(payload: &Payload, options: Options) -> Option<Self> {
        match payload {
            Payload::ChannelRequestSubsystem { subsystem, .. } => Self::for_subsystem(subsystem, options),
            Payload::ChannelRequestExec { program, .. } => Self::for_command(program, options),
            _ => None,
        }
    }

    /// See [`SftpDecoder::push`].
    pub fn push(&mut self, stream: IoStream, data: &[u8], timestamp: u64, observer: &mut impl Observer) {
        match self {
            Self::Sftp(decoder) => decoder.push(stream, data, timestamp, observer),
            Self::Scp(decoder) => decoder.push(stream, data, timestamp, observer),
        }
    }

    /// See [`SftpDecoder::finish`].
    pub fn finish(&mut self, timestamp: u64, observer: &mut impl Observer) {
        match self {
            Self::Sftp(decoder) => decoder.finish(timestamp, observer),
            Self::Scp(decoder) => decoder.finish(timestamp, observer),
        }
    }
}

/// An [`Observer`] of all channels of a connection.
pub trait ChannelObserver {
    /// Something happened.
    fn event(&mut self, channel: u64, event: FileEvent);

    /// Bytes of a file pass.
    fn data(&mut self, channel: u64, chunk: Chunk<'_>) {
        let _ = (channel, chunk);
    }
}

impl<F: FnMut(u64, FileEvent)> ChannelObserver for F {
    fn event(&mut self, channel: u64, event: FileEvent) {
        self(channel, event);
    }
}

struct Of<'a, O> {
    channel: u64,
    observer: &'a mut O,
}

impl<O: ChannelObserver> Observer for Of<'_, O> {
    fn event(&mut self, event: FileEvent) {
        self.observer.event(self.channel, event);
    }

    fn data(&mut self, chunk: Chunk<'_>) {
        self.observer.data(self.channel, chunk);
    }
}

/// Follows the files of all channels of a connection through its records.
#[derive(Debug, Default)]
pub struct Channels {
    options: Options,
    followed: BTreeMap<u64, FileDecoder>,
}

impl Channels {
    /// For the records of one connection.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options, followed: BTreeMap::new() }
    }

    /// Whether a channel moves files.
    #[must_use]
    pub fn follows(&self, channel: u64) -> bool {
        self.followed.contains_key(&channel)
    }

    /// Takes in one record.
    pub fn push(
        &mut self,
        channel: Option<u64>,
        timestamp: u64,
        payload: &Payload,
        observer: &mut impl ChannelObserver,
    ) {
        let Some(channel) = channel else {
            if matches!(payload, Payload::Disconnect) {
                self.finish(timestamp, observer);
            }
            return;
        };
        match payload {
            Payload::Io { stream, data } => {
                if let Some(decoder) = self.followed.get_mut(&channel) {
                    decoder.push(*stream, data, timestamp, &mut Of { channel, observer });
                }
            }
            Payload::Close => {
                if let Some(mut decoder) = self.followed.remove(&channel) {
                    decoder.finish(timestamp, &mut Of { channel, observer });
                }
            }
            // A channel runs one program: what is asked for later is refused.
            request if !self.followed.contains_key(&channel) => {
                let Some(decoder) = FileDecoder::for_request(request, self.options) else { return };
                if self.followed.len() >= MAX_CHANNELS
                    && let Some((channel, mut oldest)) = self.followed.pop_first()
                {
                    oldest.finish(timestamp, &mut Of { channel, observer });
                }
                self.followed.insert(channel, decoder);
            }
            _ => {}
        }
    }

    /// The record ends: what was under way is reported as such.
    pub fn finish(&mut self, timestamp: u64, observer: &mut impl ChannelObserver) {
        while let Some((channel, mut decoder)) = self.followed.pop_first() {
            decoder.finish(timestamp, &mut Of { channel, observer });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_that_move_files_are_known_by_their_names() {
        let options = Options::default();
        let kind = |command| match FileDecoder::for_command(command, options) {
            Some(FileDecoder::Sftp(_)) => "sftp",
            Some(FileDecoder::Scp(_)) => "scp",
            None => "none",
        };
        for (command, expected) in [
            ("scp -t /tmp", "scp"),
            ("/usr/bin/scp -v -r -f -- 'a b'", "scp"),
            ("scp a b:", "none"),
            ("/usr/lib/openssh/sftp-server -e", "sftp"),
            ("internal-sftp", "sftp"),
            ("cat sftp-server", "none"),
            ("", "none"),
        ] {
            assert_eq!(kind(command), expected, "{command}");
        }
        assert!(FileDecoder::for_subsystem("sftp", options).is_some());
        assert!(FileDecoder::for_subsystem("netconf", options).is_none());
    }
}
