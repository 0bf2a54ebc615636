//! The framework's SQL against a cluster of its own (roles are cluster-wide): grants, leaks, key publication, and
//! migrations written the way Supabase projects write them; as superuser, and as the owner of a managed database.

use std::path::Path;
use std::process::Command;

use sb::db::Connection;

use crate::support::own_stack;

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_holds_for_a_superuser_and_for_a_managed_database() {
    let mut stack = own_stack("schema");
    let connection = stack.start_postgres().await.expect("postgres starts");
    let psql = connection.bin_dir.join("psql");
    run_checks(&psql, &connection.url());

    let owner = Connection::open(&target(&connection.url()))
        .await
        .expect("postgres takes connections");
    // Roles the first run made belong to the superuser; a managed database's owner makes its own.
    forget_roles(&owner).await;
    owner
        .batch_execute("create role manager login createrole createdb password 'manager'")
        .await
        .expect("a role is made");
    owner
        .batch_execute("create database managed owner manager")
        .await
        .expect("a database is made");
    let url = format!(
        "postgresql://manager:manager@127.0.0.1:{}/managed",
        connection.port
    );
    run_checks(&psql, &url);
    stack.stop().await;
}

fn target(url: &str) -> sb::db::Target {
    sb::db::Target::parse(url).expect("a valid url")
}

async fn forget_roles(owner: &Connection) {
    let roles = "anon, authenticated, service_role, authenticator, sb_auth, supabase_admin, supabase_auth_admin,
                 supabase_storage_admin, dashboard_user, guest";
    owner
        .batch_execute(&format!("drop role if exists {roles}"))
        .await
        .expect("no database uses them any more");
}

fn run_checks(psql: &Path, url: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sql/run.sh");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dir = psql.parent().expect("psql is in a folder");
    let output = Command::new("sh")
        .arg(script)
        .arg(url)
        .env("PATH", format!("{}:{}", dir.display(), path.display()))
        .output()
        .expect("sh runs");
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        output.status.success() && text.contains("all checks passed"),
        "{text}"
    );
}
