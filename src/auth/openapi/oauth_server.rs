//! The service as an identity provider for others, and tokens for services.

use serde_json::{Value, json};

use super::build::{Operation, delete, get, post, put};
use super::schemas::{
    any_object, boolean, integer, list, object, one_of, reference, takes, text, time, uuid,
};
use crate::error::ErrorCode;

pub(super) fn operations() -> Vec<Operation> {
    let mut all = authorization();
    all.extend(tokens());
    all.extend(clients());
    all.extend(pages());
    // All of it is behind a switch.
    let switched = |operation: Operation| operation.refuses(&[ErrorCode::FeatureDisabled]);
    all = all.into_iter().map(switched).collect();
    all.extend(discovery());
    all.extend(service_tokens());
    all
}

fn authorization_request() -> [(&'static str, Value); 9] {
    [
        ("client_id", text()),
        ("redirect_uri", text()),
        ("response_type", one_of(&["code"])),
        ("scope", text()),
        ("state", text()),
        ("nonce", text()),
        ("resource", text()),
        ("code_challenge", text()),
        ("code_challenge_method", one_of(&["S256"])),
    ]
}

fn authorization() -> Vec<Operation> {
    let begin = get("/oauth/authorize", "A client asks to sign somebody in");
    let begin = authorization_request()
        .into_iter()
        .fold(begin, |operation, (name, schema)| {
            operation.query(name, schema)
        });
    let redirect = object([("redirect_url", text())], []);
    let user = object([("id", uuid()), ("email", text())], []);
    let details = object(
        [
            ("authorization_id", text()),
            ("redirect_uri", text()),
            ("client", client_summary()),
            ("user", user),
            ("scope", text()),
        ],
        [],
    );
    let grant = object(
        [
            ("client", client_summary()),
            ("scopes", list(text())),
            ("granted_at", time()),
        ],
        [],
    );
    let unknown = &[ErrorCode::OauthAuthorizationNotFound];
    vec![
        begin
            .redirects(302)
            .refuses_with(400, ErrorCode::OauthClientNotFound)
            .refuses(&[ErrorCode::OverRequestRateLimit]),
        post("/oauth/authorize", "The same, as a form")
            .form_or_json(takes([], authorization_request()))
            .redirects(302)
            .oauth_errors(&[400])
            .refuses(&[ErrorCode::ValidationFailed, ErrorCode::OverRequestRateLimit])
            .refuses_with(400, ErrorCode::OauthClientNotFound),
        get("/oauth/authorizations/{id}", "What a client asks for")
            .user()
            .json(200, json!({ "anyOf": [details, redirect] }))
            .refuses(unknown),
        post("/oauth/authorizations/{id}/consent", "Approve or deny it")
            .user()
            .body(takes([("action", one_of(&["approve", "deny"]))], []))
            .json(200, redirect)
            .refuses(unknown),
        get("/user/oauth/grants", "What the user has granted")
            .user()
            .json(200, list(grant)),
        delete("/user/oauth/grants", "Withdraw a grant")
            .user()
            .query("client_id", uuid())
            .empty(204)
            .refuses(&[ErrorCode::OauthConsentNotFound]),
    ]
}

fn client_summary() -> Value {
    object(
        [("id", uuid()), ("name", text())],
        [("uri", text()), ("logo_uri", text())],
    )
}

fn tokens() -> Vec<Operation> {
    let asked = takes(
        [],
        [
            (
                "grant_type",
                one_of(&["authorization_code", "refresh_token"]),
            ),
            ("code", text()),
            ("redirect_uri", text()),
            ("code_verifier", text()),
            ("refresh_token", text()),
            ("scope", text()),
            ("resource", text()),
            ("client_id", text()),
            ("client_secret", text()),
        ],
    );
    let given = object(
        [
            ("access_token", text()),
            ("token_type", text()),
            ("expires_in", integer()),
            ("scope", text()),
        ],
        [("refresh_token", text()), ("id_token", text())],
    );
    let about = takes(
        [("token", text())],
        [
            ("token_type_hint", text()),
            ("client_id", text()),
            ("client_secret", text()),
        ],
    );
    let userinfo = |operation: Operation| {
        operation
            .json(200, any_object())
            .oauth_errors(&[400, 401, 403])
            .refuses(&[ErrorCode::UserNotFound])
    };
    let errors = |operation: Operation| {
        operation
            .oauth_errors(&[400, 401])
            .refuses(&[ErrorCode::OverRequestRateLimit, ErrorCode::FeatureDisabled])
    };
    vec![
        errors(post("/oauth/token", "Exchange a code or a refresh token"))
            .form_or_json(asked)
            .json(200, given),
        userinfo(get("/oauth/userinfo", "Claims about the user of a token")),
        userinfo(post("/oauth/userinfo", "The same")),
        errors(post("/oauth/introspect", "Whether a token is good"))
            .form_or_json(about.clone())
            .json(200, any_object()),
        errors(post("/oauth/revoke", "End a token and its session"))
            .form_or_json(about)
            .empty(200),
    ]
}

fn clients() -> Vec<Operation> {
    let new = takes(
        [("redirect_uris", list(text()))],
        [
            ("client_type", text()),
            ("token_endpoint_auth_method", text()),
            ("grant_types", list(text())),
            ("client_name", text()),
            ("client_uri", text()),
            ("logo_uri", text()),
        ],
    );
    let page = object(
        [("clients", list(reference("OAuthClient"))), ("aud", text())],
        [],
    );
    let unknown = &[ErrorCode::OauthClientNotFound];
    vec![
        post(
            "/oauth/clients/register",
            "A client registers itself (RFC 7591)",
        )
        .body(new.clone())
        .json(201, reference("OAuthClient"))
        .refuses(&[
            ErrorCode::OauthDynamicClientRegistrationDisabled,
            ErrorCode::OverRequestRateLimit,
        ]),
        get("/admin/oauth/clients", "The registered clients")
            .service()
            .paged()
            .json(200, page),
        post("/admin/oauth/clients", "Register a client")
            .service()
            .body(new.clone())
            .json(201, reference("OAuthClient")),
        get("/admin/oauth/clients/{id}", "A client")
            .service()
            .json(200, reference("OAuthClient"))
            .refuses(unknown),
        put("/admin/oauth/clients/{id}", "Change a client")
            .service()
            .body(new)
            .json(200, reference("OAuthClient"))
            .refuses(unknown),
        delete("/admin/oauth/clients/{id}", "Remove a client")
            .service()
            .empty(204)
            .refuses(unknown),
        post(
            "/admin/oauth/clients/{id}/regenerate_secret",
            "A new secret for a client",
        )
        .service()
        .json(200, reference("OAuthClient"))
        .refuses(unknown),
    ]
}

fn pages() -> Vec<Operation> {
    vec![
        get("/oauth/consent", "The built-in page that asks the user")
            .query("authorization_id", text())
            .text("text/html")
            .missing_page(),
        get("/oauth/consent.js", "Its script").text("text/javascript"),
    ]
}

fn discovery() -> Vec<Operation> {
    let document = |operation: Operation| {
        operation
            .json(200, any_object())
            .refuses(&[ErrorCode::NotFound])
    };
    let oidc = "What OpenID Connect clients need to know";
    let oauth = "What OAuth clients need to know";
    vec![
        document(get("/.well-known/openid-configuration", oidc)),
        document(get("/.well-known/oauth-authorization-server", oauth)),
        document(get("/.well-known/openid-configuration/auth/v1", oidc).at_root()),
        document(get("/.well-known/oauth-authorization-server/auth/v1", oauth).at_root()),
    ]
}

fn service_tokens() -> Vec<Operation> {
    let issued = object(
        [
            ("token", text()),
            ("token_type", text()),
            ("aud", text()),
            ("expires_in", integer()),
            ("expires_at", integer()),
        ],
        [],
    );
    let mut verdict = object([("active", boolean())], []);
    verdict["additionalProperties"] = true.into();
    vec![
        get("/token/service", "A short-lived token for one service")
            .user()
            .query("aud", text())
            .json(200, issued)
            .refuses(&[
                ErrorCode::FeatureDisabled,
                ErrorCode::UnexpectedAudience,
                ErrorCode::NotAdmin,
            ]),
        post("/token/verify", "Whether such a token is good")
            .body(takes([("token", text()), ("aud", text())], []))
            .json(200, verdict),
    ]
}

/// A client, as it is shown.
pub(super) fn client() -> Value {
    object(
        [
            ("client_id", uuid()),
            ("client_type", text()),
            ("token_endpoint_auth_method", text()),
            ("registration_type", text()),
            ("client_name", text()),
            ("redirect_uris", list(text())),
            ("grant_types", list(text())),
            ("response_types", list(text())),
            ("created_at", time()),
            ("updated_at", time()),
            ("client_id_issued_at", integer()),
        ],
        [
            ("client_secret", text()),
            ("client_secret_expires_at", integer()),
            ("client_uri", text()),
            ("logo_uri", text()),
        ],
    )
}
