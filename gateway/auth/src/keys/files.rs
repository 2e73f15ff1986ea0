//! Files that say who may log in: read at each login, bounded, named after users.

use std::io::Read;
use std::path::{Path, PathBuf};

/// Longest user name: Linux's longest file name.
const MAX_USERNAME: usize = 255;

/// A file that could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("cannot read {}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{} is not a regular file", path.display())]
    NotAFile { path: PathBuf },
    #[error("{} is larger than {limit} bytes", path.display())]
    TooLarge { path: PathBuf, limit: u64 },
    #[error("reading the files of authorized keys took longer than {}s", super::READ_TIMEOUT.as_secs())]
    Timeout,
}

/// Whether a user name may stand in a path. It comes from a stranger, so: no separator, nothing that leads elsewhere,
/// and no leading dot, which is also how Kubernetes marks the bookkeeping in its mounts (`..data`).
pub(crate) fn is_plain(username: &str) -> bool {
    !username.is_empty()
        && username.len() <= MAX_USERNAME
        && !username.starts_with('.')
        && !username.chars().any(|character| character == '/' || character.is_control())
}

/// A path with `%u` and `%%` filled in.
pub(crate) fn fill(template: &str, username: &str) -> PathBuf {
    let mut path = String::new();
    let mut characters = template.chars();
    while let Some(character) = characters.next() {
        match character {
            '%' => match characters.next() {
                Some('u') => path.push_str(username),
                // The configuration allows "%%" only.
                Some(other) => path.push(other),
                None => {}
            },
            other => path.push(other),
        }
    }
    PathBuf::from(path)
}

/// A file's text; `None` when there is no such file.
pub(crate) fn read(path: &Path, limit: u64) -> Option<Result<String, ReadError>> {
    // Comments may be in any encoding; keys and options are ASCII and survive.
    Some(read_bytes(path, limit)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// A file's bytes, at most `limit` of them; `None` when there is no such file.
pub(crate) fn read_bytes(path: &Path, limit: u64) -> Option<Result<Vec<u8>, ReadError>> {
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => None,
        _ => Some(Err(ReadError::Io { path: path.to_owned(), source })),
    };
    match std::fs::metadata(path) {
        Err(error) => return failed(error),
        // Opening a pipe would wait for its writer.
        Ok(metadata) if !metadata.is_file() => {
            return Some(Err(ReadError::NotAFile { path: path.to_owned() }));
        }
        Ok(_) => {}
    }
    let mut bytes = Vec::new();
    match std::fs::File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes)) {
        Err(error) => failed(error),
        Ok(_) if bytes.len() as u64 > limit => {
            Some(Err(ReadError::TooLarge { path: path.to_owned(), limit }))
        }
        Ok(_) => Some(Ok(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_file_names_are_user_names() {
        for name in ["a", "alice", "a.b", "a-b_c", "Zoë", "a b", "%u", "~root", "-rf", &"x".repeat(255)] {
            assert!(is_plain(name), "{name}");
        }
        for name in
            ["", ".", "..", "..data", ".ssh", "a/b", "/etc/passwd", "../x", "a\0", "a\n", &"x".repeat(256)]
        {
            assert!(!is_plain(name), "{name}");
        }
    }

    #[test]
    fn a_user_name_is_put_in_as_it_is() {
        assert_eq!(fill("/k/%u/%%u/%u.pub", "%u"), Path::new("/k/%u/%u/%u.pub"));
    }
}
