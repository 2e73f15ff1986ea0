//! `html`: a log as one file that replays in a browser.
//!
//! ```text
//! log ─► View (text, sizes) ─► Film (frames of rendered rows) ─► Lines ─┐
//!    └─► Facts (what happened) ─────────────────────────────────► Lines ─┴─► Page
//! ```
//! The page needs no server, no network and no other file, and can be kept with the log: it says which log it was made from.
//! Terminal sequences end in [`film`]; markup ends in [`page`].

mod facts;
mod film;
mod lines;
mod page;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Read};
use std::path::PathBuf;

use containerssh_auditlog::asciicast::{Change, View};
use containerssh_auditlog::sftp::{FileDecoder, Options};
use containerssh_auditlog::text::visible;
use containerssh_auditlog::{DecodeError, Message, Payload};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::error::ToolError;
use crate::input::{Input, SourceArgs};
use crate::outcome::Outcome;
use crate::output::Output;
use crate::progress::Progress;

use facts::{Fact, Facts};
use film::{Film, Frame};
use lines::Lines;
use page::{About, Meta, Packing, Page};

/// What a page may have by default: browsers open it at once.
const MAX_BYTES: u64 = 64 << 20;
/// What a page has to have: the player, and room for the first events.
const MIN_BYTES: u64 = 256 << 10;
/// Channels that get a tab. Their screens are the memory that this needs.
const MAX_CHANNELS: usize = 64;
/// The longest title of a tab, in characters.
const MAX_TITLE: usize = 80;
/// Bytes read at a time to compute the log's digest.
const BUFFER: usize = 64 << 10;

/// The arguments of `html`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The file needs no network: everything is in it, and nothing in it can run but its own player. Passwords that \
                        users log in with are never in it; what they type only with --with-input, or where the terminal \
                        showed it."
)]
pub(crate) struct HtmlArgs {
    /// The log to show; - for standard input
    #[arg(value_name = "LOG")]
    log: OsString,

    /// Where to write; - for standard output. An existing file is replaced
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,

    /// Also list what the user typed, passwords included
    #[arg(long)]
    with_input: bool,

    /// The largest file to make, in bytes; what does not fit is left out, and the page says so
    #[arg(long, value_name = "BYTES", default_value_t = MAX_BYTES, value_parser = clap::value_parser!(u64).range(MIN_BYTES..))]
    max_bytes: u64,

    /// Do not compress, for browsers of before 2023
    #[arg(long)]
    uncompressed: bool,

    #[command(flatten)]
    source: SourceArgs,
}

/// Runs the subcommand.
pub(crate) fn run(args: &HtmlArgs, output: &mut Output) -> Result<Outcome, ToolError> {
    let mut input = Input::open(&args.log, &args.source)?.seekable()?;
    let progress = Progress::start(std::slice::from_ref(&args.log));
    input.watch(&progress);
    let digest = digest(&mut input)?;
    drop(progress);
    let progress = Progress::start(std::slice::from_ref(&args.log));
    input.watch(&progress);
    let decoder = input.decoder()?;
    // Opened only now: a wrong input must not cost an existing output.
    output.redirect(Some(&args.output), &args.log)?;
    let packing = if args.uncompressed { Packing::Plain } else { Packing::Gzip };
    let mut recording = Recording::new(Page::begin(packing, args.max_bytes, output)?, args.with_input);
    let mut places = 0;
    for item in decoder {
        match item {
            Ok(message) => recording.push(&message, output)?,
            Err(error @ DecodeError::Io(_)) => {
                return Err(ToolError::Read { name: input.name().to_owned(), error });
            }
            Err(error) => {
                places += 1;
                recording.damage(&error, output)?;
            }
        }
    }
    recording.finish(input.name(), &digest, places, output)?;
    output.flush()?;
    Ok(Outcome::of_places(places))
}

/// SHA-256 of the log as it is read, in hexadecimal.
fn digest(input: &mut Input) -> Result<String, ToolError> {
    let (mut reader, mut hash, mut buffer) = (input.reader()?, Sha256::new(), vec![0; BUFFER]);
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => hash.update(buffer.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                return Err(ToolError::Read { name: input.name().to_owned(), error: error.into() });
            }
        }
    }
    Ok(format!("{:x}", hash.finalize()))
}

/// A log on its way to a page.
struct Recording {
    page: Page,
    lines: Lines,
    facts: Facts,
    channels: Vec<Channel>,
    /// Where a channel stands in `channels`.
    numbers: BTreeMap<u64, usize>,
    who: Who,
    /// First and last time, in nanoseconds since 1970.
    times: Option<(u64, u64)>,
    left_out: LeftOut,
    line: Vec<u8>,
}

/// Whose connection it was.
#[derive(Debug, Default)]
struct Who {
    connection: String,
    user: String,
    remote: String,
    country: String,
}

/// What is not in the page.
#[derive(Debug, Default)]
struct LeftOut {
    /// When the page was full, in nanoseconds since 1970.
    since: Option<u64>,
    events: u64,
    channels: u64,
}

/// A channel that gets a tab.
struct Channel {
    about: About,
    view: View,
    /// `None` if it is nothing to look at.
    film: Option<Film>,
}

impl Recording {
    fn new(page: Page, with_input: bool) -> Self {
        Self {
            page,
            lines: Lines::default(),
            facts: Facts::new(with_input),
            channels: Vec::new(),
            numbers: BTreeMap::new(),
            who: Who::default(),
            times: None,
            left_out: LeftOut::default(),
            line: Vec::new(),
        }
    }

    fn push(&mut self, message: &Message, output: &mut Output) -> Result<(), ToolError> {
        let (start, last) = self.times.unwrap_or((message.timestamp, message.timestamp));
        // Clocks may jump back; a replay cannot.
        let now = last.max(message.timestamp);
        self.times = Some((start, now));
        self.who.note(message);
        if let Some(id) = message.channel_id {
            self.show(id, now, &message.payload, output)?;
        }
        for fact in self.facts.push(message) {
            self.tell(&fact, output)?;
        }
        Ok(())
    }

    /// What a record changes on the screen.
    fn show(&mut self, id: u64, now: u64, payload: &Payload, output: &mut Output) -> Result<(), ToolError> {
        let Some(number) = self.number(id, payload) else { return Ok(()) };
        let Some(channel) = self.channels.get_mut(number) else { return Ok(()) };
        channel.name(payload);
        let mut frames = Vec::new();
        if let Some(change) = channel.view.record(payload) {
            let binary = matches!(&change, Change::Output(text) if text.contains('\0'));
            if binary && !channel.view.has_terminal() {
                channel.film = None;
                channel
                    .about
                    .note
                    .get_or_insert_with(|| "The output is no text; it is not shown.".to_owned());
            } else if let Some(film) = &mut channel.film {
                film.push(now, &change, |frame| frames.push(frame));
            }
        }
        frames.iter().try_for_each(|frame| self.frame(number, frame, output))
    }

    /// The tab of a channel; there is one if a program ran on it.
    fn number(&mut self, id: u64, payload: &Payload) -> Option<usize> {
        if let Some(number) = self.numbers.get(&id) {
            return Some(*number);
        }
        let begins = matches!(
            payload,
            Payload::ChannelRequestPty { .. }
                | Payload::ChannelRequestExec { .. }
                | Payload::ChannelRequestShell { .. }
                | Payload::ChannelRequestSubsystem { .. }
                | Payload::Io { .. }
        );
        if !begins {
            return None;
        }
        if self.channels.len() >= MAX_CHANNELS {
            self.left_out.channels += u64::from(!matches!(payload, Payload::Io { .. }));
            return None;
        }
        let about = About { id, title: format!("#{id}"), note: None };
        let film = self.left_out.since.is_none().then(Film::new);
        self.channels.push(Channel { about, view: View::default(), film });
        self.numbers.insert(id, self.channels.len() - 1);
        Some(self.channels.len() - 1)
    }

    fn frame(&mut self, number: usize, frame: &Frame, output: &mut Output) -> Result<(), ToolError> {
        self.line.clear();
        let time = self.milliseconds(frame.time);
        self.lines.frame(number, time, frame, &mut self.line);
        if self.left_out.since.is_none() && self.page.has_room(self.line.len(), output)? {
            return self.page.lines(&self.line, output);
        }
        // Once a frame is missing, those after it would show what never was on the screen.
        self.left_out.since.get_or_insert(frame.time);
        for channel in &mut self.channels {
            channel.film = None;
        }
        Ok(())
    }

    fn tell(&mut self, fact: &Fact, output: &mut Output) -> Result<(), ToolError> {
        self.line.clear();
        let time = self.milliseconds(fact.time);
        self.lines.event(fact.channel, time, fact.kind, &fact.text, &mut self.line);
        if self.page.has_room(self.line.len(), output)? {
            return self.page.lines(&self.line, output);
        }
        self.left_out.events += 1;
        Ok(())
    }

    fn damage(&mut self, error: &DecodeError, output: &mut Output) -> Result<(), ToolError> {
        let time = self.times.map_or(0, |(_, last)| last);
        self.tell(&Fact { channel: None, time, kind: "damage", text: error.to_string() }, output)
    }

    fn milliseconds(&self, time: u64) -> u64 {
        let (start, last) = self.times.unwrap_or((time, time));
        time.clamp(start, last).saturating_sub(start) / 1_000_000
    }

    fn finish(mut self, name: &str, digest: &str, places: u64, output: &mut Output) -> Result<(), ToolError> {
        let rest: Vec<(usize, Frame)> = self
            .channels
            .iter_mut()
            .enumerate()
            .filter_map(|(number, channel)| channel.film.as_mut()?.finish().map(|frame| (number, frame)))
            .collect();
        for (number, frame) in &rest {
            self.frame(*number, frame, output)?;
        }
        let end = self.times.map_or(0, |(_, last)| last);
        for fact in self.facts.finish(end) {
            self.tell(&fact, output)?;
        }
        let (start, last) = self.times.unwrap_or_default();
        let mut header = self.who.header();
        header.push(("When", format!("{} \u{2013} {}", moment(start), moment(last))));
        header.push(("Log", visible(name)));
        header.push(("SHA-256", digest.to_owned()));
        header.push(("Made by", concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")).to_owned()));
        let meta = Meta {
            header,
            warnings: self.left_out.warnings(places),
            start: start / 1_000_000,
            duration: last.saturating_sub(start) / 1_000_000,
            channels: self.channels.into_iter().map(|channel| channel.about).collect(),
        };
        self.page.finish(&meta, output)
    }
}

impl Channel {
    /// Notes what was started.
    fn name(&mut self, payload: &Payload) {
        let started = match payload {
            Payload::ChannelRequestExec { program, .. } => program,
            Payload::ChannelRequestShell { .. } => "shell",
            Payload::ChannelRequestSubsystem { subsystem, .. } => subsystem,
            _ => return,
        };
        if FileDecoder::for_request(payload, Options::default()).is_some() {
            self.film = None;
            self.about.note = Some("Files were moved here: the events tell which.".to_owned());
        } else if matches!(payload, Payload::ChannelRequestSubsystem { .. }) {
            self.film = None;
            self.about.note = Some("A subsystem speaks a protocol of its own; it has no screen.".to_owned());
        }
        let short: String = started.chars().take(MAX_TITLE).collect();
        self.about.title = format!("#{} {}", self.about.id, visible(&short));
    }
}

impl Who {
    fn note(&mut self, message: &Message) {
        if self.connection.is_empty() {
            self.connection = visible(&message.connection_id);
        }
        match &message.payload {
            Payload::Connect { remote_addr, country } => {
                self.remote = visible(remote_addr);
                self.country = visible(country);
            }
            Payload::HandshakeSuccessful { username } => self.user = visible(username),
            Payload::AuthPassword { username, .. } | Payload::AuthPubKey { username, .. }
                if self.user.is_empty() =>
            {
                self.user = visible(username);
            }
            _ => {}
        }
    }

    fn header(&self) -> Vec<(&'static str, String)> {
        let country = if self.country.is_empty() { String::new() } else { format!(" ({})", self.country) };
        [
            ("User", self.user.clone()),
            ("From", format!("{}{country}", self.remote)),
            ("Connection", self.connection.clone()),
        ]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .collect()
    }
}

impl LeftOut {
    fn warnings(&self, places: u64) -> Vec<String> {
        let mut warnings = Vec::new();
        if places > 0 {
            warnings.push(format!("The log is damaged in {places} place(s), listed among the events. What could be read is shown."));
        }
        if let Some(since) = self.since {
            warnings.push(format!(
                "The screen is shown until {} only: the rest did not fit. Make a larger file with --max-bytes.",
                moment(since)
            ));
        }
        if self.events > 0 {
            warnings.push(format!(
                "{} events are left out: they did not fit. Make a larger file with --max-bytes.",
                self.events
            ));
        }
        if self.channels > 0 {
            warnings.push(format!("More than {MAX_CHANNELS} channels: those that came later are not shown."));
        }
        warnings
    }
}

/// RFC 3339 in UTC; the number itself if it is no time that has a name.
fn moment(timestamp: u64) -> String {
    Timestamp::from_nanosecond(timestamp.into())
        .map_or_else(|_| format!("{timestamp} ns"), |time| format!("{time:.0}"))
}
