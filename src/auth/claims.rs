//! The claims of an access token.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use serde_json::{Map, Value};

use super::AuthError;
use super::model::{Session, User};
use crate::clock::random_token;
use crate::config::Config;

/// Larger `user_metadata` stays out of tokens: they travel in headers and cookies.
const MAX_USER_METADATA_BYTES: usize = 2048;

/// Claims that decide who somebody is and for how long; no provider may change one.
const RESERVED: [&str; 13] = [
    "iss",
    "sub",
    "aud",
    "exp",
    "iat",
    "nbf",
    "session_id",
    "aal",
    "amr",
    "is_anonymous",
    "client_id",
    "act",
    "jti",
];

/// What a claims provider learns.
#[derive(Debug, Clone)]
pub struct ClaimsContext {
    /// Whose token it is.
    pub user: Arc<User>,
    /// How it is obtained: `password`, `token_refresh` or `oauth_provider/authorization_code`.
    pub authentication_method: &'static str,
    /// The claims so far.
    pub claims: Map<String, Value>,
}

/// Returns members to merge into the claims, or why no token may be issued (for the log).
pub type ClaimsProvider = Arc<
    dyn Fn(ClaimsContext) -> BoxFuture<'static, Result<Map<String, Value>, String>> + Send + Sync,
>;

/// The claims of `user` in `session`. `jti` ends in the counter of the refresh token issued beside it, which tells
/// whether that one has arrived.
pub(super) fn base(
    user: &User,
    session: &Session,
    config: &Config,
    now: DateTime<Utc>,
) -> (Map<String, Value>, i64) {
    let issued_at = now.timestamp();
    let ttl = i64::try_from(config.auth.access_token_ttl).unwrap_or(i64::MAX);
    let expires_at = issued_at.saturating_add(ttl);
    let mut claims = Map::new();
    let mut add = |name: &str, value: Value| drop(claims.insert(name.to_owned(), value));
    add("iss", config.issuer().into());
    add("sub", user.id.to_string().into());
    add("aud", user.aud.as_str().into());
    add("exp", expires_at.into());
    add("iat", issued_at.into());
    add("email", user.email.as_str().into());
    add("phone", user.phone.as_str().into());
    add("role", user.role.as_str().into());
    add("app_metadata", Value::Object(user.app_metadata.clone()));
    add("user_metadata", capped(&user.user_metadata));
    add("aal", session.aal.as_str().into());
    add("amr", session.amr.clone());
    add("session_id", session.id.to_string().into());
    add("is_anonymous", user.is_anonymous.into());
    add(
        "jti",
        format!("{}.{}", random_token::<16>(), session.counter).into(),
    );
    (claims, expires_at)
}

/// The counter a `jti` ends in.
pub(super) fn counter(jti: &str) -> Option<i64> {
    jti.rsplit_once('.')?.1.parse().ok()
}

/// Lets every provider add its members.
///
/// # Errors
/// [`AuthError::Issuance`] when one fails, changes a reserved claim, or names a role it may not give.
pub(super) async fn extend(
    mut claims: Map<String, Value>,
    providers: &[ClaimsProvider],
    (user, method): (&User, &'static str),
    allowed_roles: &[String],
) -> Result<Map<String, Value>, AuthError> {
    if providers.is_empty() {
        return Ok(claims);
    }
    let user = Arc::new(user.clone());
    for provider in providers {
        let context = ClaimsContext {
            user: Arc::clone(&user),
            authentication_method: method,
            claims: claims.clone(),
        };
        let added = provider(context).await.map_err(AuthError::Issuance)?;
        merge(&mut claims, added, allowed_roles).map_err(AuthError::Issuance)?;
    }
    Ok(claims)
}

fn merge(
    claims: &mut Map<String, Value>,
    added: Map<String, Value>,
    allowed_roles: &[String],
) -> Result<(), String> {
    for (name, value) in added {
        if claims.get(&name) == Some(&value) {
            continue;
        }
        // `scope` says what an OAuth client may do; in other tokens it is the project's own.
        if name == "scope" && claims.contains_key("client_id") {
            return Err(format!("a claims provider may not change the claim {name}"));
        }
        check_change(&name, &value, allowed_roles)?;
        claims.insert(name, value);
    }
    Ok(())
}

/// Takes the claims a hook answers in place of `claims`. What it leaves out is left out, which keeps tokens small, save
/// for the claims that say who somebody is.
///
/// # Errors
/// [`AuthError::Issuance`] when it changes a reserved claim or names a role it may not give.
pub(super) fn replace(
    mut claims: Map<String, Value>,
    answered: Map<String, Value>,
    allowed_roles: &[String],
) -> Result<Map<String, Value>, AuthError> {
    let is_grant = claims.contains_key("client_id");
    let kept = |name: &str| {
        RESERVED.contains(&name)
            || ["role", "email", "phone"].contains(&name)
            || is_grant && name == "scope"
    };
    let names: Vec<_> = claims.keys().cloned().collect();
    for name in names {
        if !kept(&name) && !answered.contains_key(&name) {
            claims.remove(&name);
        }
    }
    merge(&mut claims, answered, allowed_roles).map_err(AuthError::Issuance)?;
    Ok(claims)
}

fn check_change(name: &str, value: &Value, allowed_roles: &[String]) -> Result<(), String> {
    if RESERVED.contains(&name) {
        return Err(format!("a claims provider may not change the claim {name}"));
    }
    let may_give = |role: &str| may_be_given(role, allowed_roles);
    if name == "role" && !value.as_str().is_some_and(may_give) {
        return Err("a claims provider may not give this role".to_owned());
    }
    Ok(())
}

/// Roles that a user may have: those a token may name, without the one that bypasses every policy.
pub(super) fn may_be_given(role: &str, allowed_roles: &[String]) -> bool {
    role != "service_role" && allowed_roles.iter().any(|allowed| allowed == role)
}

fn capped(metadata: &Map<String, Value>) -> Value {
    let size = serde_json::to_vec(metadata).map_or(usize::MAX, |text| text.len());
    if size <= MAX_USER_METADATA_BYTES {
        Value::Object(metadata.clone())
    } else {
        Value::Object(Map::new())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::auth::model::tests::plain_user;

    fn claims_of(user: &User) -> Map<String, Value> {
        let session = Session {
            id: Uuid::from_u128(9),
            aal: "aal1".to_owned(),
            amr: json!([{"method": "password", "timestamp": 1_700_000_000}]),
            counter: 3,
        };
        let now = DateTime::from_timestamp(1_700_000_000, 999_999_000).unwrap();
        base(user, &session, &Config::default(), now).0
    }

    fn roles() -> Vec<String> {
        ["anon", "authenticated", "editor", "service_role"]
            .map(str::to_owned)
            .to_vec()
    }

    #[test]
    fn a_token_says_who_and_until_when() {
        let mut claims = claims_of(&plain_user());
        let jti = claims.remove("jti").unwrap();
        assert_eq!(counter(jti.as_str().unwrap()), Some(3));
        // The defaults of a bare `Config` are zeros, so it expires when it is issued.
        claims.remove("exp");
        claims.remove("iss");
        assert_eq!(
            Value::Object(claims),
            json!({
                "sub": "00000000-0000-0000-0000-000000000001",
                "aud": "authenticated",
                "iat": 1_700_000_000,
                "email": "ana@b.example",
                "phone": "",
                "role": "authenticated",
                "app_metadata": {},
                "user_metadata": {},
                "aal": "aal1",
                "amr": [{"method": "password", "timestamp": 1_700_000_000}],
                "session_id": "00000000-0000-0000-0000-000000000009",
                "is_anonymous": false
            })
        );
    }

    #[test]
    fn large_user_metadata_stays_out() {
        let mut user = plain_user();
        user.user_metadata
            .insert("a".to_owned(), "x".repeat(2040).into());
        assert_eq!(
            claims_of(&user)["user_metadata"]["a"]
                .as_str()
                .unwrap()
                .len(),
            2040
        );
        user.user_metadata.insert("b".to_owned(), "y".into());
        assert_eq!(claims_of(&user)["user_metadata"], json!({}));
    }

    /// Attack 10. Remove the look at `RESERVED` in `check_change`, and this fails.
    #[test]
    fn reserved_claims_cannot_be_changed() {
        let claims = claims_of(&plain_user());
        for name in RESERVED {
            let mut changed = claims.clone();
            let added = Map::from_iter([(name.to_owned(), json!("other"))]);
            assert!(merge(&mut changed, added, &roles()).is_err(), "{name}");
            assert_eq!(changed, claims);
        }
        let mut echoed = claims.clone();
        merge(&mut echoed, claims.clone(), &roles()).unwrap();
        assert_eq!(echoed, claims);
    }

    /// Attack 10. Remove the look at the role in `check_change`, and this fails.
    #[test]
    fn a_role_must_be_one_that_may_be_given() {
        for (role, ok) in [
            (json!("editor"), true),
            (json!("service_role"), false),
            (json!("postgres"), false),
            (json!(["editor"]), false),
        ] {
            let added = Map::from_iter([("role".to_owned(), role.clone())]);
            let merged = merge(&mut claims_of(&plain_user()), added, &roles());
            assert_eq!(merged.is_ok(), ok, "{role}");
        }
    }
}
