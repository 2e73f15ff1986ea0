//! Kinds that a cluster may lack: ServiceMonitor of the Prometheus operator, TCPRoute of the Gateway API.
//!
//! A gateway that asks for one is served all the same, and a condition says what is missing. Whether a kind is there is
//! asked once at the start, and again every minute while it is not and a gateway wants it; once it is, it is watched like
//! every other kind of child. A kind that is removed later shows by a write that finds nothing.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use containerssh_crds::SSHGatewaySpec;
use kube::Client;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    apply::CALL_TIMEOUT,
    backoff::jittered,
    children::ChildKind,
    code,
    error::{Error, within},
};

/// Whoever installs such a kind waits for it; this is how long.
const ASK_EVERY: Duration = Duration::from_secs(60);
/// The same while there was no answer at all: the operator waits for the first one.
const ASK_AGAIN: Duration = Duration::from_secs(5);
const JITTER: f64 = 0.2;

/// Which of the kinds the cluster has, as far as is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kinds {
    pub service_monitor: bool,
    pub tcp_route: bool,
}

impl Kinds {
    /// Whether a kind is there; every kind that is not optional is.
    pub const fn has(self, kind: ChildKind) -> bool {
        match kind {
            ChildKind::ServiceMonitor => self.service_monitor,
            ChildKind::TcpRoute => self.tcp_route,
            _ => true,
        }
    }

    /// The kinds that a spec asks for.
    pub fn wanted(spec: &SSHGatewaySpec) -> Self {
        Self {
            service_monitor: spec.metrics.as_ref().is_some_and(|metrics| metrics.service_monitor.is_some()),
            tcp_route: spec.service.as_ref().is_some_and(|service| service.tcp_route.is_some()),
        }
    }
}

/// What is known, shared by watches and reconciles; None = not asked yet.
#[derive(Debug, Clone)]
pub struct Served(Arc<watch::Sender<BTreeMap<ChildKind, bool>>>);

impl Default for Served {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(BTreeMap::new())))
    }
}

impl Served {
    pub fn kinds(&self) -> Kinds {
        let known = self.0.borrow();
        let has = |kind| known.get(&kind).copied().unwrap_or_default();
        Kinds { service_monitor: has(ChildKind::ServiceMonitor), tcp_route: has(ChildKind::TcpRoute) }
    }

    /// Notes whether a kind is there, and says whether that is news.
    pub fn set(&self, kind: ChildKind, there: bool) -> bool {
        kind.is_optional() && self.0.send_if_modified(|known| known.insert(kind, there) != Some(there))
    }

    /// Waits until each was asked for once: a gateway must not be told that a kind is missing because nobody has looked.
    pub async fn wait_until_known(&self) {
        let optional = || ChildKind::ALL.into_iter().filter(|kind| kind.is_optional());
        let known = |known: &BTreeMap<_, _>| optional().all(|kind| known.contains_key(&kind));
        // An error means that the sender is gone, which `self` holds.
        let _ = self.0.subscribe().wait_for(known).await;
    }
}

/// Waits until the cluster has the kind; false = told to stop first. `wanted` says whether anybody cares.
pub async fn wait_for(
    client: &Client,
    kind: ChildKind,
    served: &Served,
    wanted: impl Fn() -> bool,
    stop: &CancellationToken,
) -> bool {
    let (mut known, mut pause) = (false, ASK_AGAIN);
    loop {
        if !known || wanted() {
            match is_served(client, kind).await {
                Ok(true) => return true,
                Ok(false) => {
                    served.set(kind, false);
                    (known, pause) = (true, ASK_EVERY);
                }
                Err(error) => {
                    tracing::warn!(
                        code = code::OPERATOR_WATCH_FAILED,
                        kind = kind.as_str(),
                        "Whether the cluster has the kind is not known, and will be asked again: {error}"
                    );
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(jittered(pause, JITTER)) => {}
            () = stop.cancelled() => return false,
        }
    }
}

async fn is_served(client: &Client, kind: ChildKind) -> Result<bool, Error> {
    let resource = kind.resource();
    let what = || format!("ask for the kinds of {}", resource.api_version);
    match within(CALL_TIMEOUT, what, client.list_api_group_resources(&resource.api_version)).await {
        Ok(list) => Ok(list.resources.iter().any(|found| found.name == resource.plural)),
        // Whoever may not ask may not make such objects either.
        Err(error) if matches!(error.status_code(), Some(401 | 403 | 404)) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_one_kind_says_nothing_of_another() {
        let served = Served::default();
        assert!(served.set(ChildKind::TcpRoute, true) && !served.set(ChildKind::TcpRoute, true));
        let kinds = served.kinds();
        assert!(kinds.has(ChildKind::TcpRoute) && !kinds.has(ChildKind::ServiceMonitor));
        assert!(kinds.has(ChildKind::Deployment), "which every cluster has");
        assert!(!served.set(ChildKind::Deployment, false) && served.kinds() == kinds);
        assert!(served.set(ChildKind::TcpRoute, false));
    }

    #[tokio::test]
    async fn nothing_is_known_before_every_kind_was_asked_for() {
        let served = Served::default();
        let mut known = std::pin::pin!(served.wait_until_known());
        assert!(futures::poll!(known.as_mut()).is_pending());
        served.set(ChildKind::TcpRoute, true);
        assert!(futures::poll!(known.as_mut()).is_pending());
        served.set(ChildKind::ServiceMonitor, false);
        known.await;
    }
}
