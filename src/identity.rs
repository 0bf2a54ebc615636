//! Who is calling: plain data, no I/O.

use std::sync::Arc;

use serde_json::{Map, Value};
use uuid::Uuid;

/// A verified caller: what `db.begin(&caller)` hands to Postgres, whose policies decide.
#[derive(Debug, Clone, PartialEq)]
pub struct Caller {
    role: String,
    user_id: Option<Uuid>,
    /// Shared: a caller is cloned for every request, its claims never change.
    claims: Arc<Map<String, Value>>,
}

impl Caller {
    /// The caller without a token.
    pub fn anon() -> Self {
        Self::with_role("anon")
    }

    /// A caller with nothing but a role.
    pub fn with_role(role: &str) -> Self {
        let claims = Map::from_iter([("role".to_owned(), Value::from(role))]);
        Self {
            role: role.to_owned(),
            user_id: None,
            claims: Arc::new(claims),
        }
    }

    /// A caller from verified claims; without a `role` claim it is `anon`.
    pub fn from_claims(claims: Map<String, Value>) -> Self {
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let role = text("role")
            .filter(|role| !role.is_empty())
            .unwrap_or("anon")
            .to_owned();
        let user_id = text("sub").and_then(|sub| Uuid::parse_str(sub).ok());
        Self {
            role,
            user_id,
            claims: Arc::new(claims),
        }
    }

    /// The Postgres role its statements run as.
    pub fn role(&self) -> &str {
        &self.role
    }

    /// The `sub` claim, when it is a user's id.
    pub fn user_id(&self) -> Option<Uuid> {
        self.user_id
    }

    /// The `session_id` claim.
    pub fn session_id(&self) -> Option<Uuid> {
        self.claim("session_id")
            .and_then(|id| Uuid::parse_str(id).ok())
    }

    /// A claim that is text.
    pub fn claim(&self, name: &str) -> Option<&str> {
        self.claims.get(name).and_then(Value::as_str)
    }

    /// All claims.
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// Whether the caller holds a service key.
    pub fn is_service(&self) -> bool {
        self.role == "service_role"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_without_a_role_is_anon() {
        for claims in ["{}", r#"{"role":""}"#, r#"{"role":7}"#] {
            assert_eq!(
                Caller::from_claims(serde_json::from_str(claims).unwrap()).role(),
                "anon"
            );
        }
    }

    #[test]
    fn a_sub_that_is_no_uuid_is_no_user() {
        let caller = Caller::from_claims(
            serde_json::from_str(r#"{"role":"authenticated","sub":"x"}"#).unwrap(),
        );
        assert_eq!((caller.role(), caller.user_id()), ("authenticated", None));
    }
}
