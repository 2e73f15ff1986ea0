//! How long to wait between attempts.

use std::time::Duration;

/// Longest wait: well below ContainerSSH's 10 s, since a person is waiting.
pub const MAX_WAIT: Duration = Duration::from_secs(5);

/// Waits that double from `first` up to [`MAX_WAIT`], each shortened at random by up to half, so that clients that
/// failed together do not come back together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first wait, before shortening.
    pub first: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        // Long enough for a restarting server's successor to take over, short enough not to be noticed.
        Self { first: Duration::from_millis(200) }
    }
}

impl Backoff {
    /// The waits, without end.
    pub fn waits(self) -> impl Iterator<Item = Duration> + Send {
        self.bounds().map(|longest| longest.mul_f64(rand::random_range(0.5..=1.0)))
    }

    /// Each wait before shortening.
    fn bounds(self) -> impl Iterator<Item = Duration> + Send {
        std::iter::successors(Some(self.first.min(MAX_WAIT)), |wait| {
            Some(wait.saturating_mul(2).min(MAX_WAIT))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit() {
        let millis: Vec<u128> = Backoff::default().bounds().take(7).map(|wait| wait.as_millis()).collect();
        assert_eq!(millis, [200, 400, 800, 1600, 3200, 5000, 5000]);
    }

    #[test]
    fn waits_vary_between_half_and_all() {
        for _ in 0..100 {
            let backoff = Backoff::default();
            for (wait, bound) in backoff.waits().zip(backoff.bounds()).take(8) {
                assert!(wait <= bound && wait * 2 >= bound, "{wait:?} of {bound:?}");
            }
        }
        let firsts: Vec<Duration> = (0..20).filter_map(|_| Backoff::default().waits().next()).collect();
        assert!(firsts.windows(2).any(|pair| pair[0] != pair[1]));
    }
}
