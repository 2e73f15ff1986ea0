//! Programs as another user, which only root can start.

use containerssh_agent::{Account, Accounts, Base, HostGuest, HostSettings};
use containerssh_backend::{Guest as _, Output, ProgramSpec};

use crate::support::{Finished, collect, pty, settings, spec};

async fn as_user(spec: ProgramSpec) -> Finished {
    let accounts = Accounts::from_texts(
        "casual:x:12345:12346::/no/such/home:/bin/sh\n",
        "casual:x:12346:\ntty:x:5:\nextra:x:12347:casual\n",
    );
    let account: Account = accounts.by_name("casual").unwrap();
    let settings = HostSettings { account: Some(account), ..settings(Base::Host) };
    let guest = HostGuest::new("here".into(), settings, &accounts);
    let mut program = guest.start(spec).await.unwrap();
    program.input.eof().await.unwrap();
    collect(program.output.as_mut()).await
}

#[tokio::test]
async fn a_program_of_another_user_is_theirs_in_every_way_or_does_not_run() {
    let finished =
        as_user(spec("id -u; id -g; id -G; echo $USER $HOME; pwd; cat /proc/$$/status | grep ^Cap")).await;
    if !rustix::process::geteuid().is_root() {
        assert_eq!((finished.stdout().as_str(), finished.last), ("", Output::Exit(126)));
        return;
    }
    let text = finished.stdout();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..5], ["12345", "12346", "12346 12347", "casual /no/such/home", "/"], "{text}");
    let effective = lines.iter().find(|line| line.starts_with("CapEff")).unwrap();
    assert!(effective.ends_with("\t0000000000000000"), "{effective}");
    assert!(finished.stderr().contains("Could not chdir to home directory /no/such/home"), "{finished:?}");
}

#[tokio::test]
async fn their_terminal_is_theirs() {
    let finished = as_user(ProgramSpec { pty: pty(b""), ..spec("stat -c '%u %g %a' $(tty)") }).await;
    if rustix::process::geteuid().is_root() {
        assert!(finished.stdout().ends_with("12345 5 620\r\n"), "{finished:?}");
    } else {
        assert_eq!(finished.last, Output::Exit(126));
    }
}
