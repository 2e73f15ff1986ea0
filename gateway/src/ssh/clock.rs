//! The clocks of a connection: login grace, silence, idleness, the longest time it may last; and whoever has a terminal is
//! warned before the latter two run out.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::connection::{Connection, EndReason};
use super::messages;

/// Users with a terminal are warned this long before their time is up: enough to save a file.
const WARNING: Duration = Duration::from_secs(5 * 60);

impl Connection {
    pub(super) fn login_deadline(&self) -> Option<Instant> {
        self.snapshot.login_grace.map(|grace| self.accepted + grace)
    }

    /// Ends the connection if one of its clocks has run out.
    pub(super) fn look_at_the_clock(&self) {
        if self.client_seems_gone() {
            self.end(EndReason::ClientGone);
        }
        let Some(login) = self.login.get() else {
            if self.login_deadline().is_some_and(|deadline| Instant::now() >= deadline) {
                self.end(EndReason::LoginGrace);
            }
            if self.drain.begun.is_cancelled() {
                self.end(EndReason::GatewayStops);
            }
            return;
        };
        // While we hold reading back, silence is ours.
        if let Some(limit) = self.snapshot.silence
            && self.wire.gate.is_open()
            && self.wire.silent_for() > limit
        {
            self.end(EndReason::Silent);
        }
        let idle = self
            .accepted
            .elapsed()
            .saturating_sub(Duration::from_millis(self.active.load(Ordering::Relaxed)));
        if let Some(limit) = self.snapshot.idle_timeout {
            match limit.checked_sub(idle).filter(|left| !left.is_zero()) {
                None => self.end(EndReason::Idle(limit)),
                Some(left) if left <= warning(limit) => {
                    self.warn(&self.warned_of_idleness, || messages::idle_soon(idle, left));
                }
                Some(_) => self.warned_of_idleness.store(false, Ordering::Relaxed),
            }
        }
        if let Some(limit) = self.snapshot.max_duration {
            match limit.checked_sub(login.at.elapsed()).filter(|left| !left.is_zero()) {
                None => self.end(EndReason::TooLong(limit)),
                Some(left) if left <= warning(limit) => {
                    self.warn(&self.warned_of_end, || messages::too_long_soon(limit, left));
                }
                Some(_) => {}
            }
        }
        if self.drain.begun.is_cancelled() && self.sessions() + self.forwarding.streams() == 0 {
            self.end(EndReason::GatewayStops);
        }
    }

    /// Tells users with a terminal something, once.
    fn warn(&self, warned: &AtomicBool, text: impl FnOnce() -> String) {
        if !warned.swap(true, Ordering::Relaxed) {
            self.notices.send_replace(Some(text()));
        }
    }

    /// What users with a terminal are to be told from now on.
    pub(crate) fn notices(&self) -> watch::Receiver<Option<String>> {
        self.notices.subscribe()
    }

    /// russh sees a closed stream only when it reads, which it does not while a webhook is asked or reading is held
    /// back. Two ticks in a row, so that russh reads the end itself where it can.
    fn client_seems_gone(&self) -> bool {
        if self.wire.client_is_gone() {
            self.gone_ticks.fetch_add(1, Ordering::Relaxed) >= 1
        } else {
            self.gone_ticks.store(0, Ordering::Relaxed);
            false
        }
    }
}

/// How long before its end a connection is warned: a fifth of what it may last, so that short limits warn too.
fn warning(limit: Duration) -> Duration {
    (limit / 5).min(WARNING)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_times_warn_late_and_long_ones_not_too_early() {
        assert_eq!(warning(Duration::from_secs(60)), Duration::from_secs(12));
        assert_eq!(warning(Duration::from_secs(8 * 3600)), WARNING);
    }
}
