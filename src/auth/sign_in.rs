//! Opening a session for somebody who has proven to be a user, whatever the way.

use serde_json::json;
use uuid::Uuid;

use super::audit::{self, Action};
use super::model::{Client, Session, TokenResponse, User};
use super::{Auth, AuthError, queries, token};
use crate::db::Tx;
use crate::hooks::Event;

/// How somebody proved to be a user, as claim `amr` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    /// A password.
    Password,
    /// A code sent by mail or text message.
    Otp,
    /// A link sent by mail.
    MagicLink,
    /// A link or code to recover the account.
    Recovery,
    /// An invitation.
    Invite,
    /// The confirmation of a sign-up.
    EmailSignup,
    /// The confirmation of a new address.
    EmailChange,
    /// An identity provider.
    OAuth,
    /// Nothing: the account was made for the session.
    Anonymous,
    /// A passkey.
    Passkey,
}

impl Method {
    /// The word in claim `amr`.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Otp => "otp",
            Self::MagicLink => "magiclink",
            Self::Recovery => "recovery",
            Self::Invite => "invite",
            Self::EmailSignup => "email/signup",
            Self::EmailChange => "email_change",
            Self::OAuth => "oauth",
            Self::Anonymous => "anonymous",
            Self::Passkey => "passkey",
        }
    }

    /// The method of such a word, as it was stored.
    pub(super) fn from_text(text: &str) -> Option<Self> {
        let all = [
            Self::Password,
            Self::Otp,
            Self::MagicLink,
            Self::Recovery,
            Self::Invite,
            Self::EmailSignup,
            Self::EmailChange,
            Self::OAuth,
            Self::Anonymous,
            Self::Passkey,
        ];
        all.into_iter().find(|method| method.as_str() == text)
    }
}

/// A session that was opened; once its transaction is committed, [`answer`] gives its tokens.
pub(super) struct Opened {
    /// Whose it is, as of the sign-in.
    pub(super) user: User,
    /// The session.
    pub(super) session: Session,
    method: Method,
}

/// Opens a session of a user in `tx`, with the entry in the audit log and the jobs of whoever wants to know. That the
/// user may sign in this way, its address being confirmed, say, is for the caller to know; bans are looked at here.
///
/// # Errors
/// [`AuthError::UserBanned`], [`AuthError::UserNotFound`].
pub(super) async fn open(
    auth: &Auth,
    tx: &Tx,
    user_id: Uuid,
    method: Method,
    client: &Client,
) -> Result<Opened, AuthError> {
    let now = auth.clock().now();
    queries::stamp_sign_in(tx, user_id, now).await?;
    let user = queries::read_user(tx, user_id).await?;
    let user = user
        .filter(|user| user.deleted_at.is_none())
        .ok_or(AuthError::UserNotFound)?;
    if user.is_banned(now) {
        return Err(AuthError::UserBanned);
    }
    let mut session = token::new_session(method.as_str(), now);
    // Passkeys are only ever accepted after a PIN or a biometric.
    if method == Method::Passkey && auth.config().auth.passkey_is_aal2 {
        "aal2".clone_into(&mut session.aal);
    }
    queries::insert_session(tx, user_id, &session, (client, now)).await?;
    if auth.config().auth.sessions_single_per_user {
        queries::displace_sessions(tx, user_id, session.id).await?;
    }
    let actor = (user_id, audit::name(&user));
    let traits = json!({ "provider": method.as_str() });
    let payload = audit::payload(Action::Login, actor, &traits);
    queries::log(tx, &payload, (client, now)).await?;
    let what = (&user, now);
    auth.extensions().emit(tx, Event::UserLogin, what).await?;
    Ok(Opened {
        user,
        session,
        method,
    })
}

/// The tokens of a session whose transaction is committed.
///
/// # Errors
/// [`AuthError::Issuance`].
pub(super) async fn answer(auth: &Auth, opened: Opened) -> Result<TokenResponse, AuthError> {
    token::issue(auth, opened.user, &opened.session, opened.method.as_str()).await
}
