//! Carries requests out and answers them.

use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::buffer::spare_capacity;
use rustix::fs::{AtFlags, CWD, StatVfs};
use rustix::io::Errno;

use super::attributes;
use super::files::{self, Handles, MAX_HANDLES, Open, path};
use super::listing::Names;
use super::request::{EXTENSIONS, Request};
use super::wire::{MAX_PACKET, Malformed, Writer};

/// The version we speak: the last one that everybody does.
const VERSION: u32 = 3;
/// What one reply or request carries, so that its packet stays within its limit.
const MAX_DATA: u32 = 255 * 1024;
/// Entries of one reply: with the longest names there are, far within a packet.
const ENTRIES: usize = 100;

// Packet types (draft section 3).
const VERSION_REPLY: u8 = 2;
const STATUS: u8 = 101;
const HANDLE: u8 = 102;
const DATA: u8 = 103;
const NAME: u8 = 104;
const ATTRS: u8 = 105;
const EXTENDED_REPLY: u8 = 201;

// Status codes (draft section 7).
const OK: u32 = 0;
const EOF: u32 = 1;
const NO_SUCH_FILE: u32 = 2;
const PERMISSION_DENIED: u32 = 3;
const FAILURE: u32 = 4;
const BAD_MESSAGE: u32 = 5;
const UNSUPPORTED: u32 = 8;

/// One client.
#[derive(Debug)]
pub(super) struct Server {
    greeted: bool,
    handles: Handles,
    names: Names,
}

/// What is not a plain status.
enum Reply {
    Done,
    End,
    Unsupported,
    /// Written already.
    Written,
}

impl Server {
    pub(super) fn new() -> Self {
        Self { greeted: false, handles: Handles::default(), names: Names::of_host() }
    }

    /// Answers one packet.
    ///
    /// # Errors
    /// When there is nothing to answer to, or nobody has introduced themselves: the client is no SFTP client.
    pub(super) fn answer(&mut self, packet: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
        let (id, request) = Request::parse(packet)?;
        let request = match request {
            Ok(Request::Init) => {
                self.greeted = true;
                let mut writer = Writer::new(out, VERSION_REPLY, VERSION);
                for (name, version) in EXTENSIONS {
                    writer.string(name.as_bytes()).string(version.as_bytes());
                }
                return Ok(());
            }
            _ if !self.greeted => return Err(Malformed),
            Ok(request) => request,
            Err(Malformed) => {
                status(out, id, BAD_MESSAGE, "Bad message");
                return Ok(());
            }
        };
        let before = out.len();
        match self.carry_out(id, request, out) {
            Ok(Reply::Written) => {}
            Ok(Reply::Done) => status(out, id, OK, "Success"),
            Ok(Reply::End) => status(out, id, EOF, "End of file"),
            Ok(Reply::Unsupported) => status(out, id, UNSUPPORTED, "Operation unsupported"),
            Err(error) => {
                out.truncate(before);
                status(out, id, code(&error), &words(&error));
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, id: u32, request: Request<'_>, out: &mut Vec<u8>) -> io::Result<Reply> {
        match request {
            Request::Open { path, flags, attributes } => {
                self.handles.room()?;
                let handle = self.handles.insert(Open::File(files::open(path, flags, &attributes)?));
                Writer::new(out, HANDLE, id).string(&handle);
            }
            Request::OpenDir { path } => {
                self.handles.room()?;
                let handle = self.handles.insert(Open::Directory(files::open_directory(path)?));
                Writer::new(out, HANDLE, id).string(&handle);
            }
            Request::Close { handle } => return self.handles.close(handle).map(|()| Reply::Done),
            Request::Read { handle, offset, length } => {
                let length = usize::try_from(length.min(MAX_DATA)).unwrap_or(0);
                let mut data = Vec::with_capacity(length);
                if length > 0
                    && rustix::io::pread(self.handles.file(handle)?, spare_capacity(&mut data), offset)? == 0
                {
                    return Ok(Reply::End);
                }
                data.truncate(length);
                Writer::new(out, DATA, id).string(&data);
            }
            Request::Write { handle, offset, data } => return self.write(handle, offset, data),
            Request::ReadDir { handle } => return self.list(id, handle, out),
            Request::FStat { handle } => {
                let stat = rustix::fs::fstat(self.handles.any(handle)?)?;
                attributes::write(&mut Writer::new(out, ATTRS, id), &stat);
            }
            Request::FSetStat { handle, attributes } => {
                return attributes.set(self.handles.any(handle)?).map(|()| Reply::Done);
            }
            Request::FSync { handle } => {
                rustix::fs::fsync(self.handles.file(handle)?)?;
                return Ok(Reply::Done);
            }
            Request::FStatVfs { handle } => {
                space(out, id, &rustix::fs::fstatvfs(self.handles.any(handle)?)?);
            }
            request => return on_names(id, request, out),
        }
        Ok(Reply::Written)
    }

    fn write(&self, handle: &[u8], mut offset: u64, mut data: &[u8]) -> io::Result<Reply> {
        let file = self.handles.file(handle)?;
        while !data.is_empty() {
            match rustix::io::pwrite(file, data, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    data = data.get(written..).unwrap_or_default();
                    offset = offset.saturating_add(u64::try_from(written).unwrap_or(0));
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Reply::Done)
    }

    fn list(&mut self, id: u32, handle: &[u8], out: &mut Vec<u8>) -> io::Result<Reply> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let directory = self.handles.directory(handle)?;
        let mut entries = Vec::new();
        while entries.len() < ENTRIES {
            let Some(entry) = directory.read() else { break };
            let entry = entry?;
            let name = entry.file_name();
            // What has vanished meanwhile is not listed.
            if let Ok(stat) = rustix::fs::statat(directory.fd()?, name, AtFlags::SYMLINK_NOFOLLOW) {
                entries.push((name.to_bytes().to_vec(), stat));
            }
        }
        if entries.is_empty() {
            return Ok(Reply::End);
        }
        let mut writer = Writer::new(out, NAME, id);
        writer.u32(u32::try_from(entries.len()).unwrap_or(0));
        for (name, stat) in &entries {
            writer.string(name).string(&self.names.line(name, stat, now));
            attributes::write(&mut writer, stat);
        }
        Ok(Reply::Written)
    }
}

/// Requests that need no handle.
fn on_names(id: u32, request: Request<'_>, out: &mut Vec<u8>) -> io::Result<Reply> {
    match request {
        Request::Stat { path: name, follow } => {
            let flags = if follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
            let stat = rustix::fs::statat(CWD, path(name), flags)?;
            attributes::write(&mut Writer::new(out, ATTRS, id), &stat);
            return Ok(Reply::Written);
        }
        Request::RealPath { path } => {
            one_name(out, id, &files::real_path(path)?);
            return Ok(Reply::Written);
        }
        Request::ReadLink { path: name } => {
            one_name(out, id, &std::fs::read_link(path(name))?.into_os_string().into_vec());
            return Ok(Reply::Written);
        }
        Request::StatVfs { path: name } => {
            space(out, id, &rustix::fs::statvfs(path(name))?);
            return Ok(Reply::Written);
        }
        Request::Limits => {
            Writer::new(out, EXTENDED_REPLY, id)
                .u64(u64::try_from(MAX_PACKET).unwrap_or(0))
                .u64(u64::from(MAX_DATA))
                .u64(u64::from(MAX_DATA))
                .u64(u64::try_from(MAX_HANDLES).unwrap_or(0));
            return Ok(Reply::Written);
        }
        Request::SetStat { path, attributes, follow } => attributes.set_at(path, follow)?,
        Request::Remove { path: name } => std::fs::remove_file(path(name))?,
        Request::MkDir { path: name, attributes } => rustix::fs::mkdir(path(name), attributes.mode(0o777))?,
        Request::RmDir { path: name } => std::fs::remove_dir(path(name))?,
        Request::Rename { from, to, replace } => files::rename(from, to, replace)?,
        Request::Symlink { target, link } => std::os::unix::fs::symlink(path(target), path(link))?,
        Request::HardLink { from, to } => std::fs::hard_link(path(from), path(to))?,
        _ => return Ok(Reply::Unsupported),
    }
    Ok(Reply::Done)
}

fn one_name(out: &mut Vec<u8>, id: u32, name: &[u8]) {
    let mut writer = Writer::new(out, NAME, id);
    writer.u32(1).string(name).string(name);
    attributes::write_none(&mut writer);
}

/// OpenSSH's `PROTOCOL`, section 4.4.
fn space(out: &mut Vec<u8>, id: u32, space: &StatVfs) {
    Writer::new(out, EXTENDED_REPLY, id)
        .u64(space.f_bsize)
        .u64(space.f_frsize)
        .u64(space.f_blocks)
        .u64(space.f_bfree)
        .u64(space.f_bavail)
        .u64(space.f_files)
        .u64(space.f_ffree)
        .u64(space.f_favail)
        .u64(space.f_fsid)
        // Of the flags the protocol knows two: read-only, and without set-user-id.
        .u64(space.f_flag.bits() & 3)
        .u64(space.f_namemax);
}

fn status(out: &mut Vec<u8>, id: u32, code: u32, words: &str) {
    Writer::new(out, STATUS, id).u32(code).string(words.as_bytes()).string(b"");
}

/// As sftp-server maps them.
fn code(error: &io::Error) -> u32 {
    match Errno::from_io_error(error) {
        Some(Errno::NOENT | Errno::NOTDIR | Errno::BADF | Errno::LOOP) => NO_SUCH_FILE,
        Some(Errno::PERM | Errno::ACCESS | Errno::FAULT) => PERMISSION_DENIED,
        Some(Errno::NAMETOOLONG | Errno::INVAL) => BAD_MESSAGE,
        Some(Errno::NOSYS) => UNSUPPORTED,
        _ => FAILURE,
    }
}

/// What a person understands: `No space left on device`, without the number.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split_once(" (os error").map_or(text.as_str(), |(words, _)| words).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ask(server: &mut Server, packet: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        server.answer(packet, &mut out).unwrap();
        out
    }

    #[test]
    fn nobody_is_served_without_an_introduction() {
        let mut server = Server::new();
        let mut out = Vec::new();
        assert_eq!(server.answer(b"\x11\0\0\0\x01\0\0\0\x01/", &mut out), Err(Malformed));
        assert_eq!(ask(&mut server, b"\x01\0\0\0\x03")[4..9], *b"\x02\0\0\0\x03");
        assert_eq!(ask(&mut server, b"\x11\0\0\0\x01\0\0\0\x01/")[4], ATTRS);
        assert_eq!(ask(&mut server, b"\xc8\0\0\0\x01\0\0\0\x01x")[9..13], UNSUPPORTED.to_be_bytes());
    }

    #[test]
    fn handles_are_bounded_and_forged_ones_lead_nowhere() {
        let mut server = Server::new();
        ask(&mut server, b"\x01\0\0\0\x03");
        let open = b"\x0b\0\0\0\x01\0\0\0\x01/";
        for _ in 0..MAX_HANDLES {
            assert_eq!(ask(&mut server, open)[4], HANDLE);
        }
        assert_eq!(ask(&mut server, open)[9..13], FAILURE.to_be_bytes());
        // A directory is read from as a file; a number nobody gave out; one that is too short.
        for read in [
            &b"\x05\0\0\0\x02\0\0\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x10"[..],
            b"\x05\0\0\0\x02\0\0\0\x04\xff\xff\xff\xff\0\0\0\0\0\0\0\0\0\0\0\x10",
            b"\x05\0\0\0\x02\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\x10",
        ] {
            assert_eq!(ask(&mut server, read)[9..13], FAILURE.to_be_bytes());
        }
        assert_eq!(ask(&mut server, b"\x04\0\0\0\x03\0\0\0\x04\0\0\0\0")[9..13], OK.to_be_bytes());
        assert_eq!(ask(&mut server, open)[4], HANDLE);
    }

    proptest! {
        /// Of the requests, those that change nothing on this machine.
        #[test]
        fn every_request_gets_one_answer_of_a_right_length(
            kind in prop::sample::select(vec![4_u8, 5, 7, 8, 11, 12, 16, 17, 19, 99]),
            body in prop::collection::vec(any::<u8>(), 4..64),
        ) {
            let mut server = Server::new();
            ask(&mut server, b"\x01\0\0\0\x03");
            let reply = ask(&mut server, &[&[kind][..], &body].concat());
            let length = u32::from_be_bytes(reply[..4].try_into().unwrap());
            prop_assert_eq!(usize::try_from(length).unwrap() + 4, reply.len());
            prop_assert_eq!(&reply[5..9], &body[..4]);
        }
    }
}
