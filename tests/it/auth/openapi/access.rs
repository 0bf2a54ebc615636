//! What holds for every documented operation: who may ask, and what a page of another site can make of it.

use serde_json::json;

use super::document;
use super::operation::{Asker, Operation, fill, operations};
use crate::auth::support::{App, service_token, token};

/// An id of nothing.
const NOBODY: &str = "00000000-0000-4000-8000-000000000000";

async fn all(asker: Option<Asker>) -> (App, Vec<Operation>) {
    let app = App::with_settings(&[
        ("auth.openapi", "true"),
        ("auth.oauth_server_enabled", "true"),
    ])
    .await;
    let mut operations = operations(&document(&app).await);
    operations.retain(|one| asker.is_none_or(|asker| one.asker == asker));
    (app, operations)
}

/// Attack 45: no key of an API role, no user and no header stands for the service key, anywhere.
///
/// Leave `Service` out of a handler of `/admin`, or let it take the role from elsewhere than a verified token: this fails.
#[tokio::test]
async fn only_the_service_key_may_ask_for_what_is_its_own() {
    let (app, operations) = all(Some(Asker::Service)).await;
    assert!(operations.len() >= 5);
    let user = app.sign_up("ana@arbitrary.example").await.ok();
    let before = app.value("select count(*) from auth.users").await;
    let anon = token(json!({ "role": "anon" }));
    let claimed = token(json!({
        "role": "authenticated", "sub": user.text("/user/id"), "aud": "service_role",
        "app_metadata": { "role": "service_role" }, "user_metadata": { "role": "service_role" },
    }));
    for operation in &operations {
        let path = fill(&operation.path, user.text("/user/id"));
        let call = || {
            let call = app.request(&operation.method.to_uppercase(), &path);
            let call = call
                .header("role", "service_role")
                .header("x-jwt-aud", "service_role");
            call.header("x-supabase-role", "service_role")
                .json(json!({}))
        };
        let name = format!("{} {path}", operation.method);
        for (bearer, status, code) in [
            (None, 401, "no_authorization"),
            (Some(anon.as_str()), 403, "not_admin"),
            (Some(user.access_token()), 403, "not_admin"),
            (Some(claimed.as_str()), 403, "not_admin"),
            (Some("not.a.token"), 403, "bad_jwt"),
        ] {
            let call = match bearer {
                Some(bearer) => call().bearer(bearer),
                None => call(),
            };
            let reply = call.send().await;
            let got = (reply.status.as_u16(), reply.body["code"].as_str());
            assert_eq!(got, (status, Some(code)), "{name} as {bearer:?}");
        }
        // A token of the service key with another scheme, and twice.
        let basic = call().header("authorization", &format!("Basic {}", service_token()));
        assert_eq!(basic.send().await.status.as_u16(), 401, "{name}");
    }
    app.get_user(user.access_token()).await.ok();
    let after = app.value("select count(*) from auth.users").await;
    assert_eq!(before, after, "something was done all the same");
}

/// What belongs to a user is for nobody without a token, and for no token that names none.
///
/// Leave `SignedIn` out of a handler: this fails.
#[tokio::test]
async fn only_a_user_may_ask_for_what_is_a_users() {
    let (app, operations) = all(Some(Asker::User)).await;
    assert!(operations.len() >= 3);
    let gone = token(json!({
        "role": "authenticated", "sub": NOBODY, "session_id": NOBODY, "aud": "authenticated",
    }));
    let anon = token(json!({ "role": "anon" }));
    for operation in &operations {
        let path = fill(&operation.path, NOBODY);
        for (bearer, statuses) in [
            (None, 401..=401),
            (Some(anon.as_str()), 401..=403),
            // Its form may be looked at before the database is asked who it is.
            (Some(gone.as_str()), 400..=499),
        ] {
            let call = app.request(&operation.method.to_uppercase(), &path);
            let mut call = call.json(json!({
                "code": "123456", "challenge_id": NOBODY, "credential": {}, "factor_type": "totp", "action": "approve",
                "password": "correct horse battery",
            }));
            if let Some(bearer) = bearer {
                call = call.bearer(bearer);
            }
            let reply = call.send().await;
            let name = format!("{} {path} as {bearer:?}", operation.method);
            // What is switched off is not there for anybody.
            let is_off = reply.body["code"] == "feature_disabled"
                || reply.body["code"] == "manual_linking_disabled";
            assert!(
                statuses.contains(&reply.status.as_u16()) || is_off,
                "{name}: {} {}",
                reply.status,
                reply.body
            );
        }
    }
}

/// Attack 46: a page of another site can neither read an answer with somebody's credentials, nor frame one, nor have
/// one kept by a cache.
///
/// Allow credentials in `http/cors.rs`, or remove `frame-ancestors` from `security.csp`, or `no-store` from
/// `routes/version.rs`: this fails.
#[tokio::test]
async fn no_other_site_reads_frames_or_keeps_an_answer() {
    let (app, operations) = all(None).await;
    for operation in &operations {
        let path = fill(&operation.path, NOBODY);
        for origin in [
            "https://evil.example",
            "null",
            "http://sb.test.evil.example",
        ] {
            let call = app.request(&operation.method.to_uppercase(), &path);
            let call = call.header("origin", origin).header("cookie", "a=b");
            let reply = call.json(json!({})).send().await;
            let name = format!("{} {path}", operation.method);
            assert_eq!(
                reply.header("access-control-allow-credentials"),
                "",
                "{name}"
            );
            assert_ne!(
                reply.header("access-control-allow-origin"),
                origin,
                "{name}"
            );
            let policy = reply.header("content-security-policy");
            assert!(
                policy.contains("frame-ancestors 'none'"),
                "{name}: {policy}"
            );
            assert_eq!(reply.header("x-frame-options"), "DENY", "{name}");
            assert_eq!(reply.header("x-content-type-options"), "nosniff", "{name}");
            let cache = reply.header("cache-control");
            let is_public = reply.status == 200
                && cache.starts_with("public")
                && operation.asker == Asker::Anyone;
            assert!(cache == "no-store" || is_public, "{name}: {cache}");
        }
    }
}

/// Attack 46: a form of another site is no request of ours, since a browser sends it without asking first.
///
/// Take forms in `http::Json`: this fails.
#[tokio::test]
async fn a_form_is_no_json() {
    let (app, operations) = all(None).await;
    let mut checked = 0;
    for operation in &operations {
        let kinds = &operation.object["requestBody"]["content"];
        let takes_forms = kinds.get("application/x-www-form-urlencoded").is_some();
        if kinds.get("application/json").is_none() || takes_forms {
            continue;
        }
        let credentials = if operation.asker == Asker::Service {
            service_token()
        } else {
            let email = format!("user-{checked}@arbitrary.example");
            app.sign_up(&email).await.ok().access_token().to_owned()
        };
        let path = fill(&operation.path, NOBODY);
        for kind in [
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
        ] {
            let call = app.request(&operation.method.to_uppercase(), &path);
            let call = call
                .bearer(&credentials)
                .body(kind, b"email=a%40b.example&password=x".to_vec());
            let reply = call.send().await;
            let name = format!("{} {path} {kind}: {}", operation.method, reply.body);
            let is_off = reply.body["code"] == "feature_disabled";
            assert!(reply.status == 415 || is_off, "{name}");
        }
        checked += 1;
    }
    assert!(checked >= 5);
}
