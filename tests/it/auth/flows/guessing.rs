//! Guessing codes.

use std::collections::HashSet;

use chrono::TimeDelta;
use futures_util::future::join_all;
use serde_json::json;

use super::support::{ANA, Answer as _, BO, Flows};

/// Attack 47. Fails when what is typed, or more than there is room for, gets into the audit log.
#[tokio::test]
async fn wrong_codes_are_logged_as_far_as_there_is_room_and_without_what_was_typed() {
    let flows = Flows::new().await;
    for n in 0..120 {
        let nobody = format!("typed{n}@example.com");
        flows
            .verify_code("email", &nobody, "123456")
            .await
            .refused(403, "otp_expired");
    }
    let noted = "select count(*) || ' ' || min(payload::text) from auth.audit_log_entries where payload ->> 'action' = 'login_failed'";
    let noted = flows.value(noted).await;
    assert!(
        noted.starts_with("100 ") && noted.contains("otp_expired"),
        "{noted}"
    );
    assert!(!noted.contains("typed"), "{noted}");
}

/// Fails when tries are not counted, or are counted in another transaction than the comparison.
#[tokio::test]
async fn a_code_is_burnt_after_five_tries() {
    let flows = Flows::new().await;
    flows.member(ANA).await;
    flows.post("/otp", json!({ "email": ANA })).await.ok();
    let mail = flows.mail().await;
    let wrong = |n: usize| {
        format!(
            "{:06}",
            (mail.code.parse::<usize>().unwrap() + n) % 1_000_000
        )
    };
    // All at once, as from many machines.
    let tries: Vec<String> = (1..=5).map(wrong).collect();
    for reply in join_all(
        tries
            .iter()
            .map(|code| flows.verify_code("email", ANA, code)),
    )
    .await
    {
        reply.refused(403, "otp_expired");
    }
    flows
        .verify_code("email", ANA, &mail.code)
        .await
        .refused(403, "otp_expired");
    assert_eq!(
        flows
            .value("select failed_attempts from auth.one_time_tokens")
            .await,
        "5"
    );
    // The link of the same mail cannot be guessed, so strangers do not burn it.
    flows.verify_hash("magiclink", &mail.token).await.ok();
}

#[tokio::test]
async fn four_wrong_codes_leave_the_right_one() {
    let flows = Flows::new().await;
    flows.member(ANA).await;
    flows.post("/otp", json!({ "email": ANA })).await.ok();
    let mail = flows.mail().await;
    for wrong in ["", "1", "abcdef", &format!("{} ", mail.code)] {
        if wrong.is_empty() {
            continue;
        }
        flows
            .verify_code("email", ANA, wrong)
            .await
            .refused(403, "otp_expired");
    }
    flows.verify_code("email", ANA, &mail.code).await.ok();
}

/// Asking for new codes does not give more guesses: twenty wrong ones a day, whether or not the address has an account,
/// which is a chance below 1 in 10,000. Fails without `begin_guess`.
#[tokio::test]
async fn an_address_has_a_budget_of_wrong_codes() {
    let flows = Flows::new().await;
    flows.member(ANA).await;
    for email in [ANA, "nobody@example.com"] {
        for n in 0..20 {
            if n % 5 == 0 && email == ANA {
                flows.later();
                flows.post("/otp", json!({ "email": ANA })).await.ok();
                flows.mail().await;
            }
            flows
                .verify_code("email", email, "wrong")
                .await
                .refused(403, "otp_expired");
        }
        let refused = flows.verify_code("email", email, "wrong").await;
        refused.refused(429, "over_request_rate_limit");
        assert!(refused.headers.contains_key("retry-after"));
    }
    flows.later();
    flows.post("/otp", json!({ "email": ANA })).await.ok();
    let mail = flows.mail().await;
    // Not even the right one; the link still works.
    flows
        .verify_code("email", ANA, &mail.code)
        .await
        .refused(429, "over_request_rate_limit");
    flows.verify_hash("magiclink", &mail.token).await.ok();
    flows.app.clock.advance(TimeDelta::days(1));
    flows.post("/otp", json!({ "email": ANA })).await.ok();
    let mail = flows.mail().await;
    flows.verify_code("email", ANA, &mail.code).await.ok();
}

/// Right codes are not counted.
#[tokio::test]
async fn signing_in_often_is_no_guessing() {
    let flows = Flows::with(&[("auth.mails_per_hour", "3600")]).await;
    flows.member(ANA).await;
    for _ in 0..25 {
        flows.later();
        flows.post("/otp", json!({ "email": ANA })).await.ok();
        let mail = flows.mail().await;
        flows.verify_code("email", ANA, &mail.code).await.ok();
    }
}

/// Fails without `count_mail`, or when it looks whether there is an account.
#[tokio::test]
async fn an_address_is_not_written_to_too_often() {
    let flows = Flows::with(&[("auth.mails_per_hour", "5")]).await;
    flows.member(ANA).await;
    for email in [ANA, BO] {
        for path in ["/recover", "/otp", "/magiclink", "/resend"] {
            let body = json!({ "email": email, "type": "signup" });
            let expected = if path == "/recover" { 200 } else { 429 };
            let reply = flows.post(path, body).await;
            assert_eq!(reply.status, expected, "{path} {email}");
            if expected == 429 {
                reply.refused(429, "over_email_send_rate_limit");
                assert_eq!(reply.headers["retry-after"], "60");
            }
        }
    }
    let mut sent = 1;
    loop {
        flows.later();
        let reply = flows.post("/recover", json!({ "email": ANA })).await;
        if reply.status != 200 {
            reply.refused(429, "over_email_send_rate_limit");
            break;
        }
        sent += 1;
        assert!(sent < 10);
    }
    assert_eq!(sent, 5);
    flows.discard().await;
}

/// Fails when link and code come from one secret, or codes are not spread evenly.
#[tokio::test]
async fn mails_hold_independent_secrets() {
    let flows = Flows::with(&[("auth.rate_limit_enabled", "false")]).await;
    flows.member(ANA).await;
    let mut seen = HashSet::new();
    for _ in 0..20 {
        flows.post("/otp", json!({ "email": ANA })).await.ok();
        let mail = flows.mail().await;
        assert!(!mail.token.contains(&mail.code));
        seen.insert(mail.token);
        seen.insert(mail.code);
    }
    // Twenty codes of a million may coincide once in five thousand runs.
    assert!(seen.len() >= 39, "{}", seen.len());
}
