//! Hooks and claims providers of an embedding program.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use sb::JobError;
use sb::auth::{Extensions, HookRejection};
use serde_json::{Map, Value, json};

use super::support::{App, Options, PASSWORD, claims};

async fn app(extensions: Extensions) -> App {
    App::with(Options {
        extensions,
        ..Options::default()
    })
    .await
}

fn members(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap()
}

#[tokio::test]
async fn a_hook_can_refuse_a_sign_up() {
    let extensions = Extensions::default().before_user_created(|context, user| async move {
        assert!(context.client.ip.is_some());
        if user.email.ends_with("@example.com") {
            Ok(())
        } else {
            Err(HookRejection("Only our own addresses".to_owned()))
        }
    });
    let app = app(extensions).await;
    app.sign_up("ana@example.com").await.ok();
    let reply = app.sign_up("ana@other.example").await;
    reply.refused(422, "hook_rejected");
    assert_eq!(reply.text("/message"), "Only our own addresses");
    assert_eq!(app.value("select count(*) from auth.users").await, "1");
}

/// supython weak point 31: the hook of a sign-in never fired. Fails without `emit` in `session::open_session`.
#[tokio::test]
async fn later_hooks_are_jobs_of_who_did_it_and_cannot_undo_it() {
    let extensions = Extensions::default()
        .after_signup(|_, _| async { Err(JobError::Discard("too late".to_owned())) })
        .after_login(|_, _| async { Ok(()) });
    let app = app(extensions).await;
    app.sign_up("ana@example.com").await.ok();
    app.sign_in("ana@example.com", "wrong password")
        .await
        .refused(400, "invalid_credentials");
    app.sign_in("ana@example.com", PASSWORD).await.ok();
    let kinds = "select string_agg(j.name || ' ' || jsonb_array_length(j.payload #> '{user,identities}'), ', ' order by j.id) from jobs.pending j";
    assert_eq!(
        app.value(kinds).await,
        "hook.after_signup 1, hook.after_login 1"
    );
}

#[tokio::test]
async fn providers_add_claims_at_every_issuance() {
    let extensions = Extensions::default()
        .claims(|context| async move {
            Ok(members(
                &json!({"org": "acme", "how": context.authentication_method}),
            ))
        })
        .claims(|context| async move {
            // All claims back, as a hook written for Supabase does.
            let mut claims = context.claims;
            claims.insert("email_again".to_owned(), json!(context.user.email));
            Ok(claims)
        });
    let app = app(extensions).await;
    let session = app.sign_up("ana@example.com").await.ok();
    let first = claims(session.access_token());
    assert_eq!(
        (&first["org"], &first["how"]),
        (&json!("acme"), &json!("password"))
    );
    assert_eq!(first["email_again"], "ana@example.com");
    let refreshed = app.refresh(session.refresh_token()).await.ok();
    assert_eq!(claims(refreshed.access_token())["how"], "token_refresh");
}

/// Attack 10. Remove `check_change`, and tokens are issued.
#[tokio::test]
async fn a_provider_that_changes_a_reserved_claim_gets_no_token() {
    for (name, value) in [
        ("sub", json!("00000000-0000-4000-8000-000000000000")),
        ("exp", json!(4_000_000_000_u64)),
        ("aal", json!("aal2")),
        ("role", json!("service_role")),
        ("role", json!("postgres")),
    ] {
        let extensions = Extensions::default().claims(move |_| {
            let added = Map::from_iter([(name.to_owned(), value.clone())]);
            async { Ok(added) }
        });
        let app = app(extensions).await;
        let reply = app.sign_up("ana@example.com").await;
        reply.refused(500, "unexpected_failure");
        assert!(reply.body.get("access_token").is_none());
    }
}

#[tokio::test]
async fn a_failed_issuance_costs_no_session() {
    let broken = Arc::new(AtomicBool::new(false));
    let calls = Arc::new(AtomicU32::new(0));
    let (is_broken, count) = (Arc::clone(&broken), Arc::clone(&calls));
    let extensions = Extensions::default().claims(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        let result = if is_broken.load(Ordering::SeqCst) {
            Err("the directory is down".to_owned())
        } else {
            Ok(Map::new())
        };
        async { result }
    });
    let app = app(extensions).await;
    let session = app.sign_up("ana@example.com").await.ok();
    broken.store(true, Ordering::SeqCst);
    let failed = app.refresh(session.refresh_token()).await;
    failed.refused(500, "unexpected_failure");
    assert!(!failed.body.to_string().contains("directory"));
    broken.store(false, Ordering::SeqCst);
    app.advance(3600);
    app.refresh(session.refresh_token()).await.ok();
    assert_eq!(calls.load(Ordering::SeqCst), 3);
}
