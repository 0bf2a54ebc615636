//! The OAuth client that this project is at a provider, and what it exchanges codes for.

use oauth2::basic::{
    BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse,
    BasicTokenType,
};
use oauth2::{
    AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, EndpointNotSet, EndpointSet,
    ExtraTokenFields, PkceCodeVerifier, RedirectUrl, RequestTokenError, StandardRevocableToken,
    StandardTokenResponse, TokenResponse as _, TokenUrl,
};
use openidconnect::core::CoreClientAuthMethod;
use serde::{Deserialize, Serialize};

use super::http::Client;
use super::provider::{Kind, Provider};
use super::start::FlowSecrets;
use crate::auth::flow::ProviderTokens;
use crate::auth::{Auth, AuthError};
use crate::error::ErrorCode;

/// What a token answer of an OpenID Connect provider has besides. The text is looked at when it is verified.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct IdTokenField {
    id_token: Option<String>,
}

impl ExtraTokenFields for IdTokenField {}

type Tokens = StandardTokenResponse<IdTokenField, BasicTokenType>;

type OAuthClient = oauth2::Client<
    BasicErrorResponse,
    Tokens,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

/// A provider's endpoints, ready to use.
pub(super) struct Endpoints {
    pub(super) oauth: OAuthClient,
    /// Tells more of a user than an ID token may.
    pub(super) user_info: Option<String>,
    /// The issuer, and whether the provider's answers name it.
    pub(super) issuer: Option<(String, bool)>,
}

/// The answer to all trouble with a provider; the log has more.
pub(super) fn unavailable() -> AuthError {
    AuthError::Refused(
        ErrorCode::BadOauthCallback,
        "The identity provider cannot be reached, or its answer cannot be believed",
    )
}

/// Notes what is wrong with a provider, without anything secret.
pub(super) fn note(provider: &Provider, problem: &str) {
    tracing::warn!(
        oauth.provider = provider.name(),
        error = problem,
        "a sign-in with an identity provider failed: {problem}"
    );
}

/// Finds the endpoints of a provider.
///
/// # Errors
/// [`unavailable`].
pub(super) async fn find(
    auth: &Auth,
    provider: &Provider,
    redirect_uri: &str,
) -> Result<Endpoints, AuthError> {
    let found = endpoints(auth, provider, redirect_uri).await;
    found.map_err(|problem| {
        note(provider, &problem);
        unavailable()
    })
}

async fn endpoints(
    auth: &Auth,
    provider: &Provider,
    redirect_uri: &str,
) -> Result<Endpoints, String> {
    let (authorize, token, auth_type, user_info, issuer) = match &provider.kind {
        Kind::Oidc { issuer, rule } => {
            let at = (issuer.as_str(), *rule);
            let metadata = auth.oauth().discovery().metadata(auth, at).await?;
            let token = metadata.token_endpoint();
            let token = token.ok_or("its discovery document names no token endpoint")?;
            let methods = metadata.token_endpoint_auth_methods_supported();
            let takes_basic = methods
                .is_none_or(|methods| methods.contains(&CoreClientAuthMethod::ClientSecretBasic));
            let further = metadata.additional_metadata();
            let names_itself = further.authorization_response_iss_parameter_supported;
            (
                metadata.authorization_endpoint().to_string(),
                token.to_string(),
                if takes_basic {
                    AuthType::BasicAuth
                } else {
                    AuthType::RequestBody
                },
                metadata.userinfo_endpoint().map(ToString::to_string),
                Some((metadata.issuer().to_string(), names_itself)),
            )
        }
        Kind::GitHub { site, .. } => (
            format!("{site}/login/oauth/authorize"),
            format!("{site}/login/oauth/access_token"),
            AuthType::RequestBody,
            None,
            None,
        ),
        Kind::Discord { api } => (
            format!("{api}/oauth2/authorize"),
            format!("{api}/api/oauth2/token"),
            AuthType::RequestBody,
            None,
            None,
        ),
    };
    let bad = |_| "one of its addresses cannot be read".to_owned();
    let mut oauth = oauth2::Client::new(ClientId::new(provider.client_id().to_owned()))
        .set_auth_type(auth_type)
        .set_redirect_uri(RedirectUrl::new(redirect_uri.to_owned()).map_err(bad)?);
    if let Some(secret) = &provider.settings.secret {
        oauth = oauth.set_client_secret(ClientSecret::new(secret.expose().to_owned()));
    }
    Ok(Endpoints {
        oauth: oauth
            .set_auth_uri(AuthUrl::new(authorize).map_err(bad)?)
            .set_token_uri(TokenUrl::new(token).map_err(bad)?),
        user_info,
        issuer,
    })
}

/// What a code was exchanged for.
pub(super) struct Granted {
    pub(super) tokens: ProviderTokens,
    pub(super) access_token: String,
    pub(super) id_token: Option<String>,
}

impl Endpoints {
    /// Exchanges a code, with the verifier that only we have.
    ///
    /// # Errors
    /// What happened, for the log.
    pub(super) async fn exchange(
        &self,
        auth: &Auth,
        code: &str,
        secrets: &FlowSecrets,
    ) -> Result<Granted, String> {
        let http = Client::new(auth);
        let request = self
            .oauth
            .exchange_code(AuthorizationCode::new(code.to_owned()))
            .set_pkce_verifier(PkceCodeVerifier::new(secrets.verifier.clone()));
        let answer = request.request_async(&http).await.map_err(|error| {
            // What the answer held is not repeated: it may be anything.
            match error {
                RequestTokenError::ServerResponse(error) => {
                    let kind: String = error.error().to_string().chars().take(60).collect();
                    format!("it refused the code: {kind}")
                }
                RequestTokenError::Request(error) => error.to_string(),
                RequestTokenError::Parse(..) | RequestTokenError::Other(_) => {
                    "its answer to the code cannot be read".to_owned()
                }
            }
        })?;
        let access_token = answer.access_token().secret().clone();
        let refresh_token = answer.refresh_token().map(|token| token.secret().clone());
        Ok(Granted {
            tokens: ProviderTokens {
                access_token: Some(access_token.clone()),
                refresh_token,
                ..ProviderTokens::default()
            },
            access_token,
            id_token: answer.extra_fields().id_token.clone(),
        })
    }
}
