//! The connection to the API server.

use std::error::Error;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use containerssh_config::Connection;
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ClientBuilder, ConfigExt as _};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Map, Value, json};
use tower::ServiceBuilder;

/// Where ContainerSSH looks for the API server when it is told nothing else.
const DEFAULT_HOST: &str = "kubernetes.default.svc";

/// Why there is no connection to the cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Neither a service account nor a kubeconfig.
    #[error(
        "no cluster to connect to: set kubernetes.connection, run in a pod with a service account, or set KUBECONFIG: \
         {0}"
    )]
    Nowhere(#[source] Box<kube::config::InferConfigError>),
    /// `kubernetes.connection` cannot be used.
    #[error("kubernetes.connection: {0}")]
    Settings(String),
}

/// A client for what `connection` names, or for what the environment offers.
///
/// # Errors
/// When there is nothing to connect to, or a certificate, key or token cannot be read.
pub(crate) async fn connect(connection: &Connection) -> Result<kube::Client, ClientError> {
    let mut config = if connection.is_inferred() {
        kube::Config::infer().await.map_err(|error| ClientError::Nowhere(Box::new(error)))?
    } else {
        let kubeconfig = kubeconfig(connection)?;
        kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .map_err(|error| ClientError::Settings(chain(&error)))?
    };
    // kube would repeat a refused request up to 15 times and for minutes, behind the back of every deadline here.
    config.default_retry = false;
    prompt_client(config).map_err(|error| ClientError::Settings(describe(&error)))
}

/// kube's own stack, but for one setting: Nagle's algorithm is off. Sessions run over these connections, and a keystroke behind
/// one that is not acknowledged yet would wait for the acknowledgement, 40 ms where that is delayed.
fn prompt_client(config: kube::Config) -> kube::Result<kube::Client> {
    if config.proxy_url.is_some() {
        return kube::Client::try_from(config);
    }
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    let mut connector = TimeoutConnector::new(config.rustls_https_connector_with_connector(tcp)?);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    connector.set_reset_reader_on_write(config.reset_reader_on_write);
    let http = Client::builder(TokioExecutor::new()).build::<_, Body>(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(tower::BoxError::from)
        .service(http);
    Ok(ClientBuilder::new(service, config.default_namespace).build())
}

/// The same settings in the form that kube reads, which then handles files, certificates and rotated tokens.
fn kubeconfig(connection: &Connection) -> Result<Kubeconfig, ClientError> {
    let host = connection.host.as_deref().unwrap_or(DEFAULT_HOST);
    let server = if host.contains("://") { host.to_owned() } else { format!("https://{host}") };
    let pem = |pem: &containerssh_config::PemOrFile| {
        pem.load().map_err(|error| ClientError::Settings(error.to_string()))
    };

    let mut cluster = Map::new();
    cluster.insert("server".to_owned(), server.into());
    set(&mut cluster, "tls-server-name", connection.server_name.clone());
    set(&mut cluster, "certificate-authority", connection.cacert_file.clone());
    let cacert = connection.cacert.as_ref().map(pem).transpose()?;
    set(&mut cluster, "certificate-authority-data", cacert.map(|pem| STANDARD.encode(pem)));

    let mut user = Map::new();
    set(&mut user, "username", connection.username.clone());
    set(&mut user, "password", connection.password.as_ref().map(|secret| secret.expose().to_owned()));
    set(&mut user, "token", connection.bearer_token.as_ref().map(|secret| secret.expose().to_owned()));
    set(&mut user, "tokenFile", connection.bearer_token_file.clone());
    set(&mut user, "client-certificate", connection.cert_file.clone());
    let cert = connection.cert.as_ref().map(pem).transpose()?;
    set(&mut user, "client-certificate-data", cert.map(|pem| STANDARD.encode(pem)));
    set(&mut user, "client-key", connection.key_file.clone());
    set(&mut user, "client-key-data", connection.key.as_ref().map(|secret| STANDARD.encode(secret.expose())));

    let document = json!({
        "current-context": "gateway",
        "contexts": [{"name": "gateway", "context": {"cluster": "cluster", "user": "user"}}],
        "clusters": [{"name": "cluster", "cluster": cluster}],
        "users": [{"name": "user", "user": user}],
    });
    serde_json::from_value(document).map_err(|error| ClientError::Settings(error.to_string()))
}

fn set(map: &mut Map<String, Value>, key: &str, value: Option<String>) {
    if let Some(value) = value {
        map.insert(key.to_owned(), value.into());
    }
}

/// An error of the cluster or of the way to it, with its causes: kube's own text often stops before the one that helps.
pub(crate) fn describe(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        error => chain(error),
    }
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use containerssh_config::Secret;

    use super::*;

    #[test]
    fn a_bare_host_gets_https_and_a_url_stays() {
        let server = |host: Option<&str>| {
            let connection = Connection { host: host.map(str::to_owned), ..Connection::default() };
            kubeconfig(&connection).unwrap().clusters[0].cluster.clone().unwrap().server.unwrap()
        };
        assert_eq!(server(None), "https://kubernetes.default.svc");
        assert_eq!(server(Some("10.0.0.1:6443")), "https://10.0.0.1:6443");
        assert_eq!(server(Some("http://127.0.0.1:8001")), "http://127.0.0.1:8001");
    }

    #[tokio::test]
    async fn credentials_reach_the_client_and_stay_out_of_debug() {
        let connection = Connection {
            host: Some("https://192.0.2.1".to_owned()),
            bearer_token: Some(Secret::new("s3cret")),
            ..Connection::default()
        };
        let kubeconfig = kubeconfig(&connection).unwrap();
        assert!(kubeconfig.auth_infos[0].auth_info.as_ref().unwrap().token.is_some());
        assert!(!format!("{kubeconfig:?}").contains("s3cret"));
        connect(&connection).await.unwrap();
    }

    #[tokio::test]
    async fn a_missing_certificate_file_is_named() {
        let connection =
            Connection { cacert_file: Some("/no/such/ca.crt".to_owned()), ..Connection::default() };
        let error = connect(&connection).await.err().unwrap().to_string();
        assert!(error.contains("/no/such/ca.crt"), "{error}");
    }
}
