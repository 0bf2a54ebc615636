//! Rules for new passwords: how long, of which characters, how hard to guess, and not among those that have leaked.
//!
//! At a sign-in the same rules are looked at, and what they say is told with the session: a rule that is new must not
//! keep anybody out.

use std::time::Duration;

use aws_lc_rs::digest;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::{Map, Value};

use super::password::MAX_BYTES;
use super::{Auth, AuthError};
use crate::config;
use crate::error::ErrorCode;

/// The service for leaked passwords has this long.
const LEAK_TIMEOUT: Duration = Duration::from_secs(1);

/// Of longer passwords the strength of the beginning counts: measuring takes longer than in proportion.
const MAX_MEASURED_CHARS: usize = 72;

/// What is wrong with a password.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct WeakPassword {
    /// A sentence for each reason.
    pub message: String,
    /// `length`, `characters` and `pwned`: that it has leaked, or is as easy to guess.
    pub reasons: Vec<&'static str>,
}

impl WeakPassword {
    fn of(problems: Vec<(&'static str, String)>) -> Option<Self> {
        let (mut reasons, messages): (Vec<_>, Vec<_>) = problems.into_iter().unzip();
        reasons.dedup();
        (!reasons.is_empty()).then(|| Self {
            message: messages.join(" "),
            reasons,
        })
    }
}

/// Checks a new password. `known` is what others know of the user: address, name.
///
/// # Errors
/// [`AuthError::WeakPassword`]; [`AuthError::Invalid`] when it is too long; [`AuthError::PasswordQueueFull`];
/// [`AuthError::Refused`] when it cannot be told whether it has leaked, and must be.
pub(super) async fn check(auth: &Auth, password: &str, known: &[&str]) -> Result<(), AuthError> {
    check_length(password)?;
    match weakness(auth, password, known).await? {
        None => Ok(()),
        Some(weak) => Err(AuthError::WeakPassword(weak)),
    }
}

/// What the rules say of a password that is in use.
pub(super) async fn look_at(auth: &Auth, password: &str, known: &[&str]) -> Option<WeakPassword> {
    match weakness(auth, password, known).await {
        Ok(weak) => weak,
        Err(error) => {
            tracing::warn!(error = %error, "could not look at the strength of a password");
            None
        }
    }
}

/// The name a user goes by, if it has told one.
pub(super) fn name_in(metadata: &Map<String, Value>) -> &str {
    let names = ["full_name", "name"].into_iter();
    let mut names = names.filter_map(|name| metadata.get(name)?.as_str());
    names.next().unwrap_or_default()
}

fn check_length(password: &str) -> Result<(), AuthError> {
    if password.len() > MAX_BYTES {
        let message = "Password cannot be longer than 1024 bytes";
        return Err(AuthError::Invalid(message));
    }
    Ok(())
}

async fn weakness(
    auth: &Auth,
    password: &str,
    known: &[&str],
) -> Result<Option<WeakPassword>, AuthError> {
    let config = auth.config();
    let settings = &config.auth;
    let mut problems = problems(password, settings);
    let is_guessable = settings.password_min_strength > 0
        && auth.passwords().strength(password, known).await? < settings.password_min_strength;
    if is_guessable {
        let message = "Password is too easy to guess, please choose a different one.";
        problems.push(("pwned", message.to_owned()));
    }
    if settings.password_hibp_enabled && has_leaked(auth, password, settings).await? {
        let message =
            "Password is known to be weak and easy to guess, please choose a different one.";
        problems.push(("pwned", message.to_owned()));
    }
    Ok(WeakPassword::of(problems))
}

fn problems(password: &str, settings: &config::Auth) -> Vec<(&'static str, String)> {
    let mut problems = Vec::new();
    let min_length = settings.password_min_length;
    if password.chars().count() < min_length {
        let message = format!("Password should be at least {min_length} characters.");
        problems.push(("length", message));
    }
    let sets = character_sets(&settings.password_required_characters);
    let lacks = |set: &String| !password.contains(|c| set.contains(c));
    if sets.iter().any(lacks) {
        let sets = sets.join(", ");
        let message = format!("Password should contain at least one character of each: {sets}.");
        problems.push(("characters", message));
    }
    problems
}

/// The sets that a setting names, each as text of its characters.
fn character_sets(setting: &str) -> Vec<String> {
    const LOWER: &str = "abcdefghijklmnopqrstuvwxyz";
    const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    const DIGITS: &str = "0123456789";
    const SYMBOLS: &str = "!@#$%^&*()_+-=[]{};'\\:\"|<>?,./`~";
    let owned = |sets: &[&str]| sets.iter().map(|set| (*set).to_owned()).collect();
    match setting {
        "letters_digits" => vec![format!("{LOWER}{UPPER}"), DIGITS.to_owned()],
        "lower_upper_letters_digits" => owned(&[LOWER, UPPER, DIGITS]),
        "lower_upper_letters_digits_symbols" => owned(&[LOWER, UPPER, DIGITS, SYMBOLS]),
        sets => split(sets),
    }
}

/// Sets are separated by colons; a colon after a backslash belongs to its set.
fn split(text: &str) -> Vec<String> {
    let mut sets = vec![String::new()];
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("\\:") {
            sets.last_mut().expect("there is one").push(':');
            rest = after;
            continue;
        }
        if c == ':' {
            sets.push(String::new());
        } else {
            sets.last_mut().expect("there is one").push(c);
        }
        rest = &rest[c.len_utf8()..];
    }
    sets.retain(|set| !set.is_empty());
    sets
}

/// From 0 to 4, of the beginning of a password.
pub(super) fn measure(password: &str, known: &[String]) -> u32 {
    let start: String = password.chars().take(MAX_MEASURED_CHARS).collect();
    let parts: Vec<&str> = known
        .iter()
        .flat_map(|text| {
            let words = text.split(|c: char| c == '@' || c.is_whitespace());
            words.chain([text.as_str()])
        })
        .filter(|text| !text.is_empty())
        .collect();
    u8::from(zxcvbn::zxcvbn(&start, &parts).score()).into()
}

/// Asks for all hashes that begin as the password's does: who answers learns five digits of forty, and not how many
/// fitted.
async fn has_leaked(
    auth: &Auth,
    password: &str,
    settings: &config::Auth,
) -> Result<bool, AuthError> {
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
    let hash = hex::encode_upper(hash);
    let (prefix, suffix) = hash.split_at(5);
    match leaked(auth, &settings.password_hibp_url, prefix).await {
        Ok(list) => Ok(list.lines().any(|line| names(line, suffix))),
        Err(cause) => {
            tracing::warn!(cause, "could not tell whether a password has leaked");
            if settings.password_hibp_fail_closed {
                let message = "Passwords cannot be checked right now; try again";
                return Err(AuthError::Refused(ErrorCode::ServiceUnavailable, message));
            }
            Ok(false)
        }
    }
}

async fn leaked(auth: &Auth, base: &str, prefix: &str) -> Result<String, String> {
    let headers = HeaderMap::from_iter([(
        HeaderName::from_static("add-padding"),
        HeaderValue::from_static("true"),
    )]);
    let url = format!("{}/{prefix}", base.trim_end_matches('/'));
    let answer = auth.outbound().get(&url, headers, LEAK_TIMEOUT).await;
    let answer = answer.map_err(|error| error.to_string())?;
    if answer.status != StatusCode::OK {
        return Err(format!("it answered {}", answer.status.as_u16()));
    }
    String::from_utf8(answer.body.to_vec()).map_err(|_| "its answer is no text".to_owned())
}

/// Whether a line `SUFFIX:COUNT` names a hash. Padding has a count of 0.
fn names(line: &str, suffix: &str) -> bool {
    line.trim()
        .split_once(':')
        .is_some_and(|(hash, count)| hash.eq_ignore_ascii_case(suffix) && count != "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(required: &str) -> config::Auth {
        config::Auth {
            password_required_characters: required.to_owned(),
            ..config::Auth::default()
        }
    }

    fn reasons(password: &str, required: &str) -> Vec<&'static str> {
        let weak = WeakPassword::of(problems(password, &settings(required)));
        weak.map_or_else(Vec::new, |weak| weak.reasons)
    }

    #[test]
    fn length_is_counted_in_characters_and_bounded_in_bytes() {
        assert_eq!(reasons("12345", ""), ["length"]);
        assert!(reasons("пароль", "").is_empty());
        assert!(check_length(&"a".repeat(1024)).is_ok());
        assert!(matches!(
            check_length(&"ä".repeat(513)),
            Err(AuthError::Invalid(_))
        ));
    }

    #[test]
    fn a_character_of_each_set_is_needed() {
        let cases = [
            ("abcdef", "abc:123", false),
            ("abcd1f", "abc:123", true),
            ("ab:def", "ab:\\:;", true),
            ("abcdef", "ab:\\:;", false),
            ("abcdef", "::", true),
            ("abcdef", "letters_digits", false),
            ("abcde1", "letters_digits", true),
            ("abcde1", "lower_upper_letters_digits", false),
            ("Abcde1", "lower_upper_letters_digits", true),
            ("Abcde1", "lower_upper_letters_digits_symbols", false),
            ("Abcd:1", "lower_upper_letters_digits_symbols", true),
        ];
        for (password, sets, ok) in cases {
            assert_eq!(reasons(password, sets).is_empty(), ok, "{password} {sets}");
        }
        assert_eq!(reasons("abc", "123"), ["length", "characters"]);
    }

    #[test]
    fn what_is_known_of_a_user_makes_a_password_weaker() {
        let of = |known: &str| measure("rumpelstilz1987", &[known.to_owned()]);
        assert!(of("rumpelstilz1987@example.com") < of("ana@example.com"));
        assert!(measure("correct horse battery staple", &[]) >= 3);
        assert_eq!(measure("password", &[]), 0);
        // Attack 44: the time must not grow with the length.
        measure(&"aB3$".repeat(256), &["a".repeat(254)]);
    }

    #[test]
    fn padding_names_no_password() {
        assert!(names(
            "0018A45C4D1DEF81644B54AB7F969B88D65:21\r",
            "0018A45C4D1DEF81644B54AB7F969B88D65"
        ));
        assert!(!names(
            "0018A45C4D1DEF81644B54AB7F969B88D65:0",
            "0018A45C4D1DEF81644B54AB7F969B88D65"
        ));
        assert!(!names("", "0018A45C4D1DEF81644B54AB7F969B88D65"));
    }
}
