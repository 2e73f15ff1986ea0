//! An object as a stream. A connection that breaks is made again from where it broke, as long as the object is the same.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use containerssh_s3::sdk::primitives::ByteStream;

use super::client::{Store, StoreError};
use super::location;

/// Attempts in a row that bring no byte. Each opening is itself tried several times.
const ATTEMPTS: u32 = 5;
/// Without a byte for so long, a connection counts as broken.
const STALLED: Duration = Duration::from_secs(60);

/// See the module's description.
#[derive(Debug)]
pub(crate) struct ObjectReader {
    store: Arc<Store>,
    bucket: String,
    key: String,
    tag: Option<String>,
    body: Option<ByteStream>,
    /// What has come and was not handed out.
    chunk: bytes::Bytes,
    at: u64,
    length: u64,
    sha256: Option<String>,
    failures: u32,
}

impl ObjectReader {
    /// Opens `s3://bucket/key`.
    pub(crate) fn of_location(store: Arc<Store>, location: &str) -> Result<Self, StoreError> {
        let (bucket, key) = location::object(location)
            .map_err(|problem| StoreError::Location { location: location.to_owned(), problem })?;
        Self::open(store, bucket, key, 0, None)
    }

    /// Opens an object from this byte on; `tag` makes sure that it is the one that was read before.
    pub(crate) fn open(
        store: Arc<Store>,
        bucket: &str,
        key: &str,
        from: u64,
        tag: Option<&str>,
    ) -> Result<Self, StoreError> {
        let answer = store.get(bucket, key, from, tag)?;
        let rest = answer.content_length().and_then(|length| u64::try_from(length).ok()).unwrap_or_default();
        Ok(Self {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            tag: answer.e_tag().map(str::to_owned),
            sha256: answer.metadata().and_then(|metadata| metadata.get("sha256")).cloned(),
            body: Some(answer.body),
            chunk: bytes::Bytes::new(),
            at: from,
            length: from + rest,
            failures: 0,
            store,
        })
    }

    /// The whole object's length, bytes.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// What its metadata says its SHA-256 is, hexadecimal.
    pub(crate) fn sha256(&self) -> Option<&str> {
        self.sha256.as_deref()
    }

    /// Identifies this version of it.
    pub(crate) fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The next chunk that is not empty; empty at the end.
    fn next(&mut self) -> io::Result<bytes::Bytes> {
        loop {
            if self.at >= self.length {
                return Ok(bytes::Bytes::new());
            }
            let mut body = match self.body.take() {
                Some(body) => body,
                None => self.reopen()?,
            };
            let outcome = self.store.block_on(async { tokio::time::timeout(STALLED, body.next()).await });
            let broken = match outcome {
                Ok(Some(Ok(chunk))) if !chunk.is_empty() => {
                    self.failures = 0;
                    self.body = Some(body);
                    return Ok(chunk);
                }
                Ok(Some(Ok(_empty))) => {
                    self.body = Some(body);
                    continue;
                }
                Ok(Some(Err(error))) => error.to_string(),
                Ok(None) => "the connection ended early".to_owned(),
                Err(_) => format!("no byte came for {} seconds", STALLED.as_secs()),
            };
            self.failures += 1;
            if self.failures >= ATTEMPTS {
                let at = self.at;
                let name = format!("s3://{}/{}", self.bucket, self.key);
                return Err(io::Error::other(format!("fetching {name} stopped at byte {at}: {broken}")));
            }
        }
    }

    fn reopen(&self) -> io::Result<ByteStream> {
        let answer = self.store.get(&self.bucket, &self.key, self.at, self.tag.as_deref());
        answer.map(|answer| answer.body).map_err(io::Error::other)
    }
}

impl Read for ObjectReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.chunk.is_empty() {
            self.chunk = self.next()?;
        }
        let length = self.chunk.len().min(out.len());
        let taken = self.chunk.split_to(length);
        if let Some(space) = out.get_mut(..length) {
            space.copy_from_slice(&taken);
        }
        self.at += length as u64;
        Ok(length)
    }
}
