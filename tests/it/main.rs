//! The one integration test binary; its modules mirror `src/`.

mod auth;
mod cli;
mod db;
mod embed;
mod keys;
mod migrate;
mod ops;
mod reference;
mod rest;
mod schema;
mod scratch;
mod stack;
mod support;
mod tidy;
