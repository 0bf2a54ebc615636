//! The integration tests: one binary, one folder per feature.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed, in its helpers too"
)]
#![expect(
    clippy::needless_pass_by_value,
    reason = "a JSON literal reads better without a borrow"
)]

mod auth;
