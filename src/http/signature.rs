//! Signed calls, as the Standard Webhooks specification says: who receives one can tell that `sb` sent it, and when.

use aws_lc_rs::hmac;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The headers of a call with JSON body `body`, signed with every one of `keys`: a receiver that is being given a new
/// key accepts either. `id` is the same in every attempt, for receivers to drop repeats; `timestamp` is in Unix seconds.
///
/// # Panics
/// When `id` holds other than visible ASCII characters.
pub fn headers<'a>(
    keys: impl IntoIterator<Item = &'a [u8]>,
    id: &str,
    timestamp: i64,
    body: &[u8],
) -> HeaderMap {
    let signatures = keys.into_iter().map(|key| sign(key, id, timestamp, body));
    let signatures: Vec<String> = signatures.collect();
    let value = |text: &str| HeaderValue::from_str(text).expect("only visible characters");
    HeaderMap::from_iter([
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (HeaderName::from_static("webhook-id"), value(id)),
        (
            HeaderName::from_static("webhook-timestamp"),
            timestamp.into(),
        ),
        (
            HeaderName::from_static("webhook-signature"),
            value(&signatures.join(" ")),
        ),
    ])
}

fn sign(key: &[u8], id: &str, timestamp: i64, body: &[u8]) -> String {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    context.update(format!("{id}.{timestamp}.").as_bytes());
    context.update(body);
    format!("v1,{}", STANDARD.encode(context.sign()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_specification() {
        // The example of the specification's own libraries.
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let (id, timestamp) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330);
        let signature = sign(&key, id, timestamp, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn each_key_signs() {
        let headers = headers([&b"one"[..], b"two"], "id", 1, b"{}");
        let signatures = headers["webhook-signature"].to_str().unwrap();
        let expected = [sign(b"one", "id", 1, b"{}"), sign(b"two", "id", 1, b"{}")];
        assert_eq!(signatures, expected.join(" "));
    }
}
