use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn observed(pod: &Value) -> Observation {
    observe(&serde_json::from_value(pod.clone()).unwrap(), "shell")
}

fn spec() -> Value {
    json!({"containers": [{"name": "shell", "image": "guest:1"}], "initContainers": [{"name": "prepare", "image": "init:1"}]})
}

fn with(status: &Value) -> Observation {
    observed(&json!({"metadata": {"name": "p"}, "spec": spec(), "status": status}))
}

fn waiting(reason: &str, message: &str) -> Observation {
    with(&json!({
        "phase": "Pending",
        "conditions": [{"type": "PodScheduled", "status": "True"}],
        "containerStatuses": [{
            "name": "shell", "image": "docker.io/library/guest:1", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": reason, "message": message}},
        }],
    }))
}

fn trouble(observation: Observation) -> Option<Trouble> {
    match observation {
        Observation::Starting { trouble, .. } => trouble,
        other => panic!("{other:?}"),
    }
}

fn ended(observation: Observation) -> String {
    match observation {
        Observation::Ended(reason) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_pod_without_a_status_is_starting() {
    assert!(matches!(observed(&json!({"metadata": {}})), Observation::Starting { trouble: None, .. }));
}

#[test]
fn ready_is_running_and_ready() {
    let ready = |phase: &str, status: &str| {
        with(&json!({"phase": phase, "conditions": [{"type": "Ready", "status": status}]}))
    };
    assert_eq!(ready("Running", "True"), Observation::Ready);
    assert!(matches!(ready("Running", "False"), Observation::Starting { .. }));
    assert!(matches!(ready("Pending", "True"), Observation::Starting { .. }));
}

#[test]
fn an_unschedulable_pod_waits_and_says_for_what() {
    let observation = with(&json!({"phase": "Pending", "conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/1 nodes are available: 1 Insufficient cpu.",
    }]}));
    let doing = "waiting for a node: 0/1 nodes are available: 1 Insufficient cpu.".to_owned();
    assert_eq!(observation, Observation::Starting { doing, trouble: None });
}

#[test]
fn a_pull_that_the_registry_refused_is_permanent_and_names_the_image() {
    for message in ["docker.io/library/guest:1: not found", "pull access denied", "401 Unauthorized"] {
        for reason in ["ErrImagePull", "ImagePullBackOff"] {
            let Some(Trouble::Permanent(text)) = trouble(waiting(reason, message)) else {
                panic!("{message}")
            };
            assert!(
                text.contains(reason) && text.contains("image guest:1 ") && text.contains(message),
                "{text}"
            );
        }
    }
}

#[test]
fn a_pull_that_may_yet_succeed_is_not() {
    for message in ["dial tcp 192.0.2.1:443: i/o timeout", "Back-off pulling image \"guest:1\"", ""] {
        assert!(
            matches!(trouble(waiting("ImagePullBackOff", message)), Some(Trouble::Passing(_))),
            "{message}"
        );
    }
}

#[test]
fn what_the_kubelet_cannot_mend_by_trying_again_is_permanent() {
    for reason in [
        "ErrImageNeverPull",
        "InvalidImageName",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
    ] {
        let Some(Trouble::Permanent(text)) = trouble(waiting(reason, "secret \"x\" not found")) else {
            panic!("{reason}")
        };
        assert!(text.starts_with(reason) && text.contains("guest:1"), "{text}");
    }
}

#[test]
fn ordinary_steps_are_no_trouble() {
    for reason in ["ContainerCreating", "PodInitializing", ""] {
        assert_eq!(trouble(waiting(reason, "")), None, "{reason}");
    }
}

#[test]
fn an_init_container_that_runs_or_fails_is_named() {
    let init = |phase: &str, state: Value| {
        with(
            &json!({"phase": phase, "conditions": [{"type": "PodScheduled", "status": "True"}], "initContainerStatuses": [{
                "name": "prepare", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state,
            }]}),
        )
    };
    let doing = "running the init container prepare".to_owned();
    assert_eq!(init("Pending", json!({"running": {}})), Observation::Starting { doing, trouble: None });
    let doing = "creating the container prepare from the image init:1".to_owned();
    let waiting = init("Pending", json!({"waiting": {"reason": "PodInitializing"}}));
    assert_eq!(waiting, Observation::Starting { doing, trouble: None });
    let reason = ended(init("Failed", json!({"terminated": {"exitCode": 3, "reason": "Error"}})));
    assert_eq!(reason, "The init container prepare ended with exit code 3.");
}

#[test]
fn a_console_container_that_ended_says_how() {
    let terminated = |state: Value| {
        ended(with(&json!({"phase": "Running", "containerStatuses": [{
            "name": "shell", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": {"terminated": state},
        }]})))
    };
    assert_eq!(
        terminated(json!({"exitCode": 137, "reason": "OOMKilled"})),
        "The container shell ended with exit code 137 (OOMKilled)."
    );
    assert_eq!(
        terminated(json!({"exitCode": 128, "reason": "StartError", "message": "exec: \"x\":\n  not found"})),
        "The container shell ended with exit code 128 (StartError): exec: \"x\": not found \
         (kubernetes.pod.idleCommand must be able to run in the image)"
    );
}

#[test]
fn a_console_container_that_will_be_started_again_has_not_ended() {
    let of = |policy: &str| {
        let mut spec = spec();
        spec["restartPolicy"] = policy.into();
        observed(&json!({"spec": spec, "status": {"phase": "Running", "containerStatuses": [{
            "name": "shell", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": 1}},
        }]}}))
    };
    assert!(matches!(of("Never"), Observation::Ended(_)));
    for policy in ["Always", "OnFailure"] {
        assert!(matches!(of(policy), Observation::Starting { .. }), "{policy}");
    }
}

#[test]
fn eviction_deadline_and_deletion_are_told_apart() {
    let evicted = with(
        &json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}),
    );
    assert_eq!(ended(evicted), "The pod failed (Evicted): The node was low on resource: memory.");
    let deadline =
        with(&json!({"phase": "Failed", "reason": "DeadlineExceeded", "message": "Pod was active too long"}));
    assert_eq!(ended(deadline), "The pod reached its deadline.");
    let deleted = observed(&json!({
        "metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    }));
    assert_eq!(ended(deleted), "The pod was deleted.");
}

#[test]
fn messages_are_one_line_of_bounded_length() {
    let Some(Trouble::Passing(text)) = trouble(waiting("ErrImagePull", &"é\n".repeat(10_000))) else {
        panic!()
    };
    assert!(text.chars().count() < 600 && !text.contains('\n'));
}

proptest! {
    #[test]
    fn any_reason_and_phase_is_read(reason in "\\PC{0,40}", message in "\\PC{0,600}", phase in "(Pending|Running|Failed|Succeeded|Unknown|\\PC{0,10})") {
        let observation = with(&json!({"phase": phase, "reason": reason, "message": message, "containerStatuses": [{
            "name": "shell", "image": "", "imageID": "", "ready": true, "restartCount": 0,
            "state": {"waiting": {"reason": reason, "message": message}},
        }]}));
        prop_assert_ne!(observation, Observation::Ready, "only the Ready condition makes a pod ready");
    }
}
