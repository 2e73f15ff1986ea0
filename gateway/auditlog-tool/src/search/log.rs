//! The streams of one log: which are searched, and as what.

use std::collections::BTreeMap;
use std::ops::Range;

use containerssh_auditlog::{IoStream, Message, Payload};

use crate::session::Session;

use super::batch::Sink;
use super::hit::{Hit, Kind};
use super::lines::Lines;
use super::pattern::Pattern;
use super::seen::Seen;
use super::typed::Typed;
use super::{Scope, Search};

/// Channels that are followed at a time; no client opens as many. Of more, the ones that were used least recently are searched to
/// their end as if they were closed.
const MAX_CHANNELS: usize = 256;
/// Cells of all screens that are followed at a time: about a hundred megabytes. Usual screens have a few thousand, however large a log says they are.
const MAX_CELLS: usize = 2_000_000;
/// Data that is searched between two looks at what has been found, in bytes.
const PIECE: usize = 64 << 10;
/// Hits that are sorted by time before they are printed.
pub(super) const MAX_HITS: usize = 10_000;

/// One log, as far as it has been read.
pub(super) struct Log<'p> {
    pattern: &'p Pattern,
    scope: Scope,
    pub(super) session: Session,
    channels: BTreeMap<Option<u64>, Channel>,
    /// Counts records, to tell which channel was used last.
    clock: u64,
    pub(super) hits: Vec<Hit>,
}

/// One channel.
#[derive(Default)]
struct Channel {
    /// The terminal that was asked for, and with which request.
    terminal: Option<((u32, u32), u64)>,
    shown: Option<Shown>,
    /// Standard error, where it is not on the same screen.
    errors: Option<Lines>,
    sent: Option<Sent>,
    used: u64,
}

enum Shown {
    Screen(Box<Seen>),
    Lines(Lines),
}

enum Sent {
    Keys(Typed),
    Lines(Lines),
}

impl<'p> Log<'p> {
    pub(super) fn new(pattern: &'p Pattern, scope: Scope) -> Self {
        let (session, channels, hits) = Default::default();
        Self { pattern, scope, session, channels, clock: 0, hits }
    }

    /// Takes in one record; calls `flush` when there are many hits.
    pub(super) fn push<E>(
        &mut self,
        message: &Message,
        flush: &mut impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.session.push(message);
        self.clock += 1;
        let (id, time) = (message.channel_id, message.timestamp);
        match &message.payload {
            Payload::Io { stream, data } if self.scope.covers(kind(*stream)) => {
                for piece in data.chunks(PIECE) {
                    self.io(id, *stream, piece, time);
                    if self.hits.len() >= MAX_HITS {
                        flush(self)?;
                    }
                }
            }
            Payload::ChannelRequestPty { columns, rows, request_id, .. } => {
                self.channel(id).terminal = Some(((*columns, *rows), *request_id));
            }
            Payload::RequestFailed { request_id, .. } => {
                let channel = self.channel(id);
                channel.terminal = channel.terminal.filter(|(_, asked)| asked != request_id);
            }
            Payload::ChannelRequestWindow { columns, rows, .. } => self.resize(id, *columns, *rows),
            Payload::ChannelRequestExec { program, .. } => self.command(id, time, program),
            Payload::ChannelRequestSubsystem { subsystem, .. } => {
                self.command(id, time, &format!("subsystem {subsystem}"));
            }
            Payload::Close => self.close(id),
            _ => {}
        }
        Ok(())
    }

    /// Searches what is left at the end of the log.
    pub(super) fn finish(&mut self) {
        while let Some(id) = self.channels.keys().next().copied() {
            self.close(id);
        }
    }

    fn command(&mut self, id: Option<u64>, time: u64, command: &str) {
        if !self.scope.covers(Kind::Command) {
            return;
        }
        let found = command.lines().find_map(|line| Some((line, self.pattern.find(line.as_bytes(), 0)?)));
        if let Some((line, matched)) = found {
            self.hits.push(Hit::new(time, id, Kind::Command, line.as_bytes(), &matched));
        }
    }

    fn io(&mut self, id: Option<u64>, stream: IoStream, data: &[u8], time: u64) {
        let pattern = self.pattern;
        let channel = self.channel(id);
        let mut found = Vec::new();
        let mut sink = Collector { channel: id, kind: kind(stream), hits: &mut found };
        let search = &mut Search { pattern, sink: &mut sink };
        let screen = channel.terminal.map(|(size, _)| size);
        let mut grown = false;
        match (stream, screen) {
            (IoStream::Stdin, _) => {
                let sent = channel.sent.get_or_insert_with(|| match screen {
                    Some(_) => Sent::Keys(Typed::default()),
                    None => Sent::Lines(Lines::default()),
                });
                match sent {
                    Sent::Keys(keys) => keys.push(data, time, search),
                    Sent::Lines(lines) => lines.push(data, time, search),
                }
            }
            (IoStream::Stderr, None) => channel.errors.get_or_insert_default().push(data, time, search),
            (IoStream::Stdout | IoStream::Stderr, _) => {
                let shown = channel.shown.get_or_insert_with(|| match screen {
                    Some((columns, rows)) => {
                        grown = true;
                        Shown::Screen(Box::new(Seen::new(columns, rows)))
                    }
                    None => Shown::Lines(Lines::default()),
                });
                match shown {
                    Shown::Screen(screen) => screen.push(data, time, search),
                    Shown::Lines(lines) => lines.push(data, time, search),
                }
            }
        }
        self.hits.append(&mut found);
        if grown {
            self.make_room(id);
        }
    }

    fn resize(&mut self, id: Option<u64>, columns: u32, rows: u32) {
        let pattern = self.pattern;
        let channel = self.channel(id);
        let mut found = Vec::new();
        if let Some((size, _)) = &mut channel.terminal {
            *size = (columns, rows);
            if let Some(Shown::Screen(screen)) = &mut channel.shown {
                let mut sink = Collector { channel: id, kind: Kind::Seen, hits: &mut found };
                screen.resize(columns, rows, &mut Search { pattern, sink: &mut sink });
            }
        }
        self.hits.append(&mut found);
        self.make_room(id);
    }

    fn close(&mut self, id: Option<u64>) {
        let Some(channel) = self.channels.remove(&id) else { return };
        let pattern = self.pattern;
        let mut sink = Collector { channel: id, kind: Kind::Seen, hits: &mut self.hits };
        let search = &mut Search { pattern, sink: &mut sink };
        match channel.shown {
            Some(Shown::Screen(mut screen)) => screen.finish(search),
            Some(Shown::Lines(mut lines)) => lines.finish(search),
            None => {}
        }
        if let Some(mut lines) = channel.errors {
            lines.finish(search);
        }
        let mut sink = Collector { channel: id, kind: Kind::Typed, hits: &mut self.hits };
        let search = &mut Search { pattern, sink: &mut sink };
        match channel.sent {
            Some(Sent::Keys(mut keys)) => keys.finish(search),
            Some(Sent::Lines(mut lines)) => lines.finish(search),
            None => {}
        }
    }

    fn channel(&mut self, id: Option<u64>) -> &mut Channel {
        if self.channels.len() >= MAX_CHANNELS && !self.channels.contains_key(&id) {
            self.close_oldest(id);
        }
        let channel = self.channels.entry(id).or_default();
        channel.used = self.clock;
        channel
    }

    /// Closes screens until those that remain are small enough. The one in use is kept: no single one is too large.
    fn make_room(&mut self, in_use: Option<u64>) {
        let cells = |channel: &Channel| match &channel.shown {
            Some(Shown::Screen(screen)) => screen.cells(),
            _ => 0,
        };
        while self.channels.len() > 1 && self.channels.values().map(cells).sum::<usize>() > MAX_CELLS {
            self.close_oldest(in_use);
        }
    }

    fn close_oldest(&mut self, except: Option<u64>) {
        let others = self.channels.iter().filter(|(id, _)| **id != except);
        if let Some(id) = others.min_by_key(|(_, channel)| channel.used).map(|(id, _)| *id) {
            self.close(id);
        }
    }
}

fn kind(stream: IoStream) -> Kind {
    match stream {
        IoStream::Stdin => Kind::Typed,
        IoStream::Stdout | IoStream::Stderr => Kind::Seen,
    }
}

/// Keeps what is found on a channel.
struct Collector<'h> {
    channel: Option<u64>,
    kind: Kind,
    hits: &'h mut Vec<Hit>,
}

impl Sink for Collector<'_> {
    fn found(&mut self, time: u64, line: &[u8], matched: Range<usize>) {
        self.hits.push(Hit::new(time, self.channel, self.kind, line, &matched));
    }
}
