//! What users read. Every text says what happened and, where it helps, what to do; none names a secret or an inner
//! part.

use std::time::Duration;

use containerssh_backend::BackendError;

/// The program could not be started, or its guest could not.
pub(crate) fn cannot_start(error: &BackendError) -> String {
    match error {
        BackendError::StartFailed(_) | BackendError::StartTimeout(_) => {
            format!("cannot start your pod: {error}")
        }
        _ => format!("cannot start the program: {error}"),
    }
}

/// The program was lost while it ran.
pub(crate) fn lost(error: &BackendError) -> String {
    match error {
        BackendError::GuestGone(_) => format!("your pod is gone: {error}"),
        _ => format!("the connection to the program is lost: {error}"),
    }
}

/// The record cannot be written, and the policy demands one.
pub(crate) const NOT_RECORDED: &str =
    "sessions must be recorded here and recording is not possible at the moment, so this one ends";

/// The drain's time is over.
pub(crate) const GATEWAY_STOPS: &str = "this gateway stops now; connect again to reach another one";

/// The connection sees that the gateway drains.
pub(crate) fn gateway_drains(remaining: Duration) -> String {
    format!(
        "this gateway is going to stop: your session may go on for {}; new connections reach another gateway",
        duration(remaining)
    )
}

pub(crate) fn idle(limit: Duration) -> String {
    format!("your session ends: nothing was typed or shown for {}", duration(limit))
}

pub(crate) fn too_long(limit: Duration) -> String {
    format!("your session ends: sessions may last {} here", duration(limit))
}

/// Nothing has happened for a while, and soon that is too long.
pub(crate) fn idle_soon(idle: Duration, left: Duration) -> String {
    format!(
        "nothing was typed or shown for {}: your session ends in {} unless something is",
        duration(idle),
        duration(left)
    )
}

/// The time is nearly up.
pub(crate) fn too_long_soon(limit: Duration, left: Duration) -> String {
    format!("your session ends in {}: sessions may last {} here", duration(left), duration(limit))
}

/// The login was good, and is one too many.
pub(crate) const TOO_MANY_OF_USER: &str =
    "you have as many connections as one user may have here: close one, then connect again";

/// The message of the day as lines of a terminal: control characters but tabs and line ends become blanks.
pub(crate) fn motd(text: &str) -> String {
    let lines = text.trim_end().lines();
    lines
        .map(|line| {
            let line: String =
                line.chars().map(|c| if c.is_control() && c != '\t' { ' ' } else { c }).collect();
            line + "\r\n"
        })
        .collect()
}

/// A channel held the connection up.
pub(crate) fn stalled(limit: Duration) -> String {
    format!(
        "the program has not read its input for {}, which holds your connection up: it ends",
        duration(limit)
    )
}

/// What a waiting user sees before the backend has said anything.
pub(crate) const WAITING: &str = "starting your pod";

/// A text as lines of a terminal or of a stderr stream: named after us, so that it is not mistaken for the program's.
pub(crate) fn line(text: &str, terminal: bool) -> String {
    let text = one_line(text);
    if terminal { format!("\r\ncontainerssh: {text}\r\n") } else { format!("containerssh: {text}\n") }
}

/// Control characters become blanks: texts may quote what an image registry or a stranger said.
pub(crate) fn one_line(text: &str) -> String {
    text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, 0) => format!("{minutes} min"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, 0, _) => format!("{hours} h"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_start_names_its_cause() {
        let error = BackendError::StartFailed("ImagePullBackOff: image nowhere/none:1".into());
        assert_eq!(
            line(&cannot_start(&error), false),
            "containerssh: cannot start your pod: ImagePullBackOff: image nowhere/none:1\n"
        );
    }

    #[test]
    fn quoted_text_cannot_steer_the_terminal() {
        assert_eq!(line("a\x1b[2Jb\r\nc", true), "\r\ncontainerssh: a [2Jb  c\r\n");
    }

    #[test]
    fn a_message_of_the_day_is_shown_line_by_line() {
        assert_eq!(motd("Welcome\n\n\tto \x1b[1mus\r\n"), "Welcome\r\n\r\n\tto  [1mus\r\n");
    }

    #[test]
    fn durations_read_well() {
        for (seconds, text) in
            [(1, "1 s"), (60, "1 min"), (90, "1 min 30 s"), (3600, "1 h"), (5400, "1 h 30 min")]
        {
            assert_eq!(duration(Duration::from_secs(seconds)), text);
        }
    }
}
