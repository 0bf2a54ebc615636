//! Logs and metrics.
//!
//! Every log line passes [`redact`] on its way out: code must not log secrets, and if it does all the same, they
//! do not arrive.

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, reload};

/// Changes what is logged while running.
#[derive(Clone)]
pub struct LogLevel(Arc<SetFilter>);

type SetFilter = dyn Fn(&str) -> Result<(), String> + Send + Sync;

impl LogLevel {
    /// Applies a filter such as `info,sb::db=debug`.
    pub fn set(&self, filter: &str) -> Result<(), String> {
        (self.0)(filter)
    }
}

impl std::fmt::Debug for LogLevel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LogLevel")
    }
}

/// A lone word that is no level would be taken for a part of the program, which is not what anybody means.
fn parse(text: &str) -> Result<EnvFilter, String> {
    let is_known = |part: &str| part.contains(['=', '[']) || part.parse::<LevelFilter>().is_ok();
    if let Some(part) = text.split(',').map(str::trim).find(|part| !is_known(part)) {
        return Err(format!(
            "log.level: \"{part}\" is no level; there are error, warn, info, debug, trace and off"
        ));
    }
    EnvFilter::try_new(text).map_err(|error| format!("log.level \"{text}\": {error}"))
}

/// Starts logging for the process: `filter` as in `log.level`, JSON lines or text, into `writer`.
///
/// # Errors
/// A filter that cannot be read, or a process that logs already.
pub fn init<W>(filter: &str, json: bool, ansi: bool, writer: W) -> Result<LogLevel, String>
where
    W: for<'a> MakeWriter<'a> + Clone + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(parse(filter)?);
    let writer = Redacted(writer);
    let layer = if json {
        let format = tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_span_list(false);
        format.with_writer(writer).boxed()
    } else {
        tracing_subscriber::fmt::layer()
            .with_ansi(ansi)
            .with_target(false)
            .with_writer(writer)
            .boxed()
    };
    let subscriber = tracing_subscriber::registry().with(filter).with(layer);
    tracing::subscriber::set_global_default(subscriber).map_err(|error| error.to_string())?;
    Ok(LogLevel(Arc::new(move |text| {
        handle
            .reload(parse(text)?)
            .map_err(|error| error.to_string())
    })))
}

#[derive(Clone)]
struct Redacted<W>(W);

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for Redacted<W> {
    type Writer = RedactingWriter<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        RedactingWriter(self.0.make_writer())
    }
}

/// The formatter hands over a whole line at a time.
struct RedactingWriter<W>(W);

impl<W: Write> Write for RedactingWriter<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0
            .write_all(redact(&String::from_utf8_lossy(line)).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// `text` without JWTs, `sb_…` keys, passwords in addresses and values of members whose name says secret.
pub fn redact(text: &str) -> Cow<'_, str> {
    const MARK: &str = "[redacted]";
    if !may_hold_secret(text.as_bytes()) {
        return Cow::Borrowed(text);
    }
    let is_token = |c: char| {
        c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~' | '+' | '/' | '=' | '%')
    };
    let mut out = Cow::Borrowed(text);
    let mut cut = |find: &str, keep: usize, end: &dyn Fn(char) -> bool, shortest: usize| {
        let mut from = 0;
        while let Some(at) = out[from..].find(find).map(|at| from + at) {
            let start = at + keep;
            let length = out[start..].find(|c| !end(c)).unwrap_or(out.len() - start);
            if length >= shortest && &out[start..start + length] != MARK {
                out.to_mut().replace_range(start..start + length, MARK);
                from = start + MARK.len();
            } else {
                from = at + find.len();
            }
        }
    };
    cut("eyJ", 0, &is_token, 20);
    cut("sb_secret_", 10, &is_token, 1);
    cut("sb_publishable_", 15, &is_token, 1);
    cut("sbr_", 4, &is_token, 16);
    cut("$argon2", 1, &|c| is_token(c) || matches!(c, '$' | ','), 8);
    for name in SECRET_NAMES {
        for (before, after) in [("=", ""), ("\":\"", "")] {
            let find = format!("{name}{before}{after}");
            let end = |c: char| !c.is_whitespace() && !matches!(c, '"' | '&' | ',' | '}' | '\\');
            cut(&find, find.len(), &end, 1);
        }
    }
    redact_addresses(out)
}

/// Members and parameters whose value is a secret.
const SECRET_NAMES: [&str; 7] = [
    "password",
    "secret",
    "access_token",
    "refresh_token",
    "token",
    "apikey",
    "authorization",
];

/// Whether [`redact`] has anything to look at: one pass, since nearly every line has not.
fn may_hold_secret(text: &[u8]) -> bool {
    let named = |end: usize| {
        SECRET_NAMES
            .iter()
            .any(|name| text[..end].ends_with(name.as_bytes()))
    };
    text.windows(2).enumerate().any(|(at, pair)| match pair {
        b"ey" | b"sb" | b"$a" => ["eyJ", "sb_", "sbr_", "$argon2"]
            .iter()
            .any(|mark| text[at..].starts_with(mark.as_bytes())),
        b":/" => true,
        // The letters the names end with.
        [b'd' | b't' | b'n' | b'y', b'=' | b'"'] => named(at + 1),
        _ => false,
    })
}

/// `scheme://user:password@host` keeps the user only.
fn redact_addresses(mut text: Cow<'_, str>) -> Cow<'_, str> {
    let mut from = 0;
    while let Some(at) = text[from..].find("://").map(|at| from + at + 3) {
        let end = text[at..]
            .find(|c: char| c.is_whitespace() || matches!(c, '/' | '"' | '\''))
            .map_or(text.len(), |n| at + n);
        if let Some(host) = text[at..end].rfind('@').map(|n| at + n)
            && let Some(colon) = text[at..host].find(':').map(|n| at + n)
        {
            text.to_mut().replace_range(colon + 1..host, "[redacted]");
        }
        from = at;
    }
    text
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: String,
    route: String,
    status: u16,
}

/// The metrics registry behind `/metrics`. Clones share it.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    requests: Family<RequestLabels, Counter>,
    duration: Histogram,
    in_flight: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("sb");
        let requests = Family::default();
        let duration = Histogram::new(exponential_buckets(0.0005, 2.0, 16));
        let in_flight = Gauge::default();
        registry.register("http_requests", "Requests answered", requests.clone());
        registry.register(
            "http_request_duration_seconds",
            "Time to the answer's first byte",
            duration.clone(),
        );
        registry.register(
            "http_requests_in_flight",
            "Requests being answered",
            in_flight.clone(),
        );
        Self {
            registry: Arc::new(Mutex::new(registry)),
            requests,
            duration,
            in_flight,
        }
    }
}

impl Metrics {
    /// Adds a part's own metrics.
    pub fn register(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The exposition text (`OpenMetrics`).
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        prometheus_client::encoding::text::encode(&mut text, &registry)?;
        Ok(text)
    }

    /// Counts a request as in flight until the guard is dropped.
    pub fn request_started(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// Counts an answer.
    pub fn request_finished(&self, method: &str, route: &str, status: u16, elapsed: Duration) {
        const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
        let method = if METHODS.contains(&method) {
            method
        } else {
            "OTHER"
        }
        .to_owned();
        self.requests
            .get_or_create(&RequestLabels {
                method,
                route: route.to_owned(),
                status,
            })
            .inc();
        self.duration.observe(elapsed.as_secs_f64());
    }
}

/// A request in flight.
#[derive(Debug)]
pub struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_no_level_is_refused() {
        for good in ["info", "WARN", "off", "warn,sb=debug", "sb::auth=trace"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in ["nope", "info,sbdebug", "sb=loud"] {
            let error = parse(bad).err();
            assert!(
                error.is_some_and(|error| error.contains("log.level")),
                "{bad}"
            );
        }
    }

    #[test]
    fn secrets_do_not_reach_the_log() {
        let jwt = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl";
        let cases = [
            (format!("token {jwt} end"), "token [redacted] end"),
            (
                "key sb_secret_abc123 end".to_owned(),
                "key sb_secret_[redacted] end",
            ),
            (
                "at postgresql://ana:hunter2@h:1/d x".to_owned(),
                "at postgresql://ana:[redacted]@h:1/d x",
            ),
            (
                r#"{"password":"hunter2","a":1}"#.to_owned(),
                r#"{"password":"[redacted]","a":1}"#,
            ),
            (
                "GET /x?token=abc&b=1".to_owned(),
                "GET /x?token=[redacted]&b=1",
            ),
            (
                "hash $argon2id$v=19$m=1,t=2,p=1$c2FsdA$aGFzaA".to_owned(),
                "hash $[redacted]",
            ),
        ];
        for (line, expected) in cases {
            assert_eq!(redact(&line), expected);
            assert_eq!(redact(&redact(&line)), expected);
        }
    }

    #[test]
    fn ordinary_lines_stay_as_they_are() {
        let line = "request completed http.status=200 http.route=/auth/v1/token duration_ms=3 at http://127.0.0.1:8000/x";
        assert!(matches!(redact(line), Cow::Borrowed(_)));
    }
}
