//! Logging in at GitHub: a server of this machine that answers in the shapes that GitHub's documentation has.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod common;

use std::collections::HashMap;

use common::{Server, attempt, reason, reply};
use containerssh_auth::oauth2::OAuth2;
use containerssh_auth::{Step, Verdict};
use containerssh_config::{GitHub, OAuth2 as Settings, OAuth2Provider, Secret};
use serde_json::{Value, json};

/// What GitHub answers, by path; several answers are given one after the other, the last one from then on.
type Answers = HashMap<&'static str, Vec<(u16, Value)>>;

const TOKEN: &str = "gho_16C7e42F292c6912E7710c838347Ae178B4a";

fn user() -> Value {
    json!({
        "login": "alice", "id": 583231, "node_id": "MDQ6VXNlcjU4MzIzMQ==", "avatar_url": "https://github.example/a.png",
        "html_url": "https://github.com/alice", "type": "User", "site_admin": false, "name": "Alice A.", "company": null,
        "blog": "", "location": "Vienna", "email": null, "hireable": null, "bio": null, "twitter_username": null,
        "public_repos": 8, "plan": {"name": "pro"}, "two_factor_authentication": true,
    })
}

fn honest() -> Answers {
    let pending = json!({"error": "authorization_pending", "error_description": "The authorization request is still pending."});
    let token = json!({"access_token": TOKEN, "token_type": "bearer", "scope": "read:org,read:user"});
    let codes = json!({
        "device_code": "3584d83530557fdd1f46af8289938c8ef79f9dc5", "user_code": "WDJB-MJHT",
        "verification_uri": "https://github.com/login/device", "expires_in": 900, "interval": 1,
    });
    let membership = json!({"state": "active", "role": "member", "organization": {"login": "Acme", "id": 1}});
    [
        ("/login/device/code", vec![(200, codes)]),
        ("/login/oauth/access_token", vec![(200, pending), (200, token)]),
        ("/api/user", vec![(200, user())]),
        ("/api/user/memberships/orgs/acme", vec![(200, membership)]),
    ]
    .into()
}

async fn start(answers: Answers) -> Server {
    let asked = std::sync::Mutex::new(HashMap::<String, usize>::new());
    Server::start(move |_, path| {
        let mut asked = asked.lock().unwrap();
        let count = asked.entry(path.to_owned()).or_default();
        let given = answers.get(path).and_then(|list| list.get(*count).or(list.last()));
        *count += 1;
        match given {
            Some((status, body)) => reply(*status, body.to_string()),
            None => reply(404, json!({"message": "Not Found"}).to_string()),
        }
    })
    .await
}

fn settings(server: &Server, adjust: impl FnOnce(&mut Settings)) -> Settings {
    let mut settings = Settings {
        client_id: "Iv1.0123456789abcdef".into(),
        provider: OAuth2Provider::GitHub,
        github: GitHub { url: server.url(), apiurl: format!("{}/api", server.url()), ..GitHub::default() },
        ..Settings::default()
    };
    adjust(&mut settings);
    settings
}

async fn login(answers: Answers, adjust: impl FnOnce(&mut Settings)) -> (Verdict, Server) {
    let server = start(answers).await;
    let github = OAuth2::new(&settings(&server, adjust)).unwrap();
    let mut dialogue = github.dialogue(&attempt());
    let step = match dialogue.next(&[]).await {
        Step::Ask(question) => {
            assert!(question.instructions.contains("WDJB-MJHT"), "{}", question.instructions);
            dialogue.next(&[]).await
        }
        done => done,
    };
    let Step::Done(verdict) = step else { panic!("another question") };
    (verdict, server)
}

fn form(body: &[u8]) -> HashMap<String, String> {
    let url = format!("http://x/?{}", std::str::from_utf8(body).unwrap());
    reqwest::Url::parse(&url).unwrap().query_pairs().into_owned().collect()
}

#[tokio::test]
async fn a_user_logs_in_by_the_device_flow_and_is_who_github_says() {
    let (verdict, server) = login(honest(), |settings| {
        settings.github.require_org_membership = "acme".into();
        settings.github.require_2fa = true;
        settings.github.extra_scopes = vec!["gist".into()];
    })
    .await;
    let Verdict::Accepted(identity) = verdict else { panic!("{verdict:?}") };
    assert_eq!(identity.authenticated_username, "alice");
    let metadata =
        |name: &str| identity.metadata.get(name).map(|value| (value.value.as_str(), value.sensitive));
    assert_eq!(metadata("GITHUB_LOGIN"), Some(("alice", false)));
    assert_eq!(metadata("GITHUB_ID"), Some(("583231", false)));
    assert_eq!(metadata("GITHUB_2FA"), Some(("true", false)));
    assert_eq!(metadata("GITHUB_METHOD"), Some(("device", false)));
    assert_eq!(metadata("GITHUB_PROFILE_URL"), Some(("https://github.com/alice", false)));
    assert_eq!(metadata("GITHUB_TOKEN"), Some((TOKEN, true)));
    assert_eq!(metadata("GITHUB_BIO"), None);
    let seen = server.seen();
    let paths: Vec<_> = seen.iter().map(|seen| seen.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "/login/device/code",
            "/login/oauth/access_token",
            "/login/oauth/access_token",
            "/api/user",
            "/api/user/memberships/orgs/acme"
        ]
    );
    let asked = form(&seen[0].body);
    assert_eq!(asked["client_id"], "Iv1.0123456789abcdef");
    assert_eq!(asked["scope"], "read:org read:user gist");
    assert_eq!(form(&seen[1].body)["grant_type"], "urn:ietf:params:oauth:grant-type:device_code");
    assert_eq!(seen[3].headers["authorization"], format!("Bearer {TOKEN}").as_str());
    assert!(seen[3].headers.contains_key("user-agent"), "GitHub refuses requests without");
}

#[tokio::test]
async fn others_log_in_by_the_authorization_code_flow() {
    let mut answers = honest();
    answers.get_mut("/login/oauth/access_token").unwrap().remove(0);
    let server = start(answers).await;
    let settings = settings(&server, |settings| {
        settings.device_flow_clients = vec!["SSH-2.0-Device".into()];
        settings.client_secret = Some(Secret::new("s3cret"));
    });
    let mut dialogue = OAuth2::new(&settings).unwrap().dialogue(&attempt());
    let Step::Ask(question) = dialogue.next(&[]).await else { panic!("no question") };
    let address = question.instructions.lines().find(|line| line.starts_with("http")).unwrap();
    let address = reqwest::Url::parse(address).unwrap();
    assert_eq!(address.path(), "/login/oauth/authorize");
    let query: HashMap<_, _> = address.query_pairs().into_owned().collect();
    assert!(!query.contains_key("redirect_uri"), "the application's own");
    let step = dialogue.next(&[format!("{}.the-code", query["state"])]).await;
    let Step::Done(Verdict::Accepted(identity)) = step else { panic!("{step:?}") };
    assert_eq!(identity.metadata["GITHUB_METHOD"].value, "authorization_code");
    let exchange = form(&server.seen()[0].body);
    assert_eq!((exchange["code"].as_str(), exchange["client_secret"].as_str()), ("the-code", "s3cret"));
    assert!(!exchange["code_verifier"].is_empty());

    let mut dialogue = OAuth2::new(&settings).unwrap().dialogue(&attempt());
    dialogue.next(&[]).await;
    let Step::Done(verdict) = dialogue.next(&["other-state.the-code".to_owned()]).await else {
        panic!("no end")
    };
    assert_eq!(verdict, Verdict::Rejected);
}

#[tokio::test]
async fn who_does_not_fit_is_rejected() {
    let with = |path: &'static str, status: u16, answer: Value| {
        let mut answers = honest();
        answers.insert(path, vec![(status, answer)]);
        answers
    };
    let without = |field: &str| {
        let mut user = user();
        user.as_object_mut().unwrap().remove(field);
        user
    };
    let changed = |field: &str, value: Value| {
        let mut user = user();
        user[field] = value;
        user
    };
    const MEMBERSHIP: &str = "/api/user/memberships/orgs/acme";
    const TOKENS: &str = "/login/oauth/access_token";
    let invited = json!({"state": "pending", "organization": {"login": "acme"}});
    let elsewhere = json!({"state": "active", "organization": {"login": "other"}});
    let blocked = json!({"message": "Although you appear to have the correct authorization credentials, …"});
    for answers in [
        with("/api/user", 200, changed("login", json!("mallory"))),
        with("/api/user", 200, changed("two_factor_authentication", json!(false))),
        with("/api/user", 200, changed("two_factor_authentication", json!("true"))),
        with("/api/user", 200, without("two_factor_authentication")),
        with(MEMBERSHIP, 404, json!({"message": "Not Found"})),
        with(MEMBERSHIP, 403, blocked),
        with(MEMBERSHIP, 200, invited),
        with(MEMBERSHIP, 200, elsewhere),
        with(TOKENS, 200, json!({"error": "access_denied"})),
        with(TOKENS, 200, json!({"error": "expired_token"})),
        with(TOKENS, 200, json!({"access_token": TOKEN, "token_type": "bearer", "scope": "read:user"})),
        with(TOKENS, 200, json!({"access_token": TOKEN, "token_type": "bearer"})),
    ] {
        let shown = format!("{answers:?}");
        let (verdict, _) = login(answers, |settings| {
            settings.github.require_org_membership = "acme".into();
            settings.github.require_2fa = true;
            settings.github.enforce_scopes = vec!["read:org".into()];
        })
        .await;
        assert_eq!(verdict, Verdict::Rejected, "{shown}");
    }
}

#[tokio::test]
async fn a_name_that_need_not_be_typed_is_still_github_s() {
    let mut answers = honest();
    answers.insert("/api/user", vec![(200, json!({"login": "mallory"}))]);
    let (verdict, _) = login(answers, |settings| settings.github.enforce_username = false).await;
    let Verdict::Accepted(identity) = verdict else { panic!("{verdict:?}") };
    assert_eq!(identity.authenticated_username, "mallory");
}

#[tokio::test]
async fn a_github_that_makes_no_sense_lets_nobody_in() {
    for (path, status, answer, expected) in [
        ("/login/device/code", 200, json!({"error": "device_flow_disabled"}), "device_flow_disabled"),
        ("/login/device/code", 404, json!({"error": "Not Found"}), "Not Found"),
        (
            "/login/oauth/access_token",
            200,
            json!({"error": "incorrect_client_credentials"}),
            "incorrect_client",
        ),
        ("/login/oauth/access_token", 200, json!({"token_type": "bearer"}), "no access token"),
        ("/login/oauth/access_token", 500, json!([]), "not a JSON object"),
        ("/api/user", 401, json!({"message": "Bad credentials"}), "status 401"),
        ("/api/user", 200, json!({"login": ""}), "no login"),
        ("/api/user", 200, json!({"login": ["alice"]}), "no login"),
        ("/api/user/memberships/orgs/acme", 500, json!({}), "status 500"),
    ] {
        let mut answers = honest();
        answers.insert(path, vec![(status, answer)]);
        let (verdict, _) =
            login(answers, |settings| settings.github.require_org_membership = "acme".into()).await;
        let reason = reason(verdict);
        assert!(reason.contains(expected), "{path}: {reason}");
        assert!(!reason.contains(TOKEN));
    }
}
