//! A pod whose programs an agent runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use containerssh_backend::{
    BackendError, Bind, Command, DialError, Guest, Incoming, Program, ProgramSpec, Stream, Target,
};
use containerssh_link::RemoteGuest;
use tokio::time::Instant;

use crate::codes::code;
use crate::guest::PodGuest;
use crate::metrics::{Metrics, Outcome};
use crate::settings::Settings;

/// The agent runs programs; the pod is watched and removed as any other.
#[derive(Debug)]
pub(crate) struct AgentGuest {
    pub(crate) pod: PodGuest,
    pub(crate) agent: RemoteGuest,
    pub(crate) settings: Arc<Settings>,
    pub(crate) metrics: Metrics,
}

/// What is not configured does not exist: an agent has an SFTP server wherever it is, but a policy may not want one.
fn allowed(subsystems: &BTreeMap<String, String>, command: &Command) -> Result<(), BackendError> {
    match command {
        Command::Subsystem(name) if !subsystems.contains_key(name) => Err(BackendError::ProgramFailed(
            format!("The subsystem {name:?} is not configured (kubernetes.pod.subsystems)."),
        )),
        _ => Ok(()),
    }
}

#[async_trait]
impl Guest for AgentGuest {
    fn name(&self) -> &str {
        self.pod.name()
    }

    async fn start(&self, mut spec: ProgramSpec) -> Result<Program, BackendError> {
        spec.env = self.pod.environment(spec.env);
        let (begun, channel) = (Instant::now(), spec.channel);
        let result = match allowed(&self.settings.subsystems, &spec.command) {
            Ok(()) => self.agent.start(spec).await,
            Err(error) => Err(error),
        };
        let outcome = if result.is_ok() { Outcome::success } else { Outcome::failure };
        self.metrics.exec_started(outcome, begun.elapsed());
        if let Err(error) = &result {
            tracing::info!(
                code = code::KUBERNETES_EXEC_FAILED,
                podName = %self.name(),
                channelId = channel,
                %error,
                "A program could not be started"
            );
        }
        result
    }

    async fn dial(&self, target: Target) -> Result<Stream, DialError> {
        self.agent.dial(target).await
    }

    async fn listen(&self, bind: Bind) -> Result<u16, DialError> {
        self.agent.listen(bind).await
    }

    async fn unlisten(&self, bind: Bind) -> bool {
        self.agent.unlisten(bind).await
    }

    async fn accept(&self) -> Incoming {
        self.agent.accept().await
    }

    /// The cluster knows better why; without the agent the pod is of no use either.
    async fn gone(&self) -> BackendError {
        tokio::select! {
            biased;
            reason = self.pod.gone() => reason,
            reason = self.agent.gone() => reason,
        }
    }

    async fn close(&self) {
        self.agent.close().await;
        self.pod.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agents_own_sftp_server_serves_only_where_sftp_is_configured() {
        let sftp = Command::Subsystem("sftp".to_owned());
        let configured = BTreeMap::from([("sftp".to_owned(), "/usr/lib/openssh/sftp-server".to_owned())]);
        assert!(allowed(&configured, &sftp).is_ok());
        assert!(allowed(&BTreeMap::new(), &sftp).unwrap_err().to_string().contains("not configured"));
        assert!(allowed(&BTreeMap::new(), &Command::Shell).is_ok());
    }
}
