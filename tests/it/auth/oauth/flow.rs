//! The way to a provider and back, as honest providers and browsers go it.

use serde_json::{Value, json};

use super::provider::{Provider, query, s256};
use super::*;

const VERIFIER: &str = "a verifier that only the application knows, long enough";

fn pkce() -> String {
    format!(
        "provider=acme&code_challenge={}&code_challenge_method=s256",
        s256(VERIFIER)
    )
}

/// Fails when the issuer of tokens is taken for the address of the API.
#[tokio::test]
async fn the_way_back_is_the_apis_whatever_the_issuer_is_called() {
    let settings = [
        ("jwt.issuer", "https://tokens.example"),
        ("auth.manual_linking", "true"),
    ];
    let (app, _provider) = project(&settings).await;
    let location = Browser::new(&app).begin("provider=acme").await;
    let back = &query(&location)["redirect_uri"];
    assert_eq!(back, "http://sb.test/auth/v1/callback");
    let ana = app.sign_up("ana@example.com").await.ok();
    let path = "/user/identities/authorize?provider=acme&skip_http_redirect=true";
    let link = app.request("GET", path).bearer(ana.access_token());
    let url = link.send().await.ok().text("/url").to_owned();
    let hop = "http://sb.test/auth/v1/authorize/continue?state=";
    assert!(url.starts_with(hop), "{url}");
}

#[tokio::test]
async fn a_sign_in_makes_an_account_once_and_finds_it_again() {
    let (app, provider) = project(&[]).await;
    let mut browser = Browser::new(&app);
    let begin = format!("provider=acme&redirect_to={SITE}%3Fa%3D1%26sb_flow_id%3D7");
    let landing = browser.sign_in(&provider, &begin, ana(&app)).await;
    assert_eq!(landing.target, SITE);
    assert_eq!(
        (
            landing.query["a"].as_str(),
            landing.query["sb_flow_id"].as_str()
        ),
        ("1", "7")
    );
    assert_eq!(landing.fragment["provider_token"], "provider-access-token");
    assert_eq!(
        landing.fragment["provider_refresh_token"],
        "provider-refresh-token"
    );
    assert_eq!(landing.fragment["token_type"], "bearer");
    let user = app.get_user(landing.access_token()).await.ok().body;
    assert_eq!(user["email"], "ana@example.com");
    assert!(user["email_confirmed_at"].is_string());
    assert_eq!(
        user["app_metadata"],
        json!({"provider": "acme", "providers": ["acme"]})
    );
    let identity = &user["identities"][0];
    assert_eq!(
        (&identity["provider"], &identity["id"]),
        (&json!("acme"), &json!("subject-1"))
    );
    let data = json!({
        "sub": "subject-1", "provider_id": "subject-1", "email": "ana@example.com", "email_verified": true,
        "phone_verified": false, "name": "Ana", "full_name": "Ana", "iss": provider.url,
    });
    assert_eq!(
        (&identity["identity_data"], &user["user_metadata"]),
        (&data, &data)
    );
    let claims = crate::auth::support::claims(landing.access_token());
    assert_eq!(claims["amr"][0]["method"], "oauth");
    assert_eq!(app.audit().await, "user_signedup login");

    // The address is another one at the provider by now; the subject is the same.
    let mut later = ana(&app);
    later["email"] = json!("new@example.com");
    let again = Browser::new(&app).sign_in(&provider, &begin, later).await;
    let user_again = app.get_user(again.access_token()).await.ok().body;
    assert_eq!(
        (&user_again["id"], &user_again["email"]),
        (&user["id"], &user["email"])
    );
    assert_eq!(user_again["identities"][0]["email"], "new@example.com");
    assert_eq!(counts(&app).await, "1,1,2");
    assert_eq!(provider.calls("/.well-known/openid-configuration"), 1);
}

/// Attack 19. Fails when `exchange_code` does not compare the challenge or leaves the row, and when a parameter of the
/// request decides how a flow ends.
#[tokio::test]
async fn with_pkce_the_result_is_a_code_and_the_tokens_are_given_once() {
    let (app, provider) = project(&[]).await;
    let mut browser = Browser::new(&app);
    // Whatever else is asked for: a flow that began with a challenge has no other end.
    let downgrade = "flow_type=implicit&response_type=token&response_mode=fragment";
    let begin = format!("{}&redirect_to={SITE}&{downgrade}", pkce());
    let landing = browser.sign_in(&provider, &begin, ana(&app)).await;
    let body = |verifier: &str| json!({"auth_code": landing.code(), "code_verifier": verifier});
    let exchange = async |verifier: &str| app.post("/token?grant_type=pkce", body(verifier)).await;
    exchange("another verifier, as long as the one above is")
        .await
        .refused(400, "bad_code_verifier");
    assert_eq!(counts(&app).await, "1,1,0");
    let session = exchange(VERIFIER).await.ok();
    assert_eq!(session.text("/provider_token"), "provider-access-token");
    assert_eq!(
        session.text("/provider_refresh_token"),
        "provider-refresh-token"
    );
    exchange(VERIFIER)
        .await
        .refused(404, "flow_state_not_found");
    assert_eq!(app.value("select count(*) from auth.flow_state").await, "0");
    let refreshed = app.refresh(session.refresh_token()).await.ok();
    assert_eq!(refreshed.body.get("provider_token"), None);
}

/// Nothing of a flow can be read in an address or in the database. Fails when the state carries the verifier, or when
/// anything is stored as it is.
#[tokio::test]
async fn the_verifier_the_nonce_and_the_tokens_are_readable_nowhere() {
    let (app, provider) = project(&[]).await;
    let mut browser = Browser::new(&app);
    let location = browser.begin(&pkce()).await;
    let asked = query(&location);
    let stored = "select string_agg(f::text, ' ') from auth.flow_state f";
    let began = app.value(stored).await;
    let code = provider.sign_in(&location, ana(&app));
    browser.come_back(&asked["state"], &code).await.code();
    let verifier = provider.forms()[0]["code_verifier"].clone();
    assert!(!location.contains(&verifier) && verifier.len() >= 43);
    let ended = app.value(stored).await;
    let tables = "select concat_ws(' ', (select string_agg(u::text, ' ') from auth.users u), (select string_agg(i::text, ' ') from auth.identities i), (select string_agg(a::text, ' ') from auth.audit_log_entries a), (select string_agg(s::text, ' ') from auth.sessions s))";
    let all = format!("{began} {ended} {}", app.value(tables).await);
    for secret in [
        &verifier,
        &asked["nonce"],
        &asked["state"],
        "provider-access-token",
        "provider-refresh-token",
    ] {
        assert!(
            !all.contains(secret) && !all.contains(&hex::encode(secret)),
            "{secret}"
        );
    }
    let logs = String::from_utf8_lossy(&super::super::support::logs().lock().unwrap()).into_owned();
    for secret in [&verifier, &asked["nonce"], &asked["state"], &code] {
        assert!(!logs.contains(secret.as_str()), "{secret} is in the log");
    }
}

#[tokio::test]
async fn github_is_asked_for_the_verified_primary_address() {
    let provider = Provider::start().await;
    let app = project_of(&provider, "github", &[]).await;
    let emails = |verified: bool| {
        json!([{"email": "other@example.com", "primary": false, "verified": true},
               {"email": "ana@example.com", "primary": true, "verified": verified}])
    };
    provider.behave(|it| {
        it.token_answer = json!({"id_token": null});
        it.emails = emails(true);
    });
    let mut browser = Browser::new(&app);
    let landing = browser
        .sign_in(&provider, "provider=github", json!({}))
        .await;
    let user = app.get_user(landing.access_token()).await.ok().body;
    assert_eq!(user["email"], "ana@example.com");
    assert_eq!(user["user_metadata"]["user_name"], "ana");
    assert_eq!(user["identities"][0]["id"], "7");

    app.sign_up("someone@example.com").await.ok();
    provider.behave(|it| {
        it.emails = json!([{"email": "someone@example.com", "primary": true, "verified": false}]);
    });
    app.owner
        .execute(
            "delete from auth.users where email = 'ana@example.com'",
            &[],
        )
        .await
        .unwrap();
    let landing = browser
        .sign_in(&provider, "provider=github", json!({}))
        .await;
    landing.refused("provider_email_needs_verification");
}

/// Apple posts from its own site, without our cookie, and gives the name once beside the token.
#[tokio::test]
async fn apple_posts_its_answer_through_a_page_of_ours() {
    let provider = Provider::start().await;
    let app = project_of(&provider, "apple", &[]).await;
    for (number, issuer) in ["https://appleid.apple.com", "https://account.apple.com"]
        .iter()
        .enumerate()
    {
        let mut browser = Browser::new(&app);
        let location = browser.begin("provider=apple").await;
        assert_eq!(query(&location)["response_mode"], "form_post");
        let email = format!("ana{number}@example.com");
        let claims = json!({"sub": number.to_string(), "iss": issuer, "iat": now(&app), "email": email, "email_verified": "true"});
        let code = provider.sign_in(&location, claims);
        let user = r#"{"name":{"firstName":"Ana","lastName":"B"},"email":"evil@example.com"}"#;
        let form = |more: &[(&str, &str)]| {
            url::form_urlencoded::Serializer::new(String::new())
                .extend_pairs([
                    ("state", state_of(&location).as_str()),
                    ("code", &code),
                    ("user", user),
                ])
                .extend_pairs(more)
                .finish()
                .into_bytes()
        };
        let kind = "application/x-www-form-urlencoded";
        let page = app
            .request("POST", "/callback")
            .body(kind, form(&[]))
            .send()
            .await;
        assert_eq!(
            (page.status.as_u16(), page.header("content-type")),
            (200, "text/html; charset=utf-8")
        );
        assert!(
            page.header("content-security-policy")
                .contains("script-src 'sha256-")
        );
        let cookie = browser.cookie.clone().unwrap();
        let again = app
            .request("POST", "/callback")
            .body(kind, form(&[("bounced", "1")]));
        let landing = Landing::of(&again.header("cookie", &cookie).send().await);
        let user = app.get_user(landing.access_token()).await.ok().body;
        assert_eq!(user["email"], email.as_str());
        assert_eq!(user["user_metadata"]["full_name"], "Ana B");
    }
    let evil = json!({"sub": "9", "iss": "https://evil.example", "iat": now(&app), "email": "x@example.com", "email_verified": true});
    let landing = Browser::new(&app)
        .sign_in(&provider, "provider=apple", evil)
        .await;
    landing.refused("bad_oauth_callback");
}

#[tokio::test]
async fn the_paths_of_supython_lead_the_same_way() {
    let (app, provider) = project(&[]).await;
    let mut browser = Browser::new(&app);
    let reply = browser
        .get(&format!("/authorize/acme?redirect_uri={SITE}"))
        .await;
    let location = reply.header("location").to_owned();
    assert_eq!(
        query(&location)["redirect_uri"],
        "http://sb.test/auth/v1/callback"
    );
    let code = provider.sign_in(&location, ana(&app));
    let path = format!("/callback/acme?state={}&code={code}", state_of(&location));
    let landing = Landing::of(&browser.get(&path).await);
    assert_eq!(landing.target, SITE);
    app.get_user(landing.access_token()).await.ok();
}

#[tokio::test]
async fn what_is_not_set_up_is_refused_and_the_settings_tell_what_is() {
    let (app, _provider) = project(&[
        ("auth.external.google.client_id", "x"),
        ("auth.external.google.enabled", "false"),
    ])
    .await;
    for query in [
        "",
        "?provider=",
        "?provider=nobody",
        "?provider=google",
        "?provider=ACME",
    ] {
        let reply = app
            .request("GET", &format!("/authorize{query}"))
            .send()
            .await;
        reply.refused(400, "validation_failed");
    }
    let settings = app.request("GET", "/settings").send().await.ok().body;
    let external = &settings["external"];
    for (name, enabled) in [
        ("acme", true),
        ("google", false),
        ("github", false),
        ("email", true),
    ] {
        assert_eq!(external[name], enabled, "{name}");
    }
    assert!(!settings.to_string().contains("secret"));
}

#[tokio::test]
async fn a_user_who_says_no_and_a_failing_provider_are_told_apart() {
    let (app, provider) = project(&[]).await;
    for (error, kind) in [
        ("access_denied", "access_denied"),
        ("server_error", "invalid_request"),
    ] {
        let mut browser = Browser::new(&app);
        let location = browser
            .begin(&format!("provider=acme&redirect_to={SITE}"))
            .await;
        let state = state_of(&location);
        let path = format!("/callback?state={state}&error={error}&error_description=%3Cb%3E");
        let landing = Landing::of(&browser.get(&path).await);
        landing.refused("bad_oauth_callback");
        assert_eq!(
            (landing.target.as_str(), landing.query["error"].as_str()),
            (SITE, kind)
        );
    }
    provider.behave(|it| {
        it.instead.insert(
            "/token".to_owned(),
            (500, Vec::new(), "internal detail".to_owned()),
        )
    });
    let landing = Browser::new(&app)
        .sign_in(&provider, "provider=acme", ana(&app))
        .await;
    landing.refused("bad_oauth_callback");
    assert!(!format!("{landing:?}").contains("internal detail"));
    assert_eq!(counts(&app).await, "0,0,0");
    assert_eq!(app.value("select count(*) from auth.flow_state").await, "0");
}

#[tokio::test]
async fn sign_ups_that_are_off_and_hooks_that_refuse_keep_strangers_out() {
    let (app, provider) = project(&[("auth.disable_signup", "true")]).await;
    let landing = Browser::new(&app)
        .sign_in(&provider, "provider=acme", ana(&app))
        .await;
    landing.refused("signup_disabled");
    let without: Value = json!({"sub": "2", "iat": now(&app)});
    let (app, provider) = project(&[]).await;
    provider.behave(|it| it.discovery = json!({"userinfo_endpoint": null}));
    let landing = Browser::new(&app)
        .sign_in(&provider, "provider=acme", without.clone())
        .await;
    landing.refused("email_address_not_provided");
    let (app, provider) = project(&[("auth.external.acme.email_optional", "true")]).await;
    provider.behave(|it| it.discovery = json!({"userinfo_endpoint": null}));
    let landing = Browser::new(&app)
        .sign_in(&provider, "provider=acme", without)
        .await;
    let user = app.get_user(landing.access_token()).await.ok().body;
    assert_eq!(user["email"], "");
}

#[tokio::test]
async fn sign_ins_that_begin_are_counted_per_address() {
    let (app, _provider) = project(&[("auth.rate_limit_oauth_per_window", "2")]).await;
    for _ in 0..2 {
        let reply = app
            .request("GET", "/authorize?provider=acme")
            .from("203.0.113.7")
            .send()
            .await;
        assert_eq!(reply.status, 302);
    }
    let reply = app
        .request("GET", "/authorize?provider=acme")
        .from("203.0.113.7")
        .send()
        .await;
    reply.refused(429, "over_request_rate_limit");
    let other = app
        .request("GET", "/authorize?provider=acme")
        .from("203.0.113.8")
        .send()
        .await;
    assert_eq!(other.status, 302);
}
