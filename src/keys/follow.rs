//! Following the keys in the database: load, listen, swap.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::time::Instant;

use super::key_set::KeySet;
use super::{Keys, KeysError, MasterKey, queries};
use crate::db::{Db, Listener, Notice};
use crate::lifecycle::Lifecycle;

/// The channel on which the database tells of every change.
const CHANNEL: &str = "sb_keys";

/// A new active key verifies at once but signs only after this, when every node and PostgREST know it too.
const SETTLE: Duration = Duration::from_millis(300);
/// Tokens with unknown key ids make us look at most this often.
const LOOK_INTERVAL: Duration = Duration::from_secs(3);
const RETRY: Duration = Duration::from_secs(1);

pub(super) async fn load(db: &Db, master: &MasterKey) -> Result<KeySet, KeysError> {
    let connection = db.auth().connection().await?;
    let keys = queries::usable_keys(&connection).await?;
    let api_keys = queries::live_api_keys(&connection).await?;
    KeySet::build(&keys, api_keys, master)
}

/// A key that this node cannot open leaves it signing as before, as long as what it signs is believed. What was revoked
/// beside it is refused all the same.
async fn load_beside(db: &Db, master: &MasterKey, current: &KeySet) -> Result<KeySet, KeysError> {
    let connection = db.auth().connection().await?;
    let keys = queries::usable_keys(&connection).await?;
    let api_keys = queries::live_api_keys(&connection).await?;
    match KeySet::build(&keys, api_keys.clone(), master) {
        Err(error @ KeysError::Sealed) => {
            tracing::error!(error = %error, "this node goes on with the signing key it has");
            let set = KeySet::verifying(&keys, api_keys)?;
            let old = current
                .signer()
                .filter(|old| set.key(&old.kid).is_some_and(|key| key.verifies));
            Ok(match old {
                Some(old) => set.clone().with_signer(Arc::clone(old)),
                None => set,
            })
        }
        built => built,
    }
}

pub(super) fn start(
    keys: &Keys,
    db: Db,
    master: MasterKey,
    listener: Listener,
    lifecycle: &Lifecycle,
) {
    let stopping = lifecycle.stopping();
    // What changed since the caller's load is not lost: the first notice is the connection's own.
    let notices = listener.subscribe(CHANNEL);
    let keys = keys.clone();
    lifecycle.spawn(async move {
        // The handle is kept because the last one to go ends the listening.
        let _listener = listener;
        stopping
            .run_until_cancelled(follow(keys, db, master, notices))
            .await;
    });
}

async fn follow(keys: Keys, db: Db, master: MasterKey, mut notices: broadcast::Receiver<Notice>) {
    let mut looked = Instant::now();
    loop {
        tokio::select! {
            notice = notices.recv() => match notice {
                Err(broadcast::error::RecvError::Closed) => return,
                // A payload, a reconnect and a lag all mean the same: read again.
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
            },
            () = keys.0.newer_wanted.notified() => {
                if looked.elapsed() < LOOK_INTERVAL {
                    continue;
                }
            }
        }
        // One look answers for everything that was announced before it.
        while !matches!(
            notices.try_recv(),
            Err(broadcast::error::TryRecvError::Empty | broadcast::error::TryRecvError::Closed)
        ) {}
        let set = load_until_it_works(&db, &master, &keys).await;
        looked = Instant::now();
        swap(&keys, set).await;
    }
}

/// The keys we have stay in force meanwhile.
async fn load_until_it_works(db: &Db, master: &MasterKey, keys: &Keys) -> KeySet {
    let load = async || {
        let connection = db.auth().connection().await?;
        keys.secrets().load(&connection, master).await?;
        drop(connection);
        load_beside(db, master, &keys.set()).await
    };
    loop {
        match load().await {
            Ok(set) => return set,
            Err(error) => {
                tracing::warn!(error = %error, "the signing keys could not be read again");
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn swap(keys: &Keys, next: KeySet) {
    let current = keys.set();
    if let (Some(old), Some(new)) = (current.signer(), next.signer())
        && old.kid != new.kid
        && next.key(&old.kid).is_some_and(|key| key.verifies)
    {
        keys.install(next.clone().with_signer(Arc::clone(old)));
        tokio::time::sleep(SETTLE).await;
    }
    keys.install(next);
}
