//! Where links and sign-ins may lead: the allow list.
//!
//! A wanted address is parsed as a browser would, and its parts are compared, never its text. What a browser would read
//! otherwise than it is written (backslashes, another notation of a host, encoded slashes) is refused before. The header
//! `Referer` plays no part.

use url::{Host, Url};

use super::AuthError;
use crate::config::Config;

/// No wanted address is longer, in bytes.
const MAX_BYTES: usize = 2048;

/// Schemes that run or show what they carry.
const NEVER: [&str; 8] = [
    "javascript",
    "data",
    "vbscript",
    "file",
    "blob",
    "about",
    "view-source",
    "filesystem",
];

/// Where to lead: `requested` if it is allowed, without its fragment; else, and without one, the site.
///
/// # Errors
/// [`AuthError::RedirectRefused`] for an address that is not allowed, if `auth.redirect_strict` is set;
/// [`AuthError::Internal`] when `server.site_url` is no address.
pub(super) fn target(config: &Config, requested: Option<&str>) -> Result<Url, AuthError> {
    let mut site = Url::parse(&config.server.site_url)
        .map_err(|_| AuthError::Internal("server.site_url is not an address".to_owned()))?;
    site.set_fragment(None);
    let Some(requested) = requested.filter(|text| !text.is_empty()) else {
        return Ok(site);
    };
    match allowed(config, &site, requested) {
        Ok(url) => Ok(url),
        Err(reason) if config.auth.redirect_strict => Err(AuthError::RedirectRefused(reason)),
        Err(reason) => {
            tracing::warn!(
                reason,
                "a redirect_to is not allowed; leading to the site instead"
            );
            Ok(site)
        }
    }
}

/// Whether the settings can be read.
///
/// # Errors
/// [`AuthError::Internal`] names the first entry that cannot.
pub(super) fn check(config: &Config) -> Result<(), AuthError> {
    let bad = |text: &String| Pattern::parse(text).is_none();
    match config.auth.redirect_urls.iter().find(|text| bad(text)) {
        None => Ok(()),
        Some(text) => Err(AuthError::Internal(format!(
            "auth.redirect_urls holds \"{text}\", which is no address such as https://*.example.com/** or myapp://callback"
        ))),
    }
}

/// The address to use, or why it is not allowed.
fn allowed(config: &Config, site: &Url, requested: &str) -> Result<Url, String> {
    let mut url = parse(requested).ok_or(
        "redirect_to must be an absolute address, written as a browser would write it".to_owned(),
    )?;
    url.set_fragment(None);
    let auth = &config.auth;
    let origins = auth
        .magic_link_redirect_origins
        .iter()
        .chain(&auth.oauth_redirect_origins);
    let patterns: Vec<(&str, Pattern)> = auth
        .redirect_urls
        .iter()
        .filter_map(|text| Some((text.as_str(), Pattern::parse(text)?)))
        .chain(origins.filter_map(|text| Some((text.as_str(), Pattern::origin(text)?))))
        .collect();
    if is_of_site(site, &url) || patterns.iter().any(|(_, pattern)| pattern.matches(&url)) {
        return Ok(url);
    }
    let closest = patterns
        .iter()
        .map(|(text, _)| *text)
        .chain([config.server.site_url.as_str()])
        .max_by(|a, b| {
            let likeness = |text| strsim::jaro_winkler(requested, text);
            likeness(a).total_cmp(&likeness(b))
        });
    Err(format!(
        "redirect_to is not allowed by auth.redirect_urls; the closest entry is {}",
        closest.unwrap_or_default()
    ))
}

/// The application itself, on any path. While it is developed its port changes.
fn is_of_site(site: &Url, url: &Url) -> bool {
    if !matches!(site.scheme(), "http" | "https") {
        return without_query(site) == without_query(url);
    }
    site.scheme() == url.scheme()
        && site.host() == url.host()
        && (site.port_or_known_default() == url.port_or_known_default() || is_loopback(url))
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Parses an absolute address whose text and meaning agree.
fn parse(text: &str) -> Option<Url> {
    let is_plain = |c: char| !c.is_control() && !c.is_whitespace() && c != '\\';
    if text.len() > MAX_BYTES || !text.chars().all(is_plain) {
        return None;
    }
    let url = Url::parse(text).ok()?;
    if NEVER.contains(&url.scheme()) || !url.username().is_empty() || url.password().is_some() {
        return None;
    }
    if matches!(url.scheme(), "http" | "https") {
        let written = text.split(['?', '#']).next().unwrap_or_default();
        let (scheme, rest) = written.split_once("://")?;
        let authority = rest.split('/').next().unwrap_or_default();
        let meant = url.host_str()?;
        let port = url.port_or_known_default()?;
        let same_host = authority.eq_ignore_ascii_case(meant)
            || authority.eq_ignore_ascii_case(&format!("{meant}:{port}"));
        // An empty port is the default one.
        if !scheme.eq_ignore_ascii_case(url.scheme()) || !same_host || meant.ends_with('.') {
            return None;
        }
        let path = url.path().to_ascii_lowercase();
        if path.starts_with("//") || path.contains("%2f") || path.contains("%5c") {
            return None;
        }
    }
    Some(url)
}

/// An entry of the allow list.
#[derive(Debug, PartialEq, Eq)]
enum Pattern {
    /// `http` or `https`.
    Web {
        scheme: String,
        host: String,
        /// `None` for any.
        port: Option<u16>,
        path: String,
    },
    /// An address of an app on a device, without query, compared as it is.
    Exact(String),
}

impl Pattern {
    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let scheme = scheme.to_ascii_lowercase();
        if text.contains(['?', '#', '\\', '@', '{', '}']) || text.contains(char::is_whitespace) {
            return None;
        }
        if !matches!(scheme.as_str(), "http" | "https") {
            let url = parse(text)?;
            return (!text.contains('*')).then(|| Self::Exact(without_query(&url)));
        }
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, "*")) => (host, None),
            Some((host, digits)) if !digits.ends_with(']') => (host, Some(digits.parse().ok()?)),
            _ if scheme == "https" => (authority, Some(443)),
            _ => (authority, Some(80)),
        };
        Some(Self::Web {
            host: host_pattern(host)?,
            port,
            path: path.to_owned(),
            scheme,
        })
    }

    /// All paths of an origin.
    fn origin(text: &str) -> Option<Self> {
        let text = text.trim_end_matches('/');
        if text.contains('*') || text.matches('/').count() != 2 {
            return None;
        }
        Self::parse(&format!("{text}/**")).filter(|it| matches!(it, Self::Web { .. }))
    }

    fn matches(&self, url: &Url) -> bool {
        match self {
            Self::Exact(text) => *text == without_query(url),
            Self::Web {
                scheme,
                host,
                port,
                path,
            } => {
                scheme == url.scheme()
                    && url.host_str().is_some_and(|it| host_matches(host, it))
                    && port.is_none_or(|port| url.port_or_known_default() == Some(port))
                    && glob(path.as_bytes(), url.path().as_bytes())
            }
        }
    }
}

/// The host of an entry as a browser writes it. A `*` stands for characters of one label, and never in the last two,
/// which say whose domain it is.
fn host_pattern(text: &str) -> Option<String> {
    if text.is_empty() {
        return None;
    }
    if !text.contains('*') {
        return Host::parse(text).ok().map(|host| host.to_string());
    }
    let labels: Vec<&str> = text.split('.').collect();
    let fixed = labels.len().checked_sub(2)?;
    let is_label = |label: &&str| {
        !label.is_empty()
            && !label.contains("**")
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'*'))
    };
    let is_fixed = |label: &&str| !label.contains('*');
    (fixed > 0 && labels.iter().all(is_label) && labels[fixed..].iter().all(is_fixed))
        .then(|| text.to_ascii_lowercase())
}

fn host_matches(pattern: &str, host: &str) -> bool {
    if !pattern.contains('*') {
        return pattern == host;
    }
    let (wanted, found) = (pattern.split('.'), host.split('.'));
    wanted.clone().count() == found.clone().count()
        && wanted
            .zip(found)
            .all(|(wanted, found)| !found.is_empty() && glob(wanted.as_bytes(), found.as_bytes()))
}

/// `*` is any text without `/` and `.`, `**` any text. Takes time in proportion to both lengths, however many there are.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    // At which places of the text the pattern read so far can end.
    let mut ends = vec![false; text.len() + 1];
    ends[0] = true;
    let mut rest = pattern;
    while let [first, tail @ ..] = rest {
        let is_star = *first == b'*';
        let is_double = is_star && tail.first() == Some(&b'*');
        rest = if is_double { &tail[1..] } else { tail };
        if is_star {
            for at in 0..text.len() {
                ends[at + 1] |= ends[at] && (is_double || !matches!(text[at], b'/' | b'.'));
            }
        } else {
            for at in (0..text.len()).rev() {
                ends[at + 1] = ends[at] && text[at] == *first;
            }
            ends[0] = false;
        }
    }
    ends[text.len()]
}

/// Whether an app wrote the last slash makes no difference.
fn without_query(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    url.as_str().trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Sources};

    fn config(strict: bool) -> Config {
        let flags = [
            ("server.site_url", "https://site.example/app"),
            (
                "auth.redirect_urls",
                "https://*.preview.example/**,https://exact.example/cb,https://app-*.team.example/x/*,http://localhost:3000/**,myapp://callback",
            ),
            ("auth.magic_link_redirect_origins", "https://mail.example"),
            (
                "auth.redirect_strict",
                if strict { "true" } else { "false" },
            ),
        ];
        let flags = flags.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Config::load(Sources {
            flags: flags.into(),
            ..Sources::default()
        })
        .unwrap()
    }

    #[test]
    fn what_is_listed_is_allowed_whole() {
        let config = config(true);
        for (wanted, target) in [
            ("", "https://site.example/app"),
            ("https://site.example", "https://site.example/"),
            (
                "https://site.example:443/x?a=1&b=%20c",
                "https://site.example:443/x?a=1&b=%20c",
            ),
            ("HTTPS://SITE.example/x", "https://site.example/x"),
            ("https://site.example/x#fragment", "https://site.example/x"),
            (
                "https://site.example/x?sb_flow_id=7&code=old",
                "https://site.example/x?sb_flow_id=7&code=old",
            ),
            (
                "https://site.example/x?redirect_to=https://evil.example",
                "https://site.example/x?redirect_to=https://evil.example",
            ),
            (
                "https://pr-7.preview.example/deep/path.html",
                "https://pr-7.preview.example/deep/path.html",
            ),
            (
                "https://exact.example/cb?next=%2Fhome",
                "https://exact.example/cb?next=%2Fhome",
            ),
            (
                "https://app-7.team.example/x/y",
                "https://app-7.team.example/x/y",
            ),
            ("http://localhost:3000/", "http://localhost:3000/"),
            ("myapp://callback", "myapp://callback"),
            ("myapp://callback/?a=1", "myapp://callback/?a=1"),
            (
                "https://mail.example/any/path",
                "https://mail.example/any/path",
            ),
        ] {
            let expected = Url::parse(target).unwrap();
            assert_eq!(
                super::target(&config, Some(wanted)).unwrap(),
                expected,
                "{wanted}"
            );
        }
        assert_eq!(
            super::target(&config, None).unwrap().as_str(),
            "https://site.example/app"
        );
    }

    /// Attack 23, the matrix of open redirects. Each group fails without: the comparison of parts, the check that text
    /// and meaning agree, the rule for `*`. Names in front of hosts and the schemes of `NEVER` fit no entry either.
    #[test]
    fn nothing_else_is_ever_the_target() {
        let (strict, lenient) = (config(true), config(false));
        for wanted in [
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "https:evil.example",
            "https:site.example",
            "https:/site.example",
            "https:///site.example",
            "\\\\evil.example",
            "https:\\\\site.example",
            "https://site.example\\@evil.example",
            "https://site.example@evil.example",
            "https://user:pw@site.example/",
            "https://evil.example#@site.example",
            "https://evil.example?https://site.example",
            "https://site.example.evil.example/",
            "https://site.evil/",
            "https://evilsite.example/",
            "https://site.example./",
            "https://site.example%2fevil.example",
            "https://site.example%00.evil.example",
            "https://site%2eexample/",
            "https://site.example/%2f%2fevil.example",
            "https://site.example/..%5cevil",
            "https://site.example//evil.example",
            "https://si\tte.example/",
            "https://site.example/\n",
            " https://site.example/",
            "https://site.example/\r\nx: y",
            "https://ѕite.example/",
            "https://ｓite.example/",
            "https://site。example/",
            "http://site.example/",
            "https://site.example:8443/",
            "http://2130706433:3000/",
            "http://0177.0.0.1:3000/",
            "http://0x7f.1:3000/",
            "http://127.1:3000/",
            "http://[::ffff:127.0.0.1]:3000/",
            "http://169.254.169.254/",
            "javascript:alert(1)",
            "javascript://site.example/%0aalert(1)",
            "JaVaScRiPt:alert(1)",
            "data:text/html,x",
            "vbscript:x",
            "file:///etc/passwd",
            "blob:https://site.example/x",
            "https://a.b.preview.example/",
            "https://preview.example/",
            "https://.preview.example/",
            "https://x.preview.example.evil.example/",
            "https://preview.example.evil.example/",
            "https://exact.example/cb/more",
            "https://exact.example/",
            "https://exact.example/cb/../evil",
            "https://app-7.team.example/x/y/z",
            "https://app-7.team.example/x/y.html",
            "https://app-7.evil.team.example/x/y",
            "http://localhost:3001/",
            "myapp://callback/more",
            "myapp://other",
            "myapp:callback",
            "otherapp://callback",
            "http://mail.example/",
            "welcome",
            "/welcome",
            "?x",
        ] {
            let refused = super::target(&strict, Some(wanted));
            assert!(
                matches!(refused, Err(AuthError::RedirectRefused(_))),
                "{wanted}: {refused:?}"
            );
            let site = super::target(&lenient, Some(wanted)).unwrap();
            assert_eq!(site.as_str(), "https://site.example/app", "{wanted}");
        }
        let long = format!("https://site.example/{}", "a".repeat(MAX_BYTES));
        assert!(super::target(&strict, Some(&long)).is_err());
    }

    #[test]
    fn the_port_of_a_site_on_loopback_is_free() {
        let site = |text: &str| Url::parse(text).unwrap();
        for (a, b, same) in [
            ("http://localhost:3000", "http://localhost:5173/x", true),
            ("http://127.0.0.1:3000", "http://127.0.0.1:1/", true),
            ("http://localhost:3000", "http://127.0.0.1:3000/", false),
            ("http://localhost:3000", "https://localhost:3000/", false),
            ("https://site.example", "https://site.example:3000/", false),
        ] {
            assert_eq!(is_of_site(&site(a), &site(b)), same, "{a} {b}");
        }
    }

    /// Attack 23. Fails when `host_pattern` takes a star for more than a label, or above a domain that somebody can
    /// register.
    #[test]
    fn entries_that_would_open_too_much_are_no_patterns() {
        for text in [
            "*",
            "https://*",
            "https://*/",
            "https://*.example/**",
            "https://*.*.example/",
            "https://a.*.example/",
            "https://**.example.com/",
            "https://example.*/",
            "https://user@example.com/",
            "https://example.com/?a=*",
            "https://example.com:x/",
            "myapp://*",
            "myapp://callback/**",
            "javascript://x",
            "example.com",
            "",
        ] {
            assert_eq!(Pattern::parse(text), None, "{text}");
        }
        for text in [
            "https://*.example.com/**",
            "http://localhost:*/**",
            "http://[::1]:3000/**",
        ] {
            assert!(Pattern::parse(text).is_some(), "{text}");
        }
        assert!(Pattern::origin("https://a.example/x").is_none());
    }
}
