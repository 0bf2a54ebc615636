//! What goes through a mailbox: confirming an address, signing in without a password, recovering an account,
//! invitations, changes of address, and proving that it is still the user.
//!
//! What holds:
//! - Whether an address has an account is looked up by a worker ([`deliver`]), after the request was answered: neither
//!   the answer nor its time can tell. Where Supabase's own answer tells, it does so until `auth.hide_accounts` is set.
//! - A mail goes out if and only if the change that it belongs to was committed.
//! - Reading a link uses nothing up; pressing the button does ([`page`]).
//! - Until an address is confirmed, nobody knows who set the account's password: whoever asks for the same address
//!   without knowing that password removes it. So an account that was prepared for a victim is worth nothing.
//! - Every address in a mail or redirect comes from the settings and the allow list, never from a header.

pub(super) mod change;
pub(super) mod deliver;
pub(super) mod generate;
pub(super) mod invite;
pub(super) mod letter;
pub(super) mod page;
pub(super) mod reauthenticate;
pub(super) mod recover;
pub(super) mod request;
pub(super) mod sign_up;
pub(super) mod verify;
