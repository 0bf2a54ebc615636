//! Missed ticks, jobs that are not over, changes while the scheduler sleeps.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sb::App;
use sb::jobs::Kind;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::Cron;
use crate::scratch::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_decides_about_missed_ticks() {
    let mut cron = Cron::at("2027-05-01 10:10Z").await;
    cron.sql(
        "select jobs.schedule('skip', '0 * * * *', 'job', missed => 'skip');
         select jobs.schedule('latest', '0 * * * *', 'job');
         select jobs.schedule('all', '0 * * * *', 'job', missed => 'all');
         select jobs.schedule('some', '0 * * * *', 'job', missed => 'all', missed_window => '2 hours')",
    )
    .await;
    cron.move_clock_to("2027-05-01 11:00:10Z").await;
    cron.stop().await;
    cron.sql("update public.clock set now = '2027-05-01 15:30Z'")
        .await;
    cron.start(App::new(), |_| {}).await;
    cron.settled().await;
    let on_time = "05-01 11:00";
    assert_eq!(cron.ticks("skip").await, [on_time]);
    assert_eq!(cron.ticks("latest").await, [on_time, "05-01 15:00"]);
    assert_eq!(
        cron.ticks("all").await,
        [
            on_time,
            "05-01 12:00",
            "05-01 13:00",
            "05-01 14:00",
            "05-01 15:00"
        ]
    );
    assert_eq!(
        cron.ticks("some").await,
        [on_time, "05-01 14:00", "05-01 15:00"]
    );
    // All of them go on alike.
    cron.move_clock_to("2027-05-01 16:00Z").await;
    for name in ["skip", "latest", "all", "some"] {
        assert_eq!(
            cron.ticks(name).await.last().map(String::as_str),
            Some("05-01 16:00"),
            "{name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_decides_while_the_last_job_waits() {
    let cron = Cron::at("2027-05-01 10:00:30Z").await;
    cron.sql(
        "select jobs.schedule('allow', '* * * * *', 'job');
         select jobs.schedule('skip', '* * * * *', 'job', overlap => 'skip');
         select jobs.schedule('replace', '* * * * *', 'job', overlap => 'replace')",
    )
    .await;
    cron.settled().await;
    for minute in 1..=3 {
        cron.move_clock_to(&format!("2027-05-01 10:0{minute}Z"))
            .await;
    }
    let jobs = async |name: &str| {
        cron.texts(&format!(
            "select status::text from jobs.jobs where source = 'cron:{name}' order by id"
        ))
        .await
    };
    assert_eq!(jobs("allow").await, ["queued", "queued", "queued"]);
    assert_eq!(jobs("skip").await, ["queued"]);
    assert_eq!(
        cron.ticks("skip").await,
        ["05-01 10:01", "05-01 10:02 skipped", "05-01 10:03 skipped"]
    );
    assert_eq!(jobs("replace").await, ["cancelled", "cancelled", "queued"]);
    // When it is over, skip goes on.
    cron.sql("select jobs.cancel(id) from jobs.pending where source = 'cron:skip'")
        .await;
    cron.move_clock_to("2027-05-01 10:04Z").await;
    assert_eq!(jobs("skip").await, ["cancelled", "queued"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_job_is_replaced_by_the_next_one_once_it_has_ended() {
    let mut cron = Cron::without_node().await;
    cron.stop_clock_at("2027-05-01 10:00:30Z").await;
    let (begun, most) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(1)));
    let (begins, alone) = (Arc::clone(&begun), Arc::clone(&most));
    let app = App::new().job_fn(Kind::new("endless"), move |_, _| {
        let (begins, alone) = (Arc::clone(&begins), Arc::clone(&alone));
        async move {
            let _alone = alone.try_acquire_owned().expect("only one runs at a time");
            begins.add_permits(1);
            std::future::pending::<()>().await;
            Ok(Value::Null)
        }
    });
    cron.start(app, |_| {}).await;
    cron.sql("select jobs.schedule('endless', '* * * * *', 'endless', overlap => 'replace')")
        .await;
    cron.settled().await;
    for minute in 1..=2 {
        cron.move_clock_to(&format!("2027-05-01 10:0{minute}Z"))
            .await;
        begun.acquire().await.unwrap().forget();
    }
    let states = cron
        .texts("select status::text from jobs.jobs order by id")
        .await;
    assert_eq!(states, ["cancelled", "running"]);
    cron.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_wakes_the_scheduler_and_fires_nothing_of_the_past() {
    let mut cron = Cron::without_node().await;
    cron.stop_clock_at("2027-05-01 10:00Z").await;
    cron.start(App::new(), |config| config.jobs.cron_poll_interval_s = 30.0)
        .await;
    cron.sql("select jobs.schedule('a', '0 12 * * *', 'job')")
        .await;
    let started = Instant::now();
    for hour in 13..=18 {
        cron.sql(&format!(
            "select jobs.schedule('a', '0 {hour} * * *', 'job')"
        ))
        .await;
        cron.settled().await;
    }
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "the scheduler looked only when it renewed its lease"
    );
    // In one moment the tick comes and the expression changes to one whose time is over.
    cron.sql(
        "begin;
         update public.clock set now = '2027-05-01 18:30Z';
         select jobs.schedule('a', '0 17 * * *', 'job');
         commit",
    )
    .await;
    cron.settled().await;
    assert!(cron.ticks("a").await.is_empty());
    cron.sql(
        "update public.clock set now = '2027-05-02 17:00:20Z'; select pg_notify('sb_cron', '')",
    )
    .await;
    cron.settled().await;
    assert_eq!(cron.ticks("a").await, ["05-02 17:00"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_schedule_goes_on_with_the_ticks_to_come() {
    let cron = Cron::at("2027-05-01 10:00:30Z").await;
    cron.sql("select jobs.schedule('a', '* * * * *', 'job', missed => 'all')")
        .await;
    cron.move_clock_to("2027-05-01 10:01Z").await;
    cron.sql("update jobs.cron_schedules set enabled = false where name = 'a'")
        .await;
    cron.move_clock_to("2027-05-01 10:10:30Z").await;
    // A schedule that is given again stays as it is.
    cron.sql("select jobs.schedule('a', '* * * * *', 'job', missed => 'all')")
        .await;
    cron.move_clock_to("2027-05-01 10:11:30Z").await;
    assert_eq!(cron.ticks("a").await, ["05-01 10:01"]);
    cron.sql("update jobs.cron_schedules set enabled = true where name = 'a'")
        .await;
    cron.move_clock_to("2027-05-01 10:12:30Z").await;
    assert_eq!(cron.ticks("a").await, ["05-01 10:01", "05-01 10:12"]);
    // With the tick the schedule disappears, its jobs do not.
    cron.sql("select jobs.unschedule('a')").await;
    assert_eq!(cron.count("select count(*) from jobs.pending").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_cannot_be_enqueued_is_told_and_stops_nothing() {
    let cron = Cron::at("2027-05-01 10:00:30Z").await;
    cron.sql(
        "select jobs.create_queue('short');
         select jobs.schedule('a', '* * * * *', 'job', queue => 'short');
         select jobs.schedule('b', '* * * * *', 'job');
         delete from jobs.queues where name = 'short'",
    )
    .await;
    cron.move_clock_to("2027-05-01 10:01Z").await;
    assert_eq!(cron.ticks("a").await, ["05-01 10:01 failed"]);
    assert_eq!(cron.ticks("b").await, ["05-01 10:01"]);
    let error = cron
        .texts("select error from jobs.cron_schedules where name = 'a'")
        .await;
    assert_eq!(error, ["queue \"short\" does not exist"]);
    cron.sql("select jobs.create_queue('short')").await;
    cron.move_clock_to("2027-05-01 10:02Z").await;
    assert_eq!(cron.ticks("a").await[1..], ["05-01 10:02"]);
    assert_eq!(
        cron.count("select count(*) from jobs.cron_schedules where error is not null")
            .await,
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_only_the_parser_refuses_is_told_on_the_row() {
    let cron = Cron::at("2027-05-01 10:00:30Z").await;
    // To Postgres the abbreviation is a zone.
    cron.sql("select jobs.schedule('a', '0 0 30 2 *', 'job'); select jobs.schedule('b', '0 0 * * *', 'job', time_zone => 'CEST')")
        .await;
    eventually("both are refused", async || {
        cron.count("select count(*) from jobs.cron_schedules where error is not null and next_fire_at is null").await == 2
    })
    .await;
    let errors = cron
        .texts("select error from jobs.cron_schedules where source = 'sql' order by name")
        .await;
    assert_eq!(
        errors,
        [
            "this expression names no time that will come",
            "time zone \"CEST\" is unknown; use a name such as Europe/Berlin"
        ]
    );
    // A repair is a change like any other.
    cron.sql("select jobs.schedule('a', '0 0 28 2 *', 'job')")
        .await;
    eventually("it is planned", async || {
        cron.count("select count(*) from jobs.cron_schedules where name = 'a' and error is null and next_fire_at is not null").await == 1
    })
    .await;
}
