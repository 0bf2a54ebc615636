//! `sb` turns a Postgres database into a complete backend.
//!
//! Read in this order: [`app`] builds every part from a [`Config`]; `router` mounts them; a feature's `mod.rs`
//! tells its story; [`db`] is the one way to Postgres. `docs/ARCHITECTURE.md` has the map and the invariants.

pub mod app;
pub mod auth;
mod cli;
pub mod clock;
pub mod config;
pub mod db;
pub mod error;
pub mod hooks;
pub mod http;
pub mod identity;
pub mod jobs;
pub mod keys;
pub mod lifecycle;
pub mod mail;
pub mod net;
mod ops;
pub mod rest;
mod router;
pub mod stack;
pub mod telemetry;

pub use app::{App, Command, CommandResult, Context, Running, StartError};
pub use config::Config;
pub use db::{Db, Tx};
pub use error::ErrorCode;
pub use http::ApiError;
pub use identity::Caller;
pub use jobs::{Job, JobContext, JobError, JobResult};
