//! A mail: as it is asked for, as it waits in the queue, as it is delivered.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

/// A mail to enqueue.
#[derive(Debug, Clone, PartialEq)]
pub struct NewMail {
    /// Name of the template: `confirmation`, `invite`, `magic_link`, `recovery`, `email_change`, `reauthentication`, a
    /// notice (`password_changed_notice` …), or one that the project has in its folder or database.
    pub template: String,
    /// The one recipient, a bare address.
    pub to: String,
    /// Whom it concerns, for operators who look at jobs.
    pub user_id: Option<Uuid>,
    /// What the template is given, by Supabase's names: `ConfirmationURL`, `Token`, `TokenHash`, `SiteURL`, `RedirectTo`,
    /// `Email`, `NewEmail`, `Data`. `SiteURL` and `Email` are filled in when they are missing.
    pub values: Map<String, Value>,
}

impl NewMail {
    /// A mail without values.
    pub fn new(template: impl Into<String>, to: impl Into<String>) -> Self {
        Self {
            template: template.into(),
            to: to.into(),
            user_id: None,
            values: Map::new(),
        }
    }

    /// Whom it concerns.
    pub fn user_id(mut self, user_id: Uuid) -> Self {
        self.user_id = Some(user_id);
        self
    }

    /// One value for the template.
    pub fn value(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.values.insert(name.to_owned(), value.into());
        self
    }
}

/// A mail that is due, opened. `Debug` shows no value.
#[derive(Clone, PartialEq)]
pub struct Letter {
    /// The mail's own id, the same in every attempt.
    pub id: Uuid,
    /// Name of the template.
    pub template: String,
    /// The one recipient.
    pub to: String,
    /// Whom it concerns.
    pub user_id: Option<Uuid>,
    /// What the template is given, secrets included.
    pub values: Map<String, Value>,
}

impl std::fmt::Debug for Letter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Letter")
            .field("id", &self.id)
            .field("template", &self.template)
            .finish_non_exhaustive()
    }
}

/// The payload of job `mail.send`. Everybody who may read jobs sees it, now and when the job is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Envelope {
    pub(super) id: Uuid,
    pub(super) template: String,
    /// For people: enough to tell mails apart, not enough to write to anybody.
    pub(super) to: String,
    /// The rest, encrypted, as base64.
    pub(super) sealed: String,
}

/// What is sealed.
#[derive(Serialize, Deserialize)]
pub(super) struct Content {
    pub(super) to: String,
    pub(super) user_id: Option<Uuid>,
    pub(super) values: Map<String, Value>,
}

/// `a***@example.com`.
pub(super) fn masked(address: &str) -> String {
    let (local, domain) = address.rsplit_once('@').unwrap_or_default();
    let first: String = local.chars().take(1).collect();
    format!("{first}***@{domain}")
}
