//! `sb` as identity provider: other services sign people in through it (OAuth 2.1, OpenID Connect), and services of the
//! project are shown short-lived tokens made for them alone.
//!
//! A **client** is a registered service. It sends a browser to `/oauth/authorize`, which stores an **authorization** and
//! leads to a page that asks the user for **consent**; the browser returns with a code, and the client exchanges that for
//! tokens of a **session** of its own.
//!
//! What holds:
//! - Nothing is redirected to an address that is not registered for the client, character by character; only the port of
//!   a loopback address is free.
//! - Every authorization has an S256 challenge; a code is good once, for five minutes, for its client and verifier. When
//!   it comes again, the session it gave is ended.
//! - A refresh token of a client is good at `/oauth/token`, shown by that client, and nowhere else; one of a user's own
//!   session is not good there.
//! - A token of a client reads `/oauth/userinfo`, within its scopes, and the project's data, as row level security lets
//!   it (`auth.jwt() ->> 'client_id'`). The account itself is out of its reach.
//! - Secrets and codes are stored as hashes.
//! - No cookie takes part, so no other site can make a browser consent.

mod authorize;
mod bearer;
mod client;
mod client_auth;
mod consent;
mod discovery;
mod error;
mod grant;
mod id_token;
mod page;
mod parameters;
mod redirect_uri;
mod routes;
mod scope;
mod service_token;
mod tokens;

pub use routes::discovery_router;
pub(super) use routes::routes;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Base64url text of the SHA-256 of `text`: how secrets and codes are stored, and what an S256 challenge is.
fn sha256_text(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, text.as_bytes()))
}

/// Whether two hashes are the same, in a time that tells nothing of how much of them is.
fn is_same(one: &str, other: &str) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(one.as_bytes(), other.as_bytes()).is_ok()
}
