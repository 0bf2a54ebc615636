//! Asking for a mail: `/otp`, `/magiclink`, `/recover`, `/resend`.
//!
//! The request is checked, counted and passed on to a worker as a sealed job. Nothing here looks whether the address has
//! an account, unless Supabase's answer depends on it and `auth.hide_accounts` is off.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;
use uuid::Uuid;

use super::{letter, sign_up};
use crate::auth::address::Email;
use crate::auth::flow::Challenge;
use crate::auth::limits::{self, Limited, Origin};
use crate::auth::metadata::MetadataPatch;
use crate::auth::model::Client;
use crate::auth::sign_in::Method;
use crate::auth::{Auth, AuthError, evenly, mail_limits, queries, redirect};
use crate::error::ErrorCode;

/// What the sealed job belongs to.
const BELONGS_TO: &[u8] = b"auth.mail";

/// Which mail is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::auth) enum Wanted {
    /// A link and a code to sign in, which also make an account.
    SignInOrUp,
    /// A link and a code to sign in.
    SignIn,
    /// A link and a code to recover the account.
    Recovery,
    /// The confirmation of a sign-up once more.
    Confirmation,
    /// The confirmations of a change of address once more.
    EmailChange,
}

impl Wanted {
    fn method(self) -> Method {
        match self {
            Self::SignInOrUp | Self::SignIn => Method::MagicLink,
            Self::Recovery => Method::Recovery,
            Self::Confirmation => Method::EmailSignup,
            Self::EmailChange => Method::EmailChange,
        }
    }
}

/// What a client sends.
#[derive(Clone, Default)]
pub(in crate::auth) struct MailRequest {
    /// Address as typed.
    pub(in crate::auth) email: Option<String>,
    /// First user metadata, where an account is made.
    pub(in crate::auth) data: Option<Value>,
    /// Where the link leads in the end.
    pub(in crate::auth) redirect_to: Option<String>,
    /// PKCE.
    pub(in crate::auth) code_challenge: Option<String>,
    /// PKCE.
    pub(in crate::auth) code_challenge_method: Option<String>,
}

/// What the worker gets, sealed.
#[derive(Serialize, Deserialize)]
pub(super) struct Passed {
    pub(super) wanted: Wanted,
    pub(super) email: String,
    pub(super) data: Value,
    pub(super) redirect_to: String,
    pub(super) flow_id: Option<Uuid>,
    pub(super) ip: Option<std::net::IpAddr>,
    pub(super) user_agent: Option<String>,
}

impl Passed {
    /// The payload of the job.
    fn seal(&self, auth: &Auth) -> Value {
        let plain = serde_json::to_vec(self).expect("the request is JSON");
        let sealed = auth.secrets().seal(&plain, BELONGS_TO);
        json!({ "sealed": STANDARD.encode(sealed) })
    }

    /// `None` when it was not sealed by this service.
    pub(super) fn open(auth: &Auth, payload: &Value) -> Option<Self> {
        let sealed = STANDARD.decode(payload.get("sealed")?.as_str()?).ok()?;
        let plain = auth.secrets().open(&sealed, BELONGS_TO)?;
        serde_json::from_slice(&plain).ok()
    }
}

/// Takes a request for a mail.
///
/// # Errors
/// [`AuthError::Invalid`], [`AuthError::TooManyRequests`], [`AuthError::TooManyMails`], whether or not the address has an
/// account. For an unknown one [`ErrorCode::OtpDisabled`] or [`AuthError::SignupDisabled`], unless `auth.hide_accounts` is
/// set.
pub(in crate::auth) async fn request(
    auth: &Auth,
    (wanted, limited): (Wanted, Limited),
    input: MailRequest,
    client: &Client,
    origin: Origin,
) -> Result<(), AuthError> {
    let config = auth.config();
    let email = Email::parse(input.email.as_deref().unwrap_or_default())?;
    let redirect_to = redirect::target(&config, input.redirect_to.as_deref())?;
    let challenge = Challenge::parse(
        &config.auth,
        input.code_challenge.as_deref(),
        input.code_challenge_method.as_deref(),
    )?;
    let data = MetadataPatch::parse(input.data)?.over(serde_json::Map::new());
    limits::count(auth, limited, origin).await?;
    let asked = Asked {
        wanted,
        email,
        data,
        redirect_to,
        challenge,
    };
    evenly::answers(pass_on(auth, asked, client)).await
}

/// A request that was read.
struct Asked {
    wanted: Wanted,
    email: Email,
    data: Value,
    redirect_to: Url,
    challenge: Option<Challenge>,
}

async fn pass_on(auth: &Auth, asked: Asked, client: &Client) -> Result<(), AuthError> {
    let (wanted, email) = (asked.wanted, &asked.email);
    mail_limits::count_mail(auth, email).await?;
    if !auth.config().auth.hide_accounts {
        ensure_account(auth, wanted, email, &asked.data, client).await?;
    }
    let tx = auth.db().auth().begin().await?;
    let passed_on = async {
        let (challenge, target) = (asked.challenge.as_ref(), &asked.redirect_to);
        let flow_id = letter::begin_flow(auth, &tx, challenge, wanted.method(), target).await?;
        let passed = Passed {
            wanted,
            email: email.as_str().to_owned(),
            data: asked.data,
            redirect_to: asked.redirect_to.into(),
            flow_id,
            ip: client.ip,
            user_agent: client.user_agent.clone(),
        };
        queries::request_mail(&tx, &passed.seal(auth)).await?;
        Ok(())
    };
    let passed_on = passed_on.await;
    tx.finish(passed_on).await
}

/// Makes the account that a sign-in asks for, or says that there is none.
async fn ensure_account(
    auth: &Auth,
    wanted: Wanted,
    email: &Email,
    data: &Value,
    client: &Client,
) -> Result<(), AuthError> {
    if !matches!(wanted, Wanted::SignInOrUp | Wanted::SignIn) {
        return Ok(());
    }
    let known = {
        let connection = auth.db().auth().connection().await?;
        queries::find_credentials_by_email(&connection, email.as_str(), None).await?
    };
    if known.is_some() {
        return Ok(());
    }
    if wanted == Wanted::SignIn {
        let message = "Signups not allowed for otp";
        return Err(AuthError::Refused(ErrorCode::OtpDisabled, message));
    }
    if auth.config().auth.disable_signup {
        return Err(AuthError::SignupDisabled);
    }
    match sign_up::without_password(auth, email, data, client).await {
        // Somebody else was faster.
        Ok(_) | Err(AuthError::EmailExists) => Ok(()),
        Err(error) => Err(error),
    }
}
