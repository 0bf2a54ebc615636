//! The relying party: for which site security keys and passkeys answer.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use url::Url;
use webauthn_rs::prelude::{CreationChallengeResponse, CredentialID, Webauthn, WebauthnBuilder};

use super::model::User;
use super::{Auth, AuthError};
use crate::config::Config;

/// For which site authenticators answer, from the settings as they are now.
///
/// # Errors
/// [`AuthError::FeatureDisabled`] when the settings name no site that authenticators know.
pub(super) fn relying_party(auth: &Auth) -> Result<Webauthn, AuthError> {
    build(&auth.config()).ok_or(AuthError::FeatureDisabled(
        "WebAuthn needs a domain: set auth.webauthn_rp_id and auth.webauthn_rp_origins, or server.site_url",
    ))
}

fn build(config: &Config) -> Option<Webauthn> {
    let site = Url::parse(&config.server.site_url).ok();
    let host = site.as_ref().and_then(Url::domain);
    let id = config.auth.webauthn_rp_id.as_deref().or(host)?;
    let mut origins: Vec<Url> = config
        .auth
        .webauthn_rp_origins
        .iter()
        .filter_map(|origin| Url::parse(origin).ok())
        .collect();
    if origins.is_empty() {
        origins.extend(site.clone());
    }
    // One of them must be a page of the domain; programs on phones have origins of another kind.
    let mut builder = origins
        .iter()
        .find_map(|origin| WebauthnBuilder::new(id, origin).ok())?
        .allow_any_port(id == "localhost");
    for origin in &origins {
        builder = builder.append_allowed_origin(origin);
    }
    if let Some(name) = config.auth.webauthn_rp_name.as_deref() {
        builder = builder.rp_name(name);
    }
    builder.build().ok()
}

/// The id of the relying party, as clients name it.
pub(super) fn rp_id(auth: &Auth) -> Option<String> {
    let config = auth.config();
    let site = Url::parse(&config.server.site_url).ok();
    let host = site.as_ref().and_then(Url::domain).map(str::to_owned);
    config.auth.webauthn_rp_id.clone().or(host)
}

/// What an authenticator calls a user.
pub(super) fn names(user: &User) -> (&str, &str) {
    let name = match (user.email.as_str(), user.phone.as_str()) {
        ("", "") => "user",
        ("", phone) => phone,
        (email, _) => email,
    };
    let full_name = user.user_metadata.get("full_name");
    let display = full_name.and_then(Value::as_str).map(str::trim);
    let display = display.filter(|text| !text.is_empty() && text.len() <= 200);
    (name, display.unwrap_or(name))
}

/// What an authenticator is asked to make: a key that it keeps and offers by itself. (The library asks it not to; what
/// it checks does not depend on that.)
pub(super) fn discoverable(options: &CreationChallengeResponse) -> Result<Value, AuthError> {
    let mut options = to_value(&options.public_key)?;
    if let Some(selection) = options.get_mut("authenticatorSelection") {
        selection["residentKey"] = json!("required");
        selection["requireResidentKey"] = json!(true);
    }
    Ok(options)
}

/// Reads an authenticator's answer.
///
/// # Errors
/// [`AuthError::Invalid`].
pub(super) fn parse<T: DeserializeOwned>(credential: Value) -> Result<T, AuthError> {
    let message = "the credential is not the JSON of a PublicKeyCredential";
    serde_json::from_value(credential).map_err(|_| AuthError::Invalid(message))
}

/// Reads what was stored.
///
/// # Errors
/// [`AuthError::Internal`].
pub(super) fn stored<T: DeserializeOwned>(value: Value) -> Result<T, AuthError> {
    serde_json::from_value(value)
        .map_err(|error| AuthError::Internal(format!("stored WebAuthn state: {error}")))
}

/// What is to be stored or sent.
///
/// # Errors
/// [`AuthError::Internal`].
pub(super) fn to_value<T: serde::Serialize>(value: &T) -> Result<Value, AuthError> {
    serde_json::to_value(value)
        .map_err(|error| AuthError::Internal(format!("WebAuthn state: {error}")))
}

/// Credentials that must not be registered again.
pub(super) fn excluded(ids: Vec<Vec<u8>>) -> Option<Vec<CredentialID>> {
    (!ids.is_empty()).then(|| ids.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(site_url: &str, rp_id: Option<&str>, rp_origins: &[&str]) -> Option<Vec<String>> {
        let mut config = Config::default();
        site_url.clone_into(&mut config.server.site_url);
        config.auth.webauthn_rp_id = rp_id.map(str::to_owned);
        config.auth.webauthn_rp_origins = rp_origins.iter().map(|&o| o.to_owned()).collect();
        let built = build(&config)?;
        let origins = built.get_allowed_origins().iter();
        let mut origins: Vec<_> = origins
            .map(|url| url.origin().ascii_serialization())
            .collect();
        origins.dedup();
        Some(origins)
    }

    #[test]
    fn the_site_is_the_relying_party_unless_settings_say_otherwise() {
        let site = "https://app.example.com/welcome";
        let found = |origin: &str| Some(vec![origin.to_owned()]);
        assert_eq!(origins(site, None, &[]), found("https://app.example.com"));
        assert_eq!(
            origins(site, Some("example.com"), &[]),
            found("https://app.example.com")
        );
        assert_eq!(origins(site, Some("other.com"), &[]), None);
        assert_eq!(
            origins(site, Some("other.com"), &["https://www.other.com"]),
            found("https://www.other.com")
        );
        assert_eq!(origins("http://127.0.0.1:3000", None, &[]), None);
        assert_eq!(origins("nonsense", None, &[]), None);
        assert_eq!(
            origins("http://localhost:3000", None, &[]),
            found("http://localhost:3000")
        );
    }
}
