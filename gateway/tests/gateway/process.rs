//! The program itself.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::support::{listens, within};

pub(crate) fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_containerssh-gateway"));
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

async fn run(arguments: &[&str]) -> (String, String, Option<i32>) {
    let output = within("the program", program(arguments).output()).await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code())
}

fn write(directory: &Path, text: &str) -> PathBuf {
    let file = directory.join("config.yaml");
    std::fs::write(&file, text).unwrap();
    file
}

#[tokio::test]
async fn a_bad_configuration_is_one_clear_line_and_status_64() {
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), "ssh:\n  lissten: 0.0.0.0:22\n");
    for arguments in
        [&["--config", file.to_str().unwrap()][..], &["--check", "--config", file.to_str().unwrap()]]
    {
        let (_, stderr, status) = run(arguments).await;
        assert_eq!(status, Some(64));
        assert!(stderr.starts_with("containerssh-gateway: "), "{stderr}");
        for part in ["config.yaml", "2", "ssh.lissten", "listen"] {
            assert!(stderr.contains(part), "{part} is missing: {stderr}");
        }
    }
    let (_, stderr, status) = run(&["--config", "/nowhere/config.yaml"]).await;
    assert_eq!(status, Some(64));
    assert!(stderr.contains("/nowhere/config.yaml"), "{stderr}");
}

#[tokio::test]
async fn codes_are_documented() {
    let (stdout, _, status) = run(&["--codes"]).await;
    assert_eq!(status, Some(0));
    let documented =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/CODES.md")).unwrap();
    assert_eq!(stdout, documented, "write it anew: containerssh-gateway --codes > docs/CODES.md");
}

#[tokio::test]
async fn the_configuration_is_documented() {
    for (option, file, head) in [
        ("--schema", "config.schema.json", ""),
        ("--openapi", "webhooks.openapi.json", ""),
        ("--keys", "config.md", "<!-- keys -->\n"),
    ] {
        let (stdout, _, status) = run(&[option]).await;
        assert_eq!(status, Some(0));
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(file);
        let documented = std::fs::read_to_string(path).unwrap();
        let (_, generated) =
            if head.is_empty() { ("", documented.as_str()) } else { documented.split_once(head).unwrap() };
        assert!(stdout == generated, "write docs/{file} anew: containerssh-gateway {option}");
    }
}

#[tokio::test]
async fn an_old_file_is_understood_and_warned_of() {
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), "auth:\n  url: http://127.0.0.1:1\n  pubkey: true\n");
    let (_, stderr, status) = run(&["--check", "--config", file.to_str().unwrap()]).await;
    assert_eq!(status, Some(0), "{stderr}");
    assert!(stderr.contains("config.yaml:2: auth.url is ContainerSSH 0.4's"), "{stderr}");
    assert!(stderr.contains("CONFIG_AUTH_URL_DEPRECATED"), "{stderr}");
}

#[test]
fn every_code_has_one_meaning() {
    let tables: Vec<_> = containerssh_gateway::codes::TABLES.iter().map(|(_, table)| *table).collect();
    let all = [
        &tables[..],
        &[
            containerssh_auth::code::TABLE,
            containerssh_config::code::TABLE,
            containerssh_kubernetes::code::TABLE,
            containerssh_recorder::code::TABLE,
            containerssh_log::code::TABLE,
        ],
    ]
    .concat();
    assert_eq!(containerssh_log::codes::duplicates(&all), Vec::<&str>::new());
}

/// A port that is free now.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

struct Running {
    child: Child,
    health: SocketAddr,
    metrics: SocketAddr,
    ssh: SocketAddr,
    file: PathBuf,
    _directory: tempfile::TempDir,
}

/// A gateway whose cluster is out of reach, which shows only once somebody logs in.
async fn start() -> Running {
    let directory = tempfile::tempdir().unwrap();
    let (ssh, health, metrics) = (free_address(), free_address(), free_address());
    let audit = directory.path().join("audit");
    std::fs::create_dir(&audit).unwrap();
    let text = format!(
        "ssh: {{listen: '{ssh}'}}\n\
         auth: {{publicKey: {{authorizedKeys: {{paths: ['/nowhere/%u']}}}}}}\n\
         kubernetes: {{connection: {{host: '127.0.0.1:1', bearerToken: secret-token}}}}\n\
         audit: {{enable: true, format: binary, storage: file, file: {{directory: '{}'}}, policy: {{hash: abc}}}}\n\
         health: {{enable: true, listen: '{health}'}}\n\
         metrics: {{enable: true, listen: '{metrics}'}}\n",
        audit.display()
    );
    let file = write(directory.path(), &text);
    let child = program(&["--config", file.to_str().unwrap()]).spawn().unwrap();
    let running = Running { child, health, metrics, ssh, file, _directory: directory };
    listens("the health server", health).await;
    listens("the metrics server", metrics).await;
    running
}

async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    within("an answer", stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

#[tokio::test]
async fn runs_answers_and_ends_when_told() {
    let running = start().await;
    let mut identification = [0; 22];
    let mut stream = TcpStream::connect(running.ssh).await.unwrap();
    within("a greeting", stream.read_exact(&mut identification)).await.unwrap();
    assert_eq!(&identification, b"SSH-2.0-ContainerSSH\r\n");

    assert!(get(running.health, "/livez").await.starts_with("HTTP/1.0 200"));
    assert!(get(running.health, "/readyz").await.starts_with("HTTP/1.0 200"));
    assert!(get(running.health, "/").await.ends_with("\"ok\""));
    let status = get(running.health, "/status").await;
    for part in [
        "\"ready\":true",
        "\"policyHash\":\"abc\"",
        "\"connections\":1",
        "\"draining\":false",
        "\"webhooksWithoutAnswers\":[]",
    ] {
        assert!(status.contains(part), "{part} is missing: {status}");
    }
    let metrics = get(running.metrics, "/metrics").await;
    for part in [
        "containerssh_ssh_connections_total{country=\"XX\"} 1",
        "containerssh_ssh_current_connections{country=\"XX\"} 1",
        "containerssh_audit_policy_info{hash=\"abc\"} 1",
        "# EOF",
    ] {
        assert!(metrics.contains(part), "{part} is missing: {metrics}");
    }
    assert!(get(running.metrics, "/other").await.starts_with("HTTP/1.0 404"));
    let file = running.file.to_str().unwrap();
    assert_eq!(run(&["--healthcheck", "--config", file]).await.2, Some(0));

    let pid = running.child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
    let output = within("the end", running.child.wait_with_output()).await.unwrap();
    assert_eq!(output.status.code(), Some(0));
    let log = String::from_utf8(output.stdout).unwrap();
    assert!(log.contains("CORE_NO_HOST_KEYS") && log.contains("CORE_STOPPED"), "{log}");
    assert!(log.lines().all(|line| line.starts_with('{')), "{log}");
}

#[tokio::test]
async fn the_effective_configuration_is_shown_without_secrets() {
    let directory = tempfile::tempdir().unwrap();
    let file = write(
        directory.path(),
        "auth: {publicKey: {authorizedKeys: {paths: ['/keys/%u']}}}\nkubernetes: {connection: {bearerToken: secret-token}}\n",
    );
    let (stdout, _, status) = run(&["--dump-config", "--config", file.to_str().unwrap()]).await;
    assert_eq!(status, Some(0));
    assert!(stdout.contains("0.0.0.0:2222") && !stdout.contains("secret-token"), "{stdout}");
}
