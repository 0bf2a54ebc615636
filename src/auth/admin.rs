//! Accounts as the holder of the service key and the command line manage them.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::address::{Email, Phone};
use super::audit::{self, Action};
use super::duration::Ban;
use super::limits;
use super::metadata::MetadataPatch;
use super::model::{Client, User, UserPage};
use super::queries::{self, NewUser, UserChange, Wanted};
use super::signup::{identity_data, insert_with_identities};
use super::username::{self, Username};
use super::{Auth, AuthError, claims, operate, password, saving};
use crate::db::{DbError, SqlState, Tx};
use crate::hooks::Event;

/// The largest page of users.
pub(super) const MAX_PER_PAGE: u32 = 1000;

/// An account to make, or changes of one; what is `None` is left out or stays as it is.
#[derive(Clone, Default, serde::Deserialize)]
#[serde(default)]
pub struct NewAccount {
    /// Its id; a new one by default.
    pub id: Option<String>,
    /// Address.
    pub email: Option<String>,
    /// Phone number.
    pub phone: Option<String>,
    /// A name to sign in with, where the project has them.
    pub username: Option<String>,
    /// Password.
    pub password: Option<String>,
    /// Password as a hash: argon2 in PHC format, bcrypt, or Firebase scrypt.
    pub password_hash: Option<String>,
    /// The address counts as confirmed.
    pub email_confirm: Option<bool>,
    /// The number counts as confirmed.
    pub phone_confirm: Option<bool>,
    /// Metadata the user may write; null removes a member.
    pub user_metadata: Option<Value>,
    /// Metadata only the service may write; null removes a member.
    pub app_metadata: Option<Value>,
    /// Postgres role: one of `db.allowed_roles`, not `service_role`.
    pub role: Option<String>,
    /// Audience of its tokens.
    pub aud: Option<String>,
    /// `24h`, `none`.
    pub ban_duration: Option<String>,
}

/// The parts of a [`NewAccount`], checked.
struct Checked {
    email: Option<Email>,
    phone: Option<Phone>,
    username: Option<Username>,
    password_hash: Option<String>,
    user_metadata: MetadataPatch,
    app_metadata: MetadataPatch,
    ban: Option<Ban>,
}

/// Makes an account. No mail is sent, and sign-ups being switched off does not matter.
///
/// # Errors
/// [`AuthError::Invalid`], [`AuthError::WeakPassword`], [`AuthError::EmailExists`], [`AuthError::PhoneExists`],
/// [`AuthError::IdExists`], [`AuthError::SavingUser`].
pub async fn add_user(auth: &Auth, input: NewAccount, client: &Client) -> Result<User, AuthError> {
    let id = match given(input.id.as_deref()) {
        Some(id) => Uuid::parse_str(id).map_err(|_| AuthError::Invalid("id must be an UUID"))?,
        None => Uuid::new_v4(),
    };
    let checked = check(auth, &input).await?;
    let (email, phone) = (
        checked.email.as_ref().map(Email::as_str),
        checked.phone.as_ref().map(Phone::as_str),
    );
    let providers = match (email, phone) {
        (Some(_), Some(_)) => json!({ "provider": "email", "providers": ["email", "phone"] }),
        (Some(_), None) => json!({ "provider": "email", "providers": ["email"] }),
        (None, Some(_)) => json!({ "provider": "phone", "providers": ["phone"] }),
        (None, None) if checked.username.is_some() => {
            json!({ "provider": "username", "providers": ["username"] })
        }
        (None, None) => {
            let message = "Cannot create a user without either an email or phone";
            return Err(AuthError::Invalid(message));
        }
    };
    let now = auth.clock().now();
    let config = auth.config();
    let new = NewUser {
        id,
        aud: given(input.aud.as_deref()).unwrap_or(&config.jwt.aud),
        role: given(input.role.as_deref()).unwrap_or(&config.auth.default_role),
        email,
        phone,
        username: checked.username.as_ref().map(Username::as_str),
        password_hash: checked.password_hash.as_deref(),
        email_confirmed: email.is_some() && input.email_confirm == Some(true),
        phone_confirmed: phone.is_some() && input.phone_confirm == Some(true),
        app_metadata: &checked.app_metadata.over(members(providers)),
        user_metadata: &checked.user_metadata.over(Map::new()),
        banned_until: checked.ban.and_then(|ban| ban.until(now)),
        signs_in: false,
        at: now,
    };
    let tx = auth.db().auth().begin().await?;
    let added = async {
        insert_with_identities(&tx, &new).await?;
        let user = queries::read_user(&tx, id)
            .await?
            .ok_or(AuthError::UserNotFound)?;
        let payload = audit::by_service(Action::SignedUp, &user);
        queries::log(&tx, &payload, (client, now)).await?;
        Ok(user)
    };
    let added = added.await;
    tx.finish(added).await
}

/// A user by id.
///
/// # Errors
/// [`AuthError::UserNotFound`].
pub(super) async fn find(auth: &Auth, id: Uuid) -> Result<User, AuthError> {
    let connection = auth.db().auth().connection().await?;
    let found = queries::find_user(&connection, id, None).await?;
    found.map(|(user, _)| user).ok_or(AuthError::UserNotFound)
}

/// Changes an account. A new password ends all its sessions, and the delays after wrong ones.
///
/// # Errors
/// Those of [`add_user`], and [`AuthError::UserNotFound`].
pub(super) async fn update(
    auth: &Auth,
    id: Uuid,
    input: NewAccount,
    client: &Client,
) -> Result<User, AuthError> {
    let checked = check(auth, &input).await?;
    let now = auth.clock().now();
    let change = UserChange {
        email: checked.email.as_ref().map(Email::as_str),
        phone: checked.phone.as_ref().map(Phone::as_str),
        username: checked.username.as_ref().map(Username::as_str),
        password_hash: checked.password_hash.as_deref(),
        email_confirmed: input.email_confirm == Some(true),
        phone_confirmed: input.phone_confirm == Some(true),
        user_metadata: checked.user_metadata.split(),
        app_metadata: checked.app_metadata.split(),
        role: given(input.role.as_deref()),
        aud: given(input.aud.as_deref()),
        ban: checked.ban,
        checked_hash: None,
    };
    let tx = auth.db().auth().begin().await?;
    let changed = async {
        if change.password_hash.is_some() || change.email.is_some() {
            queries::burn_tokens(&tx, id, None).await?;
        }
        if queries::update_user(&tx, id, &change, now)
            .await
            .map_err(saving)?
            == 0
        {
            return Err(AuthError::UserNotFound);
        }
        let user = update_dependents(&tx, id, &change, now).await?;
        if change.password_hash.is_some() {
            limits::forget_account(auth, &tx, &user).await?;
        }
        let payload = audit::by_service(Action::Modified, &user);
        queries::log(&tx, &payload, (client, now)).await?;
        Ok(user)
    };
    let changed = changed.await;
    tx.finish(changed).await
}

async fn update_dependents(
    tx: &Tx,
    id: Uuid,
    change: &UserChange<'_>,
    now: chrono::DateTime<chrono::Utc>,
) -> Result<User, AuthError> {
    let user = queries::read_user(tx, id)
        .await?
        .ok_or(AuthError::UserNotFound)?;
    for (provider, address, verified) in [
        ("email", change.email, user.email_confirmed_at.is_some()),
        ("phone", change.phone, user.phone_confirmed_at.is_some()),
    ] {
        if let Some(address) = address {
            let data = identity_data(id, (provider, address), verified);
            queries::write_identity(tx, (id, provider), &data, now).await?;
        }
    }
    if change.password_hash.is_some() {
        queries::end_sessions(tx, id, None).await?;
    }
    queries::read_user(tx, id)
        .await?
        .ok_or(AuthError::UserNotFound)
}

/// Deletes an account with its sessions and identities; `soft` keeps the row, without anything personal.
///
/// # Errors
/// [`AuthError::UserNotFound`]; [`AuthError::UserReferenced`] when rows of the project forbid it.
pub(super) async fn delete(
    auth: &Auth,
    id: Uuid,
    soft: bool,
    client: &Client,
) -> Result<(), AuthError> {
    let now = auth.clock().now();
    let tx = auth.db().auth().begin().await?;
    let deleted = async {
        let user = queries::read_user(&tx, id)
            .await?
            .ok_or(AuthError::UserNotFound)?;
        let payload = audit::by_service(Action::Deleted, &user);
        queries::log(&tx, &payload, (client, now)).await?;
        if soft {
            queries::soft_delete_user(&tx, id, now).await?;
        } else {
            queries::delete_user(&tx, id).await.map_err(referenced)?;
        }
        let what = (&user, now);
        auth.extensions()
            .emit(&tx, Event::UserDeleted, what)
            .await?;
        Ok(())
    };
    let deleted = deleted.await;
    tx.finish(deleted).await
}

fn referenced(error: DbError) -> AuthError {
    if error.code() == Some(&SqlState::FOREIGN_KEY_VIOLATION) {
        AuthError::UserReferenced(error)
    } else {
        AuthError::Db(error)
    }
}

/// Deletes the account with an address or id and tells who it was.
///
/// # Errors
/// As deleting by id.
pub async fn remove_user(auth: &Auth, who: &str, client: &Client) -> Result<User, AuthError> {
    let id = operate::resolve(auth, who).await?;
    let user = find(auth, id).await?;
    delete(auth, id, false, client).await?;
    Ok(user)
}

/// By what users are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SortField {
    /// When they were made.
    #[default]
    CreatedAt,
    /// When they were last changed.
    UpdatedAt,
    /// When they last signed in.
    LastSignInAt,
    /// Their address.
    Email,
}

/// Which users to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListUsers {
    /// From 1.
    pub page: u32,
    /// From 1 to 1000.
    pub per_page: u32,
    /// Part of the address, number or user name.
    pub filter: Option<String>,
    /// Exactly this address.
    pub email: Option<String>,
    /// Exactly this number.
    pub phone: Option<String>,
    /// The order, and whether it is turned round.
    pub sort: (SortField, bool),
}

impl Default for ListUsers {
    fn default() -> Self {
        Self {
            page: 1,
            per_page: 50,
            filter: None,
            email: None,
            phone: None,
            sort: (SortField::CreatedAt, true),
        }
    }
}

impl ListUsers {
    /// Reads an order as Supabase spells it: `created_at desc`. Ascending unless it says otherwise.
    ///
    /// # Errors
    /// [`AuthError::Invalid`] for other fields.
    pub(super) fn parse_sort(text: &str) -> Result<(SortField, bool), AuthError> {
        const INVALID: AuthError = AuthError::Invalid(
            "sort must be one of created_at, updated_at, last_sign_in_at, email, with asc or desc",
        );
        let mut words = text.split_ascii_whitespace();
        let field = match words.next() {
            Some("created_at") => SortField::CreatedAt,
            Some("updated_at") => SortField::UpdatedAt,
            Some("last_sign_in_at") => SortField::LastSignInAt,
            Some("email") => SortField::Email,
            _ => return Err(INVALID),
        };
        let descending = match words.next() {
            None | Some("asc") => false,
            Some("desc") => true,
            Some(_) => return Err(INVALID),
        };
        match words.next() {
            None => Ok((field, descending)),
            Some(_) => Err(INVALID),
        }
    }
}

/// A page of users. An address or number that cannot be one is nobody's.
pub async fn list_users(auth: &Auth, list: &ListUsers) -> Result<UserPage, AuthError> {
    let filter = given(list.filter.as_deref());
    if filter.is_some_and(|text| text.contains('\0')) {
        return Err(AuthError::Invalid("filter must not contain NUL characters"));
    }
    let (email, phone) = (given(list.email.as_deref()), given(list.phone.as_deref()));
    let (email, phone) = (email.map(Email::parse), phone.map(Phone::parse));
    let (Ok(email), Ok(phone)) = (email.transpose(), phone.transpose()) else {
        return Ok(UserPage {
            users: Vec::new(),
            total: 0,
        });
    };
    let wanted = Wanted {
        part: filter,
        email: email.as_ref().map(Email::as_str),
        phone: phone.as_ref().map(Phone::as_str),
    };
    let limit = i64::from(list.per_page.clamp(1, MAX_PER_PAGE));
    let offset = i64::from(list.page.max(1) - 1) * limit;
    let connection = auth.db().auth().connection().await?;
    Ok(UserPage {
        total: queries::count_users(&connection, wanted).await?,
        users: queries::list_users(&connection, wanted, list.sort, (limit, offset)).await?,
    })
}

async fn check(auth: &Auth, input: &NewAccount) -> Result<Checked, AuthError> {
    let config = auth.config();
    if let Some(role) = given(input.role.as_deref())
        && !claims::may_be_given(role, &config.db.allowed_roles)
    {
        return Err(AuthError::Invalid(
            "role must be one of db.allowed_roles and not service_role",
        ));
    }
    if given(input.aud.as_deref()).is_some_and(|aud| aud.len() > 255 || aud.contains('\0')) {
        return Err(AuthError::Invalid("aud must have at most 255 characters"));
    }
    let ban = match given(input.ban_duration.as_deref()) {
        Some(text) => Some(Ban::parse(text).ok_or(AuthError::Invalid(
            "ban_duration must be \"none\" or a duration such as 24h or 1h30m",
        ))?),
        None => None,
    };
    Ok(Checked {
        email: given(input.email.as_deref())
            .map(Email::parse)
            .transpose()?,
        phone: given(input.phone.as_deref())
            .map(Phone::parse)
            .transpose()?,
        username: username::wanted(auth, input.username.as_deref())?,
        user_metadata: MetadataPatch::parse(input.user_metadata.clone())?,
        app_metadata: MetadataPatch::parse(input.app_metadata.clone())?,
        ban,
        password_hash: password_hash(auth, input).await?,
    })
}

async fn password_hash(auth: &Auth, input: &NewAccount) -> Result<Option<String>, AuthError> {
    match (
        given(input.password.as_deref()),
        given(input.password_hash.as_deref()),
    ) {
        (Some(_), Some(_)) => Err(AuthError::Invalid(
            "Only a password or a password hash should be provided",
        )),
        (Some(text), None) => {
            password::check_new(text, &auth.config().auth)?;
            Ok(Some(auth.passwords().hash(text).await?))
        }
        (None, Some(hash)) => {
            password::check_imported(hash)?;
            Ok(Some(hash.to_owned()))
        }
        (None, None) => Ok(None),
    }
}

/// Clients send an empty text for what they leave out.
fn given(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

fn members(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}
