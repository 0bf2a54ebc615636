//! The integration tests: one binary, a module per area.

mod keys;
mod migrate;
mod scratch;
