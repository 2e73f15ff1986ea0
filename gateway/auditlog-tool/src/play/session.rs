//! What the status line tells of the session, and the way from a log to a tape.

use containerssh_auditlog::text::visible;
use containerssh_auditlog::{DecodeError, Payload};
use jiff::Timestamp;

use crate::error::ToolError;
use crate::input::Input;

use super::deck::Deck;
use super::tape::{Tape, TapeWriter};

/// The longest command in the status line, in characters.
const MAX_COMMAND: usize = 40;

/// Who did what on the channel that is played.
#[derive(Debug, Default)]
pub(crate) struct Session {
    user: String,
    remote: String,
    channel: u64,
    started: String,
}

/// Copies the channel to a tape. Also returns in how many places the log is damaged.
pub(crate) fn read(input: &mut Input, channel: u64) -> Result<(Session, Tape, u64), ToolError> {
    let mut session = Session { channel, ..Session::default() };
    let (mut writer, mut places) = (TapeWriter::new(channel), 0);
    for item in input.decoder()? {
        match item {
            Ok(message) => {
                writer.push(&message).map_err(ToolError::Spool)?;
                session.note(message.channel_id, &message.payload);
            }
            Err(error @ DecodeError::Io(_)) => {
                return Err(ToolError::Read { name: input.name().to_owned(), error });
            }
            Err(_) => places += 1,
        }
    }
    Ok((session, writer.finish().map_err(ToolError::Spool)?, places))
}

impl Session {
    fn note(&mut self, channel: Option<u64>, payload: &Payload) {
        let short = |text: &str| visible(&text.chars().take(MAX_COMMAND).collect::<String>());
        match payload {
            Payload::Connect { remote_addr, .. } => self.remote = short(remote_addr),
            Payload::HandshakeSuccessful { username } => self.user = short(username),
            _ if channel != Some(self.channel) => {}
            Payload::ChannelRequestExec { program, .. } => self.started = short(program),
            Payload::ChannelRequestShell { .. } => "shell".clone_into(&mut self.started),
            Payload::ChannelRequestSubsystem { subsystem, .. } => self.started = short(subsystem),
            _ => {}
        }
    }

    /// The line below the screen, for a terminal of this size.
    pub(crate) fn status(&self, deck: &Deck, size: (usize, usize)) -> String {
        let state = match () {
            () if deck.is_winding() => "\u{2026}",
            () if deck.ended() => "\u{25a0}",
            () if deck.paused => "\u{2016}",
            () => "\u{25b6}",
        };
        let (position, duration) = (clock(deck.position()), clock(deck.duration()));
        let moment = moment(deck.start().saturating_add(deck.position()));
        let idle = deck.idle_limit.map(|limit| format!("  idle \u{2264} {}s", limit as f64 / 1e9));
        let (columns, rows) = deck.screen.size();
        let cut = if columns > size.0 || rows >= size.1 { ", cut" } else { "" };
        format!(
            " {state} {position} / {duration}  {moment}  {speed}x{idle}  {user}@{remote} #{channel} {started}  {columns}x{rows}{cut}  ? keys",
            speed = deck.speed,
            idle = idle.unwrap_or_default(),
            user = self.user,
            remote = self.remote,
            channel = self.channel,
            started = self.started,
        )
    }
}

/// `m:ss` or `h:mm:ss`.
fn clock(nanoseconds: u64) -> String {
    let seconds = nanoseconds / 1_000_000_000;
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// A moment in UTC; nothing where a log claims a time that has no name.
fn moment(timestamp: u64) -> String {
    Timestamp::from_nanosecond(timestamp.into()).map(|time| format!("{time:.0}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::tape::tests::{message, out, pty, shell, tape};
    use super::*;

    #[test]
    fn the_status_tells_who_what_when_and_where_without_acting_on_the_terminal() {
        let mut session = Session { channel: 1, ..Session::default() };
        session.note(None, &Payload::Connect { remote_addr: "192.0.2.1".into(), country: String::new() });
        session.note(None, &Payload::HandshakeSuccessful { username: "ali\u{1b}[2Jce".into() });
        session.note(Some(2), &shell());
        session.note(Some(1), &Payload::ChannelRequestExec { request_id: 0, program: "top".into() });
        let tape = tape(&[message(0, pty(80, 24)), message(0, shell()), message(3_723_000, out(b"x"))]);
        let mut deck = Deck::new(tape, 2.0, Some(1_500_000_000));
        assert_eq!(
            session.status(&deck, (100, 40)),
            " \u{25b6} 0:00 / 1:02:03  2020-09-13T12:26:40Z  2x  idle \u{2264} 1.5s  ali\\e[2Jce@192.0.2.1 #1 top  80x24  ? keys"
        );
        deck.paused = true;
        assert!(session.status(&deck, (80, 24)).starts_with(" \u{2016} 0:00"));
        assert!(session.status(&deck, (80, 24)).contains("80x24, cut"));
    }
}
