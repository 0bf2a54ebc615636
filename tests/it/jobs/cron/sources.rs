//! Where schedules come from, and who may make them.

use sb::App;
use sb::config::cron::Cron as Entry;
use sb::jobs::{NewJob, Schedule};
use serde_json::json;

use super::Cron;

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_refused_when_they_are_written() {
    let cron = Cron::without_node().await;
    for (call, problem) in [
        (
            "'a', '61 * * * *', 'job'",
            "cron expression \"61 * * * *\": 61 is no minute, which goes from 0 to 59; the order is minute hour",
        ),
        (
            "'a', '0 9 * * 8', 'job'",
            "cron expression \"0 9 * * 8\": 8 is no day of the week, which goes from 0 to 7; ",
        ),
        (
            "'a', '* * * *', 'job'",
            "cron expression \"* * * *\" has 4 fields; it needs five: minute hour day month weekday",
        ),
        (
            "'a', '', 'job'",
            "cron expression \"\" has 0 fields; it needs five",
        ),
        (
            "'a', '*/0 * * * *', 'job'",
            "cron expression \"*/0 * * * *\": a step of 0 never ends; ",
        ),
        (
            "'a', 'every day * * *', 'job'",
            "cron expression \"every day * * *\": \"EVERY\" is no minute; ",
        ),
        (
            "'a', '@reboot', 'job'",
            "cron expression \"@reboot\" is unknown; the words are @hourly",
        ),
        (
            "'a', '@daily', 'job', time_zone => 'Europe/Berln'",
            "time zone \"Europe/Berln\" is unknown; use a name such as Europe/Berlin",
        ),
        ("'a', '@daily', ''", "a job needs a name"),
        (
            "'a', '@daily', 'job', payload => null",
            "the payload of a job is JSON, not null",
        ),
        (
            "'a', '@daily', 'job', queue => 'nowhere'",
            "queue \"nowhere\" does not exist; create it",
        ),
        (
            "'a', '@daily', 'job', overlap => 'maybe'",
            "overlap is \"maybe\"; allow starts another job",
        ),
        (
            "'a', '@daily', 'job', missed => 'maybe'",
            "missed is \"maybe\"; skip forgets",
        ),
    ] {
        let refused = cron.refused(&format!("select jobs.schedule({call})")).await;
        assert!(refused.starts_with(problem), "{call}: {refused}");
    }
    let direct = cron
        .refused(
            "insert into jobs.cron_schedules (name, cron_expr, job_name) values ('a', 'x', 'job')",
        )
        .await;
    assert!(
        direct.starts_with("cron expression \"x\" has 1 fields"),
        "{direct}"
    );
    assert_eq!(
        cron.refused("select jobs.unschedule('a')").await,
        "schedule \"a\" does not exist; select name from jobs.cron_schedules lists them"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_databases_check_refuses_nothing_that_the_parser_takes() {
    let cron = Cron::without_node().await;
    for expression in [
        "* * * * *",
        "*/5 1-10/3 1,15 jan-mar,DEC mon-fri",
        "0 0 L * *",
        "0 0 15W * *",
        "0 0 LW * *",
        "0 0 * * 5#2",
        "0 0 * * 5L",
        "0 0 * * fri#L",
        "30 */10 * * * *",
        "0 0 1 * +MON",
        "0 9 * * 7",
        "@hourly",
        "@Yearly",
        "  5 4 * * sun ",
    ] {
        sb::config::cron::Timetable::parse(expression, "UTC").unwrap();
        cron.sql(&format!("select jobs.check_cron('{expression}')"))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_trusted_roles_see_and_make_schedules() {
    let cron = Cron::without_node().await;
    cron.sql("select jobs.schedule('a', '@daily', 'job')").await;
    for role in ["anon", "authenticated"] {
        for statement in [
            "select jobs.schedule('b', '@daily', 'job')",
            "select jobs.unschedule('a')",
            "select count(*) from jobs.cron_schedules",
            "insert into jobs.cron_schedules (name, cron_expr, job_name) values ('b', '@daily', 'job')",
            "select count(*) from jobs.cron_runs",
            "insert into jobs.cron_runs (name, tick) values ('a', now())",
            "select count(*) from jobs.leader",
            "select jobs.now()",
            "select jobs.fire_schedule('a', 1, now(), array[now()], now())",
            "select jobs.run_schedule('a')",
            "select jobs.sync_schedules('config', '[]')",
            "select jobs.sync_pg_cron(true)",
            "select jobs.prune('0', '0', '0', 1)",
        ] {
            let refused = cron
                .refused(&format!("begin; set local role {role}; {statement}"))
                .await;
            assert!(
                refused.starts_with("permission denied"),
                "{role}: {statement}: {refused}"
            );
            cron.sql("rollback").await;
        }
    }
    // The service role makes schedules, and leaves ticks and sessions to the worker.
    cron.sql("begin; set local role service_role; select jobs.schedule('b', '@daily', 'job'); select jobs.unschedule('a'); commit").await;
    for statement in [
        "insert into jobs.cron_runs (name, tick) values ('b', now())",
        "select jobs.fire_schedule('b', 1, now(), array[now()], now())",
        "select jobs.prune('0', '0', '0', 1)",
    ] {
        let refused = cron
            .refused(&format!("begin; set local role service_role; {statement}"))
            .await;
        assert!(
            refused.starts_with("permission denied"),
            "{statement}: {refused}"
        );
        cron.sql("rollback").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_source_removes_what_is_its_own() {
    let mut cron = Cron::without_node().await;
    cron.sql("select jobs.schedule('by sql', '@daily', 'job'); select jobs.schedule('taken', '@daily', 'mine')").await;
    let by_app = |name: &str, expression: &str| {
        Schedule::new(name, expression, NewJob::new("job", json!({ "a": 1 })))
    };
    let sources = async |cron: &Cron| {
        cron.texts("select name || ' ' || source || ' ' || cron_expr from jobs.cron_schedules order by name").await
    };
    let app = App::new()
        .cron(by_app("by app", "0 1 * * *"))
        .cron(by_app("both", "0 1 * * *"));
    cron.start(app, |config| {
        config.cron = Some(vec![
            Entry {
                queue: Some("reports".to_owned()),
                ..Entry::new("by file", "0 2 * * *", "job")
            },
            Entry::new("both", "0 3 * * *", "job"),
            Entry::new("taken", "0 4 * * *", "job"),
        ]);
    })
    .await;
    assert_eq!(
        sources(&cron).await,
        [
            "both config 0 3 * * *",
            "by app app 0 1 * * *",
            "by file config 0 2 * * *",
            "by sql sql @daily",
            "sb.retention app 17 * * * *",
            "taken sql @daily",
        ]
    );
    // A pause survives a start, and so does what SQL has made; what is unchanged keeps its next tick.
    cron.sql("update jobs.cron_schedules set enabled = false where name = 'by app'")
        .await;
    let planned = "select count(*) from jobs.cron_schedules where next_fire_at is not null";
    crate::scratch::eventually("all are planned", async || cron.count(planned).await == 5).await;
    cron.stop().await;
    cron.start(App::new().cron(by_app("by app", "0 1 * * *")), |config| {
        config.cron = Some(Vec::new());
    })
    .await;
    assert_eq!(
        sources(&cron).await,
        [
            "by app app 0 1 * * *",
            "by sql sql @daily",
            "sb.retention app 17 * * * *",
            "taken sql @daily"
        ]
    );
    let paused = "select name from jobs.cron_schedules where not enabled or revision > 1 and name <> 'by app'";
    assert_eq!(cron.texts(paused).await, ["by app"]);
    // They belong to whoever wrote them.
    let refused = cron
        .refused("select jobs.schedule('by app', '@daily', 'job')")
        .await;
    assert_eq!(
        refused,
        "schedule \"by app\" comes from the program; change it there, or use another name"
    );
    cron.stop().await;
    // Without an sb.toml nothing is known about what should stand there.
    cron.sql("update jobs.cron_schedules set source = 'config' where name = 'by sql'")
        .await;
    cron.start(App::new(), |_| {}).await;
    assert_eq!(
        sources(&cron).await,
        [
            "by sql config @daily",
            "sb.retention app 17 * * * *",
            "taken sql @daily"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_with_an_impossible_schedule_does_not_start() {
    let cron = Cron::without_node().await;
    let app = App::new().cron(Schedule::new(
        "a",
        "61 * * * *",
        NewJob::new("job", json!({})),
    ));
    let Err(error) = app.build(cron.config()).await else {
        panic!("it was built");
    };
    let error = error.to_string();
    assert!(
        error.starts_with("schedule \"a\": cron expression \"61 * * * *\": "),
        "{error}"
    );
}
