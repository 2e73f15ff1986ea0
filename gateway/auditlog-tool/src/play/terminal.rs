//! The viewer's terminal: taken over, waited on, and given back as it was, whatever ends the player.
//!
//! It is given back by [`Drop`], before the message of a panic, and before a signal does what it does by default. Only
//! SIGKILL leaves it as it is; `reset` helps then, as with every full-screen program.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGWINCH};
use signal_hook::{flag, low_level};

/// Alternate screen, no line wrapping: the player places every line itself.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?7l\x1b[2J";
/// Colours, cursor and wrapping as everybody expects them, and the screen that was there before.
const LEAVE: &[u8] = b"\x1b[0m\x1b[?25h\x1b[?7h\x1b[?1049l";
/// Bytes of keys read at once.
const KEYS: usize = 1024;
/// The size of a terminal that does not know its own, as through a serial line.
const USUAL_SIZE: (usize, usize) = (80, 24);

/// Why waiting is over.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Time,
    Keys(Vec<u8>),
    Resized,
    /// Another process asks the player to stop until it is continued.
    Stop,
    /// The player is to end; by this signal, or because the terminal is gone.
    End(Option<i32>),
}

/// A terminal that shows a player.
pub(crate) struct Terminal {
    tty: Arc<Tty>,
    signals: Signals,
    keys: File,
}

impl Terminal {
    /// Takes over the terminal that `tty` is open on, for reading and writing.
    ///
    /// # Errors
    /// If it is none, or signals cannot be handled.
    pub(crate) fn take(tty: File) -> io::Result<Self> {
        let keys = tty.try_clone()?;
        let signals = Signals::register()?;
        let tty = Arc::new(Tty { saved: tcgetattr(&tty)?, file: tty, taken: AtomicBool::new(false) });
        tty.enter()?;
        // From here on there is a terminal, which gives it back when it is dropped.
        let terminal = Self { tty: Arc::clone(&tty), signals, keys };
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            tty.leave();
            previous(info);
        }));
        Ok(terminal)
    }

    /// Columns and rows.
    pub(crate) fn size(&self) -> (usize, usize) {
        match tcgetwinsize(&self.tty.file) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
            _ => USUAL_SIZE,
        }
    }

    /// Writes to the terminal.
    pub(crate) fn write(&self, data: &[u8]) -> io::Result<()> {
        (&self.tty.file).write_all(data)
    }

    /// Waits for keys or a signal, at most this long; for ever if `None`.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<Event> {
        // More than the type can tell is as good as for ever.
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut sources =
            [PollFd::new(&self.keys, PollFlags::IN), PollFd::new(&self.signals.wake, PollFlags::IN)];
        match poll(&mut sources, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = !sources.iter().take(1).all(|keys| keys.revents().is_empty());
        if let Some(event) = self.signals.take() {
            return Ok(event);
        }
        if !ready {
            return Ok(Event::Time);
        }
        let mut keys = [0; KEYS];
        match self.keys.read(&mut keys) {
            Ok(length) if length > 0 => Ok(Event::Keys(keys.iter().take(length).copied().collect())),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Event::Time),
            // End of file or an error: the window was closed.
            _ => Ok(Event::End(None)),
        }
    }

    /// Gives the terminal back until the process is continued.
    pub(crate) fn suspend(&self) -> io::Result<()> {
        self.tty.leave();
        low_level::emulate_default_handler(SIGTSTP)?;
        self.tty.enter()
    }

    /// Gives the terminal back, then does what the signal does by default: ends the process.
    pub(crate) fn end_by(self, signal: i32) -> io::Result<()> {
        drop(self);
        low_level::emulate_default_handler(signal)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tty.leave();
        // A thread that panics cannot change the hook, and its process ends.
        if !std::thread::panicking() {
            drop(panic::take_hook());
        }
    }
}

struct Tty {
    file: File,
    saved: Termios,
    taken: AtomicBool,
}

impl Tty {
    fn enter(&self) -> io::Result<()> {
        self.taken.store(true, Ordering::SeqCst);
        let mut raw = self.saved.clone();
        raw.make_raw();
        tcsetattr(&self.file, OptionalActions::Flush, &raw)?;
        (&self.file).write_all(ENTER)
    }

    /// As it was. Where that fails the terminal is gone, and nothing can be done. Only once: what was printed after it must not be
    /// written over.
    fn leave(&self) {
        if !self.taken.swap(false, Ordering::SeqCst) {
            return;
        }
        let _ = (&self.file).write_all(LEAVE);
        let _ = tcsetattr(&self.file, OptionalActions::Flush, &self.saved);
    }
}

/// Signals, noted when they come and waited for with everything else.
struct Signals {
    wake: UnixStream,
    end: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    resized: Arc<AtomicBool>,
    registered: Vec<signal_hook::SigId>,
}

impl Signals {
    fn register() -> io::Result<Self> {
        let (wake, waker) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let mut signals = Self {
            wake,
            end: Arc::default(),
            stop: Arc::default(),
            resized: Arc::default(),
            registered: Vec::new(),
        };
        for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
            let number = usize::try_from(signal).map_err(io::Error::other)?;
            signals.registered.push(flag::register_usize(signal, Arc::clone(&signals.end), number)?);
        }
        signals.registered.push(flag::register(SIGTSTP, Arc::clone(&signals.stop))?);
        signals.registered.push(flag::register(SIGWINCH, Arc::clone(&signals.resized))?);
        // After the notes: who is woken finds them.
        for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGWINCH] {
            signals.registered.push(low_level::pipe::register(signal, waker.try_clone()?)?);
        }
        Ok(signals)
    }

    fn take(&mut self) -> Option<Event> {
        let mut drained = [0; 64];
        while self.wake.read(&mut drained).is_ok_and(|length| length > 0) {}
        match self.end.swap(0, Ordering::SeqCst) {
            0 => {}
            signal => return Some(Event::End(i32::try_from(signal).ok())),
        }
        if self.stop.swap(false, Ordering::SeqCst) {
            return Some(Event::Stop);
        }
        self.resized.swap(false, Ordering::SeqCst).then_some(Event::Resized)
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.registered.drain(..).for_each(|id| _ = low_level::unregister(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::LocalModes;
    use std::sync::{Mutex, MutexGuard, PoisonError};

    /// There is one panic hook in a process: one test at a time.
    static HOOK: Mutex<()> = Mutex::new(());

    fn alone() -> MutexGuard<'static, ()> {
        HOOK.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pseudoterminal() -> (File, File) {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let name = ptsname(&controller, Vec::new()).unwrap();
        let tty = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        (File::from(controller), tty)
    }

    fn written(controller: &mut File, expected: &[u8]) {
        let mut written = vec![0; expected.len()];
        controller.read_exact(&mut written).unwrap();
        assert_eq!(written, expected);
    }

    fn is_raw(tty: &File) -> bool {
        !tcgetattr(tty)
            .unwrap()
            .local_modes
            .intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    #[test]
    fn a_panic_gives_the_terminal_back_before_it_is_reported() {
        let _alone = alone();
        let (mut controller, tty) = pseudoterminal();
        let terminal = Terminal::take(tty.try_clone().unwrap()).unwrap();
        written(&mut controller, ENTER);
        assert!(is_raw(&tty));
        let died = std::thread::spawn(move || {
            let _terminal = terminal;
            panic!("on purpose");
        });
        assert!(died.join().is_err());
        written(&mut controller, LEAVE);
        assert!(!is_raw(&tty));
        // The hook holds the terminal as well.
        drop((tty, panic::take_hook()));
        assert_eq!(controller.read(&mut [0; 64]).unwrap_or(0), 0, "it is given back once");
    }

    #[test]
    fn keys_are_keys_and_a_closed_window_is_the_end() {
        let _alone = alone();
        let (mut controller, tty) = pseudoterminal();
        let mut terminal = Terminal::take(tty).unwrap();
        assert_eq!(terminal.wait(Some(Duration::ZERO)).unwrap(), Event::Time);
        // Control-C as well: nothing is left to the line discipline.
        controller.write_all(b"q\x03").unwrap();
        assert_eq!(terminal.wait(None).unwrap(), Event::Keys(b"q\x03".to_vec()));
        drop(controller);
        assert_eq!(terminal.wait(None).unwrap(), Event::End(None));
    }

    #[test]
    fn what_is_no_terminal_is_left_alone() {
        assert!(Terminal::take(tempfile::tempfile().unwrap()).is_err());
    }
}
