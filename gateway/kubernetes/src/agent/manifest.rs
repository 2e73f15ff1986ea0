//! What a pod needs for an agent to be in it. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, Container, EmptyDirVolumeSource, PodSpec, ResourceRequirements, SecurityContext, Volume,
    VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::settings::AgentSettings;

/// The volume, and the init container that fills it.
const NAME: &str = "containerssh-agent";
/// Where both containers see the volume.
const DIRECTORY: &str = "/.containerssh";
/// The agent in the console container.
pub(crate) const INJECTED: &str = "/.containerssh/containerssh-agent";
/// The agent in its own image.
const IN_IMAGE: &str = "/containerssh-agent";
/// Anybody but root; the volume is everybody's to write to.
const NOBODY: i64 = 65_532;
/// Several times the size of the program.
const VOLUME_SIZE: &str = "64Mi";
/// To copy a file. Stated, because quotas and limit ranges may ask for it.
const RESOURCES: [(&str, &str); 2] = [("cpu", "10m"), ("memory", "32Mi")];

/// Adds the agent to a pod whose console container is number `console`.
pub(crate) fn inject(spec: &mut PodSpec, console: usize, agent: &AgentSettings) {
    if let (Some(image), Some(container)) = (&agent.image, spec.containers.get_mut(console)) {
        container.volume_mounts.get_or_insert_default().push(mount(true));
        let volume = Volume {
            name: NAME.to_owned(),
            empty_dir: Some(EmptyDirVolumeSource {
                size_limit: Some(Quantity(VOLUME_SIZE.to_owned())),
                ..EmptyDirVolumeSource::default()
            }),
            ..Volume::default()
        };
        spec.volumes.get_or_insert_default().push(volume);
        // First: it takes a moment, and what the template's own do may take long.
        spec.init_containers.get_or_insert_default().insert(0, installer(image));
    }
}

fn mount(read_only: bool) -> VolumeMount {
    VolumeMount {
        name: NAME.to_owned(),
        mount_path: DIRECTORY.to_owned(),
        read_only: Some(read_only),
        ..VolumeMount::default()
    }
}

/// Fit for the strictest of the pod security standards.
fn installer(image: &str) -> Container {
    let resources: BTreeMap<String, Quantity> =
        RESOURCES.iter().map(|(name, amount)| ((*name).to_owned(), Quantity((*amount).to_owned()))).collect();
    Container {
        name: NAME.to_owned(),
        image: Some(image.to_owned()),
        command: Some(vec![IN_IMAGE.to_owned(), "install".to_owned(), DIRECTORY.to_owned()]),
        volume_mounts: Some(vec![mount(false)]),
        resources: Some(ResourceRequirements {
            requests: Some(resources.clone()),
            limits: Some(resources),
            ..ResourceRequirements::default()
        }),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
            read_only_root_filesystem: Some(true),
            run_as_non_root: Some(true),
            run_as_user: Some(NOBODY),
            ..SecurityContext::default()
        }),
        ..Container::default()
    }
}
