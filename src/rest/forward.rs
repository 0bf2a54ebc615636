//! One request, there and back.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::Response;
use hyper::body::{Body as _, Incoming};

use super::body::{Download, Meter, Upload};
use super::error::{Failure, RestError};
use super::headers::{self, Via};
use super::pool::{Channel, Upstream};
use super::{Rest, credentials, missing_table, path, patience};
use crate::http::middleware::RequestId;
use crate::http::{ApiError, ClientIp};

/// Passes a request on to PostgREST and its answer back, both as streams.
pub(super) async fn forward(
    State(rest): State<Rest>,
    client: ClientIp,
    request: Request,
) -> Result<Response, ApiError> {
    let upstream = rest.upstream();
    let prepared = prepare(&rest, upstream.as_deref(), client, request)?;
    let ours = upstream
        .as_ref()
        .filter(|upstream| upstream.target().is_ours());
    let table = ours.and_then(|_| missing_table::table(prepared.uri()));
    let sent = match upstream {
        Some(upstream) => patiently(&rest, &upstream, prepared).await,
        None => Err(RestError::NoTarget),
    };
    let response = sent.map_err(|error| {
        if let Some(reason) = error.reason() {
            rest.0.failures.get_or_create(&Failure { reason }).inc();
        }
        ApiError::from(error)
    })?;
    match table {
        Some(table) if response.status() == StatusCode::NOT_FOUND => {
            Ok(missing_table::retell(response, &table).await)
        }
        _ => Ok(response),
    }
}

/// The request as PostgREST is to see it. Bad requests are refused even while there is no PostgREST.
fn prepare(
    rest: &Rest,
    upstream: Option<&Upstream>,
    ClientIp(client): ClientIp,
    request: Request,
) -> Result<axum::http::Request<Upload>, ApiError> {
    let (mut parts, body) = request.into_parts();
    let base = upstream.map_or("", |upstream| upstream.target().base());
    let path::Forwarded { uri, query_key } = path::forwarded(&parts.uri, base)?;
    let settings = rest.0.config.current();
    let require_key = settings.rest.require_apikey;
    let exchange = &rest.0.exchange;
    credentials::apply(
        &mut parts.headers,
        query_key.as_deref(),
        require_key,
        exchange,
    )?;
    let stated = parts.headers.get(header::CONTENT_LENGTH);
    let stated = stated.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if stated.is_some_and(|length| length > rest.0.max_body_bytes) {
        return Err(RestError::TooLarge.into());
    }
    if let Some(upstream) = upstream {
        let via = Via {
            authority: upstream.target().authority(),
            client,
            request_id: parts.extensions.get::<RequestId>().map(|id| id.0.as_str()),
            https: settings
                .server
                .api_url
                .as_deref()
                .is_some_and(|url| url.starts_with("https:")),
        };
        headers::to_upstream(&mut parts.headers, &via);
    }
    let mut request = axum::http::Request::new(Upload::new(body, rest.0.max_body_bytes));
    *request.method_mut() = parts.method;
    *request.uri_mut() = uri;
    *request.headers_mut() = parts.headers;
    Ok(request)
}

/// Asks again while the PostgREST that we run has no database, or has just died; only what may safely arrive twice.
async fn patiently(
    rest: &Rest,
    upstream: &Arc<Upstream>,
    mut request: axum::http::Request<Upload>,
) -> Result<Response, RestError> {
    if upstream.target().is_ours() {
        for pause in patience::pauses() {
            let Some(again) = repeatable(&request) else {
                break;
            };
            match exchange(rest, upstream, request).await {
                Err(RestError::Broken(_)) => {}
                Err(error) => return Err(error),
                Ok(answer) => {
                    if let Some(answer) = patience::done(answer).await {
                        return Ok(answer);
                    }
                }
            }
            tokio::time::sleep(pause).await;
            request = again;
        }
    }
    exchange(rest, upstream, request).await
}

async fn exchange(
    rest: &Rest,
    upstream: &Arc<Upstream>,
    request: axum::http::Request<Upload>,
) -> Result<Response, RestError> {
    let meter = request.body().meter();
    let answered = send(upstream, request);
    let answered = tokio::select! {
        biased;
        answered = answered => answered,
        () = silence(rest.0.timeout, meter.as_deref()) => Err(RestError::Timeout),
    };
    let (answer, channel) = answered.map_err(|error| match &meter {
        Some(meter) if meter.exceeded() => RestError::TooLarge,
        Some(meter) if meter.broken() => RestError::ClientBody,
        _ => error,
    })?;
    let (mut parts, incoming) = answer.into_parts();
    headers::to_client(&mut parts.headers);
    parts.version = axum::http::Version::HTTP_11;
    let body = Download::new(incoming, channel, Arc::clone(upstream));
    Ok(Response::from_parts(parts, Body::new(body)))
}

/// Sends over an idle connection, or a new one. PostgREST may close an idle connection at the moment it is used again:
/// then a request of which nothing was sent is tried again, and so is one that may safely arrive twice.
async fn send(
    upstream: &Upstream,
    mut request: axum::http::Request<Upload>,
) -> Result<(axum::http::Response<Incoming>, Box<Channel>), RestError> {
    while let Some(mut channel) = upstream.idle() {
        let copy = repeatable(&request);
        match channel.send(request).await {
            Ok(answer) => return Ok((answer, channel)),
            Err(mut error) => match error.take_message().or(copy) {
                Some(unanswered) => request = unanswered,
                None => return Err(RestError::Broken(error.into_error())),
            },
        }
    }
    let mut channel = connect(upstream).await.map_err(RestError::Connect)?;
    match channel.send(request).await {
        Ok(answer) => Ok((answer, channel)),
        Err(error) => Err(RestError::Broken(error.into_error())),
    }
}

/// A new connection; to the PostgREST that we run also if it is only being started again.
async fn connect(upstream: &Upstream) -> std::io::Result<Box<Channel>> {
    if upstream.target().is_ours() {
        for pause in patience::pauses() {
            if let Ok(channel) = upstream.connect().await {
                return Ok(channel);
            }
            tokio::time::sleep(pause).await;
        }
    }
    upstream.connect().await
}

/// A copy of a request that changes nothing and has no body (RFC 9110, section 9.2.2).
fn repeatable(request: &axum::http::Request<Upload>) -> Option<axum::http::Request<Upload>> {
    if !request.method().is_safe() || !request.body().is_end_stream() {
        return None;
    }
    let mut copy = axum::http::Request::new(Upload::new(Body::empty(), 0));
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    copy.headers_mut().clone_from(request.headers());
    Some(copy)
}

/// Ends when PostgREST has been silent for too long; an upload that moves on is no silence.
async fn silence(timeout: std::time::Duration, meter: Option<&Meter>) {
    let mut sent = 0;
    loop {
        tokio::time::sleep(timeout).await;
        match meter {
            Some(meter) if meter.sent() > sent => sent = meter.sent(),
            _ => return,
        }
    }
}
