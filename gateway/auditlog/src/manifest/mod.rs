//! The manifest: what a finished record is, in a file of its own beside it, signed if there is a key.
//!
//! ```json
//! {"manifest":{"version":1,"connectionId":"…","bytes":1234,"sha256":"…",…},
//!  "signatures":[{"algorithm":"ed25519","keyId":"…","value":"…"}]}
//! ```
//!
//! The signature is over [`CONTEXT`] and the bytes of the value of `manifest` exactly as they stand in the file, without
//! blanks around it. So no canonical form of JSON has to be agreed on, and what is parsed is what was signed.
//!
//! Beside the digest of the whole, the manifest has digests along the way: [`Chain`](crate::chain::Chain)'s, or of ranges
//! of bytes where there is no chain to be seen from outside (encrypted records). With them a verifier says which part
//! changed, and the rest stays evidence.

mod key;

use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

pub use key::{KeyError, SigningKey, VerifyingKey};

use crate::chain::{Hash, MAX_MARKS, Mark};

/// What the signed bytes begin with, so that no signature made for something else fits.
pub const CONTEXT: &[u8] = b"containerssh-audit-manifest-v1\n";

/// What the manifest's name adds to the record's.
pub const SUFFIX: &str = ".manifest.json";

/// Longer files are no manifests: one with [`MAX_MARKS`] marks has 80 KB.
pub const MAX_LEN: usize = 1 << 20;

/// The version of the content.
const VERSION: u32 = 1;

/// Signatures looked at: one is written, a few may be added.
const MAX_SIGNATURES: usize = 16;

/// The least length of a range, bytes. Finer would make the manifest of a short record longer than the record.
const MIN_RANGE: u64 = 256 << 10;

/// Who ended a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ClosedBy {
    /// The session that wrote it.
    Session,
    /// Recovery, after the gateway died.
    Recovery,
}

/// How a record is encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Encryption {
    /// Not at all.
    #[default]
    None,
    /// An age file, to recipients.
    Age,
}

/// What a record is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// 1.
    pub version: u32,
    /// The connection that was recorded.
    pub connection_id: String,
    /// Where the record was to be stored: the object's key, or the file's name. Where that was taken, it is stored under
    /// a longer name that begins so.
    pub key: String,
    /// Namespace of the gateway.
    pub namespace: String,
    /// Name of the gateway.
    pub gateway: String,
    /// Name of the pod.
    pub pod: String,
    /// Hash of the policy by which it was recorded; may be empty.
    pub policy: String,
    /// When the client connected.
    pub started: Timestamp,
    /// When the record was closed.
    pub closed: Timestamp,
    /// By whom.
    pub closed_by: ClosedBy,
    /// Whether what follows is about ciphertext.
    #[serde(default)]
    pub encryption: Encryption,
    /// Length of the record, bytes.
    pub bytes: u64,
    /// Of the whole record.
    pub sha256: Hash,
    /// The chain in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<Summary>,
    /// Pieces of it, in order, where there is no chain.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<Range>,
}

/// What the manifest says of a record's chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Members, the seal among them.
    pub members: u32,
    /// The chain at some members, in order; at the last of them too.
    pub marks: Vec<Mark>,
}

/// A piece of a record: from the end of the one before it to `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Range {
    /// Where it ends, bytes.
    pub end: u64,
    /// Of its bytes.
    pub sha256: Hash,
}

impl Manifest {
    /// The version that this program writes and reads.
    pub const VERSION: u32 = VERSION;
}

/// Digests of a record: of the whole and of its pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digests {
    /// Bytes read.
    pub bytes: u64,
    /// Of the whole.
    pub sha256: Hash,
    /// Of at most [`MAX_MARKS`] pieces.
    pub ranges: Vec<Range>,
}

impl Digests {
    /// Reads a record of `length` bytes.
    ///
    /// # Errors
    /// If it cannot be read, or not that much.
    pub fn of(mut record: impl Read, length: u64) -> std::io::Result<Self> {
        let size = length.div_ceil(MAX_MARKS as u64).max(MIN_RANGE);
        let mut whole = Sha256::new();
        let mut ranges = Vec::new();
        let mut block = vec![0; 64 << 10];
        let mut at = 0;
        while at < length {
            let end = (at + size).min(length);
            let mut piece = Sha256::new();
            while at < end {
                let want = usize::try_from(end - at).unwrap_or(usize::MAX).min(block.len());
                let Some(space) = block.get_mut(..want) else { break };
                record.read_exact(space)?;
                whole.update(&*space);
                piece.update(&*space);
                at += want as u64;
            }
            ranges.push(Range { end, sha256: Hash::finish(piece) });
        }
        Ok(Self { bytes: length, sha256: Hash::finish(whole), ranges })
    }
}

/// A signature of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Signature {
    algorithm: String,
    /// SHA-256 of the public key (DER of its `SubjectPublicKeyInfo`): which one to look for.
    key_id: String,
    /// Base64.
    value: String,
}

/// The file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    manifest: Box<RawValue>,
    #[serde(default)]
    signatures: Vec<Signature>,
}

const ED25519: &str = "ed25519";

/// Writes a manifest, signed if there is a key.
///
/// # Errors
/// If the key cannot sign.
pub fn write(manifest: &Manifest, key: Option<&SigningKey>) -> Result<Vec<u8>, KeyError> {
    // A manifest is numbers and text, so this does not fail.
    let unwritable = |_| KeyError::Refused;
    let body = serde_json::value::to_raw_value(manifest).map_err(unwritable)?;
    let signatures = match key {
        None => Vec::new(),
        Some(key) => vec![Signature {
            algorithm: ED25519.to_owned(),
            key_id: key.id().to_string(),
            value: STANDARD.encode(key.sign(&signed(&body))?),
        }],
    };
    let mut file = serde_json::to_vec(&Envelope { manifest: body, signatures }).map_err(unwritable)?;
    file.push(b'\n');
    Ok(file)
}

fn signed(body: &RawValue) -> Vec<u8> {
    [CONTEXT, body.get().as_bytes()].concat()
}

/// Why a file is no manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not of the form described above.
    #[error("not a manifest: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Too long.
    #[error("not a manifest: longer than {MAX_LEN} bytes")]
    TooLong,
    /// A version from the future.
    #[error(
        "a manifest of version {0}, but this program reads version {VERSION}; a newer release may read it"
    )]
    Version(u32),
    /// What it says contradicts itself.
    #[error("not a manifest: its marks or ranges are not in order or do not end with the record")]
    Disordered,
}

/// What can be said of a manifest's signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Signed {
    /// By one of the given keys.
    Yes,
    /// It has none.
    No,
    /// It has one, and no key was given to check it.
    Unchecked,
    /// It has one or more, and none is by one of the given keys.
    Wrong,
}

/// A manifest that was read, and whether it is signed by one of `keys`.
///
/// # Errors
/// If it is none, or one of another version.
pub fn read(file: &[u8], keys: &[VerifyingKey]) -> Result<(Manifest, Signed), ManifestError> {
    if file.len() > MAX_LEN {
        return Err(ManifestError::TooLong);
    }
    let envelope: Envelope = serde_json::from_slice(file)?;
    let message = signed(&envelope.manifest);
    let is_good = |signature: &Signature| {
        signature.algorithm == ED25519
            && STANDARD.decode(&signature.value).is_ok_and(|value| {
                keys.iter()
                    .any(|key| key.id().to_string() == signature.key_id && key.verifies(&message, &value))
            })
    };
    let signatures = envelope.signatures.iter().take(MAX_SIGNATURES);
    let signed = match (envelope.signatures.is_empty(), keys.is_empty()) {
        (true, _) => Signed::No,
        (false, true) => Signed::Unchecked,
        (false, false) if signatures.into_iter().any(is_good) => Signed::Yes,
        (false, false) => Signed::Wrong,
    };
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let Version { version } = serde_json::from_str(envelope.manifest.get())?;
    if version != VERSION {
        return Err(ManifestError::Version(version));
    }
    let manifest: Manifest = serde_json::from_str(envelope.manifest.get())?;
    if !is_in_order(&manifest) {
        return Err(ManifestError::Disordered);
    }
    Ok((manifest, signed))
}

fn is_in_order(manifest: &Manifest) -> bool {
    let marks = manifest.chain.as_ref().map_or(&[][..], |chain| &chain.marks);
    let last = marks.last();
    let ranges = &manifest.ranges;
    let rising = |pair: &[Mark]| matches!(pair, [a, b] if a.member < b.member && a.end < b.end);
    marks.windows(2).all(rising)
        && last.is_none_or(|mark| mark.end == manifest.bytes)
        && manifest
            .chain
            .as_ref()
            .is_none_or(|chain| last.is_some_and(|mark| mark.member.checked_add(1) == Some(chain.members)))
        && ranges.windows(2).all(|pair| matches!(pair, [a, b] if a.end < b.end))
        && ranges.last().is_none_or(|range| range.end == manifest.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";
    /// Of the key above. Both are of RFC 8410, section 10.
    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";

    fn manifest() -> Manifest {
        Manifest {
            version: 1,
            connection_id: "0123456789abcdef0123456789abcdef".to_owned(),
            key: "2026/05/09/0123456789abcdef0123456789abcdef".to_owned(),
            namespace: "team-a".to_owned(),
            gateway: "dev".to_owned(),
            pod: "dev-0".to_owned(),
            policy: String::new(),
            started: "2026-05-09T12:00:00Z".parse().unwrap(),
            closed: "2026-05-09T12:01:00.5Z".parse().unwrap(),
            closed_by: ClosedBy::Session,
            encryption: Encryption::None,
            bytes: 150,
            sha256: Hash::of(b"record"),
            chain: Some(Summary {
                members: 2,
                marks: vec![
                    Mark { end: 100, member: 0, head: Hash::of_member(b"0") },
                    Mark { end: 150, member: 1, head: Hash::of_member(b"1") },
                ],
            }),
            ranges: Vec::new(),
        }
    }

    #[test]
    fn what_is_written_is_read_back_and_its_signature_holds() {
        let (key, public) = (SigningKey::from_pem(KEY).unwrap(), VerifyingKey::from_pem(PUBLIC).unwrap());
        let file = write(&manifest(), Some(&key)).unwrap();
        assert_eq!(read(&file, std::slice::from_ref(&public)).unwrap(), (manifest(), Signed::Yes));
        assert_eq!(read(&file, &[]).unwrap().1, Signed::Unchecked);
        let unsigned = write(&manifest(), None).unwrap();
        assert_eq!(read(&unsigned, &[public]).unwrap(), (manifest(), Signed::No));
    }

    #[test]
    fn the_form_of_the_file_is_that_of_the_documentation() {
        let file = write(&manifest(), Some(&SigningKey::from_pem(KEY).unwrap())).unwrap();
        let file = String::from_utf8(file).unwrap();
        assert!(file.starts_with(r#"{"manifest":{"version":1,"connectionId":"0123"#), "{file}");
        assert!(file.contains(r#""closedBy":"session","encryption":"none","bytes":150,"sha256":"#), "{file}");
        assert!(file.contains(r#""chain":{"members":2,"marks":[{"end":100,"member":0,"head":"#), "{file}");
        assert!(file.contains(r#""signatures":[{"algorithm":"ed25519","keyId":""#), "{file}");
    }

    #[test]
    fn no_bit_of_a_signed_manifest_can_change_unnoticed() {
        let (key, public) = (SigningKey::from_pem(KEY).unwrap(), VerifyingKey::from_pem(PUBLIC).unwrap());
        let file = write(&manifest(), Some(&key)).unwrap();
        for bit in 0..(file.len() - 1) * 8 {
            let mut changed = file.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            if let Ok((read, Signed::Yes)) = read(&changed, std::slice::from_ref(&public)) {
                // Base64 has bits that mean nothing, and JSON escapes and blanks; none of it changes what is said.
                assert_eq!(read, manifest(), "bit {bit}");
            }
        }
    }

    #[test]
    fn another_key_does_not_sign_for_this_one() {
        let other = SigningKey::generate().unwrap();
        let file = write(&manifest(), Some(&other)).unwrap();
        let public = VerifyingKey::from_pem(PUBLIC).unwrap();
        assert_eq!(read(&file, &[public]).unwrap().1, Signed::Wrong);
        assert_eq!(read(&file, &[other.public().unwrap()]).unwrap().1, Signed::Yes);
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let mut swapped = manifest();
        swapped.chain.as_mut().unwrap().marks.reverse();
        let short = Manifest { bytes: 151, ..manifest() };
        let newer = Manifest { version: 2, ..manifest() };
        for (bad, expected) in [(swapped, "order"), (short, "order"), (newer, "newer release")] {
            let file = write(&bad, None).unwrap();
            let error = read(&file, &[]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        for file in [&b""[..], b"{}", b"[]", b"\xff", b"{\"manifest\":{}}", &vec![b' '; MAX_LEN + 1]] {
            assert!(read(file, &[]).is_err());
        }
    }

    #[test]
    fn digests_are_of_the_whole_and_of_few_pieces() {
        let data: Vec<u8> = (0..1_000_000_u32).map(|at| (at * 7 % 251) as u8).collect();
        let digests = Digests::of(&data[..], data.len() as u64).unwrap();
        assert_eq!(digests.sha256, Hash::of(&data));
        assert_eq!(
            digests.ranges.iter().map(|range| range.end).collect::<Vec<_>>(),
            [262_144, 524_288, 786_432, 1_000_000]
        );
        assert_eq!(digests.ranges[1].sha256, Hash::of(&data[262_144..524_288]));
        assert_eq!(Digests::of(&[][..], 0).unwrap().sha256, Hash::of(b""));
        assert!(Digests::of(&data[..10], 11).is_err());
    }
}
