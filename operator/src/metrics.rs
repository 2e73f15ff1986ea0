//! Metrics, in OpenMetrics text. No label holds an object's name: their number is the users' to choose, and a
//! series per object would make the metrics grow with the cluster.

use std::{sync::atomic::AtomicU64, time::Duration};

use containerssh_crds::conditions::{READY, STALLED, is_true};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

/// From a reconcile that finds nothing to do (a few milliseconds) to one at its time limit.
const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailureLabel {
    kind: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WriteLabel {
    kind: &'static str,
    verb: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MethodLabel {
    method: &'static str,
}

/// The operator's instruments.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    reconciles: Family<KindLabel, Counter>,
    failures: Family<FailureLabel, Counter>,
    duration: Family<KindLabel, Histogram, fn() -> Histogram>,
    last_success: Family<KindLabel, Gauge<f64, AtomicU64>>,
    waiting: Family<KindLabel, Gauge>,
    objects: Family<KindLabel, Gauge>,
    unready: Family<KindLabel, Gauge>,
    stalled: Family<KindLabel, Gauge>,
    excluded: Gauge,
    writes: Family<WriteLabel, Counter>,
    requests: Family<MethodLabel, Counter>,
    leader: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("containerssh_operator");
        let reconciles = Family::default();
        registry.register("reconciles", "Reconciles that ran, by kind", reconciles.clone());
        let failures = Family::default();
        registry.register("reconcile_errors", "Reconciles that failed, by kind and reason", failures.clone());
        let duration = Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> Histogram);
        registry.register_with_unit(
            "reconcile_duration",
            "Time one reconcile took",
            Unit::Seconds,
            duration.clone(),
        );
        let last_success = Family::default();
        registry.register_with_unit(
            "last_success_timestamp",
            "When a reconcile of the kind last succeeded, as Unix time",
            Unit::Seconds,
            last_success.clone(),
        );
        let waiting = Family::default();
        registry.register(
            "queue_depth",
            "Objects marked for a reconcile that has not begun",
            waiting.clone(),
        );
        let objects = Family::default();
        registry.register("objects", "Objects that exist, by kind", objects.clone());
        let unready = Family::default();
        registry.register(
            "unready_objects",
            "Objects that are not Ready: gateways that users cannot reach, policies that are not obeyed everywhere",
            unready.clone(),
        );
        let stalled = Family::default();
        registry.register("stalled_objects", "Objects that need a person", stalled.clone());
        let excluded = Gauge::default();
        registry.register("exclusions", "Exclusions from policies that are in force", excluded.clone());
        let writes = Family::default();
        registry.register(
            "writes",
            "Write requests sent to the apiserver, by kind of object and verb",
            writes.clone(),
        );
        let requests = Family::default();
        registry.register(
            "api_requests",
            "Requests of any kind sent to the apiserver, by HTTP method; a watch is one, however long it lasts",
            requests.clone(),
        );
        let leader = Gauge::default();
        registry.register("leader", "1 while this replica leads", leader.clone());
        Self {
            registry,
            reconciles,
            failures,
            duration,
            last_success,
            waiting,
            objects,
            unready,
            stalled,
            excluded,
            writes,
            requests,
            leader,
        }
    }
}

impl Metrics {
    pub fn reconciled(&self, kind: &'static str, took: Duration, failure: Option<&'static str>) {
        self.reconciles.get_or_create(&KindLabel { kind }).inc();
        self.duration.get_or_create(&KindLabel { kind }).observe(took.as_secs_f64());
        match failure {
            Some(reason) => {
                self.failures.get_or_create(&FailureLabel { kind, reason }).inc();
            }
            None => {
                let now =
                    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
                self.last_success.get_or_create(&KindLabel { kind }).set(now.as_secs_f64());
            }
        }
    }

    pub fn wrote(&self, kind: &'static str, verb: &'static str) {
        self.writes.get_or_create(&WriteLabel { kind, verb }).inc();
    }

    /// One request to the apiserver.
    pub fn requested(&self, method: &str) {
        let known = ["GET", "PATCH", "POST", "PUT", "DELETE"];
        let method = known.into_iter().find(|known| *known == method).unwrap_or("other");
        self.requests.get_or_create(&MethodLabel { method }).inc();
    }

    pub fn set_leader(&self, leading: bool) {
        self.leader.set(i64::from(leading));
    }

    pub fn set_waiting(&self, kind: &'static str, count: usize) {
        self.waiting.get_or_create(&KindLabel { kind }).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// How the objects of a kind are, as their statuses say.
    pub fn set_health(&self, kind: &'static str, health: Health) {
        let label = KindLabel { kind };
        let set = |family: &Family<KindLabel, Gauge>, count: usize| {
            family.get_or_create(&label).set(i64::try_from(count).unwrap_or(i64::MAX));
        };
        set(&self.objects, health.objects);
        set(&self.unready, health.unready);
        set(&self.stalled, health.stalled);
    }

    pub fn set_exclusions(&self, count: usize) {
        self.excluded.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// The whole registry as OpenMetrics text.
    pub fn render(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// How the objects of a kind are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Health {
    pub objects: usize,
    pub unready: usize,
    pub stalled: usize,
}

impl Health {
    /// Counts objects by their conditions; None = an object that cannot be decoded, which needs a person.
    pub fn of<'a>(objects: impl IntoIterator<Item = Option<&'a [Condition]>>) -> Self {
        let mut health = Self::default();
        for conditions in objects {
            health.objects += 1;
            health.unready += usize::from(!conditions.is_some_and(|list| is_true(list, READY)));
            health.stalled += usize::from(conditions.is_none_or(|list| is_true(list, STALLED)));
        }
        health
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_count_by_their_conditions_and_what_cannot_be_read_needs_a_person() {
        let condition = |type_: &str| Condition {
            type_: type_.to_owned(),
            status: "True".to_owned(),
            reason: String::new(),
            message: String::new(),
            observed_generation: None,
            last_transition_time: crate::status::now(),
        };
        let (ready, stalled) = ([condition(READY)], [condition(STALLED)]);
        let health = Health::of([Some(&ready[..]), Some(&stalled[..]), Some(&[]), None]);
        assert_eq!(health, Health { objects: 4, unready: 3, stalled: 2 });
        let metrics = Metrics::default();
        metrics.set_health("AuditPolicy", health);
        let text = metrics.render().unwrap();
        assert!(text.contains("containerssh_operator_unready_objects{kind=\"AuditPolicy\"} 3"), "{text}");
    }

    #[test]
    fn a_failure_is_counted_by_its_reason_and_leaves_the_last_success_alone() {
        let metrics = Metrics::default();
        metrics.reconciled("SSHGateway", Duration::from_millis(3), Some("ApiServerTimeout"));
        metrics.set_leader(true);
        metrics.requested("PATCH");
        metrics.requested("BREW");
        let text = metrics.render().unwrap();
        assert!(text.contains("containerssh_operator_reconciles_total{kind=\"SSHGateway\"} 1"), "{text}");
        assert!(
            text.contains("reconcile_errors_total{kind=\"SSHGateway\",reason=\"ApiServerTimeout\"} 1"),
            "{text}"
        );
        assert!(text.contains("containerssh_operator_leader 1"), "{text}");
        assert!(text.contains("api_requests_total{method=\"PATCH\"} 1"), "{text}");
        assert!(text.contains("api_requests_total{method=\"other\"} 1"), "{text}");
        assert!(!text.contains("last_success_timestamp_seconds{"), "{text}");
        assert!(text.ends_with("# EOF\n"));
        metrics.reconciled("SSHGateway", Duration::from_millis(3), None);
        assert!(metrics.render().unwrap().contains("last_success_timestamp_seconds{kind=\"SSHGateway\"}"));
    }
}
