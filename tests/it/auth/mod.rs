//! The auth service over its router, against a real database.

mod admin;
mod attack_table;
mod extensions;
mod limits;
mod logout;
mod mfa;
mod oauth;
mod openapi;
mod refresh;
mod shapes;
mod signup;
mod support;
mod token;
mod user;
