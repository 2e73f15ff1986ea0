//! Metrics of the webhooks: ContainerSSH's names and labels, and what it does not count. Every label takes one of a few words of
//! this crate.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// What a webhook is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the variants' names are the label's values")]
pub(crate) enum Purpose {
    password,
    pubkey,
    authorization,
    config,
    teardown,
}

/// Whether an attempt that failed is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the variants' names are the label's values")]
pub(crate) enum Outcome {
    soft,
    hard,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    authtype: Purpose,
    retry: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failed {
    r#type: Outcome,
    authtype: Purpose,
    retry: u32,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConfigRequest {
    retry: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConfigFailed {
    r#type: Outcome,
    retry: u32,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Which {
    webhook: Purpose,
}

/// What is counted about webhooks, over all configurations. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    requests: Family<Request, Counter>,
    failures: Family<Failed, Counter>,
    config_requests: Family<ConfigRequest, Counter>,
    config_failures: Family<ConfigFailed, Counter>,
    circuit_open: Family<Which, Gauge>,
    circuit_denied: Family<Which, Counter>,
    cached: Family<Which, Counter>,
    teardowns_lost: Counter,
    teardowns_waiting: Gauge,
}

impl Metrics {
    /// Registers them all.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let server = registry.sub_registry_with_prefix("containerssh_auth_server");
        server.register("requests", "Requests to webhooks of authentication", metrics.requests.clone());
        server.register(
            "failures",
            "Requests to webhooks of authentication without a usable answer: soft ones are tried again",
            metrics.failures.clone(),
        );
        let server = registry.sub_registry_with_prefix("containerssh_config_server");
        server.register("requests", "Requests to the configuration server", metrics.config_requests.clone());
        server.register(
            "failures",
            "Requests to the configuration server without a usable answer: soft ones are tried again",
            metrics.config_failures.clone(),
        );
        let webhook = registry.sub_registry_with_prefix("containerssh_webhook");
        webhook.register(
            "circuit_open",
            "1 while nobody waits for a webhook that gave no answers",
            metrics.circuit_open.clone(),
        );
        webhook.register(
            "circuit_denied",
            "Questions denied at once because the webhook gave no answers",
            metrics.circuit_denied.clone(),
        );
        webhook.register(
            "cached",
            "Questions answered by an answer that the webhook let be kept",
            metrics.cached.clone(),
        );
        webhook.register(
            "teardowns_lost",
            "Ends of connections that the teardown webhook was not told",
            metrics.teardowns_lost.clone(),
        );
        webhook.register(
            "teardowns_waiting",
            "Ends of connections that the teardown webhook is still to be told",
            metrics.teardowns_waiting.clone(),
        );
        metrics
    }

    /// The webhooks that nobody waits for at present, by their words in labels.
    #[must_use]
    pub fn without_answers(&self) -> Vec<&'static str> {
        let all = [
            (Purpose::password, "password"),
            (Purpose::pubkey, "pubkey"),
            (Purpose::authorization, "authorization"),
            (Purpose::config, "config"),
        ];
        let is_open = |webhook| self.circuit_open.get(&Which { webhook }).is_some_and(|open| open.get() == 1);
        all.into_iter().filter(|(webhook, _)| is_open(*webhook)).map(|(_, word)| word).collect()
    }

    pub(crate) fn asked(&self, authtype: Purpose, is_retry: bool) {
        let retry = u32::from(is_retry);
        match authtype {
            Purpose::config => self.config_requests.get_or_create(&ConfigRequest { retry }).inc(),
            _ => self.requests.get_or_create(&Request { authtype, retry }).inc(),
        };
    }

    /// `reason` is a message code.
    pub(crate) fn failed(&self, r#type: Outcome, authtype: Purpose, is_retry: bool, reason: &'static str) {
        let retry = u32::from(is_retry);
        match authtype {
            Purpose::config => {
                self.config_failures.get_or_create(&ConfigFailed { r#type, retry, reason }).inc()
            }
            _ => self.failures.get_or_create(&Failed { r#type, authtype, retry, reason }).inc(),
        };
    }

    pub(crate) fn circuit(&self, webhook: Purpose, open: bool) {
        self.circuit_open.get_or_create(&Which { webhook }).set(i64::from(open));
    }

    pub(crate) fn denied_by_circuit(&self, webhook: Purpose) {
        self.circuit_denied.get_or_create(&Which { webhook }).inc();
    }

    pub(crate) fn answered_from_cache(&self, webhook: Purpose) {
        self.cached.get_or_create(&Which { webhook }).inc();
    }

    pub(crate) fn teardown_lost(&self) {
        self.teardowns_lost.inc();
    }

    /// Counts somebody who is still to be told until the guard is dropped.
    pub(crate) fn teardown_waits(&self) -> Waiting {
        self.teardowns_waiting.inc();
        Waiting(self.teardowns_waiting.clone())
    }
}

#[derive(Debug)]
pub(crate) struct Waiting(Gauge);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.dec();
    }
}
