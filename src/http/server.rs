//! Accepts connections, serves them, and lets requests in flight finish at shutdown.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tower::Service as _;

use super::linger;
use crate::lifecycle::Lifecycle;

/// A client must have sent its request head by then; an idle connection is closed then too.
const HEAD_TIMEOUT: Duration = Duration::from_mins(1);
/// Larger heads are answered 431.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// The TCP peer, a request extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// Serves `router` on `listener` until `lifecycle` stops. Open connections live on as its tasks.
pub async fn serve(listener: TcpListener, router: Router, lifecycle: &Lifecycle) {
    let stopping = lifecycle.stopping();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopping.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                lifecycle.spawn(connection(stream, peer, router.clone(), lifecycle.clone()));
            }
            Err(error) => {
                // Out of file descriptors, usually: accepting again at once would only spin.
                tracing::error!(error = %error, "could not accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, router: Router, lifecycle: Lifecycle) {
    // Without it every small answer waits for the client's delayed acknowledgement (40 ms).
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(error = %error, "could not set TCP_NODELAY");
    }
    let tasks = lifecycle.clone();
    let service =
        hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let (mut request, rest) = linger::hold(request);
            let rest = rest.map(|rest| (rest, tasks.clone()));
            request.extensions_mut().insert(Peer(peer));
            let last = request.headers().contains_key(header::TRANSFER_ENCODING);
            let answer = router.clone().call(request);
            async move {
                let mut answer = answer.await?;
                if last {
                    close_after(&mut answer);
                }
                if let Some((rest, lifecycle)) = rest
                    && rest.is_left()
                {
                    lifecycle.spawn(rest.drain());
                }
                Ok::<_, std::convert::Infallible>(answer)
            }
        });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES);
    let served = builder
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut served = std::pin::pin!(served);
    let result = tokio::select! {
        result = served.as_mut() => result,
        () = lifecycle.stopping().cancelled_owned() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(error = %error, "a connection ended early");
    }
}

/// hyper follows `Transfer-Encoding` and hides a `Content-Length` beside it. A proxy in front that follows the
/// length instead would take the rest of the body for the next request; so there is no next request.
fn close_after(answer: &mut Response) {
    let close = HeaderValue::from_static("close");
    answer.headers_mut().insert(header::CONNECTION, close);
}
