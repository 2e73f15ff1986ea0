//! The operator: makes gateways of `SSHGateway` objects, and has them obey the `AuditPolicy` objects that cover them.
//!
//! One reconcile is `gather -> plan -> apply -> prune -> status`. [`gather`] reads the cluster and tells findings (what
//! a person has to mend) from errors (what will pass); [`plan`] is pure and holds every decision about the objects;
//! [`apply`] and [`prune`] write only what differs; [`status`] says what came of it. [`watches`] decide who is looked at
//! again, on every replica; [`lease`] decides which replica works.
//!
//! Three promises shape it:
//! - **A policy is never weakened by what the operator does not know.** No gateway is touched before every policy
//!   and namespace is known, a policy that cannot be read holds everything back, and a gateway whose own spec is broken
//!   still obeys policies that come later.
//! - **Sessions survive.** Nothing that the gateway can reload restarts a pod, and what is wrong with a new spec leaves
//!   the last good one running.
//! - **Idle means idle.** With nothing to do, the operator writes nothing, and asks the apiserver nothing ([`looks`]).

pub mod admin;
pub mod apply;
pub mod args;
pub mod backoff;
pub mod baseline;
pub mod children;
pub mod context;
pub mod controller;
pub mod error;
pub mod events;
pub mod finding;
pub mod gather;
pub mod index;
pub mod lease;
pub mod looks;
pub mod metrics;
pub mod plan;
pub mod probe;
pub mod prune;
pub mod run;
pub mod served;
pub mod status;
pub mod watch;
pub mod watches;

/// Field manager of everything that the operator writes, and its name in labels and Events.
pub const MANAGER: &str = "containerssh-operator";

containerssh_log::codes! {
    /// Codes of the operator's log.
    pub mod code {
        OPERATOR_STARTED = "The operator has read its flags and begins to watch.";
        OPERATOR_READY = "The operator knows every object that exists and takes part in the leader election.";
        OPERATOR_LEADING = "This replica leads: it reconciles, the others wait.";
        OPERATOR_STOPPED = "The operator ends.";
        OPERATOR_FAILED = "The operator cannot go on and ends; the message says why.";
        OPERATOR_LEASE_FAILED = "The Lease could not be taken, renewed or released. While that lasts, no replica may lead.";
        OPERATOR_WATCH_FAILED = "A watch broke. It is opened again by itself; if this repeats, check the operator's permissions and the API server.";
        OPERATOR_RECONCILE_FAILED = "An object could not be brought to its wanted state. It is tried again, first after a second, at last every five minutes.";
        OPERATOR_APPLIED = "An object of a gateway was created or changed.";
        OPERATOR_CLEANED_UP = "Objects of a deleted gateway in other namespaces are being deleted.";
        OPERATOR_POLICY_IMPOSED = "A gateway whose spec is broken keeps running as it was, but was made to obey its audit policies as they are now.";
        OPERATOR_EVENT_FAILED = "A Kubernetes Event could not be published. Nothing else is affected.";
    }
}

#[cfg(test)]
mod tests {
    /// `UPDATE_CODES=1 cargo test -p containerssh-operator every_code` writes the document anew.
    #[test]
    fn every_code_is_explained_in_the_document() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/CODES-operator.md");
        let text = containerssh_log::codes::markdown(
            "Message codes of the operator",
            &[("Operator", super::code::TABLE)],
        );
        if std::env::var_os("UPDATE_CODES").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap_or_default(), text);
    }
}
