//! What this crate's tests share.

use containerssh_backend::ConnectionInfo;
use containerssh_config::Kubernetes;
use serde_json::json;

use crate::exec::Target;
use crate::identity::{Identity, PodIdentity, RunId};

pub(crate) fn identity() -> Identity {
    Identity {
        gateway: "dev".to_owned(),
        namespace: "ssh".to_owned(),
        pod: Some(PodIdentity { name: "dev-0".to_owned(), uid: "4d5e".to_owned() }),
        run: RunId::fixed("00000000000000aa"),
    }
}

pub(crate) fn connection() -> ConnectionInfo {
    ConnectionInfo {
        connection_id: "0123456789abcdef0123456789abcdef".to_owned(),
        remote_addr: "[2001:db8::7]:4711".parse().unwrap(),
        username: "typed".to_owned(),
        authenticated_username: "alice@example.com".to_owned(),
        metadata: [].into(),
        environment: [].into(),
        files: [].into(),
    }
}

pub(crate) fn kubernetes() -> Kubernetes {
    let mut config = Kubernetes::default();
    config.pod.metadata.namespace = Some("guests".to_owned());
    config.pod.spec =
        serde_json::from_value(json!({"containers": [{"name": "shell", "image": "guest:1"}]})).unwrap();
    config.pod.idle_command = vec!["sleep".to_owned(), "1000000".to_owned()];
    config
}

/// A container of a cluster that refuses every connection.
pub(crate) fn target() -> Target {
    let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
    Target {
        client: kube::Client::try_from(config).unwrap(),
        namespace: "guests".to_owned(),
        pod: "pod".to_owned(),
        container: "shell".to_owned(),
    }
}
