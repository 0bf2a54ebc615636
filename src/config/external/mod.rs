//! `[auth.external.NAME]`: identity providers that users can sign in with.

use std::collections::BTreeMap;

use super::Secret;
use super::section::{Effective, Origin, Raw, fingerprint};
use super::value::{Setting, words};

words! {
    /// When a provider is believed that an address is its user's.
    EmailAuthority {
        /// When it says that the address is verified.
        Verified = "verified",
        /// When it says so, and the address is in a domain that the provider manages.
        Domain = "domain",
        /// Never: the address is shown, and joins no accounts.
        Never = "never",
    }
}

/// Providers that need no more than a client id and a secret, or a `url` besides.
pub const PRESETS: [&str; 7] = [
    "apple", "azure", "discord", "github", "gitlab", "google", "keycloak",
];

/// Presets that run at an address of the project's own.
const WITHOUT_ADDRESS: &str = "keycloak";

/// Members of `external` in `GET /settings` that are no providers.
const TAKEN: [&str; 3] = ["email", "phone", "anonymous_users"];

/// Raw values by provider and key.
pub(super) type RawExternal = BTreeMap<String, BTreeMap<&'static str, (Raw, Origin)>>;

/// One identity provider.
#[derive(Debug, Clone, PartialEq)]
pub struct External {
    /// Its name in requests, identities and redirect addresses.
    pub name: String,
    /// Whether users can sign in with it. Unless it is said, whether it has a client id.
    pub enabled: bool,
    /// Client ids; the first one is used to sign in by redirect, and ID tokens for all of them are taken.
    pub client_ids: Vec<String>,
    /// Client secret; without one the client is public, and PKCE has to do.
    pub secret: Option<Secret>,
    /// Issuer of an OpenID Connect provider, or the address of a self-hosted preset.
    pub url: Option<String>,
    /// Scopes to ask for, instead of the usual ones.
    pub scopes: Option<Vec<String>>,
    /// Where the provider sends users back to, if not to `/auth/v1/callback`.
    pub redirect_uri: Option<String>,
    /// ID tokens that a client brings are taken whatever nonce they have.
    pub skip_nonce_check: bool,
    /// Accounts may have no address.
    pub email_optional: bool,
    /// When it is believed that an address is its user's.
    pub email_authority: EmailAuthority,
    /// Domains whose addresses it manages.
    pub email_domains: Vec<String>,
    /// Microsoft tenants whose users may sign in, and whose addresses are believed.
    pub tenants: Vec<String>,
}

/// A key of a provider: name, what it does, where its value goes.
struct Key {
    name: &'static str,
    doc: &'static str,
    read: fn(&mut External, &Raw) -> Result<(), String>,
}

const KEYS: &[Key] = &[
    Key {
        name: "enabled",
        doc: "Whether users can sign in with it. Default: when it has a `client_id`.",
        read: |external, raw| set(&mut external.enabled, raw),
    },
    Key {
        name: "client_id",
        doc: "Client id at the provider, or a list: the first one signs in by redirect, ID tokens for all of them are taken.",
        read: |external, raw| {
            external.client_ids = list(raw)?;
            Ok(())
        },
    },
    Key {
        name: "secret",
        doc: "Client secret. It is never printed. Without one the client is public.",
        read: |external, raw| set(&mut external.secret, raw),
    },
    Key {
        name: "url",
        doc: "Issuer of an OpenID Connect provider; for `keycloak` the address of the realm, for `azure` `https://login.microsoftonline.com/TENANT`, for the others that of a self-hosted one.",
        read: |external, raw| set(&mut external.url, raw),
    },
    Key {
        name: "scopes",
        doc: "Scopes to ask for, instead of the usual ones.",
        read: |external, raw| {
            external.scopes = Some(list(raw)?);
            Ok(())
        },
    },
    Key {
        name: "redirect_uri",
        doc: "Where the provider sends users back to. Default: `server.api_url` + `/auth/v1/callback`.",
        read: |external, raw| set(&mut external.redirect_uri, raw),
    },
    Key {
        name: "skip_nonce_check",
        doc: "Take ID tokens that a client brings whatever nonce they have. Default: false.",
        read: |external, raw| set(&mut external.skip_nonce_check, raw),
    },
    Key {
        name: "email_optional",
        doc: "Make accounts without an address for users whose address the provider does not tell. Default: false.",
        read: |external, raw| set(&mut external.email_optional, raw),
    },
    Key {
        name: "email_authority",
        doc: "When it is believed that an address is its user's: `verified` (default), when the provider says so; `domain`, when the address is also in a domain that it manages; `never`.",
        read: |external, raw| set(&mut external.email_authority, raw),
    },
    Key {
        name: "email_domains",
        doc: "Domains that the provider manages. For `google` gmail.com and the domains of Workspace accounts need not be listed.",
        read: |external, raw| {
            external.email_domains = list(raw)?;
            Ok(())
        },
    },
    Key {
        name: "tenants",
        doc: "For `azure`: ids of the tenants whose users may sign in. Their addresses are believed. Default: those that `url` admits.",
        read: |external, raw| {
            external.tenants = list(raw)?;
            Ok(())
        },
    },
];

/// Other names of keys.
const ALIASES: [(&str, &str); 2] = [("client_secret", "secret"), ("issuer", "url")];

/// Environment variables of other systems. They make no provider by themselves unless both of a pair are set.
const OTHER_ENV: [(&str, &str, &str); 4] = [
    ("GOOGLE_CLIENT_ID", "google", "client_id"),
    ("GOOGLE_CLIENT_SECRET", "google", "secret"),
    ("GITHUB_CLIENT_ID", "github", "client_id"),
    ("GITHUB_CLIENT_SECRET", "github", "secret"),
];

fn set<T: Setting>(member: &mut T, raw: &Raw) -> Result<(), String> {
    *member = match raw {
        Raw::Toml(value) => T::from_toml(value)?,
        Raw::Text(text) => T::from_text(text)?,
    };
    Ok(())
}

/// A list, or words in one string.
fn list(raw: &Raw) -> Result<Vec<String>, String> {
    let words = |text: &str| {
        text.split(|c: char| c == ',' || c.is_whitespace())
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect()
    };
    match raw {
        Raw::Toml(toml::Value::String(text)) | Raw::Text(text) => Ok(words(text)),
        Raw::Toml(value) => Vec::<String>::from_toml(value),
    }
}

fn key(name: &str) -> Option<&'static Key> {
    let alias = ALIASES.iter().find(|(alias, _)| *alias == name);
    let name = alias.map_or(name, |(_, name)| name);
    KEYS.iter().find(|key| key.name == name)
}

/// The table `[auth.external]`.
pub(super) fn read_toml(value: &toml::Value, raw: &mut RawExternal, problems: &mut Vec<String>) {
    let Some(tables) = value.as_table() else {
        problems.push("sb.toml: auth.external must be tables: [auth.external.NAME]".to_owned());
        return;
    };
    for (name, table) in tables {
        let Some(table) = table.as_table() else {
            problems.push(format!(
                "sb.toml: auth.external.{name} must be a table: [auth.external.NAME] with client_id and secret"
            ));
            continue;
        };
        let entry = raw.entry(name.clone()).or_default();
        for (given, value) in table {
            if let Some(key) = key(given) {
                entry.insert(key.name, (Raw::Toml(value.clone()), Origin::File));
            } else {
                let near = super::nearest(given, KEYS.iter().map(|key| key.name), "", "");
                problems.push(format!(
                    "sb.toml: unknown key auth.external.{name}.{given}{near}"
                ));
            }
        }
    }
}

/// An environment variable: `SB_AUTH_EXTERNAL_NAME_KEY`, or one of another system.
pub(super) fn read_env(variable: &str, value: &str, origin: &Origin, raw: &mut RawExternal) {
    let other = OTHER_ENV.iter().find(|(known, ..)| *known == variable);
    let (name, key) = if let Some((_, name, key)) = other {
        ((*name).to_owned(), self::key(key))
    } else {
        let Some((name, key)) = split(variable) else {
            return;
        };
        (name, Some(key))
    };
    // Names in sb.toml may have hyphens, which variables cannot.
    let same = |known: &&String| known.replace('-', "_") == name;
    let name = raw.keys().find(same).cloned().unwrap_or(name);
    if let Some(key) = key {
        let value = (Raw::Text(value.to_owned()), origin.clone());
        raw.entry(name).or_default().insert(key.name, value);
    }
}

/// The name in lower case and the key of `SB_AUTH_EXTERNAL_NAME_KEY`. Of several readings the longest key is meant.
fn split(variable: &str) -> Option<(String, &'static Key)> {
    let rest = variable.strip_prefix("SB_AUTH_EXTERNAL_")?;
    let rest = rest.to_ascii_lowercase();
    let names = KEYS.iter().map(|key| key.name);
    let names = names.chain(ALIASES.iter().map(|(alias, _)| *alias));
    names
        .filter_map(|name| {
            let provider = rest.strip_suffix(name)?.strip_suffix('_')?;
            (!provider.is_empty()).then(|| (name.len(), provider.to_owned(), self::key(name)))
        })
        .max_by_key(|(length, ..)| *length)
        .and_then(|(_, provider, key)| Some((provider, key?)))
}

/// A flag `auth.external.NAME.KEY`.
pub(super) fn read_flag(path: &str, value: &str, raw: &mut RawExternal) -> bool {
    let Some(rest) = path.strip_prefix("auth.external.") else {
        return false;
    };
    let Some((name, key)) = rest.rsplit_once('.') else {
        return false;
    };
    let Some(key) = self::key(key) else {
        return false;
    };
    let value = (Raw::Text(value.to_owned()), Origin::Flag);
    raw.entry(name.to_owned())
        .or_default()
        .insert(key.name, value);
    true
}

/// All providers, those that are switched off too, with the lines of `sb info`.
pub(super) fn load(
    raw: &RawExternal,
    effective: &mut Vec<Effective>,
    problems: &mut Vec<String>,
) -> Vec<External> {
    let mut found = Vec::new();
    for (name, values) in raw {
        if is_half_of_a_pair(values) {
            continue;
        }
        let external = External::read(name, values, problems);
        external.check(problems);
        effective.extend(values.iter().map(|(key, (raw, origin))| Effective {
            key: format!("auth.external.{name}.{key}"),
            value: show(key, raw),
            origin: origin.to_string(),
            exact: fingerprint(&format!("{raw:?}")),
            live: true,
        }));
        found.push(external);
    }
    found
}

/// A machine may have one of another program's variables by chance.
fn is_half_of_a_pair(values: &BTreeMap<&'static str, (Raw, Origin)>) -> bool {
    let is_other = |origin: &Origin| match origin {
        Origin::Env(name) | Origin::DotEnv(name) => {
            OTHER_ENV.iter().any(|(other, ..)| other == name)
        }
        _ => false,
    };
    values.len() == 1 && values.values().all(|(_, origin)| is_other(origin))
}

fn show(key: &str, raw: &Raw) -> String {
    if key == "secret" {
        return "********".to_owned();
    }
    match raw {
        Raw::Text(text) | Raw::Toml(toml::Value::String(text)) => text.clone(),
        Raw::Toml(toml::Value::Array(items)) => {
            let words = items.iter().filter_map(toml::Value::as_str);
            words.collect::<Vec<_>>().join(",")
        }
        Raw::Toml(value) => value.to_string(),
    }
}

impl External {
    /// The keys of a provider with what they do.
    pub fn keys() -> impl Iterator<Item = (&'static str, &'static str)> {
        KEYS.iter().map(|key| (key.name, key.doc))
    }

    /// A provider of which nothing but the name is known.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            enabled: false,
            client_ids: Vec::new(),
            secret: None,
            url: None,
            scopes: None,
            redirect_uri: None,
            skip_nonce_check: false,
            email_optional: false,
            email_authority: EmailAuthority::Verified,
            email_domains: Vec::new(),
            tenants: Vec::new(),
        }
    }

    fn read(
        name: &str,
        values: &BTreeMap<&'static str, (Raw, Origin)>,
        problems: &mut Vec<String>,
    ) -> Self {
        let mut external = Self::new(name);
        for key in KEYS {
            if let Some((raw, origin)) = values.get(key.name)
                && let Err(expected) = (key.read)(&mut external, raw)
            {
                let key = key.name;
                problems.push(format!(
                    "auth.external.{name}.{key} ({origin}) must be {expected}"
                ));
            }
        }
        if !values.contains_key("enabled") {
            external.enabled = !external.client_ids.is_empty();
        }
        external.url = external
            .url
            .map(|url| url.trim_end_matches('/').to_owned())
            .filter(|url| !url.is_empty());
        external
    }

    fn check(&self, problems: &mut Vec<String>) {
        let name = &self.name;
        let is_word = name.len() <= 50
            && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b));
        if !is_word || TAKEN.contains(&name.as_str()) {
            problems.push(format!(
                "auth.external.{name}: the name of a provider has 1 to 50 of a-z, 0-9, _ and -, and is none of {}",
                TAKEN.join(", ")
            ));
        }
        if self.enabled && self.client_ids.is_empty() {
            problems.push(format!(
                "auth.external.{name} is enabled and has no client_id"
            ));
        }
        let needs_url = name == WITHOUT_ADDRESS || !PRESETS.contains(&name.as_str());
        if self.enabled && needs_url && self.url.is_none() {
            let near = super::nearest(name, PRESETS.into_iter(), "", "");
            problems.push(format!(
                "auth.external.{name} has no url: the issuer of the provider{near}"
            ));
        }
        for (key, url) in [("url", &self.url), ("redirect_uri", &self.redirect_uri)] {
            if url.as_deref().is_some_and(|url| !is_secure(url)) {
                problems.push(format!(
                    "auth.external.{name}.{key} must be an https address (http is for this machine only)"
                ));
            }
        }
    }
}

/// What travels there are codes and secrets.
fn is_secure(text: &str) -> bool {
    let Ok(url) = url::Url::parse(text) else {
        return false;
    };
    let is_loopback = match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => return false,
    };
    let is_plain = url.username().is_empty() && url.password().is_none();
    is_plain && (url.scheme() == "https" || (url.scheme() == "http" && is_loopback))
}

#[cfg(test)]
mod tests;
