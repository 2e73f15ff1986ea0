use std::collections::HashMap;

use bytes::Bytes;
use containerssh_auditlog::{IoStream, Payload};
use containerssh_config::EventKind;
use proptest::prelude::*;

use super::*;
use crate::event::{Contents, Data};
use crate::metrics::Metrics;

const LIMIT: usize = 64 * 1024;

fn batch(events: usize) -> Limits {
    Limits { events, bytes: 1 << 20, delay: Duration::from_secs(1) }
}

fn queue(limit: usize, batch: Limits) -> Queue {
    Queue::new(limit, batch, Metrics::default().target("t"))
}

fn origin(id: &str) -> Arc<Origin> {
    Arc::new(Origin { session_id: id.to_owned(), remote: None, policy_hash: String::new() })
}

fn contents(channel: u64, stream: IoStream, data: &[u8]) -> Event {
    let data = Data::Shared(Bytes::copy_from_slice(data));
    let length = data.as_slice().len() as u64;
    event(Some(channel), What::Io(Contents { stream, data, length }))
}

/// An event that is no contents, with a text of this length.
fn plain(length: usize) -> Event {
    let payload = Payload::ChannelRequestExec { request_id: 0, program: "x".repeat(length) };
    event(Some(0), What::Record(EventKind::Exec, Arc::new(payload)))
}

fn event(channel: Option<u64>, what: What) -> Event {
    Event { origin: origin("s"), username: None, at: 1, channel, what }
}

fn data(item: &Item) -> &[u8] {
    match &item.event.what {
        What::Io(contents) => contents.data.as_slice(),
        other => panic!("{other:?}"),
    }
}

fn gap(item: &Item) -> &Gap {
    match &item.event.what {
        What::Gap(gap) => gap,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_event_waits_for_others_no_longer_than_the_delay() {
    let queue = queue(LIMIT, batch(100));
    let route = queue.join(origin("s"));
    let start = Instant::now();
    queue.push(route, plain(1));
    tokio::time::sleep(Duration::from_millis(400)).await;
    queue.push(route, plain(1));
    let items = queue.take().await.unwrap();
    assert_eq!((items.len(), start.elapsed()), (2, Duration::from_secs(1)));
    assert_eq!(items.iter().map(|item| item.sequence).collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_full_batch_does_not_wait() {
    let queue = Arc::new(queue(LIMIT, batch(3)));
    let route = queue.join(origin("s"));
    let taking = tokio::spawn({
        let queue = Arc::clone(&queue);
        async move { queue.take().await.unwrap().len() }
    });
    let start = Instant::now();
    (0..5).for_each(|_| queue.push(route, plain(1)));
    assert_eq!(taking.await.unwrap(), 3);
    assert_eq!(start.elapsed(), Duration::ZERO);
    // By bytes as well.
    let queue = self::queue(LIMIT, Limits { bytes: 4096, ..batch(100) });
    let route = queue.join(origin("s"));
    (0..3).for_each(|_| queue.push(route, plain(2000)));
    assert_eq!(queue.take().await.unwrap().len(), 1, "two would be longer than a batch may be");
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn keystrokes_of_a_moment_are_one_event() {
    let queue = queue(LIMIT, batch(100));
    let (one, two) = (queue.join(origin("1")), queue.join(origin("2")));
    for (key, echo) in [(b"l", b"L"), (b"s", b"S")] {
        queue.push(one, contents(0, IoStream::Stdin, key));
        // Another session in between changes nothing.
        queue.push(two, contents(0, IoStream::Stdout, echo));
    }
    queue.push(one, contents(1, IoStream::Stdin, b"other channel"));
    queue.push(one, contents(1, IoStream::Stdout, b"other stream"));
    queue.push(one, plain(1));
    queue.push(one, contents(1, IoStream::Stdout, b"after something else"));
    let items = queue.take().await.unwrap();
    let texts: Vec<_> = items
        .iter()
        .filter(|item| item.event.what.is_contents())
        .map(|item| String::from_utf8_lossy(data(item)).into_owned())
        .collect();
    assert_eq!(texts, ["ls", "LS", "other channel", "other stream", "after something else"]);
    let own: Vec<_> = items.iter().filter(|item| item.route == one).map(|item| item.sequence).collect();
    assert_eq!(own, [1, 2, 3, 4, 5]);
    queue.release(&items);
    assert_eq!(queue.status(), (0, 0, Some(1)));
    queue.sent();
    assert_eq!(queue.status(), (0, 0, None));
}

#[tokio::test(start_paused = true)]
async fn what_is_on_its_way_is_never_added_to() {
    let queue = queue(LIMIT, batch(100));
    let route = queue.join(origin("s"));
    queue.push(route, contents(0, IoStream::Stdin, b"a"));
    let first = queue.take().await.unwrap();
    queue.push(route, contents(0, IoStream::Stdin, b"b"));
    let second = queue.take().await.unwrap();
    assert_eq!((data(&first[0]), data(&second[0])), (&b"a"[..], &b"b"[..]));
    assert_eq!(second[0].sequence, 2);
}

#[tokio::test(start_paused = true)]
async fn contents_are_joined_up_to_a_screenful_and_never_if_they_were_cut() {
    let queue = queue(LIMIT, batch(100));
    let route = queue.join(origin("s"));
    queue.push(route, contents(0, IoStream::Stdout, &[1; JOINED - 1]));
    queue.push(route, contents(0, IoStream::Stdout, &[2; 2]));
    let mut cut = contents(0, IoStream::Stdout, b"cut");
    if let What::Io(contents) = &mut cut.what {
        contents.length = 100;
    }
    queue.push(route, cut);
    queue.push(route, contents(0, IoStream::Stdout, b"next"));
    let lengths: Vec<_> = queue.take().await.unwrap().iter().map(|item| data(item).len()).collect();
    assert_eq!(lengths, [JOINED - 1, 2, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_told_in_its_place_once_half_of_the_queue_is_free() {
    let queue = queue(LIMIT, batch(1));
    let route = queue.join(origin("s"));
    let share = LIMIT / SHARE;
    let size = encode::size(&plain(1000));
    let fitting = share / size;
    for _ in 0..fitting + 4 {
        queue.push(route, plain(1000));
    }
    queue.push(route, contents(0, IoStream::Stdout, &[7; 600]));
    let mut sequences = Vec::new();
    let mut told = None;
    for number in 0..fitting {
        let items = queue.take().await.unwrap();
        sequences.push(items[0].sequence);
        queue.release(&items);
        // An event that comes while there is some room, but less than half, belongs to the gap: a slow target is not
        // told of a new gap each time.
        if number == 0 {
            queue.push(route, plain(1));
        }
    }
    while told.is_none() {
        let items = queue.take().await.unwrap();
        told = Some(items[0].clone());
        queue.release(&items);
    }
    let told = told.unwrap();
    let last = fitting as u64 + 6;
    assert_eq!(sequences, (1..=fitting as u64).collect::<Vec<_>>());
    let expected = Gap { events: 6, bytes: 600, range: Some((fitting as u64 + 1, last)), sessions: 1 };
    assert_eq!((gap(&told), told.sequence), (&expected, last + 1));
    queue.push(route, plain(1));
    assert_eq!(queue.take().await.unwrap()[0].sequence, last + 2);
}

#[test]
fn a_flood_leaves_room_for_other_sessions_and_for_what_happens() {
    let queue = queue(LIMIT, batch(1));
    let mut flooding = Vec::new();
    for number in 0..SHARE {
        let route = queue.join(origin(&number.to_string()));
        (0..1000).for_each(|_| queue.push(route, contents(0, IoStream::Stdout, &[7; 5000])));
        flooding.push(route);
    }
    let (used, ..) = queue.status();
    assert!(used <= LIMIT / 4 * 3 && used > LIMIT / 2, "{used}");
    let quiet = queue.join(origin("quiet"));
    queue.push(quiet, plain(100));
    assert_eq!(queue.inner().routes[&quiet].gap, None);
    assert!(flooding.iter().all(|route| queue.inner().routes[route].held <= LIMIT / SHARE));
}

#[tokio::test(start_paused = true)]
async fn gaps_of_sessions_that_are_over_are_told_too_and_bounded() {
    let queue = queue(LIMIT, batch(10_000));
    let full = queue.join(origin("full"));
    // Something to be taken, so that the queue is never relieved.
    let mut filler = Vec::new();
    for number in 0..SHARE {
        let route = queue.join(origin(&number.to_string()));
        (0..200).for_each(|_| queue.push(route, plain(200)));
        filler.push(route);
    }
    assert!(queue.status().0 > LIMIT / 4 * 3);
    for number in 0..UNTOLD + 10 {
        let route = queue.join(origin(&format!("late {number}")));
        queue.push(route, contents(0, IoStream::Stdin, &[1; 1000]));
        queue.leave(route);
    }
    assert!(queue.inner().gaps.len() <= UNTOLD);
    queue.leave(full);
    queue.close();
    let (mut sessions, mut anonymous) = (0, 0);
    while let Some(items) = queue.take().await {
        for item in items.iter().filter(|item| matches!(item.event.what, What::Gap(_))) {
            match gap(item).range {
                Some(_) => sessions += 1,
                None => anonymous += gap(item).sessions,
            }
        }
        queue.release(&items);
    }
    // Those of the fillers are among them.
    assert_eq!(sessions + anonymous, UNTOLD as u64 + 10 + SHARE as u64);
    assert!(anonymous >= 10, "{anonymous}");
    for route in filler {
        queue.leave(route);
    }
    assert_eq!(queue.inner().routes.len(), 1, "nothing is kept of sessions that are over and told");
}

#[tokio::test(start_paused = true)]
async fn a_closed_queue_ends_when_it_is_empty_and_drops_what_comes_late() {
    let queue = queue(LIMIT, batch(10));
    let route = queue.join(origin("s"));
    queue.push(route, plain(1));
    queue.close();
    queue.push(route, plain(1));
    let start = Instant::now();
    assert_eq!(queue.take().await.unwrap().len(), 1);
    assert!(queue.take().await.is_none());
    assert_eq!(start.elapsed(), Duration::ZERO, "nothing waits for company any more");
}

#[derive(Debug, Clone)]
enum Step {
    Push { session: usize, length: usize, contents: bool },
    Take,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let push = (0..3_usize, 0..6000_usize, any::<bool>())
        .prop_map(|(session, length, contents)| Step::Push { session, length, contents });
    prop::collection::vec(prop_oneof![4 => push, 1 => Just(Step::Take)], 0..400)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever comes and goes: events of a session arrive in order, each number is an event or in a told gap, each byte
    /// of contents is in an event or counted in a gap, and the bound holds.
    #[test]
    fn every_number_is_an_event_or_told_to_be_missing(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let queue = queue(LIMIT, batch(7));
            let routes: Vec<_> = (0..3).map(|number| queue.join(origin(&number.to_string()))).collect();
            let (mut pushed, mut got): (HashMap<_, u64>, Vec<Item>) = (HashMap::new(), Vec::new());
            for step in steps {
                match step {
                    Step::Push { session, length, contents } => {
                        let route = routes[session];
                        let event = if contents {
                            *pushed.entry(route).or_default() += length as u64;
                            self::contents(0, IoStream::Stdout, &vec![7; length])
                        } else {
                            plain(length)
                        };
                        queue.push(route, event);
                    }
                    Step::Take if queue.status().1 > 0 => {
                        let items = queue.take().await.unwrap();
                        queue.release(&items);
                        got.extend(items);
                    }
                    Step::Take => {}
                }
                // A gap may be told beyond the limit of half by its own few bytes only.
                assert!(queue.status().0 <= LIMIT);
            }
            queue.close();
            while let Some(items) = queue.take().await {
                queue.release(&items);
                got.extend(items);
            }
            assert_eq!(queue.status().0, 0);
            for route in routes {
                let (mut next, mut bytes) = (1, 0);
                for item in got.iter().filter(|item| item.route == route) {
                    if let What::Gap(gap) = &item.event.what {
                        let (first, last) = gap.range.unwrap();
                        assert_eq!((first, last - first + 1), (next, gap.events));
                        next = last + 1;
                        bytes += gap.bytes;
                    }
                    bytes += item.event.what.content_bytes();
                    assert_eq!(item.sequence, next);
                    next += 1;
                }
                assert_eq!(bytes, pushed.get(&route).copied().unwrap_or_default());
            }
        });
    }
}
