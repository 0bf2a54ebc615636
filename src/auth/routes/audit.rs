//! `GET /admin/audit` and `GET /events`.

use axum::Router;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::get;
use serde::Deserialize;

use super::bearer::{Service, SignedIn};
use super::paging;
use crate::auth::audit_log::{self, MAX_PER_PAGE, Search};
use crate::auth::{Auth, AuthError};
use crate::http::{ApiError, Json, Query};

pub(super) fn routes() -> Router<Auth> {
    Router::new()
        .route("/admin/audit", get(list))
        .route("/events", get(own))
}

/// Clients send an empty text for what they leave out.
#[derive(Deserialize)]
struct ListQuery {
    page: Option<String>,
    per_page: Option<String>,
    query: Option<String>,
}

impl ListQuery {
    fn paging(&self) -> Result<(u32, u32), AuthError> {
        Ok((
            paging::number(self.page.as_deref(), 1, u32::MAX)?,
            paging::number(self.per_page.as_deref(), 50, MAX_PER_PAGE)?,
        ))
    }
}

async fn list(
    _: Service,
    State(auth): State<Auth>,
    Query(query): Query<ListQuery>,
) -> Result<impl IntoResponse, ApiError> {
    let paging = query.paging()?;
    let text = query.query.as_deref().filter(|text| !text.is_empty());
    let (entries, total) = audit_log::list(&auth, Search::parse(text)?, paging).await?;
    let others: Vec<_> = text.map(|text| ("query", text)).into_iter().collect();
    let headers = paging::headers("/admin/audit", paging, &others, total);
    Ok((headers, Json(entries)))
}

async fn own(
    caller: SignedIn,
    State(auth): State<Auth>,
    Query(query): Query<ListQuery>,
) -> Result<impl IntoResponse, ApiError> {
    let paging = query.paging()?;
    let (entries, total) = audit_log::own(&auth, caller.bearer(), paging).await?;
    let headers = paging::headers("/events", paging, &[], total);
    Ok((headers, Json(entries)))
}
