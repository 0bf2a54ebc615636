//! `GET` and `PUT /user`.

use futures_util::future::join_all;
use serde_json::json;

use super::support::{App, PASSWORD, claims, service_token, token};
use crate::support::TestApp;

#[tokio::test]
async fn the_bearer_is_shown() {
    let app = App::new().await;
    let session = app.sign_up("ana@example.com").await.ok();
    let user = app.get_user(session.access_token()).await.ok();
    assert_eq!(user.body, session.body["user"]);
}

#[tokio::test]
async fn a_token_must_name_a_user_that_exists() {
    let app = App::new().await;
    app.request("GET", "/user")
        .send()
        .await
        .refused(401, "no_authorization");
    let basic = app
        .request("GET", "/user")
        .header("authorization", "Basic eDp5");
    basic.send().await.refused(401, "no_authorization");
    app.get_user("not.a.token").await.refused(403, "bad_jwt");
    app.get_user(&token(json!({"role": "anon"})))
        .await
        .refused(403, "bad_jwt");
    let stranger = json!({"role": "authenticated", "sub": "00000000-0000-4000-8000-000000000000"});
    app.get_user(&token(stranger))
        .await
        .refused(403, "user_not_found");
    app.put_user("not.a.token", json!({}))
        .await
        .refused(403, "bad_jwt");
}

/// With real keys. Fails when the database is asked about a token before its signature is looked at.
#[tokio::test]
async fn a_forged_token_costs_no_connection() {
    let app = TestApp::new().await;
    let session = app.sign_up("ana@example.com").await;
    let genuine = session["access_token"].as_str().unwrap();
    let (message, _) = genuine.rsplit_once('.').unwrap();
    app.running.db().close();
    let (unsigned, huge) = (format!("{message}.AAAA"), "a".repeat(100_000));
    for token in ["not.a.token", &unsigned, &huge] {
        let reply = app.get("/auth/v1/user", Some(token)).await;
        assert_eq!(
            (reply.status.as_u16(), &reply.json()["code"]),
            (403, &json!("bad_jwt"))
        );
    }
    let reply = app.get("/auth/v1/user", Some(genuine)).await;
    assert_eq!(reply.status, 503, "{}", reply.text());
}

#[tokio::test]
async fn the_session_of_a_token_must_live_and_be_the_users() {
    let app = App::new().await;
    let ana = app.sign_up("ana@example.com").await.ok();
    let bo = app.sign_up("bo@example.com").await.ok();
    let mut mixed = claims(ana.access_token());
    mixed.insert(
        "session_id".to_owned(),
        claims(bo.access_token())["session_id"].clone(),
    );
    app.get_user(&token(mixed.into()))
        .await
        .refused(403, "session_not_found");
    app.owner
        .batch_execute("delete from auth.sessions")
        .await
        .unwrap();
    app.get_user(ana.access_token())
        .await
        .refused(403, "session_not_found");
    app.put_user(ana.access_token(), json!({"data": {}}))
        .await
        .refused(403, "session_not_found");
}

#[tokio::test]
async fn user_metadata_is_merged_and_null_removes() {
    let app = App::new().await;
    let session = app.sign_up("ana@example.com").await.ok();
    let access = session.access_token();
    app.put_user(access, json!({"data": {"a": 1, "b": {"c": 1}, "d": 2}}))
        .await
        .ok();
    let change =
        json!({"data": {"a": null, "b": {"e": null}}, "options": {}, "code_challenge": null});
    let user = app.put_user(access, change).await.ok();
    assert_eq!(
        user.body["user_metadata"],
        json!({"b": {"e": null}, "d": 2})
    );
    assert_eq!(user.body["app_metadata"]["provider"], "email");
    assert_eq!(
        app.audit().await,
        "user_signedup user_modified user_modified"
    );
}

#[tokio::test]
async fn parallel_changes_of_metadata_do_not_undo_each_other() {
    let app = App::new().await;
    let session = app.sign_up("ana@example.com").await.ok();
    let changes = (0..10).map(|n| {
        let name = format!("key{n}");
        app.put_user(session.access_token(), json!({"data": {name: n}}))
    });
    for reply in join_all(changes).await {
        reply.ok();
    }
    let user = app.get_user(session.access_token()).await.ok();
    assert_eq!(user.body["user_metadata"].as_object().unwrap().len(), 10);
}

/// Attack 9. Fails when `update` takes `app_metadata`, or claims are read from metadata.
#[tokio::test]
async fn nobody_raises_itself_through_metadata() {
    let app = App::new().await;
    let session = app.sign_up("ana@example.com").await.ok();
    let access = session.access_token();
    app.put_user(access, json!({"app_metadata": {"role": "admin"}}))
        .await
        .refused(403, "not_admin");
    let data = json!({"data": {"role": "service_role", "aal": "aal2", "sub": "x"}, "role": "service_role", "aud": "x"});
    let user = app.put_user(access, data).await.ok();
    assert_eq!(user.text("/role"), "authenticated");
    let refreshed = app.refresh(session.refresh_token()).await.ok();
    let claims = claims(refreshed.access_token());
    assert_eq!(
        (&claims["role"], &claims["aal"]),
        (&json!("authenticated"), &json!("aal1"))
    );
}

/// Attack 15. Remove `end_sessions` from `user::change_in`, and this fails.
#[tokio::test]
async fn a_new_password_ends_the_other_sessions() {
    let app = App::new().await;
    let other = app.sign_up("ana@example.com").await.ok();
    let session = app.sign_in("ana@example.com", PASSWORD).await.ok();
    app.put_user(
        session.access_token(),
        json!({"password": "another password"}),
    )
    .await
    .ok();
    app.sign_in("ana@example.com", PASSWORD)
        .await
        .refused(400, "invalid_credentials");
    app.sign_in("ana@example.com", "another password")
        .await
        .ok();
    app.refresh(other.refresh_token())
        .await
        .refused(400, "refresh_token_not_found");
    app.get_user(other.access_token())
        .await
        .refused(403, "session_not_found");
    app.refresh(session.refresh_token()).await.ok();
    assert!(app.audit().await.contains("user_updated_password"));
}

#[tokio::test]
async fn a_new_password_must_be_new_and_good() {
    let app = App::new().await;
    let session = app.sign_up("ana@example.com").await.ok();
    let access = session.access_token();
    app.put_user(access, json!({"password": PASSWORD}))
        .await
        .refused(422, "same_password");
    app.put_user(access, json!({"password": "abc"}))
        .await
        .refused(422, "weak_password");
    let wrong = json!({"password": "another password", "current_password": "wrong"});
    app.put_user(access, wrong)
        .await
        .refused(400, "current_password_invalid");
    let same = json!({"password": PASSWORD, "current_password": PASSWORD});
    app.put_user(access, same)
        .await
        .refused(422, "same_password");
    app.sign_in("ana@example.com", PASSWORD).await.ok();
}

#[tokio::test]
async fn the_current_password_can_be_asked_for() {
    let app = App::with_settings(&[("auth.require_current_password", "true")]).await;
    let session = app.sign_up("ana@example.com").await.ok();
    let access = session.access_token();
    let without = json!({"password": "another password"});
    app.put_user(access, without)
        .await
        .refused(400, "current_password_required");
    let with = json!({"password": "another password", "current_password": PASSWORD});
    app.put_user(access, with).await.ok();
    app.sign_in("ana@example.com", "another password")
        .await
        .ok();
}

#[tokio::test]
async fn parallel_changes_of_the_password_leave_one_winner() {
    let app = App::new().await;
    let session = app.sign_up("ana@example.com").await.ok();
    let passwords: Vec<_> = (0..6).map(|n| format!("password number {n}")).collect();
    let changes = passwords.iter().map(|new| {
        app.put_user(
            session.access_token(),
            json!({"password": new, "current_password": PASSWORD}),
        )
    });
    let replies = join_all(changes).await;
    let winners: Vec<_> = passwords
        .iter()
        .zip(&replies)
        .filter(|(_, reply)| reply.status == 200)
        .collect();
    assert_eq!(winners.len(), 1);
    app.sign_in("ana@example.com", winners[0].0).await.ok();
    for reply in replies.iter().filter(|reply| reply.status != 200) {
        reply.refused(400, "current_password_invalid");
    }
}

#[tokio::test]
async fn an_address_changes_at_once_without_confirmation() {
    let app = App::new().await;
    app.sign_up("bo@example.com").await.ok();
    let session = app.sign_up("ana@example.com").await.ok();
    let access = session.access_token();
    app.put_user(access, json!({"email": "BO@example.com"}))
        .await
        .refused(422, "email_exists");
    app.put_user(access, json!({"email": "nonsense"}))
        .await
        .refused(400, "validation_failed");
    let user = app
        .put_user(access, json!({"email": "Cy@example.com"}))
        .await
        .ok();
    assert_eq!(user.text("/email"), "cy@example.com");
    assert_eq!(user.text("/identities/0/email"), "cy@example.com");
    assert_eq!(user.body["identities"].as_array().unwrap().len(), 1);
    app.sign_in("cy@example.com", PASSWORD).await.ok();
    app.sign_in("ana@example.com", PASSWORD)
        .await
        .refused(400, "invalid_credentials");
    app.put_user(access, json!({"phone": "+4912345678"}))
        .await
        .refused(422, "phone_provider_disabled");
}

#[tokio::test]
async fn metadata_cannot_grow_without_end() {
    let app = App::new().await;
    let session = app.sign_up("ana@example.com").await.ok();
    let token = session.access_token();
    let large = "x".repeat(600 * 1024);
    app.put_user(token, json!({"data": {"a": large}}))
        .await
        .ok();
    app.put_user(token, json!({"data": {"b": large}}))
        .await
        .refused(400, "validation_failed");
    let metadata = &app.get_user(token).await.ok().body["user_metadata"];
    assert!(metadata["a"].is_string() && metadata.get("b").is_none());
    app.put_user(token, json!({"data": {"a": null, "b": large}}))
        .await
        .ok();
}

/// A session that ends while a password is hashed sets none. Read the user in `change_in` without its session, and this
/// fails: who had made an account for somebody else's address would keep a way in.
#[tokio::test]
async fn a_change_by_a_session_that_has_just_ended_is_none() {
    let app = App::new().await;
    let body = json!({"email": "ana@example.com", "email_confirm": true});
    app.admin("POST", "", body).await.ok();
    let body = json!({"type": "magiclink", "email": "ana@example.com"});
    let call = app.request("POST", "/admin/generate_link");
    let made = call.bearer(&service_token()).json(body).send().await.ok();
    let body = json!({"type": "magiclink", "token_hash": made.text("/hashed_token")});
    let session = app.post("/verify", body).await.ok();
    app.owner
        .batch_execute("begin; update auth.users set updated_at = now(); delete from auth.sessions")
        .await
        .unwrap();
    let ended = async {
        app.wait_for_blocked(1).await;
        app.owner.batch_execute("commit").await.unwrap();
    };
    let change = app.put_user(session.access_token(), json!({"password": PASSWORD}));
    let (reply, ()) = tokio::join!(change, ended);
    reply.refused(403, "session_not_found");
    let stored = "select encrypted_password is null from auth.users";
    assert_eq!(app.value(stored).await, "true");
}
