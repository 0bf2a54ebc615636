//! A database per test. `SB_TEST_DATABASE_URL` is the owner of a scratch cluster.

use sb::clock::random_token;
use sb::config::{Config, Secret};
use sb::db::migrate::framework::{self, RolePasswords};
use sb::db::migrate::{MigrateError, Options};
use sb::db::{Connection, Db, DbOptions, Target, quote_identifier};
use sb::keys::MasterKey;

/// An empty database.
pub(crate) async fn fresh_database() -> Target {
    #[expect(
        clippy::disallowed_methods,
        reason = "tests are told where the cluster is"
    )]
    let url = std::env::var("SB_TEST_DATABASE_URL").expect("SB_TEST_DATABASE_URL is set");
    let target = Target::parse(&url).unwrap();
    let name = format!("sb_test_{}", random_token::<9>());
    let connection = Connection::open(&target).await.unwrap();
    let sql = format!("create database {}", quote_identifier(&name));
    connection.batch_execute(&sql).await.unwrap();
    target.with_database(&name)
}

/// A database with the framework's schema.
pub(crate) async fn database() -> Target {
    let target = fresh_database().await;
    apply_framework(&target).await.unwrap();
    target
}

pub(crate) async fn apply_framework(target: &Target) -> Result<Vec<String>, MigrateError> {
    framework::apply(target, &passwords(), &Options::new(&Config::default())).await
}

pub(crate) fn master() -> MasterKey {
    MasterKey::from_secret(&Secret::new("a master key for tests, long enough")).unwrap()
}

/// The roles belong to the cluster, so all tests use the same passwords.
pub(crate) fn passwords() -> RolePasswords {
    RolePasswords {
        authenticator: master().role_password("authenticator"),
        auth: master().role_password("sb_auth"),
    }
}

pub(crate) fn db(target: &Target) -> Db {
    let passwords = passwords();
    let second = std::time::Duration::from_secs(1);
    Db::new(DbOptions {
        owner: target.clone(),
        authenticator: target.with_user("authenticator", passwords.authenticator.expose()),
        auth: target.with_user("sb_auth", passwords.auth.expose()),
        pool_max_size: 2,
        pool_timeout: 10 * second,
        statement_timeout: 10 * second,
        allowed_roles: vec!["anon".to_owned()],
    })
}

/// Waits until `condition` holds; ten seconds are never reached unless it cannot.
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let mut ticks = tokio::time::interval(std::time::Duration::from_millis(10));
    for _ in 0..1_000 {
        if condition().await {
            return;
        }
        ticks.tick().await;
    }
    panic!("this never came true: {what}");
}
