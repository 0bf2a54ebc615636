//! The gateway against an upstream that follows a script.

mod credentials;
mod failures;
mod smuggling;
mod streaming;
mod transparency;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sb::config::{Config, Handle};
use sb::http::{Authenticate, middleware, server};
use sb::lifecycle::Lifecycle;
use sb::rest::{Exchange, KeyExchange, Purpose, Rest, Target, router};
use sb::telemetry::Metrics;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// A plain answer that keeps the connection open.
pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]";

/// A gateway that listens on a port of its own.
pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    pub(crate) config: Handle,
    pub(crate) metrics: Metrics,
    pub(crate) rest: Rest,
}

impl Gateway {
    pub(crate) async fn to(upstream: SocketAddr) -> Self {
        Self::with(&format!("http://{upstream}"), |_| {}).await
    }

    pub(crate) async fn with(upstream: &str, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        change(&mut config);
        let config = Handle::new(config);
        let metrics = Metrics::default();
        let target = Target::parse(upstream).unwrap();
        let rest = Rest::new(&config, &metrics, exchange(), Some(target));
        let authenticate = Authenticate(Arc::new(|_| Ok(sb::Caller::anon())));
        let routes = router(rest.clone()).fallback(middleware::not_found);
        let app = middleware::wrap(routes, &config, &metrics, authenticate);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let lifecycle = Lifecycle::new();
        lifecycle.spawn({
            let lifecycle = lifecycle.clone();
            async move { server::serve(listener, app, &lifecycle).await }
        });
        Self {
            address,
            config,
            metrics,
            rest,
        }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes on a connection of its own and reads until the gateway closes it.
    pub(crate) async fn raw(&self, bytes: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // A refused body may end in a reset; what was answered before counts.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// A request without a body; `headers` are lines that end in CRLF.
    pub(crate) async fn send(&self, method: &str, target: &str, headers: &str) -> String {
        let host = "Host: api.example.com\r\nConnection: close\r\n";
        self.raw(&format!(
            "{method} {target} HTTP/1.1\r\n{host}{headers}\r\n"
        ))
        .await
    }
}

/// Stands in for the keys: what the tests' credentials become.
fn exchange() -> KeyExchange {
    Arc::new(|token, purpose| match token {
        "sb_publishable_good" => Exchange::Token("anon.jwt".into()),
        "sb_secret_good" => Exchange::Token("service.jwt".into()),
        "eyJlegacy" => Exchange::Token("resigned.jwt".into()),
        "eyJrevoked" => Exchange::Refused,
        token if token.starts_with("sb_") => Exchange::Refused,
        "eyJanon" => Exchange::Keep,
        _ if purpose == Purpose::Key => Exchange::Refused,
        _ => Exchange::Keep,
    })
}

/// A request as an upstream received it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) line: String,
    /// `name: value`, names in lower case, in order of arrival.
    pub(crate) headers: Vec<String>,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    /// All values of a header.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter_map(|line| line.split_once(": "))
            .filter(|(found, _)| *found == name)
            .map(|(_, value)| value)
            .collect()
    }
}

/// An upstream that gives every request the same answer and reports what it saw.
pub(crate) struct Scripted {
    pub(crate) address: SocketAddr,
    seen: mpsc::UnboundedReceiver<Seen>,
    connections: Arc<AtomicUsize>,
    lifecycle: Lifecycle,
}

impl Scripted {
    pub(crate) async fn answering(answer: &'static str) -> Self {
        Self::on("127.0.0.1:0".parse().unwrap(), answer).await
    }

    pub(crate) async fn on(address: SocketAddr, answer: &'static str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let lifecycle = Lifecycle::new();
        let (report, seen) = mpsc::unbounded_channel();
        let stopping = lifecycle.stopping();
        let tasks = lifecycle.clone();
        let connections = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&connections);
        lifecycle.spawn(async move {
            loop {
                let stream = tokio::select! {
                    accepted = listener.accept() => accepted.unwrap().0,
                    () = stopping.cancelled() => return,
                };
                count.fetch_add(1, Ordering::SeqCst);
                let (report, stopping) = (report.clone(), stopping.clone());
                tasks.spawn(async move {
                    tokio::select! {
                        () = serve(stream, answer, report) => {}
                        () = stopping.cancelled() => {}
                    }
                });
            }
        });
        Self {
            address,
            seen,
            connections,
            lifecycle,
        }
    }

    /// The next request.
    pub(crate) async fn next(&mut self) -> Seen {
        self.seen.recv().await.unwrap()
    }

    /// Whether every request has been looked at.
    pub(crate) fn saw_nothing_more(&mut self) -> bool {
        self.seen.try_recv().is_err()
    }

    /// How many connections were opened to it.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Closes the port and all connections.
    pub(crate) async fn stop(self) -> SocketAddr {
        assert_eq!(
            self.lifecycle.stop(std::time::Duration::from_secs(5)).await,
            0
        );
        self.address
    }
}

async fn serve(mut stream: TcpStream, answer: &str, report: mpsc::UnboundedSender<Seen>) {
    let mut buffer = Vec::new();
    while let Some(mut seen) = read_head(&mut stream, &mut buffer).await {
        let length = seen
            .values("content-length")
            .first()
            .map_or(0, |text| text.parse().unwrap());
        if seen.values("transfer-encoding").is_empty() {
            while buffer.len() < length {
                if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                    return;
                }
            }
            seen.body = buffer.drain(..length).collect();
        } else {
            let Some(body) = read_chunks(&mut stream, &mut buffer).await else {
                return;
            };
            seen.body = body;
        }
        let _ = report.send(seen);
        if stream.write_all(answer.as_bytes()).await.is_err()
            || answer.contains("Connection: close")
        {
            return;
        }
    }
}

/// Reads a request head; what follows stays in `buffer`. None at the end of the stream.
pub(crate) async fn read_head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Seen> {
    loop {
        if let Some(end) = find(buffer, b"\r\n\r\n") {
            let head: Vec<u8> = buffer.drain(..end + 4).collect();
            let text = String::from_utf8_lossy(&head[..end]).into_owned();
            let mut lines = text.split("\r\n").map(str::to_owned);
            return Some(Seen {
                line: lines.next().unwrap(),
                headers: lines.collect(),
                body: Vec::new(),
            });
        }
        if stream.read_buf(buffer).await.unwrap_or(0) == 0 {
            return None;
        }
    }
}

/// Reads a chunked body; none when it ends early.
async fn read_chunks(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        if let Some(end) = find(buffer, b"\r\n") {
            let size =
                usize::from_str_radix(std::str::from_utf8(&buffer[..end]).unwrap(), 16).unwrap();
            let whole = end + 2 + size + 2;
            if buffer.len() >= whole {
                body.extend_from_slice(&buffer[end + 2..whole - 2]);
                buffer.drain(..whole);
                if size == 0 {
                    return Some(body);
                }
                continue;
            }
        }
        if stream.read_buf(buffer).await.unwrap_or(0) == 0 {
            return None;
        }
    }
}

pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

/// Reads until `needle` has arrived and returns everything so far.
pub(crate) async fn read_until(stream: &mut TcpStream, needle: &str) -> String {
    let mut buffer = Vec::new();
    while find(&buffer, needle.as_bytes()).is_none() {
        let read = stream.read_buf(&mut buffer).await.unwrap();
        assert_ne!(
            read,
            0,
            "the stream ended before {needle:?}: {}",
            String::from_utf8_lossy(&buffer)
        );
    }
    String::from_utf8(buffer).unwrap()
}
