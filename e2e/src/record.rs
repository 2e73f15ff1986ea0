//! One connection's record, fetched and decoded.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use containerssh_auditlog::{Decoder, IoStream, Message, Payload};

use crate::s3::{Bucket, Object};
use crate::{Cluster, wait};

/// From the end of a session to its object in the bucket: a segment, an upload, a busy machine.
const UPLOAD_DEADLINE: Duration = Duration::from_secs(90);

/// A record as an auditor reads it.
#[derive(Debug, Clone)]
pub struct Record {
    /// The connection it is of.
    pub connection_id: String,
    /// The object it came from.
    pub object: Object,
    /// All its messages, in order.
    pub messages: Vec<Message>,
}

impl Record {
    /// Decodes an object; a damaged one is an error.
    pub fn decode(object: Object) -> Result<Self> {
        let decoder = Decoder::new(object.bytes.as_slice()).with_context(|| object.key.clone())?;
        let messages: Vec<Message> =
            decoder.collect::<Result<_, _>>().with_context(|| format!("decoding {}", object.key))?;
        let connection_id = messages.first().context("an empty record")?.connection_id.to_string();
        Ok(Self { connection_id, object, messages })
    }

    /// An error unless it reaches to the end of its connection.
    pub fn expect_whole(&self) -> Result<()> {
        let last = self.messages.last().map(|message| &message.payload);
        ensure!(matches!(last, Some(Payload::Disconnect)), "the record is not whole: it ends with {last:?}");
        Ok(())
    }

    /// All bytes of one stream, in order, over all channels.
    pub fn io(&self, wanted: IoStream) -> Vec<u8> {
        let mut bytes = Vec::new();
        for message in &self.messages {
            if let Payload::Io { stream, data } = &message.payload
                && *stream == wanted
            {
                bytes.extend_from_slice(data);
            }
        }
        bytes
    }

    /// Whether a command or an input of this connection holds `marker`.
    pub fn mentions(&self, marker: &str) -> bool {
        mentions(&self.messages, marker)
    }
}

fn mentions(messages: &[Message], marker: &str) -> bool {
    let typed: Vec<u8> = messages
        .iter()
        .flat_map(|message| match &message.payload {
            Payload::Io { stream: IoStream::Stdin, data } => data.as_ref(),
            _ => &[],
        })
        .copied()
        .collect();
    messages.iter().any(|message| match &message.payload {
        Payload::ChannelRequestExec { program, .. } => program.contains(marker),
        Payload::ChannelRequestSetEnv { value, .. } => value.contains(marker),
        _ => false,
    }) || typed.windows(marker.len().max(1)).any(|window| window == marker.as_bytes())
}

/// How much of a record is searched.
const SEARCHED: usize = 1 << 20;

/// Whether an object is what proves another one.
fn is_manifest(key: &str) -> bool {
    key.ends_with(".manifest.json")
}

/// When this process first asked for a record, seconds since 1970: what was there before is another run's, and may be large.
static BEGUN: LazyLock<i64> = LazyLock::new(|| {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or_default()
});

/// The longest that a test's session lasts before its record is asked for the first time.
const LONGEST_SESSION: i64 = 600;

/// Waits for the record below `prefix` that mentions `marker`.
pub async fn find(cluster: &Cluster, prefix: &str, marker: &str) -> Result<Record> {
    let mut seen = std::collections::BTreeSet::new();
    let bucket = Bucket::new(&cluster.environment);
    let start = tokio::time::Instant::now();
    let found = std::cell::RefCell::new(None);
    let seen = std::cell::RefCell::new(&mut seen);
    wait::until(&format!("a record of {marker} below {prefix}"), UPLOAD_DEADLINE, || async {
        let keys = bucket.newest(prefix, *BEGUN - LONGEST_SESSION).await?;
        for key in &keys {
            if !is_manifest(key) && seen.borrow_mut().insert(key.clone()) {
                // Records may be large, and what tells one from the others stands at their start.
                let start = bucket.start(key, SEARCHED).await?;
                let messages = Decoder::new(start.as_slice())?.map_while(Result::ok).collect::<Vec<_>>();
                if mentions(&messages, marker) {
                    *found.borrow_mut() = Some(Record::decode(bucket.get(key).await?)?);
                    return Ok(());
                }
            }
        }
        ensure!(false, "{} records, none of them it, after {:?}", keys.len(), start.elapsed());
        Ok(())
    })
    .await?;
    found.into_inner().context("found above")
}

/// Waits until the prefix holds at least `count` records and gives them all.
pub async fn all(cluster: &Cluster, prefix: &str, count: usize) -> Result<Vec<Record>> {
    let bucket = Bucket::new(&cluster.environment);
    let keys = wait::until(&format!("{count} records below {prefix}"), UPLOAD_DEADLINE, || async {
        let mut keys = bucket.keys(prefix).await?;
        keys.retain(|key| !is_manifest(key));
        ensure!(keys.len() >= count, "there are {}", keys.len());
        Ok(keys)
    })
    .await?;
    let mut records = Vec::with_capacity(keys.len());
    for key in keys {
        records.push(Record::decode(bucket.get(&key).await?)?);
    }
    Ok(records)
}
