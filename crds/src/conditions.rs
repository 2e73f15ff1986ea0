//! Conditions: names, reasons, and the one way to change them.
//!
//! The rules are those that `kubectl wait`, Flux and Argo CD rely on. A condition's `lastTransitionTime` moves
//! only when its `status` does. `Ready` is the summary and is always there; `Reconciling` and `Stalled` are
//! abnormal and are *removed* when all is well. Every condition carries the generation that it describes.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Summary: users can connect; a policy is obeyed.
pub const READY: &str = "Ready";
/// Abnormal: the operator is on its way to the wanted state.
pub const RECONCILING: &str = "Reconciling";
/// Abnormal: no retry will help, somebody must change something.
pub const STALLED: &str = "Stalled";
/// The spec is valid.
pub const ACCEPTED: &str = "Accepted";
/// Every Secret, ConfigMap and namespace that the spec refers to is there and fits.
pub const RESOLVED_REFS: &str = "ResolvedRefs";
/// The policies that cover the gateway give a result, and the gateway obeys it.
pub const AUDIT_POLICY_RESOLVED: &str = "AuditPolicyResolved";
/// Enough gateway pods take connections.
pub const AVAILABLE: &str = "Available";
/// The objects that the spec asks for of kinds that a cluster may lack are there. It stands by itself: users can connect
/// without them.
pub const INTEGRATED: &str = "Integrated";
/// Every gateway that a policy covers obeys it.
pub const PROGRAMMED: &str = "Programmed";

/// Longest message, in bytes: Kubernetes' own bound for conditions.
const MAX_MESSAGE: usize = 32_768;

/// `status` of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Not known as yet.
    Unknown,
}

impl Status {
    /// As the API has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident),+ $(,)?) => {
        /// Why a condition is as it is. Part of the API: names stay, new ones may come.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason { $($(#[doc = $doc])+ $name),+ }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// As the API has it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),+ }
            }
        }
    };
}

reasons! {
    /// The spec is valid.
    Accepted,
    /// The spec is not valid.
    Invalid,
    /// The pod template is not one that the API server accepts.
    InvalidPodTemplate,
    /// The pods' namespace does not let this gateway in.
    NamespaceNotPermitted,
    /// Everything referred to is there.
    ResolvedRefs,
    /// Something referred to is missing.
    RefNotFound,
    /// Something referred to is there but unfit.
    RefInvalid,
    /// Every optional object is there.
    Integrated,
    /// The cluster does not have the kind of an optional object.
    KindNotServed,
    /// Policies gave a result.
    PolicyApplied,
    /// No policy covers the gateway; the baseline holds.
    Baseline,
    /// No policy covers the gateway, and the operator refuses to run such.
    NoPolicy,
    /// Policies gave a result, but not everybody got what they asked for.
    Conflicted,
    /// A policy cannot be read.
    PolicyUnreadable,
    /// Sessions must be recorded, but nobody says where to.
    NoDestination,
    /// The result is computed, but not every gateway pod obeys it as yet.
    PolicyRollingOut,
    /// Not looked at as yet.
    Pending,
    /// Objects are being written.
    Progressing,
    /// Pods are being replaced or scaled.
    RollingOut,
    /// Too few pods are ready.
    Unavailable,
    /// Enough pods are ready.
    Available,
    /// All is as wanted.
    Ready,
    /// Not ready; the message has the cause.
    NotReady,
    /// The gateway is meant to have no pods.
    ScaledToZero,
    /// The API server refused or failed; the operator tries again.
    ApiError,
    /// The policy is obeyed everywhere.
    Programmed,
    /// The policy is obeyed in part.
    PartiallyProgrammed,
    /// The policy covers no gateway.
    NoMatch,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A condition as it ought to be, less the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// One of the names of this module.
    pub type_: &'static str,
    /// Whether it holds.
    pub status: Status,
    /// Why.
    pub reason: Reason,
    /// For people: names the object and the remedy.
    pub message: String,
}

impl Observation {
    /// A condition as it ought to be.
    #[must_use]
    pub fn new(type_: &'static str, status: Status, reason: Reason, message: impl Into<String>) -> Self {
        Self { type_, status, reason, message: message.into() }
    }
}

/// What an upsert did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing differs.
    None,
    /// Reason, message or generation differ.
    Updated,
    /// The status flipped, or the condition is new: worth an Event.
    Transitioned,
}

/// Sets a condition. Keeps `lastTransitionTime` unless the status flips.
pub fn upsert(
    conditions: &mut Vec<Condition>,
    observation: Observation,
    generation: Option<i64>,
    now: &Time,
) -> Change {
    let mut new = Condition {
        type_: observation.type_.to_owned(),
        status: observation.status.as_str().to_owned(),
        reason: observation.reason.as_str().to_owned(),
        message: bounded(observation.message),
        observed_generation: generation,
        last_transition_time: now.clone(),
    };
    let Some(old) = conditions.iter_mut().find(|condition| condition.type_ == new.type_) else {
        conditions.push(new);
        return Change::Transitioned;
    };
    let flipped = old.status != new.status;
    if !flipped {
        new.last_transition_time = old.last_transition_time.clone();
    }
    let differs = *old != new;
    *old = new;
    match (flipped, differs) {
        (true, _) => Change::Transitioned,
        (false, true) => Change::Updated,
        (false, false) => Change::None,
    }
}

/// Removes a condition, as is done with abnormal ones when all is well. True if it was there.
pub fn remove(conditions: &mut Vec<Condition>, type_: &str) -> bool {
    let before = conditions.len();
    conditions.retain(|condition| condition.type_ != type_);
    conditions.len() != before
}

/// The condition of that name.
#[must_use]
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Whether the condition is there and true.
#[must_use]
pub fn is_true(conditions: &[Condition], type_: &str) -> bool {
    find(conditions, type_).is_some_and(|condition| condition.status == Status::True.as_str())
}

fn bounded(mut message: String) -> String {
    message.truncate(message.floor_char_boundary(MAX_MESSAGE));
    message
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    fn at(second: i64) -> Time {
        Time(Timestamp::from_second(second).unwrap())
    }

    fn ready(status: Status, message: &str) -> Observation {
        Observation::new(READY, status, Reason::NotReady, message)
    }

    #[test]
    fn the_transition_time_moves_only_when_the_status_flips() {
        let mut conditions = Vec::new();
        assert_eq!(upsert(&mut conditions, ready(Status::False, "a"), Some(1), &at(1)), Change::Transitioned);
        assert_eq!(upsert(&mut conditions, ready(Status::False, "a"), Some(1), &at(2)), Change::None);
        assert_eq!(upsert(&mut conditions, ready(Status::False, "b"), Some(1), &at(3)), Change::Updated);
        assert_eq!(upsert(&mut conditions, ready(Status::False, "b"), Some(2), &at(4)), Change::Updated);
        assert_eq!(conditions[0].last_transition_time, at(1));
        assert_eq!(conditions[0].observed_generation, Some(2));
        assert_eq!(upsert(&mut conditions, ready(Status::True, "b"), Some(2), &at(5)), Change::Transitioned);
        assert_eq!(conditions[0].last_transition_time, at(5));
        assert_eq!(conditions.len(), 1);
    }

    #[test]
    fn other_conditions_stay_as_they_are() {
        let mut conditions = Vec::new();
        upsert(&mut conditions, Observation::new(STALLED, Status::True, Reason::Invalid, ""), None, &at(1));
        upsert(&mut conditions, ready(Status::False, ""), None, &at(1));
        assert!(is_true(&conditions, STALLED) && !is_true(&conditions, READY));
        assert!(remove(&mut conditions, STALLED));
        assert!(!remove(&mut conditions, STALLED));
        assert!(find(&conditions, READY).is_some() && find(&conditions, STALLED).is_none());
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        let mut conditions = Vec::new();
        upsert(&mut conditions, ready(Status::False, &"ä".repeat(MAX_MESSAGE)), None, &at(1));
        assert_eq!(conditions[0].message.len(), MAX_MESSAGE);
        let mut conditions = Vec::new();
        upsert(&mut conditions, ready(Status::False, &format!("a{}", "ä".repeat(MAX_MESSAGE))), None, &at(1));
        assert_eq!(conditions[0].message.len(), MAX_MESSAGE - 1);
    }

    #[test]
    fn reasons_are_what_the_api_admits() {
        for reason in Reason::ALL {
            let text = reason.as_str();
            assert!(text.starts_with(|c: char| c.is_ascii_uppercase()), "{text}");
            assert!(text.chars().all(|c| c.is_ascii_alphanumeric()) && text.len() <= 1024, "{text}");
        }
    }
}
