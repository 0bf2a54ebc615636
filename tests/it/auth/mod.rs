//! The auth service over its router, against a real database.

mod admin;
mod extensions;
mod limits;
mod logout;
mod mfa;
mod oauth;
mod refresh;
mod shapes;
mod signup;
mod support;
mod token;
mod user;
