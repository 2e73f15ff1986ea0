//! Where one record goes: its pieces, their names, and the way there.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use containerssh_auditlog::manifest;
use containerssh_config::KeyPrefix;
use containerssh_s3::names::header_value;

use super::content::Content;
use super::store::{Object, Store};
use super::{Context, Item, blocking, checksum, directory, keys, s3};
use crate::code;
use crate::error::UploadError;
use crate::object_key::{self, Place};
use crate::spool::RecordId;
use crate::spool::sidecar::{Bucket, Destination, Sidecar};

/// The longest value in an object's metadata. S3 allows 2 KiB for all of it.
const MAX_METADATA: usize = 256;

/// The client's country, where nobody knows it: a code that ISO 3166 leaves to users, and what the reference writes.
const NOWHERE: &str = "XX";

/// What the name of a cast ends in.
pub(super) const CAST_SUFFIX: &str = ".cast";

/// What is stored as one object or file.
#[derive(Debug)]
pub(super) struct Piece {
    /// What it is, for the log.
    pub(super) what: &'static str,
    /// The last part of its name.
    pub(super) name: String,
    pub(super) content: Content,
    pub(super) content_type: &'static str,
    /// What its metadata says beside what every piece's does.
    pub(super) metadata: Vec<(&'static str, String)>,
}

impl Piece {
    /// The record itself.
    pub(super) fn record(id: &RecordId, path: PathBuf) -> Self {
        Self {
            what: "record",
            name: id.to_string(),
            content: Content::File(path),
            // As the reference stores records.
            content_type: "application/octet-stream",
            metadata: Vec::new(),
        }
    }

    /// What the record is, in a few words, a chain of digests and perhaps a signature. It belongs beside the record, under
    /// whichever name that was stored.
    pub(super) fn manifest(record: &str, path: PathBuf) -> Self {
        Self {
            what: "manifest",
            name: format!("{record}{}", manifest::SUFFIX),
            content: Content::File(path),
            content_type: "application/json",
            metadata: Vec::new(),
        }
    }

    /// The cast of one of its channels.
    pub(super) fn cast(id: &RecordId, channel: u64, content: Content) -> Self {
        Self {
            what: "cast",
            name: format!("{id}-{channel}{CAST_SUFFIX}"),
            content,
            content_type: "application/x-asciicast",
            metadata: vec![("channel", channel.to_string())],
        }
    }
}

/// What became of a piece.
#[derive(Debug)]
pub(super) struct Stored {
    /// The last part of the name under which it is, which is another than its own where that was taken.
    pub(super) name: String,
    /// Its length.
    pub(super) bytes: u64,
}

/// A destination with what it takes to get there.
#[derive(Debug)]
pub(super) struct Target<'a> {
    sidecar: &'a Sidecar,
    id: &'a RecordId,
    way: Way<'a>,
}

#[derive(Debug)]
enum Way<'a> {
    Directory { directory: &'a Path, prefix: &'a KeyPrefix },
    Bucket { bucket: &'a Bucket, store: Arc<Store>, again: bool },
}

impl<'a> Target<'a> {
    pub(super) async fn open(
        context: &Context,
        item: &'a Item,
        sidecar: &'a Sidecar,
    ) -> Result<Self, UploadError> {
        let way = match &sidecar.destination {
            Destination::File { directory, prefix } => Way::Directory { directory, prefix },
            Destination::S3(bucket) => {
                let keys = keys::Keys::choose(bucket, item.audit.as_deref(), &context.present());
                let store = context.stores.get(bucket, &keys).await?;
                Way::Bucket { bucket, store, again: item.audit.is_none() || item.failures > 0 }
            }
        };
        Ok(Self { sidecar, id: &item.id, way })
    }

    /// Stores a piece. Storing it again changes nothing.
    pub(super) async fn store(&self, context: &Context, piece: Piece) -> Result<Stored, UploadError> {
        match &self.way {
            Way::Directory { directory, prefix } => {
                let name = PathBuf::from(self.name(prefix, &piece.name));
                let directory = directory.to_path_buf();
                let what = piece.what;
                let (stored, bytes) = blocking(move || {
                    let bytes = piece.content.size().map_err(UploadError::Read)?;
                    Ok((directory::store(&piece.content, &directory, &name)?, bytes))
                })
                .await?;
                tracing::info!(
                    code = code::AUDIT_FILE_STORED,
                    module = "audit",
                    connectionId = %self.id,
                    bytes,
                    "The {what} was stored as {}",
                    stored.display()
                );
                let name = stored.file_name().unwrap_or_default().to_string_lossy().into_owned();
                Ok(Stored { name, bytes })
            }
            Way::Bucket { bucket, store, again } => self.upload(context, bucket, store, *again, piece).await,
        }
    }

    async fn upload(
        &self,
        context: &Context,
        bucket: &Bucket,
        store: &Store,
        again: bool,
        piece: Piece,
    ) -> Result<Stored, UploadError> {
        let (content, part_size) = (piece.content.clone(), bucket.part_size);
        let print =
            blocking(move || checksum::fingerprint(&content, part_size).map_err(UploadError::Read)).await?;
        let object = Object {
            bucket,
            key: self.name(&bucket.prefix, &piece.name),
            content_type: piece.content_type,
            metadata: metadata(bucket, self.sidecar, &print, piece.metadata),
        };
        let delivery = s3::Delivery {
            store,
            content: &piece.content,
            print: &print,
            again,
            shutdown: &context.spool.shutdown,
        };
        let key = delivery.run(object).await?;
        tracing::info!(
            code = if print.parts.is_empty() {
                code::AUDIT_S3_SINGLE_UPLOAD_COMPLETE
            } else {
                code::AUDIT_S3_MULTIPART_UPLOAD_FINALIZED
            },
            module = "audit",
            connectionId = %self.id,
            bucket = %bucket.bucket,
            key = %key,
            bytes = print.size,
            "The {} was uploaded",
            piece.what
        );
        let name = key.rsplit('/').next().unwrap_or(&key).to_owned();
        Ok(Stored { name, bytes: print.size })
    }

    /// A piece's whole name below the destination.
    fn name(&self, prefix: &KeyPrefix, last: &str) -> String {
        let place = Place {
            namespace: &self.sidecar.gateway.namespace,
            gateway: &self.sidecar.gateway.gateway,
            started: self.sidecar.started,
            username: self.sidecar.username(),
        };
        object_key::key(prefix, place, last)
    }
}

/// The reference's keys, and ours beside them. Empty values are left out.
fn metadata(
    bucket: &Bucket,
    sidecar: &Sidecar,
    print: &checksum::Fingerprint,
    own: Vec<(&'static str, String)>,
) -> HashMap<String, String> {
    let username = sidecar.user.as_ref().filter(|_| bucket.expose_username).map(|user| user.username.clone());
    let country = if sidecar.country.is_empty() { NOWHERE } else { &sidecar.country }.to_owned();
    let ip = sidecar.remote_addr.filter(|_| bucket.expose_ip).map(|address| address.ip().to_string());
    [
        ("timestamp", sidecar.started.as_second().to_string()),
        ("authenticated", sidecar.user.is_some().to_string()),
        ("country", country),
        ("username", username.unwrap_or_default()),
        ("ip", ip.unwrap_or_default()),
        ("sha256", print.sha.hex()),
        ("policy-hash", sidecar.policy.hash.clone()),
        ("policy-sources", sidecar.policy.sources.join(",")),
        ("namespace", sidecar.gateway.namespace.clone()),
        ("gateway", sidecar.gateway.gateway.clone()),
        ("interrupted", if sidecar.interrupted { "true".to_owned() } else { String::new() }),
    ]
    .into_iter()
    .chain(own)
    .filter(|(_, value)| !value.is_empty())
    .map(|(key, value)| (key.to_owned(), header_value(&value, MAX_METADATA)))
    .collect()
}
