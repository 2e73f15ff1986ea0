//! What events say of a record that is complete.

use std::io::{self, Read as _};

use containerssh_auditlog::manifest;
use containerssh_siem::{FinishedRecord, Recovered};

use crate::integrity::{self, Finished};
use crate::spool::RecordId;
use crate::spool::dir::{SpoolDir, Stage};
use crate::spool::sidecar::Sidecar;

/// Of a record that its session closed.
pub(crate) fn finished(finished: &Finished) -> FinishedRecord {
    FinishedRecord {
        sha256: Some(finished.sha256.to_string()),
        object: Some(finished.key.clone()),
        bytes: Some(finished.bytes),
    }
}

/// Of a record that an earlier run left, before or after it is ready; as much as is known of it. Blocks.
pub(crate) fn recovered(dir: &SpoolDir, id: &RecordId) -> Recovered {
    let nameless = Recovered { session_id: id.to_string(), interrupted: true, ..Recovered::default() };
    let Ok(sidecar) = Sidecar::read(&dir.sidecar(id)) else { return nameless };
    let present = [Stage::Ready, Stage::Open].map(|stage| std::fs::metadata(dir.record(id, stage)));
    let record = FinishedRecord {
        sha256: None,
        object: Some(integrity::place(&sidecar)),
        bytes: present.into_iter().find_map(|metadata| Some(metadata.ok()?.len())),
    };
    Recovered {
        remote: sidecar.remote_addr,
        username: Some(sidecar.username().to_owned()).filter(|name| !name.is_empty()),
        policy_hash: sidecar.policy.hash.clone(),
        interrupted: sidecar.interrupted,
        record: read_manifest(dir, id).unwrap_or(record),
        ..nameless
    }
}

/// What a record's manifest says, which is exact.
fn read_manifest(dir: &SpoolDir, id: &RecordId) -> io::Result<FinishedRecord> {
    let mut text = Vec::new();
    let file = std::fs::File::open(dir.manifest(id))?;
    // One byte more than is read at all.
    file.take(manifest::MAX_LEN as u64 + 1).read_to_end(&mut text)?;
    let (manifest, _signed) = manifest::read(&text, &[]).map_err(io::Error::other)?;
    Ok(FinishedRecord {
        sha256: Some(manifest.sha256.to_string()),
        object: Some(manifest.key),
        bytes: Some(manifest.bytes),
    })
}
