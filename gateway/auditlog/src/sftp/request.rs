//! What a client asks for: packets as operations (draft section 6; OpenSSH's PROTOCOL sections 4.1 to 4.12 for the extensions).

use super::event::{OpenFlags, Operation, RemotePath, short_text};
use super::wire::{Short, Wire, kind};

/// A request other than a write, read but not yet brought into relation with open files.
#[derive(Debug)]
pub(super) enum Parsed<'a> {
    /// Without an answer that names it: SSH_FXP_INIT.
    Init {
        version: u32,
    },
    Read {
        handle: &'a [u8],
        offset: u64,
        length: u32,
    },
    Readdir {
        handle: &'a [u8],
    },
    Close {
        handle: &'a [u8],
    },
    /// About paths alone.
    Path(Operation),
    /// About an open file, whose path goes into the operation.
    Handle {
        handle: &'a [u8],
        operation: Operation,
    },
    /// `copy-data`: between two open files.
    Copy {
        from: &'a [u8],
        to: &'a [u8],
        offset: u64,
        length: u64,
    },
}

/// Reads a request; `body` is what follows the packet's type. Gives the request's id too, 0 for SSH_FXP_INIT.
pub(super) fn parse(kind: u8, body: &[u8]) -> Result<(u32, Parsed<'_>), Short> {
    let mut wire = Wire(body);
    if kind == kind::INIT {
        return Ok((0, Parsed::Init { version: wire.u32()? }));
    }
    let id = wire.u32()?;
    let parsed = match kind {
        kind::READ => Parsed::Read { handle: wire.string()?, offset: wire.u64()?, length: wire.u32()? },
        kind::READDIR => Parsed::Readdir { handle: wire.string()? },
        kind::CLOSE => Parsed::Close { handle: wire.string()? },
        kind::FSTAT => Parsed::Handle {
            handle: wire.string()?,
            operation: Operation::Stat { path: None, attributes: <_>::default(), follow: true },
        },
        kind::FSETSTAT => {
            let handle = wire.string()?;
            let attributes = wire.attributes()?;
            Parsed::Handle { handle, operation: Operation::Setstat { path: None, attributes, follow: true } }
        }
        kind::EXTENDED => extended(&mut wire)?,
        _ => Parsed::Path(about_paths(kind, &mut wire)?),
    };
    Ok((id, parsed))
}

fn path(wire: &mut Wire<'_>) -> Result<RemotePath, Short> {
    wire.string().map(RemotePath::new)
}

fn about_paths(kind: u8, wire: &mut Wire<'_>) -> Result<Operation, Short> {
    Ok(match kind {
        kind::OPEN => Operation::Open {
            path: path(wire)?,
            name: None,
            flags: OpenFlags(wire.u32()?),
            attributes: wire.attributes()?,
            transfer: None,
        },
        kind::LSTAT | kind::STAT => Operation::Stat {
            path: Some(path(wire)?),
            attributes: <_>::default(),
            follow: kind == kind::STAT,
        },
        kind::SETSTAT => {
            Operation::Setstat { path: Some(path(wire)?), attributes: wire.attributes()?, follow: true }
        }
        kind::OPENDIR => Operation::Opendir { path: path(wire)? },
        kind::REMOVE => Operation::Remove { path: path(wire)? },
        kind::MKDIR => Operation::Mkdir { path: path(wire)?, attributes: wire.attributes()? },
        kind::RMDIR => Operation::Rmdir { path: path(wire)? },
        kind::REALPATH => Operation::Realpath { path: path(wire)?, target: None },
        kind::RENAME => Operation::Rename { path: path(wire)?, target: path(wire)?, replace: false },
        kind::READLINK => Operation::Readlink { path: path(wire)?, target: None },
        // The draft has them the other way round; OpenSSH, and so everybody, sends the link's content first.
        kind::SYMLINK => {
            let target = path(wire)?;
            Operation::Symlink { path: path(wire)?, target }
        }
        code => Operation::UnknownRequest { code },
    })
}

fn extended<'a>(wire: &mut Wire<'a>) -> Result<Parsed<'a>, Short> {
    let name = wire.string()?;
    let other = |path| Operation::Extended { name: short_text(name), path };
    Ok(Parsed::Path(match name {
        b"posix-rename@openssh.com" => {
            Operation::Rename { path: path(wire)?, target: path(wire)?, replace: true }
        }
        b"hardlink@openssh.com" => {
            let target = path(wire)?;
            Operation::Link { path: path(wire)?, target }
        }
        b"lsetstat@openssh.com" => {
            Operation::Setstat { path: Some(path(wire)?), attributes: wire.attributes()?, follow: false }
        }
        b"fsync@openssh.com" | b"fstatvfs@openssh.com" => {
            return Ok(Parsed::Handle { handle: wire.string()?, operation: other(None) });
        }
        b"copy-data" => {
            let (from, offset, length) = (wire.string()?, wire.u64()?, wire.u64()?);
            return Ok(Parsed::Copy { from, to: wire.string()?, offset, length });
        }
        b"statvfs@openssh.com" | b"expand-path@openssh.com" | b"home-directory" => other(Some(path(wire)?)),
        // `limits@openssh.com`, `users-groups-by-id@openssh.com` and all that are not known here name no file.
        _ => other(None),
    }))
}
