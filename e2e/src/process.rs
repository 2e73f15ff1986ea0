//! A gateway as a process of this machine, which starts its pods in the cluster: for tests that kill it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::daemon::Daemon;
use crate::gateway::merge;
use crate::ssh::Key;
use crate::{Login, Namespace, program, wait};

/// Pods that a process left are swept at the next one's start, or a minute later if they came late; and then take their
/// time to end.
pub const SWEPT_DEADLINE: Duration = Duration::from_secs(240);

/// The gateway of a test, and its life.
#[derive(Debug)]
pub struct Process {
    namespace: Namespace,
    name: String,
    directory: TempDir,
    program: PathBuf,
    port: u16,
    metrics: u16,
    /// Which pod it says it runs in: one that comes back says the same.
    uid: String,
    daemon: Option<Daemon>,
}

impl Process {
    /// Starts the gateway `name`, whose pods are what `pod` makes of `kubernetes.pod`, and lets `user` in.
    pub async fn start(namespace: &Namespace, name: &str, user: &str, key: &Key, pod: Value) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let (port, metrics) = (program::free_port()?, program::free_port()?);
        let host = Key::generate().await?;
        std::fs::copy(host.path(), directory.path().join("host"))?;
        std::fs::create_dir(directory.path().join("keys"))?;
        std::fs::write(directory.path().join("keys").join(user), &key.public)?;
        let path = |name: &str| directory.path().join(name).display().to_string();
        let mut template = json!({
            "metadata": {"namespace": namespace.name},
            "spec": {"containers": [{
                "name": "shell", "imagePullPolicy": "Never",
                "image": namespace.cluster.environment.debian_image,
            }]},
        });
        merge(&mut template, pod);
        let config = json!({
            "ssh": {"listen": format!("127.0.0.1:{port}"), "hostkeys": [path("host")]},
            "auth": {"publicKey": {"authorizedKeys": {"paths": [format!("{}/%u", path("keys"))]}}},
            "metrics": {"enable": true, "listen": format!("127.0.0.1:{metrics}")},
            "drain": {"timeout": "5s"},
            "kubernetes": {"connection": {"qps": 200, "burst": 400}, "pod": template},
        });
        std::fs::write(directory.path().join("config.json"), serde_json::to_vec_pretty(&config)?)?;
        let mut process = Self {
            namespace: namespace.clone(),
            name: name.to_owned(),
            directory,
            program: program::gateway().await?,
            port,
            metrics,
            uid: format!("{name}-1"),
            daemon: None,
        };
        process.run().await?;
        Ok(process)
    }

    async fn run(&mut self) -> Result<()> {
        let log = std::fs::File::options().create(true).append(true).open(self.log())?;
        let mut command = Command::new(&self.program);
        command
            .arg("--config")
            .arg(self.directory.path().join("config.json"))
            .env("GATEWAY_NAME", &self.name)
            // Not where its pods are: they would be owned by a pod that is not there, and collected.
            .env("POD_NAMESPACE", format!("{}-gateways", self.namespace.name))
            .env("POD_NAME", &self.uid)
            .env("POD_UID", &self.uid)
            .stdout(log.try_clone()?)
            .stderr(log);
        self.daemon = Some(Daemon::start(&mut command, self.port).await?);
        Ok(())
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// Kills it: it cleans nothing up.
    pub async fn kill(&mut self) -> Result<()> {
        self.daemon.take().context("it does not run")?.kill().await
    }

    /// Starts it again where it was, like a container after a crash.
    pub async fn come_back(&mut self) -> Result<()> {
        self.run().await
    }

    /// Starts it again elsewhere: the pod that it was is gone for good.
    pub async fn be_replaced(&mut self) -> Result<()> {
        self.uid.push('x');
        self.run().await
    }

    /// Tells it to end, and waits until it has.
    pub async fn stop(&mut self) -> Result<()> {
        let daemon = self.daemon.take().context("it does not run")?;
        daemon.stop().await.with_context(|| self.last_words())
    }

    /// The end of its log.
    pub fn last_words(&self) -> String {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// How `user` logs in.
    pub fn login(&self, user: &str, key: &Key) -> Login {
        Login {
            host: "127.0.0.1".into(),
            port: self.port,
            user: user.to_owned(),
            identity: Some(key.path()),
            password: None,
            options: Vec::new(),
        }
    }

    /// The sum of a metric's series whose line begins with `prefix`.
    pub async fn metric(&self, prefix: &str) -> Result<f64> {
        let url = format!("http://127.0.0.1:{}/metrics", self.metrics);
        let output = Command::new("curl").args(["-sf", &url]).output().await?;
        let text = String::from_utf8(output.stdout)?;
        let values = text.lines().filter(|line| line.starts_with(prefix));
        values.map(|line| Ok(line.rsplit(' ').next().unwrap_or_default().parse::<f64>()?)).sum()
    }

    /// Its pods that match `selector` as well.
    pub async fn pods(&self, selector: &str) -> Result<Vec<Pod>> {
        self.namespace.pods(&format!("containerssh.io/gateway={}{selector}", self.name)).await
    }

    /// Waits until `count` of its pods that match `selector` as well are there, and no more.
    pub async fn wait_for_pods(&self, selector: &str, count: usize) -> Result<Vec<Pod>> {
        wait::until(&format!("{count} pods{selector}"), SWEPT_DEADLINE, || async {
            let pods = self.pods(selector).await?;
            let names: Vec<_> = pods.iter().map(ResourceExt::name_any).collect();
            ensure!(pods.len() == count, "there are {names:?}\n{}", self.last_words());
            Ok(pods)
        })
        .await
    }
}
