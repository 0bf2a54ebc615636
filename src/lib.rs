//! `sb` turns a Postgres database into a complete backend.
//!
//! Read in this order: [`app`] builds every part from a [`Config`]; `router` mounts them; a feature's `mod.rs`
//! tells its story; [`db`] is the one way to Postgres. `docs/ARCHITECTURE.md` has the map and the invariants.

pub mod clock;
pub mod config;
pub mod db;
pub mod error;
pub mod http;
pub mod identity;
pub mod lifecycle;
pub mod net;
pub mod rest;
pub mod telemetry;

pub use config::Config;
pub use error::ErrorCode;
pub use http::ApiError;
pub use identity::Caller;
