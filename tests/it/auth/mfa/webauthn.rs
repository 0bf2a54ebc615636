//! Security keys and platform authenticators as second factors.

use serde_json::{Value, json};

use super::support::Authenticator;
use crate::auth::support::{App, PASSWORD, Reply, claims};

/// A session at `aal2` by a key that was just registered, the key's factor and its credential.
struct Registered {
    session: Reply,
    key: Authenticator,
    factor_id: String,
    credential_id: String,
}

async fn enroll(app: &App, access_token: &str) -> String {
    let body = json!({"factor_type": "webauthn", "friendly_name": "key"});
    let reply = app.call("POST", "/factors", access_token, body).await.ok();
    assert_eq!(reply.body["type"], "webauthn");
    reply.text("/id").to_owned()
}

/// The challenge as the library asks for it.
async fn challenge(app: &App, access_token: &str, factor_id: &str) -> Reply {
    let path = format!("/factors/{factor_id}/challenge");
    let body = json!({"factorId": factor_id, "webauthn": {"rpId": "localhost", "rpOrigins": ["http://localhost:3000"]}});
    app.call("POST", &path, access_token, body).await.ok()
}

async fn answer(
    app: &App,
    access_token: &str,
    factor_id: &str,
    asked: &Reply,
    made: Value,
) -> Reply {
    let path = format!("/factors/{factor_id}/verify");
    let body = json!({
        "challenge_id": asked.text("/id"),
        "webauthn": {
            "type": asked.text("/webauthn/type"),
            "rpId": "localhost",
            "rpOrigins": ["http://localhost:3000"],
            "credential_response": made,
        },
    });
    app.call("POST", &path, access_token, body).await
}

fn public_key(asked: &Reply) -> Value {
    asked.body["webauthn"]["credential_options"]["publicKey"].clone()
}

async fn register(app: &App, email: &str) -> Registered {
    let session = app.sign_up(email).await.ok();
    let factor_id = enroll(app, session.access_token()).await;
    let asked = challenge(app, session.access_token(), &factor_id).await;
    let mut key = Authenticator::new();
    let made = key.create(&public_key(&asked));
    let credential_id = made["id"].as_str().unwrap().to_owned();
    let session = answer(app, session.access_token(), &factor_id, &asked, made)
        .await
        .ok();
    Registered {
        session,
        key,
        factor_id,
        credential_id,
    }
}

#[tokio::test]
async fn a_key_is_registered_and_then_proves_its_user() {
    let app = App::new().await;
    let session = app.sign_up("ana@example.com").await.ok();
    let factor_id = enroll(&app, session.access_token()).await;
    let asked = challenge(&app, session.access_token(), &factor_id).await;
    assert_eq!(asked.body["type"], "webauthn");
    assert_eq!(asked.text("/webauthn/type"), "create");
    let options = public_key(&asked);
    assert_eq!(
        options["rp"],
        json!({"id": "localhost", "name": "localhost"})
    );
    assert_eq!(options["user"]["name"], "ana@example.com");
    assert_eq!(
        options["authenticatorSelection"]["userVerification"],
        "required"
    );

    let mut registered = register(&app, "bo@example.com").await;
    let first = claims(registered.session.access_token());
    assert_eq!(
        (&first["aal"], &first["amr"][0]["method"]),
        (&json!("aal2"), &json!("mfa/webauthn"))
    );
    let user_id = registered.session.text("/user/id").to_owned();
    let session = app.sign_in("bo@example.com", PASSWORD).await.ok();
    let access = session.access_token();
    let asked = challenge(&app, access, &registered.factor_id).await;
    assert_eq!(asked.text("/webauthn/type"), "request");
    let options = public_key(&asked);
    assert_eq!(options["rpId"], "localhost");
    assert_eq!(
        options["allowCredentials"][0]["id"],
        registered.credential_id
    );
    let used = registered
        .key
        .get(&options, &registered.credential_id, &user_id);
    let raised = answer(&app, access, &registered.factor_id, &asked, used)
        .await
        .ok();
    assert_eq!(claims(raised.access_token())["aal"], "aal2");
    let reply = app.get_user(raised.access_token()).await.ok();
    let shown = reply.body["factors"].to_string();
    assert!(
        !shown.contains("cred") && !shown.contains(&registered.credential_id),
        "{shown}"
    );
}

/// Attack 38 for second factors; each line is one check of the library, or of ours around it. Take the answer without
/// `finish_passkey_authentication`, or do not compare the user, and this fails.
#[tokio::test]
async fn forged_answers_are_refused() {
    let app = App::new().await;
    let mut registered = register(&app, "ana@example.com").await;
    let mut other = register(&app, "bo@example.com").await;
    let user_id = registered.session.text("/user/id").to_owned();
    let session = app.sign_in("ana@example.com", PASSWORD).await.ok();
    let access = session.access_token();
    let (factor_id, credential_id) = (&registered.factor_id, &registered.credential_id);
    let asked = || challenge(&app, access, factor_id);
    let refuse = async |question: &Reply, answered: Value| {
        answer(&app, access, factor_id, question, answered)
            .await
            .refused(422, "mfa_verification_failed");
    };

    // A page of somebody else.
    let question = asked().await;
    registered.key.origin = "http://localhost.evil.example".parse().unwrap();
    let used = registered
        .key
        .get(&public_key(&question), credential_id, &user_id);
    refuse(&question, used).await;
    registered.key.origin = super::support::ORIGIN.parse().unwrap();

    // Another relying party.
    let question = asked().await;
    let mut options = public_key(&question);
    options["rpId"] = json!("evil.example");
    let used = registered.key.get(&options, credential_id, &user_id);
    refuse(&question, used).await;

    // A key that did not ask for its PIN.
    let question = asked().await;
    let mut options = public_key(&question);
    options["userVerification"] = json!("discouraged");
    let used = registered.key.get(&options, credential_id, &user_id);
    refuse(&question, used).await;

    // The key of somebody else, and a claim to be somebody else.
    let question = asked().await;
    let theirs = other.credential_id.clone();
    let used = other.key.get(&public_key(&question), &theirs, &user_id);
    refuse(&question, used).await;
    let question = asked().await;
    let stranger = "00000000-0000-4000-8000-000000000000";
    let used = registered
        .key
        .get(&public_key(&question), credential_id, stranger);
    refuse(&question, used).await;

    // The answer to another question.
    let (question, another) = (asked().await, asked().await);
    let used = registered
        .key
        .get(&public_key(&another), credential_id, &user_id);
    refuse(&question, used).await;

    // A signature that was changed.
    let question = asked().await;
    let mut used = registered
        .key
        .get(&public_key(&question), credential_id, &user_id);
    let signature = used["response"]["signature"].as_str().unwrap().to_owned();
    let last = if signature.ends_with('A') { 'B' } else { 'A' };
    used["response"]["signature"] = json!(format!("{}{last}", &signature[..signature.len() - 2]));
    let reply = answer(&app, access, factor_id, &question, used).await;
    assert!(
        [400, 422].contains(&reply.status.as_u16()),
        "{}",
        reply.body
    );

    // Nobody was raised; the honest answer still is.
    assert_eq!(
        app.value("select aal from auth.sessions order by created_at desc, aal limit 1")
            .await,
        "aal1"
    );
    let question = asked().await;
    let used = registered
        .key
        .get(&public_key(&question), credential_id, &user_id);
    answer(&app, access, factor_id, &question, used).await.ok();
}

/// Fails without the deletion in `take_challenge`.
#[tokio::test]
async fn a_question_takes_one_answer_right_or_wrong() {
    let app = App::new().await;
    let mut registered = register(&app, "ana@example.com").await;
    let user_id = registered.session.text("/user/id").to_owned();
    let access = registered.session.access_token().to_owned();
    let factor_id = registered.factor_id.clone();
    let question = challenge(&app, &access, &factor_id).await;
    let used = registered
        .key
        .get(&public_key(&question), &registered.credential_id, &user_id);
    answer(&app, &access, &factor_id, &question, used.clone())
        .await
        .ok();
    answer(&app, &access, &factor_id, &question, used)
        .await
        .refused(404, "mfa_factor_not_found");
    let question = challenge(&app, &access, &factor_id).await;
    let used = registered
        .key
        .get(&public_key(&question), &registered.credential_id, &user_id);
    let mut wrong = used.clone();
    wrong["response"]["clientDataJSON"] = json!("e30");
    answer(&app, &access, &factor_id, &question, wrong)
        .await
        .refused(422, "mfa_verification_failed");
    answer(&app, &access, &factor_id, &question, used)
        .await
        .refused(404, "mfa_factor_not_found");
    let question = challenge(&app, &access, &factor_id).await;
    app.advance(300);
    let used = registered
        .key
        .get(&public_key(&question), &registered.credential_id, &user_id);
    answer(&app, &access, &factor_id, &question, used)
        .await
        .refused(422, "mfa_challenge_expired");
}

/// A copy of the key has the counter it had when it was made. Fails without `sign_count` in `accept_credential`: both
/// questions were put while the counter was what it was.
#[tokio::test]
async fn a_counter_that_does_not_grow_is_refused() {
    let app = App::new().await;
    let mut registered = register(&app, "ana@example.com").await;
    let user_id = registered.session.text("/user/id").to_owned();
    let access = registered.session.access_token().to_owned();
    let factor_id = registered.factor_id.clone();
    let one = challenge(&app, &access, &factor_id).await;
    let two = challenge(&app, &access, &factor_id).await;
    let low = registered
        .key
        .get(&public_key(&one), &registered.credential_id, &user_id);
    let high = registered
        .key
        .get(&public_key(&two), &registered.credential_id, &user_id);
    answer(&app, &access, &factor_id, &two, high).await.ok();
    answer(&app, &access, &factor_id, &one, low)
        .await
        .refused(422, "mfa_verification_failed");
}

/// Fails without the state in `accept_credential` and in `webauthn::check`: whoever asked before the owner finished would
/// put another key in the place of the owner's.
#[tokio::test]
async fn a_question_from_before_gives_no_second_credential() {
    let app = App::new().await;
    let session = app.sign_up("ana@example.com").await.ok();
    let access = session.access_token();
    let factor_id = enroll(&app, access).await;
    let early = challenge(&app, access, &factor_id).await;
    let asked = challenge(&app, access, &factor_id).await;
    let made = Authenticator::new().create(&public_key(&asked));
    let raised = answer(&app, access, &factor_id, &asked, made).await.ok();
    let stored = "select web_authn_credential::text from auth.mfa_factors";
    let before = app.value(stored).await;
    let theirs = Authenticator::new().create(&public_key(&early));
    answer(&app, raised.access_token(), &factor_id, &early, theirs)
        .await
        .refused(422, "mfa_verification_failed");
    assert_eq!(app.value(stored).await, before);
}

#[tokio::test]
async fn a_site_that_is_not_ours_is_told_before_anybody_touches_a_key() {
    let app = App::new().await;
    let session = app.sign_up("ana@example.com").await.ok();
    let factor_id = enroll(&app, session.access_token()).await;
    let path = format!("/factors/{factor_id}/challenge");
    let body = json!({"webauthn": {"rpId": "evil.example"}});
    app.call("POST", &path, session.access_token(), body)
        .await
        .refused(400, "validation_failed");
    let mut config = (*app.config.current()).clone();
    "http://127.0.0.1:3000".clone_into(&mut config.server.site_url);
    app.config.replace(config);
    app.call("POST", &path, session.access_token(), json!({}))
        .await
        .refused(404, "feature_disabled");
    let body = json!({"factor_type": "webauthn"});
    app.call("POST", "/factors", session.access_token(), body)
        .await
        .refused(404, "feature_disabled");
}

#[tokio::test]
async fn answers_of_the_wrong_form_are_told() {
    let app = App::new().await;
    let registered = register(&app, "ana@example.com").await;
    let access = registered.session.access_token();
    for made in [
        json!({}),
        json!(7),
        json!({"id": "x", "rawId": "?", "response": {}, "type": "y"}),
    ] {
        let asked = challenge(&app, access, &registered.factor_id).await;
        answer(&app, access, &registered.factor_id, &asked, made)
            .await
            .refused(400, "validation_failed");
    }
    let asked = challenge(&app, access, &registered.factor_id).await;
    app.answer(access, &registered.factor_id, asked.text("/id"), "000000")
        .await
        .refused(400, "validation_failed");
}
