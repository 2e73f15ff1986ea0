//! What keys and certificates are judged by. Files that name users stay unread here: the kubelet mounts them, and the
//! gateway reads them at each login. Authorities are read and become a part of the configuration, so that a mistyped one
//! is found before anybody is locked out by it.

use std::collections::BTreeMap;

use containerssh_crds::{DataKeyRef, NameRef, PublicKeyAuthentication, SSHGatewaySpec, conditions::Reason};
use russh::keys::PublicKey;

use super::refs::{Reader, missing};
use crate::{
    error::Error,
    finding::{Finding, Subject},
    index::Kind,
};

const SUBJECT: Subject = Subject::ResolvedRefs;

/// Of a pair of references that exclude each other, the one that is set.
fn either<'a, R>(secret: Option<&'a R>, config_map: Option<&'a R>) -> Option<(Kind, &'a R)> {
    secret
        .map(|reference| (Kind::Secret, reference))
        .or_else(|| config_map.map(|reference| (Kind::ConfigMap, reference)))
}

/// Objects of which every data key counts and is mounted, each with the path that names it.
fn mounted(public_key: &PublicKeyAuthentication) -> impl Iterator<Item = (String, Kind, &NameRef)> {
    let listed =
        public_key.authorized_keys_from.iter().enumerate().map(|(number, source)| {
            (format!("authentication.publicKey.authorizedKeysFrom[{number}]"), source)
        });
    let principals = (public_key.certificate_authorities.iter())
        .filter_map(|authorities| authorities.principals_from.as_ref())
        .map(|source| ("authentication.publicKey.certificateAuthorities.principalsFrom".to_owned(), source));
    listed.chain(principals).filter_map(|(path, source)| {
        let (kind, reference) = either(source.secret_ref.as_ref(), source.config_map_ref.as_ref())?;
        Some((path, kind, reference))
    })
}

fn authorities(public_key: &PublicKeyAuthentication) -> Option<(Kind, &NameRef)> {
    let authorities = public_key.certificate_authorities.as_ref()?;
    either(authorities.secret_ref.as_ref(), authorities.config_map_ref.as_ref())
}

fn revoked(public_key: &PublicKeyAuthentication) -> impl Iterator<Item = (Kind, &DataKeyRef)> {
    (public_key.revoked_keys_from.iter())
        .filter_map(|source| either(source.secret_ref.as_ref(), source.config_map_ref.as_ref()))
}

/// Everything that a spec's keys refer to.
pub(super) fn references(spec: &SSHGatewaySpec) -> Vec<(Kind, String)> {
    let Some(public_key) = &spec.authentication.public_key else { return Vec::new() };
    mounted(public_key)
        .map(|(_, kind, reference)| (kind, reference.name.clone()))
        .chain(authorities(public_key).map(|(kind, reference)| (kind, reference.name.clone())))
        .chain(revoked(public_key).map(|(kind, reference)| (kind, reference.name.clone())))
        .collect()
}

/// Checks that everything is there, and reads the authorities; what is amiss goes to `findings`.
pub async fn gather(
    reader: &Reader,
    spec: &SSHGatewaySpec,
    namespace: &str,
    findings: &mut Vec<Finding>,
) -> Result<Vec<String>, Error> {
    let Some(public_key) = &spec.authentication.public_key else { return Ok(Vec::new()) };
    for (asked_by, kind, reference) in mounted(public_key) {
        if !reader.exists(kind, namespace, &reference.name).await? {
            let message = missing(kind, namespace, &reference.name, &asked_by);
            findings.push(Finding::new(SUBJECT, Reason::RefNotFound, message));
        }
    }
    for (number, (kind, reference)) in revoked(public_key).enumerate() {
        // The gateway lets no key in while a list is not there, so that is told before it is asked for.
        let asked_by = format!("authentication.publicKey.revokedKeysFrom[{number}]");
        let (name, key) = (&reference.name, &reference.key);
        findings.extend(reader.bytes(SUBJECT, kind, namespace, name, key, &asked_by).await?.err());
    }
    let Some((kind, reference)) = authorities(public_key) else { return Ok(Vec::new()) };
    let asked_by = "authentication.publicKey.certificateAuthorities";
    let Some(data) = reader.data(kind, namespace, &reference.name).await? else {
        let message = missing(kind, namespace, &reference.name, asked_by);
        findings.push(Finding::new(SUBJECT, Reason::RefNotFound, message));
        return Ok(Vec::new());
    };
    match public_keys(&data) {
        Ok(keys) => Ok(keys),
        Err(why) => {
            let message = format!("{kind} {namespace}/{} ({asked_by}): {why}", reference.name);
            findings.push(Finding::new(SUBJECT, Reason::RefInvalid, message));
            Ok(Vec::new())
        }
    }
}

/// The public keys in all data keys, one to a line, comments and empty lines left out.
fn public_keys(data: &BTreeMap<String, Vec<u8>>) -> Result<Vec<String>, String> {
    let mut keys = Vec::new();
    for (name, bytes) in data {
        let text = std::str::from_utf8(bytes).map_err(|_| format!("data key {name:?} is not text"))?;
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let place = || format!("data key {name:?}, line {}", index + 1);
            let key = PublicKey::from_openssh(line).map_err(|_| {
                if line.contains("PRIVATE KEY") {
                    format!(
                        "{}: this is a private key; keep it to yourself and store the public one",
                        place()
                    )
                } else {
                    format!("{}: this is no public key of the form \"ssh-ed25519 AAAA…\"", place())
                }
            })?;
            if key.key_data().is_certificate() {
                return Err(format!("{}: this is a certificate, which cannot sign others", place()));
            }
            keys.push(line.to_owned());
        }
    }
    if keys.is_empty() {
        return Err("holds no public key; put one into any data key, for example ca.pub".to_owned());
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO6vSqCZE2CmfN1cIktvGcA9gYbCSEBSSOobNKb5YJ9X ca@example";

    fn data(entries: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
        entries.iter().map(|(key, text)| ((*key).to_owned(), text.as_bytes().to_vec())).collect()
    }

    #[test]
    fn every_line_of_every_data_key_is_an_authority() {
        let two = format!("# ours\n{KEY}\n\n  {KEY}  \r\n");
        assert_eq!(public_keys(&data(&[("a", &two), ("b", KEY)])), Ok(vec![KEY.to_owned(); 3]));
    }

    #[test]
    fn what_is_no_authority_is_named_by_its_place_and_not_shown() {
        let wrong = |text: &str| public_keys(&data(&[("ca.pub", text)])).unwrap_err();
        assert!(wrong("").contains("holds no public key"));
        assert!(wrong(&format!("{KEY}\nssh-ed25519 rubbish")).contains("data key \"ca.pub\", line 2"));
        let private = wrong("-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n");
        assert!(private.contains("private key") && !private.contains("c2VjcmV0"), "{private}");
        assert!(wrong(&format!("cert-authority {KEY}")).contains("line 1"), "options mean nothing here");
        let binary = BTreeMap::from([("k".to_owned(), vec![0xff, 0xfe])]);
        assert!(public_keys(&binary).unwrap_err().contains("is not text"));
    }
}
