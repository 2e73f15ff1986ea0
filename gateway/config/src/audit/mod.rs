//! `audit`: what is recorded, where the record goes, and what happens when it cannot.

mod allow;
mod encryption;
mod events;
mod file;
mod intercept;
mod lock;
mod s3;
mod signing;
mod spool;
mod sse;
mod version;

pub use allow::PolicyAllow;
pub(crate) use allow::exceeded;
pub use encryption::Encryption;
pub(crate) use events::check_tls;
pub use events::{
    EventBatch, EventCompression, EventEncoding, EventKind, EventLimits, EventSyslog, EventTarget,
    EventWebhook, SyslogProtocol,
};
pub use file::FileStorage;
pub use intercept::Intercept;
pub use lock::{LockMode, ObjectLock};
pub use s3::{S3, S3Metadata};
pub use signing::Signing;
pub use spool::{Durability, OnFull, Spool};
pub use sse::{ServerSideEncryption, SseType};
pub use version::FormatVersion;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::parse::Problems;
use crate::value::keyword::keyword_enum;

keyword_enum! {
    /// `audit.format`
    #[derive(Default)]
    pub enum AuditFormat {
        /// Nothing is recorded.
        #[default]
        None = "none",
        /// ContainerSSH's binary format.
        Binary = "binary",
        /// An asciicast per session channel.
        Asciinema = "asciinema",
    }
    aliases {
        // As ContainerSSH 0.4 called it.
        "audit" => Binary,
        "asciicast" => Asciinema,
    }
}

keyword_enum! {
    /// `audit.storage`
    #[derive(Default)]
    pub enum AuditStorage {
        /// Nowhere.
        #[default]
        None = "none",
        /// Files in `audit.file.directory`.
        File = "file",
        /// Objects in an S3 bucket.
        S3 = "s3",
    }
}

keyword_enum! {
    /// `audit.onFailure`: what happens to a session that can no longer be recorded.
    #[derive(Default)]
    pub enum OnFailure {
        /// It ends.
        #[default]
        Deny = "deny",
        /// It goes on, and the gap is recorded once that is possible again.
        Allow = "allow",
    }
}

/// `audit`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Audit {
    /// Whether anything is recorded.
    ///
    /// A file that does not say so but names a format and a storage means yes: ContainerSSH 0.4 had no such key.
    pub enable: bool,
    /// In which format.
    pub format: AuditFormat,
    /// Which version of format `binary`.
    pub format_version: FormatVersion,
    /// Where to.
    pub storage: AuditStorage,
    /// For storage `file`.
    pub file: FileStorage,
    /// For storage `s3`.
    pub s3: S3,
    /// Which contents are recorded, besides what happened.
    pub intercept: Intercept,
    /// What happens to a session that can no longer be recorded.
    pub on_failure: OnFailure,
    /// The store between the session and its destination.
    pub spool: Spool,
    /// Who may read the records.
    pub encryption: Encryption,
    /// The key that manifests are signed with.
    pub signing: Signing,
    /// Where events are sent as they happen.
    pub events: Vec<EventTarget>,
    /// How much of them is held.
    pub event_limits: EventLimits,
    /// Which policy this section comes from, and what it leaves to others.
    pub policy: AuditPolicyInfo,
}

/// `audit.policy`: hash and names are opaque to the gateway; they stand in S3 metadata, metrics and status.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct AuditPolicyInfo {
    /// Hash of the effective policy.
    pub hash: String,
    /// Names of the policies it was made from.
    pub sources: Vec<String>,
    /// What a configuration server may set, at most.
    #[serde(skip_serializing_if = "PolicyAllow::is_default")]
    pub allow: PolicyAllow,
}

impl Audit {
    /// Whether records are written at all.
    #[must_use]
    pub fn is_recording(&self) -> bool {
        self.enable && self.format != AuditFormat::None && self.storage != AuditStorage::None
    }

    pub(crate) fn check(&self, problems: &mut Problems) {
        if !self.enable {
            if !self.events.is_empty() {
                problems.invalid(
                    "audit.events",
                    "has an effect only if audit.enable is true: events tell of what is recorded",
                );
            }
            return;
        }
        events::check(&self.events, &self.event_limits, problems);
        // Each of the three switches alone would silently record nothing; ContainerSSH's default is that.
        if self.format == AuditFormat::None {
            problems.invalid(
                "audit.format",
                "is none, so nothing would be recorded: set it, or set audit.enable to false",
            );
        }
        if self.format == AuditFormat::Asciinema && self.format_version != FormatVersion::default() {
            problems.invalid(
                "audit.formatVersion",
                "is for audit.format binary, but audit.format is asciinema: leave one of them out",
            );
        }
        match self.storage {
            AuditStorage::None => problems.invalid(
                "audit.storage",
                "is none, so nothing would be recorded: set it, or set audit.enable to false",
            ),
            AuditStorage::File => self.file.check(problems),
            AuditStorage::S3 => self.s3.check(problems),
        }
        self.spool.check(problems);
        self.encryption.check(problems);
        self.signing.check(problems);
        if self.encryption.is_on() && self.format == AuditFormat::Asciinema {
            problems.invalid(
                "audit.encryption.recipients",
                "needs audit.format binary: casts are made from the finished record, which the gateway cannot read \
                 when it is encrypted",
            );
        }
    }
}
