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
    /// The phone number has not been confirmed yet.
    PhoneNotConfirmed = "phone_not_confirmed", 400;
    /// The address has no place in this project: its provider or domain is not admitted.
    EmailAddressNotAuthorized = "email_address_not_authorized", 400;
    /// The account has no address to send to.
    EmailAddressNotProvided = "email_address_not_provided", 400;
    /// This way of signing in is switched off.
    ProviderDisabled = "provider_disabled", 400;
    /// No such provider is known.
    OauthProviderNotSupported = "oauth_provider_not_supported", 400;
    /// Single sign-on by SAML is not offered.
    SamlProviderDisabled = "saml_provider_disabled", 404;
    /// Signing in with a wallet is not offered.
    Web3ProviderDisabled = "web3_provider_disabled", 422;
    /// The provider does not vouch for the address; it must be confirmed first.
    ProviderEmailNeedsVerification = "provider_email_needs_verification", 422;
    /// The code or link is unknown, wrong, used or too old; ask for a new one.
    OtpExpired = "otp_expired", 403;
    /// Codes and links do not make new accounts here.
    OtpDisabled = "otp_disabled", 422;
    /// Too many mails to this address; wait as long as `Retry-After` says.
    OverEmailSendRateLimit = "over_email_send_rate_limit", 429;
    /// Too many text messages to this number; wait as long as `Retry-After` says.
    OverSmsSendRateLimit = "over_sms_send_rate_limit", 429;
    /// The text message could not be sent.
    SmsSendFailed = "sms_send_failed", 422;
    /// The captcha is missing or was not solved.
    CaptchaFailed = "captcha_failed", 400;
    /// The change needs a fresh proof of who is signed in: `GET /reauthenticate` mails a code for it.
    ReauthenticationNeeded = "reauthentication_needed", 400;
    /// The code of `GET /reauthenticate` is wrong or too old.
    ReauthenticationNotValid = "reauthentication_not_valid", 422;
    /// The account is managed by its single sign-on provider.
    UserSsoManaged = "user_sso_managed", 422;
    /// The sign-in that this code belongs to is unknown or was finished.
    FlowStateNotFound = "flow_state_not_found", 404;
    /// The sign-in took too long; begin again.
    FlowStateExpired = "flow_state_expired", 422;
    /// The code verifier does not fit the code challenge the sign-in began with.
    BadCodeVerifier = "bad_code_verifier", 400;
    /// The `state` of a provider's answer is unknown, used, too old or of another browser.
    BadOauthState = "bad_oauth_state", 400;
    /// A provider's answer lacks something or cannot be believed.
    BadOauthCallback = "bad_oauth_callback", 400;
    /// The user has no such identity.
    IdentityNotFound = "identity_not_found", 422;
    /// The identity belongs to an account already.
    IdentityAlreadyExists = "identity_already_exists", 422;
    /// The only way to sign in cannot be removed.
    SingleIdentityNotDeletable = "single_identity_not_deletable", 422;
    /// Without this identity the account would take an address that another account has.
    EmailConflictIdentityNotDeletable = "email_conflict_identity_not_deletable", 422;
    /// Linking identities by hand is switched off.
    ManualLinkingDisabled = "manual_linking_disabled", 404;
    /// The user has no such factor.
    MfaFactorNotFound = "mfa_factor_not_found", 404;
    /// The user has a factor of this name.
    MfaFactorNameConflict = "mfa_factor_name_conflict", 422;
    /// The user has as many factors as are allowed.
    TooManyEnrolledMfaFactors = "too_many_enrolled_mfa_factors", 422;
    /// The user has a verified factor of this kind.
    MfaVerifiedFactorExists = "mfa_verified_factor_exists", 422;
    /// The challenge is too old; ask for a new one.
    MfaChallengeExpired = "mfa_challenge_expired", 422;
    /// The code or answer is wrong.
    MfaVerificationFailed = "mfa_verification_failed", 422;
    /// A hook refused the verification.
    MfaVerificationRejected = "mfa_verification_rejected", 403;
    /// The challenge was made for another client address.
    MfaIpAddressMismatch = "mfa_ip_address_mismatch", 422;
    /// The session needs a second factor for this.
    InsufficientAal = "insufficient_aal", 401;
    /// Enrolling authenticator apps is switched off.
    MfaTotpEnrollNotEnabled = "mfa_totp_enroll_not_enabled", 422;
    /// Verifying with authenticator apps is switched off.
    MfaTotpVerifyNotEnabled = "mfa_totp_verify_not_enabled", 422;
    /// Enrolling phones is switched off.
    MfaPhoneEnrollNotEnabled = "mfa_phone_enroll_not_enabled", 422;
    /// Verifying with phones is switched off.
    MfaPhoneVerifyNotEnabled = "mfa_phone_verify_not_enabled", 422;
    /// Enrolling security keys is switched off.
    MfaWebauthnEnrollNotEnabled = "mfa_webauthn_enroll_not_enabled", 422;
    /// Verifying with security keys is switched off.
    MfaWebauthnVerifyNotEnabled = "mfa_webauthn_verify_not_enabled", 422;
    /// Making recovery codes is switched off.
    MfaRecoveryCodesEnrollNotEnabled = "mfa_recovery_codes_enroll_not_enabled", 422;
    /// Verifying with recovery codes is switched off.
    MfaRecoveryCodesVerifyNotEnabled = "mfa_recovery_codes_verify_not_enabled", 422;
    /// Too many wrong recovery codes; wait as long as `Retry-After` says, or use another factor.
    MfaRecoveryCodesLocked = "mfa_recovery_codes_locked", 429;
    /// Recovery codes are for who has another second factor.
    MfaRecoveryCodesSoleFactor = "mfa_recovery_codes_sole_factor", 422;
    /// Passkeys are switched off.
    PasskeyDisabled = "passkey_disabled", 404;
    /// The user has as many passkeys as are allowed.
    TooManyPasskeys = "too_many_passkeys", 422;
    /// No account has this passkey.
    WebauthnCredentialNotFound = "webauthn_credential_not_found", 404;
    /// The passkey is registered already.
    WebauthnCredentialExists = "webauthn_credential_exists", 422;
    /// The challenge is unknown or was answered.
    WebauthnChallengeNotFound = "webauthn_challenge_not_found", 400;
    /// The challenge is too old.
    WebauthnChallengeExpired = "webauthn_challenge_expired", 400;
    /// The authenticator's answer does not verify.
    WebauthnVerificationFailed = "webauthn_verification_failed", 400;
    /// A hook of the project did not answer in time.
    HookTimeout = "hook_timeout", 422;
    /// A hook of the project did not answer in time, three times.
    HookTimeoutAfterRetry = "hook_timeout_after_retry", 422;
    /// The answer of a hook is larger than 200 KB.
    HookPayloadOverSizeLimit = "hook_payload_over_size_limit", 422;
    /// The answer of a hook is not JSON.
    HookPayloadInvalidContentType = "hook_payload_invalid_content_type", 422;
    /// The token is for another audience.
    UnexpectedAudience = "unexpected_audience", 403;
    /// No such OAuth client is registered.
    OauthClientNotFound = "oauth_client_not_found", 404;
    /// The authorization is unknown, was decided or is too old.
    OauthAuthorizationNotFound = "oauth_authorization_not_found", 404;
    /// The user has given this client no consent.
    OauthConsentNotFound = "oauth_consent_not_found", 404;
    /// Clients cannot register themselves here.
    OauthDynamicClientRegistrationDisabled = "oauth_dynamic_client_registration_disabled", 403;
    /// There is no such job, or the caller may not see it.
    JobNotFound = "job_not_found", 404;
    /// The job is over, is being cancelled already, or is not over yet.
    JobStateConflict = "job_state_conflict", 409;
    /// The queue does not exist.
    QueueNotFound = "queue_not_found", 400;
    /// The project is not set up for this.
    FeatureDisabled = "feature_disabled", 404;
}
