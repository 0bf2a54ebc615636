//! The way to a provider.
//!
//! What the answer must fit is kept here, in `auth.flow_state`: the signed state as a hash, our own code verifier and nonce sealed,
//! and which browser it began in. The browser has a cookie for that; nobody can be signed in by somebody else's answer.

use axum::http::HeaderMap;
use axum::http::header::COOKIE;
use chrono::TimeDelta;
use oauth2::{CsrfToken, PkceCodeChallenge, PkceCodeVerifier};
use serde::{Deserialize, Serialize};
use url::Url;
use uuid::Uuid;

use super::client;
use super::provider::Provider;
use crate::auth::audit_log::Kind;
use crate::auth::flow::{self, Challenge, NewFlow};
use crate::auth::limits::{self, Limited, Origin};
use crate::auth::model::Client;
use crate::auth::queries::oauth as queries;
use crate::auth::secrets::token_hash;
use crate::auth::sign_in::Method;
use crate::auth::{Auth, AuthError, audit_log, redirect, signed};
use crate::clock::random_token;
use crate::config::Config;
use crate::error::ErrorCode;
use crate::keys::secrets::Family;

/// How long a user may take at the provider.
const LIFETIME: TimeDelta = TimeDelta::minutes(5);

/// A parameter that is passed on is no longer than this, and there are no more of them.
const MAX_PARAMETER: usize = 1024;
const MAX_PARAMETERS: usize = 20;

/// Parameters of the request to the provider that only we set, and parameters that are ours, in lower case.
const RESERVED: [&str; 31] = [
    "access_token",
    "apikey",
    "authorization",
    "client_assertion",
    "client_assertion_type",
    "client_id",
    "client_secret",
    "code",
    "code_challenge",
    "code_challenge_method",
    "code_verifier",
    "error",
    "flow_type",
    "grant_type",
    "id_token",
    "invite_token",
    "iss",
    "link_identity",
    "nonce",
    "provider",
    "redirect_to",
    "redirect_uri",
    "refresh_token",
    "request",
    "request_uri",
    "response_mode",
    "response_type",
    "scope",
    "scopes",
    "skip_http_redirect",
    "state",
];

/// A wish to sign in with a provider.
#[derive(Debug, Default)]
pub(super) struct Start {
    pub(super) provider: String,
    pub(super) redirect_to: Option<String>,
    pub(super) scopes: Option<String>,
    pub(super) code_challenge: Option<String>,
    pub(super) code_challenge_method: Option<String>,
    /// Everything that was in the query.
    pub(super) parameters: Vec<(String, String)>,
}

impl Start {
    /// Reads a query. Names are ours as they are written here, and nobody's in another case.
    pub(super) fn from_query(query: &str) -> Self {
        let parameters: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect();
        let first = |name: &str| {
            let mut found = parameters.iter().filter(|(given, _)| given == name);
            found.next().map(|(_, value)| value.clone())
        };
        Self {
            provider: first("provider").unwrap_or_default(),
            redirect_to: first("redirect_to"),
            scopes: first("scopes"),
            code_challenge: first("code_challenge"),
            code_challenge_method: first("code_challenge_method"),
            parameters,
        }
    }

    /// What is passed on to the provider. A reserved name is so in any case: some providers do not look at it.
    fn passed_on(&self) -> impl Iterator<Item = (&str, &str)> {
        self.parameters
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .filter(|(name, value)| {
                is_parameter_name(name)
                    && (1..=MAX_PARAMETER).contains(&value.len())
                    && !value.chars().any(char::is_control)
                    && !RESERVED.contains(&name.to_ascii_lowercase().as_str())
            })
            .take(MAX_PARAMETERS)
    }
}

fn is_parameter_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(is_plain)
}

/// What is needed once the provider answers.
#[derive(Serialize, Deserialize)]
pub(super) struct FlowSecrets {
    /// The verifier of our own code challenge.
    pub(super) verifier: String,
    /// What the ID token must repeat.
    pub(super) nonce: String,
    /// Where the provider was told to send the browser.
    pub(super) redirect_uri: String,
    /// The provider's page, for a browser that has not begun here yet.
    pub(super) provider_url: Option<String>,
}

/// A browser, by the secret in its cookie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Browser(String);

impl Browser {
    /// The one of a request, else a new one.
    pub(super) fn of(config: &Config, headers: &HeaderMap) -> Self {
        Self::known(config, headers).unwrap_or_else(|| Self(random_token::<32>()))
    }

    /// The one of a request.
    pub(super) fn known(config: &Config, headers: &HeaderMap) -> Option<Self> {
        let name = cookie_name(config);
        let cookies = headers.get_all(COOKIE);
        let texts = cookies.iter().filter_map(|value| value.to_str().ok());
        let mut pairs = texts
            .flat_map(|text| text.split(';'))
            .filter_map(|pair| pair.trim().split_once('='));
        let (_, secret) = pairs.find(|(given, _)| *given == name)?;
        let is_ours = secret.len() == 43
            && secret
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        is_ours.then(|| Self(secret.to_owned()))
    }

    /// What is stored of it.
    pub(super) fn hash(&self) -> Vec<u8> {
        token_hash(&self.0)
    }

    /// The `Set-Cookie` header. It lives somewhat longer than a flow.
    pub(super) fn cookie(&self, config: &Config) -> String {
        let name = cookie_name(config);
        let secure = if is_https(config) { "; Secure" } else { "" };
        let secret = &self.0;
        format!("{name}={secret}; Path=/; Max-Age=600; HttpOnly; SameSite=Lax{secure}")
    }
}

/// With the prefix no other host and no plain http can have set it.
fn cookie_name(config: &Config) -> &'static str {
    if is_https(config) {
        "__Host-sb-oauth"
    } else {
        "sb-oauth"
    }
}

fn is_https(config: &Config) -> bool {
    config.api_url().starts_with("https://")
}

/// Begins a sign-in in a browser. Answers where to send it.
///
/// # Errors
/// [`AuthError::Invalid`], [`AuthError::RedirectRefused`], [`AuthError::TooManyRequests`];
/// [`AuthError::Refused`] when the provider cannot be reached.
pub(super) async fn begin(
    auth: &Auth,
    start: &Start,
    browser: &Browser,
    origin: Origin,
) -> Result<String, AuthError> {
    limits::count(auth, Limited::OAuth, origin).await?;
    let ready = prepare(auth, start).await?;
    let url = ready.url.clone();
    ready.store(auth, Some(browser), None).await?;
    Ok(url)
}

/// Begins to link an identity to `user_id`. The request comes from a script, whose answer sets no cookie: the browser is
/// sent to us first, and is bound when it comes.
///
/// # Errors
/// Those of [`begin`].
pub(super) async fn begin_link(
    auth: &Auth,
    start: &Start,
    user_id: Uuid,
    origin: Origin,
) -> Result<String, AuthError> {
    limits::count(auth, Limited::OAuth, origin).await?;
    let ready = prepare(auth, start).await?;
    if auth.config().auth.link_requires_pkce && ready.challenge.is_none() {
        let message = "Linking an identity needs a code_challenge";
        return Err(AuthError::Invalid(message));
    }
    let (state, api_url) = (ready.state.clone(), auth.config().api_url());
    ready.store(auth, None, Some(user_id)).await?;
    Ok(format!(
        "{api_url}/auth/v1/authorize/continue?state={state}"
    ))
}

/// The provider's page, for a browser that brings the state of a flow that no browser has begun.
///
/// # Errors
/// [`ErrorCode::BadOauthState`].
pub(super) async fn resume(
    auth: &Auth,
    state: &str,
    browser: &Browser,
    client: &Client,
) -> Result<String, AuthError> {
    let url = resume_once(auth, state, browser).await;
    audit_log::noted(auth, url, (Kind::Return, "oauth"), client).await
}

async fn resume_once(auth: &Auth, state: &str, browser: &Browser) -> Result<String, AuthError> {
    if !signed::is_ours(auth, Family::OauthState, state) {
        return Err(BAD_STATE);
    }
    let now = auth.clock().now();
    let hashes = (token_hash(state), browser.hash());
    let bound = {
        let connection = auth.db().auth().connection().await?;
        queries::bind_flow(&connection, (&hashes.0, &hashes.1), now).await?
    };
    let (flow_id, sealed) = bound.ok_or(BAD_STATE)?;
    let plain = flow::open_secrets(auth, flow_id, &sealed)?;
    let secrets: Option<FlowSecrets> = serde_json::from_slice(&plain).ok();
    secrets
        .and_then(|secrets| secrets.provider_url)
        .ok_or(BAD_STATE)
}

/// One answer for all that can be wrong with a state.
pub(super) const BAD_STATE: AuthError = AuthError::Refused(
    ErrorCode::BadOauthState,
    "This sign-in is unknown, was used, has expired, or began in another browser; begin again",
);

struct Ready {
    provider: String,
    state: String,
    secrets: FlowSecrets,
    url: String,
    challenge: Option<Challenge>,
    redirect_to: Url,
}

async fn prepare(auth: &Auth, start: &Start) -> Result<Ready, AuthError> {
    let config = auth.config();
    if start.provider.is_empty() {
        return Err(AuthError::Invalid("provider is missing"));
    }
    let provider =
        Provider::find(&config, &start.provider).map_err(super::provider::Missing::refusal)?;
    let challenge = Challenge::parse(
        &config.auth,
        start.code_challenge.as_deref(),
        start.code_challenge_method.as_deref(),
    )?;
    let redirect_to = redirect::target(&config, start.redirect_to.as_deref())?;
    let (pkce, verifier) = PkceCodeChallenge::new_random_sha256();
    let state = signed::issue(auth, Family::OauthState)?;
    let nonce = random_token::<32>();
    let redirect_uri = provider.redirect_uri(&config);
    let client = client::find(auth, &provider, &redirect_uri).await?;
    let url = provider_url(&client, start, &provider, (&state, &nonce, pkce));
    Ok(Ready {
        provider: provider.name().to_owned(),
        secrets: secrets(&verifier, nonce, redirect_uri),
        state,
        url,
        challenge,
        redirect_to,
    })
}

fn secrets(verifier: &PkceCodeVerifier, nonce: String, redirect_uri: String) -> FlowSecrets {
    FlowSecrets {
        verifier: verifier.secret().clone(),
        nonce,
        redirect_uri,
        provider_url: None,
    }
}

fn provider_url(
    client: &client::Endpoints,
    start: &Start,
    provider: &Provider,
    (state, nonce, pkce): (&str, &str, PkceCodeChallenge),
) -> String {
    let mut request = client
        .oauth
        .authorize_url(|| CsrfToken::new(state.to_owned()))
        .set_pkce_challenge(pkce);
    for scope in provider.scopes(start.scopes.as_deref()) {
        request = request.add_scope(oauth2::Scope::new(scope));
    }
    if provider.is_oidc() {
        request = request.add_extra_param("nonce", nonce.to_owned());
    }
    for (name, value) in provider.own_parameters() {
        request = request.add_extra_param(*name, *value);
    }
    for (name, value) in start.passed_on() {
        request = request.add_extra_param(name.to_owned(), value.to_owned());
    }
    request.url().0.into()
}

impl Ready {
    async fn store(
        mut self,
        auth: &Auth,
        browser: Option<&Browser>,
        link_user_id: Option<Uuid>,
    ) -> Result<(), AuthError> {
        if browser.is_none() {
            self.secrets.provider_url = Some(self.url);
        }
        let secrets = serde_json::to_vec(&self.secrets).expect("texts are JSON");
        let new = NewFlow {
            challenge: self.challenge.as_ref(),
            redirect_to: &self.redirect_to,
            provider: &self.provider,
            method: Method::OAuth,
            link_user_id,
            state: Some(&self.state),
            browser: browser.map(|browser| browser.0.as_str()),
            secrets: Some(&secrets),
            lifetime: LIFETIME,
        };
        let tx = auth.db().auth().begin().await?;
        let begun = flow::begin(auth, &tx, &new).await;
        tx.finish(begun).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed_on(query: &str) -> Vec<(String, String)> {
        let start = Start::from_query(query);
        let pairs = start.passed_on();
        pairs.map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
    }

    /// Fails when a name is compared as it is written.
    #[test]
    fn nothing_reserved_is_passed_on_in_any_spelling() {
        for name in RESERVED {
            let mixed: String = name
                .char_indices()
                .map(|(at, c)| {
                    if at % 2 == 0 {
                        c.to_ascii_uppercase()
                    } else {
                        c
                    }
                })
                .collect();
            for spelling in [
                name.to_owned(),
                name.to_ascii_uppercase(),
                mixed,
                name.replace('_', "%5F"),
                format!("{name}%00"),
                format!("%20{name}"),
                format!("{name}[]"),
            ] {
                assert_eq!(passed_on(&format!("{spelling}=evil")), [], "{spelling}");
            }
        }
    }

    #[test]
    fn the_rest_is_passed_on_as_it_is_and_not_too_much() {
        let query =
            "provider=google&prompt=consent&access_type=offline&hd=b.example&x=%0a&y=&prompt=none";
        let expected = [
            ("prompt", "consent"),
            ("access_type", "offline"),
            ("hd", "b.example"),
            ("prompt", "none"),
        ];
        let expected = expected.map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(passed_on(query), expected);
        let many: Vec<String> = (0..50).map(|number| format!("p{number}=1")).collect();
        assert_eq!(passed_on(&many.join("&")).len(), MAX_PARAMETERS);
        assert_eq!(
            passed_on(&format!("p={}", "a".repeat(MAX_PARAMETER + 1))),
            []
        );
    }

    #[test]
    fn a_browser_is_told_by_its_cookie_alone() {
        let config = Config::default();
        let browser = Browser::of(&config, &HeaderMap::new());
        let cookie = browser.cookie(&config);
        let (pair, attributes) = cookie.split_once(';').unwrap();
        for attribute in ["Path=/", "HttpOnly", "SameSite=Lax"] {
            assert!(attributes.contains(attribute));
        }
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, format!("a=b; {pair}; c=d").parse().unwrap());
        assert_eq!(Browser::known(&config, &headers), Some(browser));
        headers.insert(COOKIE, "sb-oauth=short".parse().unwrap());
        assert_eq!(Browser::known(&config, &headers), None);
    }

    #[test]
    fn over_https_no_other_host_can_set_the_cookie() {
        let mut config = Config::default();
        config.server.api_url = Some("https://api.example".to_owned());
        let cookie = Browser::of(&config, &HeaderMap::new()).cookie(&config);
        assert!(cookie.starts_with("__Host-sb-oauth=") && cookie.ends_with("; Secure"));
        assert!(cookie.contains("; Path=/;") && !cookie.contains("Domain"));
    }
}
