//! Accounts without an address: made for a visitor, who keeps it by giving one later.

use serde_json::{Map, Value, json};

use super::audit::{self, Action};
use super::limits::{self, Limited, Origin};
use super::metadata::MetadataPatch;
use super::model::{Client, TokenResponse, User};
use super::queries::{self, NewUser};
use super::sign_in::{self, Method, Opened};
use super::signup::{bare_user, suppressed, unsaved};
use super::{Auth, AuthError, saving};
use crate::db::Tx;
use crate::hooks::Event;

/// Makes an account and signs it in.
///
/// # Errors
/// [`AuthError::SignupDisabled`], [`AuthError::AnonymousDisabled`], [`AuthError::TooManyRequests`],
/// [`AuthError::HookRejected`], [`AuthError::SavingUser`].
pub(super) async fn sign_in(
    auth: &Auth,
    data: Option<Value>,
    client: &Client,
    origin: Origin,
) -> Result<TokenResponse, AuthError> {
    let config = auth.config();
    if config.auth.disable_signup {
        return Err(AuthError::SignupDisabled);
    }
    if !config.auth.anonymous_enabled {
        return Err(AuthError::AnonymousDisabled);
    }
    let data = MetadataPatch::parse(data)?.over(Map::new());
    limits::count(auth, Limited::Anonymous, origin).await?;
    let metadata = (&json!({}), &data);
    let new = NewUser {
        signs_in: true,
        ..bare_user(&config, metadata, auth.clock().now())
    };
    let as_stored = || User {
        is_anonymous: true,
        ..unsaved(&new)
    };
    auth.extensions()
        .run_before_user_created(client, as_stored)
        .await?;
    let tx = auth.db().auth().begin().await?;
    let opened = store(auth, &tx, &new, client).await;
    let opened = tx.finish(opened).await?;
    sign_in::answer(auth, opened).await
}

async fn store(
    auth: &Auth,
    tx: &Tx,
    new: &NewUser<'_>,
    client: &Client,
) -> Result<Opened, AuthError> {
    let inserted = queries::insert_anonymous_user(tx, new).await;
    if inserted.map_err(saving)? == 0 {
        return Err(suppressed("a trigger suppressed the new user"));
    }
    let user = queries::read_user(tx, new.id).await?;
    let user = user.ok_or_else(|| suppressed("a trigger deleted the new user"))?;
    let traits = json!({ "provider": "anonymous" });
    let payload = audit::payload(Action::SignedUp, (user.id, ""), &traits);
    queries::log(tx, &payload, (client, new.at)).await?;
    let what = (&user, new.at);
    auth.extensions().emit(tx, Event::UserSignup, what).await?;
    sign_in::open(auth, tx, new.id, Method::Anonymous, client).await
}
