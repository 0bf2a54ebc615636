//! Accounts without an address, and how they get one.

use sb::auth::{Extensions, HookRejection};
use serde_json::{Value, json};

use super::support::{App, Options, PASSWORD, claims};

const ON: (&str, &str) = ("auth.anonymous_enabled", "true");

async fn app() -> App {
    App::with_settings(&[ON]).await
}

/// Attack 9: a visitor is no more than `authenticated`. Fails when claims are read from what a visitor sends.
#[tokio::test]
async fn a_visitor_gets_a_session_without_an_address() {
    let app = app().await;
    let data = json!({"cart": 3, "role": "service_role", "aal": "aal2"});
    let body = json!({"data": data, "role": "service_role", "aal": "aal2"});
    let session = app.post("/signup", body).await.ok();
    let user = &session.body["user"];
    assert_eq!(user["is_anonymous"], true);
    assert_eq!(user["identities"], json!([]));
    assert_eq!((&user["email"], &user["phone"]), (&json!(""), &json!("")));
    assert_eq!(user["app_metadata"], json!({}));
    assert_eq!(user["user_metadata"], data);
    let issued = claims(session.access_token());
    assert_eq!(issued["is_anonymous"], true);
    assert_eq!(
        (&issued["role"], &issued["aal"]),
        (&json!("authenticated"), &json!("aal1"))
    );
    assert_eq!(issued["amr"][0]["method"], "anonymous");
    let again = app.refresh(session.refresh_token()).await.ok();
    assert_eq!(again.body["user"]["id"], user["id"]);
    app.get_user(session.access_token()).await.ok();
    assert_eq!(app.audit().await, "user_signedup login");
    // Clients send empty texts too.
    app.post("/signup", json!({"email": "", "phone": ""}))
        .await
        .ok();
    assert_eq!(
        app.value("select count(*) from auth.users where is_anonymous")
            .await,
        "2"
    );
    let settings = app.request("GET", "/settings").send().await.ok();
    assert_eq!(settings.body["external"]["anonymous_users"], true);
}

#[tokio::test]
async fn anonymous_sign_ins_are_off_unless_the_project_wants_them() {
    let app = App::new().await;
    let refused = app.post("/signup", json!({})).await;
    refused.refused(422, "anonymous_provider_disabled");
    let app = App::with_settings(&[ON, ("auth.disable_signup", "true")]).await;
    app.post("/signup", json!({}))
        .await
        .refused(422, "signup_disabled");
    assert_eq!(app.value("select count(*) from auth.users").await, "0");
}

/// Remove [`Limited::Anonymous`] from the sign-in, and a script fills the table of users.
#[tokio::test]
async fn one_address_gets_only_so_many_anonymous_accounts() {
    let app = App::with_settings(&[ON, ("auth.rate_limit_anonymous_per_hour", "2")]).await;
    let sign_in = async |ip: &str| {
        let call = app.request("POST", "/signup").from(ip);
        call.json(json!({})).send().await
    };
    for _ in 0..2 {
        sign_in("203.0.113.5").await.ok();
    }
    let refused = sign_in("203.0.113.5").await;
    refused.refused(429, "over_request_rate_limit");
    assert_eq!(refused.header("retry-after"), "1800");
    sign_in("203.0.113.6").await.ok();
    let body = json!({"email": "ana@example.com", "password": PASSWORD});
    let other = app.request("POST", "/signup").from("203.0.113.5");
    other.json(body).send().await.ok();
    app.advance(1800);
    sign_in("203.0.113.5").await.ok();
}

#[tokio::test]
async fn hooks_and_triggers_see_an_anonymous_account() {
    let extensions = Extensions::default().before_user_created(|_, user| async move {
        if user.is_anonymous && user.user_metadata.get("bot").is_some() {
            return Err(HookRejection("No bots".to_owned()));
        }
        Ok(())
    });
    let app = App::with(Options {
        extensions,
        settings: vec![ON],
        ..Options::default()
    })
    .await;
    let sql = "
        create table public.profiles (id uuid, is_guest boolean);
        create function public.make_profile() returns trigger language plpgsql security definer as $$
          begin insert into public.profiles values (new.id, new.is_anonymous); return new; end $$;
        create trigger make_profile after insert on auth.users for each row execute function public.make_profile()";
    app.owner.batch_execute(sql).await.unwrap();
    app.post("/signup", json!({})).await.ok();
    assert_eq!(
        app.value("select bool_and(is_guest) from public.profiles")
            .await,
        "true"
    );
    let refused = app.post("/signup", json!({"data": {"bot": 1}})).await;
    refused.refused(422, "hook_rejected");
}

#[tokio::test]
async fn an_address_and_a_password_make_an_account_permanent() {
    let app = app().await;
    let session = app.post("/signup", json!({})).await.ok();
    let token = session.access_token();
    let alone = app.put_user(token, json!({"password": PASSWORD})).await;
    alone.refused(422, "validation_failed");
    let body = json!({"email": "ana@example.com", "password": PASSWORD});
    let user = app.put_user(token, body).await.ok();
    assert_eq!(user.body["is_anonymous"], false);
    assert_eq!(user.body["id"], session.body["user"]["id"]);
    assert_eq!(user.body["identities"][0]["provider"], "email");
    assert_eq!(
        user.body["app_metadata"],
        json!({"provider": "email", "providers": ["email"]})
    );
    let refreshed = app.refresh(session.refresh_token()).await.ok();
    assert_eq!(claims(refreshed.access_token())["is_anonymous"], false);
    app.sign_in("ana@example.com", PASSWORD).await.ok();
}

#[tokio::test]
async fn an_address_somebody_else_has_is_not_given_to_a_visitor() {
    let app = app().await;
    app.sign_up("ana@example.com").await.ok();
    let session = app.post("/signup", json!({})).await.ok();
    let taken = json!({"email": "Ana@Example.com", "password": PASSWORD});
    let refused = app.put_user(session.access_token(), taken).await;
    refused.refused(422, "email_exists");
    let user = app.get_user(session.access_token()).await.ok();
    assert_eq!(user.body["is_anonymous"], true);
}

/// Whichever flow confirms an address, admin API included. Remove the trigger `end_anonymity`.
#[tokio::test]
async fn the_first_confirmed_address_ends_anonymity() {
    let app = app().await;
    for (change, is_anonymous) in [
        (json!({"user_metadata": {"a": 1}}), true),
        (json!({"email": "a@example.com"}), true),
        (
            json!({"email": "b@example.com", "email_confirm": true}),
            false,
        ),
        (json!({"phone": "15550001", "phone_confirm": true}), false),
    ] {
        let session = app.post("/signup", json!({})).await.ok();
        let path = format!("/{}", session.text("/user/id"));
        let user = app.admin("PUT", &path, change.clone()).await.ok();
        assert_eq!(
            user.body["is_anonymous"],
            Value::Bool(is_anonymous),
            "{change}"
        );
    }
}
