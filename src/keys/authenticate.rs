//! From credentials to a caller. A user's bearer token wins over the API key that comes with it.

use super::{Keys, TokenError};
use crate::error::ErrorCode;
use crate::http::ApiError;
use crate::http::authenticate::Credentials;
use crate::identity::Caller;

/// How opaque API keys begin.
pub(super) const PUBLISHABLE_PREFIX: &str = "sb_publishable_";
pub(super) const SECRET_PREFIX: &str = "sb_secret_";

impl Keys {
    /// Who presents these credentials.
    ///
    /// A bearer is a token or an opaque API key; without one the `apikey` header decides, in either form; without
    /// both the caller is `anon`.
    ///
    /// # Errors
    /// `bad_jwt` (403) for a bearer token that does not verify; `invalid_api_key` (401) for an API key that is not in
    /// force, or when `rest.require_apikey` is set and there is none.
    pub fn authenticate(&self, credentials: Credentials<'_>) -> Result<Caller, ApiError> {
        let caller = match (credentials.bearer, credentials.api_key) {
            (Some(bearer), _) if is_opaque(bearer) => self.opaque_caller(bearer)?,
            (Some(token), _) => self.caller(token)?,
            (None, Some(key)) => return self.api_key_caller(key),
            (None, None) => Caller::anon(),
        };
        if self.0.config.current().rest.require_apikey {
            self.require_api_key(credentials, &caller)?;
        }
        Ok(caller)
    }

    fn api_key_caller(&self, key: &str) -> Result<Caller, ApiError> {
        if is_opaque(key) {
            return self.opaque_caller(key);
        }
        match self.caller(key) {
            Ok(caller) => Ok(caller),
            Err(TokenError::Expired) => Err(invalid_api_key("The API key has expired")),
            Err(_) => Err(invalid_api_key("Invalid API key")),
        }
    }

    fn opaque_caller(&self, key: &str) -> Result<Caller, ApiError> {
        match self.api_key_role(key) {
            Some(role) => Ok(Caller::with_role(&role)),
            None => Err(invalid_api_key("Invalid API key")),
        }
    }

    /// A bearer that is itself an API key counts as one; a user's token does not.
    fn require_api_key(
        &self,
        credentials: Credentials<'_>,
        caller: &Caller,
    ) -> Result<(), ApiError> {
        match credentials.api_key {
            Some(key) => self.api_key_caller(key).map(drop),
            None if credentials.bearer.is_some() && caller.claim("sub").is_none() => Ok(()),
            None => Err(invalid_api_key("No API key found in request")),
        }
    }
}

/// Whether `key` has the form of an opaque API key.
pub(crate) fn is_opaque(key: &str) -> bool {
    key.starts_with(PUBLISHABLE_PREFIX) || key.starts_with(SECRET_PREFIX)
}

fn invalid_api_key(message: &str) -> ApiError {
    let hint =
        "Send a key of this project in the apikey header; `sb status` prints them in development";
    ApiError::new(ErrorCode::InvalidApiKey, message).with_hint(hint)
}
