//! Phones as second factors, what the project's hook says to verifications, and the mails about factors.

use std::sync::{Arc, Mutex};

use sb::auth::{Extensions, MfaAttempt, MfaDecision, SmsMessage};
use serde_json::json;

use crate::auth::support::{App, Options, PASSWORD, Reply, claims};

/// What was sent to phones.
type Sent = Arc<Mutex<Vec<SmsMessage>>>;

async fn app_with_phones() -> (App, Sent) {
    let sent = Sent::default();
    let into = Arc::clone(&sent);
    let extensions = Extensions::default().send_sms(move |_, message| {
        into.lock().unwrap().push(message);
        std::future::ready(Ok(()))
    });
    let app = App::with(Options {
        settings: vec![("auth.mfa_phone_enroll_enabled", "true")],
        extensions,
        ..Options::default()
    })
    .await;
    (app, sent)
}

fn last_code(sent: &Sent) -> String {
    sent.lock().unwrap().last().unwrap().otp.clone()
}

async fn enroll(app: &App, access_token: &str) -> Reply {
    let body = json!({"factor_type": "phone", "friendly_name": "phone", "phone": "+4915112345678"});
    app.call("POST", "/factors", access_token, body).await
}

async fn challenge(app: &App, access_token: &str, id: &str) -> Reply {
    let path = format!("/factors/{id}/challenge");
    let body = json!({"factorId": id, "channel": "sms"});
    app.call("POST", &path, access_token, body).await
}

#[tokio::test]
async fn a_phone_is_enrolled_and_verified_by_a_code_it_gets() {
    let (app, sent) = app_with_phones().await;
    let session = app.sign_up("ana@example.com").await.ok();
    let access = session.access_token();
    let enrolled = enroll(&app, access).await.ok();
    assert_eq!(enrolled.body["type"], "phone");
    assert_eq!(enrolled.body["phone"], "4915112345678");
    let id = enrolled.text("/id");
    let asked = challenge(&app, access, id).await.ok();
    assert_eq!(asked.body["type"], "phone");
    {
        let sent = sent.lock().unwrap();
        assert_eq!((sent.len(), sent[0].phone.as_str()), (1, "4915112345678"));
    }
    let code = last_code(&sent);
    let stored = "select otp_code from auth.mfa_challenges";
    assert!(!app.value(stored).await.contains(&code));
    let wrong = if code == "000000" { "000001" } else { "000000" };
    let refused = app.answer(access, id, asked.text("/id"), wrong).await;
    refused.refused(422, "mfa_verification_failed");
    assert_eq!(refused.text("/message"), "Invalid MFA Phone code entered");
    let raised = app.answer(access, id, asked.text("/id"), &code).await.ok();
    let claims = claims(raised.access_token());
    assert_eq!(
        (&claims["aal"], &claims["amr"][0]["method"]),
        (&json!("aal2"), &json!("mfa/phone"))
    );
    assert_eq!(raised.text("/user/factors/0/phone"), "4915112345678");
    // Each code is good once, and for its own challenge.
    app.answer(raised.access_token(), id, asked.text("/id"), &code)
        .await
        .refused(404, "mfa_factor_not_found");
    enroll(&app, raised.access_token())
        .await
        .refused(422, "mfa_verified_factor_exists");
    challenge(&app, raised.access_token(), id)
        .await
        .refused(429, "over_sms_send_rate_limit");
    app.advance(60);
    let next = challenge(&app, raised.access_token(), id).await.ok();
    app.answer(raised.access_token(), id, next.text("/id"), &code)
        .await
        .refused(422, "mfa_verification_failed");
    let new = last_code(&sent);
    app.answer(raised.access_token(), id, next.text("/id"), &new)
        .await
        .ok();
}

#[tokio::test]
async fn guesses_are_counted_across_codes() {
    let (app, sent) = app_with_phones().await;
    let session = app.sign_up("ana@example.com").await.ok();
    let access = session.access_token();
    let enrolled = enroll(&app, access).await.ok();
    let id = enrolled.text("/id");
    for round in 0..2 {
        let asked = challenge(&app, access, id).await.ok();
        let code = last_code(&sent);
        let wrong = if code == "000000" { "000001" } else { "000000" };
        for _ in 0..(3 - round) {
            app.answer(access, id, asked.text("/id"), wrong)
                .await
                .refused(422, "mfa_verification_failed");
        }
        if round == 1 {
            app.answer(access, id, asked.text("/id"), &code)
                .await
                .refused(429, "over_request_rate_limit");
        }
        app.advance(61);
    }
}

#[tokio::test]
async fn phones_need_a_setting_a_sender_and_a_number() {
    let (app, _) = app_with_phones().await;
    let session = app.sign_up("ana@example.com").await.ok();
    let body = json!({"factor_type": "phone", "phone": "nonsense"});
    app.call("POST", "/factors", session.access_token(), body)
        .await
        .refused(400, "validation_failed");
    let enrolled = enroll(&app, session.access_token()).await.ok();
    // One that was begun is begun again.
    let again = enroll(&app, session.access_token()).await.ok();
    assert_ne!(enrolled.text("/id"), again.text("/id"));
    let path = format!("/factors/{}/challenge", again.text("/id"));
    let body = json!({"channel": "pigeon"});
    app.call("POST", &path, session.access_token(), body)
        .await
        .refused(400, "validation_failed");
    let plain = App::with_settings(&[("auth.mfa_phone_enroll_enabled", "true")]).await;
    let session = plain.sign_up("ana@example.com").await.ok();
    enroll(&plain, session.access_token())
        .await
        .refused(422, "mfa_phone_enroll_not_enabled");
    // As it is when nobody sets anything.
    let (app, _) = app_with_phones().await;
    let mut config = (*app.config.current()).clone();
    config.auth.mfa_phone_enroll_enabled =
        sb::config::Config::default().auth.mfa_phone_enroll_enabled;
    app.config.replace(config.clone());
    let session = app.sign_up("ana@example.com").await.ok();
    enroll(&app, session.access_token())
        .await
        .refused(422, "mfa_phone_enroll_not_enabled");
    // Enrolled before, and switched off since.
    config.auth.mfa_phone_enroll_enabled = true;
    app.config.replace(config.clone());
    let enrolled = enroll(&app, session.access_token()).await.ok();
    config.auth.mfa_phone_verify_enabled = false;
    app.config.replace(config);
    challenge(&app, session.access_token(), enrolled.text("/id"))
        .await
        .refused(422, "mfa_phone_verify_not_enabled");
}

/// Fails without `check_mfa_attempt` in `verify::conclude`.
#[tokio::test]
async fn the_hook_hears_of_every_attempt_and_may_refuse() {
    let heard: Arc<Mutex<Vec<MfaAttempt>>> = Arc::default();
    let into = Arc::clone(&heard);
    let extensions = Extensions::default().mfa_verification_attempt(move |_, attempt| {
        let mut heard = into.lock().unwrap();
        heard.push(attempt);
        let refused = heard.len() == 3;
        let decision = if refused {
            MfaDecision::Reject("not today".to_owned())
        } else {
            MfaDecision::Continue
        };
        std::future::ready(Ok(decision))
    });
    let app = App::with(Options {
        extensions,
        ..Options::default()
    })
    .await;
    let session = app.sign_up("ana@example.com").await.ok();
    let totp = app.enroll(session.access_token(), "phone").await;
    let asked = app.challenge(session.access_token(), &totp.id).await;
    let wrong = totp.wrong_code(&app);
    app.answer(session.access_token(), &totp.id, &asked, &wrong)
        .await
        .refused(422, "mfa_verification_failed");
    let raised = app.verify(session.access_token(), &totp).await.ok();
    app.advance(30);
    let reply = app.verify(raised.access_token(), &totp).await;
    reply.refused(403, "mfa_verification_rejected");
    assert_eq!(reply.text("/message"), "not today");
    app.get_user(raised.access_token())
        .await
        .refused(403, "session_not_found");
    let heard = heard.lock().unwrap();
    let valid: Vec<bool> = heard.iter().map(|attempt| attempt.valid).collect();
    assert_eq!(valid, [false, true, true]);
    assert_eq!(heard[0].factor_type, "totp");
    assert_eq!(heard[0].factor_id.to_string(), totp.id);
}

#[tokio::test]
async fn users_are_told_of_new_and_removed_factors() {
    let app = App::new().await;
    let (raised, totp) = app.with_totp("ana@example.com").await;
    let mails = "select count(*) from jobs.jobs where name = 'mail.send'";
    assert_eq!(app.value(mails).await, "1");
    // A sign-in with it is nothing to tell.
    let session = app.sign_in("ana@example.com", PASSWORD).await.ok();
    app.verify(session.access_token(), &totp).await.ok();
    assert_eq!(app.value(mails).await, "1");
    let path = format!("/factors/{}", totp.id);
    app.call("DELETE", &path, raised.access_token(), json!({}))
        .await
        .ok();
    assert_eq!(app.value(mails).await, "2");
}
