//! The gateway's configuration file, from the custom resource and the audit that applies.
//!
//! Everything here but the listeners, the host keys' file names and the spool's place is reloaded by a running
//! gateway, for new connections.

use std::time::Duration;

use containerssh_config as file;
use containerssh_crds::{self as api, SSHGatewaySpec, defaults};
use kube::api::ObjectMeta;

mod algorithms;
mod audit;
mod auth;
mod security;

use super::{Audit, Inputs, PORT_HEALTH, PORT_METRICS, PORT_SSH, hostkeys, workload::theirs};
pub use auth::{PRINCIPALS_DIRECTORY, authorized_keys_directory, revoked_keys_directory};

/// Where the pods see the configuration's Secret.
pub const DIRECTORY: &str = "/etc/containerssh/config";
/// Its key in the Secret and its name in [`DIRECTORY`].
pub const FILE: &str = "config.yaml";
/// Where records wait for their upload.
pub const SPOOL_DIRECTORY: &str = "/var/lib/containerssh/spool";
/// Each connection costs the apiserver a handful of requests; the reference's 5 a second would hold back the sixth
/// user of a Monday morning. The apiserver's own fairness protects it.
const API_REQUESTS_PER_SECOND: f64 = 200.0;
const API_BURST: u32 = 400;
/// Name of the Secret with the rendered configuration.
pub fn secret_name(gateway: &str) -> String {
    format!("{gateway}-config")
}

/// The configuration; valid as far as its parts are, so check it with `validate()`.
pub fn render(inputs: &Inputs) -> file::Config {
    let spec = inputs.spec();
    let mut config = file::Config {
        ssh: ssh(inputs),
        auth: auth::section(inputs),
        configserver: auth::config_server(inputs),
        kubernetes: kubernetes(inputs),
        security: spec.security.as_ref().map(security::section).unwrap_or_default(),
        log: log(spec),
        metrics: file::Metrics {
            enable: true,
            listen: ([0, 0, 0, 0], PORT_METRICS).into(),
            ..file::Metrics::default()
        },
        health: file::Health { enable: true, listen: ([0, 0, 0, 0], PORT_HEALTH).into() },
        drain: file::Drain {
            timeout: spec
                .drain
                .and_then(|drain| drain.timeout)
                .map_or(defaults::DRAIN_TIMEOUT, Duration::from),
        },
        ..file::Config::default()
    };
    impose(&mut config, &inputs.audit);
    config
}

/// What is wrong with a spec that the configuration could not show: it would only leave it out.
pub fn untranslatable(spec: &SSHGatewaySpec) -> Option<String> {
    auth::wrong_methods(spec)
}

/// Makes `config` obey the audit. Separate from [`render`], because it must also work on the last good
/// configuration of a gateway whose spec is broken now: breaking one's spec must not keep a policy out.
pub fn impose(config: &mut file::Config, audit: &Audit) {
    let effective = &audit.effective;
    config.audit = audit::section(audit);
    config.session = file::Session {
        max_duration: effective.sessions.max_duration.map(Duration::from).unwrap_or_default(),
        idle_timeout: effective.sessions.idle_timeout.map(Duration::from).unwrap_or_default(),
    };
    security::impose(config, &effective.allow);
}

/// Says what the gateway would refuse of the audit, and in its words.
pub fn check(audit: &Audit) -> Result<(), String> {
    let mut config = file::Config::default();
    impose(&mut config, audit);
    let mut problems = audit::untranslatable(audit);
    if let Err(error) = config.validate() {
        // The rest of this configuration is nobody's.
        let ours = |path: &str| path.starts_with("audit.") || path.starts_with("session.");
        problems.extend(
            error
                .problems()
                .iter()
                .filter(|problem| ours(&problem.path))
                .map(|problem| problem.message.clone()),
        );
    }
    if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
}

fn ssh(inputs: &Inputs) -> file::Ssh {
    let wanted = inputs.spec().ssh.clone().unwrap_or_default();
    let keep_alive = wanted.keep_alive.unwrap_or_default();
    let limits = wanted.limits.unwrap_or_default();
    let default = file::Ssh::default();
    let count =
        |value: Option<i32>, default: u32| value.and_then(|n| u32::try_from(n).ok()).unwrap_or(default);
    let mut ssh = file::Ssh {
        listen: ([0, 0, 0, 0], PORT_SSH).into(),
        banner: wanted.banner.unwrap_or_default(),
        motd: wanted.motd.unwrap_or_default(),
        proxy_protocol: file::ProxyProtocol {
            // The API server has checked them; one that is none after all is no balancer, so what it passes on is refused.
            trusted_cidrs: (wanted.proxy_protocol.iter().flat_map(|wanted| &wanted.trusted_cidrs))
                .filter_map(|network| network.parse().ok())
                .collect(),
        },
        hostkeys: (inputs.host_keys.files.iter())
            .map(|name| file::PemOrFile::new(format!("{}/{name}", hostkeys::DIRECTORY)))
            .collect(),
        client_alive_interval: keep_alive.interval.map_or(defaults::KEEP_ALIVE_INTERVAL, Duration::from),
        client_alive_count_max: count(keep_alive.count_max, default.client_alive_count_max),
        login_grace_time: wanted.login_grace_time.map_or(defaults::LOGIN_GRACE_TIME, Duration::from),
        limits: file::Limits {
            connections: count(limits.connections, default.limits.connections),
            unauthenticated: count(limits.unauthenticated, default.limits.unauthenticated),
            per_source: count(limits.per_source, default.limits.per_source),
            per_user: count(limits.per_user, default.limits.per_user),
            sessions_per_connection: count(
                limits.sessions_per_connection,
                default.limits.sessions_per_connection,
            ),
        },
        penalties: wanted.penalties.as_ref().map(penalties).unwrap_or_default(),
        ..default
    };
    algorithms::choose(&mut ssh, wanted.algorithms.and_then(|wanted| wanted.profile).unwrap_or_default());
    ssh
}

fn penalties(wanted: &api::Penalties) -> file::Penalties {
    let default = file::Penalties::default();
    let or = |wanted: Option<api::Span>, default: Duration| wanted.map_or(default, Duration::from);
    file::Penalties {
        enable: true,
        auth_fail: or(wanted.auth_fail, default.auth_fail),
        no_auth: or(wanted.no_auth, default.no_auth),
        grace_exceeded: or(wanted.grace_exceeded, default.grace_exceeded),
        min: or(wanted.min, default.min),
        max: or(wanted.max, default.max),
        // The API server has checked them; one that is none after all exempts nobody.
        exempt: wanted.exempt.iter().filter_map(|network| network.parse().ok()).collect(),
    }
}

fn kubernetes(inputs: &Inputs) -> file::Kubernetes {
    let wanted = &inputs.spec().backend.kubernetes;
    let own = wanted.pod_template.metadata.clone().unwrap_or_default();
    // Users' pods are no gateways: of their marks, only the gateway's own are reserved.
    let ours = ["containerssh.io"];
    let (labels, annotations) = (theirs(own.labels, &ours), theirs(own.annotations, &ours));
    let default = file::Pod::default();
    let persistent = wanted.persistent.as_ref();
    let console = wanted.console_container.as_deref();
    let or_default = |given: &Vec<String>, default| if given.is_empty() { default } else { given.clone() };
    let timeouts = wanted.timeouts.unwrap_or_default();
    file::Kubernetes {
        connection: file::Connection {
            qps: API_REQUESTS_PER_SECOND,
            burst: API_BURST,
            ..file::Connection::default()
        },
        pod: file::Pod {
            metadata: ObjectMeta {
                name: persistent.map(|pods| pods.pod_name.clone()),
                namespace: Some(inputs.pods_namespace().to_owned()),
                labels: (!labels.is_empty()).then_some(labels),
                annotations: (!annotations.is_empty()).then_some(annotations),
                ..ObjectMeta::default()
            },
            spec: inputs.pod.clone(),
            console_container_number: (inputs.pod.containers.iter())
                .position(|container| Some(container.name.as_str()) == console)
                .unwrap_or_default(),
            mode: match wanted.mode.unwrap_or_default() {
                api::ConnectionMode::Connection => file::PodMode::Connection,
                api::ConnectionMode::Session => file::PodMode::Session,
                api::ConnectionMode::Persistent => file::PodMode::Persistent,
            },
            create_missing_pods: persistent.and_then(|pods| pods.create_missing).unwrap_or_default(),
            idle_timeout: persistent
                .and_then(|pods| pods.idle_timeout)
                .map(Duration::from)
                .unwrap_or_default(),
            warm_pool: wanted.warm_pool.map(warm_pool).unwrap_or_default(),
            idle_command: or_default(&wanted.idle_command, default.idle_command),
            shell_command: or_default(&wanted.shell_command, default.shell_command),
            subsystems: wanted.subsystems.clone().unwrap_or(default.subsystems),
            deadline: wanted.deadline.map_or(defaults::POD_DEADLINE, Duration::from),
            disable_agent: wanted.agent.is_none(),
            agent: wanted.agent.as_ref().map_or_else(file::Agent::default, |wanted| agent(wanted, inputs)),
            ..file::Pod::default()
        },
        timeouts: file::Timeouts {
            pod_start: timeouts.pod_start.map_or(defaults::POD_START, Duration::from),
            pod_stop: timeouts.pod_stop.map_or(defaults::POD_STOP, Duration::from),
            command_start: timeouts.command_start.map_or(defaults::COMMAND_START, Duration::from),
            ..file::Timeouts::default()
        },
    }
}

fn agent(wanted: &api::Agent, inputs: &Inputs) -> file::Agent {
    let injection = wanted.injection.unwrap_or_default();
    file::Agent {
        injection: match injection {
            api::AgentInjection::Auto => file::AgentInjection::Auto,
            api::AgentInjection::Image => file::AgentInjection::Image,
        },
        transport: match wanted.transport.unwrap_or_default() {
            api::AgentTransport::Auto => file::AgentTransport::Auto,
            api::AgentTransport::Direct => file::AgentTransport::Direct,
            api::AgentTransport::Exec => file::AgentTransport::Exec,
        },
        image: match injection {
            api::AgentInjection::Auto => wanted.image.clone().unwrap_or_else(|| inputs.agent_image.clone()),
            api::AgentInjection::Image => String::new(),
        },
    }
}

fn warm_pool(wanted: api::WarmPool) -> file::WarmPool {
    file::WarmPool {
        size: u32::try_from(wanted.size).unwrap_or_default(),
        max_age: wanted.max_age.map_or(defaults::WARM_POD_AGE, Duration::from),
    }
}

fn log(spec: &SSHGatewaySpec) -> file::Log {
    let wanted = spec.log.unwrap_or_default();
    file::Log {
        level: match wanted.level.unwrap_or_default() {
            api::LogLevel::Debug => file::LogLevel::Debug,
            api::LogLevel::Info => file::LogLevel::Info,
            api::LogLevel::Notice => file::LogLevel::Notice,
            api::LogLevel::Warning => file::LogLevel::Warning,
            api::LogLevel::Error => file::LogLevel::Error,
        },
        format: match wanted.format.unwrap_or_default() {
            api::LogFormat::JSON => file::LogFormat::Ljson,
            api::LogFormat::Text => file::LogFormat::Text,
        },
        ..file::Log::default()
    }
}
