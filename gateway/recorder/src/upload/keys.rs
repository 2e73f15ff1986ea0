//! Which credentials reach a bucket.

use std::path::PathBuf;

use containerssh_config::{Audit, AuditStorage, S3, Secret};

use crate::error::UploadError;
use crate::spool::sidecar::Bucket;

/// Where credentials come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Keys {
    /// The configuration.
    Static(Secret, Secret),
    /// Files, read again for each record: a rotated Secret counts at once.
    Files(PathBuf, PathBuf),
    /// The SDK's chain: environment, web identity, container, instance.
    Chain,
}

impl Keys {
    /// What the configuration says.
    fn of(s3: &S3) -> Self {
        match (&s3.access_key, &s3.secret_key, &s3.access_key_file, &s3.secret_key_file) {
            (Some(access), Some(secret), ..) => Self::Static(access.clone(), secret.clone()),
            (_, _, Some(access), Some(secret)) => Self::Files(access.into(), secret.into()),
            _ => Self::Chain,
        }
    }

    /// The best there are for a record: the present configuration if it knows the bucket (keys may have been changed
    /// since), else those its session had, else the files its sidecar names, else the chain.
    pub(crate) fn choose(bucket: &Bucket, session: Option<&Audit>, present: &Audit) -> Self {
        if present.storage == AuditStorage::S3
            && present.s3.bucket == bucket.bucket
            && present.s3.endpoint == bucket.endpoint
        {
            return Self::of(&present.s3);
        }
        if let Some(session) = session {
            return Self::of(&session.s3);
        }
        match &bucket.key_files {
            Some((access, secret)) => Self::Files(access.clone(), secret.clone()),
            None => Self::Chain,
        }
    }

    /// The keys themselves; `None` for the chain.
    pub(crate) async fn read(&self) -> Result<Option<(Secret, Secret)>, UploadError> {
        match self {
            Self::Static(access, secret) => Ok(Some((access.clone(), secret.clone()))),
            Self::Files(access, secret) => Ok(Some((read(access).await?, read(secret).await?))),
            Self::Chain => Ok(None),
        }
    }
}

async fn read(path: &PathBuf) -> Result<Secret, UploadError> {
    match tokio::fs::read_to_string(path).await {
        Ok(text) if text.trim().is_empty() => {
            Err(UploadError::Settings(format!("the S3 key file {} is empty", path.display())))
        }
        Ok(text) => Ok(Secret::new(text.trim())),
        Err(error) => {
            Err(UploadError::Settings(format!("cannot read the S3 key file {}: {error}", path.display())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::sidecar::Destination;

    fn audit(bucket: &str, key: &str) -> Audit {
        let mut audit = Audit { storage: AuditStorage::S3, ..Audit::default() };
        audit.s3.bucket = bucket.to_owned();
        audit.s3.access_key = Some(Secret::new(key));
        audit.s3.secret_key = Some(Secret::new("secret"));
        audit
    }

    fn bucket(audit: &Audit) -> Bucket {
        match Destination::of(audit).unwrap() {
            Destination::S3(bucket) => *bucket,
            Destination::File { .. } => unreachable!(),
        }
    }

    fn fixed(key: &str) -> Keys {
        Keys::Static(Secret::new(key), Secret::new("secret"))
    }

    #[test]
    fn present_keys_win_for_the_same_bucket_and_the_sessions_own_for_another() {
        let (old, new) = (audit("a", "old"), audit("a", "new"));
        assert_eq!(Keys::choose(&bucket(&old), Some(&old), &new), fixed("new"));
        let elsewhere = audit("b", "other");
        assert_eq!(Keys::choose(&bucket(&old), Some(&old), &elsewhere), fixed("old"));
        assert_eq!(Keys::choose(&bucket(&old), None, &elsewhere), Keys::Chain);
    }

    #[tokio::test]
    async fn key_files_named_in_the_sidecar_outlive_the_process_and_are_read_anew() {
        let directory = tempfile::tempdir().unwrap();
        let (access, secret) = (directory.path().join("access"), directory.path().join("secret"));
        let mut old = audit("a", "x");
        (old.s3.access_key, old.s3.secret_key) = (None, None);
        old.s3.access_key_file = Some(access.to_str().unwrap().to_owned());
        old.s3.secret_key_file = Some(secret.to_str().unwrap().to_owned());
        let keys = Keys::choose(&bucket(&old), None, &audit("b", "other"));
        assert!(keys.read().await.unwrap_err().to_string().contains("access"));
        for value in ["one\n", "two\n"] {
            std::fs::write(&access, value).unwrap();
            std::fs::write(&secret, "s\n").unwrap();
            let read = keys.read().await.unwrap();
            assert_eq!(read, Some((Secret::new(value.trim()), Secret::new("s"))));
        }
    }
}
