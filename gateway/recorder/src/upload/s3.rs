//! Getting one object into a bucket: whole or in parts, never over another object.

use aws_sdk_s3::types::CompletedPart;
use tokio_util::sync::CancellationToken;

use super::checksum::Fingerprint;
use super::content::{Content, Feed};
use super::displaced::beside;
use super::store::{Created, Object, Store};
use crate::code;
use crate::error::{Reason, UploadError};

/// One attempt at one object.
#[derive(Debug)]
pub(crate) struct Delivery<'a> {
    pub(crate) store: &'a Store,
    pub(crate) content: &'a Content,
    pub(crate) print: &'a Fingerprint,
    /// Whether an earlier run or attempt may have left an upload in parts unfinished.
    pub(crate) again: bool,
    pub(crate) shutdown: &'a CancellationToken,
}

impl Delivery<'_> {
    /// Puts the record into the bucket. Returns the key it has there.
    ///
    /// Where another object has that key, it is left alone. If it is the very same file (an answer got lost, and the
    /// upload is tried again), nothing is to be done. Otherwise, or if it may not be looked at, the record is stored
    /// beside it, under a key that ends in its own digest: if that one is taken as well, it is by the same content.
    pub(crate) async fn run(&self, object: Object<'_>) -> Result<String, UploadError> {
        if !self.taken_unconditionally(&object).await && self.upload(&object).await? == Created::Yes {
            return Ok(object.key);
        }
        if self.store.holds(&object, self.content, self.print).await == Some(true) {
            return Ok(object.key);
        }
        let digest = self.print.sha.hex();
        let key = beside(&object.key, digest.get(..32).unwrap_or(&digest));
        tracing::warn!(
            code = code::AUDIT_S3_OBJECT_EXISTS,
            module = "audit",
            bucket = %object.bucket.bucket,
            key = %object.key,
            "There is an object where the record belongs; it is stored as {key} instead"
        );
        let beside = Object { key, ..object };
        self.upload(&beside).await?;
        Ok(beside.key)
    }

    /// Whether another object is there, where the store cannot be told not to overwrite it.
    async fn taken_unconditionally(&self, object: &Object<'_>) -> bool {
        !self.store.is_conditional() && self.store.holds(object, self.content, self.print).await.is_some()
    }

    async fn upload(&self, object: &Object<'_>) -> Result<Created, UploadError> {
        if self.print.parts.is_empty() {
            tracing::debug!(
                code = code::AUDIT_S3_SINGLE_UPLOAD,
                module = "audit",
                bucket = %object.bucket.bucket,
                key = %object.key,
                "Uploading a record"
            );
            return tokio::select! {
                outcome = self.store.put(object, self.content, self.print) => outcome,
                () = self.shutdown.cancelled() => Err(stopping("PutObject")),
            };
        }
        tracing::debug!(
            code = code::AUDIT_S3_MULTIPART_UPLOAD,
            module = "audit",
            bucket = %object.bucket.bucket,
            key = %object.key,
            parts = self.print.parts.len(),
            "Uploading a record in parts"
        );
        if self.again {
            self.sweep(object).await;
        }
        let upload = self.store.begin(object).await?;
        let outcome = tokio::select! {
            outcome = self.transfer(object, &upload) => outcome,
            () = self.shutdown.cancelled() => Err(stopping("UploadPart")),
        };
        // Parts of an upload that did not become the object would lie in the bucket, and be paid for, for ever.
        if !matches!(outcome, Ok(Created::Yes)) {
            self.give_up(object, &upload).await;
        }
        outcome
    }

    async fn transfer(&self, object: &Object<'_>, upload: &str) -> Result<Created, UploadError> {
        let feed = Feed::open(self.content).await.map_err(UploadError::Read)?;
        let mut parts: Vec<CompletedPart> = Vec::with_capacity(self.print.parts.len());
        for (part, sha) in &self.print.parts {
            parts.push(self.store.part(object, upload, &feed, part, *sha).await?);
        }
        self.store.complete(object, upload, parts, self.print).await
    }

    /// Removes what an earlier run could not.
    async fn sweep(&self, object: &Object<'_>) {
        match self.store.unfinished(object.bucket, &object.key).await {
            Ok(uploads) => {
                for upload in uploads.into_iter().filter(|upload| upload.key == object.key) {
                    self.give_up(object, &upload.id).await;
                }
            }
            Err(error) => tracing::debug!(
                code = code::AUDIT_S3_MULTIPART_FAILED_LIST,
                module = "audit",
                bucket = %object.bucket.bucket,
                "Unfinished uploads could not be listed: {error}"
            ),
        }
    }

    async fn give_up(&self, object: &Object<'_>, upload: &str) {
        tracing::debug!(
            code = code::AUDIT_S3_MULTIPART_ABORTING,
            module = "audit",
            bucket = %object.bucket.bucket,
            key = %object.key,
            "Giving up an upload in parts"
        );
        if let Err(error) = self.store.abort(object.bucket, &object.key, upload).await {
            tracing::warn!(
                code = code::AUDIT_S3_MULTIPART_FAILED_ABORT,
                module = "audit",
                bucket = %object.bucket.bucket,
                key = %object.key,
                "The parts of an upload could not be removed: {error}"
            );
        }
    }
}

fn stopping(operation: &'static str) -> UploadError {
    UploadError::S3 { operation, reason: Reason::Local, cause: "the gateway is stopping".to_owned() }
}
