//! An S3-compatible store: the few requests the recorder makes, each with a deadline, a checksum and a clear error.
//!
//! Permissions needed are those of the published list: `PutObject` (which covers multipart uploads), `AbortMultipartUpload`
//! and `ListBucketMultipartUploads`. Reading (`HeadObject`) is tried where it helps and never required.

use std::collections::HashMap;
use std::future::Future;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region, SharedHttpClient};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::{ByteStream, Length};
use aws_sdk_s3::types::{
    ChecksumAlgorithm, ChecksumMode, CompletedMultipartUpload, CompletedPart, ObjectCannedAcl,
};
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use containerssh_config::Secret;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use sha2::{Digest, Sha256};

use super::checksum::{Fingerprint, Sha};
use super::keys::Keys;
use super::multipart::Part;
use crate::code;
use crate::error::{Reason, UploadError};
use crate::settings::Timeouts;
use crate::spool::sidecar::Bucket;

/// Clients kept. A gateway has one destination; policies that change may add a few.
const MAX_CLIENTS: usize = 16;

/// What a region is called where the configuration names none, which it may only beside an endpoint. Stores other than
/// Amazon's expect this one.
const DEFAULT_REGION: &str = "us-east-1";

/// As the reference stores records.
const CONTENT_TYPE: &str = "application/octet-stream";

/// Where an object goes and what is said of it.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub(crate) bucket: String,
    pub(crate) key: String,
    pub(crate) acl: String,
    pub(crate) metadata: HashMap<String, String>,
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
            client: client(bucket, keys, cacert.as_deref(), &self.timeouts).await?,
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
    cacert: Option<&str>,
    timeouts: &Timeouts,
) -> Result<Client, UploadError> {
    let region = if bucket.region.is_empty() { DEFAULT_REGION } else { &bucket.region };
    let mut config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(region.to_owned()))
        .force_path_style(bucket.path_style)
        .http_client(http_client(&bucket.endpoint, cacert)?)
        // Retrying is ours to do: without end, and visible in the metrics.
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::builder().connect_timeout(timeouts.connect).build());
    if !bucket.endpoint.is_empty() {
        config = config.endpoint_url(&bucket.endpoint);
    }
    config = match keys {
        Some((access, secret)) => config.credentials_provider(Credentials::new(
            access.expose(),
            secret.expose(),
            None,
            None,
            "audit.s3",
        )),
        None => {
            let chain = aws_config::defaults(BehaviorVersion::v2026_01_12())
                .region(aws_sdk_s3::config::Region::new(region.to_owned()))
                .load()
                .await;
            config.set_credentials_provider(chain.credentials_provider());
            config
        }
    };
    Ok(Client::from_conf(config.build()))
}

/// An HTTP client that trusts what the configuration says. The SDK panics on a bad certificate, so they are read here
/// first.
fn http_client(endpoint: &str, cacert: Option<&str>) -> Result<SharedHttpClient, UploadError> {
    let builder = aws_smithy_http_client::Builder::new();
    if endpoint.starts_with("http://") {
        return Ok(builder.build_http());
    }
    let mut trust = TrustStore::default();
    if let Some(pem) = cacert {
        let mut roots = rustls::RootCertStore::empty();
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
        let certificates =
            certificates.map_err(|error| settings("audit.s3.cacert is not valid PEM", &error))?;
        for certificate in certificates {
            roots
                .add(certificate)
                .map_err(|error| settings("audit.s3.cacert holds no valid certificate", &error))?;
        }
        if roots.is_empty() {
            return Err(UploadError::Settings("audit.s3.cacert holds no certificate".to_owned()));
        }
        trust = TrustStore::empty().with_pem_certificate(pem);
    }
    let context = TlsContext::builder().with_trust_store(trust).build();
    let context = context.map_err(|error| settings("TLS", &error))?;
    Ok(builder.tls_provider(Provider::Rustls(CryptoMode::AwsLc)).tls_context(context).build_https())
}

impl Store {
    /// Uploads a file with one request, unless there is such an object.
    pub(crate) async fn put(
        &self,
        object: &Object,
        path: &Path,
        print: &Fingerprint,
    ) -> Result<Created, UploadError> {
        const OPERATION: &str = "PutObject";
        let sent = print.sha.base64();
        loop {
            let conditional = self.conditional.load(Ordering::Relaxed);
            let request = self
                .client
                .put_object()
                .bucket(&object.bucket)
                .key(&object.key)
                .content_type(CONTENT_TYPE)
                .content_length(signed(print.size))
                .checksum_sha256(&sent)
                .set_metadata(Some(object.metadata.clone()))
                .set_acl(acl(&object.acl))
                .set_if_none_match(conditional.then(|| "*".to_owned()))
                .body(body(path, 0, print.size).await?)
                .send();
            return match self.within(OPERATION, print.size, request).await? {
                Ok(answer) => {
                    compare(OPERATION, &sent, answer.checksum_sha256())?;
                    Ok(Created::Yes)
                }
                Err(error) if conditional && self.lacks_conditions(&error) => continue,
                Err(error) if conditional && exists(&error) => Ok(Created::Exists),
                Err(error) => Err(explain(OPERATION, &error)),
            };
        }
    }

    /// Starts an upload in parts. Returns its id.
    pub(crate) async fn begin(&self, object: &Object) -> Result<String, UploadError> {
        const OPERATION: &str = "CreateMultipartUpload";
        let request = self
            .client
            .create_multipart_upload()
            .bucket(&object.bucket)
            .key(&object.key)
            .content_type(CONTENT_TYPE)
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .set_metadata(Some(object.metadata.clone()))
            .set_acl(acl(&object.acl))
            .send();
        let answer = self.within(OPERATION, 0, request).await?.map_err(|error| explain(OPERATION, &error))?;
        answer.upload_id.ok_or_else(|| refused(OPERATION, "the store gave no upload id"))
    }

    /// Uploads one part, read from the file as it is sent.
    pub(crate) async fn part(
        &self,
        object: &Object,
        upload: &str,
        path: &Path,
        part: &Part,
        sha: Sha,
    ) -> Result<CompletedPart, UploadError> {
        const OPERATION: &str = "UploadPart";
        let length = part.bytes.end - part.bytes.start;
        let sent = sha.base64();
        let request = self
            .client
            .upload_part()
            .bucket(&object.bucket)
            .key(&object.key)
            .upload_id(upload)
            .part_number(part.number)
            .content_length(signed(length))
            .checksum_sha256(&sent)
            .body(body(path, part.bytes.start, length).await?)
            .send();
        let answer =
            self.within(OPERATION, length, request).await?.map_err(|error| explain(OPERATION, &error))?;
        compare(OPERATION, &sent, answer.checksum_sha256())?;
        let tag = answer.e_tag.ok_or_else(|| refused(OPERATION, "the store gave no ETag"))?;
        Ok(CompletedPart::builder().part_number(part.number).e_tag(tag).checksum_sha256(sent).build())
    }

    /// Makes the parts an object, unless there is one of that name.
    pub(crate) async fn complete(
        &self,
        object: &Object,
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
                .bucket(&object.bucket)
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
                Err(error) => Err(explain(OPERATION, &error)),
            };
        }
    }

    /// Gives an upload up.
    pub(crate) async fn abort(&self, object: &Object, upload: &str) -> Result<(), UploadError> {
        const OPERATION: &str = "AbortMultipartUpload";
        let request = self
            .client
            .abort_multipart_upload()
            .bucket(&object.bucket)
            .key(&object.key)
            .upload_id(upload)
            .send();
        self.within(OPERATION, 0, request).await?.map(|_| ()).map_err(|error| explain(OPERATION, &error))
    }

    /// Uploads of this object that an earlier run did not finish. (The first thousand: there is one at most.)
    pub(crate) async fn unfinished(&self, object: &Object) -> Result<Vec<String>, UploadError> {
        const OPERATION: &str = "ListMultipartUploads";
        let request = self.client.list_multipart_uploads().bucket(&object.bucket).prefix(&object.key).send();
        let answer = self.within(OPERATION, 0, request).await?.map_err(|error| explain(OPERATION, &error))?;
        Ok(answer
            .uploads
            .unwrap_or_default()
            .into_iter()
            .filter(|upload| upload.key.as_deref() == Some(object.key.as_str()))
            .filter_map(|upload| upload.upload_id)
            .collect())
    }

    /// Whether the object that is there is this file. `None` if there is none or it may not be looked at.
    pub(crate) async fn holds(&self, object: &Object, print: &Fingerprint) -> Option<bool> {
        const OPERATION: &str = "HeadObject";
        let request = self
            .client
            .head_object()
            .bucket(&object.bucket)
            .key(&object.key)
            .checksum_mode(ChecksumMode::Enabled)
            .send();
        let answer = self.within(OPERATION, 0, request).await.ok()?.ok()?;
        let same_size = answer.content_length() == Some(signed(print.size));
        // The store's own digest, where it has one, counts more than what metadata claims.
        let same_content = match answer.checksum_sha256() {
            Some(checksum) => checksum == print.object_checksum() || checksum == print.sha.base64(),
            None => answer.metadata().and_then(|metadata| metadata.get("sha256")) == Some(&print.sha.hex()),
        };
        Some(same_size && same_content)
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

/// Part of a file as a request's body, read as it is sent, 64 KiB at a time.
async fn body(path: &Path, offset: u64, length: u64) -> Result<ByteStream, UploadError> {
    let stream =
        ByteStream::read_from().path(path).offset(offset).length(Length::Exact(length)).build().await;
    stream.map_err(|error| UploadError::Read(std::io::Error::other(error)))
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

/// One line that says what happened, without headers, signatures or credentials.
fn explain<E>(operation: &'static str, error: &SdkError<E>) -> UploadError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let status = error.raw_response().map(|response| response.status().as_u16());
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
    let reason = match (error, status, code) {
        (SdkError::TimeoutError(_), ..) => Reason::Timeout,
        (SdkError::DispatchFailure(failure), ..) if failure.is_timeout() => Reason::Timeout,
        (SdkError::ConstructionFailure(_), ..) => Reason::Local,
        (SdkError::DispatchFailure(failure), ..) if failure.is_user() => Reason::Local,
        (_, _, Some("NoSuchBucket")) => Reason::NoSuchBucket,
        (_, _, Some("BadDigest" | "XAmzContentChecksumMismatch" | "InvalidDigest")) => Reason::Checksum,
        (_, Some(401 | 403), _) => Reason::AccessDenied,
        (_, Some(429 | 500..), _) => Reason::Unavailable,
        (_, None, _) => Reason::Unreachable,
        _ => Reason::Refused,
    };
    let cause = match error.as_service_error() {
        Some(service) => {
            let text = service.message().unwrap_or("no message");
            format!("{} ({}, HTTP status {})", text, code.unwrap_or("no code"), status.unwrap_or_default())
        }
        None => chain(error),
    };
    UploadError::S3 { operation, reason, cause }
}

/// The texts of an error and its sources, without repetitions.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut texts = vec![error.to_string()];
    let mut source = error.source();
    while let Some(error) = source {
        let text = error.to_string();
        if texts.last() != Some(&text) {
            texts.push(text);
        }
        source = error.source();
    }
    texts.join(": ")
}
