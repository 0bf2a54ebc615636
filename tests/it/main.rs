//! The one integration test binary; its modules mirror `src/`.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed, in its helpers too"
)]
#![expect(
    clippy::needless_pass_by_value,
    reason = "a JSON literal reads better without a borrow"
)]

mod auth;
mod cli;
mod db;
mod embed;
mod hooks;
mod jobs;
mod keys;
mod mail;
mod migrate;
mod ops;
mod passwords;
mod postgrest;
mod reference;
mod rest;
mod schema;
mod scratch;
mod secrets;
mod stack;
mod support;
mod tidy;
