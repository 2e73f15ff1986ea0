//! The command line, parsed once into [`Settings`]: nothing further in sees a raw flag or reads the environment.

use std::{net::SocketAddr, path::Path, str::FromStr};

use clap::{Parser, Subcommand};
use containerssh_crds::AuditTier;
use containerssh_log::{Format, Level};

use crate::baseline::{self, Fallback, NoPolicy};

/// Runs ContainerSSH-compatible gateways from SSHGateway and AuditPolicy objects.
#[derive(Debug, Parser)]
#[command(name = "containerssh-operator", version, about, subcommand_negates_reqs = true)]
pub struct Args {
    /// Something else than to run.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Image of the gateways that name none themselves.
    #[arg(long, env = "GATEWAY_IMAGE", value_parser = image, required = true)]
    gateway_image: Option<String>,

    /// Image from which gateways that name none take the agent for their pods.
    #[arg(long, env = "AGENT_IMAGE", value_parser = image, default_value = concat!("containerssh-agent:", env!("CARGO_PKG_VERSION")))]
    agent_image: String,

    /// An image that an SSHGateway may name in spec.image (repeatable); with `*` at its end, every one that begins so.
    /// An image is code that says of itself that it obeys: whoever may choose it may leave every policy behind.
    /// Without this flag: none but --gateway-image.
    #[arg(long = "allow-gateway-image", value_name = "IMAGE", value_parser = image)]
    allowed_images: Vec<String>,

    /// What becomes of a gateway that no AuditPolicy covers: `baseline` lets it run with the settings of `--baseline`,
    /// `deny` keeps it from starting.
    #[arg(long, value_enum, default_value = "baseline")]
    no_policy: NoPolicy,

    /// File with what holds where no policy and no gateway says anything: the fields of a policy's tier, in YAML. Without
    /// it: no records, and what the fields' documentation names as defaults.
    #[arg(long, value_name = "FILE", value_parser = tier)]
    baseline: Option<Box<AuditTier>>,

    /// Manage only gateways of this namespace; may be repeated. Without it: all namespaces.
    #[arg(long = "watch-namespace", value_name = "NAMESPACE")]
    watch_namespaces: Vec<Namespace>,

    /// Least severe level that is logged: debug, info, notice, warning, error, crit, alert or emerg.
    #[arg(long, default_value = "info", env = "LOG_LEVEL")]
    log_level: Level,

    /// Shape of the log: `ljson` (one JSON object per line) or `text`.
    #[arg(long, default_value = "ljson", env = "LOG_FORMAT")]
    log_format: Format,

    /// Address of the metrics endpoint, /metrics.
    #[arg(long, default_value = "0.0.0.0:9100", value_name = "HOST:PORT")]
    metrics_addr: SocketAddr,

    /// Address of the health endpoints, /livez and /readyz.
    #[arg(long, default_value = "0.0.0.0:7000", value_name = "HOST:PORT")]
    health_addr: SocketAddr,

    /// Name of the Lease that elects the one replica that works.
    #[arg(long, default_value = "containerssh-operator")]
    lease_name: String,

    /// Namespace of that Lease. Without it: the operator's own.
    #[arg(long, value_name = "NAMESPACE")]
    lease_namespace: Option<Namespace>,

    /// The operator's pod, by the downward API.
    #[arg(long, env = "POD_NAME", hide = true)]
    pod_name: Option<String>,

    /// The operator's namespace, by the downward API: Secrets that an AuditPolicy names live here.
    #[arg(long, env = "POD_NAMESPACE", hide = true)]
    pod_namespace: Option<Namespace>,

    /// UID of the operator's pod, by the downward API.
    #[arg(long, env = "POD_UID", hide = true)]
    pod_uid: Option<String>,
}

/// What the program does besides running as the operator.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Asks a health endpoint until it answers with success; for helm test.
    Probe {
        /// Such as http://containerssh-operator-metrics.containerssh-system.svc:8080/readyz.
        url: String,
        /// For so many seconds at most.
        #[arg(long, default_value_t = 60, value_name = "SECONDS")]
        timeout: u64,
    },
}

/// A namespace's name: a DNS label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Namespace(String);

impl Namespace {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Namespace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        let inner = text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if text.len() <= 63 && inner && edge(text.chars().next()) && edge(text.chars().last()) {
            Ok(Self(text.to_owned()))
        } else {
            Err("a namespace is 1 to 63 of a-z, 0-9 and '-', and neither starts nor ends with '-'".into())
        }
    }
}

fn tier(path: &str) -> Result<Box<AuditTier>, String> {
    baseline::read(Path::new(path)).map(Box::new)
}

fn image(text: &str) -> Result<String, String> {
    if text.is_empty() || text.chars().any(char::is_whitespace) {
        return Err("an image is a reference such as registry.example.com/containerssh-gateway:1.0".into());
    }
    Ok(text.to_owned())
}

/// Who this process is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Holder of the Lease and reporter of Events; unique among the replicas.
    pub instance: String,
    /// Where Secrets named by an AuditPolicy live; None outside a cluster until the kubeconfig says.
    pub namespace: Option<String>,
}

/// All that the command line decides.
#[derive(Debug, Clone)]
pub struct Settings {
    pub gateway_image: String,
    pub agent_image: String,
    /// Other images that a gateway may name; `*` at the end stands for anything.
    pub allowed_images: Vec<String>,
    pub fallback: Fallback,
    /// Sorted, without repetition; empty = all.
    pub watch_namespaces: Vec<Namespace>,
    pub log_level: Level,
    pub log_format: Format,
    pub metrics_addr: SocketAddr,
    pub health_addr: SocketAddr,
    pub lease_name: String,
    pub lease_namespace: Option<String>,
    pub identity: Identity,
}

impl From<Args> for Settings {
    fn from(args: Args) -> Self {
        let mut watch_namespaces = args.watch_namespaces;
        watch_namespaces.sort();
        watch_namespaces.dedup();
        // Outside a cluster there is no downward API: host and process tell two developers apart.
        let instance = args.pod_name.unwrap_or_else(|| {
            let host = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
            format!("{}-{}", host.trim(), std::process::id())
        });
        // A StatefulSet or a static pod may reuse its name; the UID keeps two holders of the Lease apart.
        let instance = match args.pod_uid {
            Some(uid) if !uid.is_empty() => format!("{instance}_{uid}"),
            _ => instance,
        };
        Self {
            // Absent only beside a command, which needs no settings.
            gateway_image: args.gateway_image.unwrap_or_default(),
            agent_image: args.agent_image,
            allowed_images: args.allowed_images,
            fallback: Fallback {
                no_policy: args.no_policy,
                baseline: args.baseline.map_or_else(|| Fallback::default().baseline, |tier| *tier),
            },
            watch_namespaces,
            log_level: args.log_level,
            log_format: args.log_format,
            metrics_addr: args.metrics_addr,
            health_addr: args.health_addr,
            lease_name: args.lease_name,
            lease_namespace: args.lease_namespace.map(|namespace| namespace.0),
            identity: Identity { instance, namespace: args.pod_namespace.map(|namespace| namespace.0) },
        }
    }
}

impl Settings {
    /// Whether a gateway may run this image.
    pub fn allows_image(&self, image: &str) -> bool {
        image == self.gateway_image
            || self.allowed_images.iter().any(|allowed| match allowed.strip_suffix('*') {
                Some(begin) => image.starts_with(begin),
                None => image == allowed,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(flags: &[&str]) -> Result<Settings, String> {
        Args::try_parse_from([&["containerssh-operator"], flags].concat())
            .map(Settings::from)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_image_is_the_only_flag_that_must_be_given() {
        let settings = parse(&["--gateway-image", "gateway:1"]).unwrap();
        assert_eq!(settings.fallback, Fallback::default());
        assert!(settings.watch_namespaces.is_empty());
        assert_eq!(settings.health_addr.port(), 7000);
        assert!(parse(&[]).unwrap_err().contains("--gateway-image"));
    }

    #[test]
    fn a_probe_needs_no_image() {
        let args =
            Args::try_parse_from(["containerssh-operator", "probe", "http://x/readyz", "--timeout", "5"]);
        let expected = Command::Probe { url: "http://x/readyz".to_owned(), timeout: 5 };
        assert_eq!(args.unwrap().command, Some(expected));
    }

    #[test]
    fn repeated_namespaces_are_watched_once() {
        let settings = parse(&[
            "--gateway-image=g",
            "--watch-namespace=b",
            "--watch-namespace=a",
            "--watch-namespace=b",
        ])
        .unwrap();
        let names: Vec<_> = settings.watch_namespaces.iter().map(Namespace::as_str).collect();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn what_is_no_namespace_is_refused_with_the_rule() {
        for bad in ["", "-a", "a-", "A", "a.b", "a/b", &"a".repeat(64)] {
            let error = parse(&["--gateway-image=g", &format!("--watch-namespace={bad}")]).unwrap_err();
            assert!(error.contains("1 to 63 of a-z"), "{bad}: {error}");
        }
    }

    #[test]
    fn no_image_is_run_but_those_that_are_allowed() {
        let plain = parse(&["--gateway-image=reg/gw:1"]).unwrap();
        assert!(plain.allows_image("reg/gw:1") && !plain.allows_image("reg/gw:2"));
        let more = parse(&[
            "--gateway-image=reg/gw:1",
            "--allow-gateway-image=mirror/gw@sha256:00",
            "--allow-gateway-image=own/ssh/*",
        ])
        .unwrap();
        assert!(more.allows_image("mirror/gw@sha256:00") && !more.allows_image("mirror/gw@sha256:001"));
        assert!(more.allows_image("own/ssh/gw:7") && !more.allows_image("own/other:1"));
    }

    #[test]
    fn an_image_with_a_space_is_refused() {
        assert!(parse(&["--gateway-image", "a b"]).unwrap_err().contains("an image is a reference"));
    }

    #[test]
    fn two_pods_of_one_name_do_not_share_an_identity() {
        let one = parse(&["--gateway-image=g", "--pod-name=op-0", "--pod-uid=1"]).unwrap();
        let two = parse(&["--gateway-image=g", "--pod-name=op-0", "--pod-uid=2"]).unwrap();
        assert_ne!(one.identity.instance, two.identity.instance);
    }
}
