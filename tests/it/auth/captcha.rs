//! Captchas, with a provider of the test's own.

use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::support::{App, PASSWORD, Reply, service_token};
use crate::hooks::receiver::{Call, Receiver};

async fn app(url: &str, more: &[(&'static str, &'static str)]) -> App {
    let url: &'static str = Box::leak(url.to_owned().into_boxed_str());
    let mut settings = vec![
        ("auth.captcha_provider", "turnstile"),
        ("auth.captcha_secret", "the site's secret & more"),
        ("auth.captcha_verify_url", url),
        ("auth.anonymous_enabled", "true"),
        ("outbound.allow", "127.0.0.0/8"),
    ];
    settings.extend(more);
    App::with_settings(&settings).await
}

/// A provider that says this of every solution.
async fn provider(verdict: Value) -> Receiver {
    Receiver::start(move |_| verdict.to_string()).await
}

fn form(call: &Call) -> Vec<(String, String)> {
    url::form_urlencoded::parse(&call.body)
        .into_owned()
        .collect()
}

fn solved(mut body: Value) -> Value {
    body["gotrue_meta_security"] = json!({"captcha_token": "a=solution&x"});
    body
}

async fn sign_up(app: &App, body: Value) -> Reply {
    app.post("/signup", body).await
}

fn account() -> Value {
    json!({"email": "ana@example.com", "password": PASSWORD})
}

#[tokio::test]
async fn a_solved_captcha_lets_a_request_pass() {
    let provider = provider(json!({"success": true, "hostname": "app.example"})).await;
    let app = app(&provider.url, &[]).await;
    let call = app.request("POST", "/signup").from("203.0.113.5");
    call.json(solved(account())).send().await.ok();
    let calls = provider.calls();
    assert_eq!(
        calls[0].header("content-type"),
        "application/x-www-form-urlencoded"
    );
    let expected = [
        ("secret", "the site's secret & more"),
        ("response", "a=solution&x"),
        ("remoteip", "203.0.113.5"),
    ];
    assert_eq!(
        form(&calls[0]),
        expected.map(|(a, b)| (a.to_owned(), b.to_owned()))
    );
}

/// Remove the layer in `routes::router`, and all of these pass.
#[tokio::test]
async fn without_a_captcha_nothing_is_made_sent_or_tried() {
    let provider = provider(json!({"success": true})).await;
    let app = app(&provider.url, &[]).await;
    app.post("/signup", solved(account())).await.ok();
    let asked = provider.calls().len();
    for (path, body) in [
        ("/signup", account()),
        ("/signup", json!({})),
        ("/token?grant_type=password", account()),
        ("/token", account()),
        ("/token?grant_type=", account()),
        (
            "/token?grant_type=refresh_token&grant_type=password",
            account(),
        ),
        ("/token?grant_type=pass%77ord", account()),
        ("/otp", json!({"email": "ana@example.com"})),
        ("/magiclink", json!({"email": "ana@example.com"})),
        ("/recover", json!({"email": "ana@example.com"})),
        (
            "/resend",
            json!({"type": "signup", "email": "ana@example.com"}),
        ),
        ("/passkeys/authentication/options", json!({})),
        ("/signup", json!({"gotrue_meta_security": {}})),
        (
            "/signup",
            json!({"gotrue_meta_security": {"captcha_token": " "}}),
        ),
        (
            "/signup",
            json!({"gotrue_meta_security": {"captcha_token": "x".repeat(10_000)}}),
        ),
        ("/signup", json!({"gotrue_meta_security": "x"})),
    ] {
        let reply = app.post(path, body.clone()).await;
        // What is not served yet needs no captcha.
        if reply.status != StatusCode::NOT_FOUND {
            reply.refused(400, "captcha_failed");
        }
    }
    let broken = app
        .request("POST", "/signup")
        .body("application/json", b"{".to_vec());
    broken.send().await.refused(400, "captcha_failed");
    assert_eq!(provider.calls().len(), asked);
    assert_eq!(app.value("select count(*) from auth.users").await, "1");
}

#[tokio::test]
async fn what_cannot_be_guessed_and_the_service_key_need_no_captcha() {
    let provider = provider(json!({"success": true})).await;
    let app = app(&provider.url, &[]).await;
    let call = app.request("POST", "/signup").bearer(&service_token());
    let session = call.json(account()).send().await.ok();
    let refreshed = app.refresh(session.refresh_token()).await.ok();
    app.get_user(refreshed.access_token()).await.ok();
    let body = json!({"refresh_token": refreshed.refresh_token()});
    app.post("/refresh", body).await.ok();
    app.request("GET", "/settings").send().await.ok();
    assert!(provider.calls().is_empty());
    // Codes are counted, and no client has a captcha where one is typed.
    for (path, body) in [
        (
            "/verify",
            json!({"type": "email", "email": "ana@example.com", "token": "123456"}),
        ),
        (
            "/otp/verify",
            json!({"email": "ana@example.com", "token": "123456"}),
        ),
        (
            "/recover/verify",
            json!({"email": "ana@example.com", "token": "123456", "password": PASSWORD}),
        ),
    ] {
        app.post(path, body).await.refused(403, "otp_expired");
    }
    assert!(provider.calls().is_empty());
    // A user's own token is no service key.
    let call = app
        .request("POST", "/signup")
        .bearer(session.access_token());
    call.json(json!({}))
        .send()
        .await
        .refused(400, "captcha_failed");
}

#[tokio::test]
async fn an_unsolved_captcha_and_one_of_another_site_are_refused() {
    let hosts = ("auth.captcha_hostnames", "app.example,www.app.example");
    for (verdict, more, ok) in [
        (
            json!({"success": false, "error-codes": ["timeout-or-duplicate"]}),
            vec![],
            false,
        ),
        (json!({"success": "true"}), vec![], false),
        (json!({}), vec![], false),
        (
            json!({"success": true, "hostname": "App.example"}),
            vec![hosts],
            true,
        ),
        (
            json!({"success": true, "hostname": "evil.example"}),
            vec![hosts],
            false,
        ),
        (json!({"success": true}), vec![hosts], false),
    ] {
        let provider = provider(verdict.clone()).await;
        let app = app(&provider.url, &more).await;
        let reply = sign_up(&app, solved(account())).await;
        assert_eq!(
            reply.status == StatusCode::OK,
            ok,
            "{verdict} {}",
            reply.body
        );
    }
}

#[tokio::test]
async fn nobody_passes_while_nobody_can_tell() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let broken = Receiver::start(|_| StatusCode::BAD_GATEWAY.into_response()).await;
    let silent = Receiver::start(|_| "no JSON: secret word").await;
    for url in [gone, broken.url, silent.url] {
        let app = app(&url, &[]).await;
        let reply = sign_up(&app, solved(account())).await;
        reply.refused(503, "service_unavailable");
        assert!(!reply.body.to_string().contains("secret word"));
    }
}
