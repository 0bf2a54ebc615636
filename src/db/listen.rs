//! One LISTEN connection for the whole process, fanned out to whoever subscribed.
//!
//! Postgres drops notifications while nobody listens, so every reconnect is itself a notice
//! ([`Notice::Reconnected`]): subscribers then read again what the notifications would have told them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{broadcast, mpsc};
use tokio_postgres::AsyncMessage;

use super::{DbError, Target, quote_identifier};
use crate::lifecycle::Lifecycle;

/// What a subscriber is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A notification's payload.
    Payload(Arc<str>),
    /// The connection is (back) up; notifications before this may have been missed.
    Reconnected,
}

/// Handle on the listening connection. Clones share it.
#[derive(Debug, Clone)]
pub struct Listener {
    channels: Arc<Mutex<HashMap<String, broadcast::Sender<Notice>>>>,
    wanted: mpsc::UnboundedSender<String>,
}

impl Listener {
    /// Starts listening as `target`; it reconnects for as long as `lifecycle` runs.
    pub fn start(target: Target, lifecycle: &Lifecycle) -> Self {
        let (wanted, requests) = mpsc::unbounded_channel();
        let listener = Self {
            channels: Arc::default(),
            wanted,
        };
        let stopping = lifecycle.stopping();
        let channels = Arc::clone(&listener.channels);
        lifecycle.spawn(async move {
            stopping
                .run_until_cancelled(run(target, channels, requests))
                .await;
        });
        listener
    }

    /// Notices of `channel` from now on. The first one is [`Notice::Reconnected`] once listening has begun.
    /// A subscriber that falls far behind gets `Lagged`, which it treats like a reconnect.
    pub fn subscribe(&self, channel: &str) -> broadcast::Receiver<Notice> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = channels
            .entry(channel.to_owned())
            .or_insert_with(|| broadcast::channel(256).0);
        let receiver = sender.subscribe();
        let _ = self.wanted.send(channel.to_owned());
        receiver
    }
}

type Channels = Arc<Mutex<HashMap<String, broadcast::Sender<Notice>>>>;

async fn run(target: Target, channels: Channels, mut requests: mpsc::UnboundedReceiver<String>) {
    let mut delay = Duration::from_millis(100);
    loop {
        match listen(&target, &channels, &mut requests, &mut delay).await {
            Ok(()) => return,
            Err(error) => {
                tracing::warn!(error = %error, retry_ms = delay.as_millis(), "the listening connection was lost");
            }
        }
        tokio::time::sleep(delay).await;
        delay = (delay * 2).min(Duration::from_secs(10));
    }
}

/// Listens until the connection is lost (an error) or every handle is gone.
async fn listen(
    target: &Target,
    channels: &Channels,
    requests: &mut mpsc::UnboundedReceiver<String>,
    delay: &mut Duration,
) -> Result<(), DbError> {
    let mut config = target.config.clone();
    config
        .application_name("sb listener")
        .keepalives_idle(Duration::from_secs(30));
    let (client, mut connection) = target
        .open(&config)
        .await
        .map_err(|error| DbError::Unreachable(error.to_string()))?;
    let mut messages = futures_util::stream::poll_fn(move |cx| connection.poll_message(cx));
    let mut listening: Vec<String> = Vec::new();
    let mut pending: Vec<String> = channels
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .keys()
        .cloned()
        .collect();
    loop {
        if let Some(channel) = pending.pop() {
            if !listening.contains(&channel) {
                let sql = format!("listen {}", quote_identifier(&channel));
                let command = client.batch_execute(&sql);
                drive(&mut messages, channels, command).await?;
                listening.push(channel.clone());
                *delay = Duration::from_millis(100);
            }
            publish(channels, &channel, Notice::Reconnected);
            continue;
        }
        tokio::select! {
            channel = requests.recv() => match channel {
                Some(channel) => pending.push(channel),
                None => return Ok(()),
            },
            message = futures_util::StreamExt::next(&mut messages) => handle(channels, message)?,
        }
    }
}

/// Runs `command` while serving the connection it depends on.
async fn drive(
    messages: &mut (
             impl futures_util::Stream<Item = Result<AsyncMessage, tokio_postgres::Error>> + Unpin
         ),
    channels: &Channels,
    command: impl Future<Output = Result<(), tokio_postgres::Error>>,
) -> Result<(), DbError> {
    let mut command = std::pin::pin!(command);
    loop {
        tokio::select! {
            result = &mut command => return Ok(result?),
            message = futures_util::StreamExt::next(messages) => handle(channels, message)?,
        }
    }
}

fn handle(
    channels: &Channels,
    message: Option<Result<AsyncMessage, tokio_postgres::Error>>,
) -> Result<(), DbError> {
    match message {
        None => Err(DbError::Unreachable("the connection was closed".to_owned())),
        Some(Err(error)) => Err(error.into()),
        Some(Ok(AsyncMessage::Notification(notification))) => {
            publish(
                channels,
                notification.channel(),
                Notice::Payload(notification.payload().into()),
            );
            Ok(())
        }
        Some(Ok(_)) => Ok(()),
    }
}

fn publish(channels: &Channels, channel: &str, notice: Notice) {
    if let Some(sender) = channels
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(channel)
    {
        let _ = sender.send(notice);
    }
}
