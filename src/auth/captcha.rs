//! Captchas: a provider tells whether a person is there, before anything is made, sent or tried.

use std::time::Duration;

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use bytes::Bytes;
use serde::Deserialize;

use super::model::Client;
use super::{Auth, AuthError};
use crate::config::{self, CaptchaProvider, Secret};
use crate::error::ErrorCode;

/// The provider has this long.
const TIMEOUT: Duration = Duration::from_secs(10);

/// No solution is longer, in bytes.
const MAX_TOKEN_BYTES: usize = 8192;

/// What a provider says.
#[derive(Deserialize)]
struct Verdict {
    #[serde(default)]
    success: bool,
    #[serde(default)]
    hostname: Option<String>,
}

/// Whether captchas are asked for.
pub(super) fn is_required(auth: &Auth) -> bool {
    auth.config().auth.captcha_provider.is_some()
}

/// Lets a request with a solved captcha pass. A solution works once: that is for the provider to see to.
///
/// # Errors
/// [`AuthError::Refused`] with `captcha_failed`; [`AuthError::CaptchaUnavailable`] when nobody can tell.
pub(super) async fn check(
    auth: &Auth,
    token: Option<&str>,
    client: &Client,
) -> Result<(), AuthError> {
    let config = auth.config();
    let (Some(provider), Some(secret)) =
        (config.auth.captcha_provider, &config.auth.captcha_secret)
    else {
        return Ok(());
    };
    let token = token.map(str::trim).unwrap_or_default();
    if token.is_empty() || token.len() > MAX_TOKEN_BYTES {
        let message = "captcha protection: request disallowed (no captcha_token found)";
        return Err(AuthError::Refused(ErrorCode::CaptchaFailed, message));
    }
    let form = form(secret, token, client);
    let verdict = ask(auth, url(provider, &config.auth), form).await?;
    let is_ours = match (&verdict.hostname, config.auth.captcha_hostnames.as_slice()) {
        (_, []) => true,
        (Some(host), hosts) => hosts.iter().any(|ours| ours.eq_ignore_ascii_case(host)),
        (None, _) => false,
    };
    if verdict.success && is_ours {
        return Ok(());
    }
    let message = "captcha protection: request disallowed (the captcha was not solved)";
    Err(AuthError::Refused(ErrorCode::CaptchaFailed, message))
}

fn url(provider: CaptchaProvider, settings: &config::Auth) -> &str {
    settings
        .captcha_verify_url
        .as_deref()
        .unwrap_or(match provider {
            CaptchaProvider::Hcaptcha => "https://api.hcaptcha.com/siteverify",
            CaptchaProvider::Turnstile => {
                "https://challenges.cloudflare.com/turnstile/v0/siteverify"
            }
        })
}

fn form(secret: &Secret, token: &str, client: &Client) -> Bytes {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("secret", secret.expose().trim());
    form.append_pair("response", token);
    if let Some(ip) = client.ip {
        form.append_pair("remoteip", &ip.to_string());
    }
    Bytes::from(form.finish())
}

async fn ask(auth: &Auth, url: &str, form: Bytes) -> Result<Verdict, AuthError> {
    let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, kind)]);
    let answer = auth.outbound().post(url, headers, form, TIMEOUT).await;
    let answer = answer.map_err(|error| AuthError::CaptchaUnavailable(error.to_string()))?;
    if answer.status != StatusCode::OK {
        let cause = format!("the provider answered {}", answer.status.as_u16());
        return Err(AuthError::CaptchaUnavailable(cause));
    }
    serde_json::from_slice(&answer.body)
        .map_err(|_| AuthError::CaptchaUnavailable("the provider's answer is no JSON".to_owned()))
}
