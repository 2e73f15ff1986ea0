//! The object store, as an auditor reaches it.

use anyhow::{Context, Result};
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};

use crate::Environment;

/// The bucket that holds the records.
#[derive(Debug, Clone)]
pub struct Bucket {
    client: aws_sdk_s3::Client,
    name: String,
}

/// An object with what was stored beside it.
#[derive(Debug, Clone)]
pub struct Object {
    /// Its key.
    pub key: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its user metadata.
    pub metadata: std::collections::HashMap<String, String>,
}

impl Bucket {
    /// The bucket of the environment, with the environment's keys.
    pub fn new(environment: &Environment) -> Self {
        let credentials = Credentials::new(
            &environment.s3_access_key,
            &environment.s3_secret_key,
            None,
            None,
            "containerssh-e2e",
        );
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(&environment.s3_endpoint)
            .force_path_style(true)
            .credentials_provider(credentials)
            .build();
        Self { client: aws_sdk_s3::Client::from_conf(config), name: environment.s3_bucket.clone() }
    }

    /// The keys below a prefix.
    pub async fn keys(&self, prefix: &str) -> Result<Vec<String>> {
        let mut keys = Vec::new();
        let mut pages =
            self.client.list_objects_v2().bucket(&self.name).prefix(prefix).into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.with_context(|| format!("listing {prefix}"))?;
            keys.extend(page.contents().iter().filter_map(|object| object.key().map(str::to_owned)));
        }
        Ok(keys)
    }

    /// The first bytes of an object, at most that many.
    pub async fn start(&self, key: &str, length: usize) -> Result<Vec<u8>> {
        let range = format!("bytes=0-{}", length.saturating_sub(1));
        let answer = self.client.get_object().bucket(&self.name).key(key).range(range).send().await;
        Ok(answer.with_context(|| key.to_owned())?.body.collect().await?.to_vec())
    }

    /// The keys below a prefix that were stored since then (seconds since 1970), the newest first.
    pub async fn newest(&self, prefix: &str, since: i64) -> Result<Vec<String>> {
        let mut found = Vec::new();
        let mut pages =
            self.client.list_objects_v2().bucket(&self.name).prefix(prefix).into_paginator().send();
        while let Some(page) = pages.next().await {
            for object in page.with_context(|| format!("listing {prefix}"))?.contents.unwrap_or_default() {
                let stored = object.last_modified.map_or(i64::MAX, |time| time.secs());
                found.extend(object.key.filter(|_| stored >= since).map(|key| (stored, key)));
            }
        }
        found.sort_unstable_by(|one, other| other.cmp(one));
        Ok(found.into_iter().map(|(_, key)| key).collect())
    }

    /// How an object is locked: the mode, and until when (seconds since 1970).
    pub async fn lock(&self, key: &str) -> Result<(String, i64)> {
        let head = self
            .client
            .head_object()
            .bucket(&self.name)
            .key(key)
            .send()
            .await
            .with_context(|| format!("asking for {key}"))?;
        let mode = head.object_lock_mode().context("no lock")?.as_str().to_owned();
        let until = head.object_lock_retain_until_date().context("no date")?.secs();
        Ok((mode, until))
    }

    /// One object, whole.
    pub async fn get(&self, key: &str) -> Result<Object> {
        let answer = self
            .client
            .get_object()
            .bucket(&self.name)
            .key(key)
            .send()
            .await
            .with_context(|| format!("fetching {key}"))?;
        let metadata = answer.metadata().cloned().unwrap_or_default();
        let bytes = answer.body.collect().await?.to_vec();
        Ok(Object { key: key.to_owned(), bytes, metadata })
    }
}
