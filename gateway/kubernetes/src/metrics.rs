//! What the kubernetes backend counts.

use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Upper bounds in seconds: warm nodes need about one, image pulls up to the usual limit of a minute.
const POD_START_BUCKETS: [f64; 10] = [0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0];

/// Upper bounds in seconds of a program's start.
const EXEC_START_BUCKETS: [f64; 9] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Outcome {
    #[expect(non_camel_case_types, reason = "the label's value")]
    success,
    #[expect(non_camel_case_types, reason = "the label's value")]
    failure,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    outcome: Outcome,
}

/// How an agent is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Carried {
    #[expect(non_camel_case_types, reason = "the label's value")]
    direct,
    #[expect(non_camel_case_types, reason = "the label's value")]
    exec,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CarrierLabels {
    carrier: Carried,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(non_camel_case_types, reason = "the label's values")]
enum Warm {
    starting,
    ready,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WarmLabels {
    state: Warm,
}

/// What became of the wish for a pod of the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(non_camel_case_types, reason = "the label's values")]
pub(crate) enum Claim {
    claimed,
    missed,
    failed,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClaimLabels {
    outcome: Claim,
}

/// The backend's metrics; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    pod_starts: Family<Labels, Counter>,
    pod_start: Histogram,
    exec_starts: Family<Labels, Counter>,
    exec_start: Histogram,
    pods: Gauge,
    removals: Gauge,
    removal_failures: Counter,
    swept: Counter,
    watch_failures: Counter,
    agents: Family<CarrierLabels, Counter>,
    warm_pods: Family<WarmLabels, Gauge>,
    warm_claims: Family<ClaimLabels, Counter>,
    warm_failures: Counter,
}

impl Metrics {
    /// Registers them under `containerssh_kubernetes_`.
    #[must_use]
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            pod_starts: Family::default(),
            pod_start: Histogram::new(POD_START_BUCKETS),
            exec_starts: Family::default(),
            exec_start: Histogram::new(EXEC_START_BUCKETS),
            pods: Gauge::default(),
            removals: Gauge::default(),
            removal_failures: Counter::default(),
            swept: Counter::default(),
            watch_failures: Counter::default(),
            agents: Family::default(),
            warm_pods: Family::default(),
            warm_claims: Family::default(),
            warm_failures: Counter::default(),
        };
        let registry = registry.sub_registry_with_prefix("containerssh_kubernetes");
        registry.register("pod_starts", "Pods asked for, by outcome", metrics.pod_starts.clone());
        registry.register_with_unit(
            "pod_start",
            "Time from asking for a pod until it is ready",
            Unit::Seconds,
            metrics.pod_start.clone(),
        );
        registry.register("exec_starts", "Programs started in pods, by outcome", metrics.exec_starts.clone());
        registry.register(
            "agent_connections",
            "Connections of users that are served by an agent in their pod, by how it is reached",
            metrics.agents.clone(),
        );
        registry.register_with_unit(
            "exec_start",
            "Time from asking for a program until it runs",
            Unit::Seconds,
            metrics.exec_start.clone(),
        );
        registry.register(
            "pods",
            "Pods that serve a connection, are being started for one, or are of the warm pool",
            metrics.pods.clone(),
        );
        registry.register("pending_removals", "Pods whose removal is under way", metrics.removals.clone());
        registry.register(
            "removal_failures",
            "Attempts to remove a pod that failed",
            metrics.removal_failures.clone(),
        );
        registry.register("swept_pods", "Leftover pods removed by the sweep", metrics.swept.clone());
        registry.register(
            "watch_failures",
            "Failures of the watch over the gateway's pods",
            metrics.watch_failures.clone(),
        );
        registry.register("warm_pods", "Pods of the warm pool, by state", metrics.warm_pods.clone());
        registry.register(
            "warm_claims",
            "Pods wanted of the warm pool: claimed, missed (none was ready), failed (one was, and was gone)",
            metrics.warm_claims.clone(),
        );
        registry.register(
            "warm_start_failures",
            "Pods of the warm pool that could not be started",
            metrics.warm_failures.clone(),
        );
        metrics
    }

    pub(crate) fn warm_pods(&self, starting: usize, ready: usize) {
        for (state, count) in [(Warm::starting, starting), (Warm::ready, ready)] {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.warm_pods.get_or_create(&WarmLabels { state }).set(count);
        }
    }

    pub(crate) fn warm_claim(&self, outcome: Claim) {
        self.warm_claims.get_or_create(&ClaimLabels { outcome }).inc();
    }

    pub(crate) fn warm_start_failed(&self) {
        self.warm_failures.inc();
    }

    pub(crate) fn pod_started(&self, outcome: Outcome, after: Duration) {
        self.pod_starts.get_or_create(&Labels { outcome }).inc();
        if outcome == Outcome::success {
            self.pod_start.observe(after.as_secs_f64());
        }
    }

    pub(crate) fn exec_started(&self, outcome: Outcome, after: Duration) {
        self.exec_starts.get_or_create(&Labels { outcome }).inc();
        if outcome == Outcome::success {
            self.exec_start.observe(after.as_secs_f64());
        }
    }

    pub(crate) fn agent_connected(&self, carrier: Carried) {
        self.agents.get_or_create(&CarrierLabels { carrier }).inc();
    }

    pub(crate) fn pod_claimed(&self) {
        self.pods.inc();
    }

    pub(crate) fn removal_begun(&self) {
        self.pods.dec();
        self.removals.inc();
    }

    pub(crate) fn removal_ended(&self) {
        self.removals.dec();
    }

    pub(crate) fn removal_failed(&self) {
        self.removal_failures.inc();
    }

    pub(crate) fn swept(&self) {
        self.swept.inc();
    }

    pub(crate) fn watch_failed(&self) {
        self.watch_failures.inc();
    }
}
