//! `fetch`: a record as a file, whole and verified, or not at all.
//!
//! What has come is kept in `FILE.part`, with the object's identity in its name, so that the next attempt goes on there. The
//! file itself appears under its name only when its SHA-256 is the one in the object's metadata.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::client::{Store, StoreArgs, StoreError};
use super::location::{self, Location, is_location};
use super::ls::{Filter, Search};
use super::object::Kind;
use super::reader::ObjectReader;
use crate::error::ToolError;
use crate::outcome::Outcome;
use crate::output::Output;
use crate::progress::Progress;

/// Bytes passed on at a time.
const BLOCK: usize = 64 << 10;

/// Names shown where several objects fit.
const SHOWN: usize = 10;

/// The arguments of `fetch`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct FetchArgs {
    /// s3://bucket/key as `ls` prints it, or a connection's id or its beginning (with --from)
    #[arg(value_name = "OBJECT")]
    object: String,
    /// Where to look for a connection: as for `ls`
    #[arg(long, value_name = "LOCATION")]
    from: Option<Location>,
    /// The file to write, `-` for standard output. Without it: the object's own name, here
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    store: StoreArgs,
}

/// Fetches a record.
pub(crate) fn run(args: &FetchArgs, output: &mut Output) -> Result<Outcome, ToolError> {
    let store = Arc::new(Store::open(&args.store)?);
    let (bucket, key) = find(args, &store)?;
    let name = format!("s3://{bucket}/{key}");
    let file = match &args.output {
        Some(path) if path == Path::new("-") => {
            let reader = ObjectReader::open(store, &bucket, &key, 0, None)?;
            let expected = reader.sha256().map(str::to_owned);
            let found = stream(reader, |block| output.write(block), &name)?;
            verify(&name, &found, expected.as_deref())?;
            return Ok(Outcome::Done);
        }
        Some(path) => path.clone(),
        None => PathBuf::from(key.rsplit('/').next().unwrap_or(&key)),
    };
    to_file(&store, &bucket, &key, &file)?;
    Ok(Outcome::Done)
}

/// The object that is meant: as it is given, or the one record of a connection.
fn find(args: &FetchArgs, store: &Store) -> Result<(String, String), ToolError> {
    let wrong = |problem: String| StoreError::Location { location: args.object.clone(), problem };
    if is_location(args.object.as_ref()) {
        let (bucket, key) = location::object(&args.object).map_err(wrong)?;
        return Ok((bucket.to_owned(), key.to_owned()));
    }
    let Some(location) = &args.from else {
        return Err(wrong(
            "is no s3://bucket/key; for a connection's id, say where with --from s3://bucket/prefix".into(),
        ))?;
    };
    if args.object.is_empty() || args.object.contains('/') {
        Err(wrong("is no connection's id".into()))?;
    }
    let mut found = Vec::new();
    let search = Search { store, location, filter: &args.filter, always_ask: false };
    search.each(Some(&args.object), |listed, _| {
        if listed.kind() != Kind::Manifest {
            found.push(listed.key.clone());
        }
        Ok(())
    })?;
    match found.as_slice() {
        [key] => Ok((location.bucket.clone(), key.clone())),
        [] => Err(wrong(format!(
            "no record at s3://{}/{} begins so",
            location.bucket,
            location.template.as_str()
        )))?,
        several => {
            let shown: Vec<String> =
                several.iter().take(SHOWN).map(|key| format!("\n  s3://{}/{key}", location.bucket)).collect();
            let more = several.len().saturating_sub(SHOWN);
            let more = if more > 0 { format!("\n  and {more} more") } else { String::new() };
            let text = format!(
                "{} objects are meant by {}; name one:{}{more}",
                several.len(),
                args.object,
                shown.concat()
            );
            Err(StoreError::Choice(text))?
        }
    }
}

/// Writes the object to a file, going on where an earlier attempt stopped.
fn to_file(store: &Arc<Store>, bucket: &str, key: &str, file: &Path) -> Result<(), ToolError> {
    let name = format!("s3://{bucket}/{key}");
    // Opened once to learn which object it is now; what was kept counts only if it is of the same.
    let mut reader = ObjectReader::open(store.clone(), bucket, key, 0, None)?;
    let part = part_path(file, reader.tag());
    let at = |error| ToolError::Write { name: part.display().to_string(), error };
    let mut out =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&part).map_err(at)?;
    let kept = out.metadata().map_err(at)?.len();
    let mut digest = Sha256::new();
    if kept > 0 && kept < reader.length() {
        let tag = reader.tag().map(str::to_owned);
        io::copy(&mut (&mut out).take(kept), &mut digest).map_err(at)?;
        reader = ObjectReader::open(store.clone(), bucket, key, kept, tag.as_deref())?;
    } else {
        out.set_len(0).map_err(at)?;
        out.seek(SeekFrom::Start(0)).map_err(at)?;
    }
    let expected = reader.sha256().map(str::to_owned);
    let found = continue_stream(reader, digest, |block| out.write_all(block).map_err(at), &name)?;
    if let Err(error) = verify(&name, &found, expected.as_deref()) {
        // The next attempt must not go on with this.
        let _best_effort = std::fs::remove_file(&part);
        Err(error)?;
    }
    out.sync_all().map_err(at)?;
    std::fs::rename(&part, file)
        .map_err(|error| ToolError::Write { name: file.display().to_string(), error })?;
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // The name's durability is a courtesy here.
    let _best_effort = File::open(parent).and_then(|parent| parent.sync_all());
    Ok(())
}

/// Where an unfinished file is kept.
fn part_path(file: &Path, tag: Option<&str>) -> PathBuf {
    let tag: String = tag.unwrap_or_default().chars().filter(char::is_ascii_alphanumeric).take(16).collect();
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{tag}.part"));
    file.with_file_name(name)
}

/// Passes the whole object on. Returns its SHA-256, hexadecimal.
fn stream(
    reader: ObjectReader,
    write: impl FnMut(&[u8]) -> Result<(), ToolError>,
    name: &str,
) -> Result<String, ToolError> {
    continue_stream(reader, Sha256::new(), write, name)
}

fn continue_stream(
    reader: ObjectReader,
    mut digest: Sha256,
    mut write: impl FnMut(&[u8]) -> Result<(), ToolError>,
    name: &str,
) -> Result<String, ToolError> {
    let progress = Progress::of_bytes(reader.length());
    let mut reader = progress.meter().reader(Box::new(io::BufReader::with_capacity(BLOCK, reader)));
    let mut block = vec![0; BLOCK];
    loop {
        let length =
            reader.read(&mut block).map_err(|error| ToolError::Open { name: name.to_owned(), error })?;
        let Some(read) = block.get(..length).filter(|read| !read.is_empty()) else { break };
        digest.update(read);
        write(read)?;
    }
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn verify(name: &str, found: &str, expected: Option<&str>) -> Result<(), StoreError> {
    match expected {
        Some(expected) if expected != found => Err(StoreError::Checksum {
            name: name.to_owned(),
            found: found.to_owned(),
            expected: expected.to_owned(),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_one_object_is_not_taken_for_another() {
        let path = |tag| part_path(Path::new("/x/record"), Some(tag));
        assert_eq!(path("\"aa/b-2\""), Path::new("/x/record.aab2.part"));
        assert_ne!(path("\"a\""), path("\"b\""));
        assert_eq!(part_path(Path::new("record"), None), Path::new("record..part"));
    }

    #[test]
    fn a_wrong_digest_is_said_with_both() {
        let error = verify("s3://b/k", "aa", Some("bb")).unwrap_err().to_string();
        assert!(error.contains("aa") && error.contains("bb") && error.contains("s3://b/k"), "{error}");
        assert!(verify("s3://b/k", "aa", None).is_ok());
    }
}
