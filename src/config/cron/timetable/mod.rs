//! A cron expression in a time zone: which instants it names.
//!
//! The day the clock goes forward, a fixed time in the gap runs at the first instant after it; the day it goes back, a
//! fixed time runs once, and whatever repeats within the hour runs in both hours.

use chrono::{DateTime, SubsecRound as _, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

/// When something is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timetable {
    cron: Cron,
    zone: Tz,
}

impl Timetable {
    /// Five fields, six with seconds first, or `@daily` and its like; a zone such as `Europe/Berlin`.
    ///
    /// # Errors
    /// What is wrong with which of the two, for people.
    pub fn parse(expression: &str, zone: &str) -> Result<Self, String> {
        let zone = zone.parse().map_err(|_| {
            format!("time zone \"{zone}\" is unknown; use a name such as Europe/Berlin")
        })?;
        check_form(expression)?;
        let parser = CronParser::builder()
            .seconds(Seconds::Optional)
            .year(Year::Disallowed)
            .build();
        let cron = parser.parse(expression).map_err(|error| {
            let error = error.to_string();
            let reason = error
                .split_once(": ")
                .map_or(error.as_str(), |(_, reason)| reason);
            format!(
                "cron expression \"{expression}\": {}",
                reason.trim_end_matches('.')
            )
        })?;
        Ok(Self { cron, zone })
    }

    /// The first tick after an instant; none when there will not be one.
    pub fn after(&self, instant: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let local = instant.with_timezone(&self.zone);
        let next = self.cron.find_next_occurrence(&local, false).ok()?;
        Some(next.with_timezone(&Utc))
    }

    /// The last tick at or before an instant.
    pub fn until(&self, instant: DateTime<Utc>) -> Option<DateTime<Utc>> {
        // In the last fraction of a second before clocks go back, the parser would answer what is still to come.
        let local = instant.trunc_subsecs(0).with_timezone(&self.zone);
        let last = self.cron.find_previous_occurrence(&local, true).ok()?;
        Some(last.with_timezone(&Utc))
    }

    /// In words.
    pub fn describe(&self) -> String {
        self.cron.describe()
    }

    /// Whether it names seconds.
    pub fn has_seconds(&self) -> bool {
        self.cron.as_str().split_whitespace().count() == 6
    }
}

/// What the parser would say in fewer words.
fn check_form(expression: &str) -> Result<(), String> {
    let fields: Vec<&str> = expression.split_whitespace().collect();
    if fields.first().is_some_and(|word| word.starts_with('@')) {
        let word = fields.join(" ").to_ascii_lowercase();
        if WORDS.contains(&word.as_str()) {
            return Ok(());
        }
        return Err(format!(
            "cron expression \"{expression}\" is unknown; the words are @hourly, @daily, @weekly, @monthly and @yearly"
        ));
    }
    if matches!(fields.len(), 5 | 6) {
        return Ok(());
    }
    Err(format!(
        "cron expression \"{expression}\" has {} fields; it needs five: minute hour day month weekday, or six with \
         seconds first",
        fields.len()
    ))
}

const WORDS: [&str; 6] = [
    "@hourly",
    "@daily",
    "@weekly",
    "@monthly",
    "@yearly",
    "@annually",
];

#[cfg(test)]
mod tests;
