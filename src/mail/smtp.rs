//! The SMTP backend: one message at a time over connections that are kept for a moment.
//!
//! It speaks to the server step by step, because what a refusal means depends on the step: a server that refuses the
//! recipient will do so again, one that refuses the password waits for its operator. One deadline covers everything from
//! the connection to the server's last word.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use lettre::Message;
use lettre::message::Mailbox;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};

use crate::config::{self, MailBackend};

/// How long an idle connection is kept; most servers wait for minutes.
const IDLE: Duration = Duration::from_secs(20);

/// Connections kept at most.
const MAX_IDLE: usize = 4;

/// Why a message was not sent. The texts quote the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// The server cannot be used by anybody right now: unreachable, too slow, no TLS, wrong password, wrong sender.
    Unavailable(String),
    /// Not now, for this message.
    Later(String),
    /// Never: this recipient, or this message.
    Refused(String),
    /// The server had closed a connection that was kept; nothing was said yet.
    Stale,
}

/// The connections of one process.
#[derive(Default)]
pub(super) struct Smtp {
    idle: Mutex<Vec<(AsyncSmtpConnection, Instant)>>,
    /// Reading the machine's certificates takes a while.
    tls: OnceLock<TlsParameters>,
}

impl Smtp {
    /// Sends `message` and returns what the server said.
    pub(super) async fn send(
        &self,
        settings: &config::Mail,
        message: &Message,
    ) -> Result<String, Failure> {
        let limit = Duration::from_secs(settings.smtp_timeout_s.max(1));
        let address = format!("{}:{}", settings.smtp_host, settings.smtp_port);
        match tokio::time::timeout(limit, self.send_now(settings, message)).await {
            Ok(result) => result,
            Err(_) => Err(Failure::Unavailable(format!(
                "the SMTP server {address} took longer than {} s",
                limit.as_secs()
            ))),
        }
    }

    async fn send_now(
        &self,
        settings: &config::Mail,
        message: &Message,
    ) -> Result<String, Failure> {
        if let Some(kept) = self.take_idle() {
            match self.transmit(kept, true, message).await {
                Err(Failure::Stale) => {}
                result => return result,
            }
        }
        let fresh = self.connect(settings, hello(message)).await?;
        self.transmit(fresh, false, message).await
    }

    fn take_idle(&self) -> Option<AsyncSmtpConnection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(_, since)| since.elapsed() < IDLE);
        idle.pop().map(|(connection, _)| connection)
    }

    fn keep(&self, connection: AsyncSmtpConnection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE {
            idle.push((connection, Instant::now()));
        }
    }

    async fn transmit(
        &self,
        mut connection: AsyncSmtpConnection,
        is_kept: bool,
        message: &Message,
    ) -> Result<String, Failure> {
        let body = message.formatted();
        let options = options(&connection, message, &body)?;
        let sender = message.envelope().from().cloned();
        if let Err(error) = connection.command(Mail::new(sender, options)).await {
            // Nothing was sent yet, so another connection may say it again without saying it twice.
            if is_kept && (!answered(&error) || has_code(&error, "421")) {
                return Err(Failure::Stale);
            }
            let step = "refuses the sender (EMAIL_FROM)";
            return Err(match failure(&error, step) {
                Failure::Refused(text) => Failure::Unavailable(text),
                other => other,
            });
        }
        for recipient in message.envelope().to() {
            let rcpt = Rcpt::new(recipient.clone(), Vec::new());
            let said = connection.command(rcpt).await;
            said.map_err(|error| failure(&error, "refuses the recipient"))?;
        }
        let refuses = |error: Error| failure(&error, "refuses the message");
        connection.command(Data).await.map_err(refuses)?;
        let said = connection.message(&body).await.map_err(refuses)?;
        self.keep(connection);
        let words: Vec<&str> = said.message().collect();
        Ok(format!("{} {}", said.code(), words.join(" ")))
    }

    async fn connect(
        &self,
        settings: &config::Mail,
        hello: ClientId,
    ) -> Result<AsyncSmtpConnection, Failure> {
        let server = (settings.smtp_host.as_str(), settings.smtp_port);
        let (host, port) = server;
        let unavailable = |step: &str, error: &Error| {
            let words = words(error);
            Failure::Unavailable(format!("the SMTP server {host}:{port} {step}: {words}"))
        };
        let tls = || {
            let parameters = self.tls(host);
            parameters.map_err(|error| unavailable("cannot be spoken to with TLS", &error))
        };
        let implicit = settings.smtp_tls.then(tls).transpose()?;
        // Of several addresses the first may lead nowhere.
        let limit = Duration::from_secs(settings.smtp_timeout_s.max(1)) / 2;
        let connected =
            AsyncSmtpConnection::connect_tokio1(server, Some(limit), &hello, implicit, None).await;
        let mut connection = connected.map_err(|error| unavailable("cannot be reached", &error))?;
        if settings.smtp_starttls && !settings.smtp_tls {
            if !connection.can_starttls() {
                return Err(Failure::Unavailable(format!(
                    "the SMTP server {host}:{port} offers no STARTTLS; for port 465 set SMTP_TLS=true, on a network you \
                     trust SMTP_STARTTLS=false"
                )));
            }
            let upgraded = connection.starttls(tls()?, &hello).await;
            upgraded.map_err(|error| unavailable("cannot be spoken to with STARTTLS", &error))?;
        }
        if let Some(username) = &settings.smtp_username {
            let password = settings.smtp_password.clone().unwrap_or_default();
            let credentials = Credentials::new(username.clone(), password.expose().to_owned());
            let signed_in = connection
                .auth(&[Mechanism::Plain, Mechanism::Login], &credentials)
                .await;
            signed_in
                .map_err(|error| unavailable("refuses SMTP_USERNAME and SMTP_PASSWORD", &error))?;
        }
        Ok(connection)
    }

    fn tls(&self, host: &str) -> Result<TlsParameters, Error> {
        if let Some(parameters) = self.tls.get() {
            return Ok(parameters.clone());
        }
        let parameters = TlsParameters::new_rustls(host.to_owned())?;
        Ok(self.tls.get_or_init(|| parameters).clone())
    }
}

/// How we introduce ourselves: servers think little of a client that calls itself localhost.
fn hello(message: &Message) -> ClientId {
    let node = rustix::system::uname();
    let node = node.nodename().to_string_lossy().into_owned();
    let sender = message
        .envelope()
        .from()
        .map(|from| from.domain().to_owned());
    let is_domain = |name: &String| {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
        name.contains('.') && name.chars().all(plain)
    };
    let named = [Some(node), sender].into_iter().flatten().find(is_domain);
    named.map_or_else(ClientId::default, ClientId::Domain)
}

/// What the message needs of the server.
fn options(
    connection: &AsyncSmtpConnection,
    message: &Message,
    body: &[u8],
) -> Result<Vec<MailParameter>, Failure> {
    let offers = |extension| connection.server_info().supports_feature(extension);
    let mut options = Vec::new();
    let addresses = message.envelope().from().into_iter();
    let mut addresses = addresses.chain(message.envelope().to());
    if !addresses.all(|address| AsRef::<str>::as_ref(address).is_ascii()) {
        if !offers(Extension::SmtpUtfEight) {
            let text =
                "the SMTP server does not take addresses with letters beyond ASCII (SMTPUTF8)";
            return Err(Failure::Refused(text.to_owned()));
        }
        options.push(MailParameter::SmtpUtfEight);
    }
    if !body.is_ascii() {
        if !offers(Extension::EightBitMime) {
            let text = "the SMTP server does not take 8-bit text (8BITMIME)";
            return Err(Failure::Refused(text.to_owned()));
        }
        options.push(MailParameter::Body(MailBodyParameter::EightBitMime));
    }
    Ok(options)
}

/// What an error after the connection stood means.
fn failure(error: &Error, step: &str) -> Failure {
    let text = format!("the SMTP server {step}: {}", words(error));
    if error.is_permanent() {
        Failure::Refused(text)
    } else if error.is_transient() && !has_code(error, "421") {
        Failure::Later(text)
    } else {
        Failure::Unavailable(text)
    }
}

/// Whether the server said something, instead of nothing.
fn answered(error: &Error) -> bool {
    error.is_permanent() || error.is_transient()
}

fn has_code(error: &Error, code: &str) -> bool {
    error
        .status()
        .is_some_and(|status| status.to_string() == code)
}

/// The server's own words, or those of the network.
fn words(error: &Error) -> String {
    let source = std::error::Error::source(error);
    match (error.status(), source) {
        (Some(code), Some(text)) => format!("{code} {text}"),
        (Some(code), None) => code.to_string(),
        (None, Some(text)) => text.to_string(),
        (None, None) => error.to_string(),
    }
}

/// Says at the start what an operator would regret later.
pub(super) fn warn(settings: &config::Mail) {
    let is_local = matches!(
        settings.smtp_host.as_str(),
        "localhost" | "127.0.0.1" | "::1"
    );
    let is_encrypted = settings.smtp_tls || settings.smtp_starttls;
    let is_used = settings.backend == Some(MailBackend::Smtp) && settings.smtp_username.is_some();
    if is_used && !is_encrypted && !is_local {
        tracing::warn!(
            host = settings.smtp_host,
            "SMTP_PASSWORD crosses the network unencrypted: set SMTP_STARTTLS or SMTP_TLS"
        );
    }
}

/// The sender in the settings.
///
/// # Errors
/// A sentence that names the setting.
pub(super) fn sender(settings: &config::Mail) -> Result<Mailbox, String> {
    settings
        .from
        .parse()
        .map_err(|_| "mail.from (EMAIL_FROM) must be an address, or Name <address>".to_owned())
}
