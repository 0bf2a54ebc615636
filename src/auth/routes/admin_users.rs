//! `/admin/users`, for the service key.

use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::bearer::Service;
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

/// Clients send `page=&per_page=` for the defaults.
#[derive(Deserialize)]
pub(super) struct ListQuery {
    page: Option<String>,
    per_page: Option<String>,
    filter: Option<String>,
}

pub(super) async fn list(
    _: Service,
    State(auth): State<Auth>,
    Query(query): Query<ListQuery>,
) -> Result<impl IntoResponse, ApiError> {
    let list = ListUsers {
        page: number(query.page.as_deref(), 1, u32::MAX)?,
        per_page: number(query.per_page.as_deref(), 50, MAX_PER_PAGE)?,
        filter: query.filter.filter(|filter| !filter.is_empty()),
    };
    let page = admin::list_users(&auth, &list).await?;
    let headers = [
        (
            HeaderName::from_static("x-total-count"),
            HeaderValue::from(page.total),
        ),
        (header::LINK, link(&list, page.total)),
    ];
    let body = json!({ "users": page.users, "aud": auth.config().jwt.aud });
    Ok((headers, Json(body)))
}

/// From 1 to `max`; larger numbers count as `max`.
fn number(text: Option<&str>, default: u32, max: u32) -> Result<u32, AuthError> {
    match text {
        None | Some("") => Ok(default),
        Some(text) => match text.parse::<u64>() {
            Ok(value) if value > 0 => Ok(u32::try_from(value).map_or(max, |value| value.min(max))),
            _ => Err(AuthError::Invalid(
                "page and per_page must be positive numbers",
            )),
        },
    }
}

/// `page` comes first and `rel` is quoted: the JavaScript client depends on both.
fn link(wanted: &ListUsers, total: i64) -> HeaderValue {
    let last = u32::try_from(total.max(1) - 1).unwrap_or(u32::MAX) / wanted.per_page + 1;
    let filter = wanted.filter.as_ref().map_or_else(String::new, |filter| {
        let text: String = url::form_urlencoded::byte_serialize(filter.as_bytes()).collect();
        format!("&filter={text}")
    });
    let to = |page: u32, rel: &str| {
        let per_page = wanted.per_page;
        format!("</auth/v1/admin/users?page={page}&per_page={per_page}{filter}>; rel=\"{rel}\"")
    };
    let mut links = Vec::new();
    if wanted.page < last {
        links.push(to(wanted.page + 1, "next"));
    }
    links.push(to(last, "last"));
    HeaderValue::from_str(&links.join(", ")).expect("percent-encoded text is a header value")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_name_the_next_and_the_last_page() {
        let list = |page, filter: Option<&str>| ListUsers {
            page,
            per_page: 2,
            filter: filter.map(str::to_owned),
        };
        assert_eq!(
            link(&list(1, None), 5),
            "</auth/v1/admin/users?page=2&per_page=2>; rel=\"next\", </auth/v1/admin/users?page=3&per_page=2>; rel=\"last\""
        );
        assert_eq!(
            link(&list(3, Some("a>,\r\n")), 5),
            "</auth/v1/admin/users?page=3&per_page=2&filter=a%3E%2C%0D%0A>; rel=\"last\""
        );
        assert_eq!(
            link(&list(1, None), 0),
            "</auth/v1/admin/users?page=1&per_page=2>; rel=\"last\""
        );
    }

    #[test]
    fn numbers_have_bounds() {
        for (text, expected) in [
            (None, Some(50)),
            (Some(""), Some(50)),
            (Some("7"), Some(7)),
            (Some("99999999999"), Some(1000)),
            (Some("0"), None),
            (Some("-1"), None),
            (Some("x"), None),
        ] {
            assert_eq!(number(text, 50, 1000).ok(), expected, "{text:?}");
        }
    }
}
