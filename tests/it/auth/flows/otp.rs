//! Signing in with a mailed link or code.

use serde_json::json;

use super::support::{ANA, Answer as _, BO, Flows, PASSWORD, claims, parameters};

#[tokio::test]
async fn a_member_signs_in_with_a_code_or_a_link() {
    let flows = Flows::new().await;
    flows.member(ANA).await;
    let body = json!({ "email": ANA, "create_user": false, "data": {}, "code_challenge": null });
    assert_eq!(flows.post("/otp", body).await.ok().json(), json!({}));
    let mail = flows.mail_of("magic_link", ANA).await;
    assert!(mail.code.len() == 6 && mail.code.bytes().all(|byte| byte.is_ascii_digit()));
    let session = flows.verify_code("email", ANA, &mail.code).await.ok();
    let access = session.text_at("/access_token");
    assert_eq!(claims(&access)["amr"][0]["method"], "otp");
    // The password of a confirmed account stays.
    flows.sign_in(ANA, PASSWORD).await.ok();
    flows.later();
    flows.post("/magiclink", json!({ "email": ANA })).await.ok();
    let mail = flows.mail_of("magic_link", ANA).await;
    let location = flows.press(&mail.link).await;
    let tokens = parameters(location.fragment());
    assert_eq!(tokens["type"], "magiclink");
    assert_eq!(
        claims(&tokens["access_token"])["amr"][0]["method"],
        "magiclink"
    );
    assert!(location.as_str().starts_with("https://site.example/app#"));
}

#[tokio::test]
async fn an_unknown_address_gets_an_account() {
    let flows = Flows::new().await;
    let body = json!({ "email": BO, "data": { "nick": "bo" } });
    flows.post("/otp", body).await.ok();
    let mail = flows.mail_of("confirmation", BO).await;
    let session = flows.verify_code("email", BO, &mail.code).await.ok().json();
    assert_eq!(session["user"]["user_metadata"]["nick"], "bo");
    assert!(session["user"]["email_confirmed_at"].is_string());
}

#[tokio::test]
async fn without_confirmations_a_new_address_gets_a_link_to_sign_in() {
    let flows = Flows::with(&[("auth.require_email_confirmation", "false")]).await;
    flows.post("/otp", json!({ "email": BO })).await.ok();
    let mail = flows.mail_of("magic_link", BO).await;
    let session = flows.verify_code("magiclink", BO, &mail.code).await.ok();
    assert!(session.json()["user"]["email_confirmed_at"].is_string());
}

#[tokio::test]
async fn accounts_are_made_only_where_that_is_wanted() {
    let flows = Flows::new().await;
    let body = json!({ "email": BO, "create_user": false });
    flows
        .post("/otp", body.clone())
        .await
        .refused(422, "otp_disabled");
    let closed = Flows::with(&[("auth.disable_signup", "true")]).await;
    let open = json!({ "email": BO });
    closed
        .post("/otp", open)
        .await
        .refused(422, "signup_disabled");
    closed.no_mail().await;
    let strict = Flows::with(&[("auth.hide_accounts", "true")]).await;
    strict.post("/otp", body).await.ok();
    strict.no_mail().await;
    assert_eq!(strict.value("select count(*) from auth.users").await, "0");
    strict.later();
    strict.post("/otp", json!({ "email": BO })).await.ok();
    let mail = strict.mail_of("confirmation", BO).await;
    strict.verify_code("email", BO, &mail.code).await.ok();
}

#[tokio::test]
async fn the_routes_of_supython_lead_to_the_same() {
    let flows = Flows::new().await;
    flows.member(ANA).await;
    flows.post("/otp", json!({ "email": ANA })).await.ok();
    let mail = flows.mail().await;
    let body = json!({ "email": ANA, "token": mail.code });
    flows.post("/otp/verify", body).await.ok();
    flows.later();
    flows.post("/magiclink", json!({ "email": ANA })).await.ok();
    let mail = flows.mail().await;
    let page = format!(
        "http://sb.test/auth/v1/magiclink/verify?token={}",
        mail.token
    );
    let page = flows.open("GET", &page).await;
    assert!(page.text().contains("<button"), "{}", page.text());
    let path = format!("/magiclink/verify?token={}", mail.token);
    flows.post(&path, json!({})).await.ok();
    flows.sign_up(BO, PASSWORD).await.ok();
    let mail = flows.mail().await;
    let path = format!("/confirm/verify?token={}", mail.token);
    flows.post(&path, json!({})).await.ok();
    flows
        .post(&path, json!({}))
        .await
        .refused(403, "otp_expired");
}

#[tokio::test]
async fn a_banned_user_gets_no_session_from_a_mail() {
    let flows = Flows::new().await;
    flows.member(ANA).await;
    flows.post("/otp", json!({ "email": ANA })).await.ok();
    let mail = flows.mail().await;
    let ban = "update auth.users set banned_until = 'infinity'";
    flows.owner.batch_execute(ban).await.unwrap();
    flows
        .verify_code("email", ANA, &mail.code)
        .await
        .refused(400, "user_banned");
    let location = flows.press(&mail.link).await;
    assert_eq!(parameters(location.fragment())["error_code"], "user_banned");
}
