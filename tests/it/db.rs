//! Transactions, pools and the listening connection.

use std::time::Duration;

use sb::db::{Db, DbError, DbOptions, Listener, Notice, Target};
use sb::identity::Caller;
use sb::lifecycle::Lifecycle;
use serde_json::json;

use crate::support::fresh_database;

fn db(target: &Target, size: usize) -> Db {
    Db::new(options(target, size))
}

fn options(target: &Target, size: usize) -> DbOptions {
    DbOptions {
        owner: target.clone(),
        authenticator: target.with_user("authenticator", ""),
        auth: target.with_user("sb_auth", ""),
        jobs: target.with_user("sb_jobs", ""),
        hooks: target.with_user("sb_hooks", ""),
        jobs_pool_max_size: 2,
        pool_max_size: size,
        pool_timeout: Duration::from_secs(5),
        statement_timeout: Duration::from_secs(30),
        allowed_roles: ["anon", "authenticated", "service_role"]
            .map(str::to_owned)
            .into(),
    }
}

fn user(id: &str) -> Caller {
    let claims = json!({ "role": "authenticated", "sub": id, "email": "ana@example.com" });
    Caller::from_claims(claims.as_object().expect("an object").clone())
}

const ANA: &str = "6f1f2ad0-61a1-4b29-9a5c-3f6fbc2d0a01";

#[tokio::test]
async fn a_transaction_carries_role_and_claims_and_the_legacy_settings() {
    let db = db(&fresh_database().await, 2);
    let tx = db.begin(&user(ANA)).await.unwrap();
    let row = tx
        .query_one(
            "select current_user::text, auth.uid()::text, auth.role(), auth.email()
                  , current_setting('request.jwt.claim.sub'), current_setting('request.jwt.claim.role')",
            &[],
        )
        .await
        .unwrap();
    let seen: Vec<String> = (0..6).map(|column| row.get(column)).collect();
    assert_eq!(
        seen,
        [
            "authenticated",
            ANA,
            "authenticated",
            "ana@example.com",
            ANA,
            "authenticated"
        ]
    );
    tx.commit().await.unwrap();
}

/// Remove `check_role`, and the token of a signing key that somebody has stolen can name any role.
#[tokio::test]
async fn roles_outside_the_list_are_refused_before_the_database_is_asked() {
    let db = db(&fresh_database().await, 1);
    for role in ["postgres", "sb_auth", "supabase_admin", "authenticator"] {
        let error = db.begin(&Caller::with_role(role)).await.unwrap_err();
        assert!(
            matches!(error, DbError::RoleNotAllowed(_)),
            "{role}: {error}"
        );
    }
}

#[tokio::test]
async fn committing_a_failed_transaction_is_an_error_and_the_connection_stays_usable() {
    let db = db(&fresh_database().await, 1);
    let tx = db.begin(&Caller::anon()).await.unwrap();
    tx.query("select 1/0", &[]).await.unwrap_err();
    assert!(matches!(tx.commit().await, Err(DbError::RolledBack)));
    assert!(
        db.begin(&Caller::anon())
            .await
            .unwrap()
            .query_one("select 1", &[])
            .await
            .is_ok()
    );
}

/// Requests are cancelled at every possible point, thousands of times, on a pool of three connections. Whatever
/// connection is handed out next must show neither role nor claims of anybody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_request_leaks_neither_role_nor_claims() {
    let db = db(&fresh_database().await, 3);
    let (mut cancelled, mut finished) = (0, 0);
    for round in 0..4000_u32 {
        // How far a request gets is decided by how often it is polled, not by a clock: every step is hit.
        match poll_at_most(request(&db, round % 3 == 0), round % 17).await {
            Some(result) => {
                result.unwrap();
                finished += 1;
            }
            None => cancelled += 1,
        }
        if round % 5 == 0 {
            assert_eq!(
                session_state(&db).await,
                ["authenticator", "", "", ""],
                "after {round} requests"
            );
        }
    }
    assert!(
        cancelled > 1000 && finished > 100,
        "{cancelled} cancelled, {finished} finished"
    );
}

async fn request(db: &Db, slow: bool) -> Result<(), DbError> {
    let tx = db.begin(&user(ANA)).await?;
    tx.query_one("select auth.uid()", &[]).await?;
    if slow {
        tx.query("select pg_sleep(0.001)", &[]).await?;
    }
    tx.commit().await
}

/// What a transaction would inherit: it sets nothing of its own but the role `anon`, which is read before.
async fn session_state(db: &Db) -> Vec<String> {
    let tx = db.begin(&Caller::anon()).await.unwrap();
    tx.batch_execute("rollback; begin").await.unwrap();
    let row = tx
        .query_one(
            "select current_user::text
                  , coalesce(current_setting('request.jwt.claims', true), '')
                  , coalesce(current_setting('request.jwt.claim.sub', true), '')
                  , coalesce(current_setting('request.jwt.claim.email', true), '')",
            &[],
        )
        .await
        .unwrap();
    tx.rollback().await.unwrap();
    (0..4).map(|column| row.get(column)).collect()
}

/// Polls `future` at most `times` times and then drops it where it stands.
async fn poll_at_most<F: Future>(future: F, times: u32) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    let mut left = times;
    std::future::poll_fn(|cx| {
        if left == 0 {
            return std::task::Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(cx).map(Some)
    })
    .await
}

#[tokio::test]
async fn a_pool_that_is_used_up_answers_in_time() {
    let target = fresh_database().await;
    let lifecycle = Lifecycle::new();
    let db = Db::new(DbOptions {
        pool_timeout: Duration::from_millis(50),
        ..options(&target, 1)
    });
    let held = db.begin(&Caller::anon()).await.unwrap();
    let error = db.begin(&Caller::anon()).await.unwrap_err();
    assert!(
        matches!(error, DbError::PoolTimeout) && error.is_transient(),
        "{error}"
    );
    held.rollback().await.unwrap();
    db.begin(&Caller::anon()).await.unwrap();
    lifecycle.stop(Duration::from_secs(1)).await;
}

#[tokio::test]
async fn the_listener_survives_the_loss_of_its_connection() {
    let target = fresh_database().await;
    let lifecycle = Lifecycle::new();
    let listener = Listener::start(target.clone(), &lifecycle);
    let mut notices = listener.subscribe("test channel");
    assert_eq!(notices.recv().await, Ok(Notice::Reconnected));
    let owner = sb::db::Connection::open(&target).await.unwrap();
    owner
        .batch_execute("notify \"test channel\", 'one'")
        .await
        .unwrap();
    assert_eq!(next_payload(&mut notices).await.as_deref(), Some("one"));
    let kill = "select pg_terminate_backend(pid) from pg_stat_activity
                 where application_name = 'sb listener' and datname = current_database()";
    owner.query(kill, &[]).await.unwrap();
    assert_eq!(notices.recv().await, Ok(Notice::Reconnected));
    owner
        .batch_execute("notify \"test channel\", 'two'")
        .await
        .unwrap();
    assert_eq!(next_payload(&mut notices).await.as_deref(), Some("two"));
    assert_eq!(lifecycle.stop(Duration::from_secs(5)).await, 0);
}

/// The next payload; the news that listening began may come more than once before it.
async fn next_payload(notices: &mut tokio::sync::broadcast::Receiver<Notice>) -> Option<String> {
    loop {
        match notices.recv().await {
            Ok(Notice::Payload(text)) => return Some(text.to_string()),
            Ok(Notice::Reconnected) => {}
            Err(_) => return None,
        }
    }
}

#[tokio::test]
async fn ddl_that_outdates_a_prepared_statement_costs_one_try() {
    let target = fresh_database().await;
    let db = db(&target, 1);
    let owner = db.owner().await.unwrap();
    let make = "create table public.changing (a int); grant select on public.changing to public";
    owner.batch_execute(make).await.unwrap();
    let sql = "select a from public.changing";
    let change = async |kind: &str| {
        let sql = format!("alter table public.changing alter column a type {kind}");
        owner.batch_execute(&sql).await.unwrap();
    };
    // The pools have one and two connections.
    let (one, two) = tokio::join!(db.auth().connection(), db.auth().connection());
    for connection in [&one.unwrap(), &two.unwrap()] {
        connection.query(sql, &[]).await.unwrap();
    }
    let tx = db.begin(&user(ANA)).await.unwrap();
    tx.query(sql, &[]).await.unwrap();
    tx.commit().await.unwrap();
    change("text").await;
    for _ in 0..2 {
        let connection = db.auth().connection().await.unwrap();
        let error = connection.query(sql, &[]).await.unwrap_err();
        assert!(error.is_transient(), "{error}");
    }
    let tx = db.begin(&user(ANA)).await.unwrap();
    let error = tx.query(sql, &[]).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    tx.rollback().await.unwrap();
    let connection = db.auth().connection().await.unwrap();
    connection.query(sql, &[]).await.unwrap();
    let tx = db.begin(&user(ANA)).await.unwrap();
    tx.query(sql, &[]).await.unwrap();
    tx.commit().await.unwrap();
}
