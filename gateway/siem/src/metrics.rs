//! Metrics of events. The labels are the configured targets, of which there are few, and words of this crate.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::error::Reason;
use crate::queue::Queue;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Label {
    target: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    target: String,
    reason: &'static str,
}

/// Seconds from what happened to the target's word that it has it, from a local shipper to an outage.
const DELAYS: [f64; 12] = [0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 15.0, 60.0, 300.0, 1800.0];

/// Counters of all targets.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    sent: Family<Label, Counter>,
    batches: Family<Label, Counter>,
    dropped: Family<ReasonLabel, Counter>,
    retries: Family<ReasonLabel, Counter>,
    delay: Family<Label, Histogram>,
    queues: Queues,
}

/// The queues there are, by their label; several share one while a changed target's old queue is emptied.
type Queues = Arc<Mutex<Vec<(String, Weak<Queue>)>>>;

/// Counters of one target.
#[derive(Debug, Clone)]
pub(crate) struct TargetMetrics {
    target: String,
    sent: Counter,
    batches: Counter,
    /// By [`DROPPED`].
    dropped: [Counter; 3],
    retries: Family<ReasonLabel, Counter>,
    delay: Histogram,
}

/// Why events are dropped.
const DROPPED: [&str; 3] = ["full", "refused", "stopped"];

impl Default for Metrics {
    fn default() -> Self {
        Self {
            sent: Family::default(),
            batches: Family::default(),
            dropped: Family::default(),
            retries: Family::default(),
            delay: Family::new_with_constructor(|| Histogram::new(DELAYS)),
            queues: Queues::default(),
        }
    }
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("containerssh_audit_events");
        registry.register("sent", "Events that a target has taken", metrics.sent.clone());
        registry.register("batches", "Batches of events that a target has taken", metrics.batches.clone());
        registry.register(
            "dropped",
            "Events dropped: the target's queue was full, the target refuses them, or the gateway ended first",
            metrics.dropped.clone(),
        );
        registry.register(
            "retries",
            "Attempts to send a batch of events that failed; each is tried again",
            metrics.retries.clone(),
        );
        registry.register_with_unit(
            "delay",
            "Time from what happened until a target has taken its event, of the oldest in each batch",
            Unit::Seconds,
            metrics.delay.clone(),
        );
        registry.register_collector(Box::new(Gauges(Arc::clone(&metrics.queues))));
        metrics
    }

    /// The counters of a target, to be kept: looking one up takes a lock.
    pub(crate) fn target(&self, target: &str) -> TargetMetrics {
        let label = Label { target: target.to_owned() };
        let reason = |reason| ReasonLabel { target: target.to_owned(), reason };
        TargetMetrics {
            target: target.to_owned(),
            sent: self.sent.get_or_create_owned(&label),
            batches: self.batches.get_or_create_owned(&label),
            dropped: DROPPED.map(|word| self.dropped.get_or_create_owned(&reason(word))),
            retries: self.retries.clone(),
            delay: self.delay.get_or_create_owned(&label),
        }
    }

    /// Shows a queue until it is gone.
    pub(crate) fn watch(&self, target: &str, queue: &Arc<Queue>) {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.retain(|(_, queue)| queue.strong_count() > 0);
        queues.push((target.to_owned(), Arc::downgrade(queue)));
    }
}

impl TargetMetrics {
    pub(crate) fn taken(&self, events: usize, delay_seconds: f64) {
        self.sent.inc_by(events as u64);
        self.batches.inc();
        self.delay.observe(delay_seconds);
    }

    pub(crate) fn failed(&self, reason: Reason) {
        let label = ReasonLabel { target: self.target.clone(), reason: reason.as_str() };
        self.retries.get_or_create(&label).inc();
    }

    pub(crate) fn dropped_full(&self, events: u64) {
        let [full, ..] = &self.dropped;
        full.inc_by(events);
    }

    pub(crate) fn dropped_refused(&self, events: u64) {
        let [_, refused, _] = &self.dropped;
        refused.inc_by(events);
    }

    pub(crate) fn dropped_stopped(&self, events: u64) {
        let [.., stopped] = &self.dropped;
        stopped.inc_by(events);
    }
}

/// Read off the queues when somebody asks, so that the figures are never behind.
#[derive(Debug)]
struct Gauges(Queues);

#[derive(Debug, Default)]
struct Figures {
    bytes: usize,
    events: usize,
    limit: usize,
    oldest: Option<u64>,
}

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut targets: Vec<(String, Figures)> = Vec::new();
        for (label, queue) in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let Some(queue) = queue.upgrade() else { continue };
            let (bytes, events, oldest) = queue.status();
            let index = targets.iter().position(|(known, _)| known == label).unwrap_or_else(|| {
                targets.push((label.clone(), Figures::default()));
                targets.len() - 1
            });
            if let Some((_, figures)) = targets.get_mut(index) {
                figures.bytes += bytes;
                figures.events += events;
                figures.limit += queue.limit();
                figures.oldest = figures.oldest.into_iter().chain(oldest).min();
            }
        }
        let now = crate::now();
        let age =
            |figures: &Figures| figures.oldest.map_or(0.0, |oldest| now.saturating_sub(oldest) as f64 / 1e9);
        type Figure = fn(&Figures) -> f64;
        let shown: [(&str, &str, Figure); 3] = [
            ("queue_bytes", "Bytes of events that wait for a target or are being sent", |f| f.bytes as f64),
            ("queue_limit_bytes", "Bytes of events that may wait for a target", |f| f.limit as f64),
            ("queue_events", "Events that wait for a target or are being sent", |f| f.events as f64),
        ];
        for (name, help, figure) in shown {
            family(&mut encoder, name, help, targets.iter().map(|(label, f)| (label, figure(f))))?;
        }
        family(
            &mut encoder,
            "oldest_seconds",
            "How long ago the oldest event happened that a target has not taken yet",
            targets.iter().map(|(label, figures)| (label, age(figures))),
        )
    }
}

fn family<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl Iterator<Item = (&'a String, f64)>,
) -> Result<(), std::fmt::Error> {
    let values: Vec<_> =
        values.map(|(target, value)| (Label { target: target.clone() }, ConstGauge::new(value))).collect();
    let Some((_, first)) = values.first() else { return Ok(()) };
    let mut metric = encoder.encode_descriptor(name, help, None, first.metric_type())?;
    for (label, gauge) in &values {
        gauge.encode(metric.encode_family(label)?)?;
    }
    Ok(())
}
