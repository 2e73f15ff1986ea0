//! Names, labels and annotations of pods. Pure.

use std::net::IpAddr;

use containerssh_backend::ConnectionInfo;
use containerssh_config::USERNAME_PLACEHOLDER;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use sha2::{Digest as _, Sha256};

/// As in ContainerSSH: the connection's id.
pub(crate) const CONNECTION_ID: &str = "containerssh_connection_id";
/// As in ContainerSSH: who logged in, as far as a label can hold it.
pub(crate) const USERNAME: &str = "containerssh_username";
/// As in ContainerSSH (an annotation): where from, with `-` for `:`.
pub(crate) const IP: &str = "containerssh_ip";
/// The gateway whose pod this is, whichever replica.
pub(crate) const GATEWAY: &str = "containerssh.io/gateway";
/// Its namespace.
pub(crate) const GATEWAY_NAMESPACE: &str = "containerssh.io/gateway-namespace";
/// The replica: name of the gateway's own pod.
pub(crate) const GATEWAY_POD: &str = "containerssh.io/gateway-pod";
/// The replica for certain: unique id of the gateway's own pod.
pub(crate) const GATEWAY_POD_UID: &str = "containerssh.io/gateway-pod-uid";
/// The process in that replica: restarts within a pod lose its connections too.
pub(crate) const GATEWAY_RUN: &str = "containerssh.io/gateway-run";

/// What the keys of our own labels begin with.
pub(crate) const OURS: &str = "containerssh.io/";
/// Mode `session`: the channel that the pod serves, by its number within the connection.
pub(crate) const CHANNEL: &str = "containerssh.io/channel";
/// `warm` while a pod of the pool waits, `claimed` once it has been given to a connection.
pub(crate) const POOL: &str = "containerssh.io/pool";
/// Of a pod of the pool: digest of the template that it was made from.
pub(crate) const TEMPLATE: &str = "containerssh.io/template";
/// `persistent` on a pod that outlives its connections.
pub(crate) const MODE: &str = "containerssh.io/mode";
/// An annotation of a persistent pod, RFC 3339: when a connection last used it.
pub(crate) const LAST_USED: &str = "containerssh.io/last-used";
/// An annotation of a persistent pod, in seconds: how long after that it may be removed.
pub(crate) const IDLE_TIMEOUT: &str = "containerssh.io/idle-timeout-seconds";

/// Longest label value (`k8s.io/apimachinery/pkg/util/validation`).
const MAX_LABEL: usize = 63;

/// Longest pod name that is also its host name.
const MAX_NAME: usize = 63;

/// What a pod's name starts with when the template says nothing.
const NAME_PREFIX: &str = "containerssh-";

/// The pod's name: always the same for one connection, so that a request whose answer was lost can be repeated.
pub(crate) fn name(template: &ObjectMeta, connection_id: &str) -> String {
    let prefix = match (&template.name, &template.generate_name) {
        (Some(name), _) if !name.is_empty() => format!("{name}-"),
        (_, Some(prefix)) if !prefix.is_empty() => prefix.clone(),
        _ => NAME_PREFIX.to_owned(),
    };
    let room = MAX_NAME.saturating_sub(connection_id.len());
    let prefix: String = prefix.chars().take(room).collect();
    format!("{prefix}{connection_id}")
}

/// The name of a persistent pod: `template` with the user in it, such that no two users have the same.
///
/// A name that is fit for a pod and short stands as it is; any other, and any that looks like what comes next, is told
/// apart by 64 bits of its digest.
pub(crate) fn persistent_name(template: &str, user: &str) -> String {
    let Some((before, after)) = template.split_once(USERNAME_PLACEHOLDER) else { return template.to_owned() };
    let room = MAX_NAME.saturating_sub(before.len() + after.len());
    let plain = |text: &str| {
        let edge = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit();
        text.starts_with(edge) && text.ends_with(edge) && text.chars().all(|c| edge(c) || c == '-')
    };
    let digested = user.len() > DIGEST_DIGITS
        && user
            .split_at_checked(user.len() - DIGEST_DIGITS)
            .is_some_and(|(head, tail)| head.ends_with('-') && tail.chars().all(|c| c.is_ascii_hexdigit()));
    if plain(user) && user.len() <= room && !digested {
        return format!("{before}{user}{after}");
    }
    let digest: String = hex::encode(Sha256::digest(user)).chars().take(DIGEST_DIGITS).collect();
    let readable: String = user
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .take(room.saturating_sub(DIGEST_DIGITS + 1))
        .collect();
    match readable.trim_matches('-') {
        "" => format!("{before}u-{digest}{after}"),
        readable => format!("{before}{readable}-{digest}{after}"),
    }
}

/// Digits of the digest that tells users apart whose names do not fit into a pod's.
const DIGEST_DIGITS: usize = 16;

/// Why a text is not made a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoLabel {
    /// Longer than 63 characters: cutting could make two users look like one.
    #[error("it is longer than 63 characters")]
    TooLong,
    /// Nothing in it can stand in a label.
    #[error("no letter, digit or dot is in it")]
    Empty,
}

/// A label's value from arbitrary text, by ContainerSSH's rule: what is not a letter, digit or dot becomes `-`. (It keeps
/// `|` too, which the API server then refuses.) Beyond that rule, the ends are trimmed to letters and digits, as the API
/// server demands.
pub(crate) fn label(text: &str) -> Result<String, NoLabel> {
    let replaced: String = text
        .chars()
        .map(|character| if character.is_ascii_alphanumeric() || character == '.' { character } else { '-' })
        .collect();
    let trimmed = replaced.trim_matches(|character: char| !character.is_ascii_alphanumeric());
    match trimmed.len() {
        0 => Err(NoLabel::Empty),
        length if length > MAX_LABEL => Err(NoLabel::TooLong),
        _ => Ok(trimmed.to_owned()),
    }
}

/// Who the pod is for: the name authentication settled on, or else the one the client typed.
pub(crate) fn user(connection: &ConnectionInfo) -> &str {
    if connection.authenticated_username.is_empty() {
        &connection.username
    } else {
        &connection.authenticated_username
    }
}

/// ContainerSSH's form of an address.
pub(crate) fn ip(address: IpAddr) -> String {
    address.to_canonical().to_string().replace(':', "-")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    fn named(name: Option<&str>, generate: Option<&str>) -> String {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        super::name(
            &ObjectMeta { name: owned(name), generate_name: owned(generate), ..ObjectMeta::default() },
            ID,
        )
    }

    #[test]
    fn a_name_has_the_templates_prefix_and_the_whole_connection_id() {
        assert_eq!(named(None, None), format!("containerssh-{ID}"));
        assert_eq!(named(None, Some("dev-")), format!("dev-{ID}"));
        assert_eq!(named(Some("box"), Some("dev-")), format!("box-{ID}"));
        let long = named(None, Some(&"x".repeat(80)));
        assert_eq!(long.len(), 63);
        assert!(long.ends_with(ID));
    }

    #[test]
    fn user_names_become_labels_as_in_containerssh() {
        assert_eq!(label("alice.b_c@example.com"), Ok("alice.b-c-example.com".to_owned()));
        assert_eq!(label("-_alice|"), Ok("alice".to_owned()));
        assert_eq!(label(&"a".repeat(63)), Ok("a".repeat(63)));
        assert_eq!(label(&"a".repeat(64)), Err(NoLabel::TooLong));
        assert_eq!(label("猫"), Err(NoLabel::Empty));
    }

    #[test]
    fn a_persistent_pod_is_named_by_its_template_and_user() {
        assert_eq!(persistent_name("box", "alice"), "box");
        assert_eq!(persistent_name("dev-{username}", "alice"), "dev-alice");
        assert_eq!(persistent_name("{username}-box", "alice-2"), "alice-2-box");
        assert_eq!(persistent_name("dev-{username}", "Alice@x"), "dev-alice-x-5482d92b23e123e0");
    }

    #[test]
    fn a_user_cannot_take_the_name_of_anothers_digest() {
        let of_alice = persistent_name("{username}", "Alice");
        assert_ne!(persistent_name("{username}", &of_alice), of_alice);
    }

    #[test]
    fn addresses_lose_their_colons_and_their_mapping() {
        assert_eq!(ip("2001:db8::1".parse().unwrap()), "2001-db8--1");
        assert_eq!(ip("::ffff:192.0.2.7".parse().unwrap()), "192.0.2.7");
    }

    proptest! {
        #[test]
        fn users_of_different_names_have_different_pods(a in "[a-zA-Z0-9@.é-]{0,70}", b in "[a-zA-Z0-9@.é-]{0,70}", template in "[a-z]{1,20}-\\{username\\}(-[a-z]{1,20})?") {
            let names = [persistent_name(&template, &a), persistent_name(&template, &b)];
            prop_assert_eq!(names[0] == names[1], a == b, "{:?}", names);
            for name in names {
                let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
                prop_assert!(name.len() <= 63 && name.starts_with(edge) && name.ends_with(edge), "{}", name);
                prop_assert!(name.chars().all(|c| edge(c) || c == '-'), "{}", name);
            }
        }

        #[test]
        fn whatever_becomes_a_label_is_one(text in "\\PC{0,80}") {
            if let Ok(label) = label(&text) {
                prop_assert!(label.len() <= 63);
                prop_assert!(label.starts_with(|c: char| c.is_ascii_alphanumeric()));
                prop_assert!(label.ends_with(|c: char| c.is_ascii_alphanumeric()));
                prop_assert!(label.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c)));
            }
        }
    }
}
