//! Commands against a database that `DATABASE_URL` names.

use sb::db::Connection;

use super::Sandbox;
use crate::support;

#[tokio::test(flavor = "multi_thread")]
async fn reset_makes_a_named_database_anew() {
    let target = support::fresh_database().await;
    let url = support::cluster().url(target.database());
    let owner = Connection::open(&target)
        .await
        .expect("postgres takes connections");
    let sql = "create table public.notes (id int); insert into public.notes values (1), (2)";
    owner.batch_execute(sql).await.expect("the owner may");

    let mut sandbox = Sandbox::with_project();
    sandbox.set("DATABASE_URL", &url);
    sandbox.write("seed.sql", "select 1;\n\ninsert into nowhere values (1);\n");
    let broken = sandbox.sb(&["reset", "--yes"]);
    assert_eq!(broken.code, Some(1), "{broken:#?}");
    assert!(
        broken.stderr.contains("\n  public.notes (2 rows)\n"),
        "{broken:#?}"
    );
    let line = "\nerror: seed.sql:3: relation \"nowhere\" does not exist (SQLSTATE 42P01); none of it was kept\n";
    assert!(broken.stderr.contains(line), "{broken:#?}");

    sandbox.write(
        "seed.sql",
        "insert into auth.users (id, email) values (gen_random_uuid(), 'ana@example.com');\n",
    );
    let output = sandbox.sb(&["reset", "--yes"]).succeeded();
    assert!(
        output
            .stderr
            .contains("✓ applied migrations/20260101000000_todos.sql"),
        "{output:#?}"
    );
    assert!(output.stderr.contains("✓ applied seed.sql"), "{output:#?}");
    let listed = sandbox.sb(&["user", "list", "--json"]).succeeded().json();
    assert_eq!(listed["users"][0]["email"], "ana@example.com", "{listed}");
    let doctor = sandbox.sb(&["doctor"]).succeeded();
    assert!(
        doctor
            .stdout
            .contains("ok: project migrations: all 1 are applied\n"),
        "{doctor:#?}"
    );
}

#[test]
fn a_database_elsewhere_is_not_reset_by_accident() {
    let mut sandbox = Sandbox::with_project();
    sandbox.set(
        "DATABASE_URL",
        "postgresql://ana:hunter2@db.example.com/app",
    );
    let first =
        "error: DATABASE_URL names another machine: database app at db.example.com:5432 as ana";
    let output = sandbox.sb(&["reset", "--yes"]).failed(2, first);
    assert_eq!(
        output.last_line(),
        "sb reset --remote   # if its data may go"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_was_not_migrated_is_told_so() {
    let target = support::fresh_database().await;
    let owner = Connection::open(&target)
        .await
        .expect("postgres takes connections");
    owner
        .batch_execute("drop schema auth cascade; drop schema sb cascade")
        .await
        .expect("the owner may");
    let mut sandbox = Sandbox::with_project();
    sandbox.set("DATABASE_URL", &support::cluster().url(target.database()));
    for command in [
        &["keygen", "list"][..],
        &["keygen", "rotate"],
        &["user", "list"],
    ] {
        let output = sandbox
            .sb(command)
            .failed(5, "error: this database has not been migrated yet");
        assert_eq!(
            output.last_line(),
            "sb migrate   # makes the framework's tables"
        );
    }
    let doctor = sandbox.sb(&["doctor"]);
    assert_eq!(doctor.code, Some(1), "{doctor:#?}");
    assert!(
        doctor
            .stdout
            .contains("fail: framework migrations: not applied: V1__roles_and_schemas, "),
        "{doctor:#?}"
    );
}
