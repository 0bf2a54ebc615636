//! How a client proves to be itself: the way it is registered for, and no other.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use uuid::Uuid;

use super::error::{OAuthError, invalid_request};
use super::parameters::Parameters;
use super::{is_same, sha256_text};
use crate::auth::Auth;
use crate::auth::audit_log::{self, Kind};
use crate::auth::model::Client;
use crate::auth::queries::oauth_clients::{self, OAuthClient};

const UNKNOWN: &str = "The client is unknown, or its secret is wrong";

/// What a request presents of a client.
struct Presented {
    id: Option<Uuid>,
    secret: Option<String>,
    method: &'static str,
}

/// The client of a request, if it has proven to be it.
///
/// # Errors
/// [`OAuthError::Client`]; `invalid_request` when it presents itself in two ways at once.
pub(super) async fn authenticate(
    auth: &Auth,
    authorization: Option<&str>,
    body: &Parameters,
    from: &Client,
) -> Result<OAuthClient, OAuthError> {
    let by_header = authorization.is_some();
    let refused = |text| OAuthError::Client(text, by_header);
    let presented = match authorization {
        Some(header) => from_header(header, body)?,
        None => from_body(body),
    };
    let id = presented.id.ok_or_else(|| refused(UNKNOWN))?;
    let found = {
        let connection = auth.db().auth().connection().await?;
        oauth_clients::find(&connection, id).await?
    };
    let client = found.ok_or_else(|| refused(UNKNOWN))?;
    if let Err(problem) = check(&client, presented) {
        let traits =
            json!({ "provider": "oauth_client", "client_id": id, "error_code": "invalid_client" });
        audit_log::refused(auth, Kind::OAuthClient, &traits, from).await?;
        return Err(refused(problem));
    }
    Ok(client)
}

fn check(client: &OAuthClient, presented: Presented) -> Result<(), &'static str> {
    if client.auth_method != presented.method {
        return Err("The client is registered for another way of authentication");
    }
    let is_itself = match (&client.secret_hash, presented.secret) {
        (None, None) => true,
        (Some(hash), Some(secret)) => is_same(hash, &sha256_text(&secret)),
        _ => false,
    };
    is_itself.then_some(()).ok_or(UNKNOWN)
}

fn from_header(header: &str, body: &Parameters) -> Result<Presented, OAuthError> {
    if body.get("client_secret").is_some() {
        let text = "The client must not authenticate in two ways at once";
        return Err(invalid_request(text));
    }
    let (id, secret) = basic(header).ok_or(OAuthError::Client(UNKNOWN, true))?;
    if body.get("client_id").is_some_and(|named| named != id) {
        return Err(invalid_request("client_id names another client"));
    }
    Ok(Presented {
        id: Uuid::parse_str(&id).ok(),
        secret: Some(secret),
        method: "client_secret_basic",
    })
}

fn from_body(body: &Parameters) -> Presented {
    let secret = body.get("client_secret").map(str::to_owned);
    Presented {
        id: body
            .get("client_id")
            .and_then(|id| Uuid::parse_str(id).ok()),
        method: if secret.is_some() {
            "client_secret_post"
        } else {
            "none"
        },
        secret,
    }
}

/// Id and secret, each encoded like a form's value before they were joined (RFC 6749, section 2.3.1).
fn basic(header: &str) -> Option<(String, String)> {
    let (scheme, credentials) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let bytes = STANDARD.decode(credentials.trim()).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (id, secret) = text.split_once(':')?;
    Some((decoded(id), decoded(secret)))
}

fn decoded(text: &str) -> String {
    let pair = format!("x={}", text.replace('&', "%26"));
    let decoded = url::form_urlencoded::parse(pair.as_bytes()).next();
    decoded
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_credentials_are_decoded_as_they_were_encoded() {
        let header = |text: &str| format!("Basic {}", STANDARD.encode(text));
        let both = |id: &str, secret: &str| Some((id.to_owned(), secret.to_owned()));
        assert_eq!(basic(&header("a:b")), both("a", "b"));
        assert_eq!(basic(&header("a:b%3Ac:d")), both("a", "b:c:d"));
        assert_eq!(basic(&header("a:b&c=d")), both("a", "b&c=d"));
        assert_eq!(basic(&header("a")), None);
        assert_eq!(basic("Bearer x"), None);
        assert_eq!(basic("Basic !"), None);
    }
}
