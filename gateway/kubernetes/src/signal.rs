//! Delivers a signal by a second exec: the remote command protocol has none.

use containerssh_backend::{BackendError, Signal};

use crate::exec::{self, Finished, Target};
use crate::shim;

/// The script's exit status when there is nothing left to signal.
pub(crate) const GONE: i32 = 3;

/// `kill -NAME -GROUP` is the one spelling that dash, busybox and bash all take.
const TO_GROUP: &str = r#"kill -0 "-$2" 2>/dev/null || exit 3
exec 2>&1
kill "-$1" "-$2""#;

/// What a terminal's key would reach: its foreground group, field 8 of `/proc/PID/stat` (proc(5)); the fields are counted
/// behind the last parenthesis, because the second one is a name that may contain anything. The program's own group if
/// the terminal has no foreground group.
const TO_FOREGROUND: &str = r#"read -r line 2>/dev/null < "/proc/$2/stat" || exit 3
set -- "$1" "$2" ${line##*) }
[ "${8:-0}" -gt 1 ] && set -- "$1" "$8"
exec 2>&1
kill "-$1" "-$2""#;

/// The argument vector that sends `signal` to the process group `group`, or to the foreground group of its terminal.
pub(crate) fn argv(signal: Signal, group: u32, terminal: bool) -> Vec<String> {
    let script = if terminal { TO_FOREGROUND } else { TO_GROUP };
    [shim::SHELL, "-c", script, "containerssh", signal.name(), &group.to_string()].map(str::to_owned).into()
}

/// What became of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// It was sent.
    Sent,
    /// The program had ended.
    Gone,
}

/// Sends `signal` in the guest; the caller sets the deadline.
pub(crate) async fn send(
    target: &Target,
    signal: Signal,
    group: u32,
    terminal: bool,
) -> Result<Delivery, BackendError> {
    let Finished { code, output } = exec::run(target, argv(signal, group, terminal), None).await?;
    match code {
        0 => Ok(Delivery::Sent),
        code if i64::from(code) == i64::from(GONE) => Ok(Delivery::Gone),
        code => Err(BackendError::ProgramFailed(format!(
            "The signal {} could not be sent: exit status {code}: {}",
            signal.name(),
            String::from_utf8_lossy(&output).trim()
        ))),
    }
}
