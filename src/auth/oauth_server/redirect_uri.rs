//! Where answers to a client may go.

use url::Url;

/// Most addresses of a client.
const MOST: usize = 10;
/// Longest address.
const LONGEST: usize = 2048;
/// Hosts that never leave the machine, as they stand in an address.
const LOOPBACK: [&str; 3] = ["127.0.0.1", "[::1]", "localhost"];
/// Schemes of things that run, read files or leave the browser's hands otherwise.
const REFUSED: [&str; 16] = [
    "javascript",
    "data",
    "vbscript",
    "file",
    "filesystem",
    "about",
    "blob",
    "view-source",
    "ws",
    "wss",
    "ftp",
    "mailto",
    "tel",
    "sms",
    "intent",
    "chrome",
];

/// Checks the addresses a client wants to register. The error says what is wrong with one.
pub(super) fn check_all(uris: &[String]) -> Result<(), &'static str> {
    if uris.is_empty() {
        return Err("redirect_uris must name at least one address");
    }
    if uris.len() > MOST {
        return Err("redirect_uris must name at most 10 addresses");
    }
    uris.iter().try_for_each(|uri| check(uri))
}

fn check(uri: &str) -> Result<(), &'static str> {
    if uri.len() > LONGEST {
        return Err("a redirect URI must have at most 2048 characters");
    }
    // Parsers drop or bend these, each in its own way. A star would be taken for a pattern.
    let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, '\\' | '*' | '"' | '<' | '>');
    if !uri.chars().all(is_plain) {
        return Err("a redirect URI must be plain ASCII without spaces, backslashes or wildcards");
    }
    if uri.contains('#') {
        return Err("a redirect URI must not have a fragment");
    }
    let url = Url::parse(uri).map_err(|_| "a redirect URI must be an absolute URL")?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a redirect URI must not hold credentials");
    }
    match url.scheme() {
        "https" if has_host(uri) => Ok(()),
        "https" => Err("a redirect URI must have a host"),
        "http" if loopback(uri).is_some() => Ok(()),
        "http" => Err("a redirect URI may use http for loopback addresses only"),
        scheme if REFUSED.contains(&scheme) => Err("a redirect URI must not use this scheme"),
        // An app's own: `com.example.app:/callback`, or `app://callback`.
        scheme if scheme.contains('.') || uri.contains("://") => Ok(()),
        _ => Err("an app's own scheme must be a reversed domain name, or be followed by //"),
    }
}

/// `https:example.com` is read as an address with a host, but does not look like one.
fn has_host(uri: &str) -> bool {
    let start = uri.get(..8);
    let follows = uri.as_bytes().get(8);
    start.is_some_and(|start| start.eq_ignore_ascii_case("https://"))
        && follows.is_some_and(|byte| *byte != b'/')
}

/// Whether an answer may go to `asked`: it is one of the registered ones, exactly; but an app on the user's own machine
/// listens on whichever port is free (RFC 8252, section 7.3).
pub(super) fn is_registered(registered: &[String], asked: &str) -> bool {
    let asked_loopback = loopback(asked);
    registered.iter().any(|known| {
        known == asked || (asked_loopback.is_some() && loopback(known) == asked_loopback)
    })
}

/// Host and what follows the port of an address on the loopback. Text is compared, never a parsed form: what could be
/// read in two ways is not equal to what was registered.
fn loopback(uri: &str) -> Option<(&str, &str)> {
    let rest = uri.strip_prefix("http://")?;
    let host = LOOPBACK.into_iter().find(|host| rest.starts_with(host))?;
    let after = &rest[host.len()..];
    let after = match after.strip_prefix(':') {
        Some(port) => {
            let digits = port.bytes().take_while(u8::is_ascii_digit).count();
            port[..digits].parse::<u16>().ok()?;
            &port[digits..]
        }
        None => after,
    };
    (after.is_empty() || after.starts_with(['/', '?'])).then_some((host, after))
}

/// Whether who receives an answer there is certain: another app of the user's machine may have taken a port or a scheme.
pub(super) fn is_certain(uri: &str) -> bool {
    uri.starts_with("https://")
}

/// `uri` with `parameters` added to its query.
pub(super) fn with_parameters(uri: &str, parameters: &[(&str, &str)]) -> Option<String> {
    let mut url = Url::parse(uri).ok()?;
    url.query_pairs_mut().extend_pairs(parameters);
    Some(url.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attack 30. Each group fails without its rule in `check`.
    #[test]
    fn only_addresses_that_mean_one_thing_are_registered() {
        for good in [
            "https://app.example/cb",
            "https://app.example:8443/cb?x=1",
            "http://127.0.0.1/cb",
            "http://127.0.0.1:5000/cb",
            "http://[::1]:5000/cb",
            "http://localhost:3000/cb",
            "com.example.app:/callback",
            "cursor://anysphere.cursor/callback",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "/cb",
            "//app.example/cb",
            "javascript:alert(1)",
            "JavaScript://app.example/%0aalert(1)",
            "data:text/html,x",
            "vbscript:x",
            "file:///etc/passwd",
            "blob:https://app.example/x",
            "https://app.example/cb#x",
            "https://app.example/cb#",
            "https://*.app.example/cb",
            "https://app.example/*",
            "https://user@app.example/cb",
            "https://user:pw@app.example/cb",
            "https:app.example/cb",
            "https:///app.example/cb",
            "https:\\\\app.example\\cb",
            "https://app.example/ cb",
            "https://app.example/c\tb",
            "https://app.example/c\nb",
            "https://app.ex\u{e4}mple/cb",
            "http://app.example/cb",
            "http://127.0.0.1.evil.example/cb",
            "http://127.0.0.1@evil.example/cb",
            "http://localhost.evil.example/cb",
            "http://127.0.0.1:99999/cb",
            "http://0.0.0.0/cb",
            "http://2130706433/cb",
            "app:callback",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
        let many = vec!["https://app.example/cb".to_owned(); 11];
        assert!(check_all(&many).is_err());
        assert!(check_all(&many[..10]).is_ok());
        assert!(check_all(&[]).is_err());
        let long = format!("https://app.example/{}", "x".repeat(2048));
        assert!(check(&long).is_err());
    }

    /// Remove the comparison of whole texts, or compare parsed addresses, and this fails.
    #[test]
    fn an_address_matches_character_by_character() {
        let registered = ["https://app.example/cb".to_owned()];
        assert!(is_registered(&registered, "https://app.example/cb"));
        for other in [
            "https://app.example/cb/",
            "https://app.example/cb?x",
            "https://app.example/CB",
            "https://APP.example/cb",
            "https://app.example:443/cb",
            "https://app.example/./cb",
            "https://app.example/%63b",
            "https://app.example./cb",
            "https://app.example/cb/../evil",
            "https://app.example@evil.example/cb",
            "http://app.example/cb",
            " https://app.example/cb",
        ] {
            assert!(!is_registered(&registered, other), "{other}");
        }
    }

    #[test]
    fn only_the_port_of_a_loopback_address_is_free() {
        let registered = ["http://127.0.0.1:8000/cb".to_owned()];
        for good in [
            "http://127.0.0.1:8000/cb",
            "http://127.0.0.1:49152/cb",
            "http://127.0.0.1/cb",
        ] {
            assert!(is_registered(&registered, good), "{good}");
        }
        for bad in [
            "http://127.0.0.1:1/other",
            "http://127.0.0.1:/cb",
            "http://127.0.0.1:65536/cb",
            "http://127.0.0.1:1@evil.example/cb",
            "http://127.0.0.1:1evil.example/cb",
            "http://127.0.0.1.evil.example/cb",
            "http://localhost:1/cb",
            "http://[::1]:1/cb",
            "https://127.0.0.1:1/cb",
            "http://127.0.0.1:1/cb?x=1",
        ] {
            assert!(!is_registered(&registered, bad), "{bad}");
        }
        let https = ["https://127.0.0.1:8000/cb".to_owned()];
        assert!(!is_registered(&https, "https://127.0.0.1:9000/cb"));
    }

    #[test]
    fn parameters_join_those_that_are_there() {
        let built = with_parameters("https://app.example/cb?a=b%20c", &[("state", "x&y=z")]);
        assert_eq!(
            built.as_deref(),
            Some("https://app.example/cb?a=b%20c&state=x%26y%3Dz")
        );
        let built = with_parameters("com.example.app:/cb", &[("code", "1")]);
        assert_eq!(built.as_deref(), Some("com.example.app:/cb?code=1"));
    }
}
