//! `/admin/oauth/clients`.

use axum::http::Method;
use serde_json::{Value, json};

use super::{Provider, REDIRECT, access, refused};

#[tokio::test]
async fn the_service_key_manages_clients() {
    let provider = Provider::new().await;
    let service = provider.service();
    let call = async |method: Method, path: &str, body: Option<Value>| {
        let path = format!("/auth/v1/admin/oauth/clients{path}");
        provider.app.call(method, &path, Some(&service), body).await
    };
    let body = json!({
        "client_name": "Notes",
        "client_uri": "https://app.example",
        "logo_uri": "https://app.example/logo.png",
        "redirect_uris": [REDIRECT],
        "scope": "ignored",
    });
    let made = call(Method::POST, "", Some(body)).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let mut made = made.json();
    let secret = made["client_secret"].take();
    assert_eq!(secret.as_str().unwrap().len(), 43);
    assert_eq!(made["client_type"], "confidential");
    assert_eq!(made["token_endpoint_auth_method"], "client_secret_basic");
    assert_eq!(made["registration_type"], "manual");
    assert_eq!(
        made["grant_types"],
        json!(["authorization_code", "refresh_token"])
    );
    assert_eq!(made["response_types"], json!(["code"]));
    assert!(made["created_at"].is_string());

    let one = format!("/{}", made["client_id"].as_str().unwrap());
    let shown = call(Method::GET, &one, None).await.json();
    assert!(shown.get("client_secret").is_none());
    assert_eq!(shown["client_id"], made["client_id"]);

    let change = json!({ "client_name": "Notes 2", "redirect_uris": [REDIRECT, "https://b.example"], "logo_uri": "" });
    let changed = call(Method::PUT, &one, Some(change)).await.json();
    assert_eq!(changed["client_name"], "Notes 2");
    assert_eq!(changed["redirect_uris"][1], "https://b.example");
    assert_eq!(changed["client_uri"], "https://app.example");
    assert!(changed.get("logo_uri").is_none());
    let to_none = json!({ "token_endpoint_auth_method": "none" });
    refused(
        &call(Method::PUT, &one, Some(to_none)).await,
        400,
        "validation_failed",
    );

    let fresh = call(Method::POST, &format!("{one}/regenerate_secret"), None)
        .await
        .json();
    assert_ne!(fresh["client_secret"], secret);

    let list = call(Method::GET, "?page=&per_page=1", None).await;
    assert_eq!(list.headers["x-total-count"], "1");
    assert_eq!(
        list.headers["link"],
        "</auth/v1/admin/oauth/clients?page=1&per_page=1>; rel=\"last\""
    );
    assert_eq!(
        list.json()["clients"][0],
        changed_by_secret(changed, &fresh)
    );
    assert_eq!(call(Method::DELETE, &one, None).await.status, 204);
    refused(
        &call(Method::GET, &one, None).await,
        404,
        "oauth_client_not_found",
    );
    refused(
        &call(Method::DELETE, &one, None).await,
        404,
        "oauth_client_not_found",
    );
}

/// The clock stands still, so nothing but the secret is another.
fn changed_by_secret(mut changed: Value, fresh: &Value) -> Value {
    changed["updated_at"] = fresh["updated_at"].clone();
    changed
}

#[tokio::test]
async fn an_old_secret_is_worth_nothing() {
    let provider = Provider::new().await;
    let old = provider.confidential().await;
    let ana = provider.user("ana@example.com").await;
    let code = provider.code(&old, &ana, &[]).await;
    let path = format!("/auth/v1/admin/oauth/clients/{}/regenerate_secret", old.id);
    let service = provider.service();
    let reply = provider
        .app
        .post(&path, Some(&service), json!({}))
        .await
        .json();
    assert_eq!(provider.exchange(&old, &code).await.status, 401);
    let mut new = old.clone();
    new.secret = reply["client_secret"].as_str().map(str::to_owned);
    assert_eq!(provider.exchange(&new, &code).await.status, 200);
}

#[tokio::test]
async fn a_public_client_has_no_secret() {
    let provider = Provider::new().await;
    let client = provider.public().await;
    assert_eq!(client.secret, None);
    let path = format!(
        "/auth/v1/admin/oauth/clients/{}/regenerate_secret",
        client.id
    );
    let service = provider.service();
    let reply = provider.app.post(&path, Some(&service), json!({})).await;
    refused(&reply, 400, "validation_failed");
}

#[tokio::test]
async fn bad_clients_are_not_registered() {
    let provider = Provider::new().await;
    for body in [
        json!({}),
        json!({ "redirect_uris": [] }),
        json!({ "redirect_uris": ["http://app.example/cb"] }),
        json!({ "redirect_uris": [REDIRECT], "client_type": "other" }),
        json!({ "redirect_uris": [REDIRECT], "client_type": "public", "token_endpoint_auth_method": "client_secret_basic" }),
        json!({ "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "private_key_jwt" }),
        json!({ "redirect_uris": [REDIRECT], "grant_types": ["password"] }),
        json!({ "redirect_uris": [REDIRECT], "client_name": "x".repeat(201) }),
        json!({ "redirect_uris": [REDIRECT], "client_name": "a\u{0}b" }),
        json!({ "redirect_uris": [REDIRECT], "client_uri": "javascript:alert(1)" }),
        json!({ "redirect_uris": [REDIRECT], "logo_uri": "data:image/svg+xml,x" }),
    ] {
        refused(&provider.add(body).await, 400, "validation_failed");
    }
}

#[tokio::test]
async fn nobody_else_manages_clients() {
    let provider = Provider::new().await;
    let ana = provider.user("ana@example.com").await;
    let anon = provider.app.running.role_token("anon").unwrap();
    let path = "/auth/v1/admin/oauth/clients";
    for token in [access(&ana), anon.as_str()] {
        refused(&provider.app.get(path, Some(token)).await, 403, "not_admin");
    }
    refused(&provider.app.get(path, None).await, 401, "no_authorization");
}
