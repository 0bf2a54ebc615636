//! User names: another way to say who signs in, also for accounts without an address.
//!
//! A name is 3 to 32 lower-case letters `a` to `z`, digits, dots, dashes and underscores. Nothing else: so no two names
//! look alike, none reads as an address, and none as a phone number, which has no letter.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Auth, AuthError, queries};

/// A user name in the one spelling under which it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Username(String);

impl Username {
    /// Reads a name, in upper case too.
    ///
    /// # Errors
    /// [`AuthError::Invalid`], which does not repeat the text.
    pub(super) fn parse(text: &str) -> Result<Self, AuthError> {
        let name = text.to_ascii_lowercase();
        let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
        let is_end = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = name.as_bytes();
        let fits = (3..=32).contains(&bytes.len())
            && bytes.iter().copied().all(allowed)
            && is_end(bytes.first())
            && is_end(bytes.last())
            && bytes.iter().any(u8::is_ascii_lowercase);
        if fits && Uuid::parse_str(&name).is_err() {
            Ok(Self(name))
        } else {
            Err(AuthError::Invalid(
                "A user name has 3 to 32 letters (a to z), digits, dots, dashes or underscores, at least one letter, \
                 and begins and ends with a letter or digit",
            ))
        }
    }

    /// The name.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name that somebody wants to have.
///
/// # Errors
/// [`AuthError::FeatureDisabled`] where accounts have none; [`AuthError::Invalid`].
pub(super) fn wanted(auth: &Auth, text: Option<&str>) -> Result<Option<Username>, AuthError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    if auth.config().auth.usernames_enabled {
        Username::parse(text).map(Some)
    } else {
        Err(AuthError::FeatureDisabled("User names are disabled"))
    }
}

/// What everybody may know of an account.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(super) struct Profile {
    pub(super) id: Uuid,
    pub(super) username: String,
    pub(super) created_at: Option<DateTime<Utc>>,
}

/// The account with a name, where the project lets people look.
///
/// # Errors
/// [`AuthError::UserNotFound`], in each other case too.
pub(super) async fn profile(auth: &Auth, name: &str) -> Result<Profile, AuthError> {
    let settings = &auth.config().auth;
    if !settings.usernames_enabled || !settings.profile_lookup {
        return Err(AuthError::UserNotFound);
    }
    let name = Username::parse(name).map_err(|_| AuthError::UserNotFound)?;
    let connection = auth.db().auth().connection().await?;
    let found = queries::find_profile(&connection, name.as_str()).await?;
    found.ok_or(AuthError::UserNotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_spelling() {
        for (text, name) in [
            ("ana", "ana"),
            ("Ana.B-c_9", "ana.b-c_9"),
            ("4na", "4na"),
            (
                "abcdefghijklmnopqrstuvwxyz012345",
                "abcdefghijklmnopqrstuvwxyz012345",
            ),
        ] {
            assert_eq!(Username::parse(text).unwrap().as_str(), name);
        }
    }

    #[test]
    fn what_could_be_taken_for_something_else_is_no_name() {
        for text in [
            "",
            "an",
            "abcdefghijklmnopqrstuvwxyz0123456",
            "ana@example.com",
            "4912345678",
            ".ana",
            "ana-",
            "a na",
            "ana\0",
            "аna",
            "ａna",
            "ana\u{301}",
            "ana\u{200b}",
            "ınes",
            "7d7bd1f63f054c439d670c3a9d5b1a10",
        ] {
            assert!(Username::parse(text).is_err(), "{text:?}");
        }
    }
}
