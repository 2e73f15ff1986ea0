//! What holds where a spec is silent. Field docs repeat these values for `kubectl explain`; a test compares
//! the two.

use std::time::Duration;

/// Gateway pods: two, so that a node may go away.
pub const REPLICAS: i32 = 2;
/// Gateway pods that a drain of nodes may end at a time.
pub const MAX_UNAVAILABLE: i32 = 1;
/// Port of the Service.
pub const SERVICE_PORT: i32 = 22;
/// Time to log in.
pub const LOGIN_GRACE_TIME: Duration = Duration::from_secs(120);
/// Interval of keep-alive requests to the client.
pub const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// Unanswered keep-alive requests after which the client counts as gone.
pub const KEEP_ALIVE_COUNT_MAX: i32 = 3;
/// Concurrent connections per gateway pod.
pub const CONNECTIONS: i32 = 10_000;
/// Concurrent connections per gateway pod that nobody has logged in on yet.
pub const UNAUTHENTICATED: i32 = 1024;
/// Concurrent sessions over one connection.
pub const SESSIONS_PER_CONNECTION: i32 = 64;
/// How long an authentication webhook may take, with its retries.
pub const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a login at an identity provider may take.
pub const OIDC_TIMEOUT: Duration = Duration::from_secs(120);
/// Claim of an identity provider that names the user.
pub const OIDC_USERNAME_CLAIM: &str = "sub";
/// How long one request to a configuration server may take.
pub const CONFIG_SERVER_TIMEOUT: Duration = Duration::from_secs(2);
/// Age at which a guest pod is ended whatever happens (a week).
pub const POD_DEADLINE: Duration = Duration::from_secs(168 * 3600);
/// Age at which a pod of the warm pool is replaced.
pub const WARM_POD_AGE: Duration = Duration::from_secs(3600);
/// How long a guest pod may take to start.
pub const POD_START: Duration = Duration::from_secs(60);
/// How long a guest pod may take to stop.
pub const POD_STOP: Duration = Duration::from_secs(60);
/// How long a command may take to start in a running pod.
pub const COMMAND_START: Duration = Duration::from_secs(60);
/// How long a gateway that was told to stop waits for its sessions.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);
/// Interval at which metrics are read.
pub const METRICS_INTERVAL: Duration = Duration::from_secs(30);
/// Size of the spool of each gateway pod.
pub const SPOOL_SIZE: crate::Size = crate::Size::from_bytes(10 << 30);
/// Data key of a certificate authority in a Secret or ConfigMap.
pub const CA_KEY: &str = "ca.crt";
/// Data key of the S3 access key id in a credentials Secret.
pub const S3_ACCESS_KEY: &str = "accessKey";
/// Data key of the S3 secret access key in a credentials Secret.
pub const S3_SECRET_KEY: &str = "secretKey";
/// Data key of the key in a signing Secret.
pub const SIGNING_KEY: &str = "privateKey";
/// Data key of the token in a bearer token Secret.
pub const BEARER_TOKEN: &str = "token";
/// Data key of the secret in an OAuth2 client's Secret.
pub const CLIENT_SECRET: &str = "clientSecret";
