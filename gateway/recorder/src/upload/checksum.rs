//! SHA-256 of what is uploaded and of its parts, in one pass.
//!
//! The digest of the whole goes into the object's metadata, where an auditor finds it; those of the parts go with each
//! request, so that S3 refuses what was damaged on the way and its answer can be compared.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};
use sha2::{Digest, Sha256};

use super::content::{Content, Source};
use super::multipart::{Part, Plan, plan};

/// How much is read at once: all the memory that hashing a record of any size takes.
const BLOCK: usize = 64 * 1024;

/// A SHA-256 digest.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sha([u8; 32]);

impl Sha {
    /// As S3 writes it in headers.
    pub(crate) fn base64(self) -> String {
        STANDARD.encode(self.0)
    }

    /// As `sha256sum` prints it.
    pub(crate) fn hex(self) -> String {
        hex::encode(self.0)
    }
}

impl std::fmt::Debug for Sha {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.hex())
    }
}

/// A content as it will be uploaded.
#[derive(Debug, Clone)]
pub(crate) struct Fingerprint {
    /// Bytes.
    pub(crate) size: u64,
    /// Of the whole file.
    pub(crate) sha: Sha,
    /// Parts with their digests; empty if the file goes up whole.
    pub(crate) parts: Vec<(Part, Sha)>,
}

impl Fingerprint {
    /// S3's checksum for the object: the file's digest, or for parts the digest of their digests with their number
    /// appended (`COMPOSITE` in the S3 documentation).
    pub(crate) fn object_checksum(&self) -> String {
        if self.parts.is_empty() {
            return self.sha.base64();
        }
        let mut all = Sha256::new();
        for (_, sha) in &self.parts {
            all.update(sha.0);
        }
        format!("{}-{}", Sha(all.finalize().into()).base64(), self.parts.len())
    }
}

/// Reads a content once. Blocks: call it off the async runtime.
pub(crate) fn fingerprint(content: &Content, part_size: u64) -> io::Result<Fingerprint> {
    let size = content.size()?;
    let mut source = content.open()?;
    let mut whole = Sha256::new();
    let mut parts = Vec::new();
    match plan(size, part_size) {
        Plan::Whole => read(&mut source, size, |block| whole.update(block))?,
        Plan::Parts(planned) => {
            for part in planned {
                let mut own = Sha256::new();
                read(&mut source, part.bytes.end - part.bytes.start, |block| {
                    whole.update(block);
                    own.update(block);
                })?;
                parts.push((part, Sha(own.finalize().into())));
            }
        }
    }
    Ok(Fingerprint { size, sha: Sha(whole.finalize().into()), parts })
}

/// What S3 calls an object's `ETag` where it does not encrypt it: the MD5, or for parts the MD5 of their MD5s with their
/// number appended. No protection against anybody; only to recognise in a listing what an earlier attempt has stored.
/// Blocks.
pub(crate) fn etag(content: &Content, print: &Fingerprint) -> io::Result<String> {
    let mut source = content.open()?;
    if print.parts.is_empty() {
        let mut whole = Md5::new();
        read(&mut source, print.size, |block| whole.update(block))?;
        return Ok(hex::encode(whole.finalize()));
    }
    let mut all = Md5::new();
    for (part, _) in &print.parts {
        let mut own = Md5::new();
        read(&mut source, part.bytes.end - part.bytes.start, |block| own.update(block))?;
        all.update(own.finalize());
    }
    Ok(format!("{}-{}", hex::encode(all.finalize()), print.parts.len()))
}

/// Hands exactly `length` bytes on, block by block.
fn read(source: &mut Source, length: u64, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let mut block = vec![0; BLOCK];
    let mut left = length;
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
        let Some(space) = block.get_mut(..want) else { break };
        source.read_exact(space)?;
        each(space);
        left -= want as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::multipart::MIN_PART;
    use super::*;

    fn fingerprint_of(data: &[u8]) -> Fingerprint {
        fingerprint(&Content::Memory(data.to_vec().into()), MIN_PART).unwrap()
    }

    #[test]
    fn a_small_file_has_one_digest() {
        let print = fingerprint_of(b"abc");
        // FIPS 180-2, appendix B.1.
        assert_eq!(print.sha.hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(print.object_checksum(), print.sha.base64());
        assert_eq!((print.size, print.parts.len()), (3, 0));
    }

    #[test]
    fn a_listing_names_the_object_by_what_was_sent() {
        // RFC 1321, appendix A.5.
        let whole = Content::Memory("abc".into());
        let print = fingerprint(&whole, MIN_PART).unwrap();
        assert_eq!(etag(&whole, &print).unwrap(), "900150983cd24fb0d6963f7d28e17f72");
        let split = usize::try_from(MIN_PART).unwrap();
        let parts = Content::Memory(vec![7; split + 3].into());
        let print = fingerprint(&parts, MIN_PART).unwrap();
        let md5s = [Md5::digest(vec![7; split]), Md5::digest([7; 3])].concat();
        assert_eq!(etag(&parts, &print).unwrap(), format!("{}-2", hex::encode(Md5::digest(md5s))));
    }

    #[test]
    fn parts_have_their_own_digests_and_the_whole_is_the_files() {
        let data: Vec<u8> = (0..MIN_PART + 70_000).map(|at| (at * 7 % 251) as u8).collect();
        let print = fingerprint_of(&data);
        assert_eq!(print.sha, Sha(Sha256::digest(&data).into()));
        let split = usize::try_from(MIN_PART).unwrap();
        let expected =
            [Sha(Sha256::digest(&data[..split]).into()), Sha(Sha256::digest(&data[split..]).into())];
        assert_eq!(print.parts.iter().map(|(_, sha)| *sha).collect::<Vec<_>>(), expected);
        let composite = Sha256::digest([expected[0].0, expected[1].0].concat());
        assert_eq!(print.object_checksum(), format!("{}-2", STANDARD.encode(composite)));
    }
}
