//! The user decides: what a client asks for, the answer it gets, and what was granted before.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use serde_json::json;
use url::Url;
use uuid::Uuid;

use super::bearer::Owner;
use super::scope::Scopes;
use super::{authorize, redirect_uri, sha256_text};
use crate::auth::audit::{self, Action};
use crate::auth::model::{Client, User};
use crate::auth::queries::oauth_grants::{self, Approval, Authorization};
use crate::auth::user::{self, Bearer};
use crate::auth::{Auth, AuthError, queries, redirect};
use crate::clock::random_token;
use crate::db::Tx;
use crate::error::ErrorCode;

/// How long a code is good.
const CODE_FOR: TimeDelta = TimeDelta::minutes(5);

const NOT_FOUND: AuthError = AuthError::Refused(
    ErrorCode::OauthAuthorizationNotFound,
    "authorization not found",
);

/// What the page needs to know: a question for the user, or where to go because it was answered before.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Details {
    /// The user is to be asked.
    Question {
        /// The request.
        authorization_id: String,
        /// Where the answer will go.
        redirect_uri: String,
        /// Who asks.
        client: ClientSummary,
        /// Who is asked.
        user: UserSummary,
        /// What for, separated by spaces.
        scope: String,
    },
    /// The user has consented before.
    Answered(Redirect),
}

/// Where the browser goes now.
#[derive(Debug, Serialize)]
pub(super) struct Redirect {
    /// An address of the client with the answer in its query.
    pub(super) redirect_url: String,
}

/// A client as people are shown it.
#[derive(Debug, Serialize)]
pub(super) struct ClientSummary {
    id: Uuid,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    uri: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logo_uri: Option<String>,
}

/// Who is asked.
#[derive(Debug, Serialize)]
pub(super) struct UserSummary {
    id: Uuid,
    email: String,
}

/// What the user does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// Grants what is asked for.
    Approve,
    /// Does not.
    Deny,
}

/// What a request asks of the owner of the token. The first who looks is the one who decides.
///
/// # Errors
/// `oauth_authorization_not_found`, also for somebody else's; [`AuthError::Invalid`] when it is decided;
/// those of [`user::trusted_user`]: who has a second factor lets nobody in without it.
pub(super) async fn details(
    auth: &Auth,
    owner: &Owner,
    authorization_id: &str,
    client: &Client,
) -> Result<Details, AuthError> {
    let user = user::trusted_user(auth, owner.bearer()).await?;
    let tx = auth.db().auth().begin().await?;
    let found = async {
        let asked = lock_pending(auth, &tx, authorization_id).await?;
        if asked.user_id.is_none() {
            oauth_grants::bind(&tx, asked.id, user.id).await?;
        } else if asked.user_id != Some(user.id) {
            return Err(NOT_FOUND);
        }
        if is_granted_before(&tx, &asked, user.id).await? {
            let url = approve(auth, &tx, owner, (&user, &asked), client).await?;
            return Ok(Details::Answered(Redirect { redirect_url: url }));
        }
        Ok(question(asked, &user))
    };
    let found = found.await;
    tx.finish(found).await
}

fn question(asked: Authorization, user: &User) -> Details {
    Details::Question {
        authorization_id: asked.authorization_id,
        redirect_uri: asked.redirect_uri,
        client: ClientSummary {
            id: asked.client_id,
            name: asked.client_name.unwrap_or_default(),
            uri: asked.client_uri,
            logo_uri: asked.logo_uri,
        },
        user: UserSummary {
            id: user.id,
            email: user.email.clone(),
        },
        scope: asked.scope,
    }
}

async fn lock_pending(
    auth: &Auth,
    tx: &Tx,
    authorization_id: &str,
) -> Result<Authorization, AuthError> {
    // A NUL, for one, is no text to Postgres.
    if !authorization_id.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(NOT_FOUND);
    }
    let now = auth.clock().now();
    let asked = oauth_grants::lock_authorization(tx, authorization_id).await?;
    let asked = asked
        .filter(|asked| asked.expires_at > now)
        .ok_or(NOT_FOUND)?;
    if asked.status == "pending" {
        Ok(asked)
    } else {
        let text = "authorization request is no longer pending";
        Err(AuthError::Invalid(text))
    }
}

/// A consent is taken for an answer only where it is certain who gets it: an app that cannot keep a secret, on an address
/// that another app may take, is asked about each time (RFC 8252, section 8.6).
async fn is_granted_before(
    tx: &Tx,
    asked: &Authorization,
    user_id: Uuid,
) -> Result<bool, AuthError> {
    let is_certain =
        asked.client_type == "confidential" || redirect_uri::is_certain(&asked.redirect_uri);
    if asked.needs_consent || !is_certain {
        return Ok(false);
    }
    let granted = oauth_grants::granted_scopes(tx, (user_id, asked.client_id)).await?;
    Ok(
        granted
            .is_some_and(|granted| Scopes::stored(&granted).cover(&Scopes::stored(&asked.scope))),
    )
}

/// Approves or denies a request, and answers where the browser goes.
///
/// # Errors
/// As for [`details`]; nobody decides who has not looked.
pub(super) async fn decide(
    auth: &Auth,
    owner: &Owner,
    (authorization_id, decision): (&str, Decision),
    client: &Client,
) -> Result<Redirect, AuthError> {
    let user = user::trusted_user(auth, owner.bearer()).await?;
    let tx = auth.db().auth().begin().await?;
    let decided = async {
        let asked = lock_pending(auth, &tx, authorization_id).await?;
        if asked.user_id != Some(user.id) {
            return Err(NOT_FOUND);
        }
        if decision == Decision::Deny {
            oauth_grants::deny(&tx, asked.id).await?;
            let parameters = [
                ("error", "access_denied"),
                ("error_description", "User denied the request"),
            ];
            let state = asked.state.as_deref();
            return authorize::answer(auth, &asked.redirect_uri, state, &parameters);
        }
        remember(auth, &tx, &asked, user.id).await?;
        approve(auth, &tx, owner, (&user, &asked), client).await
    };
    let decided = decided.await;
    let redirect_url = tx.finish(decided).await?;
    Ok(Redirect { redirect_url })
}

/// Adds to what the user has granted to the client.
async fn remember(
    auth: &Auth,
    tx: &Tx,
    asked: &Authorization,
    user_id: Uuid,
) -> Result<(), AuthError> {
    let who = (user_id, asked.client_id);
    let granted = oauth_grants::granted_scopes(tx, who).await?;
    let granted = Scopes::stored(granted.as_deref().unwrap_or_default());
    let scopes = granted.with(&Scopes::stored(&asked.scope)).to_string();
    oauth_grants::write_consent(tx, who, &scopes, auth.clock().now()).await?;
    Ok(())
}

/// Makes the code; only its hash is stored. Where the browser goes with it.
async fn approve(
    auth: &Auth,
    tx: &Tx,
    owner: &Owner,
    (user, asked): (&User, &Authorization),
    client: &Client,
) -> Result<String, AuthError> {
    let now = auth.clock().now();
    let code = random_token::<32>();
    let approval = Approval {
        code_hash: &sha256_text(&code),
        auth_time: owner.auth_time().unwrap_or(now),
        approved_at: now,
        expires_at: now + CODE_FOR,
    };
    oauth_grants::approve(tx, asked.id, &approval).await?;
    let traits = json!({ "client_id": asked.client_id, "scope": asked.scope });
    let actor = (user.id, audit::name(user));
    let payload = audit::payload(Action::OAuthConsentGranted, actor, &traits);
    queries::log(tx, &payload, (client, now)).await?;
    let state = asked.state.as_deref();
    authorize::answer(auth, &asked.redirect_uri, state, &[("code", code.as_str())])
}

/// Whether a page of `origin` may ask and decide: the application's, one of the allow list, or ours. A request without an origin is no page's.
///
/// # Errors
/// [`AuthError::Invalid`].
pub(super) fn check_origin(auth: &Auth, origin: Option<&str>) -> Result<(), AuthError> {
    let Some(origin) = origin else {
        return Ok(());
    };
    let config = auth.config();
    let pages = [
        Some(config.api_url()),
        Some(config.server.site_url.clone()),
        config.auth.oauth_server_authorization_url.clone(),
    ];
    let origins = pages.into_iter().flatten();
    let is_ours = origins
        .filter_map(|page| Url::parse(&page).ok())
        .any(|page| page.origin().is_tuple() && page.origin().ascii_serialization() == origin);
    // What links and sign-ins may lead to may ask as well.
    let is_listed = || {
        redirect::target(&config, Some(origin))
            .is_ok_and(|page| page.origin().ascii_serialization() == origin)
    };
    if is_ours || is_listed() {
        Ok(())
    } else {
        Err(AuthError::Invalid("unauthorized request origin"))
    }
}

/// A consent as its user sees it.
#[derive(Debug, Serialize)]
pub(super) struct Grant {
    client: ClientSummary,
    scopes: Vec<&'static str>,
    granted_at: DateTime<Utc>,
}

/// What the bearer has granted, newest first.
///
/// # Errors
/// Those of [`user::current_user`].
pub(super) async fn grants(auth: &Auth, bearer: Bearer<'_>) -> Result<Vec<Grant>, AuthError> {
    let user = user::current_user(auth, bearer).await?;
    let connection = auth.db().auth().connection().await?;
    let consents = oauth_grants::list_consents(&connection, user.id).await?;
    let grant = |consent: oauth_grants::Consent| Grant {
        client: ClientSummary {
            id: consent.client_id,
            name: consent.client_name.unwrap_or_default(),
            uri: consent.client_uri,
            logo_uri: consent.logo_uri,
        },
        scopes: Scopes::stored(&consent.scopes).as_slice().to_vec(),
        granted_at: consent.granted_at,
    };
    Ok(consents.into_iter().map(grant).collect())
}

/// Takes back what the bearer has granted to a client; the client's sessions for it end.
///
/// # Errors
/// `oauth_consent_not_found`; those of [`user::current_user`].
pub(super) async fn revoke(
    auth: &Auth,
    bearer: Bearer<'_>,
    client_id: Uuid,
    client: &Client,
) -> Result<(), AuthError> {
    let user = user::current_user(auth, bearer).await?;
    let tx = auth.db().auth().begin().await?;
    let revoked = async {
        let now = auth.clock().now();
        if oauth_grants::revoke_consent(&tx, (user.id, client_id), now).await? == 0 {
            let text = "No active grant found for this client";
            return Err(AuthError::Refused(ErrorCode::OauthConsentNotFound, text));
        }
        let traits = json!({ "client_id": client_id });
        let actor = (user.id, audit::name(&user));
        let payload = audit::payload(Action::OAuthConsentRevoked, actor, &traits);
        queries::log(&tx, &payload, (client, now)).await?;
        Ok(())
    };
    let revoked = revoked.await;
    tx.finish(revoked).await
}
