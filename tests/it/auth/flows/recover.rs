//! Recovering an account, and changing a password.

use chrono::TimeDelta;
use serde_json::json;

use super::support::{ANA, Answer as _, BO, Flows, PASSWORD, claims, parameters};

const NEW: &str = "another long password";

#[tokio::test]
async fn an_account_is_recovered_without_the_old_password() {
    let flows = Flows::with(&[("auth.require_current_password", "true")]).await;
    let other = flows.member(ANA).await;
    assert_eq!(
        flows
            .post("/recover", json!({ "email": ANA }))
            .await
            .ok()
            .json(),
        json!({})
    );
    let mail = flows.mail_of("recovery", ANA).await;
    let location = flows.press(&mail.link).await;
    let tokens = parameters(location.fragment());
    assert_eq!(tokens["type"], "recovery");
    let access = &tokens["access_token"];
    assert_eq!(claims(access)["amr"][0]["method"], "recovery");
    flows
        .put_user(&other, json!({ "password": NEW }))
        .await
        .refused(400, "current_password_required");
    flows
        .put_user(access, json!({ "password": NEW }))
        .await
        .ok();
    flows.mail_of("password_changed_notice", ANA).await;
    flows
        .sign_in(ANA, PASSWORD)
        .await
        .refused(400, "invalid_credentials");
    flows.sign_in(ANA, NEW).await.ok();
    flows
        .get_user(&other)
        .await
        .refused(403, "session_not_found");
    flows.get_user(access).await.ok();
}

/// Fails without `burn_tokens` in the change of a password.
#[tokio::test]
async fn a_new_password_makes_what_was_mailed_worthless() {
    let flows = Flows::new().await;
    let access = flows.member(ANA).await;
    flows.post("/recover", json!({ "email": ANA })).await.ok();
    let recovery = flows.mail_of("recovery", ANA).await;
    flows.later();
    flows.post("/otp", json!({ "email": ANA })).await.ok();
    let link = flows.mail_of("magic_link", ANA).await;
    flows
        .put_user(&access, json!({ "password": NEW }))
        .await
        .ok();
    for (kind, mail) in [("recovery", &recovery), ("magiclink", &link)] {
        flows
            .verify_hash(kind, &mail.token)
            .await
            .refused(403, "otp_expired");
        flows
            .verify_code(kind, ANA, &mail.code)
            .await
            .refused(403, "otp_expired");
    }
    flows.discard().await;
    flows.later();
    flows.post("/recover", json!({ "email": ANA })).await.ok();
    let mail = flows.mail_of("recovery", ANA).await;
    let id = flows.value("select id from auth.users").await;
    let key = flows.app.running.role_token("service_role").unwrap();
    let path = format!("/auth/v1/admin/users/{id}");
    let change = Some(json!({ "password": "set by an admin" }));
    let put = axum::http::Method::PUT;
    flows.app.call(put, &path, Some(&key), change).await.ok();
    flows
        .verify_hash("recovery", &mail.token)
        .await
        .refused(403, "otp_expired");
}

#[tokio::test]
async fn code_and_new_password_can_come_together() {
    let flows = Flows::new().await;
    let other = flows.member(ANA).await;
    flows.post("/recover", json!({ "email": ANA })).await.ok();
    let mail = flows.mail_of("recovery", ANA).await;
    let body =
        |code: &str, password: &str| json!({ "email": ANA, "token": code, "password": password });
    flows
        .post("/recover/verify", body(&mail.code, "x"))
        .await
        .refused(422, "weak_password");
    flows
        .post("/recover/verify", body("not it", NEW))
        .await
        .refused(403, "otp_expired");
    let session = flows
        .post("/recover/verify", body(&mail.code, NEW))
        .await
        .ok();
    flows.get_user(&session.text_at("/access_token")).await.ok();
    flows
        .get_user(&other)
        .await
        .refused(403, "session_not_found");
    flows.sign_in(ANA, NEW).await.ok();
    flows
        .post("/recover/verify", body(&mail.code, "a third password"))
        .await
        .refused(403, "otp_expired");
}

#[tokio::test]
async fn an_old_session_has_to_prove_who_it_is() {
    let flows = Flows::with(&[
        ("auth.require_reauthentication", "true"),
        ("auth.access_token_ttl", "1000000"),
    ])
    .await;
    let access = flows.member(ANA).await;
    // A young one has not.
    flows
        .put_user(&access, json!({ "password": NEW }))
        .await
        .ok();
    flows.discard().await;
    flows.app.clock.advance(TimeDelta::hours(25));
    let change = |nonce: &str| json!({ "password": "a third password", "nonce": nonce });
    flows
        .put_user(&access, change(""))
        .await
        .refused(400, "reauthentication_needed");
    let asked = flows
        .app
        .get("/auth/v1/reauthenticate", Some(&access))
        .await
        .ok();
    assert_eq!(asked.json(), json!({}));
    let mail = flows.mail_of("reauthentication", ANA).await;
    assert_eq!((mail.link.as_str(), mail.token.as_str()), ("", ""));
    flows
        .put_user(&access, change("000000x"))
        .await
        .refused(422, "reauthentication_not_valid");
    // It signs nobody in.
    for kind in ["email", "magiclink", "recovery", "signup"] {
        flows
            .verify_code(kind, ANA, &mail.code)
            .await
            .refused(403, "otp_expired");
    }
    flows.put_user(&access, change(&mail.code)).await.ok();
    flows.sign_in(ANA, "a third password").await.ok();
    flows
        .app
        .get("/auth/v1/reauthenticate", None)
        .await
        .refused(401, "no_authorization");
}

/// Attack 37. Whoever reads the owner's mails has one factor. Remove `require_aal` from `user::update`, and it is enough.
#[tokio::test]
async fn a_recovery_is_no_way_around_the_second_factor() {
    let flows = Flows::new().await;
    flows.member(ANA).await;
    let factor = "insert into auth.mfa_factors (user_id, factor_type, status) select id, 'totp', 'verified' from auth.users";
    flows.owner.batch_execute(factor).await.unwrap();
    flows.post("/recover", json!({ "email": ANA })).await.ok();
    let mail = flows.mail_of("recovery", ANA).await;
    let location = flows.press(&mail.link).await;
    let access = &parameters(location.fragment())["access_token"];
    for change in [json!({ "password": NEW }), json!({ "email": BO })] {
        flows
            .put_user(access, change)
            .await
            .refused(401, "insufficient_aal");
    }
    // Code and password at once are no other way.
    flows.later();
    flows.post("/recover", json!({ "email": ANA })).await.ok();
    let mail = flows.mail_of("recovery", ANA).await;
    let body = json!({ "email": ANA, "token": mail.code, "password": NEW });
    flows
        .post("/recover/verify", body)
        .await
        .refused(401, "insufficient_aal");
    flows.sign_in(ANA, PASSWORD).await.ok();
}
