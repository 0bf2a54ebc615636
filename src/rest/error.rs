//! Why PostgREST did not answer.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::EncodeLabelValue;

use crate::error::ErrorCode;
use crate::http::ApiError;

/// The label of the failure counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Failure {
    pub(super) reason: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum Reason {
    Connect,
    Broken,
    Timeout,
}

/// What kept a request from being answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum RestError {
    #[error("no PostgREST is running yet")]
    NoTarget,
    #[error("could not connect to PostgREST: {0}")]
    Connect(std::io::Error),
    #[error("the connection to PostgREST broke: {0}")]
    Broken(hyper::Error),
    #[error("PostgREST did not begin its answer in time")]
    Timeout,
    #[error("the request body is larger than rest.max_body_bytes")]
    TooLarge,
    #[error("the client ended its request body early")]
    ClientBody,
}

impl RestError {
    /// What the failure counter calls it; none when the client is to blame.
    pub(super) fn reason(&self) -> Option<Reason> {
        match self {
            Self::NoTarget | Self::Connect(_) => Some(Reason::Connect),
            Self::Broken(_) => Some(Reason::Broken),
            Self::Timeout => Some(Reason::Timeout),
            Self::TooLarge | Self::ClientBody => None,
        }
    }
}

impl From<RestError> for ApiError {
    fn from(error: RestError) -> Self {
        match error {
            RestError::NoTarget | RestError::Connect(_) | RestError::Broken(_) => Self::new(
                ErrorCode::UpstreamUnavailable,
                "PostgREST is not available right now; try again",
            )
            .with_retry_after(1)
            .with_cause(error),
            RestError::Timeout => Self::new(
                ErrorCode::RequestTimeout,
                "PostgREST did not answer in time",
            )
            .with_cause(error),
            RestError::TooLarge => Self::new(
                ErrorCode::RequestEntityTooLarge,
                "The request body is too large",
            ),
            RestError::ClientBody => {
                Self::new(ErrorCode::ValidationFailed, "The request body ended early")
            }
        }
    }
}
