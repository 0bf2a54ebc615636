//! Second factors, their challenges and recovery codes, and what they do to sessions.

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use crate::auth::model::{Client, Factor, Session};
use crate::db::{DbError, Row, SystemConnection, Tx};

/// A factor with what proves it.
pub(in crate::auth) struct FactorRow {
    pub(in crate::auth) id: Uuid,
    /// `totp`, `webauthn`, `phone` or `recovery_code`.
    pub(in crate::auth) kind: String,
    pub(in crate::auth) friendly_name: String,
    pub(in crate::auth) is_verified: bool,
    /// Sealed.
    pub(in crate::auth) secret: Option<String>,
    pub(in crate::auth) credential: Option<Value>,
    pub(in crate::auth) last_step: Option<i64>,
    pub(in crate::auth) failures: i32,
    pub(in crate::auth) last_failed_at: Option<DateTime<Utc>>,
}

macro_rules! factor_columns {
    () => {
        "f.id
         , f.factor_type::text as factor_type
         , coalesce(f.friendly_name, '') as friendly_name
         , f.status = 'verified' as is_verified
         , f.secret
         , f.web_authn_credential
         , f.last_step
         , f.failures
         , f.last_failed_at"
    };
}

fn factor(row: &Row) -> FactorRow {
    FactorRow {
        id: row.get("id"),
        kind: row.get("factor_type"),
        friendly_name: row.get("friendly_name"),
        is_verified: row.get("is_verified"),
        secret: row.get("secret"),
        credential: row.get("web_authn_credential"),
        last_step: row.get("last_step"),
        failures: row.get("failures"),
        last_failed_at: row.get("last_failed_at"),
    }
}

/// Locks a user until the end of the transaction, so that what is decided by its factors is decided by one request at a
/// time, on whichever nodes.
pub(in crate::auth) async fn lock_user(tx: &Tx, user_id: Uuid) -> Result<u64, DbError> {
    let sql = "
    select
      from auth.users u
     where u.id = $1
       for no key update";
    tx.execute(sql, &[&user_id]).await
}

/// Removes a user's factors that were begun before `before` and never used.
pub(in crate::auth) async fn delete_stale_factors(
    tx: &Tx,
    user_id: Uuid,
    before: DateTime<Utc>,
) -> Result<u64, DbError> {
    let sql = "
    delete from auth.mfa_factors f
     where f.user_id = $1
       and f.status = 'unverified'
       and f.created_at < $2";
    tx.execute(sql, &[&user_id, &before]).await
}

/// Stores a factor.
pub(in crate::auth) async fn insert_factor(
    tx: &Tx,
    user_id: Uuid,
    new: &Factor,
    secret: Option<&str>,
) -> Result<u64, DbError> {
    let sql = "
    insert into auth.mfa_factors
      (id, user_id, friendly_name, factor_type, status, secret, created_at, updated_at)
    values
      ($1, $2, nullif($3, ''), $4::text::auth.factor_type, $5::text::auth.factor_status, $6, $7, $7)";
    tx.execute(
        sql,
        &[
            &new.id,
            &user_id,
            &new.friendly_name,
            &new.factor_type,
            &new.status,
            &secret,
            &new.created_at,
        ],
    )
    .await
}

/// A factor of a user.
pub(in crate::auth) async fn find_factor(
    tx: &Tx,
    user_id: Uuid,
    factor_id: Uuid,
) -> Result<Option<FactorRow>, DbError> {
    let sql = concat!(
        "
    select ",
        factor_columns!(),
        "
      from auth.mfa_factors f
     where f.id = $2
       and f.user_id = $1"
    );
    let row = tx.query_opt(sql, &[&user_id, &factor_id]).await?;
    Ok(row.as_ref().map(factor))
}

/// The recovery codes of a user, as a factor.
pub(in crate::auth) async fn find_recovery_factor(
    tx: &Tx,
    user_id: Uuid,
) -> Result<Option<FactorRow>, DbError> {
    let sql = concat!(
        "
    select ",
        factor_columns!(),
        "
      from auth.mfa_factors f
     where f.user_id = $1
       and f.factor_type = 'recovery_code'"
    );
    let row = tx.query_opt(sql, &[&user_id]).await?;
    Ok(row.as_ref().map(factor))
}

/// Ids of the credentials that a user's authenticators know already, as base64url text.
pub(in crate::auth) async fn list_credential_ids(
    tx: &Tx,
    user_id: Uuid,
) -> Result<Vec<String>, DbError> {
    let sql = "
    select f.web_authn_credential #>> '{cred,cred_id}' as credential_id
      from auth.mfa_factors f
     where f.user_id = $1
       and f.web_authn_credential is not null";
    let rows = tx.query(sql, &[&user_id]).await?;
    let id = |row: &Row| row.get::<_, Option<String>>("credential_id");
    Ok(rows.iter().filter_map(id).collect())
}

/// A challenge that is put to a factor.
pub(in crate::auth) struct NewChallenge<'a> {
    pub(in crate::auth) id: Uuid,
    pub(in crate::auth) factor_id: Uuid,
    pub(in crate::auth) session_id: Uuid,
    pub(in crate::auth) state: Option<&'a Value>,
    pub(in crate::auth) at: DateTime<Utc>,
    /// Older ones of the factor are removed.
    pub(in crate::auth) stale_before: DateTime<Utc>,
}

/// Stores a challenge.
pub(in crate::auth) async fn insert_challenge(
    tx: &Tx,
    new: &NewChallenge<'_>,
    client: &Client,
) -> Result<u64, DbError> {
    let sql = "
    with stale as (
      delete from auth.mfa_challenges c
       where c.factor_id = $2
         and c.created_at <= $7
    ), challenged as (
      update auth.mfa_factors f
         set last_challenged_at = $6
       where f.id = $2
    )
    insert into auth.mfa_challenges
      (id, factor_id, session_id, ip_address, web_authn_session_data, created_at)
    values
      ($1, $2, $3, $4, $5, $6)";
    tx.execute(
        sql,
        &[
            &new.id,
            &new.factor_id,
            &new.session_id,
            &client.ip,
            &new.state,
            &new.at,
            &new.stale_before,
        ],
    )
    .await
}

/// When a challenge that waits for an answer of this session was made.
pub(in crate::auth) async fn find_challenge(
    tx: &Tx,
    (challenge_id, factor_id, session_id): (Uuid, Uuid, Uuid),
) -> Result<Option<DateTime<Utc>>, DbError> {
    let sql = "
    select c.created_at
      from auth.mfa_challenges c
     where c.id = $1
       and c.factor_id = $2
       and c.session_id = $3
       and c.verified_at is null";
    let row = tx
        .query_opt(sql, &[&challenge_id, &factor_id, &session_id])
        .await?;
    Ok(row.map(|row| row.get("created_at")))
}

/// Takes the challenge of an authenticator away: whatever the answer, it is the only one. When it was made, and its
/// state.
pub(in crate::auth) async fn take_challenge(
    tx: &Tx,
    (challenge_id, factor_id, session_id): (Uuid, Uuid, Uuid),
) -> Result<Option<(DateTime<Utc>, Option<Value>)>, DbError> {
    let sql = "
    delete from auth.mfa_challenges c
     where c.id = $1
       and c.factor_id = $2
       and c.session_id = $3
    returning c.created_at
            , c.web_authn_session_data";
    let row = tx
        .query_opt(sql, &[&challenge_id, &factor_id, &session_id])
        .await?;
    Ok(row.map(|row| (row.get("created_at"), row.get("web_authn_session_data"))))
}

/// Uses up the code of a time step and the challenge it answers. Zero rows: it, or a later one, was used before.
pub(in crate::auth) async fn accept_step(
    tx: &Tx,
    (factor_id, challenge_id): (Uuid, Uuid),
    step: i64,
    at: DateTime<Utc>,
) -> Result<u64, DbError> {
    let sql = "
    with answered as (
      update auth.mfa_challenges c
         set verified_at = $4
       where c.id = $2
    )
    update auth.mfa_factors f
       set last_step = $3
         , failures = 0
         , last_failed_at = null
     where f.id = $1
       and (f.last_step is null or f.last_step < $3)";
    tx.execute(sql, &[&factor_id, &challenge_id, &step, &at])
        .await
}

/// Stores what the answer of an authenticator says of it. Zero rows: its counter has not grown, so there are two of it;
/// or the factor is verified by now and was not when the question was put, so that it has a credential already.
pub(in crate::auth) async fn accept_credential(
    tx: &Tx,
    (factor_id, was_verified): (Uuid, bool),
    credential: &Value,
    sign_count: i64,
) -> Result<u64, DbError> {
    let sql = "
    update auth.mfa_factors f
       set web_authn_credential = $2
         , sign_count = $3
     where f.id = $1
       and (f.status = 'verified') = $4
       and (f.sign_count < $3 or (f.sign_count = 0 and $3 = 0))";
    tx.execute(sql, &[&factor_id, &credential, &sign_count, &was_verified])
        .await
}

/// Counts a wrong code.
pub(in crate::auth) async fn count_failure(
    tx: &Tx,
    factor_id: Uuid,
    failures: i32,
    at: DateTime<Utc>,
) -> Result<u64, DbError> {
    let sql = "
    update auth.mfa_factors f
       set failures = $2
         , last_failed_at = $3
     where f.id = $1";
    tx.execute(sql, &[&factor_id, &failures, &at]).await
}

/// Ends one session.
pub(in crate::auth) async fn end_session(tx: &Tx, session_id: Uuid) -> Result<u64, DbError> {
    let sql = "
    delete from auth.sessions s
     where s.id = $1";
    tx.execute(sql, &[&session_id]).await
}

/// Lets a factor protect its user. Others of its kind that were begun and never used go: whoever began them.
pub(in crate::auth) async fn mark_verified(
    tx: &Tx,
    (user_id, factor_id): (Uuid, Uuid),
    at: DateTime<Utc>,
) -> Result<u64, DbError> {
    let sql = "
    with abandoned as (
      delete from auth.mfa_factors other
       using auth.mfa_factors f
       where f.id = $2
         and other.user_id = $1
         and other.id <> $2
         and other.factor_type = f.factor_type
         and other.status = 'unverified'
    )
    update auth.mfa_factors f
       set status = 'verified'
         , updated_at = $3
     where f.id = $2
       and f.user_id = $1";
    tx.execute(sql, &[&user_id, &factor_id, &at]).await
}

/// A session after a second factor was verified in it.
pub(in crate::auth) struct Raised<'a> {
    pub(in crate::auth) session_id: Uuid,
    pub(in crate::auth) factor_id: Uuid,
    /// As claim `amr` names it.
    pub(in crate::auth) method: &'a str,
    /// Counter of the refresh token that came with the access token of the request.
    pub(in crate::auth) known_counter: i64,
    pub(in crate::auth) at: DateTime<Utc>,
}

/// Raises a session to aal2, and ends the user's sessions below. Refresh tokens from before are two steps behind, so
/// that none is the parent of what is issued now.
///
/// A refresh does not wait for the disk, so after a crash the counter may be behind what a client holds: the request's
/// own token says from where to go on.
pub(in crate::auth) async fn raise_session(
    tx: &Tx,
    user_id: Uuid,
    raised: &Raised<'_>,
    client: &Client,
) -> Result<Option<Session>, DbError> {
    let sql = "
    with lower as (
      delete from auth.sessions s
       where s.user_id = $2
         and s.id <> $1
         and s.aal = 'aal1'
    )
    update auth.sessions s
       set aal = 'aal2'
         , factor_id = $3
         , amr = jsonb_build_array(jsonb_build_object('method', $4::text, 'timestamp', $5::bigint)) || coalesce(
             (
               select jsonb_agg(claim.value order by claim.ordinality)
                 from jsonb_array_elements(s.amr) with ordinality claim
                where claim.value ->> 'method' is distinct from $4
             ),
             '[]'
           )
         , refresh_token_counter = greatest(s.refresh_token_counter, $6) + 2
         , refresh_token_seen = false
         , refresh_token_reuse_count = 0
         , refreshed_at = $7
         , updated_at = $7
         , ip = $8
         , user_agent = $9
     where s.id = $1
       and s.user_id = $2
    returning s.id
            , s.aal
            , s.amr
            , s.refresh_token_counter";
    let row = tx
        .query_opt(
            sql,
            &[
                &raised.session_id,
                &user_id,
                &raised.factor_id,
                &raised.method,
                &raised.at.timestamp(),
                &raised.known_counter,
                &raised.at,
                &client.ip,
                &client.user_agent,
            ],
        )
        .await?;
    Ok(row.map(|row| Session {
        id: row.get("id"),
        aal: row.get("aal"),
        amr: row.get("amr"),
        counter: row.get("refresh_token_counter"),
    }))
}

/// Lowers the sessions that were raised by a factor or opened with a passkey which is about to go.
pub(in crate::auth) async fn lower_sessions(
    tx: &Tx,
    (user_id, factor_id): (Uuid, Uuid),
    at: DateTime<Utc>,
) -> Result<u64, DbError> {
    let sql = "
    update auth.sessions s
       set aal = 'aal1'
         , factor_id = null
         , amr = coalesce(
             (
               select jsonb_agg(claim.value order by claim.ordinality)
                 from jsonb_array_elements(s.amr) with ordinality claim
                where claim.value ->> 'method' <> 'totp'
                  and claim.value ->> 'method' not like 'mfa/%'
             ),
             '[]'
           )
         , updated_at = $3
     where s.user_id = $1
       and s.factor_id = $2";
    tx.execute(sql, &[&user_id, &factor_id, &at]).await
}

/// Notes which passkey opened a session.
pub(in crate::auth) async fn tie_session(
    tx: &Tx,
    session_id: Uuid,
    credential_id: Uuid,
) -> Result<u64, DbError> {
    let sql = "
    update auth.sessions s
       set factor_id = $2
     where s.id = $1";
    tx.execute(sql, &[&session_id, &credential_id]).await
}

/// Removes a factor.
pub(in crate::auth) async fn delete_factor(
    tx: &Tx,
    user_id: Uuid,
    factor_id: Uuid,
) -> Result<u64, DbError> {
    let sql = "
    delete from auth.mfa_factors f
     where f.id = $2
       and f.user_id = $1";
    tx.execute(sql, &[&user_id, &factor_id]).await
}

/// Removes recovery codes that stand in for nothing any more.
pub(in crate::auth) async fn delete_sole_recovery_codes(
    tx: &Tx,
    user_id: Uuid,
) -> Result<u64, DbError> {
    let sql = "
    delete from auth.mfa_factors f
     where f.user_id = $1
       and f.factor_type = 'recovery_code'
       and not exists (
         select
           from auth.mfa_factors other
          where other.user_id = $1
            and other.factor_type <> 'recovery_code'
            and other.status = 'verified'
       )";
    tx.execute(sql, &[&user_id]).await
}

/// Replaces the recovery codes of a factor, and forgets wrong ones.
pub(in crate::auth) async fn replace_recovery_codes(
    tx: &Tx,
    factor_id: Uuid,
    hashes: &[Vec<u8>],
    at: DateTime<Utc>,
) -> Result<u64, DbError> {
    let sql = "
    with replaced as (
      delete from auth.mfa_recovery_codes c
       where c.factor_id = $1
    ), forgotten as (
      update auth.mfa_factors f
         set failures = 0
           , last_failed_at = null
           , updated_at = $3
       where f.id = $1
    )
    insert into auth.mfa_recovery_codes
      (factor_id, code_hash)
    select $1
         , hash
      from unnest($2::bytea[]) as new (hash)";
    tx.execute(sql, &[&factor_id, &hashes, &at]).await
}

/// Uses up a recovery code. Zero rows: there is none, or it was used before.
pub(in crate::auth) async fn accept_recovery_code(
    tx: &Tx,
    factor_id: Uuid,
    hash: &[u8],
    at: DateTime<Utc>,
) -> Result<u64, DbError> {
    let sql = "
    with used as (
      update auth.mfa_recovery_codes c
         set used_at = $3
       where c.factor_id = $1
         and c.code_hash = $2
         and c.used_at is null
      returning c.factor_id
    )
    update auth.mfa_factors f
       set failures = 0
         , last_failed_at = null
      from used
     where f.id = used.factor_id";
    tx.execute(sql, &[&factor_id, &hash, &at]).await
}

/// The recovery codes of a user: the factor, how many there are, and how many are unused.
pub(in crate::auth) async fn count_recovery_codes(
    db: &SystemConnection,
    user_id: Uuid,
) -> Result<Option<(Uuid, i64, i64)>, DbError> {
    let sql = "
    select f.id
         , count(c.code_hash) as total
         , count(c.code_hash) filter (where c.used_at is null) as remaining
      from auth.mfa_factors f
      left join auth.mfa_recovery_codes c
        on c.factor_id = f.id
     where f.user_id = $1
       and f.factor_type = 'recovery_code'
     group by f.id";
    let row = db.query_opt(sql, &[&user_id]).await?;
    Ok(row.map(|row| (row.get("id"), row.get("total"), row.get("remaining"))))
}
