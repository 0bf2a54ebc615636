//! Synchronous hooks whose target is an address.

use std::time::Instant;

use aws_lc_rs::hmac;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::response::IntoResponse;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::support::{App, Reply, claims};
use crate::hooks::receiver::{Call, Receiver};

const OLD: &str = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEW: &str = "c2VjcmV0IG51bWJlciB0d28sIDMyIGJ5dGVzIGxvbmc=";
const SECRETS: &str = "v1,whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw|v1,whsec_c2VjcmV0IG51bWJlciB0d28sIDMyIGJ5dGVzIGxvbmc=";

/// An app that asks `url` before an account is made; it may call the loopback.
async fn asking(url: &str) -> App {
    with(url, ("outbound.allow", "127.0.0.0/8")).await
}

async fn with(url: &str, setting: (&'static str, &'static str)) -> App {
    let url: &'static str = Box::leak(url.to_owned().into_boxed_str());
    App::with_settings(&[
        ("auth.hook.before_user_created.uri", url),
        ("auth.hook.before_user_created.secrets", SECRETS),
        setting,
    ])
    .await
}

async fn sign_up_asking(url: &str) -> Reply {
    asking(url).await.sign_up("ana@example.com").await
}

fn is_signed(call: &Call, key: &str) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode(key).unwrap());
    let (id, timestamp) = (call.header("webhook-id"), call.header("webhook-timestamp"));
    let signed = [format!("{id}.{timestamp}.").as_bytes(), &call.body].concat();
    call.header("webhook-signature")
        .split(' ')
        .any(|signature| {
            let signature = STANDARD.decode(signature.strip_prefix("v1,").unwrap());
            hmac::verify(&key, &signed, &signature.unwrap()).is_ok()
        })
}

fn json_answer(value: &Value) -> impl IntoResponse + use<> {
    (
        [(CONTENT_TYPE, "application/json; charset=utf-8")],
        value.to_string(),
    )
}

#[tokio::test]
async fn an_address_is_told_in_a_call_that_each_key_has_signed() {
    let receiver = Receiver::start(|_| json_answer(&json!({}))).await;
    sign_up_asking(&receiver.url).await.ok();
    let calls = receiver.calls();
    let [call] = calls.as_slice() else {
        panic!("{calls:?}");
    };
    assert!(is_signed(call, OLD) && is_signed(call, NEW));
    assert!(!is_signed(call, "AAAA"));
    let event = call.json();
    assert_eq!(event["user"]["email"], "ana@example.com");
    assert_eq!(event["metadata"]["uuid"], call.header("webhook-id"));
    assert_eq!(call.header("webhook-timestamp"), "1767268800");
    assert_eq!(call.header("content-type"), "application/json");
}

#[tokio::test]
async fn an_address_can_refuse_and_one_that_says_nothing_agrees() {
    let refusal = json!({"error": {"http_code": 403, "message": "Not you"}});
    let receiver = Receiver::start(move |_| json_answer(&refusal)).await;
    let reply = sign_up_asking(&receiver.url).await;
    reply.refused(403, "hook_rejected");
    assert_eq!(reply.text("/message"), "Not you");
    let receiver = Receiver::start(|_| StatusCode::NO_CONTENT).await;
    sign_up_asking(&receiver.url).await.ok();
}

#[tokio::test]
async fn an_address_gives_claims() {
    let claims_of = |call: &Call| call.json()["claims"].clone();
    let receiver = Receiver::start(|_| json_answer(&json!({"claims": {"plan": "pro"}}))).await;
    let url: &'static str = Box::leak(receiver.url.clone().into_boxed_str());
    let app = App::with_settings(&[
        ("auth.hook.custom_access_token.uri", url),
        ("auth.hook.custom_access_token.secrets", SECRETS),
        ("outbound.allow", "127.0.0.0/8"),
    ])
    .await;
    let session = app.sign_up("ana@example.com").await.ok();
    let issued = claims(session.access_token());
    assert_eq!(issued["plan"], "pro");
    let told = claims_of(&receiver.calls()[0]);
    assert_eq!(told["sub"], issued["sub"]);
    assert_eq!(told["email"], "ana@example.com");
}

/// A receiver that is busy is asked again only when it says so, under the same id.
#[tokio::test]
async fn a_busy_address_is_asked_again_when_it_says_so() {
    for status in [
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::SERVICE_UNAVAILABLE,
    ] {
        let receiver = Receiver::start(move |number| {
            if number < 3 {
                (status, [(RETRY_AFTER, "0")]).into_response()
            } else {
                json_answer(&json!({})).into_response()
            }
        })
        .await;
        sign_up_asking(&receiver.url).await.ok();
        let calls = receiver.calls();
        assert_eq!(calls.len(), 3);
        assert_eq!(calls[0].header("webhook-id"), calls[2].header("webhook-id"));
        let receiver = Receiver::start(move |_| status).await;
        sign_up_asking(&receiver.url)
            .await
            .refused(500, "unexpected_failure");
        assert_eq!(receiver.calls().len(), 1);
        // Longer than anybody waits.
        let receiver = Receiver::start(move |_| (status, [(RETRY_AFTER, "60")])).await;
        sign_up_asking(&receiver.url)
            .await
            .refused(500, "unexpected_failure");
        assert_eq!(receiver.calls().len(), 1);
    }
    let receiver =
        Receiver::start(|_| (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "0")])).await;
    sign_up_asking(&receiver.url)
        .await
        .refused(500, "unexpected_failure");
    assert_eq!(receiver.calls().len(), 3);
}

/// Fails when the answer of a hook is repeated to the client, or read without a limit.
#[tokio::test]
async fn other_answers_than_small_json_are_refused_without_repeating_them() {
    let large = json!({"a": "x".repeat(200 * 1024)}).to_string();
    let cases: Vec<(&str, u16, &str, String, u16, &str)> = vec![
        (
            "text/html",
            200,
            "secret word",
            String::new(),
            422,
            "hook_payload_invalid_content_type",
        ),
        (
            "application/json",
            200,
            "secret word",
            String::new(),
            500,
            "unexpected_failure",
        ),
        (
            "application/json",
            200,
            "",
            large,
            422,
            "hook_payload_over_size_limit",
        ),
        (
            "application/json",
            500,
            "secret word",
            String::new(),
            500,
            "unexpected_failure",
        ),
        (
            "application/json",
            302,
            "secret word",
            String::new(),
            500,
            "unexpected_failure",
        ),
    ];
    for (kind, status, text, more, expected, code) in cases {
        let body = format!("{text}{more}");
        let receiver = Receiver::start(move |_| {
            (
                StatusCode::from_u16(status).unwrap(),
                [(CONTENT_TYPE, kind)],
                body.clone(),
            )
        })
        .await;
        let reply = sign_up_asking(&receiver.url).await;
        reply.refused(expected, code);
        assert!(
            !reply.body.to_string().contains("secret word"),
            "{}",
            reply.body
        );
        assert_eq!(receiver.calls().len(), 1, "{kind} {status}");
    }
}

/// Remove the timeout around all attempts, and this waits for ever.
#[tokio::test]
async fn an_address_has_five_seconds_in_all() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let started = Instant::now();
    sign_up_asking(&url).await.refused(422, "hook_timeout");
    assert!(started.elapsed().as_secs() < 8);
}

#[tokio::test]
async fn an_address_nobody_listens_at_is_tried_three_times() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let reply = sign_up_asking(&url).await;
    reply.refused(422, "hook_timeout_after_retry");
}

/// Attack 28. Fails when hooks are called with another client than [`sb::http::Outbound`]: the receiver is reached.
#[tokio::test]
async fn an_address_on_a_private_network_is_not_called() {
    let receiver = Receiver::start(|_| json_answer(&json!({}))).await;
    let app = with(&receiver.url, ("outbound.allow", "")).await;
    let reply = app.sign_up("ana@example.com").await;
    reply.refused(500, "unexpected_failure");
    assert!(receiver.calls().is_empty());
    assert!(
        !reply.body.to_string().contains("127.0.0.1"),
        "{}",
        reply.body
    );
}

#[test]
fn a_hook_that_could_not_be_asked_is_refused_at_start() {
    let load = |settings: [(&str, &str); 2]| {
        sb::Config::load(sb::config::Sources {
            flags: settings.map(|(a, b)| (a.to_owned(), b.to_owned())).to_vec(),
            ..sb::config::Sources::default()
        })
    };
    let uri = "auth.hook.send_sms.uri";
    let secrets = "auth.hook.send_sms.secrets";
    assert!(load([(uri, "https://a.example/"), (secrets, SECRETS)]).is_ok());
    for (target, keys, problem) in [
        (
            "http://a.example/",
            SECRETS,
            "auth.hook.send_sms.uri must begin with",
        ),
        (
            "https://a.example/",
            "whsec_x",
            "auth.hook.send_sms.secrets must hold",
        ),
        (
            "pg-functions://postgres/public",
            "",
            "auth.hook.send_sms.uri must name a function",
        ),
    ] {
        let problems = load([(uri, target), (secrets, keys)]).unwrap_err().problems;
        assert!(
            problems.len() == 1 && problems[0].starts_with(problem),
            "{problems:?}"
        );
    }
}
