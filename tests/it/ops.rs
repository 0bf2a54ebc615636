//! What every request passes: ids, headers, limits, CORS, health, metrics.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::json;

use crate::support::TestApp;

fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let request = headers.iter().fold(
        Request::builder().method(method).uri(path),
        |r, (name, value)| r.header(*name, *value),
    );
    request.body(Body::empty()).unwrap()
}

#[tokio::test]
async fn liveness_asks_nothing_and_readiness_names_what_fails() {
    let app = TestApp::new().await;
    let live = app.get("/livez", None).await;
    assert_eq!(
        (live.status, live.json()),
        (StatusCode::OK, json!({ "status": "ok" }))
    );
    let ready = app.get("/readyz", None).await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    let checks = &ready.json()["checks"];
    assert_eq!(
        (
            &checks["database"]["status"],
            &checks["postgrest"]["status"]
        ),
        (&json!("ok"), &json!("fail"))
    );
    let health = app.get("/health", None).await;
    assert_eq!(
        (health.status, &health.json()["status"]),
        (StatusCode::OK, &json!("degraded"))
    );
}

/// Fails when a header is left out of `security_headers`, and when an id is taken over as it was sent.
#[tokio::test]
async fn every_answer_has_an_id_and_the_security_headers() {
    let app = TestApp::new().await;
    let reply = app
        .send(request(
            "GET",
            "/nowhere",
            &[("x-request-id", "abcdefgh-1234")],
        ))
        .await;
    assert_eq!(
        (reply.status, reply.json()["code"].clone()),
        (StatusCode::NOT_FOUND, json!("not_found"))
    );
    assert_eq!(reply.headers["x-request-id"], "abcdefgh-1234");
    assert_eq!(reply.headers["x-content-type-options"], "nosniff");
    assert_eq!(reply.headers["x-frame-options"], "DENY");
    assert!(
        reply.headers["content-security-policy"]
            .to_str()
            .unwrap()
            .contains("frame-ancestors 'none'")
    );
    let forged = app
        .send(request("GET", "/livez", &[("x-request-id", "a b\"c{}")]))
        .await;
    assert_ne!(forged.headers["x-request-id"], "a b\"c{}");
}

#[tokio::test]
async fn a_wrong_method_is_405_and_says_so() {
    let reply = TestApp::new()
        .await
        .send(request("DELETE", "/livez", &[]))
        .await;
    assert_eq!(
        (reply.status, reply.json()["code"].clone()),
        (StatusCode::METHOD_NOT_ALLOWED, json!("method_not_allowed"))
    );
}

#[tokio::test]
async fn browsers_may_read_the_headers_clients_need() {
    let app = TestApp::new().await;
    let headers = [
        ("origin", "https://app.example.com"),
        ("access-control-request-method", "PATCH"),
        (
            "access-control-request-headers",
            "apikey,authorization,prefer,x-client-info",
        ),
    ];
    let preflight = app
        .send(request("OPTIONS", "/auth/v1/user", &headers))
        .await;
    assert_eq!(preflight.headers["access-control-allow-origin"], "*");
    assert!(
        preflight.headers["access-control-allow-headers"]
            .to_str()
            .unwrap()
            .contains("prefer")
    );
    let answer = app.send(request("GET", "/livez", &headers[..1])).await;
    let exposed = answer.headers["access-control-expose-headers"]
        .to_str()
        .unwrap()
        .to_lowercase();
    for name in [
        "content-range",
        "x-total-count",
        "link",
        "x-supabase-api-version",
        "location",
    ] {
        assert!(exposed.contains(name), "{name} is not in {exposed}");
    }
    assert!(
        !answer
            .headers
            .contains_key("access-control-allow-credentials")
    );
}

#[tokio::test]
async fn listed_origins_only_when_there_is_a_list() {
    let app = TestApp::with(&[("server.cors_origins", "https://app.example.com")]).await;
    let allowed = app
        .send(request(
            "GET",
            "/livez",
            &[("origin", "https://app.example.com")],
        ))
        .await;
    assert_eq!(
        allowed.headers["access-control-allow-origin"],
        "https://app.example.com"
    );
    let other = app
        .send(request(
            "GET",
            "/livez",
            &[("origin", "https://evil.example")],
        ))
        .await;
    assert!(
        other
            .headers
            .get("access-control-allow-origin")
            .is_none_or(|origin| origin != "https://evil.example")
    );
}

#[tokio::test]
async fn metrics_count_requests_by_route_and_need_their_token_when_there_is_one() {
    let app = TestApp::with(&[("server.metrics_token", "let me in")]).await;
    app.get("/livez", None).await;
    assert_eq!(
        app.get("/metrics", None).await.status,
        StatusCode::UNAUTHORIZED
    );
    let text = app.get("/metrics", Some("let me in")).await.text();
    assert!(
        text.contains(r#"sb_http_requests_total{method="GET",route="/livez",status="200"} 1"#),
        "{text}"
    );
    for line in [
        "sb_db_pool_open{pool=\"auth\"} ",
        "sb_db_pool_waiting{pool=\"callers\"} 0",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
}

#[tokio::test]
async fn metrics_without_a_token_are_not_for_clients_of_a_local_proxy() {
    let app = TestApp::new().await;
    assert_eq!(app.get("/metrics", None).await.status, StatusCode::OK);
    for name in ["x-forwarded-for", "forwarded", "x-real-ip", "via"] {
        let request = Request::get("/metrics").header(name, "203.0.113.9");
        let reply = app.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{name}");
    }
}

#[tokio::test]
async fn the_public_keys_are_served_at_both_addresses() {
    let app = TestApp::new().await;
    for path in ["/.well-known/jwks.json", "/auth/v1/.well-known/jwks.json"] {
        let reply = app.get(path, None).await;
        assert_eq!(reply.status, StatusCode::OK, "{path}");
        let key = &reply.json()["keys"][0];
        assert_eq!((&key["alg"], &key["use"]), (&json!("ES256"), &json!("sig")));
        assert!(key.get("d").is_none(), "{key}");
    }
}
