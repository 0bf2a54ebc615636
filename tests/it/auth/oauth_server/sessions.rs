//! What becomes of the tokens of clients: refreshed, looked up, revoked, taken back.

use serde_json::json;

use super::{Provider, access, claims, oauth_refused, refresh_token, refused};

#[tokio::test]
async fn a_client_refreshes_its_session() {
    let provider = Provider::new().await;
    let client = provider.confidential().await;
    let ana = provider.user("ana@example.com").await;
    let first = provider.tokens(&client, &ana, &[]).await;
    provider.advance(100);
    let second = provider
        .refresh(&client, refresh_token(&first))
        .await
        .json();
    assert_ne!(refresh_token(&second), refresh_token(&first));
    let (old, new) = (claims(access(&first)), claims(access(&second)));
    for name in ["session_id", "client_id", "scope", "aud", "sub"] {
        assert_eq!(old[name], new[name], "{name}");
    }
    assert!(second.get("user").is_none());
    // A token two steps behind ends the session, as for users' own.
    let third = provider
        .refresh(&client, refresh_token(&second))
        .await
        .json();
    let reused = provider.refresh(&client, refresh_token(&first)).await;
    oauth_refused(&reused, 400, "invalid_grant");
    let gone = provider.refresh(&client, refresh_token(&third)).await;
    oauth_refused(&gone, 400, "invalid_grant");
}

#[tokio::test]
async fn a_refresh_may_ask_for_less_and_never_for_more() {
    let provider = Provider::new().await;
    let client = provider.confidential().await;
    let ana = provider.user("ana@example.com").await;
    let tokens = provider.tokens(&client, &ana, &[]).await;
    let ask = async |token: &str, scope: &str| {
        let fields = [
            ("grant_type", "refresh_token"),
            ("refresh_token", token),
            ("scope", scope),
        ];
        provider.ask("/oauth/token", &client, &fields).await
    };
    let more = ask(refresh_token(&tokens), "openid email phone").await;
    oauth_refused(&more, 400, "invalid_scope");
    let less = ask(refresh_token(&tokens), "openid").await.json();
    assert_eq!(less["scope"], "openid");
    let told = provider.userinfo(access(&less)).await.json();
    assert_eq!(told, json!({ "sub": ana["user"]["id"] }));
    // The session has what it had.
    let all = provider.refresh(&client, refresh_token(&less)).await.json();
    assert_eq!(all["scope"], "openid email");
}

#[tokio::test]
async fn a_client_without_the_grant_gets_no_refresh_token() {
    let provider = Provider::new().await;
    let body = json!({
        "redirect_uris": ["https://app.example/cb"],
        "grant_types": ["authorization_code"],
    });
    let client = provider.client(body).await;
    let ana = provider.user("ana@example.com").await;
    let tokens = provider.tokens(&client, &ana, &[]).await;
    assert!(tokens.get("refresh_token").is_none());
    let reply = provider.refresh(&client, "sbr_x").await;
    oauth_refused(&reply, 400, "unauthorized_client");
}

#[tokio::test]
async fn introspection_tells_whoever_may_know() {
    let provider = Provider::new().await;
    let client = provider.confidential().await;
    let other = provider.confidential().await;
    let ana = provider.user("ana@example.com").await;
    let tokens = provider.tokens(&client, &ana, &[]).await;
    let look = async |client, token: &str| {
        let reply = provider
            .ask("/oauth/introspect", client, &[("token", token)])
            .await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()
    };
    let about = look(&client, access(&tokens)).await;
    assert_eq!(about["active"], true);
    assert_eq!(about["client_id"], client.id);
    assert_eq!(about["sub"], ana["user"]["id"]);
    assert_eq!(about["scope"], "openid email");
    assert_eq!(about["exp"], claims(access(&tokens))["exp"]);
    let about = look(&client, refresh_token(&tokens)).await;
    assert_eq!(about["token_type"], "refresh_token");
    let nothing = json!({ "active": false });
    for token in [
        "",
        "x",
        access(&ana),
        refresh_token(&ana),
        tokens["id_token"].as_str().unwrap(),
    ] {
        assert_eq!(look(&client, token).await, nothing, "{token}");
    }
    assert_eq!(look(&other, access(&tokens)).await, nothing);
    assert_eq!(look(&other, refresh_token(&tokens)).await, nothing);
    let service = provider.service();
    let body = json!({ "token": access(&tokens) });
    let path = "/auth/v1/oauth/introspect";
    let reply = provider.app.post(path, Some(&service), body).await;
    assert_eq!(reply.json()["active"], true);
    let public = provider.public().await;
    let reply = provider
        .ask("/oauth/introspect", &public, &[("token", access(&tokens))])
        .await;
    oauth_refused(&reply, 400, "invalid_client");
    provider.advance(3600);
    assert_eq!(look(&client, access(&tokens)).await, nothing);
}

#[tokio::test]
async fn a_client_revokes_its_tokens_and_nobody_elses() {
    let provider = Provider::new().await;
    let client = provider.confidential().await;
    let other = provider.confidential().await;
    let ana = provider.user("ana@example.com").await;
    let tokens = provider.tokens(&client, &ana, &[]).await;
    for (asker, token) in [
        (&other, refresh_token(&tokens)),
        (&other, access(&tokens)),
        (&client, refresh_token(&ana)),
        (&client, access(&ana)),
        (&client, "unknown"),
    ] {
        let reply = provider
            .ask("/oauth/revoke", asker, &[("token", token)])
            .await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    assert_eq!(
        provider.value("select count(*) from auth.sessions").await,
        "2"
    );
    let fields = [("token", refresh_token(&tokens))];
    provider.ask("/oauth/revoke", &client, &fields).await;
    let reply = provider.userinfo(access(&tokens)).await;
    oauth_refused(&reply, 401, "invalid_token");
    assert!(
        reply.headers["www-authenticate"]
            .to_str()
            .unwrap()
            .contains("invalid_token")
    );
    let reply = provider.refresh(&client, refresh_token(&tokens)).await;
    oauth_refused(&reply, 400, "invalid_grant");
    let again = provider.tokens(&client, &ana, &[]).await;
    provider
        .ask("/oauth/revoke", &client, &[("token", access(&again))])
        .await;
    assert_eq!(provider.userinfo(access(&again)).await.status, 401);
}

#[tokio::test]
async fn users_see_and_take_back_what_they_granted() {
    let provider = Provider::new().await;
    let client = provider.confidential().await;
    let (ana, bo) = (
        provider.user("ana@example.com").await,
        provider.user("bo@example.com").await,
    );
    let tokens = provider.tokens(&client, &ana, &[]).await;
    let of_bo = provider.tokens(&client, &bo, &[]).await;
    let open = provider.code(&client, &ana, &[]).await;
    let path = "/auth/v1/user/oauth/grants";
    let grants = provider.app.get(path, Some(access(&ana))).await.json();
    assert_eq!(
        grants[0]["client"],
        json!({ "id": client.id, "name": "Notes" })
    );
    assert_eq!(grants[0]["scopes"], json!(["openid", "email"]));
    assert!(grants[0]["granted_at"].is_string());

    let one = format!("{path}?client_id={}", client.id);
    let delete = async |path: &str| {
        let method = axum::http::Method::DELETE;
        provider
            .app
            .call(method, path, Some(access(&ana)), None)
            .await
    };
    assert_eq!(delete(&one).await.status, 204);
    refused(&delete(&one).await, 404, "oauth_consent_not_found");
    refused(&delete(path).await, 400, "validation_failed");
    let grants = provider.app.get(path, Some(access(&ana))).await.json();
    assert_eq!(grants, json!([]));
    let reply = provider.refresh(&client, refresh_token(&tokens)).await;
    oauth_refused(&reply, 400, "invalid_grant");
    oauth_refused(
        &provider.exchange(&client, &open).await,
        400,
        "invalid_grant",
    );
    assert_eq!(provider.userinfo(access(&tokens)).await.status, 401);
    assert_eq!(provider.userinfo(access(&of_bo)).await.status, 200);
    // Asked again from now on.
    let id = provider.begin(&client, &[]).await;
    let details = provider.details(access(&ana), &id).await.json();
    assert!(details.get("client").is_some());
}

#[tokio::test]
async fn a_deleted_client_a_ban_and_a_new_password_end_sessions() {
    let provider = Provider::new().await;
    let client = provider.confidential().await;
    let ana = provider.user("ana@example.com").await;
    let tokens = provider.tokens(&client, &ana, &[]).await;
    let service = provider.service();
    let put = async |path: &str, token: &str, body| {
        let method = axum::http::Method::PUT;
        provider
            .app
            .call(method, path, Some(token), Some(body))
            .await
    };
    let body = json!({ "password": "another long password" });
    assert_eq!(put("/auth/v1/user", access(&ana), body).await.status, 200);
    assert_eq!(provider.userinfo(access(&tokens)).await.status, 401);

    let tokens = provider.tokens(&client, &ana, &[]).await;
    let path = format!(
        "/auth/v1/admin/users/{}",
        ana["user"]["id"].as_str().unwrap()
    );
    let ban = json!({ "ban_duration": "1h" });
    assert_eq!(put(&path, &service, ban).await.status, 200);
    assert_eq!(provider.userinfo(access(&tokens)).await.status, 401);
    let reply = provider.refresh(&client, refresh_token(&tokens)).await;
    oauth_refused(&reply, 400, "invalid_grant");
    put(&path, &service, json!({ "ban_duration": "none" })).await;
    assert_eq!(provider.userinfo(access(&tokens)).await.status, 200);

    let path = format!("/auth/v1/admin/oauth/clients/{}", client.id);
    let method = axum::http::Method::DELETE;
    let reply = provider.app.call(method, &path, Some(&service), None).await;
    assert_eq!(reply.status, 204);
    assert_eq!(provider.userinfo(access(&tokens)).await.status, 401);
    let reply = provider.refresh(&client, refresh_token(&tokens)).await;
    oauth_refused(&reply, 401, "invalid_client");
}
