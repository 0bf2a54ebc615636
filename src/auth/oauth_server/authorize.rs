//! A client sends a browser: the request is checked and stored, and the browser goes on to where the user decides.

use chrono::TimeDelta;
use url::Url;
use uuid::Uuid;

use super::parameters::Parameters;
use super::redirect_uri;
use super::scope::Scopes;
use crate::auth::limits::{self, Limited, Origin};
use crate::auth::queries::oauth_clients::{self, OAuthClient};
use crate::auth::queries::oauth_grants::{self, NewAuthorization};
use crate::auth::{Auth, AuthError};
use crate::clock::random_token;
use crate::error::ErrorCode;

/// How long a request waits for its decision.
const PENDING_FOR: TimeDelta = TimeDelta::minutes(10);
/// How long a request is remembered beyond its end: a code that comes again within that time ends its session.
const REMEMBERED_FOR: TimeDelta = TimeDelta::hours(24);

/// What is wrong with a request whose client and address are right: error code and text, for the client to read.
type Refusal = (&'static str, &'static str);

/// Stores a request and answers where the browser goes: to the page that asks for consent, or back to the client with an
/// error. Unless client and address are known to belong together, it goes nowhere.
///
/// # Errors
/// `oauth_client_not_found`, [`AuthError::Invalid`] (both are answered 400), [`AuthError::TooManyRequests`].
pub(super) async fn begin(
    auth: &Auth,
    asked: &Parameters,
    origin: Origin,
) -> Result<String, AuthError> {
    limits::count(auth, Limited::OAuthAuthorize, origin).await?;
    let client = find_client(auth, asked).await?;
    let redirect_uri = asked
        .get("redirect_uri")
        .ok_or(AuthError::Invalid("redirect_uri is required"))?;
    if !redirect_uri::is_registered(&client.redirect_uris, redirect_uri) {
        let text = "redirect_uri is not registered for this client";
        return Err(AuthError::Invalid(text));
    }
    match store(auth, &client, redirect_uri, asked).await? {
        Ok(authorization_id) => decision_page(auth, &authorization_id),
        Err((error, text)) => {
            let parameters = [("error", error), ("error_description", text)];
            answer(auth, redirect_uri, asked.get("state"), &parameters)
        }
    }
}

async fn find_client(auth: &Auth, asked: &Parameters) -> Result<OAuthClient, AuthError> {
    let text = asked
        .get("client_id")
        .ok_or(AuthError::Invalid("client_id is required"))?;
    let unknown = || AuthError::Refused(ErrorCode::OauthClientNotFound, "invalid client_id");
    let id = Uuid::parse_str(text).map_err(|_| unknown())?;
    let connection = auth.db().auth().connection().await?;
    let client = oauth_clients::find(&connection, id).await?;
    client.ok_or_else(unknown)
}

async fn store(
    auth: &Auth,
    client: &OAuthClient,
    redirect_uri: &str,
    asked: &Parameters,
) -> Result<Result<String, Refusal>, AuthError> {
    let (scopes, challenge) = match check(asked) {
        Ok(checked) => checked,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let now = auth.clock().now();
    let authorization_id = random_token::<32>();
    let new = NewAuthorization {
        authorization_id: &authorization_id,
        client_id: client.id,
        redirect_uri,
        scope: &scopes.to_string(),
        state: asked.get("state"),
        nonce: asked.get("nonce"),
        resource: asked.get("resource"),
        code_challenge: challenge,
        needs_consent: asked.get("prompt").is_some(),
        created_at: now,
        expires_at: now + PENDING_FOR,
    };
    let connection = auth.db().auth().connection().await?;
    oauth_grants::insert_authorization(&connection, &new, now - REMEMBERED_FOR).await?;
    Ok(Ok(authorization_id))
}

/// Scopes and code challenge of a request without faults.
fn check(asked: &Parameters) -> Result<(Scopes, &str), Refusal> {
    let too_long = |name: &str, most: usize| {
        asked
            .get(name)
            .is_some_and(|text| text.chars().count() > most)
    };
    if asked.get("request").is_some() {
        return Err(("request_not_supported", "Send the parameters themselves"));
    }
    if asked.get("request_uri").is_some() {
        return Err((
            "request_uri_not_supported",
            "Send the parameters themselves",
        ));
    }
    match asked.get("response_type") {
        None | Some("code") => {}
        Some(_) => return Err(("unsupported_response_type", "response_type must be code")),
    }
    if asked
        .get("response_mode")
        .is_some_and(|mode| mode != "query")
    {
        return Err(("invalid_request", "response_mode must be query"));
    }
    let challenge = check_challenge(asked)?;
    let scopes = Scopes::parse(asked.get("scope"))
        .ok_or(("invalid_scope", "A scope is unknown; discovery lists them"))?;
    if asked.get("resource").is_some_and(|text| !is_resource(text)) {
        let text = "resource must be an absolute http or https URL without query and fragment";
        return Err(("invalid_target", text));
    }
    if too_long("state", 4096) || too_long("nonce", 255) {
        return Err(("invalid_request", "state or nonce is too long"));
    }
    // Whether somebody is signed in is known to the page alone, and it asks.
    let prompt = asked.get("prompt").unwrap_or_default();
    if prompt.split(' ').any(|word| word == "none") {
        return Err(("login_required", "The user has to be asked"));
    }
    Ok((scopes, challenge))
}

/// The code challenge: there must be one, by S256. `plain` would put the verifier itself into the browser's history.
fn check_challenge(asked: &Parameters) -> Result<&str, Refusal> {
    let (Some(challenge), Some(method)) = (
        asked.get("code_challenge"),
        asked.get("code_challenge_method"),
    ) else {
        let text = "code_challenge and code_challenge_method are required";
        return Err(("invalid_request", text));
    };
    if !method.eq_ignore_ascii_case("s256") {
        return Err(("invalid_request", "code_challenge_method must be S256"));
    }
    let is_base64url = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if challenge.len() != 43 || !challenge.bytes().all(is_base64url) {
        let text = "code_challenge must be the base64url text of a SHA-256";
        return Err(("invalid_request", text));
    }
    Ok(challenge)
}

/// RFC 8707: an absolute address. Ours may not be confused with the audience of first-party tokens, which is a word.
fn is_resource(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else {
        return false;
    };
    matches!(url.scheme(), "http" | "https")
        && text.len() <= 2048
        && text.chars().all(|c| c.is_ascii_graphic())
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
}

/// Where the user decides: the application's page, else ours.
fn decision_page(auth: &Auth, authorization_id: &str) -> Result<String, AuthError> {
    let config = auth.config();
    let ours = || format!("{}/auth/v1/oauth/consent", config.api_url());
    let page = config.auth.oauth_server_authorization_url.clone();
    let page = page.filter(|page| !page.is_empty()).unwrap_or_else(ours);
    redirect_uri::with_parameters(&page, &[("authorization_id", authorization_id)]).ok_or_else(
        || {
            let text = "auth.oauth_server_authorization_url is no absolute URL";
            AuthError::Internal(text.to_owned())
        },
    )
}

/// An answer to a client, by way of the browser. It names who answers, so that a client of several providers is not
/// misled (RFC 9207).
///
/// # Errors
/// [`AuthError::Internal`]: the address was checked when it was registered.
pub(super) fn answer(
    auth: &Auth,
    redirect_uri: &str,
    state: Option<&str>,
    parameters: &[(&str, &str)],
) -> Result<String, AuthError> {
    let issuer = auth.config().issuer();
    let state = state.map(|state| ("state", state));
    let all: Vec<_> = parameters
        .iter()
        .copied()
        .chain(state)
        .chain([("iss", issuer.as_str())])
        .collect();
    redirect_uri::with_parameters(redirect_uri, &all)
        .ok_or_else(|| AuthError::Internal("a registered redirect URI is no URL".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_an_address() {
        for (text, good) in [
            ("https://mcp.example/v1", true),
            ("http://127.0.0.1:8000/mcp", true),
            ("authenticated", false),
            ("urn:x:y", false),
            ("https://mcp.example/?x=1", false),
            ("https://mcp.example/#x", false),
            ("https://user@mcp.example/", false),
            ("/mcp", false),
        ] {
            assert_eq!(is_resource(text), good, "{text}");
        }
    }
}
