//! `auth.publicKey.certificates` and `revokedKeys`: who may sign for users, and what lets nobody in any more.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check_path;
use crate::parse::Problems;

/// `auth.publicKey.certificates`: OpenSSH user certificates.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Certificates {
    /// Who may sign: public keys (`ssh-ed25519 AAAA…`), or absolute names of files that list one per line, as sshd's
    /// `TrustedUserCAKeys`. Files are read at each login.
    pub authorities: Vec<String>,
    /// File that lists the principals that may log in as a user, one per line, as sshd's `AuthorizedPrincipalsFile`; `%u` is the
    /// user name and `%%` a percent sign. Absent: the user name itself has to be a principal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principals_file: Option<String>,
}

impl Certificates {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn check(&self, problems: &mut Problems) {
        for (index, authority) in self.authorities.iter().enumerate() {
            let key = authority.split_whitespace().count() >= 2
                && ["ssh-", "ecdsa-", "sk-"].iter().any(|kind| authority.starts_with(kind));
            if !key && !authority.starts_with('/') {
                problems.invalid(
                    format!("auth.publicKey.certificates.authorities[{index}]"),
                    "must be a public key (\"ssh-ed25519 AAAA…\") or the absolute name of a file of them",
                );
            }
        }
        if let Some(Err(message)) = self.principals_file.as_deref().map(check_path) {
            problems.invalid("auth.publicKey.certificates.principalsFile", message);
        }
        if self.principals_file.is_some() && self.authorities.is_empty() {
            problems.invalid(
                "auth.publicKey.certificates.authorities",
                "is empty: without an authority principalsFile has no effect",
            );
        }
    }
}
