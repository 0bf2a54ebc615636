//! Users, identities and sessions as clients see them.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

/// An account. Serialises to the user object of the wire format.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct User {
    /// Its id, the `sub` of its tokens.
    pub id: Uuid,
    /// Audience of its tokens.
    pub aud: String,
    /// Postgres role of its tokens.
    pub role: String,
    /// Address, empty when it has none.
    pub email: String,
    /// When the address was confirmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email_confirmed_at: Option<DateTime<Utc>>,
    /// When it was invited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invited_at: Option<DateTime<Utc>>,
    /// Phone number without `+`, empty when it has none.
    pub phone: String,
    /// When the number was confirmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone_confirmed_at: Option<DateTime<Utc>>,
    /// When a confirmation was last sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirmation_sent_at: Option<DateTime<Utc>>,
    /// The earlier of the two confirmations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirmed_at: Option<DateTime<Utc>>,
    /// When a recovery was last sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery_sent_at: Option<DateTime<Utc>>,
    /// An address waiting for confirmation, empty when there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub new_email: String,
    /// When its confirmation was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email_change_sent_at: Option<DateTime<Utc>>,
    /// A number waiting for confirmation, empty when there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub new_phone: String,
    /// When its confirmation was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone_change_sent_at: Option<DateTime<Utc>>,
    /// When a re-authentication was last sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reauthentication_sent_at: Option<DateTime<Utc>>,
    /// When it last signed in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_sign_in_at: Option<DateTime<Utc>>,
    /// Written by the service and by admins only.
    pub app_metadata: Map<String, Value>,
    /// Written by the user too.
    #[serde(default)]
    pub user_metadata: Map<String, Value>,
    /// Ways to sign in, oldest first.
    #[serde(default)]
    pub identities: Vec<Identity>,
    /// Second factors, oldest first, the unverified ones too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub factors: Vec<Factor>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
    /// Until when it is banned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub banned_until: Option<DateTime<Utc>>,
    /// When it was deleted, its row being kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<DateTime<Utc>>,
    /// A name to sign in with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Whether it has neither address nor number.
    pub is_anonymous: bool,
}

impl User {
    /// Whether it is banned at `now`.
    pub fn is_banned(&self, now: DateTime<Utc>) -> bool {
        self.banned_until.is_some_and(|until| until > now)
    }
}

/// One way in which a user can sign in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// Row id.
    #[serde(rename = "identity_id")]
    pub id: Uuid,
    /// Subject at the provider.
    #[serde(rename = "id")]
    pub provider_id: String,
    /// Its user.
    pub user_id: Uuid,
    /// What the provider says of the user.
    pub identity_data: Value,
    /// Name of the provider.
    pub provider: String,
    /// When it was last used.
    pub last_sign_in_at: Option<DateTime<Utc>>,
    /// When it was made.
    pub created_at: Option<DateTime<Utc>>,
    /// When it was last changed.
    pub updated_at: Option<DateTime<Utc>>,
    /// Address at the provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

/// A second factor, without anything that would prove it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Factor {
    /// Its id.
    pub id: Uuid,
    /// What the user calls it, empty when nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub friendly_name: String,
    /// `totp`, `webauthn`, `phone` or `recovery_code`.
    pub factor_type: String,
    /// `unverified` until it was used once, then `verified`.
    pub status: String,
    /// Number of a phone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
    /// When it was last challenged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_challenged_at: Option<DateTime<Utc>>,
}

impl Factor {
    /// Whether it protects the account.
    pub fn is_verified(&self) -> bool {
        self.status == "verified"
    }
}

/// What of a session goes into its tokens.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Session {
    /// Its id.
    pub(super) id: Uuid,
    /// Authenticator assurance level.
    pub(super) aal: String,
    /// Authentication methods, `[{method, timestamp}]`, newest first.
    pub amr: Value,
    /// Counter of its current refresh token.
    pub counter: i64,
}

/// What a sign-in or refresh answers.
#[derive(Clone, Serialize)]
pub struct TokenResponse {
    /// A signed JWT.
    pub access_token: String,
    /// Always `bearer`.
    pub token_type: &'static str,
    /// Seconds the access token lives.
    pub expires_in: u64,
    /// When it expires, in Unix seconds.
    pub expires_at: i64,
    /// The session's current refresh token.
    pub refresh_token: String,
    /// Whose session it is.
    pub user: User,
    /// Access token of the identity provider, in the one answer that ends a sign-in with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider_token: Option<String>,
    /// Its refresh token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider_refresh_token: Option<String>,
}

/// Where a request came from, kept with the session and the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Address, `None` for commands of an operator.
    pub ip: Option<std::net::IpAddr>,
    /// The `User-Agent` header, shortened.
    pub user_agent: Option<String>,
}

/// What a page of users holds.
#[derive(Debug, Clone, PartialEq)]
pub struct UserPage {
    /// The users, newest first.
    pub users: Vec<User>,
    /// How many there are on all pages.
    pub total: i64,
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// A user with nothing but what every user has.
    pub(in crate::auth) fn plain_user() -> User {
        let created_at = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        User {
            id: Uuid::from_u128(1),
            aud: "authenticated".to_owned(),
            role: "authenticated".to_owned(),
            email: "ana@b.example".to_owned(),
            email_confirmed_at: None,
            invited_at: None,
            phone: String::new(),
            phone_confirmed_at: None,
            confirmation_sent_at: None,
            confirmed_at: None,
            recovery_sent_at: None,
            new_email: String::new(),
            email_change_sent_at: None,
            new_phone: String::new(),
            phone_change_sent_at: None,
            reauthentication_sent_at: None,
            last_sign_in_at: None,
            app_metadata: Map::new(),
            user_metadata: Map::new(),
            identities: Vec::new(),
            factors: Vec::new(),
            created_at,
            updated_at: created_at,
            banned_until: None,
            deleted_at: None,
            username: None,
            is_anonymous: false,
        }
    }

    #[test]
    fn empty_texts_are_sent_and_unknown_times_are_not() {
        assert_eq!(
            serde_json::to_value(plain_user()).unwrap(),
            json!({
                "id": "00000000-0000-0000-0000-000000000001",
                "aud": "authenticated",
                "role": "authenticated",
                "email": "ana@b.example",
                "phone": "",
                "app_metadata": {},
                "user_metadata": {},
                "identities": [],
                "created_at": "2023-11-14T22:13:20Z",
                "updated_at": "2023-11-14T22:13:20Z",
                "is_anonymous": false
            })
        );
    }

    #[test]
    fn an_identity_shows_its_subject_as_id() {
        let identity = Identity {
            id: Uuid::from_u128(2),
            provider_id: "subject".to_owned(),
            user_id: Uuid::from_u128(1),
            identity_data: json!({"sub": "subject"}),
            provider: "email".to_owned(),
            last_sign_in_at: None,
            created_at: None,
            updated_at: None,
            email: None,
        };
        assert_eq!(
            serde_json::to_value(identity).unwrap(),
            json!({
                "identity_id": "00000000-0000-0000-0000-000000000002",
                "id": "subject",
                "user_id": "00000000-0000-0000-0000-000000000001",
                "identity_data": {"sub": "subject"},
                "provider": "email",
                "last_sign_in_at": null,
                "created_at": null,
                "updated_at": null
            })
        );
    }
}
