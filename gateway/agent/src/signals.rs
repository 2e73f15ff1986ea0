//! Signals by their names of RFC 4254 section 6.10 and by their numbers.

use std::sync::Arc;

use containerssh_backend as backend;
use rustix::process::Signal;

/// In the order of the names' section of the RFC.
const SIGNALS: [(&str, Signal); 13] = [
    ("ABRT", Signal::ABORT),
    ("ALRM", Signal::ALARM),
    ("FPE", Signal::FPE),
    ("HUP", Signal::HUP),
    ("ILL", Signal::ILL),
    ("INT", Signal::INT),
    ("KILL", Signal::KILL),
    ("PIPE", Signal::PIPE),
    ("QUIT", Signal::QUIT),
    ("SEGV", Signal::SEGV),
    ("TERM", Signal::TERM),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
];

/// What the kernel knows a signal as; `None` for none, which a [`backend::Signal`] is not.
pub(crate) fn number(signal: backend::Signal) -> Option<Signal> {
    SIGNALS.iter().find(|(name, _)| *name == signal.name()).map(|(_, number)| *number)
}

/// The name of a signal that ended a program. What the RFC has no name for is `SIG@openssh.com`, as with sshd.
pub(crate) fn name(number: i32) -> &'static str {
    SIGNALS.iter().find(|(_, signal)| signal.as_raw() == number).map_or("SIG@openssh.com", |(name, _)| *name)
}

/// Makes what this process becomes by `exec` heed every signal. What whoever started the gateway ignored (a shell's `&` does that
/// with `INT`) would stay ignored in users' programs, and no shell can undo it. A signal that is caught is not:
/// `exec` sets it back to its default.
pub(crate) fn stop_ignoring() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    for signal in ignored(&status) {
        // Those that cannot be caught cannot be ignored either.
        let _ = signal_hook::flag::register(signal, Arc::default());
    }
}

/// Numbers of the signals that a process with this `/proc/PID/status` (proc(5)) ignores.
fn ignored(status: &str) -> impl Iterator<Item = i32> {
    /// Standard signals; real-time ones are nobody's to ignore.
    const LAST: i32 = 31;
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    // Faults are the program's own: signal-hook refuses to look at them.
    let faults = [Signal::ILL, Signal::FPE, Signal::SEGV].map(Signal::as_raw);
    (1..=LAST).filter(move |signal| mask >> (signal - 1) & 1 == 1 && !faults.contains(signal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_processs_status() {
        let status = "Name:\tx\nSigBlk:\tffffffffffffffff\nSigIgn:\t0000000000001006\nSigCgt:\t0\n";
        assert_eq!(ignored(status).collect::<Vec<_>>(), [2, 3, 13]);
        assert_eq!(ignored("").count(), 0);
    }

    #[test]
    fn every_name_has_a_number_and_back() {
        for (known, _) in SIGNALS {
            let signal = backend::Signal::parse(known).unwrap();
            assert_eq!(name(number(signal).unwrap().as_raw()), known);
        }
        assert_eq!(name(Signal::BUS.as_raw()), "SIG@openssh.com");
    }
}
