//! `--files`: what happened to files, and nothing else.
//!
//! As JSON lines these are the events as a SIEM gets them, with the connection and the channel; as text the same sentences
//! as in a transcript.

use std::sync::Arc;

use containerssh_auditlog::sftp::{Channels, FileEvent, Options};
use containerssh_auditlog::{DecodeError, Message};
use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{View, json, transcript};

/// How the events are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Json,
    Text,
}

/// Prints a line per event.
#[derive(Debug)]
pub(super) struct Lines {
    channels: Channels,
    connection: Arc<str>,
    style: Style,
    last: u64,
}

impl Lines {
    pub(super) fn new(style: Style, lookups: bool) -> Self {
        let channels = Channels::new(Options { lookups, ..Options::default() });
        Self { channels, connection: Arc::from(""), style, last: 0 }
    }
}

/// An event with what it belongs to.
struct Line<'a> {
    connection: &'a str,
    channel: u64,
    event: &'a FileEvent,
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("connectionId", self.connection)?;
        map.serialize_entry("channelId", &self.channel)?;
        self.event.entries(&mut map)?;
        map.end()
    }
}

fn put(style: Style, connection: &str, channel: u64, event: &FileEvent, out: &mut Vec<u8>) {
    match style {
        Style::Json => json::line(&Line { connection, channel, event }, out),
        Style::Text => transcript::file(channel, event, out),
    }
}

impl View for Lines {
    fn message(&mut self, message: &Message, out: &mut Vec<u8>) {
        self.last = message.timestamp;
        if self.connection != message.connection_id {
            self.connection = Arc::clone(&message.connection_id);
        }
        let (style, connection) = (self.style, &*self.connection);
        let mut print = |channel, event| put(style, connection, channel, &event, out);
        self.channels.push(message.channel_id, message.timestamp, &message.payload, &mut print);
    }

    fn damage(&mut self, error: &DecodeError, out: &mut Vec<u8>) {
        match self.style {
            Style::Json => json::Lines.damage(error, out),
            Style::Text => transcript::damage(self.last, error, out),
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        let (style, connection) = (self.style, &*self.connection);
        let mut print = |channel, event| put(style, connection, channel, &event, out);
        self.channels.finish(self.last, &mut print);
    }
}
