//! Where the program's log goes: files that are moved away, and a real rsyslogd by every way there is.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::process::{free_address, program};
use crate::support::{listens, within};

/// Waits until a file has a line like this, and returns its lines.
async fn until(file: &Path, wanted: impl Fn(&str) -> bool) -> Vec<String> {
    within(&format!("a line in {}", file.display()), async {
        loop {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            if text.lines().any(&wanted) {
                return text.lines().map(str::to_owned).collect();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}

struct Started {
    child: Child,
    file: PathBuf,
    log: String,
    _directory: tempfile::TempDir,
}

impl Started {
    /// A gateway that logs as `log` (a YAML mapping) says; `$DIR` is a directory of its own.
    async fn new(log: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config.yaml");
        let ssh = free_address();
        let log = log.replace("$DIR", directory.path().to_str().unwrap());
        write(&file, ssh, &log, "notice");
        let child = program(&["--config", file.to_str().unwrap()]).spawn().unwrap();
        listens("the gateway", ssh).await;
        Self { child, file, log: format!("{ssh} {log}"), _directory: directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.file.with_file_name(name)
    }

    /// Makes the gateway say something: a changed configuration is in force.
    fn speak(&self, banner: &str) {
        let (ssh, log) = self.log.split_once(' ').unwrap();
        write(&self.file, ssh.parse().unwrap(), log, banner);
        self.signal(rustix::process::Signal::HUP);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let id = i32::try_from(self.child.id().unwrap()).unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    async fn end(mut self) {
        self.signal(rustix::process::Signal::TERM);
        within("the gateway's end", self.child.wait()).await.unwrap();
    }
}

fn write(file: &Path, ssh: SocketAddr, log: &str, banner: &str) {
    let text = format!(
        "ssh: {{listen: '{ssh}', banner: '{banner}'}}\nbackend: local\nlog: {log}\n\
         auth: {{publicKey: {{authorizedKeys: {{paths: [/nowhere/%u]}}}}}}\n"
    );
    std::fs::write(file, text).unwrap();
}

#[tokio::test]
async fn a_log_file_that_was_moved_away_is_opened_anew_at_sighup() {
    let gateway = Started::new("{destination: file, file: $DIR/gateway.log}").await;
    let (current, moved) = (gateway.path("gateway.log"), gateway.path("gateway.log.1"));
    until(&current, |line| line.contains("CORE_STARTED")).await;
    std::fs::rename(&current, &moved).unwrap();
    gateway.signal(rustix::process::Signal::HUP);
    within("the new file", async {
        while !current.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    gateway.speak("another");
    let lines = until(&current, |line| line.contains("CORE_CONFIG_RELOADED")).await;
    assert!(lines.iter().all(|line| serde_json::from_str::<Value>(line).unwrap()["timestamp"].is_string()));
    let old = std::fs::read_to_string(&moved).unwrap();
    assert!(old.contains("CORE_STARTED") && !old.contains("CORE_CONFIG_RELOADED"), "{old}");
    gateway.end().await;
}

#[tokio::test]
async fn a_log_that_cannot_be_written_is_an_error_at_the_start() {
    for (log, words) in [
        ("{destination: file, file: /nowhere/gateway.log}", "log.file: cannot open /nowhere/gateway.log"),
        (
            "{destination: syslog, syslog: {destination: /nowhere/log}}",
            "log.syslog.destination: cannot reach",
        ),
        (
            "{destination: syslog, syslog: {destination: 'h:1', protocol: tls, cacert: /nowhere}}",
            "log.syslog.cacert",
        ),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config.yaml");
        write(&file, free_address(), log, "x");
        let output =
            within("the program", program(&["--config", file.to_str().unwrap()]).output()).await.unwrap();
        assert_eq!(output.status.code(), Some(1), "{log}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(words), "{log}: {said}");
    }
}

/// A syslog daemon of its own, which writes what it gets as JSON, a message per line.
struct Daemon {
    child: Child,
    directory: tempfile::TempDir,
    udp: SocketAddr,
    tcp: SocketAddr,
    tls: SocketAddr,
}

/// An authority, and the certificate and key of a server on 127.0.0.1: files of `directory`.
fn write_certificates(directory: &Path) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = authority.self_signed(&key).unwrap();
    let issuer = Issuer::new(authority, key);
    let mut server = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate().unwrap();
    let leaf = server.signed_by(&key, &issuer).unwrap();
    std::fs::write(directory.join("ca.pem"), certificate.pem()).unwrap();
    std::fs::write(directory.join("cert.pem"), leaf.pem()).unwrap();
    std::fs::write(directory.join("key.pem"), key.serialize_pem()).unwrap();
}

impl Daemon {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (udp, tcp, tls) = (free_address(), free_address(), free_address());
        write_certificates(directory.path());
        let at = directory.path().display();
        let config = format!(
            r#"
global(workDirectory="{at}" DefaultNetstreamDriver="gtls" DefaultNetstreamDriverCAFile="{at}/ca.pem"
       DefaultNetstreamDriverCertFile="{at}/cert.pem" DefaultNetstreamDriverKeyFile="{at}/key.pem")
module(load="imtcp" StreamDriver.Name="gtls" StreamDriver.Mode="1" StreamDriver.Authmode="anon")
module(load="imuxsock" SysSock.Use="off")
module(load="imudp")
module(load="imptcp")
input(type="imuxsock" Socket="{at}/log" CreatePath="off")
input(type="imudp" address="127.0.0.1" port="{}")
input(type="imptcp" address="127.0.0.1" port="{}")
input(type="imtcp" address="127.0.0.1" port="{}")
template(name="all" type="list" option.jsonf="on") {{
  property(outname="facility" name="syslogfacility-text" format="jsonf")
  property(outname="severity" name="syslogseverity-text" format="jsonf")
  property(outname="host" name="hostname" format="jsonf")
  property(outname="tag" name="syslogtag" format="jsonf")
  property(outname="msgid" name="msgid" format="jsonf")
  property(outname="input" name="inputname" format="jsonf")
  property(outname="msg" name="msg" format="jsonf")
}}
action(type="omfile" file="{at}/messages" template="all")
"#,
            udp.port(),
            tcp.port(),
            tls.port(),
        );
        std::fs::write(directory.path().join("rsyslog.conf"), config).unwrap();
        let child = Self::run(directory.path());
        let daemon = Self { child, directory, udp, tcp, tls };
        daemon.is_up().await;
        daemon
    }

    fn run(directory: &Path) -> Child {
        let at = |name: &str| directory.join(name);
        Command::new("/usr/sbin/rsyslogd")
            .arg("-n")
            .arg("-f")
            .arg(at("rsyslog.conf"))
            .arg("-i")
            .arg(at("pid"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("rsyslogd (package rsyslog)")
    }

    async fn is_up(&self) {
        listens("rsyslogd", self.tcp).await;
        listens("rsyslogd's TLS (package rsyslog-gnutls)", self.tls).await;
        within("the daemon's socket", async {
            while std::os::unix::net::UnixDatagram::unbound().unwrap().connect(self.path("log")).is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }

    async fn stop(&mut self) {
        self.child.kill().await.unwrap();
        let _ = std::fs::remove_file(self.path("log"));
    }

    async fn again(&mut self) {
        self.child = Self::run(self.directory.path());
        self.is_up().await;
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What it got until a message with this code.
    async fn until(&self, code: &str) -> Vec<Value> {
        let lines = until(&self.path("messages"), |line| line.contains(code)).await;
        lines
            .iter()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect()
    }
}

fn with_code<'a>(messages: &'a [Value], code: &str) -> &'a Value {
    let found = messages.iter().find(|message| message["msg"].as_str().unwrap().contains(code));
    found.unwrap_or_else(|| panic!("no {code} in {messages:?}"))
}

/// The JSON of a line, which has neither timestamp nor level: the header has them.
fn body(message: &Value) -> Value {
    let body: Value = serde_json::from_str(message["msg"].as_str().unwrap().trim()).unwrap();
    assert!(body["timestamp"].is_null() && body["level"].is_null(), "{body}");
    body
}

#[tokio::test]
async fn a_local_daemon_gets_every_line_with_facility_severity_and_tag() {
    let mut daemon = Daemon::start().await;
    let socket = daemon.path("log");
    let gateway = Started::new(&format!(
        "{{destination: syslog, syslog: {{destination: {}, facility: local3, tag: gw, pid: true}}}}",
        socket.display()
    ))
    .await;
    let messages = daemon.until("CORE_STARTED").await;
    let started = with_code(&messages, "CORE_STARTED");
    assert_eq!(
        (&started["facility"], &started["severity"]),
        (&"local3".into(), &"notice".into()),
        "{started}"
    );
    assert_eq!(started["tag"], format!("gw[{}]:", gateway.child.id().unwrap()));
    assert_eq!(body(started)["code"], "CORE_STARTED");

    // What is said while the daemon restarts is there afterwards.
    daemon.stop().await;
    gateway.speak("said meanwhile");
    tokio::time::sleep(Duration::from_millis(50)).await;
    daemon.again().await;
    daemon.until("CORE_CONFIG_RELOADED").await;
    gateway.end().await;
}

#[tokio::test]
async fn a_daemon_gets_every_line_over_udp() {
    let daemon = Daemon::start().await;
    let gateway =
        Started::new(&format!("{{destination: syslog, syslog: {{destination: '{}'}}}}", daemon.udp)).await;
    let messages = daemon.until("CORE_STARTED").await;
    let started = with_code(&messages, "CORE_STARTED");
    assert_eq!(
        (&started["facility"], &started["tag"]),
        (&"auth".into(), &"ContainerSSH:".into()),
        "{started}"
    );
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    assert_eq!(started["host"], host);
    assert_eq!(body(started)["details"]["module"], "core");
    gateway.end().await;
}

#[tokio::test]
async fn a_server_gets_every_line_over_tcp_across_its_restart() {
    let mut daemon = Daemon::start().await;
    let settings = format!(
        "{{format: text, destination: syslog, syslog: {{destination: '{}', protocol: tcp}}}}",
        daemon.tcp
    );
    let gateway = Started::new(&settings).await;
    let messages = daemon.until("CORE_STARTED").await;
    let started = with_code(&messages, "CORE_STARTED");
    assert_eq!(
        (&started["msgid"], &started["severity"]),
        (&"CORE_STARTED".into(), &"notice".into()),
        "{started}"
    );
    assert!(
        started["msg"].as_str().unwrap().trim().starts_with("The gateway runs (code=CORE_STARTED"),
        "{started}"
    );
    daemon.stop().await;
    gateway.speak("said meanwhile");
    daemon.again().await;
    daemon.until("CORE_CONFIG_RELOADED").await;
    gateway.end().await;
}

#[tokio::test]
async fn a_server_gets_every_line_over_tls_and_one_that_is_not_trusted_none() {
    let daemon = Daemon::start().await;
    let settings = |authority: &Path| {
        format!(
            "{{destination: syslog, syslog: {{destination: '{}', protocol: tls, cacert: {}}}}}",
            daemon.tls,
            authority.display()
        )
    };
    let other = tempfile::tempdir().unwrap();
    write_certificates(other.path());
    let mut distrustful = Started::new(&settings(&other.path().join("ca.pem"))).await;
    let stderr = distrustful.child.stderr.take().unwrap();
    let complaint = within("a complaint", BufReader::new(stderr).lines().next_line()).await.unwrap().unwrap();
    assert!(complaint.contains("log: syslog server") && complaint.contains("certificate"), "{complaint}");
    distrustful.end().await;

    let gateway = Started::new(&settings(&daemon.path("ca.pem"))).await;
    let messages = daemon.until("CORE_STARTED").await;
    let started: Vec<_> =
        messages.iter().filter(|message| message["msg"].as_str().unwrap().contains("CORE_STARTED")).collect();
    assert_eq!(started.len(), 1, "the other one's lines are here, too");
    assert_eq!(started[0]["input"], "imtcp");
    assert_eq!(body(started[0])["code"], "CORE_STARTED");
    gateway.end().await;
}
