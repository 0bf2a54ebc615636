//! Connections to PostgREST, kept alive between requests.
//!
//! Nothing runs in the background: a connection is driven by whoever holds it, so a request and its upstream
//! connection wake as one task, and dropping the request closes the connection, which tells PostgREST to stop.

use std::future::Future as _;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;

use super::body::Upload;
use super::target::{Stream, Target};

/// Idle connections kept; more are closed.
const MAX_IDLE: usize = 64;
/// PostgREST closes a connection that is idle for 30 s; one this old is not used again, lest both happen at once.
const MAX_IDLE_TIME: Duration = Duration::from_secs(15);

/// A target and the connections to it.
pub(super) struct Upstream {
    target: Target,
    idle: Mutex<Vec<(Box<Channel>, Instant)>>,
}

impl Upstream {
    pub(super) fn shared(target: Target) -> Arc<Self> {
        Arc::new(Self {
            target,
            idle: Mutex::default(),
        })
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// An idle connection that is still alive.
    pub(super) fn idle(&self) -> Option<Box<Channel>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((mut channel, since)) = idle.pop() {
            if since.elapsed() > MAX_IDLE_TIME {
                // The newest is the last: all others are older.
                idle.clear();
            } else if channel.is_idle() {
                return Some(channel);
            }
        }
        None
    }

    /// A new connection.
    pub(super) async fn connect(&self) -> io::Result<Box<Channel>> {
        let stream = TokioIo::new(self.target.connect().await?);
        let (sender, connection) = http1::handshake(stream).await.map_err(io::Error::other)?;
        Ok(Box::new(Channel {
            sender,
            connection: Some(connection),
        }))
    }

    /// Takes a connection back whose exchange has ended.
    pub(super) fn put(&self, mut channel: Box<Channel>) {
        if !channel.is_idle() {
            return;
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE {
            idle.push((channel, Instant::now()));
        }
    }
}

/// One connection, which lives only while it is polled.
pub(super) struct Channel {
    sender: SendRequest<Upload>,
    connection: Driven,
}

type Driven = Option<Connection<TokioIo<Box<dyn Stream>>, Upload>>;

impl Channel {
    /// Sends `request` and waits for the answer's head.
    ///
    /// # Errors
    /// Carries the request when none of it was sent.
    pub(super) async fn send(
        &mut self,
        request: Request<Upload>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Upload>>> {
        let mut answer = pin!(self.sender.try_send_request(request));
        let connection = &mut self.connection;
        std::future::poll_fn(|cx| {
            drive(connection, cx);
            answer.as_mut().poll(&mut follower(connection, cx))
        })
        .await
    }

    /// Polls `work`, which this connection feeds, driving the connection as far as needed.
    pub(super) fn poll_with<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut work: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        if let Poll::Ready(done) = work(&mut follower(&self.connection, cx)) {
            return Poll::Ready(done);
        }
        drive(&mut self.connection, cx);
        work(&mut follower(&self.connection, cx))
    }

    /// Whether it can take another request.
    fn is_idle(&mut self) -> bool {
        drive(
            &mut self.connection,
            &mut Context::from_waker(Waker::noop()),
        );
        self.connection.is_some() && self.sender.is_ready()
    }
}

/// Lets the connection read and write. One that has ended is dropped, which fails whoever still waits for it.
fn drive(connection: &mut Driven, cx: &mut Context<'_>) {
    if let Some(running) = connection
        && Pin::new(running).poll(cx).is_ready()
    {
        *connection = None;
    }
}

/// The context for what the connection feeds: while it runs, only driving it can bring news, and the task is
/// woken for that already; a second waker would only wake the task twice.
fn follower<'a>(connection: &Driven, cx: &Context<'a>) -> Context<'a> {
    Context::from_waker(if connection.is_some() {
        Waker::noop()
    } else {
        cx.waker()
    })
}
