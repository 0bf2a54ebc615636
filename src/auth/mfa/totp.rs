//! Authenticator apps: six digits, made of a shared secret and the time (RFC 6238).

use qrcode::render::svg;
use qrcode::{EcLevel, QrCode};
use serde::Serialize;
use totp_rs::{Algorithm, Builder, Totp};

use crate::auth::AuthError;
use crate::clock::random_bytes;

/// What every app can do, whatever its settings offer: SHA-1, 6 digits, 30 seconds. A code is good for its time step and
/// the ones before and after.
const DIGITS: u8 = 6;
const STEP_S: u64 = 30;
const SKEW: u16 = 1;

/// Longer names of issuers are cut: they are shown in a list, and have to fit into a QR code.
const MAX_ISSUER: usize = 64;

/// The secret of a new factor.
pub(super) fn new_secret() -> [u8; 20] {
    random_bytes()
}

/// What a user needs to set up its app, shown once.
#[derive(Serialize)]
pub(in crate::auth) struct Setup {
    /// `uri` as an SVG.
    qr_code: String,
    /// In base32.
    secret: String,
    /// `otpauth://totp/…`.
    uri: String,
}

/// How to set up an app for `account` at `issuer`.
///
/// # Errors
/// [`AuthError::Invalid`] when the names do not fit into a QR code.
pub(super) fn setup(secret: &[u8], issuer: &str, account: &str) -> Result<Setup, AuthError> {
    const UNFIT: AuthError = AuthError::Invalid("issuer does not fit into a QR code");
    // A colon separates the two in the address.
    let issuer: String = issuer.replace(':', " ").chars().take(MAX_ISSUER).collect();
    let issuer = Some(issuer).filter(|issuer| !issuer.trim().is_empty());
    let totp = builder(secret)
        .with_issuer(issuer)
        .with_account_name(account.replace(':', " "))
        .build()
        .map_err(|_| UNFIT)?;
    let uri = totp.to_url().map_err(|_| UNFIT)?;
    Ok(Setup {
        qr_code: svg(&uri).ok_or(UNFIT)?,
        secret: totp.secret().to_base32(),
        uri,
    })
}

/// The time step of a code, if it is the right one around `now` (Unix seconds) and later than `last_step`.
pub(super) fn check(secret: &[u8], code: &str, now: i64, last_step: Option<i64>) -> Option<i64> {
    let totp: Totp = builder(secret).build().ok()?;
    let step = totp.check(code.trim(), u64::try_from(now).ok()?)?;
    let step = i64::try_from(step).ok()?;
    last_step.is_none_or(|last| step > last).then_some(step)
}

fn builder(secret: &[u8]) -> Builder {
    Builder::new()
        .with_algorithm(Algorithm::SHA1)
        .with_digits(DIGITS)
        .with_step_duration(STEP_S)
        .with_skew(SKEW)
        .with_secret(secret.to_vec())
}

/// Without the XML declaration, and with colours by name: clients put it into a `data:` address, where `#` would end it.
fn svg(text: &str) -> Option<String> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    let image = code
        .render::<svg::Color<'_>>()
        .min_dimensions(200, 200)
        .dark_color(svg::Color("black"))
        .light_color(svg::Color("white"))
        .build();
    let start = image.find("<svg")?;
    Some(image[start..].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The secret of the RFC's examples.
    const SECRET: &[u8] = b"12345678901234567890";

    #[test]
    fn codes_are_those_of_the_rfc_and_good_for_three_steps_once() {
        // RFC 6238, appendix B: at second 1111111109 the last six of its eight digits.
        let now = 1_111_111_109;
        let step = now / 30;
        assert_eq!(check(SECRET, "081804", now, None), Some(step));
        assert_eq!(check(SECRET, " 081804\n", now + 30, None), Some(step));
        assert_eq!(check(SECRET, "081804", now - 30, None), Some(step));
        assert_eq!(check(SECRET, "081804", now + 60, None), None);
        assert_eq!(check(SECRET, "081804", now - 60, None), None);
        assert_eq!(check(SECRET, "081804", now, Some(step - 1)), Some(step));
        assert_eq!(check(SECRET, "081804", now, Some(step)), None);
        for code in ["", "81804", "0081804", "+81804", "08180a", "０81804"] {
            assert_eq!(check(SECRET, code, now, None), None, "{code}");
        }
    }

    #[test]
    fn the_setup_names_both_ends_and_stays_in_a_data_address() {
        let setup = setup(SECRET, "Shop: ä", "a:b@example.com").unwrap();
        assert_eq!(
            setup.uri,
            "otpauth://totp/Shop%20%20%C3%A4:a%20b%40example.com?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Shop%20%20%C3%A4"
        );
        assert!(setup.qr_code.starts_with("<svg") && !setup.qr_code.contains('#'));
        let longest = setup_of(&"\u{10ffff}".repeat(500), &"x".repeat(255));
        assert!(longest.is_some_and(|setup| setup.uri.len() > 1500));
    }

    fn setup_of(issuer: &str, account: &str) -> Option<Setup> {
        setup(SECRET, issuer, account).ok()
    }
}
