//! A circuit breaker: whether a server that gave no answers is worth waiting for.
//!
//! It counts **questions** and not attempts: a restart that retries outlast is no outage, and the time that one login may take is
//! `authTimeout`'s to say. Once so many questions in a row have had no answer it opens: whoever waits is denied, and so is everybody
//! who comes, at once. After a while one question is let through, with a single attempt; its answer closes the breaker, its
//! failure keeps it open for as long again. An answer is whatever shows that the server is there, so a mistake in the
//! server's answers, which denies at once anyway, opens nothing.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use containerssh_config::CircuitBreaker as Settings;
use tokio::sync::watch;
use tokio::time::Instant;

#[derive(Debug)]
pub(super) struct Breaker {
    settings: Settings,
    state: Mutex<State>,
    open: watch::Sender<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Questions pass; so many in a row had no answer.
    Closed { in_a_row: u32 },
    /// Nobody passes before this time, and then one does.
    Open { until: Instant },
    /// One question has passed and has no answer yet.
    Probing,
}

/// What a settled question did to the breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Opened,
    Closed,
}

/// A question that was let through. Dropping it unsettled (its asker left) says nothing about the server.
#[derive(Debug)]
pub(super) struct Passage<'a> {
    breaker: &'a Breaker,
    pub(super) is_probe: bool,
    settled: bool,
}

impl Breaker {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, state: Mutex::new(State::Closed { in_a_row: 0 }), open: watch::Sender::new(false) }
    }

    /// One that never opens.
    pub(super) fn never() -> Self {
        Self::new(Settings { failures: 0, ..Settings::default() })
    }

    /// Lets a question through, or says how long nobody is.
    pub(super) fn pass(&self, now: Instant) -> Result<Passage<'_>, Duration> {
        let mut state = self.lock();
        let is_probe = match *state {
            State::Closed { .. } => false,
            State::Open { until } if until <= now => {
                *state = State::Probing;
                true
            }
            State::Open { until } => return Err(until.saturating_duration_since(now)),
            State::Probing => return Err(Duration::ZERO),
        };
        Ok(Passage { breaker: self, is_probe, settled: false })
    }

    /// Resolves once it is open. Cancel safe.
    pub(super) async fn opened(&self) {
        // Fails only when the sender is gone, which is ours.
        let _ = self.open.subscribe().wait_for(|open| *open).await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, state: &mut State, next: State) {
        *state = next;
        self.open.send_replace(!matches!(next, State::Closed { .. }));
    }
}

impl Passage<'_> {
    /// The server answered something, however late.
    pub(super) fn answered(mut self) -> Option<Change> {
        self.settled = true;
        let mut state = self.breaker.lock();
        let was_open = !matches!(*state, State::Closed { .. });
        self.breaker.set(&mut state, State::Closed { in_a_row: 0 });
        was_open.then_some(Change::Closed)
    }

    /// There was no answer.
    pub(super) fn failed(mut self, now: Instant) -> Option<Change> {
        self.settled = true;
        let Settings { failures, open_for } = self.breaker.settings;
        let mut state = self.breaker.lock();
        match *state {
            State::Closed { in_a_row } => {
                let in_a_row = in_a_row.saturating_add(1);
                if failures == 0 || in_a_row < failures {
                    self.breaker.set(&mut state, State::Closed { in_a_row });
                    return None;
                }
                self.breaker.set(&mut state, State::Open { until: now + open_for });
                Some(Change::Opened)
            }
            State::Probing if self.is_probe => {
                self.breaker.set(&mut state, State::Open { until: now + open_for });
                None
            }
            // One that was asked before it opened.
            State::Open { .. } | State::Probing => None,
        }
    }
}

impl Drop for Passage<'_> {
    fn drop(&mut self) {
        if self.is_probe && !self.settled {
            let mut state = self.breaker.lock();
            if *state == State::Probing {
                // The next one may try at once.
                self.breaker.set(&mut state, State::Open { until: Instant::now() });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN_FOR: Duration = Duration::from_secs(10);

    fn breaker(failures: u32) -> (Breaker, Instant) {
        (Breaker::new(Settings { failures, open_for: OPEN_FOR }), Instant::now())
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_an_answer_in_between_begins_anew() {
        let (breaker, now) = breaker(3);
        for _ in 0..2 {
            assert_eq!(breaker.pass(now).unwrap().failed(now), None);
        }
        assert_eq!(breaker.pass(now).unwrap().answered(), None);
        for _ in 0..2 {
            assert_eq!(breaker.pass(now).unwrap().failed(now), None);
        }
        assert_eq!(breaker.pass(now).unwrap().failed(now), Some(Change::Opened));
        assert_eq!(breaker.pass(now + OPEN_FOR / 2).unwrap_err(), OPEN_FOR / 2);
    }

    #[test]
    fn one_question_tries_it_again_and_its_answer_closes_it() {
        let (breaker, now) = breaker(1);
        assert_eq!(breaker.pass(now).unwrap().failed(now), Some(Change::Opened));
        let later = now + OPEN_FOR;
        let probe = breaker.pass(later).unwrap();
        assert!(probe.is_probe && breaker.pass(later).is_err(), "two at once");
        assert_eq!(probe.failed(later), None);
        assert_eq!(breaker.pass(later).unwrap_err(), OPEN_FOR, "it stays open");
        let later = later + OPEN_FOR;
        assert_eq!(breaker.pass(later).unwrap().answered(), Some(Change::Closed));
        assert!(!breaker.pass(later).unwrap().is_probe);
    }

    #[test]
    fn a_probe_whose_asker_leaves_makes_room_for_the_next() {
        let (breaker, now) = breaker(1);
        breaker.pass(now).unwrap().failed(now);
        drop(breaker.pass(now + OPEN_FOR).unwrap());
        assert!(breaker.pass(now + OPEN_FOR).unwrap().is_probe);
    }

    #[test]
    fn late_failures_change_nothing_and_a_late_answer_closes() {
        let (breaker, now) = breaker(1);
        let (first, second, third) =
            (breaker.pass(now).unwrap(), breaker.pass(now).unwrap(), breaker.pass(now).unwrap());
        assert_eq!(first.failed(now), Some(Change::Opened));
        assert_eq!(second.failed(now + OPEN_FOR / 2), None);
        assert_eq!(breaker.pass(now).unwrap_err(), OPEN_FOR, "the time is not begun anew");
        assert_eq!(third.answered(), Some(Change::Closed));
    }

    #[test]
    fn without_a_number_it_never_opens() {
        let breaker = Breaker::never();
        for _ in 0..1000 {
            assert_eq!(breaker.pass(Instant::now()).unwrap().failed(Instant::now()), None);
        }
    }

    #[tokio::test]
    async fn whoever_waits_learns_that_it_is_open() {
        let (breaker, now) = breaker(1);
        let waiting = breaker.opened();
        breaker.pass(now).unwrap().failed(now);
        waiting.await;
    }
}
