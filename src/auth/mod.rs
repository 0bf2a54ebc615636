//! Accounts and sessions, on the wire as Supabase's auth service.
//!
//! A **user** is a row of `auth.users`; each way in which it signs in is an identity; each device it is signed in on is
//! a session. Signing in opens a session and answers two tokens: an access token, a signed JWT that Postgres' policies
//! read, and a refresh token, an authenticated counter of the session, which is stored nowhere.
//!
//! What holds:
//! - Every query runs as role `sb_auth`, which sees no row of a user's tables.
//! - A request holds one connection at most, and none while a password is hashed, a hook runs or a token is signed.
//! - `GET /user` and refresh are one statement each.
//! - Nothing in an answer, or in the work done for it, tells whether an address has an account, except where
//!   Supabase's own answer does.
//! - Guesses at a password are counted in Postgres before the password is looked at, so more nodes or connections do not
//!   mean more guesses.
//! - A refresh is refused (4xx) only when the session is gone; whatever passes is 503.

mod address;
mod admin;
mod anonymous;
mod audit;
mod audit_chain;
mod audit_log;
mod audit_seal;
mod buckets;
mod captcha;
mod claims;
mod duration;
mod email;
mod error;
mod evenly;
mod flow;
mod hooks;
mod import;
mod landing;
mod limits;
mod mail_limits;
mod metadata;
mod mfa;
mod model;
mod oauth;
mod oauth_server;
mod one_time_token;
mod openapi;
mod operate;
mod pages;
mod passkeys;
mod password;
mod password_rules;
mod phone;
mod queries;
mod redirect;
mod refresh_token;
mod revocation;
mod routes;
mod secrets;
mod session;
mod sessions;
mod sign_in;
mod signed;
mod signup;
mod stored_hash;
mod sync_hooks;
mod token;
mod unconfirmed;
mod user;
mod username;
mod webauthn;

use std::sync::Arc;

use serde_json::{Map, Value};

pub use admin::{ListUsers, NewAccount, SortField, add_user, list_users, remove_user};
pub use audit_seal::{AuditKey, AuditReport, Head, keep_audit, keep_audit_sealed, verify_audit};
pub use claims::{ClaimsContext, ClaimsProvider};
pub use error::AuthError;
pub use hooks::{AfterHook, Extensions, Hook, HookContext, HookRejection, UserEvent};
pub use import::{ImportedUser, import_user, log_import};
pub use model::{Client, Factor, Identity, TokenResponse, User, UserPage};
pub use oauth_server::discovery_router;
pub use operate::{ban_user, log_out_user, mint_token, set_password, set_role};
pub use password_rules::WeakPassword;
pub use revocation::publish_revocation;
pub use routes::router;
pub use sync_hooks::{
    Decision, EmailData, EmailMessage, MfaAttempt, MfaDecision, PasswordAttempt, SmsMessage,
};

use crate::clock::Clock;
use crate::config::{self, Config};
use crate::db::{Db, DbError, SqlState};
use crate::http::Outbound;
use crate::jobs::Handlers;
use crate::keys;
use crate::mail::Mailer;
use crate::telemetry::Metrics;

/// Signs access tokens and knows the public keys; `app.rs` passes the key ring's functions.
#[derive(Clone)]
pub struct TokenIssuer {
    /// The compact JWT of claims, signed with the active key; an error is for the log.
    pub sign: SignToken,
    /// The claims of a token of ours that has not expired. Whom it is for is for the caller to look at.
    pub verify: VerifyToken,
    /// The JSON text of the public key set.
    pub jwks: Arc<dyn Fn() -> Arc<str> + Send + Sync>,
}

/// Signs claims.
pub type SignToken = Arc<dyn Fn(&Map<String, Value>) -> Result<String, String> + Send + Sync>;

/// Reads a token; `None` for all that is not to be believed.
pub type VerifyToken = Arc<dyn Fn(&str) -> Option<Map<String, Value>> + Send + Sync>;

impl std::fmt::Debug for TokenIssuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenIssuer")
    }
}

/// Handle on the auth service. Clones share it.
#[derive(Debug, Clone)]
pub struct Auth(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    db: Db,
    tokens: TokenIssuer,
    clock: Clock,
    config: config::Handle,
    mac_key: refresh_token::MacKey,
    limits: limits::Limits,
    secrets: secrets::Secrets,
    signatures: keys::Secrets,
    mailer: Mailer,
    outbound: Outbound,
    oauth: oauth::OAuth,
    mfa_secrets: mfa::Secrets,
    extensions: Extensions,
    passwords: password::Passwords,
}

impl Auth {
    /// Builds the service. `secret` authenticates refresh tokens, hides addresses in the tables of the limits and seals
    /// what second factors are made of; it must be the same on all nodes. `signatures` signs states and links, and is
    /// changed while nodes run.
    ///
    /// # Errors
    /// [`AuthError::Internal`] when the settings of argon2 or the allow list of redirects cannot be used.
    #[expect(
        clippy::too_many_arguments,
        reason = "the list of what the service depends on"
    )]
    pub fn new(
        db: Db,
        tokens: TokenIssuer,
        clock: Clock,
        config: config::Handle,
        secret: &[u8; 32],
        signatures: keys::Secrets,
        mailer: Mailer,
        outbound: Outbound,
        mut extensions: Extensions,
        metrics: &Metrics,
    ) -> Result<Self, AuthError> {
        let settings = config.current();
        redirect::check(&settings)?;
        let passwords = password::Passwords::new(&settings.auth, metrics)?;
        extensions.targets = Some(sync_hooks::Targets::new(
            db.clone(),
            outbound.clone(),
            clock.clone(),
            config.clone(),
        ));
        let auth = Self(Arc::new(Inner {
            db,
            tokens,
            clock,
            config,
            mac_key: refresh_token::MacKey::new(secret),
            limits: limits::Limits::new(secret),
            secrets: secrets::Secrets::new(secret),
            signatures,
            mailer,
            outbound,
            oauth: oauth::OAuth::default(),
            mfa_secrets: mfa::Secrets::new(secret),
            extensions,
            passwords,
        }));
        auth.mailer()
            .deliver_with(sync_hooks::email::deliver(&auth));
        Ok(auth)
    }

    /// Adds the kinds of jobs with which the service writes mails.
    pub fn add_to(&self, handlers: Handlers) -> Handlers {
        email::deliver::add_to(self, handlers)
    }

    fn db(&self) -> &Db {
        &self.0.db
    }

    fn clock(&self) -> &Clock {
        &self.0.clock
    }

    fn config(&self) -> Arc<Config> {
        self.0.config.current()
    }

    fn mac_key(&self) -> &refresh_token::MacKey {
        &self.0.mac_key
    }

    fn limits(&self) -> &limits::Limits {
        &self.0.limits
    }

    fn secrets(&self) -> &secrets::Secrets {
        &self.0.secrets
    }

    fn signatures(&self) -> &keys::Secrets {
        &self.0.signatures
    }

    /// Sends mails, from within transactions.
    pub fn mailer(&self) -> &Mailer {
        &self.0.mailer
    }

    /// Calls addresses outside.
    fn outbound(&self) -> &Outbound {
        &self.0.outbound
    }

    fn oauth(&self) -> &oauth::OAuth {
        &self.0.oauth
    }

    fn mfa_secrets(&self) -> &mfa::Secrets {
        &self.0.mfa_secrets
    }

    fn extensions(&self) -> &Extensions {
        &self.0.extensions
    }

    fn passwords(&self) -> &password::Passwords {
        &self.0.passwords
    }

    fn sign(&self, claims: &Map<String, Value>) -> Result<String, String> {
        (self.0.tokens.sign)(claims)
    }

    fn jwks(&self) -> Arc<str> {
        (self.0.tokens.jwks)()
    }

    /// The claims of a token this service has issued, for whomever.
    fn verify(&self, token: &str) -> Option<Map<String, Value>> {
        let claims = (self.0.tokens.verify)(token)?;
        let issuer = claims.get("iss").and_then(Value::as_str);
        (issuer == Some(self.config().issuer().as_str())).then_some(claims)
    }
}

/// What a failed write of a user means. Constraints are told by schema and name: the project's triggers write to its
/// own tables in the same statement.
fn saving(error: DbError) -> AuthError {
    if error.code() == Some(&SqlState::UNIQUE_VIOLATION) && error.schema() == Some("auth") {
        match error.constraint() {
            Some("users_email_partial_key") => return AuthError::EmailExists,
            Some("users_phone_key") => return AuthError::PhoneExists,
            Some("users_username_key") => return AuthError::UsernameExists,
            Some("users_pkey") => return AuthError::IdExists,
            _ => {}
        }
    }
    AuthError::SavingUser(error)
}
