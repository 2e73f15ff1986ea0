//! OpenSSH user certificates: who signs them, and what lets nobody in any more.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::AuthorizedKeysSource;
use crate::{DataKeyRef, NameRef};

/// A Secret or a ConfigMap with the public keys that may sign, in all of its data keys: one per line, as in sshd's
/// TrustedUserCAKeys.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.secretRef) != has(self.configMapRef)")
    .message("set exactly one of secretRef and configMapRef"))]
pub struct CertificateAuthorities {
    /// A Secret in the gateway's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<NameRef>,

    /// A ConfigMap in the gateway's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<NameRef>,

    /// Which principals may log in as whom: each data key is a user name, its value one principal per line, as
    /// in sshd's AuthorizedPrincipalsFile. Whom it does not name, no certificate lets in. Default: the user name
    /// itself has to be one of the certificate's principals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principals_from: Option<AuthorizedKeysSource>,
}

/// One data key of a Secret or a ConfigMap with what is revoked.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.secretRef) != has(self.configMapRef)")
    .message("set exactly one of secretRef and configMapRef"))]
pub struct RevokedKeysSource {
    /// A Secret in the gateway's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<DataKeyRef>,

    /// A ConfigMap in the gateway's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<DataKeyRef>,
}
