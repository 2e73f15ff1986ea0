//! `audit.events`: where a session's events are sent while it goes on, beside its record.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::parse::Problems;
use crate::value::keyword::keyword_enum;
use crate::value::{ByteSize, PemOrFile, Secret, duration};

keyword_enum! {
    /// A word of `include`: a type of event, or what is in events only if it is named.
    pub enum EventKind {
        /// A client connected.
        Connect = "connect",
        /// A connection ended before anybody logged in.
        HandshakeFailed = "handshakeFailed",
        /// A user logged in.
        HandshakeSuccessful = "handshakeSuccessful",
        /// A credential was accepted or rejected.
        AuthRequest = "authRequest",
        /// The user was asked questions.
        AuthChallenge = "authChallenge",
        /// A request of the whole connection that is not served.
        GlobalRequest = "globalRequest",
        /// The client asks to listen on its behalf.
        ForwardListen = "forwardListen",
        /// The client asks to stop that.
        ForwardUnlisten = "forwardUnlisten",
        /// A forwarding connection is asked for.
        ForwardOpen = "forwardOpen",
        /// It ended.
        ForwardClose = "forwardClose",
        /// A channel was opened.
        ChannelOpen = "channelOpen",
        /// A channel was refused.
        ChannelRefused = "channelRefused",
        /// A channel ended.
        ChannelClose = "channelClose",
        /// An environment variable was sent.
        Env = "env",
        /// A command is to be run.
        Exec = "exec",
        /// A terminal was asked for.
        Pty = "pty",
        /// A shell is to be run.
        Shell = "shell",
        /// A signal for the program.
        Signal = "signal",
        /// A subsystem is to be run.
        Subsystem = "subsystem",
        /// The terminal's size changed.
        Window = "window",
        /// X11 forwarding was asked for.
        X11 = "x11",
        /// A request on a channel is unknown or cannot be read.
        RequestRefused = "requestRefused",
        /// A request was refused, or failed.
        RequestFailed = "requestFailed",
        /// What the user types.
        Stdin = "stdin",
        /// What programs print.
        Stdout = "stdout",
        /// What programs print as errors.
        Stderr = "stderr",
        /// A program prints no more.
        Eof = "eof",
        /// A program exited.
        Exit = "exit",
        /// A program was ended by a signal.
        ExitSignal = "exitSignal",
        /// The connection ended.
        Disconnect = "disconnect",
        /// What is done to files over SFTP: all types that begin with `sftp.`.
        Sftp = "sftp",
        /// The session's record cannot be written.
        RecordFailed = "recordFailed",
        /// The session's record has a gap.
        RecordGap = "recordGap",
        /// A crash of the gateway cut a session; its record is there.
        Recovered = "recovered",
        /// No type of its own: `authRequest` carries the password, if `audit.intercept.passwords` is set too.
        Passwords = "passwords",
    }
    refused {
        "gap" => "is always sent: without it a consumer could not tell what is missing",
    }
}

keyword_enum! {
    /// `webhook.encoding`
    #[derive(Default)]
    pub enum EventEncoding {
        /// One JSON array per request.
        #[default]
        Json = "json",
        /// One JSON object per line.
        Ndjson = "ndjson",
    }
}

keyword_enum! {
    /// `webhook.compression`
    #[derive(Default)]
    pub enum EventCompression {
        /// As it is.
        #[default]
        None = "none",
        /// `Content-Encoding: gzip`.
        Gzip = "gzip",
    }
}

keyword_enum! {
    /// `syslog.protocol`
    #[derive(Default)]
    pub enum SyslogProtocol {
        /// Over TCP (RFC 6587).
        Tcp = "tcp",
        /// Over TLS (RFC 5425).
        #[default]
        Tls = "tls",
    }
    refused {
        "udp" => "loses messages without anybody noticing: use \"tcp\" or \"tls\"",
    }
}

/// One entry of `audit.events`: exactly one of its fields is set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct EventTarget {
    /// An HTTP server that takes JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<EventWebhook>,
    /// A syslog server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub syslog: Option<EventSyslog>,
}

/// `audit.events[].webhook`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct EventWebhook {
    /// Where batches are POSTed.
    pub url: String,
    /// What a batch looks like.
    pub encoding: EventEncoding,
    /// Whether it is compressed.
    pub compression: EventCompression,
    /// `Authorization: Bearer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer_token: Option<Secret>,
    /// File that holds it; read for each request, so that it can be rotated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer_token_file: Option<String>,
    /// Certificate authorities of the server: PEM text or a file name. Absent: those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cacert: Option<PemOrFile>,
    /// Client certificate: PEM text or a file name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<PemOrFile>,
    /// Its key: PEM text or a file name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PemOrFile>,
    /// Time for one request, from connect to the answer.
    #[schemars(with = "crate::schema::Duration")]
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// How much goes into one request.
    pub batch: EventBatch,
    /// Which events. Absent: all, without passwords.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include: Option<Vec<EventKind>>,
}

/// `audit.events[].webhook.batch`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct EventBatch {
    /// Most events.
    pub events: u32,
    /// Most bytes, before compression; a single event may be larger.
    pub bytes: ByteSize,
    /// How long the first event waits for others.
    #[schemars(with = "crate::schema::Duration")]
    #[serde(with = "duration")]
    pub delay: Duration,
}

/// `audit.events[].syslog`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct EventSyslog {
    /// `host:port`.
    pub address: String,
    /// How it is reached.
    pub protocol: SyslogProtocol,
    /// Certificate authorities of the server: PEM text or a file name. Absent: those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cacert: Option<PemOrFile>,
    /// Client certificate: PEM text or a file name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<PemOrFile>,
    /// Its key: PEM text or a file name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PemOrFile>,
    /// Facility (RFC 5424 section 6.2.1).
    pub facility: u8,
    /// Largest message; contents are cut so that it fits.
    pub message_bytes: ByteSize,
    /// Time to connect, and for what is written to be taken.
    #[schemars(with = "crate::schema::Duration")]
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// Which events. Absent: all, without passwords.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include: Option<Vec<EventKind>>,
}

/// `audit.eventLimits`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct EventLimits {
    /// Bytes that wait in memory for each target, at most. What comes beyond is dropped, counted and told.
    pub queue: ByteSize,
    /// Bytes of contents, or of one text, in an event. What is longer is cut, marked, and its length told.
    pub data_bytes: ByteSize,
}

impl Default for EventWebhook {
    fn default() -> Self {
        Self {
            url: String::new(),
            encoding: EventEncoding::default(),
            compression: EventCompression::default(),
            bearer_token: None,
            bearer_token_file: None,
            cacert: None,
            cert: None,
            key: None,
            timeout: Duration::from_secs(10),
            batch: EventBatch::default(),
            include: None,
        }
    }
}

impl Default for EventBatch {
    fn default() -> Self {
        // A megabyte is what common receivers take without being told to; a second keeps detection real-time.
        Self { events: 500, bytes: ByteSize(1 << 20), delay: Duration::from_secs(1) }
    }
}

/// `log audit`.
const FACILITY_AUDIT: u8 = 13;

impl Default for EventSyslog {
    fn default() -> Self {
        Self {
            address: String::new(),
            protocol: SyslogProtocol::default(),
            cacert: None,
            cert: None,
            key: None,
            facility: FACILITY_AUDIT,
            // What rsyslog takes without being told to is 8096, a little less than the 8 KiB that receivers should take
            // (RFC 5425 section 4.3.1); it makes two messages of what is longer.
            message_bytes: ByteSize(8000),
            timeout: Duration::from_secs(10),
            include: None,
        }
    }
}

impl Default for EventLimits {
    fn default() -> Self {
        // Contents: as much as a client puts into one packet.
        Self { queue: ByteSize(64 << 20), data_bytes: ByteSize(32 << 10) }
    }
}

/// Targets: each costs a queue, and is a label of metrics.
const MAX_TARGETS: usize = 8;
/// A queue smaller than this could not hold the longest command with what is around it.
const QUEUE: std::ops::RangeInclusive<u64> = 4 << 20..=4 << 30;
/// Below, not even a command line is readable; above, receivers refuse.
const DATA: std::ops::RangeInclusive<u64> = 256..=1 << 20;
const BATCH_EVENTS: std::ops::RangeInclusive<u32> = 1..=10_000;
const BATCH_BYTES: std::ops::RangeInclusive<u64> = 1 << 10..=16 << 20;
const MAX_DELAY: Duration = Duration::from_secs(60);
const TIMEOUT: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(300);
/// From what every receiver must take (RFC 5425 section 4.3.1) to what any common one can be told to.
const MESSAGE: std::ops::RangeInclusive<u64> = 2048..=1 << 20;

pub(super) fn check(targets: &[EventTarget], limits: &EventLimits, problems: &mut Problems) {
    if targets.len() > MAX_TARGETS {
        problems.invalid("audit.events", format!("has more than {MAX_TARGETS} targets"));
    }
    for (index, target) in targets.iter().enumerate() {
        let path = format!("audit.events[{index}]");
        match (&target.webhook, &target.syslog) {
            (Some(webhook), None) => webhook.check(&format!("{path}.webhook"), problems),
            (None, Some(syslog)) => syslog.check(&format!("{path}.syslog"), problems),
            _ => problems.invalid(path, "must have exactly one of webhook and syslog"),
        }
    }
    if !QUEUE.contains(&limits.queue.bytes()) {
        problems.invalid("audit.eventLimits.queue", "must be between 4Mi and 4Gi");
    }
    if !DATA.contains(&limits.data_bytes.bytes()) {
        problems.invalid("audit.eventLimits.dataBytes", "must be between 256 and 1Mi");
    } else if limits.data_bytes.bytes() > limits.queue.bytes() / 16 {
        problems
            .invalid("audit.eventLimits.dataBytes", "must be at most a sixteenth of audit.eventLimits.queue");
    }
}

impl EventWebhook {
    fn check(&self, path: &str, problems: &mut Problems) {
        let mut wrong = |name: &str, message: &str| problems.invalid(format!("{path}.{name}"), message);
        if let Err(message) = check_url(&self.url) {
            wrong("url", message);
        }
        if self.bearer_token.is_some() && self.bearer_token_file.is_some() {
            wrong("bearerTokenFile", "bearerToken is set as well: give one of them");
        }
        // What a header may hold (RFC 9110 section 5.5); anything else could never be sent.
        if self.bearer_token.as_ref().is_some_and(|token| {
            token.is_empty() || !token.expose().bytes().all(|b| (0x21..0x7f).contains(&b))
        }) {
            wrong("bearerToken", "must be printable ASCII without blanks");
        }
        if self.bearer_token_file.as_ref().is_some_and(|file| !file.starts_with('/')) {
            wrong("bearerTokenFile", "must be an absolute path");
        }
        let tls = self.url.starts_with("https://");
        check_tls([&self.cacert, &self.cert, &self.key], tls, "an https:// URL", &mut wrong);
        if !TIMEOUT.contains(&self.timeout) {
            wrong("timeout", "must be between 100ms and 5m");
        }
        if !BATCH_EVENTS.contains(&self.batch.events) {
            wrong("batch.events", "must be between 1 and 10000");
        }
        if !BATCH_BYTES.contains(&self.batch.bytes.bytes()) {
            wrong("batch.bytes", "must be between 1Ki and 16Mi");
        }
        if self.batch.delay > MAX_DELAY {
            wrong("batch.delay", "must be at most 1m");
        }
        check_include(self.include.as_deref(), &mut wrong);
    }
}

impl EventSyslog {
    fn check(&self, path: &str, problems: &mut Problems) {
        let mut wrong = |name: &str, message: &str| problems.invalid(format!("{path}.{name}"), message);
        if self.host_and_port().is_none() {
            wrong(
                "address",
                "must be host:port, such as \"logs.example.net:6514\" or \"[2001:db8::1]:6514\"",
            );
        }
        check_tls(
            [&self.cacert, &self.cert, &self.key],
            self.protocol == SyslogProtocol::Tls,
            "protocol: tls",
            &mut wrong,
        );
        if self.facility > 23 {
            wrong("facility", "must be between 0 and 23 (RFC 5424 section 6.2.1)");
        }
        if !MESSAGE.contains(&self.message_bytes.bytes()) {
            wrong("messageBytes", "must be between 2Ki and 1Mi");
        }
        if !TIMEOUT.contains(&self.timeout) {
            wrong("timeout", "must be between 100ms and 5m");
        }
        check_include(self.include.as_deref(), &mut wrong);
    }

    /// The address in its parts, an IPv6 address without brackets; `None` if it is no address.
    #[must_use]
    pub fn host_and_port(&self) -> Option<(&str, u16)> {
        let (host, port) = self.address.rsplit_once(':')?;
        let port = port.parse().ok().filter(|port| *port != 0 && self.address.is_ascii())?;
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(address) => address.parse::<std::net::Ipv6Addr>().ok().map(|_| address)?,
            None => host,
        };
        let plain = !host.is_empty() && (host.parse::<std::net::Ipv6Addr>().is_ok() || !host.contains(':'));
        let named = host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:".contains(&b));
        (plain && named).then_some((host, port))
    }
}

fn check_url(url: &str) -> Result<(), &'static str> {
    if url.is_empty() {
        return Err("is missing");
    }
    let rest = ["http://", "https://"].into_iter().find_map(|scheme| url.strip_prefix(scheme));
    let Some(rest) = rest else { return Err("must begin with http:// or https://") };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.is_empty() {
        return Err("names no host");
    }
    if host.contains('@') {
        return Err("must not hold a user name or password: use bearerTokenFile, or cert and key");
    }
    if rest.contains('#') {
        return Err("must not have a fragment: it would not be sent");
    }
    if url.bytes().any(|byte| !(0x21..0x7f).contains(&byte)) {
        return Err("must be printable ASCII: percent-encode the rest");
    }
    Ok(())
}

pub(crate) fn check_tls(
    [cacert, cert, key]: [&Option<PemOrFile>; 3],
    tls: bool,
    needs: &str,
    wrong: &mut impl FnMut(&str, &str),
) {
    for (name, pem) in [("cacert", cacert), ("cert", cert), ("key", key)] {
        if pem.as_ref().is_some_and(PemOrFile::is_empty) {
            wrong(name, "is empty: give PEM text or a file name, or leave it out");
        } else if pem.is_some() && !tls {
            wrong(name, &format!("has an effect only with {needs}"));
        }
    }
    match (cert, key) {
        (Some(_), None) => wrong("key", "is missing: cert is set, and they belong together"),
        (None, Some(_)) => wrong("cert", "is missing: key is set, and they belong together"),
        _ => {}
    }
}

fn check_include(include: Option<&[EventKind]>, wrong: &mut impl FnMut(&str, &str)) {
    if include.is_some_and(<[_]>::is_empty) {
        wrong("include", "is empty, so nothing would be sent: list types, or leave it out for all");
    }
}
