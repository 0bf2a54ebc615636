//! `[cron.NAME]` and `[[cron]]`: schedules of a project.

mod timetable;

use std::time::Duration;

use super::value::{Setting, words};
pub use timetable::Timetable;

words! {
    /// What a tick does while the job of the last one is not over.
    Overlap {
        /// Enqueues another one.
        Allow = "allow",
        /// Leaves it to the next tick.
        Skip = "skip",
        /// Cancels it; the new one begins when it has ended.
        Replace = "replace",
    }
}

words! {
    /// What becomes of ticks at which no scheduler ran.
    Missed {
        /// Nothing.
        Skip = "skip",
        /// One job for all of them.
        Latest = "latest",
        /// One job for each within the window.
        All = "all",
    }
}

/// One schedule of `sb.toml`.
#[derive(Debug, Clone, PartialEq)]
pub struct Cron {
    /// Its name, which no other schedule has.
    pub name: String,
    /// Five fields, six with seconds first, or `@daily` and its like.
    pub schedule: String,
    /// The zone its times are meant in.
    pub time_zone: String,
    /// Name of the job.
    pub job: String,
    /// What the job gets.
    pub payload: serde_json::Value,
    /// Version of the payload's form.
    pub version: u16,
    /// The queue; otherwise the kind's.
    pub queue: Option<String>,
    /// The role the job runs as; otherwise `service_role`.
    pub role: Option<String>,
    /// The user it runs for.
    pub user_id: Option<uuid::Uuid>,
    /// Smaller runs earlier.
    pub priority: i16,
    /// Attempts before it is dead; otherwise the kind's.
    pub max_attempts: Option<u16>,
    /// Seconds an attempt may take; otherwise the kind's.
    pub timeout_s: Option<u32>,
    /// What a tick does while the job of the last one is not over.
    pub overlap: Overlap,
    /// What becomes of ticks at which no scheduler ran.
    pub missed: Missed,
    /// How far back [`Missed::All`] goes.
    pub missed_window: Duration,
}

/// A key of an entry: name, what it does, where its value goes.
struct Key {
    name: &'static str,
    doc: &'static str,
    read: fn(&mut Cron, &toml::Value) -> Result<(), String>,
}

const KEYS: &[Key] = &[
    Key {
        name: "schedule",
        doc: "`minute hour day month weekday`, six fields with seconds first, or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`. Required.",
        read: |cron, value| set(&mut cron.schedule, value),
    },
    Key {
        name: "job",
        doc: "Name of the job to enqueue: a handler's, `sql:schema.function`, or an http(s) address. Required.",
        read: |cron, value| set(&mut cron.job, value),
    },
    Key {
        name: "payload",
        doc: "Table that the job gets. Default: empty.",
        read: |cron, value| {
            cron.payload = value
                .as_table()
                .map(|_| json(value))
                .ok_or("a table such as { days = 7 }")?;
            Ok(())
        },
    },
    Key {
        name: "time_zone",
        doc: "Zone the times are meant in, such as `Europe/Berlin`. Default: `UTC`.",
        read: |cron, value| set(&mut cron.time_zone, value),
    },
    Key {
        name: "queue",
        doc: "Queue of the jobs. Default: that of the kind of job.",
        read: |cron, value| set(&mut cron.queue, value),
    },
    Key {
        name: "overlap",
        doc: "While the last job is not over: `allow` (default) another one, `skip` the tick, or `replace` the job.",
        read: |cron, value| set(&mut cron.overlap, value),
    },
    Key {
        name: "missed",
        doc: "Ticks at which no scheduler ran: `skip` them, run the `latest` (default), or `all` within `missed_window_s`.",
        read: |cron, value| set(&mut cron.missed, value),
    },
    Key {
        name: "missed_window_s",
        doc: "How far back `all` goes, in seconds. Default: 86400.",
        read: |cron, value| {
            let seconds = u32::from_toml(value)?;
            cron.missed_window = Some(Duration::from_secs(seconds.into()))
                .filter(|window| !window.is_zero())
                .ok_or("at least 1")?;
            Ok(())
        },
    },
    Key {
        name: "version",
        doc: "Version of the payload's form. Default: 1.",
        read: |cron, value| set(&mut cron.version, value),
    },
    Key {
        name: "role",
        doc: "Role the job runs as. Default: `service_role`.",
        read: |cron, value| set(&mut cron.role, value),
    },
    Key {
        name: "user_id",
        doc: "User the job runs for.",
        read: |cron, value| {
            let id = value.as_str().and_then(|text| text.parse().ok());
            cron.user_id = Some(id.ok_or("the id of a user")?);
            Ok(())
        },
    },
    Key {
        name: "priority",
        doc: "Smaller runs earlier. Default: 0.",
        read: |cron, value| {
            let number = value.as_integer().and_then(|number| number.try_into().ok());
            cron.priority = number.ok_or("a whole number from -32768 to 32767")?;
            Ok(())
        },
    },
    Key {
        name: "max_attempts",
        doc: "Attempts before a job is dead. Default: the kind's.",
        read: |cron, value| {
            let attempts = u16::from_toml(value)
                .ok()
                .filter(|attempts| (1..=1_000).contains(attempts));
            cron.max_attempts = Some(attempts.ok_or("a whole number from 1 to 1000")?);
            Ok(())
        },
    },
    Key {
        name: "timeout_s",
        doc: "Seconds an attempt may take. Default: the kind's.",
        read: |cron, value| {
            let seconds = u32::from_toml(value)
                .ok()
                .filter(|seconds| (1..=604_800).contains(seconds));
            cron.timeout_s = Some(seconds.ok_or("a whole number from 1 to 604800")?);
            Ok(())
        },
    },
];

fn set<T: Setting>(member: &mut T, value: &toml::Value) -> Result<(), String> {
    *member = T::from_toml(value)?;
    Ok(())
}

impl Cron {
    /// A schedule with the defaults of everything else.
    pub fn new(
        name: impl Into<String>,
        schedule: impl Into<String>,
        job: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            schedule: schedule.into(),
            time_zone: "UTC".to_owned(),
            job: job.into(),
            payload: serde_json::json!({}),
            version: 1,
            queue: None,
            role: None,
            user_id: None,
            priority: 0,
            max_attempts: None,
            timeout_s: None,
            overlap: Overlap::Allow,
            missed: Missed::Latest,
            missed_window: Duration::from_hours(24),
        }
    }

    /// The keys of an entry with what they do.
    pub fn keys() -> impl Iterator<Item = (&'static str, &'static str)> {
        KEYS.iter().map(|key| (key.name, key.doc))
    }

    /// Whether the expression and the zone can be used.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn timetable(&self) -> Result<Timetable, String> {
        Timetable::parse(&self.schedule, &self.time_zone)
    }

    fn read(name: &str, table: &toml::Table, problems: &mut Vec<String>) -> Self {
        let mut cron = Self::new(name, "", "");
        let mut wrong = false;
        for (key, value) in table {
            let Some(known) = KEYS.iter().find(|known| known.name == key) else {
                let near = super::nearest(key, KEYS.iter().map(|known| known.name), "", "");
                problems.push(format!("sb.toml: unknown key cron.{name}.{key}{near}"));
                continue;
            };
            if let Err(expected) = (known.read)(&mut cron, value) {
                wrong = true;
                problems.push(format!("cron.{name}.{key} (sb.toml) must be {expected}"));
            }
        }
        for required in ["schedule", "job"] {
            if !table.contains_key(required) {
                wrong = true;
                problems.push(format!("sb.toml: cron.{name} has no {required}"));
            }
        }
        if name.is_empty() || name.chars().count() > 100 {
            problems.push(format!(
                "sb.toml: the name cron.{name} must have 1 to 100 characters"
            ));
        }
        if let Err(problem) = cron.timetable()
            && !wrong
        {
            problems.push(format!("cron.{name} (sb.toml): {problem}"));
        }
        cron
    }
}

/// Both forms: tables by name, and a list whose entries have a key `name`.
pub(super) fn read(value: &toml::Value, problems: &mut Vec<String>) -> Vec<Cron> {
    let mut entries: Vec<Cron> = Vec::new();
    let mut add = |name: &str, table: &toml::Table, problems: &mut Vec<String>| {
        if entries.iter().any(|entry| entry.name == name) {
            problems.push(format!("sb.toml: there are two schedules cron.{name}"));
        }
        entries.push(Cron::read(name, table, problems));
    };
    match value {
        toml::Value::Table(tables) => {
            for (name, table) in tables {
                match table.as_table() {
                    Some(table) => add(name, table, problems),
                    None => problems.push(format!(
                        "sb.toml: cron.{name} must be a table: [cron.NAME] with schedule and job"
                    )),
                }
            }
        }
        toml::Value::Array(list) if list.iter().all(toml::Value::is_table) => {
            for table in list.iter().filter_map(toml::Value::as_table) {
                let mut table = table.clone();
                match table.remove("name") {
                    Some(toml::Value::String(name)) => add(&name, &table, problems),
                    _ => problems.push("sb.toml: each [[cron]] needs a name = \"…\"".to_owned()),
                }
            }
        }
        _ => problems.push("sb.toml: cron must be tables: [cron.NAME] or [[cron]]".to_owned()),
    }
    entries
}

fn json(value: &toml::Value) -> serde_json::Value {
    match value {
        toml::Value::Datetime(at) => at.to_string().into(),
        toml::Value::Array(list) => list.iter().map(json).collect(),
        toml::Value::Table(table) => table
            .iter()
            .map(|(key, value)| (key.clone(), json(value)))
            .collect(),
        toml::Value::String(text) => text.as_str().into(),
        toml::Value::Integer(number) => (*number).into(),
        toml::Value::Float(number) => (*number).into(),
        toml::Value::Boolean(truth) => (*truth).into(),
    }
}

#[cfg(test)]
mod tests;
