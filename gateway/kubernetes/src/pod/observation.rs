//! What a pod's status means for the connection that waits for it. Pure.
//!
//! # What fails at once, what gets a grace
//! Nothing is gained by letting a user wait for what the kubelet will never manage: a name that is no image's, a pull policy
//! that forbids the pull, a missing Secret, a command that cannot be run, a program that ended. A failed *pull* is
//! different: registries have bad seconds, and the kubelet tries again after ten. So a pull whose error says that the
//! registry answered "no" fails at once, any other gets the time for one more attempt ([`super::wait`]).

use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus, Pod, PodStatus,
};

/// A pod as the connection sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Observation {
    /// The watch has not shown it yet.
    Unseen,
    /// It is on its way.
    Starting {
        /// What it is doing, for whoever waits.
        doing: String,
        /// What is in its way.
        trouble: Option<Trouble>,
    },
    /// It can run programs.
    Ready,
    /// It will run none any more; why.
    Ended(String),
}

/// Something that keeps a pod from starting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Waiting does not help.
    Permanent(String),
    /// The next attempt may succeed.
    Passing(String),
}

/// Answers of a registry that will be the same next time.
const FINAL_PULL_ERRORS: [&str; 6] =
    ["not found", "manifest unknown", "unauthorized", "denied", "forbidden", "no match for platform"];

/// The longest part of a message of the cluster that is shown to a user.
const MAX_MESSAGE: usize = 400;

/// Reads a pod whose sessions run in the container `console`.
pub(crate) fn observe(pod: &Pod, console: &str) -> Observation {
    let none = PodStatus::default();
    let status = pod.status.as_ref().unwrap_or(&none);
    if let Some(ended) = ended(pod, status, console) {
        return Observation::Ended(ended);
    }
    if is_ready(status) {
        return Observation::Ready;
    }
    if let Some(starting) = unscheduled(status) {
        return starting;
    }
    let image = |name: &str| {
        let spec = pod.spec.as_ref()?;
        let init = spec.init_containers.as_deref().unwrap_or_default();
        spec.containers.iter().chain(init).find(|container| container.name == name)?.image.as_deref()
    };
    let init = statuses(status.init_container_statuses.as_deref(), Kind::Init);
    let main = statuses(status.container_statuses.as_deref(), Kind::Main);
    // The one with trouble speaks; otherwise the first that is not done, which is what the others wait for.
    let mut seen: Vec<(String, Option<Trouble>)> = init
        .chain(main)
        .filter_map(|(container, kind)| container_state(container, kind, image(&container.name)))
        .collect();
    let position = seen.iter().position(|(_, trouble)| trouble.is_some()).unwrap_or(0);
    if position < seen.len() {
        let (doing, trouble) = seen.swap_remove(position);
        return Observation::Starting { doing, trouble };
    }
    let doing = if status.phase.as_deref() == Some("Running") {
        "waiting until the pod is ready".to_owned()
    } else {
        "waiting for the node to start the pod".to_owned()
    };
    Observation::Starting { doing, trouble: None }
}

fn ended(pod: &Pod, status: &PodStatus, console: &str) -> Option<String> {
    let why = |prefix: &str| {
        let reason = status.reason.as_deref().unwrap_or_default();
        let message = status.message.as_deref().map(cut).unwrap_or_default();
        match (reason, message.as_str()) {
            ("", "") => prefix.to_owned(),
            ("DeadlineExceeded", _) => "The pod reached its deadline.".to_owned(),
            (reason, "") => format!("{prefix} ({reason})"),
            ("", message) => format!("{prefix}: {message}"),
            (reason, message) => format!("{prefix} ({reason}): {message}"),
        }
    };
    if status.phase.as_deref() == Some("Failed") && status.reason.is_some() {
        return Some(why("The pod failed"));
    }
    if pod.metadata.deletion_timestamp.is_some() {
        return Some("The pod was deleted.".to_owned());
    }
    let init = status.init_container_statuses.as_deref().unwrap_or_default();
    let failed_init = init.iter().find_map(|container| {
        let terminated = container.state.as_ref()?.terminated.as_ref()?;
        let failed = terminated.exit_code != 0 && status.phase.as_deref() == Some("Failed");
        failed.then_some((container, terminated))
    });
    if let Some((container, terminated)) = failed_init {
        return Some(exit(container, terminated, "The init container"));
    }
    let consoles = status.container_statuses.as_deref().unwrap_or_default();
    // Where the kubelet starts it again, the pod goes on.
    if !restarts(pod)
        && let Some(container) = consoles.iter().find(|container| container.name == console)
        && let Some(terminated) = container.state.as_ref().and_then(|state| state.terminated.as_ref())
    {
        return Some(exit(container, terminated, CONSOLE));
    }
    match status.phase.as_deref() {
        Some("Failed") => Some(why("The pod failed")),
        Some("Succeeded") => Some("The pod ended.".to_owned()),
        _ => None,
    }
}

fn restarts(pod: &Pod) -> bool {
    let policy = pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref());
    matches!(policy, Some("Always" | "OnFailure"))
}

/// How the container that serves the sessions is called.
const CONSOLE: &str = "The container";

fn exit(container: &ContainerStatus, terminated: &ContainerStateTerminated, what: &str) -> String {
    let name = &container.name;
    let code = terminated.exit_code;
    let reason = terminated.reason.as_deref().filter(|reason| !["Error", "Completed"].contains(reason));
    let hint = if reason == Some("StartError") && what == CONSOLE {
        " (kubernetes.pod.idleCommand must be able to run in the image)"
    } else {
        ""
    };
    let mut text = format!("{what} {name} ended with exit code {code}");
    if let Some(reason) = reason {
        text.push_str(&format!(" ({reason})"));
    }
    match terminated.message.as_deref().map(cut).filter(|message| !message.is_empty()) {
        Some(message) => text.push_str(&format!(": {message}")),
        None => text.push('.'),
    }
    text.push_str(hint);
    text
}

fn is_ready(status: &PodStatus) -> bool {
    let conditions = status.conditions.as_deref().unwrap_or_default();
    status.phase.as_deref() == Some("Running")
        && conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn unscheduled(status: &PodStatus) -> Option<Observation> {
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let condition = conditions.iter().find(|condition| condition.type_ == "PodScheduled")?;
    if condition.status == "True" {
        return None;
    }
    // Not permanent: an autoscaler may be making the node that is missing.
    let message = condition.message.as_deref().map(cut).unwrap_or_default();
    let doing = if condition.reason.as_deref() == Some("Unschedulable") && !message.is_empty() {
        format!("waiting for a node: {message}")
    } else {
        "waiting for a node".to_owned()
    };
    Some(Observation::Starting { doing, trouble: None })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Init,
    Main,
}

fn statuses(list: Option<&[ContainerStatus]>, kind: Kind) -> impl Iterator<Item = (&ContainerStatus, Kind)> {
    list.unwrap_or_default().iter().map(move |status| (status, kind))
}

/// What a container that is not yet where it should be is doing.
fn container_state(
    container: &ContainerStatus,
    kind: Kind,
    image: Option<&str>,
) -> Option<(String, Option<Trouble>)> {
    let state = container.state.as_ref()?;
    match state {
        ContainerState { waiting: Some(waiting), .. } => Some(waiting_state(container, kind, waiting, image)),
        ContainerState { running: Some(_), .. } if kind == Kind::Init && container.started != Some(true) => {
            Some((format!("running the init container {}", container.name), None))
        }
        ContainerState { running: Some(_), .. } if kind == Kind::Main && !container.ready => {
            Some((format!("waiting until the container {} is ready", container.name), None))
        }
        _ => None,
    }
}

fn waiting_state(
    container: &ContainerStatus,
    kind: Kind,
    waiting: &ContainerStateWaiting,
    image: Option<&str>,
) -> (String, Option<Trouble>) {
    let name = &container.name;
    // The spec's image, as the user wrote it: the status has it in the runtime's spelling.
    let image = image.unwrap_or(&container.image);
    let reason = waiting.reason.as_deref().unwrap_or_default();
    let message = waiting.message.as_deref().map(cut).unwrap_or_default();
    let detail = if message.is_empty() { String::new() } else { format!(": {message}") };
    match reason {
        "ErrImagePull"
        | "ImagePullBackOff"
        | "RegistryUnavailable"
        | "ImageInspectError"
        | "SignatureValidationFailed" => {
            let text = format!("{reason}: the image {image} cannot be pulled{detail}");
            let lower = message.to_lowercase();
            let is_final = FINAL_PULL_ERRORS.iter().any(|error| lower.contains(error));
            let trouble =
                if is_final { Trouble::Permanent(text.clone()) } else { Trouble::Passing(text.clone()) };
            (text, Some(trouble))
        }
        "ErrImageNeverPull" => {
            let text = format!(
                "{reason}: the image {image} is not on the node and must not be pulled (imagePullPolicy: Never)"
            );
            (text.clone(), Some(Trouble::Permanent(text)))
        }
        "InvalidImageName" => {
            let text = format!("{reason}: {image:?} is not the name of an image");
            (text.clone(), Some(Trouble::Permanent(text)))
        }
        "CreateContainerConfigError"
        | "CreateContainerError"
        | "RunContainerError"
        | "CrashLoopBackOff"
        | "StartError"
        | "PreCreateHookError"
        | "PostStartHookError" => {
            let text =
                format!("{reason}: the container {name} of the image {image} cannot be started{detail}");
            (text.clone(), Some(Trouble::Permanent(text)))
        }
        "PodInitializing" if kind == Kind::Main => {
            (format!("waiting for the init containers before {name}"), None)
        }
        _ => (format!("creating the container {name} from the image {image}"), None),
    }
}

/// One line of bounded length: the cluster's messages have several, of any.
fn cut(message: &str) -> String {
    let mut text: String = message.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = text.char_indices().nth(MAX_MESSAGE) {
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests;
