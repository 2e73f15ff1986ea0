use std::time::Duration;

use serde_json::json;

use super::*;
use crate::testing::{connection, identity, kubernetes};

fn settings(pod: &serde_json::Value) -> Settings {
    let mut config = kubernetes();
    let mut merged = serde_json::to_value(&config.pod).unwrap();
    merged.as_object_mut().unwrap().extend(pod.as_object().unwrap().clone());
    config.pod = serde_json::from_value(merged).unwrap();
    Settings::new(&config).unwrap()
}

fn value(text: &str, sensitive: bool) -> MetadataValue {
    MetadataValue { value: text.to_owned(), sensitive }
}

#[test]
fn the_whole_pod_of_a_plain_template() {
    let pod = build(&settings(&json!({})), &identity(), &connection());
    assert_eq!(
        serde_json::to_value(&pod).unwrap(),
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": "containerssh-0123456789abcdef0123456789abcdef",
                "namespace": "guests",
                "labels": {
                    "app.kubernetes.io/component": "guest",
                    "app.kubernetes.io/managed-by": "containerssh",
                    "app.kubernetes.io/name": "containerssh-guest",
                    "containerssh.io/gateway": "dev",
                    "containerssh.io/gateway-namespace": "ssh",
                    "containerssh.io/gateway-pod": "dev-0",
                    "containerssh.io/gateway-pod-uid": "4d5e",
                    "containerssh.io/gateway-run": "00000000000000aa",
                    "containerssh_connection_id": "0123456789abcdef0123456789abcdef",
                    "containerssh_username": "alice-example.com",
                },
                "annotations": {"containerssh_ip": "2001-db8--7"},
            },
            "spec": {
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": 5,
                "automountServiceAccountToken": false,
                "enableServiceLinks": false,
                "activeDeadlineSeconds": 604_800,
                "containers": [{"name": "shell", "image": "guest:1", "command": ["sleep", "1000000"]}],
            },
        })
    );
}

#[test]
fn what_the_template_says_is_kept() {
    let settings = settings(&json!({
        "metadata": {
            "namespace": "guests", "generateName": "box-",
            "labels": {"team": "a", "containerssh_connection_id": "forged", "containerssh.io/gateway-run": "forged",
                "containerssh.io/mode": "persistent"},
            "annotations": {"note": "n"},
        },
        "spec": {
            "containers": [
                {"name": "side", "image": "s"},
                {"name": "main", "image": "m", "command": ["x"], "args": ["y"], "resources": {"limits": {"cpu": "1"}}},
            ],
            "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "automountServiceAccountToken": true,
            "enableServiceLinks": true, "activeDeadlineSeconds": 7, "serviceAccountName": "sa",
        },
        "consoleContainerNumber": 1,
    }));
    let pod = build(&settings, &identity(), &connection());
    let labels = pod.metadata.labels.unwrap();
    assert_eq!(labels["team"], "a");
    assert_eq!(labels[meta::CONNECTION_ID], connection().connection_id);
    assert_eq!(labels[meta::GATEWAY_RUN], "00000000000000aa");
    assert!(!labels.contains_key(meta::MODE), "the sweep would let it be");
    assert_eq!(pod.metadata.annotations.unwrap()["note"], "n");
    assert!(pod.metadata.name.unwrap().starts_with("box-0123"));
    assert_eq!(pod.metadata.generate_name, None);

    let spec = pod.spec.unwrap();
    assert_eq!(
        spec.restart_policy.as_deref(),
        Some("Never"),
        "a console that restarts loses the user's programs"
    );
    assert_eq!(spec.termination_grace_period_seconds, Some(30));
    assert_eq!(spec.automount_service_account_token, Some(true));
    assert_eq!(spec.enable_service_links, Some(true));
    assert_eq!(spec.active_deadline_seconds, Some(7));
    assert_eq!(spec.service_account_name.as_deref(), Some("sa"));
    assert_eq!(spec.containers[0].command, None);
    assert_eq!(spec.containers[1].command, Some(vec!["sleep".to_owned(), "1000000".to_owned()]));
    assert_eq!(spec.containers[1].args, None);
    assert!(spec.containers[1].resources.is_some());
}

#[test]
fn environment_reaches_every_container_unexpanded_and_replaces_the_templates() {
    let settings = settings(&json!({
        "spec": {
            "containers": [
                {"name": "a", "image": "i", "env": [{"name": "X", "value": "old"}, {"name": "K", "value": "kept"}]},
                {"name": "b", "image": "i"},
            ],
            "initContainers": [{"name": "c", "image": "i"}],
        },
        "exposeAuthMetadataAsEnv": {"EMAIL": "MAIL", "absent": "NOPE"},
    }));
    let mut connection = connection();
    connection.environment.insert("X".to_owned(), value("$(PATH) $$", false));
    connection.metadata.insert("EMAIL".to_owned(), value("a@b", true));
    let spec = build(&settings, &identity(), &connection).spec.unwrap();
    for container in spec.containers.iter().chain(spec.init_containers.as_ref().unwrap()) {
        let env = container.env.as_ref().unwrap();
        let all = |name: &str| {
            env.iter()
                .filter(|variable| variable.name == name)
                .map(|variable| variable.value.clone().unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(all("X"), ["$$(PATH) $$$$"], "{}", container.name);
        assert_eq!(all("MAIL"), ["a@b"]);
        assert_eq!(all("NOPE"), Vec::<String>::new());
        assert_eq!(all("K").len(), usize::from(container.name == "a"));
    }
}

#[test]
fn metadata_shows_on_the_pod_only_where_it_is_mapped_and_not_sensitive() {
    let settings = settings(&json!({
        "exposeAuthMetadataAsLabels": {"team": "example.com/team", "odd": "example.com/odd", "id": "containerssh.io/gateway",
            "token": "example.com/token"},
        "exposeAuthMetadataAsAnnotations": {"mail": "example.com/mail", "token": "example.com/token"},
    }));
    let mut connection = connection();
    for (key, text, sensitive) in [
        ("team", "red & blue", false),
        ("odd", "猫", false),
        ("mail", "a@b", false),
        ("secret", "s3cret", true),
        ("token", "s3cret", true),
        ("id", "forged", false),
    ] {
        connection.metadata.insert(key.to_owned(), value(text, sensitive));
    }
    let pod = build(&settings, &identity(), &connection);
    let labels = pod.metadata.labels.clone().unwrap();
    assert_eq!(labels["example.com/team"], "red---blue");
    assert!(!labels.contains_key("example.com/odd"));
    assert_eq!(labels[meta::GATEWAY], "dev", "no webhook moves a pod to another gateway");
    assert_eq!(pod.metadata.annotations.clone().unwrap()["example.com/mail"], "a@b");
    assert!(!serde_json::to_string(&pod).unwrap().contains("s3cret"));
}

#[test]
fn the_gateways_pod_owns_guests_in_its_own_namespace_only() {
    let mut identity = identity();
    assert_eq!(build(&settings(&json!({})), &identity, &connection()).metadata.owner_references, None);
    identity.namespace = "guests".to_owned();
    let owners = build(&settings(&json!({})), &identity, &connection()).metadata.owner_references.unwrap();
    assert_eq!(
        (owners[0].kind.as_str(), owners[0].name.as_str(), owners[0].uid.as_str()),
        ("Pod", "dev-0", "4d5e")
    );
    identity.pod = None;
    assert_eq!(build(&settings(&json!({})), &identity, &connection()).metadata.owner_references, None);
}

#[test]
fn a_name_too_long_for_a_label_leaves_the_pod_without_it() {
    let mut connection = connection();
    connection.authenticated_username = "x".repeat(64);
    let labels = build(&settings(&json!({})), &identity(), &connection).metadata.labels.unwrap();
    assert!(!labels.contains_key(meta::USERNAME));
    connection.authenticated_username = String::new();
    let labels = build(&settings(&json!({})), &identity(), &connection).metadata.labels.unwrap();
    assert_eq!(labels[meta::USERNAME], "typed");
}

#[test]
fn no_deadline_means_none() {
    let mut settings = settings(&json!({}));
    settings.deadline = None;
    assert_eq!(build(&settings, &identity(), &connection()).spec.unwrap().active_deadline_seconds, None);
    settings.deadline = Some(Duration::from_millis(10));
    assert_eq!(build(&settings, &identity(), &connection()).spec.unwrap().active_deadline_seconds, Some(1));
}

#[test]
fn an_agent_is_installed_by_an_init_container_that_may_do_nothing_else() {
    let settings = settings(&json!({
        "disableAgent": false,
        "agent": {"image": "agent:1"},
        "idleCommand": containerssh_config::Pod::default().idle_command,
        "spec": {
            "containers": [{"name": "other", "image": "o:1"}, {"name": "shell", "image": "guest:1"}],
            "initContainers": [{"name": "theirs", "image": "i:1"}],
        },
        "consoleContainerNumber": 1,
    }));
    let spec = build(&settings, &identity(), &connection()).spec.unwrap();
    let console = &spec.containers[1];
    assert_eq!(console.command.as_deref().unwrap(), ["/.containerssh/containerssh-agent", "idle"]);
    let mount = &console.volume_mounts.as_deref().unwrap()[0];
    assert_eq!((mount.mount_path.as_str(), mount.read_only), ("/.containerssh", Some(true)));
    assert!(spec.containers[0].volume_mounts.is_none());
    let init = spec.init_containers.unwrap();
    assert_eq!((init[0].image.as_deref(), init[1].name.as_str()), (Some("agent:1"), "theirs"));
    let security = init[0].security_context.as_ref().unwrap();
    assert_eq!(security.run_as_non_root, Some(true));
    assert_eq!(security.capabilities.as_ref().unwrap().drop.as_deref().unwrap(), ["ALL"]);
    assert!(spec.volumes.unwrap()[0].empty_dir.is_some());
}

#[test]
fn an_agent_in_the_image_needs_nothing_but_to_wait() {
    let idle = json!(containerssh_config::Pod::default().idle_command);
    let pod = json!({
        "disableAgent": false, "agentPath": "/opt/agent", "agent": {"injection": "image"}, "idleCommand": idle,
    });
    let spec = build(&settings(&pod), &identity(), &connection()).spec.unwrap();
    assert_eq!(spec.containers[0].command.as_deref().unwrap(), ["/opt/agent", "idle"]);
    assert!(spec.init_containers.is_none() && spec.volumes.is_none());
    // What somebody chose to wait with, waits.
    let pod = json!({"disableAgent": false, "agent": {"injection": "image"}, "idleCommand": ["sleep", "7"]});
    let spec = build(&settings(&pod), &identity(), &connection()).spec.unwrap();
    assert_eq!(spec.containers[0].command.as_deref().unwrap(), ["sleep", "7"]);
}
