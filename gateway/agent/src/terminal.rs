//! A pseudo-terminal: its size, its modes, its owner.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use containerssh_backend::{Pty, WindowSize};
use rustix::fs::{Gid, Mode, Uid, fchmod, fchown};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize};

use crate::modes;

/// Whom a terminal belongs to, where that is not us.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    /// The group `tty`, whose members may write to terminals (`wall`).
    pub(crate) tty: Option<u32>,
}

/// Both ends.
#[derive(Debug)]
pub(crate) struct Terminal {
    pub(crate) master: OwnedFd,
    pub(crate) slave: OwnedFd,
    /// Such as `/dev/pts/3`.
    pub(crate) name: String,
}

/// Opens a terminal as the client asked for it.
pub(crate) fn open(pty: &Pty, owner: Option<Owner>) -> io::Result<Terminal> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    // By the master and not by its name, which another mount of devpts may give to another terminal.
    let slave = ioctl_tiocgptpeer(&master, flags)?;
    let name = ptsname(&master, Vec::new())?.to_string_lossy().into_owned();
    if let Some(owner) = owner {
        let (group, mode) = match owner.tty {
            Some(tty) => (Some(Gid::from_raw(tty)), Mode::RUSR | Mode::WUSR | Mode::WGRP),
            None => (None, Mode::RUSR | Mode::WUSR),
        };
        fchown(&slave, Some(Uid::from_raw(owner.uid)), group)?;
        fchmod(&slave, mode)?;
    }
    let mut settings = tcgetattr(&slave)?;
    modes::apply(&pty.modes, &mut settings);
    tcsetattr(&slave, OptionalActions::Now, &settings)?;
    resize(&master, pty.size)?;
    Ok(Terminal { master, slave, name })
}

/// Tells the terminal its size; the kernel tells its programs (`SIGWINCH`).
pub(crate) fn resize(master: impl AsFd, size: WindowSize) -> io::Result<()> {
    let cells = |count: u32| u16::try_from(count).unwrap_or(u16::MAX);
    let size = Winsize {
        ws_col: cells(size.columns),
        ws_row: cells(size.rows),
        ws_xpixel: cells(size.width),
        ws_ypixel: cells(size.height),
    };
    Ok(tcsetwinsize(master, size)?)
}
