//! `sb password rotate` under nodes that run, on a Postgres that asks for passwords.

use axum::body::Body;
use axum::http::Request;
use sb::app::Running;
use sb::config::Secret;
use sb::db::{Connection, Target};
use sb::keys::{MasterKey, role_passwords};
use sb::{App, Caller};
use serde_json::json;
use tower::ServiceExt as _;

use crate::scratch::eventually;
use crate::support::{MASTER_KEY, config, own_stack};

async fn node(url: &str) -> Running {
    let settings = [("db.migrate_on_start", "true")];
    App::new().build(config(url, &settings)).await.unwrap()
}

/// Whether every pool of a node reaches the database.
async fn serves(node: &Running) -> bool {
    let body = json!({"email": "ana@example.com", "password": "correct horse"}).to_string();
    let request = Request::post("/auth/v1/token?grant_type=password")
        .header("content-type", "application/json")
        .body(Body::from(body))
        .unwrap();
    let signed_in = node.router().oneshot(request).await.unwrap().status() == 200;
    let callers = node.db().begin(&Caller::anon()).await.is_ok();
    signed_in && callers && node.db().jobs().connection().await.is_ok()
}

/// Without a renewal of the targets the nodes would be locked out; without the version in `role_passwords`, the node that
/// starts afterwards would give the roles their old passwords back (weak point 29).
#[tokio::test(flavor = "multi_thread")]
async fn nodes_follow_a_change_of_their_passwords() {
    let mut stack = own_stack("passwords");
    let connection = stack.start_postgres().await.expect("postgres starts");
    let url = connection.url();
    let target = Target::parse(&url).unwrap();
    let (one, two) = (node(&url).await, node(&url).await);
    let body = json!({"email": "ana@example.com", "password": "correct horse"}).to_string();
    let request = Request::post("/auth/v1/signup").header("content-type", "application/json");
    let signed_up = one
        .router()
        .oneshot(request.body(Body::from(body)).unwrap());
    assert_eq!(signed_up.await.unwrap().status(), 200);
    assert!(serves(&one).await && serves(&two).await);

    let owner = Connection::open(&target).await.unwrap();
    let master = MasterKey::from_secret(&Secret::new(MASTER_KEY)).unwrap();
    let accepts = async |role: &str, password: &Secret| {
        let as_role = target.with_user(role, password.expose());
        Connection::open(&as_role).await.is_ok()
    };
    for role in role_passwords::ROLES {
        let old = role_passwords::current(&owner, &master, role)
            .await
            .unwrap();
        assert!(
            accepts(role, &old).await,
            "{role}: passwords are not asked for"
        );
        role_passwords::rotate(&owner, &master, role).await.unwrap();
        let new = role_passwords::current(&owner, &master, role)
            .await
            .unwrap();
        assert_ne!(old, new);
        assert!(
            !accepts(role, &old).await && accepts(role, &new).await,
            "{role}"
        );
    }
    // Open connections stay, so nothing is noticed until they end.
    assert!(serves(&one).await && serves(&two).await);
    let end = "select pg_terminate_backend(pid) from pg_stat_activity where usename in ('authenticator', 'sb_auth', 'sb_jobs')";
    owner.query(end, &[]).await.unwrap();
    for node in [&one, &two] {
        eventually("the node has new connections", async || serves(node).await).await;
    }
    // One that starts now does not turn the passwords back.
    let three = node(&url).await;
    assert!(serves(&three).await);
    for role in role_passwords::ROLES {
        let old = master.role_password(role);
        assert!(!accepts(role, &old).await, "{role}");
    }
    let other =
        MasterKey::from_secret(&Secret::new("another master key, long enough too")).unwrap();
    role_passwords::rotate(&owner, &other, "sb_auth")
        .await
        .unwrap_err();
    for node in [one, two, three] {
        node.shutdown().await;
    }
    stack.stop().await;
}
