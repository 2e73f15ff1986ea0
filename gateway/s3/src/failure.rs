//! Why a request failed, for a log line and for a metric.

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

/// Where S3 says in which region a bucket lies, on whatever answer it gives from another one.
const BUCKET_REGION: &str = "x-amz-bucket-region";

/// Why requests fail, in few words: a metric label, so the set is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// No connection, or it broke.
    Unreachable,
    /// No answer in time.
    Timeout,
    /// Wrong or missing credentials or permissions.
    AccessDenied,
    /// No such bucket.
    NoSuchBucket,
    /// The store has a problem (5xx, throttling).
    Unavailable,
    /// What arrived is not what was sent.
    Checksum,
    /// The store refused the request otherwise.
    Refused,
    /// Something on our side: a file, the credentials, a certificate.
    Local,
}

impl Reason {
    /// The label's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::AccessDenied => "access_denied",
            Self::NoSuchBucket => "no_such_bucket",
            Self::Unavailable => "unavailable",
            Self::Checksum => "checksum",
            Self::Refused => "refused",
            Self::Local => "local",
        }
    }
}

/// A failed request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// In few words.
    pub reason: Reason,
    /// HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// The store's own code, such as `NoSuchKey`.
    pub code: Option<String>,
    /// One line that says what happened, without headers, signatures or credentials.
    pub cause: String,
}

/// What happened, out of the SDK's error.
pub fn explain<E>(error: &SdkError<E>) -> Failure
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
        (SdkError::DispatchFailure(_), ..) if lacks_credentials(error) => Reason::AccessDenied,
        (_, _, Some("NoSuchBucket")) => Reason::NoSuchBucket,
        (_, _, Some("BadDigest" | "XAmzContentChecksumMismatch" | "InvalidDigest")) => Reason::Checksum,
        (_, Some(401 | 403), _) => Reason::AccessDenied,
        (_, Some(429 | 500..), _) => Reason::Unavailable,
        // An answer that broke off is a broken connection, whatever its first line said.
        (SdkError::ResponseError(_), ..) | (_, None, _) => Reason::Unreachable,
        _ => Reason::Refused,
    };
    let mut cause = match error.as_service_error() {
        Some(service) => {
            let text = service.message().unwrap_or("no message");
            format!("{} ({}, HTTP status {})", text, code.unwrap_or("no code"), status.unwrap_or_default())
        }
        None => chain(error),
    };
    if reason == Reason::Refused
        && let Some(region) = error.raw_response().and_then(|response| response.headers().get(BUCKET_REGION))
    {
        cause.push_str("; the bucket is in region ");
        cause.extend(region.chars().filter(char::is_ascii_graphic).take(40));
    }
    Failure { reason, status, code: code.map(str::to_owned), cause }
}

/// Whether the request was never sent because no credentials could be had.
fn lacks_credentials(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source())
        .any(<dyn std::error::Error>::is::<CredentialsError>)
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
