//! Asking a child whether it is ready, again and again; a deadline is the caller's business.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use super::supervisor::Probe;

/// An answer that takes longer counts as none.
const PATIENCE: Duration = Duration::from_secs(2);

/// Returns when `probe` has passed.
pub(super) async fn until_ready(probe: &Probe, pid: u32, interval: Duration) {
    loop {
        let passes = async {
            match probe {
                Probe::PidFile { path, socket } => {
                    pid_file_says_ready(path, pid).await
                        && UnixStream::connect(socket).await.is_ok()
                }
                Probe::Http(address) => http_ready(*address).await.unwrap_or(false),
            }
        };
        if tokio::time::timeout(PATIENCE, passes)
            .await
            .unwrap_or(false)
        {
            return;
        }
        tokio::time::sleep(interval).await;
    }
}

async fn pid_file_says_ready(path: &Path, pid: u32) -> bool {
    tokio::fs::read_to_string(path)
        .await
        .is_ok_and(|text| is_ready(&text, pid))
}

/// Line 1 is the pid (an older file may still be there), line 8 the state.
fn is_ready(pid_file: &str, pid: u32) -> bool {
    let mut lines = pid_file.lines().map(str::trim);
    lines.next().is_some_and(|line| line == pid.to_string()) && lines.nth(6) == Some("ready")
}

async fn http_ready(address: SocketAddr) -> io::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /ready HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(64).read_to_end(&mut answer).await?;
    Ok(answer.starts_with(b"HTTP/1.1 200") || answer.starts_with(b"HTTP/1.0 200"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pid_file_counts_only_for_its_own_process_and_state() {
        let file = "42\n/data\n1700000000\n54322\n/run\nlocalhost\n  12345  6\nready   \n";
        assert!(is_ready(file, 42));
        assert!(!is_ready(file, 43));
        assert!(!is_ready(&file.replace("ready   ", "starting"), 42));
        assert!(!is_ready("42\n/data\n", 42));
        assert!(!is_ready("", 42));
    }
}
