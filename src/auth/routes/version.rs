//! The two error shapes of the wire format: which one a client reads depends on the API version it sends.

use axum::Json;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use chrono::NaiveDate;
use serde_json::{Map, Value};

use crate::http::ApiError;

static VERSION: HeaderName = HeaderName::from_static("x-supabase-api-version");

/// Answers errors in the client's shape, echoes the version, and keeps answers out of caches.
pub(super) async fn layer(request: Request, next: Next) -> Response {
    let version = version(request.headers());
    let mut response = next.run(request).await;
    match version {
        Some(version) => {
            response.headers_mut().insert(VERSION.clone(), version);
        }
        None => response = legacy(response),
    }
    response
        .headers_mut()
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

/// A version with error codes as text.
fn version(headers: &HeaderMap) -> Option<HeaderValue> {
    let value = headers.get(&VERSION)?;
    let date: NaiveDate = value.to_str().ok()?.parse().ok()?;
    (date >= NaiveDate::from_ymd_opt(2024, 1, 1)?).then(|| value.clone())
}

/// `{ code: <status>, error_code, msg, … }`.
fn legacy(response: Response) -> Response {
    let Some(error) = response.extensions().get::<ApiError>().cloned() else {
        return response;
    };
    let mut body: Map<String, Value> = error.extra().clone();
    body.insert("code".to_owned(), error.status().as_u16().into());
    body.insert("error_code".to_owned(), error.code().as_str().into());
    body.insert("msg".to_owned(), error.message().into());
    let (mut parts, _) = response.into_parts();
    // The new body has another length.
    parts.headers.remove(header::CONTENT_LENGTH);
    let mut rewritten = Json(body).into_response();
    let kind = rewritten.headers_mut().remove(header::CONTENT_TYPE);
    parts
        .headers
        .extend(kind.map(|kind| (header::CONTENT_TYPE, kind)));
    Response::from_parts(parts, rewritten.into_body())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_dates_from_2024_on_are_versions() {
        for (text, known) in [
            ("2024-01-01", true),
            ("2025-06-30", true),
            ("2023-12-31", false),
            ("latest", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(VERSION.clone(), text.parse().unwrap());
            assert_eq!(version(&headers).is_some(), known, "{text}");
        }
        assert_eq!(version(&HeaderMap::new()), None);
    }
}
