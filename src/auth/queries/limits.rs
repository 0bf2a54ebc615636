//! Rate limits and failed sign-ins, in unlogged tables: their commits do not wait for the disk.
//!
//! Expired rows are removed by the statements that write, two for each that one adds, after everything that may have to
//! wait for a lock; rows that are locked are left to others. So the tables stay small and nothing can deadlock.

use chrono::{DateTime, TimeDelta, Utc};

use crate::db::{DbError, Row, SystemConnection, ToSql, Tx};

/// A bucket of tokens to take one from. It refills evenly, one token per `step`, and is full after `window`.
#[derive(Debug, Clone)]
pub(in crate::auth) struct Bucket {
    pub(in crate::auth) key: Vec<u8>,
    pub(in crate::auth) step: TimeDelta,
    pub(in crate::auth) window: TimeDelta,
}

/// Whose failures are counted together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::auth) struct AttemptKey {
    pub(in crate::auth) account: Vec<u8>,
    /// Empty, or the known device that is counted apart.
    pub(in crate::auth) device: Vec<u8>,
}

/// What became of a wish to try a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::auth) enum Admission {
    /// Go on. It counts as a failure until the opposite is known.
    Admitted,
    /// The bucket is empty until then.
    Throttled(DateTime<Utc>),
    /// The account has to wait until then.
    Blocked(DateTime<Utc>),
    /// As many passwords as may still be wrong are being checked right now.
    Undecided,
}

/// A failure is forgotten when this long none has followed.
const FORGOTTEN_AFTER: TimeDelta = TimeDelta::hours(24);

/// A check that takes longer has been abandoned, with its client or its node.
const PENDING_FOR: TimeDelta = TimeDelta::seconds(10);

/// None before the 5th failure in a row, then 1 s, 2 s, 4 s, … up to 15 minutes.
macro_rules! blocked_until {
    () => {
        "f.last_failed_at + case
             when f.failures < 5 then 0
             else least(power(2, least(f.failures, 20) - 5), 900)
           end * interval '1 second'"
    };
}

/// `$1` key, `$2` now, `$3` step in microseconds, `$4` the latest moment at which a bucket may become full.
macro_rules! take_token {
    () => {
        "insert into auth.rate_limits as b
        (key, full_at)
      select $1::bytea, $2::timestamptz + $3::bigint * interval '1 microsecond'
       where $1 is not null
      on conflict (key) do update
         set full_at = greatest(b.full_at, $2) + $3 * interval '1 microsecond'
       where greatest(b.full_at, $2) + $3 * interval '1 microsecond' <= $4::timestamptz
      returning b.key"
    };
}

/// After `done`, so that nothing waits for a lock while it holds those of expired rows.
macro_rules! prune_buckets {
    () => {
        "delete from auth.rate_limits b
       where b.key in (
         select expired.key
           from auth.rate_limits expired
          where (select true from done)
            and expired.full_at <= $2
            and expired.key is distinct from $1
          order by expired.full_at
          limit 2
            for update of expired skip locked
       )"
    };
}

const TAKE: &str = concat!(
    "
    with bucket as (
      ",
    take_token!(),
    "
    ), done as materialized (
      select exists (select from bucket) as is_taken
    ), pruned as (
      ",
    prune_buckets!(),
    "
    )
    select done.is_taken
         , b.full_at
      from done
      left join auth.rate_limits b
        on b.key = $1"
);

/// Takes a token, or tells when there will be one.
pub(in crate::auth) async fn take_token(
    db: &SystemConnection,
    bucket: &Bucket,
    now: DateTime<Utc>,
) -> Result<Result<(), DateTime<Utc>>, DbError> {
    let (step, full_at) = (bucket.step.num_microseconds(), now + bucket.window);
    let params: [&(dyn ToSql + Sync); 4] = [&bucket.key, &now, &step, &full_at];
    let row = db.query_one(TAKE, &params).await?;
    Ok(taken(&row, bucket, now))
}

/// The same within a transaction: others that want a token of this bucket wait until it ends.
pub(in crate::auth) async fn take_token_in(
    tx: &Tx,
    bucket: &Bucket,
    now: DateTime<Utc>,
) -> Result<Result<(), DateTime<Utc>>, DbError> {
    let (step, full_at) = (bucket.step.num_microseconds(), now + bucket.window);
    let params: [&(dyn ToSql + Sync); 4] = [&bucket.key, &now, &step, &full_at];
    let row = tx.query_one(TAKE, &params).await?;
    Ok(taken(&row, bucket, now))
}

fn taken(row: &Row, bucket: &Bucket, now: DateTime<Utc>) -> Result<(), DateTime<Utc>> {
    if row.get("is_taken") {
        Ok(())
    } else {
        Err(refilled_at(row, bucket, now))
    }
}

/// Puts a token back that was not used after all.
pub(in crate::auth) async fn give_token_back(tx: &Tx, bucket: &Bucket) -> Result<u64, DbError> {
    let sql = "
    update auth.rate_limits b
       set full_at = b.full_at - $2::bigint * interval '1 microsecond'
     where b.key = $1";
    let step = bucket.step.num_microseconds();
    tx.execute(sql, &[&bucket.key, &step]).await
}

/// The token and the attempt in one statement. The attempt counts as a failure from here on, so that of many guesses made
/// at once, on whichever nodes, no more are admitted than of guesses made one by one. Postgres decides under the row's
/// lock; the last part reads what was before, which is close enough to say for how long to wait.
const BEGIN_ATTEMPT: &str = concat!(
    "
    with bucket as (
      ",
    take_token!(),
    "
    ), attempt as (
      insert into auth.sign_in_failures as f
        (account, device, failures, pending, last_failed_at)
      select $5::bytea, $6::bytea, 1, 1, $2
       where $1 is null
          or exists (select from bucket)
      on conflict (account, device) do update
         set failures = case when f.last_failed_at <= $7::timestamptz then 1 else f.failures + 1 end
           , pending = case when f.last_failed_at <= $8::timestamptz then 1 else f.pending + 1 end
           , last_failed_at = $2
       where ",
    blocked_until!(),
    " <= $2
      returning f.account
    ), done as materialized (
      select $1 is null or exists (select from bucket) as is_taken
           , exists (select from attempt) as is_admitted
    ), pruned_buckets as (
      ",
    prune_buckets!(),
    "
    ), pruned as (
      delete from auth.sign_in_failures f
       where (f.account, f.device) in (
         select expired.account
              , expired.device
           from auth.sign_in_failures expired
          where (select true from done)
            and expired.last_failed_at <= $7
            and expired.account <> $5
          order by expired.last_failed_at
          limit 2
            for update of expired skip locked
       )
    )
    select done.is_taken
         , done.is_admitted
         , b.full_at
         , ",
    blocked_until!(),
    " as blocked_until
         , f.pending > 0 and f.last_failed_at > $8 as is_pending
      from done
      left join auth.rate_limits b
        on b.key = $1
      left join auth.sign_in_failures f
        on f.account = $5
       and f.device = $6"
);

/// Takes a token of `bucket`, if there is one, and counts an attempt at a password, unless the account has to wait.
pub(in crate::auth) async fn begin_attempt(
    db: &SystemConnection,
    bucket: Option<&Bucket>,
    attempt: &AttemptKey,
    now: DateTime<Utc>,
) -> Result<Admission, DbError> {
    let step = bucket.and_then(|bucket| bucket.step.num_microseconds());
    let row = db
        .query_one(
            BEGIN_ATTEMPT,
            &[
                &bucket.map(|bucket| &bucket.key),
                &now,
                &step,
                &bucket.map(|bucket| now + bucket.window),
                &attempt.account,
                &attempt.device,
                &(now - FORGOTTEN_AFTER),
                &(now - PENDING_FOR),
            ],
        )
        .await?;
    if row.get("is_admitted") {
        return Ok(Admission::Admitted);
    }
    if let Some(bucket) = bucket
        && !row.get::<_, bool>("is_taken")
    {
        return Ok(Admission::Throttled(refilled_at(&row, bucket, now)));
    }
    let until: Option<DateTime<Utc>> = row.get("blocked_until");
    let is_pending: Option<bool> = row.get("is_pending");
    Ok(match until.filter(|until| *until > now) {
        Some(until) if is_pending != Some(true) => Admission::Blocked(until),
        // What was read is older than what decided, or a check is running: ask again.
        _ => Admission::Undecided,
    })
}

/// When a bucket that gave nothing will give a token.
fn refilled_at(row: &Row, bucket: &Bucket, now: DateTime<Utc>) -> DateTime<Utc> {
    let full_at: Option<DateTime<Utc>> = row.get("full_at");
    full_at.map_or(now, |full_at| full_at + bucket.step - bucket.window)
}

/// Notes that an attempt is over: it was wrong, or (`is_undone`) the password was not looked at.
pub(in crate::auth) async fn end_attempt(
    db: &SystemConnection,
    attempt: &AttemptKey,
    is_undone: bool,
) -> Result<u64, DbError> {
    let sql = "
    update auth.sign_in_failures f
       set pending = greatest(f.pending - 1, 0)
         , failures = greatest(f.failures - $3::bool::int, 0)
     where f.account = $1
       and f.device = $2";
    let (account, device) = (&attempt.account, &attempt.device);
    db.execute(sql, &[account, device, &is_undone]).await
}

/// Forgets the failures of one counter: the password was right.
pub(in crate::auth) async fn forget_failures(
    db: &SystemConnection,
    attempt: &AttemptKey,
) -> Result<u64, DbError> {
    let sql = "
    delete from auth.sign_in_failures f
     where f.account = $1
       and f.device = $2";
    db.execute(sql, &[&attempt.account, &attempt.device]).await
}

/// Forgets all failures of accounts, on known devices too: the password is another one now.
pub(in crate::auth) async fn forget_accounts(
    tx: &Tx,
    accounts: &[Vec<u8>],
) -> Result<u64, DbError> {
    let sql = "
    delete from auth.sign_in_failures f
     where f.account = any ($1)";
    tx.execute(sql, &[&accounts]).await
}
