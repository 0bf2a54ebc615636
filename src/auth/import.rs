//! Accounts from elsewhere, with their passwords: a row of Supabase's `auth.users`, a record of `PocketBase`, or an object
//! with the fields of the admin API.

use chrono::{DateTime, NaiveDateTime, Utc};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::address::{Email, Phone};
use super::audit;
use super::claims;
use super::model::Client;
use super::queries::{self, NewUser};
use super::signup::identity_data;
use super::username::Username;
use super::{Auth, AuthError, password, saving};

/// An account to import, checked.
#[derive(Clone)]
pub struct ImportedUser {
    id: Option<Uuid>,
    /// An id of its origin that cannot be ours.
    foreign_id: Option<String>,
    email: Option<Email>,
    phone: Option<Phone>,
    username: Option<Username>,
    password_hash: Option<String>,
    email_confirmed_at: Option<DateTime<Utc>>,
    phone_confirmed_at: Option<DateTime<Utc>>,
    created_at: Option<DateTime<Utc>>,
    last_sign_in_at: Option<DateTime<Utc>>,
    banned_until: Option<DateTime<Utc>>,
    role: Option<String>,
    user_metadata: Value,
    app_metadata: Map<String, Value>,
}

/// What else a row needs than [`NewUser`] has.
#[expect(clippy::struct_field_names, reason = "the names of the columns")]
pub(super) struct Times {
    pub(super) email_confirmed_at: Option<DateTime<Utc>>,
    pub(super) phone_confirmed_at: Option<DateTime<Utc>>,
    pub(super) created_at: DateTime<Utc>,
    pub(super) last_sign_in_at: Option<DateTime<Utc>>,
}

impl ImportedUser {
    /// Reads a record; fields it does not know are ignored. `now` is when an address counts as confirmed of which the
    /// record only says that it is.
    ///
    /// # Errors
    /// [`AuthError::Invalid`] names what does not fit, and never repeats a value.
    pub fn from_record(record: &Map<String, Value>, now: DateTime<Utc>) -> Result<Self, AuthError> {
        let fields = Fields(record);
        let (id, foreign_id) = match fields.text(&["id"]) {
            None => (None, None),
            Some(text) => match Uuid::parse_str(text) {
                Ok(id) => (Some(id), None),
                Err(_) => (None, Some(text.chars().take(255).collect())),
            },
        };
        let hash = fields.text(&[
            "encrypted_password",
            "password_hash",
            "passwordHash",
            "password",
        ]);
        if let Some(hash) = hash {
            password::check_imported(hash)?;
        }
        let email = fields.text(&["email"]).map(Email::parse).transpose()?;
        let phone = fields.text(&["phone"]).map(Phone::parse).transpose()?;
        let username = fields
            .text(&["username"])
            .map(Username::parse)
            .transpose()?;
        if email.is_none() && phone.is_none() && username.is_none() {
            return Err(AuthError::Invalid("email, phone and username are missing"));
        }
        let confirmed = |at: &[&str], flags: &[&str]| match fields.time(at)? {
            Some(at) => Ok(Some(at)),
            None => Ok::<_, AuthError>(fields.flag(flags).then_some(now)),
        };
        Ok(Self {
            id,
            foreign_id,
            email_confirmed_at: confirmed(
                &["email_confirmed_at"],
                &["email_confirm", "verified", "emailVerified"],
            )?,
            phone_confirmed_at: confirmed(&["phone_confirmed_at"], &["phone_confirm"])?,
            email,
            phone,
            username,
            password_hash: hash.map(str::to_owned),
            created_at: fields.time(&["created_at", "created"])?,
            last_sign_in_at: fields.time(&["last_sign_in_at"])?,
            banned_until: fields.time(&["banned_until"])?,
            role: fields.text(&["role"]).map(str::to_owned),
            user_metadata: Value::Object(fields.object(&["raw_user_meta_data", "user_metadata"])?),
            app_metadata: fields.object(&["raw_app_meta_data", "app_metadata"])?,
        })
    }
}

/// Adds an account, unless there is one with its id, address, number or name: so an import can be repeated. No hook runs
/// and no mail is sent. Tells whether it was added.
///
/// # Errors
/// [`AuthError::Invalid`] for a role that accounts may not have; [`AuthError::SavingUser`].
pub async fn import_user(auth: &Auth, user: &ImportedUser) -> Result<bool, AuthError> {
    let (config, now) = (auth.config(), auth.clock().now());
    let role = user.role.as_deref().unwrap_or(&config.auth.default_role);
    if !claims::may_be_given(role, &config.db.allowed_roles) {
        return Err(AuthError::Invalid(
            "role must be one of db.allowed_roles and not service_role",
        ));
    }
    let app_metadata = app_metadata(user);
    let new = NewUser {
        id: user.id.unwrap_or_else(Uuid::new_v4),
        aud: &config.jwt.aud,
        role,
        email: user.email.as_ref().map(Email::as_str),
        phone: user.phone.as_ref().map(Phone::as_str),
        username: user.username.as_ref().map(Username::as_str),
        password_hash: user.password_hash.as_deref(),
        email_confirmed: user.email_confirmed_at.is_some(),
        phone_confirmed: user.phone_confirmed_at.is_some(),
        app_metadata: &app_metadata,
        user_metadata: &user.user_metadata,
        banned_until: user.banned_until,
        signs_in: false,
        at: now,
    };
    let times = Times {
        email_confirmed_at: user.email_confirmed_at.filter(|_| user.email.is_some()),
        phone_confirmed_at: user.phone_confirmed_at.filter(|_| user.phone.is_some()),
        created_at: user.created_at.unwrap_or(now),
        last_sign_in_at: user.last_sign_in_at,
    };
    let tx = auth.db().auth().begin().await?;
    let added = async {
        let added = queries::import_user(&tx, &new, &times).await;
        if added.map_err(saving)? == 0 {
            return Ok(false);
        }
        for (provider, address, verified) in [
            ("email", new.email, new.email_confirmed),
            ("phone", new.phone, new.phone_confirmed),
        ] {
            if let Some(address) = address {
                let data = identity_data(new.id, (provider, address), verified);
                queries::write_identity(&tx, (new.id, provider), &data, times.created_at).await?;
            }
        }
        Ok(true)
    };
    let added = added.await;
    tx.finish(added).await
}

/// Notes an import in the audit log: one entry, however many accounts came.
///
/// # Errors
/// The database's.
pub async fn log_import(auth: &Auth, added: u64, client: &Client) -> Result<(), AuthError> {
    let traits = json!({ "count": added });
    let actor = (Uuid::nil(), "service_role");
    let payload = audit::payload(audit::Action::Imported, actor, &traits);
    let tx = auth.db().auth().begin().await?;
    let logged = queries::log(&tx, &payload, (client, auth.clock().now())).await;
    tx.finish(logged).await?;
    Ok(())
}

/// What the record says, over what a new account would have.
fn app_metadata(user: &ImportedUser) -> Value {
    let given = [
        ("email", user.email.is_some()),
        ("phone", user.phone.is_some()),
        ("username", user.username.is_some()),
    ];
    let providers: Vec<_> = given
        .into_iter()
        .filter_map(|(name, given)| given.then_some(name))
        .collect();
    let mut members = Map::new();
    members.insert("provider".to_owned(), providers[0].into());
    members.insert("providers".to_owned(), json!([providers[0]]));
    if let Some(id) = &user.foreign_id {
        members.insert("imported_id".to_owned(), id.as_str().into());
    }
    members.extend(user.app_metadata.clone());
    Value::Object(members)
}

/// A record whose fields have several names, and which as CSV holds texts only.
struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    fn find(&self, names: &[&str]) -> Option<&'a Value> {
        let values = names.iter().filter_map(|name| self.0.get(*name));
        values
            .into_iter()
            .find(|value| !value.is_null() && value.as_str() != Some(""))
    }

    fn text(&self, names: &[&str]) -> Option<&'a str> {
        self.find(names).and_then(Value::as_str)
    }

    fn flag(&self, names: &[&str]) -> bool {
        match self.find(names) {
            Some(Value::Bool(flag)) => *flag,
            Some(Value::String(text)) => matches!(text.as_str(), "t" | "true" | "TRUE" | "1"),
            _ => false,
        }
    }

    fn time(&self, names: &[&str]) -> Result<Option<DateTime<Utc>>, AuthError> {
        const INVALID: AuthError =
            AuthError::Invalid("a time is not in the form 2026-01-31 12:00:00+00");
        let Some(text) = self.text(names) else {
            return Ok(None);
        };
        if text == "infinity" {
            return Ok(DateTime::from_timestamp(253_402_300_799, 0));
        }
        let zoned = |format| DateTime::parse_from_str(text, format).map(|time| time.to_utc());
        let plain = |format| NaiveDateTime::parse_from_str(text, format).map(|time| time.and_utc());
        DateTime::parse_from_rfc3339(text)
            .map(|time| time.to_utc())
            .or_else(|_| zoned("%Y-%m-%d %H:%M:%S%.f%#z"))
            .or_else(|_| plain("%Y-%m-%d %H:%M:%S%.f"))
            .or_else(|_| plain("%Y-%m-%d %H:%M:%S%.fZ"))
            .map(Some)
            .map_err(|_| INVALID)
    }

    fn object(&self, names: &[&str]) -> Result<Map<String, Value>, AuthError> {
        const INVALID: AuthError = AuthError::Invalid("metadata must be a JSON object");
        match self.find(names) {
            None => Ok(Map::new()),
            Some(Value::Object(members)) => Ok(members.clone()),
            Some(Value::String(text)) => serde_json::from_str(text).map_err(|_| INVALID),
            Some(_) => Err(INVALID),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(record: &Value) -> Result<ImportedUser, AuthError> {
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        ImportedUser::from_record(record.as_object().unwrap(), now)
    }

    #[test]
    fn records_of_several_origins_are_read() {
        let hash = "$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";
        let supabase = read(&json!({
            "id": "7d7bd1f6-3f05-4c43-9d67-0c3a9d5b1a10", "email": "Ana@example.com", "encrypted_password": hash,
            "email_confirmed_at": "2024-05-06 07:08:09.123456+00", "phone": "", "banned_until": "",
            "raw_user_meta_data": "{\"nick\": \"ana\"}", "created_at": "2024-05-06 07:08:09+00", "is_anonymous": "f"
        }))
        .unwrap();
        assert_eq!(supabase.email.unwrap().as_str(), "ana@example.com");
        assert_eq!(supabase.user_metadata, json!({"nick": "ana"}));
        assert!(supabase.id.is_some() && supabase.phone.is_none());
        let at = |time: Option<DateTime<Utc>>| time.unwrap().timestamp_micros();
        assert_eq!(at(supabase.email_confirmed_at), 1_714_979_289_123_456);
        let pocketbase = read(&json!({
            "id": "abc123def456ghi", "email": "bo@example.com", "password": hash, "verified": true,
            "created": "2024-05-06 07:08:09.000Z", "username": "bo_1"
        }))
        .unwrap();
        assert_eq!(pocketbase.foreign_id.as_deref(), Some("abc123def456ghi"));
        assert_eq!(at(pocketbase.email_confirmed_at), 1_700_000_000_000_000);
        assert_eq!(at(pocketbase.created_at), 1_714_979_289_000_000);
    }

    #[test]
    fn what_does_not_fit_is_refused_without_its_value() {
        for record in [
            json!({}),
            json!({"email": "no address"}),
            json!({"email": "a@example.com", "password": "a plain password"}),
            json!({"email": "a@example.com", "created_at": "yesterday"}),
            json!({"email": "a@example.com", "user_metadata": "[1]"}),
            json!({"email": "a@example.com", "user_metadata": 7}),
        ] {
            let error = read(&record).err().unwrap().to_string();
            assert!(
                !error.contains("plain password") && !error.contains("yesterday"),
                "{record}: {error}"
            );
        }
    }
}
