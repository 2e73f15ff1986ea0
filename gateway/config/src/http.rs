//! HTTP clients, as ContainerSSH configures them everywhere: where to ask, for how long, and with which TLS.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::parse::Problems;
use crate::value::keyword::keyword_enum;
use crate::value::{PemOrFile, duration};

keyword_enum! {
    /// The lowest TLS version that is accepted.
    #[derive(Default)]
    pub enum TlsVersion {
        /// TLS 1.2 (RFC 5246).
        V1_2 = "1.2",
        /// TLS 1.3 (RFC 8446).
        #[default]
        V1_3 = "1.3",
    }
    refused {
        "1.0" => "is broken (RFC 8996): use \"1.2\" or \"1.3\"",
        "1.1" => "is broken (RFC 8996): use \"1.2\" or \"1.3\"",
    }
}

keyword_enum! {
    /// Groups for TLS' key exchange (RFC 8446 section 4.2.7).
    pub enum Curve {
        /// X25519 (RFC 7748).
        X25519 = "x25519",
        /// NIST P-256.
        Secp256r1 = "secp256r1",
        /// NIST P-384.
        Secp384r1 = "secp384r1",
        /// NIST P-521. The TLS library has none: it is passed over.
        Secp521r1 = "secp521r1",
    }
    aliases { "X25519" => X25519, "prime256v1" => Secp256r1 }
}

keyword_enum! {
    /// TLS cipher suites by their IANA names; OpenSSL's and GnuTLS' are understood too.
    pub enum CipherSuite {
        /// TLS 1.3, AES-128 in GCM.
        Aes128Gcm = "TLS_AES_128_GCM_SHA256",
        /// TLS 1.3, AES-256 in GCM.
        Aes256Gcm = "TLS_AES_256_GCM_SHA384",
        /// TLS 1.3, ChaCha20 with Poly1305.
        ChaCha20 = "TLS_CHACHA20_POLY1305_SHA256",
        /// TLS 1.2, AES-128 in GCM, RSA certificates.
        RsaAes128Gcm = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        /// TLS 1.2, AES-128 in GCM, ECDSA certificates.
        EcdsaAes128Gcm = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        /// TLS 1.2, AES-256 in GCM, RSA certificates.
        RsaAes256Gcm = "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        /// TLS 1.2, AES-256 in GCM, ECDSA certificates.
        EcdsaAes256Gcm = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        /// TLS 1.2, ChaCha20 with Poly1305, RSA certificates.
        RsaChaCha20 = "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        /// TLS 1.2, ChaCha20 with Poly1305, ECDSA certificates.
        EcdsaChaCha20 = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    }
    aliases {
        "ECDHE-RSA-AES128-GCM-SHA256" => RsaAes128Gcm,
        "ECDHE-ECDSA-AES128-GCM-SHA256" => EcdsaAes128Gcm,
        "ECDHE-RSA-AES256-GCM-SHA384" => RsaAes256Gcm,
        "ECDHE-ECDSA-AES256-GCM-SHA384" => EcdsaAes256Gcm,
        "ECDHE-RSA-CHACHA20-POLY1305" => RsaChaCha20,
        "ECDHE-ECDSA-CHACHA20-POLY1305" => EcdsaChaCha20,
        "TLS_ECDHE_RSA_AES_128_GCM_SHA256" => RsaAes128Gcm,
        "TLS_ECDHE_ECDSA_AES_128_GCM_SHA256" => EcdsaAes128Gcm,
        "TLS_ECDHE_RSA_AES_256_GCM_SHA384" => RsaAes256Gcm,
        "TLS_ECDHE_ECDSA_AES_256_GCM_SHA384" => EcdsaAes256Gcm,
        "TLS_ECDHE_RSA_CHACHA20_POLY1305" => RsaChaCha20,
        "TLS_ECDHE_ECDSA_CHACHA20_POLY1305" => EcdsaChaCha20,
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305" => RsaChaCha20,
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305" => EcdsaChaCha20,
    }
}

/// When a server that gives no answers is no longer waited for: a circuit breaker of each client's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct CircuitBreaker {
    /// Questions in a row without an answer after which everybody is denied at once. 0: never.
    pub failures: u32,
    /// Time until somebody's question is passed on again, to see whether there is an answer.
    #[schemars(with = "crate::schema::Duration")]
    #[serde(with = "duration")]
    pub open_for: Duration,
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        // One slow login is no outage, and ten seconds are shorter than anybody takes to type a password again twice.
        Self { failures: 5, open_for: Duration::from_secs(10) }
    }
}

impl CircuitBreaker {
    /// Whether it is as it comes.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A webhook of authentication: an HTTP client with a deadline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Webhook {
    /// Where to ask: `/password`, `/pubkey`, `/authz` or `/teardown` is appended.
    pub url: String,
    /// Whether a redirect is followed.
    pub allow_redirects: bool,
    /// Time for one request, from connect to the last byte of the answer.
    #[schemars(with = "crate::schema::Duration")]
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// Time for all requests about one attempt, retries included.
    #[schemars(with = "crate::schema::Duration")]
    #[serde(with = "duration")]
    pub auth_timeout: Duration,
    /// Certificate authorities of the server: PEM text or a file name. Absent: those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cacert: Option<PemOrFile>,
    /// Client certificate: PEM text or a file name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<PemOrFile>,
    /// Its key: PEM text or a file name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PemOrFile>,
    /// The lowest TLS version that is accepted.
    #[schemars(with = "crate::schema::TlsVersion")]
    #[serde(deserialize_with = "tls_version")]
    pub tls_version: TlsVersion,
    /// Groups for TLS' key exchange, best first: a list, or names with colons between. Empty for the TLS library's choice.
    #[schemars(with = "crate::schema::Names<Curve>")]
    #[serde(deserialize_with = "names", skip_serializing_if = "Vec::is_empty")]
    pub curves: Vec<Curve>,
    /// TLS cipher suites, best first: a list, or names with colons between. Empty for the TLS library's choice.
    #[schemars(with = "crate::schema::Names<CipherSuite>")]
    #[serde(deserialize_with = "names", skip_serializing_if = "Vec::is_empty")]
    pub cipher: Vec<CipherSuite>,
    /// When the server is no longer waited for.
    #[serde(skip_serializing_if = "CircuitBreaker::is_default")]
    pub circuit_breaker: CircuitBreaker,
}

impl Default for Webhook {
    fn default() -> Self {
        Self {
            url: String::new(),
            allow_redirects: false,
            timeout: Duration::from_secs(2),
            auth_timeout: Duration::from_secs(60),
            cacert: None,
            cert: None,
            key: None,
            tls_version: TlsVersion::default(),
            curves: Vec::new(),
            cipher: Vec::new(),
            circuit_breaker: CircuitBreaker::default(),
        }
    }
}

/// `configserver`: asked after each login for settings of that connection's own. Off without `url`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ConfigServer {
    /// Where to ask; nothing is appended. Empty for nowhere.
    pub url: String,
    /// Whether a redirect is followed.
    pub allow_redirects: bool,
    /// Time for one request, from connect to the last byte of the answer. All of one login together have a minute.
    #[schemars(with = "crate::schema::Duration")]
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// Certificate authorities of the server: PEM text or a file name. Absent: those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cacert: Option<PemOrFile>,
    /// Client certificate: PEM text or a file name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<PemOrFile>,
    /// Its key: PEM text or a file name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PemOrFile>,
    /// The lowest TLS version that is accepted.
    #[schemars(with = "crate::schema::TlsVersion")]
    #[serde(deserialize_with = "tls_version")]
    pub tls_version: TlsVersion,
    /// Groups for TLS' key exchange, best first: a list, or names with colons between. Empty for the TLS library's choice.
    #[schemars(with = "crate::schema::Names<Curve>")]
    #[serde(deserialize_with = "names", skip_serializing_if = "Vec::is_empty")]
    pub curves: Vec<Curve>,
    /// TLS cipher suites, best first: a list, or names with colons between. Empty for the TLS library's choice.
    #[schemars(with = "crate::schema::Names<CipherSuite>")]
    #[serde(deserialize_with = "names", skip_serializing_if = "Vec::is_empty")]
    pub cipher: Vec<CipherSuite>,
    /// When the server is no longer waited for.
    #[serde(skip_serializing_if = "CircuitBreaker::is_default")]
    pub circuit_breaker: CircuitBreaker,
    /// Whether the server is told what authentication marked as sensitive.
    pub transmit_sensitive_metadata: bool,
}

impl Default for ConfigServer {
    fn default() -> Self {
        let Webhook { url, allow_redirects, timeout, cacert, cert, key, tls_version, curves, cipher, .. } =
            Webhook::default();
        Self {
            url,
            allow_redirects,
            timeout,
            cacert,
            cert,
            key,
            tls_version,
            curves,
            cipher,
            circuit_breaker: CircuitBreaker::default(),
            transmit_sensitive_metadata: false,
        }
    }
}

/// ContainerSSH's constant: how long a login may wait for its configuration.
const CONFIG_TIMEOUT: Duration = Duration::from_secs(60);

impl ConfigServer {
    /// Whether there is one.
    #[must_use]
    pub fn is_set(&self) -> bool {
        !self.url.is_empty()
    }

    /// The client that asks it.
    #[must_use]
    pub fn client(&self) -> Webhook {
        let Self {
            url,
            allow_redirects,
            timeout,
            cacert,
            cert,
            key,
            tls_version,
            curves,
            cipher,
            circuit_breaker,
            ..
        } = self.clone();
        Webhook {
            url,
            allow_redirects,
            timeout,
            auth_timeout: CONFIG_TIMEOUT.max(timeout),
            cacert,
            cert,
            key,
            tls_version,
            curves,
            cipher,
            circuit_breaker,
        }
    }

    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn check(&self, problems: &mut Problems) {
        if self.is_set() {
            self.client().check("configserver", problems);
        } else if !self.is_default() {
            problems
                .invalid("configserver.url", "is missing: the rest of configserver has no effect without it");
        }
    }
}

/// `tlsVersion: 1.3` without quotes is a number in YAML, and everybody writes it like that.
pub(crate) fn tls_version<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<TlsVersion, D::Error> {
    struct TlsVisitor;
    impl serde::de::Visitor<'_> for TlsVisitor {
        type Value = TlsVersion;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("\"1.2\" or \"1.3\"")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<TlsVersion, E> {
            text.parse().map_err(E::custom)
        }

        fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<TlsVersion, E> {
            format!("{number:?}").parse().map_err(E::custom)
        }
    }
    deserializer.deserialize_any(TlsVisitor)
}

/// A list of words, or one text with colons between them, as OpenSSL writes such lists.
pub(crate) fn names<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: std::str::FromStr<Err = String> + Deserialize<'de>,
{
    struct NamesVisitor<T>(std::marker::PhantomData<T>);
    impl<'de, T: std::str::FromStr<Err = String> + Deserialize<'de>> serde::de::Visitor<'de> for NamesVisitor<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a list of names")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Vec<T>, E> {
            text.split(':').map(|name| name.trim().parse().map_err(E::custom)).collect()
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut access: A) -> Result<Vec<T>, A::Error> {
            let mut names = Vec::new();
            while let Some(name) = access.next_element()? {
                names.push(name);
            }
            Ok(names)
        }
    }
    deserializer.deserialize_any(NamesVisitor(std::marker::PhantomData))
}

/// The reference's lower bound for one request.
const MIN_TIMEOUT: Duration = Duration::from_millis(100);
/// A breaker that closes sooner spares nobody anything.
const MIN_OPEN: Duration = Duration::from_millis(100);

pub(crate) fn check_url(url: &str) -> Result<(), &'static str> {
    if url.is_empty() {
        return Err("is missing");
    }
    let Some(rest) = ["http://", "https://"].into_iter().find_map(|scheme| url.strip_prefix(scheme)) else {
        return Err("must begin with http:// or https://");
    };
    let host = rest.split('/').next().unwrap_or_default();
    if host.is_empty() {
        return Err("names no host");
    }
    if host.contains('@') {
        return Err("must not hold a user name or password, which would show in logs: use cert and key");
    }
    Ok(())
}

impl Webhook {
    /// Checks the client of which `path` is the key.
    pub(crate) fn check(&self, path: &str, problems: &mut Problems) {
        let key = |name: &str| format!("{path}.{name}");
        if let Err(message) = check_url(&self.url) {
            problems.invalid(key("url"), message);
        }
        if self.timeout < MIN_TIMEOUT {
            problems.invalid(key("timeout"), "must be at least 100ms");
        }
        if self.auth_timeout < self.timeout {
            problems.invalid(key("authTimeout"), "must not be shorter than timeout");
        }
        if self.circuit_breaker.failures > 0 && self.circuit_breaker.open_for < MIN_OPEN {
            problems.invalid(
                key("circuitBreaker.openFor"),
                "must be at least 100ms; to switch it off, set circuitBreaker.failures to 0",
            );
        }
        if self.cert.is_some() != self.key.is_some() {
            let (missing, present) = if self.cert.is_none() { ("cert", "key") } else { ("key", "cert") };
            problems.invalid(key(missing), format!("is missing: {present} is set, and they belong together"));
        }
        let files = [("cacert", &self.cacert), ("cert", &self.cert), ("key", &self.key)];
        for (name, pem) in files {
            if pem.as_ref().is_some_and(PemOrFile::is_empty) {
                problems.invalid(key(name), "is empty: give PEM text or a file name, or leave it out");
            }
        }
        if !self.curves.is_empty() && self.curves.iter().all(|curve| *curve == Curve::Secp521r1) {
            problems.invalid(key("curves"), "holds nothing that the TLS library has: add \"x25519\"");
        }
        let tls13 = [CipherSuite::Aes128Gcm, CipherSuite::Aes256Gcm, CipherSuite::ChaCha20];
        if self.tls_version == TlsVersion::V1_3
            && !self.cipher.is_empty()
            && !self.cipher.iter().any(|cipher| tls13.contains(cipher))
        {
            problems.invalid(
                key("cipher"),
                "holds no cipher suite of TLS 1.3: add \"TLS_AES_128_GCM_SHA256\", or set tlsVersion to \"1.2\"",
            );
        }
    }
}
