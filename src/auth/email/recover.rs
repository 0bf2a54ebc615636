//! Recovering an account in one request: the code and the new password together.

use super::verify::{self, Proof, Proven, Verification};
use crate::auth::address::Email;
use crate::auth::limits::{self, Limited, Origin};
use crate::auth::model::{Client, TokenResponse};
use crate::auth::one_time_token::Purpose;
use crate::auth::sign_in;
use crate::auth::user::{self, Bearer, UserUpdate};
use crate::auth::{Auth, AuthError, mfa, password_rules};

/// Signs in with the code and sets the password. The password is looked at first, so that a weak one uses nothing up.
/// Nor does the code of an account with a second factor: at `POST /verify` it gives the session in which the factor is
/// verified before the password is set.
///
/// # Errors
/// [`AuthError::WeakPassword`], `insufficient_aal`, those of [`verify::prove`] and of [`user::update`].
pub(in crate::auth) async fn recover(
    auth: &Auth,
    input: &Verification,
    new_password: &str,
    client: &Client,
    origin: Origin,
) -> Result<TokenResponse, AuthError> {
    let email = Email::parse(&input.email)?;
    limits::count(auth, Limited::Recover, origin).await?;
    password_rules::check(auth, new_password, &[email.as_str()]).await?;
    let proof = Proof::Code(&email, &input.code);
    let proven = verify::prove_if(
        auth,
        &[Purpose::Recovery],
        proof,
        client,
        mfa::require_unprotected,
    );
    let proven = proven.await?;
    let Proven::Session(mut opened) = proven else {
        return Err(AuthError::Internal("a recovery gave no session".to_owned()));
    };
    let bearer = Bearer {
        user_id: opened.user.id,
        session_id: Some(opened.session.id),
        jti: None,
        is_aal2: false,
    };
    let update = UserUpdate {
        password: Some(new_password.to_owned()),
        ..UserUpdate::default()
    };
    match user::update(auth, bearer, update, client).await {
        Ok(user) => opened.user = user,
        // It is the password that was asked for.
        Err(AuthError::SamePassword) => {}
        Err(error) => return Err(error),
    }
    sign_in::answer(auth, *opened).await
}
