//! The one integration test binary; its modules mirror `src/`.

mod db;
mod embed;
mod ops;
mod postgrest;
mod reference;
mod rest;
mod schema;
mod scratch;
mod stack;
mod support;
mod tidy;
