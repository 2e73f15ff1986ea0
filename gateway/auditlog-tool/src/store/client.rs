//! The few requests, for callers that block.

use std::collections::HashMap;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use containerssh_config::Secret;
use containerssh_s3::sdk::Client;
use containerssh_s3::sdk::operation::get_object::GetObjectOutput;
use containerssh_s3::sdk::types::ChecksumMode;
use containerssh_s3::{Keys, Reason, Settings, explain};
use futures::StreamExt as _;
use jiff::Timestamp;
use tokio::runtime::Runtime;

use super::object::Listed;

/// Attempts at a request; the SDK pauses between them.
const ATTEMPTS: u32 = 5;
/// For connecting, TLS included.
const CONNECT: Duration = Duration::from_secs(10);
/// Metadata that is asked for at once: hides the round trip without flooding a small store.
const PARALLEL: usize = 16;

/// How stores are reached. Credentials come from where every S3 client takes them: `AWS_ACCESS_KEY_ID` and its companions,
/// `~/.aws`, web identity, a container's or an instance's role.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "For s3:// locations")]
pub(crate) struct StoreArgs {
    /// Base URL of a store that is not Amazon's
    #[arg(long, value_name = "URL", env = "AWS_ENDPOINT_URL_S3")]
    endpoint_url: Option<String>,
    /// The bucket's region
    #[arg(long, value_name = "REGION", env = "AWS_REGION")]
    region: Option<String>,
    /// PEM file with the certificate authorities to trust instead of the system's
    #[arg(long, value_name = "FILE", env = "AWS_CA_BUNDLE")]
    ca_bundle: Option<PathBuf>,
    /// Put the bucket into the host name also of a store that is not Amazon's
    #[arg(long)]
    virtual_hosts: bool,
    /// Id of the access key; the key itself is read from --secret-key-file
    #[arg(long, value_name = "ID", requires = "secret_key_file")]
    access_key: Option<String>,
    /// File with the secret key (a key on the command line could be seen by others)
    #[arg(long, value_name = "FILE", requires = "access_key")]
    secret_key_file: Option<PathBuf>,
}

/// Why a store cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("{location}: {problem}")]
    Location { location: String, problem: String },
    #[error("cannot read {path}: {error}")]
    File { path: String, error: std::io::Error },
    #[error("cannot start: {0}")]
    Runtime(std::io::Error),
    #[error(transparent)]
    Settings(#[from] containerssh_s3::SettingsError),
    #[error("{what}: {cause}{}", hint(*reason))]
    Request { what: String, reason: Reason, cause: String },
    #[error("s3://{bucket}/{key} is not there")]
    Missing { bucket: String, key: String },
    #[error("{0}")]
    Choice(String),
    #[error(
        "{name} is not what was stored: its SHA-256 is {found}, and {expected} was expected; nothing was kept"
    )]
    Checksum { name: String, found: String, expected: String },
}

/// What to do about it, where that is clear.
fn hint(reason: Reason) -> &'static str {
    match reason {
        Reason::AccessDenied => {
            "; credentials are taken from AWS_ACCESS_KEY_ID and the like, and need s3:ListBucket and s3:GetObject"
        }
        Reason::Unreachable => "; a store that is not Amazon's is named with --endpoint-url",
        _ => "",
    }
}

/// A store, for callers that block.
#[derive(Debug)]
pub(crate) struct Store {
    client: Client,
    runtime: Runtime,
}

impl Store {
    /// Makes a client. Asks nobody anything yet.
    pub(crate) fn open(args: &StoreArgs) -> Result<Self, StoreError> {
        let read = |path: &PathBuf| {
            std::fs::read_to_string(path)
                .map_err(|error| StoreError::File { path: path.display().to_string(), error })
        };
        let keys = match (&args.access_key, &args.secret_key_file) {
            (Some(access), Some(secret)) => Some(Keys {
                access: Secret::new(access.as_str()),
                secret: Secret::new(read(secret)?.trim()),
                session_token: None,
            }),
            _ => None,
        };
        // The variable for all of Amazon's services counts where the one for S3 alone is not set, as in the SDK.
        let endpoint =
            args.endpoint_url.clone().or_else(|| std::env::var("AWS_ENDPOINT_URL").ok()).unwrap_or_default();
        let settings = Settings {
            path_style: !endpoint.is_empty() && !args.virtual_hosts,
            endpoint,
            region: args.region.clone().unwrap_or_default(),
            cacert: args.ca_bundle.as_ref().map(read).transpose()?,
            keys,
            attempts: ATTEMPTS,
            connect_timeout: CONNECT,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(StoreError::Runtime)?;
        let client = runtime.block_on(containerssh_s3::client(settings))?;
        Ok(Self { client, runtime })
    }

    /// Waits for what the client does.
    pub(super) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        // Boxed: the SDK's futures are tens of kilobytes.
        self.runtime.block_on(Box::pin(work))
    }

    /// One page of a listing: at most a thousand objects, and what continues it.
    pub(super) fn page(
        &self,
        bucket: &str,
        prefix: &str,
        continuation: Option<String>,
    ) -> Result<(Vec<Listed>, Option<String>), StoreError> {
        let request = self.client.list_objects_v2().bucket(bucket).prefix(prefix);
        let answer = self.block_on(request.set_continuation_token(continuation).send());
        let answer = answer.map_err(|error| failed(format!("listing s3://{bucket}/{prefix}"), &error))?;
        let next = answer.next_continuation_token;
        let listed = answer.contents.unwrap_or_default().into_iter().filter_map(|object| {
            let stored = object.last_modified.and_then(|time| Timestamp::from_second(time.secs()).ok());
            let bytes = object.size.and_then(|size| u64::try_from(size).ok()).unwrap_or_default();
            Some(Listed { key: object.key?, bytes, stored })
        });
        Ok((listed.collect(), next))
    }

    /// Metadata of several objects, in their order, several at a time. `None` for one that has gone meanwhile.
    pub(super) fn metadata(
        &self,
        bucket: &str,
        keys: &[&str],
    ) -> Result<Vec<Option<HashMap<String, String>>>, StoreError> {
        let each = futures::stream::iter(keys.iter().map(|key| {
            let request = self.client.head_object().bucket(bucket).key(*key).send();
            async move {
                match Box::pin(request).await {
                    Ok(answer) => Ok(Some(answer.metadata.unwrap_or_default())),
                    Err(error) if explain(&error).status == Some(404) => Ok(None),
                    Err(error) => Err(failed(format!("reading what s3://{bucket}/{key} is"), &error)),
                }
            }
        }));
        let all: Vec<_> = self.block_on(each.buffered(PARALLEL).collect());
        all.into_iter().collect()
    }

    /// Opens an object from this byte on; `tag` makes sure that it is still the same one.
    pub(super) fn get(
        &self,
        bucket: &str,
        key: &str,
        from: u64,
        tag: Option<&str>,
    ) -> Result<GetObjectOutput, StoreError> {
        let mut request =
            self.client.get_object().bucket(bucket).key(key).checksum_mode(ChecksumMode::Enabled);
        if from > 0 {
            request = request.range(format!("bytes={from}-"));
        }
        let answer = self.block_on(request.set_if_match(tag.map(str::to_owned)).send());
        answer.map_err(|error| {
            let failure = explain(&error);
            if failure.status == Some(404) && failure.code.as_deref() != Some("NoSuchBucket") {
                return StoreError::Missing { bucket: bucket.to_owned(), key: key.to_owned() };
            }
            failed(format!("fetching s3://{bucket}/{key}"), &error)
        })
    }
}

fn failed<E>(what: String, error: &containerssh_s3::sdk::error::SdkError<E>) -> StoreError
where
    E: containerssh_s3::sdk::error::ProvideErrorMetadata + std::error::Error + 'static,
{
    let failure = explain(error);
    StoreError::Request { what, reason: failure.reason, cause: failure.cause }
}
