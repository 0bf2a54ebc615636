//! The auth service over its router, against a real database.

mod admin;
mod extensions;
mod limits;
mod logout;
mod oauth;
mod openapi;
mod refresh;
mod shapes;
mod signup;
mod support;
mod token;
mod user;
