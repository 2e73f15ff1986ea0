//! Answers that may be given again, because the server said so: `Cache-Control: max-age` (RFC 9111 section 5.2.2.1).
//!
//! A cached answer answers **the same question**: the same path and body, password or key included, but for what names
//! the single connection (its id and the client's port). Questions are known by a keyed digest with a key that lives as long
//! as the process, so that nothing in here helps to guess a password. Only answers that let somebody in are kept; a
//! refusal, a failure and whatever cannot be read are asked about again.
//!
//! HTTP does not let caches keep answers to `POST` for other requests; this is an agreement between the gateway and a
//! server that says `max-age` in such an answer, and for nobody else's.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::hmac;
use reqwest::header::{AGE, CACHE_CONTROL, HeaderMap, VARY};
use tokio::time::Instant;
use zeroize::Zeroizing;

/// Answers kept per server: as many users as log in within a few minutes.
pub(super) const MAX_ANSWERS: usize = 1024;
/// Bytes of answers kept per server. Most have some hundred; files make some larger.
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// No answer is kept longer, whatever the server says: somebody who was dismissed gets in no more after this time.
pub(super) const MAX_AGE: Duration = Duration::from_secs(3600);

/// A question, as a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key([u8; 32]);

impl Key {
    /// Of a path and a body without what names the single connection.
    pub(super) fn of(path: &str, body: &[u8]) -> Key {
        static SECRET: LazyLock<hmac::Key> =
            LazyLock::new(|| hmac::Key::new(hmac::HMAC_SHA256, &rand::random::<[u8; 32]>()));
        let mut context = hmac::Context::with_key(&SECRET);
        // The paths are ours, and none begins like another.
        context.update(path.as_bytes());
        context.update(body);
        let mut digest = [0; 32];
        // The digest of SHA-256 has just this length.
        digest.iter_mut().zip(context.sign().as_ref()).for_each(|(to, from)| *to = *from);
        Key(digest)
    }
}

struct Entry {
    until: Instant,
    answer: Zeroizing<Vec<u8>>,
}

/// Answers of one server.
#[derive(Default)]
pub(super) struct Cache(Mutex<HashMap<Key, Entry>>);

impl Cache {
    /// The answer to a question, while it may be given.
    pub(super) fn get(&self, key: &Key, now: Instant) -> Option<Zeroizing<Vec<u8>>> {
        self.lock().get(key).filter(|entry| entry.until > now).map(|entry| entry.answer.clone())
    }

    /// Keeps an answer for as long as the server said. The ones that end first make room.
    pub(super) fn put(&self, key: Key, answer: &[u8], fresh: Duration, now: Instant) {
        if fresh.is_zero() || answer.len() > MAX_BYTES {
            return;
        }
        let mut entries = self.lock();
        entries.remove(&key);
        entries.retain(|_, entry| entry.until > now);
        let mut bytes: usize = entries.values().map(|entry| entry.answer.len()).sum();
        while entries.len() >= MAX_ANSWERS || bytes + answer.len() > MAX_BYTES {
            let first = entries.iter().min_by_key(|(_, entry)| entry.until).map(|(key, _)| *key);
            let Some(gone) = first.and_then(|first| entries.remove(&first)) else { break };
            bytes -= gone.answer.len();
        }
        entries.insert(key, Entry { until: now + fresh.min(MAX_AGE), answer: answer.to_vec().into() });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long an answer may be given again, by its header; zero for never. Every doubt says never.
pub(super) fn freshness(headers: &HeaderMap) -> Duration {
    let mut max_age = None;
    for value in headers.get_all(CACHE_CONTROL) {
        let Ok(value) = value.to_str() else { return Duration::ZERO };
        for directive in value.split(',') {
            let (name, argument) = directive.split_once('=').unwrap_or((directive, ""));
            match name.trim().to_ascii_lowercase().as_str() {
                "no-store" | "no-cache" => return Duration::ZERO,
                "max-age" => {
                    let seconds = argument.trim().trim_matches('"').parse::<u64>();
                    match (seconds, max_age) {
                        (Ok(seconds), None) => max_age = Some(seconds),
                        _ => return Duration::ZERO,
                    }
                }
                _ => {}
            }
        }
    }
    let varies = headers.get_all(VARY).iter().any(|value| value.as_bytes().contains(&b'*'));
    let age = match headers.get(AGE).map(|age| age.to_str().unwrap_or_default().trim().parse::<u64>()) {
        None => 0,
        Some(Ok(age)) => age,
        Some(Err(_)) => return Duration::ZERO,
    };
    match max_age {
        Some(seconds) if !varies => Duration::from_secs(seconds.saturating_sub(age)),
        _ => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn key(number: usize) -> Key {
        Key::of("/password", &number.to_le_bytes())
    }

    #[test]
    fn answers_are_given_for_as_long_as_the_server_said() {
        let (cache, now) = (Cache::default(), Instant::now());
        cache.put(key(1), b"yes", MINUTE, now);
        assert_eq!(cache.get(&key(1), now + MINUTE / 2).unwrap().as_slice(), b"yes");
        assert!(cache.get(&key(1), now + MINUTE).is_none() && cache.get(&key(2), now).is_none());
        cache.put(key(1), b"yes", MINUTE * 60 * 24, now);
        assert!(cache.get(&key(1), now + MAX_AGE).is_none(), "a day is too long, whoever says it");
        cache.put(key(3), b"yes", Duration::ZERO, now);
        assert!(cache.get(&key(3), now).is_none());
    }

    #[test]
    fn neither_number_nor_size_grows_without_bound() {
        let (cache, now) = (Cache::default(), Instant::now());
        for number in 0..MAX_ANSWERS + 100 {
            cache.put(key(number), b"yes", MINUTE + Duration::from_millis(number as u64), now);
        }
        assert_eq!(cache.lock().len(), MAX_ANSWERS);
        assert!(cache.get(&key(99), now).is_none(), "what ends first goes first");
        assert!(cache.get(&key(100), now).is_some());
        for number in 0..20 {
            cache.put(key(number), &vec![0; 1024 * 1024], MINUTE * 2, now);
        }
        assert!(cache.lock().values().map(|entry| entry.answer.len()).sum::<usize>() <= MAX_BYTES);
        cache.put(key(5000), &vec![0; MAX_BYTES + 1], MINUTE, now);
        assert!(cache.get(&key(5000), now).is_none());
    }

    #[test]
    fn the_same_body_under_another_path_is_another_question() {
        assert_ne!(Key::of("/password", b"x"), Key::of("/authz", b"x"));
    }

    #[test]
    fn only_a_clear_header_makes_an_answer_fresh() {
        let fresh = |lines: &[(&str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                let name: reqwest::header::HeaderName = name.parse().unwrap();
                headers.append(name, value.parse().unwrap());
            }
            freshness(&headers).as_secs()
        };
        let control = |value: &str| fresh(&[("cache-control", value)]);
        assert_eq!(control("max-age=60"), 60);
        assert_eq!(control("private, Max-Age=\"60\""), 60);
        for none in ["", "private", "no-store, max-age=60", "max-age=60, no-cache", "max-age=", "max-age=-1"]
        {
            assert_eq!(control(none), 0, "{none}");
        }
        assert_eq!(control("max-age=60, max-age=60"), 0, "said twice is unclear");
        assert_eq!(control("s-maxage=60"), 0, "that is for caches in between");
        assert_eq!(fresh(&[("cache-control", "max-age=60"), ("age", "50")]), 10);
        assert_eq!(fresh(&[("cache-control", "max-age=60"), ("age", "old")]), 0);
        assert_eq!(fresh(&[("cache-control", "max-age=60"), ("vary", "*")]), 0);
        assert_eq!(fresh(&[("cache-control", "max-age=60"), ("cache-control", "no-store")]), 0);
        assert_eq!(fresh(&[]), 0);
    }
}
