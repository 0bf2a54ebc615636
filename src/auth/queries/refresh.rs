//! The exchange of a refresh token: one statement in the ordinary case, one that decides in all others.

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::ip_text;
use super::rows::users;
use crate::auth::model::{Client, Session, User};
use crate::db::{DbError, Row, SystemConnection, ToSql};

/// How long what is accepted at a refresh.
#[derive(Debug, Clone, Copy)]
pub(in crate::auth) struct RefreshLimits {
    /// Unused for longer, a session is over.
    pub(in crate::auth) ttl: TimeDelta,
    pub(in crate::auth) reuse_interval: TimeDelta,
    /// Older sessions are over.
    pub(in crate::auth) age: TimeDelta,
    /// Only the newest session of a user may go on.
    pub(in crate::auth) newest_only: bool,
}

/// What became of a refresh.
#[derive(Debug)]
pub(in crate::auth) enum Refreshed {
    /// These are the session's current state and its user.
    Current(Session, Box<User>),
    /// No such session.
    Unknown,
    /// The user is banned.
    Banned,
    /// The session has reached its time limit.
    Expired,
    /// The token was used before; the session is deleted.
    Reused,
    /// A second factor was verified in the session a moment ago; it goes on with the tokens from then.
    Outdated,
}

/// The ordinary case, in one small statement: the current token of a live session. It gives no row in any other case,
/// also when another caller was first: then `DECIDE` says which case it is.
///
/// The commit does not wait for the disk. Should Postgres crash within the moment, the session is where it was before
/// and the client's token is ahead of it. Its MAC says that it was ours to give, so it is taken for the current one; the
/// same holds after a failover to a replica that was behind.
macro_rules! rotate {
    ($further:literal) => {
        concat!(
            "
    with c as materialized (
      select set_config('synchronous_commit', 'off', true)
    ), s as (
      update auth.sessions s
         set refresh_token_counter = $2 + 1
           , refresh_token_seen = false
           , refresh_token_reuse_count = 0
           , refreshed_at = $3
           , updated_at = $3
           , ip = $5
           , user_agent = $6
        from auth.users u
           , c
       where s.id = $1
         and s.refresh_token_counter <= $2
         and u.id = s.user_id
         and (s.not_after is null or s.not_after > $3)
         and coalesce(s.refreshed_at, s.created_at) > $4
         and s.created_at > $7
         and (u.banned_until is null or u.banned_until <= $3)",
            $further,
            "
      returning ",
            user_columns!(),
            "
           , s.aal
           , s.amr
    )
    select ",
            user_columns!(),
            "
         , u.aal
         , u.amr
         , ",
            identity_columns!(),
            "
      from s u
      left join auth.identities i
        on i.user_id = u.id"
        )
    };
}

const ROTATE: &str = rotate!("");

/// The same where a user has one session: a text of its own, so that it costs nothing where the setting is off.
const ROTATE_NEWEST: &str = rotate!(
    "
         and not exists (
           select
             from auth.sessions n
            where n.user_id = s.user_id
              and n.created_at > s.created_at
              and n.oauth_client_id is not distinct from s.oauth_client_id
         )"
);

/// All other cases, decided and acted on under the row's lock: a caller that waited for another sees what that one wrote.
/// `current` means that the obstacle has gone in between (a ban was lifted, say).
/// The parent of the current token is good within the reuse interval; after that only to repair a lost response:
/// while nothing issued with the current token has come back, three times, for a day.
/// A second factor takes the counter two steps on, so that no token from before gives the level it has reached. A refresh
/// that was under way meanwhile is refused (`outdated`), and no reason to end the session.
const DECIDE: &str = concat!(
    "
    with s as materialized (
      select s.id
           , s.user_id
           , s.created_at
           , s.refreshed_at
           , s.not_after
           , s.aal
           , s.amr
           , s.refresh_token_counter
           , s.refresh_token_seen
           , s.refresh_token_reuse_count
           , s.oauth_client_id
        from auth.sessions s
       where s.id = $1
         for update
    ), u as materialized (
      select ", user_columns!(), "
           , u.is_sso_user
           , s.id as session_id
           , s.aal
           , s.amr
           , s.refresh_token_counter
           , case
               when u.banned_until > $3 then 'banned'
               when s.not_after <= $3 then 'expired'
               when coalesce(s.refreshed_at, s.created_at) <= $4 then 'expired'
               when s.created_at <= $8 then 'expired'
               when $9 and exists (
                 select
                   from auth.sessions n
                  where n.user_id = s.user_id
                    and n.created_at > s.created_at
                    and n.oauth_client_id is not distinct from s.oauth_client_id
               ) then 'displaced'
               when s.refresh_token_counter <= $2 then 'current'
               when s.refresh_token_counter = $2 + 2
                and s.refreshed_at >= $5
                and s.aal = 'aal2'
                and s.amr #>> '{0,timestamp}' = floor(extract(epoch from s.refreshed_at))::text then 'outdated'
               when s.refresh_token_counter > $2 + 1 then 'reused'
               when s.refreshed_at >= $5 then 'repeated'
               when s.refresh_token_seen then 'reused'
               when s.refresh_token_reuse_count >= 3 then 'reused'
               when s.refreshed_at >= $6 then 'recovered'
               else 'reused'
             end as outcome
        from s
        join auth.users u
          on u.id = s.user_id
    ), recovered as (
      update auth.sessions s
         set refresh_token_reuse_count = s.refresh_token_reuse_count + 1
           , updated_at = $3
        from u
       where s.id = u.session_id
         and u.outcome = 'recovered'
    ), ended as (
      delete from auth.sessions s
       using u
       where s.id = u.session_id
         and u.outcome in ('reused', 'displaced')
    ), logged as (
      insert into auth.audit_log_entries
        (payload, created_at, ip_address)
      select json_build_object(
               'actor_id', u.id,
               'actor_username', coalesce(u.email, u.phone, ''),
               'actor_via_sso', u.is_sso_user,
               'action', case u.outcome when 'reused' then 'token_revoked' else 'token_refreshed' end,
               'log_type', 'token',
               'traits', json_build_object('session_id', u.session_id, 'outcome', u.outcome)
             )
           , $3
           , $7
        from u
       where u.outcome in ('recovered', 'reused')
    )
    select ", user_columns!(), "
         , ", identity_columns!(), "
         , u.outcome
         , u.session_id
         , u.aal
         , u.amr
         , u.refresh_token_counter
      from u
      left join auth.identities i
        on i.user_id = u.id"
);

/// Exchanges the token `counter` of a session. An ordinary refresh is not logged: the session row says when it was.
pub(in crate::auth) async fn refresh(
    db: &SystemConnection,
    token: (Uuid, i64),
    limits: RefreshLimits,
    now: DateTime<Utc>,
    client: &Client,
) -> Result<Refreshed, DbError> {
    // Each further round needs somebody to change the session in between; a trigger that swallows updates must not keep
    // us here.
    for _ in 0..3 {
        if let Some(rotated) = rotate(db, token, limits, now, client).await? {
            return Ok(rotated);
        }
        if let Some(decided) = decide(db, token, limits, now, client).await? {
            return Ok(decided);
        }
    }
    Err(DbError::RolledBack)
}

/// `None` in any but the ordinary case.
async fn rotate(
    db: &SystemConnection,
    (session_id, counter): (Uuid, i64),
    limits: RefreshLimits,
    now: DateTime<Utc>,
    client: &Client,
) -> Result<Option<Refreshed>, DbError> {
    let (unused_since, older_than) = (now - limits.ttl, now - limits.age);
    let (ip, agent) = (&client.ip, &client.user_agent);
    let sql = if limits.newest_only {
        ROTATE_NEWEST
    } else {
        ROTATE
    };
    let params: [&(dyn ToSql + Sync); 7] = [
        &session_id,
        &counter,
        &now,
        &unused_since,
        ip,
        agent,
        &older_than,
    ];
    let rows = db.query(sql, &params).await?;
    Ok(rows
        .first()
        .map(|row| current(row, &rows, (session_id, counter + 1))))
}

/// `None` when the token has become an ordinary case.
async fn decide(
    db: &SystemConnection,
    (session_id, counter): (Uuid, i64),
    limits: RefreshLimits,
    now: DateTime<Utc>,
    client: &Client,
) -> Result<Option<Refreshed>, DbError> {
    let rows = db
        .query(
            DECIDE,
            &[
                &session_id,
                &counter,
                &now,
                &(now - limits.ttl),
                &(now - limits.reuse_interval),
                &(now - TimeDelta::hours(24)),
                &ip_text(client),
                &(now - limits.age),
                &limits.newest_only,
            ],
        )
        .await?;
    let Some(row) = rows.first() else {
        return Ok(Some(Refreshed::Unknown));
    };
    Ok(match row.get("outcome") {
        "current" => None,
        "banned" => Some(Refreshed::Banned),
        "expired" | "displaced" => Some(Refreshed::Expired),
        "reused" => Some(Refreshed::Reused),
        "outdated" => Some(Refreshed::Outdated),
        // Repeated or recovered: the token the session has already.
        _ => {
            let counter = row.get("refresh_token_counter");
            Some(current(row, &rows, (session_id, counter)))
        }
    })
}

fn current(row: &Row, rows: &[Row], (id, counter): (Uuid, i64)) -> Refreshed {
    let session = Session {
        id,
        aal: row.get("aal"),
        amr: row.get("amr"),
        counter,
    };
    users(rows).pop().map_or(Refreshed::Unknown, |user| {
        Refreshed::Current(session, Box::new(user))
    })
}
