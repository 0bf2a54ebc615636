//! Changes of address.

use serde_json::json;

use super::support::{ANA, Answer as _, BO, Flows, Mail, PASSWORD, parameters};

/// The token of a member who wants another address, and the mails to the old one and the new one.
async fn begun(flows: &Flows) -> (String, Mail, Mail) {
    let access = flows.member(ANA).await;
    flows.put_user(&access, json!({ "email": BO })).await.ok();
    let current = flows.mail_of("email_change", ANA).await;
    let new = flows.mail_of("email_change", BO).await;
    (access, current, new)
}

/// Fails when either half alone changes the address.
#[tokio::test]
async fn both_addresses_confirm_a_change() {
    for new_first in [false, true] {
        let flows = Flows::new().await;
        let access = flows.member(ANA).await;
        let user = flows
            .put_user(&access, json!({ "email": BO }))
            .await
            .ok()
            .json();
        assert_eq!(
            (user["email"].as_str(), user["new_email"].as_str()),
            (Some(ANA), Some(BO))
        );
        let current = flows.mail_of("email_change", ANA).await;
        let new = flows.mail_of("email_change", BO).await;
        assert_eq!(current.values["NewEmail"], BO);
        let (first, second, address) = if new_first {
            (&new, &current, ANA)
        } else {
            (&current, &new, BO)
        };
        let half = flows
            .verify_hash("email_change", &first.token)
            .await
            .ok()
            .json();
        assert_eq!(half["code"], "200");
        assert!(half["msg"].is_string() && half.get("access_token").is_none());
        flows
            .verify_hash("email_change", &first.token)
            .await
            .refused(403, "otp_expired");
        assert_eq!(flows.get_user(&access).await.ok().json()["email"], ANA);
        let session = flows
            .verify_code("email_change", address, &second.code)
            .await
            .ok();
        let user = &session.json()["user"];
        assert_eq!(user["email"], BO);
        assert!(user.get("new_email").is_none());
        assert_eq!(user["identities"][0]["identity_data"]["email"], BO);
        flows.mail_of("email_changed_notice", ANA).await;
        flows.sign_in(BO, PASSWORD).await.ok();
        flows
            .sign_in(ANA, PASSWORD)
            .await
            .refused(400, "invalid_credentials");
    }
}

#[tokio::test]
async fn a_browser_is_told_of_the_first_half() {
    let flows = Flows::new().await;
    let (_, current, new) = begun(&flows).await;
    let location = flows.press(&current.link).await;
    let message = &parameters(location.fragment())["message"];
    assert!(message.contains("other email"), "{message}");
    let location = flows.press(&new.link).await;
    assert_eq!(parameters(location.fragment())["type"], "email_change");
    assert_eq!(flows.value("select email from auth.users").await, BO);
}

#[tokio::test]
async fn the_new_address_alone_is_enough_where_that_is_set() {
    let flows = Flows::with(&[("auth.double_confirm_email_changes", "false")]).await;
    let access = flows.member(ANA).await;
    flows.put_user(&access, json!({ "email": BO })).await.ok();
    let new = flows.mail_of("email_change", BO).await;
    flows.verify_hash("email_change", &new.token).await.ok();
    assert_eq!(flows.value("select email from auth.users").await, BO);
    flows.mail_of("email_changed_notice", ANA).await;
    flows.no_mail().await;
}

/// A new wish makes what was confirmed of the older one worthless. Fails when `begin_email_change` keeps the status.
#[tokio::test]
async fn halves_of_two_changes_do_not_make_one() {
    let flows = Flows::new().await;
    let (access, current, new) = begun(&flows).await;
    flows.verify_hash("email_change", &current.token).await.ok();
    flows.later();
    let evil = "evil@example.com";
    flows.put_user(&access, json!({ "email": evil })).await.ok();
    let _current = flows.mail_of("email_change", ANA).await;
    let evil_mail = flows.mail_of("email_change", evil).await;
    flows
        .verify_hash("email_change", &new.token)
        .await
        .refused(403, "otp_expired");
    let half = flows
        .verify_hash("email_change", &evil_mail.token)
        .await
        .ok();
    assert_eq!(half.json()["code"], "200");
    assert_eq!(flows.value("select email from auth.users").await, ANA);
}

/// Fails when the expiry of one half counts as its confirmation.
#[tokio::test]
async fn a_half_that_was_never_confirmed_is_missing_for_ever() {
    let flows = Flows::new().await;
    let (_, _, new) = begun(&flows).await;
    let burn = "delete from auth.one_time_tokens where token_type = 'email_change_current'";
    flows.owner.batch_execute(burn).await.unwrap();
    let half = flows.verify_hash("email_change", &new.token).await.ok();
    assert_eq!(half.json()["code"], "200");
    assert_eq!(flows.value("select email from auth.users").await, ANA);
}

#[tokio::test]
async fn a_change_can_be_mailed_again() {
    let flows = Flows::new().await;
    let (_, older, _) = begun(&flows).await;
    flows.later();
    let body = json!({ "type": "email_change", "email": ANA });
    flows.post("/resend", body).await.ok();
    let current = flows.mail_of("email_change", ANA).await;
    let new = flows.mail_of("email_change", BO).await;
    flows
        .verify_hash("email_change", &older.token)
        .await
        .refused(403, "otp_expired");
    flows.verify_hash("email_change", &current.token).await.ok();
    flows.verify_hash("email_change", &new.token).await.ok();
    assert_eq!(flows.value("select email from auth.users").await, BO);
}

#[tokio::test]
async fn an_address_of_somebody_else_is_refused_or_kept_quiet() {
    let flows = Flows::new().await;
    flows.member(BO).await;
    let access = flows.member(ANA).await;
    flows
        .put_user(&access, json!({ "email": BO }))
        .await
        .refused(422, "email_exists");
    let strict = Flows::with(&[("auth.hide_accounts", "true")]).await;
    strict.member(BO).await;
    let access = strict.member(ANA).await;
    let user = strict.put_user(&access, json!({ "email": BO })).await.ok();
    assert_eq!(user.json()["new_email"], BO);
    strict.mail_of("email_change", ANA).await;
    strict.no_mail().await;
}

/// Somebody takes the address between the mail and its use.
#[tokio::test]
async fn an_address_that_was_taken_meanwhile_is_not_given_twice() {
    let flows = Flows::new().await;
    let (_, current, new) = begun(&flows).await;
    flows.verify_hash("email_change", &current.token).await.ok();
    flows.member(BO).await;
    flows
        .verify_hash("email_change", &new.token)
        .await
        .refused(422, "email_exists");
    assert_eq!(
        flows
            .value("select count(*) from auth.users where email = 'bo@example.com'")
            .await,
        "1"
    );
}

/// A guess must not be a guess at the codes of many accounts. Fails when a token leaves those of others for its address.
#[tokio::test]
async fn an_address_waits_for_one_account_at_a_time() {
    let flows = Flows::with(&[("auth.double_confirm_email_changes", "false")]).await;
    let first = flows.member(ANA).await;
    flows.put_user(&first, json!({ "email": BO })).await.ok();
    let older = flows.mail_of("email_change", BO).await;
    let second = flows.member("cy@example.com").await;
    flows.later();
    flows.put_user(&second, json!({ "email": BO })).await.ok();
    let newer = flows.mail_of("email_change", BO).await;
    flows
        .verify_hash("email_change", &older.token)
        .await
        .refused(403, "otp_expired");
    let session = flows.verify_code("email_change", BO, &newer.code).await;
    assert_eq!(session.ok().json()["user"]["email"], BO);
    flows
        .sign_in("cy@example.com", PASSWORD)
        .await
        .refused(400, "invalid_credentials");
}

/// A visitor who gives an address signs in by mail from then on, and the account says so. Fails when `write_providers` is
/// not called in `change::confirm`.
#[tokio::test]
async fn the_providers_of_an_account_are_named_after_a_change() {
    let flows = Flows::with(&[("auth.anonymous_enabled", "true")]).await;
    let session = flows.post("/signup", json!({})).await.ok();
    let access = session.text_at("/access_token");
    flows.put_user(&access, json!({ "email": BO })).await.ok();
    let mail = flows.mail_of("email_change", BO).await;
    let changed = flows.verify_hash("email_change", &mail.token).await.ok();
    let user = &changed.json()["user"];
    assert_eq!(user["id"], session.json()["user"]["id"]);
    assert_eq!(
        user["app_metadata"],
        json!({ "provider": "email", "providers": ["email"] })
    );
}
