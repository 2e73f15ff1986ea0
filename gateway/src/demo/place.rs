//! Where the demo keeps its files, and what it says first.

use std::fs::{self, DirBuilder};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use russh::keys::PrivateKey;
use russh::keys::ssh_key::LineEnding;

const KEY: &str = "id_ed25519";
const KNOWN_HOSTS: &str = "known_hosts";
const RECORDS: &str = "records";

/// A directory of our own that only its owner may enter.
#[derive(Debug)]
pub(super) struct Place(PathBuf);

impl Place {
    /// `wanted`, which must not exist or be empty, or a new directory among the temporary files.
    pub(super) fn make(wanted: Option<&Path>) -> anyhow::Result<Self> {
        let directory = match wanted {
            Some(wanted) => std::path::absolute(wanted)?,
            None => {
                // An unguessable name: nobody has made it before us.
                std::env::temp_dir().join(format!("containerssh-demo-{:016x}", rand::random::<u64>()))
            }
        };
        let cannot = || format!("cannot use {} for the demo's files", directory.display());
        match DirBuilder::new().mode(0o700).create(&directory) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && wanted.is_some() => {
                anyhow::ensure!(
                    fs::read_dir(&directory).with_context(cannot)?.next().is_none(),
                    "{} is not empty: choose another --directory",
                    directory.display()
                );
            }
            result => result.with_context(cannot)?,
        }
        let place = Self(directory);
        DirBuilder::new()
            .mode(0o700)
            .create(place.records())
            .with_context(|| place.0.display().to_string())?;
        Ok(place)
    }

    pub(super) fn records(&self) -> PathBuf {
        self.0.join(RECORDS)
    }

    /// The user's key, and the host's for `ssh` to know it by.
    pub(super) fn write_keys(
        &self,
        address: SocketAddr,
        user: &PrivateKey,
        host: &PrivateKey,
    ) -> anyhow::Result<()> {
        user.write_openssh_file(self.0.join(KEY), LineEnding::LF).context("cannot write the key")?;
        let known = format!("[{}]:{} {}\n", address.ip(), address.port(), host.public_key().to_openssh()?);
        fs::write(self.0.join(KNOWN_HOSTS), known).context("cannot write the host key")
    }

    pub(super) fn welcome(&self, address: SocketAddr, user: &str, password: &str) -> String {
        let key = shell_word(&for_ssh(&self.0.join(KEY)));
        let known =
            shell_word(&format!("UserKnownHostsFile={}", ssh_word(&for_ssh(&self.0.join(KNOWN_HOSTS)))));
        let (host, port) = (address.ip(), address.port());
        format!(
            "A recording SSH gateway listens on {address}. What runs in it runs on this machine, as {user}. Log in:\n\n  \
             ssh -p {port} -i {key} -o IdentitiesOnly=yes -o {known} {user}@{host}\n\n\
             Other clients may use the password {password}\n\
             Ctrl-C ends it.\n"
        )
    }
}

/// As a word for a shell: paths may hold anything.
pub(super) fn shell_word(text: &str) -> String {
    if text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+:@%=".contains(c)) && !text.is_empty() {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

/// A path as `ssh` takes it, which expands what follows a percent sign.
fn for_ssh(path: &Path) -> String {
    path.display().to_string().replace('%', "%%")
}

/// As one word of an option of ssh's that takes several (ssh_config(5)).
fn ssh_word(text: &str) -> String {
    if text.contains(char::is_whitespace) { format!("\"{text}\"") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_shell() {
        assert_eq!(shell_word("/tmp/a-b_c.d"), "/tmp/a-b_c.d");
        assert_eq!(shell_word("/tmp/it's $HOME"), "'/tmp/it'\\''s $HOME'");
    }

    #[test]
    fn files_of_others_are_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("theirs"), "").unwrap();
        assert!(Place::make(Some(directory.path())).unwrap_err().to_string().contains("not empty"));
        let place = Place::make(Some(&directory.path().join("new"))).unwrap();
        assert!(place.records().is_dir());
        assert_eq!(
            std::os::unix::fs::MetadataExt::mode(&fs::metadata(directory.path().join("new")).unwrap())
                & 0o777,
            0o700
        );
    }
}
