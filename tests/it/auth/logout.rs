//! `POST /logout`.

use serde_json::json;

use super::support::{App, PASSWORD, Reply, claims, token};

async fn three_sessions(app: &App) -> [Reply; 3] {
    let one = app.sign_up("ana@example.com").await.ok();
    let two = app.sign_in("ana@example.com", PASSWORD).await.ok();
    let three = app.sign_in("ana@example.com", PASSWORD).await.ok();
    [one, two, three]
}

async fn sign_out(app: &App, query: &str, access_token: &str) -> Reply {
    let call = app.request("POST", &format!("/logout{query}"));
    call.bearer(access_token).json(json!({})).send().await
}

/// Which of the sessions can still be refreshed.
async fn alive(app: &App, sessions: &[Reply]) -> Vec<bool> {
    let mut alive = Vec::new();
    for session in sessions {
        alive.push(app.refresh(session.refresh_token()).await.status == 200);
    }
    alive
}

/// Attack 15. Fails when a scope leaves sessions that it names, or ends others.
#[tokio::test]
async fn each_scope_ends_its_sessions() {
    for (query, left) in [
        ("", [false, false, false]),
        ("?scope=global", [false, false, false]),
        ("?scope=local", [false, true, true]),
        ("?scope=others", [true, false, false]),
    ] {
        let app = App::new().await;
        let stranger = app.sign_up("bo@example.com").await.ok();
        let sessions = three_sessions(&app).await;
        let reply = sign_out(&app, query, sessions[0].access_token()).await;
        assert_eq!(reply.status, 204, "{query}");
        assert_eq!(alive(&app, &sessions).await, left, "{query}");
        app.refresh(stranger.refresh_token()).await.ok();
    }
}

/// Attack 15. Remove the look at the session from `user::live`, or from the statement that signs out, and this fails.
#[tokio::test]
async fn a_signed_out_token_can_do_nothing() {
    let app = App::new().await;
    let sessions = three_sessions(&app).await;
    assert_eq!(
        sign_out(&app, "?scope=local", sessions[0].access_token())
            .await
            .status,
        204
    );
    app.get_user(sessions[0].access_token())
        .await
        .refused(403, "session_not_found");
    // Not even end the others.
    let again = sign_out(&app, "", sessions[0].access_token()).await;
    again.refused(403, "session_not_found");
    assert_eq!(alive(&app, &sessions[1..]).await, [true, true]);
    assert!(app.audit().await.contains(" logout"));
}

#[tokio::test]
async fn refusals() {
    let app = App::new().await;
    let session = app.sign_up("ana@example.com").await.ok();
    sign_out(&app, "?scope=all", session.access_token())
        .await
        .refused(400, "validation_failed");
    app.post("/logout", json!({}))
        .await
        .refused(401, "no_authorization");
    sign_out(&app, "", "not.a.token")
        .await
        .refused(403, "bad_jwt");
    let mut stranger = claims(session.access_token());
    stranger.insert(
        "sub".to_owned(),
        json!("00000000-0000-4000-8000-000000000000"),
    );
    sign_out(&app, "", &token(stranger.into()))
        .await
        .refused(403, "user_not_found");
    app.refresh(session.refresh_token()).await.ok();
}

#[tokio::test]
async fn a_refresh_token_signs_out_too() {
    for (scope, left) in [
        (json!("local"), [false, true, true]),
        (json!("others"), [true, false, false]),
        (json!(null), [false, false, false]),
    ] {
        let app = App::new().await;
        let sessions = three_sessions(&app).await;
        let body = json!({"refresh_token": sessions[0].refresh_token(), "scope": scope});
        let reply = app.post("/logout", body.clone()).await;
        assert_eq!(reply.status, 204, "{scope}");
        assert_eq!(alive(&app, &sessions).await, left, "{scope}");
    }
    let app = App::new().await;
    let reply = app
        .post("/logout", json!({"refresh_token": "unknown"}))
        .await;
    assert_eq!(reply.status, 204);
}
