//! HTTP machinery every feature shares: errors, extractors, middleware, the server itself.

pub mod authenticate;
mod cors;
pub mod error;
pub mod extract;
mod linger;
pub mod middleware;
pub mod outbound;
pub mod server;
pub mod signature;

pub use authenticate::{Authenticate, Authenticator};
pub use error::ApiError;
pub use extract::{ClientIp, Form, Json, Path, Query};
pub use outbound::{Outbound, OutboundError};
