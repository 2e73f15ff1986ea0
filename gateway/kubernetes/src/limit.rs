//! Keeps the gateway from flooding the API server: `kubernetes.connection.qps` and `burst`.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use containerssh_config::Connection;
use tokio::time::{Instant, sleep};

/// A token bucket. Whoever comes when it is empty takes a turn in the future and waits for it, so the order of arrival is
/// kept and nobody starves.
#[derive(Debug)]
pub(crate) struct Limit {
    per_second: f64,
    burst: f64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Negative while turns in the future are taken.
    tokens: f64,
    at: Instant,
}

impl Limit {
    pub(crate) fn new(connection: &Connection) -> Self {
        let burst = f64::from(connection.burst.max(1));
        Self {
            per_second: connection.qps,
            burst,
            state: Mutex::new(State { tokens: burst, at: Instant::now() }),
        }
    }

    /// Waits for the turn of one request.
    pub(crate) async fn turn(&self) {
        let wait = self.take(Instant::now());
        if !wait.is_zero() {
            sleep(wait).await;
        }
    }

    fn take(&self, now: Instant) -> Duration {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_duration_since(state.at).as_secs_f64();
        state.tokens = (state.tokens + passed * self.per_second).min(self.burst) - 1.0;
        state.at = now;
        // A rate that makes no sense limits nothing; the configuration refuses it.
        Duration::try_from_secs_f64((-state.tokens).max(0.0) / self.per_second).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(qps: f64, burst: u32) -> Limit {
        Limit::new(&Connection { qps, burst, ..Connection::default() })
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_the_rest_keeps_the_rate() {
        let limit = limit(10.0, 3);
        let begun = Instant::now();
        for _ in 0..3 {
            limit.turn().await;
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
        for _ in 0..5 {
            limit.turn().await;
        }
        let elapsed = begun.elapsed();
        assert!(elapsed >= Duration::from_millis(500) && elapsed < Duration::from_millis(520), "{elapsed:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn quiet_time_fills_the_burst_and_no_more() {
        let limit = limit(10.0, 3);
        tokio::time::advance(Duration::from_secs(3600)).await;
        let waits: Vec<_> = (0..4).map(|_| limit.take(Instant::now()).as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 100]);
    }

    #[test]
    fn a_rate_without_sense_limits_nothing() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _entered = runtime.enter();
        for qps in [0.0, -1.0, f64::NAN, f64::MIN_POSITIVE] {
            let limit = limit(qps, 1);
            limit.take(Instant::now());
            assert_eq!(limit.take(Instant::now()), Duration::ZERO, "{qps}");
        }
    }
}
