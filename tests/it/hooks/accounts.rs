//! What happens to accounts, told to SQL functions, addresses and closures.

use std::sync::{Arc, Mutex};

use axum::http::{Method, StatusCode};
use sb::JobError;
use serde_json::{Value, json};

use super::Hooks;
use super::receiver::Receiver;
use crate::scratch::eventually;

type Seen = Arc<Mutex<Vec<(String, String, usize)>>>;

/// An app whose closures write down kind of job, event and identities of the user; the second one fails once.
fn listening(seen: &Seen) -> sb::App {
    let note = |seen: &Seen| {
        let seen = Arc::clone(seen);
        move |context: sb::JobContext, event: sb::auth::UserEvent| {
            let identities = event.user.identities.len();
            let line = (context.name.to_string(), event.event, identities);
            seen.lock().unwrap().push(line);
            async { Ok(()) }
        }
    };
    let (signup, login, deleted) = (note(seen), note(seen), note(seen));
    sb::App::new().hook(|on| {
        on.after_signup(signup)
            .after_signup(|context, _| async move {
                match context.claim {
                    1 => Err(JobError::Snooze(std::time::Duration::from_millis(1))),
                    _ => Err(JobError::Discard("enough".to_owned())),
                }
            })
            .after_login(login)
            .after_user_deleted(deleted)
    })
}

async fn sign_in(hooks: &Hooks, password: &str) -> crate::support::Reply {
    let body = json!({ "email": "ana@example.com", "password": password });
    hooks
        .app
        .post("/auth/v1/token?grant_type=password", None, body)
        .await
}

/// supython weak point 31: hooks that never fired. Fails when an event is not emitted where it happens.
#[tokio::test]
async fn sign_ups_sign_ins_and_deletions_reach_functions_addresses_and_closures() {
    let seen = Seen::default();
    let allow = [("outbound.allow", "127.0.0.0/8")];
    let hooks = Hooks::with(listening(&seen), &allow).await;
    let receiver = Receiver::start(|_| "ok").await;
    let url = &receiver.url;
    hooks
        .sql(&format!(
            "create table public.told (payload jsonb);
             grant insert on public.told to service_role;
             create function public.tell(payload jsonb) returns void language sql as
               $$ insert into public.told values (payload) $$;
             select hooks.on(e, 'sql:public.tell'), hooks.on(e, '{url}')
               from unnest('{{user.signup,user.login,user.deleted}}'::text[]) as e"
        ))
        .await;
    hooks.work().await;

    let session = hooks.app.sign_up("ana@example.com").await;
    let calls = receiver.until(1).await;
    assert_eq!(calls[0].json()["event"], "user.signup");
    let user = hooks
        .app
        .get("/auth/v1/user", session["access_token"].as_str())
        .await
        .json();
    assert_eq!(calls[0].json()["user"], user);
    assert_eq!(calls[0].json()["timestamp"], "2030-03-17T17:46:40Z");

    assert_eq!(
        sign_in(&hooks, "wrong").await.status,
        StatusCode::BAD_REQUEST
    );
    let refresh = json!({ "refresh_token": session["refresh_token"] });
    let refreshed = hooks
        .app
        .post("/auth/v1/token?grant_type=refresh_token", None, refresh)
        .await;
    assert_eq!(refreshed.status, StatusCode::OK);
    let signed_in = sign_in(&hooks, "correct horse").await;
    assert_eq!(signed_in.status, StatusCode::OK);
    let calls = receiver.until(2).await;
    assert_eq!(calls[1].json()["event"], "user.login");
    assert_eq!(calls[1].json()["user"], signed_in.json()["user"]);

    let token = hooks.app.running.role_token("service_role").unwrap();
    let path = format!("/auth/v1/admin/users/{}", user["id"].as_str().unwrap());
    let deleted = hooks
        .app
        .call(Method::DELETE, &path, Some(&token), None)
        .await;
    assert_eq!(deleted.status, StatusCode::OK, "{}", deleted.text());
    let calls = receiver.until(3).await;
    assert_eq!(calls[2].json()["event"], "user.deleted");
    assert_eq!(calls[2].json()["user"]["email"], "ana@example.com");

    eventually("all deliveries are over", async || {
        hooks.value("select count(*) from jobs.pending").await == "0"
    })
    .await;
    let expected = [
        ("hook.after_signup", "user.signup"),
        ("hook.after_login", "user.login"),
        ("hook.after_user_deleted", "user.deleted"),
    ];
    let expected = expected.map(|(kind, event)| (kind.to_owned(), event.to_owned(), 1));
    assert_eq!(*seen.lock().unwrap(), expected);
    let second = "select concat_ws(' ', d.hook, d.status, d.last_error) from hooks.deliveries d where d.target = 'hook.after_signup.2'";
    assert_eq!(hooks.value(second).await, "after_signup.2 failed enough");

    let told = hooks.json("select t.payload from public.told t").await;
    assert_eq!(told.len(), 3);
    let text = serde_json::to_string(&told).unwrap();
    assert!(
        !text.contains("argon2") && !text.contains("token") && !text.contains("password"),
        "{text}"
    );
    // Nobody else was told, and nothing twice.
    assert_eq!(receiver.calls().len(), 3);
}

#[tokio::test]
async fn without_listeners_nothing_is_enqueued() {
    let hooks = Hooks::new().await;
    hooks.sql("select hooks.on('user.deleted', 'nobody')").await;
    hooks.app.sign_up("ana@example.com").await;
    assert_eq!(
        sign_in(&hooks, "correct horse").await.status,
        StatusCode::OK
    );
    assert_eq!(hooks.value("select count(*) from jobs.jobs").await, "0");
}

#[tokio::test]
async fn a_sign_up_that_fails_is_told_to_nobody() {
    let hooks = Hooks::new().await;
    hooks
        .sql(
            "select hooks.on('user.signup', 'somebody');
             create function public.refuse() returns trigger language plpgsql as
               $$ begin raise exception 'no'; end $$;
             create constraint trigger refuse after insert on auth.users deferrable initially deferred
               for each row execute function public.refuse()",
        )
        .await;
    let body = json!({ "email": "ana@example.com", "password": "correct horse" });
    let reply = hooks.app.post("/auth/v1/signup", None, body).await;
    assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(hooks.value("select count(*) from jobs.jobs").await, "0");
}

#[tokio::test]
async fn a_user_with_much_metadata_is_told_without_it() {
    let hooks = Hooks::new().await;
    hooks
        .sql("select hooks.on('user.signup', 'somebody')")
        .await;
    let body = json!({ "email": "ana@example.com", "password": "correct horse", "data": { "x": "y".repeat(300_000) } });
    let reply = hooks.app.post("/auth/v1/signup", None, body).await;
    assert_eq!(reply.status, StatusCode::OK);
    let payload: Value = hooks
        .json("select j.payload from jobs.pending j")
        .await
        .remove(0);
    assert_eq!(payload["truncated"], true);
    assert_eq!(payload["user"]["email"], "ana@example.com");
    assert!(payload["user"].get("user_metadata").is_none());
    // A closure still takes it.
    let event: sb::auth::UserEvent = serde_json::from_value(payload).unwrap();
    assert_eq!(event.user.app_metadata["provider"], "email");
}
