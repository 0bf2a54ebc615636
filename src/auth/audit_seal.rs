//! Sealing the audit log, removing its old part, and the check of the whole.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::audit_chain::{ChainKey, Link, digest_of};
use super::queries;
use crate::clock::Clock;
use crate::config;
use crate::db::{Connection, Db, DbError};

const INTERVAL: Duration = Duration::from_mins(5);
/// Entries of one seal.
const BATCH: i32 = 1_000;
/// Seals that one statement removes.
const PORTION: i32 = 50;

/// The key of the audit log, for commands and the job.
#[derive(Debug, Clone)]
pub struct AuditKey(ChainKey);

impl AuditKey {
    /// From a secret that all nodes share and the database does not know.
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(ChainKey::new(secret))
    }
}

/// Keeps the audit log sealed, now and every five minutes, for as long as it is polled. Workers do, each of them: the
/// database lets one at a time, and the others find nothing left to do.
pub async fn keep_audit_sealed(db: Db, key: AuditKey, clock: Clock, config: config::Handle) {
    loop {
        let days = config.current().auth.audit_retention_days;
        if let Err(error) = keep_audit(&db, &key, clock.now(), days).await {
            tracing::warn!(error = %error, "the audit log could not be sealed");
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Seals what is there and removes what is older than so many days. Tells how many entries each. Entries that are being
/// written now are for the next time.
///
/// # Errors
/// The database's.
pub async fn keep_audit(
    db: &Db,
    key: &AuditKey,
    now: DateTime<Utc>,
    days: u16,
) -> Result<(usize, i64), DbError> {
    let sealed = seal(db, key, now).await?;
    Ok((sealed, prune(db, key, (now, days)).await?))
}

async fn seal(db: &Db, key: &AuditKey, now: DateTime<Utc>) -> Result<usize, DbError> {
    let mut sealed = 0;
    loop {
        let tx = db.jobs().begin().await?;
        let batch = seal_batch(&tx, key, now).await;
        let count = tx.finish(batch).await?;
        sealed += count;
        if i32::try_from(count).is_ok_and(|count| count < BATCH) {
            return Ok(sealed);
        }
    }
}

async fn seal_batch(
    tx: &crate::db::Tx,
    key: &AuditKey,
    now: DateTime<Utc>,
) -> Result<usize, DbError> {
    let head = queries::lock_head(tx).await?;
    let entries = queries::unsealed(tx, BATCH).await?;
    if entries.is_empty() {
        return Ok(0);
    }
    let seal = key.0.seal(head.as_ref(), &entries, now);
    let ids: Vec<_> = entries.iter().map(|entry| entry.id).collect();
    queries::add_seal(tx, &seal, &ids).await?;
    // Logs go elsewhere: there the head of the chain is kept out of the database's reach.
    let head = Head {
        number: seal.number,
        mac: hex::encode(seal.mac),
    };
    tx.after_commit(move || tracing::info!(audit.head = %head, "audit log sealed"));
    Ok(entries.len())
}

/// Removes sealed entries older than so many days, seal by seal.
async fn prune(db: &Db, key: &AuditKey, (now, days): (DateTime<Utc>, u16)) -> Result<i64, DbError> {
    let before = now - TimeDelta::days(days.into());
    let mut removed = 0;
    loop {
        let tx = db.jobs().begin().await?;
        let portion = async {
            queries::lock_head(&tx).await?;
            let Some((last, newest_at)) = queries::last_old_seal(&tx, before, PORTION).await?
            else {
                return Ok(None);
            };
            let anchor = key.0.anchor(last, newest_at, now);
            queries::prune(&tx, &anchor).await.map(Some)
        };
        let portion = portion.await;
        match tx.finish(portion).await? {
            Some(count) => removed += count,
            None => return Ok(removed),
        }
    }
}

/// A place in the chain, as `NUMBER:MAC`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Head {
    /// Of the seal, from 1.
    pub number: i64,
    /// Its MAC, in hexadecimal digits.
    pub mac: String,
}

impl std::fmt::Display for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.number, self.mac)
    }
}

impl std::str::FromStr for Head {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split_once(':')
            .and_then(|(number, mac)| {
                let number = number.parse().ok()?;
                let mac = mac.to_ascii_lowercase();
                Some(Self { number, mac })
            })
            .ok_or("NUMBER:MAC, as `sb audit verify` prints it")
    }
}

/// What a check of the audit log found.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct AuditReport {
    /// Entries whose seal is intact.
    pub sealed: u64,
    /// Entries that are not sealed yet; of them the chain says nothing.
    pub unsealed: i64,
    /// The first seal whose entries are still there.
    pub first: Option<i64>,
    /// The last one, to be kept elsewhere.
    pub head: Option<Head>,
    /// What does not fit; empty when all is well.
    pub problems: Vec<String>,
}

/// Checks the chain from its begin to its head. `known` is a head that was kept elsewhere.
///
/// # Errors
/// The database's.
pub async fn verify_audit(
    db: &Connection,
    key: &AuditKey,
    known: Option<&Head>,
) -> Result<AuditReport, DbError> {
    // One state of the log, however long it takes.
    db.batch_execute("begin isolation level repeatable read, read only")
        .await?;
    let report = walk(db, &key.0, known).await;
    db.batch_execute("commit").await?;
    report
}

async fn walk(
    db: &Connection,
    key: &ChainKey,
    known: Option<&Head>,
) -> Result<AuditReport, DbError> {
    let mut problems = Vec::new();
    let anchor = queries::anchor(db).await?;
    if anchor
        .as_ref()
        .is_some_and(|anchor| !key.is_genuine_anchor(anchor))
    {
        problems.push("the record of what was removed for its age was changed".to_owned());
    }
    // A head of before is as gone as its entries.
    let is_older = |known: &&Head| anchor.as_ref().is_none_or(|it| known.number >= it.number);
    let known = known.filter(is_older);
    let mut previous = anchor.as_ref().map(|anchor| Link {
        number: anchor.number,
        mac: anchor.seal_mac.clone(),
    });
    let (mut sealed, mut first) = (0, None);
    let mut met = met(previous.as_ref(), known);
    loop {
        let after = previous.as_ref().map_or(0, |link| link.number);
        let seals = queries::seals_after(db, after, 100).await?;
        if seals.is_empty() {
            break;
        }
        for seal in seals {
            let expected = previous.as_ref().map_or(1, |link| link.number + 1);
            if seal.number != expected {
                problems.push(format!(
                    "seals {expected} to {} are missing",
                    seal.number - 1
                ));
            } else if !key.is_genuine(&seal, previous.as_ref()) {
                problems.push(format!(
                    "seal {} was changed, or one before it",
                    seal.number
                ));
            }
            let entries = queries::covered_by(db, seal.number).await?;
            if digest_of(&entries) == seal.digest {
                sealed += entries.len() as u64;
            } else {
                let (number, at) = (seal.number, seal.sealed_at);
                let (found, count) = (entries.len(), seal.entries);
                problems.push(format!(
                    "entries of seal {number} ({at}) were changed, added or removed: it covered {count}, {found} are there"
                ));
            }
            first.get_or_insert(seal.number);
            let link = Link {
                number: seal.number,
                mac: seal.mac,
            };
            met |= self::met(Some(&link), known);
            previous = Some(link);
        }
    }
    if let Some(known) = known.filter(|_| !met) {
        problems.push(format!("the chain does not hold the known head {known}"));
    }
    let (strays, unsealed) = queries::count_uncovered(db).await?;
    if strays > 0 {
        problems.push(format!("{strays} entries name seals that are not there"));
    }
    Ok(AuditReport {
        sealed,
        unsealed,
        first,
        head: previous.map(|link| Head {
            number: link.number,
            mac: hex::encode(link.mac),
        }),
        problems,
    })
}

/// Whether a link is the known head.
fn met(link: Option<&Link>, known: Option<&Head>) -> bool {
    match (link, known) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(link), Some(known)) => {
            link.number == known.number && hex::encode(&link.mac) == known.mac
        }
    }
}
