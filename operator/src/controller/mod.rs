//! The two reconcilers, and what every reconcile has in common: a time limit, a count, a wait after failure.

pub mod audit_policy;
pub mod gateway;

use std::{panic::AssertUnwindSafe, time::Duration};

use futures::FutureExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::runtime::controller::Action;
use tokio::time::Instant;

use crate::{
    backoff::{Backoff, jittered},
    code,
    error::Error,
    index::Name,
    metrics::Metrics,
};

/// One reconcile makes some thirty calls of ten seconds at most; one that takes longer than this fails, and the
/// next begins with a fresh look.
const RECONCILE_TIMEOUT: Duration = Duration::from_secs(120);
/// Reconciles at once, per kind and watched scope: enough to use the waiting for the apiserver, too few to crowd it.
pub const CONCURRENCY: u16 = 24;
/// One `kubectl apply` of a gateway with its Secrets is one reconcile, not ten.
pub const DEBOUNCE: Duration = Duration::from_secs(1);
/// Everything is looked at again after 5 to 10 minutes, whatever the watches say.
const RESYNC: Duration = Duration::from_secs(450);
const RESYNC_JITTER: f64 = 1.0 / 3.0;

/// Runs one reconcile within its bounds and keeps the books.
async fn bounded(
    kind: &'static str,
    name: &Name,
    metrics: &Metrics,
    backoff: &Backoff<Name>,
    reconcile: impl Future<Output = Result<Action, Error>>,
) -> Result<Action, Error> {
    let started = Instant::now();
    let what = || format!("reconcile {kind} {name}");
    // A bug in one object's reconcile must not stop those of all others.
    let guarded = AssertUnwindSafe(reconcile).catch_unwind();
    let result = match tokio::time::timeout(RECONCILE_TIMEOUT, guarded).await {
        Ok(Ok(result)) => result,
        Ok(Err(_panic)) => Err(Error::Panicked),
        Err(_elapsed) => Err(Error::Timeout { what: what(), after: RECONCILE_TIMEOUT }),
    };
    metrics.reconciled(kind, started.elapsed(), result.as_ref().err().map(Error::reason));
    match &result {
        Ok(_) => backoff.forget(name),
        Err(error) => {
            tracing::warn!(code = code::OPERATOR_RECONCILE_FAILED, kind, object = %name, reason = error.reason(), "Reconcile failed and will be tried again: {error}");
        }
    }
    result
}

/// How long it is until then: what ends by the clock is nobody's event.
fn until(then: Option<&Time>) -> Option<Duration> {
    // A second more: at the moment itself, the end is not in the past yet.
    let left =
        then?.0.duration_since(jiff::Timestamp::now()).saturating_add(jiff::SignedDuration::from_secs(1));
    Some(Duration::try_from(left).unwrap_or_default())
}

/// When to look again if nothing happens.
fn resync() -> Action {
    Action::requeue(jittered(RESYNC, RESYNC_JITTER))
}
