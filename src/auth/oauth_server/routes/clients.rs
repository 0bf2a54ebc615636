//! `/admin/oauth/clients` for the service key, and `/oauth/clients/register` for programs.

use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use crate::auth::limits::Origin;
use crate::auth::model::Client;
use crate::auth::oauth_server::client::{self, ClientInput, ClientView, Registration};
use crate::auth::routes::bearer::Service;
use crate::auth::{Auth, AuthError};
use crate::error::ErrorCode;
use crate::http::{ApiError, Json, Path, Query};

const PER_PAGE: u32 = 50;
const MOST_PER_PAGE: u32 = 1000;

/// A refusal carries RFC 7591's members too: those who register by that standard read them.
pub(super) async fn register(
    State(auth): State<Auth>,
    from: Client,
    origin: Origin,
    Json(input): Json<ClientInput>,
) -> Result<(StatusCode, Json<ClientView>), ApiError> {
    let registered = client::register(&auth, input, &from, origin).await;
    let view = registered.map_err(|error| {
        let error = ApiError::from(error);
        if error.code() != ErrorCode::ValidationFailed {
            return error;
        }
        let text = error.message().to_owned();
        let word = if text.contains("redirect") {
            "invalid_redirect_uri"
        } else {
            "invalid_client_metadata"
        };
        error.with("error", word).with("error_description", text)
    })?;
    Ok((StatusCode::CREATED, Json(view)))
}

pub(super) async fn create(
    _: Service,
    State(auth): State<Auth>,
    from: Client,
    Json(input): Json<ClientInput>,
) -> Result<(StatusCode, Json<ClientView>), ApiError> {
    let view = client::add(&auth, input, Registration::Manual, &from).await?;
    Ok((StatusCode::CREATED, Json(view)))
}

/// Clients send `page=&per_page=` for the defaults.
#[derive(Deserialize)]
pub(super) struct Page {
    page: Option<String>,
    per_page: Option<String>,
}

pub(super) async fn list(
    _: Service,
    State(auth): State<Auth>,
    Query(asked): Query<Page>,
) -> Result<Response, ApiError> {
    let page = number(asked.page.as_deref(), 1, u32::MAX)?;
    let per_page = number(asked.per_page.as_deref(), PER_PAGE, MOST_PER_PAGE)?;
    let (clients, total) = client::list(&auth, (page, per_page)).await?;
    let headers = [
        (
            HeaderName::from_static("x-total-count"),
            HeaderValue::from(total),
        ),
        (header::LINK, link((page, per_page), total)),
    ];
    let body = json!({ "clients": clients, "aud": auth.config().jwt.aud });
    Ok((headers, Json(body)).into_response())
}

fn number(text: Option<&str>, default: u32, most: u32) -> Result<u32, AuthError> {
    match text {
        None | Some("") => Ok(default),
        Some(text) => match text.parse::<u32>() {
            Ok(value) if value > 0 => Ok(value.min(most)),
            _ => Err(AuthError::Invalid(
                "page and per_page must be positive numbers",
            )),
        },
    }
}

/// `page` comes first and `rel` is quoted: the JavaScript client depends on both.
fn link((page, per_page): (u32, u32), total: i64) -> HeaderValue {
    let last = u32::try_from(total.max(1) - 1).unwrap_or(u32::MAX) / per_page + 1;
    let to = |page: u32, rel: &str| {
        format!("</auth/v1/admin/oauth/clients?page={page}&per_page={per_page}>; rel=\"{rel}\"")
    };
    let next = (page < last).then(|| to(page + 1, "next"));
    let links: Vec<_> = next.into_iter().chain([to(last, "last")]).collect();
    HeaderValue::from_str(&links.join(", ")).expect("it is made of ASCII")
}

pub(super) async fn show(
    _: Service,
    State(auth): State<Auth>,
    Path(id): Path<Uuid>,
) -> Result<Json<ClientView>, ApiError> {
    Ok(Json(client::show(&auth, id).await?))
}

pub(super) async fn change(
    _: Service,
    State(auth): State<Auth>,
    from: Client,
    Path(id): Path<Uuid>,
    Json(input): Json<ClientInput>,
) -> Result<Json<ClientView>, ApiError> {
    Ok(Json(client::change(&auth, id, input, &from).await?))
}

pub(super) async fn remove(
    _: Service,
    State(auth): State<Auth>,
    from: Client,
    Path(id): Path<Uuid>,
) -> Result<StatusCode, ApiError> {
    client::remove(&auth, id, &from).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn regenerate_secret(
    _: Service,
    State(auth): State<Auth>,
    from: Client,
    Path(id): Path<Uuid>,
) -> Result<Json<ClientView>, ApiError> {
    Ok(Json(client::regenerate_secret(&auth, id, &from).await?))
}
