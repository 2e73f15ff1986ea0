//! Metrics, in OpenMetrics text. No label holds an object's name: their number is the users' to choose, and a
//! series per object would make the metrics grow with the cluster.

use std::{sync::atomic::AtomicU64, time::Duration};

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

/// The operator's instruments.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    reconciles: Family<KindLabel, Counter>,
    failures: Family<FailureLabel, Counter>,
    duration: Family<KindLabel, Histogram, fn() -> Histogram>,
    last_success: Family<KindLabel, Gauge<f64, AtomicU64>>,
    waiting: Family<KindLabel, Gauge>,
    writes: Family<WriteLabel, Counter>,
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
        let writes = Family::default();
        registry.register(
            "writes",
            "Write requests sent to the apiserver, by kind of object and verb",
            writes.clone(),
        );
        let leader = Gauge::default();
        registry.register("leader", "1 while this replica leads", leader.clone());
        Self { registry, reconciles, failures, duration, last_success, waiting, writes, leader }
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

    pub fn set_leader(&self, leading: bool) {
        self.leader.set(i64::from(leading));
    }

    pub fn set_waiting(&self, kind: &'static str, count: usize) {
        self.waiting.get_or_create(&KindLabel { kind }).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// The whole registry as OpenMetrics text.
    pub fn render(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_counted_by_its_reason_and_leaves_the_last_success_alone() {
        let metrics = Metrics::default();
        metrics.reconciled("SSHGateway", Duration::from_millis(3), Some("ApiServerTimeout"));
        metrics.set_leader(true);
        let text = metrics.render().unwrap();
        assert!(text.contains("containerssh_operator_reconciles_total{kind=\"SSHGateway\"} 1"), "{text}");
        assert!(
            text.contains("reconcile_errors_total{kind=\"SSHGateway\",reason=\"ApiServerTimeout\"} 1"),
            "{text}"
        );
        assert!(text.contains("containerssh_operator_leader 1"), "{text}");
        assert!(!text.contains("last_success_timestamp_seconds{"), "{text}");
        assert!(text.ends_with("# EOF\n"));
        metrics.reconciled("SSHGateway", Duration::from_millis(3), None);
        assert!(metrics.render().unwrap().contains("last_success_timestamp_seconds{kind=\"SSHGateway\"}"));
    }
}
