//! `sb jobs` and `sb worker run`, the real program on a database of its own.

use std::io::Write as _;
use std::net::TcpStream;

use rustix::process::Signal;
use sb::db::Connection;
use serde_json::{Value, json};

use super::client::get;
use super::{Sandbox, wait_until};
use crate::scratch::eventually;

/// A project on a migrated database, and the owner's connection.
async fn project() -> (Sandbox, Connection) {
    let (mut sandbox, target) = Sandbox::on_database().await;
    // Only what a worker is woken for runs soon.
    sandbox.set("JOBS_POLL_INTERVAL_S", "3600");
    // The example's own jobs are not the subject.
    sandbox.set("SB_MIGRATE_ON_START", "false");
    let owner = Connection::open(&target)
        .await
        .expect("postgres takes connections");
    (sandbox, owner)
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_enqueued_listed_and_shown() {
    let (sandbox, _owner) = project().await;
    let empty = sandbox.sb(&["jobs", "list"]).succeeded();
    assert_eq!((empty.stdout.as_str(), empty.first_line()), ("", "no jobs"));

    let mail = sandbox.sb(&[
        "jobs",
        "enqueue",
        "mail",
        "--payload",
        "{\"to\": \"ana\"}",
        "--priority",
        "-5",
    ]);
    assert_eq!(mail.succeeded().stdout, "1\n");
    let key = [
        "jobs",
        "enqueue",
        "later",
        "--delay",
        "1h",
        "--idempotency-key",
        "k",
        "--json",
    ];
    let later = sandbox.sb(&key).succeeded().json();
    assert_eq!(
        later,
        json!({ "id": 2, "queue": "default", "is_new": true })
    );
    let again = sandbox.sb(&key).succeeded();
    assert_eq!(
        (&again.json()["id"], &again.json()["is_new"]),
        (&json!(2), &json!(false))
    );
    assert_eq!(again.first_line(), "a job with this key is there already");

    let list = sandbox.sb(&["jobs", "list"]).succeeded();
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines: Vec<String> = list.stdout.lines().map(words).collect();
    assert_eq!(lines[0], "id status name queue attempts when last error");
    assert!(
        lines[1].starts_with("2 scheduled later default 0/3 in "),
        "{list:#?}"
    );
    assert!(
        lines[2].starts_with("1 queued mail default 0/3 "),
        "{list:#?}"
    );
    let listed = sandbox
        .sb(&["jobs", "list", "--status", "queued", "--json"])
        .succeeded()
        .json();
    assert_eq!(
        (
            listed["jobs"].as_array().unwrap().len(),
            &listed["jobs"][0]["priority"]
        ),
        (1, &json!(-5))
    );

    let shown = sandbox.sb(&["jobs", "show", "1"]).succeeded();
    assert!(shown.stdout.starts_with("job 1 queued\n"), "{shown:#?}");
    assert!(
        shown.stdout.contains("  payload       {\"to\":\"ana\"}"),
        "{shown:#?}"
    );
    assert_eq!(
        sandbox
            .sb(&["jobs", "show", "1", "--json"])
            .succeeded()
            .json()["name"],
        "mail"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_cancelled_retried_and_removed() {
    let (sandbox, _owner) = project().await;
    sandbox.sb(&["jobs", "enqueue", "mail"]).succeeded();
    sandbox
        .sb(&["jobs", "enqueue", "later", "--delay", "1h"])
        .succeeded();
    sandbox.sb(&["jobs", "cancel", "1", "2"]).succeeded();
    let twice = sandbox.sb(&["jobs", "cancel", "1", "99", "--json"]);
    assert_eq!(twice.code, Some(1), "{twice:#?}");
    assert_eq!(
        twice.json()["refused"][0],
        json!({ "id": 1, "message": "job 1 is over already: cancelled" })
    );
    assert_eq!(
        twice.json()["refused"][1]["message"],
        "job 99 does not exist"
    );

    let retried = sandbox.sb(&["jobs", "retry", "1"]).succeeded();
    assert_eq!(retried.first_line(), "✓ job 1 runs again");
    let all = sandbox
        .sb(&[
            "jobs",
            "retry",
            "--all",
            "--status",
            "cancelled",
            "--queue",
            "default",
        ])
        .succeeded();
    assert_eq!(all.first_line(), "✓ 1 job runs again");
    sandbox.sb(&["jobs", "cancel", "1"]).succeeded();

    let unasked = sandbox.sb(&["jobs", "purge"]);
    unasked.failed(
        2,
        "error: this removes 1 job for good, and there is no terminal to ask; nothing was removed",
    );
    assert_eq!(
        sandbox.sb(&["jobs", "purge", "--yes"]).succeeded().stdout,
        "1\n"
    );
    assert_eq!(
        sandbox
            .sb(&[
                "jobs", "purge", "--status", "queued", "--queue", "other", "--yes"
            ])
            .succeeded()
            .stdout,
        "0\n"
    );
    let waiting = sandbox
        .sb(&["jobs", "purge", "--status", "queued", "--yes", "--json"])
        .succeeded();
    assert_eq!(waiting.json(), json!({ "removed": 1 }));
    sandbox
        .sb(&["jobs", "purge", "--status", "running", "--yes"])
        .failed(2, "error: running jobs cannot be removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_are_paused_and_shown() {
    let (sandbox, _owner) = project().await;
    let unknown = sandbox.sb(&["jobs", "pause", "defautl"]);
    let line = "error: queue \"defautl\" does not exist; did you mean default?";
    assert_eq!(unknown.failed(2, line).last_line(), "sb jobs queues");
    sandbox.sb(&["jobs", "pause", "default"]).succeeded();
    sandbox.sb(&["jobs", "enqueue", "a"]).succeeded();
    let queues = sandbox.sb(&["jobs", "queues"]).succeeded();
    assert!(
        queues
            .stdout
            .contains("default  1       0          0        "),
        "{queues:#?}"
    );
    assert!(queues.stdout.trim_end().ends_with("paused"), "{queues:#?}");
    let again = sandbox
        .sb(&["jobs", "pause", "default", "--json"])
        .succeeded();
    assert_eq!(
        again.json(),
        json!({ "queue": "default", "paused": true, "changed": false })
    );
    sandbox.sb(&["jobs", "resume", "default"]).succeeded();
    let queues = sandbox.sb(&["jobs", "queues", "--json"]).succeeded().json();
    assert_eq!(
        (
            &queues["queues"][0]["paused"],
            &queues["queues"][0]["queued"]
        ),
        (&json!(false), &json!(1))
    );
    let nobody = sandbox.sb(&["jobs", "workers"]).succeeded();
    assert_eq!(
        (nobody.stdout.as_str(), nobody.first_line()),
        ("", "no worker is running")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_on_the_command_line_are_told() {
    let (sandbox, _owner) = project().await;
    for (arguments, words) in [
        (&["enqueue", "a", "--delay", "-5"][..], "is negative"),
        (&["enqueue", "a", "--delay", "soon"], "is not a duration"),
        (
            &["enqueue", "a", "--payload", "{"],
            "the payload is no JSON",
        ),
        (&["enqueue", "a", "--payload", "\"\\u0000\""], "NUL"),
        (
            &["enqueue", "a", "--queue", "nowhere"],
            "queue \"nowhere\" does not exist",
        ),
        (
            &["enqueue", "a", "--max-attempts", "0"],
            "max_attempts is 0, outside 1 to 1000",
        ),
        (
            &["enqueue", "a", "--priority", "40000"],
            "priority is 40000",
        ),
        (&["enqueue", ""], "a job needs a name"),
        (&["list", "--status", "done"], "invalid value 'done'"),
        (&["list", "--limit", "0"], "0 is not in 1..=500"),
        (&["retry"], "required arguments were not provided"),
        (
            &["retry", "--all", "--status", "succeeded"],
            "cannot be retried",
        ),
        (&["cancel", "x"], "invalid value 'x'"),
    ] {
        let output = sandbox.sb(&[&["jobs"], arguments].concat());
        assert_eq!(output.code, Some(2), "{arguments:?}: {output:#?}");
        assert!(output.stderr.contains(words), "{arguments:?}: {output:#?}");
    }
    let mut stdin = sandbox.command(
        &sandbox.path("app"),
        &["jobs", "enqueue", "a", "--payload", "-"],
    );
    let mut child = stdin.stdin(std::process::Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"\"\xff\"").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&output.stderr)
            .starts_with("error: the payload is not UTF-8 (byte 1)")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn watching_shows_a_line_or_an_object_for_each_look() {
    let (sandbox, owner) = project().await;
    sandbox.sb(&["jobs", "enqueue", "a"]).succeeded();
    let lines = sandbox
        .sb(&["jobs", "watch", "--count", "2", "--interval", "200ms"])
        .succeeded();
    assert_eq!(lines.stdout.lines().count(), 2, "{lines:#?}");
    assert!(lines.stdout.contains("queued 1 "), "{lines:#?}");
    let objects = sandbox
        .sb(&[
            "jobs",
            "watch",
            "--count",
            "2",
            "--interval",
            "200ms",
            "--json",
        ])
        .succeeded();
    for line in objects.stdout.lines() {
        let look: Value = serde_json::from_str(line).unwrap();
        assert_eq!(
            (&look["queues"][0]["queued"], &look["finished_per_s"]),
            (&json!(1), &json!(0.0))
        );
    }
    assert_eq!(objects.stdout.lines().count(), 2);

    let now = owner.query_one("select now()::text", &[]).await.unwrap();
    let begun: String = now.get(0);
    let mut endless = sandbox.spawn(&["jobs", "watch", "--interval", "1h"]);
    let looked = "select
         from pg_stat_activity a
         where a.datname = current_database()
           and a.query like '%from jobs.workers w%'
           and a.backend_start > $1::text::timestamptz
           and a.pid <> pg_backend_pid()";
    eventually("it has looked", async || {
        !owner.query(looked, &[&begun]).await.unwrap().is_empty()
    })
    .await;
    endless.signal(Signal::INT);
    assert!(endless.ends().success());
}

/// The formatter of supython's worker dropped every field; its lines held a message only.
#[tokio::test(flavor = "multi_thread")]
async fn weak_point_32_fields_of_job_lines_reach_the_log() {
    let (mut sandbox, owner) = project().await;
    sandbox.set("LOG_FORMAT", "json");
    sandbox.set("LOG_LEVEL", "debug");
    let mut worker = sandbox.spawn(&["worker", "run"]);
    worker.says("working on every queue");
    sandbox
        .sb(&[
            "jobs",
            "enqueue",
            "sql:public.nowhere",
            "--max-attempts",
            "1",
        ])
        .succeeded();
    let sql = "create function public.fine(payload jsonb) returns void language sql as ''";
    owner.batch_execute(sql).await.unwrap();
    sandbox
        .sb(&["jobs", "enqueue", "sql:public.fine"])
        .succeeded();
    worker.says("\"job failed\"");
    let words = worker.says("\"done\"");
    let lines = words
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let lines: Vec<Value> = lines.collect();
    let find = |message: &str| {
        let found = lines.iter().find(|line| line["message"] == message);
        found.unwrap_or_else(|| panic!("no line {message}: {words}"))
    };
    let failed = find("job failed");
    assert_eq!(
        (&failed["level"], &failed["outcome"]),
        (&json!("WARN"), &json!("failed"))
    );
    assert!(failed["duration_ms"].as_f64().is_some(), "{failed}");
    assert!(
        failed["error"].as_str().unwrap().contains("public.nowhere"),
        "{failed}"
    );
    let span = &failed["span"];
    assert_eq!(
        (&span["job.id"], &span["job.name"], &span["job.attempt"]),
        (&json!(1), &json!("sql:public.nowhere"), &json!(1))
    );
    let done = find("done");
    assert_eq!(
        (&done["span"]["job.id"], &done["level"]),
        (&json!(2), &json!("DEBUG"))
    );
    worker.signal(Signal::TERM);
    assert!(worker.ends().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_alone_serves_metrics_and_readiness_on_loopback() {
    let (sandbox, owner) = project().await;
    let mut worker = sandbox.spawn(&["worker", "run", "--metrics-port", "0"]);
    let words = worker.says("working on every queue");
    let (_, rest) = words.split_once("metrics on http://").unwrap();
    let address = rest.split_once("/metrics").unwrap().0.to_owned();
    assert!(address.starts_with("127.0.0.1:"), "{address}");
    assert!(get(&address, "sb", "/livez").starts_with("HTTP/1.1 200 "));
    let ready = get(&address, "sb", "/readyz");
    assert!(ready.starts_with("HTTP/1.1 200 "), "{ready}");
    assert!(
        ready.contains("\"worker\":{") && !ready.contains("postgrest"),
        "{ready}"
    );
    assert!(get(&address, "sb", "/jobs/v1/jobs").starts_with("HTTP/1.1 404 "));
    assert!(get(&address, "sb", "/metrics").contains("\nsb_jobs_workers_alive 1\n"));

    let sql = "create function public.fine(payload jsonb) returns void language sql as ''";
    owner.batch_execute(sql).await.unwrap();
    sandbox
        .sb(&["jobs", "enqueue", "sql:public.fine"])
        .succeeded();
    wait_until("the job was counted", || {
        let text = get(&address, "sb", "/metrics");
        text.contains("sb_jobs_finished_total{name=\"sql\",outcome=\"succeeded\"} 1")
            .then_some(())
    });
    let workers = sandbox.sb(&["jobs", "workers"]).succeeded();
    assert!(workers.stdout.starts_with("id  worker"), "{workers:#?}");

    worker.signal(Signal::TERM);
    assert!(worker.ends().success());
    assert!(TcpStream::connect(&address).is_err());
}
