//! Mails of the inbox, and the JSON that clients of Mailpit read.

use chrono::{DateTime, Utc};
use lettre::message::Mailbox;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

/// A mail in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Summary {
    pub(crate) id: Uuid,
    /// Grows with every mail.
    #[serde(skip)]
    pub(crate) number: i64,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) template: String,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) subject: String,
    /// Of the text, as far as a list has room for it.
    pub(crate) snippet: String,
    /// In bytes.
    pub(crate) size: i64,
}

/// A mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Mail {
    #[serde(flatten)]
    pub(crate) summary: Summary,
    pub(crate) text: String,
    pub(crate) html: String,
}

impl Summary {
    pub(super) fn to_mailpit(&self) -> Value {
        json!({
            "ID": self.id,
            "MessageID": self.message_id(),
            "Read": false,
            "From": mailbox(&self.from),
            "To": [mailbox(&self.to)],
            "Cc": [],
            "Bcc": [],
            "ReplyTo": [],
            "Subject": self.subject,
            "Created": self.created_at,
            "Tags": [self.template],
            "Size": self.size,
            "Attachments": 0,
            "Snippet": self.snippet,
        })
    }

    fn message_id(&self) -> String {
        let from = self.from.parse::<Mailbox>();
        let domain = from.map(|from| from.email.domain().to_owned());
        format!("{}@{}", self.id, domain.unwrap_or_default())
    }
}

impl Mail {
    pub(super) fn to_mailpit(&self) -> Value {
        let summary = &self.summary;
        json!({
            "ID": summary.id,
            "MessageID": summary.message_id(),
            "From": mailbox(&summary.from),
            "To": [mailbox(&summary.to)],
            "Cc": [],
            "Bcc": [],
            "ReplyTo": [],
            "Subject": summary.subject,
            "Date": summary.created_at,
            "Tags": [summary.template],
            "Text": self.text,
            "HTML": self.html,
            "Size": summary.size,
            "Inline": [],
            "Attachments": [],
        })
    }
}

fn mailbox(text: &str) -> Value {
    match text.parse::<Mailbox>() {
        Ok(mailbox) => json!({
            "Name": mailbox.name.unwrap_or_default(),
            "Address": mailbox.email.to_string(),
        }),
        Err(_) => json!({ "Name": "", "Address": text }),
    }
}
