//! The smallest HTTP client: one GET to a loopback address, its status.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const TIMEOUT: Duration = Duration::from_secs(5);
const LONGEST_HEAD: u64 = 1024;

/// The status of `GET base path`; `None` when nothing answers. Plain HTTP only.
pub(super) async fn status(base: &str, path: &str) -> Option<u16> {
    let url = url::Url::parse(base).ok()?;
    let (host, port) = (url.host_str()?.to_owned(), url.port_or_known_default()?);
    let exchange = async {
        let mut stream = TcpStream::connect((host.trim_matches(['[', ']']), port))
            .await
            .ok()?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut head = Vec::new();
        stream
            .take(LONGEST_HEAD)
            .read_to_end(&mut head)
            .await
            .ok()?;
        parse_status(&head)
    };
    tokio::time::timeout(TIMEOUT, exchange).await.ok()?
}

fn parse_status(head: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(head.get(..12)?).ok()?;
    text.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_the_second_word() {
        assert_eq!(
            parse_status(b"HTTP/1.1 503 Service Unavailable\r\n"),
            Some(503)
        );
        assert_eq!(parse_status(b"HTTP/1.0 200 OK"), Some(200));
        assert_eq!(parse_status(b"SSH-2.0-OpenSSH_9"), None);
        assert_eq!(parse_status(b"HTTP"), None);
    }
}
