//! Connections to addresses that were looked at.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::Uri;
use futures_util::future::BoxFuture;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{OutboundError, address};
use crate::net::Network;

/// From the name to the end of the TLS handshake.
const CONNECT: Duration = Duration::from_secs(5);

/// All addresses of a host name.
pub type Resolve = dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync;

/// Asks the system.
pub fn resolve(host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
    Box::pin(async move {
        let found = tokio::net::lookup_host((host, 0)).await?;
        Ok(found.map(|address| address.ip()).collect())
    })
}

/// Makes connections for the client.
#[derive(Clone)]
pub(super) struct Connector {
    allow: Arc<[Network]>,
    resolver: Arc<Resolve>,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector")
            .field("allow", &self.allow)
            .finish_non_exhaustive()
    }
}

impl tower::Service<Uri> for Connector {
    type Response = Stream;
    type Error = OutboundError;
    type Future = BoxFuture<'static, Result<Stream, OutboundError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), OutboundError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            let connecting = connector.connect(&uri);
            tokio::time::timeout(CONNECT, connecting)
                .await
                .unwrap_or(Err(OutboundError::Timeout(CONNECT)))
        })
    }
}

impl Connector {
    pub(super) fn new(allow: Vec<Network>, resolver: Arc<Resolve>) -> Self {
        let allow = allow.into();
        Self { allow, resolver }
    }

    async fn connect(&self, uri: &Uri) -> Result<Stream, OutboundError> {
        let is_tls = uri.scheme_str() == Some("https");
        let host = uri.host().unwrap_or_default();
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let addresses = self.addresses(host).await?;
        let failed = |error: io::Error| OutboundError::Connect {
            host: host.to_owned(),
            cause: super::innermost(&error),
        };
        let stream = dial(&addresses, port).await.map_err(failed)?;
        // A request is one write and waits for its answer.
        let _ = stream.set_nodelay(true);
        if !is_tls {
            return Ok(Stream::Plain(TokioIo::new(stream)));
        }
        let name = bare(host).to_owned();
        let name = ServerName::try_from(name).map_err(|error| failed(io::Error::other(error)))?;
        let stream = TLS.connect(name, stream).await.map_err(failed)?;
        Ok(Stream::Tls(Box::new(TokioIo::new(stream))))
    }

    /// The host's addresses, all of which may be called. One that may not refuses them all: a name with an inner
    /// address beside a public one is an attempt to reach the inner one.
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, OutboundError> {
        let addresses = if let Ok(address) = bare(host).parse() {
            vec![address]
        } else if is_localhost(host) {
            vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
        } else {
            let found = (self.resolver)(host.to_owned()).await;
            found.map_err(|_| OutboundError::Unresolved(host.to_owned()))?
        };
        if addresses.is_empty() {
            return Err(OutboundError::Unresolved(host.to_owned()));
        }
        for &address in &addresses {
            if let Some(scope) = address::scope(address)
                && !self.allow.iter().any(|network| network.contains(address))
            {
                tracing::warn!(
                    outbound.host = host,
                    outbound.address = %address,
                    outbound.reason = %scope,
                    "a call was refused; outbound.allow lists networks that may be called"
                );
                let host = host.to_owned();
                return Err(OutboundError::Refused { host, scope });
            }
        }
        Ok(addresses)
    }
}

/// Tries one address after the other; none takes the time of all.
async fn dial(addresses: &[IpAddr], port: u16) -> io::Result<TcpStream> {
    let until = Instant::now() + CONNECT;
    let mut result = Err(io::ErrorKind::AddrNotAvailable.into());
    for (index, &address) in addresses.iter().enumerate() {
        let left = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        let share = until.saturating_duration_since(Instant::now()) / left;
        let connecting = TcpStream::connect(SocketAddr::new(address, port));
        result = match tokio::time::timeout(share, connecting).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
    }
    result
}

/// Names that mean this machine, whatever a resolver says (RFC 6761).
fn is_localhost(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    host == "localhost" || host.ends_with(".localhost")
}

/// Without the brackets that an IPv6 address has in a URL.
fn bare(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}

/// Reading the system's certificates takes milliseconds: once.
static TLS: LazyLock<TlsConnector> = LazyLock::new(|| {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider supports the default protocol versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
});

/// A connection, encrypted or not.
pub(super) enum Stream {
    Plain(TokioIo<TcpStream>),
    Tls(Box<TokioIo<TlsStream<TcpStream>>>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(context, buffer),
        }
    }
}

impl Write for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(context),
        }
    }
}
