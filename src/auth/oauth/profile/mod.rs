//! What a provider says of a user, in the words of an identity.

use axum::http::{HeaderMap, HeaderValue, header};
use serde_json::{Map, Value, json};

use super::http::Client;
use super::provider::{Kind, Provider};
use crate::auth::Auth;
use crate::auth::address::Email;
use crate::config::external::EmailAuthority;

/// Longer texts are cut, in characters.
const MAX_TEXT: usize = 2048;

/// OpenID Connect: a subject has at most 255 characters.
const MAX_SUBJECT: usize = 255;

/// Domains of Google's own addresses.
const GOOGLE_DOMAINS: [&str; 2] = ["gmail.com", "googlemail.com"];

/// A user at a provider.
#[derive(Debug, Clone)]
pub(super) struct Profile {
    /// Who it is there, for ever.
    pub(super) subject: String,
    /// Its address, in our spelling.
    pub(super) email: Option<Email>,
    /// Whether it is believed that the address is the user's.
    pub(super) is_vouched: bool,
    /// What is kept as `identity_data`.
    pub(super) data: Map<String, Value>,
}

/// Claims that are kept under their own names.
const KEPT: [&str; 10] = [
    "iss",
    "name",
    "picture",
    "preferred_username",
    "nickname",
    "given_name",
    "family_name",
    "profile",
    "website",
    "locale",
];

/// Further claims, kept as `custom_claims`.
const CUSTOM: [&str; 3] = ["hd", "tid", "groups"];

impl Profile {
    /// From the verified claims of an ID token.
    ///
    /// # Errors
    /// Why it is none, for the log.
    pub(super) fn from_claims(
        provider: &Provider,
        claims: &Map<String, Value>,
    ) -> Result<Self, String> {
        let subject = text(claims, "sub").ok_or("it has no subject")?;
        let mut data = Map::new();
        for name in KEPT {
            if let Some(value) = text(claims, name) {
                data.insert(name.to_owned(), value.into());
            }
        }
        let custom: Map<String, Value> = CUSTOM
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), clean(claims.get(*name)?)?)))
            .collect();
        if !custom.is_empty() {
            data.insert("custom_claims".to_owned(), Value::Object(custom));
        }
        let address = text(claims, "email");
        let says_verified = is_verified(provider, claims);
        Self::new(provider, subject, (address, says_verified), data, claims)
    }

    fn new(
        provider: &Provider,
        subject: String,
        (address, says_verified): (Option<String>, bool),
        mut data: Map<String, Value>,
        claims: &Map<String, Value>,
    ) -> Result<Self, String> {
        if subject.is_empty() || subject.chars().count() > MAX_SUBJECT {
            return Err("its subject is empty or too long".to_owned());
        }
        let email = address.and_then(|text| Email::parse(&text).ok());
        let is_vouched = says_verified
            && email
                .as_ref()
                .is_some_and(|email| is_authority(provider, email, claims));
        data.insert("sub".to_owned(), subject.as_str().into());
        data.insert("provider_id".to_owned(), subject.as_str().into());
        if let Some(email) = &email {
            data.insert("email".to_owned(), email.as_str().into());
        }
        // What others read as a proof must be one.
        data.insert("email_verified".to_owned(), is_vouched.into());
        data.insert("phone_verified".to_owned(), false.into());
        let other_names = [("full_name", "name"), ("avatar_url", "picture")];
        for (name, source) in other_names {
            if let Some(value) = data.get(source).cloned() {
                data.insert(name.to_owned(), value);
            }
        }
        Ok(Self {
            subject,
            email,
            is_vouched,
            data,
        })
    }

    /// Adds a name that comes beside the token: Apple sends it once, in the browser, so it is only shown.
    pub(super) fn add_name(&mut self, user: Option<&str>) {
        let user = user.filter(|text| text.len() <= 4096);
        let user = user.and_then(|text| serde_json::from_str::<Value>(text).ok());
        let Some(name) = user.as_ref().and_then(|user| user.get("name")) else {
            return;
        };
        let parts = ["firstName", "lastName"].map(|part| name.get(part).and_then(Value::as_str));
        let full: Vec<&str> = parts.into_iter().flatten().collect();
        if !full.is_empty() && !self.data.contains_key("name") {
            let full = short(&full.join(" "));
            self.data.insert("name".to_owned(), full.as_str().into());
            self.data.insert("full_name".to_owned(), full.into());
        }
    }
}

/// `true`, and nothing that looks like it. Apple alone writes the word as text, and says so in its documents.
/// Microsoft has a claim of its own, and no other word of it counts.
fn is_verified(provider: &Provider, claims: &Map<String, Value>) -> bool {
    let claim = claims.get("email_verified");
    match provider.name() {
        "apple" => {
            matches!(claim, Some(Value::Bool(true)))
                || claim.and_then(Value::as_str) == Some("true")
        }
        "azure" => {
            let owner_verified = claims.get("xms_edov");
            !provider.settings.tenants.is_empty()
                || matches!(owner_verified, Some(Value::Bool(true)))
                || owner_verified.and_then(Value::as_i64) == Some(1)
                || matches!(owner_verified.and_then(Value::as_str), Some("1" | "true"))
        }
        _ => matches!(claim, Some(Value::Bool(true))),
    }
}

/// Whether the provider's word on this address is taken.
fn is_authority(provider: &Provider, email: &Email, claims: &Map<String, Value>) -> bool {
    let settings = &provider.settings;
    match settings.email_authority {
        EmailAuthority::Verified => true,
        EmailAuthority::Never => false,
        EmailAuthority::Domain => {
            let domain = email.as_str().rsplit_once('@').map_or("", |(_, it)| it);
            let is_listed = settings
                .email_domains
                .iter()
                .any(|it| it.eq_ignore_ascii_case(domain));
            let is_google = provider.name() == "google"
                && (GOOGLE_DOMAINS.contains(&domain)
                    || text(claims, "hd").is_some_and(|hd| hd.eq_ignore_ascii_case(domain)));
            is_listed || is_google
        }
    }
}

/// The user an access token of a plain OAuth 2 provider stands for.
///
/// # Errors
/// Why it cannot be read, for the log.
pub(super) async fn fetch(
    auth: &Auth,
    provider: &Provider,
    access_token: &str,
) -> Result<Profile, String> {
    let client = Client::new(auth);
    match &provider.kind {
        Kind::GitHub { api, .. } => {
            let user = get(&client, &format!("{api}/user"), access_token).await?;
            let emails = get(&client, &format!("{api}/user/emails"), access_token).await?;
            github(provider, &user, &emails)
        }
        Kind::Discord { api } => {
            let user = get(&client, &format!("{api}/api/users/@me"), access_token).await?;
            discord(provider, &user)
        }
        Kind::Oidc { .. } => Err("its ID token is missing".to_owned()),
    }
}

/// Claims of the userinfo endpoint; they must be of `subject`.
///
/// # Errors
/// Why they cannot be used, for the log.
pub(super) async fn user_info(
    auth: &Auth,
    url: &str,
    access_token: &str,
    subject: &str,
) -> Result<Map<String, Value>, String> {
    let info = get(&Client::new(auth), url, access_token).await?;
    let claims = info.as_object().cloned().unwrap_or_default();
    if text(&claims, "sub").as_deref() != Some(subject) {
        return Err("its userinfo is of another user".to_owned());
    }
    Ok(claims)
}

async fn get(client: &Client, url: &str, access_token: &str) -> Result<Value, String> {
    let mut headers = HeaderMap::new();
    let bearer = HeaderValue::from_str(&format!("Bearer {access_token}"));
    let mut bearer = bearer.map_err(|_| "its access token cannot be sent".to_owned())?;
    bearer.set_sensitive(true);
    headers.insert(header::AUTHORIZATION, bearer);
    let json = HeaderValue::from_static("application/json");
    headers.insert(header::ACCEPT, json);
    let body = client.get(url, headers).await?;
    serde_json::from_slice(&body).map_err(|_| "its answer is no JSON".to_owned())
}

/// The primary address counts, if GitHub has verified it; the one in the profile may be anything.
fn github(provider: &Provider, user: &Value, emails: &Value) -> Result<Profile, String> {
    let id = user.get("id").and_then(Value::as_u64);
    let subject = id.ok_or("it tells no id")?.to_string();
    let primary = emails
        .as_array()
        .into_iter()
        .flatten()
        .find(|it| it.get("primary") == Some(&Value::Bool(true)));
    let address = primary
        .and_then(|it| it.get("email"))
        .and_then(Value::as_str);
    let says_verified = primary.and_then(|it| it.get("verified")) == Some(&Value::Bool(true));
    let member = |name: &str| user.get(name).and_then(Value::as_str).map(short);
    let data = members(&[
        ("name", member("name")),
        ("picture", member("avatar_url")),
        ("user_name", member("login")),
        ("preferred_username", member("login")),
        ("iss", Some(issuer_of(provider))),
    ]);
    let address = (address.map(str::to_owned), says_verified);
    Profile::new(provider, subject, address, data, &Map::new())
}

fn discord(provider: &Provider, user: &Value) -> Result<Profile, String> {
    let member = |name: &str| user.get(name).and_then(Value::as_str).map(short);
    let subject = member("id").ok_or("it tells no id")?;
    let is_number = subject.bytes().all(|byte| byte.is_ascii_digit());
    let picture = member("avatar")
        .filter(|hash| is_number && hash.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
        .map(|hash| format!("https://cdn.discordapp.com/avatars/{subject}/{hash}.png"));
    let data = members(&[
        ("name", member("global_name").or_else(|| member("username"))),
        ("picture", picture),
        ("user_name", member("username")),
        ("preferred_username", member("username")),
        ("iss", Some(issuer_of(provider))),
    ]);
    let says_verified = user.get("verified") == Some(&Value::Bool(true));
    let address = (member("email"), says_verified);
    Profile::new(provider, subject, address, data, &Map::new())
}

fn issuer_of(provider: &Provider) -> String {
    match &provider.kind {
        Kind::GitHub { api, .. } | Kind::Discord { api } => api.clone(),
        Kind::Oidc { issuer, .. } => issuer.clone(),
    }
}

fn members(pairs: &[(&str, Option<String>)]) -> Map<String, Value> {
    pairs
        .iter()
        .filter_map(|(name, value)| Some(((*name).to_owned(), json!(value.as_ref()?))))
        .collect()
}

fn text(claims: &Map<String, Value>, name: &str) -> Option<String> {
    claims.get(name).and_then(Value::as_str).map(short)
}

/// Text that Postgres can keep, and not too much of it.
fn short(text: &str) -> String {
    text.chars().filter(|c| *c != '\0').take(MAX_TEXT).collect()
}

/// Texts, numbers and short lists of texts.
fn clean(value: &Value) -> Option<Value> {
    match value {
        Value::String(text) => Some(short(text).into()),
        Value::Array(items) => {
            let texts = items.iter().filter_map(Value::as_str).take(100);
            Some(texts.map(short).collect())
        }
        Value::Bool(_) | Value::Number(_) => Some(value.clone()),
        Value::Null | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests;
