//! Which account an identity belongs to: by policy, and by hand.

use serde_json::{Value, json};

use super::provider::{Provider, s256};
use super::*;
use crate::auth::support::PASSWORD;

const VERIFIER: &str = "a verifier that only the application knows, long enough";

/// An account whose address an admin vouches for.
async fn confirmed(app: &App, email: &str) {
    let body = json!({"email": email, "password": PASSWORD, "email_confirm": true});
    app.admin("POST", "", body).await.ok();
}

/// Begins to link; the browser's address of ours.
async fn begin_link(app: &App, token: &str, more: &str) -> Reply {
    let path = format!("/user/identities/authorize?provider=acme&skip_http_redirect=true{more}");
    app.request("GET", &path).bearer(token).send().await
}

/// Links in one browser, as an application does it.
async fn link(app: &App, provider: &Provider, token: &str, more: &str, claims: Value) -> Landing {
    let url = begin_link(app, token, more)
        .await
        .ok()
        .text("/url")
        .to_owned();
    let path = url.strip_prefix("http://sb.test/auth/v1").unwrap();
    let mut browser = Browser::new(app);
    let location = browser.get(path).await.header("location").to_owned();
    let code = provider.sign_in(&location, claims);
    browser.come_back(&state_of(&location), &code).await
}

async fn unlink(app: &App, token: &str, id: &str) -> Reply {
    let path = format!("/user/identities/{id}");
    app.request("DELETE", &path).bearer(token).send().await
}

#[tokio::test]
async fn both_sides_proven_the_identity_joins_and_the_log_says_why() {
    let (app, provider) = project(&[]).await;
    confirmed(&app, "ana@example.com").await;
    app.advance(1);
    let landing = Browser::new(&app)
        .sign_in(&provider, "provider=acme", ana(&app))
        .await;
    let user = app.get_user(landing.access_token()).await.ok().body;
    assert_eq!(
        user["app_metadata"],
        json!({"provider": "email", "providers": ["email", "acme"]})
    );
    assert_eq!(user["user_metadata"]["name"], "Ana");
    app.sign_in("ana@example.com", PASSWORD).await.ok();
    assert_eq!(counts(&app).await, "1,2,2");
    assert_eq!(
        reasons(&app).await,
        "identity_linked: the provider vouches for the address, and the account's is confirmed"
    );
}

#[tokio::test]
async fn a_project_may_ask_or_never_join() {
    for (linking, reason) in [
        ("ask", "auth.linking is ask"),
        ("never", "auth.linking is never"),
    ] {
        let (app, provider) = project(&[("auth.linking", linking)]).await;
        confirmed(&app, "ana@example.com").await;
        let landing = Browser::new(&app)
            .sign_in(&provider, "provider=acme", ana(&app))
            .await;
        landing.refused("email_exists");
        assert_eq!(counts(&app).await, "1,1,0");
        assert_eq!(reasons(&app).await, format!("identity_refused: {reason}"));
        let session = app.sign_in("ana@example.com", PASSWORD).await.ok();
        let reply = begin_link(&app, session.access_token(), "").await;
        if linking == "never" {
            reply.refused(404, "manual_linking_disabled");
            continue;
        }
        // Who is asked can answer.
        let landing = link(&app, &provider, session.access_token(), "", ana(&app)).await;
        landing.access_token();
        let landing = Browser::new(&app)
            .sign_in(&provider, "provider=acme", ana(&app))
            .await;
        landing.access_token();
        assert_eq!(counts(&app).await, "1,2,3");
    }
}

/// Attack 25. Remove `is_authority`, and this fails.
#[tokio::test]
async fn a_provider_without_authority_joins_nothing() {
    let (app, provider) = project(&[
        ("auth.external.acme.email_authority", "domain"),
        ("auth.external.acme.email_domains", "corp.example"),
    ])
    .await;
    confirmed(&app, "ana@example.com").await;
    confirmed(&app, "bob@corp.example").await;
    let landing = Browser::new(&app)
        .sign_in(&provider, "provider=acme", ana(&app))
        .await;
    landing.refused("provider_email_needs_verification");
    let bob = json!({"sub": "bob", "iat": now(&app), "email": "bob@corp.example", "email_verified": true});
    let landing = Browser::new(&app)
        .sign_in(&provider, "provider=acme", bob)
        .await;
    landing.access_token();
    assert_eq!(counts(&app).await, "2,3,1");
}

#[tokio::test]
async fn by_hand_is_off_unless_the_project_wants_it() {
    let (app, _provider) = project(&[]).await;
    let session = app.sign_up("ana@example.com").await.ok();
    let id = session.text("/user/identities/0/identity_id");
    begin_link(&app, session.access_token(), "")
        .await
        .refused(404, "manual_linking_disabled");
    unlink(&app, session.access_token(), id)
        .await
        .refused(404, "manual_linking_disabled");
    let path = "/user/identities/authorize?provider=acme";
    app.request("GET", path)
        .send()
        .await
        .refused(401, "no_authorization");
}

#[tokio::test]
async fn an_identity_is_linked_used_and_unlinked() {
    let (app, provider) = project(&[("auth.manual_linking", "true")]).await;
    let session = app.sign_up("own@example.com").await.ok();
    let token = session.access_token();
    app.advance(1);
    let landing = link(
        &app,
        &provider,
        token,
        &format!("&redirect_to={SITE}"),
        ana(&app),
    )
    .await;
    assert_eq!(landing.target, SITE);
    let user = app.get_user(landing.access_token()).await.ok().body;
    assert_eq!(
        (&user["email"], &user["app_metadata"]["providers"]),
        (&json!("own@example.com"), &json!(["email", "acme"]))
    );
    let again = Browser::new(&app)
        .sign_in(&provider, "provider=acme", ana(&app))
        .await;
    assert_eq!(
        app.get_user(again.access_token()).await.ok().body["id"],
        user["id"]
    );

    // Twice, and by another.
    link(&app, &provider, token, "", ana(&app))
        .await
        .refused("identity_already_exists");
    let other = app.sign_up("other@example.com").await.ok();
    link(&app, &provider, other.access_token(), "", ana(&app))
        .await
        .refused("identity_already_exists");

    let find = |name: &str| {
        let identities = user["identities"].as_array().unwrap();
        let found = identities.iter().find(|it| it["provider"] == name).unwrap();
        found["identity_id"].as_str().unwrap().to_owned()
    };
    unlink(&app, other.access_token(), &find("acme"))
        .await
        .refused(422, "identity_not_found");
    assert_eq!(
        unlink(&app, token, &find("acme")).await.ok().body,
        json!({})
    );
    unlink(&app, token, &find("acme"))
        .await
        .refused(422, "identity_not_found");
    unlink(&app, token, &find("email"))
        .await
        .refused(422, "single_identity_not_deletable");
    unlink(&app, token, "x")
        .await
        .refused(404, "validation_failed");
    let user = app.get_user(token).await.ok().body;
    assert_eq!(
        user["app_metadata"],
        json!({"provider": "email", "providers": ["email"]})
    );
    assert!(app.audit().await.ends_with("identity_unlinked"));
    // It is a stranger's now.
    let landing = Browser::new(&app)
        .sign_in(&provider, "provider=acme", ana(&app))
        .await;
    assert_ne!(
        app.get_user(landing.access_token()).await.ok().body["id"],
        user["id"]
    );
}

/// An account that no longer signs in by mail has the address of what it signs in with, and no password.
#[tokio::test]
async fn the_address_goes_with_its_identity() {
    let (app, provider) = project(&[("auth.manual_linking", "true")]).await;
    let session = app.sign_up("own@example.com").await.ok();
    let id = session.text("/user/identities/0/identity_id").to_owned();
    link(&app, &provider, session.access_token(), "", ana(&app))
        .await
        .access_token();
    let taken = app.sign_up("ana@example.com").await.ok();
    unlink(&app, session.access_token(), &id)
        .await
        .refused(422, "email_conflict_identity_not_deletable");
    app.admin("DELETE", &format!("/{}", taken.text("/user/id")), json!({}))
        .await
        .ok();
    unlink(&app, session.access_token(), &id).await.ok();
    let user = app.get_user(session.access_token()).await.ok().body;
    assert_eq!(user["email"], "ana@example.com");
    assert_eq!(
        user["app_metadata"],
        json!({"provider": "acme", "providers": ["acme"]})
    );
    for email in ["own@example.com", "ana@example.com"] {
        app.sign_in(email, PASSWORD)
            .await
            .refused(400, "invalid_credentials");
    }
}

/// Fails when the identities are counted without a lock.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_two_identities_are_not_removed_at_once() {
    let (app, provider) = project(&[("auth.manual_linking", "true")]).await;
    let session = app.sign_up("own@example.com").await.ok();
    let landing = link(&app, &provider, session.access_token(), "", ana(&app)).await;
    let user = app.get_user(landing.access_token()).await.ok().body;
    let ids = user["identities"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["identity_id"].as_str().unwrap());
    let token = session.access_token();
    // Both have begun before either can go on.
    let lock = "begin; select from auth.users for update";
    app.owner.batch_execute(lock).await.unwrap();
    let both = futures_util::future::join_all(ids.map(|id| unlink(&app, token, id)));
    let release = async {
        app.wait_for_blocked(2).await;
        app.owner.batch_execute("commit").await.unwrap();
    };
    let (replies, ()) = tokio::join!(both, release);
    let mut statuses: Vec<u16> = replies.iter().map(|reply| reply.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 422]);
}

/// Somebody who is made to sign in at a provider for another's flow has no verifier: nothing is linked. Fails when the
/// identity is linked at the callback.
#[tokio::test]
async fn with_pkce_an_identity_is_linked_by_who_has_the_verifier() {
    let (app, provider) = project(&[
        ("auth.manual_linking", "true"),
        ("auth.link_requires_pkce", "true"),
    ])
    .await;
    let attacker = app.sign_up("attacker@example.com").await.ok();
    begin_link(&app, attacker.access_token(), "")
        .await
        .refused(400, "validation_failed");
    let more = format!(
        "&code_challenge={}&code_challenge_method=s256",
        s256(VERIFIER)
    );
    let landing = link(&app, &provider, attacker.access_token(), &more, ana(&app)).await;
    let code = landing.code().to_owned();
    assert_eq!(counts(&app).await, "1,1,1");
    let victim = json!({"auth_code": code, "code_verifier": "the victim's application has another one, of course"});
    app.post("/token?grant_type=pkce", victim)
        .await
        .refused(400, "bad_code_verifier");
    assert_eq!(counts(&app).await, "1,1,1");
    let own = json!({"auth_code": code, "code_verifier": VERIFIER});
    let session = app.post("/token?grant_type=pkce", own).await.ok();
    assert_eq!(
        session.body["user"]["identities"].as_array().unwrap().len(),
        2
    );
    assert_eq!(session.text("/provider_token"), "provider-access-token");
}

#[tokio::test]
async fn an_id_token_can_be_linked_to_its_bearer() {
    let (app, provider) = project(&[("auth.manual_linking", "true")]).await;
    let session = app.sign_up("own@example.com").await.ok();
    let body = |sub: &str| {
        let token = provider.id_token(
            now(&app),
            &json!({"sub": sub, "email": "x@example.com", "email_verified": true}),
        );
        json!({"provider": "acme", "id_token": token, "link_identity": true})
    };
    let path = "/token?grant_type=id_token";
    app.post(path, body("1"))
        .await
        .refused(401, "no_authorization");
    let call = async |sub: &str| {
        app.request("POST", path)
            .bearer(session.access_token())
            .json(body(sub))
            .send()
            .await
    };
    let linked = call("1").await.ok();
    assert_eq!(
        linked.body["user"]["identities"].as_array().unwrap().len(),
        2
    );
    call("1").await.refused(422, "identity_already_exists");
    // The bearer of an ended session links nothing.
    app.request("POST", "/logout")
        .bearer(session.access_token())
        .send()
        .await;
    call("2").await.refused(403, "session_not_found");
}

/// Fails when the level of the session is not asked for.
#[tokio::test]
async fn an_account_with_a_second_factor_links_in_a_session_that_has_seen_it() {
    let (app, provider) = project(&[("auth.manual_linking", "true")]).await;
    let session = app.sign_up("own@example.com").await.ok();
    let token = session.access_token();
    let sql = "insert into auth.mfa_factors (user_id, factor_type, status) select u.id, 'totp', 'verified' from auth.users u";
    app.owner.execute(sql, &[]).await.unwrap();
    begin_link(&app, token, "")
        .await
        .refused(401, "insufficient_aal");
    let id = session.text("/user/identities/0/identity_id");
    unlink(&app, token, id)
        .await
        .refused(401, "insufficient_aal");
    let claims = json!({"email": "x@example.com", "email_verified": true});
    let body = json!({"provider": "acme", "id_token": provider.id_token(now(&app), &claims), "link_identity": true});
    let call = app
        .request("POST", "/token?grant_type=id_token")
        .bearer(token);
    call.json(body)
        .send()
        .await
        .refused(401, "insufficient_aal");
}

/// Who is signed in must not come to hold an address that nobody has proven: its owner would sign up into that account.
/// Fails when `replace_address` takes any address of another identity.
#[tokio::test]
async fn an_address_that_nobody_has_proven_does_not_come_with_an_identity() {
    let (app, provider) = project(&[("auth.manual_linking", "true")]).await;
    let session = app.sign_up("own@example.com").await.ok();
    let id = session.text("/user/identities/0/identity_id").to_owned();
    let mut claims = ana(&app);
    claims["email_verified"] = json!(false);
    let landing = link(&app, &provider, session.access_token(), "", claims.clone()).await;
    landing.access_token();
    unlink(&app, session.access_token(), &id).await.ok();
    let user = app.get_user(session.access_token()).await.ok().body;
    assert_eq!(user["email"], "");
    let owner = app.sign_up("ana@example.com").await.ok();
    assert_ne!(owner.body["user"]["id"], user["id"]);
    // The identity still signs in.
    let landing = Browser::new(&app)
        .sign_in(&provider, "provider=acme", claims)
        .await;
    let again = app.get_user(landing.access_token()).await.ok().body;
    assert_eq!(again["id"], user["id"]);
}
