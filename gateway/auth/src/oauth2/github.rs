//! GitHub, which speaks OAuth 2 but not OpenID Connect: its API says who a token belongs to. The token was given to this gateway for
//! this login, over TLS, by the configured server.

use std::collections::BTreeMap;

use containerssh_backend::MetadataValue;
use containerssh_config::GitHub;
use reqwest::header::AUTHORIZATION;
use reqwest::{StatusCode, Url};
use serde_json::{Map, Value};

use super::provider::{Denied, Flow, Places, Provider, Source};
use crate::{Attempt, Identity, code};

/// What GitHub calls an authorization code that is none.
pub(super) const BAD_CODE: &str = "bad_verification_code";

/// Longest value that becomes metadata; a biography has at most 160 characters.
const MAX_VALUE: usize = 8 * 1024;

/// What becomes metadata, by ContainerSSH's names.
const METADATA: [(&str, &str); 13] = [
    ("login", "GITHUB_LOGIN"),
    ("id", "GITHUB_ID"),
    ("node_id", "GITHUB_NODE_ID"),
    ("name", "GITHUB_NAME"),
    ("avatar_url", "GITHUB_AVATAR_URL"),
    ("bio", "GITHUB_BIO"),
    ("company", "GITHUB_COMPANY"),
    ("email", "GITHUB_EMAIL"),
    ("blog", "GITHUB_BLOG_URL"),
    ("location", "GITHUB_LOCATION"),
    ("twitter_username", "GITHUB_TWITTER_USERNAME"),
    ("html_url", "GITHUB_PROFILE_URL"),
    ("two_factor_authentication", "GITHUB_2FA"),
];

/// The scopes without which GitHub does not say what is required.
pub(super) fn needed_scopes(settings: &GitHub) -> Vec<&'static str> {
    let mut scopes = Vec::new();
    if !settings.require_org_membership.is_empty() {
        scopes.push("read:org");
    }
    if settings.require_2fa {
        scopes.push("read:user");
    }
    scopes
}

impl Provider {
    /// GitHub's places are documented, not discovered.
    pub(super) fn github_places(&self) -> Result<Places, Denied> {
        let place = |path: &str| {
            let text = format!("{}{path}", self.settings.github.url.trim_end_matches('/'));
            text.parse::<Url>().map_err(|_| Denied::unavailable("github.url is no URL"))
        };
        Ok(Places {
            authorization: Some(place("/login/oauth/authorize")?),
            device: Some(place("/login/device/code")?),
            token: place("/login/oauth/access_token")?,
            secret_in_body: true,
            identity: Source::GitHub,
        })
    }

    /// Who the token belongs to, and whether they may log in.
    pub(super) async fn github_identity(
        &self,
        token: &str,
        granted: &str,
        flow: Flow<'_>,
        attempt: &Attempt,
    ) -> Result<Identity, Denied> {
        let settings = &self.settings.github;
        let granted: Vec<&str> = granted.split([',', ' ']).collect();
        if let Some(scope) = settings.enforce_scopes.iter().find(|scope| !granted.contains(&scope.as_str())) {
            let reason = format!("the scope {scope:?} was not granted");
            return Err(Denied::rejected(reason).coded(code::GITHUB_REQUIRED_SCOPE_NOT_GRANTED));
        }
        let (status, user) = self.github_get("user", "/user", token).await?;
        if status != StatusCode::OK {
            return Err(failed(&format!("user: status {} instead of 200", status.as_u16())));
        }
        let login = user.get("login").and_then(Value::as_str).unwrap_or_default();
        if login.is_empty() || login.len() > MAX_VALUE || login.chars().any(char::is_control) {
            return Err(failed("user: there is no login"));
        }
        if settings.enforce_username && login != attempt.username {
            return Err(Denied::rejected("the user at GitHub is not the one that was typed")
                .coded(code::GITHUB_USERNAME_DOES_NOT_MATCH));
        }
        if settings.require_2fa && user.get("two_factor_authentication") != Some(&Value::Bool(true)) {
            return Err(Denied::rejected(
                "the account has no two-factor authentication, or GitHub does not say so",
            )
            .coded(code::GITHUB_2FA_NOT_ENABLED));
        }
        if !settings.require_org_membership.is_empty() {
            self.check_membership(&settings.require_org_membership, token).await?;
        }
        Ok(Identity {
            authenticated_username: login.to_owned(),
            metadata: metadata(&user, token, flow),
            ..Identity::default()
        })
    }

    /// An invitation that is not accepted yet is no membership, nor is one of another organisation.
    async fn check_membership(&self, organisation: &str, token: &str) -> Result<(), Denied> {
        let path = format!("/user/memberships/orgs/{organisation}");
        let (status, membership) = self.github_get("membership", &path, token).await?;
        match status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND | StatusCode::FORBIDDEN => return Err(no_member(organisation)),
            status => return Err(failed(&format!("membership: status {} instead of 200", status.as_u16()))),
        }
        let named =
            membership.get("organization").and_then(|named| named.get("login")).and_then(Value::as_str);
        let is_it = named.is_some_and(|named| named.eq_ignore_ascii_case(organisation));
        let is_active = membership.get("state").and_then(Value::as_str) == Some("active");
        if is_it && is_active { Ok(()) } else { Err(no_member(organisation)) }
    }

    async fn github_get(
        &self,
        what: &str,
        path: &str,
        token: &str,
    ) -> Result<(StatusCode, Map<String, Value>), Denied> {
        let url = format!("{}{path}", self.settings.github.apiurl.trim_end_matches('/'));
        let request = self.client.get(url).header(AUTHORIZATION, format!("Bearer {token}"));
        self.fetch(what, request).await.map_err(|denied| denied.coded(code::GITHUB_USER_REQUEST_FAILED))
    }
}

fn failed(reason: &str) -> Denied {
    Denied::unavailable(reason).coded(code::GITHUB_USER_REQUEST_FAILED)
}

fn no_member(organisation: &str) -> Denied {
    Denied::rejected(format!("the user is no active member of {organisation:?}"))
        .coded(code::GITHUB_ORG_MEMBERSHIP_MISSING)
}

fn metadata(user: &Map<String, Value>, token: &str, flow: Flow<'_>) -> BTreeMap<String, MetadataValue> {
    let plain = |value: String| MetadataValue { value, sensitive: false };
    let mut metadata = BTreeMap::new();
    for (field, name) in METADATA {
        let text = match user.get(field) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            Some(Value::Bool(value)) => value.to_string(),
            _ => continue,
        };
        if text.len() <= MAX_VALUE && !text.contains('\0') {
            metadata.insert(name.to_owned(), plain(text));
        }
    }
    let method = match flow {
        Flow::Device => "device",
        Flow::Code { .. } => "authorization_code",
    };
    metadata.insert("GITHUB_METHOD".to_owned(), plain(method.to_owned()));
    metadata.insert("GITHUB_TOKEN".to_owned(), MetadataValue { value: token.to_owned(), sensitive: true });
    metadata
}
