//! OAuth clients: what may be registered, by an admin or by a program itself, and how they are managed.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use url::Url;
use uuid::Uuid;

use super::{redirect_uri, sha256_text};
use crate::auth::audit::{self, Action};
use crate::auth::limits::{self, Limited, Origin};
use crate::auth::model::Client;
use crate::auth::queries;
use crate::auth::queries::oauth_clients::{self, OAuthClient};
use crate::auth::{Auth, AuthError};
use crate::clock::random_token;
use crate::db::Tx;
use crate::error::ErrorCode;

/// What a registration or a change may say; other members are ignored.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct ClientInput {
    redirect_uris: Option<Vec<String>>,
    client_type: Option<String>,
    token_endpoint_auth_method: Option<String>,
    grant_types: Option<Vec<String>>,
    client_name: Option<String>,
    client_uri: Option<String>,
    logo_uri: Option<String>,
}

/// A client as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct ClientView {
    client_id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<String>,
    client_type: String,
    token_endpoint_auth_method: String,
    registration_type: String,
    client_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_uri: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logo_uri: Option<String>,
    redirect_uris: Vec<String>,
    grant_types: Vec<String>,
    response_types: [&'static str; 1],
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    /// When the id was issued, in Unix seconds (RFC 7591).
    client_id_issued_at: i64,
    /// Secrets do not expire, which is written 0; absent where none is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret_expires_at: Option<i64>,
}

impl ClientView {
    fn new(client: OAuthClient, secret: Option<String>) -> Self {
        Self {
            client_id: client.id,
            client_secret_expires_at: secret.as_ref().map(|_| 0),
            client_secret: secret,
            client_type: client.client_type,
            token_endpoint_auth_method: client.auth_method,
            registration_type: client.registration_type,
            client_name: client.name.unwrap_or_default(),
            client_uri: client.uri,
            logo_uri: client.logo_uri,
            redirect_uris: client.redirect_uris,
            grant_types: client.grant_types,
            response_types: ["code"],
            client_id_issued_at: client.created_at.timestamp(),
            created_at: client.created_at,
            updated_at: client.updated_at,
        }
    }
}

/// Who registers a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Registration {
    /// The holder of the service key.
    Manual,
    /// A program, for itself.
    Dynamic,
}

/// A program registers itself (RFC 7591).
///
/// # Errors
/// Those of [`add`]; `oauth_dynamic_client_registration_disabled`; [`AuthError::TooManyRequests`].
pub(super) async fn register(
    auth: &Auth,
    input: ClientInput,
    client: &Client,
    origin: Origin,
) -> Result<ClientView, AuthError> {
    if !auth.config().auth.oauth_dynamic_registration {
        return Err(AuthError::Refused(
            ErrorCode::OauthDynamicClientRegistrationDisabled,
            "Dynamic client registration is not enabled",
        ));
    }
    limits::count(auth, Limited::OAuthRegister, origin).await?;
    add(auth, input, Registration::Dynamic, client).await
}

/// Registers a client. Its secret, if it can keep one, is in this answer and nowhere else.
///
/// # Errors
/// [`AuthError::Invalid`].
pub(super) async fn add(
    auth: &Auth,
    input: ClientInput,
    registration: Registration,
    client: &Client,
) -> Result<ClientView, AuthError> {
    let now = auth.clock().now();
    let (client_type, auth_method) = kind(&input)?;
    let secret = (client_type == "confidential").then(random_token::<32>);
    let mut new = OAuthClient {
        id: Uuid::new_v4(),
        secret_hash: secret.as_deref().map(sha256_text),
        registration_type: match registration {
            Registration::Manual => "manual".to_owned(),
            Registration::Dynamic => "dynamic".to_owned(),
        },
        client_type: client_type.to_owned(),
        auth_method: auth_method.to_owned(),
        redirect_uris: Vec::new(),
        grant_types: ["authorization_code", "refresh_token"]
            .map(str::to_owned)
            .to_vec(),
        name: None,
        uri: None,
        logo_uri: None,
        created_at: now,
        updated_at: now,
    };
    if input.redirect_uris.is_none() {
        return Err(AuthError::Invalid("redirect_uris is required"));
    }
    apply(&mut new, input)?;
    let tx = auth.db().auth().begin().await?;
    let added = async {
        oauth_clients::insert(&tx, &new).await?;
        log(auth, &tx, Action::OAuthClientAdded, (&new, client)).await
    };
    let added = added.await;
    tx.finish(added).await?;
    Ok(ClientView::new(new, secret))
}

/// The type and method of authentication that a registration asks for; what is left out follows from the other.
fn kind(input: &ClientInput) -> Result<(&'static str, &'static str), AuthError> {
    let method = input
        .token_endpoint_auth_method
        .as_deref()
        .filter(|method| !method.is_empty())
        .map(method)
        .transpose()?;
    let client_type = input
        .client_type
        .as_deref()
        .filter(|client_type| !client_type.is_empty());
    match (client_type, method) {
        (None | Some("public"), Some("none")) | (Some("public"), None) => Ok(("public", "none")),
        (None | Some("confidential"), None) => Ok(("confidential", "client_secret_basic")),
        (None | Some("confidential"), Some(method)) if method != "none" => {
            Ok(("confidential", method))
        }
        (None | Some("public" | "confidential"), Some(_)) => Err(AuthError::Invalid(
            "client_type and token_endpoint_auth_method do not fit: a public client has none, a confidential one has another",
        )),
        (Some(_), _) => Err(AuthError::Invalid(
            "client_type must be public or confidential",
        )),
    }
}

fn method(text: &str) -> Result<&'static str, AuthError> {
    ["none", "client_secret_basic", "client_secret_post"]
        .into_iter()
        .find(|known| *known == text)
        .ok_or(AuthError::Invalid(
            "token_endpoint_auth_method must be one of none, client_secret_basic, client_secret_post",
        ))
}

/// Writes what `input` names into `client`.
fn apply(client: &mut OAuthClient, input: ClientInput) -> Result<(), AuthError> {
    if let Some(uris) = input.redirect_uris {
        redirect_uri::check_all(&uris).map_err(AuthError::Invalid)?;
        client.redirect_uris = uris;
    }
    if let Some(types) = input.grant_types.filter(|types| !types.is_empty()) {
        let known = ["authorization_code", "refresh_token"];
        if !types.iter().all(|one| known.contains(&one.as_str())) {
            return Err(AuthError::Invalid(
                "grant_types must be authorization_code, refresh_token, or both",
            ));
        }
        let asked = |one: &&str| types.iter().any(|wanted| wanted == one);
        client.grant_types = known.into_iter().filter(asked).map(str::to_owned).collect();
    }
    if let Some(name) = input.client_name {
        if name.chars().count() > 200 || name.chars().any(char::is_control) {
            return Err(AuthError::Invalid(
                "client_name must have at most 200 characters and no control characters",
            ));
        }
        client.name = Some(name).filter(|name| !name.is_empty());
    }
    if let Some(uri) = input.client_uri {
        client.uri = page(uri, "client_uri must be an http or https URL")?;
    }
    if let Some(uri) = input.logo_uri {
        client.logo_uri = page(uri, "logo_uri must be an http or https URL")?;
    }
    Ok(())
}

/// An address that people are shown: nothing that a browser would run.
fn page(uri: String, problem: &'static str) -> Result<Option<String>, AuthError> {
    if uri.is_empty() {
        return Ok(None);
    }
    let parsed = Url::parse(&uri).ok();
    let is_page = parsed.is_some_and(|url| matches!(url.scheme(), "https" | "http"));
    if is_page && uri.len() <= 2048 && uri.chars().all(|c| c.is_ascii_graphic()) {
        Ok(Some(uri))
    } else {
        Err(AuthError::Invalid(problem))
    }
}

/// The client with an id.
///
/// # Errors
/// `oauth_client_not_found`.
pub(super) async fn show(auth: &Auth, id: Uuid) -> Result<ClientView, AuthError> {
    let connection = auth.db().auth().connection().await?;
    let found = oauth_clients::find(&connection, id).await?;
    Ok(ClientView::new(found.ok_or(NOT_FOUND)?, None))
}

/// A page of clients, newest first, and how many there are.
pub(super) async fn list(
    auth: &Auth,
    (page, per_page): (u32, u32),
) -> Result<(Vec<ClientView>, i64), AuthError> {
    let connection = auth.db().auth().connection().await?;
    let offset = i64::from(page.max(1) - 1) * i64::from(per_page);
    let (clients, total) = oauth_clients::list(&connection, (i64::from(per_page), offset)).await?;
    let views = clients.into_iter().map(|one| ClientView::new(one, None));
    Ok((views.collect(), total))
}

/// Changes what `input` names. Whether a client can keep a secret does not change.
///
/// # Errors
/// `oauth_client_not_found`, [`AuthError::Invalid`].
pub(super) async fn change(
    auth: &Auth,
    id: Uuid,
    input: ClientInput,
    client: &Client,
) -> Result<ClientView, AuthError> {
    let apply = |known: &mut OAuthClient| {
        if let Some(text) = &input.token_endpoint_auth_method {
            let wanted = method(text)?;
            if (wanted == "none") != (known.client_type == "public") {
                return Err(AuthError::Invalid(
                    "token_endpoint_auth_method does not fit the type of the client",
                ));
            }
            wanted.clone_into(&mut known.auth_method);
        }
        apply(known, input)
    };
    let changed = write(auth, id, client, apply).await?;
    Ok(ClientView::new(changed, None))
}

/// Gives a client a new secret; the old one is worth nothing from then on.
///
/// # Errors
/// `oauth_client_not_found`; [`AuthError::Invalid`] for a public client.
pub(super) async fn regenerate_secret(
    auth: &Auth,
    id: Uuid,
    client: &Client,
) -> Result<ClientView, AuthError> {
    let secret = random_token::<32>();
    let apply = |known: &mut OAuthClient| {
        if known.client_type == "public" {
            return Err(AuthError::Invalid("a public client has no secret"));
        }
        known.secret_hash = Some(sha256_text(&secret));
        Ok(())
    };
    let changed = write(auth, id, client, apply).await?;
    Ok(ClientView::new(changed, Some(secret)))
}

async fn write(
    auth: &Auth,
    id: Uuid,
    client: &Client,
    apply: impl FnOnce(&mut OAuthClient) -> Result<(), AuthError>,
) -> Result<OAuthClient, AuthError> {
    let tx = auth.db().auth().begin().await?;
    let written = async {
        let mut known = oauth_clients::lock(&tx, id).await?.ok_or(NOT_FOUND)?;
        apply(&mut known)?;
        known.updated_at = auth.clock().now();
        oauth_clients::update(&tx, &known).await?;
        log(auth, &tx, Action::OAuthClientChanged, (&known, client)).await?;
        Ok(known)
    };
    let written = written.await;
    tx.finish(written).await
}

/// Deletes a client; its sessions end.
///
/// # Errors
/// `oauth_client_not_found`.
pub(super) async fn remove(auth: &Auth, id: Uuid, client: &Client) -> Result<(), AuthError> {
    let tx = auth.db().auth().begin().await?;
    let removed = async {
        let known = oauth_clients::lock(&tx, id).await?.ok_or(NOT_FOUND)?;
        oauth_clients::delete(&tx, id).await?;
        log(auth, &tx, Action::OAuthClientDeleted, (&known, client)).await
    };
    let removed = removed.await;
    tx.finish(removed).await
}

const NOT_FOUND: AuthError =
    AuthError::Refused(ErrorCode::OauthClientNotFound, "OAuth client not found");

async fn log(
    auth: &Auth,
    tx: &Tx,
    action: Action,
    (known, client): (&OAuthClient, &Client),
) -> Result<(), AuthError> {
    let actor = match known.registration_type.as_str() {
        "dynamic" if action == Action::OAuthClientAdded => "",
        _ => "service_role",
    };
    let traits = json!({ "client_id": known.id, "registration_type": known.registration_type });
    let payload = audit::payload(action, (Uuid::nil(), actor), &traits);
    queries::log(tx, &payload, (client, auth.clock().now())).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_and_method_follow_from_each_other() {
        let kind = |client_type: &str, method: &str| {
            let text = |text: &str| Some(text.to_owned());
            let input = ClientInput {
                client_type: text(client_type),
                token_endpoint_auth_method: text(method),
                ..ClientInput::default()
            };
            super::kind(&input).ok()
        };
        for (client_type, method, expected) in [
            ("", "", Some(("confidential", "client_secret_basic"))),
            ("", "none", Some(("public", "none"))),
            ("public", "", Some(("public", "none"))),
            ("public", "none", Some(("public", "none"))),
            (
                "",
                "client_secret_post",
                Some(("confidential", "client_secret_post")),
            ),
            ("public", "client_secret_post", None),
            ("confidential", "none", None),
            ("other", "", None),
            ("", "private_key_jwt", None),
        ] {
            assert_eq!(
                kind(client_type, method),
                expected,
                "{client_type} {method}"
            );
        }
    }

    #[test]
    fn pages_are_pages() {
        for (uri, good) in [
            ("https://app.example/logo.png", true),
            ("javascript:alert(1)", false),
            ("data:image/svg+xml,x", false),
            ("app.example", false),
            ("https://app.example/\" onerror=\"x", false),
        ] {
            assert_eq!(page(uri.to_owned(), "bad").is_ok(), good, "{uri}");
        }
        assert!(matches!(page(String::new(), "bad"), Ok(None)));
    }
}
