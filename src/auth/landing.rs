//! How a flow tells its end to the application: the address that the browser is sent to.
//!
//! Tokens and messages go into the fragment, which browsers send to no server; codes go into the query. Every parameter
//! that the application put into its address stays as it is. `sb` is an empty marker that clients look for.

use url::Url;
use url::form_urlencoded::Serializer;

use super::model::TokenResponse;
use crate::http::ApiError;

/// With a session, for a flow that began without a challenge. `kind` is the type of a mailed link.
pub(super) fn redirect_with_session(
    target: &Url,
    tokens: &TokenResponse,
    kind: Option<&str>,
) -> String {
    let mut fragment = Serializer::new(String::new());
    fragment
        .append_pair("access_token", &tokens.access_token)
        .append_pair("expires_at", &tokens.expires_at.to_string())
        .append_pair("expires_in", &tokens.expires_in.to_string());
    if let Some(token) = &tokens.provider_refresh_token {
        fragment.append_pair("provider_refresh_token", token);
    }
    if let Some(token) = &tokens.provider_token {
        fragment.append_pair("provider_token", token);
    }
    fragment
        .append_pair("refresh_token", &tokens.refresh_token)
        .append_pair("sb", "")
        .append_pair("token_type", tokens.token_type);
    if let Some(kind) = kind {
        fragment.append_pair("type", kind);
    }
    with_fragment(target, &fragment.finish())
}

/// With a code, for a flow that began with a challenge.
pub(super) fn redirect_with_code(target: &Url, code: &str) -> String {
    with_query(target, &[("code", code)]).into()
}

/// With an error; for a flow that began with a challenge, in the query too, where its client looks.
pub(super) fn redirect_with_error(target: &Url, error: &ApiError, in_query: bool) -> String {
    let kind = match error.status().as_u16() {
        401 | 403 => "access_denied",
        429 | 503 | 504 => "temporarily_unavailable",
        500.. => "server_error",
        _ => "invalid_request",
    };
    let pairs = [
        ("error", kind),
        ("error_code", error.code().as_str()),
        ("error_description", error.message()),
        ("sb", ""),
    ];
    with_both(target, &pairs, in_query)
}

/// With a message: the first half of a change of address.
pub(super) fn redirect_with_message(target: &Url, message: &str, in_query: bool) -> String {
    with_both(target, &[("message", message), ("sb", "")], in_query)
}

fn with_both(target: &Url, pairs: &[(&str, &str)], in_query: bool) -> String {
    let fragment = Serializer::new(String::new()).extend_pairs(pairs).finish();
    if in_query {
        with_fragment(&with_query(target, &pairs[..pairs.len() - 1]), &fragment)
    } else {
        with_fragment(target, &fragment)
    }
}

/// Appends to the query as it is written; the last of two parameters with one name is what clients read.
fn with_query(target: &Url, pairs: &[(&str, &str)]) -> Url {
    let added = Serializer::new(String::new()).extend_pairs(pairs).finish();
    let query = match target.query() {
        Some(query) if !query.is_empty() => format!("{query}&{added}"),
        _ => added,
    };
    let mut url = target.clone();
    url.set_query(Some(&query));
    url
}

fn with_fragment(target: &Url, fragment: &str) -> String {
    let mut url = target.clone();
    url.set_fragment(Some(fragment));
    url.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::model::tests::plain_user;
    use crate::error::ErrorCode;

    fn target() -> Url {
        Url::parse("https://site.example/cb?next=%2Fa+b&sb_flow_id=7&x").unwrap()
    }

    #[test]
    fn a_code_is_added_and_nothing_else_changes() {
        assert_eq!(
            redirect_with_code(&target(), "c0de"),
            "https://site.example/cb?next=%2Fa+b&sb_flow_id=7&x&code=c0de"
        );
        let app = Url::parse("myapp://callback").unwrap();
        assert_eq!(
            redirect_with_code(&app, "c0de"),
            "myapp://callback?code=c0de"
        );
    }

    #[test]
    fn tokens_stand_in_the_fragment_only() {
        let tokens = TokenResponse {
            access_token: "a.b.c".to_owned(),
            token_type: "bearer",
            expires_in: 3600,
            expires_at: 1_700_000_000,
            refresh_token: "sbr_x".to_owned(),
            user: plain_user(),
            provider_token: Some("p&q".to_owned()),
            provider_refresh_token: None,
        };
        assert_eq!(
            redirect_with_session(&target(), &tokens, Some("recovery")),
            "https://site.example/cb?next=%2Fa+b&sb_flow_id=7&x#access_token=a.b.c&expires_at=1700000000\
             &expires_in=3600&provider_token=p%26q&refresh_token=sbr_x&sb=&token_type=bearer&type=recovery"
        );
    }

    #[test]
    fn an_error_is_where_its_client_looks() {
        let error = ApiError::new(ErrorCode::OtpExpired, "too old");
        let fragment = "#error=access_denied&error_code=otp_expired&error_description=too+old&sb=";
        let site = Url::parse("https://site.example/").unwrap();
        assert_eq!(
            redirect_with_error(&site, &error, false),
            format!("https://site.example/{fragment}")
        );
        assert_eq!(
            redirect_with_error(&site, &error, true),
            format!(
                "https://site.example/?error=access_denied&error_code=otp_expired&error_description=too+old{fragment}"
            )
        );
        assert_eq!(
            redirect_with_message(&site, "one done", true),
            "https://site.example/?message=one+done#message=one+done&sb="
        );
    }
}
