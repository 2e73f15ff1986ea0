//! What to run for a request, as whom, and where: everything about a program that is decided before it starts.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use containerssh_backend::{BackendError, Command, ProgramSpec};

use crate::accounts::{Account, Accounts};
use crate::environment::{self, Identity};
use crate::launch::{Fallback, LaunchOrder, Run, User};
use crate::open_files;

/// Where sftp-server is in Debian and Arch, in Fedora and FreeBSD's layout, and in Alpine and SUSE. Where there is none, our
/// own serves.
const SFTP_SERVERS: [&str; 4] = [
    "/usr/lib/openssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/lib/ssh/sftp-server",
    "/usr/libexec/sftp-server",
];
const SFTP: &str = "sftp";
const BUSYBOX: &str = "/bin/busybox";
/// Shells that let nobody in: no shell at all in an image, a decision on a host.
const NO_LOGIN: [&str; 2] = ["nologin", "false"];

/// What a program's environment begins with, and with it whose word counts about shells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// Nothing, and the user database decides about the shell: a host, as under sshd.
    Host,
    /// That of this process, and any shell will do: a container, whose image often has users that no one maintains.
    Container,
}

/// How a [`HostGuest`](crate::HostGuest) runs programs.
#[derive(Debug, Clone)]
pub struct HostSettings {
    /// The executable whose `main` calls [`launch::main_if_asked`](crate::launch::main_if_asked).
    pub launcher: PathBuf,
    /// Host or container.
    pub base: Base,
    /// Runs programs as this user, which only root can; `None` for the user of this process.
    pub account: Option<Account>,
    /// Variables from authentication, for every program.
    pub environment: Vec<(String, String)>,
    /// Runs instead of the login shell for a shell request.
    pub shell_command: Option<Vec<String>>,
    /// Programs of subsystems by name, each a path. `sftp` always exists.
    pub subsystems: BTreeMap<String, String>,
}

impl HostSettings {
    /// Programs as the user of this process, launched by this very executable.
    #[must_use]
    pub fn of(base: Base) -> Self {
        Self {
            launcher: PathBuf::from("/proc/self/exe"),
            base,
            account: None,
            environment: Vec::new(),
            shell_command: None,
            subsystems: BTreeMap::new(),
        }
    }
}

/// Whom programs run as: settled once per connection.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    name: String,
    pub(crate) uid: u32,
    home: String,
    /// As the user database has it; may be empty.
    shell: String,
    /// Set where it is not the user of this process.
    pub(crate) switch: Option<User>,
}

impl Person {
    pub(crate) fn new(account: Option<&Account>, accounts: &Accounts) -> Self {
        let own = rustix::process::getuid().as_raw();
        let switch = account.map(|account| User {
            uid: account.uid,
            gid: account.gid,
            groups: accounts.groups(account),
        });
        match account.cloned().or_else(|| accounts.by_uid(own)) {
            Some(Account { name, uid, home, shell, .. }) => Self { name, uid, home, shell, switch },
            None => Self { name: String::new(), uid: own, home: String::new(), shell: String::new(), switch },
        }
    }
}

/// The order for `spec`. `terminal` is the name of its terminal, `base` what its environment begins with.
pub(crate) fn order(
    settings: &HostSettings,
    person: &Person,
    base: &[(String, String)],
    spec: &ProgramSpec,
    terminal: Option<&str>,
) -> Result<LaunchOrder, BackendError> {
    let shell = Shell::of(settings.base, person, base);
    let run = match &spec.command {
        Command::Shell => match &settings.shell_command {
            Some(words) => program(words)?,
            None => shell.as_ref().map_err(Clone::clone)?.login(),
        },
        Command::Exec(line) => command_line(&shell, line)?,
        Command::Subsystem(name) => subsystem(&settings.subsystems, name)?,
    };
    let home = if person.home.starts_with('/') { person.home.as_str() } else { "/" };
    let identity = Identity {
        user: &person.name,
        uid: person.uid,
        home,
        shell: shell.as_ref().map_or("/bin/sh", |shell| shell.path.as_str()),
    };
    let environment = environment::build(base, spec, &identity, terminal);
    let home = environment.iter().find(|(name, _)| name == "HOME").map_or(home, |(_, home)| home.as_str());
    let order = LaunchOrder {
        terminal: spec.pty.is_some(),
        user: person.switch.clone(),
        directory: home.to_owned(),
        fallback: match settings.base {
            Base::Host => Fallback::Root,
            Base::Container => Fallback::Stay,
        },
        environment,
        open_files: open_files::found(),
        run,
    };
    if order.has_nul() {
        return Err(BackendError::ProgramFailed("The command contains a NUL character.".to_owned()));
    }
    Ok(order)
}

/// A shell that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Shell {
    path: String,
    /// What it is called by, which is what busybox decides by.
    name: String,
}

impl Shell {
    fn of(kind: Base, person: &Person, base: &[(String, String)]) -> Result<Self, BackendError> {
        match kind {
            Base::Host => {
                let path = if person.shell.is_empty() { "/bin/sh" } else { person.shell.as_str() };
                Self::at(path).ok_or_else(|| {
                    BackendError::ProgramFailed(format!(
                        "The login shell of {} is {path}, which cannot be run.",
                        person.name
                    ))
                })
            }
            Base::Container => {
                let own = base.iter().find(|(name, _)| name == "SHELL").map_or("", |(_, path)| path.as_str());
                [own, person.shell.as_str(), "/bin/bash", "/bin/sh", "/usr/bin/sh"]
                    .into_iter()
                    .filter(|path| !NO_LOGIN.contains(&file_name(path)))
                    .find_map(Self::at)
                    .or_else(|| {
                        is_executable(BUSYBOX)
                            .then(|| Self { path: BUSYBOX.to_owned(), name: "sh".to_owned() })
                    })
                    .ok_or_else(|| {
                        BackendError::ProgramFailed(
                            "This image has no shell. Ask for a program with its arguments, without anything that \
                             only a shell understands."
                                .to_owned(),
                        )
                    })
            }
        }
    }

    fn at(path: &str) -> Option<Self> {
        (path.starts_with('/') && is_executable(path))
            .then(|| Self { path: path.to_owned(), name: file_name(path).to_owned() })
    }

    /// By the convention that a login shell is called with a dash.
    fn login(&self) -> Run {
        Run::Program { path: self.path.clone(), arg0: format!("-{}", self.name), arguments: Vec::new() }
    }

    fn command(&self, line: &str) -> Run {
        Run::Program {
            path: self.path.clone(),
            arg0: self.name.clone(),
            arguments: vec!["-c".to_owned(), line.to_owned()],
        }
    }
}

/// By the shell, exactly as sent. Where there is none, a line that means the same without one: plain words.
fn command_line(shell: &Result<Shell, BackendError>, line: &str) -> Result<Run, BackendError> {
    match shell {
        Ok(shell) => Ok(shell.command(line)),
        Err(error) => {
            let plain = line.chars().all(|c| c.is_ascii_alphanumeric() || " \t_./:@%+,-".contains(c));
            let words: Vec<String> = line.split_ascii_whitespace().map(str::to_owned).collect();
            if plain && !words.is_empty() { program(&words) } else { Err(error.clone()) }
        }
    }
}

/// A program by its words; the launcher finds it on the program's `PATH`.
fn program(words: &[String]) -> Result<Run, BackendError> {
    let Some((path, arguments)) = words.split_first() else {
        return Err(BackendError::ProgramFailed("The configured command is empty.".to_owned()));
    };
    Ok(Run::Program { path: path.clone(), arg0: path.clone(), arguments: arguments.to_vec() })
}

fn subsystem(configured: &BTreeMap<String, String>, name: &str) -> Result<Run, BackendError> {
    let path = configured.get(name).map(String::as_str);
    let run =
        |path: &str| Run::Program { path: path.to_owned(), arg0: path.to_owned(), arguments: Vec::new() };
    match path {
        Some(path) if is_executable(path) => Ok(run(path)),
        // The default that everybody inherits, which only some images have in that place.
        _ if name == SFTP && path.is_none_or(|path| SFTP_SERVERS.contains(&path)) => {
            Ok(SFTP_SERVERS.into_iter().find(|path| is_executable(path)).map_or(Run::Sftp, run))
        }
        Some(path) => {
            Err(BackendError::ProgramFailed(format!("There is no program for {name}: no {path} is here.")))
        }
        None => Err(BackendError::ProgramFailed(format!("The subsystem {name:?} is not configured."))),
    }
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn is_executable(path: &str) -> bool {
    Path::new(path)
        .metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(command: Command) -> ProgramSpec {
        ProgramSpec { channel: 0, command, env: Vec::new(), pty: None, x11: None, auth_agent: false }
    }

    fn person(shell: &str) -> Person {
        let passwd = format!("alice:x:1000:1000::/home/alice:{shell}\n");
        let accounts = Accounts::from_texts(&passwd, "log:x:4:alice\n");
        Person::new(accounts.by_name("alice").as_ref(), &accounts)
    }

    fn run(base: Base, shell: &str, command: Command) -> Result<LaunchOrder, BackendError> {
        order(&HostSettings::of(base), &person(shell), &[], &spec(command), None)
    }

    #[test]
    fn a_command_goes_to_the_login_shell_as_it_was_sent() {
        for line in ["", " ", "ls -l | wc", "echo 'a  b'; exit 3", "caf\u{e9}"] {
            let order = run(Base::Host, "/bin/sh", Command::Exec(line.to_owned())).unwrap();
            let Run::Program { path, arg0, arguments } = order.run else { panic!() };
            assert_eq!((path.as_str(), arg0.as_str()), ("/bin/sh", "sh"));
            assert_eq!(arguments, ["-c", line]);
        }
        let order = run(Base::Host, "", Command::Shell).unwrap();
        assert_eq!(order.user, Some(User { uid: 1000, gid: 1000, groups: vec![1000, 4] }));
        assert_eq!(order.directory, "/home/alice");
        let Run::Program { arg0, arguments, .. } = order.run else { panic!() };
        assert_eq!((arg0.as_str(), arguments.len()), ("-sh", 0));
        assert!(run(Base::Host, "/bin/sh", Command::Exec("a\0b".to_owned())).is_err());
    }

    #[test]
    fn a_host_means_what_its_user_database_says_and_an_image_does_not() {
        let error = run(Base::Host, "/no/such/shell", Command::Shell).unwrap_err().to_string();
        assert!(error.contains("alice") && error.contains("/no/such/shell"), "{error}");
        for shell in ["/no/such/shell", "/bin/false", "/usr/sbin/nologin"] {
            let order = run(Base::Container, shell, Command::Exec("x".to_owned())).unwrap();
            let Run::Program { path, .. } = order.run else { panic!() };
            assert!(["/bin/bash", "/bin/sh"].contains(&path.as_str()), "{path}");
        }
    }

    #[test]
    fn without_a_shell_only_plain_words_are_run() {
        let none = Err(BackendError::ProgramFailed("no shell".to_owned()));
        let Run::Program { path, arguments, .. } =
            command_line(&none, " /app/run --level info  a.b").unwrap()
        else {
            panic!()
        };
        assert_eq!(
            (path.as_str(), arguments.as_slice()),
            ("/app/run", &["--level", "info", "a.b"].map(String::from)[..])
        );
        for line in [
            "", " ", "a | b", "a; b", "a $HOME", "a 'b'", "A=1 b", "a > b", "a*", "~/a", "a\nb", "a #b",
            "a\\b",
        ] {
            assert!(command_line(&none, line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn sftp_is_always_there_and_other_subsystems_where_they_are_configured() {
        let configured = |name: &str, path: &str| BTreeMap::from([(name.to_owned(), path.to_owned())]);
        let here = SFTP_SERVERS.into_iter().any(is_executable);
        let inside = |run: Run| matches!(run, Run::Sftp);
        assert_eq!(inside(subsystem(&BTreeMap::new(), "sftp").unwrap()), !here);
        assert_eq!(inside(subsystem(&configured("sftp", SFTP_SERVERS[0]), "sftp").unwrap()), !here);
        assert!(!inside(subsystem(&configured("sftp", "/bin/sh"), "sftp").unwrap()));
        assert!(!inside(subsystem(&configured("backup", "/bin/sh"), "backup").unwrap()));
        assert!(subsystem(&configured("backup", "/no/such"), "backup").is_err());
        assert!(subsystem(&configured("sftp", "/no/such"), "sftp").is_err(), "an explicit choice stands");
        assert!(subsystem(&BTreeMap::new(), "netconf").is_err());
    }
}
