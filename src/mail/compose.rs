//! A rendered mail as a message for SMTP. Headers are made by lettre's types, none by hand.

use std::time::SystemTime;

use chrono::{DateTime, Utc};
use lettre::message::header::{Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart, SinglePart};
use lettre::{Address, Message};
use uuid::Uuid;

use super::template::Rendered;

/// Says that no person wrote this, so that no absence notice answers it (RFC 3834).
#[derive(Debug, Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

/// One message to one address. A mail that is sent twice has the same id both times, so that receivers can tell.
///
/// # Errors
/// What is wrong with the message, without its content.
pub(super) fn message(
    rendered: &Rendered,
    (id, now): (Uuid, DateTime<Utc>),
    (from, to): (Mailbox, Address),
) -> Result<Message, String> {
    let message_id = format!("<{id}@{}>", from.email.domain());
    let headers = Message::builder()
        .message_id(Some(message_id))
        .date(SystemTime::from(now))
        .from(from)
        .to(Mailbox::new(None, to))
        .subject(rendered.subject.clone())
        .header(AutoSubmitted);
    let built = match &rendered.html {
        Some(html) => headers.multipart(MultiPart::alternative_plain_html(
            rendered.text.clone(),
            html.clone(),
        )),
        None => headers.singlepart(SinglePart::plain(rendered.text.clone())),
    };
    built.map_err(|error| format!("the message cannot be built: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(subject: &str, from: &str) -> String {
        let rendered = Rendered {
            subject: subject.to_owned(),
            html: Some("<p>ä</p>".to_owned()),
            text: "ä".to_owned(),
        };
        let at = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let to: Address = "ana@example.com".parse().unwrap();
        let built = message(&rendered, (Uuid::nil(), at), (from.parse().unwrap(), to)).unwrap();
        let text = String::from_utf8(built.formatted()).unwrap();
        text.split("\r\n\r\n").next().unwrap().to_owned()
    }

    #[test]
    fn the_headers_are_those_of_a_machine_that_writes_to_one_person() {
        let text = headers("Grüße", "The App <app@example.org>");
        for line in [
            "Message-ID: <00000000-0000-0000-0000-000000000000@example.org>",
            "Date: Fri, 15 Jan 2027 08:00:00 +0000",
            "From: \"The App\" <app@example.org>",
            "To: ana@example.com",
            "Auto-Submitted: auto-generated",
            "Subject: =?utf-8?b?R3LDvMOfZQ==?=",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(text.contains("multipart/alternative"), "{text}");
    }

    /// The last line of defence: subjects are made one line before they come here. Attack 42. Fails when a subject is
    /// written as it is.
    #[test]
    fn no_subject_begins_a_header() {
        let text = headers("a\r\nBcc: eve@example.com\r\n\r\nb", "app@example.org");
        assert!(!text.lines().any(|line| line.starts_with("Bcc")), "{text}");
    }
}
