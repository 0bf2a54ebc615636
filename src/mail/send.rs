//! The job `mail.send`.

use std::time::Duration;

use serde_json::json;
use serde_json::value::RawValue;

use super::model::Envelope;
use super::{Delivery, Letter, Mailer};
use crate::jobs::{Backoff, Handlers, JobContext, JobError, JobResult, Kind};

/// Name of the job.
pub(super) const NAME: &str = "mail.send";

/// With the pauses below about a day. What is dead by then is kept as a dead letter and can be retried by hand.
const MOST_ATTEMPTS: u16 = 32;
const FIRST_PAUSE: Duration = Duration::from_secs(15);
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

pub(super) fn add_to(mailer: &Mailer, handlers: Handlers) -> Handlers {
    let mailer = mailer.clone();
    let kind = Kind::new(NAME).max_attempts(MOST_ATTEMPTS).backoff(
        Backoff::Exponential,
        FIRST_PAUSE,
        LONGEST_PAUSE,
    );
    handlers.add(kind, move |context, payload| {
        let mailer = mailer.clone();
        async move { run(&mailer, &context, &payload).await }
    })
}

async fn run(mailer: &Mailer, context: &JobContext, payload: &RawValue) -> JobResult {
    let letter = open(mailer, context, payload)?;
    if let Some(deliver) = mailer.0.deliver.get()
        && deliver(letter.clone()).await? == Delivery::Taken
    {
        return Ok(json!({ "delivered_by": "hook" }));
    }
    Err(JobError::Discard("no backend yet".to_owned()))
}

fn open(mailer: &Mailer, context: &JobContext, payload: &RawValue) -> Result<Letter, JobError> {
    // What a user could enqueue, or copy from a job that may be seen, is not ours.
    if context.caller.role() != "service_role" {
        return Err(JobError::Discard("only sb itself sends mail".to_owned()));
    }
    let envelope: Envelope = serde_json::from_str(payload.get())
        .map_err(|_| JobError::Discard("the payload is no mail; see Mailer::enqueue".to_owned()))?;
    mailer.0.seal.open(&envelope).ok_or_else(|| {
        let text = "the mail was sealed with another master key, or was changed";
        JobError::Discard(text.to_owned())
    })
}
