//! `/authorize`, `/callback` and the identities of the signed-in user.

use axum::Router;
use axum::extract::rejection::BytesRejection;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use bytes::Bytes;
use serde_json::{Value, json};
use uuid::Uuid;

use super::callback::{self, Answer};
use super::start::{self, Browser, Start};
use super::{identities, page};
use crate::auth::limits::Origin;
use crate::auth::model::Client;
use crate::auth::routes::bearer::SignedIn;
use crate::auth::routes::page::answer as answer_page;
use crate::auth::{Auth, AuthError};
use crate::error::ErrorCode;
use crate::http::{ApiError, Json, Path, Query};

/// The routes of this room.
pub(in crate::auth) fn routes() -> Router<Auth> {
    Router::new()
        .route("/authorize", get(authorize))
        .route("/authorize/continue", get(resume))
        .route("/authorize/{provider}", get(authorize_provider))
        .route("/callback", get(answer).post(posted))
        .route(
            "/callback/{provider}",
            get(answer_of_provider).post(posted_of_provider),
        )
        .route("/user/identities/authorize", get(authorize_link))
        .route("/user/identities/{id}", delete(unlink))
}

async fn authorize(
    State(auth): State<Auth>,
    origin: Origin,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let start = Start::from_query(query.as_deref().unwrap_or_default());
    begin(&auth, &start, &headers, origin).await
}

/// The other form of the same: the provider in the path, and `redirect_uri` for `redirect_to`.
async fn authorize_provider(
    State(auth): State<Auth>,
    origin: Origin,
    headers: HeaderMap,
    Path(provider): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let mut start = Start::from_query(query.as_deref().unwrap_or_default());
    start.provider = provider;
    if start.redirect_to.is_none() {
        let mut given = start.parameters.iter();
        let given = given.find(|(name, _)| name == "redirect_uri");
        start.redirect_to = given.map(|(_, value)| value.clone());
    }
    begin(&auth, &start, &headers, origin).await
}

async fn begin(
    auth: &Auth,
    start: &Start,
    headers: &HeaderMap,
    origin: Origin,
) -> Result<Response, ApiError> {
    let config = auth.config();
    let browser = Browser::of(&config, headers);
    let url = start::begin(auth, start, &browser, origin).await?;
    lead_to(&url, Some(browser.cookie(&config)))
}

#[derive(serde::Deserialize)]
struct Resumed {
    state: Option<String>,
}

async fn resume(
    State(auth): State<Auth>,
    client: Client,
    headers: HeaderMap,
    Query(resumed): Query<Resumed>,
) -> Result<Response, ApiError> {
    let config = auth.config();
    let browser = Browser::of(&config, &headers);
    let state = resumed.state.unwrap_or_default();
    let url = start::resume(&auth, &state, &browser, &client).await?;
    lead_to(&url, Some(browser.cookie(&config)))
}

async fn answer(
    State(auth): State<Auth>,
    client: Client,
    headers: HeaderMap,
    Query(answer): Query<Answer>,
) -> Result<Response, ApiError> {
    finish(&auth, &answer, (&headers, None), &client).await
}

async fn answer_of_provider(
    State(auth): State<Auth>,
    client: Client,
    headers: HeaderMap,
    Path(provider): Path<String>,
    Query(answer): Query<Answer>,
) -> Result<Response, ApiError> {
    finish(&auth, &answer, (&headers, Some(&provider)), &client).await
}

async fn posted(
    State(auth): State<Auth>,
    client: Client,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let answer = form(body)?;
    finish_posted(&auth, &answer, (&headers, None), &client).await
}

async fn posted_of_provider(
    State(auth): State<Auth>,
    client: Client,
    headers: HeaderMap,
    Path(provider): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let answer = form(body)?;
    finish_posted(&auth, &answer, (&headers, Some(&provider)), &client).await
}

fn form(body: Result<Bytes, BytesRejection>) -> Result<Answer, ApiError> {
    let message = "The form could not be read";
    let body = body.map_err(|_| ApiError::new(ErrorCode::RequestEntityTooLarge, message))?;
    Ok(Answer::from_form(&body))
}

/// A first POST comes from the provider's site, without our cookie: our own page repeats it.
async fn finish_posted(
    auth: &Auth,
    answer: &Answer,
    to: (&HeaderMap, Option<&str>),
    client: &Client,
) -> Result<Response, ApiError> {
    if answer.bounced.is_some() {
        return finish(auth, answer, to, client).await;
    }
    Ok(answer_page(StatusCode::OK, page::bounce(answer)?))
}

async fn finish(
    auth: &Auth,
    answer: &Answer,
    (headers, provider): (&HeaderMap, Option<&str>),
    client: &Client,
) -> Result<Response, ApiError> {
    let browser = Browser::known(&auth.config(), headers);
    let from = (browser.as_ref(), provider);
    let url = callback::finish(auth, answer, from, client).await?;
    lead_to(&url, None)
}

async fn authorize_link(
    caller: SignedIn,
    State(auth): State<Auth>,
    origin: Origin,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let start = Start::from_query(query.as_deref().unwrap_or_default());
    let user_id = identities::linking_user(&auth, caller.bearer()).await?;
    let url = start::begin_link(&auth, &start, user_id, origin).await?;
    let mut parameters = start.parameters.iter();
    if parameters.any(|(name, value)| name == "skip_http_redirect" && value == "true") {
        Ok(Json(json!({ "url": url })).into_response())
    } else {
        lead_to(&url, None)
    }
}

async fn unlink(
    caller: SignedIn,
    State(auth): State<Auth>,
    client: Client,
    Path(id): Path<Uuid>,
) -> Result<Json<Value>, ApiError> {
    identities::unlink(&auth, caller.bearer(), id, &client).await?;
    Ok(Json(json!({})))
}

/// Sends the browser there. Addresses with tokens and codes stay out of caches and referrers.
fn lead_to(url: &str, cookie: Option<String>) -> Result<Response, ApiError> {
    let bad = || AuthError::Internal("an address to lead to is no header".to_owned());
    let value = |text: &str| HeaderValue::from_str(text).map_err(|_| bad());
    let mut headers: Vec<(HeaderName, HeaderValue)> = vec![
        (header::LOCATION, value(url)?),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (
            header::REFERRER_POLICY,
            HeaderValue::from_static("no-referrer"),
        ),
    ];
    if let Some(cookie) = cookie {
        headers.push((header::SET_COOKIE, value(&cookie)?));
    }
    let mut response = StatusCode::FOUND.into_response();
    response.headers_mut().extend(headers);
    Ok(response)
}
