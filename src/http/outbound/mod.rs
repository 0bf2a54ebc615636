//! The one HTTP client with which `sb` calls addresses that somebody else chose.
//!
//! An address may lead anywhere, so before a connection is made every address of its host is looked at, and one that is
//! not of the public internet refuses the call, unless `outbound.allow` names its network. The connection goes to an
//! address that was looked at: the name is not resolved again. Redirects are answers like any other, and proxies from
//! the environment are not used.

mod address;
mod connect;

use std::sync::Arc;
use std::time::Duration;

use axum::http::header::{HOST, USER_AGENT};
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use url::{Position, Url};

use crate::net::Network;
pub use address::Scope;
use connect::Connector;
pub use connect::{Resolve, resolve};

/// Most bytes of an answer that are read.
pub const MAX_RESPONSE_BYTES: usize = 1_048_576;

/// How long a connection that is not used is kept.
const IDLE: Duration = Duration::from_secs(30);

/// Handle on the client. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Outbound {
    client: Client<Connector, Full<Bytes>>,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Response {
    /// Its status; a redirect is not followed.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, of which at most [`MAX_RESPONSE_BYTES`] are read.
    pub body: Bytes,
    /// The body was longer.
    pub is_truncated: bool,
}

/// Why there is no answer. The texts are for users: they tell nothing of what lies behind an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutboundError {
    /// Not an address to call.
    #[error("{0}")]
    Invalid(&'static str),
    /// The host is not on the public internet.
    #[error(
        "{host} is not called: its address is {scope}. Networks that may be called are listed in outbound.allow (OUTBOUND_ALLOW)"
    )]
    Refused {
        /// Host as written.
        host: String,
        /// What kind of address it has.
        scope: Scope,
    },
    /// The host has no address.
    #[error("{0} cannot be resolved")]
    Unresolved(String),
    /// No connection, or no TLS on it.
    #[error("cannot connect to {host}: {cause}")]
    Connect {
        /// Host as written.
        host: String,
        /// What happened.
        cause: String,
    },
    /// There was no whole answer in time.
    #[error("no answer within {} s", .0.as_secs_f64())]
    Timeout(Duration),
    /// The connection broke, or what came is no HTTP.
    #[error("the connection failed: {0}")]
    Broken(String),
}

impl OutboundError {
    /// Whether it would be the same the next time.
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Invalid(_) | Self::Refused { .. })
    }
}

impl Outbound {
    /// A client that may also call `allow`.
    pub fn new(allow: Vec<Network>) -> Self {
        Self::with_resolver(allow, Arc::new(resolve))
    }

    /// The same with another way to resolve names.
    pub fn with_resolver(allow: Vec<Network>, resolver: Arc<Resolve>) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(16)
            .build(Connector::new(allow, resolver));
        Self { client }
    }

    /// Sends a GET.
    ///
    /// # Errors
    /// [`OutboundError`], after `timeout` at the latest.
    pub async fn get(
        &self,
        url: &str,
        headers: HeaderMap,
        timeout: Duration,
    ) -> Result<Response, OutboundError> {
        let call = self.call(Method::GET, url, headers, Bytes::new());
        within(timeout, call).await
    }

    /// Sends a POST. `headers` say what the body is.
    ///
    /// # Errors
    /// [`OutboundError`], after `timeout` at the latest.
    pub async fn post(
        &self,
        url: &str,
        headers: HeaderMap,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Response, OutboundError> {
        let call = self.call(Method::POST, url, headers, body);
        within(timeout, call).await
    }

    async fn call(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response, OutboundError> {
        let (_, uri) = parse(url)?;
        let mut request = Request::new(Full::new(body));
        (*request.method_mut(), *request.uri_mut()) = (method, uri);
        *request.headers_mut() = headers;
        request.headers_mut().remove(HOST);
        let agent = HeaderValue::from_static(concat!("sb/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().insert(USER_AGENT, agent);
        let response = self.client.request(request).await;
        let response = response.map_err(|error| failure(&error))?;
        let (parts, body) = response.into_parts();
        let (body, is_truncated) = read(body).await?;
        Ok(Response {
            status: parts.status,
            headers: parts.headers,
            body,
            is_truncated,
        })
    }
}

/// Scheme, host and port of an address, as browsers write an origin.
///
/// # Errors
/// [`OutboundError::Invalid`] when the address cannot be called.
pub fn origin(url: &str) -> Result<String, OutboundError> {
    parse(url).map(|(url, _)| url.origin().ascii_serialization())
}

/// Reads an address as browsers do, so that a host has one spelling from here on: `0x7f.1` is 127.0.0.1.
fn parse(url: &str) -> Result<(Url, Uri), OutboundError> {
    const INVALID: OutboundError = OutboundError::Invalid("this is no http or https address");
    let url = Url::parse(url).map_err(|_| INVALID)?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(INVALID);
    }
    if !url.username().is_empty() || url.password().is_some() {
        let problem = "an address with a name or password in it is not called";
        return Err(OutboundError::Invalid(problem));
    }
    let uri = url[..Position::AfterQuery].parse().map_err(|_| INVALID)?;
    Ok((url, uri))
}

async fn within<T>(
    timeout: Duration,
    call: impl Future<Output = Result<T, OutboundError>>,
) -> Result<T, OutboundError> {
    tokio::time::timeout(timeout, call)
        .await
        .unwrap_or(Err(OutboundError::Timeout(timeout)))
}

/// Reads a body up to the limit; the rest is left, and with it the connection.
async fn read(mut body: Incoming) -> Result<(Bytes, bool), OutboundError> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| OutboundError::Broken(innermost(&error)))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let room = MAX_RESPONSE_BYTES - read.len();
        read.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            return Ok((read.freeze(), true));
        }
    }
    Ok((read.freeze(), false))
}

/// What the connector said, if it did not let the request begin.
fn failure(error: &hyper_util::client::legacy::Error) -> OutboundError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(ours) = error.downcast_ref::<OutboundError>() {
            return ours.clone();
        }
        cause = error.source();
    }
    OutboundError::Broken(innermost(error))
}

/// The innermost cause: the outer ones repeat it, or say nothing.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = error.to_string();
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
