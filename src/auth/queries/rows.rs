//! From rows to users.

use crate::db::Row;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::auth::model::{Factor, Identity, User};

/// Users from rows of user and identity columns; the rows of one user stand together.
pub(super) fn users(rows: &[Row]) -> Vec<User> {
    let mut users: Vec<User> = Vec::new();
    for row in rows {
        let id: Uuid = row.get("id");
        if users.last().is_none_or(|last| last.id != id) {
            users.push(user(row, id));
        }
        if let (Some(identity), Some(user)) = (identity(row, id), users.last_mut()) {
            user.identities.push(identity);
        }
    }
    for user in &mut users {
        user.identities
            .sort_by_key(|identity| (identity.created_at, identity.id));
    }
    users
}

fn user(row: &Row, id: Uuid) -> User {
    let text = |name: &str| row.get::<_, Option<String>>(name).unwrap_or_default();
    let named = |name: &str| match text(name) {
        text if text.is_empty() => "authenticated".to_owned(),
        text => text,
    };
    let time = |name: &str| row.get::<_, Option<DateTime<Utc>>>(name);
    let members = |name: &str| match row.get::<_, Option<Value>>(name) {
        Some(Value::Object(members)) => members,
        _ => Map::new(),
    };
    User {
        id,
        aud: named("aud"),
        role: named("role"),
        email: text("email"),
        email_confirmed_at: time("email_confirmed_at"),
        invited_at: time("invited_at"),
        phone: text("phone"),
        phone_confirmed_at: time("phone_confirmed_at"),
        confirmation_sent_at: time("confirmation_sent_at"),
        confirmed_at: time("confirmed_at"),
        recovery_sent_at: time("recovery_sent_at"),
        new_email: text("email_change"),
        email_change_sent_at: time("email_change_sent_at"),
        new_phone: text("phone_change"),
        phone_change_sent_at: time("phone_change_sent_at"),
        reauthentication_sent_at: time("reauthentication_sent_at"),
        last_sign_in_at: time("last_sign_in_at"),
        app_metadata: members("raw_app_meta_data"),
        user_metadata: members("raw_user_meta_data"),
        identities: Vec::new(),
        factors: factors(row),
        created_at: time("created_at").unwrap_or_default(),
        updated_at: time("updated_at").unwrap_or_default(),
        banned_until: time("banned_until"),
        deleted_at: time("deleted_at"),
        username: row.get("username"),
        is_anonymous: row.get("is_anonymous"),
    }
}

/// Written by a trigger, in the shape of the wire format; null for most users.
fn factors(row: &Row) -> Vec<Factor> {
    let factors: Option<Value> = row.get("factors");
    factors.map_or_else(Vec::new, |factors| {
        serde_json::from_value(factors).unwrap_or_else(|error| {
            tracing::error!(error = %error, "auth.users.factors cannot be read");
            Vec::new()
        })
    })
}

fn identity(row: &Row, user_id: Uuid) -> Option<Identity> {
    Some(Identity {
        id: row.get::<_, Option<Uuid>>("identity_id")?,
        provider_id: row.get("provider_id"),
        user_id,
        identity_data: row.get("identity_data"),
        provider: row.get("provider"),
        last_sign_in_at: row.get("identity_last_sign_in_at"),
        created_at: row.get("identity_created_at"),
        updated_at: row.get("identity_updated_at"),
        email: row.get("identity_email"),
    })
}
