//! What passes through one open file.

use super::digest::{Digest, Repeats, Window};
use super::event::{NoDigest, OpenFlags, RemotePath, Transferred};
use super::ranges::Ranges;

/// One direction of an open file.
#[derive(Debug)]
struct Flow {
    bytes: u64,
    ranges: Ranges,
    digest: Digest,
}

impl Flow {
    fn new(repeats: Repeats) -> Self {
        Self { bytes: 0, ranges: Ranges::default(), digest: Digest::new(repeats) }
    }

    fn passed(&mut self, offset: u64, length: u64) {
        self.bytes = self.bytes.saturating_add(length);
        self.ranges.add(offset, length);
    }

    /// What there is to say, given where the file ends.
    fn finish(self, end: Option<u64>, window: &mut Window) -> Transferred {
        let covered = self.ranges.contiguous();
        let complete = self.ranges.is_prefix() && end == Some(covered);
        let mut sha256 = self.digest.finish(covered, window);
        if sha256.is_ok() && !complete {
            sha256 = Err(if self.ranges.is_prefix() { NoDigest::EndNotSeen } else { NoDigest::Gaps });
        }
        let (ranges, ranges_omitted) = self.ranges.into_parts();
        Transferred { bytes: self.bytes, complete, sha256, ranges, ranges_omitted }
    }
}

/// A file that is open, and what passed through it.
///
/// What is written goes into the digest when it is sent, so that nothing has to be kept until the server confirms it; it
/// counts as written when it is confirmed, and one write that is not costs the digest.
#[derive(Debug, Default)]
pub(super) struct Transfer {
    pub(super) flags: OpenFlags,
    read: Option<Box<Flow>>,
    written: Option<Box<Flow>>,
    /// Writes without an answer.
    unconfirmed: u64,
    /// How long the file is as far as the writes show: known if it was empty at first or its size was told or set.
    size: Option<u64>,
    /// How long it was said to be.
    told: Option<u64>,
    /// The lowest offset at which there was nothing to read.
    eof: Option<u64>,
    /// Where an answer was shorter than the request: the file's end, if there is nothing behind it.
    short: Option<u64>,
}

impl Transfer {
    pub(super) fn new(flags: OpenFlags, told: Option<u64>) -> Self {
        let mut transfer = Self { told, ..Self::default() };
        transfer.opened(flags);
        transfer
    }

    /// The server said that the file was opened like this.
    pub(super) fn opened(&mut self, flags: OpenFlags) {
        self.flags = flags;
        let new = flags.any(OpenFlags::CREATE) && flags.any(OpenFlags::EXCLUSIVE);
        let empty = new || flags.any(OpenFlags::TRUNCATE);
        if empty && flags.any(OpenFlags::WRITE) {
            self.size = Some(self.size.unwrap_or(0));
            self.writing();
        }
    }

    fn reading(&mut self) -> &mut Flow {
        self.read.get_or_insert_with(|| Box::new(Flow::new(Repeats::Ignored)))
    }

    fn writing(&mut self) -> &mut Flow {
        self.written.get_or_insert_with(|| Box::new(Flow::new(Repeats::Fatal)))
    }

    /// Bytes of an answer to a read.
    pub(super) fn read(&mut self, offset: u64, bytes: &[u8], window: &mut Window) {
        self.reading().digest.push(offset, bytes, window);
    }

    /// An answer to a read is complete.
    pub(super) fn was_read(&mut self, offset: u64, asked: u32, length: u32) {
        let length = u64::from(length);
        self.reading().passed(offset, length);
        if length < u64::from(asked) {
            self.short = self.short.max(Some(offset.saturating_add(length)));
        }
    }

    /// There is nothing to read at an offset.
    pub(super) fn end_at(&mut self, offset: u64) {
        self.reading();
        self.eof = Some(self.eof.map_or(offset, |eof| eof.min(offset)));
    }

    /// A read that failed: whoever asked wanted bytes.
    pub(super) fn not_read(&mut self) {
        self.reading();
    }

    /// Bytes of a write.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8], window: &mut Window) {
        let appended = self.flags.any(OpenFlags::APPEND);
        let flow = self.writing();
        if appended {
            flow.digest.lose(NoDigest::Appended, window);
        }
        flow.digest.push(offset, bytes, window);
    }

    /// A write has been sent.
    pub(super) fn sent(&mut self) {
        self.writing();
        self.unconfirmed += 1;
    }

    /// A write has been confirmed, or its confirmation would not be in the record.
    pub(super) fn was_written(&mut self, offset: u64, length: u32) {
        self.unconfirmed = self.unconfirmed.saturating_sub(1);
        let length = u64::from(length);
        self.writing().passed(offset, length);
        if let Some(size) = &mut self.size {
            *size = (*size).max(offset.saturating_add(length));
        }
    }

    /// A write failed, or was given up waiting for.
    pub(super) fn not_written(&mut self, reason: NoDigest, window: &mut Window) {
        self.unconfirmed = self.unconfirmed.saturating_sub(1);
        self.writing().digest.lose(reason, window);
    }

    /// The file's size was set.
    pub(super) fn resized(&mut self, size: u64, window: &mut Window) {
        self.size = Some(size);
        if let Some(flow) = &mut self.written
            && flow.ranges.contiguous() > size
        {
            flow.digest.lose(NoDigest::Truncated, window);
        }
    }

    /// The file's size was told.
    pub(super) fn told(&mut self, size: u64) {
        self.told = Some(size);
    }

    /// The server copied a part into it.
    pub(super) fn copied_into(&mut self, window: &mut Window) {
        self.size = None;
        self.writing().digest.lose(NoDigest::CopiedOnServer, window);
    }

    /// What there is to say when it is closed: read and written.
    pub(super) fn finish(mut self, window: &mut Window) -> (Option<Transferred>, Option<Transferred>) {
        if self.unconfirmed > 0 {
            self.writing().digest.lose(NoDigest::Unanswered, window);
        }
        let read = self.read.map(|flow| {
            let covered = flow.ranges.contiguous();
            // The end was seen: nothing at that place; or fewer bytes than asked for, and nothing behind them; or as
            // many as the file was said to have.
            let ended = self.eof.is_some_and(|eof| eof <= covered || self.short == Some(covered));
            let end = (ended || self.told == Some(covered)).then_some(covered);
            flow.finish(end, window)
        });
        let written = self.written.map(|flow| {
            let end = self.size.or_else(|| self.told.filter(|told| *told == flow.ranges.contiguous()));
            let mut written = flow.finish(end, window);
            let spoiled = matches!(
                written.sha256,
                Err(NoDigest::Failed
                    | NoDigest::Unanswered
                    | NoDigest::Truncated
                    | NoDigest::Appended
                    | NoDigest::CopiedOnServer)
            );
            written.complete &= !spoiled;
            written
        });
        (read, written)
    }
}

/// What a handle stands for.
#[derive(Debug)]
pub(super) enum Kind {
    File(Transfer),
    Directory { entries: u64, complete: bool },
}

/// A handle in use.
#[derive(Debug)]
pub(super) struct Entry {
    /// As the server gave it; kept to take it out of the table.
    pub(super) handle: Box<[u8]>,
    pub(super) path: Option<RemotePath>,
    pub(super) path_inferred: bool,
    /// When it was opened or first seen, in nanoseconds since 1970.
    pub(super) since: u64,
    pub(super) kind: Kind,
}

impl Entry {
    pub(super) fn weight(&self) -> usize {
        self.handle.len() + self.path.as_ref().map_or(0, |path| path.as_bytes().len())
    }
}
