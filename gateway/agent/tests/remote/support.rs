//! An agent on this machine, and a guest that it serves.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use containerssh_backend::{Command, Output, ProgramInput, ProgramOutput, ProgramSpec};
use containerssh_link::{
    Bytestream, Carrier, Direct, Greeting, Hello, Identity, PROTOCOL, PublicKey, RemoteGuest,
};
use tokio::io::AsyncWriteExt as _;

pub(crate) const AGENT: &str = env!("CARGO_BIN_EXE_containerssh-agent");

/// Longer than anything takes on the slowest machine; only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Fails a test that would hang.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited too long for: {what}"),
    }
}

/// An agent that serves whoever has `identity`.
pub(crate) struct Agent {
    pub(crate) identity: Identity,
    pub(crate) hello: Hello,
}

impl Agent {
    /// As the gateway's exec starts it.
    pub(crate) async fn start() -> Self {
        let identity = Identity::generate().unwrap();
        let greeting = Greeting {
            protocol: PROTOCOL,
            key: identity.public().to_text(),
            local: true,
            shell_command: None,
            subsystems: [("who".to_owned(), "/usr/bin/id".to_owned())].into(),
        };
        let (output, _) = greet(&serde_json::to_string(&greeting).unwrap()).await;
        let hello: Hello = serde_json::from_str(&output).unwrap();
        assert_eq!(hello.protocol, PROTOCOL);
        Self { identity, hello }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.hello.port).into()
    }

    pub(crate) fn key(&self) -> PublicKey {
        PublicKey::from_text(&self.hello.key).unwrap()
    }

    pub(crate) async fn connect(&self) -> RemoteGuest {
        self.connect_by(Arc::new(Direct { address: self.address(), timeout: PATIENCE })).await
    }

    pub(crate) async fn connect_by(&self, carrier: Arc<dyn Carrier>) -> RemoteGuest {
        let connecting = RemoteGuest::connect("pod".into(), carrier, &self.identity, self.key());
        within("the agent", connecting).await.unwrap()
    }

    /// Waits until nobody listens any more.
    pub(crate) async fn ended(&self) {
        within("the agent's end", async {
            while tokio::net::TcpStream::connect(self.address()).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }
}

/// Runs `start` with a line on its standard input; returns what it wrote on either stream. That it ends is part of it.
pub(crate) async fn greet(line: &str) -> (String, String) {
    let mut start = tokio::process::Command::new(AGENT)
        .arg("start")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    start.stdin.take().unwrap().write_all(format!("{line}\n").as_bytes()).await.unwrap();
    let output = within("the agent's start", start.wait_with_output()).await.unwrap();
    (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// Connections by `relay`, as exec brings them.
#[derive(Debug)]
pub(crate) struct Relayed(pub(crate) u16);

#[async_trait]
impl Carrier for Relayed {
    async fn open(&self) -> std::io::Result<Box<dyn Bytestream>> {
        let mut relay = tokio::process::Command::new(AGENT)
            .args(["relay", &self.0.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        Ok(Box::new(tokio::io::join(relay.stdout.take().unwrap(), relay.stdin.take().unwrap())))
    }
}

pub(crate) fn spec(command: &str) -> ProgramSpec {
    ProgramSpec {
        channel: 0,
        command: Command::Exec(command.into()),
        env: Vec::new(),
        pty: None,
        x11: None,
        auth_agent: false,
    }
}

/// What comes until the end, and the end.
pub(crate) async fn collect(output: &mut dyn ProgramOutput) -> (Vec<u8>, Vec<u8>, Output) {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    within("the program's end", async {
        loop {
            match output.next().await.unwrap() {
                Output::Stdout(data) => stdout.extend_from_slice(&data),
                Output::Stderr(data) => stderr.extend_from_slice(&data),
                last => return (stdout, stderr, last),
            }
        }
    })
    .await
}

pub(crate) async fn send_all(input: &mut dyn ProgramInput, data: &[u8]) {
    for piece in data.chunks(50_000) {
        input.stdin(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    input.eof().await.unwrap();
}

pub(crate) fn noise(length: u32) -> Vec<u8> {
    (0..length).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}
