//! What the provider is asked. Every answer is JSON of at most [`MAX_ANSWER`] bytes, within the configured time.

use std::fmt;
use std::time::Duration;

use bytes::BytesMut;
use containerssh_backend::MetadataValue;
use containerssh_config::OAuth2 as Settings;
use jiff::Timestamp;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Client, RequestBuilder, StatusCode, Url};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::token;
use crate::webhook::build_client;
use crate::{Attempt, AuthConfigError, Identity, Verdict, code};

/// Largest answer. Key sets and claims are a few kilobytes.
const MAX_ANSWER: usize = 256 * 1024;
/// Most claims that become metadata, and the longest value: they become labels and variables of one pod.
const MAX_CLAIMS: usize = 64;
const MAX_CLAIM: usize = 8 * 1024;

/// One provider, as configured.
pub(super) struct Provider {
    client: Client,
    pub(super) settings: Settings,
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider").field("issuer", &self.settings.oidc.url).finish_non_exhaustive()
    }
}

/// Why a login does not go on.
#[derive(Debug)]
pub(super) enum Denied {
    /// The user or the provider said no.
    Rejected(String),
    /// The provider cannot be reached, or cannot be believed.
    Unavailable(String),
}

impl Denied {
    pub(super) fn into_verdict(self, attempt: &Attempt) -> Verdict {
        let (id, username) = (&attempt.connection_id, &attempt.username);
        match self {
            Denied::Rejected(reason) => {
                tracing::info!(
                    code = code::AUTH_OIDC_REJECTED,
                    connectionId = id,
                    username,
                    reason,
                    "The login at the identity provider did not succeed"
                );
                Verdict::Rejected
            }
            Denied::Unavailable(reason) => {
                tracing::error!(
                    code = code::OIDC_ACCESS_TOKEN_FETCH_FAILED,
                    connectionId = id,
                    username,
                    error = reason,
                    "The identity provider cannot be reached or cannot be believed: the login is denied"
                );
                Verdict::Unavailable(format!("identity provider: {reason}"))
            }
        }
    }
}

fn unavailable(reason: impl Into<String>) -> Denied {
    Denied::Unavailable(reason.into())
}

/// Where things are at the provider.
#[derive(Debug)]
pub(super) struct Places {
    issuer: String,
    pub(super) authorization: Option<Url>,
    pub(super) device: Option<Url>,
    token: Url,
    keys: Url,
    userinfo: Option<Url>,
    /// Whether the client's secret goes into the body of requests for tokens, or else into a header.
    secret_in_body: bool,
}

impl Provider {
    pub(super) fn new(settings: &Settings) -> Result<Self, AuthConfigError> {
        let client = build_client(&settings.oidc.client(), "auth.keyboardInteractive.oauth2.oidc")?;
        Ok(Self { client, settings: settings.clone() })
    }

    pub(super) fn timeout(&self) -> Duration {
        self.settings.auth_timeout
    }

    /// `openid` and what is asked for besides.
    pub(super) fn scopes(&self) -> String {
        let oidc = &self.settings.oidc;
        let mut scopes = vec!["openid"];
        for scope in oidc.extra_scopes.iter().chain(&oidc.enforce_scopes) {
            if !scopes.contains(&scope.as_str()) {
                scopes.push(scope);
            }
        }
        scopes.join(" ")
    }

    /// OpenID Connect Discovery 1.0 section 4. The issuer has to be the configured one, and nothing may be less protected than it.
    pub(super) async fn discover(&self) -> Result<Places, Denied> {
        let issuer = self.settings.oidc.url.trim_end_matches('/');
        let url = format!("{issuer}/.well-known/openid-configuration");
        let url = url.parse::<Url>().map_err(|error| unavailable(format!("discovery: {error}")))?;
        let (status, found) = self.fetch("discovery", self.client.get(url)).await?;
        if status != StatusCode::OK {
            return Err(unavailable(format!("discovery: status {} instead of 200", status.as_u16())));
        }
        let named = found.get("issuer").and_then(Value::as_str).unwrap_or_default();
        if named.trim_end_matches('/') != issuer {
            return Err(unavailable("discovery: it names another issuer than the configured one"));
        }
        let place = |key: &str| -> Result<Option<Url>, Denied> {
            let Some(text) = found.get(key).and_then(Value::as_str) else { return Ok(None) };
            let url = text.parse::<Url>().map_err(|_| unavailable(format!("discovery: {key} is no URL")))?;
            let protected =
                url.scheme() == "https" || (url.scheme() == "http" && issuer.starts_with("http://"));
            if protected { Ok(Some(url)) } else { Err(unavailable(format!("discovery: {key} is not https"))) }
        };
        let needed =
            |key: &str| place(key)?.ok_or_else(|| unavailable(format!("discovery: it has no {key}")));
        let ways = found.get("token_endpoint_auth_methods_supported").and_then(Value::as_array);
        Ok(Places {
            issuer: named.to_owned(),
            authorization: place("authorization_endpoint")?,
            device: place("device_authorization_endpoint")?,
            token: needed("token_endpoint")?,
            keys: needed("jwks_uri")?,
            userinfo: place("userinfo_endpoint")?,
            secret_in_body: ways.is_some_and(|ways| ways.iter().any(|way| way == "client_secret_post")),
        })
    }

    /// Asks for the codes of the device flow (RFC 8628 section 3.1).
    pub(super) async fn device_codes(&self, url: &Url) -> Result<Map<String, Value>, Denied> {
        let scopes = self.scopes();
        let mut fields = vec![("client_id", self.settings.client_id.as_str()), ("scope", &scopes)];
        if let Some(secret) = &self.settings.client_secret {
            fields.push(("client_secret", secret.expose()));
        }
        let (status, answer) = self.fetch("device codes", self.form(url, &fields)).await?;
        if status == StatusCode::OK {
            Ok(answer)
        } else {
            Err(unavailable(format!("device codes: {}", error_of(status, &answer))))
        }
    }

    /// Asks for tokens. `Err` within is the provider's error word (RFC 6749 section 5.2, RFC 8628 section 3.5).
    pub(super) async fn tokens(
        &self,
        places: &Places,
        fields: &[(&str, &str)],
    ) -> Result<Result<Map<String, Value>, String>, Denied> {
        let mut fields = fields.to_vec();
        fields.push(("client_id", &self.settings.client_id));
        let secret = self.settings.client_secret.as_ref();
        if let Some(secret) = secret.filter(|_| places.secret_in_body) {
            fields.push(("client_secret", secret.expose()));
        }
        let mut request = self.form(&places.token, &fields);
        if let Some(secret) = secret.filter(|_| !places.secret_in_body) {
            // RFC 6749 section 2.3.1: both are form-encoded first.
            let encoded = |text: &str| encode(&[("", text)]).trim_start_matches('=').to_owned();
            request = request.basic_auth(encoded(&self.settings.client_id), Some(encoded(secret.expose())));
        }
        let (status, answer) = self.fetch("tokens", request).await?;
        if status == StatusCode::OK {
            return Ok(Ok(answer));
        }
        match answer.get("error").and_then(Value::as_str) {
            Some(word) => Ok(Err(containerssh_log::clean::text(word, 60))),
            None => Err(unavailable(format!("tokens: {}", error_of(status, &answer)))),
        }
    }

    /// Who has logged in, by the tokens. `nonce` is what the login was begun with, where the flow has one.
    pub(super) async fn identity(
        &self,
        places: &Places,
        tokens: &Map<String, Value>,
        nonce: Option<&str>,
        attempt: &Attempt,
    ) -> Result<Identity, Denied> {
        let text = |key: &str| tokens.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let id_token = text("id_token").ok_or_else(|| unavailable("tokens: there is no ID token"))?;
        let access = text("access_token").ok_or_else(|| unavailable("tokens: there is no access token"))?;
        self.check_scopes(text("scope"))?;
        let (status, keys) = self.fetch("keys", self.client.get(places.keys.clone())).await?;
        if status != StatusCode::OK {
            return Err(unavailable(format!("keys: status {} instead of 200", status.as_u16())));
        }
        let expected = token::Expected { issuer: &places.issuer, audience: &self.settings.client_id, nonce };
        let mut claims = token::verify(id_token, &keys, &expected, Timestamp::now())
            .map_err(|reason| unavailable(format!("ID token: {reason}")))?;
        if let Some(url) = &places.userinfo {
            self.add_userinfo(url, access, &mut claims).await?;
        }
        let name = self.username(&claims)?;
        if self.settings.oidc.enforce_username && name != attempt.username {
            return Err(Denied::Rejected(
                "the user at the identity provider is not the one that was typed".to_owned(),
            ));
        }
        Ok(Identity {
            authenticated_username: name,
            metadata: metadata(&claims, access),
            ..Identity::default()
        })
    }

    /// Scopes are granted as asked for, unless the provider says which are (RFC 6749 section 5.1).
    fn check_scopes(&self, granted: Option<&str>) -> Result<(), Denied> {
        let Some(granted) = granted else { return Ok(()) };
        let granted: Vec<&str> = granted.split_ascii_whitespace().collect();
        match self.settings.oidc.enforce_scopes.iter().find(|scope| !granted.contains(&scope.as_str())) {
            Some(scope) => Err(Denied::Rejected(format!("the scope {scope:?} was not granted"))),
            None => Ok(()),
        }
    }

    /// Adds what the ID token does not say. It has to be about the same subject (OpenID Connect Core section 5.3.2).
    async fn add_userinfo(
        &self,
        url: &Url,
        access: &str,
        claims: &mut Map<String, Value>,
    ) -> Result<(), Denied> {
        let request = self.client.get(url.clone()).header(AUTHORIZATION, format!("Bearer {access}"));
        let (status, info) = self.fetch("userinfo", request).await?;
        if status != StatusCode::OK {
            return Err(unavailable(format!("userinfo: status {} instead of 200", status.as_u16())));
        }
        if info.get("sub") != claims.get("sub") {
            return Err(unavailable("userinfo: it is about somebody else"));
        }
        for (key, value) in info {
            claims.entry(key).or_insert(value);
        }
        Ok(())
    }

    fn username(&self, claims: &Map<String, Value>) -> Result<String, Denied> {
        let field = &self.settings.oidc.username_field;
        let name = claims.get(field).and_then(Value::as_str).unwrap_or_default();
        if name.is_empty() || name.len() > MAX_CLAIM || name.chars().any(char::is_control) {
            return Err(unavailable(format!("the claim {field:?} is missing or no name: see usernameField")));
        }
        if field == "email" && claims.get("email_verified") == Some(&Value::Bool(false)) {
            return Err(Denied::Rejected("the provider has not verified the user's mail address".to_owned()));
        }
        Ok(name.to_owned())
    }

    fn form(&self, url: &Url, fields: &[(&str, &str)]) -> RequestBuilder {
        let body = encode(fields);
        self.client.post(url.clone()).header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(body)
    }

    /// Makes one request; the answer is an object.
    async fn fetch(
        &self,
        what: &str,
        request: RequestBuilder,
    ) -> Result<(StatusCode, Map<String, Value>), Denied> {
        let failed = |error: reqwest::Error| {
            let error = error.without_url();
            unavailable(if error.is_timeout() {
                format!("{what}: no answer in time")
            } else {
                format!("{what}: {error}")
            })
        };
        let request = request.header(ACCEPT, "application/json").timeout(self.settings.oidc.timeout);
        let mut response = request.send().await.map_err(failed)?;
        let status = response.status();
        let mut text = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if text.len() + chunk.len() > MAX_ANSWER {
                return Err(unavailable(format!("{what}: the answer is larger than {MAX_ANSWER} bytes")));
            }
            text.extend_from_slice(&chunk);
        }
        match serde_json::from_slice(&text) {
            Ok(Value::Object(answer)) => Ok((status, answer)),
            // The text may be anything, and is not quoted.
            _ => Err(unavailable(format!(
                "{what}: the answer (status {}) is not a JSON object",
                status.as_u16()
            ))),
        }
    }
}

/// `application/x-www-form-urlencoded`.
fn encode(fields: &[(&str, &str)]) -> String {
    // A URL knows how.
    let Ok(mut url) = Url::parse("http://form/") else { return String::new() };
    url.query_pairs_mut().extend_pairs(fields);
    url.query().unwrap_or_default().to_owned()
}

fn error_of(status: StatusCode, answer: &Map<String, Value>) -> String {
    let word = answer.get("error").and_then(Value::as_str).unwrap_or("no reason");
    format!("status {}: {}", status.as_u16(), containerssh_log::clean::text(word, 60))
}

/// ContainerSSH's names: the token, and each claim that is text, a number, yes or no, or a list of texts.
fn metadata(claims: &Map<String, Value>, access: &str) -> std::collections::BTreeMap<String, MetadataValue> {
    let mut metadata = std::collections::BTreeMap::new();
    for (name, value) in claims.iter().take(MAX_CLAIMS) {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Bool(value) => value.to_string(),
            Value::Array(list) => list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
            Value::Null | Value::Object(_) => continue,
        };
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if plain && text.len() <= MAX_CLAIM && !text.contains('\0') {
            let key = format!("OIDC_USERINFO_{}", name.to_ascii_uppercase());
            metadata.insert(key, MetadataValue { value: text, sensitive: false });
        }
    }
    let token = Zeroizing::new(access.to_owned());
    metadata.insert("OIDC_TOKEN".to_owned(), MetadataValue { value: token.to_string(), sensitive: true });
    metadata
}
