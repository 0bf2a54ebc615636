//! `[auth.hook.NAME]`: whom the auth service asks before it goes on, and how a target is written.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Secret;
use super::section::{Effective, Field, Layers, section};

macro_rules! hooks {
    ($( $(#[doc = $doc:literal])+ $field:ident: $type:ident in $section:literal, $enabled:literal, $uri:literal, $secrets:literal; )+) => {
        $(section! {
            $(#[doc = $doc])+
            $type in $section {
                /// Ask it. Without `uri` there is nobody to ask.
                [live] enabled: bool = true, $enabled;
                /// `pg-functions://postgres/SCHEMA/FUNCTION`, or an https address (http on this machine only).
                [live] uri: Option<String> = None, $uri;
                /// Secrets that calls to an address are signed with, as `v1,whsec_…`; several are separated by `|`.
                [live] secrets: Option<Secret> = None, $secrets;
            }
        })+

        /// The targets of all synchronous hooks of the auth service.
        #[derive(Debug, Clone, Default)]
        pub struct AuthHooks { $( $(#[doc = $doc])+ pub $field: $type, )+ }

        impl AuthHooks {
            pub(super) fn fields() -> impl Iterator<Item = &'static Field> {
                [$($type::FIELDS),+].into_iter().flatten()
            }

            pub(super) fn load(
                layers: &Layers,
                effective: &mut Vec<Effective>,
                problems: &mut Vec<String>,
            ) -> Self {
                Self { $( $field: $type::load(layers, effective, problems), )+ }
            }

            pub(super) fn with_live_of(&self, next: &Self) -> Self {
                Self { $( $field: self.$field.with_live_of(&next.$field), )+ }
            }

            pub(super) fn check(&self, problems: &mut Vec<String>) {
                $(
                    let set = &self.$field;
                    if let Some(uri) = &set.uri
                        && let Err(problem) = HookTarget::parse(uri, set.secrets.as_ref())
                    {
                        problems.push(format!(concat!($section, ".{}"), problem));
                    }
                )+
            }
        }

        $(
            impl $type {
                /// Whom to ask; `None` when nobody is.
                pub fn target(&self) -> Option<HookTarget> {
                    let uri = self.uri.as_ref().filter(|_| self.enabled)?;
                    HookTarget::parse(uri, self.secrets.as_ref()).ok()
                }

                /// Whether somebody is to be asked.
                pub fn is_set(&self) -> bool {
                    self.enabled && self.uri.is_some()
                }
            }
        )+
    };
}

hooks! {
    /// Asked for the claims of each access token.
    custom_access_token: CustomAccessTokenHook in "auth.hook.custom_access_token",
        "AUTH_HOOK_CUSTOM_ACCESS_TOKEN_ENABLED", "AUTH_HOOK_CUSTOM_ACCESS_TOKEN_URI", "AUTH_HOOK_CUSTOM_ACCESS_TOKEN_SECRETS";
    /// Asked before an account is made.
    before_user_created: BeforeUserCreatedHook in "auth.hook.before_user_created",
        "AUTH_HOOK_BEFORE_USER_CREATED_ENABLED", "AUTH_HOOK_BEFORE_USER_CREATED_URI", "AUTH_HOOK_BEFORE_USER_CREATED_SECRETS";
    /// Told of each password that was tried for an account.
    password_verification_attempt: PasswordVerificationAttemptHook in "auth.hook.password_verification_attempt",
        "AUTH_HOOK_PASSWORD_VERIFICATION_ATTEMPT_ENABLED", "AUTH_HOOK_PASSWORD_VERIFICATION_ATTEMPT_URI", "AUTH_HOOK_PASSWORD_VERIFICATION_ATTEMPT_SECRETS";
    /// Told of each second factor that was tried.
    mfa_verification_attempt: MfaVerificationAttemptHook in "auth.hook.mfa_verification_attempt",
        "AUTH_HOOK_MFA_VERIFICATION_ATTEMPT_ENABLED", "AUTH_HOOK_MFA_VERIFICATION_ATTEMPT_URI", "AUTH_HOOK_MFA_VERIFICATION_ATTEMPT_SECRETS";
    /// Sends mails instead of the service.
    send_email: SendEmailHook in "auth.hook.send_email",
        "AUTH_HOOK_SEND_EMAIL_ENABLED", "AUTH_HOOK_SEND_EMAIL_URI", "AUTH_HOOK_SEND_EMAIL_SECRETS";
    /// Sends text messages. Accounts with phone numbers need it.
    send_sms: SendSmsHook in "auth.hook.send_sms",
        "AUTH_HOOK_SEND_SMS_ENABLED", "AUTH_HOOK_SEND_SMS_URI", "AUTH_HOOK_SEND_SMS_SECRETS";
}

/// Whom a hook asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookTarget {
    /// A function of the project's database.
    Function {
        /// Its schema.
        schema: String,
        /// Its name.
        name: String,
    },
    /// An address.
    Address {
        /// Where to.
        url: String,
        /// Keys of the signature, at least one.
        keys: Vec<SigningKey>,
    },
}

/// A key of a signature. Debug shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey(Vec<u8>);

impl SigningKey {
    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[secret]")
    }
}

impl HookTarget {
    /// Reads a target. The error continues the name of the setting: `uri must …`.
    pub fn parse(uri: &str, secrets: Option<&Secret>) -> Result<Self, &'static str> {
        const ADDRESS: &str =
            "uri must begin with pg-functions:// or https://, or with http:// for this machine";
        if let Some(path) = uri.strip_prefix("pg-functions://") {
            return function(path).ok_or(
                "uri must name a function as pg-functions://postgres/SCHEMA/FUNCTION, in plain letters, digits and _",
            );
        }
        let url = url::Url::parse(uri).map_err(|_| ADDRESS)?;
        let is_allowed = match url.scheme() {
            "https" => url.has_host(),
            "http" => is_loopback(&url),
            _ => false,
        };
        if !is_allowed {
            return Err(ADDRESS);
        }
        let keys = keys(secrets.map_or("", Secret::expose)).ok_or(
            "secrets must hold v1,whsec_ and a key in base64, or several such separated by |",
        )?;
        Ok(Self::Address {
            url: uri.to_owned(),
            keys,
        })
    }
}

fn function(path: &str) -> Option<HookTarget> {
    let mut parts = path.split('/');
    let (_, schema, name) = (parts.next()?, parts.next()?, parts.next()?);
    let is_name = |text: &str| {
        text.len() <= 63
            && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    (parts.next().is_none() && is_name(schema) && is_name(name)).then(|| HookTarget::Function {
        schema: schema.to_owned(),
        name: name.to_owned(),
    })
}

fn is_loopback(url: &url::Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// At least one, each of which is a key.
fn keys(text: &str) -> Option<Vec<SigningKey>> {
    let parts = text.split('|').map(str::trim);
    parts
        .map(|part| {
            let encoded = part.strip_prefix("v1,whsec_")?;
            let key = STANDARD.decode(encoded).ok()?;
            (!key.is_empty()).then_some(SigningKey(key))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(uri: &str, secrets: &str) -> Option<HookTarget> {
        HookTarget::parse(uri, Some(&Secret::new(secrets))).ok()
    }

    #[test]
    fn a_function_has_a_schema_and_a_plain_name() {
        let expected = HookTarget::Function {
            schema: "public".to_owned(),
            name: "custom_access_token_hook".to_owned(),
        };
        let uri = "pg-functions://postgres/public/custom_access_token_hook";
        assert_eq!(parse(uri, ""), Some(expected));
        for bad in [
            "pg-functions://postgres/public",
            "pg-functions://postgres/public/a/b",
            "pg-functions://postgres/public/",
            "pg-functions://postgres/public/a-b",
            "pg-functions://postgres/public/a\"; drop table x; --",
            "pg-functions://postgres/1st/a",
        ] {
            assert_eq!(parse(bad, ""), None, "{bad}");
        }
    }

    #[test]
    fn an_address_needs_tls_and_a_secret() {
        const SECRET: &str = "v1,whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        for (uri, secrets, ok) in [
            ("https://a.example/hook", SECRET, true),
            ("http://localhost:9/hook", SECRET, true),
            ("http://127.0.0.1:9/hook", SECRET, true),
            ("http://[::1]:9/hook", SECRET, true),
            ("http://a.example/hook", SECRET, false),
            ("http://localhost.a.example/", SECRET, false),
            ("ftp://a.example/hook", SECRET, false),
            ("https://a.example/hook", "", false),
            ("https://a.example/hook", "whsec_MfKQ9r8G", false),
            ("https://a.example/hook", "v1,whsec_", false),
            ("https://a.example/hook", "v1,whsec_not base64", false),
        ] {
            assert_eq!(parse(uri, secrets).is_some(), ok, "{uri} {secrets}");
        }
        let two = parse("https://a.example/", &format!("{SECRET}|v1,whsec_AAAA"));
        assert!(matches!(two, Some(HookTarget::Address { keys, .. }) if keys.len() == 2));
    }
}
