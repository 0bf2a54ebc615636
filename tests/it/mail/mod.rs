//! Mail: what is enqueued arrives once, whole, and readable by nobody on the way.

mod access;
mod delivery;
mod inbox;
mod secrecy;
pub(crate) mod server;
mod smtp;
mod templates;

use chrono::TimeDelta;
use sb::db::Connection;
use sb::jobs::{JobId, Worker};
use sb::mail::{Mailer, NewMail};
use serde_json::Value;

use crate::scratch::eventually;
use crate::support::TestApp;

/// Text of a link and a code that nobody but the recipient may read.
pub(crate) const LINK: &str = "http://sb.test/auth/v1/verify?token=4bcb2f9c7e1d4a0d&type=recovery";
pub(crate) const CODE: &str = "483920";

/// An application whose mails a test follows.
struct Post {
    app: TestApp,
    owner: Connection,
}

/// What the tests look at of a job.
#[derive(Debug)]
struct Row {
    status: String,
    attempts: i32,
    error: String,
    result: Option<Value>,
}

impl Post {
    async fn new(settings: &[(&str, &str)]) -> Self {
        let app = TestApp::with(settings).await;
        let owner = app.owner().await;
        Self { app, owner }
    }

    /// To a server without encryption, with the settings of a test.
    async fn to_server(port: u16, more: &[(&str, &str)]) -> Self {
        let port = port.to_string();
        let mut settings = vec![
            ("mail.backend", "smtp"),
            ("mail.from", "The App <app@example.org>"),
            ("mail.smtp_host", "127.0.0.1"),
            ("mail.smtp_port", port.as_str()),
            ("mail.smtp_starttls", "false"),
        ];
        settings.extend(more);
        Self::new(&settings).await
    }

    fn mailer(&self) -> &Mailer {
        &self.app.running.context().mail
    }

    async fn enqueue(&self, mail: &NewMail) -> JobId {
        let tx = self.app.running.db().auth().begin().await.unwrap();
        let id = self.mailer().enqueue(&tx, mail).await.unwrap();
        tx.commit().await.unwrap();
        id
    }

    async fn worker(&self) -> Worker {
        let options = crate::jobs::options(4);
        self.app.running.start_worker_with(options).await.unwrap()
    }

    async fn row(&self, id: JobId) -> Row {
        let sql = "select status::text, attempts, coalesce(last_error, ''), result from jobs.jobs where id = $1";
        let row = self.owner.query_one(sql, &[&id]).await.unwrap();
        Row {
            status: row.get(0),
            attempts: row.get(1),
            error: row.get(2),
            result: row.get(3),
        }
    }

    async fn until(&self, id: JobId, status: &str) -> Row {
        let what = format!("mail {id} is {status}");
        eventually(&what, async || self.row(id).await.status == status).await;
        self.row(id).await
    }

    /// Lets everything that waits for its time be due, and the pauses of the server be over.
    async fn later(&self) {
        self.app.clock.advance(TimeDelta::minutes(10));
        let sql = "select jobs.retry(p.id) from jobs.pending p where p.status = 'scheduled'";
        self.owner.query(sql, &[]).await.unwrap();
    }

    async fn sql(&self, sql: &str) {
        self.owner.batch_execute(sql).await.expect(sql);
    }

    /// A template in the database, for everybody.
    async fn template(&self, name: &str, (subject, html, text): (&str, &str, &str)) {
        let sql = "insert into mail.templates (name, subject, html, text) values ($1, $2, $3, $4)";
        let params: [&(dyn sb::db::ToSql + Sync); 4] = [&name, &subject, &html, &text];
        self.owner.execute(sql, &params).await.unwrap();
    }
}

/// A mail with everything in it.
pub(crate) fn recovery(to: &str) -> NewMail {
    NewMail::new("recovery", to)
        .value("ConfirmationURL", LINK)
        .value("Token", CODE)
        .value("TokenHash", "4bcb2f9c7e1d4a0d")
}
