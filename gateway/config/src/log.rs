//! `log`: what is said, and how.

use containerssh_log::{Format, Level};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::audit::check_tls;
use crate::parse::Problems;
use crate::value::PemOrFile;
use crate::value::keyword::keyword_enum;
use crate::{EventSyslog, SyslogProtocol};

keyword_enum! {
    /// `log.destination`
    #[derive(Default)]
    pub enum LogDestination {
        /// Standard output.
        #[default]
        Stdout = "stdout",
        /// `log.file`
        File = "file",
        /// `log.syslog`
        Syslog = "syslog",
    }
}

keyword_enum! {
    /// `log.syslog.facility`
    #[derive(Default)]
    pub enum SyslogFacility {
        /// The kernel.
        Kern = "kern",
        /// Users' programs.
        User = "user",
        /// Mail.
        Mail = "mail",
        /// Daemons.
        Daemon = "daemon",
        /// Authentication.
        #[default]
        Auth = "auth",
        /// The log itself.
        Syslog = "syslog",
        /// Printers.
        Lpr = "lpr",
        /// News.
        News = "news",
        /// UUCP.
        Uucp = "uucp",
        /// Timers.
        Cron = "cron",
        /// Authentication, for few eyes.
        Authpriv = "authpriv",
        /// FTP.
        Ftp = "ftp",
        /// NTP.
        Ntp = "ntp",
        /// Audit.
        LogAudit = "logaudit",
        /// Alerts.
        LogAlert = "logalert",
        /// Clocks.
        Clock = "clock",
        /// The site's own.
        Local0 = "local0",
        /// The site's own.
        Local1 = "local1",
        /// The site's own.
        Local2 = "local2",
        /// The site's own.
        Local3 = "local3",
        /// The site's own.
        Local4 = "local4",
        /// The site's own.
        Local5 = "local5",
        /// The site's own.
        Local6 = "local6",
        /// The site's own.
        Local7 = "local7",
    }
}

impl SyslogFacility {
    /// Its number (RFC 5424 section 6.2.1).
    #[must_use]
    pub fn number(self) -> u8 {
        // They are declared in the order of their numbers.
        self as u8
    }
}

keyword_enum! {
    /// `log.syslog.protocol`
    #[derive(Default)]
    pub enum LogProtocol {
        /// A datagram per line (RFC 5426), in the form of RFC 3164.
        #[default]
        Udp = "udp",
        /// RFC 6587, counted octets, in the form of RFC 5424.
        Tcp = "tcp",
        /// RFC 5425, in the form of RFC 5424.
        Tls = "tls",
    }
}

/// `log`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Log {
    /// Events below are not shown.
    #[schemars(with = "crate::schema::Level")]
    pub level: Level,
    /// What a line looks like.
    #[schemars(with = "crate::schema::Format")]
    pub format: Format,
    /// Where lines go.
    pub destination: LogDestination,
    /// The file for destination `file`; opened anew at SIGHUP. An absolute path.
    #[serde(skip_serializing_if = "is_default_file")]
    pub file: String,
    /// The daemon or server for destination `syslog`.
    #[serde(skip_serializing_if = "LogSyslog::is_default")]
    pub syslog: LogSyslog,
}

/// `log.syslog`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct LogSyslog {
    /// A local daemon's socket (an absolute path), or `host:port`.
    pub destination: String,
    /// What kind of program speaks.
    pub facility: SyslogFacility,
    /// The program's name.
    pub tag: String,
    /// Whether the process's number is told.
    pub pid: bool,
    /// How `host:port` is reached.
    pub protocol: LogProtocol,
    /// Certificate authorities of the server, for protocol `tls`: PEM text or a file name. Absent: those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cacert: Option<PemOrFile>,
    /// Client certificate: PEM text or a file name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<PemOrFile>,
    /// Its key: PEM text or a file name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PemOrFile>,
}

const DEFAULT_FILE: &str = "/var/log/containerssh/containerssh.log";

fn is_default_file(file: &str) -> bool {
    file == DEFAULT_FILE
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: Level::default(),
            format: Format::default(),
            destination: LogDestination::default(),
            file: DEFAULT_FILE.to_owned(),
            syslog: LogSyslog::default(),
        }
    }
}

impl Default for LogSyslog {
    fn default() -> Self {
        Self {
            destination: "/dev/log".to_owned(),
            facility: SyslogFacility::default(),
            tag: "ContainerSSH".to_owned(),
            pid: false,
            protocol: LogProtocol::default(),
            cacert: None,
            cert: None,
            key: None,
        }
    }
}

/// The longest tag of RFC 3164 section 4.1.3.
const MAX_TAG: usize = 32;

impl LogSyslog {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it is a local daemon's socket.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.destination.starts_with('/')
    }

    /// The connection, for the protocols that have one.
    #[must_use]
    pub fn connection(&self) -> Option<EventSyslog> {
        match self.protocol {
            LogProtocol::Udp => None,
            LogProtocol::Tcp => Some(self.server(SyslogProtocol::Tcp)),
            LogProtocol::Tls => Some(self.server(SyslogProtocol::Tls)),
        }
    }

    fn server(&self, protocol: SyslogProtocol) -> EventSyslog {
        EventSyslog {
            address: self.destination.clone(),
            protocol,
            cacert: self.cacert.clone(),
            cert: self.cert.clone(),
            key: self.key.clone(),
            facility: self.facility.number(),
            ..EventSyslog::default()
        }
    }

    fn check(&self, problems: &mut Problems) {
        let mut wrong = |key: &str, message: &str| problems.invalid(format!("log.syslog.{key}"), message);
        let tagged = |byte: u8| byte.is_ascii_graphic() && !b":[]".contains(&byte);
        if self.tag.is_empty() || self.tag.len() > MAX_TAG || !self.tag.bytes().all(tagged) {
            wrong("tag", "must be 1 to 32 printable ASCII characters without blanks, colons and brackets");
        }
        let tls = [&self.cacert, &self.cert, &self.key];
        check_tls(tls, self.protocol == LogProtocol::Tls, "protocol: tls", &mut wrong);
        match self.is_local() {
            true if self.protocol != LogProtocol::Udp => {
                wrong("protocol", "has no effect for a local socket: leave it out");
            }
            false if self.server(SyslogProtocol::Tcp).host_and_port().is_none() => {
                wrong(
                    "destination",
                    "must be an absolute path, or host:port such as \"logs.example.net:514\"",
                );
            }
            _ => {}
        }
    }
}

impl Log {
    pub(crate) fn check(&self, problems: &mut Problems) {
        match self.destination {
            LogDestination::Stdout => {}
            LogDestination::File if !self.file.starts_with('/') => {
                problems.invalid("log.file", "must be an absolute path");
            }
            LogDestination::File => {}
            LogDestination::Syslog => self.syslog.check(problems),
        }
    }

    /// What only a restart changes, if lines go anywhere but to standard output.
    pub(crate) fn fixed(&self) -> Option<(&LogDestination, &str, &LogSyslog)> {
        (self.destination != LogDestination::Stdout).then_some((&self.destination, &self.file, &self.syslog))
    }
}
