//! A MinIO of a test's own, on this machine: to be broken, locked and restricted without harm to the cluster's.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use tokio::process::{Child, Command};

use crate::wait;

/// The administrator's keys.
pub const ACCESS_KEY: &str = "e2e-root";
/// See [`ACCESS_KEY`].
pub const SECRET_KEY: &str = "e2e-root-secret";
/// The one key of its key management.
pub const KMS_KEY: &str = "audit-key";
const REGION: &str = "us-east-1";
const STARTED: Duration = Duration::from_secs(60);

/// A running server. Ends with this value.
#[derive(Debug)]
pub struct Minio {
    /// Host and port.
    pub address: String,
    /// Where it is reached.
    pub url: String,
    _data: tempfile::TempDir,
    _server: Child,
}

impl Minio {
    /// Starts a server; with certificates (a directory with `public.crt` and `private.key`) it speaks TLS.
    pub async fn start(certificates: Option<&Path>) -> Result<Self> {
        let data = tempfile::tempdir()?;
        // Free a moment ago; nobody else on the machine hands out ports as quickly as this one is taken.
        let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let mut command = Command::new("minio");
        command.args(["server", "--quiet", "--address", &address]);
        if let Some(certificates) = certificates {
            command.arg("--certs-dir").arg(certificates);
        }
        let server = command
            .arg(data.path())
            .env("MINIO_ROOT_USER", ACCESS_KEY)
            .env("MINIO_ROOT_PASSWORD", SECRET_KEY)
            .env("MINIO_KMS_SECRET_KEY", format!("{KMS_KEY}:{}", "A".repeat(43) + "="))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .context("minio is not there: run e2e/test, or `eval \"$(e2e/cluster env)\"`")?;
        let scheme = if certificates.is_some() { "https" } else { "http" };
        let minio = Self { url: format!("{scheme}://{address}"), address, _data: data, _server: server };
        wait::until("MinIO to listen", STARTED, || async {
            Ok(tokio::net::TcpStream::connect(&minio.address).await?)
        })
        .await?;
        Ok(minio)
    }

    /// The administrator's client. (For a server without TLS.)
    pub fn client(&self) -> Client {
        self.client_with(Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "e2e"))
    }

    /// A client with other credentials.
    pub fn client_with(&self, credentials: Credentials) -> Client {
        Client::from_conf(
            aws_sdk_s3::Config::builder()
                .behavior_version(BehaviorVersion::latest())
                .region(Region::new(REGION))
                .endpoint_url(&self.url)
                .force_path_style(true)
                .credentials_provider(credentials)
                .build(),
        )
    }

    /// Makes a bucket.
    pub async fn bucket(&self, name: &str, locked: bool) -> Result<()> {
        let client = self.client();
        // It listens a moment before it is ready.
        wait::until("MinIO to make a bucket", STARTED, || async {
            Ok(client.create_bucket().bucket(name).object_lock_enabled_for_bucket(locked).send().await?)
        })
        .await?;
        Ok(())
    }

    /// Credentials that may do what this policy says and nothing else.
    pub async fn restricted(&self, policy: &str) -> Result<Credentials> {
        let root = Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "e2e");
        let settings = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .endpoint_url(&self.url)
            .credentials_provider(root)
            .load()
            .await;
        // MinIO looks at the policy and not at the role, and says of no role that it was assumed: which the SDK's own
        // provider of credentials does not take.
        let assumed = aws_sdk_sts::Client::new(&settings)
            .assume_role()
            .role_arn("arn:aws:iam::000000000000:role/any")
            .role_session_name("e2e")
            .policy(policy)
            .send()
            .await
            .context("AssumeRole")?;
        let given = assumed.credentials.context("MinIO gave no credentials")?;
        ensure!(!given.session_token.is_empty(), "MinIO gave no session token");
        let token = Some(given.session_token);
        Ok(Credentials::new(given.access_key_id, given.secret_access_key, token, None, "e2e"))
    }
}
