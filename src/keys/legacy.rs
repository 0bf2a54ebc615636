//! Tokens of a project that migrates: HS256, signed with `jwt.legacy_secret`.

use jsonwebtoken::Algorithm;

use super::{Keys, KeysError, TokenError};

impl Keys {
    /// PostgREST is never told the legacy secret: a token that was signed with it is verified here and signed anew.
    /// `None` for every other token, and when no secret is configured.
    pub fn sign_legacy_anew(&self, token: &str) -> Option<Result<String, LegacyError>> {
        self.0.config.current().jwt.legacy_secret.as_ref()?;
        let header = jsonwebtoken::decode_header(token).ok()?;
        if header.alg != Algorithm::HS256 {
            return None;
        }
        Some(
            self.verify(token)
                .map_err(LegacyError::from)
                .and_then(|claims| Ok(self.sign(&claims)?)),
        )
    }
}

/// Why a legacy token was not signed anew.
#[derive(Debug, thiserror::Error)]
pub enum LegacyError {
    /// It does not verify.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// There is no key to sign with.
    #[error(transparent)]
    Keys(#[from] KeysError),
}
