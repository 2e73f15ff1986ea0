//! From `tracing` events to lines.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use jiff::Timestamp;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use crate::clean::{self, MAX_LABELS, MAX_MESSAGE, MAX_VALUE};
use crate::line::{Labels, Value, render};
use crate::queue::Queue;
use crate::syslog::Header;
use crate::{Format, Level, code, own};

/// Events of targets that start like this are ours.
const OURS: &str = "containerssh";

/// The `tracing` layer that renders events and hands the lines to a [`Queue`].
pub struct LogLayer {
    level: Arc<AtomicU8>,
    format: Format,
    queue: Arc<Queue>,
    now: fn() -> Timestamp,
    header: Option<Header>,
}

impl fmt::Debug for LogLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogLayer")
            .field("level", &self.level())
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}

impl LogLayer {
    /// A layer that shows lines from the level in `level` (its index in [`Level::ALL`]) on.
    #[must_use]
    pub fn new(level: Arc<AtomicU8>, format: Format, queue: Arc<Queue>, now: fn() -> Timestamp) -> Self {
        Self { level, format, queue, now, header: None }
    }

    /// Each line begins with a syslog header, which says when it was and how bad it is.
    #[must_use]
    pub fn with_header(self, header: Option<Header>) -> Self {
        Self { header, ..self }
    }

    fn level(&self) -> Level {
        Level::from_index(self.level.load(Ordering::Relaxed))
    }
}

/// The level that `tracing`'s own levels stand for.
fn plain(level: tracing::Level) -> Level {
    match level {
        tracing::Level::ERROR => Level::Error,
        tracing::Level::WARN => Level::Warning,
        tracing::Level::INFO => Level::Info,
        _ => Level::Debug,
    }
}

/// The worst level an event of this metadata can turn out to have: with a `severity` field, the level is known only
/// once the event is there.
fn worst(metadata: &Metadata<'_>) -> Level {
    if metadata.fields().field("severity").is_some() { Level::Emerg } else { plain(*metadata.level()) }
}

/// The part of the program that speaks, by ContainerSSH's names.
fn module(target: &str) -> &'static str {
    let crate_name = target.split("::").next().unwrap_or_default();
    match crate_name {
        "containerssh_auth" => "auth",
        "containerssh_auditlog" | "containerssh_recorder" => "audit",
        "containerssh_backend" | "containerssh_kubernetes" => "backend",
        "containerssh_operator" => "operator",
        "containerssh_gateway" => match target.split("::").nth(1).unwrap_or_default() {
            "health" => "health",
            "metrics" => "metrics",
            "ssh" | "server" | "session" | "connection" | "pump" => "ssh",
            _ => "core",
        },
        _ if target.starts_with(OURS) => "core",
        // A library: its own name says more.
        _ => "library",
    }
}

/// A span's labels, kept until the span closes.
struct SpanLabels(Labels);

impl<S> Layer<S> for LogLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        if metadata.is_span() {
            return metadata.target().starts_with(OURS);
        }
        let threshold = if metadata.target().starts_with(OURS) {
            own::lowest().map_or(self.level(), |lowest| lowest.min(self.level()))
        } else {
            self.level().max(Level::Warning)
        };
        worst(metadata) >= threshold
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut collector = Collector::default();
        attributes.record(&mut collector);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(SpanLabels(collector.labels));
        }
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut extensions = span.extensions_mut();
        if let Some(SpanLabels(labels)) = extensions.get_mut() {
            let mut collector = Collector { labels: std::mem::take(labels), ..Collector::default() };
            record.record(&mut collector);
            *labels = collector.labels;
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        let mut collector = Collector::default();
        if let Some(scope) = context.event_scope(event) {
            for span in scope.from_root() {
                if let Some(SpanLabels(labels)) = span.extensions().get() {
                    // Inner spans know better than outer ones, and the event knows best.
                    collector.labels.extend(labels.iter().map(|(name, value)| (*name, value.clone())));
                }
            }
        }
        event.record(&mut collector);
        let level = collector.severity.unwrap_or_else(|| plain(*metadata.level()));
        let own = match collector.labels.get("connectionId") {
            Some(Value::Text(id)) => own::of(id),
            _ => None,
        };
        if level < own.unwrap_or_else(|| self.level()) {
            return;
        }
        let target = metadata.target();
        collector.labels.entry("module").or_insert_with(|| Value::Text(module(target).to_owned()));
        if !target.starts_with(OURS) {
            collector.labels.entry("target").or_insert_with(|| Value::Text(target.to_owned()));
        }
        let code = collector.code.as_deref().unwrap_or(code::UNKNOWN_ERROR);
        self.queue.push(&render(
            self.format,
            self.header.as_ref(),
            (self.now)(),
            level,
            code,
            &collector.message,
            &collector.labels,
        ));
    }
}

/// Takes an event apart into what a line is made of.
#[derive(Default)]
struct Collector {
    message: String,
    code: Option<String>,
    severity: Option<Level>,
    labels: Labels,
}

impl Collector {
    fn label(&mut self, field: &Field, value: Value) {
        if self.labels.len() < MAX_LABELS || self.labels.contains_key(field.name()) {
            self.labels.insert(field.name(), value);
        }
    }

    fn text(&mut self, field: &Field, limit: usize, text: impl FnOnce(usize) -> String) {
        match field.name() {
            "message" => self.message = text(MAX_MESSAGE),
            "code" => self.code = Some(text(limit)),
            "severity" => self.severity = text(limit).parse().ok(),
            _ => self.label(field, Value::Text(text(limit))),
        }
    }
}

impl Visit for Collector {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, MAX_VALUE, |limit| clean::text(value, limit));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, MAX_VALUE, |limit| clean::debug(value, limit));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.label(field, Value::Bool(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.label(field, Value::Signed(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.label(field, Value::Unsigned(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.label(field, Value::Float(value));
    }
}
