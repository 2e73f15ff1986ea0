//! The taker's stream: an answer for each thing that was sent.

use super::ScpDecoder;
use crate::sftp::event::{NoDigest, Operation, Outcome};
use crate::sftp::observer::Observer;

/// Answers that are outstanding: two for a file, and a sender waits for each.
const MAX_OUTSTANDING: usize = 64;

/// What an answer of the taker is for.
#[derive(Debug)]
pub(super) enum Expected {
    /// To the start, to times, to the end of a directory: nothing to report.
    Nothing,
    /// To a file's line.
    File { operation: Operation, since: u64 },
    /// To anything else that has an event.
    Event { operation: Operation, since: u64 },
}

impl ScpDecoder {
    pub(super) fn taker(&mut self, data: &[u8], to: &mut impl Observer) {
        let mut rest = data;
        self.taker_speaks |= !data.is_empty();
        while !rest.is_empty() && !self.taker_lost {
            match self.complaint.verdict(&mut rest, &mut self.taken[1]) {
                None => {}
                Some(Ok(())) => self.answered(Outcome::Ok, to),
                Some(Err(Outcome::Failed { code: code @ (1 | 2), message })) => {
                    self.answered(Outcome::Failed { code, message }, to);
                }
                Some(Err(_)) => {
                    self.taker_lost = true;
                    let [_, stream] = self.streams();
                    let reason = "this is not scp's protocol".to_owned();
                    self.emit(
                        self.now,
                        Operation::Desynchronised { stream, offset: self.taken[1], reason },
                        None,
                        to,
                    );
                }
            }
        }
    }

    fn answered(&mut self, outcome: Outcome, to: &mut impl Observer) {
        if let Some(expected) = self.expected.pop_front() {
            if matches!(expected, Expected::File { .. }) {
                self.refused = outcome != Outcome::Ok;
            }
            self.settle(expected, outcome, to);
        }
    }

    pub(super) fn expect(&mut self, expected: Expected, to: &mut impl Observer) {
        if !self.answers_recorded {
            return self.settle(expected, Outcome::NotRecorded, to);
        }
        self.expected.push_back(expected);
        if self.expected.len() > MAX_OUTSTANDING
            && let Some(oldest) = self.expected.pop_front()
        {
            let outcome = if self.taker_speaks { Outcome::Unanswered } else { Outcome::NotRecorded };
            self.settle(oldest, outcome, to);
        }
    }

    pub(super) fn settle(&mut self, expected: Expected, outcome: Outcome, to: &mut impl Observer) {
        match expected {
            Expected::Nothing => {}
            Expected::File { mut operation, since } => {
                if let (Operation::Open { transfer, .. }, Outcome::Failed { .. }) = (&mut operation, &outcome)
                {
                    *transfer = None;
                }
                self.emit(since, operation, Some(outcome), to);
            }
            Expected::Event { mut operation, since } => {
                match outcome {
                    Outcome::Failed { .. } => incomplete(&mut operation, NoDigest::Failed),
                    Outcome::Unanswered => incomplete(&mut operation, NoDigest::Unanswered),
                    _ => {}
                }
                self.emit(since, operation, Some(outcome), to);
            }
        }
    }
}

/// The bytes passed, but did not become the file.
pub(super) fn incomplete(operation: &mut Operation, reason: NoDigest) {
    if let Operation::Close { read, written, .. } = operation {
        for moved in [read, written].into_iter().flatten() {
            moved.complete = false;
            if moved.sha256.is_ok() {
                moved.sha256 = Err(reason);
            }
        }
    }
}
