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
    unreported: u64,
    /// All that was ever lost, reported or not.
    lost: u64,
    /// The last write failed. Losses are reported once there is a line to try again with, not in a busy loop.
    broken: bool,
    /// Lines are handed in and written out in batches; a batch is done when this counter passes it.
    batches_taken: u64,
    batches_written: u64,
    closed: bool,
}

impl State {
    fn has_work(&self) -> bool {
        !self.waiting.is_empty() || (self.unreported > 0 && !self.broken)
    }
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
            state.unreported += 1;
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
        let target = state.batches_taken + u64::from(state.has_work());
        while state.batches_written < target {
            let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
            else {
                return false;
            };
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Lines lost since the start.
    pub fn lost(&self) -> u64 {
        self.lock().lost
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
            let waiting = self.changed.wait_while(self.lock(), |state| !state.has_work() && !state.closed);
            let mut state = waiting.unwrap_or_else(PoisonError::into_inner);
            if !state.has_work() {
                return;
            }
            std::mem::swap(&mut batch, &mut state.waiting);
            let lost = std::mem::take(&mut state.unreported);
            state.batches_taken += 1;
            drop(state);

            let own = batch.len();
            if lost > 0 {
                batch.extend_from_slice(&report(lost));
            }
            let written = write_out(&mut output, &batch);
            let failed = written < batch.len();
            // What an output took before it failed is not lost; a line of which it took a part is.
            let rest = batch.get(written.min(own)..own).unwrap_or_default();
            let lines = rest.iter().filter(|byte| **byte == b'\n').count() as u64;
            batch.clear();

            let mut state = self.lock();
            state.batches_written += 1;
            state.broken = failed;
            if failed {
                state.unreported += lines + lost;
                state.lost += lines;
            }
            drop(state);
            self.changed.notify_all();
        }
    }
}

/// Writes a batch and says how much of it the output took before it failed.
fn write_out(output: &mut impl Write, batch: &[u8]) -> usize {
    let mut written = 0;
    while let Some(rest) = batch.get(written..).filter(|rest| !rest.is_empty()) {
        match output.write(rest) {
            Ok(0) => return written,
            Ok(more) => written += more,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return written,
        }
    }
    if output.flush().is_ok() { written } else { 0 }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Fails or writes as it is told, one word per write; an empty channel stalls it.
    struct Steered {
        orders: mpsc::Receiver<bool>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Steered {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            match self.orders.recv() {
                Ok(true) => {
                    self.written.lock().unwrap().extend_from_slice(bytes);
                    Ok(bytes.len())
                }
                _ => Err(std::io::ErrorKind::BrokenPipe.into()),
            }
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn steered() -> (Arc<Queue>, mpsc::Sender<bool>, Arc<Mutex<Vec<u8>>>) {
        let (orders, receiver) = mpsc::channel();
        let written = Arc::new(Mutex::new(Vec::new()));
        let output = Steered { orders: receiver, written: Arc::clone(&written) };
        let queue = Queue::start(output, Box::new(|lost| format!("lost {lost}\n").into_bytes())).unwrap();
        (queue, orders, written)
    }

    fn text(written: &Mutex<Vec<u8>>) -> String {
        String::from_utf8(written.lock().unwrap().clone()).unwrap()
    }

    const SOON: Duration = Duration::from_secs(30);

    #[test]
    fn lines_come_out_in_order() {
        let (queue, orders, written) = steered();
        for order in 0..100 {
            orders.send(true).unwrap();
            queue.push(format!("line {order}\n").as_bytes());
        }
        assert!(queue.flush(SOON));
        let expected: String = (0..100).map(|order| format!("line {order}\n")).collect();
        assert_eq!(text(&written), expected);
    }

    #[test]
    fn a_stalled_output_costs_counted_lines_and_no_time() {
        let (queue, orders, written) = steered();
        // The first line is taken out and stalls the thread; then the queue fills.
        queue.push(b"first\n");
        while !queue.lock().waiting.is_empty() {
            std::thread::yield_now();
        }
        let line = [b"x".repeat(1023).as_slice(), b"\n"].concat();
        for _ in 0..QUEUE_BYTES / line.len() + 7 {
            queue.push(&line);
        }
        assert!(!queue.flush(Duration::from_millis(1)));
        for _ in 0..2 {
            orders.send(true).unwrap();
        }
        assert!(queue.flush(SOON));
        let text = text(&written);
        assert!(text.starts_with("first\nxxx") && text.ends_with("x\nlost 7\n"), "{}", text.len());
        assert_eq!(text.lines().count(), 1 + QUEUE_BYTES / line.len() + 1);
    }

    #[test]
    fn a_broken_output_is_tried_again_with_the_next_line_and_the_loss_reported() {
        let (queue, orders, written) = steered();
        for line in ["a\nb\n", "c\n"] {
            orders.send(false).unwrap();
            queue.push(line.as_bytes());
            assert!(queue.flush(SOON), "a failed write is over, too");
        }
        orders.send(true).unwrap();
        queue.push(b"d\n");
        assert!(queue.flush(SOON));
        assert_eq!(text(&written), "d\nlost 3\n");
    }

    #[test]
    fn closing_writes_what_is_left() {
        let (queue, orders, written) = steered();
        orders.send(true).unwrap();
        queue.push(b"last\n");
        queue.close();
        assert!(queue.flush(SOON));
        assert_eq!(text(&written), "last\n");
        // The thread is gone, and with it the receiver of orders.
        while orders.send(true).is_ok() {
            std::thread::yield_now();
        }
    }
}
