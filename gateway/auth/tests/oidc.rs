//! Identity providers that lie, in each way they could: nobody gets in.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod common;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::{attempt, reason, reply};
use containerssh_auth::oauth2::OAuth2;
use containerssh_auth::{Question, Step, Verdict};
use containerssh_config::{OAuth2 as Settings, Oidc};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

/// A key pair for ES256, and its public half as a JWK.
struct Key {
    private: EncodingKey,
    public: Value,
}

impl Key {
    fn new() -> Self {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let point = pair.public_key_raw();
        let part = |from: usize| URL_SAFE_NO_PAD.encode(&point[from..from + 32]);
        Self {
            private: EncodingKey::from_ec_der(pair.serialized_der()),
            public: json!({"kty": "EC", "crv": "P-256", "kid": "k1", "use": "sig", "x": part(1), "y": part(33)}),
        }
    }

    fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some("k1".into()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, claims, &self.private).unwrap()
    }
}

/// What a provider answers, by path; `B` stands for its address.
type Answers = Vec<(&'static str, u16, String)>;

fn claims() -> Value {
    json!({"iss": "B", "sub": "u1", "aud": "gateway", "exp": 4_000_000_000_u64, "iat": 1_000, "email": "a@b"})
}

fn honest(key: &Key) -> Answers {
    let discovery = json!({
        "issuer": "B", "token_endpoint": "B/token", "jwks_uri": "B/keys", "userinfo_endpoint": "B/userinfo",
        "device_authorization_endpoint": "B/device", "authorization_endpoint": "B/auth",
    });
    let device =
        json!({"device_code": "d", "user_code": "ABCD", "verification_uri": "B/enter", "interval": 1});
    vec![
        ("/.well-known/openid-configuration", 200, discovery.to_string()),
        ("/device", 200, device.to_string()),
        ("/keys", 200, json!({"keys": [{"kty": "unheard-of"}, key.public]}).to_string()),
        ("/userinfo", 200, json!({"sub": "u1", "groups": ["dev", "ops"], "email": "other@b"}).to_string()),
        ("/token", 200, String::new()),
    ]
}

/// Starts a provider whose ID token says `claims`, and logs in there by the device flow.
async fn login(
    mut answers: Answers,
    signer: &Key,
    claims: Value,
    settings: impl FnOnce(&mut Oidc),
) -> Verdict {
    let address = {
        // The address has to be known before the token is signed.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let base = format!("http://{address}");
    let text = claims.to_string().replace("\"B\"", &format!("\"{base}\""));
    let token = json!({"access_token": "at", "token_type": "Bearer", "id_token": signer.sign(&serde_json::from_str(&text).unwrap())});
    for (path, _, answer) in &mut answers {
        if *path == "/token" && answer.is_empty() {
            *answer = token.to_string();
        }
        *answer = answer.replace("\"B\"", &format!("\"{base}\"")).replace("\"B/", &format!("\"{base}/"));
    }
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let answers = Arc::new(answers);
    let router = axum::Router::new().fallback(move |uri: axum::http::Uri| {
        let found = answers.iter().find(|(path, _, _)| *path == uri.path()).cloned();
        let (_, status, text) = found.unwrap_or(("", 404, "{}".to_owned()));
        reply(status, text)
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    let mut oidc = Oidc {
        url: base,
        device_flow: true,
        timeout: std::time::Duration::from_secs(20),
        username_field: "email".into(),
        ..Oidc::default()
    };
    settings(&mut oidc);
    let settings = Settings { client_id: "gateway".into(), oidc, ..Settings::default() };
    let mut dialogue = OAuth2::new(&settings).unwrap().dialogue(&attempt());
    match dialogue.next(&[]).await {
        Step::Done(verdict) => verdict,
        Step::Ask(Question { instructions, prompts }) => {
            assert!(
                instructions.contains("/enter in a browser and enter the code ABCD") && prompts.is_empty()
            );
            match dialogue.next(&[]).await {
                Step::Done(verdict) => verdict,
                Step::Ask(question) => panic!("{question:?}"),
            }
        }
    }
}

#[tokio::test]
async fn an_honest_provider_is_believed() {
    let key = Key::new();
    let Verdict::Accepted(identity) = login(honest(&key), &key, claims(), |_| {}).await else {
        panic!("rejected")
    };
    // The signed claim counts, not the one beside it.
    assert_eq!(identity.authenticated_username, "a@b");
    assert_eq!(identity.metadata["OIDC_USERINFO_GROUPS"].value, "dev,ops");
    assert_eq!(identity.metadata["OIDC_TOKEN"].value, "at");
    assert!(identity.metadata["OIDC_TOKEN"].sensitive);
}

#[tokio::test]
async fn tokens_that_do_not_fit_are_not_believed() {
    let (key, other) = (Key::new(), Key::new());
    for (name, value, words) in [
        ("iss", json!("http://127.0.0.1:1"), "another issuer"),
        ("aud", json!("another-client"), "another audience"),
        ("aud", json!(["gateway", "another-client"]), "another party"),
        ("exp", json!(1_000), "has expired"),
        ("exp", Value::Null, "until when"),
        ("nbf", json!(4_000_000_000_u64), "not valid yet"),
        ("sub", json!(""), "no subject"),
        ("sub", json!("u2"), "somebody else"),
        ("email", json!(["a@b"]), "usernameField"),
    ] {
        let mut claims = claims();
        claims[name] = value.clone();
        let said = reason(login(honest(&key), &key, claims, |_| {}).await);
        assert!(said.contains(words), "{name} = {value}: {said}");
    }
    let said = reason(login(honest(&key), &other, claims(), |_| {}).await);
    assert!(said.contains("not signed by any of the provider's keys"), "{said}");
    let mut unverified = claims();
    unverified["email_verified"] = json!(false);
    assert_eq!(login(honest(&key), &key, unverified, |_| {}).await, Verdict::Rejected);
}

#[tokio::test]
async fn answers_that_are_none_deny_and_are_not_quoted() {
    let key = Key::new();
    let huge = format!("{{\"x\": \"{}\"}}", "y".repeat(400_000));
    for (path, status, text, words) in [
        (
            "/.well-known/openid-configuration",
            200,
            "<html>secret-page</html>",
            "discovery: the answer (status 200) is not a JSON object",
        ),
        ("/.well-known/openid-configuration", 500, "{}", "discovery: status 500"),
        (
            "/.well-known/openid-configuration",
            200,
            r#"{"issuer": "http://evil", "token_endpoint": "B/token"}"#,
            "another issuer",
        ),
        ("/.well-known/openid-configuration", 200, r#"{"issuer": "B"}"#, "no token_endpoint"),
        (
            "/.well-known/openid-configuration",
            200,
            r#"{"issuer": "B", "token_endpoint": "file:///etc/passwd"}"#,
            "not https",
        ),
        ("/.well-known/openid-configuration", 200, huge.as_str(), "larger than"),
        ("/device", 200, "[]", "not a JSON object"),
        ("/device", 200, "{}", "no device_code"),
        ("/device", 400, r#"{"error": "invalid_client"}"#, "invalid_client"),
        ("/token", 200, "{}", "no ID token"),
        ("/token", 200, r#"{"id_token": "a.b.c", "access_token": "x"}"#, "ID token: is not a signed"),
        ("/token", 400, r#"{"error": "invalid_client"}"#, "invalid_client"),
        ("/token", 503, "<html>", "not a JSON object"),
        ("/keys", 200, r#"{"keys": []}"#, "not signed by any"),
        ("/keys", 404, "{}", "keys: status 404"),
        ("/userinfo", 200, r#"{"sub": "somebody"}"#, "somebody else"),
        ("/userinfo", 401, "{}", "userinfo: status 401"),
    ] {
        let mut answers = honest(&key);
        answers.retain(|(other, _, _)| *other != path);
        answers.push((path, status, text.to_owned()));
        let said = reason(login(answers, &key, claims(), |_| {}).await);
        assert!(said.contains(words) && !said.contains("secret-page"), "{path} {text}: {said}");
    }
}

#[tokio::test]
async fn a_refusal_is_no_fault_of_anybody_s() {
    let key = Key::new();
    for word in ["access_denied", "expired_token"] {
        let mut answers = honest(&key);
        answers.retain(|(path, _, _)| *path != "/token");
        answers.push(("/token", 400, json!({"error": word}).to_string()));
        assert_eq!(login(answers, &key, claims(), |_| {}).await, Verdict::Rejected, "{word}");
    }
    let mut answers = honest(&key);
    answers.retain(|(path, _, _)| *path != "/token");
    let token = key.sign(&claims());
    answers.push((
        "/token",
        200,
        json!({"access_token": "at", "id_token": token, "scope": "openid"}).to_string(),
    ));
    let enforced = login(answers, &key, claims(), |oidc| oidc.enforce_scopes = vec!["groups".into()]).await;
    assert_eq!(enforced, Verdict::Rejected);
    let named = login(honest(&key), &key, claims(), |oidc| oidc.enforce_username = true).await;
    assert_eq!(named, Verdict::Rejected);
}
