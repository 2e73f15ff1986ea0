//! Which channels a log has, to choose one to replay.

use std::collections::BTreeMap;

use crate::message::Message;
use crate::payload::Payload;

/// Channels that a survey tells apart; no client opens as many, and a forged log must not fill the memory.
const MAX_CHANNELS: usize = 10_000;
/// The longest command that is kept for a channel, in characters: enough to recognise it.
const MAX_COMMAND: usize = 80;

/// What one channel is, as far as needed to choose among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Channel {
    /// It has a terminal: `pty-req` was sent.
    pub terminal: bool,
    /// It carried input or output of a program.
    pub program: bool,
    /// What was run: the command (its start), `shell`, or the subsystem's name.
    pub started: Option<String>,
}

/// The session channels of a log.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    channels: BTreeMap<u64, Channel>,
}

impl Survey {
    /// Takes in one record.
    pub fn push(&mut self, message: &Message) {
        let Some(id) = message.channel_id else { return };
        if self.channels.len() >= MAX_CHANNELS && !self.channels.contains_key(&id) {
            return;
        }
        let started = match &message.payload {
            Payload::ChannelRequestPty { .. } => {
                self.channels.entry(id).or_default().terminal = true;
                return;
            }
            Payload::Io { .. } => {
                self.channels.entry(id).or_default().program = true;
                return;
            }
            Payload::ChannelRequestExec { program, .. } => program.chars().take(MAX_COMMAND).collect(),
            Payload::ChannelRequestShell { .. } => "shell".to_owned(),
            Payload::ChannelRequestSubsystem { subsystem, .. } => {
                subsystem.chars().take(MAX_COMMAND).collect()
            }
            _ => return,
        };
        self.channels.entry(id).or_default().started = Some(started);
    }

    /// What was found, by channel id.
    #[must_use]
    pub fn channels(&self) -> &BTreeMap<u64, Channel> {
        &self.channels
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::IoStream;

    fn message(channel_id: u64, payload: Payload) -> Message {
        Message { connection_id: "c".into(), timestamp: 1, payload, channel_id: Some(channel_id) }
    }

    #[test]
    fn a_survey_tells_terminals_from_other_channels() {
        let pty = Payload::ChannelRequestPty {
            request_id: 0,
            term: "xterm".into(),
            columns: 80,
            rows: 24,
            width: 0,
            height: 0,
            mode_list: None,
        };
        let mut survey = Survey::default();
        for message in [
            message(7, pty),
            message(7, Payload::ChannelRequestShell { request_id: 1 }),
            message(3, Payload::ChannelRequestSubsystem { request_id: 0, subsystem: "sftp".into() }),
            message(3, Payload::Io { stream: IoStream::Stdout, data: bytes::Bytes::from_static(b"x") }),
            message(5, Payload::Close),
        ] {
            survey.push(&message);
        }
        let shell = Channel { terminal: true, program: false, started: Some("shell".into()) };
        let sftp = Channel { terminal: false, program: true, started: Some("sftp".into()) };
        assert_eq!(survey.channels(), &BTreeMap::from([(3, sftp), (7, shell)]));
    }
}
