//! What is known of a record beside its content: where it goes and what the object's metadata says.
//!
//! Fixed when the session opens, so that a policy change or a restart does not send a record elsewhere. No secret is
//! ever stored: static keys come from the configuration, files with keys are named.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use containerssh_config::{
    Audit, AuditFormat, AuditPolicyInfo, AuditStorage, KeyPrefix, ObjectLock, PemOrFile, ServerSideEncryption,
};
use serde::{Deserialize, Serialize};

use super::dir::create;
use crate::settings::GatewayIdentity;

/// A sidecar larger than this is not one of ours: the largest part is a bundle of certificates.
const MAX_SIDECAR: u64 = 2 * 1024 * 1024;

/// The sidecar's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Sidecar {
    pub(crate) connection_id: String,
    /// When the client connected.
    pub(crate) started: jiff::Timestamp,
    /// Where from; `None` if only the record itself could tell.
    pub(crate) remote_addr: Option<SocketAddr>,
    /// From which country; empty where nobody knows.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) country: String,
    /// Whose record it is, once somebody authenticated.
    pub(crate) user: Option<User>,
    pub(crate) gateway: GatewayIdentity,
    pub(crate) policy: AuditPolicyInfo,
    pub(crate) destination: Destination,
    /// What becomes of the record there.
    #[serde(default = "binary")]
    pub(crate) format: AuditFormat,
    /// How the record is encrypted, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) encrypted: Option<Encrypted>,
    /// Whether the process died before the session ended, so that the end of the record was written by recovery.
    #[serde(default)]
    pub(crate) interrupted: bool,
}

/// What sidecars meant that do not say.
fn binary() -> AuditFormat {
    AuditFormat::Binary
}

/// What recovery must know of a record that it cannot read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Encrypted {
    /// To whom. Public.
    pub(crate) recipients: Vec<String>,
    /// The version of the format.
    pub(crate) version: u64,
    /// Recovery has begun to append the tail to the chunks, which end at this byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) chunks: Option<u64>,
}

/// An authenticated user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct User {
    /// The name the client typed.
    pub(crate) username: String,
    /// The name authentication settled on; may be empty.
    pub(crate) authenticated_username: String,
}

/// Where a finished record goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Destination {
    /// Into a directory, named by its connection id.
    File {
        directory: PathBuf,
        #[serde(default)]
        prefix: KeyPrefix,
    },
    /// Into a bucket.
    S3(Box<Bucket>),
}

/// A bucket and how to reach it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Bucket {
    pub(crate) bucket: String,
    pub(crate) region: String,
    /// Empty for Amazon's.
    pub(crate) endpoint: String,
    pub(crate) path_style: bool,
    pub(crate) acl: String,
    pub(crate) part_size: u64,
    pub(crate) prefix: KeyPrefix,
    pub(crate) cacert: Option<PemOrFile>,
    /// Files with the access key and the secret key, which a mounted Secret gives.
    pub(crate) key_files: Option<(PathBuf, PathBuf)>,
    /// Whether the object's metadata names the client's address.
    pub(crate) expose_ip: bool,
    /// Whether it names the user.
    pub(crate) expose_username: bool,
    #[serde(default)]
    pub(crate) encryption: ServerSideEncryption,
    #[serde(default)]
    pub(crate) lock: ObjectLock,
}

impl Destination {
    /// Where a session goes that is recorded with these settings; `None` if it is not stored at all.
    pub(crate) fn of(audit: &Audit) -> Option<Self> {
        match audit.storage {
            AuditStorage::None => None,
            AuditStorage::File => Some(Self::File {
                directory: PathBuf::from(&audit.file.directory),
                prefix: audit.file.prefix.clone(),
            }),
            AuditStorage::S3 => {
                let s3 = &audit.s3;
                Some(Self::S3(Box::new(Bucket {
                    bucket: s3.bucket.clone(),
                    region: s3.region.clone(),
                    endpoint: s3.endpoint.clone(),
                    path_style: s3.path_style_access,
                    acl: s3.acl.clone(),
                    part_size: s3.upload_part_size,
                    prefix: s3.prefix.clone(),
                    cacert: s3.cacert.clone().filter(|pem| !pem.is_empty()),
                    key_files: s3
                        .access_key_file
                        .as_ref()
                        .zip(s3.secret_key_file.as_ref())
                        .map(|(access, secret)| (access.into(), secret.into())),
                    expose_ip: s3.metadata.ip,
                    expose_username: s3.metadata.username,
                    encryption: s3.server_side_encryption.clone(),
                    lock: s3.object_lock.clone(),
                })))
            }
        }
    }
}

impl Sidecar {
    /// The name that stands for `{username}`; empty if nobody authenticated.
    pub(crate) fn username(&self) -> &str {
        match &self.user {
            Some(user) if !user.authenticated_username.is_empty() => &user.authenticated_username,
            Some(user) => &user.username,
            None => "",
        }
    }

    /// Writes the sidecar of a new record. It becomes durable with the record's first segment, which nothing before
    /// depends on.
    pub(crate) fn write_new(&self, path: &Path) -> io::Result<Arc<std::fs::File>> {
        let mut file = create(OpenOptions::new().write(true).create(true).truncate(true), path)?;
        file.write_all(&self.bytes()?)?;
        Ok(Arc::new(file))
    }

    /// Replaces a sidecar that may already matter: whatever moment a crash picks, one of the two is there whole.
    pub(crate) fn replace(&self, path: &Path) -> io::Result<()> {
        let temporary = path.with_extension("json.tmp");
        let mut file = create(OpenOptions::new().write(true).create(true).truncate(true), &temporary)?;
        file.write_all(&self.bytes()?)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    }

    fn bytes(&self) -> io::Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(io::Error::other)
    }

    /// Reads a sidecar. An error of kind `InvalidData` says that it is damaged, `NotFound` that there is none.
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        let mut text = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(std::fs::File::open(path)?, MAX_SIDECAR), &mut text)?;
        serde_json::from_slice(&text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A sidecar with something in every field.
    pub(crate) fn full() -> Sidecar {
        let mut audit = Audit { storage: AuditStorage::S3, ..Audit::default() };
        audit.s3.bucket = "audit".to_owned();
        audit.s3.region = "eu-central-1".to_owned();
        audit.s3.endpoint = "https://s3.example".to_owned();
        audit.s3.access_key = Some("AKIA-STATIC".to_owned().into());
        audit.s3.secret_key = Some("hunter2".to_owned().into());
        audit.s3.prefix = "{username}/".parse().unwrap();
        Sidecar {
            connection_id: "0123456789abcdef0123456789abcdef".to_owned(),
            started: "2026-05-09T12:00:00Z".parse().unwrap(),
            remote_addr: Some("192.0.2.1:22022".parse().unwrap()),
            country: "AT".to_owned(),
            user: Some(User { username: "alice".to_owned(), authenticated_username: String::new() }),
            gateway: GatewayIdentity {
                namespace: "n".to_owned(),
                gateway: "g".to_owned(),
                pod: "p".to_owned(),
            },
            policy: AuditPolicyInfo {
                hash: "h".to_owned(),
                sources: vec!["production".to_owned()],
                ..AuditPolicyInfo::default()
            },
            destination: Destination::of(&audit).unwrap(),
            format: AuditFormat::Binary,
            encrypted: None,
            interrupted: false,
        }
    }

    #[test]
    fn a_sidecar_is_read_back_and_holds_no_secret() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.json");
        full().write_new(&path).unwrap();
        assert_eq!(Sidecar::read(&path).unwrap(), full());
        let changed = Sidecar { interrupted: true, ..full() };
        changed.replace(&path).unwrap();
        assert_eq!(Sidecar::read(&path).unwrap(), changed);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains("hunter2") && !text.contains("AKIA-STATIC"), "{text}");
    }

    #[test]
    fn a_sidecar_of_an_earlier_version_is_read() {
        let mut value = serde_json::to_value(full()).unwrap();
        value.as_object_mut().unwrap().remove("format").unwrap();
        let bucket = value.pointer_mut("/destination/s3").unwrap().as_object_mut().unwrap();
        for later in ["encryption", "lock"] {
            bucket.remove(later).unwrap();
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.json");
        std::fs::write(&path, value.to_string()).unwrap();
        assert_eq!(Sidecar::read(&path).unwrap(), full());
        value["destination"] = serde_json::json!({"file": {"directory": "/d"}});
        std::fs::write(&path, value.to_string()).unwrap();
        let read = Sidecar::read(&path).unwrap().destination;
        assert_eq!(read, Destination::File { directory: "/d".into(), prefix: KeyPrefix::default() });
    }

    #[test]
    fn a_sidecar_torn_at_any_length_is_an_error_and_never_a_panic() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.json");
        full().write_new(&path).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(Sidecar::read(&path).unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
    }
}
