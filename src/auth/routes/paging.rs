//! Pages of lists: numbers in the query, links and the total in headers.

use axum::http::{HeaderName, HeaderValue, header};

use crate::auth::AuthError;

/// A page number or size, from 1 to `max`; larger numbers count as `max`. Clients send an empty text for the default.
///
/// # Errors
/// [`AuthError::Invalid`].
pub(super) fn number(text: Option<&str>, default: u32, max: u32) -> Result<u32, AuthError> {
    match text {
        None | Some("") => Ok(default),
        Some(text) => match text.parse::<u64>() {
            Ok(value) if value > 0 => Ok(u32::try_from(value).map_or(max, |value| value.min(max))),
            _ => Err(AuthError::Invalid(
                "page and per_page must be positive numbers",
            )),
        },
    }
}

/// `X-Total-Count` and `Link`; `others` are the further parameters of the query. `page` comes first and `rel` is
/// quoted: the JavaScript client depends on both.
pub(super) fn headers(
    path: &str,
    (page, per_page): (u32, u32),
    others: &[(&str, &str)],
    total: i64,
) -> [(HeaderName, HeaderValue); 2] {
    let total_count = HeaderName::from_static("x-total-count");
    [
        (total_count, HeaderValue::from(total)),
        (header::LINK, link(path, (page, per_page), others, total)),
    ]
}

fn link(
    path: &str,
    (page, per_page): (u32, u32),
    others: &[(&str, &str)],
    total: i64,
) -> HeaderValue {
    let last = u32::try_from(total.max(1) - 1).unwrap_or(u32::MAX) / per_page + 1;
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(others);
    let query = query.finish();
    let separator = if query.is_empty() { "" } else { "&" };
    let to = |page: u32, rel: &str| {
        format!("</auth/v1{path}?page={page}&per_page={per_page}{separator}{query}>; rel=\"{rel}\"")
    };
    let mut links = Vec::new();
    if page < last {
        links.push(to(page + 1, "next"));
    }
    links.push(to(last, "last"));
    HeaderValue::from_str(&links.join(", ")).expect("percent-encoded text is a header value")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_name_the_next_and_the_last_page() {
        let link = |page, others: &[(&str, &str)], total| link("/list", (page, 2), others, total);
        assert_eq!(
            link(1, &[], 5),
            "</auth/v1/list?page=2&per_page=2>; rel=\"next\", </auth/v1/list?page=3&per_page=2>; rel=\"last\""
        );
        assert_eq!(
            link(3, &[("filter", "a>,\r\n"), ("sort", "email desc")], 5),
            "</auth/v1/list?page=3&per_page=2&filter=a%3E%2C%0D%0A&sort=email+desc>; rel=\"last\""
        );
        assert_eq!(
            link(1, &[], 0),
            "</auth/v1/list?page=1&per_page=2>; rel=\"last\""
        );
    }

    #[test]
    fn numbers_have_bounds() {
        for (text, expected) in [
            (None, Some(50)),
            (Some(""), Some(50)),
            (Some("7"), Some(7)),
            (Some("99999999999"), Some(1000)),
            (Some("0"), None),
            (Some("-1"), None),
            (Some("x"), None),
        ] {
            assert_eq!(number(text, 50, 1000).ok(), expected, "{text:?}");
        }
    }
}
