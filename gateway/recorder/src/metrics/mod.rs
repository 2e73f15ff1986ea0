//! The recorder's metrics. Names of the published documentation are used where it has one.

mod sessions;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

pub(crate) use sessions::SessionMetrics;

use self::sessions::Sessions;
use crate::error::Reason;
use crate::segment::Lost;
use crate::spool::budget::Budget;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StreamLabel {
    stream: &'static str,
}

/// Seconds, from the next moment to a day without the store.
const UPLOAD_BUCKETS: [f64; 10] = [0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0, 86_400.0];

/// Counters of one recorder.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    sessions: Sessions,
    upload_failures: Family<ReasonLabel, Counter>,
    uploads: Counter,
    uploaded_bytes: Counter,
    upload_seconds: Histogram,
    io_bytes: Family<StreamLabel, Counter>,
    dropped_records: Counter,
    dropped_bytes: Counter,
    gaps: Counter,
    record_failures: Counter,
}

impl Metrics {
    /// Registers the counters, and what is read off the spool at each scrape.
    pub(crate) fn register(registry: &mut Registry, budget: Arc<Budget>, backend: String) -> Self {
        let registry = registry.sub_registry_with_prefix("containerssh_audit");
        let metrics = Self {
            sessions: Sessions::register(registry, backend),
            upload_failures: Family::default(),
            uploads: Counter::default(),
            uploaded_bytes: Counter::default(),
            upload_seconds: Histogram::new(UPLOAD_BUCKETS),
            io_bytes: Family::default(),
            dropped_records: Counter::default(),
            dropped_bytes: Counter::default(),
            gaps: Counter::default(),
            record_failures: Counter::default(),
        };
        registry.register(
            "upload_failures",
            "Attempts to deliver an audit record that failed; each is tried again",
            metrics.upload_failures.clone(),
        );
        registry.register("uploads", "Audit records delivered", metrics.uploads.clone());
        registry.register(
            "uploaded_bytes",
            "Bytes of audit records delivered",
            metrics.uploaded_bytes.clone(),
        );
        registry.register_with_unit(
            "upload",
            "Time from the end of a session to the confirmed delivery of its record",
            Unit::Seconds,
            metrics.upload_seconds.clone(),
        );
        registry.register("io_bytes", "Bytes of sessions recorded, by stream", metrics.io_bytes.clone());
        registry.register(
            "dropped_records",
            "Audit records not written because the spool was full or failed and the policy lets sessions go on",
            metrics.dropped_records.clone(),
        );
        registry.register(
            "dropped_bytes",
            "Bytes of sessions in dropped records",
            metrics.dropped_bytes.clone(),
        );
        registry.register(
            "gaps",
            "Gaps in sessions' records that dropped records left",
            metrics.gaps.clone(),
        );
        registry.register(
            "record_failures",
            "Sessions whose audit record could not be written",
            metrics.record_failures.clone(),
        );
        registry.register_collector(Box::new(Spool { budget }));
        metrics
    }

    pub(crate) fn upload_failed(&self, reason: Reason) {
        self.upload_failures.get_or_create(&ReasonLabel { reason: reason.as_str() }).inc();
    }

    pub(crate) fn uploaded(&self, bytes: u64, after: Option<Duration>) {
        if let Some(after) = after {
            self.upload_seconds.observe(after.as_secs_f64());
        }
        self.uploads.inc();
        self.uploaded_bytes.inc_by(bytes);
    }

    /// One session's own.
    pub(crate) fn session(&self, id: &str) -> SessionMetrics {
        self.sessions.open(id)
    }

    /// The counter of a stream, to be kept: looking one up takes a lock.
    pub(crate) fn io(&self, stream: &'static str) -> Counter {
        self.io_bytes.get_or_create_owned(&StreamLabel { stream })
    }

    pub(crate) fn dropped(&self, lost: &Lost) {
        self.dropped_records.inc_by(lost.records);
        self.dropped_bytes.inc_by(lost.bytes);
    }

    pub(crate) fn gap(&self) {
        self.gaps.inc();
    }

    pub(crate) fn record_failed(&self) {
        self.record_failures.inc();
    }
}

/// Read off the spool when somebody asks, so that the figures are never behind.
#[derive(Debug)]
struct Spool {
    budget: Arc<Budget>,
}

impl Collector for Spool {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let status = self.budget.status(SystemTime::now());
        let figures: [(&str, &str, f64); 5] = [
            (
                "local_fallback_queue_depth",
                "Finished audit records that wait for their upload",
                status.waiting as f64,
            ),
            ("spool_records", "Audit records in the spool, open and finished", status.records as f64),
            ("spool_size_bytes", "Bytes that the spool holds", status.bytes as f64),
            ("spool_limit_bytes", "Bytes that the spool may hold", self.budget.limit() as f64),
            (
                "spool_oldest_seconds",
                "How long the oldest finished audit record has been waiting for its upload",
                status.oldest_age.unwrap_or_default().as_secs_f64(),
            ),
        ];
        for (name, help, value) in figures {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::RecordId;

    #[test]
    fn names_are_those_of_the_documentation() {
        let budget = Arc::new(Budget::new(1 << 20));
        let id = RecordId::parse("a").unwrap();
        assert!(budget.open(&id, 100));
        budget.ready(&id, SystemTime::now());
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry, budget, "kubernetes".to_owned());
        metrics.upload_failed(Reason::AccessDenied);
        metrics.dropped(&Lost { records: 2, bytes: 7, reason: None });
        metrics.io("stdout").inc_by(5);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "containerssh_audit_upload_failures_total{reason=\"access_denied\"} 1",
            "containerssh_audit_local_fallback_queue_depth 1.0",
            "containerssh_audit_spool_size_bytes 4196.0",
            "containerssh_audit_spool_limit_bytes 1048576.0",
            "containerssh_audit_dropped_records_total 2",
            "containerssh_audit_dropped_bytes_total 7",
            "containerssh_audit_io_bytes_total{stream=\"stdout\"} 5",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
