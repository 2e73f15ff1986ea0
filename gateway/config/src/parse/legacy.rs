//! ContainerSSH 0.4's one authentication server, turned into today's keys.
//!
//! | written | meant |
//! |---|---|
//! | `auth.url`, with `timeout`, `cacert`, ... beside it | the same in `auth.password.webhook` and `auth.publicKey.webhook` |
//! | `auth.password: false` | no passwords |
//! | `auth.pubkey: false` | no public keys |
//!
//! ContainerSSH from 0.5 on ignores the two switches, so that `pubkey: false` lets keys in. Whoever wrote it meant it: here they
//! count. A section of today's form wins over `auth.url`.

use super::error::{Problem, Problems, Warning};
use super::node::{Key, Node, Value};
use super::spelling::{entry, map, take};

/// What stood beside `auth.url`.
const CLIENT: [&str; 10] = [
    "url",
    "allowRedirects",
    "timeout",
    "authTimeout",
    "cacert",
    "cert",
    "key",
    "tlsVersion",
    "curves",
    "cipher",
];

/// Makes a tree one of today's keys only.
pub(super) fn normalize(tree: &mut Node, problems: &mut Problems, warnings: &mut Vec<Warning>) {
    let Some(auth) = map(tree).and_then(|root| entry(root, "auth")) else { return };
    let Some(auth) = map(&mut auth.1) else { return };
    let has_url = entry(auth, "url").is_some_and(|(_, node)| !matches!(node.value, Value::Null));
    if !has_url {
        if let Some((key, _)) = entry(auth, "password").filter(|(_, node)| is_switch(node)) {
            problems.push(Problem::invalid(
                Some(key.line),
                "auth.password".to_owned(),
                "must be a mapping: true and false are ContainerSSH 0.4's, beside auth.url",
            ));
            let _said = take(auth, "password");
        }
        return;
    }
    let password = take_switch(auth, "password");
    let public_key = take_switch(auth, "pubkey");
    let mut line = 1;
    let mut client = Vec::new();
    for name in CLIENT {
        if let Some((key, node)) = take(auth, name) {
            if name == "url" {
                line = key.line;
            }
            client.push((key, node));
        }
    }
    for (section, wanted) in [("password", password), ("publicKey", public_key)] {
        if wanted != Some(false) {
            fill(auth, section, &client, line);
        }
    }
    warnings.push(Warning {
        code: crate::code::CONFIG_AUTH_URL_DEPRECATED,
        line,
        message: "auth.url is ContainerSSH 0.4's: set auth.password and auth.publicKey, each with method \"webhook\" and \
                  webhook.url"
            .to_owned(),
    });
}

/// Sets a section that says nothing of its own about a webhook.
fn fill(auth: &mut Vec<(Key, Node)>, section: &str, client: &[(Key, Node)], line: u64) {
    let key = |name: &str| Key { name: name.to_owned(), line };
    let node = |value| Node { line, value };
    if entry(auth, section).is_none_or(|(_, node)| matches!(node.value, Value::Null)) {
        let _null = take(auth, section);
        auth.push((key(section), node(Value::Map(Vec::new()))));
    }
    let Some(settings) = entry(auth, section).and_then(|(_, node)| map(node)) else { return };
    if entry(settings, "method").is_some() || entry(settings, "webhook").is_some() {
        return;
    }
    settings.push((key("method"), node(Value::Text("webhook".to_owned()))));
    settings.push((key("webhook"), node(Value::Map(client.to_vec()))));
}

fn is_switch(node: &Node) -> bool {
    matches!(node.value, Value::Bool(_))
}

fn take_switch(auth: &mut Vec<(Key, Node)>, name: &str) -> Option<bool> {
    entry(auth, name).filter(|(_, node)| is_switch(node))?;
    match take(auth, name) {
        Some((_, Node { value: Value::Bool(on), .. })) => Some(on),
        _ => None,
    }
}
