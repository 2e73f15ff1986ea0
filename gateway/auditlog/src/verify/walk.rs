//! The members of a record one after another, and what becomes known of each.

use std::io::{self, BufRead, Read};

use super::{Ending, MAX_PIECES, Piece, Report, State, Verdict, closed};
use crate::chain::{Hash, Kind, Link, Mark, Member, Step, UNSEEN, Walk};
use crate::header::HEADER_LEN;
use crate::manifest::Manifest;
use crate::tally::{Counter, Tally};

/// Members since something vouched for all before them.
#[derive(Clone, Copy, Debug)]
struct Run {
    from: u64,
    to: u64,
    first: u32,
    last: u32,
    /// What they are if they are vouched for.
    state: State,
    tally: Tally,
}

/// What is known so far.
#[derive(Debug)]
pub(super) struct Findings<'a> {
    /// The manifest's digests, in order; `None` without a manifest that knows the chain.
    marks: Option<&'a [Mark]>,
    /// Members there should be, by the manifest.
    members: Option<u32>,
    /// The number of the next member in order, and the digest it should name.
    next: u32,
    head: Option<Hash>,
    /// Consistent, waits to be vouched for: by the manifest, or without one by the next member.
    run: Option<Run>,
    chained: bool,
    ending: Ending,
    pieces: Vec<Piece>,
    counter: Counter,
    tally: Tally,
}

/// Reads a record to the last byte that matters.
pub(super) fn walk(record: &mut impl BufRead, findings: &mut Findings<'_>) -> io::Result<()> {
    let mut header = Vec::with_capacity(HEADER_LEN);
    record.by_ref().take(HEADER_LEN as u64).read_to_end(&mut header)?;
    let length = header.len() as u64;
    if header.len() < HEADER_LEN {
        findings.piece(0, length, State::Cut, None, Tally::default());
        return Ok(());
    }
    findings.head = Some(Hash::of_member(&header));
    let mut walk = Walk::new(record, length);
    loop {
        let start = walk.position();
        let step = walk.next(&mut |content| findings.counter.push(content))?;
        match step {
            Step::End => return Ok(()),
            Step::Member(member) => findings.member(&member),
            Step::Damaged | Step::Cut => {
                // What decompresses to the end of the file may have swallowed members, so both are searched.
                let resumed = walk.search(findings.is_chained())?;
                findings.counter.lose();
                let state = if resumed || step == Step::Damaged { State::Altered } else { State::Cut };
                findings.damage(start, walk.position(), state);
                if !resumed {
                    return Ok(());
                }
            }
        }
    }
}

impl<'a> Findings<'a> {
    pub(super) fn new(manifest: Option<&'a Manifest>) -> Self {
        let chain = manifest.and_then(|manifest| manifest.chain.as_ref());
        Self {
            marks: chain.map(|chain| &chain.marks[..]),
            members: chain.map(|chain| chain.members),
            next: 0,
            head: None,
            run: None,
            chained: false,
            ending: Ending::None,
            pieces: Vec::new(),
            counter: Counter::default(),
            tally: Tally::default(),
        }
    }

    /// Whether only members with links can be of this record.
    fn is_chained(&self) -> bool {
        self.chained || self.marks.is_some()
    }

    fn member(&mut self, member: &Member) {
        let tally = self.counter.take();
        let Some(link) = member.link else {
            let state = match (self.is_chained(), self.ending) {
                (true, Ending::None) => State::Altered,
                (true, _) => State::Foreign,
                (false, _) => State::Unproven,
            };
            self.settle();
            return self.piece(member.start, member.end, state, None, tally);
        };
        self.chained = true;
        let number = Some((link.number, link.number));
        if self.ending != Ending::None {
            return self.piece(member.start, member.end, State::Foreign, number, tally);
        }
        // What recovery adds to an encrypted record cannot name what it cannot read.
        let blind = link.number == UNSEEN;
        if !blind && link.number < self.next {
            self.settle();
            return self.piece(member.start, member.end, State::Misplaced, number, tally);
        }
        if blind {
            self.settle();
        } else if link.number > self.next {
            self.settle();
            if !self
                .pieces
                .last()
                .is_some_and(|piece| piece.state == State::Altered && piece.to == member.start)
            {
                let missing = Some((self.next, link.number - 1));
                self.piece(member.start, member.start, State::Missing, missing, Tally::default());
            }
        } else if self.head.is_some_and(|head| head != link.previous) {
            self.contradicted(member.start);
        } else if self.marks.is_none() {
            // This member vouches for the one before it.
            self.settle();
        }
        self.accept(member, &link, tally);
        self.next = link.number.saturating_add(1);
        self.head = Some(member.hash);
    }

    /// A member in its place.
    fn accept(&mut self, member: &Member, link: &Link, tally: Tally) {
        let state = match link.kind {
            Kind::Segment | Kind::Seal => State::Intact,
            Kind::Recovery | Kind::RecoverySeal => State::Recovered,
        };
        if self.run.is_some_and(|run| run.state != state && self.marks.is_none()) {
            self.settle();
        }
        let (number, end) = (link.number, member.end);
        match &mut self.run {
            Some(run) => {
                (run.to, run.last, run.state) = (end, number, state);
                run.tally.add(tally);
            }
            None => {
                // The header belongs to the first member, which names it.
                let from = if number == 0 && self.pieces.is_empty() { 0 } else { member.start };
                self.run = Some(Run { from, to: end, first: number, last: number, state, tally });
            }
        }
        if let Some(end) = link.end {
            // Where something else changed, bytes are missing or too many before it as well.
            let changed = self.pieces.iter().any(|piece| piece.state.is_change());
            if end.length != member.start && number != UNSEEN && !changed {
                self.finish_run(State::Altered);
            }
            self.ending = Ending::of(end, link.kind == Kind::RecoverySeal);
        }
        if let Some(mark) = self.mark(number) {
            let agrees = mark.head == member.hash;
            let state = self.run.map_or(State::Intact, |run| run.state);
            self.finish_run(if agrees { state } else { State::Altered });
        }
    }

    /// What the manifest says of that member.
    fn mark(&self, number: u32) -> Option<Mark> {
        let marks = self.marks?;
        let at = marks.binary_search_by_key(&number, |mark| mark.member).ok()?;
        marks.get(at).copied()
    }

    /// The member at `at` names another digest than that of what stands before it.
    fn contradicted(&mut self, at: u64) {
        match self.run.take() {
            // The whole run: what is before its last member is not vouched for either.
            Some(run) => {
                let members = Some((run.first, run.last));
                self.piece(run.from, run.to, State::Altered, members, run.tally);
            }
            // At the start of a file it is the header that is not the record's. Elsewhere everything before was vouched
            // for, so this member's link is wrong, which its mark or the next one shows.
            None if self.pieces.is_empty() => self.piece(0, at, State::Altered, None, Tally::default()),
            None => {}
        }
    }

    /// Bytes that are no sound member.
    fn damage(&mut self, from: u64, to: u64, state: State) {
        let tally = self.counter.take();
        self.settle();
        let state = if self.ending == Ending::None { state } else { State::Foreign };
        self.piece(from, to, state, None, tally);
    }

    /// No mark of the manifest will vouch for the members that wait.
    fn settle(&mut self) {
        let state = match (self.run, self.marks) {
            // By the chain alone they are what they say.
            (Some(run), None) => run.state,
            _ => State::Unproven,
        };
        self.finish_run(state);
    }

    fn finish_run(&mut self, state: State) {
        if let Some(run) = self.run.take() {
            // What recovery added unseen has no place among the numbers.
            let members = (run.first != UNSEEN).then_some((run.first, run.last));
            self.piece(run.from, run.to, state, members, run.tally);
        }
    }

    fn piece(&mut self, from: u64, to: u64, state: State, members: Option<(u32, u32)>, tally: Tally) {
        self.tally.add(tally);
        let full = self.pieces.len() >= MAX_PIECES;
        match self.pieces.last_mut() {
            Some(last) if full || (last.state == state && last.to == from && state != State::Missing) => {
                if full && state.is_change() {
                    last.state = State::Altered;
                }
                last.to = to;
                last.members = match (last.members, members) {
                    (Some((first, _)), Some((_, last))) => Some((first, last)),
                    (one, other) => one.or(other),
                };
                last.tally.add(tally);
            }
            _ => self.pieces.push(Piece { from, to, state, members, tally }),
        }
    }

    pub(super) fn finish(mut self, bytes: u64, sha256: Hash, manifest: Option<&Manifest>) -> Report {
        self.settle();
        let as_manifest = manifest.map(|manifest| manifest.bytes == bytes && manifest.sha256 == sha256);
        let read = self.pieces.last().map_or(0, |piece| piece.to).max((HEADER_LEN as u64).min(bytes));
        if self.ending == Ending::None && self.is_chained() {
            let missing =
                self.members.and_then(|members| members.checked_sub(1)).map(|last| (self.next, last));
            let missing = missing.filter(|(next, last)| next <= last);
            let state = if missing.is_some() { State::Missing } else { State::Cut };
            self.piece(read, read, state, missing, Tally::default());
        }
        if read < bytes {
            self.piece(read, bytes, State::Foreign, None, Tally::default());
        }
        let changed = self.pieces.iter().any(|piece| piece.state.is_change());
        let torn = self.pieces.iter().any(|piece| piece.state == State::Cut);
        let verdict = match (as_manifest, changed) {
            (Some(false), _) => Verdict::Altered,
            (Some(true), false) => closed(manifest),
            // It was so when the manifest was written, which is not how a record is written.
            (_, true) => Verdict::Altered,
            // Records of ContainerSSH itself never finish their gzip stream.
            (None, false) if torn && (self.chained || bytes < HEADER_LEN as u64) => Verdict::Cut,
            (None, false) => match self.ending {
                Ending::Session => Verdict::Intact,
                Ending::Recovery { .. } => Verdict::Recovered,
                Ending::None => Verdict::Unproven,
            },
        };
        if as_manifest == Some(false) && !changed {
            // The change is where no digest tells it from the rest, so it may be anywhere.
            self.piece(0, bytes, State::Altered, None, Tally::default());
        }
        if as_manifest == Some(true) && !changed {
            // The whole is vouched for.
            for piece in &mut self.pieces {
                if piece.state == State::Unproven {
                    piece.state = State::Intact;
                }
            }
        }
        Report {
            verdict,
            bytes,
            sha256,
            as_manifest,
            chain: self.chained,
            ending: self.ending,
            pieces: self.pieces,
            tally: self.tally,
        }
    }
}
