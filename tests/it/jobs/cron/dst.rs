//! The days on which clocks change, with jobs that were really enqueued.

use super::Cron;

/// Fires every tick of a day, hour by hour.
async fn day(zone: &str, from: &str) -> Cron {
    let cron = Cron::at(from).await;
    for (name, expression) in [
        ("one", "30 1 * * *"),
        ("two", "30 2 * * *"),
        ("hourly", "0 * * * *"),
        ("quarter", "*/15 * * * *"),
        ("quarter of two", "*/15 2 * * *"),
    ] {
        cron.sql(&format!(
            "select jobs.schedule('{name}', '{expression}', 'job', time_zone => '{zone}', missed => 'all')"
        ))
        .await;
    }
    cron.settled().await;
    for hour in 1..=24 {
        let now = cron
            .texts(&format!(
                "select (timestamptz '{from}' + interval '{hour} hours')::text"
            ))
            .await;
        cron.move_clock_to(&now[0]).await;
    }
    cron.sql("delete from jobs.cron_runs where name = 'sb.retention'")
        .await;
    let jobs = "select count(distinct p.id) from jobs.pending p join jobs.cron_runs r on r.job_id = p.id and p.source = 'cron:' || r.name";
    let runs = cron.count("select count(*) from jobs.cron_runs").await;
    assert_eq!(cron.count(jobs).await, runs, "each has its job");
    let named = "select count(*) from jobs.pending where name = 'job'";
    assert_eq!(cron.count(named).await, runs, "and there are no others");
    cron
}

#[tokio::test(flavor = "multi_thread")]
async fn berlin_goes_forward() {
    // 02:00 to 03:00 does not exist, at 01:00 UTC.
    let cron = day("Europe/Berlin", "2027-03-27 23:10Z").await;
    assert_eq!(cron.ticks("one").await, ["03-28 00:30"]);
    assert_eq!(
        cron.ticks("two").await,
        ["03-28 01:00"],
        "the first instant after the gap"
    );
    assert_eq!(cron.ticks("hourly").await.len(), 24);
    assert_eq!(cron.ticks("quarter").await.len(), 96);
    assert_eq!(
        cron.ticks("quarter of two").await.len(),
        0,
        "none of its instants exists"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn berlin_goes_back() {
    // 02:00 to 03:00 happens twice, from 00:00 and from 01:00 UTC.
    let cron = day("Europe/Berlin", "2027-10-30 22:10Z").await;
    assert_eq!(cron.ticks("one").await, ["10-30 23:30"]);
    assert_eq!(cron.ticks("two").await, ["10-31 00:30"], "once");
    assert_eq!(cron.ticks("hourly").await.len(), 24, "both hours");
    assert_eq!(cron.ticks("quarter").await.len(), 96, "both hours");
    assert_eq!(cron.ticks("quarter of two").await.len(), 8, "both hours");
}

#[tokio::test(flavor = "multi_thread")]
async fn new_york_goes_forward() {
    // 02:00 to 03:00 does not exist, at 07:00 UTC.
    let cron = day("America/New_York", "2027-03-14 05:10Z").await;
    assert_eq!(cron.ticks("one").await, ["03-14 06:30"]);
    assert_eq!(
        cron.ticks("two").await,
        ["03-14 07:00"],
        "the first instant after the gap"
    );
    assert_eq!(cron.ticks("hourly").await.len(), 24);
    assert_eq!(
        cron.ticks("quarter of two").await.len(),
        0,
        "none of its instants exists"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn new_york_goes_back() {
    // 01:00 to 02:00 happens twice, from 05:00 and from 06:00 UTC.
    let cron = day("America/New_York", "2027-11-07 04:10Z").await;
    assert_eq!(cron.ticks("one").await, ["11-07 05:30"], "once");
    assert_eq!(cron.ticks("two").await, ["11-07 07:30"]);
    assert_eq!(cron.ticks("hourly").await.len(), 24, "both hours");
    assert_eq!(cron.ticks("quarter").await.len(), 96, "both hours");
    assert_eq!(cron.ticks("quarter of two").await.len(), 4);
}
