//! `/admin/users`, for the service key.

use axum::extract::State;
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::bearer::Service;
use super::paging;
use crate::auth::admin::{self, ListUsers, MAX_PER_PAGE, NewAccount};
use crate::auth::model::{Client, User};
use crate::auth::{Auth, AuthError};
use crate::http::{ApiError, Json, Path, Query};

pub(super) async fn create(
    _: Service,
    State(auth): State<Auth>,
    client: Client,
    Json(body): Json<NewAccount>,
) -> Result<Json<User>, ApiError> {
    Ok(Json(admin::add_user(&auth, body, &client).await?))
}

pub(super) async fn show(
    _: Service,
    State(auth): State<Auth>,
    Path(id): Path<Uuid>,
) -> Result<Json<User>, ApiError> {
    Ok(Json(admin::find(&auth, id).await?))
}

pub(super) async fn update(
    _: Service,
    State(auth): State<Auth>,
    client: Client,
    Path(id): Path<Uuid>,
    Json(body): Json<NewAccount>,
) -> Result<Json<User>, ApiError> {
    Ok(Json(admin::update(&auth, id, body, &client).await?))
}

#[derive(Deserialize)]
pub(super) struct DeleteBody {
    should_soft_delete: Option<bool>,
}

pub(super) async fn delete(
    _: Service,
    State(auth): State<Auth>,
    client: Client,
    Path(id): Path<Uuid>,
    Json(body): Json<DeleteBody>,
) -> Result<Json<Value>, ApiError> {
    let soft = body.should_soft_delete == Some(true);
    admin::delete(&auth, id, soft, &client).await?;
    Ok(Json(json!({})))
}

/// Clients send an empty text for what they leave out.
#[derive(Deserialize)]
pub(super) struct ListQuery {
    page: Option<String>,
    per_page: Option<String>,
    filter: Option<String>,
    email: Option<String>,
    phone: Option<String>,
    sort: Option<String>,
}

pub(super) async fn list(
    _: Service,
    State(auth): State<Auth>,
    Query(query): Query<ListQuery>,
) -> Result<impl IntoResponse, ApiError> {
    let (list, others) = wanted(&query)?;
    let page = admin::list_users(&auth, &list).await?;
    let paging = (list.page, list.per_page);
    let headers = paging::headers("/admin/users", paging, &others, page.total);
    let body = json!({ "users": page.users, "aud": auth.config().jwt.aud });
    Ok((headers, Json(body)))
}

/// What to list, and the parameters that links to other pages repeat.
#[expect(clippy::type_complexity, reason = "two things, one of them pairs")]
fn wanted(query: &ListQuery) -> Result<(ListUsers, Vec<(&str, &str)>), AuthError> {
    let given = [
        ("filter", &query.filter),
        ("email", &query.email),
        ("phone", &query.phone),
        ("sort", &query.sort),
    ];
    let others: Vec<(&str, &str)> = given
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.as_deref().filter(|text| !text.is_empty())?)))
        .collect();
    let defaults = ListUsers::default();
    let sort = query.sort.as_deref().filter(|text| !text.is_empty());
    let list = ListUsers {
        page: paging::number(query.page.as_deref(), 1, u32::MAX)?,
        per_page: paging::number(query.per_page.as_deref(), 50, MAX_PER_PAGE)?,
        filter: query.filter.clone(),
        email: query.email.clone(),
        phone: query.phone.clone(),
        sort: sort.map_or(Ok(defaults.sort), ListUsers::parse_sort)?,
    };
    Ok((list, others))
}
