//! Schedules in `sb.toml`.

use super::*;
use crate::config::{Config, Sources};

fn load(toml: &str) -> Result<Vec<Cron>, Vec<String>> {
    let sources = Sources {
        toml: Some(toml.to_owned()),
        ..Sources::default()
    };
    Config::load(sources)
        .map(|config| config.cron.unwrap_or_default())
        .map_err(|error| error.problems)
}

#[test]
fn both_forms_are_read() {
    let by_name = load(
        "[cron.nightly]\nschedule = \"0 3 * * *\"\njob = \"sql:public.tidy\"\ntime_zone = \"Europe/Berlin\"\n\
         payload = { days = 7, since = 2027-01-01 }\nmissed = \"all\"\nmissed_window_s = 3600\noverlap = \"skip\"",
    )
    .unwrap();
    let expected = Cron {
        time_zone: "Europe/Berlin".to_owned(),
        payload: serde_json::json!({ "days": 7, "since": "2027-01-01" }),
        missed: Missed::All,
        missed_window: Duration::from_hours(1),
        overlap: Overlap::Skip,
        ..Cron::new("nightly", "0 3 * * *", "sql:public.tidy")
    };
    assert_eq!(by_name, [expected]);
    let listed = load("[[cron]]\nname = \"a\"\nschedule = \"@daily\"\njob = \"j\"").unwrap();
    assert_eq!(listed, [Cron::new("a", "@daily", "j")]);
}

#[test]
fn every_mistake_names_its_entry() {
    let problems = load(
        "[cron.a]\nschedule = \"61 * * * *\"\njob = \"j\"\n[cron.b]\nshedule = \"@daily\"\njob = \"j\"\n\
         [cron.c]\nschedule = \"@daily\"\njob = \"j\"\noverlap = \"maybe\"\n[cron.d]\nschedule = \"@daily\"\njob = \"j\"\ntime_zone = \"Mars\"",
    )
    .unwrap_err();
    assert_eq!(problems.len(), 5, "{problems:#?}");
    assert!(
        problems[0].starts_with("cron.a (sb.toml): cron expression \"61 * * * *\": "),
        "{problems:#?}"
    );
    assert_eq!(
        problems[1..],
        [
            "sb.toml: unknown key cron.b.shedule; did you mean schedule?",
            "sb.toml: cron.b has no schedule",
            "cron.c.overlap (sb.toml) must be one of allow, skip, replace",
            "cron.d (sb.toml): time zone \"Mars\" is unknown; use a name such as Europe/Berlin",
        ]
    );
    assert_eq!(
        load("[[cron]]\nschedule = \"@daily\"\njob = \"j\"").unwrap_err(),
        ["sb.toml: each [[cron]] needs a name = \"…\""]
    );
    assert_eq!(
        load("[crno.a]\nschedule = \"@daily\"").unwrap_err(),
        ["sb.toml: unknown section [crno]; did you mean [cron]?"]
    );
}

#[test]
fn without_a_file_there_is_no_list_and_with_an_empty_one_there_is() {
    assert_eq!(Config::load(Sources::default()).unwrap().cron, None);
    let sources = Sources {
        toml: Some(String::new()),
        ..Sources::default()
    };
    assert_eq!(Config::load(sources).unwrap().cron, Some(Vec::new()));
}

#[test]
fn pg_cron_is_refused_what_it_cannot_do() {
    let problems = load(
        "[jobs]\ncron_backend = \"pg_cron\"\n[cron.a]\nschedule = \"*/10 * * * * *\"\njob = \"j\"",
    )
    .unwrap_err();
    assert_eq!(
        problems,
        [
            "cron.a (sb.toml): pg_cron has no seconds: use five fields, or set jobs.cron_backend = \"inproc\""
        ]
    );
}
