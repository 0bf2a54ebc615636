//! The integration tests: one binary, one folder per feature.

mod auth;
