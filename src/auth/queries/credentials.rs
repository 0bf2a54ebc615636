//! What a sign-in asks of an account before the password is checked.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::db::{DbError, Row, SystemConnection};

/// What a password sign-in needs to know before the password is checked.
pub(in crate::auth) struct Credentials {
    pub(in crate::auth) user_id: Uuid,
    /// Address, else number.
    pub(in crate::auth) name: String,
    pub(in crate::auth) password_hash: Option<String>,
    pub(in crate::auth) banned_until: Option<DateTime<Utc>>,
    pub(in crate::auth) is_confirmed: bool,
    pub(in crate::auth) is_phone_confirmed: bool,
    /// Whether it has a live session in the network of the request.
    pub(in crate::auth) is_known_device: bool,
}

/// Where a sign-in comes from, to tell whether the account is signed in there.
#[derive(Debug, Clone, Copy)]
pub(in crate::auth) struct Device {
    /// The first and the last address of its network.
    pub(in crate::auth) network: (IpAddr, IpAddr),
    pub(in crate::auth) now: DateTime<Utc>,
    /// Sessions that were not used since then are over.
    pub(in crate::auth) live_since: DateTime<Utc>,
}

/// Looks at the newest sessions only: nothing bounds how many an account has.
macro_rules! is_known_device {
    () => {
        "exists (
           select
             from (
               select s.ip
                    , s.not_after
                    , s.refreshed_at
                    , s.created_at
                 from auth.sessions s
                where s.user_id = u.id
                  and s.oauth_client_id is null
                order by s.created_at desc
                limit 100
             ) s
            where s.ip between $2::inet and $3::inet
              and (s.not_after is null or s.not_after > $4::timestamptz)
              and coalesce(s.refreshed_at, s.created_at) > $5::timestamptz
         ) as is_known_device"
    };
}

macro_rules! credential_columns {
    () => {
        concat!(
            "u.id
       , coalesce(u.email, u.phone, u.username, '') as name
       , u.encrypted_password
       , ",
            banned_until!(),
            "
       , (u.confirmed_at is not null or u.email is null and u.phone is null) as is_confirmed
       , u.phone_confirmed_at is not null as is_phone_confirmed"
        )
    };
}

/// An account that has a password of its own.
macro_rules! select_credentials {
    ($which:literal) => {
        concat!(
            "
    select ",
            credential_columns!(),
            "
       , ",
            is_known_device!(),
            "
      from auth.users u
     where ",
            $which,
            "
       and not u.is_sso_user"
        )
    };
}

/// The account with an address. `email` is in its stored spelling.
pub(in crate::auth) async fn find_credentials_by_email(
    db: &SystemConnection,
    email: &str,
    device: Option<Device>,
) -> Result<Option<Credentials>, DbError> {
    let sql = select_credentials!("lower(u.email) = $1");
    find_by(db, sql, email, device).await
}

/// The account with a number.
pub(in crate::auth) async fn find_credentials_by_phone(
    db: &SystemConnection,
    phone: &str,
    device: Option<Device>,
) -> Result<Option<Credentials>, DbError> {
    let sql = select_credentials!("u.phone = $1");
    find_by(db, sql, phone, device).await
}

/// The account with a user name.
pub(in crate::auth) async fn find_credentials_by_username(
    db: &SystemConnection,
    username: &str,
    device: Option<Device>,
) -> Result<Option<Credentials>, DbError> {
    let sql = select_credentials!("u.username = $1");
    find_by(db, sql, username, device).await
}

async fn find_by(
    db: &SystemConnection,
    sql: &str,
    address: &str,
    device: Option<Device>,
) -> Result<Option<Credentials>, DbError> {
    let row = db
        .query_opt(
            sql,
            &[
                &address,
                &device.map(|device| device.network.0),
                &device.map(|device| device.network.1),
                &device.map(|device| device.now),
                &device.map(|device| device.live_since),
            ],
        )
        .await?;
    Ok(row.as_ref().map(credentials))
}

/// The account with an id.
pub(in crate::auth) async fn find_credentials(
    db: &SystemConnection,
    user_id: Uuid,
) -> Result<Option<Credentials>, DbError> {
    let sql = concat!(
        "
    select ",
        credential_columns!(),
        "
       , false as is_known_device
      from auth.users u
     where u.id = $1"
    );
    let row = db.query_opt(sql, &[&user_id]).await?;
    Ok(row.as_ref().map(credentials))
}

fn credentials(row: &Row) -> Credentials {
    let hash: Option<String> = row.get("encrypted_password");
    Credentials {
        user_id: row.get("id"),
        name: row.get("name"),
        password_hash: hash.filter(|hash| !hash.is_empty()),
        banned_until: row.get("banned_until"),
        is_confirmed: row.get("is_confirmed"),
        is_phone_confirmed: row.get("is_phone_confirmed"),
        is_known_device: row.get("is_known_device"),
    }
}
