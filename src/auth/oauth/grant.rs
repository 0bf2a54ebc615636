//! Signing in with an ID token that the client got from the provider by itself: one-tap buttons, native apps.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value};

use super::account::{self, Arrival, End, Ended};
use super::id_token::{self, Beside, Nonce};
use super::profile::Profile;
use super::provider::{Missing, Provider};
use super::{client, identities, once};
use crate::auth::audit_log::Kind;
use crate::auth::limits::{self, Limited, Origin};
use crate::auth::model::{Client, TokenResponse};
use crate::auth::sign_in;
use crate::auth::user::Bearer;
use crate::auth::{Auth, AuthError, audit_log};
use crate::config::Config;
use crate::error::ErrorCode;

/// What a client brings.
#[derive(Debug, Default)]
pub(in crate::auth) struct IdTokenGrant {
    /// Name of the provider.
    pub(in crate::auth) provider: Option<String>,
    /// The token.
    pub(in crate::auth) id_token: Option<String>,
    /// The provider's access token; the ID token names it by a hash.
    pub(in crate::auth) access_token: Option<String>,
    /// What the token's nonce is the hash of.
    pub(in crate::auth) nonce: Option<String>,
    /// The provider by its issuer, if it is not named.
    pub(in crate::auth) issuer: Option<String>,
    /// Which of the project's client ids the token must be for.
    pub(in crate::auth) client_id: Option<String>,
    /// The identity is linked to the bearer.
    pub(in crate::auth) link_identity: bool,
}

/// Signs in, or links.
///
/// # Errors
/// [`AuthError::Invalid`]; [`ErrorCode::ProviderDisabled`]; [`ErrorCode::BadOauthCallback`] for a token that is not
/// believed; those of [`account::sign_in`] and [`account::link`]; [`AuthError::TooManyRequests`].
pub(in crate::auth) async fn sign_in(
    auth: &Auth,
    grant: IdTokenGrant,
    bearer: Option<Bearer<'_>>,
    (client, origin): (&Client, Origin),
) -> Result<TokenResponse, AuthError> {
    limits::count(auth, Limited::Token, origin).await?;
    let mut provider = provider(&auth.config(), &grant)?;
    if let Some(wanted) = given(grant.client_id.as_deref()) {
        provider.settings.client_ids.retain(|id| *id == wanted);
    }
    let answer = sign_in_at(auth, &provider, &grant, bearer, client).await;
    audit_log::noted(auth, answer, (Kind::Return, provider.name()), client).await
}

async fn sign_in_at(
    auth: &Auth,
    provider: &Provider,
    grant: &IdTokenGrant,
    bearer: Option<Bearer<'_>>,
    client: &Client,
) -> Result<TokenResponse, AuthError> {
    let token = given(grant.id_token.as_deref()).ok_or(AuthError::Invalid("id_token required"))?;
    let link_to = match (grant.link_identity, bearer) {
        (true, Some(bearer)) => Some(identities::linking_user(auth, bearer).await?),
        (true, None) => {
            let message = "Linking an identity needs a signed-in user";
            return Err(AuthError::Refused(ErrorCode::NoAuthorization, message));
        }
        (false, _) => None,
    };
    let beside = Beside {
        nonce: if provider.settings.skip_nonce_check {
            Nonce::Unchecked
        } else {
            Nonce::HashOf(given(grant.nonce.as_deref()))
        },
        access_token: given(grant.access_token.as_deref()),
    };
    let verified = async {
        let claims = id_token::verify(auth, provider, token, beside).await?;
        let profile = Profile::from_claims(provider, &claims)?;
        Ok::<_, String>((claims, profile))
    };
    let (claims, profile) = verified.await.map_err(|problem| {
        client::note(provider, &problem);
        BAD_TOKEN
    })?;
    if !provider.settings.skip_nonce_check {
        use_once(auth, &claims).await?;
    }
    let arrival = Arrival {
        provider: provider.name(),
        email_optional: provider.settings.email_optional,
        redirect_to: None,
        profile: &profile,
        client,
    };
    let opened = match link_to {
        Some(user_id) => account::link_and_finish(auth, &arrival, user_id).await?,
        None => match account::sign_in(auth, &arrival, &End::Session).await? {
            Ended::Session(opened) => *opened,
            Ended::Code(_) => {
                let problem = "a sign-in without a flow ended with a code";
                return Err(AuthError::Internal(problem.to_owned()));
            }
        },
    };
    sign_in::answer(auth, opened).await
}

fn given(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

const BAD_TOKEN: AuthError = AuthError::Refused(ErrorCode::BadOauthCallback, "Bad ID token");

fn provider(config: &Config, grant: &IdTokenGrant) -> Result<Provider, AuthError> {
    let found = match (grant.provider.as_deref(), grant.issuer.as_deref()) {
        (Some(name), _) if !name.is_empty() => Provider::find(config, name),
        (_, Some(issuer)) if !issuer.is_empty() => Provider::find_by_issuer(config, issuer),
        _ => return Err(AuthError::Invalid("provider or issuer required")),
    };
    let provider = found.map_err(Missing::token_refusal)?;
    if provider.is_oidc() {
        Ok(provider)
    } else {
        Err(AuthError::Invalid("This provider gives no ID tokens"))
    }
}

/// A nonce is good for one sign-in: a token that was seen on its way is of no use.
async fn use_once(auth: &Auth, claims: &Map<String, Value>) -> Result<(), AuthError> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let (Some(issuer), Some(nonce)) = (text("iss"), text("nonce")) else {
        return Ok(());
    };
    let now = auth.clock().now();
    let expires_at = claims
        .get("exp")
        .and_then(Value::as_i64)
        .and_then(|seconds| DateTime::<Utc>::from_timestamp(seconds, 0))
        .unwrap_or(now + TimeDelta::days(1));
    if once::use_up(auth, (issuer, nonce), expires_at).await? {
        Ok(())
    } else {
        Err(BAD_TOKEN)
    }
}
