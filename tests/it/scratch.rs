//! What the tests of keys and migrations share: they stand below the application, on the database alone.

use sb::clock::random_token;
use sb::config::{Config, Secret};
use sb::db::migrate::framework::{self, RolePasswords};
use sb::db::migrate::{MigrateError, Options};
use sb::db::{Connection, Db, DbOptions, Target, quote_identifier};
use sb::keys::MasterKey;

use crate::support;

/// An empty database, without the framework's schema.
pub(crate) async fn empty_database() -> Target {
    let cluster = support::cluster();
    let name = format!("empty_{}", random_token::<9>());
    let owner = Connection::open(&cluster.database("postgres"))
        .await
        .unwrap();
    let sql = format!(
        "create database {} template template0",
        quote_identifier(&name)
    );
    owner.batch_execute(&sql).await.unwrap();
    cluster.database(&name)
}

pub(crate) async fn apply_framework(target: &Target) -> Result<Vec<String>, MigrateError> {
    framework::apply(target, &passwords(), &Options::new(&Config::default())).await
}

pub(crate) fn master() -> MasterKey {
    MasterKey::from_secret(&Secret::new(support::MASTER_KEY)).unwrap()
}

/// The roles belong to the cluster, so all tests use the same passwords.
pub(crate) fn passwords() -> RolePasswords {
    RolePasswords {
        authenticator: master().role_password("authenticator"),
        auth: master().role_password("sb_auth"),
        jobs: master().role_password("sb_jobs"),
        hooks: master().role_password("sb_hooks"),
    }
}

pub(crate) fn db(target: &Target) -> Db {
    let passwords = passwords();
    let second = std::time::Duration::from_secs(1);
    Db::new(DbOptions {
        owner: target.clone(),
        authenticator: target.with_user("authenticator", passwords.authenticator.expose()),
        auth: target.with_user("sb_auth", passwords.auth.expose()),
        jobs: target.with_user("sb_jobs", passwords.jobs.expose()),
        hooks: target.with_user("sb_hooks", passwords.hooks.expose()),
        jobs_pool_max_size: 2,
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
