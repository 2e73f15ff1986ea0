//! Who may connect: a bound on all connections, on those of one source, and on those that have not logged in.
//!
//! When the places for connections without login are taken, the **oldest such connection gives its place up** to the
//! new one. So a thousand clients that connect and say nothing cannot lock a real login out: it needs a second or two,
//! while theirs are always the oldest. Refusing the newcomer instead (or at random, as sshd's `MaxStartups` does) would let
//! them.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::penalties::{Offence, Penalties};

/// The bounds in force for a new connection. Zero means none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// Connections at a time that have not logged in.
    pub unauthenticated: usize,
    /// Connections at a time of one source: an IPv4 address or an IPv6 /64, which is what one host is given.
    pub per_source: usize,
    /// Connections at a time of one user, by the name that authentication settled on.
    pub per_user: usize,
    /// Sessions at a time of one connection.
    pub sessions_per_connection: usize,
}

/// Why a connection is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("too many connections")]
    Connections,
    #[error("too many connections from this address")]
    PerSource,
    #[error("too many failed logins from this address; it may try again in {} s", .0.as_secs() + 1)]
    Penalty(Duration),
}

/// Where connections come from, as far as one host is told from another: an IPv4 address or an IPv6 /64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Source(IpAddr);

impl Source {
    pub(super) fn of(peer: SocketAddr) -> Self {
        Self(match peer.ip().to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
            address @ IpAddr::V4(_) => address,
        })
    }
}

#[derive(Debug, Default)]
struct State {
    open: usize,
    sources: HashMap<Source, usize>,
    users: HashMap<String, usize>,
    /// Connections without login by age, with what ends each.
    silent: BTreeMap<u64, CancellationToken>,
    next: u64,
    penalties: Penalties,
}

/// The places of one gateway.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// Held for a few instructions, never across an await.
    state: Mutex<State>,
}

impl Places {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for a new connection, which `evict` ends when somebody newer needs the place before it logs in.
    pub(crate) fn admit(
        self: &Arc<Self>,
        peer: SocketAddr,
        limits: &Limits,
        evict: CancellationToken,
    ) -> Result<Place, Refusal> {
        let source = Source::of(peer);
        let mut state = self.state();
        if let Some(wait) = state.penalties.wait_of(peer, Instant::now()) {
            return Err(Refusal::Penalty(wait));
        }
        let of_source = state.sources.get(&source).copied().unwrap_or(0);
        if limits.per_source > 0 && of_source >= limits.per_source {
            return Err(Refusal::PerSource);
        }
        let full = limits.connections > 0 && state.open >= limits.connections;
        let silent_full = limits.unauthenticated > 0 && state.silent.len() >= limits.unauthenticated;
        if full || silent_full {
            match state.silent.pop_first() {
                // Its place stays counted until it has gone, which takes it no longer than a wake-up.
                Some((_, oldest)) => oldest.cancel(),
                None => return Err(Refusal::Connections),
            }
        }
        let number = state.next;
        state.next += 1;
        state.open += 1;
        *state.sources.entry(source).or_default() += 1;
        state.silent.insert(number, evict);
        Ok(Place { places: Arc::clone(self), peer, source, number, user: OnceLock::new() })
    }

    /// Connections that hold a place.
    pub(crate) fn open(&self) -> usize {
        self.state().open
    }
}

/// One connection's place; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    peer: SocketAddr,
    source: Source,
    number: u64,
    /// Who has logged in.
    user: OnceLock<String>,
}

/// The user has as many connections as one may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooManyOfUser;

impl Place {
    /// The client has logged in as `user`: nobody takes this place any more.
    pub(crate) fn authenticated(&self, user: &str, limits: &Limits) -> Result<(), TooManyOfUser> {
        let mut state = self.places.state();
        state.silent.remove(&self.number);
        let of_user = state.users.get(user).copied().unwrap_or(0);
        if limits.per_user > 0 && of_user >= limits.per_user {
            return Err(TooManyOfUser);
        }
        if self.user.set(user.to_owned()).is_ok() {
            *state.users.entry(user.to_owned()).or_default() += 1;
        }
        Ok(())
    }

    /// The client never logged in, and how that ended counts against where it comes from.
    pub(crate) fn penalize(&self, offence: Offence, settings: &containerssh_config::Penalties) {
        self.places.state().penalties.add(self.peer, offence, settings, Instant::now());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.places.state();
        state.open = state.open.saturating_sub(1);
        state.silent.remove(&self.number);
        one_less(&mut state.sources, &self.source);
        if let Some(user) = self.user.get() {
            one_less(&mut state.users, user);
        }
    }
}

fn one_less<K: Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { connections: 4, unauthenticated: 2, per_source: 3, per_user: 2, sessions_per_connection: 0 };

    fn peer(host: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, host], port))
    }

    fn admit(places: &Arc<Places>, peer: SocketAddr) -> (Result<Place, Refusal>, CancellationToken) {
        let evict = CancellationToken::new();
        (places.admit(peer, &LIMITS, evict.clone()), evict)
    }

    #[test]
    fn the_oldest_silent_connection_gives_way_to_the_newest() {
        let places = Arc::default();
        let (first, first_evicted) = admit(&places, peer(1, 1));
        let (second, second_evicted) = admit(&places, peer(2, 1));
        let (third, third_evicted) = admit(&places, peer(3, 1));
        assert!(first.is_ok() && second.is_ok() && third.is_ok());
        assert!(first_evicted.is_cancelled());
        assert!(!second_evicted.is_cancelled() && !third_evicted.is_cancelled());
    }

    #[test]
    fn a_logged_in_connection_keeps_its_place() {
        let places = Arc::default();
        let kept: Vec<_> = (1..=4)
            .map(|host| {
                let (place, evicted) = admit(&places, peer(host, 1));
                let place = place.unwrap();
                place.authenticated(&format!("user {host}"), &LIMITS).unwrap();
                (place, evicted)
            })
            .collect();
        assert_eq!(admit(&places, peer(9, 1)).0.unwrap_err(), Refusal::Connections);
        assert!(kept.iter().all(|(_, evicted)| !evicted.is_cancelled()));
        drop(kept);
        assert_eq!(places.open(), 0);
        assert!(admit(&places, peer(9, 1)).0.is_ok());
    }

    #[test]
    fn one_user_has_so_many_connections_wherever_they_come_from() {
        let places = Arc::default();
        let log_in = |host, user: &str| {
            let place = admit(&places, peer(host, 1)).0.unwrap();
            place.authenticated(user, &LIMITS).map(|()| place)
        };
        let kept = (log_in(1, "alice").unwrap(), log_in(2, "alice").unwrap());
        assert_eq!(log_in(3, "alice").unwrap_err(), TooManyOfUser);
        log_in(3, "bob").unwrap();
        drop(kept.0);
        log_in(3, "alice").unwrap();
    }

    #[test]
    fn one_source_cannot_take_every_place_and_a_v6_source_is_its_64() {
        let places = Arc::default();
        let address = |host: u16| SocketAddr::from(([0x2001, 0xdb8, 0, 0, 1, 2, 3, host], 22));
        let _places: Vec<_> = (0..3).map(|host| admit(&places, address(host)).0.unwrap()).collect();
        assert_eq!(admit(&places, address(4)).0.unwrap_err(), Refusal::PerSource);
        assert!(admit(&places, peer(1, 1)).0.is_ok());
    }
}
