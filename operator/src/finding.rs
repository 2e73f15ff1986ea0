//! Findings: what is wrong with what a person wrote, as opposed to [`Error`](crate::error::Error)s, which are ours or
//! the cluster's. A finding names the object and how to mend it, and becomes a condition.

use std::fmt;

use containerssh_crds::conditions::{self, Reason};

/// Which condition a finding makes false.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// The spec itself.
    Accepted,
    /// What it refers to.
    ResolvedRefs,
    /// The policies that apply.
    AuditPolicyResolved,
}

impl Subject {
    /// Name of the condition.
    pub const fn condition(self) -> &'static str {
        match self {
            Self::Accepted => conditions::ACCEPTED,
            Self::ResolvedRefs => conditions::RESOLVED_REFS,
            Self::AuditPolicyResolved => conditions::AUDIT_POLICY_RESOLVED,
        }
    }
}

/// One thing to mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub subject: Subject,
    pub reason: Reason,
    /// A sentence for a person.
    pub message: String,
}

impl Finding {
    pub fn new(subject: Subject, reason: Reason, message: impl Into<String>) -> Self {
        Self { subject, reason, message: message.into() }
    }

    /// True when nothing but an edit of this object helps. What is merely missing may arrive with the same
    /// `kubectl apply`, and its arrival is noticed.
    pub const fn is_stalling(&self) -> bool {
        !matches!(self.reason, Reason::RefNotFound)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
