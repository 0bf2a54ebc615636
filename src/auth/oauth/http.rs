//! The guarded client for outside addresses, as the OAuth crates call one.

use std::time::Duration;

use axum::http::HeaderMap;
use futures_util::future::BoxFuture;
use oauth2::{AsyncHttpClient, HttpRequest, HttpResponse};

use crate::auth::Auth;
use crate::http::{Outbound, OutboundError};

/// One answer is one call: redirects are not followed, and what is too long or too late is an error.
#[derive(Debug, Clone)]
pub(super) struct Client {
    outbound: Outbound,
    timeout: Duration,
}

impl Client {
    /// A client with the time limit of the settings.
    pub(super) fn new(auth: &Auth) -> Self {
        let seconds = auth.config().auth.external_timeout_s.max(1);
        Self {
            outbound: auth.outbound().clone(),
            timeout: Duration::from_secs(seconds.into()),
        }
    }

    /// Sends a GET and returns the body of a 200 answer.
    ///
    /// # Errors
    /// What happened, for the log.
    pub(super) async fn get(&self, url: &str, headers: HeaderMap) -> Result<Vec<u8>, String> {
        let answer = self.outbound.get(url, headers, self.timeout).await;
        let answer = answer.map_err(|error| error.to_string())?;
        if answer.status != 200 {
            return Err(format!("it answered {}", answer.status.as_u16()));
        }
        if answer.is_truncated {
            return Err("its answer is too long".to_owned());
        }
        Ok(answer.body.to_vec())
    }

    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, OutboundError> {
        let (parts, body) = request.into_parts();
        let url = parts.uri.to_string();
        let (headers, timeout) = (parts.headers, self.timeout);
        let answer = if parts.method == "POST" {
            let sent = self.outbound.post(&url, headers, body.into(), timeout);
            sent.await?
        } else {
            self.outbound.get(&url, headers, timeout).await?
        };
        if answer.is_truncated {
            let problem = "the answer is too long".to_owned();
            return Err(OutboundError::Broken(problem));
        }
        let mut response = HttpResponse::new(answer.body.to_vec());
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        Ok(response)
    }
}

impl<'c> AsyncHttpClient<'c> for Client {
    type Error = OutboundError;
    type Future = BoxFuture<'c, Result<HttpResponse, OutboundError>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}
