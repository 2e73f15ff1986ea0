//! Completing encrypted records, without being able to read them.
//!
//! The chunks are cut to whole ones, the tail is appended with what it says, and a closing frame for whom the record is
//! encrypted to says that this is how it ended. Nothing is decrypted: the key died with the session.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Seek as _, SeekFrom, Write as _};

use containerssh_auditlog::chain::{Chain, End, Kind};
use containerssh_auditlog::encrypted::{self, TAIL_START, Tail};
use containerssh_auditlog::member::{self, Scratch};
use containerssh_auditlog::{Encoder, HEADER_LEN, Payload, Version, encode, header};

use crate::integrity;
use crate::spool::RecordId;
use crate::spool::dir::{Leftover, SpoolDir, Stage};
use crate::spool::sidecar::{Encrypted, Sidecar};

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Joined {
    /// Bytes that were dropped: torn chunks or frames, never acknowledged.
    pub(crate) cut: u64,
    /// The session had ended it.
    pub(crate) ended: bool,
}

/// Whether the record is one that this module completes.
pub(crate) fn is_encrypted(dir: &SpoolDir, id: &RecordId) -> io::Result<bool> {
    let mut start = Vec::new();
    File::open(dir.record(id, Stage::Open))?.take(TAIL_START.len() as u64).read_to_end(&mut start)?;
    // One that has nothing yet, or not even its header, is known by its tail.
    Ok(encrypted::is_encrypted(&start) || (start.len() < TAIL_START.len() && dir.tail(id).try_exists()?))
}

/// Makes one file of chunks and tail. Whatever moment a crash picks, doing it again gives the same.
pub(crate) fn join(dir: &SpoolDir, leftover: &Leftover, mut sidecar: Sidecar) -> io::Result<Joined> {
    let id = &leftover.id;
    let mut record = OpenOptions::new().read(true).write(true).open(dir.record(id, Stage::Open))?;
    let total = record.metadata()?.len();
    let known = sidecar.encrypted.as_ref().and_then(|encrypted| encrypted.chunks);
    let chunks = match known {
        Some(chunks) => chunks.min(total),
        None => encrypted::whole_chunks(&record, total)?,
    };
    let (mut frames, tail_len) = match File::open(dir.tail(id)) {
        Ok(file) => {
            let length = file.metadata()?.len();
            (Some(file), length)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => (None, 0),
        Err(error) => return Err(error),
    };
    let tail = match &frames {
        Some(file) => encrypted::scan_tail(file)?,
        None => Tail::default(),
    };
    let closing = if tail.ended {
        Vec::new()
    } else {
        let dropped = if known.is_some() { 0 } else { total - chunks } + (tail_len - tail.length);
        closing(&sidecar, leftover, chunks > 0 && has_chunks(&record, chunks)?, tail, dropped)?
    };
    if known.is_none() {
        sidecar.interrupted = !tail.ended;
        if let Some(encrypted) = &mut sidecar.encrypted {
            encrypted.chunks = Some(chunks);
        }
        sidecar.replace(&dir.sidecar(id))?;
        dir.handle().sync_all()?;
    }
    record.set_len(chunks)?;
    record.seek(SeekFrom::End(0))?;
    let mut out = BufWriter::new(&record);
    out.write_all(TAIL_START)?;
    if let Some(frames) = &mut frames {
        frames.rewind()?;
        io::copy(&mut BufReader::new(frames).take(tail.length), &mut out)?;
    }
    out.write_all(&closing)?;
    out.flush()?;
    drop(out);
    record.sync_all()?;
    let cut = if known.is_some() { 0 } else { total - chunks } + (tail_len - tail.length);
    Ok(Joined { cut, ended: tail.ended })
}

/// Whether there is a chunk, and not a header alone.
fn has_chunks(record: &File, chunks: u64) -> io::Result<bool> {
    let mut record = record;
    record.rewind()?;
    // Of the header alone there is as much as of header and chunks if there are none.
    Ok(encrypted::whole_chunks(record, 0)? < chunks)
}

/// The frame that says how the record ended. Empty if nobody knows to whom it is encrypted.
fn closing(
    sidecar: &Sidecar,
    leftover: &Leftover,
    chunks: bool,
    tail: Tail,
    dropped: u64,
) -> io::Result<Vec<u8>> {
    let Some(recipients) = integrity::recipients(sidecar)? else { return Ok(Vec::new()) };
    let version = match &sidecar.encrypted {
        Some(Encrypted { version: 2, .. }) => Version::V2,
        _ => Version::V1,
    };
    // The first frame is the format's header, the second the first segment, which opens the array.
    let (has_header, opened) = (chunks || tail.frames > 0, chunks || tail.frames > 1);
    let array = version == Version::V1;
    let mut content = Vec::new();
    if array && !opened {
        encode::open(&mut content);
    }
    let at = crate::recover::nanoseconds(leftover.modified);
    Encoder::new(&sidecar.connection_id).record(&mut content, at, None, &Payload::Disconnect);
    if array {
        encode::close(&mut content);
    }
    let header = header(version);
    let mut plaintext = if has_header { Vec::new() } else { header.to_vec() };
    let before = plaintext.len();
    let mut chain = if opened { Chain::unseen() } else { Chain::start(&header) };
    let link = chain.next_link(Kind::Recovery);
    member::compress_with_extra(&content, &link, &mut plaintext, &mut Scratch::new());
    let member = plaintext.get(before..).unwrap_or_default();
    let length = (HEADER_LEN + member.len()) as u64;
    chain.push(member, length);
    let (length, session) = if opened { (0, 0) } else { (length, HEADER_LEN as u64) };
    plaintext.extend_from_slice(&chain.seal(Kind::RecoverySeal, End { length, session, dropped }));
    encrypted::closing(&recipients, &plaintext)
}
