//! Sources that keep failing to log in wait outside for a while, as with OpenSSH's `PerSourcePenalties`: pure, with the
//! clock passed in.
//!
//! Each connection that ends without a login adds to its source's penalty. A penalty that has grown to the minimum is in
//! force until it has run out; a mistyped password alone never gets there.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use containerssh_config::Penalties as Settings;
use tokio::time::Instant;

use super::limits::Source;

/// Sources that are remembered, as OpenSSH remembers. The one whose penalty ends first gives way: whoever has that many
/// addresses is held up by other limits.
const MAX_SOURCES: usize = 65_536;

/// How a connection without a login ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offence {
    /// Credentials were rejected.
    AuthFailed,
    /// Nobody tried to log in.
    NoAuth,
    /// The login grace time ran out.
    GraceExceeded,
}

#[derive(Debug, Clone, Copy)]
struct Penalty {
    until: Instant,
    /// Whether it has been long enough to count, which lasts until it is over.
    in_force: bool,
}

/// The penalties of all sources.
#[derive(Debug, Default)]
pub(crate) struct Penalties {
    of: HashMap<Source, Penalty>,
    /// The same by their end.
    by_end: BTreeSet<(Instant, Source)>,
}

impl Penalties {
    /// Adds to the penalty of whoever is at `peer`.
    pub(crate) fn add(&mut self, peer: SocketAddr, offence: Offence, settings: &Settings, now: Instant) {
        if !settings.enable
            || settings.exempt.iter().any(|network| network.contains(&peer.ip().to_canonical()))
        {
            return;
        }
        self.forget_what_is_over(now);
        let amount = match offence {
            Offence::AuthFailed => settings.auth_fail,
            Offence::NoAuth => settings.no_auth,
            Offence::GraceExceeded => settings.grace_exceeded,
        };
        let source = Source::of(peer);
        let before = self.remove(source);
        let until = (before.map_or(now, |penalty| penalty.until) + amount).min(now + settings.max);
        let in_force = before.is_some_and(|penalty| penalty.in_force) || until - now >= settings.min;
        if self.of.len() >= MAX_SOURCES
            && let Some((_, soonest)) = self.by_end.pop_first()
        {
            self.of.remove(&soonest);
        }
        self.by_end.insert((until, source));
        self.of.insert(source, Penalty { until, in_force });
    }

    /// For how long whoever is at `peer` stays outside; `None` if they may come in.
    pub(crate) fn wait_of(&mut self, peer: SocketAddr, now: Instant) -> Option<Duration> {
        self.forget_what_is_over(now);
        let penalty = self.of.get(&Source::of(peer)).filter(|penalty| penalty.in_force)?;
        Some(penalty.until - now)
    }

    fn remove(&mut self, source: Source) -> Option<Penalty> {
        let penalty = self.of.remove(&source)?;
        self.by_end.remove(&(penalty.until, source));
        Some(penalty)
    }

    fn forget_what_is_over(&mut self, now: Instant) {
        while let Some((end, source)) = self.by_end.first().copied()
            && end <= now
        {
            self.by_end.pop_first();
            self.of.remove(&source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn settings() -> Settings {
        Settings { enable: true, exempt: vec!["10.1.0.0/16".parse().unwrap()], ..Settings::default() }
    }

    fn peer(host: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, host], 50_000))
    }

    #[test]
    fn a_few_failures_are_forgiven_and_more_are_not() {
        let (mut penalties, now) = (Penalties::default(), Instant::now());
        penalties.add(peer(1), Offence::AuthFailed, &settings(), now);
        penalties.add(peer(1), Offence::AuthFailed, &settings(), now);
        assert_eq!(penalties.wait_of(peer(1), now), None);
        penalties.add(peer(1), Offence::AuthFailed, &settings(), now);
        assert_eq!(penalties.wait_of(peer(1), now), Some(15 * SECOND));
        assert_eq!(penalties.wait_of(peer(2), now), None, "another source");
        assert_eq!(penalties.wait_of(peer(1), now + 14 * SECOND), Some(SECOND), "until it is over");
        assert_eq!(penalties.wait_of(peer(1), now + 15 * SECOND), None);
    }

    #[test]
    fn a_penalty_in_force_grows_up_to_the_maximum() {
        let (mut penalties, now) = (Penalties::default(), Instant::now());
        for _ in 0..1000 {
            penalties.add(peer(1), Offence::GraceExceeded, &settings(), now);
        }
        assert_eq!(penalties.wait_of(peer(1), now), Some(600 * SECOND));
    }

    #[test]
    fn old_failures_do_not_add_up_with_new_ones() {
        let (mut penalties, now) = (Penalties::default(), Instant::now());
        for hour in 0..10 {
            penalties.add(peer(1), Offence::AuthFailed, &settings(), now + hour * 3600 * SECOND);
        }
        assert_eq!(penalties.wait_of(peer(1), now + 9 * 3600 * SECOND), None);
    }

    #[test]
    fn exempt_networks_and_disabled_penalties_count_nothing() {
        let (mut penalties, now) = (Penalties::default(), Instant::now());
        let exempt = SocketAddr::from(([10, 1, 2, 3], 1));
        for _ in 0..100 {
            penalties.add(exempt, Offence::AuthFailed, &settings(), now);
            penalties.add(peer(1), Offence::AuthFailed, &Settings::default(), now);
        }
        assert_eq!((penalties.wait_of(exempt, now), penalties.wait_of(peer(1), now)), (None, None));
    }

    #[test]
    fn memory_is_bounded_and_the_shortest_penalty_gives_way() {
        let (mut penalties, now) = (Penalties::default(), Instant::now());
        for _ in 0..3 {
            penalties.add(peer(1), Offence::AuthFailed, &settings(), now);
        }
        for number in 0..u32::try_from(MAX_SOURCES).unwrap() + 10 {
            let address = SocketAddr::from((std::net::Ipv4Addr::from_bits(0xc000_0000 + number), 1));
            penalties.add(address, Offence::NoAuth, &settings(), now);
        }
        assert_eq!((penalties.of.len(), penalties.by_end.len()), (MAX_SOURCES, MAX_SOURCES));
        assert!(penalties.wait_of(peer(1), now).is_some());
    }
}
