//! The ten-second look: what it prints works when it is copied.

use std::fs::File;
use std::io::BufReader;
use std::process::Stdio;

use containerssh_auditlog::{Decoder, IoStream, Message};
use tokio::io::{AsyncBufReadExt as _, BufReader as AsyncBufReader, Lines};
use tokio::process::{ChildStdout, Command};

use crate::process::program;
use crate::support::{Record, recorded, within};

type Output = Lines<AsyncBufReader<ChildStdout>>;

async fn line_with(output: &mut Output, wanted: &str) -> String {
    within(wanted, async {
        loop {
            let line = output.next_line().await.unwrap().expect(wanted);
            if line.contains(wanted) {
                return line;
            }
        }
    })
    .await
}

async fn shell(line: &str) -> String {
    let mut command = Command::new("sh");
    command.args(["-c", line]).env_remove("SSH_AUTH_SOCK").stdin(Stdio::null()).kill_on_drop(true);
    let output = within(line, command.output()).await.unwrap();
    assert!(output.status.success(), "{line}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The record that the next announcement names.
async fn announced(output: &mut Output, how: &str) -> Record {
    let line = line_with(output, "containerssh-auditlog-tool").await;
    assert!(line.contains(how), "{line}");
    // As the shell that it is copied into takes it apart.
    let words =
        shell(&format!("printf '%s\\n'{}", line.split_once("containerssh-auditlog-tool").unwrap().1)).await;
    let path = words.lines().find(|word| word.contains("/records/")).unwrap();
    let decoder = Decoder::new(BufReader::new(File::open(path).unwrap())).unwrap();
    decoder.map(Result::<Message, _>::unwrap).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lines_it_prints_log_in_and_show_what_was_recorded() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("a demo");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let mut demo =
        program(&["demo", "--port", &port, "--directory", place.to_str().unwrap()]).spawn().unwrap();
    let mut output = AsyncBufReader::new(demo.stdout.take().unwrap()).lines();
    let login = line_with(&mut output, "ssh -p").await.trim().to_owned();
    assert!(!login.contains(&format!("-p {port} ")), "a port that is taken is passed over");
    let password = line_with(&mut output, "password").await.rsplit(' ').next().unwrap().to_owned();

    // As copied: the key is good and the host is known.
    assert_eq!(shell(&format!("{login} -o BatchMode=yes 'echo by key'")).await, "by key\n");
    let record = announced(&mut output, "--format text").await;
    assert_eq!(recorded(&record, IoStream::Stdout), b"by key\n");

    let terminal =
        format!("{login} -tt -o PubkeyAuthentication=no -o NumberOfPasswordPrompts=1 'echo by password'");
    assert_eq!(shell(&format!("sshpass -p '{password}' {terminal}")).await, "by password\r\n");
    let record = announced(&mut output, " play ").await;
    assert_eq!(recorded(&record, IoStream::Stdout), b"by password\r\n");

    let wrong = format!("sshpass -p wrong {terminal} || echo refused");
    assert_eq!(shell(&wrong).await, "refused\n");
    let stranger = login.rsplit_once(' ').unwrap().0;
    assert_eq!(
        shell(&format!("{stranger} -o BatchMode=yes stranger@127.0.0.1 true || echo refused")).await,
        "refused\n"
    );

    let pid = demo.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().await.unwrap().success());
    assert!(line_with(&mut output, "records stay in").await.contains("a demo/records"));
    assert!(within("the end", demo.wait()).await.unwrap().success());
}
