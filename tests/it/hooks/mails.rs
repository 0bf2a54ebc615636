//! Hook `send_email`: the project sends the mails of the auth service.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use axum::http::StatusCode;
use sb::auth::{EmailMessage, HookRejection};
use serde_json::{Value, json};

use super::Hooks;
use crate::scratch::eventually;

const CONFIRM: (&str, &str) = ("auth.require_email_confirmation", "true");

async fn sign_up(hooks: &Hooks) {
    let body = json!({"email": "ana@example.com", "password": "correct horse battery"});
    let reply = hooks.app.post("/auth/v1/signup", None, body).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
}

#[tokio::test]
async fn a_function_sends_the_mails_and_its_code_confirms() {
    let target = (
        "auth.hook.send_email.uri",
        "pg-functions://postgres/public/send_email",
    );
    let hooks = Hooks::with(sb::App::new(), &[CONFIRM, target]).await;
    hooks
        .sql(
            "create table public.mails (event jsonb);
             grant insert on public.mails to supabase_auth_admin;
             create policy hooks on public.mails for insert to supabase_auth_admin with check (true);
             create function public.send_email(event jsonb) returns void language sql as
               $$ insert into public.mails values (event) $$",
        )
        .await;
    hooks.work().await;
    sign_up(&hooks).await;
    let count = "select count(*) from public.mails";
    eventually("the mail is sent", async || hooks.value(count).await == "1").await;
    let event: Value = hooks.json("select event from public.mails").await.remove(0);
    let data = &event["email_data"];
    assert_eq!(event["metadata"]["name"], "send-email");
    assert_eq!(event["user"]["email"], "ana@example.com");
    assert_eq!(data["email_action_type"], "signup");
    assert_eq!(data["to"], "ana@example.com");
    assert_eq!(data["site_url"], "http://localhost:3000");
    let by_hash = json!({"type": "signup", "token_hash": data["token_hash"]});
    let by_code = json!({"type": "signup", "email": "ana@example.com", "token": data["token"]});
    let verified = hooks.app.post("/auth/v1/verify", None, by_code).await;
    assert_eq!(verified.status, StatusCode::OK, "{}", verified.text());
    let used = hooks.app.post("/auth/v1/verify", None, by_hash).await;
    assert_eq!(used.status, StatusCode::FORBIDDEN);
}

/// A mail is not lost because its sender fails, and no job shows what it is about.
#[tokio::test]
async fn a_closure_that_fails_is_asked_again_for_the_same_mail() {
    let sent: Arc<Mutex<Vec<EmailMessage>>> = Arc::default();
    let (mails, tries) = (Arc::clone(&sent), AtomicU32::new(0));
    let app = sb::App::new().hook(|on| {
        on.send_email(move |_, mail| {
            mails.lock().unwrap().push(mail);
            let is_first = tries.fetch_add(1, Ordering::SeqCst) == 0;
            async move {
                if is_first {
                    return Err(HookRejection("no stamps".to_owned()));
                }
                Ok(())
            }
        })
    });
    let hooks = Hooks::with(app, &[CONFIRM]).await;
    hooks.work().await;
    sign_up(&hooks).await;
    let failed = "select count(*) from jobs.jobs j where j.name = 'mail.send' and j.last_error like '%no stamps%'";
    eventually("the first try fails", async || {
        hooks.value(failed).await == "1"
    })
    .await;
    hooks
        .sql("update jobs.pending set run_at = now() where name = 'mail.send'")
        .await;
    eventually("the mail is sent", async || sent.lock().unwrap().len() == 2).await;
    let mails = sent.lock().unwrap().clone();
    assert_eq!(mails[0].email_data, mails[1].email_data);
    let ended = "select j.status from jobs.jobs j where j.name = 'mail.send'";
    eventually("the job is over", async || {
        hooks.value(ended).await == "succeeded"
    })
    .await;
    let jobs: String = hooks
        .value("select jsonb_agg(to_jsonb(j)) from jobs.jobs j")
        .await;
    let (token, hash) = (&mails[0].email_data.token, &mails[0].email_data.token_hash);
    assert!(token.len() >= 6 && !hash.is_empty());
    assert!(!jobs.contains(hash.as_str()), "{jobs}");
    assert!(!format!("{:?}", mails[0]).contains(token.as_str()));
}
