//! The way back from a provider.

use axum::http::StatusCode;
use chrono::TimeDelta;
use url::Url;

use super::account::{self, Arrival, End, Ended};
use super::client::{self, Granted};
use super::id_token::{self, Beside, Nonce};
use super::once;
use super::pending::PendingIdentity;
use super::profile::{self, Profile};
use super::provider::Provider;
use super::start::{BAD_STATE, Browser, FlowSecrets};
use crate::auth::audit_log::Kind;
use crate::auth::flow::{self, ProviderTokens};
use crate::auth::model::Client;
use crate::auth::queries::oauth as queries;
use crate::auth::queries::{self as shared, FoundFlow};
use crate::auth::secrets::token_hash;
use crate::auth::sign_in::{self, Method, Opened};
use crate::auth::{Auth, AuthError, audit_log, redirect, signed};
use crate::error::ErrorCode;
use crate::http::ApiError;
use crate::keys::secrets::Family;

/// What a provider sends, through the browser.
#[derive(Debug, Clone, Default, serde::Deserialize)]
pub(super) struct Answer {
    pub(super) state: Option<String>,
    pub(super) code: Option<String>,
    pub(super) error: Option<String>,
    /// Who answers (RFC 9207).
    pub(super) iss: Option<String>,
    /// Apple: the user's name, the first time.
    pub(super) user: Option<String>,
    /// Ours: the form came from our own page.
    pub(super) bounced: Option<String>,
}

impl Answer {
    /// Reads a posted form. Of a field that is there twice the first one counts.
    pub(super) fn from_form(body: &[u8]) -> Self {
        let mut answer = Self::default();
        for (name, value) in url::form_urlencoded::parse(body) {
            let field = match &*name {
                "state" => &mut answer.state,
                "code" => &mut answer.code,
                "error" => &mut answer.error,
                "iss" => &mut answer.iss,
                "user" => &mut answer.user,
                "bounced" => &mut answer.bounced,
                _ => continue,
            };
            field.get_or_insert_with(|| value.into_owned());
        }
        answer
    }

    /// The user did not want to.
    fn is_denied(&self) -> bool {
        // The second is Apple's.
        let denials = ["access_denied", "user_cancelled_authorize"];
        self.error
            .as_deref()
            .is_some_and(|it| denials.contains(&it))
    }
}

/// How the browser goes on: an address.
///
/// # Errors
/// None that the browser does not see where it is sent, but for settings that cannot be used.
pub(super) async fn finish(
    auth: &Auth,
    answer: &Answer,
    (browser, path_provider): (Option<&Browser>, Option<&str>),
    client: &Client,
) -> Result<String, AuthError> {
    let found = take(auth, answer, (browser, path_provider)).await;
    let (flow, target) = match audit_log::noted(auth, found, (Kind::Return, "oauth"), client).await
    {
        Ok(found) => found,
        // What is not ours to finish goes nowhere but home.
        Err(error) => return home(auth, error),
    };
    let led = lead(auth, answer, (&flow, &target), client).await;
    let led = audit_log::noted(auth, led, (Kind::Return, &flow.provider), client).await;
    Ok(led.unwrap_or_else(|error| {
        let mut error = ApiError::from(error);
        if answer.is_denied() {
            error = error.with_status(StatusCode::FORBIDDEN);
        }
        flow::redirect_with_error(&target, &error, true)
    }))
}

async fn lead(
    auth: &Auth,
    answer: &Answer,
    (flow, target): (&FoundFlow, &Url),
    client: &Client,
) -> Result<String, AuthError> {
    Ok(match run(auth, answer, flow, client).await? {
        Finished::Session(opened, provider_tokens) => {
            let mut tokens = sign_in::answer(auth, *opened).await?;
            tokens.provider_token = provider_tokens.access_token;
            tokens.provider_refresh_token = provider_tokens.refresh_token;
            flow::redirect_with_session(target, &tokens, None)
        }
        Finished::Code(code) => flow::redirect_with_code(target, &code),
    })
}

fn home(auth: &Auth, error: AuthError) -> Result<String, AuthError> {
    let site = redirect::target(&auth.config(), None)?;
    let error = ApiError::from(error);
    Ok(flow::redirect_with_error(&site, &error, true))
}

enum Finished {
    Session(Box<Opened>, ProviderTokens),
    Code(String),
}

/// The flow that an answer belongs to. It is used up, whatever follows.
async fn take(
    auth: &Auth,
    answer: &Answer,
    (browser, path_provider): (Option<&Browser>, Option<&str>),
) -> Result<(FoundFlow, Url), AuthError> {
    let state = answer.state.as_deref().unwrap_or_default();
    if state.len() > 200 || !signed::is_ours(auth, Family::OauthState, state) {
        return Err(BAD_STATE);
    }
    let tx = auth.db().auth().begin().await?;
    let taken = shared::take_flow(&tx, &token_hash(state)).await;
    let flow = tx.finish(taken).await?.ok_or(BAD_STATE)?;
    let is_in_time = flow.expires_at > auth.clock().now();
    let is_same_browser = browser.is_some_and(|browser| {
        let hash = browser.hash();
        flow.browser_hash.as_deref() == Some(hash.as_slice())
    });
    let is_same_provider = match path_provider {
        Some(name) => name == flow.provider,
        None => !Provider::find(&auth.config(), &flow.provider)
            .is_ok_and(|provider| provider.has_own_callback()),
    };
    if !is_in_time || !is_same_browser || !is_same_provider || flow.secrets.is_none() {
        forget(auth, &flow).await;
        return Err(BAD_STATE);
    }
    let target = Url::parse(&flow.redirect_to)
        .map_err(|_| AuthError::Internal("a flow leads to no address".to_owned()))?;
    Ok((flow, target))
}

/// A flow that gives no code is over. It expires by itself, if this fails.
async fn forget(auth: &Auth, flow: &FoundFlow) {
    if let Ok(connection) = auth.db().auth().connection().await {
        let _ = queries::delete_flow(&connection, flow.id).await;
    }
}

async fn run(
    auth: &Auth,
    answer: &Answer,
    flow: &FoundFlow,
    client: &Client,
) -> Result<Finished, AuthError> {
    let finished = run_to_end(auth, answer, flow, client).await;
    if !matches!(finished, Ok(Finished::Code(_))) {
        forget(auth, flow).await;
    }
    finished
}

async fn run_to_end(
    auth: &Auth,
    answer: &Answer,
    flow: &FoundFlow,
    client: &Client,
) -> Result<Finished, AuthError> {
    let config = auth.config();
    let provider =
        Provider::find(&config, &flow.provider).map_err(super::provider::Missing::token_refusal)?;
    let code = code(answer, &provider)?;
    let sealed = flow.secrets.as_deref().unwrap_or_default();
    let plain = flow::open_secrets(auth, flow.id, sealed)?;
    let secrets: FlowSecrets = serde_json::from_slice(&plain).map_err(|_| BAD_STATE)?;
    use_code(auth, code).await?;
    let (granted, profile) = fetch(auth, &provider, answer, (code, &secrets)).await?;
    let arrival = Arrival {
        provider: provider.name(),
        email_optional: provider.settings.email_optional,
        redirect_to: Some(&flow.redirect_to),
        profile: &profile,
        client,
    };
    match (flow.linking_target_id, flow.has_challenge) {
        (Some(user_id), true) => {
            // Linked when the code is exchanged: whoever began it has the verifier, whoever was only made to sign in at
            // the provider has not.
            let tokens = ProviderTokens {
                identity: Some(PendingIdentity::new(provider.name(), &profile)),
                ..granted.tokens
            };
            let tx = auth.db().auth().begin().await?;
            let end = (flow.id, user_id);
            let issued = flow::issue_code(auth, &tx, end, Method::OAuth, Some(&tokens)).await;
            Ok(Finished::Code(tx.finish(issued).await?))
        }
        (Some(user_id), false) => {
            let opened = account::link_and_finish(auth, &arrival, user_id).await?;
            Ok(Finished::Session(Box::new(opened), granted.tokens))
        }
        (None, has_challenge) => {
            let end = if has_challenge {
                End::Code {
                    flow_id: flow.id,
                    tokens: &granted.tokens,
                }
            } else {
                End::Session
            };
            Ok(match account::sign_in(auth, &arrival, &end).await? {
                Ended::Session(opened) => Finished::Session(opened, granted.tokens),
                Ended::Code(code) => Finished::Code(code),
            })
        }
    }
}

/// The code of a good answer.
fn code<'a>(answer: &'a Answer, provider: &Provider) -> Result<&'a str, AuthError> {
    if answer.error.is_some() {
        client::note(provider, "it answered with an error");
        let message = if answer.is_denied() {
            "The sign-in was refused at the provider"
        } else {
            "The provider answered with an error"
        };
        return Err(AuthError::Refused(ErrorCode::BadOauthCallback, message));
    }
    let code = answer.code.as_deref();
    code.filter(|code| !code.is_empty() && code.len() <= 4096)
        .ok_or(AuthError::Refused(
            ErrorCode::BadOauthCallback,
            "The provider's answer has no code",
        ))
}

/// How long a code is remembered; providers forget theirs after minutes.
const CODE_MEMORY: TimeDelta = TimeDelta::days(1);

/// A code is good for one answer, of whichever provider. One that came with the state of a hostile provider, and was sent
/// to it, must not come again with that of the provider whose code it is (mix-up): its challenge and nonce may well be
/// those of a flow that the attacker has begun.
async fn use_code(auth: &Auth, code: &str) -> Result<(), AuthError> {
    let expires_at = auth.clock().now() + CODE_MEMORY;
    if once::use_up(auth, ("code", code), expires_at).await? {
        return Ok(());
    }
    let message = "The provider's code was used before; begin again";
    Err(AuthError::Refused(ErrorCode::BadOauthCallback, message))
}

/// Who signed in at the provider.
async fn fetch(
    auth: &Auth,
    provider: &Provider,
    answer: &Answer,
    (code, secrets): (&str, &FlowSecrets),
) -> Result<(Granted, Profile), AuthError> {
    let fetched = async {
        let found = client::find(auth, provider, &secrets.redirect_uri).await;
        let endpoints = found.map_err(|_| "its endpoints are not known".to_owned())?;
        check_sender(answer, endpoints.issuer.as_ref())?;
        let granted = endpoints.exchange(auth, code, secrets).await?;
        let mut profile = match &granted.id_token {
            Some(token) if provider.is_oidc() => {
                let beside = Beside {
                    nonce: Nonce::Sent(&secrets.nonce),
                    access_token: Some(&granted.access_token),
                };
                let mut claims = id_token::verify(auth, provider, token, beside).await?;
                if let (None, Some(url)) = (claims.get("email"), &endpoints.user_info) {
                    let subject = claims.get("sub").and_then(serde_json::Value::as_str);
                    let subject = subject.unwrap_or_default();
                    let token = &granted.access_token;
                    let further = profile::user_info(auth, url, token, subject).await?;
                    for (name, value) in further {
                        claims.entry(name).or_insert(value);
                    }
                }
                Profile::from_claims(provider, &claims)?
            }
            _ => profile::fetch(auth, provider, &granted.access_token).await?,
        };
        if provider.name() == "apple" {
            profile.add_name(answer.user.as_deref());
        }
        Ok((granted, profile))
    };
    let fetched: Result<_, String> = fetched.await;
    fetched.map_err(|problem| {
        client::note(provider, &problem);
        client::unavailable()
    })
}

/// A code of another provider must not be sent to this one (mix-up).
fn check_sender(answer: &Answer, issuer: Option<&(String, bool)>) -> Result<(), String> {
    match (&answer.iss, issuer) {
        (Some(sender), Some((issuer, _))) if sender != issuer => {
            Err("the answer is of another issuer".to_owned())
        }
        (None, Some((_, true))) => Err("the answer does not name its issuer".to_owned()),
        _ => Ok(()),
    }
}
