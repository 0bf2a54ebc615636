//! How a page is answered.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::auth::pages::Page;

/// Kept nowhere, framed nowhere, and silent about its address, which may hold a secret.
pub(in crate::auth) fn answer(status: StatusCode, page: Page) -> Response {
    let policy = HeaderValue::from_str(&page.policy).expect("origins and hashes are header values");
    let fixed = HeaderValue::from_static;
    let headers = [
        (header::CONTENT_TYPE, fixed("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, policy),
        // For browsers that do not know frame-ancestors.
        (header::X_FRAME_OPTIONS, fixed("DENY")),
        (header::REFERRER_POLICY, fixed("no-referrer")),
        (header::X_CONTENT_TYPE_OPTIONS, fixed("nosniff")),
        (header::CACHE_CONTROL, fixed("no-store")),
        (HeaderName::from_static("x-robots-tag"), fixed("noindex")),
    ];
    (status, headers, page.html).into_response()
}
