//! Nothing of a mail but its kind is readable while it waits, when it is over, or when it failed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use uuid::Uuid;

use super::model::{Content, Envelope, Letter, masked};
use super::{MAX_VALUES_BYTES, MailError, NewMail};
use crate::keys::MasterKey;

/// Seals mails for the queue and opens them for delivery; the same on all nodes.
#[derive(Debug, Clone)]
pub(super) struct Seal(MasterKey);

impl Seal {
    pub(super) fn new(master: &MasterKey) -> Self {
        Self(master.child("sb/mail"))
    }

    /// # Errors
    /// [`MailError::TooLarge`].
    pub(super) fn close(&self, id: Uuid, mail: &NewMail) -> Result<Envelope, MailError> {
        let content = Content {
            to: mail.to.clone(),
            user_id: mail.user_id,
            values: mail.values.clone(),
        };
        let content = serde_json::to_vec(&content).expect("JSON values can be written");
        if content.len() > MAX_VALUES_BYTES {
            return Err(MailError::TooLarge);
        }
        let sealed = self.0.seal(&content, &belongs_to(id, &mail.template));
        Ok(Envelope {
            id,
            template: mail.template.clone(),
            to: masked(&mail.to),
            sealed: STANDARD.encode(sealed),
        })
    }

    /// `None` when it was sealed with another key, as another mail, or was changed.
    pub(super) fn open(&self, envelope: &Envelope) -> Option<Letter> {
        let sealed = STANDARD.decode(&envelope.sealed).ok()?;
        let belongs_to = belongs_to(envelope.id, &envelope.template);
        let content = self.0.open(&sealed, &belongs_to).ok()?;
        let content: Content = serde_json::from_slice(&content).ok()?;
        Some(Letter {
            id: envelope.id,
            template: envelope.template.clone(),
            to: content.to,
            user_id: content.user_id,
            values: content.values,
        })
    }
}

/// What is sealed for one mail is of no use in another: an id is random, and a template's name holds no space.
fn belongs_to(id: Uuid, template: &str) -> Vec<u8> {
    format!("mail.send {id} {template}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn seal(secret: &str) -> Seal {
        Seal::new(&MasterKey::from_secret(&Secret::new(secret.repeat(32))).unwrap())
    }

    fn mail() -> NewMail {
        NewMail::new("recovery", "ana@example.com").value("Token", "123456")
    }

    #[test]
    fn what_was_closed_opens_with_its_key_and_name_only() {
        let (one, other) = (seal("a"), seal("b"));
        let envelope = one.close(Uuid::new_v4(), &mail()).unwrap();
        let letter = one.open(&envelope).unwrap();
        assert_eq!(
            (letter.to.as_str(), &letter.values),
            ("ana@example.com", &mail().values)
        );
        assert!(other.open(&envelope).is_none());
        let renamed = Envelope {
            template: "confirmation".to_owned(),
            ..envelope.clone()
        };
        assert!(one.open(&renamed).is_none());
        let moved = Envelope {
            id: Uuid::new_v4(),
            ..envelope.clone()
        };
        assert!(one.open(&moved).is_none());
    }

    #[test]
    fn the_payload_shows_neither_address_nor_value() {
        let envelope = seal("a").close(Uuid::new_v4(), &mail()).unwrap();
        let text = serde_json::to_string(&envelope).unwrap();
        assert!(
            !text.contains("123456") && !text.contains("ana@") && text.contains("a***@example.com"),
            "{text}"
        );
    }

    #[test]
    fn no_key_of_another_purpose_opens_it() {
        let master = MasterKey::from_secret(&Secret::new("a".repeat(32))).unwrap();
        let envelope = Seal::new(&master).close(Uuid::new_v4(), &mail()).unwrap();
        let sealed = STANDARD.decode(&envelope.sealed).unwrap();
        let aad = belongs_to(envelope.id, &envelope.template);
        assert!(master.open(&sealed, &aad).is_err());
    }

    #[test]
    fn large_values_are_refused() {
        let large = mail().value("Data", "x".repeat(MAX_VALUES_BYTES));
        let refused = seal("a").close(Uuid::new_v4(), &large);
        assert!(matches!(refused, Err(MailError::TooLarge)));
    }
}
