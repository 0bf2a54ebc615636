//! Mail: written in the transaction of what causes it, sent by a worker, readable by nobody in between.
//!
//! [`Mailer::enqueue`] seals a [`NewMail`] and makes it job `mail.send`, so a mail goes out exactly when the change that
//! asked for it was committed, and a dead SMTP server delays it and loses nothing. The job opens it, lets a project's
//! [`Deliver`] take it over, and otherwise renders the template and gives it to the backend: an SMTP server, the
//! development inbox, or the log.

mod breaker;
mod compose;
mod error;
pub(crate) mod inbox;
mod model;
pub(crate) mod preview;
mod queries;
mod scrub;
mod sealed;
mod send;
mod smtp;
mod template;

use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use futures_util::future::BoxFuture;
use lettre::Address;
use uuid::Uuid;

pub use error::MailError;
pub use model::{Letter, NewMail};

use crate::clock::Clock;
use crate::config::{self, Config, MailBackend};
use crate::db::{Db, Tx};
use crate::jobs::{Handlers, JobError, JobId, Jobs};
use crate::keys::MasterKey;
use breaker::Breaker;
use sealed::Seal;
use smtp::Smtp;

/// Largest values of one mail, in bytes of JSON.
pub const MAX_VALUES_BYTES: usize = 131_072;

/// Delivers mails in place of the backend: `Ok(Delivery::Taken)` means it did, [`Delivery::Declined`] leaves the mail to the
/// backend, and an error ends the attempt. It may be asked more than once for one [`Letter::id`].
pub type Deliver =
    Arc<dyn Fn(Letter) -> BoxFuture<'static, Result<Delivery, JobError>> + Send + Sync>;

/// Whether a [`Deliver`] took a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// It is delivered, or on its way elsewhere.
    Taken,
    /// Not by this one.
    Declined,
}

/// Shows a mail to whoever develops.
pub(crate) type Print = Arc<dyn Fn(&Printed) + Send + Sync>;

/// What is shown of a mail on a terminal.
pub(crate) struct Printed {
    pub(crate) to: String,
    pub(crate) subject: String,
    pub(crate) text: String,
}

/// Handle on mail. Clones share it.
#[derive(Clone)]
pub struct Mailer(Arc<Inner>);

struct Inner {
    jobs: Jobs,
    db: Db,
    seal: Seal,
    clock: Clock,
    config: config::Handle,
    deliver: RwLock<Vec<Deliver>>,
    print: OnceLock<Print>,
    smtp: Smtp,
    breaker: Mutex<Breaker>,
}

impl std::fmt::Debug for Mailer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mailer")
    }
}

impl Mailer {
    /// Seals with a key derived from `master`, which must be the same on all nodes.
    pub fn new(
        jobs: Jobs,
        db: Db,
        master: &MasterKey,
        clock: Clock,
        config: config::Handle,
    ) -> Self {
        Self(Arc::new(Inner {
            jobs,
            db,
            seal: Seal::new(master),
            clock,
            config,
            deliver: RwLock::default(),
            print: OnceLock::new(),
            smtp: Smtp::default(),
            breaker: Mutex::default(),
        }))
    }

    /// Enqueues `mail` in `tx`, one of `sb_auth` or `service_role`. Workers are woken when it commits.
    ///
    /// # Errors
    /// [`MailError::Recipient`] when `to` is not one address.
    pub async fn enqueue(&self, tx: &Tx, mail: &NewMail) -> Result<JobId, MailError> {
        check(mail)?;
        let envelope = self.0.seal.close(Uuid::new_v4(), mail)?;
        let envelope = serde_json::to_value(envelope).expect("an envelope is JSON");
        let at_a_time = self.config().mail.smtp_concurrency.max(1);
        let (id, queue) = queries::enqueue(tx, &envelope, mail.user_id, at_a_time.into()).await?;
        self.0.jobs.wake_after_commit(tx, queue);
        Ok(id)
    }

    /// Lets `deliver` see every mail, opened, before the backend does, and before those that were given earlier.
    pub fn deliver_with(&self, deliver: Deliver) {
        let mut all = self
            .0
            .deliver
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        all.insert(0, deliver);
    }

    fn delivers(&self) -> Vec<Deliver> {
        let all = self
            .0
            .deliver
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        all.clone()
    }

    /// Lets backend `console` show mails whole. Only `sb dev` does: they hold links that sign in.
    pub(crate) fn print_with(&self, print: Print) {
        let _ = self.0.print.set(print);
    }

    /// Whether `/inbox` is served: never in production, unless the settings say that everybody may see it.
    pub(crate) fn has_inbox(&self) -> bool {
        let config = self.config();
        config.mail.backend == Some(MailBackend::Inbox)
            && (config.development || config.mail.inbox_public)
    }

    fn config(&self) -> Arc<Config> {
        self.0.config.current()
    }

    /// Adds the handler of `mail.send`.
    pub(crate) fn add_to(&self, handlers: Handlers) -> Handlers {
        send::add_to(self, handlers)
    }
}

fn check(mail: &NewMail) -> Result<(), MailError> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if mail.template.is_empty() || mail.template.len() > 64 || !mail.template.bytes().all(is_plain)
    {
        return Err(MailError::Template(
            mail.template.chars().take(64).collect(),
        ));
    }
    match mail.to.parse::<Address>() {
        Ok(_) => Ok(()),
        Err(_) => Err(MailError::Recipient),
    }
}
