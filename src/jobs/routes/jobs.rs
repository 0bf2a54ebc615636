//! `/jobs` and what can be done with one of them.

use std::collections::HashMap;

use axum::extract::State;
use axum::http::StatusCode;
use clap::ValueEnum as _;
use serde_json::value::RawValue;

use super::{invalid, require_identity};
use crate::http::{ApiError, Json, Path, Query};
use crate::identity::Caller;
use crate::jobs::control::{Filter, MAX_LIST, nearest};
use crate::jobs::{JobId, Jobs, Status, service};

const PARAMETERS: &[&str] = &["status", "queue", "name", "limit", "offset"];

pub(super) async fn list(
    caller: Caller,
    State(jobs): State<Jobs>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Json<Vec<Box<RawValue>>>, ApiError> {
    require_identity(&caller)?;
    let filter = filter(&query)?;
    Ok(Json(service::list(&jobs, &caller, &filter).await?))
}

pub(super) async fn show(
    caller: Caller,
    State(jobs): State<Jobs>,
    Path(id): Path<JobId>,
) -> Result<Json<Box<RawValue>>, ApiError> {
    require_identity(&caller)?;
    Ok(Json(service::find(&jobs, &caller, id).await?))
}

pub(super) async fn cancel(
    caller: Caller,
    State(jobs): State<Jobs>,
    Path(id): Path<JobId>,
) -> Result<StatusCode, ApiError> {
    require_identity(&caller)?;
    service::cancel(&jobs, &caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn retry(
    caller: Caller,
    State(jobs): State<Jobs>,
    Path(id): Path<JobId>,
) -> Result<StatusCode, ApiError> {
    require_identity(&caller)?;
    service::retry(&jobs, &caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Empty values count as absent, as clients send them for the default.
fn filter(query: &HashMap<String, String>) -> Result<Filter, ApiError> {
    if let Some(unknown) = query.keys().find(|key| !PARAMETERS.contains(&key.as_str())) {
        let error = invalid(format!("There is no filter \"{unknown}\""));
        let known = PARAMETERS.iter().copied();
        return Err(match nearest(unknown, known) {
            Some(name) => error.with_hint(format!("did you mean {name}?")),
            None => error.with_hint(format!("the filters are {}", PARAMETERS.join(", "))),
        });
    }
    let text = |name: &str| query.get(name).filter(|value| !value.is_empty()).cloned();
    for name in ["queue", "name"] {
        if text(name).is_some_and(|value| value.contains('\0')) {
            return Err(invalid(format!("{name} holds the character NUL")));
        }
    }
    let default = Filter::default();
    Ok(Filter {
        status: text("status").map(|word| status(&word)).transpose()?,
        queue: text("queue"),
        name: text("name"),
        limit: match text("limit") {
            Some(limit) => number("limit", &limit, 1, MAX_LIST)?,
            None => default.limit,
        },
        offset: match text("offset") {
            Some(offset) => number("offset", &offset, 0, i64::from(u32::MAX))?,
            None => default.offset,
        },
    })
}

fn status(word: &str) -> Result<Status, ApiError> {
    Status::from_str(word, false).map_err(|_| {
        let known: Vec<&str> = Status::value_variants()
            .iter()
            .map(|one| one.as_str())
            .collect();
        invalid(format!("There is no status \"{word}\""))
            .with_hint(format!("a status is {}", known.join(", ")))
    })
}

fn number(name: &str, text: &str, least: i64, most: i64) -> Result<i64, ApiError> {
    text.parse()
        .ok()
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| invalid(format!("{name} is a whole number from {least} to {most}")))
}
