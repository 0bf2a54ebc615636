//! On time, late, and after a downtime.

use super::*;

fn at(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(&format!("2027-05-01T{text}Z"))
        .unwrap()
        .to_utc()
}

fn decide(
    expression: &str,
    missed: Missed,
    hours: i64,
    planned: &str,
    now: &str,
) -> (Vec<String>, String) {
    let table = Timetable::parse(expression, "UTC").unwrap();
    let due = due(
        &table,
        (missed, TimeDelta::hours(hours)),
        at(planned),
        at(now),
    );
    let text = |at: &DateTime<Utc>| at.format("%H:%M:%S").to_string();
    (
        due.ticks.iter().map(text).collect(),
        text(&due.next.unwrap()),
    )
}

#[test]
fn what_is_due_and_not_late_fires_under_every_policy() {
    for missed in [Missed::Skip, Missed::Latest, Missed::All] {
        let (ticks, next) = decide("* * * * *", missed, 24, "10:00:00", "10:00:00");
        assert_eq!(
            (ticks, next.as_str()),
            (vec!["10:00:00".to_owned()], "10:01:00")
        );
        let (ticks, next) = decide("*/20 * * * * *", missed, 24, "10:00:00", "10:00:50");
        assert_eq!(ticks, ["10:00:00", "10:00:20", "10:00:40"]);
        assert_eq!(next, "10:01:00");
    }
}

#[test]
fn after_a_downtime_the_policy_decides() {
    let missed = |missed| decide("0 * * * *", missed, 3, "04:00:00", "10:30:00");
    let eleven = "11:00:00".to_owned();
    assert_eq!(missed(Missed::Skip), (vec![], eleven.clone()));
    assert_eq!(
        missed(Missed::Latest),
        (vec!["10:00:00".to_owned()], eleven.clone())
    );
    let hours = ["08:00:00", "09:00:00", "10:00:00"].map(str::to_owned);
    assert_eq!(missed(Missed::All), (hours.to_vec(), eleven));
}

#[test]
fn skip_fires_the_tick_that_is_now() {
    let (ticks, next) = decide("0 * * * *", Missed::Skip, 24, "04:00:00", "10:00:30");
    assert_eq!(
        (ticks, next.as_str()),
        (vec!["10:00:00".to_owned()], "11:00:00")
    );
}

#[test]
fn many_ticks_are_fired_in_portions() {
    let (ticks, next) = decide("* * * * * *", Missed::All, 24, "00:00:00", "01:00:00");
    assert_eq!((ticks.len(), next.as_str()), (MOST, "00:08:20"));
}
