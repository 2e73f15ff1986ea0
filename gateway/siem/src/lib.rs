//! Sessions as events, as they happen, for a SIEM.
//!
//! ```text
//! recorder's tap ──► Feed ──► stage (one task per session) ──► Queue (one per target) ──► delivery ──► webhook, syslog
//!   order of the record       events, files seen in SFTP         bounded, fair, numbered     batches, for ever
//! ```
//!
//! # What holds
//! - **Beside the record, never in its way.** No session waits for a target. What a session pays is one copy of what its
//!   events hold of its contents, and nothing where no target wants those.
//! - **In order, numbered.** A target gets a session's events in the order of the record, numbered without a gap; it may get one
//!   twice, with the same number.
//! - **Nothing is lost silently.** What a target does not take is kept and sent again, for ever, within the queue's bound.
//!   What is dropped beyond is counted, and told in a `gap` event with its range. What the process takes along when it
//!   dies is in the record, and the next run says where that is (`recovered`).
//! - **Bounded.** Memory for each target, for all feeds together, for each session's share of both.
//! - **No more than the record.** What `audit.intercept` leaves out of the record is in no event; passwords must be asked
//!   for once more.

mod backoff;
mod codes;
mod encode;
mod error;
mod event;
mod feed;
mod json;
mod metrics;
mod queue;
pub mod reference;
mod stage;
mod syslog;
mod target;
mod tls;
mod webhook;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use containerssh_config::{Audit, EventLimits, EventTarget};
use prometheus_client::registry::Registry;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub use codes::code;
pub use error::EventsError;
pub use event::{FinishedRecord, Recovered, Source};
pub use feed::{Feed, Place};
pub use syslog::SyslogLines;

use crate::encode::Style;
use crate::event::{Event, Kinds, Origin, What};
use crate::metrics::Metrics;
use crate::queue::{Limits, Queue};
use crate::stage::{Session, Stage};
use crate::syslog::Syslog;
use crate::target::{Delivery, Sender, Target};
use crate::webhook::Webhook;

/// Targets that were configured away and still have events to send. The oldest gives up when there are more: a gateway that is
/// reloaded for ever while its targets are away must not keep a queue for each.
const MAX_RETIRED: usize = 8;

/// A session whose events start.
#[derive(Debug, Clone)]
pub struct SessionStart {
    /// The connection id.
    pub id: String,
    /// Where the client comes from.
    pub remote: SocketAddr,
    /// When it connected.
    pub started: SystemTime,
    /// Hash of the policy it is recorded under.
    pub policy_hash: String,
    /// Whether what programs print is recorded: what happens to files is read from it too.
    pub stdout_recorded: bool,
}

/// The gateway's events. Clones share them; the default sends none.
#[derive(Debug, Clone, Default)]
pub struct Events(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    source: Arc<Source>,
    metrics: Metrics,
    /// In force for new sessions.
    plan: RwLock<Plan>,
    /// Were in force, oldest first.
    retired: Mutex<Vec<(Arc<Queue>, CancellationToken)>>,
    /// Bytes that all feeds may hold.
    memory: Arc<Semaphore>,
    stages: TaskTracker,
    deliveries: TaskTracker,
    /// The gateway ends: no long pauses.
    hurry: CancellationToken,
    stop: CancellationToken,
    _guard: DropGuard,
}

/// The targets of a configuration, ready to be used.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    targets: Vec<Arc<Target>>,
    /// Gives each target up, by position.
    stops: Vec<CancellationToken>,
    limits: EventLimits,
}

impl Events {
    /// Starts without a target. Must be called within a tokio runtime.
    pub fn start(source: Source, registry: &mut Registry) -> Self {
        let stop = CancellationToken::new();
        Self(Some(Arc::new(Inner {
            source: Arc::new(source),
            metrics: Metrics::register(registry),
            plan: RwLock::default(),
            retired: Mutex::default(),
            memory: Arc::new(Semaphore::new(feed::MEMORY)),
            stages: TaskTracker::new(),
            deliveries: TaskTracker::new(),
            hurry: CancellationToken::new(),
            stop: stop.clone(),
            _guard: stop.drop_guard(),
        })))
    }

    /// What a configuration means. Targets that it has in common with the one in force stay as they are, with what waits
    /// for them; certificates of new ones are read. Nothing changes until it is [applied](Events::apply).
    ///
    /// # Errors
    /// If a target's certificate, key or address is no use.
    pub fn prepare(&self, audit: &Audit) -> Result<Plan, EventsError> {
        let Some(inner) = &self.0 else { return Ok(Plan::default()) };
        let present = inner.plan();
        let mut plan = Plan { limits: audit.event_limits.clone(), ..Plan::default() };
        if !audit.enable {
            return Ok(plan);
        }
        for (index, config) in audit.events.iter().enumerate() {
            let same = present.targets.iter().zip(&present.stops).find(|(target, _)| {
                target.config == *config
                    && target.limits == audit.event_limits
                    && !plan.targets.iter().any(|taken| Arc::ptr_eq(taken, target))
            });
            let (target, stop) = match same {
                Some((target, stop)) => (Arc::clone(target), stop.clone()),
                None => inner.target(index, config, &audit.event_limits)?,
            };
            plan.targets.push(target);
            plan.stops.push(stop);
        }
        Ok(plan)
    }

    /// Takes new targets for new sessions. Sessions that are open go on with theirs.
    pub fn apply(&self, plan: &Plan) {
        let Some(inner) = &self.0 else { return };
        let before =
            std::mem::replace(&mut *inner.plan.write().unwrap_or_else(PoisonError::into_inner), plan.clone());
        let mut retired = inner.retired.lock().unwrap_or_else(PoisonError::into_inner);
        // Queues that only this list still holds are empty and their tasks gone.
        retired.retain(|(queue, _)| Arc::strong_count(queue) > 1);
        for (target, stop) in before.targets.iter().zip(before.stops) {
            if !plan.targets.iter().any(|kept| Arc::ptr_eq(kept, target)) {
                retired.push((Arc::clone(&target.queue), stop));
            }
        }
        let too_many = retired.len().saturating_sub(MAX_RETIRED);
        for (_, stop) in retired.drain(..too_many) {
            stop.cancel();
        }
    }

    /// A connection's feed. Its events go to the targets that are in force now, until it ends.
    #[must_use]
    pub fn session(&self, start: SessionStart) -> Feed {
        let Some(inner) = &self.0 else { return Feed::disabled() };
        let plan = inner.plan();
        if plan.targets.is_empty() {
            return Feed::disabled();
        }
        let wants = plan.targets.iter().fold(Kinds::default(), |wants, target| wants.with(target.wants));
        let limit = usize::try_from(plan.limits.data_bytes.bytes()).unwrap_or(usize::MAX);
        let (feed, line) = Feed::new(wants, limit, Arc::clone(&inner.memory));
        let origin =
            Origin { session_id: start.id, remote: Some(start.remote), policy_hash: start.policy_hash };
        let session =
            Session { origin, started: nanoseconds(start.started), stdout_recorded: start.stdout_recorded };
        let stage = Stage::new(line, &plan.targets, session, inner.stop.clone());
        inner.stages.spawn(stage.run());
        feed
    }

    /// An earlier run left a record behind: some of its events may never have been sent.
    pub fn recovered(&self, recovered: Recovered) {
        let Some(inner) = &self.0 else { return };
        let origin = Origin {
            session_id: recovered.session_id.clone(),
            remote: recovered.remote,
            policy_hash: recovered.policy_hash.clone(),
        };
        let event = Event {
            origin: Arc::new(origin),
            username: recovered.username.as_deref().map(Into::into),
            at: now(),
            channel: None,
            what: What::Recovered(recovered),
        };
        for target in &inner.plan().targets {
            if event.what.kind().is_some_and(|kind| target.wants.has(kind)) {
                target.queue.push_alone(event.clone());
            }
        }
    }

    /// Sends what waits, at most so long, and ends. Returns how many events are left, which are dropped. Call it when
    /// all sessions have ended.
    pub async fn drain(&self, limit: Duration) -> u64 {
        let Some(inner) = &self.0 else { return 0 };
        let deadline = Instant::now() + limit;
        inner.hurry.cancel();
        inner.stages.close();
        let _in_time = timeout_at(deadline, inner.stages.wait()).await;
        let queues: Vec<Arc<Queue>> = {
            let plan = inner.plan();
            let retired = inner.retired.lock().unwrap_or_else(PoisonError::into_inner);
            let old = retired.iter().map(|(queue, _)| Arc::clone(queue));
            plan.targets.iter().map(|target| Arc::clone(&target.queue)).chain(old).collect()
        };
        for queue in &queues {
            queue.close();
        }
        inner.deliveries.close();
        let in_time = timeout_at(deadline, inner.deliveries.wait()).await;
        let left = queues.iter().map(|queue| queue.status().1 as u64).sum();
        if in_time.is_err() {
            inner.stop.cancel();
            inner.deliveries.wait().await;
        }
        left
    }
}

impl Inner {
    fn plan(&self) -> Plan {
        self.plan.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes a target and starts its delivery.
    fn target(
        &self,
        index: usize,
        config: &EventTarget,
        limits: &EventLimits,
    ) -> Result<(Arc<Target>, CancellationToken), EventsError> {
        let option = format!("audit.events[{index}]");
        let (name, sender, include, batch) = match (&config.webhook, &config.syslog) {
            (Some(webhook), None) => {
                let sender = Sender::Webhook(Box::new(Webhook::new(webhook, &format!("{option}.webhook"))?));
                let batch = Limits {
                    events: usize::try_from(webhook.batch.events).unwrap_or(usize::MAX),
                    bytes: usize::try_from(webhook.batch.bytes.bytes()).unwrap_or(usize::MAX),
                    delay: webhook.batch.delay,
                };
                (format!("webhook-{index}"), sender, &webhook.include, batch)
            }
            (None, Some(syslog)) => {
                let sender = Sender::Syslog(Box::new(Syslog::new(syslog, &format!("{option}.syslog"))?));
                (format!("syslog-{index}"), sender, &syslog.include, syslog::BATCH)
            }
            // The configuration is checked, so this is a caller that made its own.
            _ => return Err(EventsError::invalid(option, "must have exactly one of webhook and syslog")),
        };
        let wants = Kinds::included(include.as_deref());
        let limit = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let metrics = self.metrics.target(&name);
        let queue = Arc::new(Queue::new(limit(limits.queue.bytes()), batch, metrics.clone()));
        self.metrics.watch(&name, &queue);
        let stop = self.stop.child_token();
        let delivery = Delivery {
            name,
            queue: Arc::clone(&queue),
            sender,
            source: Arc::clone(&self.source),
            style: Style {
                limit: limit(limits.data_bytes.bytes()),
                passwords: wants.has(containerssh_config::EventKind::Passwords),
            },
            metrics,
            hurry: self.hurry.clone(),
            stop: stop.clone(),
        };
        self.deliveries.spawn(delivery.run());
        let target = Target { queue, wants, config: config.clone(), limits: limits.clone() };
        Ok((Arc::new(target), stop))
    }
}

fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Nanoseconds since 1970.
fn now() -> u64 {
    nanoseconds(SystemTime::now())
}
