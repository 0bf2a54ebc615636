//! Discovery documents and key sets of OpenID Connect providers, kept for an hour.
//!
//! A key that is not known makes the set be fetched again, but not more often than once a minute: whoever sends tokens
//! with made-up key ids must not make us call anybody. After a failure the next try waits too.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::{HeaderMap, HeaderValue, header};
use chrono::{DateTime, TimeDelta, Utc};
use openidconnect::core::{
    CoreAuthDisplay, CoreClaimName, CoreClaimType, CoreClientAuthMethod, CoreGrantType,
    CoreJsonWebKey, CoreJweContentEncryptionAlgorithm, CoreJweKeyManagementAlgorithm,
    CoreResponseMode, CoreResponseType, CoreSubjectIdentifierType,
};
use openidconnect::{
    AdditionalProviderMetadata, JsonWebKeySet, ProviderMetadata, TokenUrl, UserInfoUrl,
};
use serde::{Deserialize, Serialize};

use super::http::Client;
use super::issuer::IssuerRule;
use crate::auth::Auth;

/// How long a document or key set is good.
const LIFETIME: TimeDelta = TimeDelta::hours(1);
/// The shortest time between two fetches for a key that is not known.
const KEY_COOLDOWN: TimeDelta = TimeDelta::minutes(1);
/// How long a failure is answered without another try.
const FAILURE_COOLDOWN: TimeDelta = TimeDelta::seconds(5);

/// What of the document the crate does not know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Further {
    /// RFC 9207: answers name the issuer.
    #[serde(default)]
    pub(super) authorization_response_iss_parameter_supported: bool,
}

impl AdditionalProviderMetadata for Further {}

/// A discovery document.
pub(super) type Metadata = ProviderMetadata<
    Further,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;

/// A key set.
pub(super) type Keys = JsonWebKeySet<CoreJsonWebKey>;

/// What is known of providers, by the address they are asked at.
#[derive(Debug, Default)]
pub(super) struct Discovery(Mutex<HashMap<String, Arc<tokio::sync::Mutex<Entry>>>>);

#[derive(Debug, Default)]
struct Entry {
    metadata: Option<(Arc<Metadata>, DateTime<Utc>)>,
    keys: Option<(Arc<Keys>, DateTime<Utc>)>,
    failed_at: Option<DateTime<Utc>>,
}

impl Discovery {
    /// One request fetches, the others wait for it.
    fn entry(&self, issuer: &str) -> Arc<tokio::sync::Mutex<Entry>> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(entries.entry(issuer.to_owned()).or_default())
    }

    /// The discovery document.
    ///
    /// # Errors
    /// Why there is none, for the log.
    pub(super) async fn metadata(
        &self,
        auth: &Auth,
        (issuer, rule): (&str, IssuerRule),
    ) -> Result<Arc<Metadata>, String> {
        let entry = self.entry(issuer);
        let mut entry = entry.lock().await;
        entry.metadata(auth, (issuer, rule)).await
    }

    /// The key set; `is_stale` when a key was not in it.
    ///
    /// # Errors
    /// Why there is none, for the log.
    pub(super) async fn keys(
        &self,
        auth: &Auth,
        (issuer, rule): (&str, IssuerRule),
        is_stale: bool,
    ) -> Result<Arc<Keys>, String> {
        let entry = self.entry(issuer);
        let mut entry = entry.lock().await;
        let now = auth.clock().now();
        let lifetime = if is_stale { KEY_COOLDOWN } else { LIFETIME };
        if let Some((keys, at)) = &entry.keys
            && now < *at + lifetime
        {
            return Ok(Arc::clone(keys));
        }
        let metadata = entry.metadata(auth, (issuer, rule)).await?;
        entry.check_failure(now)?;
        let client = Client::new(auth);
        match Keys::fetch_async(metadata.jwks_uri(), &client).await {
            Ok(keys) => {
                let keys = Arc::new(keys);
                entry.keys = Some((Arc::clone(&keys), now));
                Ok(keys)
            }
            Err(error) => {
                entry.failed_at = Some(now);
                Err(format!("its keys cannot be read: {}", cause(&error)))
            }
        }
    }
}

impl Entry {
    fn check_failure(&self, now: DateTime<Utc>) -> Result<(), String> {
        match self.failed_at {
            Some(at) if now < at + FAILURE_COOLDOWN => {
                Err("it could not be reached a moment ago".to_owned())
            }
            _ => Ok(()),
        }
    }

    async fn metadata(
        &mut self,
        auth: &Auth,
        (issuer, rule): (&str, IssuerRule),
    ) -> Result<Arc<Metadata>, String> {
        let now = auth.clock().now();
        if let Some((metadata, at)) = &self.metadata
            && now < *at + LIFETIME
        {
            return Ok(Arc::clone(metadata));
        }
        self.check_failure(now)?;
        match fetch(auth, (issuer, rule)).await {
            Ok(metadata) => {
                let metadata = Arc::new(metadata);
                self.metadata = Some((Arc::clone(&metadata), now));
                self.failed_at = None;
                Ok(metadata)
            }
            Err(problem) => {
                self.failed_at = Some(now);
                Err(problem)
            }
        }
    }
}

async fn fetch(auth: &Auth, (issuer, rule): (&str, IssuerRule)) -> Result<Metadata, String> {
    let url = format!("{issuer}/.well-known/openid-configuration");
    let mut headers = HeaderMap::new();
    let json = HeaderValue::from_static("application/json");
    headers.insert(header::ACCEPT, json);
    let body = Client::new(auth).get(&url, headers).await?;
    let metadata: Metadata = serde_json::from_slice(&body)
        .map_err(|_| "its discovery document cannot be read".to_owned())?;
    if !rule.admits_metadata(issuer, metadata.issuer().as_str()) {
        return Err("its discovery document is of another issuer".to_owned());
    }
    let is_secure = issuer.starts_with("https://");
    let endpoints = [
        Some(metadata.authorization_endpoint().url()),
        metadata.token_endpoint().map(TokenUrl::url),
        metadata.userinfo_endpoint().map(UserInfoUrl::url),
        Some(metadata.jwks_uri().url()),
    ];
    for url in endpoints.into_iter().flatten() {
        let is_web = matches!(url.scheme(), "http" | "https");
        if !is_web || (is_secure && url.scheme() != "https") {
            return Err("its discovery document names an address without TLS".to_owned());
        }
    }
    Ok(metadata)
}

/// The innermost cause, without what the answer held.
fn cause(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => source.to_string(),
        None => "it is no key set".to_owned(),
    }
}
