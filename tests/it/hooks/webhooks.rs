//! Jobs named by an address: how they are sent, and what each answer means.

use aws_lc_rs::hmac;
use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::Hooks;
use super::receiver::{Call, Receiver};

fn status(code: u16, headers: &[(&'static str, &str)], body: &'static str) -> Response {
    let mut response = (StatusCode::from_u16(code).unwrap(), body).into_response();
    for (name, value) in headers {
        response.headers_mut().insert(*name, value.parse().unwrap());
    }
    response
}

/// What a receiver does with its secret.
fn verify(call: &Call, secret: &str) -> bool {
    let key = STANDARD
        .decode(secret.strip_prefix("whsec_").unwrap())
        .unwrap();
    let signature = call
        .header("webhook-signature")
        .strip_prefix("v1,")
        .unwrap();
    let (id, timestamp) = (call.header("webhook-id"), call.header("webhook-timestamp"));
    let signed = [format!("{id}.{timestamp}.").as_bytes(), &call.body].concat();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    hmac::verify(&key, &signed, &STANDARD.decode(signature).unwrap()).is_ok()
}

#[tokio::test]
async fn a_call_is_signed_for_its_receiver_and_repeated_under_one_id() {
    let hooks = Hooks::new().await;
    let receiver = Receiver::start(|number| match number {
        1 => status(500, &[], "not yet"),
        _ => status(200, &[], r#"{"seen": true}"#),
    })
    .await;
    let id = hooks.enqueue(&receiver.url, "").await;
    hooks.work().await;
    let job = hooks.until(id, "succeeded").await;
    assert_eq!(
        job["result"],
        json!({ "status": 200, "body": { "seen": true } })
    );
    assert_eq!(job["attempts"], 2);
    assert_eq!(
        job["errors"][0]["error"],
        "the receiver answered 500: not yet"
    );

    let calls = receiver.calls();
    let secret = hooks.app.running.webhook_secret(&receiver.url).unwrap();
    let other = hooks
        .app
        .running
        .webhook_secret("http://127.0.0.1:1/")
        .unwrap();
    for call in &calls {
        assert!(verify(call, &secret) && !verify(call, &other));
        assert_eq!(call.header("content-type"), "application/json");
        assert_eq!(call.header("webhook-timestamp"), "1900000000");
        assert_eq!(call.json(), json!({ "n": 1 }));
    }
    assert_eq!(calls[0].header("webhook-id"), calls[1].header("webhook-id"));
    assert!(!calls[0].headers.contains_key("authorization"));
    // One client, one connection (supython weak point 36).
    assert_eq!(calls[0].peer, calls[1].peer);
}

#[tokio::test]
async fn a_receiver_that_asks_for_a_pause_gets_one_and_no_attempt_is_used_up() {
    let hooks = Hooks::new().await;
    let receiver = Receiver::start(|number| match number {
        1 => status(429, &[("retry-after", "1")], ""),
        2 => status(503, &[("retry-after", "0")], ""),
        _ => status(204, &[], ""),
    })
    .await;
    let id = hooks.enqueue(&receiver.url, ", max_attempts => 1").await;
    hooks.work().await;
    let job = hooks.until(id, "succeeded").await;
    assert_eq!(
        (&job["attempts"], &job["errors"]),
        (&json!(1), &json!(null))
    );
    assert_eq!(job["result"], json!({ "status": 204, "body": null }));
    let waited = "select j.finished_at - j.created_at >= '2 s' from jobs.jobs j";
    assert_eq!(hooks.value(waited).await, "true");
}

#[tokio::test]
async fn answers_that_refuse_end_the_job_or_are_tried_again() {
    let hooks = Hooks::new().await;
    hooks.work().await;
    for (code, attempts, error) in [
        (410, 1, "the receiver answered 410: x"),
        (400, 2, "the receiver answered 400: x"),
        (429, 2, "the receiver answered 429: x"),
        (500, 2, "the receiver answered 500: x"),
    ] {
        let receiver = Receiver::start(move |_| status(code, &[], "x")).await;
        let id = hooks.enqueue(&receiver.url, ", max_attempts => 2").await;
        let job = hooks.until(id, "failed").await;
        assert_eq!(
            (&job["attempts"], &job["last_error"]),
            (&json!(attempts), &json!(error))
        );
        assert_eq!(receiver.calls().len(), attempts);
    }
}

/// Attack 28. Fails when the client for outside addresses follows redirects.
#[tokio::test]
async fn a_redirect_is_not_followed() {
    let hooks = Hooks::new().await;
    let inner = Receiver::start(|_| "secret").await;
    let to = inner.url.clone();
    let receiver = Receiver::start(move |_| status(307, &[("location", &to)], "")).await;
    let id = hooks.enqueue(&receiver.url, ", max_attempts => 1").await;
    hooks.work().await;
    let job = hooks.until(id, "failed").await;
    let error = "the receiver answered 307, which is not followed: ";
    assert_eq!(job["last_error"], error);
    assert_eq!((receiver.calls().len(), inner.calls().len()), (1, 0));
}

#[tokio::test]
async fn inner_addresses_are_not_called_unless_they_are_allowed() {
    let hooks = Hooks::with(sb::App::new(), &[("outbound.allow", "10.1.0.0/16")]).await;
    let receiver = Receiver::start(|_| "secret").await;
    hooks.work().await;
    let id = hooks.enqueue(&receiver.url, "").await;
    let job = hooks.until(id, "failed").await;
    let error = "127.0.0.1 is not called: its address is loopback. Networks that may be called are listed in \
                 outbound.allow (OUTBOUND_ALLOW)";
    assert_eq!(
        (&job["attempts"], &job["last_error"]),
        (&json!(1), &json!(error))
    );
    let port = receiver.url.replace("http://127.0.0.1", "http://0x7f.1");
    let id = hooks.enqueue(&port, "").await;
    assert_eq!(hooks.until(id, "failed").await["last_error"], error);
    assert!(receiver.calls().is_empty());
}

/// Fails without `MAX_RESPONSE_BYTES`, or without the time limit around a call.
#[tokio::test]
async fn endless_and_slow_answers_have_an_end() {
    let hooks = Hooks::new().await;
    let endless = Receiver::start(|_| {
        let chunks = std::iter::repeat_with(|| Ok::<_, std::io::Error>(vec![b'x'; 65_536]));
        Body::from_stream(futures_util::stream::iter(chunks))
    })
    .await;
    let slow = Receiver::start(|_| {
        let never = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
        Body::from_stream(never)
    })
    .await;
    let (fast, waiting) = (
        hooks.enqueue(&endless.url, "").await,
        hooks
            .enqueue(&slow.url, ", timeout_s => 1, max_attempts => 1")
            .await,
    );
    hooks.work().await;
    let job = hooks.until(fast, "succeeded").await;
    let body = job["result"]["body"].as_str().unwrap();
    assert!(body.starts_with("xxx") && body.chars().count() < 600);
    let error = hooks.until(waiting, "failed").await["last_error"].clone();
    assert!(error.as_str().unwrap().ends_with("1 s"), "{error}");
}

#[tokio::test]
async fn a_receiver_that_dies_is_called_again() {
    let hooks = Hooks::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let id = hooks.enqueue(&url, "").await;
    hooks.work().await;
    let mut ids = Vec::new();
    for dies in [true, false] {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(br#"{"n": 1}"#) {
            assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
        }
        let text = String::from_utf8(request).unwrap();
        let id = text
            .lines()
            .find_map(|line| line.strip_prefix("webhook-id: "));
        ids.push(id.unwrap().to_owned());
        if !dies {
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer).await.unwrap();
        }
    }
    let job = hooks.until(id, "succeeded").await;
    assert_eq!(job["attempts"], 2);
    assert_eq!(ids[0], ids[1]);
}

#[tokio::test]
async fn users_cannot_have_an_address_called() {
    let hooks = Hooks::new().await;
    let receiver = Receiver::start(|_| "ok").await;
    hooks
        .sql("create policy all_may on jobs.pending for insert to authenticated with check (true)")
        .await;
    let url = &receiver.url;
    hooks
        .sql(&format!(
            "begin; set local role authenticated; select jobs.enqueue('{url}', '{{}}'); commit"
        ))
        .await;
    let id = hooks
        .value("select j.id from jobs.jobs j")
        .await
        .parse()
        .unwrap();
    hooks.work().await;
    let job = hooks.until(id, "failed").await;
    assert_eq!(
        job["last_error"],
        "only service_role may have an address called"
    );
    assert!(receiver.calls().is_empty());
}
