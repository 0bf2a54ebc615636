//! Signing in with identity providers: OpenID Connect and plain OAuth 2.
//!
//! `start` sends the browser to the provider, `callback` takes it back; `client` exchanges the code, `id_token` or
//! `profile` finds out who came, `account` finds, joins or makes the account by the rules of `policy`, and the flow ends as
//! every flow ends. `grant` begins in the middle, with an ID token.
//!
//! What holds:
//! - An answer is good once, for five minutes, in the browser the sign-in began in, from the provider it began with.
//! - Towards the provider there is always PKCE and, with OpenID Connect, a nonce; neither leaves the server.
//! - Which issuer, keys, audiences and algorithms are believed follows from the settings and the provider's discovery
//!   document, never from a token.
//! - An identity is provider and subject. Its address joins accounts only if the provider vouches for it, and then no way
//!   in is left that was there before somebody had proven the address.
//! - Nothing of the provider's tokens is kept once they were passed on.

mod account;
mod callback;
mod client;
mod discovery;
mod grant;
mod http;
mod id_token;
mod identities;
mod issuer;
mod once;
mod page;
mod pending;
mod policy;
mod profile;
mod provider;
mod routes;
mod start;

use crate::config::Config;
use crate::config::external::PRESETS;

pub(super) use grant::{IdTokenGrant, sign_in as sign_in_with_id_token};
pub(super) use pending::PendingIdentity;
pub(super) use routes::routes;

/// Every provider that is known or set up, and whether users can sign in with it.
pub(super) fn providers(config: &Config) -> impl Iterator<Item = (&str, bool)> {
    let set_up = config
        .external
        .iter()
        .map(|external| (external.name.as_str(), external.enabled));
    PRESETS.into_iter().map(|name| (name, false)).chain(set_up)
}

/// What the service remembers of providers.
#[derive(Debug, Default)]
pub(super) struct OAuth {
    discovery: discovery::Discovery,
}

impl OAuth {
    fn discovery(&self) -> &discovery::Discovery {
        &self.discovery
    }
}
