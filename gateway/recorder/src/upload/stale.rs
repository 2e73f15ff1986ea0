//! Uploads in parts that nobody will finish.
//!
//! A gateway that dies in the middle of one leaves parts in the bucket, which are paid for and which nobody sees. Its next
//! run gives them up when it uploads that record; if there is no next run, or its volume is gone, they stay. So every
//! gateway looks from time to time, below the prefix that it writes to, for uploads that began long ago and whose keys
//! can only be records' (others may share the bucket), and gives those up. Where that is not allowed, nothing else
//! suffers.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use containerssh_config::AuditStorage;
use tokio::time::sleep;

use super::{Context, keys};
use crate::code;
use crate::error::UploadError;
use crate::object_key;
use crate::spool::sidecar::Destination;

/// How often. Parts that wait an hour longer cost next to nothing; a listing costs as much as a small record.
const PAUSE: Duration = Duration::from_secs(3600);

/// Runs until the spool is shut down.
pub(super) async fn run(context: Arc<Context>) {
    loop {
        if let Err(error) = sweep(&context).await {
            tracing::debug!(
                code = code::AUDIT_S3_MULTIPART_FAILED_LIST,
                module = "audit",
                "Unfinished uploads could not be listed: {error}"
            );
        }
        tokio::select! {
            () = sleep(PAUSE) => {}
            () = context.spool.shutdown.cancelled() => return,
        }
    }
}

/// Gives up what is stale in the bucket of the present configuration.
async fn sweep(context: &Context) -> Result<(), UploadError> {
    let audit = context.present();
    let age = audit.s3.abort_stale_uploads_after;
    if audit.storage != AuditStorage::S3 || !audit.is_recording() || age.is_zero() {
        return Ok(());
    }
    let Some(Destination::S3(bucket)) = Destination::of(&audit) else { return Ok(()) };
    let keys = keys::Keys::choose(&bucket, None, &audit);
    let store = context.stores.get(&bucket, &keys).await?;
    let before = SystemTime::now()
        .checked_sub(age)
        .and_then(|before| before.duration_since(SystemTime::UNIX_EPOCH).ok())
        .map_or(0, |before| i64::try_from(before.as_secs()).unwrap_or(i64::MAX));
    let gateway = (context.identity.namespace.as_str(), context.identity.gateway.as_str());
    for upload in store.unfinished(&bucket, object_key::fixed_part(&bucket.prefix)).await? {
        if upload.begun >= before || !object_key::is_ours(&bucket.prefix, gateway, &upload.key) {
            continue;
        }
        tracing::info!(
            code = code::AUDIT_S3_MULTIPART_ABORTING,
            module = "audit",
            bucket = %bucket.bucket,
            key = %upload.key,
            "Giving up an upload in parts that nobody has finished for {age:?}"
        );
        if let Err(error) = store.abort(&bucket, &upload.key, &upload.id).await {
            tracing::warn!(
                code = code::AUDIT_S3_MULTIPART_FAILED_ABORT,
                module = "audit",
                bucket = %bucket.bucket,
                key = %upload.key,
                "The parts of an upload could not be removed: {error}"
            );
        }
        if context.spool.shutdown.is_cancelled() {
            break;
        }
    }
    Ok(())
}
