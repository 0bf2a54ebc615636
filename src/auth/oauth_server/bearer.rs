//! Who shows a token: the user who decides about a client, or a client that acts for a user.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::error::OAuthError;
use super::scope::Scopes;
use crate::auth::user::Bearer;
use crate::auth::{Auth, AuthError};
use crate::error::ErrorCode;

/// A user with a session of its own.
#[derive(Debug, Clone)]
pub(super) struct Owner {
    claims: Map<String, Value>,
    user_id: Uuid,
    session_id: Uuid,
}

impl Owner {
    /// Reads a user's own access token. No API key is needed beside it: the built-in page has none.
    ///
    /// # Errors
    /// `bad_jwt`; `unexpected_audience` for a token of a client: it must not grant itself more.
    pub(super) fn from_token(auth: &Auth, token: &str) -> Result<Self, AuthError> {
        const BAD: AuthError = AuthError::Refused(
            ErrorCode::BadJwt,
            "invalid JWT: unable to parse or verify signature",
        );
        let claims = auth.verify(token).ok_or(BAD)?;
        if claims.contains_key("client_id") || !is_for(&claims, &auth.config().jwt.aud) {
            return Err(AuthError::Refused(
                ErrorCode::UnexpectedAudience,
                "This needs an access token of the user's own session",
            ));
        }
        let (user_id, session_id) = (id(&claims, "sub"), id(&claims, "session_id"));
        match (user_id, session_id) {
            (Some(user_id), Some(session_id)) => Ok(Self {
                claims,
                user_id,
                session_id,
            }),
            _ => Err(BAD),
        }
    }

    /// What the services need to know of it.
    pub(super) fn bearer(&self) -> Bearer<'_> {
        Bearer {
            user_id: self.user_id,
            session_id: Some(self.session_id),
            jti: self.claims.get("jti").and_then(Value::as_str),
            is_aal2: self.claims.get("aal").and_then(Value::as_str) == Some("aal2"),
        }
    }

    /// When the user last proved to be itself: the newest of the session's methods.
    pub(super) fn auth_time(&self) -> Option<DateTime<Utc>> {
        let methods = self.claims.get("amr")?.as_array()?;
        let times = methods.iter().filter_map(|one| one.get("timestamp"));
        let newest = times.filter_map(Value::as_i64).max()?;
        DateTime::from_timestamp(newest, 0)
    }
}

/// An OAuth client's access token that is genuine; whether its session lives is not looked at.
#[derive(Debug, Clone)]
pub(super) struct ClientToken {
    /// All it says.
    pub(super) claims: Map<String, Value>,
    /// The user it acts for.
    pub(super) user_id: Uuid,
    /// Its session.
    pub(super) session_id: Uuid,
    /// The client.
    pub(super) client_id: Uuid,
}

impl ClientToken {
    /// Reads a token; `None` for whatever is no access token of a client, id tokens included.
    pub(super) fn read(auth: &Auth, token: &str) -> Option<Self> {
        let claims = auth.verify(token)?;
        Some(Self {
            user_id: id(&claims, "sub")?,
            session_id: id(&claims, "session_id")?,
            client_id: id(&claims, "client_id")?,
            claims,
        })
    }

    /// The same for what a client may know here. A token for a resource elsewhere is in that resource's hands too.
    ///
    /// # Errors
    /// [`OAuthError::BearerToken`].
    pub(super) fn require(auth: &Auth, token: Option<&str>) -> Result<Self, OAuthError> {
        let refused = OAuthError::BearerToken("This needs an access token of an OAuth client");
        token
            .and_then(|token| Self::read(auth, token))
            .filter(|token| is_for(&token.claims, &auth.config().jwt.aud))
            .ok_or(refused)
    }

    /// What it may be used for.
    pub(super) fn scopes(&self) -> Scopes {
        let scope = self.claims.get("scope").and_then(Value::as_str);
        Scopes::stored(scope.unwrap_or_default())
    }

    /// What the services need to know of it.
    pub(super) fn bearer(&self) -> Bearer<'_> {
        Bearer {
            user_id: self.user_id,
            session_id: Some(self.session_id),
            jti: self.claims.get("jti").and_then(Value::as_str),
            is_aal2: false,
        }
    }
}

/// Whether a token names `audience`.
pub(super) fn is_for(claims: &Map<String, Value>, audience: &str) -> bool {
    match claims.get("aud") {
        Some(Value::String(one)) => one == audience,
        Some(Value::Array(several)) => several.iter().any(|one| one == audience),
        _ => false,
    }
}

fn id(claims: &Map<String, Value>, name: &str) -> Option<Uuid> {
    Uuid::parse_str(claims.get(name)?.as_str()?).ok()
}
