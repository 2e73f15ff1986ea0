//! Events: what `kubectl describe` shows below an object. Published on transitions only; an Event that could not
//! be published is logged and forgotten, for it must never fail a reconcile.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};

use crate::code;

/// The API refuses longer notes.
const LONGEST_NOTE: usize = 1024;
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(5);

/// Publishes for one operator replica.
#[derive(Clone)]
pub struct Events {
    recorder: Recorder,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Events")
    }
}

/// One thing that happened to an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happening {
    pub warning: bool,
    /// PascalCase, at most 128 bytes.
    pub reason: String,
    pub note: String,
}

impl Events {
    pub fn new(client: Client, instance: &str) -> Self {
        let reporter =
            Reporter { controller: crate::MANAGER.into(), instance: Some(truncated(instance, 128)) };
        Self { recorder: Recorder::new(client, reporter) }
    }

    pub async fn publish(&self, about: &ObjectReference, happening: &Happening) {
        let event = Event {
            type_: if happening.warning { EventType::Warning } else { EventType::Normal },
            reason: happening.reason.clone(),
            note: Some(truncated(&happening.note, LONGEST_NOTE)),
            action: "Reconcile".into(),
            secondary: None,
        };
        let problem = match tokio::time::timeout(PUBLISH_TIMEOUT, self.recorder.publish(&event, about)).await
        {
            Ok(Ok(())) => return,
            Ok(Err(error)) => crate::error::describe(&error),
            Err(_elapsed) => format!("no answer within {PUBLISH_TIMEOUT:?}"),
        };
        tracing::warn!(code = code::OPERATOR_EVENT_FAILED, reason = %happening.reason, "An Event could not be published: {problem}");
    }
}

/// At most `limit` bytes of `text`, cut between characters.
pub fn truncated(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let cut =
        (0..=limit.saturating_sub('…'.len_utf8())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    format!("{}…", text.get(..cut).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn notes_never_exceed_the_limit_of_the_api(text in any::<String>(), limit in 3_usize..64) {
            let cut = truncated(&text, limit);
            prop_assert!(cut.len() <= limit);
            prop_assert!(text.len() > limit || cut == text);
        }
    }
}
