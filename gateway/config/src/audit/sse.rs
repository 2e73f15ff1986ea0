//! `audit.s3.serverSideEncryption`: how the store encrypts objects at rest.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::parse::Problems;
use crate::value::keyword::keyword_enum;

keyword_enum! {
    /// `audit.s3.serverSideEncryption.type`
    #[derive(Default)]
    pub enum SseType {
        /// As the bucket says.
        #[default]
        None = "none",
        /// With keys of the store.
        Aes256 = "AES256",
        /// With a key of the key management service.
        AwsKms = "aws:kms",
    }
}

/// `audit.s3.serverSideEncryption`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ServerSideEncryption {
    /// Whose keys.
    #[serde(rename = "type")]
    pub kind: SseType,
    /// For `aws:kms`: id, ARN or alias of the key. Empty for the account's default key.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kms_key_id: String,
}

impl ServerSideEncryption {
    pub(super) fn check(&self, problems: &mut Problems) {
        const KEY: &str = "audit.s3.serverSideEncryption.kmsKeyId";
        if !self.kms_key_id.is_empty() && self.kind != SseType::AwsKms {
            problems.invalid(
                KEY,
                format!(
                    "is for type aws:kms, but audit.s3.serverSideEncryption.type is {}: change one of them",
                    self.kind
                ),
            );
        }
        // It becomes a header.
        if !self.kms_key_id.bytes().all(|byte| byte.is_ascii_graphic()) {
            problems.invalid(KEY, "must be printable ASCII without spaces");
        }
    }
}
