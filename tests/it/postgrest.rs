//! The gateway with a real PostgREST behind it: who sees what, keys and their rotation, schema changes.

use std::time::{Duration, Instant};

use axum::http::{Method, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use sb::config::{Algorithm as KeyAlgorithm, Secret};
use sb::keys::manage::{self, Rotation};
use sb::keys::{ApiKeyKind, MasterKey, create_api_key, mint_api_jwt, revoke_api_key};
use serde_json::{Value, json};

use crate::support::{MASTER_KEY, TestApp};

const TODOS: &str = include_str!("../../scaffold/migrations/20260101000000_todos.sql");

async fn with_todos(settings: &[(&str, &str)]) -> (TestApp, sb::stack::Stack) {
    let (app, stack) = TestApp::with_postgrest(settings).await;
    app.owner()
        .await
        .batch_execute(TODOS)
        .await
        .expect("the scaffold's migration applies");
    // The event trigger told PostgREST, which reads the schema in its own time.
    until(|| knows(&app, "/todos")).await;
    (app, stack)
}

/// Whether PostgREST's schema cache has `path`: unlike a read, which goes to the database, this asks the cache alone.
async fn knows(app: &TestApp, path: &str) -> bool {
    let path = format!("/rest/v1{path}");
    app.call(Method::OPTIONS, &path, None, None).await.status == StatusCode::OK
}

/// Waits for what has no signal of its own to arrive; fails after ten seconds.
async fn until<F: Future<Output = bool>>(mut condition: impl FnMut() -> F) -> Duration {
    let started = Instant::now();
    while !condition().await {
        assert!(
            started.elapsed() < Duration::from_secs(10),
            "it did not happen"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    started.elapsed()
}

fn master() -> MasterKey {
    MasterKey::from_secret(&Secret::new(MASTER_KEY)).expect("it is long enough")
}

#[tokio::test]
async fn each_user_sees_and_changes_only_their_own_rows() {
    let (app, stack) = with_todos(&[]).await;
    let (ana, bo) = (
        app.sign_up("ana@example.com").await,
        app.sign_up("bo@example.com").await,
    );
    let (ana, bo) = (
        ana["access_token"].as_str().unwrap(),
        bo["access_token"].as_str().unwrap(),
    );
    let made = app
        .post("/rest/v1/todos", Some(ana), json!({ "title": "hers" }))
        .await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    let titles = |reply: Value| {
        reply
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["title"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        titles(app.get("/rest/v1/todos", Some(ana)).await.json()),
        ["hers"]
    );
    assert!(titles(app.get("/rest/v1/todos", Some(bo)).await.json()).is_empty());
    assert!(titles(app.get("/rest/v1/todos", None).await.json()).is_empty());
    let stolen = app
        .call(
            Method::PATCH,
            "/rest/v1/todos?title=eq.hers",
            Some(bo),
            Some(json!({ "title": "his" })),
        )
        .await;
    assert_eq!(stolen.status, StatusCode::NO_CONTENT);
    assert_eq!(
        titles(app.get("/rest/v1/todos", Some(ana)).await.json()),
        ["hers"]
    );
    let forged = json!({ "title": "x", "user_id": "6f1f2ad0-61a1-4b29-9a5c-3f6fbc2d0a01" });
    let forged = app.post("/rest/v1/todos", Some(ana), forged).await;
    assert_eq!(
        (forged.status, forged.json()["code"].clone()),
        (StatusCode::FORBIDDEN, json!("42501"))
    );
    stack.stop().await;
}

#[tokio::test]
async fn api_keys_work_in_both_forms_and_end_when_revoked() {
    let (app, stack) = with_todos(&[]).await;
    let owner = app.owner().await;
    let clock = &app.clock;
    let secret = create_api_key(&owner, "backend", ApiKeyKind::Secret, clock)
        .await
        .unwrap();
    let publishable = create_api_key(&owner, "web", ApiKeyKind::Publishable, clock)
        .await
        .unwrap();
    let service = mint_api_jwt(
        &owner,
        &master(),
        "http://sb.test/auth/v1",
        "service_role",
        clock,
    )
    .await
    .unwrap();
    let roles = async |key: &str| {
        let request = axum::http::Request::get("/rest/v1/rpc/who")
            .header("apikey", key)
            .body(axum::body::Body::empty());
        app.send(request.unwrap()).await
    };
    owner.batch_execute("create function public.who() returns text language sql stable as 'select current_user::text'").await.unwrap();
    until(|| knows(&app, "/rpc/who")).await;
    assert_eq!(roles(publishable.expose()).await.json(), "anon");
    assert_eq!(roles(secret.expose()).await.json(), "service_role");
    assert_eq!(roles(service.expose()).await.json(), "service_role");
    let unknown = roles("sb_secret_0123456789abcdefghijklmnopqrstuv").await;
    assert_eq!(
        (unknown.status, unknown.json()["code"].clone()),
        (StatusCode::UNAUTHORIZED, json!("invalid_api_key"))
    );
    revoke_api_key(&owner, "backend", clock).await.unwrap();
    until(|| async { roles(secret.expose()).await.status == StatusCode::UNAUTHORIZED }).await;
    stack.stop().await;
}

/// Attack 6. Fails without the notification of PostgREST, or when the previous key is no longer published to it.
#[tokio::test]
async fn a_rotation_reaches_postgrest_within_a_second_and_drops_no_valid_token() {
    let (app, stack) = with_todos(&[]).await;
    let owner = app.owner().await;
    let old = app.sign_up("ana@example.com").await["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    let kid = manage::list(&owner).await.unwrap()[0].kid.clone();
    let new_kid = manage::rotate(
        &owner,
        &master(),
        KeyAlgorithm::Rs256,
        Rotation::Now,
        &app.clock,
    )
    .await
    .unwrap();
    let credentials = json!({ "email": "ana@example.com", "password": "correct horse" });
    let token = async || {
        app.post(
            "/auth/v1/token?grant_type=password",
            None,
            credentials.clone(),
        )
        .await
        .json()["access_token"]
            .clone()
    };
    let started = Instant::now();
    let new = loop {
        let fresh = token().await;
        let fresh = fresh.as_str().unwrap();
        let signed_anew =
            jsonwebtoken::decode_header(fresh).unwrap().kid.as_deref() == Some(&new_kid);
        if signed_anew && app.get("/rest/v1/todos", Some(fresh)).await.status == StatusCode::OK {
            break fresh.to_owned();
        }
        assert!(
            started.elapsed() < Duration::from_secs(1),
            "PostgREST has not followed"
        );
    };
    assert_eq!(
        app.get("/rest/v1/todos", Some(&old)).await.status,
        StatusCode::OK
    );
    assert_eq!(
        app.get("/auth/v1/user", Some(&old)).await.status,
        StatusCode::OK
    );
    assert_eq!(
        app.get("/auth/v1/user", Some(&new)).await.status,
        StatusCode::OK
    );
    manage::revoke(&owner, &kid).await.unwrap();
    until(|| async {
        app.get("/rest/v1/todos", Some(&old)).await.status == StatusCode::UNAUTHORIZED
    })
    .await;
    until(|| async { app.get("/auth/v1/user", Some(&old)).await.status == StatusCode::FORBIDDEN })
        .await;
    stack.stop().await;
}

/// Attacks 1, 2, 3, 7 and 8. Fails when either of the two does not check signature, key, algorithm, expiry or audience.
#[tokio::test]
async fn bad_tokens_are_refused_by_gateway_and_api_alike() {
    let (app, stack) = with_todos(&[]).await;
    let good = app.sign_up("ana@example.com").await["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    let jwks = app.get("/.well-known/jwks.json", None).await.json();
    let header = jsonwebtoken::decode_header(&good).unwrap();
    let parts: Vec<&str> = good.split('.').collect();
    let mut claims: Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let hs256 = |secret: &str| {
        let header = Header {
            kid: header.kid.clone(),
            ..Header::new(Algorithm::HS256)
        };
        jsonwebtoken::encode(
            &header,
            &claims,
            &EncodingKey::from_secret(secret.as_bytes()),
        )
        .unwrap()
    };
    let none = format!(
        "{}.{}.",
        encode(&json!({ "alg": "none", "kid": header.kid })),
        parts[1]
    );
    let public_key = hs256(&jwks["keys"][0].to_string());
    let unknown_kid = format!(
        "{}.{}.{}",
        encode(&json!({ "alg": "ES256", "kid": "nobody" })),
        parts[1],
        parts[2]
    );
    let mut elsewhere = claims.clone();
    elsewhere["aud"] = json!("another service");
    let elsewhere = app.running.sign(elsewhere.as_object().unwrap()).unwrap();
    claims["role"] = json!("service_role");
    let tampered = format!("{}.{}.{}", parts[0], encode(&claims), parts[2]);
    let mut expired_claims = sb::Caller::anon().claims().clone();
    expired_claims.insert("exp".to_owned(), json!(1_000_000_000));
    let expired = app.running.sign(&expired_claims).unwrap();
    for (name, token) in [
        ("none", none),
        ("public key", public_key),
        ("unknown kid", unknown_kid),
        ("tampered", tampered),
        ("expired", expired),
        ("another audience", elsewhere),
    ] {
        let rest = app.get("/rest/v1/todos", Some(&token)).await;
        assert_eq!(
            rest.status,
            StatusCode::UNAUTHORIZED,
            "{name}: {}",
            rest.text()
        );
        let auth = app.get("/auth/v1/user", Some(&token)).await;
        assert_eq!(
            (auth.status, auth.json()["code"].clone()),
            (StatusCode::FORBIDDEN, json!("bad_jwt")),
            "{name}"
        );
    }
    stack.stop().await;
}

/// Attack 2. Fails when the gateway hands on what it does not believe itself, or PostgREST is given the secret.
#[tokio::test]
async fn a_legacy_secret_is_accepted_where_configured_and_nowhere_else() {
    let secret = "a legacy secret of a project that moves here";
    let token = {
        let claims = json!({ "role": "service_role", "exp": 4_000_000_000_u64 });
        jsonwebtoken::encode(
            &Header::new(Algorithm::HS256),
            &claims,
            &EncodingKey::from_secret(secret.as_bytes()),
        )
        .unwrap()
    };
    let (app, stack) = with_todos(&[("jwt.legacy_secret", secret)]).await;
    assert_eq!(
        app.get("/rest/v1/todos", Some(&token)).await.status,
        StatusCode::OK
    );
    assert_eq!(
        app.get("/auth/v1/admin/users", Some(&token)).await.status,
        StatusCode::OK
    );
    let setting = "select coalesce(string_agg(array_to_string(setconfig, ','), ','), '') from pg_db_role_setting";
    let settings: String = app
        .owner()
        .await
        .query_one(setting, &[])
        .await
        .unwrap()
        .get(0);
    assert!(
        !settings.contains("\"oct\"") && !settings.contains(secret),
        "{settings}"
    );
    stack.stop().await;
    let (app, stack) = with_todos(&[]).await;
    assert_eq!(
        app.get("/rest/v1/todos", Some(&token)).await.status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        app.get("/auth/v1/admin/users", Some(&token)).await.status,
        StatusCode::FORBIDDEN
    );
    stack.stop().await;
}

#[tokio::test]
async fn while_postgrest_is_gone_the_answer_says_when_to_come_back() {
    let (app, stack) = with_todos(&[]).await;
    stack.stop().await;
    let reply = app.get("/rest/v1/todos", None).await;
    assert_eq!(
        (reply.status, reply.json()["code"].clone()),
        (
            StatusCode::SERVICE_UNAVAILABLE,
            json!("upstream_unavailable")
        )
    );
    assert_eq!(reply.headers["retry-after"], "1");
}

/// Written as Supabase projects are; applied by our own runner, unchanged, and used through the API.
#[tokio::test]
async fn supabase_migrations_apply_unchanged_and_behave() {
    let (app, stack) = TestApp::with_postgrest(&[]).await;
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sql/supabase_like");
    let config = app.running.context().config.current();
    let applied = sb::db::migrate::project::apply(
        &app.owner().await,
        &dir,
        &sb::db::migrate::Options::new(&config),
        &app.clock,
    )
    .await
    .unwrap();
    assert!(applied.len() >= 3, "{applied:?}");
    let body = json!({ "email": "ana@example.com", "password": "correct horse", "data": { "full_name": "Ana" } });
    let ana = app.post("/auth/v1/signup", None, body).await.json();
    let token = ana["access_token"].as_str().unwrap();
    until(|| knows(&app, "/profiles")).await;
    let profiles = app.get("/rest/v1/profiles", Some(token)).await.json();
    assert_eq!(
        profiles[0]["id"], ana["user"]["id"],
        "the sign-up trigger made a profile: {profiles}"
    );
    stack.stop().await;
}
