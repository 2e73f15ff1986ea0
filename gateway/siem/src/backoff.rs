//! When to try again: for ever, less and less often, never in step.

use std::time::Duration;

/// After the first failure.
const FIRST: Duration = Duration::from_millis(500);
/// The longest pause: an outage of hours must not delay the first event after it by hours.
const LONGEST: Duration = Duration::from_secs(60);
/// The longest that a server may ask us to stay away.
const OBEYED: Duration = Duration::from_secs(300);

/// The pause after the `failures`-th failure in a row (from 1). `jitter` in 0..=1 spreads it between half and the whole,
/// so that many gateways do not come back at once. `asked` is what the server wants.
pub(crate) fn pause(failures: u32, jitter: f64, asked: Option<Duration>) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let whole = FIRST.saturating_mul(1 << doublings).min(LONGEST);
    let own = whole.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0);
    asked.map_or(own, |asked| own.max(asked.min(OBEYED)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_cap_and_never_end() {
        let pauses: Vec<u128> = (1..=9).map(|failures| pause(failures, 1.0, None).as_millis()).collect();
        assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
        assert_eq!(pause(u32::MAX, 0.0, None), Duration::from_secs(30));
    }

    #[test]
    fn what_a_server_asks_for_is_obeyed_within_reason() {
        assert_eq!(pause(1, 1.0, Some(Duration::from_secs(7))), Duration::from_secs(7));
        assert_eq!(pause(1, 1.0, Some(Duration::ZERO)), Duration::from_millis(500));
        assert_eq!(pause(1, 1.0, Some(Duration::MAX)), Duration::from_secs(300));
    }
}
