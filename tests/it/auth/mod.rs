//! The auth service over its router, against a real database.

mod accounts;
mod admin;
mod attack_table;
mod audit;
mod extensions;
mod flows;
mod limits;
mod logout;
mod mfa;
mod oauth;
mod openapi;
mod refresh;
mod revocation;
mod sessions;
mod shapes;
mod signup;
mod support;
mod token;
mod user;
