//! The agent in a connection's pod: how it gets there, how it is started, and how it is reached.
//!
//! ```text
//! manifest   an init container copies it into a volume that the console container mounts
//! connect    exec `start`: our key in, its key and port out; then TCP to the pod, or `relay` by exec
//! guest      the agent runs the programs; the pod's life is watched and ended as without one
//! ```

mod carrier;
mod guest;
pub(crate) mod manifest;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use containerssh_backend::BackendError;
use containerssh_config::AgentTransport;
use containerssh_link::{
    Carrier, Direct, Greeting, Hello, Identity, LinkError, PROTOCOL, PublicKey, RemoteGuest,
};
use containerssh_log::notice;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use tokio::time::timeout;

use crate::codes::code;
use crate::exec::{self, Target};
use crate::metrics::{Carried, Metrics};
use crate::settings::{AgentSettings, Settings};
use carrier::ByExec;
pub(crate) use guest::AgentGuest;

/// A pod in the same cluster answers within milliseconds; a network policy does not answer at all, and somebody waits.
const DIRECT_LIMIT: Duration = Duration::from_secs(2);

/// What an agent is started with, but for our key. Of the pool, only those started with the same serve a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Terms {
    agent: AgentSettings,
    subsystems: BTreeMap<String, String>,
}

impl Terms {
    /// `None` without an agent.
    pub(crate) fn of(settings: &Settings) -> Option<Self> {
        let subsystems = settings.subsystems.clone();
        settings.agent.clone().map(|agent| Self { agent, subsystems })
    }
}

/// Starts the agent in `target` and connects to it.
pub(crate) async fn connect(
    target: &Target,
    settings: &Settings,
    agent: &AgentSettings,
    metrics: &Metrics,
) -> Result<RemoteGuest, BackendError> {
    let failed = |reason: String| {
        BackendError::StartFailed(format!("The agent in the pod is not available: {reason}"))
    };
    let limit = settings.timeouts.command_start;
    let identity = Identity::generate().map_err(|error| failed(error.to_string()))?;
    let starting = start(target, settings, agent, &identity);
    let hello = timeout(limit, starting)
        .await
        .unwrap_or_else(|_| Err(format!("it did not start within {} s", limit.as_secs_f64())))
        .map_err(failed)?;
    let key = PublicKey::from_text(&hello.key).map_err(|error| failed(error.to_string()))?;
    let name = format!("{}/{}", target.namespace, target.pod);
    let by = |carrier: Arc<dyn Carrier>| RemoteGuest::connect(name.clone(), carrier, &identity, key.clone());

    let mut why = None;
    if agent.transport != AgentTransport::Exec {
        match direct(target, &hello).await {
            Ok(carrier) => match by(Arc::new(carrier)).await {
                Ok(guest) => {
                    metrics.agent_connected(Carried::direct);
                    tracing::debug!(code = code::KUBERNETES_AGENT_CONNECTED, podName = %target.pod, carrier = "direct", "Connected to the agent");
                    return Ok(guest);
                }
                Err(error) => why = Some(error.to_string()),
            },
            Err(error) => why = Some(error),
        }
    }
    if let Some(error) = why {
        if agent.transport == AgentTransport::Direct {
            return Err(failed(format!("{error} (kubernetes.pod.agent.transport is direct)")));
        }
        notice!(
            code = code::KUBERNETES_AGENT_FALLBACK,
            podName = %target.pod,
            error,
            "The agent cannot be reached through the pod network: using exec, which is slower"
        );
    }
    let carrier = ByExec { target: target.clone(), path: agent.path.clone(), port: hello.port };
    let guest = timeout(limit, by(Arc::new(carrier))).await.unwrap_or(Err(LinkError::Timeout));
    let guest = guest.map_err(|error| failed(error.to_string()))?;
    metrics.agent_connected(Carried::exec);
    tracing::debug!(code = code::KUBERNETES_AGENT_CONNECTED, podName = %target.pod, carrier = "exec", "Connected to the agent");
    Ok(guest)
}

/// Execs it, hands over our key, and returns its answer; or what is wrong, for the user.
async fn start(
    target: &Target,
    settings: &Settings,
    agent: &AgentSettings,
    identity: &Identity,
) -> Result<Hello, String> {
    let greeting = Greeting {
        protocol: PROTOCOL,
        key: identity.public().to_text(),
        local: agent.transport == AgentTransport::Exec,
        shell_command: agent.shell_command.clone(),
        subsystems: settings.subsystems.clone(),
    };
    let mut line = serde_json::to_vec(&greeting).map_err(|error| error.to_string())?;
    line.push(b'\n');
    let argv = vec![agent.path.clone(), "start".to_owned()];
    let finished =
        exec::run(target, argv, Some(Bytes::from(line))).await.map_err(|error| error.to_string())?;
    let output = String::from_utf8_lossy(&finished.output);
    if finished.code != 0 {
        return Err(format!("{} start ended with status {}: {}", agent.path, finished.code, output.trim()));
    }
    let hello: Hello = serde_json::from_slice(&finished.output)
        .map_err(|_| format!("{} is not this gateway's agent", agent.path))?;
    if hello.protocol == PROTOCOL {
        Ok(hello)
    } else {
        Err(format!("it speaks protocol {}, this gateway {PROTOCOL}", hello.protocol))
    }
}

/// The pod's address is the cluster's word, not the pod's.
async fn direct(target: &Target, hello: &Hello) -> Result<Direct, String> {
    let api: Api<Pod> = Api::namespaced(target.client.clone(), &target.namespace);
    let pod = api.get(&target.pod).await.map_err(|error| error.to_string())?;
    let address = pod.status.and_then(|status| status.pod_ip).and_then(|ip| ip.parse::<IpAddr>().ok());
    let address = address.ok_or("the pod has no address")?;
    Ok(Direct { address: SocketAddr::new(address, hello.port), timeout: DIRECT_LIMIT })
}
