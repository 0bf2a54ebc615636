//! Where a captcha is asked for: a layer around all routes, so that none of the paths below can be reached without.

use axum::body::Body;
use axum::extract::{FromRequest as _, FromRequestParts as _, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use serde::Deserialize;

use crate::auth::model::Client;
use crate::auth::{Auth, captcha};
use crate::error::ErrorCode;
use crate::http::ApiError;
use crate::identity::Caller;

/// What anybody may ask for without having signed in, and what costs money, mails or guesses. Codes that were mailed or
/// texted are not among it (`/verify`, `/otp/verify`, `/recover/verify`): no client has a captcha where one is typed, it was
/// asked for when the code was, and five wrong ones end the code. The same holds for the answer to a passkey's challenge.
const PROTECTED: &[&str] = &[
    "/signup",
    "/token",
    "/otp",
    "/magiclink",
    "/recover",
    "/resend",
    "/confirm/resend",
    "/sso",
    "/passkeys/authentication/options",
];

/// Grants that present something that cannot be guessed.
const FREE_GRANTS: [&str; 3] = ["refresh_token", "pkce", "id_token"];

/// The part of a body that is read here.
#[derive(Default, Deserialize)]
struct Protected {
    gotrue_meta_security: Option<Security>,
}

#[derive(Default, Deserialize)]
struct Security {
    captcha_token: Option<String>,
}

pub(super) async fn layer(State(auth): State<Auth>, request: Request, next: Next) -> Response {
    if !captcha::is_required(&auth) || !is_protected(&request) {
        return next.run(request).await;
    }
    match solved(&auth, request).await {
        Ok(request) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

fn is_protected(request: &Request) -> bool {
    let path = request.uri().path();
    let is_free = || {
        let query = request.uri().query().unwrap_or_default();
        let mut grants = url::form_urlencoded::parse(query.as_bytes())
            .filter(|(name, _)| name == "grant_type")
            .map(|(_, grant)| FREE_GRANTS.contains(&grant.as_ref()))
            .peekable();
        grants.peek().is_some() && grants.all(|is_free| is_free)
    };
    request.method() == axum::http::Method::POST
        && PROTECTED.contains(&path)
        && !(path == "/token" && is_free())
}

/// The request again, once its captcha has been checked. The service key needs none.
async fn solved(auth: &Auth, request: Request) -> Result<Request, ApiError> {
    let (mut parts, body) = request.into_parts();
    let caller = Caller::from_request_parts(&mut parts, auth).await;
    if caller.is_ok_and(|caller| caller.is_service()) {
        return Ok(Request::from_parts(parts, body));
    }
    let Ok(client) = Client::from_request_parts(&mut parts, auth).await;
    let whole = Request::from_parts(parts.clone(), body);
    let bytes = Bytes::from_request(whole, auth).await.map_err(|_| {
        let message = "The request body is too large";
        ApiError::new(ErrorCode::RequestEntityTooLarge, message)
    })?;
    let read: Protected = serde_json::from_slice(&bytes).unwrap_or_default();
    let security = read.gotrue_meta_security.unwrap_or_default();
    captcha::check(auth, security.captcha_token.as_deref(), &client).await?;
    Ok(Request::from_parts(parts, Body::from(bytes)))
}
