//! Webhooks against a real HTTP server: what is sent, and that every doubtful answer denies.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod common;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::IntoResponse;
use common::{PASSWORD, PASSWORD_BASE64, Server, attempt, reason, reply, settings, webhook};
use containerssh_auth::webhook::ConfigServer;
use containerssh_auth::{Attempt, Identity, Methods, Metrics, Verdict, authenticator};
use containerssh_backend::MetadataValue;
use containerssh_config::{
    Auth, AuthMethod, AuthzAuth, CircuitBreaker, ConfigServer as ConfigSettings, PasswordAuth, PublicKeyAuth,
    Webhook as Settings,
};
use futures::StreamExt;
use futures::stream;
use tokio::io::AsyncWriteExt;

const YES: &str = r#"{"success":true,"authenticatedUsername":"alice@example.net","metadata":{"TEAM":{"value":"x","sensitive":true}}}"#;

#[tokio::test]
async fn a_password_is_asked_about_on_the_wire_as_by_the_reference() {
    let server = Server::with(200, YES).await;
    let verdict = webhook(&settings(&server.url())).password(&attempt(), PASSWORD).await;

    let mut identity = Identity { authenticated_username: "alice@example.net".into(), ..Identity::default() };
    identity.metadata.insert("TEAM".into(), MetadataValue { value: "x".into(), sensitive: true });
    assert_eq!(verdict, Verdict::Accepted(Box::new(identity)));

    let [seen] = server.seen().try_into().unwrap();
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", "/password"));
    assert_eq!(seen.headers["content-type"], "application/json");
    assert_eq!(seen.headers["accept"], "application/json");
    let body = format!(
        "{{\"remoteAddress\":\"192.0.2.7:45760\",\"connectionId\":\"0123456789abcdef0123456789abcdef\",\
         \"clientVersion\":\"SSH-2.0-OpenSSH_9.2p1\",\"username\":\"alice\",\"passwordBase64\":\"{PASSWORD_BASE64}\"}}\n"
    );
    assert_eq!(seen.headers["content-length"], body.len().to_string().as_str());
    assert_eq!(seen.body, body);
}

#[tokio::test]
async fn a_public_key_is_asked_about_below_the_configured_path() {
    let server = Server::with(200, r#"{"success":false}"#).await;
    let hook = webhook(&settings(&format!("{}/auth", server.url())));
    assert_eq!(hook.public_key(&attempt(), "ssh-ed25519 AAAA").await, Verdict::Rejected);

    let [seen] = server.seen().try_into().unwrap();
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", "/auth/pubkey"));
    assert_eq!(
        seen.body,
        "{\"remoteAddress\":\"192.0.2.7:45760\",\"connectionId\":\"0123456789abcdef0123456789abcdef\",\
         \"clientVersion\":\"SSH-2.0-OpenSSH_9.2p1\",\"username\":\"alice\",\"publicKey\":\"ssh-ed25519 AAAA\"}\n"
    );
}

#[tokio::test]
async fn one_connection_serves_many_logins() {
    let server = Server::with(200, YES).await;
    let hook = webhook(&settings(&server.url()));
    for _ in 0..5 {
        assert!(matches!(hook.password(&attempt(), PASSWORD).await, Verdict::Accepted(_)));
    }
    assert_eq!((server.seen().len(), server.connections()), (5, 1));
}

#[tokio::test]
async fn answers_that_will_not_change_deny_at_once_with_their_reason() {
    for (status, body, expected) in [
        (200, r#"{"success":"true"}"#, "the answer has a string in success, which must be true or false"),
        (200, r#"{"success":1}"#, "the answer has a number in success, which must be true or false"),
        (200, "{}", "the answer has no field \"success\""),
        (200, "[true]", "the answer is not a JSON object"),
        (200, "<html><body>Welcome</body></html>", "the answer is HTML or XML, not JSON"),
        (200, "", "the answer is empty"),
        (200, "{\"success\":tru", "the answer is JSON that ends too early (line 1 column 14)"),
        (200, "\u{feff}{\"success\":true}", "the answer is not valid JSON (line 1 column 1)"),
        // Only 200 is an answer, whatever the body says.
        (201, YES, "status 201 instead of 200"),
        (204, "", "status 204 instead of 200"),
        (400, YES, "status 400 instead of 200"),
        (401, YES, "status 401 instead of 200"),
        (404, YES, "status 404 instead of 200"),
        (301, YES, "the server redirects (status 301), which allowRedirects forbids"),
    ] {
        let server = Server::with(status, body).await;
        let verdict = webhook(&settings(&server.url())).password(&attempt(), PASSWORD).await;
        assert_eq!(reason(verdict), format!("authentication webhook: {expected}"));
        assert_eq!(server.seen().len(), 1, "{expected}");
    }
}

#[tokio::test]
async fn failures_that_may_pass_are_retried_until_there_is_an_answer() {
    let server = Server::start(|number, _| match number {
        0 => reply(500, YES),
        1 => reply(503, ""),
        2 => reply(429, ""),
        // The connection breaks in the middle of the answer.
        3 => {
            reply(200, Body::from_stream(stream::iter([Ok("{\"succ"), Err(std::io::Error::other("broken"))])))
        }
        _ => reply(200, YES),
    })
    .await;
    let verdict = webhook(&settings(&server.url())).password(&attempt(), PASSWORD).await;
    assert!(matches!(verdict, Verdict::Accepted(_)), "{verdict:?}");
    let seen = server.seen();
    assert_eq!(seen.len(), 5);
    assert!(seen.windows(2).all(|pair| pair[0].body == pair[1].body), "every attempt asks the same");
}

#[tokio::test]
async fn retries_end_with_auth_timeout() {
    let server = Server::with(500, YES).await;
    let short = Settings { auth_timeout: Duration::from_millis(300), ..settings(&server.url()) };
    let verdict = webhook(&short).password(&attempt(), PASSWORD).await;
    assert_eq!(reason(verdict), "authentication webhook: status 500 instead of 200");
    assert!(server.seen().len() >= 2);
}

#[tokio::test]
async fn a_server_that_hangs_before_or_within_its_answer_denies_in_time() {
    for partial in [false, true] {
        let server = Server::start(move |_, _| {
            if partial {
                let endless = stream::iter([Ok::<_, std::io::Error>("{")]).chain(stream::pending());
                reply(200, Body::from_stream(endless))
            } else {
                Box::pin(std::future::pending())
            }
        })
        .await;
        let short = Settings {
            timeout: Duration::from_millis(100),
            auth_timeout: Duration::from_millis(350),
            ..settings(&server.url())
        };
        let started = Instant::now();
        let reason = reason(webhook(&short).password(&attempt(), PASSWORD).await);
        assert!(reason.starts_with("authentication webhook: no answer within "), "{reason}");
        // One that never answers would take for ever; a busy machine takes a while.
        assert!(started.elapsed() < Duration::from_secs(10));
        assert!(server.seen().len() >= 2, "each attempt has its own limit");
    }
}

#[tokio::test]
async fn a_huge_answer_is_cut_off_and_denies() {
    let sent = Arc::new(Mutex::new(0_u64));
    let counter = Arc::clone(&sent);
    let server = Server::start(move |_, _| {
        let counter = Arc::clone(&counter);
        let block = axum::body::Bytes::from(vec![b' '; 64 * 1024]);
        // 100 MB without a length in front.
        reply(
            200,
            Body::from_stream(stream::iter(0..1600).map(move |_| {
                *counter.lock().unwrap() += block.len() as u64;
                Ok::<_, std::io::Error>(block.clone())
            })),
        )
    })
    .await;
    let verdict = webhook(&settings(&server.url())).password(&attempt(), PASSWORD).await;
    assert_eq!(reason(verdict), "authentication webhook: the answer is larger than 1048576 bytes");
    assert!(*sent.lock().unwrap() < 50_000_000, "it was read to the end");

    // With a length in front nothing of it is read.
    let server = Server::start(|_, _| reply(200, vec![b' '; 2 * 1024 * 1024])).await;
    let verdict = webhook(&settings(&server.url())).password(&attempt(), PASSWORD).await;
    assert_eq!(reason(verdict), "authentication webhook: the answer is larger than 1048576 bytes");
}

#[tokio::test]
async fn a_port_without_a_server_or_with_another_protocol_denies() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await;
        }
    });
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (address, expected) in [(address, "client error"), (closed, "refused")] {
        let short =
            Settings { auth_timeout: Duration::from_millis(500), ..settings(&format!("http://{address}")) };
        let short = Settings { timeout: Duration::from_millis(500), ..short };
        let reason = reason(webhook(&short).password(&attempt(), PASSWORD).await).to_lowercase();
        assert!(reason.contains(expected) || reason.contains("invalid http"), "{reason}");
    }
}

#[tokio::test]
async fn redirects_are_followed_only_when_allowed() {
    let server = Server::start(|_, path| match path {
        "/moved" => reply(200, YES),
        _ => Box::pin(async {
            (axum::http::StatusCode::TEMPORARY_REDIRECT, [("location", "/moved")]).into_response()
        }),
    })
    .await;
    let verdict = webhook(&settings(&server.url())).password(&attempt(), PASSWORD).await;
    assert!(reason(verdict).contains("allowRedirects"));
    assert_eq!(server.seen().len(), 1);

    let allowed = Settings { allow_redirects: true, ..settings(&server.url()) };
    let verdict = webhook(&allowed).password(&attempt(), PASSWORD).await;
    assert!(matches!(verdict, Verdict::Accepted(_)), "{verdict:?}");
    let seen = server.seen();
    assert_eq!(seen.last().unwrap().path, "/moved");
    assert_eq!(seen.last().unwrap().body, seen[1].body);
}

#[tokio::test]
async fn a_redirect_in_a_circle_denies() {
    let server = Server::start(|_, _| {
        Box::pin(async {
            (axum::http::StatusCode::TEMPORARY_REDIRECT, [("location", "/password")]).into_response()
        })
    })
    .await;
    let allowed = Settings { allow_redirects: true, ..settings(&server.url()) };
    let verdict = webhook(&allowed).password(&attempt(), PASSWORD).await;
    assert!(reason(verdict).contains("too many redirects"));
}

#[tokio::test]
async fn only_configured_methods_are_offered_and_others_are_rejected() {
    let server = Server::with(200, YES).await;
    let hook = |method| PasswordAuth { method, webhook: settings(&server.url()) };
    let none = Auth::default();
    let password = Auth { password: hook(AuthMethod::Webhook), ..Auth::default() };
    let key = Auth {
        public_key: PublicKeyAuth {
            method: AuthMethod::Webhook,
            webhook: settings(&server.url()),
            ..PublicKeyAuth::default()
        },
        ..Auth::default()
    };
    for (config, methods) in [
        (none, Methods::default()),
        (password, Methods { password: true, ..Methods::default() }),
        (key, Methods { public_key: true, ..Methods::default() }),
    ] {
        let authenticator = authenticator(&config, &Metrics::default()).unwrap();
        assert_eq!(authenticator.methods(), methods);
        let by_password = authenticator.password(&attempt(), PASSWORD).await;
        assert_eq!(matches!(by_password, Verdict::Accepted(_)), methods.password, "{by_password:?}");
        let by_key = authenticator.public_key(&attempt(), "ssh-ed25519 AAAA").await;
        assert_eq!(matches!(by_key, Verdict::Accepted(_)), methods.public_key, "{by_key:?}");
    }
}

#[tokio::test]
async fn authorization_has_the_last_word_and_adds_to_what_is_known() {
    let server = Server::start(|_, path| match path {
        "/password" => reply(200, YES),
        _ => reply(
            200,
            r#"{"success":true,"metadata":{"ROLE":{"value":"dev"}},"environment":{"A":{"value":"b"}}}"#,
        ),
    })
    .await;
    let config = Auth {
        password: PasswordAuth { method: AuthMethod::Webhook, webhook: settings(&server.url()) },
        authz: AuthzAuth { method: AuthMethod::Webhook, webhook: settings(&server.url()) },
        ..Auth::default()
    };
    let authenticator = authenticator(&config, &Metrics::default()).unwrap();
    let Verdict::Accepted(identity) = authenticator.password(&attempt(), PASSWORD).await else {
        panic!("rejected")
    };
    let Verdict::Accepted(identity) = authenticator.authorize(&attempt(), *identity).await else {
        panic!("rejected")
    };
    assert_eq!(identity.authenticated_username, "alice@example.net");
    assert_eq!(identity.metadata.keys().collect::<Vec<_>>(), ["ROLE", "TEAM"]);
    assert_eq!(identity.environment["A"].value, "b");
    let body = String::from_utf8(server.seen()[1].body.to_vec()).unwrap();
    assert_eq!(server.seen()[1].path, "/authz");
    assert!(
        body.ends_with("\"username\":\"alice\",\"authenticatedUsername\":\"alice@example.net\"}\n"),
        "{body}"
    );
    assert!(!body.contains("TEAM"), "sensitive metadata was sent on: {body}");
}

#[tokio::test]
async fn without_a_clear_yes_of_authorization_nobody_gets_in() {
    for (status, answer) in [(200, r#"{"success":false}"#), (200, "<html>"), (404, ""), (200, "{}")] {
        let server = Server::with(status, answer).await;
        let config = Auth {
            authz: AuthzAuth { method: AuthMethod::Webhook, webhook: settings(&server.url()) },
            ..Auth::default()
        };
        let verdict = authenticator(&config, &Metrics::default())
            .unwrap()
            .authorize(&attempt(), Identity::default())
            .await;
        assert!(!matches!(verdict, Verdict::Accepted(_)), "{answer}");
    }
}

#[tokio::test]
async fn the_configuration_server_is_asked_at_its_very_url_and_understood() {
    let server =
        Server::with(200, r#"{"config":{"security":{"maxSessions":1}},"files":{"/f":{"value":"aGk="}}}"#)
            .await;
    let mut settings = ConfigSettings { url: format!("{}/c/", server.url()), ..ConfigSettings::default() };
    let ask = async |settings: &ConfigSettings, identity: &Identity| {
        ConfigServer::new(settings).unwrap().ask(&attempt(), identity).await.unwrap()
    };
    let mut identity = Identity { authenticated_username: "a".into(), ..Identity::default() };
    identity.metadata.insert("TOKEN".into(), MetadataValue { value: "t".into(), sensitive: true });
    let configured = ask(&settings, &identity).await;
    assert_eq!(configured.config["security"]["maxSessions"], 1);
    assert_eq!(configured.files["/f"].content, "hi");
    settings.transmit_sensitive_metadata = true;
    ask(&settings, &identity).await;
    let seen = server.seen();
    assert_eq!(seen[0].path, "/c/");
    assert!(!String::from_utf8_lossy(&seen[0].body).contains("TOKEN"));
    assert!(String::from_utf8_lossy(&seen[1].body).contains("TOKEN"));
}

#[tokio::test]
async fn a_server_without_answers_is_no_longer_waited_for_until_it_answers_again() {
    let up = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let there = Arc::clone(&up);
    let server = Server::start(move |_, _| match there.load(std::sync::atomic::Ordering::SeqCst) {
        true => reply(200, YES),
        false => reply(503, ""),
    })
    .await;
    // Each is long for a server on this machine, however busy.
    let breaker = CircuitBreaker { failures: 2, open_for: Duration::from_secs(3) };
    let short = Settings {
        auth_timeout: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        circuit_breaker: breaker,
        ..settings(&server.url())
    };
    let mut registry = prometheus_client::registry::Registry::default();
    let metrics = Metrics::register(&mut registry);
    let counted = || {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    };
    let hook = webhook(&short).with_metrics(&metrics);
    for _ in 0..2 {
        assert!(reason(hook.password(&attempt(), PASSWORD).await).contains("status 503"));
    }
    let asked = server.seen().len();
    let denial = reason(hook.password(&attempt(), PASSWORD).await);
    assert!(denial.contains("not asked, since it has given no answers"), "{denial}");
    assert_eq!(server.seen().len(), asked, "it was asked all the same");
    assert_eq!(metrics.without_answers(), ["password"]);
    let text = counted();
    for line in [
        "containerssh_webhook_circuit_open{webhook=\"password\"} 1",
        "containerssh_webhook_circuit_denied_total{webhook=\"password\"} 1",
        "containerssh_auth_server_requests_total{authtype=\"password\",retry=\"0\"} 2",
        "containerssh_auth_server_failures_total{type=\"hard\",authtype=\"password\",",
        "reason=\"AUTH_INVALID_STATUS\"}",
    ] {
        assert!(text.contains(line), "{line} is missing:\n{text}");
    }
    // The server comes back; the next question after the pause finds it so.
    up.store(true, std::sync::atomic::Ordering::SeqCst);
    let verdict = loop {
        match hook.password(&attempt(), PASSWORD).await {
            Verdict::Unavailable(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            verdict => break verdict,
        }
    };
    assert!(matches!(verdict, Verdict::Accepted(_)));
    assert!(counted().contains("containerssh_webhook_circuit_open{webhook=\"password\"} 0"));
    assert!(metrics.without_answers().is_empty());
}

#[tokio::test]
async fn wrong_answers_open_no_circuit() {
    let server = Server::start(|number, _| match number {
        0..10 => reply(404, ""),
        _ => reply(200, YES),
    })
    .await;
    let hook = webhook(&settings(&server.url()));
    for _ in 0..10 {
        assert!(reason(hook.password(&attempt(), PASSWORD).await).contains("status 404"));
    }
    assert!(matches!(hook.password(&attempt(), PASSWORD).await, Verdict::Accepted(_)));
}

/// Answers with `Cache-Control`.
fn fresh(control: &'static str, body: &'static str) -> common::Answer {
    Box::pin(async move { ([("cache-control", control)], body).into_response() })
}

#[tokio::test]
async fn an_answer_that_may_be_kept_is_asked_for_once_and_only_for_the_same_question() {
    let server = Server::start(|_, _| fresh("max-age=600", YES)).await;
    let hook = webhook(&settings(&server.url()));
    let first = hook.password(&attempt(), PASSWORD).await;
    let again = Attempt {
        connection_id: "f".repeat(32),
        remote_addr: "192.0.2.7:45761".parse().unwrap(),
        ..attempt()
    };
    assert_eq!(hook.password(&again, PASSWORD).await, first, "all that the answer brought");
    assert_eq!(server.seen().len(), 1);
    for (attempt, password) in [
        (attempt(), b"other".as_slice()),
        (Attempt { username: "bob".into(), ..attempt() }, PASSWORD),
        (Attempt { remote_addr: "192.0.2.8:45760".parse().unwrap(), ..attempt() }, PASSWORD),
        (Attempt { client_version: "SSH-2.0-Other".into(), ..attempt() }, PASSWORD),
    ] {
        let asked = server.seen().len();
        hook.password(&attempt, password).await;
        assert_eq!(server.seen().len(), asked + 1, "{attempt:?}");
    }
}

#[tokio::test]
async fn refusals_failures_and_answers_without_a_word_of_it_are_not_kept() {
    let refused = r#"{"success":false}"#;
    for (control, body) in
        [("max-age=600", refused), ("max-age=600", "{}"), ("private", YES), ("no-store", YES)]
    {
        let server = Server::start(move |_, _| fresh(control, body)).await;
        let hook = webhook(&settings(&server.url()));
        hook.password(&attempt(), PASSWORD).await;
        hook.password(&attempt(), PASSWORD).await;
        assert_eq!(server.seen().len(), 2, "{control}: {body}");
    }
    let server = Server::start(|_, _| {
        Box::pin(async {
            (axum::http::StatusCode::NOT_FOUND, [("cache-control", "max-age=600")], YES).into_response()
        })
    })
    .await;
    let hook = webhook(&settings(&server.url()));
    for _ in 0..2 {
        assert!(reason(hook.password(&attempt(), PASSWORD).await).contains("404"));
    }
    assert_eq!(server.seen().len(), 2);
}
