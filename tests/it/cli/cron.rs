//! `sb cron`, as an operator types it.

use sb::db::Connection;
use serde_json::{Value, json};

use super::Sandbox;
use crate::support;

/// A project on a database of its own.
async fn project(toml: &str) -> (Sandbox, Connection) {
    let target = support::fresh_database().await;
    let owner = Connection::open(&target)
        .await
        .expect("postgres takes connections");
    let mut sandbox = Sandbox::with_project();
    sandbox.set("DATABASE_URL", &support::cluster().url(target.database()));
    sandbox.write("sb.toml", toml);
    (sandbox, owner)
}

#[tokio::test(flavor = "multi_thread")]
async fn schedules_are_synced_listed_run_and_paused() {
    let (sandbox, owner) = project(
        "[cron.nightly]\nschedule = \"30 3 * * *\"\ntime_zone = \"Europe/Berlin\"\njob = \"tidy\"\npayload = { days = 7 }\n",
    )
    .await;
    let none = sandbox.sb(&["cron", "list"]).succeeded();
    assert!(none.stderr.contains("no schedules"), "{none:#?}");
    let synced = sandbox.sb(&["cron", "sync"]).succeeded();
    assert_eq!(synced.stdout, "added nightly\n");
    let again = sandbox.sb(&["cron", "sync", "--json"]).succeeded();
    assert_eq!(again.json(), json!([]), "nothing has changed");

    let listed = sandbox.sb(&["cron", "list", "--json"]).succeeded().json();
    let nightly = &listed[0];
    for (key, value) in [
        ("name", json!("nightly")),
        ("schedule", json!("30 3 * * *")),
        ("time_zone", json!("Europe/Berlin")),
        ("in_words", json!("At 03:30.")),
        ("source", json!("config")),
        ("enabled", json!(true)),
        ("last_job_status", Value::Null),
        ("error", Value::Null),
    ] {
        assert_eq!(nightly[key], value, "{listed}");
    }
    assert_eq!(
        nightly["next"].as_array().map(Vec::len),
        Some(3),
        "{listed}"
    );
    let table = sandbox.sb(&["cron", "list"]).succeeded().stdout;
    let mut lines = table.lines();
    assert!(
        lines
            .next()
            .is_some_and(|head| head.starts_with("name     schedule    zone           next (UTC)")),
        "{table}"
    );
    assert!(
        lines.next().is_some_and(
            |row| row.starts_with("nightly  30 3 * * *  Europe/Berlin  20")
                && row.ends_with("  At 03:30.")
        ),
        "{table}"
    );

    let run = sandbox.sb(&["cron", "run", "nightly"]).succeeded();
    let id: i64 = run.stdout.trim().parse().expect("the id of the job");
    let sql = "select source || ' ' || name || ' ' || payload from jobs.pending where id = $1";
    let job: String = owner
        .query_one(sql, &[&id])
        .await
        .expect("the job waits")
        .get(0);
    assert_eq!(job, "cron:nightly tidy {\"days\": 7}");

    sandbox.sb(&["cron", "pause", "nightly"]).succeeded();
    let paused = sandbox.sb(&["cron", "list", "--json"]).succeeded().json();
    assert_eq!(
        (&paused[0]["enabled"], &paused[0]["next"]),
        (&json!(false), &json!([])),
        "{paused}"
    );
    assert_eq!(paused[0]["last_job_status"], "queued");
    sandbox.sb(&["cron", "sync"]).succeeded();
    assert!(
        sandbox
            .sb(&["cron", "list"])
            .succeeded()
            .stdout
            .contains("  paused  "),
        "a sync wakes nobody"
    );
    let resumed = sandbox
        .sb(&["cron", "resume", "nightly", "--json"])
        .succeeded();
    assert_eq!(
        resumed.json(),
        json!({ "name": "nightly", "enabled": true })
    );

    let unknown = sandbox.sb(&["cron", "run", "nigthly"]);
    let unknown = unknown.failed(
        1,
        "error: schedule \"nigthly\" does not exist; did you mean nightly?",
    );
    assert_eq!(unknown.last_line(), "sb cron list");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_list_does_not_wipe_the_table_by_accident() {
    let (sandbox, owner) =
        project("[[cron]]\nname = \"a\"\nschedule = \"@daily\"\njob = \"j\"\n").await;
    sandbox.sb(&["cron", "sync"]).succeeded();
    owner
        .batch_execute("select jobs.schedule('by sql', '@daily', 'j')")
        .await
        .expect("the owner may");
    sandbox.write("sb.toml", "");
    let refused = sandbox.sb(&["cron", "sync"]);
    let refused = refused.failed(
        1,
        "error: sb.toml has no schedules, and the database has 1 from an sb.toml",
    );
    assert!(
        refused
            .last_line()
            .starts_with("sb cron sync --allow-empty"),
        "{refused:#?}"
    );
    assert_eq!(
        sandbox
            .sb(&["cron", "sync", "--allow-empty"])
            .succeeded()
            .stdout,
        "removed a\n"
    );
    sandbox.write(
        "sb.toml",
        "[cron.\"by sql\"]\nschedule = \"@hourly\"\njob = \"j\"\n",
    );
    let taken = sandbox.sb(&["cron", "sync"]);
    assert_eq!(taken.stdout, "taken by sql\n");
    let taken = taken.failed(
        1,
        "error: schedule \"by sql\" was made with jobs.schedule, which stands",
    );
    assert!(
        taken
            .last_line()
            .starts_with("select jobs.unschedule('by sql');"),
        "{taken:#?}"
    );
}

#[test]
fn a_mistake_in_the_file_stops_every_command_before_it_begins() {
    let sandbox = Sandbox::with_project();
    sandbox.write(
        "sb.toml",
        "[cron.a]\nschedule = \"99 * * * *\"\njob = \"j\"\n[cron.b]\nschedul = \"@daily\"\njob = \"j\"\n",
    );
    for command in [&["dev"][..], &["cron", "list"], &["worker", "run"]] {
        let output = sandbox
            .sb(command)
            .failed(3, "error: the configuration is not valid:");
        for problem in [
            "- cron.a (sb.toml): cron expression \"99 * * * *\": ",
            "- sb.toml: unknown key cron.b.schedul; did you mean schedule?",
            "- sb.toml: cron.b has no schedule",
        ] {
            assert!(output.stderr.contains(problem), "{output:#?}");
        }
    }
}
