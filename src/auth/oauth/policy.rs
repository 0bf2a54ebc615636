//! Whether somebody whom a provider has signed in gets an account that has the same address.

use crate::auth::AuthError;
use crate::auth::queries::oauth::Namesake;
use crate::config::Linking;
use crate::error::ErrorCode;

/// What becomes of an identity that no account has yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// A new account.
    Create,
    /// The account with its address gets it.
    Link,
    /// So it does, after whatever could let anybody else in is removed: nobody has shown yet to own the address.
    TakeOver,
    /// Neither.
    Refuse(Refusal),
}

/// Why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The provider does not vouch for the address, so it may be anybody's.
    NotVouched,
    /// The project lets users link identities themselves.
    Ask,
    /// The project joins nothing by address.
    Never,
}

impl Refusal {
    /// What the client is told: no more than that there is an account, which the provider's user may know.
    pub(super) fn error(self) -> AuthError {
        match self {
            Self::NotVouched => AuthError::Refused(
                ErrorCode::ProviderEmailNeedsVerification,
                "The provider does not confirm this email address; confirm it there, or sign in another way",
            ),
            Self::Ask => AuthError::Refused(
                ErrorCode::EmailExists,
                "An account with this email address exists; sign in to it as before and link the provider there",
            ),
            Self::Never => AuthError::Refused(
                ErrorCode::EmailExists,
                "An account with this email address exists; sign in to it as before",
            ),
        }
    }
}

/// Decides by the setting, the provider's word and the account with the address, if there is one.
pub(super) fn decide(linking: Linking, is_vouched: bool, namesake: Option<&Namesake>) -> Decision {
    let Some(namesake) = namesake else {
        return Decision::Create;
    };
    match linking {
        _ if !is_vouched => Decision::Refuse(Refusal::NotVouched),
        Linking::Auto if namesake.is_proven => Decision::Link,
        Linking::Auto => Decision::TakeOver,
        // Nobody could sign in to it so far: to leave it in the way of the owner helps nobody.
        Linking::Ask | Linking::Never if !namesake.is_confirmed => Decision::TakeOver,
        Linking::Ask => Decision::Refuse(Refusal::Ask),
        Linking::Never => Decision::Refuse(Refusal::Never),
    }
}

impl Decision {
    /// For the audit log.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Create => "no account has the address",
            Self::Link => "the provider vouches for the address, and the account's is confirmed",
            Self::TakeOver => {
                "the provider vouches for the address, and nobody had proven it: the account was emptied"
            }
            Self::Refuse(Refusal::NotVouched) => {
                "the provider does not vouch for the address of an account"
            }
            Self::Refuse(Refusal::Ask) => "auth.linking is ask",
            Self::Refuse(Refusal::Never) => "auth.linking is never",
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::Decision::{Create, Link, Refuse, TakeOver};
    use super::Linking::{Ask, Auto, Never};
    use super::*;

    /// The whole policy. Fails when any of its conditions is dropped.
    #[test]
    fn an_account_is_joined_when_both_sides_have_proven_the_address() {
        let namesake = |is_confirmed, is_proven| Namesake {
            id: Uuid::nil(),
            is_confirmed,
            is_proven,
        };
        let (proven, autoconfirmed, unconfirmed) = (
            namesake(true, true),
            namesake(true, false),
            namesake(false, false),
        );
        for linking in [Auto, Ask, Never] {
            assert_eq!(decide(linking, true, None), Create);
            assert_eq!(decide(linking, false, None), Create);
            for namesake in [&proven, &autoconfirmed, &unconfirmed] {
                let decision = decide(linking, false, Some(namesake));
                assert_eq!(decision, Refuse(Refusal::NotVouched));
            }
            assert_eq!(decide(linking, true, Some(&unconfirmed)), TakeOver);
        }
        assert_eq!(decide(Auto, true, Some(&proven)), Link);
        assert_eq!(decide(Auto, true, Some(&autoconfirmed)), TakeOver);
        for (linking, refusal) in [(Ask, Refusal::Ask), (Never, Refusal::Never)] {
            assert_eq!(decide(linking, true, Some(&proven)), Refuse(refusal));
            assert_eq!(decide(linking, true, Some(&autoconfirmed)), Refuse(refusal));
        }
    }
}
