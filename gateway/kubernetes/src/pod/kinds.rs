//! Pods that are not simply a connection's: of one session, of the pool, of mode `persistent`. Pure.
//!
//! A pod that was there before its user, or that stays after them, cannot have the user's environment in its
//! specification: there it is given to each program instead.

use std::collections::BTreeMap;
use std::time::Duration;

use containerssh_backend::ConnectionInfo;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{manifest, meta};
use crate::identity::Identity;
use crate::settings::Settings;

/// What [`meta::POOL`] says of a pod that waits.
pub(crate) const WARM: &str = "warm";
/// And of one that has been given to a connection.
const CLAIMED: &str = "claimed";
/// What [`meta::MODE`] says.
pub(crate) const PERSISTENT: &str = "persistent";

/// Digits of a template's digest: enough to tell two templates of one gateway apart.
const DIGEST_DIGITS: usize = 16;

/// The pod of one session of `connection`.
pub(crate) fn of_session(
    settings: &Settings,
    identity: &Identity,
    connection: &ConnectionInfo,
    channel: u64,
) -> Pod {
    let mut pod = manifest::build(settings, identity, connection);
    let id = format!("{}-{channel}", connection.connection_id);
    pod.metadata.name = Some(meta::name(&settings.metadata, &id));
    pod.metadata.labels.get_or_insert_default().insert(meta::CHANNEL.to_owned(), channel.to_string());
    pod
}

/// A pod of the pool. `number` tells it from all others.
pub(crate) fn warm(settings: &Settings, identity: &Identity, number: u128) -> Pod {
    let mut pod = anonymous(settings, identity);
    let digest = template_digest(&pod);
    pod.metadata.name = Some(meta::name(&settings.metadata, &format!("warm-{number:024x}")));
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(meta::POOL.to_owned(), WARM.to_owned());
    labels.insert(meta::TEMPLATE.to_owned(), digest);
    pod
}

/// Names what a pod of the pool is made from: pods of equal digests are the same but for their names.
pub(crate) fn digest(settings: &Settings, identity: &Identity) -> String {
    template_digest(&anonymous(settings, identity))
}

fn anonymous(settings: &Settings, identity: &Identity) -> Pod {
    // A pod waits for up to twice its greatest age, and the user's time counts from when it was given to them.
    let deadline = settings.deadline.map(|deadline| deadline.saturating_add(settings.warm.max_age * 2));
    let labels = manifest::labels_of_run(identity);
    Pod {
        metadata: ObjectMeta {
            owner_references: manifest::owners(settings, identity),
            ..manifest::metadata(settings, labels, BTreeMap::new())
        },
        spec: Some(manifest::spec(settings, &BTreeMap::new(), deadline)),
        status: None,
    }
}

fn template_digest(pod: &Pod) -> String {
    // Plain data with sorted keys: it has one text.
    let text = serde_json::to_vec(pod).unwrap_or_default();
    hex::encode(Sha256::digest(text)).chars().take(DIGEST_DIGITS).collect()
}

/// The merge patch that gives the pod with the unique id `uid` to a connection, and in mode `session` to its channel.
/// It holds for that very pod or fails.
pub(crate) fn claim(
    settings: &Settings,
    connection: &ConnectionInfo,
    channel: Option<u64>,
    uid: Option<&str>,
) -> Value {
    let mut labels = manifest::labels_of_user(settings, connection);
    labels.insert(meta::CONNECTION_ID.to_owned(), connection.connection_id.clone());
    labels.insert(meta::POOL.to_owned(), CLAIMED.to_owned());
    if let Some(channel) = channel {
        labels.insert(meta::CHANNEL.to_owned(), channel.to_string());
    }
    let mut metadata =
        json!({"labels": labels, "annotations": manifest::annotations_of(settings, connection)});
    if let (Some(uid), Some(metadata)) = (uid, metadata.as_object_mut()) {
        metadata.insert("uid".to_owned(), uid.into());
    }
    json!({ "metadata": metadata })
}

/// A pod of mode `persistent`, called `name`: nobody's who connects, unless its name says whose it is.
pub(crate) fn persistent(
    settings: &Settings,
    identity: &Identity,
    connection: &ConnectionInfo,
    name: &str,
    now: &str,
) -> Pod {
    let mut labels = BTreeMap::new();
    let mut annotations = BTreeMap::new();
    if settings.metadata.name.as_deref() != Some(name) {
        labels.extend(manifest::labels_of_user(settings, connection));
        annotations.extend(manifest::annotations_of(settings, connection));
        annotations.remove(meta::IP);
    }
    labels.extend(manifest::labels_of_gateway(identity));
    labels.insert(meta::MODE.to_owned(), PERSISTENT.to_owned());
    if let Some(idle) = settings.idle_timeout {
        annotations.extend(used(now, idle));
    }
    let owners = settings.metadata.owner_references.clone();
    Pod {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            owner_references: owners,
            ..manifest::metadata(settings, labels, annotations)
        },
        spec: Some(manifest::lasting_spec(settings)),
        status: None,
    }
}

/// What notes on a persistent pod that it is in use at `now` (RFC 3339), and for how long that counts.
pub(crate) fn used(now: &str, idle: Duration) -> BTreeMap<String, String> {
    BTreeMap::from([
        (meta::LAST_USED.to_owned(), now.to_owned()),
        (meta::IDLE_TIMEOUT.to_owned(), idle.as_secs().to_string()),
    ])
}

#[cfg(test)]
mod tests {
    use containerssh_backend::MetadataValue;

    use super::*;
    use crate::testing::{connection, identity, kubernetes};

    fn settings(change: impl FnOnce(&mut containerssh_config::Pod)) -> Settings {
        let mut config = kubernetes();
        change(&mut config.pod);
        Settings::new(&config).unwrap()
    }

    fn labels(pod: &Pod) -> &BTreeMap<String, String> {
        pod.metadata.labels.as_ref().unwrap()
    }

    #[test]
    fn each_session_has_a_pod_of_its_own_that_is_swept_like_a_connections() {
        let settings = settings(|_| {});
        let (first, second) = (
            of_session(&settings, &identity(), &connection(), 0),
            of_session(&settings, &identity(), &connection(), 1),
        );
        assert_eq!(first.metadata.name.as_deref(), Some("containerssh-0123456789abcdef0123456789abcdef-0"));
        assert_ne!(first.metadata.name, second.metadata.name);
        assert_eq!(labels(&second)[meta::CHANNEL], "1");
        assert_eq!(labels(&second)[meta::GATEWAY_RUN], "00000000000000aa");
        let longest = of_session(&settings, &identity(), &connection(), u64::MAX);
        assert!(longest.metadata.name.unwrap().ends_with(&format!("cdef-{}", u64::MAX)));
    }

    #[test]
    fn a_warm_pod_is_nobodys_and_ends_with_its_gateway() {
        let settings = settings(|pod| {
            pod.expose_auth_metadata_as_env = [("TEAM".to_owned(), "TEAM".to_owned())].into();
        });
        let pod = warm(&settings, &identity(), 7);
        assert_eq!(pod.metadata.name.as_deref(), Some("containerssh-warm-000000000000000000000007"));
        assert_eq!(labels(&pod)[meta::POOL], WARM);
        assert_eq!(labels(&pod)[meta::TEMPLATE], digest(&settings, &identity()));
        assert_eq!(labels(&pod)[meta::GATEWAY_RUN], "00000000000000aa");
        assert!(
            !labels(&pod).contains_key(meta::CONNECTION_ID) && !labels(&pod).contains_key(meta::USERNAME)
        );
        let spec = pod.spec.unwrap();
        assert_eq!(spec.restart_policy.as_deref(), Some("Never"));
        assert_eq!(
            spec.active_deadline_seconds,
            Some(168 * 3600 + 2 * 3600),
            "waiting costs its user no time"
        );
        assert_eq!(spec.containers[0].env, None);
    }

    #[test]
    fn only_what_the_pods_are_made_from_changes_the_digest() {
        let digest = |change: fn(&mut containerssh_config::Pod)| digest(&settings(change), &identity());
        let plain = digest(|_| {});
        assert_eq!(digest(|pod| pod.shell_command = vec!["zsh".to_owned()]), plain);
        assert_eq!(digest(|pod| pod.warm_pool.size = 5), plain);
        for changed in [
            digest(|pod| pod.spec.containers[0].image = Some("guest:2".to_owned())),
            digest(|pod| pod.idle_command = vec!["other".to_owned()]),
            digest(|pod| pod.metadata.labels = Some([("team".to_owned(), "a".to_owned())].into())),
            digest(|pod| pod.metadata.namespace = Some("other".to_owned())),
        ] {
            assert_ne!(changed, plain);
        }
    }

    #[test]
    fn a_claim_says_whose_the_pod_is_now_and_nothing_sensitive() {
        let settings = settings(|pod| {
            let map =
                |name: &str| [("TEAM".to_owned(), name.to_owned()), ("KEY".to_owned(), "x/key".to_owned())];
            pod.expose_auth_metadata_as_labels = map("x/team").into();
            pod.expose_auth_metadata_as_annotations = map("x/note").into();
        });
        let mut connection = connection();
        for (key, sensitive) in [("TEAM", false), ("KEY", true)] {
            let value = MetadataValue { value: "red&blue".to_owned(), sensitive };
            connection.metadata.insert(key.to_owned(), value);
        }
        assert_eq!(
            claim(&settings, &connection, None, Some("u1")),
            json!({"metadata": {
                "uid": "u1",
                "labels": {
                    "containerssh.io/pool": "claimed",
                    "containerssh_connection_id": "0123456789abcdef0123456789abcdef",
                    "containerssh_username": "alice-example.com",
                    "x/team": "red-blue",
                },
                "annotations": {"containerssh_ip": "2001-db8--7", "x/note": "red&blue"},
            }})
        );
        assert_eq!(claim(&settings, &connection, Some(3), None)["metadata"]["labels"][meta::CHANNEL], "3");
    }

    #[test]
    fn a_persistent_pod_outlives_gateways_and_their_deadlines() {
        let settings = settings(|pod| {
            pod.mode = containerssh_config::PodMode::Persistent;
            pod.create_missing_pods = true;
            pod.metadata.name = Some("dev-{username}".to_owned());
            pod.idle_timeout = Duration::from_secs(3600);
        });
        let mut identity = identity();
        identity.namespace = "guests".to_owned();
        let pod = persistent(&settings, &identity, &connection(), "dev-alice", "2026-01-01T00:00:00Z");
        assert_eq!(pod.metadata.owner_references, None);
        assert!(
            !labels(&pod).contains_key(meta::GATEWAY_RUN) && !labels(&pod).contains_key(meta::CONNECTION_ID)
        );
        assert_eq!(labels(&pod)[meta::MODE], PERSISTENT);
        assert_eq!(labels(&pod)[meta::USERNAME], "alice-example.com");
        let annotations = pod.metadata.annotations.as_ref().unwrap();
        assert_eq!(annotations[meta::LAST_USED], "2026-01-01T00:00:00Z");
        assert_eq!(annotations[meta::IDLE_TIMEOUT], "3600");
        let spec = pod.spec.as_ref().unwrap();
        assert_eq!((spec.active_deadline_seconds, spec.restart_policy.as_deref()), (None, None));
        assert_eq!(spec.containers[0].command.as_ref().unwrap()[0], "sleep");
    }

    #[test]
    fn a_persistent_pod_that_users_share_bears_nobodys_name() {
        let settings = settings(|pod| {
            pod.mode = containerssh_config::PodMode::Persistent;
            pod.create_missing_pods = true;
            pod.metadata.name = Some("shared".to_owned());
        });
        let pod = persistent(&settings, &identity(), &connection(), "shared", "2026-01-01T00:00:00Z");
        assert!(!labels(&pod).contains_key(meta::USERNAME));
        assert_eq!(pod.metadata.annotations, None, "no idle timeout: nothing to note");
    }
}
