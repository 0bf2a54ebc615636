//! Email addresses and phone numbers, parsed once into one spelling each.

use super::AuthError;

/// An email address in the one spelling under which it is stored and looked up: lower case, domain in ASCII.
///
/// Addresses that differ only in case or in the notation of an international domain are one account; whatever could
/// pass for another address (spaces, control characters, letters outside ASCII before the `@`) is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Email(String);

impl Email {
    const INVALID: AuthError =
        AuthError::Invalid("Unable to validate email address: invalid format");

    /// Parses an address of at most 254 bytes.
    ///
    /// # Errors
    /// [`AuthError::Invalid`], which does not repeat the text.
    pub(super) fn parse(text: &str) -> Result<Self, AuthError> {
        let (local, domain) = text.rsplit_once('@').ok_or(Self::INVALID)?;
        let domain = ascii_domain(domain).ok_or(Self::INVALID)?;
        let email = format!("{}@{domain}", local.to_ascii_lowercase());
        if is_local_part(local) && email.len() <= 254 {
            Ok(Self(email))
        } else {
            Err(Self::INVALID)
        }
    }

    /// The address.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Unquoted local parts as mail servers take them.
fn is_local_part(text: &str) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&byte);
    (1..=64).contains(&text.len())
        && text.bytes().all(allowed)
        && !text.starts_with('.')
        && !text.ends_with('.')
        && !text.contains("..")
}

/// The domain as DNS asks for it. Address literals are no domains.
fn ascii_domain(text: &str) -> Option<String> {
    if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '%') {
        return None;
    }
    let Ok(url::Host::Domain(domain)) = url::Host::parse(text) else {
        return None;
    };
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    domain.split('.').all(is_label).then_some(domain)
}

/// A phone number in international notation, digits only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Phone(String);

impl Phone {
    /// Parses `+` and 7 to 15 digits; the `+` may be missing.
    ///
    /// # Errors
    /// [`AuthError::Invalid`].
    pub(super) fn parse(text: &str) -> Result<Self, AuthError> {
        let digits = text.strip_prefix('+').unwrap_or(text);
        let plain = (7..=15).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && !digits.starts_with('0');
        if plain {
            Ok(Self(digits.to_owned()))
        } else {
            Err(AuthError::Invalid(
                "Invalid phone number format (E.164 required)",
            ))
        }
    }

    /// The digits.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn email(text: &str) -> Option<String> {
        Email::parse(text).ok().map(|email| email.0)
    }

    /// Attack 40. Fails when the domain is not normalized, or case is kept.
    #[test]
    fn spellings_of_one_address_are_one() {
        for text in [
            "ana@bücher.example",
            "ANA@BÜCHER.example",
            "ana@xn--bcher-kva.example",
        ] {
            assert_eq!(email(text).as_deref(), Some("ana@xn--bcher-kva.example"));
        }
        assert_eq!(
            email("Ana.B+tag@Example.COM").as_deref(),
            Some("ana.b+tag@example.com")
        );
        assert_eq!(email("a@localhost").as_deref(), Some("a@localhost"));
    }

    /// Attack 40. Fails when anything is cut off, folded or guessed instead of being refused.
    #[test]
    fn look_alikes_and_nonsense_are_refused() {
        for text in [
            "",
            "ana",
            "@b.example",
            "ana@",
            " ana@b.example",
            "ana@b.example ",
            "ana@b.example.",
            "ana@b..example",
            ".ana@b.example",
            "ana.@b.example",
            "a..b@b.example",
            "\"a b\"@b.example",
            "ana@[127.0.0.1]",
            "ana@127.0.0.1",
            "ana\0@b.example",
            "ana@b.exa\0mple",
            "ana@b.example\r\nBcc: x@y.example",
            "\u{212a}@b.example",
            "ın@b.example",
            "ana@b@c.example",
            "ana@b.example/x",
            "ana@%62.example",
            "ana@-b.example",
        ] {
            assert_eq!(email(text), None, "{text:?}");
        }
        assert_eq!(email(&format!("{}@b.example", "a".repeat(65))), None);
        let long = format!("{}.example", "b".repeat(60) + &".c".repeat(100));
        assert_eq!(email(&format!("a@{long}")), None);
    }

    #[test]
    fn phones_are_digits() {
        assert_eq!(Phone::parse("+4912345678").unwrap().as_str(), "4912345678");
        for text in [
            "",
            "+",
            "12",
            "+0123456789",
            "123 4567",
            "1234567890123456",
            "+12345a78",
        ] {
            assert!(Phone::parse(text).is_err(), "{text}");
        }
    }
}
