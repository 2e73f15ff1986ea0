//! What is played where: the tape, the screen, and the position.
//!
//! Pure: time comes in as durations. Going back is going forth again from a snapshot of the screen that was taken on the way;
//! snapshots are as many as fit a fixed memory, evenly spread over what has been played.

use std::io;
use std::time::Duration;

use crate::screen::{Screen, Snapshot};

use super::tape::{Tape, What};

/// Bytes of tape between two snapshots at first: a few milliseconds of replaying.
const SPACING: u64 = 256 << 10;
/// Memory for snapshots, in bytes. When they need more, every second is given up.
const MAX_SNAPSHOTS: usize = 64 << 20;
/// Bytes of tape that are played at once. Then keys are looked at again.
const STRIDE: u64 = 2 << 20;

/// Where a jump goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Jump {
    /// Nanoseconds forward or back.
    By(i64),
    /// Tenths of the whole.
    Tenth(u8),
    /// Nanoseconds from the start.
    To(u64),
    End,
}

/// A player without buttons.
pub(crate) struct Deck {
    tape: Tape,
    pub(crate) screen: Screen,
    /// Nanoseconds since the start.
    position: u64,
    /// Time of the last event that is on the screen.
    shown: u64,
    /// A jump under way.
    target: Option<u64>,
    pub(crate) paused: bool,
    /// Times as fast as it happened.
    pub(crate) speed: f64,
    /// The longest time that nothing happens, in nanoseconds.
    pub(crate) idle_limit: Option<u64>,
    snapshots: Vec<Mark>,
    spacing: u64,
}

/// A place on the tape and what was on the screen there.
struct Mark {
    offset: u64,
    shown: u64,
    snapshot: Snapshot,
}

impl Deck {
    pub(crate) fn new(tape: Tape, speed: f64, idle_limit: Option<u64>) -> Self {
        let screen = Screen::new(tape.first_size.0, tape.first_size.1);
        let first = Mark { offset: tape.offset(), shown: 0, snapshot: screen.snapshot() };
        Self {
            tape,
            screen,
            position: 0,
            shown: 0,
            target: None,
            paused: false,
            speed,
            idle_limit,
            snapshots: vec![first],
            spacing: SPACING,
        }
    }

    /// Nanoseconds since the start.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Nanoseconds from start to end.
    pub(crate) fn duration(&self) -> u64 {
        self.tape.duration
    }

    /// When it started, in nanoseconds since 1970.
    pub(crate) fn start(&self) -> u64 {
        self.tape.start
    }

    /// There is nothing more to play.
    pub(crate) fn ended(&self) -> bool {
        self.target.is_none() && self.position >= self.tape.duration
    }

    /// A jump is under way: [`advance`](Self::advance) is to be called without waiting.
    pub(crate) fn is_winding(&self) -> bool {
        self.target.is_some()
    }

    /// How long nothing will change if nobody interferes; `None` if for ever.
    pub(crate) fn rests_for(&mut self) -> io::Result<Option<Duration>> {
        if self.is_winding() {
            return Ok(Some(Duration::ZERO));
        }
        if self.paused || self.ended() {
            return Ok(None);
        }
        let next = self.tape.peek_time()?.unwrap_or(self.tape.duration);
        let wait = next.saturating_sub(self.position) as f64 / self.rate(next);
        // Rounded up: to wake before the time would be to wake twice.
        Ok(Some(Duration::from_nanos(wait.ceil() as u64)))
    }

    /// Lets this much time of the viewer pass.
    pub(crate) fn advance(&mut self, elapsed: Duration) -> io::Result<()> {
        if let Some(target) = self.target {
            if self.play_to(target, self.tape.offset())? {
                self.target = None;
            }
            return Ok(());
        }
        let from = self.tape.offset();
        let mut left = elapsed.as_nanos() as f64;
        while !self.paused && !self.ended() && left > 0.0 {
            let next = self.tape.peek_time()?.unwrap_or(self.tape.duration);
            let rate = self.rate(next);
            let needed = next.saturating_sub(self.position) as f64 / rate;
            if needed > left {
                self.position += (left * rate) as u64;
                break;
            }
            left -= needed;
            // More than can be shown meanwhile: what is left over is not caught up with.
            if !self.play_to(next, from)? {
                break;
            }
        }
        Ok(())
    }

    /// Nanoseconds of the session per nanosecond of the viewer, until the next event.
    fn rate(&self, next: u64) -> f64 {
        let gap = next.saturating_sub(self.shown) as f64;
        let hurry = match self.idle_limit {
            Some(limit) if gap > limit as f64 => gap / (limit as f64).max(1.0),
            _ => 1.0,
        };
        self.speed * hurry
    }

    /// Starts to go somewhere else.
    pub(crate) fn jump(&mut self, jump: Jump) -> io::Result<()> {
        let duration = self.tape.duration;
        let target = match jump {
            Jump::By(by) => self.target.unwrap_or(self.position).saturating_add_signed(by),
            Jump::Tenth(tenth) => duration / 10 * u64::from(tenth),
            Jump::To(to) => to,
            Jump::End => duration,
        };
        let target = target.min(duration);
        if target < self.shown {
            self.rewind(|mark| mark.shown <= target)?;
        }
        self.position = self.position.min(target);
        self.target = Some(target);
        // Most jumps are done with this. Keys that were typed fast build on each other.
        self.advance(Duration::ZERO)
    }

    /// Goes to the next moment at which something changes.
    pub(crate) fn step(&mut self) -> io::Result<()> {
        self.paused = true;
        let next = self.tape.peek_time()?.unwrap_or(self.tape.duration);
        self.jump(Jump::To(next))
    }

    /// Goes to the moment before at which something changed.
    pub(crate) fn step_back(&mut self) -> io::Result<()> {
        self.paused = true;
        let (shown, mut before) = (self.shown, 0);
        self.rewind(|mark| mark.shown < shown)?;
        while let Some(time) = self.tape.peek_time()?.filter(|time| *time < shown) {
            before = time;
            self.play_one()?;
        }
        self.jump(Jump::To(before))
    }

    /// Goes to the last mark that is as wanted; the first always is good enough.
    fn rewind(&mut self, wanted: impl Fn(&Mark) -> bool) -> io::Result<()> {
        let before = self.snapshots.partition_point(wanted);
        let Some(mark) = self.snapshots.get(before.saturating_sub(1)) else { return Ok(()) };
        self.tape.wind(mark.offset)?;
        self.screen = Screen::from(&mark.snapshot);
        self.shown = mark.shown;
        self.position = mark.shown;
        Ok(())
    }

    /// Shows what happened up to this time. False if that was more than a stride from this offset and there is more.
    fn play_to(&mut self, time: u64, from: u64) -> io::Result<bool> {
        while self.tape.peek_time()?.is_some_and(|next| next <= time) {
            if self.tape.offset() - from > STRIDE {
                self.position = self.shown;
                return Ok(false);
            }
            self.play_one()?;
        }
        self.position = time;
        Ok(true)
    }

    fn play_one(&mut self) -> io::Result<()> {
        self.mark();
        let Some(event) = self.tape.read()? else { return Ok(()) };
        match event.what {
            What::Output(text) => self.screen.feed(&text),
            What::Size(columns, rows) => self.screen.resize(columns, rows),
        }
        self.shown = event.time;
        Ok(())
    }

    /// Remembers the screen if the last mark is far behind.
    fn mark(&mut self) {
        let offset = self.tape.offset();
        if self.snapshots.last().is_some_and(|last| offset < last.offset + self.spacing) {
            return;
        }
        self.snapshots.push(Mark { offset, shown: self.shown, snapshot: self.screen.snapshot() });
        let weight: usize = self.snapshots.iter().map(|mark| mark.snapshot.weight()).sum();
        if weight > MAX_SNAPSHOTS {
            let mut keep = false;
            self.snapshots.retain(|_| {
                keep = !keep;
                keep
            });
            self.spacing *= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tape::tests::{message, out, pty, shell, tape, window};
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn text(deck: &Deck) -> String {
        let lines = deck.screen.lines().map(|line| line.text().trim_end().to_owned());
        lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("|")
    }

    fn settle(deck: &mut Deck) {
        while deck.is_winding() {
            deck.advance(Duration::ZERO).unwrap();
        }
    }

    fn jumped(deck: &mut Deck, jump: Jump) -> String {
        deck.jump(jump).unwrap();
        settle(deck);
        text(deck)
    }

    /// a after 1 s, b after 2 s, c after an hour, a smaller window, d; the end ten seconds later.
    fn deck(speed: f64, idle_limit: Option<u64>) -> Deck {
        let messages = [
            message(0, pty(20, 5)),
            message(0, shell()),
            message(1_000, out(b"a\r\n")),
            message(2_000, out(b"b\r\n")),
            message(3_600_000, out(b"c\r\n")),
            message(3_601_000, window(10, 4)),
            message(3_602_000, out(b"d")),
            message(3_612_000, containerssh_auditlog::Payload::Close),
        ];
        Deck::new(tape(&messages), speed, idle_limit)
    }

    #[test]
    fn it_plays_as_fast_as_it_happened() {
        let mut deck = deck(1.0, None);
        assert_eq!(deck.rests_for().unwrap(), Some(Duration::from_secs(1)));
        deck.advance(Duration::from_millis(999)).unwrap();
        assert_eq!(text(&deck), "");
        deck.advance(Duration::from_millis(1)).unwrap();
        assert_eq!(text(&deck), "a");
        deck.advance(Duration::from_secs(1)).unwrap();
        assert_eq!(text(&deck), "a|b");
        assert_eq!(deck.rests_for().unwrap(), Some(Duration::from_secs(3_598)));
    }

    #[test]
    fn speed_and_idle_limit_shorten_the_wait_but_not_the_position() {
        let mut deck = deck(2.0, Some(4 * SECOND));
        deck.advance(Duration::from_secs(1)).unwrap();
        assert_eq!(text(&deck), "a|b");
        assert_eq!(deck.rests_for().unwrap(), Some(Duration::from_secs(2)));
        deck.advance(Duration::from_secs(1)).unwrap();
        assert_eq!(deck.position(), 2 * SECOND + 3_598 * SECOND / 2);
        deck.advance(Duration::from_secs(1)).unwrap();
        assert_eq!((text(&deck), deck.position()), ("a|b|c".to_owned(), 3_600 * SECOND));
    }

    #[test]
    fn a_pause_stands_still_and_the_end_is_the_end() {
        let mut deck = deck(1.0, Some(SECOND));
        deck.paused = true;
        assert_eq!(deck.rests_for().unwrap(), None);
        deck.advance(Duration::from_secs(100)).unwrap();
        assert_eq!((text(&deck), deck.position()), (String::new(), 0));
        deck.paused = false;
        deck.advance(Duration::from_secs(100)).unwrap();
        assert!(deck.ended());
        assert_eq!(deck.position(), 3_612 * SECOND);
        assert_eq!(deck.rests_for().unwrap(), None);
    }

    #[test]
    fn every_jump_shows_the_screen_of_its_moment() {
        let mut deck = deck(1.0, None);
        assert_eq!(jumped(&mut deck, Jump::End), "a|b|c|d");
        assert_eq!(deck.screen.size(), (10, 4));
        assert_eq!(jumped(&mut deck, Jump::Tenth(5)), "a|b");
        assert_eq!(deck.screen.size(), (20, 5));
        assert_eq!(jumped(&mut deck, Jump::By(-(3_600 * SECOND as i64))), "");
        assert_eq!(jumped(&mut deck, Jump::By(SECOND as i64)), "a");
        assert_eq!(jumped(&mut deck, Jump::To(u64::MAX)), "a|b|c|d");
        assert_eq!(deck.position(), deck.duration());
    }

    #[test]
    fn steps_go_from_change_to_change_both_ways() {
        let mut deck = deck(1.0, None);
        let mut seen = Vec::new();
        let mut look = |deck: &mut Deck| {
            settle(deck);
            seen.push(format!("{} {:?}", text(deck), deck.screen.size()));
        };
        for _ in 0..5 {
            deck.step().unwrap();
            look(&mut deck);
        }
        for _ in 0..4 {
            deck.step_back().unwrap();
            look(&mut deck);
        }
        let forth = ["a (20, 5)", "a|b (20, 5)", "a|b|c (20, 5)", "a|b|c (10, 4)", "a|b|c|d (10, 4)"];
        assert_eq!(seen[..5], forth);
        assert_eq!(seen[5..], ["a|b|c (10, 4)", "a|b|c (20, 5)", "a|b (20, 5)", "a (20, 5)"]);
        assert!(deck.paused);
    }

    /// Enough output for many snapshots, so that jumps start from each of them.
    #[test]
    fn jumps_in_a_long_session_show_what_playing_shows() {
        let line = "x".repeat(70);
        let mut messages = vec![message(0, pty(80, 24)), message(0, shell())];
        for number in 0..20_000_u64 {
            messages.push(message(number, out(format!("{number} {line}\r\n").as_bytes())));
        }
        let mut deck = Deck::new(tape(&messages), 1.0, None);
        jumped(&mut deck, Jump::End);
        assert!(deck.snapshots.len() > 4, "{}", deck.snapshots.len());
        for number in [19_999_u64, 3, 12_345, 777, 19_998, 0] {
            let shown = jumped(&mut deck, Jump::To(number * 1_000_000));
            assert!(shown.ends_with(&format!("{number} {line}")), "{number}");
        }
    }

    #[test]
    fn snapshots_are_thinned_out_instead_of_growing() {
        let mut deck = deck(1.0, None);
        deck.spacing = 0;
        let full = "\u{6f22}".repeat(480_000);
        deck.screen.resize(1_000, 500);
        deck.screen.feed(&full);
        for _ in 0..200 {
            deck.mark();
        }
        let weight: usize = deck.snapshots.iter().map(|mark| mark.snapshot.weight()).sum();
        assert!(weight <= MAX_SNAPSHOTS && deck.snapshots.len() > 1, "{weight}");
    }
}
