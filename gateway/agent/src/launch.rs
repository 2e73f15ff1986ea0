//! Between `fork` and `exec`, as a process of its own: see the crate's documentation.
//!
//! The order stands on standard input: four bytes of length (big endian), then JSON. What follows it there is the program's.
//! For a terminal nothing follows: standard output and error are the terminal already, and standard input becomes it.

use std::ffi::OsStr;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use rustix::process::{Gid, Uid};
use serde::{Deserialize, Serialize};

use crate::{open_files, sftp, signals};

/// The only argument of a launcher.
pub(crate) const ARGUMENT: &str = "launch-program";

/// Longest order: a command line of 256 KiB, which is what the SSH server takes at most, and an environment of a few dozen
/// KiB, escaped as JSON.
const MAX_ORDER: usize = 4 * 1024 * 1024;

/// As shells have it: cannot be run; is not there.
const CANNOT_RUN: u8 = 126;
const NOT_FOUND: u8 = 127;

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Run {
    Program {
        /// A path, or a name that is looked for on the program's `PATH`.
        path: String,
        arg0: String,
        arguments: Vec<String>,
    },
    /// Our own SFTP server.
    Sftp,
}

/// Whom to become.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
}

/// Where to run if there is no home directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Fallback {
    /// At the root, and say so, as sshd does.
    Root,
    /// Where we are. The home directory is not even tried if we are somewhere: that is a container's working directory.
    Stay,
}

/// All that a launcher has to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LaunchOrder {
    pub(crate) terminal: bool,
    pub(crate) user: Option<User>,
    pub(crate) directory: String,
    pub(crate) fallback: Fallback,
    pub(crate) environment: Vec<(String, String)>,
    /// Files that it may have open, if that is not what this process may.
    pub(crate) open_files: Option<u64>,
    pub(crate) run: Run,
}

impl LaunchOrder {
    /// Whether there is a string that cannot be handed to a program.
    pub(crate) fn has_nul(&self) -> bool {
        let run = match &self.run {
            Run::Program { path, arg0, arguments } => {
                path.contains('\0') || arg0.contains('\0') || arguments.iter().any(|word| word.contains('\0'))
            }
            Run::Sftp => false,
        };
        run || self.directory.contains('\0')
            || self.environment.iter().any(|(name, value)| name.contains('\0') || value.contains('\0'))
    }

    /// As it stands on standard input.
    pub(crate) fn encode(&self) -> io::Result<Vec<u8>> {
        let body = serde_json::to_vec(self)?;
        let too_long = || io::Error::new(io::ErrorKind::InvalidInput, "the command is too long");
        let length = u32::try_from(body.len()).map_err(|_| too_long())?;
        if body.len() > MAX_ORDER {
            return Err(too_long());
        }
        Ok([&length.to_be_bytes()[..], &body].concat())
    }

    /// Reads not one byte more than the order.
    fn read() -> io::Result<Self> {
        let mut length = [0; 4];
        read_exactly(&mut length)?;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > MAX_ORDER {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the order is too long"));
        }
        let mut body = vec![0; length];
        read_exactly(&mut body)?;
        Ok(serde_json::from_slice(&body)?)
    }
}

/// Unbuffered, unlike [`std::io::stdin`].
fn read_exactly(mut buffer: &mut [u8]) -> io::Result<()> {
    while !buffer.is_empty() {
        match rustix::io::read(rustix::stdio::stdin(), &mut *buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => buffer = buffer.split_at_mut_checked(read).map_or(&mut [], |(_, rest)| rest),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Does a launcher's work if this process was started as one: call it first in `main`, before there are threads. `None` if
/// it was not. With `Some` the process is to end; if all went well it is another program by then and does not return.
#[must_use]
pub fn main_if_asked() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().as_deref() != Some(OsStr::new(ARGUMENT)) || arguments.next().is_some() {
        return None;
    }
    Some(match LaunchOrder::read().and_then(LaunchOrder::carry_out) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(io::stderr(), "containerssh: {error}");
            let missing = error.kind() == io::ErrorKind::NotFound;
            ExitCode::from(if missing { NOT_FOUND } else { CANNOT_RUN })
        }
    })
}

impl LaunchOrder {
    fn carry_out(self) -> io::Result<ExitCode> {
        // A session, and with it a process group, of its own: what signals go to, and no terminal but its own.
        rustix::process::setsid()?;
        if self.terminal {
            rustix::process::ioctl_tiocsctty(rustix::stdio::stdout())?;
            rustix::stdio::dup2_stdin(rustix::stdio::stdout())?;
        }
        if let Some(limit) = self.open_files {
            open_files::give_back(limit)?;
        }
        if let Some(user) = &self.user {
            become_user(user)?;
        }
        self.enter_directory();
        match self.run {
            Run::Sftp => Ok(sftp::serve()),
            Run::Program { path, arg0, arguments } => {
                let mut command = Command::new(&path);
                command.arg0(arg0).args(arguments).env_clear().envs(self.environment);
                signals::stop_ignoring();
                let error = command.exec();
                Err(io::Error::new(error.kind(), format!("cannot run {path}: {error}")))
            }
        }
    }

    fn enter_directory(&self) {
        if self.fallback == Fallback::Stay
            && std::env::current_dir().is_ok_and(|directory| directory.as_os_str() != "/")
        {
            return;
        }
        let Err(error) = std::env::set_current_dir(&self.directory) else { return };
        if self.fallback == Fallback::Root {
            let _ = writeln!(io::stderr(), "Could not chdir to home directory {}: {error}", self.directory);
            let _ = std::env::set_current_dir("/");
        }
    }
}

/// For good, and checked: groups first, while we still may.
///
/// The calls are those of a thread, which is all of this process.
fn become_user(user: &User) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    let groups: Vec<Gid> = user.groups.iter().map(|group| Gid::from_raw(*group)).collect();
    rustix::thread::set_thread_groups(&groups)?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    let changed = rustix::process::getuid() == uid
        && rustix::process::geteuid() == uid
        && rustix::process::getgid() == gid
        && rustix::process::getegid() == gid;
    // As OpenSSH does: who can become root again has not stopped being root.
    let back = !uid.is_root() && rustix::thread::set_thread_uid(Uid::ROOT).is_ok();
    if !changed || back {
        return Err(io::Error::other("the user could not be changed for good"));
    }
    Ok(())
}
