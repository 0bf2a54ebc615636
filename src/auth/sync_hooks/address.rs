//! Hooks that are addresses: a signed POST of the payload, tried three times within five seconds.

use std::time::Duration;

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use serde_json::Value;
use uuid::Uuid;

use super::{HookName, failed};
use crate::auth::AuthError;
use crate::error::ErrorCode;
use crate::http::outbound::{OutboundError, Response};
use crate::http::{Outbound, signature};

/// All attempts together take no longer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Pauses before the second and the third attempt.
const PAUSES: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(1)];

/// Most bytes of an answer.
const MAX_BYTES: usize = 200 * 1024;

/// What is sent, the same in every attempt.
pub(super) struct Call<'a> {
    url: &'a str,
    headers: HeaderMap,
    body: Bytes,
}

impl<'a> Call<'a> {
    pub(super) fn new<'k>(
        url: &'a str,
        keys: impl Iterator<Item = &'k [u8]>,
        (id, timestamp): (Uuid, i64),
        event: &Value,
    ) -> Self {
        let body = Bytes::from(event.to_string());
        Self {
            url,
            headers: signature::headers(keys, &id.to_string(), timestamp, &body),
            body,
        }
    }
}

/// Calls an address and reads its JSON; null when it has nothing to say.
pub(super) async fn call(
    outbound: &Outbound,
    hook: HookName,
    call: &Call<'_>,
) -> Result<Value, AuthError> {
    tokio::time::timeout(TIMEOUT, attempts(outbound, hook, call))
        .await
        .unwrap_or_else(|_| Err(too_late(hook)))
}

async fn attempts(
    outbound: &Outbound,
    hook: HookName,
    call: &Call<'_>,
) -> Result<Value, AuthError> {
    let mut pauses = PAUSES.into_iter();
    loop {
        let (headers, body) = (call.headers.clone(), call.body.clone());
        let answer = outbound.post(call.url, headers, body, TIMEOUT).await;
        let (asked_for, error) = match answer {
            Ok(response) => match pause_asked_for(&response) {
                None => return answered(hook, &response),
                Some(pause) => (pause, unavailable(hook, response.status)),
            },
            Err(OutboundError::Timeout(_)) => return Err(too_late(hook)),
            Err(error) if error.is_permanent() => {
                let message = format!("Error running hook {}", hook.as_str());
                return Err(failed(hook, ErrorCode::UnexpectedFailure, message, error));
            }
            Err(error) => {
                let message = "Failed to reach hook after maximum retries";
                let code = ErrorCode::HookTimeoutAfterRetry;
                (Duration::ZERO, failed(hook, code, message, error))
            }
        };
        match pauses.next() {
            Some(pause) if asked_for < TIMEOUT => tokio::time::sleep(pause.max(asked_for)).await,
            _ => return Err(error),
        }
    }
}

/// How long a receiver that is busy wants to be left alone. Without that word it is not asked again.
fn pause_asked_for(response: &Response) -> Option<Duration> {
    let is_busy = matches!(
        response.status,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    );
    let text = response.headers.get(RETRY_AFTER).filter(|_| is_busy)?;
    let seconds = text.to_str().ok()?.trim().parse().unwrap_or(1);
    Some(Duration::from_secs(seconds))
}

fn answered(hook: HookName, response: &Response) -> Result<Value, AuthError> {
    match response.status {
        StatusCode::NO_CONTENT => Ok(Value::Null),
        StatusCode::OK | StatusCode::ACCEPTED => json(hook, response),
        status => Err(unavailable(hook, status)),
    }
}

fn json(hook: HookName, response: &Response) -> Result<Value, AuthError> {
    let kind = response.headers.get(CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        let code = ErrorCode::HookPayloadInvalidContentType;
        let message = "Invalid JSON response of a hook";
        return Err(failed(
            hook,
            code,
            message,
            "its content type is not application/json",
        ));
    }
    if response.is_truncated || response.body.len() > MAX_BYTES {
        let code = ErrorCode::HookPayloadOverSizeLimit;
        let message = format!("Payload size exceeded size limit of {MAX_BYTES} bytes");
        return Err(failed(hook, code, message, "its answer is too large"));
    }
    serde_json::from_slice(&response.body).map_err(|_| {
        let message = format!("Error running hook {}", hook.as_str());
        let cause = "its answer is no JSON";
        failed(hook, ErrorCode::UnexpectedFailure, message, cause)
    })
}

fn unavailable(hook: HookName, status: StatusCode) -> AuthError {
    let message = match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            "Service currently unavailable due to hook".to_owned()
        }
        status => format!(
            "Unexpected status code returned from hook: {}",
            status.as_u16()
        ),
    };
    let cause = format!("it answered {}", status.as_u16());
    failed(hook, ErrorCode::UnexpectedFailure, message, cause)
}

fn too_late(hook: HookName) -> AuthError {
    let message = "Failed to reach hook within maximum time of 5 seconds";
    failed(hook, ErrorCode::HookTimeout, message, "no answer in time")
}
