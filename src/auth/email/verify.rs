//! Proving that one reads an address: with the token of a link, or with a code.

use url::Url;

use super::change;
use crate::auth::address::Email;
use crate::auth::audit::{self, Action};
use crate::auth::audit_log::Kind;
use crate::auth::limits::{self, Limited, Origin};
use crate::auth::model::{Client, TokenResponse, User};
use crate::auth::one_time_token::{self, Purpose, Used};
use crate::auth::sign_in::{self, Method, Opened};
use crate::auth::signup::identity_data;
use crate::auth::{Auth, AuthError, audit_log, evenly, flow, queries, redirect, unconfirmed};
use crate::db::Tx;
use crate::error::ErrorCode;
use crate::http::ApiError;

/// One text for what is unknown, wrong, used, replaced or too old.
const EXPIRED: AuthError = AuthError::Refused(
    ErrorCode::OtpExpired,
    "Email link is invalid or has expired",
);

/// What the first half of a change of address answers.
pub(in crate::auth) const HALF_CONFIRMED: &str =
    "Confirmation accepted. Please proceed to confirm the link sent to the other email";

/// What the words for `type` stand for.
///
/// # Errors
/// [`AuthError::Invalid`] for another word; [`AuthError::PhoneDisabled`].
pub(in crate::auth) fn purposes(kind: &str) -> Result<&'static [Purpose], AuthError> {
    Ok(match kind {
        "signup" => &[Purpose::Signup],
        "invite" => &[Purpose::Invite],
        "magiclink" => &[Purpose::MagicLink],
        "recovery" => &[Purpose::Recovery],
        "email" => &[Purpose::Signup, Purpose::MagicLink],
        "email_change" => &[Purpose::EmailChangeCurrent, Purpose::EmailChangeNew],
        "email_change_current" => &[Purpose::EmailChangeCurrent],
        "email_change_new" => &[Purpose::EmailChangeNew],
        "sms" | "phone_change" => return Err(AuthError::PhoneDisabled),
        "" => return Err(AuthError::Invalid("Verify requires a verification type")),
        _ => return Err(AuthError::Invalid("Verification type is not supported")),
    })
}

/// What somebody shows.
#[derive(Debug, Clone, Copy)]
pub(in crate::auth) enum Proof<'a> {
    /// The token of a link, sent by the application's own page or server.
    TokenHash(&'a str),
    /// The token of a link that was followed in a browser.
    Link(&'a str),
    /// A code that was typed, and the address it was sent to.
    Code(&'a Email, &'a str),
}

/// What a proof leads to.
pub(in crate::auth) enum Proven {
    /// A session, without its tokens yet.
    Session(Box<Opened>),
    /// A code for the client that began the flow.
    Code(String),
    /// One half of a change of address.
    Half,
}

/// Uses up a proof and does what it is good for.
///
/// # Errors
/// [`ErrorCode::OtpExpired`]; [`AuthError::TooManyRequests`]; [`AuthError::UserBanned`]; [`AuthError::EmailExists`].
pub(in crate::auth) async fn prove(
    auth: &Auth,
    purposes: &[Purpose],
    proof: Proof<'_>,
    client: &Client,
) -> Result<Proven, AuthError> {
    prove_if(auth, purposes, proof, client, |_| Ok(())).await
}

/// The same, if `admits` has nothing against whom it would sign in; else the proof can be used again.
///
/// # Errors
/// Those of [`prove`] and of `admits`.
pub(super) async fn prove_if(
    auth: &Auth,
    purposes: &[Purpose],
    proof: Proof<'_>,
    client: &Client,
    admits: impl Fn(&User) -> Result<(), AuthError>,
) -> Result<Proven, AuthError> {
    evenly::refusals(use_up(auth, purposes, proof, client, admits)).await
}

async fn use_up(
    auth: &Auth,
    purposes: &[Purpose],
    proof: Proof<'_>,
    client: &Client,
    admits: impl Fn(&User) -> Result<(), AuthError>,
) -> Result<Proven, AuthError> {
    let tx = auth.db().auth().begin().await?;
    let proven = async {
        let used = match proof {
            Proof::TokenHash(token) | Proof::Link(token) => {
                one_time_token::use_link(auth, &tx, purposes, token).await?
            }
            Proof::Code(email, code) => {
                let typed = (email.as_str(), code);
                one_time_token::use_code(auth, &tx, purposes, typed).await?
            }
        };
        let Some(used) = used else {
            // Committed: the wrong code is counted.
            return Ok(None);
        };
        let proven = act(auth, &tx, used, proof, client).await?;
        if let Proven::Session(opened) = &proven {
            admits(&opened.user)?;
        }
        Ok::<_, AuthError>(Some(proven))
    };
    let proven = proven.await;
    let proven = tx.finish(proven).await?.ok_or(EXPIRED);
    audit_log::noted(auth, proven, (Kind::Code, "email"), client).await
}

async fn act(
    auth: &Auth,
    tx: &Tx,
    token: Used,
    proof: Proof<'_>,
    client: &Client,
) -> Result<Proven, AuthError> {
    let user = queries::read_user(tx, token.user_id).await?;
    let user = user.ok_or(EXPIRED)?;
    if let Purpose::EmailChangeCurrent | Purpose::EmailChangeNew = token.purpose {
        if !change::confirm(auth, tx, &user, token.purpose, client).await? {
            return Ok(Proven::Half);
        }
    } else {
        confirm(auth, tx, &user, token.purpose, client).await?;
    }
    let method = method(token.purpose, proof);
    let flow = token.flow_id.filter(|_| matches!(proof, Proof::Link(_)));
    if let Some(flow_id) = flow {
        let whose = (flow_id, user.id);
        let code = flow::issue_code(auth, tx, whose, method, None).await?;
        return Ok(Proven::Code(code));
    }
    let opened = sign_in::open(auth, tx, user.id, method, client).await?;
    Ok(Proven::Session(Box::new(opened)))
}

/// Confirms the address, if it is not yet. Only the mail of a sign-up stands for what that sign-up came with: a password,
/// or the identity of a provider that does not vouch for the address.
async fn confirm(
    auth: &Auth,
    tx: &Tx,
    user: &User,
    purpose: Purpose,
    client: &Client,
) -> Result<(), AuthError> {
    let now = auth.clock().now();
    if let Purpose::Signup | Purpose::MagicLink = purpose {
        let both = [Purpose::Signup.as_str(), Purpose::MagicLink.as_str()];
        queries::burn_tokens(tx, user.id, Some(&both)).await?;
    }
    if user.email_confirmed_at.is_some() {
        return Ok(());
    }
    if purpose != Purpose::Signup {
        unconfirmed::forget(auth, tx, user.id).await?;
    }
    queries::confirm_email(tx, user.id, now).await?;
    let data = identity_data(user.id, ("email", &user.email), true);
    queries::write_identity(tx, (user.id, "email"), &data, now).await?;
    queries::write_providers(tx, user.id, now).await?;
    let action = if purpose == Purpose::Invite {
        Action::InviteAccepted
    } else {
        Action::Confirmed
    };
    queries::log(tx, &audit::by_user(action, user), (client, now)).await?;
    Ok(())
}

fn method(purpose: Purpose, proof: Proof<'_>) -> Method {
    match purpose {
        Purpose::Signup => Method::EmailSignup,
        Purpose::Invite => Method::Invite,
        Purpose::Recovery => Method::Recovery,
        Purpose::EmailChangeCurrent | Purpose::EmailChangeNew => Method::EmailChange,
        Purpose::MagicLink if matches!(proof, Proof::Link(_)) => Method::MagicLink,
        Purpose::MagicLink | Purpose::Reauthentication | Purpose::Sms | Purpose::PhoneChange => {
            Method::Otp
        }
    }
}

/// The body of `POST /verify`.
#[derive(Debug, Clone, Default)]
pub(in crate::auth) struct Verification {
    /// What it is good for.
    pub(in crate::auth) kind: String,
    /// Address as typed.
    pub(in crate::auth) email: String,
    /// The typed code.
    pub(in crate::auth) code: String,
    /// The token of a link, instead of address and code.
    pub(in crate::auth) token_hash: String,
}

/// What `POST /verify` answers.
pub(in crate::auth) enum Verified {
    /// Signed in.
    Session(Box<TokenResponse>),
    /// One half of a change of address.
    Half,
}

/// Verifies what an application sends.
///
/// # Errors
/// Those of [`prove`] and [`purposes`]; [`AuthError::Invalid`] for both ways at once, or neither.
pub(in crate::auth) async fn verify(
    auth: &Auth,
    input: &Verification,
    client: &Client,
    origin: Origin,
) -> Result<Verified, AuthError> {
    let purposes = purposes(&input.kind)?;
    let email;
    let (proof, limited) = match (input.token_hash.as_str(), input.code.as_str()) {
        ("", "") => {
            let message = "Verify requires either a token or a token hash";
            return Err(AuthError::Invalid(message));
        }
        ("", code) => {
            email = Email::parse(&input.email)?;
            (Proof::Code(&email, code), Limited::Otp)
        }
        (token, "") if input.email.is_empty() => (Proof::TokenHash(token), Limited::Confirm),
        _ => {
            let message = "Only the token_hash and type should be provided";
            return Err(AuthError::Invalid(message));
        }
    };
    limits::count(auth, limited, origin).await?;
    match prove(auth, purposes, proof, client).await? {
        Proven::Session(opened) => {
            let answer = sign_in::answer(auth, *opened).await?;
            Ok(Verified::Session(Box::new(answer)))
        }
        Proven::Half => Ok(Verified::Half),
        // Codes are for links in browsers.
        Proven::Code(_) => Err(AuthError::Internal("a code without a link".to_owned())),
    }
}

/// A link that was followed.
#[derive(Debug, Clone, Default)]
pub(in crate::auth) struct Followed {
    /// The token.
    pub(in crate::auth) token: String,
    /// What it is good for.
    pub(in crate::auth) kind: String,
    /// Where it leads in the end.
    pub(in crate::auth) redirect_to: Option<String>,
}

/// Uses up a link. Returns where to send the browser, with whatever became of it.
///
/// # Errors
/// [`AuthError::RedirectRefused`], [`AuthError::Internal`]: there is nowhere to send it.
pub(in crate::auth) async fn follow(
    auth: &Auth,
    link: &Followed,
    client: &Client,
    origin: Origin,
) -> Result<String, AuthError> {
    let target = redirect::target(&auth.config(), link.redirect_to.as_deref())?;
    let is_pkce = one_time_token::is_pkce(&link.token);
    let landed = land(auth, link, (&target, is_pkce), client, origin).await;
    Ok(landed.unwrap_or_else(|error| {
        let error = ApiError::from(error);
        if let Some(cause) = error.cause() {
            tracing::error!(cause, "a link could not be used");
        }
        flow::redirect_with_error(&target, &error, is_pkce)
    }))
}

async fn land(
    auth: &Auth,
    link: &Followed,
    (target, is_pkce): (&Url, bool),
    client: &Client,
    origin: Origin,
) -> Result<String, AuthError> {
    let purposes = purposes(&link.kind)?;
    limits::count(auth, Limited::Confirm, origin).await?;
    let proof = Proof::Link(&link.token);
    Ok(match prove(auth, purposes, proof, client).await? {
        Proven::Session(opened) => {
            let tokens = sign_in::answer(auth, *opened).await?;
            flow::redirect_with_session(target, &tokens, Some(&link.kind))
        }
        Proven::Code(code) => flow::redirect_with_code(target, &code),
        Proven::Half => flow::redirect_with_message(target, HALF_CONFIRMED, is_pkce),
    })
}
