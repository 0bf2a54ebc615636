//! Tokens for one service and one minute.

use serde_json::{Map, Value, json};

use super::{ISSUER, Provider, access, claims, refused};
use crate::support::TestApp;

const REPORTS: (&str, &str) = (
    "auth.service_token_audiences",
    "reports,https://mail.example",
);

async fn app() -> TestApp {
    TestApp::with(&[REPORTS]).await
}

async fn issue(app: &TestApp, token: &str, aud: &str) -> Value {
    let path = format!("/auth/v1/token/service?aud={aud}");
    let reply = app.get(&path, Some(token)).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

async fn verify(app: &TestApp, token: &str, aud: &str) -> Value {
    let body = json!({ "token": token, "aud": aud });
    let reply = app.post("/auth/v1/token/verify", None, body).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

#[tokio::test]
async fn a_service_learns_who_calls_and_nothing_more() {
    let app = app().await;
    let ana = app.sign_up("ana@example.com").await;
    let issued = issue(&app, access(&ana), "reports").await;
    assert_eq!(issued["expires_in"], 60);
    let token = issued["token"].as_str().unwrap();
    let said = claims(token);
    let names: Vec<&str> = said.keys().map(String::as_str).collect();
    assert_eq!(names, ["aud", "exp", "iat", "iss", "jti", "sub"]);
    assert_eq!(said["iss"], ISSUER);
    assert_eq!(said["sub"], ana["user"]["id"]);
    assert_eq!(
        said["exp"].as_i64().unwrap() - said["iat"].as_i64().unwrap(),
        60
    );

    let mut expected: Map<String, Value> = said.clone();
    expected.insert("active".to_owned(), true.into());
    assert_eq!(
        verify(&app, token, "reports").await,
        Value::Object(expected)
    );
    let nothing = json!({ "active": false });
    assert_eq!(verify(&app, token, "https://mail.example").await, nothing);
    assert_eq!(verify(&app, token, "authenticated").await, nothing);
    assert_eq!(verify(&app, &format!("{token}x"), "reports").await, nothing);
    app.clock.advance(chrono::TimeDelta::seconds(60));
    assert_eq!(verify(&app, token, "reports").await, nothing);
}

#[tokio::test]
async fn the_service_key_gets_one_too() {
    let app = app().await;
    let service = app.running.role_token("service_role").unwrap();
    let issued = issue(&app, &service, "https://mail.example").await;
    let said = claims(issued["token"].as_str().unwrap());
    assert_eq!(said["sub"], "service_role");
    assert!(!said.contains_key("role"));
}

/// Attack 8. Give service tokens the audience of access tokens, and this fails.
#[tokio::test]
async fn a_service_token_opens_nothing_here() {
    let app = app().await;
    let ana = app.sign_up("ana@example.com").await;
    let service = app.running.role_token("service_role").unwrap();
    for caller in [access(&ana), service.as_str()] {
        let issued = issue(&app, caller, "reports").await;
        let token = issued["token"].as_str().unwrap();
        for path in [
            "/auth/v1/user",
            "/auth/v1/admin/users",
            "/auth/v1/token/service?aud=reports",
            "/jobs/v1/jobs",
        ] {
            refused(&app.get(path, Some(token)).await, 403, "bad_jwt");
        }
    }
}

/// Remove the look for other claims in `service_token::verify` and the last part fails.
#[tokio::test]
async fn no_other_token_is_taken_for_one() {
    let provider = Provider::with(&[REPORTS]).await;
    let client = provider.confidential().await;
    let ana = provider.user("ana@example.com").await;
    let resource = [("resource", "https://mail.example")];
    let tokens = provider.tokens(&client, &ana, &resource).await;
    let nothing = json!({ "active": false });
    for (token, aud) in [
        (access(&ana), "authenticated"),
        (access(&ana), "reports"),
        (tokens["id_token"].as_str().unwrap(), client.id.as_str()),
        (access(&tokens), "https://mail.example/"),
        (access(&tokens), "https://mail.example"),
        ("", ""),
    ] {
        assert_eq!(verify(&provider.app, token, aud).await, nothing, "{aud}");
    }
}

#[tokio::test]
async fn only_named_services_get_tokens() {
    let wide = ("auth.service_token_audiences", "reports,authenticated");
    let app = TestApp::with(&[wide]).await;
    let ana = app.sign_up("ana@example.com").await;
    let ask = async |app: &TestApp, query: &str, token: Option<&str>| {
        let path = format!("/auth/v1/token/service{query}");
        app.get(&path, token).await
    };
    let token = Some(access(&ana));
    let other = ask(&app, "?aud=other", token).await;
    refused(&other, 403, "unexpected_audience");
    // Whatever the setting says: it would be a user's own token.
    let ours = ask(&app, "?aud=authenticated", token).await;
    refused(&ours, 403, "unexpected_audience");
    refused(&ask(&app, "", token).await, 400, "validation_failed");
    refused(
        &ask(&app, "?aud=reports", None).await,
        401,
        "no_authorization",
    );
    let anon = app.running.role_token("anon").unwrap();
    let reply = ask(&app, "?aud=reports", Some(&anon)).await;
    refused(&reply, 403, "bad_jwt");
    app.post("/auth/v1/logout", token, json!({})).await;
    let reply = ask(&app, "?aud=reports", token).await;
    refused(&reply, 403, "session_not_found");

    let off = TestApp::new().await;
    let ana = off.sign_up("ana@example.com").await;
    let reply = ask(&off, "?aud=reports", Some(access(&ana))).await;
    refused(&reply, 404, "feature_disabled");
}
