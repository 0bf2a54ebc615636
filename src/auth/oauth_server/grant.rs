//! `/oauth/token`: a code or a refresh token for tokens of the client's own session.

use serde::Serialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::error::{OAuthError, invalid_grant, invalid_request};
use super::id_token::{self, IdToken};
use super::parameters::Parameters;
use super::scope::Scopes;
use super::{is_same, sha256_text};
use crate::auth::audit::{self, Action};
use crate::auth::audit_log::Kind;
use crate::auth::limits::{self, Origin};
use crate::auth::model::{Client, Session, User};
use crate::auth::queries::oauth_clients::OAuthClient;
use crate::auth::queries::oauth_grants::{self, Authorization};
use crate::auth::{Auth, AuthError, audit_log, queries, session, token};
use crate::db::Tx;

/// The method of the sessions of clients, as claim `amr` names it.
const METHOD: &str = "oauth_provider/authorization_code";

/// What a client is given.
#[derive(Serialize)]
pub(super) struct Tokens {
    access_token: String,
    token_type: &'static str,
    expires_in: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    scope: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id_token: Option<String>,
}

/// Does what `grant_type` asks for, for a client that has proven to be itself.
///
/// # Errors
/// `invalid_request`, `invalid_grant`, `invalid_scope`, `invalid_target`, `unsupported_grant_type`,
/// `unauthorized_client`.
pub(super) async fn exchange(
    auth: &Auth,
    client: &OAuthClient,
    asked: &Parameters,
    (from, origin): (&Client, Origin),
) -> Result<Tokens, OAuthError> {
    let grant_type = asked
        .get("grant_type")
        .ok_or(invalid_request("grant_type is required"))?;
    if !["authorization_code", "refresh_token"].contains(&grant_type) {
        let text = "grant_type must be authorization_code or refresh_token";
        return Err(OAuthError::Refused("unsupported_grant_type", text));
    }
    if !client.grant_types.iter().any(|one| one == grant_type) {
        let text = "The client is not registered for this grant";
        return Err(OAuthError::Refused("unauthorized_client", text));
    }
    // The address is the client's: all its users come from there.
    let user = Client {
        ip: None,
        user_agent: from.user_agent.clone(),
    };
    if grant_type == "refresh_token" {
        return refresh(auth, client, asked, (&user, origin)).await;
    }
    let exchanged = code(auth, client, asked, &user).await;
    if let Err(OAuthError::Refused(error_code, _)) = &exchanged {
        let traits =
            json!({ "provider": METHOD, "client_id": client.id, "error_code": error_code });
        audit_log::refused(auth, Kind::Return, &traits, from).await?;
    }
    exchanged
}

/// What became of a code.
enum Exchanged {
    Session(Box<User>, Session, Box<Authorization>),
    /// It was good once; the session it gave is ended now.
    Reused,
}

async fn code(
    auth: &Auth,
    client: &OAuthClient,
    asked: &Parameters,
    from: &Client,
) -> Result<Tokens, OAuthError> {
    let code = asked
        .get("code")
        .ok_or(invalid_request("code is required"))?;
    let code_hash = sha256_text(code);
    let tx = auth.db().auth().begin().await?;
    let exchanged = open_session(auth, &tx, (client, &code_hash), asked, from).await;
    match tx.finish(exchanged).await? {
        Exchanged::Reused => Err(invalid_grant(
            "The code was used before; what it gave is revoked",
        )),
        Exchanged::Session(user, session, authorization) => {
            let grant = Grant {
                client,
                scopes: Scopes::stored(&authorization.scope),
                resource: authorization.resource.as_deref(),
            };
            let mut tokens = issue(auth, &user, &session, &grant, (METHOD, from)).await?;
            if grant.scopes.has("openid") {
                let claims = id_token::claims(
                    auth,
                    &IdToken {
                        user: &user,
                        client_id: client.id,
                        scopes: &grant.scopes,
                        nonce: authorization.nonce.as_deref(),
                        auth_time: authorization.auth_time,
                        access_token: &tokens.access_token,
                    },
                );
                tokens.id_token = Some(auth.sign(&claims).map_err(AuthError::Issuance)?);
            }
            Ok(tokens)
        }
    }
}

/// Under the lock of the code's row: of callers that come at once, one opens a session, and the next ends it.
async fn open_session(
    auth: &Auth,
    tx: &Tx,
    (client, code_hash): (&OAuthClient, &str),
    asked: &Parameters,
    from: &Client,
) -> Result<Exchanged, OAuthError> {
    let now = auth.clock().now();
    let found = oauth_grants::lock_code(tx, code_hash).await?;
    let found = found
        .filter(|found| found.client_id == client.id)
        .ok_or(invalid_grant("The code is unknown"))?;
    if found.status == "exchanged" {
        revoke_reused(auth, tx, &found, from).await?;
        return Ok(Exchanged::Reused);
    }
    check_code(auth, &found, asked)?;
    let user_id = found.user_id.ok_or(invalid_grant("The code is unknown"))?;
    let user = queries::read_user(tx, user_id)
        .await?
        .filter(|user| user.deleted_at.is_none() && !user.is_banned(now))
        .ok_or(invalid_grant("The account cannot be used"))?;
    let session = token::new_session(METHOD, now);
    let what = (found.scope.as_str(), found.resource.as_deref());
    let who = (user_id, client.id);
    oauth_grants::insert_session(tx, who, &session, what, (from, now)).await?;
    oauth_grants::mark_exchanged(tx, found.id, session.id).await?;
    let traits = json!({ "provider": METHOD, "client_id": client.id });
    let payload = audit::payload(Action::Login, (user_id, audit::name(&user)), &traits);
    queries::log(tx, &payload, (from, now)).await?;
    Ok(Exchanged::Session(Box::new(user), session, Box::new(found)))
}

/// Whether a code that was not used yet is good for this request.
fn check_code(auth: &Auth, found: &Authorization, asked: &Parameters) -> Result<(), OAuthError> {
    if found.status != "approved" || found.expires_at <= auth.clock().now() {
        return Err(invalid_grant("The code has expired"));
    }
    let verifier = asked
        .get("code_verifier")
        .ok_or(invalid_grant("code_verifier is required"))?;
    let is_verifier = (43..=128).contains(&verifier.len());
    if !is_verifier || !is_same(&sha256_text(verifier), &found.code_challenge) {
        let text = "code_verifier does not fit the code challenge";
        return Err(invalid_grant(text));
    }
    if asked
        .get("redirect_uri")
        .is_some_and(|uri| uri != found.redirect_uri)
    {
        let text = "redirect_uri is not the one of the authorization";
        return Err(invalid_grant(text));
    }
    check_resource(asked, found.resource.as_deref())
}

fn check_resource(asked: &Parameters, granted: Option<&str>) -> Result<(), OAuthError> {
    match asked.get("resource") {
        Some(resource) if Some(resource) != granted => {
            let text = "resource is not the one of the authorization";
            Err(OAuthError::Refused("invalid_target", text))
        }
        _ => Ok(()),
    }
}

/// Somebody has stolen the code, or has been given what it was exchanged for by the thief.
async fn revoke_reused(
    auth: &Auth,
    tx: &Tx,
    found: &Authorization,
    from: &Client,
) -> Result<(), OAuthError> {
    let Some(session_id) = found.session_id else {
        return Ok(());
    };
    let ended = oauth_grants::end_session(tx, (session_id, found.client_id)).await?;
    if let Some(user_id) = ended {
        let traits = json!({ "client_id": found.client_id, "session_id": session_id });
        let payload = audit::payload(Action::OAuthCodeReused, (user_id, ""), &traits);
        queries::log(tx, &payload, (from, auth.clock().now())).await?;
    }
    Ok(())
}

async fn refresh(
    auth: &Auth,
    client: &OAuthClient,
    asked: &Parameters,
    (from, origin): (&Client, Origin),
) -> Result<Tokens, OAuthError> {
    let refresh_token = asked
        .get("refresh_token")
        .ok_or(invalid_request("refresh_token is required"))?;
    // The server of a confidential client refreshes for all of its users, from one address.
    if client.client_type == "public" {
        limits::count_refresh(auth, origin)?;
    }
    let unknown = || OAuthError::from(AuthError::RefreshTokenNotFound);
    let presented = auth.mac_key().open(refresh_token).ok_or_else(unknown)?;
    let granted = find_grant(auth, presented.session_id)
        .await?
        .filter(|granted| granted.client_id == client.id)
        .ok_or_else(unknown)?;
    let granted_scopes = Scopes::stored(&granted.scopes);
    let scopes = match asked.get("scope") {
        None => granted_scopes,
        // Fewer, for this access token.
        some => Scopes::parse(some)
            .filter(|fewer| granted_scopes.cover(fewer))
            .ok_or(OAuthError::Refused(
                "invalid_scope",
                "The scope is more than was granted",
            ))?,
    };
    check_resource(asked, granted.resource.as_deref())?;
    let rotated = session::rotate(auth, refresh_token, from, Some(client.id)).await;
    let (session, user) = rotated?;
    let grant = Grant {
        client,
        scopes,
        resource: granted.resource.as_deref(),
    };
    issue(auth, &user, &session, &grant, ("token_refresh", from)).await
}

async fn find_grant(
    auth: &Auth,
    session_id: Uuid,
) -> Result<Option<oauth_grants::ClientSession>, OAuthError> {
    let connection = auth.db().auth().connection().await?;
    let now = auth.clock().now();
    Ok(oauth_grants::find_session(&connection, session_id, now).await?)
}

/// What a client's tokens are for.
struct Grant<'a> {
    client: &'a OAuthClient,
    scopes: Scopes,
    resource: Option<&'a str>,
}

async fn issue(
    auth: &Auth,
    user: &User,
    session: &Session,
    grant: &Grant<'_>,
    how: (&'static str, &Client),
) -> Result<Tokens, OAuthError> {
    let scope = grant.scopes.to_string();
    let config = auth.config();
    let adjust = |claims: &mut Map<String, Value>| {
        claims.insert("client_id".to_owned(), grant.client.id.to_string().into());
        claims.insert("scope".to_owned(), scope.as_str().into());
        if let Some(resource) = grant.resource {
            let ours = &config.api_url();
            claims.insert("aud".to_owned(), audience(resource, &user.aud, ours));
        }
    };
    let issued = token::access_token(auth, user, session, how, adjust).await;
    let (access_token, _) = issued?;
    let may_refresh = grant
        .client
        .grant_types
        .iter()
        .any(|one| one == "refresh_token");
    Ok(Tokens {
        access_token,
        token_type: "bearer",
        expires_in: config.auth.access_token_ttl,
        refresh_token: may_refresh.then(|| token::refresh_token(auth, session)),
        scope,
        id_token: None,
    })
}

/// A token for a resource elsewhere is for that alone: there it must not open this project's data. A resource of this
/// project, such as a function that serves tools to models, may use it here in the user's name.
fn audience(resource: &str, usual: &str, api_url: &str) -> Value {
    let inside = resource
        .strip_prefix(api_url)
        .is_some_and(|path| path.is_empty() || path.starts_with('/'));
    if inside {
        json!([usual, resource])
    } else {
        resource.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_for_elsewhere_is_not_for_here() {
        let api = "https://api.example";
        let audience = |resource| audience(resource, "authenticated", api);
        let inside = "https://api.example/functions/v1/mcp";
        assert_eq!(audience(inside), json!(["authenticated", inside]));
        for elsewhere in [
            "https://mcp.example",
            "https://api.example.evil/mcp",
            "https://api.example@evil/mcp",
            "http://api.example/mcp",
        ] {
            assert_eq!(audience(elsewhere), json!(elsewhere));
        }
    }
}
