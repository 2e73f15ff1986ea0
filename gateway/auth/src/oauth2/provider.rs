//! What the provider is asked. Every answer is JSON of at most [`MAX_ANSWER`] bytes, within the configured time.

use std::fmt;
use std::time::Duration;

use bytes::BytesMut;
use containerssh_backend::MetadataValue;
use containerssh_config::{OAuth2 as Settings, OAuth2Provider};
use jiff::Timestamp;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Client, RequestBuilder, StatusCode, Url};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::{github, token};
use crate::webhook::build_client;
use crate::{Attempt, AuthConfigError, Identity, Verdict, code};

/// Largest answer. Key sets and claims are a few kilobytes.
const MAX_ANSWER: usize = 256 * 1024;
/// Most claims that become metadata, and the longest value: they become labels and variables of one pod.
const MAX_CLAIMS: usize = 64;
const MAX_CLAIM: usize = 8 * 1024;

/// One provider, as configured.
pub(super) struct Provider {
    pub(super) client: Client,
    pub(super) settings: Settings,
    /// Time for one request.
    request_timeout: Duration,
    /// For what goes wrong with requests.
    failure: &'static str,
}

/// How the user logged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow<'a> {
    /// The device code itself belongs to this login alone.
    Device,
    /// The nonce is what the login was begun with.
    Code { nonce: &'a str },
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings { provider, oidc, github, .. } = &self.settings;
        let url = match provider {
            OAuth2Provider::Oidc => &oidc.url,
            OAuth2Provider::GitHub => &github.url,
        };
        f.debug_struct("Provider").field("url", url).finish_non_exhaustive()
    }
}

/// Why a login does not go on.
#[derive(Debug)]
pub(super) struct Denied {
    /// The user or the provider said no; otherwise the provider cannot be reached, or cannot be believed.
    rejected: bool,
    code: &'static str,
    reason: String,
}

impl Denied {
    pub(super) fn rejected(reason: impl Into<String>) -> Self {
        Self { rejected: true, code: code::AUTH_OIDC_REJECTED, reason: reason.into() }
    }

    pub(super) fn unavailable(reason: impl Into<String>) -> Self {
        Self { rejected: false, code: code::OIDC_ACCESS_TOKEN_FETCH_FAILED, reason: reason.into() }
    }

    /// The same under another code.
    pub(super) fn coded(self, code: &'static str) -> Self {
        Self { code, ..self }
    }

    pub(super) fn into_verdict(self, attempt: &Attempt) -> Verdict {
        let (id, username) = (&attempt.connection_id, &attempt.username);
        let Self { rejected, code, reason } = self;
        if rejected {
            tracing::info!(
                code,
                connectionId = id,
                username,
                reason,
                "The login at the identity provider did not succeed"
            );
            return Verdict::Rejected;
        }
        tracing::error!(
            code,
            connectionId = id,
            username,
            error = reason,
            "The identity provider cannot be reached or cannot be believed: the login is denied"
        );
        Verdict::Unavailable(format!("identity provider: {reason}"))
    }
}

fn unavailable(reason: impl Into<String>) -> Denied {
    Denied::unavailable(reason)
}

/// Where things are at the provider.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) authorization: Option<Url>,
    pub(super) device: Option<Url>,
    pub(super) token: Url,
    /// Whether the client's secret goes into the body of requests for tokens, or else into a header.
    pub(super) secret_in_body: bool,
    pub(super) identity: Source,
}

/// Where it is said who has logged in.
#[derive(Debug)]
pub(super) enum Source {
    /// In the ID token, signed with one of these keys, and what it leaves out at `userinfo`.
    IdToken { issuer: String, keys: Url, userinfo: Option<Url> },
    /// GitHub's API.
    GitHub,
}

impl Provider {
    pub(super) fn new(settings: &Settings) -> Result<Self, AuthConfigError> {
        let (settings, option, failure) = match settings.provider {
            OAuth2Provider::Oidc => (settings, "oidc", code::OIDC_ACCESS_TOKEN_FETCH_FAILED),
            OAuth2Provider::GitHub => (settings, "github", code::GITHUB_ACCESS_TOKEN_FETCH_FAILED),
        };
        let http = match settings.provider {
            OAuth2Provider::Oidc => settings.oidc.client(),
            OAuth2Provider::GitHub => settings.github.client(),
        };
        let client = build_client(&http, &format!("auth.keyboardInteractive.oauth2.{option}"))?;
        Ok(Self { client, settings: settings.clone(), request_timeout: http.timeout, failure })
    }

    pub(super) fn timeout(&self) -> Duration {
        self.settings.auth_timeout
    }

    /// What the gateway needs and what is asked for besides.
    pub(super) fn scopes(&self) -> String {
        let Settings { provider, oidc, github, .. } = &self.settings;
        let (mut scopes, extra, enforced) = match provider {
            OAuth2Provider::Oidc => (vec!["openid"], &oidc.extra_scopes, &oidc.enforce_scopes),
            OAuth2Provider::GitHub => {
                (github::needed_scopes(github), &github.extra_scopes, &github.enforce_scopes)
            }
        };
        for scope in extra.iter().chain(enforced) {
            if !scopes.contains(&scope.as_str()) {
                scopes.push(scope);
            }
        }
        scopes.join(" ")
    }

    /// Where the configured provider has things.
    pub(super) async fn places(&self) -> Result<Places, Denied> {
        match self.settings.provider {
            OAuth2Provider::Oidc => self.discover().await,
            OAuth2Provider::GitHub => self.github_places(),
        }
    }

    /// OpenID Connect Discovery 1.0 section 4. The issuer has to be the configured one, and nothing may be less protected than it.
    async fn discover(&self) -> Result<Places, Denied> {
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
            authorization: place("authorization_endpoint")?,
            device: place("device_authorization_endpoint")?,
            token: needed("token_endpoint")?,
            identity: Source::IdToken {
                issuer: named.to_owned(),
                keys: needed("jwks_uri")?,
                userinfo: place("userinfo_endpoint")?,
            },
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
        if status == StatusCode::OK && !answer.contains_key("error") {
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
        // GitHub says with status 200 what is wrong.
        if status == StatusCode::OK && !answer.contains_key("error") {
            return Ok(Ok(answer));
        }
        match answer.get("error").and_then(Value::as_str) {
            Some(word) => Ok(Err(containerssh_log::clean::text(word, 60))),
            None => Err(unavailable(format!("tokens: {}", error_of(status, &answer)))),
        }
    }

    /// Who has logged in, by the tokens.
    pub(super) async fn identity(
        &self,
        places: &Places,
        tokens: &Map<String, Value>,
        flow: Flow<'_>,
        attempt: &Attempt,
    ) -> Result<Identity, Denied> {
        let text = |key: &str| tokens.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let access = || text("access_token").ok_or_else(|| unavailable("tokens: there is no access token"));
        let Source::IdToken { issuer, keys, userinfo } = &places.identity else {
            return self.github_identity(access()?, text("scope").unwrap_or_default(), flow, attempt).await;
        };
        let nonce = match flow {
            Flow::Device => None,
            Flow::Code { nonce } => Some(nonce),
        };
        let id_token = text("id_token").ok_or_else(|| unavailable("tokens: there is no ID token"))?;
        let access = access()?;
        self.check_scopes(text("scope"))?;
        let (status, keys) = self.fetch("keys", self.client.get(keys.clone())).await?;
        if status != StatusCode::OK {
            return Err(unavailable(format!("keys: status {} instead of 200", status.as_u16())));
        }
        let expected = token::Expected { issuer, audience: &self.settings.client_id, nonce };
        let mut claims = token::verify(id_token, &keys, &expected, Timestamp::now())
            .map_err(|reason| unavailable(format!("ID token: {reason}")))?;
        if let Some(url) = userinfo {
            self.add_userinfo(url, access, &mut claims).await?;
        }
        let name = self.username(&claims)?;
        if self.settings.oidc.enforce_username && name != attempt.username {
            return Err(Denied::rejected(
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
            Some(scope) => Err(Denied::rejected(format!("the scope {scope:?} was not granted"))),
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
            return Err(Denied::rejected("the provider has not verified the user's mail address".to_owned()));
        }
        Ok(name.to_owned())
    }

    fn form(&self, url: &Url, fields: &[(&str, &str)]) -> RequestBuilder {
        let body = encode(fields);
        self.client.post(url.clone()).header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(body)
    }

    /// Makes one request; the answer is an object.
    pub(super) async fn fetch(
        &self,
        what: &str,
        request: RequestBuilder,
    ) -> Result<(StatusCode, Map<String, Value>), Denied> {
        self.fetch_any(what, request).await.map_err(|denied| denied.coded(self.failure))
    }

    async fn fetch_any(
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
        let request = request.header(ACCEPT, "application/json").timeout(self.request_timeout);
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
