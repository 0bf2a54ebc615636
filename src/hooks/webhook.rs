//! Jobs named by an address: a POST of the payload, signed as the Standard Webhooks specification says.
//!
//! Each origin has a secret of its own, derived from the master key, so that no receiver can speak in `sb`'s name to
//! another one. The id of a call is that of its job: it is the same in every attempt, for receivers to drop repeats.

use std::time::Duration;

use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::clock::Clock;
use crate::http::outbound::{self, Outbound, OutboundError, Response};
use crate::http::signature;
use crate::jobs::{Handlers, JobContext, JobError, JobResult};
use crate::keys::MasterKey;

/// An answer has to come within this, or within the job's own limit when that is shorter.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Bounds on what a receiver may ask for with `Retry-After`.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

/// A receiver that goes on asking for pauses uses up attempts from here on.
const MOST_PAUSES: i32 = 50;

/// Of an answer this many bytes are kept as JSON, or this many characters as text.
const MAX_KEPT_BYTES: usize = 4096;
const MAX_KEPT_CHARS: usize = 500;

/// Calls addresses. Clones share the client.
#[derive(Debug, Clone)]
pub struct Webhooks {
    outbound: Outbound,
    master: MasterKey,
    clock: Clock,
}

impl Webhooks {
    /// Signs with what `master` gives; `clock` dates the calls.
    pub fn new(outbound: Outbound, master: MasterKey, clock: Clock) -> Self {
        Self {
            outbound,
            master,
            clock,
        }
    }

    /// Adds the handlers of all names that are addresses.
    pub fn add_to(&self, handlers: Handlers) -> Handlers {
        ["http://", "https://"]
            .into_iter()
            .fold(handlers, |handlers, prefix| {
                let webhooks = self.clone();
                handlers.add_prefix(prefix, move |context, payload| {
                    let webhooks = webhooks.clone();
                    async move { webhooks.deliver(&context, &payload).await }
                })
            })
    }

    async fn deliver(&self, context: &JobContext, payload: &RawValue) -> JobResult {
        // The signature says that the project speaks, not one of its users.
        if context.caller.role() != "service_role" {
            return Err(JobError::Discard(
                "only service_role may have an address called".to_owned(),
            ));
        }
        let id = format!(
            "job_{}_{:x}",
            context.id,
            context.created_at.timestamp_micros()
        );
        let body = Bytes::copy_from_slice(payload.get().as_bytes());
        let headers = self
            .headers(&context.name, &id, &body)
            .map_err(|error| JobError::Discard(error.to_string()))?;
        let timeout = context.timeout.min(TIMEOUT);
        let answer = self
            .outbound
            .post(&context.name, headers, body, timeout)
            .await;
        match answer {
            Ok(response) => outcome(&response, context, self.clock.now()),
            Err(error) if error.is_permanent() => Err(JobError::Discard(error.to_string())),
            Err(error) => Err(JobError::Failed(error.to_string())),
        }
    }

    fn headers(&self, url: &str, id: &str, body: &[u8]) -> Result<HeaderMap, OutboundError> {
        let timestamp = self.clock.now().timestamp();
        let key = key(&self.master, url)?;
        Ok(signature::headers([&key[..]], id, timestamp, body))
    }
}

/// The secret that calls to the origin of `url` are signed with, as receivers are given it: `whsec_…`.
///
/// # Errors
/// [`OutboundError::Invalid`] when `url` is no address to call.
pub fn secret(master: &MasterKey, url: &str) -> Result<String, OutboundError> {
    Ok(format!("whsec_{}", STANDARD.encode(key(master, url)?)))
}

fn key(master: &MasterKey, url: &str) -> Result<[u8; 32], OutboundError> {
    let origin = outbound::origin(url)?;
    Ok(master.derive(&format!("webhook to {origin}")))
}

/// What an answer means. The text of an error begins with the status: the view of deliveries reads it there.
fn outcome(response: &Response, context: &JobContext, now: DateTime<Utc>) -> JobResult {
    let status = response.status;
    let told = |note: &str| {
        format!(
            "the receiver answered {}{note}: {}",
            status.as_u16(),
            excerpt(&response.body)
        )
    };
    if status.is_success() {
        return Ok(json!({ "status": status.as_u16(), "body": kept(response) }));
    }
    let pauses = context.claim - context.attempt;
    match status {
        StatusCode::GONE => Err(JobError::Discard(told(""))),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            match retry_after(&response.headers, now) {
                Some(pause) if pauses < MOST_PAUSES => Err(JobError::Snooze(pause)),
                _ => Err(JobError::Failed(told(""))),
            }
        }
        _ if status.is_redirection() => Err(JobError::Failed(told(", which is not followed"))),
        _ => Err(JobError::Failed(told(""))),
    }
}

/// Seconds, or a date.
fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let pause = if let Ok(seconds) = text.parse() {
        Duration::from_secs(seconds)
    } else {
        let at = DateTime::parse_from_rfc2822(text).ok()?;
        at.signed_duration_since(now).to_std().unwrap_or_default()
    };
    Some(pause.clamp(SHORTEST_PAUSE, LONGEST_PAUSE))
}

/// Small JSON as it is, else the beginning as text.
fn kept(response: &Response) -> Value {
    let body = &response.body;
    // Postgres keeps no zero characters.
    let is_small = body.len() <= MAX_KEPT_BYTES && !response.is_truncated;
    if is_small && !body.windows(6).any(|six| six == b"\\u0000") {
        if body.is_empty() {
            return Value::Null;
        }
        if let Ok(value) = serde_json::from_slice(body) {
            return value;
        }
    }
    Value::from(excerpt(body))
}

fn excerpt(body: &[u8]) -> String {
    let start = &body[..body.len().min(4 * MAX_KEPT_CHARS)];
    let text = String::from_utf8_lossy(start).replace('\0', "\u{fffd}");
    let text = text.trim();
    match text.char_indices().nth(MAX_KEPT_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;
    use crate::config::Secret;

    #[test]
    fn each_origin_has_a_secret_of_its_own() {
        let master = MasterKey::from_secret(&Secret::new("m".repeat(32))).unwrap();
        let of = |url| secret(&master, url).unwrap();
        assert_eq!(of("https://a.example/x"), of("https://A.example:443/y?z"));
        assert_ne!(of("https://a.example/"), of("https://b.example/"));
        assert_ne!(of("https://a.example/"), of("http://a.example/"));
        assert_ne!(of("https://a.example/"), of("https://a.example:8443/"));
        assert!(of("https://a.example/").starts_with("whsec_"));
        assert!(secret(&master, "mailto:a@b.example").is_err());
    }

    #[test]
    fn pauses_are_seconds_or_dates_within_bounds() {
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let pause = |text: &'static str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(text))]);
            retry_after(&headers, now).map(|pause| pause.as_secs())
        };
        assert_eq!(pause("120"), Some(120));
        assert_eq!(pause("0"), Some(1));
        assert_eq!(pause("999999"), Some(3600));
        assert_eq!(pause("Tue, 14 Nov 2023 22:15:00 GMT"), Some(100));
        assert_eq!(pause("Fri, 14 Nov 2003 22:15:00 GMT"), Some(1));
        assert_eq!(pause("soon"), None);
    }

    #[test]
    fn of_an_answer_a_little_is_kept() {
        let kept = |body: &[u8]| {
            kept(&Response {
                status: StatusCode::OK,
                headers: HeaderMap::new(),
                body: Bytes::copy_from_slice(body),
                is_truncated: false,
            })
        };
        assert_eq!(kept(b""), Value::Null);
        assert_eq!(kept(br#"{"ok": true}"#), json!({ "ok": true }));
        assert_eq!(kept(b" thanks\n"), json!("thanks"));
        assert_eq!(kept(br#"{"a": "\u0000"}"#), json!(r#"{"a": "\u0000"}"#));
        assert_eq!(kept(b"a\0b\xff"), json!("a\u{fffd}b\u{fffd}"));
        let long = kept("ä".repeat(10_000).as_bytes());
        assert_eq!(long.as_str().unwrap().chars().count(), MAX_KEPT_CHARS + 1);
    }
}
