//! Conversations between the file transfer programs of OpenSSH, recorded in order as the gateway would.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use containerssh_auditlog::{IoStream, Message, Payload};

use crate::common::{ID, TIME, segmented};

/// Where Debian and Fedora have it.
const SERVERS: [&str; 2] = ["/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server"];

/// Bytes of both directions in their order.
#[derive(Clone, Debug)]
pub struct Conversation {
    pub request: Payload,
    pub pieces: Vec<(IoStream, Vec<u8>)>,
}

/// Runs a batch of sftp's commands in a directory, which serves as both ends.
pub fn sftp(directory: &Path, batch: &str) -> Conversation {
    sftp_bytes(directory, batch.as_bytes())
}

pub fn sftp_bytes(directory: &Path, batch: &[u8]) -> Conversation {
    let Some(server) = SERVERS.into_iter().find(|path| Path::new(path).exists()) else {
        panic!("sftp-server is missing: install openssh-sftp-server")
    };
    let mut server = Command::new(server);
    server.current_dir(directory);
    let mut client = Command::new("sftp");
    client.args(["-q", "-b", "-", "-D"]).arg(bridge(directory)).current_dir(directory);
    client.stdin(Stdio::piped()).stdout(Stdio::null());
    let pieces = talk(directory, client, batch, server);
    Conversation {
        request: Payload::ChannelRequestSubsystem { request_id: 0, subsystem: "sftp".into() },
        pieces,
    }
}

/// Runs `scp -O`, whose remote side is `scp` with these arguments instead of a host.
pub fn scp(directory: &Path, arguments: &[&str]) -> Conversation {
    // scp runs `<program> … host "scp -t target"`.
    let bridge = bridge(directory);
    let script = directory.join("ssh");
    let bridge = bridge.display();
    fs::write(
        &script,
        format!("#!/bin/sh\nfor last; do :; done\nprintf %s \"$last\" > command\nexec {bridge}\n"),
    )
    .unwrap();
    executable(&script);
    let mut client = Command::new("scp");
    client.args(["-q", "-O", "-S"]).arg(&script).args(arguments).current_dir(directory);
    client.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut server = Command::new("sh");
    // The bridge has the command by the time it opens the pipe.
    server.args(["-c", "eval \"exec $(cat command)\""]).current_dir(directory);
    server.stderr(Stdio::null());
    let pieces = talk(directory, client, b"", server);
    let program = fs::read_to_string(directory.join("command")).unwrap();
    Conversation { request: Payload::ChannelRequestExec { request_id: 0, program }, pieces }
}

fn executable(script: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(script, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A program whose standard streams are two named pipes, of which this process has the other ends.
fn bridge(directory: &Path) -> std::path::PathBuf {
    let script = directory.join("bridge");
    let [from, to] = ["from-client", "to-client"].map(|name| directory.join(name));
    assert!(Command::new("mkfifo").args([&from, &to]).status().unwrap().success());
    let (from, to) = (from.display(), to.display());
    // The client may wait for the end of all that its one socket was given to: whoever reads from it ends with the server.
    let lines =
        format!("#!/bin/sh\nexec 3<&0\ncat <&3 >'{from}' &\nexec 3<&-\ncat <'{to}'\nkill $! 2>/dev/null\n");
    fs::write(&script, lines).unwrap();
    executable(&script);
    script
}

fn talk(
    directory: &Path,
    mut client: Command,
    input: &[u8],
    mut server: Command,
) -> Vec<(IoStream, Vec<u8>)> {
    let mut client = client.spawn().unwrap();
    client.stdin.take().unwrap().write_all(input).unwrap();
    // Each waits for the bridge to open its end.
    let from_client = directory.join("from-client");
    let to_client = directory.join("to-client");
    let to_client = std::thread::spawn(move || OpenOptions::new().write(true).open(to_client).unwrap());
    let from_client = File::open(from_client).unwrap();
    let to_client = to_client.join().unwrap();
    let mut server = server.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let pieces = Arc::new(Mutex::new(Vec::new()));
    let up = pump(IoStream::Stdin, from_client, server.stdin.take().unwrap(), &pieces);
    let down = pump(IoStream::Stdout, server.stdout.take().unwrap(), to_client, &pieces);
    up.join().unwrap();
    down.join().unwrap();
    server.wait().unwrap();
    client.wait().unwrap();
    Arc::into_inner(pieces).unwrap().into_inner().unwrap()
}

type Pieces = Arc<Mutex<Vec<(IoStream, Vec<u8>)>>>;

/// Recorded before it is delivered, as the gateway does: so an answer never stands before its request.
fn pump(
    stream: IoStream,
    mut from: impl Read + Send + 'static,
    mut to: impl Write + Send + 'static,
    pieces: &Pieces,
) -> std::thread::JoinHandle<()> {
    let pieces = Arc::clone(pieces);
    std::thread::spawn(move || {
        let mut buffer = vec![0; 32 << 10];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            pieces.lock().unwrap().push((stream, buffer[..length].to_vec()));
            if to.write_all(&buffer[..length]).and_then(|()| to.flush()).is_err() {
                return;
            }
        }
    })
}

impl Conversation {
    /// The same conversation about another directory, whose name is as long.
    pub fn renamed(mut self, from: &Path, to: &str) -> Self {
        let from = from.to_str().unwrap().as_bytes();
        assert_eq!(from.len(), to.len());
        for (_, piece) in &mut self.pieces {
            for at in 0..piece.len() {
                if piece[at..].starts_with(from) {
                    piece[at..at + from.len()].copy_from_slice(to.as_bytes());
                }
            }
        }
        self
    }

    /// The records that the gateway writes for it: channel 2 of a connection.
    pub fn messages(&self) -> Vec<Message> {
        let channel = |number, payload| Message {
            connection_id: ID.into(),
            timestamp: TIME + number * 1_000_000,
            payload,
            channel_id: Some(2),
        };
        let mut messages = vec![
            Message {
                channel_id: None,
                ..channel(0, Payload::Connect { remote_addr: "127.0.0.1".into(), country: "XX".into() })
            },
            channel(1, Payload::NewChannelSuccessful { channel_type: "session".into() }),
            channel(2, self.request.clone()),
        ];
        for (stream, data) in &self.pieces {
            let io = Payload::Io { stream: *stream, data: Bytes::copy_from_slice(data) };
            messages.push(channel(messages.len() as u64, io));
        }
        messages.push(channel(messages.len() as u64, Payload::Exit { exit_status: 0 }));
        messages.push(channel(messages.len() as u64, Payload::Close));
        let end = channel(messages.len() as u64, Payload::Disconnect);
        messages.push(Message { channel_id: None, ..end });
        messages
    }

    /// An audit log of it.
    pub fn log(&self) -> Vec<u8> {
        segmented(&[&self.messages()]).concat()
    }
}
