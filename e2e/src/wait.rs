//! Waiting for a condition, never for a time.

use std::future::Future;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How often a condition is looked at: often enough not to add to a test's time, seldom enough for a small apiserver.
const POLL: Duration = Duration::from_millis(200);

/// Looks until `condition` gives a value. The error names `what` and the newest reason why it did not hold.
pub async fn until<T, F, C>(what: &str, deadline: Duration, mut condition: C) -> Result<T>
where
    C: FnMut() -> F,
    F: Future<Output = Result<T>>,
{
    let end = Instant::now() + deadline;
    let mut ticks = interval(POLL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match condition().await {
            Ok(value) => return Ok(value),
            Err(reason) if Instant::now() >= end => {
                bail!("waited {} s for {what}, but: {reason:#}", deadline.as_secs())
            }
            Err(_) => {}
        }
    }
}
