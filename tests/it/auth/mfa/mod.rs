//! Second factors and passkeys over the router.

mod passkeys;
mod recovery_codes;
mod sessions;
mod step_up;
mod support;
mod totp;
mod webauthn;
