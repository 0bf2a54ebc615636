//! What providers give for one sign-in: nonces of ID tokens, and codes.

use aws_lc_rs::digest;
use chrono::{DateTime, Utc};

use crate::auth::queries::oauth as queries;
use crate::auth::{Auth, AuthError};

/// Uses up `value`, of a kind or an issuer, until `expires_at`. False: it was used before.
pub(super) async fn use_up(
    auth: &Auth,
    (of, value): (&str, &str),
    expires_at: DateTime<Utc>,
) -> Result<bool, AuthError> {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in [of, value] {
        context.update(&part.len().to_be_bytes());
        context.update(part.as_bytes());
    }
    let hash = context.finish();
    let tx = auth.db().auth().begin().await?;
    let used = queries::use_id_token(&tx, hash.as_ref(), expires_at, auth.clock().now()).await;
    Ok(tx.finish(used).await?)
}
