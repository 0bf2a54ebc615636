//! An identity that is linked once the flow that brought it is finished by who began it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::account::{self, Arrival};
use super::profile::Profile;
use crate::auth::address::Email;
use crate::auth::model::Client;
use crate::auth::{Auth, AuthError};
use crate::db::Tx;

/// What is kept of it, sealed, until then.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::auth) struct PendingIdentity {
    provider: String,
    subject: String,
    email: Option<String>,
    is_vouched: bool,
    data: Map<String, Value>,
}

impl PendingIdentity {
    pub(super) fn new(provider: &str, profile: &Profile) -> Self {
        Self {
            provider: provider.to_owned(),
            subject: profile.subject.clone(),
            email: profile
                .email
                .as_ref()
                .map(|email| email.as_str().to_owned()),
            is_vouched: profile.is_vouched,
            data: profile.data.clone(),
        }
    }

    /// Gives it to the user who began to link it.
    ///
    /// # Errors
    /// Those of [`account::link`].
    pub(in crate::auth) async fn link(
        self,
        auth: &Auth,
        tx: &Tx,
        user_id: Uuid,
        client: &Client,
    ) -> Result<(), AuthError> {
        let profile = Profile {
            subject: self.subject,
            email: self.email.and_then(|text| Email::parse(&text).ok()),
            is_vouched: self.is_vouched,
            data: self.data,
        };
        let arrival = Arrival {
            provider: &self.provider,
            email_optional: true,
            redirect_to: None,
            profile: &profile,
            client,
        };
        account::link(auth, tx, &arrival, user_id).await
    }
}
