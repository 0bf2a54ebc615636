//! The way of a client: discovery, authorization, consent, tokens.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Map, Value, json};

use super::{
    CHALLENGE, ISSUER, Provider, REDIRECT, VERIFIER, access, claims, form, location, oauth_refused,
    parameter, refresh_token, refused,
};
use crate::support::TestApp;

#[tokio::test]
async fn a_client_signs_somebody_in() {
    let provider = Provider::new().await;
    let client = provider.confidential().await;
    let ana = provider.user("ana@example.com").await;
    provider.advance(60);

    let reply = provider.authorize(&client, &[]).await;
    let page = location(&reply);
    assert_eq!(page.path(), "/auth/v1/oauth/consent");
    let id = parameter(&page, "authorization_id").unwrap();
    let details = provider.details(access(&ana), &id).await.json();
    assert_eq!(
        details,
        json!({
            "authorization_id": id,
            "redirect_uri": REDIRECT,
            "client": { "id": client.id, "name": "Notes" },
            "user": { "id": ana["user"]["id"], "email": "ana@example.com" },
            "scope": "openid email",
        })
    );
    let back = provider.approve(&ana, &id).await;
    assert!(back.as_str().starts_with("https://app.example/cb?code="));
    assert_eq!(parameter(&back, "state").as_deref(), Some("the state"));
    assert_eq!(parameter(&back, "iss").as_deref(), Some(ISSUER));

    let code = parameter(&back, "code").unwrap();
    let reply = provider.exchange(&client, &code).await;
    assert_eq!(reply.headers["cache-control"], "no-store");
    let tokens = reply.json();
    assert_eq!(tokens["token_type"], "bearer");
    assert_eq!(tokens["scope"], "openid email");
    assert!(tokens.get("user").is_none());
    let said = claims(access(&tokens));
    assert_eq!(said["client_id"], client.id);
    assert_eq!(said["scope"], "openid email");
    assert_eq!(said["aud"], "authenticated");
    assert_eq!(said["role"], "authenticated");
    assert_eq!(
        said["amr"][0]["method"],
        "oauth_provider/authorization_code"
    );
    assert_ne!(said["session_id"], claims(access(&ana))["session_id"]);

    let told = provider.userinfo(access(&tokens)).await.json();
    let expected =
        json!({ "sub": ana["user"]["id"], "email": "ana@example.com", "email_verified": true });
    assert_eq!(told, expected);
    let stored = "select concat_ws('|', oauth_client_id, scopes) from auth.sessions where oauth_client_id is not null";
    assert_eq!(
        provider.value(stored).await,
        format!("{}|openid email", client.id)
    );
}

#[tokio::test]
async fn an_id_token_is_verified_with_the_published_keys_alone() {
    let provider = Provider::new().await;
    let client = provider.confidential().await;
    let ana = provider.user("ana@example.com").await;
    let signed_in = provider.app.clock.now().timestamp();
    provider.advance(100);
    let tokens = provider.tokens(&client, &ana, &[]).await;
    let id_token = tokens["id_token"].as_str().unwrap();

    let keys = provider
        .app
        .get("/auth/v1/.well-known/jwks.json", None)
        .await;
    let key = keys.json()["keys"][0].clone();
    let text = |name: &str| key[name].as_str().unwrap();
    let key = DecodingKey::from_ec_components(text("x"), text("y")).unwrap();
    let mut validation = Validation::new(Algorithm::ES256);
    validation.validate_exp = false;
    validation.set_audience(&[&client.id]);
    validation.set_issuer(&[ISSUER]);
    let said = jsonwebtoken::decode::<Map<String, Value>>(id_token, &key, &validation)
        .unwrap()
        .claims;
    assert_eq!(said["sub"], ana["user"]["id"]);
    assert_eq!(said["nonce"], "the nonce");
    assert_eq!(said["auth_time"], signed_in);
    assert_eq!(said["iat"], signed_in + 100);
    assert_eq!(said["email"], "ana@example.com");
    let hash = digest::digest(&digest::SHA256, access(&tokens).as_bytes());
    let half = URL_SAFE_NO_PAD.encode(&hash.as_ref()[..16]);
    assert_eq!(said["at_hash"], half);
    for name in ["role", "session_id", "client_id"] {
        assert!(!said.contains_key(name), "{name}");
    }

    let plain = provider.tokens(&client, &ana, &[("scope", "email")]).await;
    assert!(plain.get("id_token").is_none());
}

#[tokio::test]
async fn discovery_names_what_is_done() {
    let provider = Provider::with(&[("auth.oauth_dynamic_registration", "true")]).await;
    let get = async |path: &str| provider.app.get(path, None).await;
    let reply = get("/auth/v1/.well-known/openid-configuration").await;
    let document = reply.json();
    for path in [
        "/auth/v1/.well-known/oauth-authorization-server",
        "/.well-known/oauth-authorization-server/auth/v1",
        "/.well-known/openid-configuration/auth/v1",
    ] {
        assert_eq!(get(path).await.json(), document, "{path}");
    }
    assert_eq!(document["issuer"], ISSUER);
    assert_eq!(
        document["code_challenge_methods_supported"],
        json!(["S256"])
    );
    assert_eq!(
        document["id_token_signing_alg_values_supported"],
        json!(["ES256"])
    );
    assert_eq!(document["response_types_supported"], json!(["code"]));
    assert_eq!(
        document["registration_endpoint"],
        format!("{ISSUER}/oauth/clients/register")
    );
    // Every endpoint it names is there.
    for (name, value) in document.as_object().unwrap() {
        if let (true, Some(url)) = (name.ends_with("_endpoint"), value.as_str()) {
            let path = url.strip_prefix("http://sb.test").unwrap();
            assert_ne!(get(path).await.status, 404, "{name}");
        }
    }
}

#[tokio::test]
async fn what_is_switched_off_is_not_there() {
    let app = TestApp::new().await;
    let service = app.running.role_token("service_role").unwrap();
    for path in [
        "/auth/v1/oauth/authorize",
        "/auth/v1/oauth/userinfo",
        "/auth/v1/oauth/consent",
        "/auth/v1/oauth/authorizations/x",
        "/auth/v1/user/oauth/grants",
        "/auth/v1/admin/oauth/clients",
    ] {
        refused(
            &app.get(path, Some(&service)).await,
            404,
            "feature_disabled",
        );
    }
    for path in [
        "/auth/v1/.well-known/openid-configuration",
        "/auth/v1/.well-known/oauth-authorization-server",
        "/.well-known/oauth-authorization-server/auth/v1",
    ] {
        refused(&app.get(path, None).await, 404, "not_found");
    }
}

#[tokio::test]
async fn an_application_can_ask_on_its_own_page() {
    let page = "https://shop.example/consent?lang=de";
    let provider = Provider::with(&[("auth.oauth_server_authorization_url", page)]).await;
    let client = provider.confidential().await;
    let reply = provider.authorize(&client, &[]).await;
    let start = format!("{page}&authorization_id=");
    assert!(location(&reply).as_str().starts_with(&start));
}

#[tokio::test]
async fn a_request_may_come_as_a_form() {
    let provider = Provider::new().await;
    let client = provider.confidential().await;
    let fields = [
        ("client_id", client.id.as_str()),
        ("redirect_uri", REDIRECT),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ];
    let reply = provider.post_form("/oauth/authorize", &fields, None).await;
    assert_eq!(reply.status, 302);
    assert!(parameter(&location(&reply), "authorization_id").is_some());
}

#[tokio::test]
async fn the_user_can_say_no() {
    let provider = Provider::new().await;
    let client = provider.confidential().await;
    let ana = provider.user("ana@example.com").await;
    let id = provider.begin(&client, &[]).await;
    provider.details(access(&ana), &id).await;
    let reply = provider.decide(access(&ana), &id, "deny").await.json();
    let back = url::Url::parse(reply["redirect_url"].as_str().unwrap()).unwrap();
    assert_eq!(parameter(&back, "error").as_deref(), Some("access_denied"));
    assert_eq!(parameter(&back, "state").as_deref(), Some("the state"));
    assert_eq!(parameter(&back, "code"), None);
    let again = provider.decide(access(&ana), &id, "approve").await;
    refused(&again, 400, "validation_failed");
    assert_eq!(
        provider
            .value("select count(*) from auth.oauth_consents")
            .await,
        "0"
    );
}

#[tokio::test]
async fn a_consent_covers_what_it_says_where_it_is_certain_who_asks() {
    let provider = Provider::new().await;
    let client = provider.confidential().await;
    let ana = provider.user("ana@example.com").await;
    let is_asked = async |client, changes: &[(&str, &str)]| {
        let id = provider.begin(client, changes).await;
        let details = provider.details(access(&ana), &id).await.json();
        details.get("client").is_some()
    };
    assert!(is_asked(&client, &[]).await, "before there is a consent");
    provider.code(&client, &ana, &[]).await;
    assert!(!is_asked(&client, &[]).await);
    assert!(!is_asked(&client, &[("scope", "email")]).await);
    assert!(is_asked(&client, &[("scope", "email phone")]).await);
    assert!(is_asked(&client, &[("prompt", "consent")]).await);
    // More adds to it.
    provider.code(&client, &ana, &[("scope", "phone")]).await;
    assert!(!is_asked(&client, &[("scope", "email phone")]).await);
    // Another program may listen on the same machine.
    let public = provider.public().await;
    provider.code(&public, &ana, &[]).await;
    assert!(is_asked(&public, &[]).await);
}

#[tokio::test]
async fn an_app_listens_on_whichever_port_is_free() {
    let provider = Provider::new().await;
    let client = provider.public().await;
    let ana = provider.user("ana@example.com").await;
    let port = ("redirect_uri", "http://127.0.0.1:49152/cb");
    let id = provider.begin(&client, &[port]).await;
    let back = provider.approve(&ana, &id).await;
    assert!(back.as_str().starts_with("http://127.0.0.1:49152/cb?code="));
    let code = parameter(&back, "code").unwrap();
    let fields = [
        ("grant_type", "authorization_code"),
        ("code", &code),
        ("code_verifier", VERIFIER),
        port,
    ];
    let reply = provider.ask("/oauth/token", &client, &fields).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[tokio::test]
async fn json_and_a_secret_in_the_body_do_as_well() {
    let provider = Provider::new().await;
    let body = json!({
        "redirect_uris": [REDIRECT],
        "token_endpoint_auth_method": "client_secret_post",
    });
    let client = provider.client(body).await;
    let ana = provider.user("ana@example.com").await;
    let code = provider.code(&client, &ana, &[]).await;
    let body = json!({
        "grant_type": "authorization_code",
        "code": code,
        "code_verifier": VERIFIER,
        "client_id": client.id,
        "client_secret": client.secret,
    });
    let reply = provider.app.post("/auth/v1/oauth/token", None, body).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_told_to_its_client() {
    let provider = Provider::new().await;
    let client = provider.confidential().await;
    for (changes, error) in [
        (
            vec![("response_type", "token")],
            "unsupported_response_type",
        ),
        (vec![("response_mode", "fragment")], "invalid_request"),
        (vec![("scope", "openid admin")], "invalid_scope"),
        (vec![("resource", "mcp")], "invalid_target"),
        (
            vec![("resource", "https://mcp.example/#x")],
            "invalid_target",
        ),
        (vec![("prompt", "none")], "login_required"),
        (vec![("request", "eyJ")], "request_not_supported"),
        (
            vec![("request_uri", "https://x")],
            "request_uri_not_supported",
        ),
        (vec![("nonce", &"x".repeat(256)[..])], "invalid_request"),
        (vec![("code_challenge", "short")], "invalid_request"),
    ] {
        let reply = provider.authorize(&client, &changes).await;
        let back = location(&reply);
        assert!(back.as_str().starts_with(REDIRECT), "{back}");
        assert_eq!(
            parameter(&back, "error").as_deref(),
            Some(error),
            "{changes:?}"
        );
        assert_eq!(parameter(&back, "state").as_deref(), Some("the state"));
        assert_eq!(parameter(&back, "iss").as_deref(), Some(ISSUER));
    }
    let count = "select count(*) from auth.oauth_authorizations";
    assert_eq!(provider.value(count).await, "0");
}

#[tokio::test]
async fn a_token_is_for_the_resource_that_was_asked_for() {
    let provider = Provider::new().await;
    let client = provider.confidential().await;
    let ana = provider.user("ana@example.com").await;
    let elsewhere = [
        ("resource", "https://mcp.example/v1"),
        ("scope", "openid offline_access"),
    ];
    let tokens = provider.tokens(&client, &ana, &elsewhere).await;
    assert_eq!(claims(access(&tokens))["aud"], "https://mcp.example/v1");
    let next = provider
        .refresh(&client, refresh_token(&tokens))
        .await
        .json();
    assert_eq!(claims(access(&next))["aud"], "https://mcp.example/v1");
    // It opens nothing here, and tells nothing to whom it is shown there. Remove `is_for` in `ClientToken::require` and
    // this fails.
    assert_eq!(provider.userinfo(access(&next)).await.status, 401);
    let asked = provider.app.get("/jobs/v1/jobs", Some(access(&next))).await;
    refused(&asked, 403, "bad_jwt");

    let here = "http://sb.test/functions/v1/mcp";
    let tokens = provider.tokens(&client, &ana, &[("resource", here)]).await;
    assert_eq!(
        claims(access(&tokens))["aud"],
        json!(["authenticated", here])
    );
    assert_eq!(provider.userinfo(access(&tokens)).await.status, 200);

    let code = provider.code(&client, &ana, &elsewhere).await;
    let fields = [
        ("grant_type", "authorization_code"),
        ("code", &code),
        ("code_verifier", VERIFIER),
        ("resource", "https://other.example"),
    ];
    let reply = provider.ask("/oauth/token", &client, &fields).await;
    oauth_refused(&reply, 400, "invalid_target");
}

/// Fails without the look at `expires_at`, and without the removal of old rows in `insert_authorization`.
#[tokio::test]
async fn requests_that_are_over_leave_nothing_behind() {
    let provider = Provider::new().await;
    let client = provider.confidential().await;
    let ana = provider.user("ana@example.com").await;
    let late = provider.begin(&client, &[]).await;
    provider.advance(10 * 60);
    let reply = provider.details(access(&ana), &late).await;
    refused(&reply, 404, "oauth_authorization_not_found");
    let page = format!(
        "/auth/v1/oauth/consent?{}",
        form(&[("authorization_id", &late)])
    );
    assert_eq!(provider.app.get(&page, None).await.status, 404);
    provider.advance(25 * 60 * 60);
    provider.begin(&client, &[]).await;
    let count = "select count(*) from auth.oauth_authorizations";
    assert_eq!(provider.value(count).await, "1");
}
