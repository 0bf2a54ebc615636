//! Answers that are not the browser's own, providers that are not who they say, and accounts made in advance.

use serde_json::json;

use super::provider::{Provider, query, s256};
use super::*;
use crate::auth::support::{Options, PASSWORD, service_token};

const VERIFIER: &str = "a verifier that only the application knows, long enough";

/// Login CSRF. Fails when `take` does not compare the browser.
#[tokio::test]
async fn an_answer_is_good_in_the_browser_that_began_only() {
    let (app, provider) = project(&[]).await;
    for (number, victim) in [None, Some("sb-oauth=another"), Some("fresh")]
        .into_iter()
        .enumerate()
    {
        let mut attacker = Browser::new(&app);
        let begin = format!("provider=acme&redirect_to={SITE}");
        let location = attacker.begin(&begin).await;
        let code = provider.sign_in(&location, ana(&app));
        let mut browser = Browser::new(&app);
        match victim {
            Some("fresh") => drop(browser.begin(&begin).await),
            cookie => browser.cookie = cookie.map(str::to_owned),
        }
        let landing = browser.come_back(&state_of(&location), &code).await;
        landing.refused("bad_oauth_state");
        assert_eq!(landing.target, "http://localhost:3000/", "case {number}");
        // It is used up, also for the attacker.
        attacker
            .come_back(&state_of(&location), &code)
            .await
            .refused("bad_oauth_state");
    }
    assert_eq!(counts(&app).await, "0,0,0");
    assert_eq!(provider.calls("/token"), 0);
}

/// The same for a flow that links: the script that begins it has no cookie, so the browser gets one on its way. Fails when
/// a flow without a browser is finished, or bound twice.
#[tokio::test]
async fn an_answer_that_links_is_good_in_one_browser_too() {
    let (app, provider) = project(&[("auth.manual_linking", "true")]).await;
    let attacker = app.sign_up("attacker@example.com").await.ok();
    let reply = app
        .request(
            "GET",
            "/user/identities/authorize?provider=acme&skip_http_redirect=true",
        )
        .bearer(attacker.access_token())
        .send()
        .await
        .ok();
    let hop = reply
        .text("/url")
        .strip_prefix("http://sb.test/auth/v1")
        .unwrap()
        .to_owned();
    let mut own = Browser::new(&app);
    let location = own.get(&hop).await.header("location").to_owned();
    let code = provider.sign_in(&location, ana(&app));
    let mut victim = Browser::new(&app);
    victim.get(&hop).await.refused(400, "bad_oauth_state");
    let landing = victim.come_back(&state_of(&location), &code).await;
    landing.refused("bad_oauth_state");
    own.come_back(&state_of(&location), &code)
        .await
        .refused("bad_oauth_state");
    assert_eq!(counts(&app).await, "1,1,1");
}

/// Attack 22. Fails when `take` does not look at `expires_at`; and when a flow keeps its state and is not forgotten at
/// its end.
#[tokio::test]
async fn a_state_is_good_once_and_for_five_minutes() {
    let (app, provider) = project(&[]).await;
    let mut browser = Browser::new(&app);
    let location = browser.begin("provider=acme").await;
    let code = provider.sign_in(&location, ana(&app));
    browser
        .come_back(&state_of(&location), &code)
        .await
        .access_token();
    browser
        .come_back(&state_of(&location), &code)
        .await
        .refused("bad_oauth_state");
    let late = browser.begin("provider=acme").await;
    app.advance(301);
    let code = provider.sign_in(&late, ana(&app));
    browser
        .come_back(&state_of(&late), &code)
        .await
        .refused("bad_oauth_state");
    for state in ["", "x", &"x".repeat(5000), "%00", "null"] {
        browser
            .come_back(state, "code")
            .await
            .refused("bad_oauth_state");
    }
    assert_eq!(provider.calls("/token"), 1);
}

/// Even if the provider does not look at codes. Fails when the state is looked up and removed in two statements.
#[tokio::test(flavor = "multi_thread")]
async fn of_twenty_equal_answers_one_is_taken() {
    let (app, provider) = project(&[]).await;
    provider.behave(|it| it.codes_are_good_for_ever = true);
    let mut browser = Browser::new(&app);
    let location = browser.begin("provider=acme").await;
    let code = provider.sign_in(&location, ana(&app));
    let path = format!("/callback?state={}&code={code}", state_of(&location));
    let cookie = browser.cookie.clone().unwrap();
    let calls = (0..20).map(|_| app.request("GET", &path).header("cookie", &cookie).send());
    let replies = futures_util::future::join_all(calls).await;
    let sessions = replies
        .iter()
        .filter(|reply| Landing::of(reply).fragment.contains_key("access_token"));
    assert_eq!(sessions.count(), 1);
    assert_eq!(counts(&app).await, "1,1,1");
}

/// Mix-up. Fails when the sender of an answer, or the provider of the path, is not compared with that of the flow.
#[tokio::test]
async fn an_answer_of_another_provider_is_not_taken() {
    let provider = Provider::start().await;
    let evil = Provider::start().await;
    let mut settings = external("evil", &evil.url);
    settings.push(("auth.linking", "auto"));
    let app = project_of(&provider, "acme", &settings).await;
    let mut browser = Browser::new(&app);
    let location = browser.begin("provider=evil").await;
    let code = provider.sign_in(&location, ana(&app));
    let state = state_of(&location);
    let path = format!("/callback?state={state}&code={code}&iss={}", provider.url);
    Landing::of(&browser.get(&path).await).refused("bad_oauth_callback");

    let location = browser.begin("provider=evil").await;
    let path = format!("/callback/acme?state={}&code={code}", state_of(&location));
    Landing::of(&browser.get(&path).await).refused("bad_oauth_state");
    assert_eq!(
        evil.calls("/token"),
        0,
        "the code was sent to the wrong provider"
    );

    // A provider that says it names itself must do so.
    let strict = Provider::start().await;
    strict.behave(|it| {
        it.discovery = json!({"authorization_response_iss_parameter_supported": true});
    });
    let app = project_of(&strict, "acme", &[]).await;
    let mut browser = Browser::new(&app);
    let location = browser.begin("provider=acme").await;
    let code = strict.sign_in(&location, ana(&app));
    browser
        .come_back(&state_of(&location), &code)
        .await
        .refused("bad_oauth_callback");
    let location = browser.begin("provider=acme").await;
    let code = strict.sign_in(&location, ana(&app));
    let path = format!(
        "/callback?state={}&code={code}&iss={}",
        state_of(&location),
        strict.url
    );
    Landing::of(&browser.get(&path).await).access_token();
}

/// Mix-up as it usually goes: the page of one provider sends the browser on to another, with the state it was given, and
/// with challenge and nonce of a flow that the attacker has begun there. Fails without `use_code`: the attacker is signed
/// in as the victim.
#[tokio::test]
async fn a_code_that_went_to_another_provider_is_of_no_use() {
    let (honest, evil) = (Provider::start().await, Provider::start().await);
    let settings = external("evil", &evil.url);
    let app = project_of(&honest, "acme", &settings).await;
    let mut attacker = Browser::new(&app);
    let theirs = attacker.begin("provider=acme").await;
    let mut victim = Browser::new(&app);
    let location = victim.begin("provider=evil").await;
    let code = honest.sign_in(&theirs, ana(&app));
    victim
        .come_back(&state_of(&location), &code)
        .await
        .refused("bad_oauth_callback");
    assert_eq!(evil.forms()[0]["code"], code, "the attacker has the code");
    attacker
        .come_back(&state_of(&theirs), &code)
        .await
        .refused("bad_oauth_callback");
    assert_eq!(counts(&app).await, "0,0,0");
    assert_eq!(honest.calls("/token"), 0);
}

/// The same, where the code does not even reach the hostile provider: that has an address of its own to come back to. Fails
/// when `take` lets an answer come to the address of all for a provider that has an address of its own.
#[tokio::test]
async fn an_answer_comes_to_the_address_that_its_provider_was_given() {
    let (honest, evil) = (Provider::start().await, Provider::start().await);
    let mut settings = external("evil", &evil.url);
    let own = "https://api.example/auth/v1/callback/evil";
    settings.push(("auth.external.evil.redirect_uri", own));
    let app = project_of(&honest, "acme", &settings).await;
    let mut browser = Browser::new(&app);
    let location = browser.begin("provider=evil").await;
    assert_eq!(query(&location)["redirect_uri"], own);
    let code = honest.sign_in(&location, ana(&app));
    browser
        .come_back(&state_of(&location), &code)
        .await
        .refused("bad_oauth_state");
    assert_eq!(
        evil.calls("/token"),
        0,
        "the code was sent to the wrong provider"
    );

    let location = browser.begin("provider=evil").await;
    let code = evil.sign_in(&location, ana(&app));
    let path = format!("/callback/evil?state={}&code={code}", state_of(&location));
    Landing::of(&browser.get(&path).await).access_token();
    // Who was given the address of all may be sent to either.
    let location = browser.begin("provider=acme").await;
    let code = honest.sign_in(&location, ana(&app));
    let path = format!("/callback/acme?state={}&code={code}", state_of(&location));
    Landing::of(&browser.get(&path).await).access_token();
}

/// What the audit log says of refusals, oldest first.
async fn refusals(app: &App) -> String {
    app.value(
        "select string_agg(concat_ws(' ', payload -> 'traits' ->> 'provider', payload -> 'traits' ->> 'error_code'), ', ' order by created_at, ctid)
           from auth.audit_log_entries
          where payload ->> 'action' = 'login_failed'",
    )
    .await
}

/// Attack S20: what is refused is in the audit log. Fails when `finish`, `exchange`, `resume` or `sign_in` does not note it.
#[tokio::test]
async fn answers_codes_and_tokens_that_are_refused_are_logged() {
    let (app, provider) = project(&[]).await;
    let mut browser = Browser::new(&app);
    let mut expected = Vec::new();

    browser
        .come_back("invented", "code")
        .await
        .refused("bad_oauth_state");
    expected.push("oauth bad_oauth_state");
    let location = browser.begin("provider=acme").await;
    Browser::new(&app)
        .come_back(&state_of(&location), "code")
        .await
        .refused("bad_oauth_state");
    expected.push("oauth bad_oauth_state");
    let location = browser.begin("provider=acme").await;
    browser
        .come_back(&state_of(&location), "code")
        .await
        .refused("bad_oauth_callback");
    expected.push("acme bad_oauth_callback");
    let location = browser.begin("provider=acme").await;
    let path = format!(
        "/callback?state={}&code=x&iss=https://evil.example",
        state_of(&location)
    );
    Landing::of(&browser.get(&path).await).refused("bad_oauth_callback");
    expected.push("acme bad_oauth_callback");

    let begin = format!(
        "provider=acme&code_challenge={}&code_challenge_method=s256",
        s256(VERIFIER)
    );
    let landing = browser.sign_in(&provider, &begin, ana(&app)).await;
    let exchange = async |code: &str, verifier: &str| {
        let body = json!({"auth_code": code, "code_verifier": verifier});
        app.post("/token?grant_type=pkce", body).await
    };
    exchange(landing.code(), "")
        .await
        .refused(400, "validation_failed");
    expected.push("pkce validation_failed");
    exchange(landing.code(), "another verifier")
        .await
        .refused(400, "bad_code_verifier");
    expected.push("pkce bad_code_verifier");
    exchange(landing.code(), VERIFIER).await.ok();
    exchange(landing.code(), VERIFIER)
        .await
        .refused(404, "flow_state_not_found");
    expected.push("pkce flow_state_not_found");

    browser
        .get("/authorize/continue?state=invented")
        .await
        .refused(400, "bad_oauth_state");
    expected.push("oauth bad_oauth_state");

    let foreign = provider.id_token(now(&app), &json!({"iss": "https://evil.example"}));
    app.post(
        "/token?grant_type=id_token",
        json!({"provider": "acme", "id_token": foreign}),
    )
    .await
    .refused(400, "bad_oauth_callback");
    expected.push("acme bad_oauth_callback");
    assert_eq!(refusals(&app).await, expected.join(", "));

    // A flood of them is noted as far as there is room, and hides no wrong password.
    for _ in 0..120 {
        browser
            .come_back("invented", "code")
            .await
            .refused("bad_oauth_state");
    }
    let noted =
        "select count(*) from auth.audit_log_entries where payload ->> 'action' = 'login_failed'";
    assert_eq!(app.value(noted).await, "100");
    app.sign_in("nobody@example.com", PASSWORD).await;
    assert_eq!(app.value(noted).await, "101");
}

/// Fails when `log_failure` asks the database for room while it knows that there is none: a flood of invented states would
/// take its connections, and wait for one row.
#[tokio::test]
async fn a_flood_of_invented_states_leaves_the_database_alone() {
    let (app, _provider) = project(&[]).await;
    let mut browser = Browser::new(&app);
    for _ in 0..101 {
        browser
            .come_back("invented", "code")
            .await
            .refused("bad_oauth_state");
    }
    app.owner
        .batch_execute("begin; lock table auth.rate_limits")
        .await
        .unwrap();
    let more = tokio::time::timeout(
        std::time::Duration::from_secs(3),
        browser.come_back("invented", "code"),
    );
    let more = more.await.expect("the answer waits for the database");
    more.refused("bad_oauth_state");
    app.owner.batch_execute("commit").await.unwrap();
    // And it is asked again once there is room.
    app.advance(3);
    browser
        .come_back("invented", "code")
        .await
        .refused("bad_oauth_state");
    assert_eq!(
        app.value("select count(*) from auth.audit_log_entries")
            .await,
        "101"
    );
}

/// Fails when our own code challenge, or the nonce, is left out: a code of another flow would do.
#[tokio::test]
async fn a_code_of_another_flow_is_of_no_use() {
    let (app, provider) = project(&[]).await;
    let (mut attacker, mut victim) = (Browser::new(&app), Browser::new(&app));
    let stolen = provider.sign_in(&attacker.begin("provider=acme").await, ana(&app));
    let location = victim.begin("provider=acme").await;
    victim
        .come_back(&state_of(&location), &stolen)
        .await
        .refused("bad_oauth_callback");
    let location = victim.begin("provider=acme").await;
    let mut claims = ana(&app);
    claims["nonce"] = json!("another nonce");
    let code = provider.sign_in(&location, claims);
    victim
        .come_back(&state_of(&location), &code)
        .await
        .refused("bad_oauth_callback");
    assert_eq!(counts(&app).await, "0,0,0");
}

/// Fails when the names are compared in one case only.
#[tokio::test]
async fn parameters_of_the_request_to_the_provider_are_ours() {
    let (app, _provider) = project(&[]).await;
    let own = Browser::new(&app).begin("provider=acme").await;
    let own = query(&own);
    // Nor do headers say where the provider sends the browser.
    let forged = app
        .request("GET", "/authorize?provider=acme")
        .header("host", "evil.example")
        .header("x-forwarded-host", "evil.example")
        .header("x-forwarded-proto", "gopher")
        .header("referer", "https://evil.example/");
    let forged = forged.send().await;
    assert!(!forged.header("location").contains("evil"));
    assert_eq!(
        query(forged.header("location"))["redirect_uri"],
        own["redirect_uri"]
    );
    for name in [
        "redirect_uri",
        "state",
        "client_id",
        "response_mode",
        "response_type",
        "nonce",
        "code_verifier",
        "scope",
        "request_uri",
        "request",
    ] {
        for name in [
            name.to_owned(),
            name.to_uppercase(),
            name.replace('_', "%5f"),
            name.replacen('e', "E", 1),
        ] {
            let location = Browser::new(&app)
                .begin(&format!("provider=acme&{name}=evil&prompt=login"))
                .await;
            assert!(!location.contains("evil"), "{name}: {location}");
            let asked = query(&location);
            assert_eq!(asked["prompt"], "login");
            assert_eq!(
                (&asked["client_id"], &asked["redirect_uri"]),
                (&own["client_id"], &own["redirect_uri"])
            );
            assert_eq!(asked.len(), own.len() + 1);
        }
    }
}

/// Attack 20. Fails when `Challenge::parse` takes `plain` without the setting, or a challenge without a method.
#[tokio::test]
async fn a_plain_challenge_and_half_a_challenge_are_refused() {
    let (app, _provider) = project(&[]).await;
    let challenge = s256(VERIFIER);
    for rest in [
        format!("code_challenge={challenge}&code_challenge_method=plain"),
        format!("code_challenge={challenge}"),
        "code_challenge_method=s256".to_owned(),
        "code_challenge=short&code_challenge_method=s256".to_owned(),
    ] {
        let reply = app
            .request("GET", &format!("/authorize?provider=acme&{rest}"))
            .send()
            .await;
        reply.refused(400, "validation_failed");
    }
}

/// No address joins an account on a provider's word that is none. Fails when anything but `true` counts.
#[tokio::test]
async fn an_address_that_is_not_verified_joins_nothing() {
    let (app, provider) = project(&[("auth.require_email_confirmation", "true")]).await;
    app.admin(
        "POST",
        "",
        json!({"email": "ana@example.com", "password": PASSWORD, "email_confirm": true}),
    )
    .await
    .ok();
    for verified in [
        json!(false),
        json!("true"),
        json!("True"),
        json!(1),
        json!(null),
        json!(["true"]),
    ] {
        let mut claims = ana(&app);
        claims["email_verified"] = verified.clone();
        if verified.is_null() {
            claims.as_object_mut().unwrap().remove("email_verified");
        }
        let landing = Browser::new(&app)
            .sign_in(&provider, "provider=acme", claims)
            .await;
        let told = landing.query.get("error_code").map(String::as_str);
        assert!(
            matches!(
                told,
                Some("provider_email_needs_verification" | "bad_oauth_callback")
            ),
            "{verified}: {landing:?}"
        );
        assert_eq!(counts(&app).await, "1,1,0", "{verified}");
    }
    let reasons = reasons(&app).await;
    assert!(
        reasons.starts_with("identity_refused: the provider does not vouch for the address"),
        "{reasons}"
    );
    // Another spelling of the address is the same address.
    let mut claims = ana(&app);
    claims["email"] = json!("ANA@EXAMPLE.com");
    let landing = Browser::new(&app)
        .sign_in(&provider, "provider=acme", claims)
        .await;
    let user = app.get_user(landing.access_token()).await.ok().body;
    assert_eq!(user["email"], "ana@example.com");
    assert_eq!(counts(&app).await, "1,2,1");
}

/// Account pre-hijacking: everything the attacker has put into the account is gone when the owner of the address comes.
/// Fails when `take_over` is replaced by linking, or leaves one of the ways in.
#[tokio::test]
async fn an_account_made_with_somebody_elses_address_is_emptied() {
    let evil = Provider::start().await;
    for confirm in ["false", "true"] {
        let mut settings = external("evil", &evil.url);
        settings.extend([
            ("auth.require_email_confirmation", confirm),
            ("auth.manual_linking", "true"),
        ]);
        let (app, provider) = project(&settings).await;
        let signed_up = app.sign_up("ana@example.com").await.ok();
        let id = app.value("select id from auth.users").await;
        // What a signed-in attacker can add where nobody asks for a confirmation.
        let mut held = None;
        if confirm == "false" {
            let token = signed_up.access_token();
            app.put_user(token, json!({"data": {"role": "boss"}}))
                .await
                .ok();
            let claims = json!({"sub": "attacker", "iat": now(&app), "email": "attacker@example.com", "email_verified": true});
            let nonce = json!({"provider": "evil", "id_token": evil.id_token(now(&app), &claims), "link_identity": true});
            let linked = app
                .request("POST", "/token?grant_type=id_token")
                .bearer(token)
                .json(nonce)
                .send()
                .await
                .ok();
            held = Some(linked);
            let begin = format!(
                "provider=evil&code_challenge={}&code_challenge_method=s256",
                s256(VERIFIER)
            );
            let landing = Browser::new(&app).sign_in(&evil, &begin, claims).await;
            landing.code();
            let code = landing.code().to_owned();
            assert_eq!(
                app.value("select count(*) from auth.flow_state where user_id is not null")
                    .await,
                "1"
            );
            drop(code);
        }

        let others = format!(
            "insert into auth.mfa_factors (user_id, factor_type, status) values ('{id}', 'totp', 'verified');
             insert into auth.webauthn_credentials (user_id, credential_id, credential) values ('{id}', '\\x01', '{{}}')"
        );
        app.owner.batch_execute(&others).await.unwrap();

        let landing = Browser::new(&app)
            .sign_in(&provider, "provider=acme", ana(&app))
            .await;
        let user = app.get_user(landing.access_token()).await.ok().body;
        let left = "select (select count(*) from auth.mfa_factors) + (select count(*) from auth.webauthn_credentials)
                         + (select count(*) from auth.one_time_tokens)";
        assert_eq!(app.value(left).await, "0");
        assert_eq!(
            user["id"],
            id.as_str(),
            "what the project has of the account is kept"
        );
        assert!(user["email_confirmed_at"].is_string());
        assert_eq!(user["app_metadata"]["providers"], json!(["acme"]));
        assert_eq!(user["user_metadata"].get("role"), None);
        assert_eq!(counts(&app).await, "1,1,1");
        assert_eq!(app.value("select count(*) from auth.flow_state").await, "0");
        app.sign_in("ana@example.com", PASSWORD)
            .await
            .refused(400, "invalid_credentials");
        for session in [Some(signed_up).filter(|_| confirm == "false"), held]
            .into_iter()
            .flatten()
        {
            app.get_user(session.access_token())
                .await
                .refused(403, "session_not_found");
            app.refresh(session.refresh_token())
                .await
                .refused(400, "refresh_token_not_found");
        }
        let reasons = reasons(&app).await;
        assert!(reasons.contains("the account was emptied"), "{reasons}");
    }
}

/// Attack 26, the other way round: an identity whose provider vouches for nothing waits in an account until the owner of
/// the address confirms it by another way than that sign-in. Fails without `unconfirmed::forget` in `verify::confirm`. The
/// mail of the sign-in itself stands for it, as that of a sign-up stands for its password.
#[tokio::test]
async fn an_identity_that_waits_for_its_address_is_gone_when_its_owner_comes() {
    let confirmation = ("auth.require_email_confirmation", "true");
    for (kind, stays) in [("magiclink", false), ("invite", false), ("signup", true)] {
        let (app, provider) = project(&[confirmation]).await;
        let mut claims = ana(&app);
        claims["email_verified"] = json!(false);
        let sign_in = async || {
            let mut browser = Browser::new(&app);
            browser
                .sign_in(&provider, "provider=acme", claims.clone())
                .await
        };
        sign_in().await.refused("provider_email_needs_verification");
        assert_eq!(counts(&app).await, "1,1,0");
        let body = json!({"type": kind, "email": "ana@example.com", "password": PASSWORD});
        let call = app
            .request("POST", "/admin/generate_link")
            .bearer(&service_token());
        let link = call.json(body).send().await.ok();
        let body = json!({"type": kind, "token_hash": link.text("/hashed_token")});
        let session = app.post("/verify", body).await.ok();
        let providers = &session.body["user"]["app_metadata"]["providers"];
        let landing = sign_in().await;
        if stays {
            assert_eq!(*providers, json!(["acme", "email"]));
            landing.access_token();
        } else {
            assert_eq!(*providers, json!(["email"]));
            landing.refused("provider_email_needs_verification");
        }
    }
}

/// Of many first sign-ins at once all get the one account. Fails when whoever comes second is told so instead of being
/// let in: `Stop::Again`.
#[tokio::test(flavor = "multi_thread")]
async fn first_sign_ins_at_once_make_one_account() {
    let provider = Provider::start().await;
    let mut settings = external("acme", &provider.url);
    settings.push(("outbound.allow", "127.0.0.0/8"));
    let app = App::with(Options {
        settings,
        pool_max_size: 20,
        ..Options::default()
    })
    .await;
    let sign_ins = (0..8).map(async |_| {
        let landing = Browser::new(&app)
            .sign_in(&provider, "provider=acme", ana(&app))
            .await;
        landing.access_token().to_owned()
    });
    futures_util::future::join_all(sign_ins).await;
    assert_eq!(counts(&app).await, "1,1,8");
}
