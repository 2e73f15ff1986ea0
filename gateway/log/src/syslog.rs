//! Lines as syslog messages: the header before a line, and the way to a local daemon or over UDP.
//!
//! Locally and over UDP messages have the form that every daemon knows (RFC 3164), as ContainerSSH's have; connections carry
//! RFC 5424, whose header says more. The header's form belongs to the line, the way it goes to the output: what carries
//! connections (TCP, TLS) lives elsewhere and gets the same lines.

use std::io::{self, Write};
use std::net::{SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::Level;
use crate::line::timestamp;

/// Bytes of a datagram: what rsyslog takes without being told to, a little less than 8 KiB. What is longer is cut.
pub const MAX_MESSAGE: usize = 8000;
/// A local daemon that restarts is back after a moment; what waits longer is the queue's to bound.
const LOCAL_PAUSE: Duration = Duration::from_millis(200);
/// How long the address of a name is believed.
const RESOLVED: Duration = Duration::from_secs(60);
/// The longest MSGID and HOSTNAME (RFC 5424 section 6).
const MAX_MSGID: usize = 32;
const MAX_HOSTNAME: usize = 255;

/// How the header is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderForm {
    /// RFC 3164 without the host, for a daemon on the same host.
    Local,
    /// RFC 3164.
    Bsd,
    /// RFC 5424.
    Ietf,
}

/// What stands before each line.
#[derive(Debug, Clone)]
pub struct Header {
    /// How it is written.
    pub form: HeaderForm,
    /// Facility (RFC 5424 section 6.2.1), 0 to 23.
    pub facility: u8,
    /// The program's name: printable ASCII without blanks, colons and brackets, at most 32 characters.
    pub tag: String,
    /// The process's number, if it is told.
    pub pid: Option<u32>,
    /// The host's name.
    pub hostname: String,
}

impl Header {
    /// Writes the header of a line.
    pub(crate) fn write(&self, out: &mut Vec<u8>, now: Timestamp, level: Level, code: &str) {
        let severity = 7_u16.saturating_sub(level as u16);
        let priority = u16::from(self.facility) * 8 + severity;
        // Writing into memory cannot fail.
        let _ = match self.form {
            HeaderForm::Local | HeaderForm::Bsd => {
                let local = now.to_zoned(TimeZone::system());
                let host =
                    if self.form == HeaderForm::Bsd { plain(&self.hostname, MAX_HOSTNAME) } else { "" };
                let gap = if host.is_empty() { "" } else { " " };
                let pid = self.pid.map(|pid| format!("[{pid}]")).unwrap_or_default();
                write!(out, "<{priority}>{} {host}{gap}{}{pid}: ", local.strftime("%b %e %H:%M:%S"), self.tag)
            }
            HeaderForm::Ietf => {
                let host = or_nil(plain(&self.hostname, MAX_HOSTNAME));
                let pid = self.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
                let code = or_nil(plain(code, MAX_MSGID));
                write!(out, "<{priority}>1 {} {host} {} {pid} {code} - ", timestamp(now), self.tag)
            }
        };
    }
}

/// The start of a text that is printable ASCII without blanks; nothing of any other.
fn plain(text: &str, longest: usize) -> &str {
    let good = text.bytes().all(|byte| (0x21..0x7f).contains(&byte));
    if good { text.get(..longest).unwrap_or(text) } else { "" }
}

fn or_nil(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

/// The lines of a batch, each cut to `longest` bytes between characters.
pub fn messages(batch: &[u8], longest: usize) -> impl Iterator<Item = &[u8]> {
    let lines = batch.split_inclusive(|byte| *byte == b'\n');
    lines.map(move |line| {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let mut end = line.len().min(longest);
        // A byte of the form 10xxxxxx continues a character (RFC 3629).
        while end < line.len() && line.get(end).is_some_and(|byte| byte & 0xc0 == 0x80) {
            end -= 1;
        }
        line.get(..end).unwrap_or(line)
    })
}

/// Where datagrams go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Datagrams {
    /// A local daemon's socket.
    Local(PathBuf),
    /// `host:port`, over UDP (RFC 5426).
    Udp(String),
}

/// An output that sends each line as a datagram.
#[derive(Debug)]
pub(crate) struct DatagramOutput {
    way: Way,
}

#[derive(Debug)]
enum Way {
    Local { path: PathBuf, socket: Option<UnixDatagram> },
    Udp { address: String, socket: UdpSocket, resolved: (SocketAddr, Instant) },
}

impl DatagramOutput {
    /// # Errors
    /// When there is no such daemon, or no such host: whoever starts a program sees it at once.
    pub(crate) fn new(target: &Datagrams) -> io::Result<Self> {
        let way = match target {
            Datagrams::Local(path) => {
                let socket = Some(local(path)?);
                Way::Local { path: path.clone(), socket }
            }
            Datagrams::Udp(address) => {
                let resolved = resolve(address)?;
                let any = if resolved.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let socket = UdpSocket::bind(any)?;
                Way::Udp { address: address.clone(), socket, resolved: (resolved, Instant::now()) }
            }
        };
        Ok(Self { way })
    }

    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        match &mut self.way {
            Way::Local { path, socket } => loop {
                let sent = match socket {
                    Some(socket) => socket.send(message),
                    None => local(path).and_then(|made| socket.insert(made).send(message)),
                };
                match sent {
                    Ok(_) => return Ok(()),
                    // A message is the reason, and so would it be next time.
                    Err(error) if error.raw_os_error() == Some(EMSGSIZE) => return Err(error),
                    Err(_) => {
                        *socket = None;
                        std::thread::sleep(LOCAL_PAUSE);
                    }
                }
            },
            Way::Udp { address, socket, resolved } => {
                if resolved.1.elapsed() > RESOLVED {
                    // A resolver that is away is no reason not to use what it said last.
                    let again = resolve(address).unwrap_or(resolved.0);
                    let same_family = again.is_ipv4() == resolved.0.is_ipv4();
                    *resolved = (if same_family { again } else { resolved.0 }, Instant::now());
                }
                socket.send_to(message, resolved.0).map(|_| ())
            }
        }
    }
}

/// Linux's number for a message that is too long.
const EMSGSIZE: i32 = 90;

fn local(path: &PathBuf) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    Ok(socket)
}

fn resolve(address: &str) -> io::Result<SocketAddr> {
    address
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{address} has no address")))
}

impl Write for DatagramOutput {
    /// Sends one line of the batch.
    fn write(&mut self, batch: &[u8]) -> io::Result<usize> {
        let line = batch.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
        for message in messages(line, MAX_MESSAGE).filter(|message| !message.is_empty()) {
            self.send(message)?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(form: HeaderForm, pid: Option<u32>) -> String {
        let header = Header { form, facility: 4, tag: "ContainerSSH".into(), pid, hostname: "gw-0".into() };
        let mut out = Vec::new();
        header.write(&mut out, "2026-05-08T12:00:00.25Z".parse().unwrap(), Level::Warning, "SSH_CONNECTED");
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn headers_are_as_the_standards_have_them() {
        assert_eq!(
            header(HeaderForm::Ietf, Some(7)),
            "<36>1 2026-05-08T12:00:00.250000Z gw-0 ContainerSSH 7 SSH_CONNECTED - "
        );
        assert_eq!(
            header(HeaderForm::Ietf, None),
            "<36>1 2026-05-08T12:00:00.250000Z gw-0 ContainerSSH - SSH_CONNECTED - "
        );
        // The month is May and the day has two places, whatever the time zone of this machine.
        let bsd = header(HeaderForm::Bsd, None);
        assert!(bsd.starts_with("<36>May  ") && bsd.ends_with(":00 gw-0 ContainerSSH: "), "{bsd}");
        let local = header(HeaderForm::Local, Some(7));
        assert!(local.starts_with("<36>May  ") && local.ends_with(":00 ContainerSSH[7]: "), "{local}");
    }

    #[test]
    fn what_is_no_name_is_left_out() {
        assert_eq!((plain("gw\n0", 9), plain("gw 0", 9), plain("é", 9)), ("", "", ""));
        assert_eq!((plain("abcdef", 3), plain("abc", 9)), ("abc", "abc"));
    }

    #[test]
    fn messages_are_cut_between_characters() {
        let cut = |text: &str, longest| {
            messages(text.as_bytes(), longest)
                .map(|message| std::str::from_utf8(message).unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(cut("one\ntwo\n", 100), ["one", "two"]);
        assert_eq!(cut("aéé\n", 4), ["aé"]);
        assert_eq!(cut("aéé", 5), ["aéé"]);
    }
}
