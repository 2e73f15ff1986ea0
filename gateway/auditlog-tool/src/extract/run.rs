//! One pass over a log: list its transfers, or put the wanted ones together.

use std::collections::HashMap;
use std::io::{self, Read};
use std::path::Path;

use containerssh_auditlog::DecodeError;
use containerssh_auditlog::sftp::{
    ChannelObserver, Channels, Chunk, Direction, FileEvent, Operation, Options, RemotePath, Transferred, hex,
};

use super::budget::{Budget, Bytes};
use super::names::{self, Root};
use super::store::{Part, Store};
use super::transfer::{TransferId, ended, word};
use super::{ExtractError, Wanted};
use crate::error::ToolError;
use crate::files::shown;
use crate::input::Input;
use crate::outcome::Outcome;
use crate::output::Output;

/// Bytes copied at a time.
const BUFFER: usize = 64 << 10;

/// Reads the whole log; `after` is called after each record. Gives the number of damaged places.
fn pass<O: ChannelObserver>(
    input: &mut Input,
    observer: &mut O,
    mut after: impl FnMut(&mut O) -> Result<(), ToolError>,
) -> Result<u64, ToolError> {
    let (mut places, mut channels, mut last) = (0, Channels::new(Options::default()), 0);
    for item in input.decoder()? {
        match item {
            Ok(message) => {
                last = message.timestamp;
                channels.push(message.channel_id, last, &message.payload, observer);
                after(observer)?;
            }
            Err(error @ DecodeError::Io(_)) => {
                return Err(ToolError::Read { name: input.name().to_owned(), error });
            }
            Err(_) => places += 1,
        }
    }
    channels.finish(last, observer);
    after(observer)?;
    Ok(places)
}

/// Lines about the transfers that have ended since they were last printed.
#[derive(Debug, Default)]
struct Listing(String);

impl ChannelObserver for Listing {
    fn event(&mut self, channel: u64, event: FileEvent) {
        let Some((transfer, path, ways)) = ended(&event.operation) else { return };
        for (way, moved) in ways {
            let id = TransferId { channel, transfer }.to_string();
            let digest = moved.sha256.as_ref().map_or_else(|reason| reason.words().to_owned(), hex);
            let path = path.map_or_else(|| "(unknown)".to_owned(), shown);
            let (bytes, whole, way) = (moved.bytes, whole(moved.complete), word(way));
            self.0 += &format!("{id:<8}  {way:<8}  {whole:<5}  {bytes:>12}  {digest:<64}  {path}\n");
        }
    }
}

const fn whole(complete: bool) -> &'static str {
    if complete { "whole" } else { "part" }
}

/// Prints the transfers of a log.
pub(super) fn list(mut input: Input, output: &mut Output) -> Result<Outcome, ToolError> {
    let places = pass(&mut input, &mut Listing::default(), |Listing(lines)| {
        output.write(lines.as_bytes())?;
        lines.clear();
        Ok(())
    })?;
    Ok(Outcome::of_places(places))
}

/// A transfer that has ended and was wanted.
#[derive(Debug)]
struct Done {
    id: TransferId,
    way: Direction,
    path: Option<RemotePath>,
    moved: Transferred,
    /// What was put together; `None` if there was no room for any of it.
    part: Option<Part>,
}

impl Done {
    fn complete(&self) -> bool {
        self.moved.complete && self.part.as_ref().is_some_and(|part| !part.cut)
    }

    fn names(&self) -> Vec<std::ffi::OsString> {
        names::parts(self.path.as_ref().map(RemotePath::as_bytes).unwrap_or_default())
    }
}

/// Puts the wanted transfers together.
#[derive(Debug)]
struct Extraction {
    wanted: Wanted,
    /// Whether an open file is wanted, where its name is known.
    chosen: HashMap<TransferId, bool>,
    store: Store,
    done: Vec<Done>,
    failed: Option<io::Error>,
}

impl Extraction {
    fn new(wanted: Wanted, root: Root, max_bytes: Bytes) -> Self {
        let store = Store::new(root, Budget::new(max_bytes));
        Self { wanted, chosen: HashMap::new(), store, done: Vec::new(), failed: None }
    }

    fn wants(&self, id: TransferId, path: Option<&RemotePath>) -> bool {
        match &self.wanted {
            Wanted::All => true,
            Wanted::One(one) => *one == id,
            Wanted::Paths(paths) => {
                path.is_some_and(|path| paths.iter().any(|named| names::is_named(path.as_bytes(), named)))
            }
        }
    }

    fn ended(&mut self, channel: u64, operation: &Operation) -> io::Result<()> {
        let Some((transfer, path, ways)) = ended(operation) else { return Ok(()) };
        let id = TransferId { channel, transfer };
        self.chosen.remove(&id);
        if self.wants(id, path) {
            for (way, moved) in ways {
                let mut done = Done { id, way, path: path.cloned(), moved: moved.clone(), part: None };
                done.part = self.store.finish(id, way, done.names().len() - 1)?;
                self.done.push(done);
            }
        }
        self.store.discard(id)
    }

    /// The first error since it was last asked for.
    fn check(&mut self, name: &str) -> Result<(), ToolError> {
        match self.failed.take() {
            Some(error) => Err(ToolError::Write { name: name.to_owned(), error }),
            None => Ok(()),
        }
    }
}

impl ChannelObserver for Extraction {
    fn event(&mut self, channel: u64, event: FileEvent) {
        if let Operation::Open { path, transfer: Some(transfer), .. } = &event.operation {
            let id = TransferId { channel, transfer: *transfer };
            self.chosen.insert(id, self.wants(id, Some(path)));
        }
        if let Err(error) = self.ended(channel, &event.operation) {
            self.failed.get_or_insert(error);
        }
    }

    fn data(&mut self, channel: u64, chunk: Chunk<'_>) {
        let id = TransferId { channel, transfer: chunk.transfer };
        if self.chosen.get(&id) == Some(&false) || self.failed.is_some() {
            return;
        }
        if let Err(error) = self.store.write(id, chunk.direction, chunk.offset, chunk.bytes) {
            self.failed = Some(error);
        }
    }
}

/// Writes the wanted transfers below a directory and prints a line for each.
pub(super) fn to_directory(
    mut input: Input,
    wanted: Wanted,
    to: &Path,
    max_bytes: Bytes,
    output: &mut Output,
) -> Result<Outcome, ToolError> {
    let name = to.display().to_string();
    let at = |error| ToolError::Write { name: name.clone(), error };
    let mut extraction = Extraction::new(wanted, Root::open(to).map_err(at)?, max_bytes);
    let (mut found, mut too_much) = (false, false);
    let places = pass(&mut input, &mut extraction, |extraction| {
        extraction.check(&name)?;
        for done in std::mem::take(&mut extraction.done) {
            found = true;
            too_much |= done.part.as_ref().is_none_or(|part| part.cut);
            let line = place(&extraction.store, &done).map_err(at)?;
            output.write(line.as_bytes())?;
        }
        Ok(())
    })?;
    output.flush()?;
    match (too_much, found) {
        (true, _) => Err(ExtractError::TooMuch.into()),
        (false, false) => Err(ExtractError::NotFound.into()),
        (false, true) => Ok(Outcome::of_places(places)),
    }
}

/// Gives a file its place; the line that says so.
fn place(store: &Store, done: &Done) -> io::Result<String> {
    let Done { id, way, path, .. } = done;
    let path = path.as_ref().map_or_else(|| "(unknown)".to_owned(), shown);
    let way = word(*way);
    let Some(part) = &done.part else {
        return Ok(format!("{id}  {way}  {path}: left out, --max-bytes was reached\n"));
    };
    let (digest, bytes) = digest(store, done, part)?;
    let suffix = if done.complete() { "" } else { ".partial" };
    let placed = store.root.place(&part.name, &done.names(), suffix)?;
    let placed = containerssh_auditlog::text::visible(&placed.to_string_lossy());
    let cut = if part.cut { ", cut off: --max-bytes was reached" } else { "" };
    let whole = whole(done.complete());
    let id = id.to_string();
    Ok(format!("{digest}  {bytes:>12}  {whole:<5}  {way:<8}  {id:<6}  {path} -> {placed}{cut}\n"))
}

/// The digest and the length of what was put together.
fn digest(store: &Store, done: &Done, part: &Part) -> io::Result<(String, u64)> {
    let (digest, bytes) = match done.moved.sha256 {
        // Of the same bytes, computed as they passed.
        Ok(digest) if done.complete() => (digest, done.moved.bytes),
        _ => store.digest(part)?,
    };
    Ok((hex(&digest), bytes))
}

/// Writes the one wanted transfer to standard output; its digest goes to standard error.
pub(super) fn to_stdout(
    mut input: Input,
    wanted: Wanted,
    max_bytes: Bytes,
    output: &mut Output,
) -> Result<Outcome, ToolError> {
    // It has to be put together first: its bytes may come in any order, and there may be several.
    let directory = tempfile::tempdir().map_err(ToolError::Spool)?;
    let root = Root::open(directory.path()).map_err(ToolError::Spool)?;
    let mut extraction = Extraction::new(wanted, root, max_bytes);
    let places = pass(&mut input, &mut extraction, |extraction| extraction.check("a temporary file"))?;
    let [done] = extraction.done.as_slice() else {
        let several = extraction.done.len();
        return Err(if several == 0 { ExtractError::NotFound } else { ExtractError::Several(several) }.into());
    };
    let Some(part) = done.part.as_ref().filter(|part| !part.cut) else {
        return Err(ExtractError::TooMuch.into());
    };
    let mut file = extraction.store.root.reopen(&part.name).map_err(ToolError::Spool)?;
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = file.read(&mut buffer).map_err(ToolError::Spool)?;
        match buffer.get(..read) {
            Some(bytes @ [_, ..]) => output.write(bytes)?,
            _ => break,
        }
    }
    output.flush()?;
    let (digest, bytes) = digest(&extraction.store, done, part).map_err(ToolError::Spool)?;
    crate::complain(&format_args!("{digest}  {bytes} bytes, {}", whole(done.complete())));
    Ok(Outcome::of_places(places))
}
