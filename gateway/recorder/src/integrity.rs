//! What makes a change to a finished record show: its seal, and the manifest beside it.
//!
//! The chain is in the record itself (`containerssh_auditlog::chain`). When a record is closed, by its session or by
//! recovery, its manifest is written beside it in the spool, and from there on goes wherever the record goes, under the
//! record's name with `.manifest.json` added. It is signed with the key that the session had when it began: a key that
//! cannot be had shows then, where `audit.onFailure` can still decide, and not when the session is over.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};

use containerssh_auditlog::chain::{Chain, Hash};
use containerssh_auditlog::encrypted::Recipients;
use containerssh_auditlog::manifest::{self, ClosedBy, Digests, Encryption, Manifest, SigningKey, Summary};
use containerssh_config::Signing;

use crate::object_key::{self, Place};
use crate::spool::RecordId;
use crate::spool::dir::{SpoolDir, Stage, create};
use crate::spool::sidecar::{Destination, Sidecar};

/// A record that is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finished {
    /// Its length.
    pub(crate) bytes: u64,
    /// Its SHA-256.
    pub(crate) sha256: Hash,
    /// Where it is to be stored: the object's key, or the file's name.
    pub(crate) key: String,
}

/// The key that manifests are signed with; `None` if they are not to be. Blocks.
pub(crate) fn signing_key(signing: &Signing) -> io::Result<Option<SigningKey>> {
    let invalid = |error: &dyn std::fmt::Display| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("the key of audit.signing cannot be used: {error}"),
        )
    };
    let Some(pem) = signing.load().map_err(|error| invalid(&error))? else { return Ok(None) };
    SigningKey::from_pem(&pem).map(Some).map_err(|error| invalid(&error))
}

/// To whom a record is encrypted; `None` if it is not to be.
pub(crate) fn recipients(sidecar: &Sidecar) -> io::Result<Option<Recipients>> {
    let Some(encrypted) = &sidecar.encrypted else { return Ok(None) };
    Recipients::parse(&encrypted.recipients).map_err(|error| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("audit.encryption.recipients: {error}"))
    })
}

/// Writes the manifest of a record that is complete in its file, durably. Blocks for one pass over the record.
///
/// `chain` is the record's, if one can be seen from outside.
pub(crate) fn finish(
    dir: &SpoolDir,
    id: &RecordId,
    stage: Stage,
    sidecar: &Sidecar,
    chain: Option<&Chain>,
    closed_by: ClosedBy,
    key: Option<&SigningKey>,
) -> io::Result<Finished> {
    let record = File::open(dir.record(id, stage))?;
    let length = record.metadata()?.len();
    let digests = Digests::of(record, length)?;
    let manifest = Manifest {
        version: Manifest::VERSION,
        connection_id: sidecar.connection_id.clone(),
        key: place(sidecar),
        namespace: sidecar.gateway.namespace.clone(),
        gateway: sidecar.gateway.gateway.clone(),
        pod: sidecar.gateway.pod.clone(),
        policy: sidecar.policy.hash.clone(),
        started: sidecar.started,
        closed: jiff::Timestamp::now(),
        closed_by,
        encryption: if sidecar.encrypted.is_some() { Encryption::Age } else { Encryption::None },
        bytes: digests.bytes,
        sha256: digests.sha256,
        chain: chain.map(|chain| Summary { members: chain.members(), marks: chain.marks().to_vec() }),
        ranges: if chain.is_some() { Vec::new() } else { digests.ranges },
    };
    let file = manifest::write(&manifest, key).map_err(io::Error::other)?;
    let path = dir.manifest(id);
    let temporary = path.with_extension("manifest.tmp");
    let mut out = create(OpenOptions::new().write(true).create(true).truncate(true), &temporary)?;
    out.write_all(&file)?;
    out.sync_all()?;
    std::fs::rename(&temporary, &path)?;
    Ok(Finished { bytes: manifest.bytes, sha256: manifest.sha256, key: manifest.key })
}

/// Where the record belongs.
pub(crate) fn place(sidecar: &Sidecar) -> String {
    let prefix = match &sidecar.destination {
        Destination::S3(bucket) => &bucket.prefix,
        Destination::File { prefix, .. } => prefix,
    };
    let place = Place {
        namespace: &sidecar.gateway.namespace,
        gateway: &sidecar.gateway.gateway,
        started: sidecar.started,
        username: sidecar.username(),
    };
    object_key::key(prefix, place, &sidecar.connection_id)
}
