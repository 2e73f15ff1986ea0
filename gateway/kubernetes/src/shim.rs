//! What runs in the guest around a program: a short script for whatever `sh` the image has. Pure: builds the argument
//! vector and finds the announcement in the output.
//!
//! # The parent
//! containerd closes a command's standard input as soon as the command closes its standard output *or* error:
//! `cat > file` would store nothing and report success. So without a terminal the script stays, as the parent of the
//! program and with all three streams open, until the program has ended, and passes its exit status on. With a terminal
//! there is one stream for both directions and no such trap: there the script replaces itself by the program.
//!
//! The parent must not be heard or felt:
//! - Signals go to the process group, to which it belongs. It catches all that can be caught (an *ignored* signal would
//!   stay ignored in the program, a caught one does not) and goes on waiting. What ends the program ends nothing else.
//! - Its own standard error is `/dev/null`, or some shells would write `Terminated` there for the program's fate. The real
//!   one stays open as descriptor 3. The program is started from a subshell because dash redirects simple commands in
//!   the parent.
//! - It sets no variable, so that none that the image exports changes. Positional parameters carry everything.
//! - `command export` instead of `export`: a variable that this shell has made read-only is skipped; a bare `export`
//!   would end the shell.
//!
//! # The announcement
//! Before the program starts, one line is written to its output: a marker with a random token and the process id, which
//! is also the id of its process group and session (the runtime makes each exec a session of its own). It proves that
//! the image has a shell that runs, it is what signals are sent to, and it is taken out of the output. No input is
//! sent before it has come, so a terminal has nothing to echo in front of it. What else comes before it (a loader's
//! complaint) is passed on.
//!
//! # The farewell
//! The parent's last act is a line on the standard error with the program's exit status, which is taken out again
//! ([`crate::exec`]): the cluster's own word for it is sometimes wrong.
//!
//! Works with dash, busybox ash, and bash under either name; the tests run it with each that the machine has.

use std::collections::BTreeMap;

use containerssh_backend::{BackendError, Command, ProgramSpec, Pty, WindowSize};

/// The shell that runs the script. An absolute path, because `PATH` of an image may be anything.
pub(crate) const SHELL: &str = "/bin/sh";

/// `$0` of the script: what the image's `ps` shows.
const NAME: &str = "containerssh";

/// What every announcement begins with.
const PREFIX: &str = "containerssh-start:";

/// What the parent's last line begins with: see [`crate::exec`]'s `farewell`.
const FAREWELL: &str = "containerssh-exit:";

/// Where sftp-server is in Debian and Arch, in Fedora and FreeBSD's layout, and in Alpine and SUSE: tried in this order
/// for the one default that everybody inherits from ContainerSSH.
const SFTP_SERVERS: [&str; 4] = [
    "/usr/lib/openssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/lib/ssh/sftp-server",
    "/usr/libexec/sftp-server",
];

/// Exports `NAME=value` arguments up to `--`.
const EXPORT: &str = r#"while [ "$1" != -- ]; do command export "$1" 2>/dev/null; shift; done; shift
"#;

/// As sshd runs a command: by the user's shell, if that is one. (bash sets SHELL from the password file by itself, which
/// in an image may well say that nobody logs in.)
const LOGIN_SHELL: &str = r#"case ${SHELL-} in */nologin|*/false) false;; *) [ -x "${SHELL-}" ];; esac && set -- "$SHELL" -c "$1" || set -- /bin/sh -c "$1"
"#;

/// Keeps the first candidate that can be executed.
const FIRST_EXECUTABLE: &str = r#"while [ "$#" -gt 0 ] && ! [ -x "$1" ]; do shift; done
"#;

/// Every signal of RFC 4254 section 6.10 that can be caught.
const TRAP: &str = "trap : ABRT ALRM FPE HUP ILL INT PIPE QUIT SEGV TERM USR1 USR2\n";

/// A program's start in the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Launch {
    /// The argument vector for the exec request.
    pub(crate) argv: Vec<String>,
    /// How the announcement looks.
    pub(crate) marker: Marker,
    /// How the parent's last line begins; `None` with a terminal, where there is no parent.
    pub(crate) farewell: Option<String>,
}

/// Finds the announcement of one program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Marker(String);

/// What stands in an announcement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Announcement {
    /// Where its line starts.
    pub(crate) start: usize,
    /// Where the program's own output starts.
    pub(crate) end: usize,
    /// The program's process group in the guest; `None` if there is no such program.
    pub(crate) group: Option<u32>,
}

/// The longest process id plus the line's end as a terminal writes it.
const MAX_PID_AND_NEWLINE: usize = 12;

impl Marker {
    fn new(token: &str) -> Self {
        Self(format!("{PREFIX}{token}:"))
    }

    /// Finds the announcement in what the program has written so far.
    pub(crate) fn find(&self, output: &[u8]) -> Option<Announcement> {
        let marker = self.0.as_bytes();
        let start = output.windows(marker.len()).position(|window| window == marker)?;
        let rest = output.get(start + marker.len()..)?;
        let newline = rest.iter().take(MAX_PID_AND_NEWLINE).position(|byte| *byte == b'\n')?;
        let digits = std::str::from_utf8(rest.get(..newline)?).ok()?.trim_end_matches('\r');
        let group: u32 = digits.parse().ok()?;
        // Groups 0 and 1 are no program's: signalling them would hit the sender's own group or everything.
        let group = (group > 1).then_some(group);
        Some(Announcement { start, end: start + marker.len() + newline + 1, group })
    }
}

/// Builds the start of `spec`.
///
/// `token` is unguessable, so that a program cannot prepare an announcement for another.
pub(crate) fn launch(
    spec: &ProgramSpec,
    shell_command: &[String],
    subsystems: &BTreeMap<String, String>,
    token: &str,
) -> Result<Launch, BackendError> {
    let (choose, words) = words(&spec.command, shell_command, subsystems)?;
    let trap = if spec.pty.is_none() { TRAP } else { "" };
    let run = spec.pty.as_ref().map_or_else(|| parent(token), |pty| terminal(pty.size, token));
    let script = format!("{trap}{EXPORT}{choose}{run}");

    let mut argv = vec![SHELL.to_owned(), "-c".to_owned(), script, NAME.to_owned()];
    argv.extend(environment(&spec.env, spec.pty.as_ref()));
    argv.push("--".to_owned());
    argv.extend(words);
    if argv.iter().any(|word| word.contains('\0')) {
        return Err(BackendError::ProgramFailed("The command contains a NUL character.".to_owned()));
    }
    let farewell = spec.pty.is_none().then(|| format!("{FAREWELL}{token}:"));
    Ok(Launch { argv, marker: Marker::new(token), farewell })
}

/// The program itself: how the script chooses it and the words it chooses from.
fn words(
    command: &Command,
    shell_command: &[String],
    subsystems: &BTreeMap<String, String>,
) -> Result<(&'static str, Vec<String>), BackendError> {
    match command {
        Command::Shell => Ok(("", shell_command.to_vec())),
        Command::Exec(line) => Ok((LOGIN_SHELL, vec![line.clone()])),
        Command::Subsystem(name) => {
            let Some(program) = subsystems.get(name) else {
                return Err(BackendError::ProgramFailed(format!(
                    "The subsystem {name:?} is not configured (kubernetes.pod.subsystems)."
                )));
            };
            let mut candidates = vec![program.clone()];
            if SFTP_SERVERS.first() == Some(&program.as_str()) {
                candidates.extend(SFTP_SERVERS.iter().skip(1).map(|path| (*path).to_owned()));
            }
            Ok((FIRST_EXECUTABLE, candidates))
        }
    }
}

/// Announces 0 and ends if there is nothing to run.
fn announce(token: &str) -> String {
    format!("[ \"$#\" -gt 0 ] || {{ echo '{PREFIX}{token}:0'; exit 127; }}\necho \"{PREFIX}{token}:$$\"\n")
}

fn parent(token: &str) -> String {
    format!(
        "{}exec 3>&2 2>/dev/null\n(exec 2>&3 3>&-; exec \"$@\")\nset -- $?\necho '{FAREWELL}{token}:'\"$1\" >&3\nexit \"$1\"",
        announce(token)
    )
}

fn terminal(size: WindowSize, token: &str) -> String {
    // The size also goes by its own channel, which nothing orders before the program's first look at it.
    let (columns, rows) = (size.columns.min(u16::MAX.into()), size.rows.min(u16::MAX.into()));
    let resize = if columns > 0 && rows > 0 {
        format!("stty cols {columns} rows {rows} 2>/dev/null\n")
    } else {
        String::new()
    };
    format!("{resize}{}exec \"$@\"", announce(token))
}

/// `NAME=value` words. Names that no shell accepts are left out, as the shells under sshd do. `SHELL` is the guest's to
/// say, as it is under sshd: it decides what reads the command line.
fn environment(env: &[(String, String)], pty: Option<&Pty>) -> Vec<String> {
    let term = pty.filter(|pty| !pty.term.is_empty()).map(|pty| ("TERM", pty.term.as_str()));
    let env = env.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    term.into_iter()
        .chain(env)
        .filter(|(name, value)| is_variable(name) && *name != "SHELL" && !value.contains('\0'))
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

fn is_variable(name: &str) -> bool {
    let mut characters = name.chars();
    characters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && characters.all(|character| character.is_ascii_alphanumeric() || character == '_')
}

#[cfg(test)]
mod tests;
