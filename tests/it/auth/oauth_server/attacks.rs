//! Attacks on the provider. Each test says which defence to remove to see it fail.

use axum::body::Body;
use axum::http::{Method, Request};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;
use proptest::prelude::Strategy as _;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use super::{
    CHALLENGE, Client, Provider, REDIRECT, VERIFIER, access, form, location, oauth_refused,
    parameter, refresh_token, refused,
};

/// Attack 8. Remove `refuse_oauth_client`, or the look at `client_id` in `Owner::from_token`, and the first part fails;
/// give id tokens the audience of access tokens and the second does.
#[tokio::test]
async fn the_account_is_out_of_a_clients_reach() {
    let provider = Provider::with(&[("auth.service_token_audiences", "reports")]).await;
    let client = provider.confidential().await;
    let ana = provider.user("ana@example.com").await;
    let tokens = provider.tokens(&client, &ana, &[]).await;
    let id = provider.begin(&client, &[("scope", "phone")]).await;
    let authorization = format!("/auth/v1/oauth/authorizations/{id}");
    let consent = format!("{authorization}/consent");
    let grant = format!("/auth/v1/user/oauth/grants?client_id={}", client.id);
    for (method, path, body) in [
        (Method::GET, "/auth/v1/user", None),
        (
            Method::PUT,
            "/auth/v1/user",
            Some(json!({ "password": "a new password of mine" })),
        ),
        (Method::POST, "/auth/v1/logout", Some(json!({}))),
        (Method::GET, "/auth/v1/admin/users", None),
        (Method::GET, "/auth/v1/admin/oauth/clients", None),
        (Method::GET, "/auth/v1/user/oauth/grants", None),
        (Method::DELETE, &grant, None),
        (Method::GET, "/auth/v1/token/service?aud=reports", None),
        (Method::GET, &authorization, None),
        (Method::POST, &consent, Some(json!({ "action": "approve" }))),
    ] {
        let call = async |token: &str| {
            let reply = provider
                .app
                .call(method.clone(), path, Some(token), body.clone());
            reply.await
        };
        refused(&call(access(&tokens)).await, 403, "unexpected_audience");
        let id_token = call(tokens["id_token"].as_str().unwrap()).await;
        assert_eq!(id_token.status, 403, "{path}: {}", id_token.text());
    }
    assert_eq!(
        provider
            .app
            .get("/auth/v1/user", Some(access(&ana)))
            .await
            .status,
        200
    );
    // The other way round: userinfo is for clients.
    for token in [
        access(&ana),
        tokens["id_token"].as_str().unwrap(),
        "x",
        &provider.service(),
    ] {
        oauth_refused(&provider.userinfo(token).await, 401, "invalid_token");
    }
}

/// Attack 17. Remove `oauth_client_id is not distinct from` in `queries::refresh` and the first part fails; the filter by
/// client in `grant::refresh` and that clause, and the rest does.
#[tokio::test]
async fn a_refresh_token_is_good_in_its_own_place_only() {
    let provider = Provider::new().await;
    let (client, other) = (provider.confidential().await, provider.confidential().await);
    let public = provider.public().await;
    let ana = provider.user("ana@example.com").await;
    let tokens = provider.tokens(&client, &ana, &[]).await;
    let first_party = async |token: &str| {
        let path = "/auth/v1/token?grant_type=refresh_token";
        provider
            .app
            .post(path, None, json!({ "refresh_token": token }))
            .await
    };
    refused(
        &first_party(refresh_token(&tokens)).await,
        400,
        "refresh_token_not_found",
    );
    for client in [&client, &other, &public] {
        let reply = provider.refresh(client, refresh_token(&ana)).await;
        oauth_refused(&reply, 400, "invalid_grant");
    }
    for client in [&other, &public] {
        let reply = provider.refresh(client, refresh_token(&tokens)).await;
        oauth_refused(&reply, 400, "invalid_grant");
    }
    // Nobody lost a session over it, and both go on where they belong.
    assert_eq!(first_party(refresh_token(&ana)).await.status, 200);
    assert_eq!(
        provider
            .refresh(&client, refresh_token(&tokens))
            .await
            .status,
        200
    );
}

/// Remove `oauth_client_id is null` in `queries::find_session_user` and this fails.
#[tokio::test]
async fn a_client_cannot_sign_its_user_out() {
    let provider = Provider::new().await;
    let client = provider.confidential().await;
    let ana = provider.user("ana@example.com").await;
    let tokens = provider.tokens(&client, &ana, &[]).await;
    let body = json!({ "refresh_token": refresh_token(&tokens) });
    provider.app.post("/auth/v1/logout", None, body).await;
    assert_eq!(
        provider.value("select count(*) from auth.sessions").await,
        "2"
    );
}

/// Attacks 19 and 20. Remove the look at `code_challenge_method`, or the comparison in `check_code`, and this fails.
#[tokio::test]
async fn there_is_no_way_around_the_code_verifier() {
    let provider = Provider::new().await;
    let client = provider.public().await;
    let ana = provider.user("ana@example.com").await;
    for changes in [
        vec![("code_challenge", "")],
        vec![("code_challenge_method", "")],
        vec![("code_challenge", ""), ("code_challenge_method", "")],
        vec![("code_challenge_method", "plain")],
        vec![
            ("code_challenge_method", "plain"),
            ("code_challenge", VERIFIER),
        ],
        vec![("code_challenge_method", "S512")],
    ] {
        let back = location(&provider.authorize(&client, &changes).await);
        assert_eq!(
            parameter(&back, "error").as_deref(),
            Some("invalid_request")
        );
    }
    let code = provider.code(&client, &ana, &[]).await;
    let wrong = VERIFIER.replace('d', "e");
    let long = "x".repeat(129);
    for verifier in ["", &wrong, CHALLENGE, "short", &long] {
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
            ("code_verifier", verifier),
        ];
        let reply = provider.ask("/oauth/token", &client, &fields).await;
        oauth_refused(&reply, 400, "invalid_grant");
    }
    // Guesses do not use it up for its owner.
    assert_eq!(provider.exchange(&client, &code).await.status, 200);
}

/// Attack S20. Fails when `code` does not note what it refuses.
#[tokio::test]
async fn codes_that_are_refused_are_logged() {
    let provider = Provider::new().await;
    let (client, other) = (provider.confidential().await, provider.confidential().await);
    let ana = provider.user("ana@example.com").await;
    let code = provider.code(&client, &ana, &[]).await;
    for (asker, code) in [(&client, "guess"), (&other, &code)] {
        oauth_refused(&provider.exchange(asker, code).await, 400, "invalid_grant");
    }
    provider.advance(300);
    oauth_refused(
        &provider.exchange(&client, &code).await,
        400,
        "invalid_grant",
    );
    let of = |client: &Client| {
        format!(
            "select count(*) from auth.audit_log_entries
              where payload ->> 'action' = 'login_failed' and payload -> 'traits' ->> 'error_code' = 'invalid_grant'
                and payload -> 'traits' ->> 'client_id' = '{}'",
            client.id
        )
    };
    assert_eq!(provider.value(&of(&client)).await, "2");
    assert_eq!(provider.value(&of(&other)).await, "1");

    // The first reuse ends the session; the next one has none to end, and is noted all the same.
    let code = provider.code(&client, &ana, &[]).await;
    assert_eq!(provider.exchange(&client, &code).await.status, 200);
    for noted in ["3", "4"] {
        oauth_refused(
            &provider.exchange(&client, &code).await,
            400,
            "invalid_grant",
        );
        assert_eq!(provider.value(&of(&client)).await, noted);
    }
}

/// Attack S20. Fails when `authenticate` does not note what it refuses.
#[tokio::test]
async fn wrong_secrets_of_clients_are_logged() {
    let provider = Provider::new().await;
    let client = provider.confidential().await;
    let guess = |id: &str| Client {
        id: id.to_owned(),
        secret: Some("a guess at the secret".to_owned()),
        redirect: client.redirect.clone(),
    };
    for path in ["/oauth/token", "/oauth/introspect", "/oauth/revoke"] {
        let refused = provider.ask(path, &guess(&client.id), &[]).await;
        oauth_refused(&refused, 401, "invalid_client");
    }
    // What is no client's name is not kept.
    let nobody = uuid::Uuid::new_v4().to_string();
    let refused = provider.ask("/oauth/token", &guess(&nobody), &[]).await;
    oauth_refused(&refused, 401, "invalid_client");
    let noted = "select string_agg(distinct payload ->> 'traits', ' ') || ' ' || count(*) from auth.audit_log_entries
                  where payload ->> 'action' = 'login_failed'";
    let noted = provider.value(noted).await;
    let (traits, count) = noted.rsplit_once(' ').unwrap();
    let traits: Value = serde_json::from_str(traits).unwrap();
    let expected =
        json!({"provider": "oauth_client", "client_id": client.id, "error_code": "invalid_client"});
    assert_eq!((traits, count), (expected, "3"));
}

/// Attack 21. Remove the lock in `queries::lock_code`, or `revoke_reused`, and this fails.
#[tokio::test]
async fn a_code_is_good_once_and_a_second_use_ends_what_it_gave() {
    let provider = Provider::new().await;
    let client = provider.confidential().await;
    let ana = provider.user("ana@example.com").await;
    let code = provider.code(&client, &ana, &[]).await;
    let tokens = provider.exchange(&client, &code).await.json();
    assert_eq!(provider.userinfo(access(&tokens)).await.status, 200);
    oauth_refused(
        &provider.exchange(&client, &code).await,
        400,
        "invalid_grant",
    );
    assert_eq!(provider.userinfo(access(&tokens)).await.status, 401);
    let reply = provider.refresh(&client, refresh_token(&tokens)).await;
    oauth_refused(&reply, 400, "invalid_grant");
    let logged = "select count(*) from auth.audit_log_entries where payload ->> 'action' = 'oauth_code_reused'";
    assert_eq!(provider.value(logged).await, "1");

    let code = provider.code(&client, &ana, &[]).await;
    let racers = join_all((0..20).map(|_| provider.exchange(&client, &code))).await;
    let winners = racers.iter().filter(|reply| reply.status == 200).count();
    assert_eq!(winners, 1);
    for reply in racers.iter().filter(|reply| reply.status != 200) {
        oauth_refused(reply, 400, "invalid_grant");
    }
    let sessions = "select count(*) from auth.sessions where oauth_client_id is not null";
    assert_eq!(provider.value(sessions).await, "0");
}

/// Attack 21. Remove the filter by client in `open_session`, or the look at `expires_at` in `check_code`, and this
/// fails.
#[tokio::test]
async fn a_code_is_for_its_client_and_for_five_minutes() {
    let provider = Provider::new().await;
    let (client, other) = (provider.confidential().await, provider.confidential().await);
    let ana = provider.user("ana@example.com").await;
    let code = provider.code(&client, &ana, &[]).await;
    oauth_refused(
        &provider.exchange(&other, &code).await,
        400,
        "invalid_grant",
    );
    let fields = [
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("code_verifier", VERIFIER),
        ("redirect_uri", "https://app.example/other"),
    ];
    let reply = provider.ask("/oauth/token", &client, &fields).await;
    oauth_refused(&reply, 400, "invalid_grant");
    provider.advance(299);
    assert_eq!(provider.exchange(&client, &code).await.status, 200);
    let code = provider.code(&client, &ana, &[]).await;
    provider.advance(300);
    oauth_refused(
        &provider.exchange(&client, &code).await,
        400,
        "invalid_grant",
    );
    oauth_refused(
        &provider.exchange(&client, "guess").await,
        400,
        "invalid_grant",
    );
}

/// Remove `is_registered` from `authorize::begin` and this fails.
#[tokio::test]
async fn nothing_is_redirected_to_where_nobody_registered() {
    let provider = Provider::new().await;
    let client = provider.confidential().await;
    for changes in [
        vec![("redirect_uri", "https://evil.example/cb")],
        vec![("redirect_uri", "https://app.example/cb/../x")],
        vec![("redirect_uri", "https://app.example@evil.example/cb")],
        vec![("redirect_uri", "//app.example/cb")],
        vec![("redirect_uri", "javascript:alert(1)")],
        vec![("redirect_uri", "")],
        vec![
            ("redirect_uri", "https://evil.example/cb"),
            ("prompt", "none"),
        ],
        vec![("state", "a\r\nlocation: x")],
        vec![("state", "\0")],
    ] {
        let reply = provider.authorize(&client, &changes).await;
        refused(&reply, 400, "validation_failed");
        assert!(!reply.headers.contains_key("location"));
    }
    for id in [
        "",
        "x",
        "00000000-0000-0000-0000-000000000000",
        "' or true --",
    ] {
        let reply = provider.authorize(&client, &[("client_id", id)]).await;
        assert_eq!(reply.status, 400, "{id}");
        assert!(!reply.headers.contains_key("location"));
    }
    // Two readers could take different ones.
    let twice = format!(
        "/auth/v1/oauth/authorize?client_id={}&redirect_uri={REDIRECT}&redirect_uri=https://evil.example",
        client.id
    );
    refused(
        &provider.app.get(&twice, None).await,
        400,
        "validation_failed",
    );
}

/// Remove the comparison of `user_id` in `consent` and this fails.
#[tokio::test]
async fn a_request_belongs_to_who_saw_it_first() {
    let provider = Provider::new().await;
    let client = provider.confidential().await;
    let (ana, bo) = (
        provider.user("ana@example.com").await,
        provider.user("bo@example.com").await,
    );
    let id = provider.begin(&client, &[]).await;
    let unseen = provider.decide(access(&ana), &id, "approve").await;
    refused(&unseen, 404, "oauth_authorization_not_found");
    provider.details(access(&ana), &id).await;
    for reply in [
        provider.details(access(&bo), &id).await,
        provider.decide(access(&bo), &id, "approve").await,
        provider.decide(access(&bo), &id, "deny").await,
    ] {
        refused(&reply, 404, "oauth_authorization_not_found");
    }
    let neither = provider.decide(access(&ana), &id, "perhaps").await;
    refused(&neither, 400, "validation_failed");
    assert_eq!(
        provider.decide(access(&ana), &id, "approve").await.status,
        200
    );
}

/// Attack 46. Remove `check_origin`, or the page's policy, and this fails.
#[tokio::test]
async fn no_other_site_makes_a_browser_consent() {
    let settings = [
        ("server.site_url", "https://shop.example/start"),
        ("auth.redirect_urls", "https://*.shop.example/**"),
    ];
    let provider = Provider::with(&settings).await;
    let client = provider.confidential().await;
    let ana = provider.user("ana@example.com").await;
    let id = provider.begin(&client, &[]).await;
    provider.details(access(&ana), &id).await;
    let path = format!("/auth/v1/oauth/authorizations/{id}/consent");
    let decide = async |origin: &str| {
        let request = Request::post(&path)
            .header("authorization", format!("Bearer {}", access(&ana)))
            .header("origin", origin)
            .header("content-type", "application/json")
            .header("x-supabase-api-version", "2024-01-01")
            .body(Body::from(r#"{"action":"approve"}"#))
            .unwrap();
        provider.app.send(request).await
    };
    for origin in [
        "https://evil.example",
        "https://shop.example.evil",
        "https://shop.example:444",
        "http://shop.example",
        "http://eu.shop.example",
        "https://eu.shop.example.evil",
        "null",
        "",
    ] {
        refused(&decide(origin).await, 400, "validation_failed");
    }
    let page = format!("/auth/v1/oauth/consent?authorization_id={id}");
    let reply = provider.app.get(&page, None).await;
    assert_eq!(reply.status, 200);
    let header = |name: &str| reply.headers[name].to_str().unwrap();
    for part in [
        "default-src 'none'",
        "frame-ancestors 'none'",
        "script-src 'self'",
    ] {
        assert!(header("content-security-policy").contains(part), "{part}");
    }
    assert_eq!(header("x-frame-options"), "DENY");
    assert_eq!(header("referrer-policy"), "no-referrer");
    assert!(!reply.headers.contains_key("set-cookie"));
    assert!(
        !reply.text().contains("<script>"),
        "a script stands in the page"
    );
    // Without the user's token a browser has nothing to consent with.
    let reply = provider
        .app
        .post(&path, None, json!({ "action": "approve" }))
        .await;
    assert_eq!(reply.status, 401);
    let listed = decide("https://eu.shop.example").await;
    assert_eq!(listed.status, 200, "{}", listed.text());
    let id = provider.begin(&client, &[("scope", "phone")]).await;
    let path = format!("/auth/v1/oauth/authorizations/{id}");
    let of_site = Request::get(&path)
        .header("authorization", format!("Bearer {}", access(&ana)))
        .header("origin", "https://shop.example");
    let reply = provider
        .app
        .send(of_site.body(Body::empty()).unwrap())
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}

/// Attack 30. Remove the switch, `limits::count`, or a rule of `redirect_uri::check`, and this fails.
#[tokio::test]
async fn who_registers_itself_is_held_to_the_rules() {
    let settings = [
        ("auth.oauth_dynamic_registration", "true"),
        ("auth.rate_limit_oauth_register_per_window", "12"),
    ];
    let provider = Provider::with(&settings).await;
    let register = async |uri: &str| {
        let body = json!({ "client_name": "<b>x</b>", "redirect_uris": [uri] });
        provider
            .app
            .post("/auth/v1/oauth/clients/register", None, body)
            .await
    };
    for uri in [
        "javascript:alert(1)",
        "https://app.example/#x",
        "https://*.example/cb",
        "http://app.example/cb",
        "data:text/html,x",
        "",
    ] {
        let reply = register(uri).await;
        refused(&reply, 400, "validation_failed");
        assert_eq!(reply.json()["error"], "invalid_redirect_uri");
    }
    let reply = register(REDIRECT).await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    let client = reply.json();
    assert_eq!(client["registration_type"], "dynamic");
    assert_eq!(client["client_secret_expires_at"], 0);
    let client = Client {
        id: client["client_id"].as_str().unwrap().to_owned(),
        secret: None,
        redirect: REDIRECT.to_owned(),
    };
    let id = provider.begin(&client, &[]).await;
    let page = format!("/auth/v1/oauth/consent?authorization_id={id}");
    let html = provider.app.get(&page, None).await.text();
    assert!(html.contains("registered itself"), "{html}");
    assert!(!html.contains("<b>x"), "{html}");

    let mut refused_at_last = false;
    for _ in 0..6 {
        refused_at_last = register(REDIRECT).await.status == 429;
    }
    assert!(refused_at_last, "13 clients within a minute");

    let off = Provider::new().await;
    let body = json!({ "redirect_uris": [REDIRECT] });
    let reply = off
        .app
        .post("/auth/v1/oauth/clients/register", None, body)
        .await;
    refused(&reply, 403, "oauth_dynamic_client_registration_disabled");
}

/// Remove `limits::count` from `authorize::begin` and this fails.
#[tokio::test]
async fn nobody_fills_the_table_of_requests() {
    let limit = [("auth.rate_limit_oauth_authorize_per_window", "3")];
    let provider = Provider::with(&limit).await;
    let client = provider.confidential().await;
    for _ in 0..3 {
        assert_eq!(provider.authorize(&client, &[]).await.status, 302);
    }
    let reply = provider.authorize(&client, &[]).await;
    refused(&reply, 429, "over_request_rate_limit");
}

/// Remove the comparison of methods, or of secrets, in `client_auth` and this fails.
#[tokio::test]
async fn a_client_proves_to_be_itself_the_way_it_registered() {
    let provider = Provider::new().await;
    let client = provider.confidential().await;
    let public = provider.public().await;
    let ana = provider.user("ana@example.com").await;
    let code = provider.code(&client, &ana, &[]).await;
    let secret = client.secret.as_deref().unwrap();
    let basic = |id: &str, secret: &str| STANDARD.encode(format!("{id}:{secret}"));
    let (id, good) = (client.id.as_str(), basic(&client.id, secret));
    let fields = |more: &[(&'static str, &str)]| {
        let base = [
            ("grant_type", "authorization_code"),
            ("code", &code),
            ("code_verifier", VERIFIER),
        ];
        let all: Vec<_> = base.iter().chain(more).copied().collect();
        form(&all)
    };
    let send = async |form: String, header: Option<String>| {
        let mut request = Request::post("/auth/v1/oauth/token")
            .header("content-type", "application/x-www-form-urlencoded");
        if let Some(header) = header {
            request = request.header("authorization", header);
        }
        provider
            .app
            .send(request.body(Body::from(form)).unwrap())
            .await
    };
    let header = |basic: String| Some(format!("Basic {basic}"));
    let unknown = "00000000-0000-0000-0000-000000000000";
    let public_id = public.id.as_str();
    for (form, header, status, error) in [
        (fields(&[]), None, 400, "invalid_client"),
        (fields(&[("client_id", id)]), None, 400, "invalid_client"),
        (
            fields(&[("client_id", id), ("client_secret", secret)]),
            None,
            400,
            "invalid_client",
        ),
        (
            fields(&[]),
            header(basic(id, "wrong")),
            401,
            "invalid_client",
        ),
        (fields(&[]), header(basic(id, "")), 401, "invalid_client"),
        (
            fields(&[]),
            header(basic(unknown, secret)),
            401,
            "invalid_client",
        ),
        (fields(&[]), header("!".to_owned()), 401, "invalid_client"),
        (
            fields(&[]),
            Some("Bearer x".to_owned()),
            401,
            "invalid_client",
        ),
        (
            fields(&[("client_secret", secret)]),
            header(good.clone()),
            400,
            "invalid_request",
        ),
        (
            fields(&[("client_id", unknown)]),
            header(good.clone()),
            400,
            "invalid_request",
        ),
        (
            fields(&[("code", "x")]),
            header(good.clone()),
            400,
            "invalid_request",
        ),
        // A client without a secret has none to show.
        (
            fields(&[("client_id", public_id), ("client_secret", "x")]),
            None,
            400,
            "invalid_client",
        ),
        (
            fields(&[]),
            header(basic(public_id, "x")),
            401,
            "invalid_client",
        ),
    ] {
        let reply = send(form.clone(), header).await;
        oauth_refused(&reply, status, error);
        let asked = reply.headers.contains_key("www-authenticate");
        assert_eq!(asked, status == 401, "{form}");
    }
    assert_eq!(send(fields(&[]), header(good)).await.status, 200);
}

/// Store a secret or a code as it is and this fails.
#[tokio::test]
async fn secrets_and_codes_are_stored_as_hashes() {
    let provider = Provider::new().await;
    let client = provider.confidential().await;
    let ana = provider.user("ana@example.com").await;
    let code = provider.code(&client, &ana, &[]).await;
    let secret = client.secret.unwrap();
    let all = "select string_agg(t, '') from (select c::text from auth.oauth_clients c union all select a::text from auth.oauth_authorizations a union all select l::text from auth.audit_log_entries l) x (t)";
    let stored = provider.value(all).await;
    assert!(stored.contains(&client.id));
    assert!(!stored.contains(&secret) && !stored.contains(&code));
    // Shown once.
    let service = provider.service();
    for path in ["", &format!("/{}", client.id)] {
        let path = format!("/auth/v1/admin/oauth/clients{path}");
        let reply = provider.app.get(&path, Some(&service)).await;
        assert!(!reply.text().contains("secret\":\""), "{}", reply.text());
    }
}

/// API roles have no grant on the tables; add one and this fails.
#[tokio::test]
async fn api_roles_see_none_of_it() {
    let provider = Provider::new().await;
    let owner = provider.app.owner().await;
    for role in ["anon", "authenticated", "service_role"] {
        for table in ["oauth_clients", "oauth_authorizations", "oauth_consents"] {
            owner
                .batch_execute(&format!("set role {role}"))
                .await
                .unwrap();
            let read = owner.query(&format!("select from auth.{table}"), &[]).await;
            assert!(read.is_err(), "{role} reads {table}");
            owner.batch_execute("reset role").await.unwrap();
        }
    }
}

/// Whatever comes, the answer is an error body and no failure.
#[tokio::test]
async fn nonsense_is_refused_with_words() {
    let provider = Provider::new().await;
    let client = provider.confidential().await;
    let ana = provider.user("ana@example.com").await;
    let (service, own) = (provider.service(), access(&ana).to_owned());
    let id = provider.begin(&client, &[]).await;
    let one = format!("/auth/v1/admin/oauth/clients/{}", client.id);
    let consent = format!("/auth/v1/oauth/authorizations/{id}/consent");
    let targets = [
        (Method::POST, "/auth/v1/oauth/token", None),
        (Method::POST, "/auth/v1/oauth/introspect", Some(&service)),
        (Method::POST, "/auth/v1/oauth/revoke", None),
        (Method::POST, "/auth/v1/oauth/clients/register", None),
        (Method::POST, "/auth/v1/admin/oauth/clients", Some(&service)),
        (Method::PUT, &one, Some(&service)),
        (Method::POST, &consent, Some(&own)),
        (Method::POST, "/auth/v1/token/verify", None),
    ];
    let names = "grant_type|code|code_verifier|client_id|client_secret|refresh_token|scope|token|aud|action|redirect_uris|grant_types|client_name|client_uri|logo_uri|client_type|token_endpoint_auth_method";
    let value = "\\PC{0,12}|[\\x00-\\x1f]{1,3}|authorization_code|refresh_token|none|public|https://a.example/cb";
    let fields = proptest::collection::vec((names, value, 0..4_u8), 0..5);
    let mut runner = TestRunner::deterministic();
    for _ in 0..40 {
        let drawn = fields.new_tree(&mut runner).unwrap().current();
        let pairs = drawn
            .iter()
            .map(|(name, value, _)| (name.as_str(), value.as_str()));
        let pairs: Vec<_> = pairs.collect();
        let query = form(&pairs);
        let members = drawn.iter().map(|(name, text, kind)| {
            let value = match kind {
                0 => json!(text),
                1 => json!([text]),
                2 => json!({ text: 7 }),
                _ => json!(null),
            };
            (name.clone(), value)
        });
        let body = serde_json::Value::Object(members.collect());
        for (method, path, token) in &targets {
            let token = token.map(String::as_str);
            let reply = provider
                .app
                .call(method.clone(), path, token, Some(body.clone()))
                .await;
            assert!(
                reply.status.as_u16() < 500,
                "{path} {body}: {}",
                reply.text()
            );
            assert!(
                reply.json().is_object() || reply.body.is_empty(),
                "{path} {body}"
            );
        }
        for path in ["authorize", "consent", "authorizations/%00"] {
            let path = format!("/auth/v1/oauth/{path}?{query}");
            let reply = provider.app.get(&path, Some(&own)).await;
            assert!(reply.status.as_u16() < 500, "{path}: {}", reply.text());
        }
    }
}

/// Ask `user::current_user` instead of `user::trusted_user` in `consent` and this fails.
#[tokio::test]
async fn who_has_a_second_factor_lets_nobody_in_without_it() {
    let provider = Provider::new().await;
    let client = provider.confidential().await;
    let ana = provider.user("ana@example.com").await;
    let id = provider.begin(&client, &[]).await;
    provider.details(access(&ana), &id).await;
    let sql = "insert into auth.mfa_factors (id, user_id, factor_type, status, created_at, updated_at) select gen_random_uuid(), id, 'totp', 'verified', now(), now() from auth.users";
    let owner = provider.app.owner().await;
    owner.batch_execute(sql).await.unwrap();
    let reply = provider.details(access(&ana), &id).await;
    refused(&reply, 401, "insufficient_aal");
    let reply = provider.decide(access(&ana), &id, "approve").await;
    refused(&reply, 401, "insufficient_aal");
}
