//! `ssh`: the server's listener, algorithms, keys and limits.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::parse::Problems;
use crate::value::keyword::keyword_enum;
use crate::value::{PemOrFile, duration, listen};

keyword_enum! {
    /// Ciphers (RFC 4253 section 6.3). Only those without a known weakness.
    pub enum Cipher {
        /// ChaCha20 with Poly1305, as OpenSSH defines it.
        ChaCha20Poly1305 = "chacha20-poly1305@openssh.com",
        /// AES-256 in GCM (RFC 5647 with OpenSSH's negotiation).
        Aes256Gcm = "aes256-gcm@openssh.com",
        /// AES-128 in GCM.
        Aes128Gcm = "aes128-gcm@openssh.com",
        /// AES-256 in counter mode (RFC 4344).
        Aes256Ctr = "aes256-ctr",
        /// AES-192 in counter mode.
        Aes192Ctr = "aes192-ctr",
        /// AES-128 in counter mode.
        Aes128Ctr = "aes128-ctr",
    }
    refused {
        "aes128-cbc" => "is weak (plaintext recovery in CBC mode) and not offered: remove it",
        "aes192-cbc" => "is weak (plaintext recovery in CBC mode) and not offered: remove it",
        "aes256-cbc" => "is weak (plaintext recovery in CBC mode) and not offered: remove it",
        "3des-cbc" => "is weak (64-bit blocks, CBC mode) and not offered: remove it",
        "tripledescbcID" => "is weak (64-bit blocks, CBC mode) and not offered: remove it",
        "arcfour" => "is broken (RC4, RFC 8758) and not offered: remove it",
        "arcfour128" => "is broken (RC4, RFC 8758) and not offered: remove it",
        "arcfour256" => "is broken (RC4, RFC 8758) and not offered: remove it",
        "none" => "is no encryption and not offered: remove it",
    }
}

keyword_enum! {
    /// Key exchange methods (RFC 4253 section 7, RFC 9142).
    pub enum Kex {
        /// ML-KEM 768 with X25519: safe against recording now and decrypting with a quantum computer later.
        MlKem768X25519Sha256 = "mlkem768x25519-sha256",
        /// X25519 (RFC 8731).
        Curve25519Sha256 = "curve25519-sha256",
        /// The same under the name it had before RFC 8731.
        Curve25519Sha256Libssh = "curve25519-sha256@libssh.org",
        /// NIST P-521 (RFC 5656).
        EcdhSha2Nistp521 = "ecdh-sha2-nistp521",
        /// NIST P-384.
        EcdhSha2Nistp384 = "ecdh-sha2-nistp384",
        /// NIST P-256.
        EcdhSha2Nistp256 = "ecdh-sha2-nistp256",
    }
    refused {
        "diffie-hellman-group1-sha1" => "is broken (1024-bit group, SHA-1) and not offered: remove it",
        "diffie-hellman-group14-sha1" => "is weak (SHA-1, RFC 9142) and not offered: remove it",
        "diffie-hellman-group-exchange-sha1" => "is weak (SHA-1, RFC 9142) and not offered: remove it",
        "none" => "is no key exchange and not offered: remove it",
    }
}

keyword_enum! {
    /// Message authentication codes (RFC 6668), for the ciphers that need one.
    pub enum Mac {
        /// HMAC with SHA-512, over the ciphertext.
        HmacSha2_512Etm = "hmac-sha2-512-etm@openssh.com",
        /// HMAC with SHA-256, over the ciphertext.
        HmacSha2_256Etm = "hmac-sha2-256-etm@openssh.com",
        /// HMAC with SHA-512, over the plaintext.
        HmacSha2_512 = "hmac-sha2-512",
        /// HMAC with SHA-256, over the plaintext.
        HmacSha2_256 = "hmac-sha2-256",
    }
    refused {
        "hmac-sha1" => "is weak (SHA-1) and not offered: remove it",
        "hmac-sha1-96" => "is weak (SHA-1, cut) and not offered: remove it",
        "hmac-sha1-etm@openssh.com" => "is weak (SHA-1) and not offered: remove it",
        "none" => "is no authentication and not offered: remove it",
    }
}

/// `ssh`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Ssh {
    /// Where to listen.
    #[schemars(with = "crate::schema::Listen")]
    #[serde(with = "listen")]
    pub listen: SocketAddr,
    /// The identification string (RFC 4253 section 4.2), without the line end.
    pub server_version: String,
    /// Ciphers, best first.
    pub ciphers: Vec<Cipher>,
    /// Key exchange methods, best first.
    pub kex: Vec<Kex>,
    /// Message authentication codes, best first.
    pub macs: Vec<Mac>,
    /// Text that a client shows before authentication (RFC 4252 section 5.4). Empty for none.
    pub banner: String,
    /// Message of the day: text that interactive shells show before anything else. Empty for none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub motd: String,
    /// Load balancers in front of the gateway.
    #[serde(skip_serializing_if = "ProxyProtocol::is_default")]
    pub proxy_protocol: ProxyProtocol,
    /// Host keys, each PEM text or a file name. None: the gateway generates one that lives as long as the process.
    pub hostkeys: Vec<PemOrFile>,
    /// How often to ask a silent client whether it is still there. 0 for never.
    #[schemars(with = "crate::schema::Duration")]
    #[serde(with = "duration")]
    pub client_alive_interval: Duration,
    /// So many unanswered questions end the connection.
    pub client_alive_count_max: u32,
    /// Time from TCP connect to successful authentication. 0 for no limit.
    #[schemars(with = "crate::schema::Duration")]
    #[serde(with = "duration")]
    pub login_grace_time: Duration,
    /// How much at once.
    pub limits: Limits,
    /// What failed logins cost the address they come from.
    pub penalties: Penalties,
}

/// `ssh.limits`: how much at once. 0 is no limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Limits {
    /// Connections in all.
    pub connections: u32,
    /// Connections that are not authenticated yet.
    pub unauthenticated: u32,
    /// Connections from one source address.
    pub per_source: u32,
    /// Connections of one user, by the name that authentication settled on.
    #[serde(skip_serializing_if = "is_zero")]
    pub per_user: u32,
    /// Session channels open at once on one connection.
    pub sessions_per_connection: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// `ssh.proxyProtocol`: load balancers that say whose connections they pass on, by the PROXY protocol, version 1 or 2.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ProxyProtocol {
    /// Their networks, such as `10.0.0.0/8`. From there every connection must begin with a header; from anywhere else none may.
    #[serde(rename = "trustedCIDRs")]
    #[schemars(with = "Vec<String>")]
    pub trusted_cidrs: Vec<IpNet>,
}

impl ProxyProtocol {
    /// What files written before there was such a section mean.
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// `ssh.penalties`: connections that end without a login keep others from the same address out for a while, as OpenSSH's
/// `PerSourcePenalties`, whose defaults these are. Only where the gateway sees its clients' own addresses: behind a load
/// balancer that hides them, one offender would lock everybody out. So it is off unless asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Penalties {
    /// Whether there are any.
    pub enable: bool,
    /// For a connection on which credentials were rejected.
    #[schemars(with = "crate::schema::Duration")]
    #[serde(with = "duration")]
    pub auth_fail: Duration,
    /// For one on which nobody tried to log in.
    #[schemars(with = "crate::schema::Duration")]
    #[serde(with = "duration")]
    pub no_auth: Duration,
    /// For one that used up the login grace time.
    #[schemars(with = "crate::schema::Duration")]
    #[serde(with = "duration")]
    pub grace_exceeded: Duration,
    /// From this length on a penalty is in force.
    #[schemars(with = "crate::schema::Duration")]
    #[serde(with = "duration")]
    pub min: Duration,
    /// The longest.
    #[schemars(with = "crate::schema::Duration")]
    #[serde(with = "duration")]
    pub max: Duration,
    /// Networks that are never kept out, such as `10.0.0.0/8`.
    #[schemars(with = "Vec<String>")]
    pub exempt: Vec<IpNet>,
}

impl Default for Penalties {
    fn default() -> Self {
        Self {
            enable: false,
            auth_fail: Duration::from_secs(5),
            no_auth: Duration::from_secs(1),
            grace_exceeded: Duration::from_secs(10),
            min: Duration::from_secs(15),
            max: Duration::from_secs(600),
            exempt: Vec::new(),
        }
    }
}

impl Default for Ssh {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 2222)),
            server_version: "SSH-2.0-ContainerSSH".to_owned(),
            ciphers: vec![
                Cipher::ChaCha20Poly1305,
                Cipher::Aes256Gcm,
                Cipher::Aes128Gcm,
                Cipher::Aes256Ctr,
                Cipher::Aes128Ctr,
            ],
            kex: vec![Kex::MlKem768X25519Sha256, Kex::Curve25519Sha256, Kex::Curve25519Sha256Libssh],
            macs: vec![Mac::HmacSha2_512Etm, Mac::HmacSha2_256Etm],
            banner: String::new(),
            motd: String::new(),
            proxy_protocol: ProxyProtocol::default(),
            hostkeys: Vec::new(),
            client_alive_interval: Duration::ZERO,
            client_alive_count_max: 3,
            login_grace_time: Duration::from_secs(120),
            limits: Limits::default(),
            penalties: Penalties::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            unauthenticated: 1024,
            per_source: 0,
            per_user: 0,
            sessions_per_connection: 64,
        }
    }
}

/// Longest identification string without CR and LF (RFC 4253 section 4.2: 255 with them).
const MAX_VERSION: usize = 253;
/// Longest banner: a client shows it before it knows whom it talks to, and russh sends it in one packet.
const MAX_BANNER: usize = 16 * 1024;

/// Longest message of the day: a terminal's scrollback, not more.
const MAX_MOTD: usize = 16 * 1024;

impl Ssh {
    pub(crate) fn check(&self, problems: &mut Problems) {
        if let Err(message) = check_version(&self.server_version) {
            problems.invalid("ssh.serverVersion", message);
        }
        for (path, empty) in [
            ("ssh.ciphers", self.ciphers.is_empty()),
            ("ssh.kex", self.kex.is_empty()),
            ("ssh.macs", self.macs.is_empty()),
        ] {
            if empty {
                problems.invalid(
                    path,
                    "must not be empty: no client could connect; leave the key out for the default",
                );
            }
        }
        if self.banner.len() > MAX_BANNER {
            problems.invalid("ssh.banner", format!("must not be longer than {MAX_BANNER} bytes"));
        }
        if self.motd.len() > MAX_MOTD {
            problems.invalid("ssh.motd", format!("must not be longer than {MAX_MOTD} bytes"));
        }
        for (index, key) in self.hostkeys.iter().enumerate() {
            if key.is_empty() {
                problems.invalid(format!("ssh.hostkeys[{index}]"), "is empty: give PEM text or a file name");
            }
        }
        if !self.client_alive_interval.is_zero() && self.client_alive_interval < Duration::from_secs(1) {
            problems.invalid("ssh.clientAliveInterval", "must be at least 1s, or 0 to switch it off");
        }
        if self.penalties.max < self.penalties.min {
            problems.invalid(
                "ssh.penalties.max",
                "is shorter than ssh.penalties.min, so that no penalty would ever be in force",
            );
        }
        if self.client_alive_count_max == 0 {
            problems.invalid("ssh.clientAliveCountMax", "must be at least 1");
        }
    }
}

/// ContainerSSH's rule: `^SSH-2.0-[!-,.-~]+( [a-zA-Z0-9- _.]+)?$`, at most 253 bytes.
fn check_version(version: &str) -> Result<(), String> {
    if version.len() > MAX_VERSION {
        return Err(format!("must not be longer than {MAX_VERSION} bytes"));
    }
    let Some(rest) = version.strip_prefix("SSH-2.0-") else {
        return Err("must begin with \"SSH-2.0-\"".to_owned());
    };
    let (software, comment) =
        rest.split_once(' ').map_or((rest, None), |(software, comment)| (software, Some(comment)));
    let software_ok =
        !software.is_empty() && software.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'-');
    let comment_ok = comment.is_none_or(|comment| {
        !comment.is_empty()
            && comment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"- _.".contains(&byte))
    });
    if !software_ok {
        return Err(
            "needs a software version of printable characters without '-' after \"SSH-2.0-\"".to_owned()
        );
    }
    if !comment_ok {
        return Err("may have only letters, digits, '-', '_', '.' and spaces in its comment".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_strings_follow_the_rule() {
        for good in ["SSH-2.0-ContainerSSH", "SSH-2.0-a b-c _.9", "SSH-2.0-~!"] {
            assert_eq!(check_version(good), Ok(()), "{good}");
        }
        let long = format!("SSH-2.0-{}", "a".repeat(246));
        for bad in
            ["", "SSH-2.0-", "SSH-1.99-x", "SSH-2.0-a-b", "SSH-2.0-a ", "SSH-2.0-a é", "SSH-2.0-a\n", &long]
        {
            assert!(check_version(bad).is_err(), "{bad}");
        }
    }
}
