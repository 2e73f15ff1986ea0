//! Holds a connection's reading back while what it already sent is not yet consumed.
//!
//! russh grants a channel's window anew when data *arrives*, not when it is consumed, and its session loop waits for a
//! full channel queue: a program that reads slowly would freeze its own output, which makes it read not at all: a
//! deadlock (`ssh host cat < large` shows it). So the queues here never fill. Every byte that waits for a program is
//! counted, and above [`HIGH`] no more is read *from the socket*: the loop stays alive, output flows, and TCP tells the
//! client to wait.
//!
//! One exception breaks a second deadlock: a program whose output waits for the client's window can only go on when the
//! client's window adjustment is read, which may stand behind more input. While somebody waits for that, reading
//! goes on up to [`HARD`], which is the bound of this connection's memory. A client that sends more than that while it
//! takes nothing stands still then, and so does its connection: only granting windows by consumption would help, which
//! needs russh. The channel's task ends such a session after a while ([`ReadGate::is_stuck`]).

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;

/// Reading pauses at this many waiting bytes: a few milliseconds at full speed, enough that the guest never starves.
const HIGH: usize = 1024 * 1024;
/// Reading resumes at this many: hysteresis, so that the session task is not woken for every packet.
const LOW: usize = 512 * 1024;
/// Never more than this many, whoever waits. Several times what fits into the sockets between a client and us, behind
/// which a window adjustment of a client that does read may stand.
const HARD: usize = 16 * 1024 * 1024;
/// What a message costs besides its bytes: packet allocation, queue slot. Counts so that a flood of empty messages is
/// bounded as well.
pub(crate) const MESSAGE_OVERHEAD: usize = 256;

/// Counts what one connection sent and nobody consumed yet.
#[derive(Debug, Default)]
pub(crate) struct ReadGate {
    /// Bytes that wait, over all channels.
    held: AtomicUsize,
    /// Writers that wait for the client's window.
    blocked_writers: AtomicUsize,
    /// Between crossing [`HIGH`] upwards and [`LOW`] downwards.
    paused: AtomicBool,
    /// The session task, when it waits for the gate.
    reader: AtomicWaker,
}

impl ReadGate {
    /// Ready when the socket may be read. Wakes the task of the newest call.
    pub(crate) fn poll_open(&self, cx: &Context<'_>) -> Poll<()> {
        if self.is_open() {
            return Poll::Ready(());
        }
        self.reader.register(cx.waker());
        // What opened the gate between the look and the registration has woken nobody.
        if self.is_open() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Whether the socket may be read.
    pub(crate) fn is_open(&self) -> bool {
        let held = self.held.load(Ordering::SeqCst);
        if held >= HIGH {
            self.paused.store(true, Ordering::SeqCst);
        } else if held <= LOW {
            self.paused.store(false, Ordering::SeqCst);
        }
        !self.paused.load(Ordering::SeqCst)
            || (held < HARD && self.blocked_writers.load(Ordering::SeqCst) > 0)
    }

    /// Whether reading is held back although output waits for the client: neither direction can move by itself.
    pub(crate) fn is_stuck(&self) -> bool {
        !self.is_open() && self.blocked_writers.load(Ordering::SeqCst) > 0
    }

    /// Notes bytes that now wait.
    pub(crate) fn hold(&self, bytes: usize) {
        self.held.fetch_add(bytes, Ordering::SeqCst);
    }

    /// Notes bytes that were consumed or dropped.
    pub(crate) fn release(&self, bytes: usize) {
        let before = self.held.fetch_sub(bytes, Ordering::SeqCst);
        if before.saturating_sub(bytes) <= LOW && self.paused.load(Ordering::SeqCst) {
            self.reader.wake();
        }
    }

    /// Notes that somebody waits for the client's window, until the guard is dropped.
    pub(crate) fn blocked_writer(&self) -> BlockedWriter<'_> {
        self.blocked_writers.fetch_add(1, Ordering::SeqCst);
        self.reader.wake();
        BlockedWriter(self)
    }
}

/// Somebody waits for the client's window.
#[derive(Debug)]
pub(crate) struct BlockedWriter<'a>(&'a ReadGate);

impl Drop for BlockedWriter<'_> {
    fn drop(&mut self) {
        self.0.blocked_writers.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::task::noop_waker;

    #[test]
    fn pauses_when_full_and_resumes_when_half_empty() {
        let gate = ReadGate::default();
        let waker = noop_waker();
        let cx = Context::from_waker(&waker);
        assert!(gate.poll_open(&cx).is_ready());
        gate.hold(HIGH);
        assert!(gate.poll_open(&cx).is_pending());
        gate.release(HIGH - LOW - 1);
        assert!(gate.poll_open(&cx).is_pending(), "still above the low mark");
        gate.release(1);
        assert!(gate.poll_open(&cx).is_ready());
    }

    #[test]
    fn a_writer_that_waits_for_the_client_keeps_reading_alive_up_to_the_hard_bound() {
        let gate = ReadGate::default();
        gate.hold(HIGH);
        assert!(!gate.is_open());
        let guard = gate.blocked_writer();
        assert!(gate.is_open());
        gate.hold(HARD - HIGH);
        assert!(!gate.is_open() && gate.is_stuck());
        drop(guard);
        gate.release(HARD - HIGH);
        assert!(!gate.is_open());
    }
}
