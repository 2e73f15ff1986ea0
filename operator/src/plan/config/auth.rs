//! The sections `auth` and `configserver`: who may log in, and the servers that are asked about it.

use std::time::Duration;

use containerssh_config as file;
use containerssh_crds::{self as api, AuthenticationMethod, OidcFlow, defaults};

use crate::plan::{Inputs, PORT_REDIRECT, TlsFiles};

/// Where the pods see who may log in with which principals.
pub const PRINCIPALS_DIRECTORY: &str = "/etc/containerssh/principals";
/// A decision may be asked for again when the server does not answer, within the time it may take as a whole.
const WEBHOOK_TRIES: u32 = 3;
/// Asking again sooner than that would hit a slow server with more work.
const WEBHOOK_LEAST: Duration = Duration::from_secs(2);

/// Where the pods see the `number`th source of authorized keys.
pub fn authorized_keys_directory(number: usize) -> String {
    format!("/etc/containerssh/authorized-keys/{number}")
}

/// Where they see the `number`th source of what is revoked.
pub fn revoked_keys_directory(number: usize) -> String {
    format!("/etc/containerssh/revoked-keys/{number}")
}

/// The section `auth`.
pub(super) fn section(inputs: &Inputs) -> file::Auth {
    let wanted = &inputs.spec().authentication;
    let mut auth = file::Auth::default();
    if let Some(wanted) = &wanted.password {
        auth.password.method = file::AuthMethod::Webhook;
        auth.password.webhook = webhook(&wanted.webhook, &inputs.servers.password);
    }
    if let Some(wanted) = &wanted.public_key {
        auth.public_key = public_key(wanted, inputs);
    }
    if let Some(wanted) = &wanted.keyboard_interactive {
        auth.keyboard_interactive = file::KeyboardInteractiveAuth {
            method: file::KeyboardInteractiveMethod::OAuth2,
            oauth2: oauth2(&wanted.oidc, inputs),
        };
    }
    if let Some(wanted) = &wanted.authorization {
        auth.authz.method = file::AuthMethod::Webhook;
        auth.authz.webhook = webhook(&wanted.webhook, &inputs.servers.authorization);
    }
    auth.authentication_methods = wanted.require.iter().filter_map(|list| methods(list).ok()).collect();
    auth
}

/// What is wrong with the lists of methods. The API server refuses such; one that got past it all the same must not be
/// left out, since without any list one method is enough.
pub(super) fn wrong_methods(spec: &api::SSHGatewaySpec) -> Option<String> {
    (spec.authentication.require.iter().enumerate()).find_map(|(index, list)| {
        let why = methods(list).err()?;
        Some(format!("authentication.require[{index}]: {why}; name each method once, and at least one"))
    })
}

fn public_key(wanted: &api::PublicKeyAuthentication, inputs: &Inputs) -> file::PublicKeyAuth {
    let mut section = file::PublicKeyAuth::default();
    if let Some(wanted) = &wanted.webhook {
        section.method = file::AuthMethod::Webhook;
        section.webhook = webhook(wanted, &inputs.servers.public_key);
    }
    section.authorized_keys.paths = (0..wanted.authorized_keys_from.len())
        .map(|number| format!("{}/%u", authorized_keys_directory(number)))
        .collect();
    if let Some(wanted) = &wanted.certificate_authorities {
        section.certificates = file::Certificates {
            authorities: inputs.authorities.clone(),
            principals_file: wanted.principals_from.as_ref().map(|_| format!("{PRINCIPALS_DIRECTORY}/%u")),
        };
    }
    section.revoked_keys = (wanted.revoked_keys_from.iter().enumerate())
        .map(|(number, source)| {
            let reference = source.secret_ref.as_ref().or(source.config_map_ref.as_ref());
            // A source that names nothing, which the API server refuses, leads to no file: that lets no key in.
            let key = reference.map_or("missing", |reference| reference.key.as_str());
            format!("{}/{key}", revoked_keys_directory(number))
        })
        .collect();
    section
}

/// A list in the words of the protocol.
fn methods(list: &[AuthenticationMethod]) -> Result<file::MethodList, String> {
    let words: Vec<&str> = (list.iter())
        .map(|method| match method {
            AuthenticationMethod::Password => file::AuthenticationMethod::Password,
            AuthenticationMethod::PublicKey => file::AuthenticationMethod::PublicKey,
            AuthenticationMethod::KeyboardInteractive => file::AuthenticationMethod::KeyboardInteractive,
        })
        .map(file::AuthenticationMethod::as_str)
        .collect();
    words.join(",").parse()
}

fn oauth2(wanted: &api::OpenIDConnect, inputs: &Inputs) -> file::OAuth2 {
    let files = &inputs.servers.provider;
    file::OAuth2 {
        client_id: wanted.client_id.clone(),
        client_secret: inputs.servers.client_secret.clone(),
        provider: file::OAuth2Provider::Oidc,
        redirect: file::Redirect { listen: ([0, 0, 0, 0], PORT_REDIRECT).into() },
        qr_code_clients: wanted.qr_code_clients.clone(),
        device_flow_clients: wanted.device_flow_clients.clone(),
        auth_timeout: wanted.timeout.map_or(defaults::OIDC_TIMEOUT, Duration::from),
        oidc: file::Oidc {
            url: wanted.issuer.clone(),
            cacert: files.ca.as_deref().map(file::PemOrFile::new),
            device_flow: wanted.has_flow(OidcFlow::Device),
            authorization_code_flow: wanted.has_flow(OidcFlow::AuthorizationCode),
            redirect_uri: wanted.redirect_uri.clone().unwrap_or_default(),
            username_field: (wanted.username_claim.as_deref())
                .unwrap_or(defaults::OIDC_USERNAME_CLAIM)
                .to_owned(),
            enforce_username: wanted.enforce_username.unwrap_or_default(),
            extra_scopes: wanted.extra_scopes.clone(),
            enforce_scopes: wanted.enforce_scopes.clone(),
            ..file::Oidc::default()
        },
        ..file::OAuth2::default()
    }
}

fn webhook(wanted: &api::Webhook, files: &TlsFiles) -> file::Webhook {
    let whole = wanted.timeout.map_or(defaults::WEBHOOK_TIMEOUT, Duration::from);
    file::Webhook {
        url: wanted.url.clone(),
        timeout: (whole / WEBHOOK_TRIES).max(WEBHOOK_LEAST).min(whole),
        auth_timeout: whole,
        cacert: files.ca.as_deref().map(file::PemOrFile::new),
        cert: files.certificate.as_deref().map(file::PemOrFile::new),
        key: files.key.as_deref().map(file::PemOrFile::new),
        ..file::Webhook::default()
    }
}

/// The section `configserver`.
pub(super) fn config_server(inputs: &Inputs) -> file::ConfigServer {
    let Some(wanted) = &inputs.spec().config_server else { return file::ConfigServer::default() };
    let files = &inputs.servers.config_server;
    file::ConfigServer {
        url: wanted.url.clone(),
        timeout: wanted.timeout.map_or(defaults::CONFIG_SERVER_TIMEOUT, Duration::from),
        cacert: files.ca.as_deref().map(file::PemOrFile::new),
        cert: files.certificate.as_deref().map(file::PemOrFile::new),
        key: files.key.as_deref().map(file::PemOrFile::new),
        transmit_sensitive_metadata: wanted.transmit_sensitive_metadata.unwrap_or_default(),
        ..file::ConfigServer::default()
    }
}
