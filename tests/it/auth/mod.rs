//! The auth service over its router, against a real database.

mod accounts;
mod admin;
mod anonymous;
mod attack_table;
mod audit;
mod captcha;
mod extensions;
mod flows;
mod hooks_address;
mod hooks_sync;
mod limits;
mod logout;
mod mfa;
mod oauth;
mod oauth_server;
mod openapi;
mod password_rules;
mod phone;
mod refresh;
mod revocation;
mod sessions;
mod shapes;
mod signup;
mod support;
mod token;
mod user;
