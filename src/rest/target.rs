//! Where PostgREST listens.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderValue;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A checked upstream address.
#[derive(Clone)]
pub struct Target {
    host: String,
    port: u16,
    authority: HeaderValue,
    base: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    ours: bool,
}

/// An address that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("PostgREST's address must look like http://127.0.0.1:3000: {0}")]
pub struct TargetError(String);

/// A byte stream to the upstream, encrypted or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Target {
    /// Reads `http[s]://host[:port][/base]`.
    ///
    /// # Errors
    /// Anything else, including a user name, a query or a fragment.
    pub fn parse(address: &str) -> Result<Self, TargetError> {
        let error = |reason: &str| TargetError(reason.to_owned());
        let url = url::Url::parse(address).map_err(|cause| TargetError(cause.to_string()))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(error("a user name has no place in it"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(error("a query or fragment has no place in it"));
        }
        let (host, port) = url
            .host_str()
            .zip(url.port_or_known_default())
            .ok_or_else(|| error("the host is missing"))?;
        let authority = url
            .port()
            .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let tls = match url.scheme() {
            "http" => None,
            "https" => {
                let name = ServerName::try_from(host.clone())
                    .map_err(|_| error("the host is no name a certificate could have"))?;
                Some((connector()?, name))
            }
            _ => return Err(error("only http and https are known")),
        };
        Ok(Self {
            authority: HeaderValue::try_from(authority)
                .map_err(|_| error("the host is not plain"))?,
            base: url.path().trim_end_matches('/').to_owned(),
            host,
            port,
            tls,
            ours: false,
        })
    }

    /// The PostgREST that `sb` runs, on loopback.
    pub fn ours(port: u16) -> Result<Self, TargetError> {
        let target = Self::parse(&format!("http://127.0.0.1:{port}"))?;
        Ok(Self {
            ours: true,
            ..target
        })
    }

    /// Whether `sb` runs it.
    pub(super) fn is_ours(&self) -> bool {
        self.ours
    }

    /// Its `Host` header.
    pub(super) fn authority(&self) -> &HeaderValue {
        &self.authority
    }

    /// The path before every request's, without a trailing slash; mostly empty.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// Opens a connection, within five seconds.
    pub(super) async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        tokio::time::timeout(CONNECT_TIMEOUT, self.open())
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn open(&self) -> io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => Ok(Box::new(stream)),
            Some((connector, name)) => Ok(Box::new(connector.connect(name.clone(), stream).await?)),
        }
    }
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Target({}:{}{})", self.host, self.port, self.base)
    }
}

fn connector() -> Result<TlsConnector, TargetError> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|cause| TargetError(cause.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked() {
        let target = Target::parse("http://[::1]:3000/api/").unwrap();
        assert_eq!(
            (target.host.as_str(), target.port, target.base()),
            ("::1", 3000, "/api")
        );
        assert_eq!(target.authority(), "[::1]:3000");
        let target = Target::parse("https://db.example.com").unwrap();
        assert_eq!((target.port, target.tls.is_some()), (443, true));
        for address in [
            "",
            "127.0.0.1:3000",
            "ftp://a",
            "http://u:p@a",
            "http://a/?b",
            "http://a/#b",
        ] {
            assert!(Target::parse(address).is_err(), "{address}");
        }
    }
}
