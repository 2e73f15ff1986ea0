//! Mode `session`: each session channel has a pod of its own, which goes with it.
//!
//! ContainerSSH attaches to the container's own command. Here the pod idles and the session's program is started in it by
//! exec, like in the other modes: what a user sees is the same (program, environment, terminal, signals, exit status), but
//! nothing that the program writes before the attachment is lost, its input cannot be cut off, and its exit status does not
//! depend on whether the pod's status is still there to be read.
//!
//! A pod is owned by its program's two halves. Dropping both, which is how every session ends (its verdict, a client that
//! left, a gateway that stops), removes it; so does a start that fails or is given up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use containerssh_backend::{
    BackendError, ConnectionInfo, DialError, Guest, Output, Program, ProgramInput, ProgramOutput,
    ProgramSpec, ProgressSender, Signal, Stream, Target, WindowSize,
};
use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::backend::KubernetesBackend;

/// One connection, whose sessions have a pod each.
#[derive(Debug)]
pub(crate) struct SessionGuest {
    /// What all its pods' names begin with.
    name: String,
    backend: KubernetesBackend,
    connection: Arc<ConnectionInfo>,
    progress: ProgressSender,
    closed: CancellationToken,
    /// The pods that serve a session, by its channel.
    pods: Mutex<BTreeMap<u64, Weak<dyn Guest>>>,
}

impl SessionGuest {
    pub(crate) fn new(
        backend: KubernetesBackend,
        connection: Arc<ConnectionInfo>,
        progress: ProgressSender,
    ) -> Self {
        let name = backend.name_of(&connection);
        let closed = CancellationToken::new();
        Self { name, backend, connection, progress, closed, pods: Mutex::default() }
    }

    fn pods(&self) -> MutexGuard<'_, BTreeMap<u64, Weak<dyn Guest>>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Guest for SessionGuest {
    fn name(&self) -> &str {
        &self.name
    }

    async fn start(&self, spec: ProgramSpec) -> Result<Program, BackendError> {
        let channel = spec.channel;
        let obtaining = self.backend.guest(&self.connection, Some(channel), &self.progress);
        let pod = match self.closed.run_until_cancelled(obtaining).await {
            Some(pod) => pod?,
            None => return Err(BackendError::GuestGone("The connection has ended.".to_owned())),
        };
        {
            let mut pods = self.pods();
            pods.retain(|_, pod| pod.strong_count() > 0);
            pods.insert(channel, Arc::downgrade(&pod));
        }
        let Program { input, output } = pod.start(spec).await?;
        Ok(Program {
            input: Box::new(Input { input, _pod: Arc::clone(&pod) }),
            output: Box::new(Outputs { output, pod }),
        })
    }

    async fn dial(&self, _target: Target) -> Result<Stream, DialError> {
        let reason = "in mode \"session\" there is no pod that a forwarded connection could go through";
        Err(DialError::Unsupported(reason.to_owned()))
    }

    /// No single pod's end is the connection's.
    async fn gone(&self) -> BackendError {
        std::future::pending().await
    }

    async fn close(&self) {
        self.closed.cancel();
        let pods: Vec<_> = std::mem::take(&mut *self.pods()).into_values().collect();
        join_all(pods.iter().filter_map(Weak::upgrade).map(|pod| async move { pod.close().await })).await;
    }
}

impl Drop for SessionGuest {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

#[derive(Debug)]
struct Input {
    input: Box<dyn ProgramInput>,
    _pod: Arc<dyn Guest>,
}

#[async_trait]
impl ProgramInput for Input {
    async fn stdin(&mut self, data: Bytes) -> Result<(), BackendError> {
        self.input.stdin(data).await
    }

    async fn eof(&mut self) -> Result<(), BackendError> {
        self.input.eof().await
    }

    async fn resize(&mut self, size: WindowSize) -> Result<(), BackendError> {
        self.input.resize(size).await
    }

    async fn signal(&mut self, signal: Signal) -> Result<(), BackendError> {
        self.input.signal(signal).await
    }
}

#[derive(Debug)]
struct Outputs {
    output: Box<dyn ProgramOutput>,
    pod: Arc<dyn Guest>,
}

#[async_trait]
impl ProgramOutput for Outputs {
    async fn next(&mut self) -> Result<Output, BackendError> {
        tokio::select! {
            // What the program said before its pod went comes first.
            biased;
            output = self.output.next() => output,
            reason = self.pod.gone() => Err(reason),
        }
    }
}
