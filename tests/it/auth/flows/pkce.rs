//! Flows that begin with a code challenge.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::support::{ANA, Answer as _, Flows, claims, parameters};
use crate::support::Reply;

const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk-0123456789";

fn challenge() -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, VERIFIER.as_bytes()).as_ref())
}

fn with_challenge(mut body: Value) -> Value {
    body["code_challenge"] = challenge().into();
    body["code_challenge_method"] = "s256".into();
    body
}

async fn exchange(flows: &Flows, code: &str, verifier: &str) -> Reply {
    let body = json!({ "auth_code": code, "code_verifier": verifier });
    flows.post("/token?grant_type=pkce", body).await
}

/// The code that a mailed link of `ana` ends with.
async fn code(flows: &Flows) -> String {
    flows
        .post("/otp", with_challenge(json!({ "email": ANA })))
        .await
        .ok();
    let mail = flows.mail().await;
    let location = flows.press(&mail.link).await;
    parameters(location.query())["code"].clone()
}

/// Attack 19. Fails when the prefix of a link decides how its flow ends, and not the row: `flow_id` in `verify::act`.
#[tokio::test]
async fn a_link_gives_a_code_that_the_verifier_turns_into_a_session() {
    let flows = Flows::new().await;
    flows.member(ANA).await;
    let path = "/otp?redirect_to=https%3A%2F%2Fsite.example%2Fcb%3Fsb_flow_id%3D7%26x%3D%252F";
    flows
        .post(path, with_challenge(json!({ "email": ANA })))
        .await
        .ok();
    let mail = flows.mail().await;
    assert!(mail.token.starts_with("pkce_"), "{}", mail.token);
    // The flow ends with a code however the link is written: no prefix, another type of flow.
    let bare = mail.link.replace("token=pkce_", "token=");
    let location = flows.press(&bare).await;
    let query = parameters(location.query());
    assert!(
        location
            .as_str()
            .starts_with("https://site.example/cb?sb_flow_id=7&x=%2F&code=")
    );
    assert_eq!(location.fragment(), None);
    let session = exchange(&flows, &query["code"], VERIFIER).await.ok();
    let access = session.text_at("/access_token");
    assert_eq!(claims(&access)["amr"][0]["method"], "magiclink");
    assert!(session.json().get("provider_token").is_none());
    flows.get_user(&access).await.ok();
    // Nothing of the exchange is left behind, and nothing of the code or verifier was stored.
    assert_eq!(
        flows.value("select count(*) from auth.flow_state").await,
        "0"
    );
    exchange(&flows, &query["code"], VERIFIER)
        .await
        .refused(404, "flow_state_not_found");
}

/// Fails when `exchange_code` does not compare the challenge, or the challenge may be left out.
#[tokio::test]
async fn a_code_is_worth_nothing_without_its_verifier() {
    let flows = Flows::new().await;
    flows.member(ANA).await;
    let code = code(&flows).await;
    exchange(&flows, &code, "")
        .await
        .refused(400, "validation_failed");
    exchange(&flows, "", VERIFIER)
        .await
        .refused(400, "validation_failed");
    let bare = json!({ "auth_code": code });
    flows
        .post("/token?grant_type=pkce", bare)
        .await
        .refused(400, "validation_failed");
    for wrong in ["wrong", &challenge(), &VERIFIER[1..]] {
        exchange(&flows, &code, wrong)
            .await
            .refused(400, "bad_code_verifier");
    }
    exchange(&flows, "unknown", VERIFIER)
        .await
        .refused(404, "flow_state_not_found");
    let stored = "select string_agg(f::text, ' ') from auth.flow_state f";
    let stored = flows.value(stored).await;
    assert!(
        !stored.contains(&code) && !stored.contains(VERIFIER),
        "{stored}"
    );
    // The hash that is stored is no code.
    let hash = flows
        .value("select encode(auth_code_hash, 'base64') from auth.flow_state")
        .await;
    exchange(&flows, &hash, VERIFIER)
        .await
        .refused(404, "flow_state_not_found");
    // Wrong tries have used nothing up.
    exchange(&flows, &code, VERIFIER).await.ok();
}

/// Fails when `exchange_code` reads first and deletes later.
#[tokio::test]
async fn of_many_exchanges_at_once_one_succeeds() {
    let flows = Flows::new().await;
    flows.member(ANA).await;
    let code = code(&flows).await;
    let all = join_all((0..20).map(|_| exchange(&flows, &code, VERIFIER))).await;
    let good = all.iter().filter(|reply| reply.status == 200).count();
    assert_eq!(good, 1);
    for reply in all.iter().filter(|reply| reply.status != 200) {
        reply.refused(404, "flow_state_not_found");
    }
    // One from the member's own sign-in, one from the code.
    assert_eq!(flows.value("select count(*) from auth.sessions").await, "2");
}

/// Attack 21. Take `expires_at` out of `exchange_code`, and this fails.
#[tokio::test]
async fn a_code_lives_for_five_minutes() {
    let flows = Flows::new().await;
    flows.member(ANA).await;
    let code = code(&flows).await;
    flows.app.clock.advance(TimeDelta::seconds(301));
    exchange(&flows, &code, VERIFIER)
        .await
        .refused(422, "flow_state_expired");
}

/// The code of the mail, typed where the flow began, gives the session itself, as clients expect; the link is burnt then.
#[tokio::test]
async fn a_typed_code_answers_the_client_that_sends_it() {
    let flows = Flows::new().await;
    flows.member(ANA).await;
    flows
        .post("/otp", with_challenge(json!({ "email": ANA })))
        .await
        .ok();
    let mail = flows.mail().await;
    flows.verify_code("email", ANA, &mail.code).await.ok();
    let location = flows.press(&mail.link).await;
    let (query, fragment) = (
        parameters(location.query()),
        parameters(location.fragment()),
    );
    assert_eq!(
        (query["error_code"].as_str(), query["error"].as_str()),
        ("otp_expired", "access_denied")
    );
    assert_eq!(fragment["error_code"], "otp_expired");
    assert!(!query.contains_key("code") && !fragment.contains_key("access_token"));
}

/// Fails when a challenge is taken alone, or method `plain` without the setting.
#[tokio::test]
async fn a_challenge_must_hide_the_verifier() {
    let flows = Flows::new().await;
    let refused = [
        json!({ "code_challenge": challenge() }),
        json!({ "code_challenge_method": "s256" }),
        json!({ "code_challenge": VERIFIER, "code_challenge_method": "plain" }),
        json!({ "code_challenge": "short", "code_challenge_method": "s256" }),
    ];
    for mut body in refused {
        body["email"] = ANA.into();
        body["password"] = "long enough".into();
        for path in ["/otp", "/recover", "/magiclink", "/signup"] {
            flows
                .post(path, body.clone())
                .await
                .refused(400, "validation_failed");
        }
    }
    let flows = Flows::with(&[("auth.allow_pkce_plain", "true")]).await;
    flows.member(ANA).await;
    let body =
        json!({ "email": ANA, "code_challenge": VERIFIER, "code_challenge_method": "plain" });
    flows.post("/otp", body).await.ok();
    let location = flows.press(&flows.mail().await.link).await;
    let code = parameters(location.query())["code"].clone();
    exchange(&flows, &code, &challenge())
        .await
        .refused(400, "bad_code_verifier");
    exchange(&flows, &code, VERIFIER).await.ok();
}

/// Attack 19. Fails when `verify::act` leaves the flow of one of them out.
#[tokio::test]
async fn sign_up_and_recovery_end_with_a_code_too() {
    let flows = Flows::new().await;
    let body = with_challenge(json!({ "email": ANA, "password": "long enough" }));
    flows.post("/signup", body).await.ok();
    for (template, method) in [("confirmation", "email/signup"), ("recovery", "recovery")] {
        if template == "recovery" {
            flows.later();
            let body = with_challenge(json!({ "email": ANA }));
            flows.post("/recover", body).await.ok();
        }
        let mail = flows.mail_of(template, ANA).await;
        let location = flows.press(&mail.link).await;
        let code = &parameters(location.query())["code"];
        let session = exchange(&flows, code, VERIFIER).await.ok();
        let claims = claims(&session.text_at("/access_token"));
        assert_eq!(claims["amr"][0]["method"], method);
    }
}
