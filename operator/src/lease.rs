//! Leader election: every replica watches, one works.
//!
//! `kube-lease-manager` takes and renews the Lease. It does not tell when renewing *fails*: cut off from the
//! apiserver it would go on believing that it leads. So a watchdog reads the Lease as well, and leadership counts as lost
//! when the Lease has not been seen in our hands for as long as it is valid. Losing it ends the process (the kubelet
//! starts it again as a standby): there is no state worth saving, and nothing is simpler to reason about.
//! Writes are idempotent server-side applies, so that the seconds in which two replicas may both believe to lead
//! do no harm.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder, LeaseManagerError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::code;

/// How long a Lease is valid without renewal: the default of client-go's controllers is 15 s; twice that rides
/// out an apiserver's restart.
const DURATION_SECONDS: u64 = 30;
/// Renewal happens this long before the end; also the clock skew between nodes that is tolerated.
const GRACE_SECONDS: u64 = 10;
/// How often the watchdog looks: four tries within one validity.
const LOOK_EVERY: Duration = Duration::from_secs(7);
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);
/// A release is a courtesy to the next leader, and must not hold up our own end.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);
/// Wait between attempts while the apiserver refuses us.
const RETRY: Duration = Duration::from_secs(2);

/// Takes part in one election.
#[derive(Debug)]
pub struct Candidate {
    manager: LeaseManager,
    leases: Api<Lease>,
    lease_name: String,
    identity: String,
}

impl Candidate {
    pub async fn new(
        client: Client,
        lease_name: &str,
        namespace: &str,
        identity: &str,
    ) -> Result<Self, LeaseManagerError> {
        let manager = LeaseManagerBuilder::new(client.clone(), lease_name)
            .with_namespace(namespace)
            .with_identity(identity)
            .with_duration(DURATION_SECONDS)
            .with_grace(GRACE_SECONDS)
            .build()
            .await?;
        let leases = Api::namespaced(client, namespace);
        Ok(Self { manager, leases, lease_name: lease_name.to_owned(), identity: identity.to_owned() })
    }

    /// Resolves once this replica leads.
    pub async fn elected(&self) {
        loop {
            match self.manager.changed().await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(
                        code = code::OPERATOR_LEASE_FAILED,
                        "Cannot take part in the leader election: {error}"
                    );
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// Keeps the Lease; resolves when it is lost, and never otherwise.
    pub async fn lost(&self) {
        tokio::select! {
            () = self.renew() => {}
            () = self.unseen() => {}
        }
    }

    async fn renew(&self) {
        loop {
            match self.manager.changed().await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::warn!(code = code::OPERATOR_LEASE_FAILED, "Cannot renew the Lease: {error}");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// The watchdog: resolves when the Lease was not seen in our hands for its whole validity.
    async fn unseen(&self) {
        let mut seen = Instant::now();
        while seen.elapsed() < Duration::from_secs(DURATION_SECONDS) {
            tokio::time::sleep(LOOK_EVERY).await;
            let Ok(Ok(lease)) = tokio::time::timeout(LOOK_TIMEOUT, self.leases.get(&self.lease_name)).await
            else {
                continue;
            };
            let holder = lease.spec.and_then(|spec| spec.holder_identity);
            if holder.as_deref() == Some(self.identity.as_str()) {
                seen = Instant::now();
            }
        }
    }

    /// Hands the Lease over, so that the next leader need not wait for its end.
    pub async fn release(self) {
        if tokio::time::timeout(RELEASE_TIMEOUT, self.manager.release()).await.is_err() {
            tracing::warn!(
                code = code::OPERATOR_LEASE_FAILED,
                "The Lease could not be released in time; the next leader waits for its end"
            );
        }
    }
}

/// How a term in office ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// Asked to stop before or while leading.
    Stopped,
    /// The Lease is gone; the process has to end.
    Lost,
}

/// Waits for the election, runs `term` while leading, and tells why it ended. `term` is given a token that is
/// cancelled on shutdown, finishes what it is doing, and returns.
pub async fn lead<F: Future<Output = ()>>(
    candidate: Candidate,
    stop: CancellationToken,
    term: impl FnOnce(CancellationToken) -> F,
) -> Ended {
    tokio::select! {
        () = stop.cancelled() => {
            candidate.release().await;
            return Ended::Stopped;
        }
        () = candidate.elected() => {}
    }
    tracing::info!(code = code::OPERATOR_LEADING, identity = %candidate.identity, "This replica leads");
    let ended = tokio::select! {
        () = candidate.lost() => Ended::Lost,
        () = term(stop.clone()) => Ended::Stopped,
    };
    if ended == Ended::Stopped {
        candidate.release().await;
    }
    ended
}
