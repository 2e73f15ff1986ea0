//! `audit.s3`: records as objects of a bucket.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ObjectLock, ServerSideEncryption};
use crate::duration;
use crate::parse::Problems;
use crate::value::{KeyPrefix, PemOrFile, Secret, keyword};

/// `audit.s3`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct S3 {
    /// The spool's directory.
    pub local: String,
    /// Static credentials. Absent, with no files either: the SDK's chain (environment, web identity, container, instance).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key: Option<Secret>,
    /// See `access_key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_key: Option<Secret>,
    /// File with the access key; read again as it is rotated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key_file: Option<String>,
    /// File with the secret key; read again as it is rotated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_key_file: Option<String>,
    /// The bucket.
    pub bucket: String,
    /// Its region.
    pub region: String,
    /// Base URL of a store that is not Amazon's. Empty for Amazon's.
    pub endpoint: String,
    /// Certificate authorities of the endpoint: PEM text or a file name. Absent: those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cacert: Option<PemOrFile>,
    /// Canned ACL of the objects. Empty for the bucket's default.
    pub acl: String,
    /// Bucket in the path rather than in the host name: MinIO and most others need it.
    pub path_style_access: bool,
    /// Size of a part of a multipart upload, bytes.
    pub upload_part_size: u64,
    /// Parts uploaded at once, over all records.
    pub parallel_uploads: u32,
    /// What S3's user metadata says about the client.
    pub metadata: S3Metadata,
    /// What object keys begin with.
    pub prefix: KeyPrefix,
    /// How the store encrypts the objects.
    pub server_side_encryption: ServerSideEncryption,
    /// How long nobody can delete them.
    pub object_lock: ObjectLock,
    /// Uploads in parts below `prefix` that nobody finished for so long are removed. Zero: never.
    #[schemars(with = "crate::schema::Duration")]
    #[serde(with = "duration")]
    pub abort_stale_uploads_after: Duration,
}

/// `audit.s3.metadata`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct S3Metadata {
    /// The client's address.
    pub ip: bool,
    /// The user name.
    pub username: bool,
}

/// S3's bounds for a part (all but the last).
const MIN_PART: u64 = 5 * 1024 * 1024;
const MAX_PART: u64 = 5 * 1024 * 1024 * 1024;

impl Default for S3 {
    fn default() -> Self {
        Self {
            local: "/var/lib/audit".to_owned(),
            access_key: None,
            secret_key: None,
            access_key_file: None,
            secret_key_file: None,
            bucket: String::new(),
            region: String::new(),
            endpoint: String::new(),
            cacert: None,
            acl: String::new(),
            path_style_access: false,
            upload_part_size: MIN_PART,
            parallel_uploads: 20,
            metadata: S3Metadata::default(),
            prefix: KeyPrefix::default(),
            server_side_encryption: ServerSideEncryption::default(),
            object_lock: ObjectLock::default(),
            abort_stale_uploads_after: Duration::from_secs(24 * 3600),
        }
    }
}

/// Uploads at once: beyond this, memory for their parts exceeds any gateway's.
const MAX_UPLOADS: u32 = 1000;

/// S3's canned ACLs for objects. Another word would be refused with every record.
const CANNED_ACLS: [&str; 7] = [
    "private",
    "public-read",
    "public-read-write",
    "authenticated-read",
    "aws-exec-read",
    "bucket-owner-read",
    "bucket-owner-full-control",
];

/// An upload in parts takes hours on a slow line; one that is still running must not be taken for a dead one.
const MIN_STALE: Duration = Duration::from_secs(3600);

impl S3 {
    pub(super) fn check(&self, problems: &mut Problems) {
        let mut wrong = |name: &str, message: &str| problems.invalid(format!("audit.s3.{name}"), message);
        if !self.local.starts_with('/') {
            wrong("local", "must be an absolute path");
        }
        if self.bucket.is_empty() {
            wrong("bucket", "is missing");
        }
        if self.region.is_empty() && self.endpoint.is_empty() {
            wrong("region", "is missing (it may be left out only beside an endpoint)");
        }
        if !self.endpoint.is_empty() && !["http://", "https://"].iter().any(|s| self.endpoint.starts_with(s))
        {
            wrong("endpoint", "must begin with http:// or https://");
        }
        if self.endpoint.contains('@') {
            wrong("endpoint", "must not hold a user name or password: use accessKey and secretKey");
        }
        if self.access_key.is_some() != self.secret_key.is_some() {
            wrong("secretKey", "accessKey and secretKey belong together");
        }
        if self.access_key_file.is_some() != self.secret_key_file.is_some() {
            wrong("secretKeyFile", "accessKeyFile and secretKeyFile belong together");
        }
        if self.access_key.is_some() && self.access_key_file.is_some() {
            wrong("accessKeyFile", "accessKey is set as well: give one of them");
        }
        let files = [("accessKeyFile", &self.access_key_file), ("secretKeyFile", &self.secret_key_file)];
        for (name, file) in files {
            if file.as_ref().is_some_and(|file| !file.starts_with('/')) {
                wrong(name, "must be an absolute path");
            }
        }
        if !(MIN_PART..=MAX_PART).contains(&self.upload_part_size) {
            wrong(
                "uploadPartSize",
                "must be between 5242880 (5 MiB) and 5368709120 (5 GiB): S3 takes no other parts",
            );
        }
        if !self.acl.is_empty() && !CANNED_ACLS.contains(&self.acl.as_str()) {
            wrong("acl", &keyword::unknown(&self.acl, &CANNED_ACLS));
        }
        if !self.abort_stale_uploads_after.is_zero() && self.abort_stale_uploads_after < MIN_STALE {
            wrong("abortStaleUploadsAfter", "must be at least 1h, or 0 for never");
        }
        if !(1..=MAX_UPLOADS).contains(&self.parallel_uploads) {
            wrong("parallelUploads", "must be between 1 and 1000");
        }
        self.server_side_encryption.check(problems);
        self.object_lock.check(problems);
    }
}
