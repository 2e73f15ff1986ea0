//! Which channel becomes a cast, and its lines.

use std::fmt;

use containerssh_auditlog::asciicast::{Cast, Survey};
use containerssh_auditlog::text::visible;
use containerssh_auditlog::{DecodeError, Message};

use crate::error::ToolError;
use crate::input::Input;

use super::View;

/// The user has to choose a channel.
#[derive(Debug, thiserror::Error)]
#[error("{reason}; {channels}")]
pub(crate) struct ChannelError {
    reason: String,
    channels: Channels,
}

/// The channels that a log has, for a message.
#[derive(Debug)]
struct Channels(Survey);

impl fmt::Display for Channels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.channels().is_empty() {
            return f.write_str("no program was run on this connection");
        }
        f.write_str("choose with --channel N:")?;
        for (id, channel) in self.0.channels() {
            let started = channel.started.as_deref().map_or_else(|| "nothing started".to_owned(), visible);
            let terminal = if channel.terminal { "terminal" } else { "no terminal" };
            write!(f, "\n  {id}  {terminal}, {started}")?;
        }
        Ok(())
    }
}

pub(super) fn survey(input: &mut Input) -> Result<Survey, ToolError> {
    let mut survey = Survey::default();
    for item in input.decoder()? {
        match item {
            Ok(message) => survey.push(&message),
            Err(error @ DecodeError::Io(_)) => {
                return Err(ToolError::Read { name: input.name().to_owned(), error });
            }
            // Counted and reported when the cast is written.
            Err(_) => {}
        }
    }
    Ok(survey)
}

/// The channel to replay for a viewer: as [`choose`], but where no channel has a terminal, the only one that ran a program.
pub(crate) fn choose_to_watch(input: &mut Input, wanted: Option<u64>) -> Result<u64, ToolError> {
    let survey = survey(input)?;
    let mut programs =
        survey.channels().iter().filter(|(_, channel)| channel.program || channel.started.is_some());
    if let (None, Some((only, _)), None) = (wanted, programs.next(), programs.next()) {
        return Ok(*only);
    }
    Ok(choose(&survey, wanted)?)
}

/// The channel that was asked for, or the only one with a terminal.
pub(super) fn choose(survey: &Survey, wanted: Option<u64>) -> Result<u64, ChannelError> {
    let error = |reason: String| Err(ChannelError { reason, channels: Channels(survey.clone()) });
    if let Some(wanted) = wanted {
        return match survey.channels().contains_key(&wanted) {
            true => Ok(wanted),
            false => error(format!("no program ran on a channel {wanted}")),
        };
    }
    let mut terminals = survey.channels().iter().filter(|(_, channel)| channel.terminal).map(|(id, _)| *id);
    match (terminals.next(), terminals.count()) {
        (Some(channel), 0) => Ok(channel),
        (Some(_), more) => error(format!("{} channels of this log have a terminal", more + 1)),
        (None, _) => error("no channel of this log has a terminal".to_owned()),
    }
}

/// The lines of one channel's cast.
#[derive(Debug)]
pub(super) struct Lines(Cast);

impl Lines {
    pub(super) fn new(cast: Cast) -> Self {
        Self(cast)
    }
}

impl View for Lines {
    fn message(&mut self, message: &Message, out: &mut Vec<u8>) {
        self.0.push(message, out);
    }

    /// A cast has no place for it: players would fail. The exit status and the summary tell.
    fn damage(&mut self, _: &DecodeError, _: &mut Vec<u8>) {}

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.0.finish(out);
    }
}
