//! An authenticator app and an authenticator, in software.

use serde_json::{Value, json};
use totp_rs::{Builder, Secret};
use webauthn_authenticator_rs::AuthenticatorBackend as _;
use webauthn_authenticator_rs::prelude::{
    CreationChallengeResponse, PublicKeyCredential, RequestChallengeResponse, Url,
};
use webauthn_authenticator_rs::softpasskey::SoftPasskey;

use crate::auth::support::{App, Call, Reply};

pub(crate) const ORIGIN: &str = "http://localhost:3000";

impl App {
    pub(crate) fn as_user(&self, method: &str, path: &str, access_token: &str) -> Call<'_> {
        self.request(method, path).bearer(access_token)
    }

    /// A request of a signed-in user.
    pub(crate) async fn call(&self, method: &str, path: &str, token: &str, body: Value) -> Reply {
        self.as_user(method, path, token).json(body).send().await
    }

    /// Enrols an authenticator app, unverified.
    pub(crate) async fn enroll(&self, access_token: &str, name: &str) -> Totp {
        let body = json!({"factor_type": "totp", "friendly_name": name});
        let reply = self.call("POST", "/factors", access_token, body).await.ok();
        Totp {
            id: reply.text("/id").to_owned(),
            secret: reply.text("/totp/secret").to_owned(),
        }
    }

    pub(crate) async fn challenge(&self, access_token: &str, factor_id: &str) -> String {
        let path = format!("/factors/{factor_id}/challenge");
        let reply = self.call("POST", &path, access_token, json!({})).await.ok();
        reply.text("/id").to_owned()
    }

    pub(crate) async fn answer(
        &self,
        access_token: &str,
        factor_id: &str,
        challenge_id: &str,
        code: &str,
    ) -> Reply {
        let path = format!("/factors/{factor_id}/verify");
        let body = json!({"challenge_id": challenge_id, "code": code});
        self.call("POST", &path, access_token, body).await
    }

    /// Challenges an app and answers with what it shows now.
    pub(crate) async fn verify(&self, access_token: &str, totp: &Totp) -> Reply {
        let challenge = self.challenge(access_token, &totp.id).await;
        let code = totp.code(self);
        self.answer(access_token, &totp.id, &challenge, &code).await
    }

    /// A new user with a verified authenticator app, in a session at `aal2`, a time step later.
    pub(crate) async fn with_totp(&self, email: &str) -> (Reply, Totp) {
        let session = self.sign_up(email).await.ok();
        let totp = self.enroll(session.access_token(), "phone").await;
        let raised = self.verify(session.access_token(), &totp).await.ok();
        self.advance(30);
        (raised, totp)
    }
}

/// An authenticator app.
pub(crate) struct Totp {
    pub(crate) id: String,
    pub(crate) secret: String,
}

impl Totp {
    /// What it shows now.
    pub(crate) fn code(&self, app: &App) -> String {
        self.code_in(app, 0)
    }

    /// What it shows some seconds later.
    pub(crate) fn code_in(&self, app: &App, seconds: i64) -> String {
        let secret = Secret::try_from_base32(&self.secret).unwrap();
        let totp = Builder::new().with_secret(secret).build().unwrap();
        let time = app.clock.now().timestamp() + seconds;
        totp.generate(u64::try_from(time).unwrap()).to_string()
    }

    /// Six digits that it does not show around now.
    pub(crate) fn wrong_code(&self, app: &App) -> String {
        let right: Vec<String> = [-30, 0, 30].map(|s| self.code_in(app, s)).to_vec();
        let wrong = (0..10).map(|n| format!("{n:06}"));
        wrong
            .into_iter()
            .find(|code| !right.contains(code))
            .unwrap()
    }
}

/// An authenticator and the page that uses it; both do what a test wants.
pub(crate) struct Authenticator {
    device: SoftPasskey,
    pub(crate) origin: Url,
}

impl Authenticator {
    pub(crate) fn new() -> Self {
        Self {
            device: SoftPasskey::new(true),
            origin: Url::parse(ORIGIN).unwrap(),
        }
    }

    /// Makes a key for what the server asks (`publicKey` of the options).
    pub(crate) fn create(&mut self, public_key: &Value) -> Value {
        let mut public_key = public_key.clone();
        // The device keeps everything it makes, but says that it cannot.
        let selection = &mut public_key["authenticatorSelection"];
        selection["requireResidentKey"] = json!(false);
        let options: CreationChallengeResponse =
            serde_json::from_value(json!({"publicKey": public_key})).unwrap();
        let made = self
            .device
            .perform_register(self.origin.clone(), options.public_key, 1000)
            .unwrap();
        serde_json::to_value(made).unwrap()
    }

    /// Signs for what the server asks, with the key `credential_id`, as `user_id`.
    pub(crate) fn get(&mut self, public_key: &Value, credential_id: &str, user_id: &str) -> Value {
        let mut public_key = public_key.clone();
        // A device with keys of its own does not need to be told.
        public_key["allowCredentials"] = json!([{"type": "public-key", "id": credential_id}]);
        let options: RequestChallengeResponse =
            serde_json::from_value(json!({"publicKey": public_key})).unwrap();
        let mut used: PublicKeyCredential = self
            .device
            .perform_auth(self.origin.clone(), options.public_key, 1000)
            .unwrap();
        let handle = uuid::Uuid::parse_str(user_id).unwrap();
        used.response.user_handle = Some(handle.as_bytes().to_vec());
        serde_json::to_value(used).unwrap()
    }
}
