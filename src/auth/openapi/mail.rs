//! Mails with a link and a code, and what is done with those.

use serde_json::{Value, json};

use super::build::{Operation, get, post};
use super::schemas::{any_object, boolean, object, one_of, reference, takes, text};
use crate::error::ErrorCode;

pub(super) fn operations() -> Vec<Operation> {
    let mut all = asking();
    all.extend(using());
    all.extend(aliases());
    all
}

/// What a mail is for, as links say it.
const KINDS: &[&str] = &[
    "signup",
    "invite",
    "magiclink",
    "recovery",
    "email_change",
    "email",
    "sms",
    "phone_change",
];

/// What asking for a mail is refused with.
const ASKING: &[ErrorCode] = &[
    ErrorCode::OverRequestRateLimit,
    ErrorCode::OverEmailSendRateLimit,
    ErrorCode::OverSmsSendRateLimit,
    ErrorCode::SmsSendFailed,
    ErrorCode::PhoneProviderDisabled,
    ErrorCode::SignupDisabled,
    ErrorCode::OtpDisabled,
    ErrorCode::CaptchaFailed,
    ErrorCode::HookRejected,
];

/// What a code or link is refused with.
const USING: &[ErrorCode] = &[
    ErrorCode::OtpExpired,
    ErrorCode::OverRequestRateLimit,
    ErrorCode::UserBanned,
    ErrorCode::EmailExists,
    ErrorCode::PhoneProviderDisabled,
];

fn request() -> Value {
    takes(
        [],
        [
            ("email", text()),
            ("phone", text()),
            ("data", any_object()),
            ("create_user", boolean()),
            (
                "type",
                one_of(&["signup", "email_change", "sms", "phone_change"]),
            ),
            ("channel", text()),
            ("redirect_url", text()),
            ("code_challenge", text()),
            ("code_challenge_method", text()),
        ],
    )
}

fn asks(path: &'static str, summary: &'static str) -> Operation {
    post(path, summary)
        .query("redirect_to", text())
        .body(request())
        .json(200, object([], [("message_id", text())]))
        .refuses(ASKING)
}

fn asking() -> Vec<Operation> {
    vec![
        asks("/otp", "Mail a link and a code to sign in with"),
        asks("/magiclink", "The same, as older clients ask for it"),
        asks(
            "/recover",
            "Mail a link and a code for a forgotten password",
        ),
        asks("/resend", "Mail a confirmation again"),
        asks(
            "/confirm/resend",
            "Mail the confirmation of a sign-up again",
        ),
        get(
            "/reauthenticate",
            "Send a code that confirms a change of password",
        )
        .user()
        .json(200, object([], [("message_id", text())]))
        .refuses(ASKING)
        .refuses(&[ErrorCode::EmailAddressNotProvided]),
        post("/invite", "Make an account and mail an invitation")
            .service()
            .query("redirect_to", text())
            .body(request())
            .json(200, reference("User"))
            .refuses(&[ErrorCode::EmailExists])
            .refuses(ASKING),
        generate_link(),
    ]
}

fn generate_link() -> Operation {
    let kinds = [
        "signup",
        "invite",
        "magiclink",
        "recovery",
        "email_change_current",
        "email_change_new",
    ];
    let body = takes(
        [("type", one_of(&kinds)), ("email", text())],
        [
            ("new_email", text()),
            ("password", text()),
            ("data", any_object()),
            ("redirect_to", text()),
        ],
    );
    post("/admin/generate_link", "Make a link instead of mailing it")
        .service()
        .query("redirect_to", text())
        .body(body)
        .json(200, reference("GeneratedLink"))
        .refuses(&[
            ErrorCode::UserNotFound,
            ErrorCode::EmailExists,
            ErrorCode::WeakPassword,
            ErrorCode::SignupDisabled,
        ])
}

/// A session, or the first half of a change of address that both addresses confirm.
fn verified() -> Value {
    let half = object([("msg", text()), ("code", text())], []);
    json!({ "anyOf": [reference("Session"), half] })
}

fn link(operation: Operation) -> Operation {
    operation
        .query("token", text())
        .query("token_hash", text())
        .query("redirect_to", text())
}

fn verification() -> Value {
    takes(
        [],
        [
            ("type", one_of(KINDS)),
            ("email", text()),
            ("phone", text()),
            ("token", text()),
            ("token_hash", text()),
            ("password", text()),
        ],
    )
}

fn using() -> Vec<Operation> {
    let form = takes(
        [],
        [
            ("token", text()),
            ("token_hash", text()),
            ("type", text()),
            ("redirect_to", text()),
        ],
    );
    vec![
        link(get("/verify", "Open a mailed link: a page with a button"))
            .query("type", one_of(KINDS))
            .text("text/html")
            .redirects(303)
            .refuses(USING),
        post("/verify", "Use a code or link, for applications")
            .body(verification())
            .json(200, verified())
            .refuses(USING),
        post("/verify/link", "What the button of the page sends")
            .form(form)
            .redirects(303)
            .refuses(&[ErrorCode::ValidationFailed])
            .refuses(USING),
    ]
}

/// As clients of supython name them.
fn aliases() -> Vec<Operation> {
    let opens = |path, summary| {
        link(get(path, summary))
            .text("text/html")
            .redirects(303)
            .refuses(USING)
    };
    let uses = |path, summary| {
        link(post(path, summary))
            .json(200, verified())
            .redirects(303)
            .refuses(USING)
    };
    vec![
        post("/otp/verify", "Use the code of a mail")
            .body(verification())
            .json(200, verified())
            .refuses(USING),
        post(
            "/recover/verify",
            "Use a code and set a new password at once",
        )
        .body(verification())
        .json(200, reference("Session"))
        .refuses(&[ErrorCode::WeakPassword, ErrorCode::SamePassword])
        .refuses(USING),
        opens("/magiclink/verify", "Open a link to sign in"),
        uses("/magiclink/verify", "Use a link to sign in"),
        opens("/confirm/verify", "Open a link that confirms a sign-up"),
        uses("/confirm/verify", "Use a link that confirms a sign-up"),
        opens(
            "/email_change/verify",
            "Open a link that confirms an address",
        ),
        uses(
            "/email_change/verify",
            "Use a link that confirms an address",
        ),
    ]
}

/// A user with the parts of a link.
pub(super) fn generated_link(user: Value) -> Value {
    let parts = [
        "action_link",
        "email_otp",
        "hashed_token",
        "redirect_to",
        "verification_type",
    ];
    let mut link = user;
    for part in parts {
        link["properties"][part] = text();
        if let Some(required) = link["required"].as_array_mut() {
            required.push(part.into());
        }
    }
    link
}
