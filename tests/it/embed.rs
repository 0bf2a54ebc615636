//! The builder an embedding author uses, through the example that is compiled beside it.

use axum::http::StatusCode;
use serde_json::json;

use crate::support::TestApp;

#[path = "../../examples/embed/main.rs"]
#[expect(dead_code, reason = "its main is the example's, not the test's")]
mod example;

#[tokio::test]
async fn an_author_adds_routes_layers_migrations_claims_and_hooks() {
    let app = TestApp::build(example::app(), &[("db.migrate_on_start", "true")]).await;

    let anonymous = app.get("/hello", None).await;
    assert_eq!((anonymous.status, anonymous.json()), (StatusCode::OK, json!({ "role": "anon", "greetings": 1 })));
    assert_eq!(anonymous.headers["x-embedded"], "yes");

    let session = app.sign_up("ana@example.com").await;
    let token = session["access_token"].as_str().unwrap();
    assert_eq!(app.get("/hello", Some(token)).await.json(), json!({ "role": "authenticated", "greetings": 2 }));
    assert_eq!(claims(token)["plan"], "free");

    let forged = app.get("/hello", Some(&format!("{token}x"))).await;
    assert_eq!((forged.status, forged.json()["code"].clone()), (StatusCode::FORBIDDEN, json!("bad_jwt")));

    let blocked = json!({ "email": "eve@blocked.example", "password": "correct horse" });
    let refused = app.post("/auth/v1/signup", None, blocked).await;
    assert_eq!(refused.json()["message"], "This domain may not sign up");
    let users = app.owner().await.query_one("select count(*) from auth.users", &[]).await.unwrap();
    assert_eq!(users.get::<_, i64>(0), 1);
}

fn claims(token: &str) -> serde_json::Value {
    use base64::Engine as _;
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}
