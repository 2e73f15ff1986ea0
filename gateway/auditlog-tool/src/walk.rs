//! Which logs are meant: files, standard input, and all that is in a directory.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::ToolError;

/// A log to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// As [`Input::open`](crate::input::Input::open) takes it.
    pub(crate) spec: OsString,
    /// It was named itself; otherwise it is in a directory that was, where other files may be as well.
    pub(crate) named: bool,
}

/// The logs that these names stand for, those of directories in the order of their names. Follows no links to directories.
pub(crate) fn targets(specs: &[OsString]) -> Targets {
    let stack = specs.iter().rev().map(|spec| Target { spec: spec.clone(), named: true }).collect();
    Targets { stack }
}

/// See [`targets`].
#[derive(Debug)]
pub(crate) struct Targets {
    /// What is still to come, the next at the end.
    stack: Vec<Target>,
}

impl Iterator for Targets {
    type Item = Result<Target, ToolError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let target = self.stack.pop()?;
            let is_directory = |spec: &OsStr| spec != "-" && Path::new(spec).is_dir();
            if !is_directory(&target.spec) {
                return Some(Ok(target));
            }
            match entries(Path::new(&target.spec)) {
                Ok(entries) => {
                    let within = |path: PathBuf| Target { spec: path.into_os_string(), named: false };
                    self.stack.extend(entries.into_iter().rev().map(within));
                }
                Err(error) => {
                    let name = Path::new(&target.spec).display().to_string();
                    return Some(Err(ToolError::Open { name, error }));
                }
            }
        }
    }
}

/// The files and directories in a directory, sorted.
fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        // A pipe or a socket would be waited for; a link to a directory may lead back here.
        let leads_to_a_file = || fs::metadata(entry.path()).is_ok_and(|metadata| metadata.is_file());
        if kind.is_file() || kind.is_dir() || (kind.is_symlink() && leads_to_a_file()) {
            found.push(entry.path());
        }
    }
    found.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_walked_in_order_and_without_going_in_circles() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir_all(path("b/c")).unwrap();
        for name in ["z", "b/2", "b/1", "b/c/3", "a"] {
            fs::write(path(name), "").unwrap();
        }
        std::os::unix::fs::symlink(directory.path(), path("b/circle")).unwrap();
        std::os::unix::fs::symlink(path("a"), path("b/link")).unwrap();
        let found: Vec<Target> =
            targets(&["-".into(), directory.path().into()]).map(Result::unwrap).collect();
        assert_eq!(found[0], Target { spec: "-".into(), named: true });
        let expected = ["a", "b/1", "b/2", "b/c/3", "b/link", "z"].map(|name| path(name).into_os_string());
        assert_eq!(found[1..].iter().map(|target| target.spec.clone()).collect::<Vec<_>>(), expected);
        assert!(found[1..].iter().all(|target| !target.named));
    }

    #[test]
    fn what_does_not_exist_is_left_to_who_opens_it() {
        let found: Vec<Target> = targets(&["/does/not/exist".into()]).map(Result::unwrap).collect();
        assert_eq!(found, [Target { spec: "/does/not/exist".into(), named: true }]);
    }
}
