//! One target: its queue, and the task that empties it.
//!
//! One batch is on its way at a time, and the next begins when the target has taken it: this is how order is kept. What a
//! target does not take at the moment is sent again until it does. What it refuses for its contents is halved until the
//! event is found that it refuses alone; that one is dropped, and everybody is told.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use containerssh_config::{EventLimits, EventTarget};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::backoff;
use crate::code;
use crate::encode::Style;
use crate::error::Failure;
use crate::event::{Kinds, Source};
use crate::metrics::TargetMetrics;
use crate::queue::{Item, Queue};
use crate::syslog::Syslog;
use crate::webhook::Webhook;

/// The longest pause between attempts while the gateway ends.
const LAST_PAUSE: Duration = Duration::from_secs(1);

/// A target as sessions see it. Its queue takes nothing any more when the last session and the configuration have let go.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) queue: Arc<Queue>,
    pub(crate) wants: Kinds,
    /// What it was made from: the same again is the same target.
    pub(crate) config: EventTarget,
    pub(crate) limits: EventLimits,
}

impl Drop for Target {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// How batches get to a target.
#[derive(Debug)]
pub(crate) enum Sender {
    Webhook(Box<Webhook>),
    Syslog(Box<Syslog>),
}

impl Sender {
    /// An event as the target wants it.
    fn text(&self, source: &Source, item: &Item, style: Style) -> Vec<u8> {
        match self {
            Self::Webhook(_) => crate::webhook::text(source, item, style),
            Self::Syslog(syslog) => syslog.text(source, item, style),
        }
    }

    /// Most bytes of texts at once.
    fn limit(&self) -> usize {
        match self {
            Self::Webhook(webhook) => webhook.limit(),
            Self::Syslog(_) => crate::syslog::BATCH_BYTES,
        }
    }

    async fn body(&self, texts: &[Vec<u8>]) -> Bytes {
        match self {
            Self::Webhook(webhook) => webhook.body(texts).await,
            Self::Syslog(_) => texts.concat().into(),
        }
    }

    async fn send(&mut self, body: Bytes) -> Result<(), Failure> {
        match self {
            Self::Webhook(webhook) => webhook.send(body).await,
            Self::Syslog(syslog) => syslog.send(body).await,
        }
    }

    /// Resolves when something that was sent is to be sent again. Cancel safe.
    async fn lost(&self) {
        match self {
            Self::Webhook(_) => std::future::pending().await,
            Self::Syslog(syslog) => syslog.lost().await,
        }
    }
}

/// The task that empties a queue.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// The target's name in logs and metrics.
    pub(crate) name: String,
    pub(crate) queue: Arc<Queue>,
    pub(crate) sender: Sender,
    pub(crate) source: Arc<Source>,
    pub(crate) style: Style,
    pub(crate) metrics: TargetMetrics,
    /// The gateway ends: no long pauses.
    pub(crate) hurry: CancellationToken,
    /// Give up.
    pub(crate) stop: CancellationToken,
}

/// The end of an attempt to deliver.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    /// The target refuses it.
    Refused,
    /// It is given up.
    Stopped,
}

impl Delivery {
    /// Runs until the queue is closed and empty, or until it is stopped.
    pub(crate) async fn run(mut self) {
        let stop = self.stop.clone();
        loop {
            let next = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                items = self.queue.take() => items,
                () = self.sender.lost() => Some(Vec::new()),
            };
            let Some(items) = next else { return };
            if self.deliver(items).await == Outcome::Stopped {
                break;
            }
        }
        let left = self.queue.abandon();
        self.metrics.dropped_stopped(left);
        if left > 0 {
            self.report_dropped(left);
        }
    }

    fn report_dropped(&self, events: u64) {
        tracing::error!(
            code = code::AUDIT_EVENTS_DROPPED,
            module = "audit",
            eventTarget = self.name,
            events,
            "Events are given up that the target has not taken"
        );
    }

    /// Delivers a batch, in parts where that is needed.
    async fn deliver(&mut self, items: Vec<Item>) -> Outcome {
        let texts = self.texts(&items).await;
        let mut parts = parts(&texts, self.sender.limit());
        while let Some(part) = parts.pop_front() {
            let (Some(texts), Some(sent)) = (texts.get(part.clone()), items.get(part.clone())) else {
                continue;
            };
            match self.attempt(texts, sent).await {
                Outcome::Done => self.queue.release(sent),
                Outcome::Stopped => {
                    let left = items.len().saturating_sub(part.start) as u64;
                    self.metrics.dropped_stopped(left);
                    if left > 0 {
                        self.report_dropped(left);
                    }
                    return Outcome::Stopped;
                }
                Outcome::Refused if part.len() <= 1 => {
                    self.metrics.dropped_refused(1);
                    self.queue.release(sent);
                }
                Outcome::Refused => {
                    let middle = part.start + part.len() / 2;
                    parts.push_front(middle..part.end);
                    parts.push_front(part.start..middle);
                }
            }
        }
        self.queue.sent();
        Outcome::Done
    }

    /// Base64 and escaping of a megabyte take milliseconds, which others must not wait for.
    async fn texts(&self, items: &[Item]) -> Vec<Vec<u8>> {
        let mut texts = Vec::with_capacity(items.len());
        for (number, item) in items.iter().enumerate() {
            texts.push(self.sender.text(&self.source, item, self.style));
            if number % 16 == 15 {
                tokio::task::yield_now().await;
            }
        }
        texts
    }

    /// Sends one part until the target has taken or refused it.
    async fn attempt(&mut self, texts: &[Vec<u8>], items: &[Item]) -> Outcome {
        let body = self.sender.body(texts).await;
        let mut failures: u32 = 0;
        loop {
            let stop = self.stop.clone();
            let result = tokio::select! {
                biased;
                () = stop.cancelled() => return Outcome::Stopped,
                result = self.sender.send(body.clone()) => result,
            };
            let (reason, message, after) = match result {
                Ok(()) => {
                    self.taken(failures, items);
                    return Outcome::Done;
                }
                Err(Failure::Refused(message)) => {
                    if let [item] = items {
                        self.report_refused(item, &message);
                    }
                    return Outcome::Refused;
                }
                Err(Failure::Passing { reason, message, after }) => (reason, message, after),
            };
            failures = failures.saturating_add(1);
            self.metrics.failed(reason);
            // Each doubling, not each minute: the metric counts them all.
            if failures.is_power_of_two() {
                tracing::warn!(
                    code = code::AUDIT_EVENTS_FAILED,
                    module = "audit",
                    eventTarget = self.name,
                    attempt = failures,
                    reason = reason.as_str(),
                    "The target does not take events, which wait and are sent again: {message}"
                );
            }
            if self.pause(failures, after).await == Outcome::Stopped {
                return Outcome::Stopped;
            }
        }
    }

    async fn pause(&self, failures: u32, asked: Option<Duration>) -> Outcome {
        let mut pause = backoff::pause(failures, rand::random(), asked);
        let hurried = self.hurry.is_cancelled();
        if hurried {
            pause = pause.min(LAST_PAUSE);
        }
        tokio::select! {
            () = sleep(pause) => {}
            () = self.hurry.cancelled(), if !hurried => {}
            () = self.stop.cancelled() => return Outcome::Stopped,
        }
        Outcome::Done
    }

    fn taken(&self, failures: u32, items: &[Item]) {
        if let Some(oldest) = items.iter().map(|item| item.event.at).min() {
            let delay = crate::now().saturating_sub(oldest) as f64 / 1e9;
            self.metrics.taken(items.len(), delay);
        }
        if failures > 0 {
            tracing::info!(
                code = code::AUDIT_EVENTS_RESUMED,
                module = "audit",
                eventTarget = self.name,
                attempts = failures,
                "The target takes events again"
            );
        }
    }

    fn report_refused(&self, item: &Item, message: &str) {
        tracing::error!(
            code = code::AUDIT_EVENTS_REFUSED,
            module = "audit",
            eventTarget = self.name,
            connectionId = item.event.origin.session_id,
            eventType = %item.event.what.name(),
            sequence = item.sequence,
            "The target refuses an event, which is dropped: {message}"
        );
    }
}

/// Cuts a batch where it is longer than may be sent at once. There is always one part.
fn parts(texts: &[Vec<u8>], limit: usize) -> VecDeque<Range<usize>> {
    let mut parts = VecDeque::new();
    let (mut start, mut bytes) = (0, 0_usize);
    for (index, text) in texts.iter().enumerate() {
        if index > start && bytes + text.len() > limit {
            parts.push_back(start..index);
            (start, bytes) = (index, 0);
        }
        bytes += text.len();
    }
    parts.push_back(start..texts.len());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_cut_where_it_is_too_long_and_never_within_an_event() {
        let texts: Vec<Vec<u8>> = [3, 3, 9, 1, 1].map(|length| vec![0; length]).into();
        let cut: Vec<_> = parts(&texts, 6).into();
        assert_eq!(cut, [0..2, 2..3, 3..5]);
        assert_eq!(parts(&[], 6), vec![0..0; 1]);
    }
}
