//! The development inbox: what mails would look like, for people at `/inbox` and for tests at `/inbox/api/v1`, which
//! answers as Mailpit does.
//!
//! It holds links and codes that sign in as anybody, so it is served by `sb dev` only (or where `mail.inbox_public` says
//! so), to this machine only, and to no other web page ([`access`]). HTML mails are shown in a frame that runs no script
//! and has no origin.

mod access;
mod model;
mod page;
mod queries;
mod routes;
mod search;

pub(crate) use model::{Mail, Summary};
pub(crate) use queries::{find, list};
pub(crate) use routes::router;
pub(crate) use search::Search;
