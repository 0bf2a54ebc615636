//! Weak point 6 of what `sb` replaces: one-time tokens readable in the payloads of jobs, for ever.

use serde_json::json;

use super::server::{SmtpServer, free_port};
use super::{CODE, Post, recovery};

/// Everything that the tables of the queue hold, as text.
async fn all_jobs(post: &Post) -> String {
    let sql = "
    select coalesce(string_agg(t.record, ' '), '') as text
      from (
        select row_to_json(p)::text as record
          from jobs.pending p
        union all
        select row_to_json(h)::text
          from jobs.history h
        union all
        select row_to_json(d)::text
          from jobs.dead d
        union all
        select row_to_json(j)::text
          from jobs.jobs j
      ) as t";
    post.owner.query_one(sql, &[]).await.unwrap().get(0)
}

#[track_caller]
fn says_nothing(jobs: &str, state: &str) {
    assert!(jobs.contains("mail.send") && jobs.contains(state), "{jobs}");
    for secret in [
        CODE,
        "4bcb2f9c7e1d4a0d",
        "verify?token",
        "Ana Maria",
        "Reset your",
    ] {
        assert!(!jobs.contains(secret), "{secret} is readable in {jobs}");
    }
}

/// Fails when `Seal::close` stores the content as it is, and (in the last state) when what the server says is kept unscrubbed.
#[tokio::test(flavor = "multi_thread")]
async fn no_state_of_a_job_shows_a_token_a_code_or_a_body() {
    let free = free_port();
    let post = Post::to_server(free, &[]).await;
    let mail = |to: &str| recovery(to).value("Data", json!({ "name": "Ana Maria" }));
    let id = post.enqueue(&mail("ana@example.com")).await;
    let waiting = all_jobs(&post).await;
    says_nothing(&waiting, "queued");
    assert!(
        !waiting.contains("ana@example.com") && waiting.contains("a***@example.com"),
        "{waiting}"
    );

    post.worker().await;
    post.until(id, "scheduled").await;
    says_nothing(&all_jobs(&post).await, "scheduled");

    let server = SmtpServer::start(&["--port", &free.to_string()]);
    post.later().await;
    post.until(id, "succeeded").await;
    says_nothing(&all_jobs(&post).await, "succeeded");

    // This server quotes the whole mail in its refusal.
    let id = post.enqueue(&mail("spam-me@example.com")).await;
    let row = post.until(id, "failed").await;
    assert!(
        row.error
            .starts_with("the SMTP server refuses the message: 554 5.7.1 Blocked:"),
        "{}",
        row.error
    );
    assert_eq!(server.events("mail").len(), 1);
    let jobs = all_jobs(&post).await;
    for secret in [CODE, "4bcb2f9c7e1d4a0d", "verify?token"] {
        assert!(!jobs.contains(secret), "{secret} is readable in {jobs}");
    }
}

/// Fails when the handler does not ask for whom the job runs, and when it takes an unsealed payload.
#[tokio::test(flavor = "multi_thread")]
async fn only_what_sb_has_sealed_is_sent() {
    let server = SmtpServer::start(&[]);
    let post = Post::to_server(server.port, &[]).await;
    let id = post.enqueue(&recovery("ana@example.com")).await;
    post.sql(&format!(
        "insert into jobs.pending (name, payload, role, user_id, claims)
           select name, payload, 'authenticated', gen_random_uuid(), '{{\"role\": \"authenticated\"}}'
             from jobs.pending
             where id = {id};
         insert into jobs.pending (name, payload, role)
           select name, payload || '{{\"id\": \"00000000-0000-0000-0000-000000000000\"}}', 'service_role'
             from jobs.pending
             where id = {id};
         insert into jobs.pending (name, payload, role)
           values ('mail.send', '{{\"to\": \"eve@example.com\", \"template\": \"recovery\", \"values\": {{}}}}', 'service_role')"
    ))
    .await;
    post.worker().await;
    for (id, error) in [
        (id + 1, "only sb itself sends mail"),
        (
            id + 2,
            "the mail was sealed with another master key, or was changed",
        ),
        (id + 3, "the payload is no mail of sb"),
    ] {
        assert_eq!(post.until(id, "failed").await.error, error);
    }
    post.until(id, "succeeded").await;
    assert_eq!(server.events("recipient").len(), 1);
}

/// Fails when the handler of backend `console` logs what it renders.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_server_and_without_sb_dev_nothing_of_a_mail_is_shown() {
    let post = Post::new(&[]).await;
    post.worker().await;
    let id = post.enqueue(&recovery("ana@example.com")).await;
    let row = post.until(id, "succeeded").await;
    assert_eq!(row.result, Some(json!({ "delivered": "console" })));
    says_nothing(&all_jobs(&post).await, "succeeded");
    let kept: i64 = post
        .owner
        .query_one("select count(*) from mail.messages", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(kept, 0);
}
