//! `play`: a recorded session in the terminal, as its user saw it.
//!
//! ```text
//! log ─► TapeWriter ─► Tape ─► Deck (screen, position, snapshots) ─► Painter ─► terminal
//!                                ▲ wishes (keys), time
//! ```
//! [`deck`] knows what is shown when, and nothing of terminals; [`terminal`] knows terminals, and nothing of sessions; the loop
//! below lets them meet. What stands on the viewer's terminal is drawn anew from the model ([`paint`]): no byte of the
//! session reaches it as it was recorded.

mod deck;
mod keys;
mod paint;
mod plain;
mod session;
mod start;
mod tape;
mod terminal;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use crate::convert::choose_to_watch;
use crate::error::ToolError;
use crate::input::{Input, SourceArgs};
use crate::outcome::Outcome;
use crate::output::Output;
use crate::progress::Progress;

use deck::{Deck, Jump};
use keys::{HELP, Wish};
use paint::Painter;
use session::Session;
use start::StartAt;
use tape::{Tape, What};
use terminal::{Event, Terminal};

/// While playing, the clock in the status line moves this often.
const TICK: Duration = Duration::from_millis(100);
/// Screens drawn at most: as often as most displays can show.
const FRAME: Duration = Duration::from_millis(16);
/// The fastest and slowest that keys and options can make it.
const SPEEDS: std::ops::RangeInclusive<f64> = 1.0 / 64.0..=1024.0;
/// What the key for idle time switches on if no limit was given, in nanoseconds.
const USUAL_IDLE: u64 = 2_000_000_000;

/// The arguments of `play`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Keys: space pauses; left and right jump 5 seconds, page up and down a minute, 0 to 9 to that tenth; \
                        . and , step from change to change; + and - change the speed; i switches the idle limit; \
                        q quits.\n\nWithout a terminal to show it on, the text is printed as lines, in its time."
)]
pub(crate) struct PlayArgs {
    /// The log to play; - for standard input
    #[arg(value_name = "LOG")]
    log: OsString,

    /// The channel to play, if more than one ran a program
    #[arg(long, value_name = "N")]
    channel: Option<u64>,

    /// Times as fast as it happened
    #[arg(long, short, value_name = "FACTOR", default_value = "1", value_parser = speed)]
    speed: f64,

    /// Wait at most this long where nothing happens, such as 2s, 500ms or 1.5
    #[arg(long, short = 'i', value_name = "TIME", value_parser = start::duration)]
    idle_limit: Option<u64>,

    /// Where to start: from the beginning (90s, 1:30, 1:02:03), or at a moment (2026-11-21T09:45:38Z)
    #[arg(long, value_name = "TIME")]
    start_at: Option<StartAt>,

    /// End when the session ends, instead of waiting for a key
    #[arg(long)]
    quit_at_end: bool,

    #[command(flatten)]
    source: SourceArgs,
}

fn speed(text: &str) -> Result<f64, String> {
    let speed: f64 =
        text.trim_end_matches('x').parse().map_err(|_| "not a number, such as 2 or 0.5".to_owned())?;
    if SPEEDS.contains(&speed) { Ok(speed) } else { Err("between 0.016 and 1024".to_owned()) }
}

/// Runs the subcommand.
pub(crate) fn run(args: &PlayArgs, output: &mut Output) -> Result<Outcome, ToolError> {
    let mut input = Input::open(&args.log, &args.source)?.seekable()?;
    let progress = Progress::start(std::slice::from_ref(&args.log));
    input.watch(&progress);
    let channel = choose_to_watch(&mut input, args.channel)?;
    drop(progress);
    let progress = Progress::start(std::slice::from_ref(&args.log));
    input.watch(&progress);
    let (session, tape, places) = session::read(&mut input, channel)?;
    drop(progress);
    let start = args.start_at.map_or(0, |at| at.from(tape.start));
    match tty().filter(|_| io::stdout().is_terminal()) {
        Some(tty) => {
            let mut deck = Deck::new(tape, args.speed, args.idle_limit);
            deck.jump(Jump::To(start)).map_err(ToolError::Spool)?;
            Player::new(deck, session, tty, args)?.run()?;
        }
        None => print(tape, start, args, output)?,
    }
    Ok(Outcome::of_places(places))
}

/// The terminal itself: keys are read from it even where standard input is the log.
fn tty() -> Option<File> {
    File::options().read(true).write(true).open("/dev/tty").ok()
}

/// A deck with a screen and buttons.
struct Player {
    deck: Deck,
    session: Session,
    terminal: Terminal,
    painter: Painter,
    quit_at_end: bool,
    idle_limit: u64,
    help: bool,
}

impl Player {
    fn new(deck: Deck, session: Session, tty: File, args: &PlayArgs) -> Result<Self, ToolError> {
        Ok(Self {
            deck,
            session,
            terminal: Terminal::take(tty).map_err(ToolError::Terminal)?,
            painter: Painter::default(),
            quit_at_end: args.quit_at_end,
            idle_limit: args.idle_limit.unwrap_or(USUAL_IDLE),
            help: false,
        })
    }

    fn run(mut self) -> Result<(), ToolError> {
        let mut last = Instant::now();
        loop {
            self.paint().map_err(ToolError::Terminal)?;
            if self.quit_at_end && self.deck.ended() {
                return Ok(());
            }
            // Without a limit where nothing moves. The clock moves while it plays.
            let rest = self.deck.rests_for().map_err(ToolError::Spool)?;
            let timeout = match rest {
                Some(Duration::ZERO) if self.deck.is_winding() => Some(Duration::ZERO),
                rest => rest.map(|rest| rest.clamp(FRAME, TICK)),
            };
            let event = self.terminal.wait(timeout).map_err(ToolError::Terminal)?;
            let now = Instant::now();
            self.deck.advance(now.duration_since(last)).map_err(ToolError::Spool)?;
            last = now;
            match event {
                Event::Time => {}
                Event::Resized => self.painter.forget(),
                Event::Stop => {
                    self.suspend()?;
                    last = Instant::now();
                }
                Event::End(None) => return Ok(()),
                Event::End(Some(signal)) => {
                    return self.terminal.end_by(signal).map_err(ToolError::Terminal);
                }
                Event::Keys(typed) => {
                    for wish in keys::wishes(&typed) {
                        match wish {
                            Wish::Quit => return Ok(()),
                            Wish::Suspend => {
                                self.suspend()?;
                                last = Instant::now();
                            }
                            wish => self.fulfil(wish).map_err(ToolError::Spool)?,
                        }
                    }
                }
            }
        }
    }

    fn fulfil(&mut self, wish: Wish) -> io::Result<()> {
        let deck = &mut self.deck;
        match wish {
            // Playing on from the end is playing again.
            Wish::Pause if deck.ended() => {
                deck.paused = false;
                deck.jump(Jump::To(0))?;
            }
            Wish::Pause => deck.paused = !deck.paused,
            Wish::Jump(jump) => deck.jump(jump)?,
            Wish::Step => deck.step()?,
            Wish::StepBack => deck.step_back()?,
            Wish::Faster => deck.speed = (deck.speed * 2.0).min(*SPEEDS.end()),
            Wish::Slower => deck.speed = (deck.speed / 2.0).max(*SPEEDS.start()),
            Wish::Idle => {
                deck.idle_limit = deck.idle_limit.is_none().then_some(self.idle_limit);
            }
            Wish::Redraw => self.painter.forget(),
            Wish::Help => self.help = !self.help,
            Wish::Quit | Wish::Suspend => {}
        }
        Ok(())
    }

    fn suspend(&mut self) -> Result<(), ToolError> {
        self.painter.forget();
        self.terminal.suspend().map_err(ToolError::Terminal)
    }

    fn paint(&mut self) -> io::Result<()> {
        let size = self.terminal.size();
        let status = if self.help { format!(" {HELP}") } else { self.session.status(&self.deck, size) };
        let output = self.painter.paint(&self.deck.screen, &status, size);
        self.terminal.write(output.as_bytes())
    }
}

/// The text as lines, in its time.
fn print(mut tape: Tape, start: u64, args: &PlayArgs, output: &mut Output) -> Result<(), ToolError> {
    let (mut position, mut filter, mut text) = (start, plain::Filter::default(), String::new());
    while let Some(event) = tape.read().map_err(ToolError::Spool)? {
        let What::Output(printed) = event.what else { continue };
        // What is skipped is filtered all the same: a sequence may begin in it.
        filter.push(&printed, &mut text);
        if event.time >= start {
            std::thread::sleep(plain::pause(event.time - position, args.speed, args.idle_limit));
            position = event.time;
            output.write(text.as_bytes())?;
            output.flush()?;
        }
        text.clear();
    }
    Ok(())
}
