//! The server that the tests' gateways call: ContainerSSH's webhooks, with users that misbehave on purpose, and a receiver of
//! events, `POST /events`, which gives back what it got, `GET /events`.
//!
//! | User | Answer |
//! |---|---|
//! | `alice` | password `alice's secret`, as `alice@example.org` |
//! | `clerk` | password `clerk's secret`, under the name that they said |
//! | `keyholder` | any public key |
//! | `slow` | none for ten minutes |
//! | `broken` | status 500 |
//! | `rubbish` | a page of HTML with status 200 |
//! | `almost` | `"success": "true"`, which is a string and not a grant |
//! | `huge` | a body that never ends |
//! | anybody else | `success: false` |
//!
//! Authorization (`/authz`) is for everybody but `barred`. The configuration server (`/config`) has settings for
//! `confined` (a forced command), `forwarder` (agent forwarding), `escapee` (programs beside the gateway itself); none for others.
#![allow(clippy::indexing_slicing, reason = "it is all tests; JSON that lacks a field gives null")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let address: SocketAddr = std::env::var("LISTEN").unwrap_or_else(|_| "0.0.0.0:8080".into()).parse()?;
    let listener = tokio::net::TcpListener::bind(address).await?;
    let events = Router::new().route("/events", get(received).post(receive)).with_state(Events::default());
    axum::serve(listener, Router::new().route("/{hook}", post(answer)).merge(events)).await?;
    Ok(())
}

/// What was received, in order.
type Events = Arc<Mutex<Vec<Value>>>;

async fn receive(State(events): State<Events>, Json(batch): Json<Vec<Value>>) {
    events.lock().unwrap_or_else(PoisonError::into_inner).extend(batch);
}

async fn received(State(events): State<Events>) -> Json<Vec<Value>> {
    Json(events.lock().unwrap_or_else(PoisonError::into_inner).clone())
}

async fn answer(Path(hook): Path<String>, body: Bytes) -> Response {
    let Ok(request) = serde_json::from_slice::<Value>(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    match (hook.as_str(), request["username"].as_str().unwrap_or_default()) {
        (_, "slow") => {
            tokio::time::timeout(Duration::from_secs(600), std::future::pending::<()>()).await.ok();
            StatusCode::OK.into_response()
        }
        (_, "broken") => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        (_, "rubbish") => "<html><body>It works!</body></html>".into_response(),
        (_, "almost") => Json(json!({"success": "true"})).into_response(),
        (_, "huge") => {
            let chunks =
                futures::stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[b' '; 65536])));
            Body::from_stream(chunks).into_response()
        }
        ("password", "alice") => {
            // base64 of "alice's secret"
            let right = request["passwordBase64"] == "YWxpY2UncyBzZWNyZXQ=";
            Json(json!({
                "success": right,
                "authenticatedUsername": "alice@example.org",
                "environment": {"FROM_WEBHOOK": {"value": "it's \"quoted\" $HOME", "sensitive": false}},
                "files": {"/tmp/from/webhook": {"value": "aGVsbG8K", "sensitive": false}},
            }))
            .into_response()
        }
        // base64 of "clerk's secret"
        ("password", "clerk") => {
            Json(json!({"success": request["passwordBase64"] == "Y2xlcmsncyBzZWNyZXQ="})).into_response()
        }
        ("pubkey", "keyholder") => Json(json!({
            "success": request["publicKey"].as_str().is_some_and(|key| key.starts_with("ssh-ed25519 ")),
            "authenticatedUsername": "keyholder",
        }))
        .into_response(),
        ("authz", user) => {
            Json(json!({"success": user != "barred", "authenticatedUsername": user})).into_response()
        }
        ("config", user) => {
            let config = match user {
                "confined" => json!({"security": {"forceCommand": "echo confined"}}),
                "forwarder" => json!({"security": {"forwarding": {"agentForwardingMode": "enable"}}}),
                "escapee" => json!({"backend": "local"}),
                _ => json!({}),
            };
            Json(json!({"config": config})).into_response()
        }
        _ => Json(json!({"success": false})).into_response(),
    }
}
