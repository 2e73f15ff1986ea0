//! Requests that wait for their answers.
//!
//! Servers answer in the order of the requests, and OpenSSH's takes any ids, the same one twice too: an answer belongs to the
//! oldest request with its id. Requests are kept by age, so that those that are never answered leave in their turn.

use std::collections::{HashMap, VecDeque};

use super::event::{Operation, RemotePath};

/// Requests in flight, answered ones between unanswered ones included. OpenSSH keeps 64, parallel clients a few hundred.
const MAX_PENDING: usize = 4096;
/// Bytes of names that they hold together.
const MAX_BYTES: usize = 1 << 20;

/// A request.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) id: u32,
    /// When it was sent, in nanoseconds since 1970.
    pub(super) sent: u64,
    pub(super) action: Action,
}

/// What its answer means. Reads and writes, of which there are many, stay small.
#[derive(Debug)]
pub(super) enum Action {
    Read {
        entry: u64,
        offset: u64,
        length: u32,
    },
    Write {
        entry: u64,
        offset: u64,
        length: u32,
    },
    Readdir {
        entry: u64,
    },
    Close {
        entry: u64,
    },
    /// A request that gives an event; `entry` is the open file that it is about.
    Act {
        operation: Box<Operation>,
        entry: Option<u64>,
    },
    /// Its answer is of no interest.
    Ignored,
}

impl Action {
    pub(super) fn act(operation: Operation) -> Self {
        Self::Act { operation: Box::new(operation), entry: None }
    }

    fn weight(&self) -> usize {
        match self {
            Self::Act { operation, .. } => {
                size_of::<Operation>() + operation.paths().map(|p| p.as_bytes().len()).sum::<usize>()
            }
            _ => 0,
        }
    }
}

impl Operation {
    /// The names it holds.
    pub(super) fn paths(&self) -> impl Iterator<Item = &RemotePath> {
        let (path, target) = match self {
            Self::Open { path, .. }
            | Self::Opendir { path }
            | Self::Remove { path }
            | Self::Mkdir { path, .. }
            | Self::Rmdir { path } => (Some(path), None),
            Self::Close { path, .. }
            | Self::Closedir { path, .. }
            | Self::Setstat { path, .. }
            | Self::Stat { path, .. }
            | Self::Extended { path, .. } => (path.as_ref(), None),
            Self::Rename { path, target, .. }
            | Self::Symlink { path, target }
            | Self::Link { path, target } => (Some(path), Some(target)),
            Self::Readlink { path, target } | Self::Realpath { path, target } => {
                (Some(path), target.as_ref())
            }
            Self::Copy { path, target, .. } => (path.as_ref(), target.as_ref()),
            Self::Version { .. }
            | Self::UnknownRequest { .. }
            | Self::Malformed { .. }
            | Self::Desynchronised { .. }
            | Self::Unpaired { .. } => (None, None),
        };
        path.into_iter().chain(target)
    }
}

#[derive(Debug)]
struct Slot {
    request: Request,
    /// The number of the next request with the same id.
    next: Option<u64>,
}

/// Requests by age, and by id.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// From the oldest on; `None` for those that were answered before an older one.
    slots: VecDeque<Option<Slot>>,
    /// The number of the first slot.
    first: u64,
    /// The oldest and the newest request with an id.
    by_id: HashMap<u32, (u64, u64)>,
    bytes: usize,
}

impl Pending {
    /// Adds a request. [`Pending::surplus`] tells which one has to go for it.
    pub(super) fn push(&mut self, request: Request) {
        let number = self.first + self.slots.len() as u64;
        self.bytes += request.action.weight();
        let newest = self.by_id.get_mut(&request.id).map(|(_, newest)| std::mem::replace(newest, number));
        match newest {
            None => {
                self.by_id.insert(request.id, (number, number));
            }
            Some(before) => {
                if let Some(slot) = self.slot(before) {
                    slot.next = Some(number);
                }
            }
        }
        self.slots.push_back(Some(Slot { request, next: None }));
    }

    /// The oldest request, if there are more than are kept.
    pub(super) fn surplus(&mut self) -> Option<Request> {
        if self.slots.len() > MAX_PENDING || self.bytes > MAX_BYTES { self.pop() } else { None }
    }

    /// The request that an answer with this id belongs to.
    pub(super) fn take(&mut self, id: u32) -> Option<Request> {
        let (number, _) = *self.by_id.get(&id)?;
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let slot = self.slots.get_mut(index)?.take()?;
        self.forget(&slot);
        self.trim();
        Some(slot.request)
    }

    /// The oldest request.
    pub(super) fn pop(&mut self) -> Option<Request> {
        self.trim();
        let slot = self.slots.pop_front()??;
        self.first += 1;
        self.forget(&slot);
        self.trim();
        Some(slot.request)
    }

    fn slot(&mut self, number: u64) -> Option<&mut Slot> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.slots.get_mut(index)?.as_mut()
    }

    /// The slot was the oldest with its id and is gone.
    fn forget(&mut self, slot: &Slot) {
        self.bytes = self.bytes.saturating_sub(slot.request.action.weight());
        match (slot.next, self.by_id.get_mut(&slot.request.id)) {
            (Some(next), Some((oldest, _))) => *oldest = next,
            _ => {
                self.by_id.remove(&slot.request.id);
            }
        }
    }

    fn trim(&mut self) {
        while let Some(None) = self.slots.front() {
            self.slots.pop_front();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(id: u32, offset: u64) -> Request {
        Request { id, sent: 0, action: Action::Read { entry: 0, offset, length: 1 } }
    }

    fn offset(request: Option<Request>) -> Option<u64> {
        match request?.action {
            Action::Read { offset, .. } => Some(offset),
            _ => None,
        }
    }

    #[test]
    fn an_id_used_many_times_is_answered_in_order() {
        let mut pending = Pending::default();
        for at in 0..5 {
            pending.push(read(7, at));
            pending.push(read(8, 100 + at));
        }
        for at in 0..5 {
            assert_eq!(offset(pending.take(7)), Some(at));
        }
        assert_eq!(offset(pending.take(7)), None);
        pending.push(read(7, 5));
        assert_eq!(offset(pending.take(8)), Some(100));
        assert_eq!(offset(pending.take(7)), Some(5));
        assert_eq!(std::iter::from_fn(|| offset(pending.pop())).collect::<Vec<_>>(), [101, 102, 103, 104]);
        assert!(pending.by_id.is_empty() && pending.slots.is_empty());
    }

    #[test]
    fn requests_that_are_never_answered_leave_in_their_turn() {
        let mut pending = Pending::default();
        let mut given_up = 0;
        for id in 0..100_000 {
            pending.push(read(id, u64::from(id)));
            // Every second one is answered at once.
            if id % 2 == 1 {
                assert!(pending.take(id).is_some());
            }
            while let Some(request) = pending.surplus() {
                assert_eq!(request.id % 2, 0);
                given_up += 1;
            }
        }
        assert!(pending.slots.len() <= MAX_PENDING && pending.by_id.len() <= MAX_PENDING);
        assert_eq!(given_up + pending.by_id.len(), 50_000);
    }

    #[test]
    fn long_names_count() {
        let mut pending = Pending::default();
        for id in 0..1000 {
            let path = RemotePath::new(&[b'x'; 4096]);
            pending.push(Request { id, sent: 0, action: Action::act(Operation::Remove { path }) });
            while pending.surplus().is_some() {}
        }
        assert!(pending.bytes <= MAX_BYTES);
        assert!(pending.by_id.len() < 256);
    }
}
