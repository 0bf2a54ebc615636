//! Recovery codes: for who has lost the other factors.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::auth::support::{App, PASSWORD, Reply, claims};

const PATH: &str = "/factors/recovery-codes";

async fn generate(app: &App, access_token: &str) -> (Value, Vec<String>) {
    let made = app.call("POST", PATH, access_token, json!({})).await.ok();
    let codes = made.body["codes"].as_array().unwrap();
    let codes = codes.iter().map(|code| code.as_str().unwrap().to_owned());
    (made.body.clone(), codes.collect())
}

async fn verify(app: &App, access_token: &str, code: &str) -> Reply {
    let path = format!("{PATH}/verify");
    app.call("POST", &path, access_token, json!({"code": code}))
        .await
}

#[tokio::test]
async fn a_code_stands_in_for_a_lost_factor_once() {
    let app = App::new().await;
    let (raised, _) = app.with_totp("ana@example.com").await;
    // Without a body, as the library sends it.
    let made = app
        .as_user("POST", PATH, raised.access_token())
        .send()
        .await
        .ok();
    assert_eq!(made.body["type"], "recovery_code");
    assert_eq!(made.body["friendly_name"], "Recovery codes");
    assert_eq!(made.body["total"], 10);
    let codes = made.body["codes"].as_array().unwrap().clone();
    assert_eq!(codes.len(), 10);
    let session = app.sign_in("ana@example.com", PASSWORD).await.ok();
    let access = session.access_token();
    let kinds: Vec<&str> = (0..2)
        .map(|n| session.text(&format!("/user/factors/{n}/factor_type")))
        .collect();
    assert_eq!(kinds, ["totp", "recovery_code"]);
    let code = codes[3].as_str().unwrap();
    let typed = format!(" {} ", code.to_lowercase().replace('-', " "));
    let used = verify(&app, access, &typed).await.ok();
    let claims = claims(used.access_token());
    assert_eq!(claims["aal"], "aal2");
    assert_eq!(claims["amr"][0]["method"], "mfa/recovery_code");
    verify(&app, used.access_token(), code)
        .await
        .refused(422, "mfa_verification_failed");
    let status = app.call("GET", PATH, access, json!({})).await.ok();
    assert_eq!(
        status.body,
        json!({"id": made.body["id"], "type": "recovery_code", "total": 10, "remaining": 9})
    );
    let stored = "select string_agg(encode(code_hash, 'escape'), ' ') from auth.mfa_recovery_codes";
    assert!(!app.value(stored).await.contains(&code.replace('-', "")));
}

/// Fails without `used_at is null` in `accept_recovery_code`.
#[tokio::test]
async fn parallel_use_of_a_code_succeeds_once() {
    let app = App::new().await;
    let (raised, _) = app.with_totp("ana@example.com").await;
    let (_, codes) = generate(&app, raised.access_token()).await;
    let session = app.sign_in("ana@example.com", PASSWORD).await.ok();
    let uses = (0..6).map(|_| verify(&app, session.access_token(), &codes[0]));
    let replies = join_all(uses).await;
    assert_eq!(
        replies.iter().filter(|reply| reply.status == 200).count(),
        1
    );
    let status = app
        .call("GET", PATH, raised.access_token(), json!({}))
        .await;
    assert_eq!(status.ok().body["remaining"], 9);
}

#[tokio::test]
async fn codes_need_another_factor_and_go_with_the_last_one() {
    let app = App::new().await;
    let session = app.sign_up("ana@example.com").await.ok();
    let access = session.access_token();
    app.call("GET", PATH, access, json!({}))
        .await
        .refused(404, "mfa_factor_not_found");
    verify(&app, access, "AAAA-AAAA-AAAA-AAAA")
        .await
        .refused(404, "mfa_factor_not_found");
    app.call("POST", PATH, access, json!({}))
        .await
        .refused(401, "insufficient_aal");
    let totp = app.enroll(access, "phone").await;
    let raised = app.verify(access, &totp).await.ok();
    let access = raised.access_token();
    let regenerate = format!("{PATH}/regenerate");
    app.call("POST", &regenerate, access, json!({}))
        .await
        .refused(404, "mfa_factor_not_found");
    let taken = json!({"friendly_name": "phone"});
    app.call("POST", PATH, access, taken)
        .await
        .refused(422, "mfa_factor_name_conflict");
    generate(&app, access).await;
    app.call("POST", PATH, access, json!({}))
        .await
        .refused(422, "mfa_verified_factor_exists");
    let path = format!("/factors/{}", totp.id);
    app.call("DELETE", &path, access, json!({})).await.ok();
    let user = app.get_user(access).await.ok();
    assert_eq!(user.body.get("factors"), None);
}

#[tokio::test]
async fn new_codes_replace_the_old_ones() {
    let app = App::new().await;
    let (raised, _) = app.with_totp("ana@example.com").await;
    let access = raised.access_token();
    let (made, old) = generate(&app, access).await;
    let path = format!("{PATH}/regenerate");
    let again = app.as_user("POST", &path, access).send().await.ok();
    assert_eq!(again.body["id"], made["id"]);
    verify(&app, access, &old[0])
        .await
        .refused(422, "mfa_verification_failed");
    let new = again.text("/codes/0");
    let used = verify(&app, access, new).await.ok();
    let removed = app
        .call("DELETE", PATH, used.access_token(), json!({}))
        .await
        .ok();
    assert_eq!(removed.body, json!({"id": made["id"]}));
    app.call("GET", PATH, used.access_token(), json!({}))
        .await
        .refused(404, "mfa_factor_not_found");
}

#[tokio::test]
async fn guesses_lock_the_codes_and_nothing_else() {
    let app = App::new().await;
    let (raised, totp) = app.with_totp("ana@example.com").await;
    let (_, codes) = generate(&app, raised.access_token()).await;
    let session = app.sign_in("ana@example.com", PASSWORD).await.ok();
    for _ in 0..5 {
        verify(&app, session.access_token(), "AAAA-AAAA-AAAA-AAAA")
            .await
            .refused(422, "mfa_verification_failed");
    }
    let locked = verify(&app, session.access_token(), &codes[0]).await;
    locked.refused(429, "mfa_recovery_codes_locked");
    assert_eq!(locked.header("retry-after"), "1");
    app.verify(session.access_token(), &totp).await.ok();
    // New ones unlock.
    let path = format!("{PATH}/regenerate");
    let again = app
        .call("POST", &path, raised.access_token(), json!({}))
        .await
        .ok();
    verify(&app, raised.access_token(), again.text("/codes/0"))
        .await
        .ok();
}

#[tokio::test]
async fn codes_can_be_switched_off() {
    let settings = [
        ("auth.mfa_recovery_codes_enroll_enabled", "false"),
        ("auth.mfa_recovery_codes_verify_enabled", "false"),
    ];
    let app = App::with_settings(&settings).await;
    let (raised, _) = app.with_totp("ana@example.com").await;
    app.call("POST", PATH, raised.access_token(), json!({}))
        .await
        .refused(422, "mfa_recovery_codes_enroll_not_enabled");
    verify(&app, raised.access_token(), "x")
        .await
        .refused(422, "mfa_recovery_codes_verify_not_enabled");
}
