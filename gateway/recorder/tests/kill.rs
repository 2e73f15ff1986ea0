//! A process that records is killed at a random moment, again and again: nothing that it had acknowledged is lost, every record
//! reads to its end and verifies, and each reaches the bucket once.
//!
//! The killed process is this program itself, started anew for one test only ([`the_process_that_is_killed`]). It reports on its standard
//! output what it was told is durable; what it was never told may be there or not. It sends to a real socket: the S3 server of these
//! tests, or with `E2E_S3_ENDPOINT` (and `E2E_S3_ACCESS_KEY`, `E2E_S3_SECRET_KEY`, `E2E_S3_BUCKET`) another.
//!
//! `KILL_ROUNDS` is how often; the default is enough to see each kind of moment.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test says by a panic what is wrong, in its helpers too"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use common::{PATIENCE, connect, content, noise, s3, session, settings, start, to_s3};
use containerssh_auditlog::manifest;
use containerssh_auditlog::verify::{self, Verdict};
use containerssh_auditlog::{Decoder, IoStream, Message, Payload};
use containerssh_config::{Audit, FormatVersion, Secret};
use containerssh_recorder::{Recorder, Tap};

const ROUNDS: u64 = 20;
/// From the restart until everything is in the bucket.
const DEADLINE: Duration = Duration::from_secs(60);
/// Sessions that record at the same time.
const AT_ONCE: u64 = 3;
/// A round of its own is killed after so many acknowledgements at most: in its first moments, or well under way.
const MOST_ACKNOWLEDGED: u64 = 60;

/// A number that looks random, the same for the same `seed` and `n`.
fn random(seed: u64, n: u64) -> u64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ n.wrapping_mul(0xd1b5_4a32_d192_ed03) | 1;
    for _ in 0..3 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    state
}

/// What session `number` of a round sends in its `n`th piece, and on which channel and stream: half of it text.
fn piece(seed: u64, number: u64, n: u64) -> (u64, IoStream, bytes::Bytes) {
    let chance = random(seed ^ number << 32, n);
    let stream = [IoStream::Stdin, IoStream::Stdout, IoStream::Stderr][(chance >> 8) as usize % 3];
    let length = match chance % 8 {
        0..4 => chance >> 16 & 0x3f,
        4..7 => chance >> 16 & 0x1fff,
        _ => chance >> 16 & 0x3_ffff,
    };
    let length = usize::try_from(length).unwrap();
    let data = if chance & 0x80 == 0 {
        noise(length, chance)
    } else {
        format!("{n} of {number}: ls -l\r\n").repeat(length / 16 + 1).into()
    };
    (chance >> 40 & 1, stream, data)
}

/// Where records go.
#[derive(Clone)]
struct Bucket {
    endpoint: String,
    name: String,
    access_key: String,
    secret_key: String,
}

impl Bucket {
    /// Another server than the tests' own, if there is one.
    fn elsewhere() -> Option<Self> {
        let get = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Some(Self {
            endpoint: get("E2E_S3_ENDPOINT")?,
            name: get("E2E_S3_BUCKET").unwrap_or_else(|| "audit".to_owned()),
            access_key: get("E2E_S3_ACCESS_KEY")?,
            secret_key: get("E2E_S3_SECRET_KEY")?,
        })
    }

    fn own(server: &s3::Server) -> Self {
        Self {
            endpoint: server.url.clone(),
            name: "audit".to_owned(),
            access_key: s3::ACCESS_KEY.to_owned(),
            secret_key: "secret".to_owned(),
        }
    }

    fn audit(&self, root: &Path, prefix: &str, version: FormatVersion) -> Arc<Audit> {
        let mut audit = to_s3(root, &self.endpoint);
        audit.format_version = version;
        audit.s3.bucket.clone_from(&self.name);
        audit.s3.prefix = prefix.parse().unwrap();
        audit.s3.access_key = Some(Secret::new(self.access_key.as_str()));
        audit.s3.secret_key = Some(Secret::new(self.secret_key.as_str()));
        Arc::new(audit)
    }

    fn client(&self) -> aws_sdk_s3::Client {
        let credentials = Credentials::new(&self.access_key, &self.secret_key, None, None, "test");
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(&self.endpoint)
            .force_path_style(true)
            .credentials_provider(credentials)
            .build();
        aws_sdk_s3::Client::from_conf(config)
    }

    /// Keys below the prefix and how often each was stored: once, unless something was uploaded again.
    async fn stored(&self, prefix: &str) -> BTreeMap<String, usize> {
        let mut stored = BTreeMap::new();
        let answer = self.client().list_object_versions().bucket(&self.name).prefix(prefix).send().await;
        let answer = answer.unwrap();
        assert_ne!(answer.is_truncated(), Some(true), "more records than one page");
        for version in answer.versions() {
            *stored.entry(version.key().unwrap().to_owned()).or_default() += 1;
        }
        stored
    }

    async fn get(&self, key: &str) -> Vec<u8> {
        let answer = self.client().get_object().bucket(&self.name).key(key).send().await.unwrap();
        answer.body.collect().await.unwrap().to_vec()
    }
}

/// What the killed process is told to do, through its environment.
struct Orders {
    root: String,
    bucket: Bucket,
    prefix: String,
    seed: u64,
}

const ORDERS: [&str; 7] = [
    "KILL_TEST_ROOT",
    "KILL_TEST_PREFIX",
    "KILL_TEST_SEED",
    "KILL_TEST_ENDPOINT",
    "KILL_TEST_BUCKET",
    "KILL_TEST_ACCESS_KEY",
    "KILL_TEST_SECRET_KEY",
];

impl Orders {
    fn given() -> Option<Self> {
        let [root, prefix, seed, endpoint, name, access_key, secret_key] =
            ORDERS.map(|name| std::env::var(name).ok());
        Some(Self {
            root: root?,
            prefix: prefix?,
            seed: seed?.parse().ok()?,
            bucket: Bucket {
                endpoint: endpoint?,
                name: name?,
                access_key: access_key?,
                secret_key: secret_key?,
            },
        })
    }

    fn spawn(&self) -> Child {
        let Bucket { endpoint, name, access_key, secret_key } = &self.bucket;
        let seed = self.seed.to_string();
        let values = [&self.root, &self.prefix, &seed, endpoint, name, access_key, secret_key];
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_process_that_is_killed", "--nocapture", "--test-threads=1"])
            .envs(ORDERS.iter().zip(values))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn version(&self) -> FormatVersion {
        if self.seed.is_multiple_of(2) { FormatVersion::V1 } else { FormatVersion::V2 }
    }

    fn audit(&self) -> Arc<Audit> {
        self.bucket.audit(Path::new(&self.root), &self.prefix, self.version())
    }

    fn id(&self, number: u64) -> String {
        format!("{:016x}{number:016x}", self.seed)
    }
}

/// Does nothing unless it is told to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_that_is_killed() {
    let Some(orders) = Orders::given() else { return };
    let orders = Arc::new(orders);
    let (recorder, ..) = start(settings(Path::new(&orders.root), &orders.audit())).unwrap();
    let lanes =
        (0..AT_ONCE).map(|lane| tokio::spawn(record_for_ever(recorder.clone(), orders.clone(), lane)));
    for lane in lanes.collect::<Vec<_>>() {
        lane.await.unwrap();
    }
}

/// One session after another, each acknowledged now and then.
async fn record_for_ever(recorder: Recorder, orders: Arc<Orders>, lane: u64) {
    for number in (lane..).step_by(usize::try_from(AT_ONCE).unwrap()) {
        let tap = recorder.open(session(&orders.id(number)), orders.audit());
        tap.record(None, connect()).await.unwrap();
        let pieces = random(orders.seed, number) % 120;
        for n in 0..pieces {
            let (channel, stream, data) = piece(orders.seed, number, n);
            tap.io(channel, stream, data).await.unwrap();
            if random(orders.seed ^ number, n).is_multiple_of(5) {
                acknowledged(&tap, number, n + 1).await;
            }
        }
        acknowledged(&tap, number, pieces).await;
        tap.close().await;
    }
}

/// Waits until all so far is durable and reports it: so many pieces of that session.
async fn acknowledged(tap: &Tap, number: u64, pieces: u64) {
    tap.flush().await.unwrap();
    // One write per line: the reader must not see half of one that counts.
    let line = format!("acknowledged {number} {pieces}\n");
    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
}

/// Runs until so many acknowledgements came, and a little longer, then kills it. Gives the acknowledged pieces of each session.
fn run_and_kill(orders: &Orders) -> BTreeMap<u64, u64> {
    let mut process = orders.spawn();
    let most = 1 + random(orders.seed, 1) % MOST_ACKNOWLEDGED;
    let mut reports = BufReader::new(process.stdout.take().unwrap()).lines();
    let mut safe = BTreeMap::new();
    let mut note = |line: &str| {
        // The test harness prints lines of its own, and begins one without ending it.
        let Some((_, report)) = line.split_once("acknowledged ") else { return false };
        let (number, pieces) = report.split_once(' ').unwrap();
        safe.insert(number.parse().unwrap(), pieces.parse().unwrap());
        true
    };
    let mut count = 0;
    while count < most {
        let line = reports.next().expect("it was not killed and yet ended").unwrap();
        count += u64::from(note(&line));
    }
    // Not right at an acknowledgement: anywhere in the work after it.
    let pause = Instant::now() + Duration::from_micros(random(orders.seed, 2) % 20_000);
    while Instant::now() < pause {
        std::hint::spin_loop();
    }
    process.kill().unwrap();
    process.wait().unwrap();
    // What it had said before it died counts.
    for line in reports.map_while(Result::ok) {
        if line.ends_with(|last: char| last.is_ascii_digit()) {
            note(&line);
        }
    }
    safe
}

/// Checks one session's record against what was sent, and gives how many of its pieces are there.
fn check(orders: &Orders, number: u64, bytes: &[u8], safe: u64) {
    let label = format!("round {}, session {number}", orders.seed);
    let messages: Vec<Message> = Decoder::new(bytes)
        .unwrap_or_else(|error| panic!("{label}: {error}"))
        .map(|message| message.unwrap_or_else(|error| panic!("{label}: {error}")))
        .collect();
    assert!(messages.iter().all(|message| *message.connection_id == *orders.id(number)), "{label}");
    assert_eq!(messages.last().unwrap().payload, Payload::Disconnect, "{label}");
    let ends = messages.iter().filter(|message| message.payload == Payload::Disconnect).count();
    assert_eq!(ends, 1, "{label}");
    let mut sent: BTreeMap<(u64, IoStream), Vec<u8>> = BTreeMap::new();
    let mut least: BTreeMap<(u64, IoStream), usize> = BTreeMap::new();
    let pieces = random(orders.seed, number) % 120;
    for n in 0..pieces {
        let (channel, stream, data) = piece(orders.seed, number, n);
        let all = sent.entry((channel, stream)).or_default();
        all.extend_from_slice(&data);
        if n < safe {
            least.insert((channel, stream), all.len());
        }
    }
    for ((channel, stream), all) in &sent {
        let kept = content(&messages, *channel, *stream);
        let least = least.get(&(*channel, *stream)).copied().unwrap_or_default();
        assert!(kept.len() >= least, "{label}: {} of {least} acknowledged bytes of {stream:?}", kept.len());
        assert!(all.starts_with(&kept), "{label}: what is kept of {stream:?} is not what was sent");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_moments_it_loses_nothing_acknowledged_and_delivers_each_record_once() {
    let rounds = std::env::var("KILL_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let server = s3::Server::start().await;
    let bucket = Bucket::elsewhere().unwrap_or_else(|| Bucket::own(&server));
    let run = format!("kill-{:x}", std::time::UNIX_EPOCH.elapsed().unwrap().as_micros());
    let (mut records, mut pieces, mut slowest) = (0, 0, Duration::ZERO);
    for seed in 0..rounds {
        let root = tempfile::tempdir().unwrap();
        let root_path = root.path().to_str().unwrap().to_owned();
        let orders =
            Orders { root: root_path, bucket: bucket.clone(), prefix: format!("{run}/{seed}/"), seed };
        let orders = Arc::new(orders);
        let killed = tokio::task::spawn_blocking({
            let orders = orders.clone();
            move || run_and_kill(&orders)
        });
        let safe = killed.await.unwrap();

        let restart = Instant::now();
        let (recorder, ..) = start(settings(root.path(), &orders.audit())).unwrap();
        let left = recorder.drain(PATIENCE).await;
        assert_eq!((left.records, left.bytes), (0, 0), "round {seed}: something stayed in the spool");
        slowest = slowest.max(restart.elapsed());
        assert!(restart.elapsed() < DEADLINE, "round {seed}: it took {:?}", restart.elapsed());

        let stored = bucket.stored(&orders.prefix).await;
        for (key, times) in &stored {
            assert_eq!(*times, 1, "round {seed}: {key} was stored {times} times");
        }
        let numbers: BTreeSet<u64> = stored
            .keys()
            .filter_map(|key| key.strip_prefix(&*orders.prefix))
            // Beside a record may be what belongs to it.
            .filter(|name| name.len() == 32)
            .map(|id| u64::from_str_radix(&id[16..], 16).unwrap())
            .collect();
        for number in safe.keys() {
            assert!(numbers.contains(number), "round {seed}: session {number} has no record");
        }
        for number in &numbers {
            let key = format!("{}{}", orders.prefix, orders.id(*number));
            let bytes = bucket.get(&key).await;
            let manifest = bucket.get(&format!("{key}{}", manifest::SUFFIX)).await;
            let (manifest, _) = manifest::read(&manifest, &[]).unwrap();
            let report = verify::plain(&bytes[..], Some(&manifest)).unwrap();
            let is_sound = matches!(report.verdict, Verdict::Intact | Verdict::Recovered);
            assert!(is_sound, "round {seed}, session {number}: {report:?}");
            check(&orders, *number, &bytes, safe.get(number).copied().unwrap_or_default());
        }
        records += numbers.len();
        pieces += safe.values().sum::<u64>();
    }
    assert!(pieces > 0, "nothing was ever acknowledged");
    println!("{rounds} rounds: {records} records, {pieces} acknowledged pieces, slowest restart {slowest:?}");
}
