//! Waiting for the PostgREST that we run.
//!
//! It may have no database for a moment, since the database restarts or the password of its role was changed just now,
//! and it may be starting again itself. A request that comes then waits a little, if it may safely arrive twice or has
//! not been sent at all. An upstream in `rest.url` answers for itself.

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::response::Parts;
use axum::http::{StatusCode, header};
use axum::response::Response;
use serde_json::Value;

/// Error bodies are short; a longer one is something else.
const MAX_BODY: usize = 8 * 1024;

/// The pauses before each further try. Nothing tells us when PostgREST is ready: it has to be asked.
pub(super) fn pauses() -> impl Iterator<Item = Duration> {
    (0..6).map(|tries| Duration::from_millis(20 << tries))
}

/// `answer`, unless it says that PostgREST has no database, and so has done nothing.
pub(super) async fn done(answer: Response) -> Option<Response> {
    if answer.status() != StatusCode::SERVICE_UNAVAILABLE {
        return Some(answer);
    }
    match short(answer).await {
        Ok((_, body)) if has_no_database(&body) => None,
        Ok((parts, body)) => Some(Response::from_parts(parts, Body::from(body))),
        Err(answer) => Some(answer),
    }
}

/// <https://docs.postgrest.org/en/v12/references/errors.html>: group 0 is the connection. SQL may say 503 as well.
fn has_no_database(body: &[u8]) -> bool {
    let error: Value = serde_json::from_slice(body).unwrap_or_default();
    ["PGRST000", "PGRST001", "PGRST002"]
        .iter()
        .any(|code| error["code"] == **code)
}

/// An answer with its body, if that is short; else as it was.
pub(super) async fn short(answer: Response) -> Result<(Parts, Bytes), Response> {
    let stated = answer.headers().get(header::CONTENT_LENGTH);
    let stated = stated.and_then(|length| length.to_str().ok()?.parse().ok());
    if stated.is_some_and(|length: usize| length > MAX_BODY) {
        return Err(answer);
    }
    let (parts, body) = answer.into_parts();
    match to_bytes(body, MAX_BODY).await {
        Ok(bytes) => Ok((parts, bytes)),
        Err(_) => Err(Response::from_parts(parts, Body::empty())),
    }
}
