//! One connection's pod, in service.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use containerssh_backend::{
    BackendError, Command, ConnectionInfo, Guest, Program, ProgramSpec, ProgressSender, Signal,
};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::codes::code;
use crate::exec::{self, StartError, Target};
use crate::files;
use crate::metrics::{Metrics, Outcome};
use crate::persistent::Visit;
use crate::pod::lease::Lease;
use crate::pod::wait;
use crate::pod::watch::Subscription;
use crate::settings::{Settings, Timeouts};
use crate::shim::{self, Launch};
use crate::signal;
use crate::start::Process;

/// Between HUP and KILL for a program that nobody is connected to any more: time to write a file, not to linger.
const KILL_GRACE: Duration = Duration::from_secs(5);

/// Before HUP. A connection that ends drops all its programs and then its pod, which ends them too: no need to ask twice.
const ABANDON_DELAY: Duration = Duration::from_millis(300);

/// What outlives a program's halves: enough to end it.
#[derive(Debug, Clone)]
pub(crate) struct Remains {
    target: Target,
    timeouts: Timeouts,
    /// The pod is being removed, and everything in it.
    closing: CancellationToken,
    /// What the end of the process waits for.
    tasks: TaskTracker,
    runtime: Handle,
}

impl Remains {
    #[cfg(test)]
    pub(crate) fn of(target: Target) -> Self {
        let (timeouts, closing) = (Timeouts::default(), CancellationToken::new());
        Self { target, timeouts, closing, tasks: TaskTracker::new(), runtime: Handle::current() }
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    pub(crate) fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// Ends a process group in the background, unless its pod goes first.
    pub(crate) fn end(&self, group: u32, terminal: bool) {
        let Self { target, timeouts, closing, tasks, runtime } = self.clone();
        let ending = closing.run_until_cancelled_owned(async move {
            sleep(ABANDON_DELAY).await;
            for (signal, grace) in [(Signal::HUP, KILL_GRACE), (Signal::KILL, Duration::ZERO)] {
                match timeout(timeouts.signal, signal::send(&target, signal, group, terminal)).await {
                    Ok(Ok(signal::Delivery::Sent)) => {}
                    Ok(Ok(signal::Delivery::Gone)) | Ok(Err(BackendError::GuestGone(_))) => return,
                    Ok(Err(error)) => return not_ended(&target, &error.to_string()),
                    Err(_) => return not_ended(&target, "it took too long"),
                }
                sleep(grace).await;
            }
        });
        tasks.spawn_on(ending, &runtime);
    }
}

fn not_ended(target: &Target, error: &str) {
    tracing::warn!(code = code::KUBERNETES_EXEC_SIGNAL_FAILED, podName = %target.pod, error, "An abandoned program goes on");
}

/// How a connection comes to use a pod.
#[derive(Debug)]
pub(crate) enum Tenure {
    /// The pod is its own, and goes with it.
    Own(Lease),
    /// The pod was there before and stays.
    Visit(Visit),
}

/// A pod that is ready. Dropping it removes the pod, if it is the connection's own.
#[derive(Debug)]
pub(crate) struct PodGuest {
    /// `namespace/name`.
    name: String,
    settings: Arc<Settings>,
    subscription: Subscription,
    remains: Remains,
    metrics: Metrics,
    /// What authentication gives each program, because the pod's specification does not have it.
    env: BTreeMap<String, String>,
    tenure: Tenure,
}

impl PodGuest {
    pub(crate) fn new(
        target: Target,
        settings: Arc<Settings>,
        subscription: Subscription,
        tenure: Tenure,
        env: BTreeMap<String, String>,
        process: &Process,
    ) -> Self {
        let name = format!("{}/{}", target.namespace, target.pod);
        let (timeouts, closing) = (settings.timeouts.clone(), CancellationToken::new());
        let (tasks, metrics) = (process.leases.tasks(), process.metrics.clone());
        let remains = Remains { target, timeouts, closing, tasks, runtime: Handle::current() };
        Self { name, settings, subscription, remains, metrics, env, tenure }
    }

    /// Where its programs run.
    pub(crate) fn target(&self) -> &Target {
        &self.remains.target
    }

    /// What authentication gives each program, followed by what the client set, which counts.
    pub(crate) fn environment(&self, own: Vec<(String, String)>) -> Vec<(String, String)> {
        let given = self.env.iter().map(|(name, value)| (name.clone(), value.clone()));
        given.chain(own).collect()
    }

    /// What has to be done before the first program: writes the files from authentication.
    pub(crate) async fn prepare(
        &self,
        connection: &ConnectionInfo,
        progress: &ProgressSender,
    ) -> Result<(), BackendError> {
        for (path, file) in &connection.files {
            progress.report("writing files");
            files::write(&self.remains.target, path, file, &self.settings.timeouts).await?;
        }
        Ok(())
    }

    /// Programs end with their pod, which is about to go; in one that stays they have to be ended.
    fn leave_programs(&self) {
        if matches!(self.tenure, Tenure::Own(_)) {
            self.remains.closing.cancel();
        }
    }
}

/// Starts a program whatever becomes of the caller, who gets it or, if gone, drops it, which ends it.
async fn start(
    spec: ProgramSpec,
    launch: Launch,
    settings: Arc<Settings>,
    remains: Remains,
) -> Result<Program, BackendError> {
    let target = remains.target.clone();
    let starting = async {
        match exec::start(&target, &launch, spec.pty.as_ref(), remains.clone()).await {
            Ok(program) => Ok(program),
            Err(StartError::Failed(error)) => Err(error),
            Err(StartError::NoProgram) => Err(no_program(&settings, &spec.command)),
            Err(StartError::NoShell) => match (&spec.command, &spec.pty) {
                (Command::Shell, Some(pty))
                    if settings.shell_command.first().is_some_and(|word| word != shim::SHELL) =>
                {
                    exec::direct(&target, &settings.shell_command, pty, remains).await.map_err(|error| {
                        match error {
                            StartError::Failed(error) => error,
                            StartError::NoShell | StartError::NoProgram => no_shell(&settings),
                        }
                    })
                }
                _ => Err(no_shell(&settings)),
            },
        }
    };
    let limit = settings.timeouts.command_start;
    timeout(limit, starting).await.unwrap_or_else(|_| {
        Err(BackendError::ProgramFailed(format!(
            "The program did not start within {} s.",
            limit.as_secs_f64()
        )))
    })
}

fn no_shell(settings: &Settings) -> BackendError {
    BackendError::ProgramFailed(format!(
        "The image {} has no {}, which programs are started with. Use an image that has one; for a terminal, \
         kubernetes.pod.shellCommand may name another program.",
        settings.image(),
        shim::SHELL
    ))
}

fn no_program(settings: &Settings, command: &Command) -> BackendError {
    let (what, program) = match command {
        Command::Subsystem(name) => (name.as_str(), settings.subsystems.get(name).map_or("", String::as_str)),
        Command::Shell | Command::Exec(_) => ("the shell", shim::SHELL),
    };
    BackendError::ProgramFailed(format!(
        "The image {} has no program for {what}: there is no {program} in it.",
        settings.image()
    ))
}

#[async_trait]
impl Guest for PodGuest {
    fn name(&self) -> &str {
        &self.name
    }

    async fn start(&self, mut spec: ProgramSpec) -> Result<Program, BackendError> {
        spec.env = self.environment(spec.env);
        let begun = Instant::now();
        let channel = spec.channel;
        let token = format!("{:016x}", rand::random::<u64>());
        let launch = shim::launch(&spec, &self.settings.shell_command, &self.settings.subsystems, &token)?;
        // A task, so that a caller who stops waiting leaves a program that is known and can be ended.
        let task = tokio::spawn(start(spec, launch, Arc::clone(&self.settings), self.remains.clone()));
        let result = match task.await {
            Ok(result) => result,
            Err(error) => {
                Err(BackendError::ProgramFailed(format!("The program could not be started: {error}")))
            }
        };
        let outcome = if result.is_ok() { Outcome::success } else { Outcome::failure };
        self.metrics.exec_started(outcome, begun.elapsed());
        match &result {
            Ok(_) => tracing::debug!(
                code = code::KUBERNETES_EXEC,
                podName = %self.name,
                channelId = channel,
                "A program was started"
            ),
            Err(error) => tracing::info!(
                code = code::KUBERNETES_EXEC_FAILED,
                podName = %self.name,
                channelId = channel,
                %error,
                "A program could not be started"
            ),
        }
        result
    }

    async fn gone(&self) -> BackendError {
        let reason = wait::ended(self.subscription.receiver()).await;
        tracing::info!(code = code::KUBERNETES_POD_GONE, podName = %self.name, reason, "The pod is gone");
        BackendError::GuestGone(reason)
    }

    async fn close(&self) {
        self.leave_programs();
        match &self.tenure {
            Tenure::Own(lease) => lease.end(self.settings.timeouts.pod_stop).await,
            Tenure::Visit(visit) => visit.end().await,
        }
    }
}

impl Drop for PodGuest {
    fn drop(&mut self) {
        self.leave_programs();
    }
}
