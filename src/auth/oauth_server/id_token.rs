//! What a client is told of a user: in an id token, and at `/oauth/userinfo`.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::scope::Scopes;
use crate::auth::Auth;
use crate::auth::model::User;

/// What an id token is about.
pub(super) struct IdToken<'a> {
    pub(super) user: &'a User,
    pub(super) client_id: Uuid,
    pub(super) scopes: &'a Scopes,
    pub(super) nonce: Option<&'a str>,
    /// When the user had signed in.
    pub(super) auth_time: Option<DateTime<Utc>>,
    /// The access token it comes with.
    pub(super) access_token: &'a str,
}

/// The claims of an id token. It lives as long as the access token, and is for the client alone: its audience keeps it
/// from being taken for an access token.
pub(super) fn claims(auth: &Auth, about: &IdToken<'_>) -> Map<String, Value> {
    let config = auth.config();
    let now = auth.clock().now().timestamp();
    let ttl = i64::try_from(config.auth.access_token_ttl).unwrap_or(i64::MAX);
    let mut claims = about_user(about.user, about.scopes);
    let mut add = |name: &str, value: Value| drop(claims.insert(name.to_owned(), value));
    add("iss", config.issuer().into());
    add("aud", about.client_id.to_string().into());
    add("iat", now.into());
    add("exp", now.saturating_add(ttl).into());
    add("at_hash", at_hash(about.access_token).into());
    if let Some(at) = about.auth_time {
        add("auth_time", at.timestamp().into());
    }
    if let Some(nonce) = about.nonce {
        add("nonce", nonce.into());
    }
    claims
}

/// The left half of the token's SHA-256: the hash of both algorithms that tokens are signed with.
fn at_hash(access_token: &str) -> String {
    let hash = digest::digest(&digest::SHA256, access_token.as_bytes());
    URL_SAFE_NO_PAD.encode(&hash.as_ref()[..16])
}

/// What the scopes let a client know. A name people know somebody by (`preferred_username`) is told only when the project
/// has given it: services take it for an account's name, and `user_metadata` is the user's own to write.
pub(super) fn about_user(user: &User, scopes: &Scopes) -> Map<String, Value> {
    let mut claims = Map::new();
    let mut add = |name: &str, value: Value| drop(claims.insert(name.to_owned(), value));
    add("sub", user.id.to_string().into());
    if scopes.has("email") && !user.email.is_empty() {
        add("email", user.email.as_str().into());
        add("email_verified", user.email_confirmed_at.is_some().into());
    }
    if scopes.has("phone") && !user.phone.is_empty() {
        add("phone_number", format!("+{}", user.phone).into());
        let is_verified = user.phone_confirmed_at.is_some();
        add("phone_number_verified", is_verified.into());
    }
    if scopes.has("profile") {
        let theirs = |names: &[&str]| text(&user.user_metadata, names);
        if let Some(name) = theirs(&["name", "full_name"]) {
            add("name", name.into());
        }
        if let Some(picture) = theirs(&["picture", "avatar_url"]) {
            add("picture", picture.into());
        }
        if let Some(name) = text(&user.app_metadata, &["preferred_username", "username"]) {
            add("preferred_username", name.into());
        }
        add("updated_at", user.updated_at.timestamp().into());
    }
    claims
}

fn text<'a>(metadata: &'a Map<String, Value>, names: &[&str]) -> Option<&'a str> {
    let values = names
        .iter()
        .filter_map(|name| metadata.get(*name)?.as_str());
    values.into_iter().find(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::auth::model::tests::plain_user;

    #[test]
    fn scopes_decide_what_is_told() {
        let mut user = plain_user();
        user.phone = "4912345".to_owned();
        user.user_metadata = serde_json::from_value(
            json!({"full_name": "Ana", "avatar_url": 7, "preferred_username": "root"}),
        )
        .unwrap();
        let told = |scopes: &str| Value::Object(about_user(&user, &Scopes::stored(scopes)));
        let sub = "00000000-0000-0000-0000-000000000001";
        assert_eq!(told("openid"), json!({"sub": sub}));
        assert_eq!(
            told("openid email"),
            json!({"sub": sub, "email": "ana@b.example", "email_verified": false})
        );
        assert_eq!(
            told("phone"),
            json!({"sub": sub, "phone_number": "+4912345", "phone_number_verified": false})
        );
        // What the user wrote of itself names no account.
        assert_eq!(
            told("profile"),
            json!({"sub": sub, "name": "Ana", "updated_at": 1_700_000_000})
        );
        user.app_metadata = serde_json::from_value(json!({"username": "ana"})).unwrap();
        let named = about_user(&user, &Scopes::stored("profile"));
        assert_eq!(named["preferred_username"], "ana");
    }

    /// The example of OpenID Connect Core, appendix A.3.
    #[test]
    fn the_hash_of_an_access_token_is_the_standards() {
        let token = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y";
        assert_eq!(at_hash(token), "77QmUPtjPfzWtF2AnpK9RQ");
    }
}
