//! What a session without a second factor may not do where one protects the account.

use serde_json::{Value, json};

use super::support::Authenticator;
use crate::auth::support::{App, PASSWORD, claims, service_token, token};

/// What changes how a user signs in, or shows it.
fn protected(factor_id: &str) -> Vec<(&'static str, String, Value)> {
    let user = |body: Value| ("PUT", "/user".to_owned(), body);
    let passkey = "00000000-0000-4000-8000-000000000000";
    vec![
        user(json!({"password": "another password"})),
        user(json!({"email": "eve@example.com"})),
        user(json!({"phone": "+4912345678"})),
        (
            "POST",
            "/factors".to_owned(),
            json!({"factor_type": "totp"}),
        ),
        (
            "POST",
            "/factors".to_owned(),
            json!({"factor_type": "webauthn"}),
        ),
        ("DELETE", format!("/factors/{factor_id}"), json!({})),
        ("POST", "/factors/recovery-codes".to_owned(), json!({})),
        (
            "POST",
            "/factors/recovery-codes/regenerate".to_owned(),
            json!({}),
        ),
        ("GET", "/passkeys".to_owned(), json!({})),
        (
            "POST",
            "/passkeys/registration/options".to_owned(),
            json!({}),
        ),
        (
            "PATCH",
            format!("/passkeys/{passkey}"),
            json!({"friendly_name": "x"}),
        ),
        ("DELETE", format!("/passkeys/{passkey}"), json!({})),
    ]
}

async fn assert_refused(app: &App, access_token: &str, factor_id: &str) {
    for (method, path, body) in protected(factor_id) {
        let reply = app.call(method, &path, access_token, body).await;
        assert_eq!(
            (reply.status.as_u16(), reply.text("/code")),
            (401, "insufficient_aal"),
            "{method} {path}"
        );
    }
}

/// Attack 37. Fails without `require_aal` in `user::update`, `enroll::store`, `passkeys::registration` and
/// `passkeys::manage`, or `require_aal2` in `unenroll` and `recovery_codes`.
#[tokio::test]
async fn a_password_alone_changes_nothing() {
    let app = App::new().await;
    let (_, totp) = app.with_totp("ana@example.com").await;
    let session = app.sign_in("ana@example.com", PASSWORD).await.ok();
    assert_refused(&app, session.access_token(), &totp.id).await;
    // Metadata is not a way to sign in, nor is what stays as it is.
    let harmless = json!({"data": {"a": 1}, "email": "ana@example.com", "password": ""});
    app.put_user(session.access_token(), harmless).await.ok();
    // And the second factor opens all of it.
    let raised = app.verify(session.access_token(), &totp).await.ok();
    for (method, path, body) in protected(&totp.id) {
        let reply = app.call(method, &path, raised.access_token(), body).await;
        assert_ne!(reply.body["code"], "insufficient_aal", "{method} {path}");
        if path == format!("/factors/{}", totp.id) {
            break;
        }
    }
}

/// Fails when only the session's row is asked, not the token: a stolen token from before the verification would be
/// raised with its session. Remove `require_aal` from `registration::store`, and the end of it fails.
#[tokio::test]
async fn a_token_from_before_the_verification_changes_nothing() {
    let app = App::new().await;
    let before = app.sign_up("ana@example.com").await.ok();
    let options = "/passkeys/registration/options";
    let asked = app.call("POST", options, before.access_token(), json!({}));
    let asked = asked.await.ok();
    let totp = app.enroll(before.access_token(), "phone").await;
    let raised = app.verify(before.access_token(), &totp).await.ok();
    assert_refused(&app, before.access_token(), &totp.id).await;
    // Nor does it end what was begun when nothing protected the account.
    let made = Authenticator::new().create(&asked.body["options"]);
    let body = json!({"challenge_id": asked.text("/challenge_id"), "credential": made});
    let verify = "/passkeys/registration/verify";
    app.call("POST", verify, before.access_token(), body)
        .await
        .refused(401, "insufficient_aal");
    let listed = app
        .call("GET", "/passkeys", raised.access_token(), json!({}))
        .await;
    assert_eq!(listed.ok().body, json!([]));
}

/// Fails when only the token is asked, not the session's row.
#[tokio::test]
async fn a_token_of_a_session_that_was_lowered_changes_nothing() {
    let app = App::new().await;
    let (first, totp) = app.with_totp("ana@example.com").await;
    let tablet = app.enroll(first.access_token(), "tablet").await;
    let raised = app.verify(first.access_token(), &tablet).await.ok();
    let second = app.sign_in("ana@example.com", PASSWORD).await.ok();
    let second = app.verify(second.access_token(), &totp).await.ok();
    let path = format!("/factors/{}", tablet.id);
    app.call("DELETE", &path, second.access_token(), json!({}))
        .await
        .ok();
    assert_eq!(claims(raised.access_token())["aal"], "aal2");
    assert_refused(&app, raised.access_token(), &totp.id).await;
}

/// Attack 37. Fails when `require_aal` lets tokens pass that name no session.
#[tokio::test]
async fn a_token_without_a_session_is_no_way_around() {
    let app = App::new().await;
    let (raised, totp) = app.with_totp("ana@example.com").await;
    let mut claims = claims(raised.access_token());
    claims.remove("session_id");
    let token = token(claims.into());
    for (method, path, body) in protected(&totp.id) {
        let reply = app.call(method, &path, &token, body).await;
        let code = reply.text("/code").to_owned();
        assert!(
            ["insufficient_aal", "session_not_found"].contains(&code.as_str()),
            "{method} {path} {code}"
        );
    }
}

/// Somebody who has the password begins a factor before the owner does. Fails without the deletion in `mark_verified`,
/// or the check in `challenge::find`.
#[tokio::test]
async fn a_factor_that_somebody_else_began_never_protects_the_account() {
    let app = App::new().await;
    let owner = app.sign_up("ana@example.com").await.ok();
    let thief = app.sign_in("ana@example.com", PASSWORD).await.ok();
    let theirs = app.enroll(thief.access_token(), "theirs").await;
    let waiting = app.challenge(thief.access_token(), &theirs.id).await;
    let mine = app.enroll(owner.access_token(), "mine").await;
    let raised = app.verify(owner.access_token(), &mine).await.ok();
    let factors = raised.body["user"]["factors"].as_array().unwrap().clone();
    assert_eq!(factors.len(), 1);
    let code = theirs.code(&app);
    app.answer(thief.access_token(), &theirs.id, &waiting, &code)
        .await
        .refused(403, "session_not_found");
    let again = app.sign_in("ana@example.com", PASSWORD).await.ok();
    let body = json!({"factor_type": "totp"});
    app.call("POST", "/factors", again.access_token(), body)
        .await
        .refused(401, "insufficient_aal");
    // One of another kind stays, and cannot be finished without the first.
    let key = json!({"factor_type": "webauthn", "friendly_name": "key"});
    let key = app
        .call("POST", "/factors", raised.access_token(), key)
        .await
        .ok();
    let path = format!("/factors/{}/challenge", key.text("/id"));
    app.call("POST", &path, again.access_token(), json!({}))
        .await
        .refused(401, "insufficient_aal");
}

/// A recovery is one factor. Fails without `require_unprotected` in `recover`: the code would be used up by a request that
/// changes nothing.
#[tokio::test]
async fn a_password_is_recovered_with_the_second_factor() {
    const NEW: &str = "another long password";
    let app = App::with_settings(&[("auth.require_current_password", "true")]).await;
    let (_, totp) = app.with_totp("ana@example.com").await;
    let body = json!({"type": "recovery", "email": "ana@example.com"});
    let call = app.request("POST", "/admin/generate_link");
    let made = call.bearer(&service_token()).json(body).send().await.ok();
    let code = made.text("/email_otp");
    let body = json!({"email": "ana@example.com", "token": code, "password": NEW});
    app.post("/recover/verify", body)
        .await
        .refused(401, "insufficient_aal");
    let sessions = "select count(*) from auth.sessions";
    assert_eq!(app.value(sessions).await, "1");

    let body = json!({"type": "recovery", "email": "ana@example.com", "token": code});
    let session = app.post("/verify", body).await.ok();
    assert_eq!(claims(session.access_token())["aal"], "aal1");
    let change = json!({"password": NEW});
    app.put_user(session.access_token(), change.clone())
        .await
        .refused(401, "insufficient_aal");
    let raised = app.verify(session.access_token(), &totp).await.ok();
    app.put_user(raised.access_token(), change).await.ok();
    app.sign_in("ana@example.com", NEW).await.ok();
}
