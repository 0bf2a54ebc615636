//! Who may see the inbox: somebody at this machine, and no web page but its own and those of this machine.
//!
//! The address alone proves little. A browser on this machine asks in the name of whatever page it shows, so other
//! origins are refused (CORS would let them read), and so are names that merely resolve to this machine (DNS rebinding).
//! A proxy on this machine speaks for strangers, so what was forwarded is refused.

use std::net::IpAddr;

use axum::http::{HeaderMap, header};
use url::{Host, Url};

use crate::error::ErrorCode;
use crate::http::ApiError;

/// Headers of which a proxy sets at least one.
const FORWARDED: [&str; 4] = ["x-forwarded-for", "forwarded", "x-real-ip", "via"];

/// # Errors
/// The refusal, with what to do.
pub(super) fn check(client: IpAddr, headers: &HeaderMap, is_public: bool) -> Result<(), ApiError> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(header::HOST).and_then(|host| parse(&format!("http://{host}")));
    let is_forwarded = FORWARDED.iter().any(|name| headers.contains_key(*name));
    let is_here = client.is_loopback() && !is_forwarded && host.as_ref().is_some_and(is_loopback);
    if !is_public && !is_here {
        return Err(
            ApiError::new(ErrorCode::NotAdmin, "The inbox is for this machine only")
                .with_hint("mail.inbox_public = true shows it to everybody who can reach it"),
        );
    }
    if let Some(origin) = headers.get(header::ORIGIN) {
        let origin = origin.to_str().ok().and_then(parse);
        let is_own = origin.is_some() && origin == host;
        let is_of_this_machine = is_here && origin.as_ref().is_some_and(is_loopback);
        if !is_own && !is_of_this_machine {
            let text = "The inbox is not for other web pages";
            return Err(ApiError::new(ErrorCode::NotAdmin, text));
        }
    }
    Ok(())
}

fn parse(origin: &str) -> Option<Host> {
    Url::parse(origin).ok()?.host().map(|host| host.to_owned())
}

/// Names and addresses that lead to this machine and can lead nowhere else.
fn is_loopback(host: &Host) -> bool {
    match host {
        Host::Domain(name) => name == "localhost" || name.ends_with(".localhost"),
        Host::Ipv4(address) => address.is_loopback() || address.is_unspecified(),
        Host::Ipv6(address) => {
            let address = IpAddr::V6(*address).to_canonical();
            address.is_loopback() || address.is_unspecified()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(client: &str, headers: &[(&'static str, &str)], is_public: bool) -> bool {
        let headers = headers.iter().map(|(name, value)| {
            let name = axum::http::HeaderName::from_static(name);
            (name, value.parse().unwrap())
        });
        check(client.parse().unwrap(), &headers.collect(), is_public).is_ok()
    }

    #[test]
    fn this_machine_sees_it() {
        for host in [
            "127.0.0.1:8000",
            "localhost:8000",
            "[::1]:8000",
            "0.0.0.0:8000",
            "app.localhost",
        ] {
            assert!(admits("127.0.0.1", &[("host", host)], false), "{host}");
            assert!(admits("::1", &[("host", host)], false), "{host}");
        }
        let own_pages = [
            ("host", "127.0.0.1:8000"),
            ("origin", "http://localhost:3000"),
        ];
        assert!(admits("127.0.0.1", &own_pages, false));
    }

    /// Fails without the check of the origin: every page that a developer opens could read the inbox, since the API
    /// allows all origins.
    #[test]
    fn other_web_pages_do_not() {
        for origin in [
            "https://evil.example",
            "null",
            "http://127.0.0.1.evil.example",
            "x",
        ] {
            let headers = [("host", "127.0.0.1:8000"), ("origin", origin)];
            assert!(!admits("127.0.0.1", &headers, false), "{origin}");
        }
        let public = [
            ("host", "inbox.example:8000"),
            ("origin", "https://evil.example"),
        ];
        assert!(!admits("192.0.2.1", &public, true));
        // Public: what is of the visitor's machine is not of ours.
        let theirs = [
            ("host", "inbox.example:8000"),
            ("origin", "http://localhost:3000"),
        ];
        assert!(!admits("192.0.2.1", &theirs, true));
        let own = [
            ("host", "inbox.example:8000"),
            ("origin", "http://inbox.example:8000"),
        ];
        assert!(admits("192.0.2.1", &own, true));
    }

    /// Fails without the check of the host: a name of the attacker's that resolves to 127.0.0.1 has an origin of its own.
    #[test]
    fn neither_do_names_that_were_rebound_nor_proxies_nor_other_machines() {
        assert!(!admits(
            "127.0.0.1",
            &[("host", "evil.example:8000")],
            false
        ));
        assert!(!admits("127.0.0.1", &[], false));
        assert!(!admits("192.0.2.1", &[("host", "127.0.0.1:8000")], false));
        for name in FORWARDED {
            let headers = [("host", "127.0.0.1:8000"), (name, "192.0.2.1")];
            assert!(!admits("127.0.0.1", &headers, false), "{name}");
        }
        assert!(admits("192.0.2.1", &[("host", "inbox.example")], true));
    }
}
