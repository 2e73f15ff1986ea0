//! The section `audit`: from the effective settings to the gateway's keys.

use std::time::Duration;

use containerssh_config as file;
use containerssh_crds::{self as api, merge::EffectiveSpool};

use super::SPOOL_DIRECTORY;
use crate::plan::{Audit, TargetKeys};

/// A file system takes a part of its volume for itself: ext4 about 7 %.
const USABLE_SHARE_OF_VOLUME: (u64, u64) = (9, 10);

/// The section. Without records it holds nothing but how sessions are limited while there are none.
pub(super) fn section(audit: &Audit) -> file::Audit {
    let effective = &audit.effective;
    let format = match effective.format {
        api::AuditFormat::None => file::AuditFormat::None,
        api::AuditFormat::Asciinema => file::AuditFormat::Asciinema,
        api::AuditFormat::Binary => file::AuditFormat::Binary,
    };
    let records = format != file::AuditFormat::None;
    file::Audit {
        enable: records,
        format,
        format_version: match effective.format_version {
            Some(2) => file::FormatVersion::V2,
            _ => file::FormatVersion::V1,
        },
        storage: if records { file::AuditStorage::S3 } else { file::AuditStorage::None },
        s3: s3(audit),
        intercept: file::Intercept {
            stdin: effective.intercept.stdin,
            stdout: effective.intercept.stdout,
            stderr: effective.intercept.stderr,
            passwords: effective.intercept.passwords,
            forwarding: effective.intercept.forwarding.unwrap_or_default(),
        },
        on_failure: match effective.on_failure {
            api::OnFailure::Allow => file::OnFailure::Allow,
            api::OnFailure::Deny => file::OnFailure::Deny,
        },
        spool: spool(&effective.spool),
        encryption: file::Encryption { recipients: effective.encrypt_to.clone() },
        signing: file::Signing {
            key: audit.keys.signing.as_ref().map(|key| file::PemOrFile::new(key.expose())),
            ..file::Signing::default()
        },
        events: events(audit),
        policy: file::AuditPolicyInfo {
            hash: audit.hash.clone(),
            sources: audit.sources.clone(),
            allow: super::security::allowed(&effective.allow),
        },
        ..file::Audit::default()
    }
}

fn s3(audit: &Audit) -> file::S3 {
    let mut s3 = file::S3 { local: SPOOL_DIRECTORY.to_owned(), ..file::S3::default() };
    if let Some(storage) = &audit.effective.storage {
        let storage = &storage.s3;
        s3.bucket.clone_from(&storage.bucket);
        s3.region.clone_from(&storage.region);
        s3.endpoint = storage.endpoint.clone().unwrap_or_default();
        s3.cacert = storage.ca_bundle.as_deref().map(file::PemOrFile::new);
        s3.acl = storage.acl.map(|acl| acl.as_header().to_owned()).unwrap_or_default();
        s3.path_style_access = storage.path_style_access.unwrap_or_default();
        // Who, from where: what an auditor looks for first, without opening each object.
        s3.metadata = file::S3Metadata { ip: true, username: true };
        // One that is no prefix has been refused by `check`.
        s3.prefix = storage.prefix.as_deref().and_then(|prefix| prefix.parse().ok()).unwrap_or_default();
        if let Some(encryption) = &storage.server_side_encryption {
            s3.server_side_encryption = file::ServerSideEncryption {
                kind: match encryption.type_ {
                    api::EncryptionType::None => file::SseType::None,
                    api::EncryptionType::AES256 => file::SseType::Aes256,
                    api::EncryptionType::KMS => file::SseType::AwsKms,
                },
                kms_key_id: encryption.kms_key_id.clone().unwrap_or_default(),
            };
        }
    }
    if let Some(lock) = &audit.effective.object_lock {
        s3.object_lock = file::ObjectLock {
            mode: match lock.mode {
                None | Some(api::LockMode::None) => file::LockMode::None,
                Some(api::LockMode::Governance) => file::LockMode::Governance,
                Some(api::LockMode::Compliance) => file::LockMode::Compliance,
            },
            retention: lock.retention.map(Duration::from).unwrap_or_default(),
            legal_hold: lock.legal_hold.unwrap_or_default(),
        };
    }
    if let Some(keys) = &audit.keys.s3 {
        s3.access_key = Some(keys.access_key.clone());
        s3.secret_key = Some(keys.secret_key.clone());
    }
    s3
}

fn spool(spool: &EffectiveSpool) -> file::Spool {
    let size = spool.size.bytes();
    file::Spool {
        size: file::ByteSize(match spool.medium {
            api::SpoolMedium::EmptyDir => size,
            api::SpoolMedium::Persistent => {
                let (share, whole) = USABLE_SHARE_OF_VOLUME;
                size / whole * share
            }
        }),
        on_full: match spool.on_full {
            api::OnFull::Drop => file::OnFull::Drop,
            api::OnFull::Block => file::OnFull::Block,
            api::OnFull::Deny => file::OnFull::Deny,
        },
        durability: match spool.durability {
            api::Durability::Group => file::Durability::Group,
            api::Durability::Strict => file::Durability::Strict,
        },
    }
}

fn events(audit: &Audit) -> Vec<file::EventTarget> {
    let without = TargetKeys::default();
    let mut keys = audit.keys.events.iter();
    let targets = audit.effective.events.iter().map(|events| {
        let keys = keys.next().unwrap_or(&without);
        file::EventTarget {
            webhook: events.target.webhook.as_ref().map(|target| webhook(target, keys)),
            syslog: events.target.syslog.as_ref().map(|target| syslog(target, keys)),
        }
    });
    targets.collect()
}

fn webhook(target: &api::EventWebhook, keys: &TargetKeys) -> file::EventWebhook {
    let default = file::EventWebhook::default();
    let batch = target.batch.unwrap_or_default();
    file::EventWebhook {
        url: target.url.clone(),
        encoding: match target.encoding.unwrap_or_default() {
            api::EventEncoding::JSON => file::EventEncoding::Json,
            api::EventEncoding::NDJSON => file::EventEncoding::Ndjson,
        },
        compression: match target.compression.unwrap_or_default() {
            api::EventCompression::None => file::EventCompression::None,
            api::EventCompression::Gzip => file::EventCompression::Gzip,
        },
        bearer_token: keys.bearer_token.clone(),
        cacert: target.ca_bundle.as_deref().map(file::PemOrFile::new),
        cert: pem(keys.certificate.as_ref()),
        key: pem(keys.key.as_ref()),
        timeout: target.timeout.map_or(default.timeout, Duration::from),
        batch: file::EventBatch {
            events: batch.events.and_then(|n| u32::try_from(n).ok()).unwrap_or(default.batch.events),
            bytes: batch.bytes.map_or(default.batch.bytes, |size| file::ByteSize(size.bytes())),
            delay: batch.delay.map_or(default.batch.delay, Duration::from),
        },
        include: target.include.as_deref().map(kinds),
        ..default
    }
}

fn syslog(target: &api::EventSyslog, keys: &TargetKeys) -> file::EventSyslog {
    let default = file::EventSyslog::default();
    file::EventSyslog {
        address: target.address.clone(),
        protocol: match target.protocol.unwrap_or_default() {
            api::SyslogProtocol::TCP => file::SyslogProtocol::Tcp,
            api::SyslogProtocol::TLS => file::SyslogProtocol::Tls,
        },
        cacert: target.ca_bundle.as_deref().map(file::PemOrFile::new),
        cert: pem(keys.certificate.as_ref()),
        key: pem(keys.key.as_ref()),
        facility: target.facility.and_then(|n| u8::try_from(n).ok()).unwrap_or(default.facility),
        include: target.include.as_deref().map(kinds),
        ..default
    }
}

fn pem(text: Option<&file::Secret>) -> Option<file::PemOrFile> {
    text.map(|text| file::PemOrFile::new(text.expose()))
}

/// What has no place in the gateway's keys at all, and would be lost without a word.
pub(super) fn untranslatable(audit: &Audit) -> Vec<String> {
    let storage = audit.effective.storage.as_ref().and_then(|storage| storage.s3.prefix.as_deref());
    let prefix = storage.and_then(|prefix| prefix.parse::<file::KeyPrefix>().err());
    let mut found: Vec<String> = prefix.map(|why| format!("storage.s3.prefix {why}")).into_iter().collect();
    let version = audit.effective.format_version;
    if version.is_some_and(|version| !(1..=2).contains(&version)) {
        found.push("formatVersion: this release writes 1 and 2".to_owned());
    }
    for events in &audit.effective.events {
        let webhook = events.target.webhook.as_ref().and_then(|webhook| webhook.include.as_ref());
        let syslog = events.target.syslog.as_ref().and_then(|syslog| syslog.include.as_ref());
        for word in webhook.or(syslog).into_iter().flatten() {
            if let Err(why) = word.parse::<file::EventKind>() {
                found.push(format!("events: {why}"));
            }
        }
    }
    found
}

/// Words that are none have been refused by `check`.
fn kinds(words: &[String]) -> Vec<file::EventKind> {
    words.iter().filter_map(|word| word.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_knows_the_types_of_events_that_the_gateway_knows() {
        let known: Vec<&str> = file::EventKind::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(api::EVENT_TYPES, known);
    }
}
