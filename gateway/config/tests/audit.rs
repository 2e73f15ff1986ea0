//! `audit` in the spellings of the published documentation, and what contradicts itself.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use std::time::Duration;

use containerssh_config::{
    Audit, AuditFormat, AuditStorage, Config, ConfigError, FormatVersion, LockMode, PrefixPart, SseType,
    Syntax,
};

const LEAST: &str = "auth: {publicKey: {authorizedKeys: {paths: [/keys/%u]}}}\n";

/// The documentation's texts, as they stand there.
const OLD_S3: &str = include_str!("data/published/containerssh-0.4-s3.yaml");
const OLD_FILE: &str = include_str!("data/published/containerssh-0.4-file.yaml");
const NEW_S3: &str = include_str!("data/published/containerssh-0.5-irsa.yaml");
const NEW_INTERCEPT: &str = include_str!("data/published/containerssh-0.5-intercept.yaml");

fn parse(text: &str) -> Result<Audit, ConfigError> {
    Config::parse(&format!("{LEAST}{text}"), "c.yaml", Syntax::Yaml).map(|config| config.audit)
}

fn read(text: &str) -> Audit {
    parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn error(text: &str) -> String {
    parse(text).err().unwrap_or_else(|| panic!("was accepted:\n{text}")).to_string()
}

/// Settings below `audit` of a complete configuration for S3.
fn s3(lines: &str) -> String {
    format!(
        "audit:\n  enable: true\n  format: binary\n  storage: s3\n  s3:\n    bucket: b\n    region: r\n{lines}"
    )
}

#[test]
fn the_s3_example_of_0_4_is_read_as_written() {
    let audit = read(OLD_S3);
    assert_eq!((audit.storage, audit.format, audit.enable), (AuditStorage::S3, AuditFormat::None, false));
    let s3 = &audit.s3;
    assert_eq!((s3.local.as_str(), s3.acl.as_str()), ("/local/storage/directory", "public-read"));
    assert_eq!(s3.access_key.as_ref().unwrap().expose(), "your-access-key-here");
    assert_eq!((s3.upload_part_size, s3.metadata.ip, s3.metadata.username), (5 << 20, true, true));
    assert_eq!(s3.endpoint, "https://your-custom-s3-url");
}

#[test]
fn the_file_example_of_0_4_is_read_as_written() {
    let audit = read(OLD_FILE);
    assert_eq!((audit.storage, audit.file.directory.as_str()), (AuditStorage::File, "/var/log/audit"));
}

#[test]
fn a_file_of_0_4_records_although_it_has_no_enable() {
    let audit = read(&format!("{OLD_S3}  format: audit\n"));
    assert!(audit.is_recording());
    assert_eq!(audit.format, AuditFormat::Binary);
    let off = read(&format!("{OLD_S3}  format: audit\n  enable: false\n"));
    assert!(!off.is_recording(), "an explicit value counts");
    assert!(!read(&format!("{OLD_S3}  format: none\n")).is_recording());
    assert!(read(&format!("{OLD_FILE}  format: asciinema\n")).is_recording());
}

#[test]
fn the_examples_of_0_5_are_read_as_written() {
    let audit = read(NEW_S3);
    assert!(audit.is_recording());
    assert_eq!(audit.s3.local, "/var/lib/containerssh/audit");
    let parts: Vec<_> = audit.s3.prefix.parts().collect();
    assert_eq!(
        parts,
        [
            PrefixPart::Text("containerssh/"),
            PrefixPart::Placeholder("year"),
            PrefixPart::Text("/"),
            PrefixPart::Placeholder("month"),
            PrefixPart::Text("/"),
            PrefixPart::Placeholder("day"),
            PrefixPart::Text("/"),
        ]
    );
    // The other example says that the S3 configuration stands above it.
    let (_, own) = NEW_INTERCEPT.split_once("  intercept:").unwrap();
    let audit = read(&format!("{NEW_S3}  intercept:{own}"));
    assert!(audit.intercept.stdin && audit.intercept.stdout && audit.intercept.stderr);
    assert!(!audit.intercept.passwords);
    assert!(error(NEW_INTERCEPT).contains("audit.s3.bucket (is missing)"));
}

#[test]
fn two_names_of_one_setting_may_agree() {
    let audit =
        read("audit: {type: file, storage: file, format: asciicast, local: {path: /x}, s3: {local: /x}}");
    assert_eq!((audit.storage, audit.format), (AuditStorage::File, AuditFormat::Asciinema));
    assert_eq!(audit.s3.local, "/x");
    assert_eq!(read("audit: {s3: {local: {path: /y}}}").s3.local, "/y");
    assert_eq!(read("audit: {local: {path: /z}, s3: ~}").s3.local, "/z");
    assert_eq!(read("audit: {type: s3, storage: ~}").storage, AuditStorage::S3);
}

#[test]
fn contradictions_name_both_keys_and_the_line() {
    for (text, line, keys) in [
        ("audit:\n  storage: s3\n  type: file\n", 4, ["audit.type", "audit.storage"]),
        ("audit:\n  s3: {local: /a}\n  local:\n    path: /b\n", 4, ["audit.local.path", "audit.s3.local"]),
        (
            &s3("    serverSideEncryption: {type: AES256, kmsKeyId: k}\n"),
            9,
            ["audit.s3.serverSideEncryption.kmsKeyId", "audit.s3.serverSideEncryption.type"],
        ),
        (
            &s3("    objectLock:\n      retention: 24h\n"),
            10,
            ["audit.s3.objectLock.retention", "audit.s3.objectLock.mode"],
        ),
        (
            &s3("    objectLock:\n      mode: compliance\n"),
            9,
            ["audit.s3.objectLock.retention", "audit.s3.objectLock.mode"],
        ),
        (
            "audit:\n  enable: true\n  format: asciinema\n  formatVersion: 2\n  storage: file\n",
            5,
            ["audit.formatVersion", "audit.format"],
        ),
    ] {
        let error = error(text);
        assert!(error.starts_with(&format!("c.yaml:{line}: ")), "{error}\n{text}");
        assert!(keys.iter().all(|key| error.contains(key)), "{error}");
    }
}

#[test]
fn what_the_store_would_refuse_is_refused_when_it_is_read() {
    for (lines, expected) in [
        ("    acl: public\n", "audit.s3.acl (\"public\" is not one of \"private\", \"public-read\""),
        (
            "    abortStaleUploadsAfter: 1m\n",
            "audit.s3.abortStaleUploadsAfter (must be at least 1h, or 0 for never)",
        ),
        (
            "    objectLock: {mode: governance, retention: 1s}\n",
            "audit.s3.objectLock.retention (must be at least 1h)",
        ),
        ("    objectLock: {mode: strict}\n", "audit.s3.objectLock.mode (\"strict\" is not one of"),
        (
            "    serverSideEncryption: {type: aes}\n",
            "audit.s3.serverSideEncryption.type (\"aes\" is not one of",
        ),
        (
            "    serverSideEncryption: {type: 'aws:kms', kmsKeyId: 'a b'}\n",
            "kmsKeyId (must be printable ASCII",
        ),
        ("  formatVersion: 3\n", "audit.formatVersion (must be 1 or 2, but is 3)"),
        ("  local: {path: /x, size: 1}\n", "unknown key audit.local.size (there is only audit.local.path)"),
        ("  local: /x\n", "unknown key audit.local"),
        ("  storage: file\n  file: {prefix: '../{year}'}\n", "there twice"),
    ] {
        let error = error(&s3(lines));
        assert!(error.contains(expected), "{error}\nexpected {expected}");
    }
    for prefix in ["../x/", "x/./y", ".spool/"] {
        let error = error(&format!(
            "audit: {{enable: true, format: binary, storage: file, file: {{prefix: '{prefix}'}}}}"
        ));
        assert!(error.contains("audit.file.prefix (must not"), "{error}");
    }
}

#[test]
fn every_new_setting_is_read() {
    let audit = read(&s3(
        "    serverSideEncryption: {type: 'aws:kms', kmsKeyId: 'alias/audit'}\n    objectLock: {mode: compliance, \
         retention: 8760h, legalHold: true}\n    abortStaleUploadsAfter: 0\n  formatVersion: 2\n",
    ));
    assert_eq!(audit.s3.server_side_encryption.kind, SseType::AwsKms);
    assert_eq!(audit.s3.server_side_encryption.kms_key_id, "alias/audit");
    let lock = &audit.s3.object_lock;
    assert_eq!((lock.mode, lock.legal_hold), (LockMode::Compliance, true));
    assert_eq!(lock.retention, Duration::from_secs(365 * 24 * 3600));
    assert_eq!(audit.s3.abort_stale_uploads_after, Duration::ZERO);
    assert_eq!(audit.format_version, FormatVersion::V2);
    assert_eq!(read("").s3.abort_stale_uploads_after, Duration::from_secs(24 * 3600));
}

#[test]
fn recipients_and_signing_keys_that_would_not_work_are_refused_without_showing_them() {
    let key = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";
    let message = error(&s3(&format!("  encryption: {{recipients: [{key}]}}")));
    assert!(message.contains("audit.encryption.recipients[0] (is a secret key"), "{message}");
    assert!(!message.contains("GFPYYSJZ"), "{message}");
    let recipient = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";
    assert!(read(&s3(&format!("  encryption: {{recipients: [{recipient}]}}"))).encryption.is_on());
    for (lines, expected) in [
        (format!("encryption: {{recipients: [{recipient}, {recipient}]}}"), "[1] (is there twice"),
        (format!("encryption: {{recipients: [{}]}}", recipient.replace('z', "q")), "is mistyped"),
        ("signing: {key: /a, keyFile: /b}".to_owned(), "keyFile (key is set as well"),
        ("signing: {keyFile: signing.pem}".to_owned(), "must be an absolute path"),
        ("signing: {key: \"\"}".to_owned(), "is empty"),
        ("spool: {durability: maybe}".to_owned(), "durability"),
    ] {
        let message = error(&s3(&format!("  {lines}")));
        assert!(message.contains(expected), "{lines}: {message}");
    }
}

#[test]
fn an_encrypted_record_cannot_become_casts() {
    let recipient = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";
    let text = s3(&format!("  encryption: {{recipients: [{recipient}]}}"))
        .replace("format: binary", "format: asciinema");
    assert!(error(&text).contains("needs audit.format binary"), "{text}");
}
