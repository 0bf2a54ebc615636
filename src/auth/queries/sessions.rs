//! The list of a user's sessions.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::auth::sessions::Device;
use crate::db::{DbError, Row, SystemConnection, Tx};

/// Which sessions live.
#[derive(Debug, Clone, Copy)]
pub(in crate::auth) struct LiveWithin {
    pub(in crate::auth) now: DateTime<Utc>,
    pub(in crate::auth) used_since: DateTime<Utc>,
    pub(in crate::auth) made_since: DateTime<Utc>,
}

/// The live sessions of a user, the one used last first; of more than a thousand the newest.
pub(in crate::auth) async fn list_sessions(
    db: &SystemConnection,
    user_id: Uuid,
    within: LiveWithin,
) -> Result<Vec<Device>, DbError> {
    let sql = "
    select s.id
         , s.created_at
         , s.refreshed_at
         , s.not_after
         , s.aal
         , s.amr
         , s.ip
         , s.user_agent
         , s.oauth_client_id
      from (
        select n.id
          from auth.sessions n
         where n.user_id = $1
           and (n.not_after is null or n.not_after > $2)
           and coalesce(n.refreshed_at, n.created_at) > $3
           and n.created_at > $4
         order by n.created_at desc
         limit 1000
      ) newest
      join auth.sessions s
        on s.id = newest.id
     order by coalesce(s.refreshed_at, s.created_at) desc
         , s.id";
    let rows = db
        .query(
            sql,
            &[
                &user_id,
                &within.now,
                &within.used_since,
                &within.made_since,
            ],
        )
        .await?;
    Ok(rows.iter().map(device).collect())
}

fn device(row: &Row) -> Device {
    Device {
        id: row.get("id"),
        created_at: row.get("created_at"),
        refreshed_at: row.get("refreshed_at"),
        not_after: row.get("not_after"),
        aal: row.get("aal"),
        amr: row.get("amr"),
        ip: row.get("ip"),
        user_agent: row.get("user_agent"),
        oauth_client_id: row.get("oauth_client_id"),
        is_current: false,
    }
}

/// Ends one session of a user.
pub(in crate::auth) async fn end_session(
    tx: &Tx,
    user_id: Uuid,
    session_id: Uuid,
) -> Result<u64, DbError> {
    let sql = "
    delete from auth.sessions s
     where s.user_id = $1
       and s.id = $2";
    tx.execute(sql, &[&user_id, &session_id]).await
}
