//! The way out: a bounded queue and the one thread that writes it.
//!
//! Writing to stdout can block for as long as its reader likes, and a gateway that stalls on its log stalls every
//! session. So an event only copies its line into a buffer, under a lock that is held for that copy alone; the thread
//! takes the whole buffer at once and writes it. A full buffer costs the new line, which is counted; the loss is reported
//! as a line of its own as soon as there is room again.

use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Bytes waiting to be written: thousands of lines, enough for a burst and for a reader that stalls for a moment.
pub const QUEUE_BYTES: usize = 1024 * 1024;

/// Renders the line that reports how many lines were lost.
pub type LossReport = Box<dyn Fn(u64) -> Vec<u8> + Send>;

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    lost: u64,
    /// Lines are handed in and written out in batches; a batch is done when this counter passes it.
    batches_taken: u64,
    batches_written: u64,
    closed: bool,
}

/// A bounded queue of lines.
#[derive(Debug, Default)]
pub struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

impl Queue {
    /// A queue and the thread that writes it to `output` until [`Queue::close`].
    ///
    /// # Errors
    /// When the operating system refuses a thread.
    pub fn start(output: impl Write + Send + 'static, report: LossReport) -> std::io::Result<Arc<Queue>> {
        let queue = Arc::new(Queue::default());
        let reader = Arc::clone(&queue);
        std::thread::Builder::new().name("log".into()).spawn(move || reader.write_to(output, &report))?;
        Ok(queue)
    }

    /// Hands a line in. Never waits for the output.
    pub fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        if state.waiting.len() + line.len() > QUEUE_BYTES {
            state.lost += 1;
        } else {
            state.waiting.extend_from_slice(line);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until everything handed in so far is written or lost, at most for `limit`. Says whether it is.
    pub fn flush(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut state = self.lock();
        // What waits now goes out with the next batch; what was taken before is the current one.
        let target = state.batches_taken + u64::from(!state.waiting.is_empty() || state.lost > 0);
        while state.batches_written < target {
            let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else {
                return false;
            };
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Ends the thread once everything is written.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the lock is held; if it did, the state would still be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_to(&self, mut output: impl Write, report: &LossReport) {
        let mut batch = Vec::new();
        loop {
            let mut state = self.lock();
            while state.waiting.is_empty() && state.lost == 0 && !state.closed {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.waiting.is_empty() && state.lost == 0 {
                return;
            }
            std::mem::swap(&mut batch, &mut state.waiting);
            let lost = std::mem::take(&mut state.lost);
            state.batches_taken += 1;
            drop(state);

            let lines = batch.iter().filter(|byte| **byte == b'\n').count() as u64;
            if lost > 0 {
                batch.extend_from_slice(&report(lost));
            }
            let failed = output.write_all(&batch).and_then(|()| output.flush()).is_err();
            batch.clear();

            let mut state = self.lock();
            state.batches_written += 1;
            if failed {
                // The count is reported with the next batch; until there is one, nobody is there to read it.
                state.lost += lines + lost;
                let closed = state.closed;
                let batch_waits = self.changed.wait_while(state, |s| s.waiting.is_empty() && !s.closed);
                drop(batch_waits.unwrap_or_else(PoisonError::into_inner));
                if closed {
                    return;
                }
            } else {
                drop(state);
            }
            self.changed.notify_all();
        }
    }
}
