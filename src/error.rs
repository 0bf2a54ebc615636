//! Every public error code, once: its text on the wire and its HTTP status.
//!
//! Codes are API and are never renamed. Where Supabase has a code for a situation, it is used, because client
//! libraries branch on it. `docs/reference/errors.md` is generated from this table.

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $wire:literal, $status:literal;)+) => {
        /// A stable public error code.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode { $($(#[doc = $doc])+ $variant),+ }

        impl ErrorCode {
            /// All codes, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The code as clients see it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $wire),+ }
            }

            /// The HTTP status it is answered with.
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status),+ }
            }

            /// What it means.
            pub const fn doc(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+)),+ }
            }
        }
    };
}

codes! {
    /// Something failed inside; the log has the cause under the request id.
    UnexpectedFailure = "unexpected_failure", 500;
    /// The server cannot do it right now (no database connection in time, too many passwords to check, too many refreshes from this address); try again.
    ServiceUnavailable = "service_unavailable", 503;
    /// PostgREST is starting or restarting; try again.
    UpstreamUnavailable = "upstream_unavailable", 503;
    /// PostgREST or the database did not answer in time.
    RequestTimeout = "request_timeout", 504;
    /// Nothing is served at this path.
    NotFound = "not_found", 404;
    /// The path does not take this method.
    MethodNotAllowed = "method_not_allowed", 405;
    /// The body is not valid JSON.
    BadJson = "bad_json", 400;
    /// A field is missing or has the wrong form.
    ValidationFailed = "validation_failed", 400;
    /// The body is larger than the server takes.
    RequestEntityTooLarge = "request_entity_too_large", 413;
    /// The body has a content type the path does not take.
    UnsupportedMediaType = "unsupported_media_type", 415;
    /// The path could be read in two ways (encoded slashes, dot segments).
    BadPath = "bad_path", 400;
    /// The request changes something another request is changing; try again.
    Conflict = "conflict", 409;
    /// Too many requests from this address, or too many wrong passwords for this account; wait as long as `Retry-After` says.
    OverRequestRateLimit = "over_request_rate_limit", 429;
    /// The request needs a bearer token.
    NoAuthorization = "no_authorization", 401;
    /// The API key is missing, unknown or revoked.
    InvalidApiKey = "invalid_api_key", 401;
    /// The bearer token is malformed, expired or not signed by a current key.
    BadJwt = "bad_jwt", 403;
    /// The token's role may not do this.
    NotAdmin = "not_admin", 403;
    /// The database refused the operation for this role.
    InsufficientPrivilege = "insufficient_privilege", 403;
    /// The session of this token was ended.
    SessionNotFound = "session_not_found", 403;
    /// The session has reached its time limit; sign in again.
    SessionExpired = "session_expired", 400;
    /// The refresh token is unknown, or its session was ended.
    RefreshTokenNotFound = "refresh_token_not_found", 400;
    /// The refresh token was used before; its session has been ended.
    RefreshTokenAlreadyUsed = "refresh_token_already_used", 400;
    /// Unknown address or wrong password.
    InvalidCredentials = "invalid_credentials", 400;
    /// The address has not been confirmed yet.
    EmailNotConfirmed = "email_not_confirmed", 400;
    /// The account is banned.
    UserBanned = "user_banned", 400;
    /// There is no such user.
    UserNotFound = "user_not_found", 404;
    /// Sign-ups are switched off.
    SignupDisabled = "signup_disabled", 422;
    /// An account with this address exists.
    UserAlreadyExists = "user_already_exists", 422;
    /// Another account has this address.
    EmailExists = "email_exists", 422;
    /// Another account has this phone number.
    PhoneExists = "phone_exists", 422;
    /// The address is not a valid email address.
    EmailAddressInvalid = "email_address_invalid", 400;
    /// Signing in by email is switched off.
    EmailProviderDisabled = "email_provider_disabled", 422;
    /// Signing in by phone is switched off.
    PhoneProviderDisabled = "phone_provider_disabled", 422;
    /// Anonymous sign-ins are switched off.
    AnonymousProviderDisabled = "anonymous_provider_disabled", 422;
    /// The password does not meet the rules.
    WeakPassword = "weak_password", 422;
    /// The new password equals the old one.
    SamePassword = "same_password", 422;
    /// Changing the password needs the current one.
    CurrentPasswordRequired = "current_password_required", 400;
    /// The current password is wrong.
    CurrentPasswordInvalid = "current_password_invalid", 400;
    /// A hook of the project refused the request.
    HookRejected = "hook_rejected", 422;
    /// There is no such job, or the caller may not see it.
    JobNotFound = "job_not_found", 404;
    /// The job is over, is being cancelled already, or is not over yet.
    JobStateConflict = "job_state_conflict", 409;
    /// The queue does not exist.
    QueueNotFound = "queue_not_found", 400;
    /// The project is not set up for this.
    FeatureDisabled = "feature_disabled", 422;
}
