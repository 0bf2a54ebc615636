//! Who leads: a lease row with a random owner and an epoch.

use std::time::Duration;

use uuid::Uuid;

use super::queries;
use crate::db::{DbError, SystemConnection};

/// How long a lease lasts that nobody renews.
const LEASE: Duration = Duration::from_secs(15);

/// A third of it: two renewals may fail before somebody else leads.
pub(super) const RENEW: Duration = Duration::from_secs(5);

/// This process' part in the election.
#[derive(Debug)]
pub(super) struct Leader {
    owner: Uuid,
    epoch: Option<i64>,
}

/// What a look at the lease found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lead {
    /// It is ours since just now.
    Taken,
    /// It still is ours.
    Kept,
    /// It is another's, for this long unless renewed.
    Others(Duration),
}

impl Leader {
    pub(super) fn new() -> Self {
        let random = crate::clock::random_bytes();
        Self {
            owner: uuid::Builder::from_random_bytes(random).into_uuid(),
            epoch: None,
        }
    }

    /// Renews the lease, or takes one that has run out. An error gives it up.
    pub(super) async fn hold(&mut self, db: &SystemConnection) -> Result<Lead, DbError> {
        if let Some(epoch) = self.epoch.take() {
            if queries::renew_lease(db, self.owner, epoch, LEASE).await? {
                self.epoch = Some(epoch);
                return Ok(Lead::Kept);
            }
            tracing::info!("another scheduler leads now");
        }
        self.epoch = queries::take_lease(db, self.owner, LEASE).await?;
        if let Some(epoch) = self.epoch {
            tracing::debug!(epoch, "this scheduler leads");
            return Ok(Lead::Taken);
        }
        Ok(Lead::Others(queries::lease_left(db).await?))
    }

    /// Stops believing to lead.
    pub(super) fn concede(&mut self) {
        self.epoch = None;
    }

    /// Lets another one lead at once.
    pub(super) async fn release(&mut self, db: &SystemConnection) -> Result<(), DbError> {
        match self.epoch.take() {
            Some(epoch) => queries::release_lease(db, self.owner, epoch).await,
            None => Ok(()),
        }
    }
}
