//! Bodies of an enqueue, read member by member, so that every mistake has a sentence that names it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::invalid;
use crate::db::holds_nul;
use crate::error::ErrorCode;
use crate::http::ApiError;
use crate::jobs::control::nearest;
use crate::jobs::{Backoff, MAX_PAYLOAD_BYTES, NewJob, duration};

const MEMBERS: &[&str] = &[
    "name",
    "payload",
    "queue",
    "idempotency_key",
    "unique_for",
    "user_id",
    "role",
    "version",
    "max_attempts",
    "backoff",
    "backoff_base_s",
    "backoff_max_s",
    "run_at",
    "delay",
    "priority",
    "concurrency_key",
    "concurrency_limit",
    "timeout_s",
    "claims_from",
];

/// Most characters of a text; keys are indexed, and an index entry has its limits.
const MAX_TEXT: usize = 500;

/// Most jobs of one request.
const MAX_JOBS: usize = 10_000;

/// The body of `/enqueue`.
pub(super) fn job(body: Value) -> Result<NewJob, ApiError> {
    Options::new(body, "")?.read()
}

/// The body of `/enqueue_many`.
pub(super) fn jobs(body: Value) -> Result<Vec<NewJob>, ApiError> {
    let Value::Array(items) = body else {
        return Err(invalid("The body is a JSON array of jobs"));
    };
    if items.len() > MAX_JOBS {
        let message = format!("{} jobs are too many; {MAX_JOBS} go at once", items.len());
        return Err(ApiError::new(ErrorCode::RequestEntityTooLarge, message));
    }
    let read = |(index, item)| Options::new(item, &format!("[{index}]."))?.read();
    items.into_iter().enumerate().map(read).collect()
}

struct Options {
    members: Map<String, Value>,
    /// Where it stands, before the name of a member.
    place: String,
}

impl Options {
    fn new(body: Value, place: &str) -> Result<Self, ApiError> {
        let Value::Object(members) = body else {
            let which = place.trim_end_matches('.');
            return Err(invalid(
                format!("A job is a JSON object {which}").trim_end(),
            ));
        };
        if let Some(unknown) = members.keys().find(|key| !MEMBERS.contains(&key.as_str())) {
            let error = invalid(format!("A job has no member \"{place}{unknown}\""));
            return Err(match nearest(unknown, MEMBERS.iter().copied()) {
                Some(name) => error.with_hint(format!("did you mean {name}?")),
                None => error.with_hint(format!("the members are {}", MEMBERS.join(", "))),
            });
        }
        Ok(Self {
            members,
            place: place.to_owned(),
        })
    }

    fn read(mut self) -> Result<NewJob, ApiError> {
        let payload = self.payload()?;
        let Some(name) = self.text("name")? else {
            return Err(self.wrong(
                "name",
                "is missing: a handler's name, sql:schema.function, or an address",
            ));
        };
        if self
            .text("claims_from")?
            .is_some_and(|from| from != "user_id")
        {
            return Err(self.wrong("claims_from", "can only be user_id"));
        }
        if self.members.contains_key("unique_for") && !self.members.contains_key("idempotency_key")
        {
            return Err(self.wrong("unique_for", "needs an idempotency_key"));
        }
        Ok(NewJob {
            name,
            payload,
            queue: self.text("queue")?,
            idempotency_key: self.text("idempotency_key")?,
            unique_for: self.duration("unique_for")?,
            user_id: self.parsed::<Uuid>("user_id", "is a UUID")?,
            role: self.text("role")?,
            version: self.whole("version")?,
            max_attempts: self.whole("max_attempts")?,
            backoff: self.backoff()?,
            backoff_base_s: self.number("backoff_base_s")?,
            backoff_max_s: self.number("backoff_max_s")?,
            run_at: self.parsed::<DateTime<Utc>>(
                "run_at",
                "is an ISO 8601 time with its zone, such as 2030-01-31T12:00:00Z",
            )?,
            delay: self.duration("delay")?,
            priority: self.whole("priority")?,
            concurrency_key: self.text("concurrency_key")?,
            concurrency_limit: self.whole("concurrency_limit")?,
            timeout_s: self.whole("timeout_s")?,
            source: None,
        })
    }

    fn payload(&mut self) -> Result<Value, ApiError> {
        let Some(payload) = self.take("payload") else {
            return Ok(Value::Object(Map::new()));
        };
        let bytes = payload.to_string().len();
        if bytes > MAX_PAYLOAD_BYTES {
            let message = format!(
                "{}payload has {bytes} bytes; at most {MAX_PAYLOAD_BYTES} are allowed",
                self.place
            );
            return Err(
                ApiError::new(ErrorCode::RequestEntityTooLarge, message).with_hint(
                    "keep large data in a table or in storage and put its id into the payload",
                ),
            );
        }
        if holds_nul(&payload) {
            return Err(self.wrong(
                "payload",
                "holds the character NUL (\\u0000), which Postgres cannot store",
            ));
        }
        Ok(payload)
    }

    /// `null` counts as absent.
    fn take(&mut self, name: &str) -> Option<Value> {
        self.members.remove(name).filter(|value| !value.is_null())
    }

    fn text(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) if text.contains('\0') => {
                Err(self.wrong(name, "holds the character NUL"))
            }
            Some(Value::String(text)) if text.chars().count() > MAX_TEXT => {
                Err(self.wrong(name, &format!("has more than {MAX_TEXT} characters")))
            }
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(name, "is a text")),
        }
    }

    fn parsed<T: std::str::FromStr>(
        &mut self,
        name: &str,
        what: &str,
    ) -> Result<Option<T>, ApiError> {
        let text = self.text(name).map_err(|_| self.wrong(name, what))?;
        text.map(|text| text.parse().map_err(|_| self.wrong(name, what)))
            .transpose()
    }

    /// The database knows the bounds of each.
    fn whole(&mut self, name: &str) -> Result<Option<i32>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => value
                .as_i64()
                .and_then(|number| i32::try_from(number).ok())
                .map(Some)
                .ok_or_else(|| self.wrong(name, "is a whole number within 32 bits")),
        }
    }

    fn number(&mut self, name: &str) -> Result<Option<f64>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => value
                .as_f64()
                .map(Some)
                .ok_or_else(|| self.wrong(name, "is a number of seconds")),
        }
    }

    fn duration(&mut self, name: &str) -> Result<Option<Duration>, ApiError> {
        let read = match self.take(name) {
            None => return Ok(None),
            Some(Value::Number(seconds)) => {
                duration::from_seconds(seconds.as_f64().unwrap_or(f64::NAN))
            }
            Some(Value::String(text)) => duration::parse(&text),
            Some(_) => Err("is a number of seconds, or a text such as 5m".to_owned()),
        };
        read.map(Some).map_err(|error| self.wrong(name, &error))
    }

    fn backoff(&mut self) -> Result<Option<Backoff>, ApiError> {
        let Some(text) = self.text("backoff")? else {
            return Ok(None);
        };
        let known = [Backoff::Exponential, Backoff::Linear, Backoff::Constant];
        known
            .into_iter()
            .find(|one| one.as_str() == text)
            .map(Some)
            .ok_or_else(|| {
                let known = known.map(Backoff::as_str);
                let error = self.wrong("backoff", &format!("is one of {}", known.join(", ")));
                match nearest(&text, known.into_iter()) {
                    Some(name) => error.with_hint(format!("did you mean {name}?")),
                    None => error,
                }
            })
    }

    fn wrong(&self, name: &str, what: &str) -> ApiError {
        invalid(format!("{}{name} {what}", self.place))
    }
}
