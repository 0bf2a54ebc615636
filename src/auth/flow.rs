//! Flows: sign-ins that leave the application, for a mail or an identity provider, and come back to it.
//!
//! A flow that began with a code challenge (PKCE, RFC 7636) ends with a code in the query of the redirect and with
//! nothing else: only who knows the verifier can exchange it for a session. The verifier is never in an address. A flow
//! that began without one ends with tokens in the fragment.
//!
//! Codes are random, 256 bits, stored as SHA-256, valid for five minutes and used up by the statement that finds them.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use url::Url;
use uuid::Uuid;

use super::audit_log::Kind;
pub(super) use super::landing::{
    redirect_with_code, redirect_with_error, redirect_with_message, redirect_with_session,
};
use super::limits::{self, Limited, Origin};
use super::model::{Client, TokenResponse};
use super::oauth::PendingIdentity;
use super::queries::{self, FlowRow};
use super::secrets::token_hash;
use super::sign_in::{self, Method};
use super::{Auth, AuthError, audit_log};
use crate::clock::random_token;
use crate::config;
use crate::db::Tx;
use crate::error::ErrorCode;

/// How long a code can be exchanged.
const CODE_LIFETIME: TimeDelta = TimeDelta::minutes(5);

/// How a verifier becomes a challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transform {
    S256,
    Plain,
}

/// What a client begins a flow with: the condensed verifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Challenge {
    value: String,
    transform: Transform,
}

impl Challenge {
    /// Reads `code_challenge` and `code_challenge_method`; clients send both, neither, or empty texts.
    ///
    /// # Errors
    /// [`AuthError::Invalid`] for one without the other, another form, and method `plain` unless it is allowed.
    pub(super) fn parse(
        settings: &config::Auth,
        challenge: Option<&str>,
        method: Option<&str>,
    ) -> Result<Option<Self>, AuthError> {
        let given = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
        let (value, method) = match (given(challenge), given(method)) {
            (None, None) => return Ok(None),
            (Some(value), Some(method)) => (value, method.to_ascii_lowercase()),
            _ => {
                let message = "PKCE needs both code_challenge and code_challenge_method";
                return Err(AuthError::Invalid(message));
            }
        };
        let transform = match method.as_str() {
            "s256" => Transform::S256,
            "plain" if settings.allow_pkce_plain => Transform::Plain,
            "plain" => {
                let message = "code_challenge_method plain is not allowed; use S256";
                return Err(AuthError::Invalid(message));
            }
            _ => {
                let message = "code_challenge_method must be S256";
                return Err(AuthError::Invalid(message));
            }
        };
        if !is_unreserved(&value) {
            let message = "code_challenge must be 43 to 128 letters, digits or -._~";
            return Err(AuthError::Invalid(message));
        }
        Ok(Some(Self { value, transform }))
    }

    fn method(&self) -> &'static str {
        match self.transform {
            Transform::S256 => "s256",
            Transform::Plain => "plain",
        }
    }
}

fn is_unreserved(text: &str) -> bool {
    let unreserved =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    (43..=128).contains(&text.len()) && text.bytes().all(unreserved)
}

/// A flow to begin.
pub(super) struct NewFlow<'a> {
    /// What its end must fit.
    pub(super) challenge: Option<&'a Challenge>,
    /// Where it ends; from [`super::redirect::target`].
    pub(super) redirect_to: &'a Url,
    /// `email`, or the name of an identity provider.
    pub(super) provider: &'a str,
    /// Of the session to come.
    pub(super) method: Method,
    /// The signed-in user who adds an identity.
    pub(super) link_user_id: Option<Uuid>,
    /// The `state` that the provider hands back; stored as a hash, and found again with `queries::take_flow`.
    pub(super) state: Option<&'a str>,
    /// What only the browser that begins knows; stored as a hash.
    pub(super) browser: Option<&'a str>,
    /// What is needed when the provider comes back; stored sealed, and opened with [`open_secrets`].
    pub(super) secrets: Option<&'a [u8]>,
    /// How long it may take until the user comes back.
    pub(super) lifetime: TimeDelta,
}

/// Begins a flow.
///
/// # Errors
/// [`AuthError::Db`].
pub(super) async fn begin(auth: &Auth, tx: &Tx, new: &NewFlow<'_>) -> Result<Uuid, AuthError> {
    let (id, now) = (Uuid::new_v4(), auth.clock().now());
    let row = FlowRow {
        id,
        user_id: None,
        linking_target_id: new.link_user_id,
        provider: new.provider,
        method: new.method.as_str(),
        challenge: new.challenge.map(|challenge| challenge.value.as_str()),
        challenge_method: new.challenge.map(Challenge::method),
        redirect_to: new.redirect_to.as_str(),
        state_hash: new.state.map(token_hash),
        browser_hash: new.browser.map(token_hash),
        secrets: new
            .secrets
            .map(|plain| auth.secrets().seal(plain, id.as_bytes())),
        at: now,
        expires_at: now + new.lifetime,
    };
    queries::insert_flow(tx, &row).await?;
    Ok(id)
}

/// What [`NewFlow::secrets`] were.
///
/// # Errors
/// [`AuthError::Internal`] when they were sealed under another master key.
pub(super) fn open_secrets(
    auth: &Auth,
    flow_id: Uuid,
    sealed: &[u8],
) -> Result<Vec<u8>, AuthError> {
    let opened = auth.secrets().open(sealed, flow_id.as_bytes());
    opened.ok_or_else(|| AuthError::Internal("the secrets of a flow cannot be opened".to_owned()))
}

/// What an identity provider gave for itself; passed on once.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct ProviderTokens {
    /// Its access token.
    pub(super) access_token: Option<String>,
    /// Its refresh token.
    pub(super) refresh_token: Option<String>,
    /// What is linked by the exchange.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) identity: Option<PendingIdentity>,
}

/// Ends a flow that began with a challenge: the code to put into the query of the redirect.
///
/// # Errors
/// [`ErrorCode::FlowStateNotFound`] when the flow is over, or began without a challenge.
pub(super) async fn issue_code(
    auth: &Auth,
    tx: &Tx,
    (flow_id, user_id): (Uuid, Uuid),
    method: Method,
    tokens: Option<&ProviderTokens>,
) -> Result<String, AuthError> {
    let (code, now) = (random_token::<32>(), auth.clock().now());
    let sealed = tokens.map(|tokens| {
        let plain = serde_json::to_vec(tokens).expect("tokens are JSON");
        auth.secrets().seal(&plain, flow_id.as_bytes())
    });
    let code_hash = token_hash(&code);
    let set = queries::set_code(
        tx,
        (flow_id, user_id),
        (&code_hash, method.as_str()),
        sealed.as_deref(),
        (now, now + CODE_LIFETIME),
    );
    match set.await? {
        0 => Err(NOT_FOUND),
        _ => Ok(code),
    }
}

const NOT_FOUND: AuthError = AuthError::Refused(
    ErrorCode::FlowStateNotFound,
    "The code is unknown, was used, or its sign-in is over",
);

/// Exchanges a code and its verifier for a session.
///
/// # Errors
/// [`AuthError::Invalid`] when one is missing; [`ErrorCode::FlowStateNotFound`], [`ErrorCode::FlowStateExpired`],
/// [`ErrorCode::BadCodeVerifier`]; [`AuthError::UserBanned`]; [`AuthError::TooManyRequests`].
pub(super) async fn exchange(
    auth: &Auth,
    (code, verifier): (&str, &str),
    client: &Client,
    origin: Origin,
) -> Result<TokenResponse, AuthError> {
    limits::count(auth, Limited::Token, origin).await?;
    let answer = exchange_once(auth, code, verifier, client).await;
    audit_log::noted(auth, answer, (Kind::Return, "pkce"), client).await
}

async fn exchange_once(
    auth: &Auth,
    code: &str,
    verifier: &str,
    client: &Client,
) -> Result<TokenResponse, AuthError> {
    if code.is_empty() || verifier.is_empty() {
        let message = "auth_code and code_verifier are both needed";
        return Err(AuthError::Invalid(message));
    }
    let condensed = digest::digest(&digest::SHA256, verifier.as_bytes());
    let s256 = URL_SAFE_NO_PAD.encode(condensed.as_ref());
    let code_hash = token_hash(code);
    let tx = auth.db().auth().begin().await?;
    let exchanged = async {
        let verifiers = (s256.as_str(), verifier);
        let now = auth.clock().now();
        let Some(flow) = queries::exchange_code(&tx, &code_hash, verifiers, now).await? else {
            return Ok(None);
        };
        let method = Method::from_text(&flow.method).unwrap_or(Method::OAuth);
        let mut tokens = provider_tokens(auth, &flow)?;
        if let Some(identity) = tokens.identity.take() {
            identity.link(auth, &tx, flow.user_id, client).await?;
        }
        let opened = sign_in::open(auth, &tx, flow.user_id, method, client).await?;
        Ok::<_, AuthError>(Some((opened, tokens)))
    };
    let exchanged = exchanged.await;
    let Some((opened, tokens)) = tx.finish(exchanged).await? else {
        return Err(refusal(auth, &code_hash).await?);
    };
    let mut answer = sign_in::answer(auth, opened).await?;
    answer.provider_token = tokens.access_token;
    answer.provider_refresh_token = tokens.refresh_token;
    Ok(answer)
}

/// What a provider gave, if one was asked.
fn provider_tokens(auth: &Auth, flow: &queries::Exchanged) -> Result<ProviderTokens, AuthError> {
    let Some(sealed) = &flow.secrets else {
        return Ok(ProviderTokens::default());
    };
    let plain = open_secrets(auth, flow.id, sealed)?;
    Ok(serde_json::from_slice(&plain).unwrap_or_default())
}

/// Why a code was not exchanged.
async fn refusal(auth: &Auth, code_hash: &[u8]) -> Result<AuthError, AuthError> {
    let connection = auth.db().auth().connection().await?;
    let found = queries::find_code(&connection, code_hash).await?;
    Ok(match found {
        None => NOT_FOUND,
        Some(expires_at) if expires_at <= auth.clock().now() => AuthError::Refused(
            ErrorCode::FlowStateExpired,
            "The code has expired; begin again",
        ),
        Some(_) => AuthError::Refused(
            ErrorCode::BadCodeVerifier,
            "code_verifier does not fit the code_challenge",
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    #[test]
    fn a_challenge_needs_both_parts_and_a_method_that_hides_the_verifier() {
        let strict = config::Auth::default();
        let parse = |challenge, method| Challenge::parse(&strict, challenge, method);
        for method in ["s256", "S256"] {
            let challenge = parse(Some(VALUE), Some(method)).unwrap().unwrap();
            assert_eq!(
                (challenge.value.as_str(), challenge.method()),
                (VALUE, "s256")
            );
        }
        assert_eq!(parse(None, None).unwrap(), None);
        assert_eq!(parse(Some(""), Some("")).unwrap(), None);
        let long = "a".repeat(129);
        for (challenge, method) in [
            (Some(VALUE), None),
            (None, Some("s256")),
            (Some(VALUE), Some("plain")),
            (Some(VALUE), Some("PLAIN")),
            (Some(VALUE), Some("none")),
            (Some(&VALUE[1..]), Some("s256")),
            (Some(long.as_str()), Some("s256")),
            (
                Some("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw+cM"),
                Some("s256"),
            ),
        ] {
            assert!(
                parse(challenge, method).is_err(),
                "{challenge:?} {method:?}"
            );
        }
        let lenient = config::Auth {
            allow_pkce_plain: true,
            ..config::Auth::default()
        };
        let plain = Challenge::parse(&lenient, Some(VALUE), Some("plain")).unwrap();
        assert_eq!(plain.unwrap().method(), "plain");
    }
}
