//! Where browsers come back to from an identity provider.

use axum::Router;
use axum::extract::RawQuery;
use axum::response::IntoResponse;

/// Shows codes, on any path. Nothing on the page runs, nobody keeps it, and nobody is told where it was.
pub fn redirect_router() -> Router {
    let headers = [
        ("content-type", "text/html; charset=utf-8"),
        ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
    ];
    Router::new().fallback(move |RawQuery(query): RawQuery| async move {
        (headers, containerssh_auth::oauth2::page(&query.unwrap_or_default())).into_response()
    })
}
