//! Rules for passwords, and leaked ones.

use std::time::Instant;

use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde_json::json;
use tokio::net::TcpListener;

use super::support::{App, PASSWORD};
use crate::hooks::receiver::Receiver;

/// SHA-1 of `correct horse battery`, as `printf '%s' 'correct horse battery' | sha1sum` tells it.
const HASH: &str = "98DECC62ECE399A22ED30D490EF333BE7FDE7385";

async fn app_with(url: &str, more: &[(&'static str, &'static str)]) -> App {
    let url: &'static str = Box::leak(url.to_owned().into_boxed_str());
    let mut settings = vec![
        ("auth.password_hibp_enabled", "true"),
        ("auth.password_hibp_url", url),
        ("outbound.allow", "127.0.0.0/8"),
    ];
    settings.extend(more);
    App::with_settings(&settings).await
}

/// Answers with the password's suffix among others.
async fn ranges(count: u32) -> Receiver {
    Receiver::start(move |_| {
        let suffix = &HASH[5..];
        format!("0018A45C4D1DEF81644B54AB7F969B88D65:3\r\n{suffix}:{count}\r\n")
    })
    .await
}

#[tokio::test]
async fn a_password_lacks_length_and_characters() {
    let app = App::with_settings(&[
        ("auth.password_min_length", "8"),
        (
            "auth.password_required_characters",
            "lower_upper_letters_digits",
        ),
    ])
    .await;
    let body = json!({"email": "ana@example.com", "password": "short"});
    let weak = app.post("/signup", body).await;
    weak.refused(422, "weak_password");
    assert_eq!(
        weak.body["weak_password"],
        json!({"reasons": ["length", "characters"]})
    );
    assert_eq!(
        weak.text("/message"),
        "Password should be at least 8 characters. Password should contain at least one character of each: \
         abcdefghijklmnopqrstuvwxyz, ABCDEFGHIJKLMNOPQRSTUVWXYZ, 0123456789."
    );
    let body = json!({"email": "ana@example.com", "password": "Long enough 1"});
    let session = app.post("/signup", body).await.ok();
    let change = app
        .put_user(
            session.access_token(),
            json!({"password": "no digits At all"}),
        )
        .await;
    change.refused(422, "weak_password");
    let by_admin = json!({"email": "ben@example.com", "password": "no digits At all"});
    app.admin("POST", "", by_admin)
        .await
        .refused(422, "weak_password");
}

#[tokio::test]
async fn a_password_is_too_easy_for_who_knows_the_user() {
    let app = App::with_settings(&[("auth.password_min_strength", "3")]).await;
    let sign_up = async |email: &str, name: &str, password: &str| {
        let body = json!({"email": email, "password": password, "data": {"name": name}});
        app.post("/signup", body).await
    };
    for (email, name, password) in [
        ("ana@example.com", "", "password1"),
        ("rumpelstiltskin77@example.com", "", "rumpelstiltskin77"),
        (
            "ana@example.com",
            "Ana Rumpelstiltskin77",
            "Rumpelstiltskin77",
        ),
    ] {
        let weak = sign_up(email, name, password).await;
        weak.refused(422, "weak_password");
        assert_eq!(weak.body["weak_password"]["reasons"], json!(["pwned"]));
    }
    sign_up("ana@example.com", "Ana", PASSWORD).await.ok();
}

#[tokio::test]
async fn rules_that_are_new_keep_nobody_out() {
    let app = App::new().await;
    app.sign_up("ana@example.com").await.ok();
    let fine = app.sign_in("ana@example.com", PASSWORD).await.ok();
    assert!(fine.body.get("weak_password").is_none());
    let mut config = (*app.config.current()).clone();
    config.auth.password_min_length = 50;
    app.config.replace(config);
    let session = app.sign_in("ana@example.com", PASSWORD).await.ok();
    assert_eq!(
        session.body["weak_password"],
        json!({"reasons": ["length"], "message": "Password should be at least 50 characters."})
    );
    let refreshed = app.refresh(session.refresh_token()).await.ok();
    assert!(refreshed.body.get("weak_password").is_none());
}

#[tokio::test]
async fn a_password_that_has_leaked_is_refused_and_five_digits_are_all_that_is_told() {
    let receiver = ranges(7).await;
    let base = receiver.url.clone();
    let app = app_with(&base, &[]).await;
    let weak = app.sign_up("ana@example.com").await;
    weak.refused(422, "weak_password");
    assert_eq!(weak.body["weak_password"]["reasons"], json!(["pwned"]));
    let calls = receiver.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].header("add-padding"), "true");
    assert_eq!(calls[0].path, format!("/hook/{}", &HASH[..5]));
    assert!(calls[0].body.is_empty());
    let body = json!({"email": "ana@example.com", "password": "another one altogether"});
    app.post("/signup", body).await.ok();
    // Padding, which means nothing.
    let receiver = ranges(0).await;
    app_with(&receiver.url, &[])
        .await
        .sign_up("ana@example.com")
        .await
        .ok();
}

#[tokio::test]
async fn when_nobody_tells_of_leaks_a_setting_decides() {
    let closed = ("auth.password_hibp_fail_closed", "true");
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = format!("http://{}/", silent.local_addr().unwrap());
    let broken = Receiver::start(|_| StatusCode::BAD_GATEWAY.into_response()).await;
    for url in [silent.as_str(), broken.url.as_str()] {
        let started = Instant::now();
        app_with(url, &[])
            .await
            .sign_up("ana@example.com")
            .await
            .ok();
        let refused = app_with(url, &[closed])
            .await
            .sign_up("ana@example.com")
            .await;
        refused.refused(503, "service_unavailable");
        assert_eq!(refused.header("retry-after"), "1");
        assert!(
            started.elapsed().as_secs() < 8,
            "a second each, and two databases"
        );
    }
}

/// Attack 44. Remove the limit of length in `check`, and the password is hashed.
#[tokio::test]
async fn a_huge_password_costs_nothing() {
    let app = App::with_settings(&[("auth.password_min_strength", "4")]).await;
    let huge = "aB3$xY".repeat(150_000);
    let before = app.password_hashes();
    let started = Instant::now();
    let body = json!({"email": "ana@example.com", "password": huge});
    app.post("/signup", body)
        .await
        .refused(400, "validation_failed");
    let wrong = app.sign_in("ana@example.com", &huge).await;
    wrong.refused(400, "invalid_credentials");
    assert_eq!(app.password_hashes(), before);
    assert!(started.elapsed().as_secs() < 2);
}
