//! Migrations against a real database: what is applied, what is refused, what is kept.

use std::path::PathBuf;
use std::time::Duration;

use chrono::{TimeZone as _, Utc};
use sb::clock::Clock;
use sb::config::{Config, DefaultGrants};
use sb::db::migrate::project::{self, Applied, State};
use sb::db::migrate::{MigrateError, Options, framework};
use sb::db::{Connection, Target};

use crate::scratch::{apply_framework, empty_database, passwords};
use crate::support::fresh_database;

struct Project {
    target: Target,
    owner: Connection,
    folder: tempfile::TempDir,
    options: Options,
}

impl Project {
    async fn new(files: &[(&str, &str)]) -> Self {
        let target = fresh_database().await;
        let project = Self {
            owner: Connection::open(&target).await.unwrap(),
            target,
            folder: tempfile::tempdir().unwrap(),
            options: Options::new(&Config::default()),
        };
        std::fs::create_dir(project.dir()).unwrap();
        for (name, text) in files {
            project.write(name, text);
        }
        project
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("migrations")
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.dir().join(name), text).unwrap();
    }

    async fn apply(&self) -> Result<Vec<Applied>, MigrateError> {
        apply_as(&self.owner, self).await
    }

    async fn refusal(&self) -> String {
        self.apply().await.unwrap_err().to_string()
    }

    async fn states(&self) -> Vec<(String, State)> {
        let status = project::status(&self.owner, &self.dir()).await.unwrap();
        status
            .into_iter()
            .map(|line| (line.version, line.state))
            .collect()
    }

    async fn exists(&self, relation: &str) -> bool {
        let sql = "select to_regclass($1) is not null as known";
        self.owner
            .query_one(sql, &[&relation])
            .await
            .unwrap()
            .get("known")
    }
}

async fn apply_as(owner: &Connection, project: &Project) -> Result<Vec<Applied>, MigrateError> {
    let clock = Clock::test(Utc.timestamp_opt(1_800_000_000, 0).unwrap());
    project::apply(owner, &project.dir(), &project.options, &clock).await
}

fn state(version: &str, state: State) -> (String, State) {
    (version.to_owned(), state)
}

#[tokio::test]
async fn the_framework_is_applied_once_and_its_roles_can_log_in() {
    let target = empty_database().await;
    assert_eq!(apply_framework(&target).await.unwrap(), framework::names());
    assert_eq!(
        apply_framework(&target).await.unwrap(),
        Vec::<String>::new()
    );
    let passwords = passwords();
    for (role, password) in [
        ("authenticator", passwords.authenticator),
        ("sb_auth", passwords.auth),
        ("sb_hooks", passwords.hooks),
    ] {
        let as_role = target.with_user(role, password.expose());
        let row = Connection::open(&as_role)
            .await
            .unwrap()
            .query_one("select current_user::text as role", &[])
            .await;
        assert_eq!(row.unwrap().get::<_, String>("role"), role);
    }
}

#[tokio::test]
async fn processes_that_start_at_once_apply_the_framework_once() {
    let target = empty_database().await;
    let starts = (0..3).map(|_| apply_framework(&target));
    let results = futures_util::future::join_all(starts).await;
    let applied: Vec<String> = results.into_iter().flat_map(Result::unwrap).collect();
    assert_eq!(applied, framework::names());
}

#[tokio::test]
async fn a_database_of_a_newer_release_is_accepted_and_one_of_another_build_is_not() {
    let target = fresh_database().await;
    let owner = Connection::open(&target).await.unwrap();
    let sql = "insert into sb.schema_history select 9999, 'future', applied_on, checksum from sb.schema_history where version = 1";
    owner.batch_execute(sql).await.unwrap();
    assert!(apply_framework(&target).await.unwrap().is_empty());
    let sql = "update sb.schema_history set checksum = '1' where version = 1";
    owner.batch_execute(sql).await.unwrap();
    let error = apply_framework(&target).await.unwrap_err().to_string();
    assert!(error.contains("V1__roles_and_schemas"), "{error}");
}

#[tokio::test]
async fn files_are_applied_in_order_each_once() {
    let project = Project::new(&[
        (
            "20240102000000_rows.sql",
            "\u{feff}insert into public.todos (title) values ('a;b');\r\n",
        ),
        (
            "20240101000000_todos.sql",
            "create table todos (id bigint generated always as identity, title text);\n",
        ),
        ("20240103000000_empty.sql", "-- nothing yet\n"),
    ])
    .await;
    assert_eq!(
        project.states().await[0],
        state("20240101000000", State::Pending)
    );
    let files: Vec<String> = project
        .apply()
        .await
        .unwrap()
        .into_iter()
        .map(|a| a.file)
        .collect();
    let expected = [
        "20240101000000_todos",
        "20240102000000_rows",
        "20240103000000_empty",
    ];
    assert_eq!(files, expected.map(|name| format!("migrations/{name}.sql")));
    assert_eq!(project.apply().await.unwrap(), []);
    assert!(
        project
            .states()
            .await
            .iter()
            .all(|(_, state)| *state == State::Applied)
    );
    let row = project
        .owner
        .query_one("select count(*) as n from public.todos", &[])
        .await
        .unwrap();
    assert_eq!(row.get::<_, i64>("n"), 1);
}

#[tokio::test]
async fn two_runners_at_once_apply_each_file_once() {
    let project = Project::new(&[]).await;
    for number in 1..=5 {
        project.write(
            &format!("{number}_t.sql"),
            &format!("create table t{number} ();"),
        );
    }
    let runners = futures_util::future::join_all((0..3).map(|_| async {
        let owner = Connection::open(&project.target).await.unwrap();
        apply_as(&owner, &project).await.unwrap().len()
    }));
    assert_eq!(runners.await.iter().sum::<usize>(), 5);
}

#[tokio::test]
async fn a_runner_that_waits_too_long_says_for_whom() {
    let mut project = Project::new(&[]).await;
    project.options.lock_wait = Duration::from_millis(100);
    let busy = Connection::open(&project.target).await.unwrap();
    let sql =
        "set application_name = 'busy'; select pg_advisory_lock(hashtextextended('sb.migrate', 0))";
    busy.batch_execute(sql).await.unwrap();
    let error = project.refusal().await;
    assert!(
        error.contains("another process is migrating") && error.contains("application busy"),
        "{error}"
    );
    let sql = "select pg_advisory_unlock(hashtextextended('sb.migrate', 0))";
    busy.batch_execute(sql).await.unwrap();
    assert!(project.apply().await.is_ok());
}

#[tokio::test]
async fn a_failing_file_leaves_nothing_and_is_named_with_line_and_reason() {
    let project = Project::new(&[
        ("1_good.sql", "create table good ();"),
        (
            "2_bad.sql",
            "create table half ();\n\n-- über\ncreate table bad (\n  id integr\n);\n",
        ),
        ("3_never.sql", "create table never ();"),
    ])
    .await;
    let error = project.refusal().await;
    assert_eq!(
        error,
        "migrations/2_bad.sql:5: type \"integr\" does not exist (SQLSTATE 42704)\n  nothing of this file was kept; correct it and try again (a running `sb dev` does when you save it)"
    );
    assert!(
        project.exists("good").await
            && !project.exists("half").await
            && !project.exists("never").await
    );
    let expected = [
        state("1", State::Applied),
        state("2", State::Pending),
        state("3", State::Pending),
    ];
    assert_eq!(project.states().await, expected);
    project.write("2_bad.sql", "create table bad (id int);");
    assert_eq!(project.apply().await.unwrap().len(), 2);
}

#[tokio::test]
async fn errors_at_run_time_name_the_statement_and_what_postgres_adds() {
    let project = Project::new(&[(
        "1_a.sql",
        "create table a (id int primary key);\ninsert into a values (1);\n\ninsert into a\n  values (1);\n",
    )])
    .await;
    let error = project.refusal().await;
    assert!(
        error.starts_with("migrations/1_a.sql:4: duplicate key value"),
        "{error}"
    );
    assert!(
        error.contains("\n  detail: Key (id)=(1) already exists."),
        "{error}"
    );

    project.write(
        "1_a.sql",
        "select 1;\ndo $$\nbegin\n  raise exception 'no' using hint = 'try yes';\nend $$;",
    );
    let error = project.refusal().await;
    assert!(
        error.starts_with("migrations/1_a.sql:2: no (SQLSTATE P0001)"),
        "{error}"
    );
    assert!(
        error.contains("\n  hint: try yes\n  in: PL/pgSQL function inline_code_block line 3"),
        "{error}"
    );

    project.write("1_a.sql", "create table a (id int primary key, b int references a deferrable initially deferred);\ninsert into a values (1, 2);");
    let error = project.refusal().await;
    assert!(
        error.starts_with("migrations/1_a.sql:2: insert or update on table \"a\" violates"),
        "{error}"
    );
    assert!(!project.exists("a").await);
}

#[tokio::test]
async fn an_edited_or_missing_file_is_refused_by_name() {
    let project = Project::new(&[
        ("1_a.sql", "create table a ();"),
        ("2_b.sql", "create table b ();"),
    ])
    .await;
    project.apply().await.unwrap();
    project.write("1_a.sql", "create table a (id int);");
    std::fs::remove_file(project.dir().join("2_b.sql")).unwrap();
    project.write("3_c.sql", "create table c ();");
    let expected = [
        state("1", State::Edited),
        state("2", State::Missing),
        state("3", State::Pending),
    ];
    assert_eq!(project.states().await, expected);
    let error = project.refusal().await;
    assert!(error.contains("migrations/1_a.sql: was edited"), "{error}");
    assert!(
        error.contains("2_b: was applied, but the file is gone"),
        "{error}"
    );
    assert!(!project.exists("c").await);
}

#[tokio::test]
async fn a_file_from_a_merged_branch_is_applied_out_of_order() {
    let project = Project::new(&[("2_b.sql", "create table b ();")]).await;
    project.apply().await.unwrap();
    project.write("1_a.sql", "create table a ();");
    assert_eq!(project.states().await[0], state("1", State::OutOfOrder));
    assert!(project.apply().await.unwrap()[0].out_of_order);
}

#[tokio::test]
async fn without_a_transaction_statements_run_one_by_one() {
    let project = Project::new(&[(
        "1_a.sql",
        "-- sb: no-transaction\ncreate table a (id int);\ncreate index concurrently a_id on a (id);\nvacuum a;\n",
    )])
    .await;
    project.apply().await.unwrap();
    assert!(project.exists("a_id").await);
    project.write("2_in.sql", "vacuum a;");
    let error = project.refusal().await;
    assert!(error.contains("-- sb: no-transaction"), "{error}");
}

#[tokio::test]
async fn a_half_applied_file_is_known_as_such_until_somebody_looked() {
    let project = Project::new(&[(
        "1_a.sql",
        "-- sb: no-transaction\ncreate table a ();\ncreate table a ();\ncreate table b ();",
    )])
    .await;
    let error = project.refusal().await;
    assert!(
        error.starts_with("migrations/1_a.sql:3: relation \"a\" already exists"),
        "{error}"
    );
    assert_eq!(project.states().await, [state("1", State::Half)]);
    let error = project.refusal().await;
    assert!(
        error.contains("only its first 1 statements were applied"),
        "{error}"
    );
    let sql = "drop table a; delete from sb.project_migrations where version = '1'";
    project.owner.batch_execute(sql).await.unwrap();
    project.write("1_a.sql", "-- sb: no-transaction\ncreate tabel a ();");
    assert!(
        project
            .refusal()
            .await
            .contains("nothing of this file was kept")
    );
    assert_eq!(project.states().await, [state("1", State::Pending)]);
    project.write(
        "1_a.sql",
        "-- sb: no-transaction\nbegin;\nselect 1;\nselect 1/0;\ncommit;",
    );
    assert!(
        project
            .refusal()
            .await
            .contains("migrations/1_a.sql:4: division by zero")
    );
    assert!(
        project.apply().await.is_err(),
        "the connection is usable and the file half applied"
    );
}

#[tokio::test]
async fn what_a_file_sets_for_the_session_ends_with_it() {
    let project = Project::new(&[
        ("1_a.sql", "select pg_catalog.set_config('search_path', '', false);\nset role anon;\nset statement_timeout = 1;"),
        ("2_b.sql", "create table b ();\nselect pg_sleep(0.05);"),
        ("3_c.sql", "-- sb: no-transaction\nset search_path = '';\nset statement_timeout = 1000;"),
        ("4_d.sql", "create table d ();"),
    ])
    .await;
    project.apply().await.unwrap();
    assert!(project.exists("public.b").await && project.exists("public.d").await);
}

#[tokio::test]
async fn new_tables_are_granted_and_guarded_and_the_api_is_told() {
    let project = Project::new(&[("1_a.sql", "create table todos (id int);")]).await;
    let lifecycle = sb::lifecycle::Lifecycle::new();
    let listener = sb::db::Listener::start(project.target.clone(), &lifecycle);
    let mut notices = listener.subscribe("pgrst");
    assert_eq!(notices.recv().await.unwrap(), sb::db::Notice::Reconnected);
    project.apply().await.unwrap();
    let told = sb::db::Notice::Payload("reload schema".into());
    while notices.recv().await.unwrap() != told {}
    let sql = "
        select relrowsecurity as guarded
             , has_table_privilege('anon', oid, 'select') as granted
          from pg_class
         where oid = 'public.todos'::regclass";
    let row = project.owner.query_one(sql, &[]).await.unwrap();
    assert_eq!((row.get("guarded"), row.get("granted")), (true, true));
}

#[tokio::test]
async fn strict_grants_are_what_the_migration_says() {
    let mut project = Project::new(&[("1_a.sql", "create table todos (id int);")]).await;
    project.options.default_grants = DefaultGrants::None;
    framework::apply(&project.target, &passwords(), &project.options)
        .await
        .unwrap();
    project.apply().await.unwrap();
    let sql = "select has_table_privilege('anon', 'public.todos', 'select') as granted";
    let row = project.owner.query_one(sql, &[]).await.unwrap();
    assert!(!row.get::<_, bool>("granted"));
}

#[tokio::test]
async fn every_construct_that_hides_a_semicolon_arrives_whole() {
    let project = Project::new(&[(
        "1_a.sql",
        "create function f(x int) returns text language sql begin atomic\n  select case when x > 0 then 'a;' else E'b\\';' end;\nend;\n
         create function g() returns text language plpgsql as $body$ begin return $$;$$; end $body$;
         create table t (a text default ';');\n
         create rule r as on delete to t do also (insert into t values (';'); select 1);\n
         select f(1), g(); /* ; /* ; */ */",
    )])
    .await;
    project.apply().await.unwrap();
    let row = project
        .owner
        .query_one("select public.f(0) || public.g() as text", &[])
        .await
        .unwrap();
    assert_eq!(row.get::<_, String>("text"), "b';;");
}
