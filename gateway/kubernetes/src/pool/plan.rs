//! What to do about the pool, given what there is. Pure.
//!
//! - As many pods as are wanted, of the current template, none older than `max_age`; a few at a time are started.
//! - An old pod goes when its replacements are ready, at the latest at twice that age: until then it is better than none.
//! - After a failure one pod at a time is tried, after a pause that doubles: an image that cannot be pulled costs the API
//!   server a pod every few minutes.

use std::time::Duration;

/// Pods that are started at once: enough to refill while others log in, too few to be felt by them.
pub(super) const MAX_STARTING: usize = 4;

/// After the first failure.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// Between attempts in the long run.
const LAST_PAUSE: Duration = Duration::from_secs(300);

/// How far a pod is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// On its way.
    Starting,
    /// It waits for a connection.
    Ready,
    /// It will serve nobody.
    Ended,
}

/// One pod of the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) id: u64,
    /// It is of the current template.
    pub(super) current: bool,
    pub(super) life: Life,
    pub(super) age: Duration,
}

/// What there shall be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Want {
    pub(super) size: usize,
    pub(super) max_age: Duration,
}

/// Failures since the last success.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Failures {
    pub(super) count: u32,
    /// How long ago the last one was.
    pub(super) ago: Duration,
}

/// What to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) create: usize,
    pub(super) remove: Vec<u64>,
    /// When to plan again although nothing happens; `None` for never.
    pub(super) again: Option<Duration>,
}

/// Plans. `want` is `None` if there shall be no pool.
pub(super) fn plan(seen: &[Seen], want: Option<Want>, failures: Failures) -> Plan {
    let want = want.unwrap_or(Want { size: 0, max_age: Duration::MAX });
    let mut remove: Vec<u64> = Vec::new();
    let (mut fresh_ready, mut fresh_starting, mut old) = (Vec::new(), Vec::new(), Vec::new());
    for pod in seen {
        match pod.life {
            _ if !pod.current || want.size == 0 => remove.push(pod.id),
            Life::Ended => remove.push(pod.id),
            Life::Ready if pod.age >= want.max_age => old.push(pod),
            Life::Ready => fresh_ready.push(pod),
            Life::Starting => fresh_starting.push(pod),
        }
    }
    // What is surplus: first what is not there yet, then the oldest.
    fresh_starting.sort_by_key(|pod| pod.age);
    fresh_ready.sort_by_key(|pod| pod.age);
    let starting = want.size.saturating_sub(fresh_ready.len()).min(fresh_starting.len());
    remove.extend(fresh_starting.split_off(starting).iter().map(|pod| pod.id));
    remove.extend(fresh_ready.split_off(want.size.min(fresh_ready.len())).iter().map(|pod| pod.id));

    let replaced = fresh_ready.len() >= want.size;
    let too_old = want.max_age.saturating_mul(2);
    let (gone, kept): (Vec<&Seen>, Vec<&Seen>) =
        old.into_iter().partition(|pod| replaced || pod.age >= too_old);
    remove.extend(gone.iter().map(|pod| pod.id));

    let missing = want.size - fresh_ready.len() - starting;
    let pause = pause(failures.count).saturating_sub(failures.ago);
    let at_once = if failures.count > 0 { 1 } else { MAX_STARTING };
    let create = if pause.is_zero() { missing.min(at_once.saturating_sub(starting)) } else { 0 };

    let ages = fresh_ready.iter().map(|pod| want.max_age.saturating_sub(pod.age));
    let ends = kept.iter().map(|pod| too_old.saturating_sub(pod.age));
    let retry = (missing > 0 && !pause.is_zero()).then_some(pause);
    let again = ages.chain(ends).chain(retry).filter(|wait| *wait < Duration::MAX).min();
    Plan { create, remove, again }
}

fn pause(failures: u32) -> Duration {
    match failures.checked_sub(1) {
        None => Duration::ZERO,
        Some(doublings) => {
            FIRST_PAUSE.saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX)).min(LAST_PAUSE)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn want(size: usize) -> Option<Want> {
        Some(Want { size, max_age: HOUR })
    }

    fn pod(id: u64, life: Life, minutes: u64) -> Seen {
        Seen { id, current: true, life, age: Duration::from_secs(60 * minutes) }
    }

    #[test]
    fn an_empty_pool_is_filled_a_few_at_a_time() {
        let first = plan(&[], want(6), Failures::default());
        assert_eq!((first.create, first.remove.len(), first.again), (MAX_STARTING, 0, None));
        let starting: Vec<Seen> = (0..4).map(|id| pod(id, Life::Starting, 0)).collect();
        assert_eq!(plan(&starting, want(6), Failures::default()).create, 0);
    }

    #[test]
    fn another_template_or_none_removes_all() {
        let mut other = pod(1, Life::Ready, 1);
        other.current = false;
        let planned = plan(&[other, pod(2, Life::Ready, 1)], want(2), Failures::default());
        assert_eq!((planned.create, planned.remove), (1, vec![1]));
        let planned = plan(&[pod(1, Life::Ready, 1), pod(2, Life::Starting, 1)], None, Failures::default());
        assert_eq!((planned.create, planned.remove, planned.again), (0, vec![1, 2], None));
    }

    #[test]
    fn an_old_pod_stays_until_its_replacement_is_ready() {
        let old = pod(1, Life::Ready, 61);
        let planned = plan(&[old], want(1), Failures::default());
        assert_eq!((planned.create, planned.remove, planned.again), (1, vec![], Some(59 * HOUR / 60)));
        let planned = plan(&[old, pod(2, Life::Starting, 1)], want(1), Failures::default());
        assert_eq!((planned.create, planned.remove), (0, vec![]));
        let planned = plan(&[old, pod(2, Life::Ready, 1)], want(1), Failures::default());
        assert_eq!((planned.create, planned.remove), (0, vec![1]));
        assert_eq!(plan(&[pod(1, Life::Ready, 120)], want(1), Failures::default()).remove, [1]);
    }

    #[test]
    fn failures_are_answered_by_longer_and_longer_pauses() {
        let at = |count, ago| plan(&[], want(8), Failures { count, ago: Duration::from_secs(ago) });
        assert_eq!((at(1, 0).create, at(1, 0).again), (0, Some(Duration::from_secs(5))));
        assert_eq!((at(1, 5).create, at(1, 5).again), (1, None));
        assert_eq!(at(3, 0).again, Some(Duration::from_secs(20)));
        assert_eq!(at(40, 0).again, Some(LAST_PAUSE));
        assert_eq!(at(u32::MAX, 299).create, 0);
    }

    fn lives() -> impl Strategy<Value = Life> {
        prop_oneof![Just(Life::Starting), Just(Life::Ready), Just(Life::Ended)]
    }

    fn pools() -> impl Strategy<Value = Vec<Seen>> {
        prop::collection::vec((lives(), any::<bool>(), 0..200_u64), 0..20).prop_map(|pods| {
            (0..).zip(pods).map(|(id, (life, current, age))| Seen { current, ..pod(id, life, age) }).collect()
        })
    }

    proptest! {
        #[test]
        fn no_plan_starts_too_many_or_removes_what_is_wanted(
            seen in pools(), size in 0..12_usize, count in 0..5_u32, ago in 0..400_u64,
        ) {
            let failures = Failures { count, ago: Duration::from_secs(ago) };
            let planned = plan(&seen, want(size), failures);
            let left: Vec<&Seen> = seen.iter().filter(|pod| !planned.remove.contains(&pod.id)).collect();
            prop_assert!(left.iter().all(|pod| pod.current && pod.life != Life::Ended));
            let fresh = |pods: &[&Seen]| pods.iter().filter(|pod| pod.current && pod.life == Life::Ready && pod.age < HOUR).count();
            let starting = left.iter().filter(|pod| pod.life == Life::Starting).count();
            prop_assert!(fresh(&left) + starting + planned.create <= size);
            prop_assert!(planned.create == 0 || starting + planned.create <= MAX_STARTING);
            let before = fresh(&seen.iter().collect::<Vec<_>>());
            prop_assert_eq!(fresh(&left), before.min(size), "a fresh pod that is wanted was removed");
            let ids: std::collections::HashSet<_> = planned.remove.iter().collect();
            prop_assert_eq!(ids.len(), planned.remove.len(), "removed twice");
        }

        /// The pool with starts that take a minute, claims, and ends, seen at each minute.
        #[test]
        fn whatever_happens_the_pool_becomes_full_and_rests(
            mut seen in pools(), size in 0..12_usize, claims in prop::collection::vec(any::<bool>(), 0..30),
        ) {
            let mut next = 1000;
            let mut claims = claims.into_iter();
            for minute in 0..400 {
                if claims.next() == Some(true)
                    && let Some(ready) = seen.iter().position(|pod| pod.current && pod.life == Life::Ready)
                {
                    seen.remove(ready);
                }
                let planned = plan(&seen, want(size), Failures::default());
                seen.retain(|pod| !planned.remove.contains(&pod.id));
                for pod in &mut seen {
                    pod.age += Duration::from_secs(60);
                    if pod.life == Life::Starting {
                        pod.life = Life::Ready;
                    }
                }
                for _ in 0..planned.create {
                    seen.push(pod(next, Life::Starting, 0));
                    next += 1;
                }
                let usable = seen.iter().filter(|pod| pod.current && pod.life == Life::Ready).count();
                prop_assert!(minute < 40 || usable >= size, "{usable} of {size} at minute {minute}");
                prop_assert!(seen.len() <= 20 + 2 * size);
            }
        }
    }

    #[test]
    fn a_template_that_never_starts_costs_a_pod_now_and_then() {
        for size in [1, 4, 11] {
            let (mut failures, mut created) = (Failures::default(), 0);
            // A day, second by second; each start fails at once.
            for _ in 0..86_400 {
                let planned = plan(&[], want(size), failures);
                created += planned.create;
                failures.ago += Duration::from_secs(1);
                if planned.create > 0 {
                    let more = u32::try_from(planned.create).unwrap();
                    failures = Failures { count: failures.count + more, ago: Duration::ZERO };
                }
            }
            assert!((100..=300).contains(&created), "{created}");
        }
    }
}
