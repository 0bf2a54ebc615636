//! Authenticator apps: enrolment, codes, replays, guesses.

use futures_util::future::join_all;
use serde_json::json;

use crate::auth::support::{App, PASSWORD, claims, logs};

const STATE: &str = "select concat_ws(' ', status, failures) from auth.mfa_factors";

#[tokio::test]
async fn an_app_is_enrolled_and_verified_as_clients_do_it() {
    let app = App::new().await;
    let session = app.sign_up("ana@example.com").await.ok();
    let access = session.access_token();
    let body = json!({"factor_type": "totp", "friendly_name": "phone", "issuer": "Shop"});
    let enrolled = app.call("POST", "/factors", access, body).await.ok();
    assert_eq!(enrolled.body["type"], "totp");
    assert_eq!(enrolled.body["friendly_name"], "phone");
    assert!(enrolled.text("/totp/qr_code").starts_with("<svg"));
    let uri = format!(
        "otpauth://totp/Shop:ana%40example.com?secret={}&issuer=Shop",
        enrolled.text("/totp/secret")
    );
    assert_eq!(enrolled.text("/totp/uri"), uri);
    let user = app.get_user(access).await.ok();
    assert_eq!(
        user.body["factors"],
        json!([{
            "id": enrolled.body["id"],
            "friendly_name": "phone",
            "factor_type": "totp",
            "status": "unverified",
            "created_at": "2026-01-01T12:00:00Z",
            "updated_at": "2026-01-01T12:00:00Z",
        }])
    );
    let id = enrolled.text("/id").to_owned();
    let path = format!("/factors/{id}/challenge");
    // The body as the library sends it.
    let body = json!({"factorId": id});
    let challenge = app.call("POST", &path, access, body).await.ok();
    assert_eq!(challenge.body["type"], "totp");
    assert_eq!(
        challenge.body["expires_at"],
        app.clock.now().timestamp() + 300
    );
    let totp = super::support::Totp {
        id,
        secret: enrolled.text("/totp/secret").to_owned(),
    };
    let wrong = totp.wrong_code(&app);
    let asked = challenge.text("/id");
    let refused = app.answer(access, &totp.id, asked, &wrong).await;
    refused.refused(422, "mfa_verification_failed");
    assert_eq!(refused.text("/message"), "Invalid TOTP code entered");
    app.advance(7);
    let raised = app
        .answer(access, &totp.id, asked, &totp.code(&app))
        .await
        .ok();
    let claims = claims(raised.access_token());
    assert_eq!(claims["aal"], "aal2");
    let now = app.clock.now().timestamp();
    assert_eq!(
        claims["amr"],
        json!([{"method": "totp", "timestamp": now}, {"method": "password", "timestamp": now - 7}])
    );
    assert_eq!(raised.text("/user/factors/0/status"), "verified");
    assert_eq!(
        raised.text("/user/factors/0/last_challenged_at"),
        "2026-01-01T12:00:00Z"
    );
    assert_eq!(app.value(STATE).await, "verified 0");
    assert_eq!(
        app.audit().await,
        "user_signedup factor_in_progress challenge_created verification_attempted verification_attempted"
    );
    let listed = app.value(
        "select authentication_method from auth.mfa_amr_claims order by created_at desc limit 1",
    );
    assert_eq!(listed.await, "totp");
}

#[tokio::test]
async fn users_without_factors_look_as_before() {
    let app = App::new().await;
    let session = app.sign_up("ana@example.com").await.ok();
    assert_eq!(session.body["user"].get("factors"), None);
    let (raised, totp) = app.with_totp("bo@example.com").await;
    let path = format!("/factors/{}", totp.id);
    let removed = app
        .call("DELETE", &path, raised.access_token(), json!({}))
        .await;
    assert_eq!(removed.ok().body, json!({"id": totp.id}));
    let user = app.get_user(raised.access_token()).await.ok();
    assert_eq!(user.body.get("factors"), None);
}

/// Attack 36. Fails without `last_step` in `accept_step` and `totp::check`.
#[tokio::test]
async fn a_code_is_good_once_whatever_the_challenge_and_the_session() {
    let app = App::new().await;
    let (raised, totp) = app.with_totp("ana@example.com").await;
    let access = raised.access_token();
    let code = totp.code(&app);
    app.verify(access, &totp).await.ok();
    // In its window, for a new challenge, and in another session.
    for _ in 0..2 {
        let again = app.challenge(access, &totp.id).await;
        app.answer(access, &totp.id, &again, &code)
            .await
            .refused(422, "mfa_verification_failed");
        app.advance(10);
    }
    let other = app.sign_in("ana@example.com", PASSWORD).await.ok();
    let challenge = app.challenge(other.access_token(), &totp.id).await;
    app.answer(other.access_token(), &totp.id, &challenge, &code)
        .await
        .refused(422, "mfa_verification_failed");
    // The one before it, which the skew would allow.
    let earlier = totp.code_in(&app, -30);
    app.answer(other.access_token(), &totp.id, &challenge, &earlier)
        .await
        .refused(422, "mfa_verification_failed");
    app.advance(30);
    app.verify(other.access_token(), &totp).await.ok();
}

/// Attack 36, at once. Fails without both the lock of the user (`Subject::lock`) and the condition in `accept_step`.
#[tokio::test]
async fn parallel_use_of_a_code_succeeds_once() {
    let app = App::new().await;
    let (raised, totp) = app.with_totp("ana@example.com").await;
    let access = raised.access_token();
    let mut challenges = Vec::new();
    for _ in 0..4 {
        challenges.push(app.challenge(access, &totp.id).await);
    }
    let code = totp.code(&app);
    // All of them have begun before the first may go on.
    let hold = "begin; select 1 from auth.mfa_factors for update";
    app.owner.batch_execute(hold).await.unwrap();
    let released = async {
        app.wait_for_blocked(4).await;
        app.owner.batch_execute("commit").await.unwrap();
    };
    let answers = challenges
        .iter()
        .map(|challenge| app.answer(access, &totp.id, challenge, &code));
    let (replies, ()) = tokio::join!(join_all(answers), released);
    let right = replies.iter().filter(|reply| reply.status == 200).count();
    assert_eq!(right, 1);
    for reply in replies.iter().filter(|reply| reply.status != 200) {
        reply.refused(422, "mfa_verification_failed");
    }
}

#[tokio::test]
async fn a_challenge_is_for_one_session_one_answer_and_five_minutes() {
    let app = App::new().await;
    let (raised, totp) = app.with_totp("ana@example.com").await;
    let access = raised.access_token();
    let other = app.sign_in("ana@example.com", PASSWORD).await.ok();
    let theirs = app.challenge(other.access_token(), &totp.id).await;
    app.answer(access, &totp.id, &theirs, &totp.code(&app))
        .await
        .refused(404, "mfa_factor_not_found");
    let mine = app.challenge(access, &totp.id).await;
    app.advance(299);
    app.answer(access, &totp.id, &mine, &totp.code(&app))
        .await
        .ok();
    app.advance(60);
    app.answer(access, &totp.id, &mine, &totp.code(&app))
        .await
        .refused(404, "mfa_factor_not_found");
    let late = app.challenge(access, &totp.id).await;
    app.advance(300);
    app.answer(access, &totp.id, &late, &totp.code(&app))
        .await
        .refused(422, "mfa_challenge_expired");
    let unknown = "00000000-0000-4000-8000-000000000000";
    app.answer(access, &totp.id, unknown, &totp.code(&app))
        .await
        .refused(404, "mfa_factor_not_found");
}

/// Fails without `failures::count`. The counter is the factor's: new challenges and new sessions do not refill it.
#[tokio::test]
async fn guesses_wait_longer_and_longer_and_end_the_session() {
    let app = App::new().await;
    let (raised, totp) = app.with_totp("ana@example.com").await;
    drop(raised);
    let session = app.sign_in("ana@example.com", PASSWORD).await.ok();
    let access = session.access_token();
    for failures in 1..=10 {
        let challenge = app.challenge(access, &totp.id).await;
        let wrong = totp.wrong_code(&app);
        app.answer(access, &totp.id, &challenge, &wrong)
            .await
            .refused(422, "mfa_verification_failed");
        if failures == 10 {
            break;
        }
        let delay = match failures {
            ..5 => 0,
            _ => 1 << (failures - 5),
        };
        if delay > 0 {
            // The right one too.
            let code = totp.code(&app);
            let reply = app.answer(access, &totp.id, &challenge, &code).await;
            reply.refused(429, "over_request_rate_limit");
            assert_eq!(reply.header("retry-after"), delay.to_string());
        }
        app.advance(delay);
    }
    app.get_user(access).await.refused(403, "session_not_found");
    let next = app.sign_in("ana@example.com", PASSWORD).await.ok();
    let access = next.access_token();
    let challenge = app.challenge(access, &totp.id).await;
    app.answer(access, &totp.id, &challenge, &totp.code(&app))
        .await
        .refused(429, "over_request_rate_limit");
    app.advance(32);
    app.verify(access, &totp).await.ok();
    assert_eq!(app.value(STATE).await, "verified 0");
}

/// Fails when the failures are counted anywhere but in the transaction that holds the lock.
#[tokio::test]
async fn parallel_guesses_are_all_counted() {
    let app = App::new().await;
    let (raised, totp) = app.with_totp("ana@example.com").await;
    let access = raised.access_token();
    let challenge = app.challenge(access, &totp.id).await;
    let wrong = totp.wrong_code(&app);
    let guesses = (0..12).map(|_| app.answer(access, &totp.id, &challenge, &wrong));
    let replies = join_all(guesses).await;
    let looked_at = replies.iter().filter(|reply| reply.status == 422).count();
    assert_eq!(looked_at, 5);
    assert_eq!(app.value(STATE).await, "verified 5");
}

#[tokio::test]
async fn factors_have_a_limit_and_names_of_their_own() {
    let app = App::with_settings(&[("auth.mfa_max_factors", "2")]).await;
    let session = app.sign_up("ana@example.com").await.ok();
    let access = session.access_token();
    let enroll = |name: &'static str| {
        let body = json!({"factor_type": "totp", "friendly_name": name});
        app.call("POST", "/factors", access, body)
    };
    enroll("one").await.ok();
    enroll("one").await.refused(422, "mfa_factor_name_conflict");
    enroll("").await.ok();
    enroll("three")
        .await
        .refused(422, "too_many_enrolled_mfa_factors");
    // What was begun and never used does not count for ever.
    app.advance(301);
    enroll("one").await.ok();
    let user = app.get_user(access).await.ok();
    assert_eq!(user.body["factors"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn parallel_enrolments_stay_within_the_limit() {
    let app = App::with_settings(&[("auth.mfa_max_factors", "3")]).await;
    let session = app.sign_up("ana@example.com").await.ok();
    let enrolments = (0..8).map(|_| {
        let body = json!({"factor_type": "totp"});
        app.call("POST", "/factors", session.access_token(), body)
    });
    let replies = join_all(enrolments).await;
    let enrolled = replies.iter().filter(|reply| reply.status == 200).count();
    assert_eq!(enrolled, 3);
    let user = app.get_user(session.access_token()).await.ok();
    assert_eq!(user.body["factors"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn bad_input_is_told() {
    let app = App::new().await;
    let session = app.sign_up("ana@example.com").await.ok();
    let access = session.access_token();
    for (body, status, code) in [
        (json!({}), 400, "validation_failed"),
        (json!({"factor_type": "sms"}), 400, "validation_failed"),
        (
            json!({"factor_type": "recovery_code"}),
            400,
            "validation_failed",
        ),
        (json!({"factor_type": 7}), 400, "validation_failed"),
        (
            json!({"factor_type": "phone", "phone": "+4912345"}),
            422,
            "mfa_phone_enroll_not_enabled",
        ),
        (
            json!({"factor_type": "totp", "friendly_name": "a\0b"}),
            400,
            "validation_failed",
        ),
        (
            json!({"factor_type": "totp", "friendly_name": "x".repeat(121)}),
            400,
            "validation_failed",
        ),
    ] {
        app.call("POST", "/factors", access, body)
            .await
            .refused(status, code);
    }
    let long = json!({"factor_type": "totp", "issuer": "\u{10ffff}:\0".repeat(999)});
    app.call("POST", "/factors", access, long).await.ok();
    let totp = app.enroll(access, "phone").await;
    let path = format!("/factors/{}/verify", totp.id);
    for body in [
        json!({}),
        json!({"challenge_id": "x", "code": "000000"}),
        json!({"code": "000000"}),
        json!({"challenge_id": totp.id}),
        json!({"challenge_id": totp.id, "code": 0}),
    ] {
        app.call("POST", &path, access, body)
            .await
            .refused(400, "validation_failed");
    }
    for code in [
        "",
        "0",
        "+00000",
        "0000000",
        "00 000",
        "０００００0",
        "\0",
        "-00001",
    ] {
        let challenge = app.challenge(access, &totp.id).await;
        app.advance(60);
        app.answer(access, &totp.id, &challenge, code)
            .await
            .refused(422, "mfa_verification_failed");
    }
    for path in ["/factors/x/verify", "/factors/x/challenge"] {
        app.call("POST", path, access, json!({}))
            .await
            .refused(404, "validation_failed");
    }
    app.request("POST", "/factors")
        .json(json!({"factor_type": "totp"}))
        .send()
        .await
        .refused(401, "no_authorization");
}

#[tokio::test]
async fn kinds_can_be_switched_off() {
    let app = App::new().await;
    let (raised, totp) = app.with_totp("ana@example.com").await;
    let mut config = (*app.config.current()).clone();
    config.auth.mfa_totp_enroll_enabled = false;
    config.auth.mfa_totp_verify_enabled = false;
    app.config.replace(config);
    let access = raised.access_token();
    app.call("POST", "/factors", access, json!({"factor_type": "totp"}))
        .await
        .refused(422, "mfa_totp_enroll_not_enabled");
    let path = format!("/factors/{}/challenge", totp.id);
    app.call("POST", &path, access, json!({}))
        .await
        .refused(422, "mfa_totp_verify_not_enabled");
}

#[tokio::test]
async fn factors_of_others_do_not_exist() {
    let app = App::new().await;
    let (_, theirs) = app.with_totp("ana@example.com").await;
    let session = app.sign_up("bo@example.com").await.ok();
    let access = session.access_token();
    for (method, tail) in [("POST", "/challenge"), ("DELETE", "")] {
        let path = format!("/factors/{}{tail}", theirs.id);
        app.call(method, &path, access, json!({}))
            .await
            .refused(404, "mfa_factor_not_found");
    }
    let unknown = "00000000-0000-4000-8000-000000000000";
    app.answer(access, &theirs.id, unknown, "000000")
        .await
        .refused(404, "mfa_factor_not_found");
}

#[tokio::test]
async fn the_secret_is_sealed_and_shown_once() {
    let app = App::new().await;
    let (raised, totp) = app.with_totp("ana@example.com").await;
    let user = app.get_user(raised.access_token()).await.ok();
    let id = user.text("/id");
    let admin = app.admin("GET", &format!("/{id}"), json!({})).await.ok();
    let listed = app
        .admin("GET", &format!("/{id}/factors"), json!({}))
        .await
        .ok();
    for text in [&raised.body, &user.body, &admin.body, &listed.body] {
        assert!(!text.to_string().contains(&totp.secret) && !text.to_string().contains("secret"));
    }
    let stored = "select string_agg(t.x, ' ') from (select f::text as x from auth.mfa_factors f union all select u::text from auth.users u union all select a::text from auth.audit_log_entries a) t";
    assert!(!app.value(stored).await.contains(&totp.secret));
    let logged = String::from_utf8(logs().lock().unwrap().clone()).unwrap();
    assert!(!logged.contains(&totp.secret));
    // Another user's row does not open it.
    let (other, swapped) = app.with_totp("bo@example.com").await;
    let swap = format!(
        "update auth.mfa_factors set secret = (select secret from auth.mfa_factors where id = '{}') where id = '{}'",
        totp.id, swapped.id
    );
    app.owner.batch_execute(&swap).await.unwrap();
    let challenge = app.challenge(other.access_token(), &swapped.id).await;
    app.answer(
        other.access_token(),
        &swapped.id,
        &challenge,
        &totp.code(&app),
    )
    .await
    .refused(500, "unexpected_failure");
}
