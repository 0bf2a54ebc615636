//! Bodies on their way through: counted upwards, and downwards bound to the connection they come from.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;

use super::pool::{Channel, Upstream};

/// A request body on its way to PostgREST.
pub(super) struct Upload {
    inner: Body,
    meter: Option<Arc<Meter>>,
}

/// What is known of an upload while it runs.
#[derive(Debug, Default)]
pub(super) struct Meter {
    limit: u64,
    sent: AtomicU64,
    exceeded: AtomicBool,
    broken: AtomicBool,
}

impl Meter {
    /// Bytes passed on so far.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Whether it was larger than allowed.
    pub(super) fn exceeded(&self) -> bool {
        self.exceeded.load(Ordering::Relaxed)
    }

    /// Whether the client broke off.
    pub(super) fn broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }
}

impl Upload {
    /// Passes `inner` on, at most `limit` bytes of it.
    pub(super) fn new(inner: Body, limit: u64) -> Self {
        let meter = (!inner.is_end_stream()).then(|| {
            Arc::new(Meter {
                limit,
                ..Meter::default()
            })
        });
        Self { inner, meter }
    }

    /// None for an empty body.
    pub(super) fn meter(&self) -> Option<Arc<Meter>> {
        self.meter.clone()
    }
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.inner).poll_frame(cx));
        let Some(meter) = &self.meter else {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        };
        Poll::Ready(match frame {
            None => None,
            Some(Err(error)) => {
                meter.broken.store(true, Ordering::Relaxed);
                Some(Err(error.into()))
            }
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                if meter.sent.fetch_add(length, Ordering::Relaxed) + length > meter.limit {
                    meter.exceeded.store(true, Ordering::Relaxed);
                    return Poll::Ready(Some(Err("the body is too large".into())));
                }
                Some(Ok(frame))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// An answer's body. It drives its connection while it is read, gives it back at its end, and closes it when it
/// is dropped earlier. An error (PostgREST died) passes on and breaks the client's connection: no answer is cut
/// short in silence.
pub(super) struct Download {
    incoming: Incoming,
    source: Option<(Box<Channel>, Arc<Upstream>)>,
}

impl Download {
    pub(super) fn new(incoming: Incoming, channel: Box<Channel>, upstream: Arc<Upstream>) -> Self {
        let mut download = Self {
            incoming,
            source: Some((channel, upstream)),
        };
        download.release_at_end();
        download
    }

    fn release_at_end(&mut self) {
        if self.incoming.is_end_stream() {
            self.release();
        }
    }

    fn release(&mut self) {
        if let Some((channel, upstream)) = self.source.take() {
            upstream.put(channel);
        }
    }
}

impl http_body::Body for Download {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Self { incoming, source } = &mut *self;
        let frame = match source {
            Some((channel, _)) => {
                channel.poll_with(cx, |cx| Pin::new(&mut *incoming).poll_frame(cx))
            }
            None => Pin::new(incoming).poll_frame(cx),
        };
        let frame = std::task::ready!(frame);
        match &frame {
            Some(Ok(_)) => self.release_at_end(),
            Some(Err(_)) => self.source = None,
            None => self.release(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    /// Unknown on purpose: the length an answer states is the one PostgREST stated, or none.
    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

impl Drop for Download {
    /// The server stops reading once a stated length is reached, so this too can be a proper end.
    fn drop(&mut self) {
        self.release_at_end();
    }
}
