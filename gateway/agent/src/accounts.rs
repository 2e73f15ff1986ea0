//! The user database of the host: `/etc/passwd` and `/etc/group`, read as text (passwd(5), group(5)).
//!
//! Without the C library's name service, because the agent is one static binary in images of any kind, and because a
//! lookup over the network would hold a login up. Accounts that only a directory service knows are not found.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// Bytes of a database that are read. A line has about 60 bytes; larger databases are in a directory service.
const MAX_DATABASE: u64 = 4 * 1024 * 1024;
/// Supplementary groups of one user: what Linux allows a process (`NGROUPS_MAX`).
const MAX_GROUPS: usize = 65_536;

/// One line of `/etc/passwd`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group's id.
    pub gid: u32,
    /// Home directory; may be empty.
    pub home: String,
    /// Login shell; empty means `/bin/sh`.
    pub shell: String,
}

/// Both databases.
#[derive(Debug, Clone, Default)]
pub struct Accounts {
    passwd: String,
    group: String,
}

impl Accounts {
    /// Those of this host. What cannot be read is empty: an image need not have users.
    #[must_use]
    pub fn of_host() -> Self {
        Self { passwd: read(Path::new("/etc/passwd")), group: read(Path::new("/etc/group")) }
    }

    /// From their texts.
    #[must_use]
    pub fn from_texts(passwd: &str, group: &str) -> Self {
        Self { passwd: passwd.to_owned(), group: group.to_owned() }
    }

    /// The first account of that name.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<Account> {
        self.accounts().find(|account| account.name == name)
    }

    /// The first account of that user id.
    #[must_use]
    pub fn by_uid(&self, uid: u32) -> Option<Account> {
        self.accounts().find(|account| account.uid == uid)
    }

    /// The ids of all groups of an account, its primary group first, as `initgroups(3)` would set them.
    #[must_use]
    pub fn groups(&self, account: &Account) -> Vec<u32> {
        let mut groups = vec![account.gid];
        for line in self.group.lines() {
            let mut fields = line.split(':');
            let (Some(_), Some(_), Some(gid), Some(members)) =
                (fields.next(), fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            let Ok(gid) = gid.parse() else { continue };
            if members.split(',').any(|member| member == account.name) && !groups.contains(&gid) {
                groups.push(gid);
            }
        }
        groups.truncate(MAX_GROUPS);
        groups
    }

    /// The id of a group by its name.
    #[must_use]
    pub fn group_id(&self, name: &str) -> Option<u32> {
        self.group.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
        })
    }

    /// The name of a group by its id.
    #[must_use]
    pub fn group_name(&self, gid: u32) -> Option<String> {
        self.group.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)?.parse() == Ok(gid)).then(|| name.to_owned())
        })
    }

    fn accounts(&self) -> impl Iterator<Item = Account> + '_ {
        self.passwd.lines().filter_map(parse_account)
    }
}

fn read(path: &Path) -> String {
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(MAX_DATABASE).read_to_end(&mut bytes)) {
        // A line that is not UTF-8 does not match a name that is.
        Ok(_) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(_) => String::new(),
    }
}

fn parse_account(line: &str) -> Option<Account> {
    let mut fields = line.split(':');
    let (name, _password, uid, gid, _comment, home, shell) = (
        fields.next()?,
        fields.next()?,
        fields.next()?,
        fields.next()?,
        fields.next()?,
        fields.next()?,
        fields.next()?,
    );
    // `+` and `-` include a directory service (compat mode): they name nobody.
    if fields.next().is_some() || name.is_empty() || name.starts_with(['+', '-', '#']) {
        return None;
    }
    Some(Account {
        name: name.to_owned(),
        uid: uid.parse().ok()?,
        gid: gid.parse().ok()?,
        home: home.to_owned(),
        shell: shell.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\n\
                          # a comment:x:1:1:::\n\
                          broken:x:notanumber:1::/:/bin/sh\n\
                          short:x:5\n\
                          +@netgroup:x:6:6::/:/bin/sh\n\
                          alice:x:1000:1000:Alice,,,:/home/alice:\n\
                          alice:x:0:0:a second one:/:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nwheel:x:10:root,alice\naudio:x:29:alicex\nalice:x:1000:alice\nlog:x:no:alice\ntty:x:5:\nlast:x:77:bob,alice";

    #[test]
    fn the_first_line_of_a_name_counts_and_broken_lines_do_not() {
        let accounts = Accounts::from_texts(PASSWD, GROUP);
        let alice = accounts.by_name("alice").unwrap();
        assert_eq!((alice.uid, alice.home.as_str(), alice.shell.as_str()), (1000, "/home/alice", ""));
        assert_eq!(accounts.by_uid(0).unwrap().name, "root");
        for nobody in ["", "broken", "short", "+@netgroup", "# a comment", "Alice", "bob"] {
            assert_eq!(accounts.by_name(nobody), None, "{nobody}");
        }
    }

    #[test]
    fn groups_are_those_that_name_the_user_whole() {
        let accounts = Accounts::from_texts(PASSWD, GROUP);
        let alice = accounts.by_name("alice").unwrap();
        assert_eq!(accounts.groups(&alice), [1000, 10, 77]);
        assert_eq!(accounts.group_id("tty"), Some(5));
        assert_eq!(accounts.group_id("tt"), None);
        assert_eq!((accounts.group_name(5).as_deref(), accounts.group_name(6)), (Some("tty"), None));
    }
}
