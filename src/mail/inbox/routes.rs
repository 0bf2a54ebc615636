//! `/inbox`: pages for people, and the part of Mailpit's API that tests use.

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Mail, Search, access, page, queries};
use crate::error::ErrorCode;
use crate::http::{ApiError, ClientIp, Json, Path, Query};
use crate::mail::Mailer;

/// Most mails of one answer.
const MOST: i64 = 500;

/// Mounted at `/inbox`.
pub(crate) fn router(mailer: Mailer) -> Router {
    Router::new()
        .route("/", get(list_page))
        .route("/style.css", get(async || page::style()))
        .route("/clear", post(clear))
        .route("/mail/{id}", get(mail_page))
        .route("/mail/{id}/html", get(mail_html))
        .route("/api/v1/messages", get(messages).delete(remove))
        .route("/api/v1/search", get(messages))
        .route("/api/v1/message/{id}", get(message))
        .route_layer(from_fn_with_state(mailer.clone(), guard))
        .with_state(mailer)
}

async fn guard(
    State(mailer): State<Mailer>,
    ClientIp(client): ClientIp,
    request: Request,
    next: Next,
) -> Response {
    let is_public = mailer.config().mail.inbox_public;
    match access::check(client, request.headers(), is_public) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

#[derive(Debug, Default, Deserialize)]
struct ListQuery {
    #[serde(default)]
    query: String,
    start: Option<u32>,
    limit: Option<u32>,
}

impl ListQuery {
    fn range(&self) -> (i64, i64) {
        let limit = self.limit.map_or(50, i64::from).clamp(0, MOST);
        (self.start.unwrap_or(0).into(), limit)
    }
}

async fn list_page(
    State(mailer): State<Mailer>,
    Query(query): Query<ListQuery>,
) -> Result<Response, ApiError> {
    let search = Search::parse(&query.query);
    let connection = mailer.0.db.auth().connection().await?;
    let (mails, total) = queries::list(&connection, &search, (0, MOST)).await?;
    page::list(&mails, total, &query.query)
}

async fn mail_page(
    State(mailer): State<Mailer>,
    Path(id): Path<Uuid>,
) -> Result<Response, ApiError> {
    page::mail(&find(&mailer, id).await?)
}

async fn mail_html(
    State(mailer): State<Mailer>,
    Path(id): Path<Uuid>,
) -> Result<Response, ApiError> {
    Ok(page::html(&find(&mailer, id).await?))
}

async fn clear(State(mailer): State<Mailer>) -> Result<Redirect, ApiError> {
    let connection = mailer.0.db.auth().connection().await?;
    queries::remove(&connection, None).await?;
    Ok(Redirect::to("/inbox"))
}

async fn messages(
    State(mailer): State<Mailer>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Value>, ApiError> {
    let search = Search::parse(&query.query);
    let connection = mailer.0.db.auth().connection().await?;
    let (mails, total) = queries::list(&connection, &search, query.range()).await?;
    let messages: Vec<Value> = mails.iter().map(super::Summary::to_mailpit).collect();
    Ok(Json(json!({
        "total": total,
        "unread": total,
        "count": messages.len(),
        "messages_count": total,
        "messages_unread": total,
        "start": query.range().0,
        "tags": [],
        "messages": messages,
    })))
}

/// `latest` is the newest one.
async fn message(
    State(mailer): State<Mailer>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let id = if id == "latest" {
        let connection = mailer.0.db.auth().connection().await?;
        let (newest, _) = queries::list(&connection, &Search::default(), (0, 1)).await?;
        newest.first().map(|mail| mail.id)
    } else {
        id.parse().ok()
    };
    let id = id.ok_or_else(not_found)?;
    Ok(Json(find(&mailer, id).await?.to_mailpit()))
}

#[derive(Debug, Default, Deserialize)]
struct Remove {
    #[serde(rename = "IDs", default)]
    ids: Vec<Uuid>,
}

/// The mails that are named, or all.
async fn remove(
    State(mailer): State<Mailer>,
    Json(body): Json<Remove>,
) -> Result<&'static str, ApiError> {
    let ids = Some(body.ids.as_slice()).filter(|ids| !ids.is_empty());
    let connection = mailer.0.db.auth().connection().await?;
    queries::remove(&connection, ids).await?;
    Ok("ok")
}

async fn find(mailer: &Mailer, id: Uuid) -> Result<Mail, ApiError> {
    let connection = mailer.0.db.auth().connection().await?;
    let found = queries::find(&connection, id).await?;
    found.ok_or_else(not_found)
}

fn not_found() -> ApiError {
    ApiError::new(ErrorCode::NotFound, "There is no such mail")
}
