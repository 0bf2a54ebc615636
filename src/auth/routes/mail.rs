//! Asking for mails: `/otp`, `/magiclink`, `/recover`, `/resend`, `/reauthenticate`, and by the service key `/invite` and
//! `/admin/generate_link`.

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use super::bearer::{Service, SignedIn};
use crate::auth::email::generate::{self, GeneratedLink, LinkRequest};
use crate::auth::email::request::{self, MailRequest, Wanted};
use crate::auth::email::{invite, reauthenticate};
use crate::auth::limits::{Limited, Origin};
use crate::auth::model::{Client, User};
use crate::auth::{Auth, AuthError};
use crate::http::{ApiError, Json, Query};

pub(super) fn routes() -> Router<Auth> {
    Router::new()
        .route("/otp", post(otp))
        .route("/magiclink", post(magic_link))
        .route("/recover", post(recover))
        .route("/resend", post(resend))
        .route("/confirm/resend", post(resend_confirmation))
        .route("/reauthenticate", get(reauthenticate))
        .route("/invite", post(invite))
        .route("/admin/generate_link", post(generate_link))
}

/// `redirect_to` is a query parameter of all of these; supython's clients send it in the body.
#[derive(Deserialize)]
pub(super) struct RedirectTo {
    pub(super) redirect_to: Option<String>,
}

/// The body of any of these; other members are ignored.
#[derive(Deserialize)]
struct Body {
    email: Option<String>,
    phone: Option<String>,
    data: Option<Value>,
    create_user: Option<bool>,
    #[serde(rename = "type")]
    kind: Option<String>,
    redirect_url: Option<String>,
    code_challenge: Option<String>,
    code_challenge_method: Option<String>,
}

impl Body {
    fn request(self, query: RedirectTo) -> Result<MailRequest, AuthError> {
        let is_given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        if is_given(&self.phone) && !is_given(&self.email) {
            return Err(AuthError::PhoneDisabled);
        }
        Ok(MailRequest {
            email: self.email,
            data: self.data,
            redirect_to: query.redirect_to.or(self.redirect_url),
            code_challenge: self.code_challenge,
            code_challenge_method: self.code_challenge_method,
        })
    }
}

type Answer = Result<Json<Value>, ApiError>;

async fn otp(
    State(auth): State<Auth>,
    client: Client,
    origin: Origin,
    Query(query): Query<RedirectTo>,
    Json(body): Json<Body>,
) -> Answer {
    let wanted = match body.create_user {
        Some(false) => Wanted::SignIn,
        _ => Wanted::SignInOrUp,
    };
    let input = body.request(query)?;
    request::request(&auth, (wanted, Limited::Otp), input, &client, origin).await?;
    Ok(Json(json!({})))
}

async fn magic_link(
    State(auth): State<Auth>,
    client: Client,
    origin: Origin,
    Query(query): Query<RedirectTo>,
    Json(body): Json<Body>,
) -> Answer {
    let what = (Wanted::SignInOrUp, Limited::MagicLink);
    request::request(&auth, what, body.request(query)?, &client, origin).await?;
    Ok(Json(json!({})))
}

async fn recover(
    State(auth): State<Auth>,
    client: Client,
    origin: Origin,
    Query(query): Query<RedirectTo>,
    Json(body): Json<Body>,
) -> Answer {
    let what = (Wanted::Recovery, Limited::Recover);
    request::request(&auth, what, body.request(query)?, &client, origin).await?;
    Ok(Json(json!({})))
}

async fn resend(
    State(auth): State<Auth>,
    client: Client,
    origin: Origin,
    Query(query): Query<RedirectTo>,
    Json(body): Json<Body>,
) -> Answer {
    let wanted = match body.kind.as_deref() {
        Some("signup") => Wanted::Confirmation,
        Some("email_change") => Wanted::EmailChange,
        Some("sms" | "phone_change") => return Err(AuthError::PhoneDisabled.into()),
        _ => {
            let message = "type must be one of signup, email_change, sms, phone_change";
            return Err(AuthError::Invalid(message).into());
        }
    };
    let what = (wanted, Limited::Confirm);
    request::request(&auth, what, body.request(query)?, &client, origin).await?;
    Ok(Json(json!({})))
}

async fn resend_confirmation(
    State(auth): State<Auth>,
    client: Client,
    origin: Origin,
    Query(query): Query<RedirectTo>,
    Json(body): Json<Body>,
) -> Answer {
    let what = (Wanted::Confirmation, Limited::Confirm);
    request::request(&auth, what, body.request(query)?, &client, origin).await?;
    Ok(Json(json!({})))
}

async fn reauthenticate(
    caller: SignedIn,
    State(auth): State<Auth>,
    client: Client,
    origin: Origin,
) -> Answer {
    reauthenticate::reauthenticate(&auth, caller.bearer(), &client, origin).await?;
    Ok(Json(json!({})))
}

async fn invite(
    _: Service,
    State(auth): State<Auth>,
    client: Client,
    Query(query): Query<RedirectTo>,
    Json(body): Json<Body>,
) -> Result<Json<User>, ApiError> {
    let redirect_to = query.redirect_to.or(body.redirect_url);
    let whom = (body.email.as_deref(), body.data);
    let invited = invite::invite(&auth, whom, redirect_to.as_deref(), &client).await?;
    Ok(Json(invited))
}

async fn generate_link(
    _: Service,
    State(auth): State<Auth>,
    client: Client,
    Query(query): Query<RedirectTo>,
    Json(body): Json<LinkRequest>,
) -> Result<Json<GeneratedLink>, ApiError> {
    let redirect_to = query.redirect_to.as_deref();
    let link = generate::generate(&auth, body, redirect_to, &client).await?;
    Ok(Json(link))
}
