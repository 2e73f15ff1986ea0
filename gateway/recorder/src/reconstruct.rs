//! A sidecar for a record that has lost its own: who and when from the record itself, where to from the present
//! configuration.

use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _};
use std::path::Path;

use containerssh_auditlog::{Decoder, Message, Payload, encrypted};
use containerssh_config::Audit;

use crate::error::UploadError;
use crate::settings::GatewayIdentity;
use crate::spool::RecordId;
use crate::spool::sidecar::{Destination, Encrypted, Sidecar, User};

/// Authentication is over long before this many records; the rest is content.
const MAX_LOOK: usize = 1000;

/// Makes a sidecar. Blocks.
pub(crate) fn sidecar(
    record: &Path,
    id: &RecordId,
    gateway: &GatewayIdentity,
    present: &Audit,
) -> Result<Sidecar, UploadError> {
    let destination = Destination::of(present).ok_or(UploadError::NoDestination)?;
    let file = File::open(record).map_err(UploadError::Read)?;
    let modified = file.metadata().and_then(|metadata| metadata.modified()).map_err(UploadError::Read)?;
    let mut sidecar = Sidecar {
        connection_id: id.to_string(),
        started: jiff::Timestamp::try_from(modified).unwrap_or(jiff::Timestamp::UNIX_EPOCH),
        remote_addr: None,
        country: String::new(),
        user: None,
        gateway: gateway.clone(),
        policy: present.policy.clone(),
        destination,
        format: present.format,
        encrypted: None,
        interrupted: true,
    };
    let mut start = Vec::new();
    (&file).take(encrypted::MAGIC.len() as u64).read_to_end(&mut start).map_err(UploadError::Read)?;
    (&file).rewind().map_err(UploadError::Read)?;
    if encrypted::is_encrypted(&start) || start.is_empty() && present.encryption.is_on() {
        // What is in it is nobody's business here. Its end is written for those who may read records now.
        sidecar.encrypted = Some(Encrypted {
            recipients: present.encryption.recipients.clone(),
            version: u64::from(present.format_version.number()),
            chunks: None,
        });
        return Ok(sidecar);
    }
    let decoder = Decoder::new(BufReader::new(file))
        .map_err(|error| UploadError::Read(std::io::Error::new(std::io::ErrorKind::InvalidData, error)))?;
    for (number, message) in decoder.take(MAX_LOOK).flatten().enumerate() {
        if number == 0 {
            let first = jiff::Timestamp::from_nanosecond(i128::from(message.timestamp));
            sidecar.started = first.unwrap_or(sidecar.started);
        }
        learn(&mut sidecar, &message);
    }
    Ok(sidecar)
}

/// Takes from a record what a sidecar holds.
fn learn(sidecar: &mut Sidecar, message: &Message) {
    match &message.payload {
        Payload::Connect { remote_addr, country } => {
            sidecar.country.clone_from(country);
            // The reference writes the address alone.
            sidecar.remote_addr = remote_addr
                .parse()
                .ok()
                .or_else(|| remote_addr.parse().ok().map(|ip: std::net::IpAddr| (ip, 0).into()));
        }
        Payload::AuthPasswordSuccessful { username, .. }
        | Payload::AuthPubKeySuccessful { username, .. }
        | Payload::HandshakeSuccessful { username } => {
            sidecar.user = Some(User { username: username.clone(), authenticated_username: String::new() });
        }
        _ => {}
    }
}
