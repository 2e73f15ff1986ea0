//! What to say about a key that has no effect here.

/// Settings of ContainerSSH 0.4's one authentication server, without that server.
const LEGACY: &str = "it belongs to ContainerSSH 0.4's auth.url, which is not there: set it in auth.password.webhook and \
                      auth.publicKey.webhook";

/// Keys of ContainerSSH that this version does not implement, with what to do instead. List indices are left out.
const UNSUPPORTED: &[(&str, &str)] = &[
    ("docker", "use backend \"kubernetes\""),
    ("dockerrun", "it was removed from ContainerSSH as well"),
    ("kuberun", "it was removed from ContainerSSH as well: use kubernetes"),
    ("sshproxy", "use backend \"kubernetes\""),
    ("auth.allowRedirects", LEGACY),
    ("auth.timeout", LEGACY),
    ("auth.authTimeout", LEGACY),
    ("auth.cacert", LEGACY),
    ("auth.cert", LEGACY),
    ("auth.key", LEGACY),
    ("auth.tlsVersion", LEGACY),
    ("auth.curves", LEGACY),
    ("auth.cipher", LEGACY),
    ("auth.pubkey", "it belongs to ContainerSSH 0.4's auth.url: set auth.publicKey.method"),
    ("auth.gssapi", ""),
    ("auth.keyboardInteractive.oauth2.generic", "it does not say who the user is: use oidc"),
    ("auth.keyboardInteractive.oauth2.redirect.webroot", "the page is built in"),
    ("auth.keyboardInteractive.oauth2.redirect.key", "it is served without TLS, for an ingress that has it"),
    ("auth.keyboardInteractive.oauth2.redirect.cert", "it is served without TLS, for an ingress that has it"),
    (
        "auth.keyboardInteractive.oauth2.redirect.clientcacert",
        "it is served without TLS, for an ingress that has it",
    ),
    (
        "auth.keyboardInteractive.oauth2.redirect.tlsVersion",
        "it is served without TLS, for an ingress that has it",
    ),
    (
        "auth.keyboardInteractive.oauth2.redirect.curves",
        "it is served without TLS, for an ingress that has it",
    ),
    (
        "auth.keyboardInteractive.oauth2.redirect.cipher",
        "it is served without TLS, for an ingress that has it",
    ),
    ("auth.password.kerberos", ""),
    ("kubernetes.pod.createMissingPods", ""),
    ("metrics.key", "it is served without TLS"),
    ("metrics.cert", "it is served without TLS"),
    ("metrics.clientcacert", "it is served without TLS"),
    ("metrics.tlsVersion", "it is served without TLS"),
    ("metrics.curves", "it is served without TLS"),
    ("metrics.cipher", "it is served without TLS"),
    ("health.key", "it is served without TLS"),
    ("health.cert", "it is served without TLS"),
    ("health.clientcacert", "it is served without TLS"),
    ("health.tlsVersion", "it is served without TLS"),
    ("health.curves", "it is served without TLS"),
    ("health.cipher", "it is served without TLS"),
    ("health.client", ""),
];

/// Keys further apart than this are different words. 1 is equality, 0 is nothing in common.
const ALIKE: f64 = 0.6;

/// The message for a key that is not among `known`. `path` is the key's full path.
pub(super) fn explain(path: &str, key: &str, known: &[&str]) -> String {
    if let Some((_, instead)) = UNSUPPORTED.iter().find(|(unsupported, _)| *unsupported == path) {
        let colon = if instead.is_empty() { "" } else { ": " };
        return format!("{path} is not supported by this version{colon}{instead}");
    }
    match nearest(key, known) {
        Some(near) => format!("unknown key {path} (did you mean {near:?}?)"),
        None if known.is_empty() => format!("unknown key {path} (no keys are known here)"),
        None => format!("unknown key {path} (known keys here: {})", list(known)),
    }
}

fn list(known: &[&str]) -> String {
    const SHOWN: usize = 30;
    let mut sorted = known.to_vec();
    sorted.sort_unstable();
    let more = if sorted.len() > SHOWN { ", …" } else { "" };
    sorted.truncate(SHOWN);
    format!("{}{more}", sorted.join(", "))
}

fn nearest<'a>(key: &str, known: &[&'a str]) -> Option<&'a str> {
    // The comparison is quadratic, and no known key is longer.
    const LONGEST: usize = 64;
    if key.len() > LONGEST {
        return None;
    }
    let lower = key.to_lowercase();
    let alike = |candidate: &str| strsim::normalized_damerau_levenshtein(&lower, &candidate.to_lowercase());
    known
        .iter()
        .map(|candidate| (*candidate, alike(candidate)))
        .filter(|(_, alike)| *alike >= ALIKE)
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .map(|(candidate, _)| candidate)
}
