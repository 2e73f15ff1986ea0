//! Signals by their names of RFC 4254 section 6.10 and by their numbers.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_number_and_back() {
        for (known, _) in SIGNALS {
            let signal = backend::Signal::parse(known).unwrap();
            assert_eq!(name(number(signal).unwrap().as_raw()), known);
        }
        assert_eq!(name(Signal::BUS.as_raw()), "SIG@openssh.com");
    }
}
