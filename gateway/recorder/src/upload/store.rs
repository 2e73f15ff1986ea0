//! An S3-compatible store: the few requests the recorder makes, each with a deadline, a checksum and a clear error.
//!
//! Permissions needed are those of the published list: `PutObject` (which covers multipart uploads), `AbortMultipartUpload`
//! and `ListBucketMultipartUploads`. Reading (`HeadObject`) is tried where it helps and never required.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, ChecksumMode, CompletedMultipartUpload, CompletedPart, ObjectCannedAcl,
    ObjectLockLegalHoldStatus, ObjectLockMode, ServerSideEncryption,
};
use containerssh_config::{LockMode, Secret, SseType};
use containerssh_s3::explain;
use sha2::{Digest, Sha256};

use super::checksum::{self, Fingerprint, Sha};
use super::content::{Content, Feed};
use super::keys::Keys;
use super::multipart::Part;
use crate::code;
use crate::error::{Reason, UploadError};
use crate::settings::Timeouts;
use crate::spool::sidecar::Bucket;

/// Clients kept. A gateway has one destination; policies that change may add a few.
const MAX_CLIENTS: usize = 16;

/// Pages of unfinished uploads that are looked at in one go; each has a thousand.
const MAX_PAGES: usize = 20;

/// Where an object goes and what is said of it.
#[derive(Debug, Clone)]
pub(crate) struct Object<'a> {
    /// Its bucket, with what it wants of every object.
    pub(crate) bucket: &'a Bucket,
    pub(crate) key: String,
    pub(crate) content_type: &'static str,
    pub(crate) metadata: HashMap<String, String>,
}

/// An upload in parts that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unfinished {
    pub(crate) key: String,
    pub(crate) id: String,
    /// When, by the store's clock, seconds since 1970.
    pub(crate) begun: i64,
}

/// Whether an object was created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Created {
    Yes,
    /// There is one of that name. It was left alone.
    Exists,
}

/// One store with one set of credentials.
#[derive(Debug)]
pub(crate) struct Store {
    client: Client,
    timeouts: Timeouts,
    /// Whether it takes `If-None-Match`. Until it says otherwise.
    conditional: AtomicBool,
}

/// All stores in use.
#[derive(Debug)]
pub(crate) struct Stores {
    timeouts: Timeouts,
    /// By a digest of everything that makes a client, so that no secret is a key of a map.
    clients: Mutex<HashMap<[u8; 32], Arc<Store>>>,
}

impl Stores {
    pub(crate) fn new(timeouts: Timeouts) -> Self {
        Self { timeouts, clients: Mutex::default() }
    }

    /// The store of a bucket.
    pub(crate) async fn get(&self, bucket: &Bucket, keys: &Keys) -> Result<Arc<Store>, UploadError> {
        let keys = keys.read().await?;
        let cacert = match &bucket.cacert {
            None => None,
            Some(pem) => Some(pem.load().map_err(|error| settings("the S3 certificate authority", &error))?),
        };
        let identity = identity(bucket, keys.as_ref(), cacert.as_deref());
        if let Some(store) = self.clients().get(&identity) {
            return Ok(store.clone());
        }
        let store = Arc::new(Store {
            client: client(bucket, keys, cacert, &self.timeouts).await?,
            timeouts: self.timeouts,
            conditional: AtomicBool::new(true),
        });
        let mut clients = self.clients();
        if clients.len() >= MAX_CLIENTS {
            clients.clear();
        }
        clients.insert(identity, store.clone());
        Ok(store)
    }

    fn clients(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 32], Arc<Store>>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn settings(what: &str, error: &dyn std::fmt::Display) -> UploadError {
    UploadError::Settings(format!("{what}: {error}"))
}

fn identity(bucket: &Bucket, keys: Option<&(Secret, Secret)>, cacert: Option<&str>) -> [u8; 32] {
    let mut digest = Sha256::new();
    let (access, secret) = keys.map_or(("", ""), |(access, secret)| (access.expose(), secret.expose()));
    let style = if bucket.path_style { "path" } else { "host" };
    for part in [&bucket.endpoint, &bucket.region, style, access, secret, cacert.unwrap_or_default()] {
        digest.update(part.len().to_le_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

async fn client(
    bucket: &Bucket,
    keys: Option<(Secret, Secret)>,
    cacert: Option<String>,
    timeouts: &Timeouts,
) -> Result<Client, UploadError> {
    let settings = containerssh_s3::Settings {
        endpoint: bucket.endpoint.clone(),
        region: bucket.region.clone(),
        path_style: bucket.path_style,
        cacert,
        keys: keys.map(|(access, secret)| containerssh_s3::Keys { access, secret, session_token: None }),
        // Retrying is ours to do: without end, and visible in the metrics.
        attempts: 1,
        connect_timeout: timeouts.connect,
    };
    containerssh_s3::client(settings).await.map_err(|error| UploadError::Settings(error.to_string()))
}

impl Store {
    /// Uploads a content with one request, unless there is such an object.
    pub(crate) async fn put(
        &self,
        object: &Object<'_>,
        content: &Content,
        print: &Fingerprint,
    ) -> Result<Created, UploadError> {
        const OPERATION: &str = "PutObject";
        let sent = print.sha.base64();
        let (lock, encryption) = (Lock::of(object.bucket, SystemTime::now()), encryption(object.bucket));
        loop {
            let conditional = self.conditional.load(Ordering::Relaxed);
            let feed = Feed::open(content).await.map_err(UploadError::Read)?;
            let request = self
                .client
                .put_object()
                .bucket(&object.bucket.bucket)
                .key(&object.key)
                .content_type(object.content_type)
                .content_length(signed(print.size))
                .checksum_sha256(&sent)
                .set_metadata(Some(object.metadata.clone()))
                .set_acl(acl(&object.bucket.acl))
                .set_server_side_encryption(encryption.clone())
                .set_ssekms_key_id(kms_key(object.bucket))
                .set_object_lock_mode(lock.mode.clone())
                .set_object_lock_retain_until_date(lock.until)
                .set_object_lock_legal_hold_status(lock.hold.clone())
                .set_if_none_match(conditional.then(|| "*".to_owned()))
                .body(feed.body(print.size))
                .send();
            return match self.within(OPERATION, print.size, request).await? {
                Ok(answer) => {
                    compare(OPERATION, &sent, answer.checksum_sha256())?;
                    Ok(Created::Yes)
                }
                Err(error) if conditional && self.lacks_conditions(&error) => continue,
                Err(error) if conditional && exists(&error) => Ok(Created::Exists),
                Err(error) => Err(failed(OPERATION, &error)),
            };
        }
    }

    /// Starts an upload in parts. Returns its id.
    pub(crate) async fn begin(&self, object: &Object<'_>) -> Result<String, UploadError> {
        const OPERATION: &str = "CreateMultipartUpload";
        let lock = Lock::of(object.bucket, SystemTime::now());
        let request = self
            .client
            .create_multipart_upload()
            .bucket(&object.bucket.bucket)
            .key(&object.key)
            .content_type(object.content_type)
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .set_metadata(Some(object.metadata.clone()))
            .set_acl(acl(&object.bucket.acl))
            .set_server_side_encryption(encryption(object.bucket))
            .set_ssekms_key_id(kms_key(object.bucket))
            .set_object_lock_mode(lock.mode)
            .set_object_lock_retain_until_date(lock.until)
            .set_object_lock_legal_hold_status(lock.hold)
            .send();
        let answer = self.within(OPERATION, 0, request).await?.map_err(|error| failed(OPERATION, &error))?;
        answer.upload_id.ok_or_else(|| refused(OPERATION, "the store gave no upload id"))
    }

    /// Uploads one part: the next so many bytes of an open content.
    pub(crate) async fn part(
        &self,
        object: &Object<'_>,
        upload: &str,
        feed: &Feed,
        part: &Part,
        sha: Sha,
    ) -> Result<CompletedPart, UploadError> {
        const OPERATION: &str = "UploadPart";
        let length = part.bytes.end - part.bytes.start;
        let sent = sha.base64();
        let request = self
            .client
            .upload_part()
            .bucket(&object.bucket.bucket)
            .key(&object.key)
            .upload_id(upload)
            .part_number(part.number)
            .content_length(signed(length))
            .checksum_sha256(&sent)
            .body(feed.body(length))
            .send();
        let answer =
            self.within(OPERATION, length, request).await?.map_err(|error| failed(OPERATION, &error))?;
        compare(OPERATION, &sent, answer.checksum_sha256())?;
        let tag = answer.e_tag.ok_or_else(|| refused(OPERATION, "the store gave no ETag"))?;
        Ok(CompletedPart::builder().part_number(part.number).e_tag(tag).checksum_sha256(sent).build())
    }

    /// Makes the parts an object, unless there is one of that name.
    pub(crate) async fn complete(
        &self,
        object: &Object<'_>,
        upload: &str,
        parts: Vec<CompletedPart>,
        print: &Fingerprint,
    ) -> Result<Created, UploadError> {
        const OPERATION: &str = "CompleteMultipartUpload";
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        loop {
            let conditional = self.conditional.load(Ordering::Relaxed);
            let request = self
                .client
                .complete_multipart_upload()
                .bucket(&object.bucket.bucket)
                .key(&object.key)
                .upload_id(upload)
                .multipart_upload(parts.clone())
                .set_if_none_match(conditional.then(|| "*".to_owned()))
                .send();
            // Copying the parts together takes stores a while, which counts like their transfer.
            return match self.within(OPERATION, print.size, request).await? {
                Ok(answer) => {
                    if answer.e_tag.is_none() {
                        return Err(refused(OPERATION, "the store's answer does not name the object"));
                    }
                    // Some stores answer with a digest of the whole instead of one of the parts' digests.
                    let composite = answer.checksum_sha256().filter(|checksum| checksum.contains('-'));
                    compare(OPERATION, &print.object_checksum(), composite)?;
                    Ok(Created::Yes)
                }
                Err(error) if conditional && self.lacks_conditions(&error) => continue,
                Err(error) if conditional && exists(&error) => Ok(Created::Exists),
                Err(error) => Err(failed(OPERATION, &error)),
            };
        }
    }

    /// Gives an upload up.
    pub(crate) async fn abort(&self, bucket: &Bucket, key: &str, upload: &str) -> Result<(), UploadError> {
        const OPERATION: &str = "AbortMultipartUpload";
        let request =
            self.client.abort_multipart_upload().bucket(&bucket.bucket).key(key).upload_id(upload).send();
        self.within(OPERATION, 0, request).await?.map(|_| ()).map_err(|error| failed(OPERATION, &error))
    }

    /// Uploads in parts that nobody finished, of objects whose keys begin so. Looks at so many pages at most.
    pub(crate) async fn unfinished(
        &self,
        bucket: &Bucket,
        prefix: &str,
    ) -> Result<Vec<Unfinished>, UploadError> {
        const OPERATION: &str = "ListMultipartUploads";
        let mut found = Vec::new();
        let (mut key_marker, mut id_marker) = (None, None);
        for _ in 0..MAX_PAGES {
            let request = self
                .client
                .list_multipart_uploads()
                .bucket(&bucket.bucket)
                .prefix(prefix)
                .set_key_marker(key_marker)
                .set_upload_id_marker(id_marker)
                .send();
            let page =
                self.within(OPERATION, 0, request).await?.map_err(|error| failed(OPERATION, &error))?;
            let uploads = page.uploads.unwrap_or_default().into_iter();
            found.extend(uploads.filter_map(|upload| {
                let begun = upload.initiated.map_or(i64::MAX, |initiated| initiated.secs());
                Some(Unfinished { key: upload.key?, id: upload.upload_id?, begun })
            }));
            if !page.is_truncated.unwrap_or_default() || page.next_key_marker.is_none() {
                break;
            }
            (key_marker, id_marker) = (page.next_key_marker, page.next_upload_id_marker);
        }
        Ok(found)
    }

    /// Whether the object that is there is this content. `None` if there is none or it may not be looked at: neither
    /// itself nor, which some are allowed instead, in a listing.
    pub(crate) async fn holds(
        &self,
        object: &Object<'_>,
        content: &Content,
        print: &Fingerprint,
    ) -> Option<bool> {
        const OPERATION: &str = "HeadObject";
        let request = self
            .client
            .head_object()
            .bucket(&object.bucket.bucket)
            .key(&object.key)
            .checksum_mode(ChecksumMode::Enabled)
            .send();
        let answer = match self.within(OPERATION, 0, request).await.ok()? {
            Ok(answer) => answer,
            Err(error) if explain(&error).reason == Reason::AccessDenied => {
                return self.lists(object, content, print).await;
            }
            Err(_) => return None,
        };
        let same_size = answer.content_length() == Some(signed(print.size));
        // The store's own digest, where it has one, counts more than what metadata claims.
        let same_content = match answer.checksum_sha256() {
            Some(checksum) => checksum == print.object_checksum() || checksum == print.sha.base64(),
            None => answer.metadata().and_then(|metadata| metadata.get("sha256")) == Some(&print.sha.hex()),
        };
        Some(same_size && same_content)
    }

    /// The same by what a listing tells. An object that is listed with another digest may be this content all the same,
    /// for stores that encrypt show something else: that is `None`.
    async fn lists(&self, object: &Object<'_>, content: &Content, print: &Fingerprint) -> Option<bool> {
        let request = self
            .client
            .list_objects_v2()
            .bucket(&object.bucket.bucket)
            .prefix(&object.key)
            .max_keys(1)
            .send();
        // The first key that begins so is the key itself, if there is one: it is the shortest.
        let answer = self.within("ListObjectsV2", 0, request).await.ok()?.ok()?;
        let listed = answer.contents().iter().find(|listed| listed.key() == Some(&object.key))?;
        if listed.size() != Some(signed(print.size)) {
            return Some(false);
        }
        let (content, print) = (content.clone(), print.clone());
        let ours = tokio::task::spawn_blocking(move || checksum::etag(&content, &print)).await.ok()?.ok()?;
        (listed.e_tag()?.trim_matches('"') == ours).then_some(true)
    }

    /// Whether the store takes conditional writes, as far as is known.
    pub(crate) fn is_conditional(&self) -> bool {
        self.conditional.load(Ordering::Relaxed)
    }

    /// Waits for an answer no longer than its size justifies.
    async fn within<T>(
        &self,
        operation: &'static str,
        bytes: u64,
        request: impl Future<Output = T>,
    ) -> Result<T, UploadError> {
        let limit = self.timeouts.transfer(bytes);
        // Boxed: the SDK's futures are tens of kilobytes.
        tokio::time::timeout(limit, Box::pin(request))
            .await
            .map_err(|_| UploadError::Timeout { operation, seconds: limit.as_secs() })
    }

    /// Notes that the store does not know `If-None-Match`, if that is what its answer says.
    fn lacks_conditions<E: ProvideErrorMetadata>(&self, error: &SdkError<E>) -> bool {
        let status = error.raw_response().map(|response| response.status().as_u16());
        let lacks = error.as_service_error().and_then(ProvideErrorMetadata::code) == Some("NotImplemented")
            || status == Some(501);
        if lacks && self.conditional.swap(false, Ordering::Relaxed) {
            tracing::warn!(
                code = code::AUDIT_S3_NO_CONDITIONS,
                module = "audit",
                "The store does not know If-None-Match; records are uploaded without"
            );
        }
        lacks
    }
}

/// How an object is to be locked.
struct Lock {
    mode: Option<ObjectLockMode>,
    until: Option<DateTime>,
    hold: Option<ObjectLockLegalHoldStatus>,
}

impl Lock {
    fn of(bucket: &Bucket, now: SystemTime) -> Self {
        let lock = &bucket.lock;
        let mode = match lock.mode {
            LockMode::None => None,
            LockMode::Governance => Some(ObjectLockMode::Governance),
            LockMode::Compliance => Some(ObjectLockMode::Compliance),
        };
        // From now on and not from the session's end: after a long outage that could lie in the past, which stores
        // refuse. A clock that is wrong cannot lock for years, for stores refuse requests of such a clock too.
        let until = now.checked_add(lock.retention).filter(|_| mode.is_some()).map(DateTime::from);
        Self { mode, until, hold: lock.legal_hold.then_some(ObjectLockLegalHoldStatus::On) }
    }
}

fn encryption(bucket: &Bucket) -> Option<ServerSideEncryption> {
    match bucket.encryption.kind {
        SseType::None => None,
        SseType::Aes256 => Some(ServerSideEncryption::Aes256),
        SseType::AwsKms => Some(ServerSideEncryption::AwsKms),
    }
}

fn kms_key(bucket: &Bucket) -> Option<String> {
    Some(&bucket.encryption.kms_key_id).filter(|key| !key.is_empty()).cloned()
}

fn acl(name: &str) -> Option<ObjectCannedAcl> {
    (!name.is_empty()).then(|| ObjectCannedAcl::from(name))
}

/// Lengths as the SDK has them. No file is longer.
fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// A store that answers with a checksum must answer with ours. One that answers with none has accepted ours or never
/// looked at it; the size is right either way, for HTTP carries it.
fn compare(operation: &'static str, sent: &str, answered: Option<&str>) -> Result<(), UploadError> {
    match answered {
        Some(answered) if answered != sent => {
            Err(UploadError::Checksum { operation, sent: sent.to_owned(), answered: answered.to_owned() })
        }
        _ => Ok(()),
    }
}

fn refused(operation: &'static str, cause: &str) -> UploadError {
    UploadError::S3 { operation, reason: Reason::Refused, cause: cause.to_owned() }
}

/// Whether the condition failed: there is an object.
fn exists<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    error.as_service_error().and_then(ProvideErrorMetadata::code) == Some("PreconditionFailed")
        || error.raw_response().is_some_and(|response| response.status().as_u16() == 412)
}

fn failed<E>(operation: &'static str, error: &SdkError<E>) -> UploadError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let failure = explain(error);
    UploadError::S3 { operation, reason: failure.reason, cause: failure.cause }
}
