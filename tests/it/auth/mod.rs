//! The auth service over its router, against a real database.

mod accounts;
mod admin;
mod anonymous;
mod captcha;
mod audit;
mod extensions;
mod hooks_address;
mod hooks_sync;
mod limits;
mod logout;
mod password_rules;
mod phone;
mod mfa;
mod oauth;
mod refresh;
mod revocation;
mod sessions;
mod shapes;
mod signup;
mod support;
mod token;
mod user;
