//! What keeps a record from being deleted, read or forged once it is written.
//!
//! These stand beside the storage and not in it: storage is taken whole from one policy, and a policy that demands ten
//! years of retention must count wherever records go.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::{NameRef, Span};

/// How long nobody can delete or change a record. The bucket must have been made with Object Lock.
#[derive(KubeSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.retention) == (has(self.mode) && self.mode != 'None')")
    .message("retention goes with mode: Governance or Compliance, which both need it"))]
pub struct ObjectLock {
    /// Governance lets those with a special permission delete, Compliance nobody at all, None leaves it to
    /// the bucket. Stricter: Compliance, then Governance. Default: None.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<LockMode>,

    /// For how long from the upload on, such as 8760h for a year. Stricter: the longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1h')").message("must be at least 1h"))]
    pub retention: Option<Span>,

    /// Whether records cannot be deleted until somebody lifts the hold, whatever the retention. Stricter:
    /// true. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub legal_hold: Option<bool>,
}

choice! {
    /// Strictness of a lock.
    #[derive(PartialOrd, Ord)]
    pub enum LockMode {
        /// As the bucket says.
        None,
        /// Whoever has a special permission may delete.
        Governance,
        /// Nobody may delete.
        Compliance,
    }
}

/// The key that manifests of records are signed with.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Signing {
    /// Secret with the data key privateKey, an Ed25519 key as PKCS#8 PEM (openssl genpkey -algorithm
    /// ed25519): in the operator's namespace for an AuditPolicy, in the gateway's own for an SSHGateway.
    pub secret_ref: NameRef,
}
