//! Group commit: one round of fsync at a time for all connections.
//!
//! A flush of the disk's cache costs the same for one file as for many, and a session that writes every keystroke would
//! cause ten a second. So requests are collected: rounds start at most every 100 ms, and everything that arrived since
//! the last one is made durable together. Whoever has written a lot and would have to wait for the next round starts it at
//! once: then it is the disk that sets the pace and not the clock. With many files the whole file system is synced in one call: the journal
//! then commits once instead of once per file.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

/// The least time between the starts of two rounds: what a power cut can cost beyond the segment being written.
pub(crate) const ROUND: Duration = Duration::from_millis(100);

/// From how many files on one `syncfs` is cheaper than syncing each. Each costs a journal commit, some milliseconds on a
/// disk with a volatile cache; the rest of the file system is mostly clean, for the spool is what writes to it.
const MANY: usize = 8;

/// Requests that may wait to be taken up. More wait in `SyncGroup::sync`, one per connection.
const QUEUE: usize = 256;

/// What shall be durable.
#[derive(Debug)]
pub(crate) struct Dirty {
    /// Files with new content.
    pub(crate) files: Vec<Arc<File>>,
    /// Whether names in the directory changed too.
    pub(crate) names: bool,
}

/// The outcome, shared by everybody in the round where it was one call for all.
pub(crate) type Synced = Result<(), String>;

/// Makes files of one directory durable, in rounds.
#[derive(Debug, Clone)]
pub(crate) struct SyncGroup {
    requests: mpsc::Sender<(Dirty, oneshot::Sender<Synced>)>,
    /// Rung to start the next round at once.
    hurry: Arc<Notify>,
}

impl SyncGroup {
    /// Starts the rounds. They end when the last handle is dropped.
    pub(crate) fn start(directory: Arc<File>) -> Self {
        let (requests, receiver) = mpsc::channel(QUEUE);
        let hurry = Arc::new(Notify::new());
        tokio::spawn(rounds(directory, receiver, hurry.clone()));
        Self { requests, hurry }
    }

    /// Does not wait for the time of the next round.
    pub(crate) fn hurry(&self) {
        self.hurry.notify_one();
    }

    /// Asks for a sync and returns what to wait on. An error means that the data may be gone even if a later sync
    /// succeeds: the kernel reports a failed write-back once and forgets the pages.
    pub(crate) async fn sync(&self, dirty: Dirty) -> oneshot::Receiver<Synced> {
        let (done, outcome) = oneshot::channel();
        // On failure the answer's sender is dropped, which the receiver reports.
        let _closed = self.requests.send((dirty, done)).await;
        outcome
    }
}

async fn rounds(
    directory: Arc<File>,
    mut requests: mpsc::Receiver<(Dirty, oneshot::Sender<Synced>)>,
    hurry: Arc<Notify>,
) {
    let mut next = Instant::now();
    while let Some(first) = requests.recv().await {
        tokio::select! {
            () = sleep_until(next) => {}
            () = hurry.notified() => {}
        }
        next = Instant::now() + ROUND;
        let mut round = vec![first];
        while round.len() < QUEUE
            && let Ok(more) = requests.try_recv()
        {
            round.push(more);
        }
        let (wanted, answers): (Vec<Dirty>, Vec<_>) = round.into_iter().unzip();
        let directory = directory.clone();
        let outcomes = tokio::task::spawn_blocking(move || commit(&directory, &wanted)).await;
        let mut outcomes = outcomes.unwrap_or_default().into_iter();
        for answer in answers {
            let outcome = outcomes.next().unwrap_or_else(|| Err("the sync was aborted".to_owned()));
            let _gone = answer.send(outcome);
        }
    }
}

/// One round, in the order of the requests.
fn commit(directory: &File, wanted: &[Dirty]) -> Vec<Synced> {
    let files: usize = wanted.iter().map(|dirty| dirty.files.len()).sum();
    if files >= MANY {
        // Names are part of the file system, so this covers the directory as well.
        let outcome = rustix::fs::syncfs(directory).map_err(|error| io::Error::from(error).to_string());
        return wanted.iter().map(|_| outcome.clone()).collect();
    }
    let contents: Vec<Synced> = wanted
        .iter()
        .map(|dirty| {
            dirty.files.iter().try_for_each(|file| file.sync_data().map_err(|error| error.to_string()))
        })
        .collect();
    let names = if wanted.iter().any(|dirty| dirty.names) {
        directory.sync_all().map_err(|error| error.to_string())
    } else {
        Ok(())
    };
    contents
        .into_iter()
        .zip(wanted)
        .map(|(content, dirty)| if dirty.names { content.and(names.clone()) } else { content })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(count: usize) -> (tempfile::TempDir, Arc<File>, Vec<Arc<File>>) {
        let directory = tempfile::tempdir().unwrap();
        let handle = Arc::new(File::open(directory.path()).unwrap());
        let files =
            (0..count).map(|at| Arc::new(File::create(directory.path().join(at.to_string())).unwrap()));
        let files = files.collect();
        (directory, handle, files)
    }

    #[tokio::test(start_paused = true)]
    async fn requests_that_arrive_within_a_round_share_the_next_one() {
        let (_directory, handle, files) = files(20);
        let group = SyncGroup::start(handle);
        let start = Instant::now();
        let mut waiting = Vec::new();
        for file in files {
            waiting.push(group.sync(Dirty { files: vec![file], names: true }).await);
        }
        for outcome in waiting {
            outcome.await.unwrap().unwrap();
        }
        assert!(start.elapsed() <= 2 * ROUND, "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_in_a_hurry_does_not_wait_for_the_clock() {
        let (_directory, handle, files) = files(1);
        let group = SyncGroup::start(handle);
        let start = Instant::now();
        for _ in 0..5 {
            let outcome = group.sync(Dirty { files: files.clone(), names: false }).await;
            group.hurry();
            outcome.await.unwrap().unwrap();
        }
        assert!(start.elapsed() < ROUND, "{:?}", start.elapsed());
    }

    #[test]
    fn an_error_reaches_only_those_it_concerns() {
        let (_directory, handle, files) = files(1);
        // A pipe cannot be synced.
        let (_reader, writer) = std::io::pipe().unwrap();
        let pipe = Arc::new(File::from(std::os::fd::OwnedFd::from(writer)));
        let outcomes = commit(
            &handle,
            &[Dirty { files: vec![pipe], names: false }, Dirty { files: files.clone(), names: true }],
        );
        assert!(outcomes[0].is_err());
        assert_eq!(outcomes[1], Ok(()));
    }
}
