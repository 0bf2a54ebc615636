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
use crate::auth::phone::request::OtpRequest;
use crate::auth::{Auth, AuthError, phone};
use crate::http::{ApiError, Json, Query};

pub(super) fn routes() -> Router<Auth> {
    Router::new()
        .route("/otp", post(otp))
        .route(
            "/magiclink",
            post(|call: Call| ask(call, Wanted::SignInOrUp, Limited::MagicLink)),
        )
        .route(
            "/recover",
            post(|call: Call| ask(call, Wanted::Recovery, Limited::Recover)),
        )
        .route("/resend", post(resend))
        .route(
            "/confirm/resend",
            post(|call: Call| ask(call, Wanted::Confirmation, Limited::Confirm)),
        )
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
    channel: Option<String>,
    data: Option<Value>,
    create_user: Option<bool>,
    #[serde(rename = "type")]
    kind: Option<String>,
    redirect_url: Option<String>,
    code_challenge: Option<String>,
    code_challenge_method: Option<String>,
}

impl Body {
    /// Whether there is a number, and no address.
    fn is_by_phone(&self) -> bool {
        let is_given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        is_given(&self.phone) && !is_given(&self.email)
    }

    fn request(self, query: RedirectTo) -> Result<MailRequest, AuthError> {
        if self.is_by_phone() {
            return Err(AuthError::Invalid("Missing email address"));
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
    if body.is_by_phone() {
        let input = OtpRequest {
            phone: body.phone.unwrap_or_default(),
            data: body.data,
            create_user: body.create_user != Some(false),
            channel: body.channel,
        };
        phone::request::otp(&auth, input, &client, origin).await?;
        return Ok(Json(json!({})));
    }
    let wanted = match body.create_user {
        Some(false) => Wanted::SignIn,
        _ => Wanted::SignInOrUp,
    };
    let input = body.request(query)?;
    request::request(&auth, (wanted, Limited::Otp), input, &client, origin).await?;
    Ok(Json(json!({})))
}

type Call = (State<Auth>, Client, Origin, Query<RedirectTo>, Json<Body>);

/// The routes that always ask for the same mail.
async fn ask(
    (State(auth), client, origin, Query(query), Json(body)): Call,
    wanted: Wanted,
    limited: Limited,
) -> Answer {
    let input = body.request(query)?;
    request::request(&auth, (wanted, limited), input, &client, origin).await?;
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
        Some(kind @ ("sms" | "phone_change")) => {
            let phone = body.phone.as_deref().unwrap_or_default();
            phone::request::resend(&auth, kind, phone, &client, origin).await?;
            return Ok(Json(json!({})));
        }
        _ => {
            let message = "type must be one of signup, email_change, sms, phone_change";
            return Err(AuthError::Invalid(message).into());
        }
    };
    let what = (wanted, Limited::Confirm);
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
