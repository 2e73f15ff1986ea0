//! When to try again: for ever, less and less often, never in step.

use std::time::Duration;

/// Between attempts for one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure.
    pub first: Duration,
    /// The longest pause: an outage of hours must not delay the first upload after it by hours.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), max: Duration::from_secs(60) }
    }
}

impl Backoff {
    /// The pause after the `failures`-th failure in a row (from 1). `jitter` in 0..=1 spreads it between half and the
    /// whole, so that many gateways do not come back at once.
    pub(crate) fn pause(self, failures: u32, jitter: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(16);
        let whole = self.first.saturating_mul(1 << doublings).min(self.max);
        whole.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_cap_and_never_end() {
        let backoff = Backoff::default();
        let pauses: Vec<u64> = (1..=8).map(|failures| backoff.pause(failures, 1.0).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff.pause(u32::MAX, 1.0), Duration::from_secs(60));
    }

    #[test]
    fn jitter_spreads_over_the_upper_half() {
        let backoff = Backoff::default();
        assert_eq!(backoff.pause(1, 0.0), Duration::from_millis(500));
        assert_eq!(backoff.pause(7, 0.5), Duration::from_secs(45));
    }
}
