//! `verify`: whether records are what was written, and if not, where.

mod text;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, BufRead as _, Read as _};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use containerssh_auditlog::encrypted::is_encrypted;
use containerssh_auditlog::manifest::{self, Manifest, ManifestError, Signed, VerifyingKey};
use containerssh_auditlog::verify::{self, Report, Verdict};
use serde::Serialize;

use crate::complain;
use crate::error::ToolError;
use crate::input::{Input, SourceArgs};
use crate::outcome::Outcome;
use crate::output::Output;
use crate::progress::Progress;
use crate::store::StoreError;
use crate::walk;

/// A file of public keys is not longer.
const MAX_KEYS: u64 = 64 << 10;

/// The arguments of `verify`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Each record is compared with the manifest beside it (RECORD.manifest.json), if there is one, and with the chain of \
                        digests in itself. Without a manifest, or with one that is not signed, only changes by somebody who could \
                        not change the manifest or recompute the chain are found.\n\n\
                        Exit status: 0 all records are intact, or were cut by a crash and closed by recovery; 1 wrong usage, or \
                        something cannot be read; 2 a record or its manifest was changed; 3 a record's end is missing; 4 there is \
                        nothing to tell by. The least favourable of several records counts, in the order 2, 1, 3, 4."
)]
pub(crate) struct VerifyArgs {
    /// Records, or directories with records; s3://BUCKET/KEY; - for standard input
    #[arg(required = true, value_name = "RECORD")]
    records: Vec<OsString>,

    /// The record's manifest, if it is not RECORD.manifest.json
    #[arg(long, value_name = "FILE")]
    manifest: Option<OsString>,

    /// Public keys (PEM): the manifest must be there and signed by one of them
    #[arg(long, value_name = "FILE")]
    public_key: Vec<PathBuf>,

    /// What to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,

    #[command(flatten)]
    source: SourceArgs,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Lines for people
    #[default]
    Text,
    /// One JSON object per record and line
    Json,
}

/// Why verification cannot begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VerifyError {
    #[error("--manifest names the manifest of one record, but several records are given")]
    ManifestOfMany,
    #[error("cannot use {path} as a public key: {problem}")]
    Key { path: String, problem: String },
}

/// What is known of one record.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Checked {
    file: String,
    encrypted: bool,
    manifest: Seal,
    #[serde(flatten)]
    report: Report,
    /// Of an encrypted record, if there is a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Content>,
}

/// What is in an encrypted record.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
enum Content {
    Read(Box<Report>),
    Unreadable(String),
}

/// What is known of the manifest.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
enum Seal {
    /// There is none.
    Missing,
    /// It is none, or not signed as it must be.
    Bad(String),
    /// It was used.
    Used { signed: Signed, connection: String, key: String },
}

impl Checked {
    fn verdict(&self) -> Verdict {
        match (&self.manifest, &self.content, self.report.verdict) {
            (Seal::Bad(_), ..) | (_, Some(Content::Unreadable(_)), _) => Verdict::Altered,
            // What is inside says more than what is outside where nothing is known of that.
            (_, Some(Content::Read(content)), Verdict::Unproven | Verdict::Intact | Verdict::Recovered) => {
                content.verdict
            }
            (.., verdict) => verdict,
        }
    }
}

/// Runs the subcommand.
pub(crate) fn run(args: &VerifyArgs, output: &mut Output) -> Result<Outcome, ToolError> {
    if args.manifest.is_some() && args.records.len() > 1 {
        return Err(VerifyError::ManifestOfMany.into());
    }
    let keys = args.public_key.iter().map(|path| key(path)).collect::<Result<Vec<_>, _>>()?;
    let progress = Progress::start(&args.records);
    let mut worst = Outcome::Done;
    for target in walk::targets(&args.records) {
        let checked = target.and_then(|target| {
            let name = target.spec.to_string_lossy();
            if !target.named && name.ends_with(manifest::SUFFIX) {
                return Ok(None);
            }
            check(&target.spec, target.named, args, &keys, &progress)
        });
        let outcome = match checked {
            Ok(None) => continue,
            Ok(Some(checked)) => {
                let text = match args.format {
                    Format::Text => text::lines(&checked),
                    Format::Json => json(&checked),
                };
                progress.suspend(|| {
                    output.write(text.as_bytes())?;
                    output.flush()
                })?;
                outcome(checked.verdict())
            }
            Err(error) => {
                progress.suspend(|| complain(&error));
                Outcome::NotVerified(1)
            }
        };
        if severity(outcome) > severity(worst) {
            worst = outcome;
        }
    }
    Ok(worst)
}

fn outcome(verdict: Verdict) -> Outcome {
    match verdict {
        Verdict::Intact | Verdict::Recovered => Outcome::Done,
        Verdict::Altered => Outcome::NotVerified(2),
        Verdict::Cut => Outcome::NotVerified(3),
        Verdict::Unproven => Outcome::NotVerified(4),
    }
}

/// A larger number is less favourable.
fn severity(outcome: Outcome) -> u8 {
    match outcome.status() {
        2 => 4,
        1 => 3,
        3 => 2,
        4 => 1,
        _ => 0,
    }
}

/// Looks at one record. `None`: it is none, and was not named itself.
fn check(
    spec: &OsStr,
    named: bool,
    args: &VerifyArgs,
    keys: &[VerifyingKey],
    progress: &Progress,
) -> Result<Option<Checked>, ToolError> {
    let mut input = Input::open(spec, &args.source)?;
    input.watch(progress);
    let file = input.name().to_owned();
    let mut record = input.stored()?;
    let read = |error| ToolError::Open { name: file.clone(), error };
    let start = record.fill_buf().map_err(read)?;
    let encrypted = is_encrypted(start);
    if !named && !encrypted && !start.starts_with(b"ContainerSSH-Auditlog") {
        return Ok(None);
    }
    let (manifest, seal) = match find_manifest(spec, args)? {
        None if keys.is_empty() => (None, Seal::Missing),
        None => (None, Seal::Bad("there is none, so nothing is signed".to_owned())),
        Some(bytes) => read_manifest(&bytes, keys),
    };
    if !encrypted {
        let report = verify::plain(record, manifest.as_ref()).map_err(read)?;
        return Ok(Some(Checked { file, encrypted, manifest: seal, report, content: None }));
    }
    // What was stored is compared with the manifest; its content, which has a chain, is looked at by whoever has a key.
    let report = verify::sealed(record, manifest.as_ref()).map_err(read)?;
    let content = match args.source.has_identity() && spec != "-" {
        false => None,
        true => {
            let content = Input::open(spec, &args.source).and_then(|mut input| input.reader());
            Some(match content.and_then(|content| verify::plain(content, None).map_err(read)) {
                Ok(report) => Content::Read(Box::new(report)),
                Err(error) => Content::Unreadable(error.to_string()),
            })
        }
    };
    Ok(Some(Checked { file, encrypted, manifest: seal, report, content }))
}

/// The manifest's bytes; `None` if there is none where it would be, and none was named.
fn find_manifest(spec: &OsStr, args: &VerifyArgs) -> Result<Option<Vec<u8>>, ToolError> {
    let beside = || {
        let mut beside = spec.to_owned();
        beside.push(manifest::SUFFIX);
        beside
    };
    let named = args.manifest.is_some();
    let spec = match &args.manifest {
        Some(manifest) => manifest.clone(),
        None if spec == "-" => return Ok(None),
        None => beside(),
    };
    let mut input = match Input::open(&spec, &args.source) {
        Ok(input) => input,
        Err(ToolError::Open { error, .. }) if !named && error.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        Err(ToolError::Store(error)) if !named && matches!(*error, StoreError::Missing { .. }) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    let name = input.name().to_owned();
    let limit = manifest::MAX_LEN as u64 + 1;
    let read = input.reader()?.take(limit).read_to_end(&mut bytes);
    read.map(|_| Some(bytes)).map_err(|error| ToolError::Open { name, error })
}

fn read_manifest(bytes: &[u8], keys: &[VerifyingKey]) -> (Option<Manifest>, Seal) {
    let (manifest, signed) = match manifest::read(bytes, keys) {
        Ok(read) => read,
        Err(error @ (ManifestError::Version(_) | ManifestError::Malformed(_))) => {
            return (None, Seal::Bad(error.to_string()));
        }
        Err(error) => return (None, Seal::Bad(error.to_string())),
    };
    match signed {
        Signed::Wrong => (Some(manifest), Seal::Bad("it is not signed by any of the given keys".to_owned())),
        Signed::No if !keys.is_empty() => (Some(manifest), Seal::Bad("it is not signed".to_owned())),
        signed => {
            let (connection, key) = (manifest.connection_id.clone(), manifest.key.clone());
            (Some(manifest), Seal::Used { signed, connection, key })
        }
    }
}

fn key(path: &Path) -> Result<VerifyingKey, VerifyError> {
    let fail = |problem: String| VerifyError::Key { path: path.display().to_string(), problem };
    let mut text = String::new();
    let file = fs::File::open(path).map_err(|error| fail(error.to_string()))?;
    file.take(MAX_KEYS).read_to_string(&mut text).map_err(|error| fail(error.to_string()))?;
    VerifyingKey::from_pem(&text).map_err(|error| fail(error.to_string()))
}

fn json(checked: &Checked) -> String {
    // Numbers and text: this does not fail.
    let mut line = serde_json::to_string(checked).unwrap_or_default();
    line.push('\n');
    line
}
