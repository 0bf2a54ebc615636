//! Passkeys: registering one, signing in with it, managing them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::support::{Authenticator, ORIGIN};
use crate::auth::support::{App, PASSWORD, Reply, claims};

const FAILED: &str = "webauthn_verification_failed";
const UNKNOWN: &str = "webauthn_challenge_not_found";

/// A user with a passkey.
struct Owner {
    session: Reply,
    key: Authenticator,
    user_id: String,
    passkey_id: String,
    credential_id: String,
}

async fn ask_to_register(app: &App, access_token: &str) -> Reply {
    let path = "/passkeys/registration/options";
    app.call("POST", path, access_token, json!({})).await.ok()
}

async fn register(app: &App, access_token: &str, challenge_id: &str, made: Value) -> Reply {
    let body = json!({"challenge_id": challenge_id, "credential": made});
    app.call("POST", "/passkeys/registration/verify", access_token, body)
        .await
}

async fn ask(app: &App) -> Reply {
    let body = json!({"gotrue_meta_security": {}});
    app.post("/passkeys/authentication/options", body)
        .await
        .ok()
}

async fn sign_in(app: &App, asked: &Reply, used: Value) -> Reply {
    let body = json!({"challenge_id": asked.text("/challenge_id"), "credential": used});
    app.post("/passkeys/authentication/verify", body).await
}

async fn owner(app: &App, email: &str) -> Owner {
    let session = app.sign_up(email).await.ok();
    let asked = ask_to_register(app, session.access_token()).await;
    let mut key = Authenticator::new();
    let made = key.create(&asked.body["options"]);
    let credential_id = made["id"].as_str().unwrap().to_owned();
    let challenge_id = asked.text("/challenge_id");
    let added = register(app, session.access_token(), challenge_id, made)
        .await
        .ok();
    Owner {
        key,
        user_id: session.text("/user/id").to_owned(),
        passkey_id: added.text("/id").to_owned(),
        credential_id,
        session,
    }
}

impl Owner {
    fn answer(&mut self, asked: &Reply) -> Value {
        self.key
            .get(&asked.body["options"], &self.credential_id, &self.user_id)
    }
}

#[tokio::test]
async fn a_passkey_signs_in_without_a_name_or_a_password() {
    let app = App::new().await;
    let session = app.sign_up("ana@example.com").await.ok();
    let asked = ask_to_register(&app, session.access_token()).await;
    let options = &asked.body["options"];
    assert_eq!(options["rp"]["id"], "localhost");
    let selection = &options["authenticatorSelection"];
    assert_eq!(selection["residentKey"], "required");
    assert_eq!(selection["requireResidentKey"], true);
    assert_eq!(selection["userVerification"], "required");
    assert_eq!(asked.body["expires_at"], app.clock.now().timestamp() + 300);

    let mut owner = owner(&app, "bo@example.com").await;
    app.advance(5);
    let asked = ask(&app).await;
    assert_eq!(asked.body["options"]["allowCredentials"], json!([]));
    assert_eq!(asked.body["options"]["userVerification"], "required");
    let used = owner.answer(&asked);
    let session = sign_in(&app, &asked, used).await.ok();
    assert_eq!(session.text("/user/email"), "bo@example.com");
    let claims = claims(session.access_token());
    assert_eq!(claims["aal"], "aal1");
    assert_eq!(
        claims["amr"],
        json!([{"method": "passkey", "timestamp": app.clock.now().timestamp()}])
    );
    app.get_user(session.access_token()).await.ok();
    app.refresh(session.refresh_token()).await.ok();
    let listed = app
        .call("GET", "/passkeys", session.access_token(), json!({}))
        .await
        .ok();
    assert_eq!(
        listed.body,
        json!([{
            "id": owner.passkey_id,
            "created_at": "2026-01-01T12:00:00Z",
            "last_used_at": "2026-01-01T12:00:05Z",
        }])
    );
    assert!(app.audit().await.ends_with("passkey_created login"));
}

#[tokio::test]
async fn a_passkey_can_count_as_two_factors() {
    let app = App::with_settings(&[("auth.passkey_is_aal2", "true")]).await;
    let mut owner = owner(&app, "ana@example.com").await;
    let asked = ask(&app).await;
    let used = owner.answer(&asked);
    let session = sign_in(&app, &asked, used).await.ok();
    assert_eq!(claims(session.access_token())["aal"], "aal2");
}

/// Attack 38 for passkeys; each line is one check of the library, or of ours around it. Take the user out of
/// `find_credential`, and one's own key opens anybody's account.
#[tokio::test]
async fn forged_answers_are_refused() {
    let app = App::new().await;
    let mut ana = owner(&app, "ana@example.com").await;
    let mut bo = owner(&app, "bo@example.com").await;
    let refuse = async |asked: &Reply, used: Value, status: u16, code: &str| {
        sign_in(&app, asked, used).await.refused(status, code);
    };

    // A page of somebody else.
    let asked = ask(&app).await;
    ana.key.origin = "https://evil.example".parse().unwrap();
    let used = ana.answer(&asked);
    refuse(&asked, used, 400, FAILED).await;
    ana.key.origin = ORIGIN.parse().unwrap();

    // Another relying party.
    let asked = ask(&app).await;
    let mut options = asked.body["options"].clone();
    options["rpId"] = json!("evil.example");
    let used = ana.key.get(&options, &ana.credential_id, &ana.user_id);
    refuse(&asked, used, 400, FAILED).await;

    // A key that did not ask for a PIN: possession alone is not two factors.
    let asked = ask(&app).await;
    let mut options = asked.body["options"].clone();
    options["userVerification"] = json!("discouraged");
    let used = ana.key.get(&options, &ana.credential_id, &ana.user_id);
    refuse(&asked, used, 400, FAILED).await;

    // Somebody else's account with one's own key, and the other way round.
    let asked = ask(&app).await;
    let used = bo
        .key
        .get(&asked.body["options"], &bo.credential_id, &ana.user_id);
    refuse(&asked, used, 400, FAILED).await;
    let asked = ask(&app).await;
    let mut used = bo.answer(&asked);
    used["id"] = json!(ana.credential_id);
    used["rawId"] = json!(ana.credential_id);
    let handle = ana.answer(&asked)["response"]["userHandle"].clone();
    used["response"]["userHandle"] = handle;
    refuse(&asked, used, 400, FAILED).await;

    // Without saying who.
    let asked = ask(&app).await;
    let mut used = ana.answer(&asked);
    used["response"]["userHandle"] = json!(null);
    refuse(&asked, used, 400, FAILED).await;

    // The answer to another question.
    let (asked, another) = (ask(&app).await, ask(&app).await);
    let used = ana.answer(&another);
    refuse(&asked, used, 400, FAILED).await;

    assert_eq!(app.value("select count(*) from auth.sessions").await, "2");
    let asked = ask(&app).await;
    let used = ana.answer(&asked);
    sign_in(&app, &asked, used).await.ok();
}

/// Attack S20. Fails when `verify` does not note what it refuses.
#[tokio::test]
async fn refused_answers_are_logged() {
    let app = App::new().await;
    let mut ana = owner(&app, "ana@example.com").await;
    let asked = ask(&app).await;
    ana.key.origin = "https://evil.example".parse().unwrap();
    let used = ana.answer(&asked);
    sign_in(&app, &asked, used.clone())
        .await
        .refused(400, FAILED);
    sign_in(&app, &asked, used).await.refused(400, UNKNOWN);
    let noted = "select string_agg(concat_ws(' ', payload -> 'traits' ->> 'provider', payload -> 'traits' ->> 'error_code'), ', ' order by created_at, ctid)
           from auth.audit_log_entries
          where payload ->> 'action' = 'login_failed'";
    assert_eq!(
        app.value(noted).await,
        format!("passkey {FAILED}, passkey {UNKNOWN}")
    );
}

/// Fails without the deletion in `take_challenge`, or its column of the session; without purpose and user too, for
/// sign-ins.
#[tokio::test]
async fn a_question_is_for_one_purpose_one_session_and_one_answer() {
    let app = App::new().await;
    let mut ana = owner(&app, "ana@example.com").await;
    let access = ana.session.access_token().to_owned();

    let asked = ask(&app).await;
    let used = ana.answer(&asked);
    let attempts = (0..6).map(|_| sign_in(&app, &asked, used.clone()));
    let replies = join_all(attempts).await;
    assert_eq!(
        replies.iter().filter(|reply| reply.status == 200).count(),
        1
    );
    sign_in(&app, &asked, used).await.refused(400, UNKNOWN);

    // A question of a sign-in for a registration, and the reverse.
    let asked = ask(&app).await;
    let to_register = ask_to_register(&app, &access).await;
    let made = Authenticator::new().create(&to_register.body["options"]);
    register(&app, &access, asked.text("/challenge_id"), made.clone())
        .await
        .refused(400, UNKNOWN);
    let used = ana.answer(&asked);
    sign_in(&app, &to_register, used)
        .await
        .refused(400, UNKNOWN);

    // Of another session, and of another user.
    let session = app.sign_in("ana@example.com", PASSWORD).await.ok();
    let bo = app.sign_up("bo@example.com").await.ok();
    let challenge_id = to_register.text("/challenge_id");
    for other in [session.access_token(), bo.access_token()] {
        register(&app, other, challenge_id, made.clone())
            .await
            .refused(400, UNKNOWN);
    }
    register(&app, &access, challenge_id, made.clone())
        .await
        .ok();
    register(&app, &access, challenge_id, made)
        .await
        .refused(400, UNKNOWN);

    // Too late.
    let asked = ask(&app).await;
    let to_register = ask_to_register(&app, &access).await;
    app.advance(300);
    let used = ana.answer(&asked);
    sign_in(&app, &asked, used)
        .await
        .refused(400, "webauthn_challenge_expired");
    let made = Authenticator::new().create(&to_register.body["options"]);
    register(&app, &access, to_register.text("/challenge_id"), made)
        .await
        .refused(400, "webauthn_challenge_expired");
}

/// Attack 38. The library compares with what is stored: fails when neither it nor `sign_count` in `accept` does.
#[tokio::test]
async fn a_counter_that_does_not_grow_is_refused() {
    let app = App::new().await;
    let mut ana = owner(&app, "ana@example.com").await;
    let (one, two) = (ask(&app).await, ask(&app).await);
    let low = ana.answer(&one);
    let high = ana.answer(&two);
    sign_in(&app, &two, high).await.ok();
    sign_in(&app, &one, low)
        .await
        .refused(400, "webauthn_verification_failed");
}

/// Fails without `sign_count` in `accept`: both answers are checked against the counter from before.
#[tokio::test]
async fn a_copy_that_answers_at_the_same_time_is_refused() {
    let app = App::new().await;
    let mut ana = owner(&app, "ana@example.com").await;
    let (one, two) = (ask(&app).await, ask(&app).await);
    let low = ana.answer(&one);
    let high = ana.answer(&two);
    let hold = "begin; select 1 from auth.webauthn_credentials for update";
    app.owner.batch_execute(hold).await.unwrap();
    let second = async {
        app.wait_for_blocked(1).await;
        sign_in(&app, &one, low).await
    };
    let released = async {
        app.wait_for_blocked(2).await;
        app.owner.batch_execute("commit").await.unwrap();
    };
    let (first, second, ()) = tokio::join!(sign_in(&app, &two, high), second, released);
    first.ok();
    second.refused(400, "webauthn_verification_failed");
}

/// Attack 38. Fails when a passkey that is known can be stored for somebody else (`on conflict` in `insert`), and when a
/// sign-in takes one that no account has.
#[tokio::test]
async fn a_passkey_belongs_to_one_account() {
    let app = App::new().await;
    let mut ana = owner(&app, "ana@example.com").await;
    let asked = ask_to_register(&app, ana.session.access_token()).await;
    // An authenticator is told not to register twice.
    let excluded = &asked.body["options"]["excludeCredentials"];
    assert_eq!(excluded[0]["id"], ana.credential_id);
    // One that does not listen, for another account.
    let bo = app.sign_up("bo@example.com").await.ok();
    let asked = ask_to_register(&app, bo.access_token()).await;
    let made = Authenticator::new().create(&asked.body["options"]);
    let id = URL_SAFE_NO_PAD.decode(made["id"].as_str().unwrap());
    let same = format!(
        "update auth.webauthn_credentials set credential_id = decode('{}', 'hex') where user_id = '{}'",
        hex::encode(id.unwrap()),
        ana.user_id
    );
    app.owner.batch_execute(&same).await.unwrap();
    register(&app, bo.access_token(), asked.text("/challenge_id"), made)
        .await
        .refused(422, "webauthn_credential_exists");
    let owners = "select string_agg(user_id::text, ' ') from auth.webauthn_credentials";
    assert_eq!(app.value(owners).await, ana.user_id);
    let asked = ask(&app).await;
    let used = ana.answer(&asked);
    sign_in(&app, &asked, used).await.refused(400, FAILED);
}

#[tokio::test]
async fn passkeys_are_renamed_and_removed_by_their_owner() {
    let app = App::new().await;
    let mut ana = owner(&app, "ana@example.com").await;
    let bo = app.sign_up("bo@example.com").await.ok();
    let asked = ask(&app).await;
    let used = ana.answer(&asked);
    let session = sign_in(&app, &asked, used).await.ok();
    let access = session.access_token();
    let path = format!("/passkeys/{}", ana.passkey_id);
    let name = json!({"friendly_name": " my phone "});
    let renamed = app.call("PATCH", &path, access, name.clone()).await.ok();
    assert_eq!(renamed.body["friendly_name"], "my phone");
    for bad in ["x".repeat(121), "a\0".to_owned()] {
        app.call("PATCH", &path, access, json!({"friendly_name": bad}))
            .await
            .refused(400, "validation_failed");
    }
    for method in ["PATCH", "DELETE"] {
        app.call(method, &path, bo.access_token(), name.clone())
            .await
            .refused(404, "webauthn_credential_not_found");
    }
    let removed = app.call("DELETE", &path, access, json!({})).await;
    assert_eq!(removed.status, 204);
    app.call("DELETE", &path, access, json!({}))
        .await
        .refused(404, "webauthn_credential_not_found");
    let next = app.refresh(session.refresh_token()).await.ok();
    assert_eq!(claims(next.access_token())["aal"], "aal1");
    let asked = ask(&app).await;
    let used = ana.answer(&asked);
    sign_in(&app, &asked, used).await.refused(400, FAILED);
}

#[tokio::test]
async fn the_service_key_sees_and_removes_passkeys() {
    let app = App::new().await;
    let ana = owner(&app, "ana@example.com").await;
    let path = format!("/{}/passkeys", ana.user_id);
    let listed = app.admin("GET", &path, json!({})).await.ok();
    assert_eq!(listed.text("/0/id"), ana.passkey_id);
    let one = format!("{path}/{}", ana.passkey_id);
    let removed = app.admin("DELETE", &one, json!({})).await;
    assert_eq!(removed.status, 204);
    assert_eq!(
        app.admin("GET", &path, json!({})).await.ok().body,
        json!([])
    );
    app.admin("DELETE", &one, json!({}))
        .await
        .refused(404, "webauthn_credential_not_found");
    let unknown = "/00000000-0000-4000-8000-000000000000/passkeys";
    app.admin("GET", unknown, json!({}))
        .await
        .refused(404, "user_not_found");
}

/// Fails without the look at bans in `sign_in::open`, and when a soft deletion leaves passkeys behind.
#[tokio::test]
async fn banned_and_deleted_users_do_not_come_in_with_passkeys() {
    let app = App::new().await;
    let mut ana = owner(&app, "ana@example.com").await;
    let path = format!("/{}", ana.user_id);
    app.admin("PUT", &path, json!({"ban_duration": "1h"}))
        .await
        .ok();
    let asked = ask(&app).await;
    let used = ana.answer(&asked);
    sign_in(&app, &asked, used)
        .await
        .refused(400, "user_banned");
    app.admin("DELETE", &path, json!({"should_soft_delete": true}))
        .await
        .ok();
    let asked = ask(&app).await;
    let used = ana.answer(&asked);
    sign_in(&app, &asked, used).await.refused(400, FAILED);
}

#[tokio::test]
async fn passkeys_have_a_limit_and_a_switch() {
    let app = App::with_settings(&[("auth.passkeys_max", "1")]).await;
    let ana = owner(&app, "ana@example.com").await;
    let access = ana.session.access_token();
    let options = "/passkeys/registration/options";
    app.call("POST", options, access, json!({}))
        .await
        .refused(422, "too_many_passkeys");
    let settings = app.request("GET", "/settings").send().await.ok();
    assert_eq!(settings.body["passkeys_enabled"], true);
    let mut config = (*app.config.current()).clone();
    config.auth.passkeys_enabled = false;
    app.config.replace(config);
    app.call("POST", options, access, json!({}))
        .await
        .refused(404, "passkey_disabled");
    app.post("/passkeys/authentication/options", json!({}))
        .await
        .refused(404, "passkey_disabled");
    let settings = app.request("GET", "/settings").send().await.ok();
    assert_eq!(settings.body["passkeys_enabled"], false);
}

/// Fails without `limits::count` in `authentication::options`, and without the removal of old rows in
/// `insert_challenge`.
#[tokio::test]
async fn clients_are_limited_and_old_questions_go() {
    let app = App::with_settings(&[("auth.rate_limit_mfa_per_window", "3")]).await;
    let ask = || async {
        let call = app.request("POST", "/passkeys/authentication/options");
        call.from("192.0.2.1").json(json!({})).send().await
    };
    for _ in 0..3 {
        ask().await.ok();
    }
    let refused = ask().await;
    refused.refused(429, "over_request_rate_limit");
    assert_eq!(refused.header("retry-after"), "20");
    let waiting = "select count(*) from auth.webauthn_challenges";
    assert_eq!(app.value(waiting).await, "3");
    app.advance(400);
    ask().await.ok();
    ask().await.ok();
    assert_eq!(app.value(waiting).await, "2");
}

#[tokio::test]
async fn answers_of_the_wrong_form_are_told() {
    let app = App::new().await;
    let session = app.sign_up("ana@example.com").await.ok();
    let access = session.access_token();
    for kind in ["registration", "authentication"] {
        let path = format!("/passkeys/{kind}/verify");
        let id = "00000000-0000-4000-8000-000000000000";
        for body in [
            json!({}),
            json!({"challenge_id": id}),
            json!({"challenge_id": "x", "credential": {}}),
            json!({"challenge_id": id, "credential": {}}),
            json!({"challenge_id": id, "credential": {"id": "", "rawId": "", "response": {}, "type": ""}}),
        ] {
            app.call("POST", &path, access, body)
                .await
                .refused(400, "validation_failed");
        }
    }
}

/// As with a password. Remove the look at `email_confirmed_at` in `authentication::open` and this fails.
#[tokio::test]
async fn a_passkey_does_not_stand_for_an_address_that_is_to_be_confirmed() {
    let app = App::new().await;
    let mut owner = owner(&app, "ana@example.com").await;
    let mut config = (*app.config.current()).clone();
    config.auth.require_email_confirmation = true;
    app.config.replace(config);
    let sql = "update auth.users set email_confirmed_at = null";
    app.owner.batch_execute(sql).await.unwrap();
    let asked = ask(&app).await;
    let used = owner.answer(&asked);
    sign_in(&app, &asked, used)
        .await
        .refused(400, "email_not_confirmed");
}
