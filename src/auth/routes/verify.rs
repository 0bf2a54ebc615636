//! `/verify`, and the routes by which supython's clients reach it.
//!
//! `GET` is what a mailed link opens: a page with a button, or, if the project wants that, the use of the link. The button
//! sends a form to `/verify/link`. `POST /verify` is for applications and answers JSON.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::json;

use super::page;
use crate::auth::email::verify::{self, Followed, HALF_CONFIRMED, Verification, Verified};
use crate::auth::email::{page as confirm_page, recover};
use crate::auth::limits::Origin;
use crate::auth::model::{Client, TokenResponse};
use crate::auth::{Auth, AuthError, phone, redirect};
use crate::config::VerifyGet;
use crate::http::{ApiError, Form, Json, Query};

pub(super) fn routes() -> Router<Auth> {
    Router::new()
        .route("/verify", get(open).post(verify))
        .route("/verify/link", post(follow))
        .route("/otp/verify", post(verify_otp))
        .route("/recover/verify", post(recover))
        .route(
            "/magiclink/verify",
            get(open_magic_link).post(verify_magic_link),
        )
        .route("/confirm/verify", get(open_signup).post(verify_signup))
        .route(
            "/email_change/verify",
            get(open_email_change).post(verify_email_change),
        )
}

/// What a link carries.
#[derive(Default, Deserialize)]
struct Link {
    token: Option<String>,
    token_hash: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    redirect_to: Option<String>,
}

impl Link {
    fn from_form(form: &str) -> Self {
        let mut link = Self::default();
        for (name, value) in url::form_urlencoded::parse(form.as_bytes()) {
            let field = match name.as_ref() {
                "token" => &mut link.token,
                "type" => &mut link.kind,
                "redirect_to" => &mut link.redirect_to,
                _ => continue,
            };
            *field = Some(value.into_owned());
        }
        link
    }

    /// Some routes know the kind.
    fn followed(self, kind: Option<&str>) -> Followed {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        Followed {
            token: given(self.token)
                .or(given(self.token_hash))
                .unwrap_or_default(),
            kind: kind.map_or_else(|| self.kind.unwrap_or_default(), str::to_owned),
            redirect_to: self.redirect_to,
        }
    }
}

type Answer = Result<Response, ApiError>;

type Opened = (Method, State<Auth>, Client, Origin, Query<Link>);

async fn open(opened: Opened) -> Answer {
    show(opened, None).await
}

async fn open_magic_link(opened: Opened) -> Answer {
    show(opened, Some("magiclink")).await
}

async fn open_signup(opened: Opened) -> Answer {
    show(opened, Some("signup")).await
}

async fn open_email_change(opened: Opened) -> Answer {
    show(opened, Some("email_change")).await
}

/// `HEAD` never uses a link up, whatever `GET` does.
async fn show(
    (method, State(auth), client, origin, Query(link)): Opened,
    kind: Option<&str>,
) -> Answer {
    let config = auth.config();
    let link = link.followed(kind);
    if config.auth.verify_get == VerifyGet::Consume && method == Method::GET {
        let location = verify::follow(&auth, &link, &client, origin).await?;
        return Ok(see_other(&location));
    }
    verify::purposes(&link.kind)?;
    if link.token.is_empty() {
        return Err(AuthError::Invalid("Verify requires a token or a token hash").into());
    }
    let target = redirect::target(&config, link.redirect_to.as_deref())?;
    let fields = [
        ("token", link.token.as_str()),
        ("type", link.kind.as_str()),
        (
            "redirect_to",
            link.redirect_to.as_deref().unwrap_or_default(),
        ),
    ];
    let action = format!("{}/auth/v1/verify/link", path_of(&config.api_url()));
    let page = confirm_page::confirm(&link.kind, &action, &fields, &target)?;
    Ok(page::answer(StatusCode::OK, page))
}

/// Behind a proxy the service may be mounted elsewhere; the browser knows the host.
fn path_of(api_url: &str) -> String {
    url::Url::parse(api_url).map_or_else(
        |_| String::new(),
        |url| url.path().trim_end_matches('/').to_owned(),
    )
}

/// A form that another site sends could sign somebody in without their doing.
fn check_site(headers: &HeaderMap) -> Result<(), AuthError> {
    match headers.get("sec-fetch-site") {
        Some(site) if site != "same-origin" && site != "none" => Err(AuthError::Invalid(
            "open the link itself and press its button",
        )),
        _ => Ok(()),
    }
}

/// The button was pressed.
async fn follow(
    State(auth): State<Auth>,
    client: Client,
    origin: Origin,
    headers: HeaderMap,
    Form(form): Form,
) -> Answer {
    check_site(&headers)?;
    let link = Link::from_form(&form).followed(None);
    let location = verify::follow(&auth, &link, &client, origin).await?;
    Ok(see_other(&location))
}

fn see_other(location: &str) -> Response {
    match HeaderValue::from_str(location) {
        Ok(location) => {
            let headers = [
                (header::LOCATION, location),
                (
                    header::REFERRER_POLICY,
                    HeaderValue::from_static("no-referrer"),
                ),
            ];
            (StatusCode::SEE_OTHER, headers).into_response()
        }
        Err(_) => ApiError::internal("a redirect is no header value").into_response(),
    }
}

/// The body of `POST /verify`; other members are ignored.
#[derive(Deserialize)]
struct Body {
    #[serde(rename = "type")]
    kind: Option<String>,
    email: Option<String>,
    phone: Option<String>,
    token: Option<String>,
    token_hash: Option<String>,
    password: Option<String>,
}

impl Body {
    fn verification(self, kind: Option<&str>) -> Verification {
        let given = |text: Option<String>| text.unwrap_or_default();
        Verification {
            kind: kind.map_or_else(|| given(self.kind), str::to_owned),
            email: given(self.email),
            code: given(self.token),
            token_hash: given(self.token_hash),
        }
    }
}

async fn verify(
    State(auth): State<Auth>,
    client: Client,
    origin: Origin,
    Json(body): Json<Body>,
) -> Answer {
    if let Some(number) = body.phone.as_deref().filter(|number| !number.is_empty()) {
        if body.email.as_deref().is_some_and(|email| !email.is_empty()) {
            let message = "Only an email address or phone number should be provided on verify";
            return Err(AuthError::Invalid(message).into());
        }
        let kind = body.kind.as_deref().unwrap_or_default();
        let typed = (number, body.token.as_deref().unwrap_or_default());
        let tokens = phone::verify::verify(&auth, kind, typed, &client, origin).await?;
        return Ok(Json(tokens).into_response());
    }
    let input = body.verification(None);
    Ok(answer(
        verify::verify(&auth, &input, &client, origin).await?,
    ))
}

async fn verify_otp(
    State(auth): State<Auth>,
    client: Client,
    origin: Origin,
    Json(body): Json<Body>,
) -> Answer {
    let input = body.verification(Some("email"));
    Ok(answer(
        verify::verify(&auth, &input, &client, origin).await?,
    ))
}

fn answer(verified: Verified) -> Response {
    match verified {
        Verified::Session(tokens) => Json(*tokens).into_response(),
        Verified::Half => Json(json!({ "msg": HALF_CONFIRMED, "code": "200" })).into_response(),
    }
}

type Posted = (State<Auth>, Client, Origin, HeaderMap, Query<Link>);

async fn verify_magic_link(posted: Posted) -> Answer {
    post_link(posted, "email").await
}

async fn verify_signup(posted: Posted) -> Answer {
    post_link(posted, "signup").await
}

async fn verify_email_change(posted: Posted) -> Answer {
    post_link(posted, "email_change").await
}

/// The token is in the query; without `redirect_to` the answer is JSON.
async fn post_link(
    (State(auth), client, origin, headers, Query(link)): Posted,
    kind: &str,
) -> Answer {
    let link = link.followed(Some(kind));
    if link.redirect_to.is_some() {
        check_site(&headers)?;
        let location = verify::follow(&auth, &link, &client, origin).await?;
        return Ok(see_other(&location));
    }
    let input = Verification {
        kind: link.kind,
        token_hash: link.token,
        ..Verification::default()
    };
    Ok(answer(
        verify::verify(&auth, &input, &client, origin).await?,
    ))
}

/// Address, code and the new password at once.
async fn recover(
    State(auth): State<Auth>,
    client: Client,
    origin: Origin,
    Json(mut body): Json<Body>,
) -> Result<Json<TokenResponse>, ApiError> {
    let password = body.password.take().unwrap_or_default();
    let input = body.verification(Some("recovery"));
    Ok(Json(
        recover::recover(&auth, &input, &password, &client, origin).await?,
    ))
}
