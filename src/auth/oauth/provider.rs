//! What is particular to each identity provider.

use super::issuer::IssuerRule;
use crate::auth::AuthError;
use crate::config::Config;
use crate::config::external::External;
use crate::error::ErrorCode;

/// A provider that the project has set up.
#[derive(Debug, Clone)]
pub(super) struct Provider {
    /// Its settings.
    pub(super) settings: External,
    /// Which protocol it speaks.
    pub(super) kind: Kind,
}

/// Protocols.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// OpenID Connect: everything else is discovered.
    Oidc {
        /// Where its discovery document is, without `/.well-known/…`.
        issuer: String,
        /// Which `iss` its tokens have.
        rule: IssuerRule,
    },
    /// Plain OAuth 2, with an API that tells who the user is.
    GitHub {
        /// Of the pages.
        site: String,
        /// Of the API.
        api: String,
    },
    /// The same.
    Discord {
        /// Of pages and API.
        api: String,
    },
}

/// Why a provider cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// Nobody has set it up.
    Unknown,
    /// It is switched off.
    Disabled,
}

impl Missing {
    /// To a request that names a provider.
    pub(super) fn refusal(self) -> AuthError {
        AuthError::Invalid(match self {
            Self::Unknown => "Unsupported provider: it is not set up",
            Self::Disabled => "Unsupported provider: it is not enabled",
        })
    }

    /// To an ID token.
    pub(super) fn token_refusal(self) -> AuthError {
        let message = match self {
            Self::Unknown => "This provider is not set up",
            Self::Disabled => "This provider is not enabled",
        };
        AuthError::Refused(ErrorCode::ProviderDisabled, message)
    }
}

impl Provider {
    /// The provider a request names; `custom:NAME` is NAME.
    pub(super) fn find(config: &Config, name: &str) -> Result<Self, Missing> {
        let name = name.strip_prefix("custom:").unwrap_or(name);
        let settings = config.external.iter().find(|it| it.name == name);
        let settings = settings.ok_or(Missing::Unknown)?;
        if !settings.enabled {
            return Err(Missing::Disabled);
        }
        Ok(Self {
            kind: kind(settings),
            settings: settings.clone(),
        })
    }

    /// The provider of an issuer, for clients that name no provider.
    pub(super) fn find_by_issuer(config: &Config, issuer: &str) -> Result<Self, Missing> {
        let names = config.external.iter().map(|it| it.name.as_str());
        let mut found = names.filter_map(|name| Self::find(config, name).ok());
        found
            .find(|it| matches!(&it.kind, Kind::Oidc { issuer: known, .. } if known == issuer.trim_end_matches('/')))
            .ok_or(Missing::Unknown)
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.settings.name
    }

    /// The client id with which users sign in by redirect.
    pub(super) fn client_id(&self) -> &str {
        self.settings.client_ids.first().map_or("", String::as_str)
    }

    /// Whether it gives ID tokens.
    pub(super) fn is_oidc(&self) -> bool {
        matches!(self.kind, Kind::Oidc { .. })
    }

    /// Scopes to ask for, with those a request adds.
    pub(super) fn scopes(&self, added: Option<&str>) -> Vec<String> {
        let usual: &[&str] = match (&self.kind, self.name()) {
            (Kind::GitHub { .. }, _) => &["read:user", "user:email"],
            (Kind::Discord { .. }, _) => &["identify", "email"],
            (Kind::Oidc { .. }, "apple") => &["openid", "email", "name"],
            (Kind::Oidc { .. }, _) => &["openid", "email", "profile"],
        };
        let mut scopes = match &self.settings.scopes {
            Some(scopes) => scopes.clone(),
            None => usual.iter().map(|scope| (*scope).to_owned()).collect(),
        };
        if self.is_oidc() && !scopes.iter().any(|scope| scope == "openid") {
            scopes.insert(0, "openid".to_owned());
        }
        for scope in added.unwrap_or_default().split([' ', ',']) {
            if !scope.is_empty() && !scopes.iter().any(|known| known == scope) {
                scopes.push(scope.to_owned());
            }
        }
        scopes
    }

    /// Where the provider sends the browser back to.
    pub(super) fn redirect_uri(&self, config: &Config) -> String {
        let default = || format!("{}/auth/v1/callback", config.api_url());
        self.settings.redirect_uri.clone().unwrap_or_else(default)
    }

    /// Whether that is an address which no other provider sends anybody to. An answer that comes elsewhere is then not
    /// its own, whatever state it brings: the browser was sent on to another provider (mix-up, RFC 9700, 4.4).
    pub(super) fn has_own_callback(&self) -> bool {
        let own = format!("/auth/v1/callback/{}", self.name());
        let configured = self.settings.redirect_uri.as_deref();
        configured.is_some_and(|uri| uri.ends_with(&own))
    }

    /// Parameters that only this provider needs.
    pub(super) fn own_parameters(&self) -> &'static [(&'static str, &'static str)] {
        match self.name() {
            // Apple gives name and address in a POST only.
            "apple" => &[("response_mode", "form_post")],
            _ => &[],
        }
    }
}

fn kind(settings: &External) -> Kind {
    let url = settings.url.as_deref();
    let exact = |issuer: &str| Kind::Oidc {
        issuer: issuer.to_owned(),
        rule: IssuerRule::Exact,
    };
    match settings.name.as_str() {
        "google" => exact(url.unwrap_or("https://accounts.google.com")),
        "gitlab" => exact(url.unwrap_or("https://gitlab.com")),
        "apple" => Kind::Oidc {
            issuer: url.unwrap_or("https://appleid.apple.com").to_owned(),
            rule: IssuerRule::Apple,
        },
        "azure" => {
            let tenant = url.unwrap_or("https://login.microsoftonline.com/common");
            Kind::Oidc {
                issuer: format!("{}/v2.0", tenant.trim_end_matches("/v2.0")),
                rule: IssuerRule::Microsoft,
            }
        }
        "github" => Kind::GitHub {
            site: url.unwrap_or("https://github.com").to_owned(),
            api: url.map_or_else(
                || "https://api.github.com".to_owned(),
                |url| format!("{url}/api/v3"),
            ),
        },
        "discord" => Kind::Discord {
            api: url.unwrap_or("https://discord.com").to_owned(),
        },
        _ => exact(url.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    fn config(toml: &str) -> Config {
        Config::load(Sources {
            toml: Some(toml.to_owned()),
            ..Sources::default()
        })
        .unwrap()
    }

    #[test]
    fn scopes_are_added_once_and_openid_is_always_there() {
        let config = config(
            "[auth.external.google]\nclient_id = \"x\"\n[auth.external.acme]\nclient_id = \"x\"\nurl = \"https://id.example.com\"\nscopes = \"email\"",
        );
        let google = Provider::find(&config, "google").unwrap();
        assert_eq!(
            google.scopes(Some("email https://x/calendar")).join(" "),
            "openid email profile https://x/calendar"
        );
        let acme = Provider::find(&config, "custom:acme").unwrap();
        assert_eq!(acme.scopes(None).join(" "), "openid email");
    }

    #[test]
    fn what_is_off_or_unknown_is_not_found() {
        let config = config("[auth.external.google]\nclient_id = \"x\"\nenabled = false");
        assert_eq!(
            Provider::find(&config, "google").unwrap_err(),
            Missing::Disabled
        );
        assert_eq!(
            Provider::find(&config, "Google").unwrap_err(),
            Missing::Unknown
        );
    }
}
