//! Reads on after an early answer.
//!
//! A large body that is refused before it was read would leave bytes in the socket, and closing it then resets the
//! connection: the client loses the answer that says why. So the rest is read and thrown away for a moment.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

/// Smaller bodies fit into the buffers on the way.
const FROM_BYTES: u64 = 256 * 1024;
/// No more than this is thrown away …
const MOST_BYTES: usize = 64 * 1024 * 1024;
/// … for no longer than this.
const MOST_TIME: Duration = Duration::from_secs(10);

/// The body, shared with whoever reads on when the handler has left it.
type Shared = Arc<Mutex<Incoming>>;

/// The body of a large request, to be read on after the answer.
#[derive(Debug)]
pub(super) struct Rest(Shared);

/// The request for the router and, when its body is large, the hold on it.
pub(super) fn hold(request: hyper::Request<Incoming>) -> (Request, Option<Rest>) {
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let chunked = request.headers().contains_key(header::TRANSFER_ENCODING);
    // Who waits for "100 Continue" has sent nothing.
    let waits = request.headers().contains_key(header::EXPECT);
    if waits || !(chunked || length.is_some_and(|length| length >= FROM_BYTES)) {
        return (request.map(Body::new), None);
    }
    let (parts, body) = request.into_parts();
    let shared = Arc::new(Mutex::new(body));
    let held = Body::new(Held(Arc::clone(&shared)));
    (Request::from_parts(parts, held), Some(Rest(shared)))
}

impl Rest {
    /// Whether the handler left something of it.
    pub(super) fn is_left(&self) -> bool {
        !http_body::Body::is_end_stream(&*self.0.lock().unwrap_or_else(PoisonError::into_inner))
            && Arc::strong_count(&self.0) == 1
    }

    /// Reads it and throws it away.
    pub(super) async fn drain(self) {
        let mut body = Held(self.0);
        let read = async {
            let mut bytes = 0;
            while let Some(Ok(frame)) = body.frame().await {
                bytes += frame.data_ref().map_or(0, Bytes::len);
                if bytes > MOST_BYTES {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(MOST_TIME, read).await;
    }
}

#[derive(Debug)]
struct Held(Shared);

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut body = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Pin::new(&mut *body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        let body = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let body = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        body.size_hint()
    }
}
