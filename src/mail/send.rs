//! The job `mail.send`: open, render, hand over.

use std::sync::PoisonError;
use std::time::Duration;

use lettre::Address;
use serde_json::json;
use serde_json::value::RawValue;

use super::model::Envelope;
use super::scrub::scrub;
use super::smtp::Failure;
use super::template::{self, Rendered};
use super::{Delivery, Letter, Mailer, Printed, compose, queries, smtp};
use crate::clock::random_bytes;
use crate::config::{Config, MailBackend};
use crate::jobs::{Backoff, Handlers, JobContext, JobError, JobResult, Kind};

/// Name of the job.
pub(super) const NAME: &str = "mail.send";

/// With the pauses below about a day. What is dead by then is kept as a dead letter and can be retried by hand.
const MOST_ATTEMPTS: u16 = 32;
const FIRST_PAUSE: Duration = Duration::from_secs(15);
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

/// A mail that was put off this often because the server is down uses up attempts from here on: about three days.
const MOST_POSTPONEMENTS: i32 = 1_000;

/// What an attempt may take besides the server's own limit: templates, a project's [`super::Deliver`].
const OVERHEAD: Duration = Duration::from_mins(1);

pub(super) fn add_to(mailer: &Mailer, handlers: Handlers) -> Handlers {
    let mailer = mailer.clone();
    let config = mailer.config();
    smtp::warn(&config.mail);
    let limit = Duration::from_secs(config.mail.smtp_timeout_s) + OVERHEAD;
    let kind = Kind::new(NAME)
        .max_attempts(MOST_ATTEMPTS)
        .backoff(Backoff::Exponential, FIRST_PAUSE, LONGEST_PAUSE)
        .timeout(limit);
    handlers.add(kind, move |context, payload| {
        let mailer = mailer.clone();
        async move { run(&mailer, &context, &payload).await }
    })
}

async fn run(mailer: &Mailer, context: &JobContext, payload: &RawValue) -> JobResult {
    let letter = open(mailer, context, payload)?;
    for deliver in mailer.delivers() {
        let delivery = deliver(letter.clone()).await;
        if delivery.map_err(|error| quiet(error, &letter))? == Delivery::Taken {
            return Ok(json!({ "delivered": "hook" }));
        }
    }
    let config = mailer.config();
    match config.mail.backend.unwrap_or(MailBackend::Console) {
        MailBackend::Console => print(mailer, &config, &letter).await,
        MailBackend::Inbox => keep(mailer, &config, &letter).await,
        MailBackend::Smtp => send(mailer, &config, context, &letter).await,
    }
}

/// Whoever delivers may quote what it was given.
fn quiet(error: JobError, letter: &Letter) -> JobError {
    match error {
        JobError::Failed(text) => JobError::Failed(scrub(&text, &letter.values)),
        JobError::Discard(text) => JobError::Discard(scrub(&text, &letter.values)),
        snooze @ JobError::Snooze(_) => snooze,
    }
}

fn open(mailer: &Mailer, context: &JobContext, payload: &RawValue) -> Result<Letter, JobError> {
    // A user whom a policy lets enqueue jobs could copy a payload that it may read.
    if context.caller.role() != "service_role" {
        return Err(JobError::Discard("only sb itself sends mail".to_owned()));
    }
    let envelope: Envelope = serde_json::from_str(payload.get())
        .map_err(|_| JobError::Discard("the payload is no mail of sb".to_owned()))?;
    mailer.0.seal.open(&envelope).ok_or_else(|| {
        let text = "the mail was sealed with another master key, or was changed";
        JobError::Discard(text.to_owned())
    })
}

/// The template with its values. A part that was replaced is told to whoever reads the log.
pub(super) async fn render(
    mailer: &Mailer,
    config: &Config,
    letter: &Letter,
) -> Result<Rendered, JobError> {
    let mut values = letter.values.clone();
    values
        .entry("SiteURL")
        .or_insert_with(|| config.server.site_url.clone().into());
    values
        .entry("Email")
        .or_insert_with(|| letter.to.clone().into());
    let languages = template::languages(&values);
    let stored = {
        let connection = mailer.0.db.auth().connection().await?;
        queries::templates(&connection, &letter.template, &languages).await?
    };
    let folder = config.project_dir.join(&config.mail.templates_dir);
    let name = letter.template.clone();
    let rendered = tokio::task::spawn_blocking(move || {
        let files = template::read_folder(&folder);
        template::render(&name, &values, &stored, &files)
    });
    let (rendered, broken) = rendered.await??;
    for error in broken {
        tracing::error!(template = letter.template, error = %error, "a mail template is broken; the built-in one is used");
    }
    Ok(rendered)
}

/// For whoever develops, when a command has said where to; otherwise the log says that there was a mail, and no more.
async fn print(mailer: &Mailer, config: &Config, letter: &Letter) -> JobResult {
    if let Some(print) = mailer.0.print.get() {
        let rendered = render(mailer, config, letter).await?;
        print(&Printed {
            to: letter.to.clone(),
            subject: rendered.subject,
            text: rendered.text,
        });
    } else {
        tracing::warn!(
            template = letter.template,
            "a mail was not sent: set EMAIL_BACKEND=smtp and SMTP_HOST"
        );
    }
    Ok(json!({ "delivered": "console" }))
}

async fn keep(mailer: &Mailer, config: &Config, letter: &Letter) -> JobResult {
    let rendered = render(mailer, config, letter).await?;
    let sender = smtp::sender(&config.mail).map_err(JobError::Failed)?;
    let connection = mailer.0.db.auth().connection().await?;
    let sender = sender.to_string();
    queries::keep(&connection, letter, &sender, &rendered).await?;
    queries::trim(&connection, config.mail.inbox_max_messages.into()).await?;
    Ok(json!({ "delivered": "inbox", "message_id": letter.id }))
}

async fn send(
    mailer: &Mailer,
    config: &Config,
    context: &JobContext,
    letter: &Letter,
) -> JobResult {
    mailer.admit(context, config)?;
    let result = transmit(mailer, config, letter).await;
    let now = mailer.0.clock.now();
    let mut breaker = mailer
        .0
        .breaker
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    match &result {
        Ok(_) | Err(Attempt::Smtp(Failure::Later(_) | Failure::Refused(_))) => breaker.succeeded(),
        Err(Attempt::Smtp(Failure::Unavailable(_) | Failure::Stale)) => breaker.failed(now),
        Err(Attempt::Before(_)) => {}
    }
    drop(breaker);
    let told = |text: &str| scrub(text, &letter.values);
    match result {
        Ok(said) => {
            Ok(json!({ "delivered": "smtp", "message_id": letter.id, "response": told(&said) }))
        }
        Err(Attempt::Before(error)) => Err(error),
        Err(Attempt::Smtp(Failure::Refused(text))) => Err(JobError::Discard(told(&text))),
        Err(Attempt::Smtp(Failure::Unavailable(text) | Failure::Later(text))) => {
            Err(JobError::Failed(told(&text)))
        }
        Err(Attempt::Smtp(Failure::Stale)) => Err(JobError::Failed(
            "the SMTP server closed the connection".to_owned(),
        )),
    }
}

/// Why an attempt ended.
enum Attempt {
    /// The server was not asked.
    Before(JobError),
    Smtp(Failure),
}

async fn transmit(mailer: &Mailer, config: &Config, letter: &Letter) -> Result<String, Attempt> {
    let failed = |text: String| Attempt::Before(JobError::Failed(text));
    let rendered = render(mailer, config, letter)
        .await
        .map_err(Attempt::Before)?;
    let from = smtp::sender(&config.mail).map_err(failed)?;
    let to: Address = letter.to.parse().map_err(|_| {
        let text = "the recipient is not one valid address";
        Attempt::Before(JobError::Discard(text.to_owned()))
    })?;
    let dated = (letter.id, mailer.0.clock.now());
    let message = compose::message(&rendered, dated, (from, to)).map_err(failed)?;
    let sent = mailer.0.smtp.send(&config.mail, &message).await;
    sent.map_err(Attempt::Smtp)
}

impl Mailer {
    /// While the server is down mails wait without an attempt, and without keeping a worker from other jobs.
    fn admit(&self, context: &JobContext, config: &Config) -> Result<(), JobError> {
        let patience = Duration::from_secs(config.mail.smtp_timeout_s) + OVERHEAD;
        let mut breaker = self
            .0
            .breaker
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Err(wait) = breaker.admit(self.0.clock.now(), patience) else {
            return Ok(());
        };
        if context.claim - context.attempt > MOST_POSTPONEMENTS {
            let text = "the SMTP server has been down for too long";
            return Err(JobError::Failed(text.to_owned()));
        }
        // They shall not return all at once.
        let [scatter] = random_bytes::<1>();
        let scatter = Duration::from_millis(40 * u64::from(scatter));
        Err(JobError::Snooze(wait + scatter))
    }
}
