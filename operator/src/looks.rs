//! What the last full look at a gateway found, so that counting its sessions costs the apiserver nothing.
//!
//! Sessions are counted every minute, and a gateway whose pods roll out is asked every few seconds; reading everything
//! that it depends on each time would be a hundred requests a second for a thousand gateways. Whatever a gateway
//! depends on is watched and marks it when it changes ([`Dirty`](crate::index::Dirty)), so while no mark has come since
//! the last look, only its pods need to be asked. What no watch can tell (would the apiserver still take the users'
//! pods?) and the wish to be right even where a watch was not bound a look's age.
//!
//! Nothing secret is kept: a look holds what stands in the status.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tokio::time::Instant;

use crate::{
    backoff::{jittered, lock},
    finding::Finding,
    gather::{audit::Resolved, observed::Replicas},
    index::Name,
};

/// Age of a look at a gateway that is as it should be. Controllers of Kubernetes itself take ten hours.
const KEEP_SETTLED: Duration = Duration::from_secs(8 * 3600);
/// Age of a look that found something amiss: a quota, or the labels of a namespace, may have changed since.
const KEEP_UNSETTLED: Duration = Duration::from_secs(300);
/// So that a thousand gateways that were first seen together are not looked at together again.
const JITTER: f64 = 0.25;

/// What one full look found.
#[derive(Debug)]
pub struct Look {
    pub uid: String,
    /// Generation of the spec that was looked at.
    pub generation: Option<i64>,
    pub findings: Vec<Finding>,
    /// See [`Plan::missing`](crate::plan::Plan).
    pub missing: Option<Vec<String>>,
    pub resolved: Option<Resolved>,
    pub replicas: Option<Replicas>,
    pub address: Option<String>,
    pub fingerprints: Option<Vec<String>>,
}

impl Look {
    fn settled(&self) -> bool {
        self.findings.is_empty() && self.replicas.is_some_and(|replicas| replicas.settled())
    }

    /// When a policy holds again that does not now.
    pub fn next_expiry(&self) -> Option<&Time> {
        self.resolved.as_ref().and_then(Resolved::next_expiry)
    }
}

#[derive(Debug)]
struct Kept {
    look: Arc<Look>,
    /// The mark that led to it.
    turn: u64,
    until: Instant,
}

/// The last look at each gateway.
#[derive(Debug, Default)]
pub struct Looks(Mutex<HashMap<Name, Kept>>);

impl Looks {
    /// The last look, if it is still good: no mark has come since, and neither age nor an exclusion's end has overtaken it.
    pub fn current(&self, name: &Name, turn: u64, uid: &str, now: &Time) -> Option<Arc<Look>> {
        let looks = lock(&self.0);
        let kept = looks.get(name)?;
        let expired = kept.look.next_expiry().is_some_and(|expiry| expiry <= now);
        (kept.turn == turn && kept.look.uid == uid && !expired && Instant::now() < kept.until)
            .then(|| Arc::clone(&kept.look))
    }

    /// Keeps a look that began when the gateway's last mark was `turn`.
    pub fn keep(&self, name: Name, turn: u64, look: Look) -> Arc<Look> {
        let age = if look.settled() { KEEP_SETTLED } else { KEEP_UNSETTLED };
        let look = Arc::new(look);
        let until = Instant::now() + jittered(age, JITTER);
        lock(&self.0).insert(name, Kept { look: Arc::clone(&look), turn, until });
        look
    }

    /// Forgets every gateway but these.
    pub fn retain(&self, names: &HashSet<Name>) {
        lock(&self.0).retain(|name, _| names.contains(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Subject;
    use containerssh_crds::conditions::Reason;

    const SETTLED: Replicas = Replicas { desired: 1, ready: 1, updated: 1, existing: 1, current: true };

    fn look(findings: Vec<Finding>) -> Look {
        Look {
            uid: "u".into(),
            generation: Some(1),
            missing: None,
            findings,
            resolved: None,
            replicas: Some(SETTLED),
            address: None,
            fingerprints: None,
        }
    }

    fn name() -> Name {
        Name::within("team-a", "dev")
    }

    fn now() -> Time {
        Time(jiff::Timestamp::UNIX_EPOCH)
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_is_good_until_the_next_mark() {
        let looks = Looks::default();
        looks.keep(name(), 3, look(Vec::new()));
        assert!(looks.current(&name(), 3, "u", &now()).is_some());
        assert!(looks.current(&name(), 4, "u", &now()).is_none(), "something has changed");
        assert!(looks.current(&name(), 3, "other", &now()).is_none(), "another gateway of that name");
        looks.retain(&HashSet::new());
        assert!(looks.current(&name(), 3, "u", &now()).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_amiss_is_looked_at_again_sooner() {
        let finding = Finding::new(Subject::Accepted, Reason::InvalidPodTemplate, "over quota");
        let looks = Looks::default();
        looks.keep(name(), 1, look(vec![finding]));
        looks.keep(Name::within("team-a", "good"), 1, look(Vec::new()));
        tokio::time::advance(KEEP_UNSETTLED * 2).await;
        assert!(looks.current(&name(), 1, "u", &now()).is_none());
        assert!(looks.current(&Name::within("team-a", "good"), 1, "u", &now()).is_some());
        tokio::time::advance(KEEP_SETTLED * 2).await;
        assert!(looks.current(&Name::within("team-a", "good"), 1, "u", &now()).is_none());
    }
}
