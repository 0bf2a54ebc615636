//! Both days on which clocks change, and what is refused.

use super::*;

/// The ticks of a timetable between two instants.
fn ticks(expression: &str, zone: &str, from: &str, to: &str) -> Vec<String> {
    let table = Timetable::parse(expression, zone).unwrap();
    let (mut at, end) = (instant(from), instant(to));
    let mut found = Vec::new();
    while let Some(next) = table.after(at).filter(|next| *next <= end) {
        found.push(next.format("%d %H:%M").to_string());
        at = next;
    }
    found
}

fn instant(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).unwrap().to_utc()
}

const ZONES: [(&str, [&str; 2], [&str; 2]); 2] = [
    // 02:00 to 03:00 does not exist on the first day (at 01:00 UTC) and happens twice on the second.
    (
        "Europe/Berlin",
        ["2027-03-27T23:00:00Z", "2027-03-28T22:00:00Z"],
        ["2027-10-30T22:00:00Z", "2027-10-31T23:00:00Z"],
    ),
    // The same at 07:00 UTC; in autumn it is 01:00 to 02:00, at 05:00 UTC.
    (
        "America/New_York",
        ["2027-03-14T05:00:00Z", "2027-03-15T04:00:00Z"],
        ["2027-11-07T04:00:00Z", "2027-11-08T05:00:00Z"],
    ),
];

#[test]
fn a_time_in_the_gap_runs_at_the_first_instant_after_it() {
    let [(berlin, gap, _), (york, york_gap, _)] = ZONES;
    assert_eq!(ticks("30 2 * * *", berlin, gap[0], gap[1]), ["28 01:00"]);
    assert_eq!(
        ticks("30 2 * * *", york, york_gap[0], york_gap[1]),
        ["14 07:00"]
    );
}

#[test]
fn a_fixed_time_in_the_fold_runs_once() {
    let [(berlin, _, fold), (york, _, york_fold)] = ZONES;
    assert_eq!(ticks("30 2 * * *", berlin, fold[0], fold[1]), ["31 00:30"]);
    assert_eq!(
        ticks("30 1 * * *", york, york_fold[0], york_fold[1]),
        ["07 05:30"]
    );
}

#[test]
fn what_repeats_within_the_hour_runs_in_both_hours() {
    for (zone, gap, fold) in ZONES {
        assert_eq!(ticks("0 * * * *", zone, gap[0], gap[1]).len(), 23, "{zone}");
        assert_eq!(
            ticks("0 * * * *", zone, fold[0], fold[1]).len(),
            25,
            "{zone}"
        );
        assert_eq!(
            ticks("*/15 * * * *", zone, fold[0], fold[1]).len(),
            100,
            "{zone}"
        );
        // No instant of this hour exists on the first day.
        let hour = if zone == "Europe/Berlin" {
            "*/15 2 * * *"
        } else {
            "*/15 1 * * *"
        };
        assert_eq!(ticks(hour, zone, fold[0], fold[1]).len(), 8, "{zone}");
    }
    let (berlin, gap, _) = ZONES[0];
    assert_eq!(ticks("*/15 2 * * *", berlin, gap[0], gap[1]).len(), 0);
}

#[test]
fn looking_back_finds_what_looking_forward_finds() {
    for (zone, gap, fold) in ZONES {
        for expression in [
            "30 2 * * *",
            "30 1 * * *",
            "0 * * * *",
            "*/7 * * * *",
            "*/15 2 * * *",
            "0 0 * * 0",
            "0 3 1,28 * *",
        ] {
            for [from, to] in [gap, fold] {
                let table = Timetable::parse(expression, zone).unwrap();
                let (mut at, end) = (instant(from), instant(to));
                let mut last = table.until(at);
                while at < end {
                    if table.after(at - chrono::TimeDelta::minutes(1)) == Some(at) {
                        last = Some(at);
                    }
                    assert_eq!(table.until(at), last, "{expression} in {zone} at {at}");
                    at += chrono::TimeDelta::minutes(1);
                }
            }
        }
    }
}

#[test]
fn looking_back_never_finds_what_is_still_to_come() {
    let table = Timetable::parse("0 * * * *", "Europe/Paris").unwrap();
    let before_the_second_hour = instant("2026-10-25T00:59:59.999999Z");
    assert_eq!(
        table.until(before_the_second_hour),
        Some(instant("2026-10-25T00:00:00Z"))
    );
}

#[test]
fn weekdays_and_days_of_the_month_are_read_as_cron_does() {
    let week = ["2027-01-31T12:00:00Z", "2027-02-07T12:00:00Z"];
    // Monday is 1, Sunday 0 and 7; two days mean either.
    assert_eq!(ticks("0 9 * * 1", "UTC", week[0], week[1]), ["01 09:00"]);
    assert_eq!(ticks("0 9 * * 7", "UTC", week[0], week[1]), ["07 09:00"]);
    assert_eq!(ticks("0 9 * * sun", "UTC", week[0], week[1]), ["07 09:00"]);
    assert_eq!(
        ticks("0 9 3 * 5", "UTC", week[0], week[1]),
        ["03 09:00", "05 09:00"]
    );
}

#[test]
fn mistakes_are_named() {
    let wrong = |expression: &str| Timetable::parse(expression, "UTC").unwrap_err();
    for (expression, reason) in [("61 * * * *", "61"), ("*/0 * * * *", "0")] {
        let text = wrong(expression);
        assert!(
            text.starts_with(&format!("cron expression \"{expression}\": "))
                && text.contains(reason),
            "{text}"
        );
    }
    assert_eq!(
        Timetable::parse("0 0 * * *", "Europe/Berln").unwrap_err(),
        "time zone \"Europe/Berln\" is unknown; use a name such as Europe/Berlin"
    );
    assert_eq!(
        wrong("* * * *"),
        "cron expression \"* * * *\" has 4 fields; it needs five: minute hour day month weekday, or six with seconds first"
    );
    assert!(wrong("@reboot").contains(" is unknown; the words are @hourly"));
    assert!(wrong("").contains(" has 0 fields"));
    assert!(wrong("0 0 0 1 1 * 2027").contains(" has 7 fields"));
    let never = Timetable::parse("0 0 30 2 *", "UTC").unwrap();
    assert_eq!(never.after(instant("2027-01-01T00:00:00Z")), None);
}
