//! Whether a certificate lets somebody in: pure.

use std::net::IpAddr;

use jiff::Timestamp;
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Algorithm, Certificate, HashAlg, PublicKey};

use crate::Restrictions;
use crate::keys::address;

/// Most principals that are compared, and the longest: a certificate has 256 KiB at most, and these are far more than anybody
/// needs.
const MAX_PRINCIPALS: usize = 1024;

/// Why a certificate lets nobody in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is for hosts.
    #[error("it is not a user certificate")]
    NotForUsers,
    /// Nobody trusts who signed it.
    #[error("it is signed by {0}, which is no trusted authority")]
    UnknownAuthority(String),
    /// The authority's signature is wrong, or made with a broken algorithm.
    #[error("its signature is not valid, or made with an algorithm that is broken (SHA-1, DSA)")]
    Signature,
    /// Too early.
    #[error("it is not valid yet")]
    NotYetValid,
    /// Too late.
    #[error("it has expired")]
    Expired,
    /// It names nobody.
    #[error("it names no principals")]
    NoPrincipals,
    /// It names others.
    #[error("none of its principals may log in as this user")]
    WrongPrincipal,
    /// It is not for where the client is.
    #[error("its source-address does not allow the client's address, or cannot be read")]
    SourceAddress,
    /// An option whose meaning is not known, or cannot be honoured.
    #[error("its critical option {0:?} is not supported")]
    CriticalOption(String),
    /// It is listed as revoked, or its key or authority is.
    #[error("it is revoked")]
    Revoked,
}

/// Who wants to log in, when and from where.
#[derive(Debug)]
pub(crate) struct Login<'a> {
    pub(crate) username: &'a str,
    pub(crate) client: IpAddr,
    pub(crate) now: Timestamp,
    /// The principals that may log in as this user; `None`: the user name alone.
    pub(crate) principals: Option<&'a [String]>,
}

/// Judges a certificate by the authorities that are trusted for everybody.
pub(super) fn judge(
    certificate: &Certificate,
    authorities: &[PublicKey],
    login: &Login<'_>,
) -> Result<Restrictions, Refusal> {
    let signer = certificate.signature_key();
    if !authorities.iter().any(|authority| authority.key_data() == signer) {
        return Err(Refusal::UnknownAuthority(signer.fingerprint(HashAlg::Sha256).to_string()));
    }
    judge_for_authority(certificate, login)
}

/// Judges a certificate whose authority is trusted.
pub(crate) fn judge_for_authority(
    certificate: &Certificate,
    login: &Login<'_>,
) -> Result<Restrictions, Refusal> {
    if certificate.cert_type() != CertType::User {
        return Err(Refusal::NotForUsers);
    }
    let now = u64::try_from(login.now.as_second()).map_err(|_| Refusal::NotYetValid)?;
    if now < certificate.valid_after() {
        return Err(Refusal::NotYetValid);
    }
    if now >= certificate.valid_before() {
        return Err(Refusal::Expired);
    }
    signature(certificate, now)?;
    principals(certificate, login)?;
    restrictions(certificate, login.client)
}

/// The authority's signature, by algorithms that hold. A certificate cannot sign.
fn signature(certificate: &Certificate, now: u64) -> Result<(), Refusal> {
    let signer = certificate.signature_key();
    let strong = match certificate.signature().algorithm() {
        Algorithm::Rsa { hash } => hash.is_some(),
        Algorithm::Ed25519
        | Algorithm::Ecdsa { .. }
        | Algorithm::SkEd25519
        | Algorithm::SkEcdsaSha2NistP256 => true,
        _ => false,
    };
    if !strong
        || matches!(signer, KeyData::Certificate(_))
        || matches!(certificate.public_key(), KeyData::Certificate(_))
    {
        return Err(Refusal::Signature);
    }
    let fingerprint = signer.fingerprint(HashAlg::Sha256);
    certificate.validate_at(now, [&fingerprint]).map_err(|_| Refusal::Signature)
}

fn principals(certificate: &Certificate, login: &Login<'_>) -> Result<(), Refusal> {
    let named = certificate.valid_principals();
    if named.is_empty() {
        return Err(Refusal::NoPrincipals);
    }
    if named.len() > MAX_PRINCIPALS {
        return Err(Refusal::WrongPrincipal);
    }
    let allowed = match login.principals {
        None => named.iter().any(|name| name == login.username),
        Some(principals) => named.iter().any(|name| principals.contains(name)),
    };
    // An empty name is no name, whoever lists it.
    if allowed && !login.username.is_empty() { Ok(()) } else { Err(Refusal::WrongPrincipal) }
}

/// What the options say. Without an extension what it permits is forbidden.
fn restrictions(certificate: &Certificate, client: IpAddr) -> Result<Restrictions, Refusal> {
    let mut restrictions = Restrictions::default();
    for (name, value) in certificate.critical_options().iter() {
        match name.as_str() {
            "force-command" if !value.is_empty() => restrictions.force_command = Some(value.clone()),
            "source-address" => {
                let networks: Option<Vec<_>> =
                    value.split(',').map(|network| address::cidr_or_address(network.trim())).collect();
                let inside = |networks: Vec<_>| {
                    networks.into_iter().any(|network| address::contains(network, client.to_canonical()))
                };
                if !networks.is_some_and(inside) {
                    return Err(Refusal::SourceAddress);
                }
            }
            _ => return Err(Refusal::CriticalOption(containerssh_log::clean::text(name, 60))),
        }
    }
    let permits = |name: &str| certificate.extensions().contains_key(name);
    restrictions.no_pty = !permits("permit-pty");
    restrictions.no_port_forwarding = !permits("permit-port-forwarding");
    restrictions.no_agent_forwarding = !permits("permit-agent-forwarding");
    restrictions.no_x11_forwarding = !permits("permit-X11-forwarding");
    Ok(restrictions)
}
