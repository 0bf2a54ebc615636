//! The exchange of refresh tokens: rotation, concurrency, lost responses, reuse, limits.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use super::support::{App, Options, Reply, claims};

const STATE: &str = "select concat_ws(' ', refresh_token_counter, refresh_token_seen, refresh_token_reuse_count) from auth.sessions";

async fn signed_up(app: &App) -> Reply {
    app.sign_up("ana@example.com").await.ok()
}

#[tokio::test]
async fn a_refresh_gives_new_tokens_of_the_same_session() {
    let app = App::new().await;
    let first = signed_up(&app).await;
    app.advance(100);
    let second = app.refresh(first.refresh_token()).await.ok();
    assert_ne!(second.refresh_token(), first.refresh_token());
    let (old, new) = (claims(first.access_token()), claims(second.access_token()));
    assert_eq!(old["session_id"], new["session_id"]);
    assert_eq!(old["amr"], new["amr"]);
    assert_ne!(old["jti"], new["jti"]);
    assert_eq!(
        new["iat"].as_i64().unwrap(),
        old["iat"].as_i64().unwrap() + 100
    );
    assert_eq!(
        second.body["user"]["identities"].as_array().unwrap().len(),
        1
    );
    assert_eq!(app.value(STATE).await, "1 f 0");
    assert_eq!(app.audit().await, "user_signedup");
}

/// Attack 11. Take the counter out of `ROTATE`'s condition, and each caller takes the session a step on.
#[tokio::test]
async fn parallel_callers_get_the_same_successor() {
    let app = App::with(Options {
        pool_max_size: 60,
        ..Options::default()
    })
    .await;
    let first = signed_up(&app).await;
    // All of them have begun before the first may go on.
    app.owner
        .batch_execute("begin; select 1 from auth.sessions for update")
        .await
        .unwrap();
    let released = async {
        app.wait_for_blocked(30).await;
        app.owner.batch_execute("commit").await.unwrap();
    };
    let callers = join_all((0..50).map(|_| app.refresh(first.refresh_token())));
    let (replies, ()) = tokio::join!(callers, released);
    let successors: Vec<String> = replies
        .into_iter()
        .map(|reply| reply.ok().refresh_token().to_owned())
        .collect();
    assert_eq!(successors.len(), 50);
    assert!(successors.iter().all(|token| *token == successors[0]));
    assert_ne!(successors[0], first.refresh_token());
    assert_eq!(app.value(STATE).await, "1 f 0");
    // The successor works, for as many again.
    let replies = join_all((0..8).map(|_| app.refresh(&successors[0]))).await;
    for reply in replies {
        reply.ok();
    }
    assert_eq!(app.value(STATE).await, "2 f 0");
}

/// Attack 12. Fails as the one before, and when `DECIDE` does not lock the row.
#[tokio::test]
async fn parallel_reuse_ends_the_session_once_and_never_answers_otherwise() {
    let app = App::new().await;
    let first = signed_up(&app).await;
    let second = app.refresh(first.refresh_token()).await.ok();
    app.refresh(second.refresh_token()).await.ok();
    let replies = join_all((0..16).map(|_| app.refresh(first.refresh_token()))).await;
    let mut used = 0;
    for reply in replies {
        match reply.text("/code") {
            "refresh_token_already_used" => used += 1,
            code => assert_eq!(code, "refresh_token_not_found"),
        }
        assert_eq!(reply.status, 400);
    }
    assert_eq!(used, 1);
    assert!(app.audit().await.ends_with(" token_revoked"));
}

#[tokio::test]
async fn forged_tokens_are_refused_without_the_database() {
    let app = App::new().await;
    let first = signed_up(&app).await;
    app.db.close();
    let mut forged = first.refresh_token().to_owned();
    forged.replace_range(20..21, if &forged[20..21] == "A" { "B" } else { "A" });
    for token in [
        forged.as_str(),
        "unknown-token",
        "sbr_",
        "eyJhbGciOiJub25lIn0.e30.",
    ] {
        app.refresh(token)
            .await
            .refused(400, "refresh_token_not_found");
    }
    // A genuine one needs it: that is an obstacle that passes, not the end of the session.
    let reply = app.refresh(first.refresh_token()).await;
    reply.refused(503, "service_unavailable");
    assert_eq!(reply.header("retry-after"), "1");
}

/// Attack 12. Remove the line of `DECIDE` for a counter more than one ahead, and the token is good.
#[tokio::test]
async fn a_token_two_steps_behind_ends_the_session() {
    let app = App::new().await;
    let first = signed_up(&app).await;
    let second = app.refresh(first.refresh_token()).await.ok();
    let third = app.refresh(second.refresh_token()).await.ok();
    app.refresh(first.refresh_token())
        .await
        .refused(400, "refresh_token_already_used");
    app.refresh(third.refresh_token())
        .await
        .refused(400, "refresh_token_not_found");
    app.get_user(third.access_token())
        .await
        .refused(403, "session_not_found");
    assert_eq!(app.audit().await, "user_signedup token_revoked");
}

/// Attack 13. Remove `refresh_token_seen` from `DECIDE`, and this fails.
#[tokio::test]
async fn the_parent_of_a_token_that_came_back_ends_the_session() {
    let app = App::new().await;
    let first = signed_up(&app).await;
    let second = app.refresh(first.refresh_token()).await.ok();
    app.get_user(second.access_token()).await.ok();
    assert_eq!(app.value(STATE).await, "1 t 0");
    app.advance(11);
    app.refresh(first.refresh_token())
        .await
        .refused(400, "refresh_token_already_used");
    assert_eq!(app.value("select count(*) from auth.sessions").await, "0");
}

#[tokio::test]
async fn within_the_interval_the_parent_is_good_even_when_the_child_came_back() {
    let app = App::new().await;
    let first = signed_up(&app).await;
    let second = app.refresh(first.refresh_token()).await.ok();
    app.get_user(second.access_token()).await.ok();
    app.advance(10);
    let again = app.refresh(first.refresh_token()).await.ok();
    assert_eq!(again.refresh_token(), second.refresh_token());
    assert_eq!(app.value(STATE).await, "1 t 0");
}

#[tokio::test]
async fn an_older_access_token_does_not_use_up_the_parent() {
    let app = App::new().await;
    let first = signed_up(&app).await;
    app.refresh(first.refresh_token()).await.ok();
    app.get_user(first.access_token()).await.ok();
    assert_eq!(app.value(STATE).await, "1 f 0");
}

#[tokio::test]
async fn an_arrival_is_written_once() {
    let app = App::new().await;
    let first = signed_up(&app).await;
    let version = "select xmin from auth.sessions";
    let before = app.value(version).await;
    app.get_user(first.access_token()).await.ok();
    assert_eq!(app.value(version).await, before);
    let second = app.refresh(first.refresh_token()).await.ok();
    app.get_user(second.access_token()).await.ok();
    let noted = app.value(version).await;
    app.get_user(second.access_token()).await.ok();
    assert_eq!(app.value(version).await, noted);
}

/// Attack 13. Remove `refresh_token_reuse_count` from `DECIDE`, and a thief can do so for ever.
#[tokio::test]
async fn a_lost_response_can_be_repaired_three_times() {
    let app = App::new().await;
    let first = signed_up(&app).await;
    let lost = app.refresh(first.refresh_token()).await.ok();
    for _ in 0..3 {
        app.advance(3600);
        let repaired = app.refresh(first.refresh_token()).await.ok();
        assert_eq!(repaired.refresh_token(), lost.refresh_token());
    }
    assert_eq!(app.value(STATE).await, "1 f 3");
    app.advance(3600);
    app.refresh(first.refresh_token())
        .await
        .refused(400, "refresh_token_already_used");
}

/// Attack 13. Remove the age of the last refresh from `DECIDE`, and this fails.
#[tokio::test]
async fn a_lost_response_can_be_repaired_for_a_day() {
    let app = App::new().await;
    let first = signed_up(&app).await;
    app.refresh(first.refresh_token()).await.ok();
    app.advance(24 * 3600);
    app.refresh(first.refresh_token()).await.ok();
    app.advance(1);
    app.refresh(first.refresh_token())
        .await
        .refused(400, "refresh_token_already_used");
}

#[tokio::test]
async fn a_rotation_starts_the_count_anew() {
    let app = App::new().await;
    let first = signed_up(&app).await;
    app.refresh(first.refresh_token()).await.ok();
    app.advance(60);
    let second = app.refresh(first.refresh_token()).await.ok();
    let third = app.refresh(second.refresh_token()).await.ok();
    app.get_user(third.access_token()).await.ok();
    let fourth = app.refresh(third.refresh_token()).await.ok();
    assert_eq!(app.value(STATE).await, "3 f 0");
    app.refresh(fourth.refresh_token()).await.ok();
}

/// A crash, a failover or a restored backup can take the last rotations back. Fails when `ROTATE` asks for the very
/// counter of the row.
#[tokio::test]
async fn a_token_ahead_of_the_database_is_taken_for_the_current_one() {
    let app = App::new().await;
    let first = signed_up(&app).await;
    let second = app.refresh(first.refresh_token()).await.ok();
    app.owner
        .batch_execute("update auth.sessions set refresh_token_counter = 0")
        .await
        .unwrap();
    let third = app.refresh(second.refresh_token()).await.ok();
    assert_eq!(app.value(STATE).await, "2 f 0");
    // From here on all is as ever: two steps behind is reuse.
    let fourth = app.refresh(third.refresh_token()).await.ok();
    app.refresh(second.refresh_token())
        .await
        .refused(400, "refresh_token_already_used");
    app.refresh(fourth.refresh_token())
        .await
        .refused(400, "refresh_token_not_found");
}

/// Attack 15. Take the last use out of `ROTATE`'s condition, and this fails.
#[tokio::test]
async fn unused_refresh_tokens_expire() {
    let app = App::new().await;
    let first = signed_up(&app).await;
    app.advance(2_592_000 - 1);
    let second = app.refresh(first.refresh_token()).await.ok();
    app.advance(2_592_000 - 1);
    let third = app.refresh(second.refresh_token()).await.ok();
    app.advance(2_592_000);
    app.refresh(third.refresh_token())
        .await
        .refused(400, "session_expired");
}

/// Attack 15. Take `not_after` out of `ROTATE`'s condition, and this fails.
#[tokio::test]
async fn a_session_with_an_end_expires_there() {
    let app = App::new().await;
    let first = signed_up(&app).await;
    let sql = "update auth.sessions set not_after = '2026-01-01T13:00:00Z'";
    app.owner.batch_execute(sql).await.unwrap();
    app.advance(3599);
    let second = app.refresh(first.refresh_token()).await.ok();
    app.advance(1);
    app.refresh(second.refresh_token())
        .await
        .refused(400, "session_expired");
}

#[tokio::test]
async fn role_and_metadata_changes_apply_at_the_next_refresh() {
    let app =
        App::with_settings(&[("db.allowed_roles", "anon,authenticated,editor,service_role")]).await;
    let first = signed_up(&app).await;
    let change =
        json!({"role": "editor", "app_metadata": {"plan": "pro"}, "user_metadata": {"nick": "a"}});
    let path = format!("/{}", first.text("/user/id"));
    app.admin("PUT", &path, change).await.ok();
    let second = app.refresh(first.refresh_token()).await.ok();
    let claims = claims(second.access_token());
    assert_eq!(claims["role"], "editor");
    assert_eq!(claims["app_metadata"]["plan"], "pro");
    assert_eq!(claims["user_metadata"]["nick"], "a");
}

/// Attack 15. Fails when sessions outlive their user and neither `ROTATE` nor `DECIDE` reads the user.
#[tokio::test]
async fn a_deleted_user_cannot_refresh() {
    let app = App::new().await;
    let first = signed_up(&app).await;
    let path = format!("/{}", first.text("/user/id"));
    app.admin("DELETE", &path, json!({})).await.ok();
    app.refresh(first.refresh_token())
        .await
        .refused(400, "refresh_token_not_found");
    app.get_user(first.access_token())
        .await
        .refused(403, "user_not_found");
}

/// Attack 16. Fails when `DbError::is_transient` leaves it out, and clients are told 500.
#[tokio::test]
async fn a_locked_session_is_an_obstacle_that_passes() {
    let app = App::new().await;
    let sql = "do $$ begin execute format('alter role sb_auth in database %I set lock_timeout = ''50ms''', current_database()); end $$";
    app.owner.batch_execute(sql).await.unwrap();
    let first = signed_up(&app).await;
    app.owner
        .batch_execute("begin; select 1 from auth.sessions for update")
        .await
        .unwrap();
    let reply = app.refresh(first.refresh_token()).await;
    reply.refused(503, "service_unavailable");
    assert_eq!(reply.header("retry-after"), "1");
    app.owner.batch_execute("commit").await.unwrap();
    app.refresh(first.refresh_token()).await.ok();
}

/// Attack 16. Fails when `DbError::is_transient` leaves it out, and clients are told 500.
#[tokio::test]
async fn an_exhausted_pool_is_an_obstacle_that_passes() {
    let app = App::with(Options {
        pool_max_size: 1,
        pool_timeout: Duration::from_millis(50),
        ..Options::default()
    })
    .await;
    let first = signed_up(&app).await;
    let held = [
        app.db.auth().connection().await,
        app.db.auth().connection().await,
    ];
    let reply = app.refresh(first.refresh_token()).await;
    reply.refused(503, "service_unavailable");
    assert_eq!(reply.header("retry-after"), "1");
    drop(held);
    app.refresh(first.refresh_token()).await.ok();
}

/// Attack 16. Fails when the pool hands out connections that have ended, and `DbError::is_transient` does not know
/// them.
#[tokio::test]
async fn a_restarted_database_is_an_obstacle_that_passes() {
    let app = App::new().await;
    let first = signed_up(&app).await;
    let sql = "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'sb_auth' and datname = current_database()";
    app.owner.query(sql, &[]).await.unwrap();
    let mut token = first.refresh_token().to_owned();
    for _ in 0..6 {
        let reply = app.refresh(&token).await;
        if reply.status == 200 {
            token = reply.refresh_token().to_owned();
        } else {
            reply.refused(503, "service_unavailable");
        }
    }
    app.refresh(&token).await.ok();
}

#[tokio::test]
async fn a_missing_grant_is_no_reason_to_sign_out() {
    let app = App::new().await;
    let first = signed_up(&app).await;
    let revoke = "revoke update on auth.sessions from sb_auth";
    app.owner.batch_execute(revoke).await.unwrap();
    app.refresh(first.refresh_token())
        .await
        .refused(500, "unexpected_failure");
    let grant = "grant update on auth.sessions to sb_auth";
    app.owner.batch_execute(grant).await.unwrap();
    app.refresh(first.refresh_token()).await.ok();
}

#[tokio::test]
async fn a_cancelled_statement_is_an_obstacle_that_passes() {
    let app = App::new().await;
    let first = signed_up(&app).await;
    app.owner
        .batch_execute("begin; select 1 from auth.sessions for update")
        .await
        .unwrap();
    let cancelled = async {
        app.wait_for_blocked(1).await;
        let sql = "select pg_cancel_backend(pid) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
        app.owner.query(sql, &[]).await.unwrap();
    };
    let (reply, ()) = tokio::join!(app.refresh(first.refresh_token()), cancelled);
    reply.refused(503, "service_unavailable");
    app.owner.batch_execute("rollback").await.unwrap();
    app.refresh(first.refresh_token()).await.ok();
}
