//! `sb password rotate authenticator` under a PostgREST that serves, on a Postgres that asks for passwords.

use chrono::{DateTime, Utc};
use sb::db::{Connection, Target};

use super::Sandbox;
use super::client::Load;
use crate::scratch::eventually;
use crate::support::own_stack;

/// Answers that must come before the story goes on.
const ENOUGH: usize = 30;

/// PostgREST makes each of its connections anew after a second here. Leave `keep_passfile` out of `bring_up`, and it has
/// none soon.
#[tokio::test(flavor = "multi_thread")]
async fn postgrest_follows_a_new_password_while_it_serves() {
    let mut stack = own_stack("postgrest-password");
    let connection = stack.start_postgres().await.expect("postgres starts");
    let target = Target::parse(&connection.url()).unwrap();
    let mut sandbox = Sandbox::with_project();
    sandbox.set("DATABASE_URL", &connection.url());
    sandbox.set("PGRST_DB_POOL_MAX_LIFETIME", "1");
    let state = sandbox.sb(&["up", "--json"]).succeeded().json();
    let owner = Connection::open(&target).await.unwrap();
    let readers = Load::start(&state, 2, "GET /rest/v1/todos", |_| String::new());
    readers.make_progress(ENOUGH);
    for _ in 0..3 {
        let arguments = ["password", "rotate", "authenticator"];
        sandbox.sb(&arguments).succeeded();
        let row = owner.query_one("select now() as rotated", &[]).await;
        let rotated: DateTime<Utc> = row.unwrap().get("rotated");
        let older = "select count(*) from pg_stat_activity where usename = 'authenticator' and query not ilike 'listen%' and backend_start <= $1";
        eventually("every connection has the new password", async || {
            owner
                .query_one(older, &[&rotated])
                .await
                .unwrap()
                .get::<_, i64>(0)
                == 0
        })
        .await;
        let calls = readers.make_progress(ENOUGH);
        let others: Vec<_> = calls
            .iter()
            .filter(|(_, status)| *status != Some(200))
            .collect();
        assert!(others.is_empty(), "{others:?}");
    }
    readers.stop();
    sandbox.sb(&["down"]).succeeded();
    stack.stop().await;
}
