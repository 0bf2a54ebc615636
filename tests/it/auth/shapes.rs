//! What every answer has in common: error shapes, headers, and what never appears in a log.

use serde_json::json;

use super::support::{App, PASSWORD, logs};

#[tokio::test]
async fn the_error_shape_follows_the_api_version() {
    let app = App::new().await;
    let new = app.sign_in("nobody@example.com", PASSWORD).await;
    assert_eq!(
        new.body,
        json!({"code": "invalid_credentials", "message": "Invalid login credentials"})
    );
    assert_eq!(new.header("x-supabase-api-version"), "2024-01-01");
    assert_eq!(new.header("x-sb-error-code"), "invalid_credentials");
    let body = json!({"email": "nobody@example.com", "password": PASSWORD});
    let old = || {
        app.request("POST", "/token?grant_type=password")
            .without_version()
            .json(body.clone())
    };
    for call in [
        old(),
        old().header("x-supabase-api-version", "2023-01-01"),
        old().header("x-supabase-api-version", "?"),
    ] {
        let reply = call.send().await;
        assert_eq!(
            reply.body,
            json!({"code": 400, "error_code": "invalid_credentials", "msg": "Invalid login credentials"})
        );
        assert_eq!(reply.header("x-supabase-api-version"), "");
        assert_eq!(reply.header("content-type"), "application/json");
    }
    let weak = json!({"email": "ana@example.com", "password": "a"});
    let call = app.request("POST", "/signup").without_version().json(weak);
    let reply = call.send().await;
    assert_eq!(
        (reply.status.as_u16(), &reply.body["code"]),
        (422, &json!(422))
    );
    assert_eq!(reply.body["weak_password"]["reasons"], json!(["length"]));
}

#[tokio::test]
async fn unknown_paths_and_methods_answer_in_shape() {
    let app = App::new().await;
    app.request("GET", "/nothing")
        .send()
        .await
        .refused(404, "not_found");
    app.request("PATCH", "/user")
        .send()
        .await
        .refused(405, "method_not_allowed");
    let old = app
        .request("GET", "/nothing")
        .without_version()
        .send()
        .await;
    assert_eq!(old.body["error_code"], "not_found");
}

/// Clients tell these from a wrong address by the words.
#[tokio::test]
async fn what_is_not_offered_is_called_as_supabase_calls_it() {
    let app = App::new().await;
    let wallet = json!({"chain": "solana", "message": "m", "signature": "s"});
    let company = json!({"domain": "example.com"});
    for (path, body, status, code, message) in [
        (
            "/token?grant_type=web3",
            wallet,
            422,
            "web3_provider_disabled",
            "Web3 provider is disabled",
        ),
        (
            "/sso",
            company,
            404,
            "saml_provider_disabled",
            "SAML 2.0 is disabled",
        ),
    ] {
        let reply = app.post(path, body).await;
        reply.refused(status, code);
        assert_eq!(reply.text("/message"), message);
    }
}

#[tokio::test]
async fn answers_with_tokens_stay_out_of_caches_and_keys_do_not() {
    let app = App::new().await;
    let session = app.sign_up("ana@example.com").await.ok();
    assert_eq!(session.header("cache-control"), "no-store");
    let keys = app
        .request("GET", "/.well-known/jwks.json")
        .send()
        .await
        .ok();
    assert_eq!(
        (keys.header("cache-control"), &keys.body),
        ("public, max-age=60", &json!({"keys": []}))
    );
    let health = app.request("GET", "/health").send().await.ok();
    assert!(health.text("/version").starts_with('v'));
    let settings = app.request("GET", "/settings").send().await.ok();
    assert_eq!(settings.body["mailer_autoconfirm"], true);
    assert_eq!(settings.body["external"]["email"], true);
}

/// Attack 47. Fails when a body, a token or a parameter of a statement is logged, at whichever level.
#[tokio::test]
async fn no_secret_reaches_a_log() {
    let app = App::new().await;
    let secret = "s3cr3t of this test";
    let body = json!({"email": "quiet-ana@example.com", "password": secret});
    let session = app.post("/signup", body.clone()).await.ok();
    app.sign_in("quiet-ana@example.com", "wr0ng s3cr3t of this test")
        .await
        .refused(400, "invalid_credentials");
    let next = app.refresh(session.refresh_token()).await.ok();
    app.get_user(next.access_token()).await.ok();
    app.put_user(
        next.access_token(),
        json!({"password": "n3w s3cr3t of this test"}),
    )
    .await
    .ok();
    app.owner
        .batch_execute("alter table auth.users rename to hidden")
        .await
        .unwrap();
    app.post("/signup", body)
        .await
        .refused(500, "unexpected_failure");
    app.refresh(next.refresh_token())
        .await
        .refused(500, "unexpected_failure");
    let hash = app
        .value("select encrypted_password from auth.hidden")
        .await;
    let logs = logs();
    let logs = String::from_utf8(logs.lock().unwrap().clone()).unwrap();
    assert!(logs.contains("request failed"));
    let (refresh, access) = (next.refresh_token(), next.access_token());
    for text in [
        "s3cr3t",
        "quiet-ana",
        refresh,
        access,
        session.refresh_token(),
        hash.as_str(),
    ] {
        assert!(!logs.contains(text), "{text} was logged");
    }
}
