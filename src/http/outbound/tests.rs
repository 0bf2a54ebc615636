//! What is called and what is not, for every way to write an address.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

fn refused(scope: Scope) -> impl Fn(&OutboundError) -> bool {
    move |error| matches!(error, OutboundError::Refused { scope: found, .. } if *found == scope)
}

async fn call(outbound: &Outbound, url: &str) -> OutboundError {
    outbound
        .get(url, HeaderMap::new(), Duration::from_secs(5))
        .await
        .expect_err("nothing answers")
}

/// Attack 28. Fails when a kind of network is left out of `address::scope`, or addresses are checked as they are
/// written.
#[tokio::test]
async fn literal_addresses_of_inner_networks_are_refused_in_every_spelling() {
    let outbound = Outbound::new(Vec::new());
    for (scope, hosts) in [
        (
            Scope::Loopback,
            &[
                "127.0.0.1",
                "127.1",
                "127.255.255.254",
                "2130706433",
                "0x7f000001",
                "0x7f.1",
                "0177.0.0.1",
                "017700000001",
                "127.0.0.1.",
                "１２７.0.0.1",
                "%31%32%37.0.0.1",
                "[::1]",
                "[0:0:0:0:0:0:0:1]",
                "[::ffff:127.0.0.1]",
                "[::ffff:7f00:1]",
                "[::127.0.0.1]",
                "[::ffff:0:127.0.0.1]",
                "[64:ff9b::127.0.0.1]",
                "[64:ff9b::7f00:1]",
                "[2002:7f00:1::]",
            ][..],
        ),
        (
            Scope::Private,
            &[
                "10.0.0.1",
                "172.16.0.1",
                "172.31.255.255",
                "192.168.1.1",
                "0xa000001",
                "[fc00::1]",
                "[fd00:ec2::254]",
                "[fec0::1]",
                "[::ffff:10.0.0.1]",
                "[64:ff9b::a00:1]",
                "[64:ff9b:1::1]",
                "[2002:a00:1::1]",
            ],
        ),
        (
            Scope::LinkLocal,
            &[
                "169.254.169.254",
                "0xa9fea9fe",
                "2852039166",
                "168.63.129.16",
                "[fe80::1]",
                "[febf::1]",
                "[::ffff:169.254.169.254]",
                "[2002:a9fe:a9fe::]",
            ],
        ),
        (Scope::Shared, &["100.64.0.1", "100.127.255.254"]),
        (Scope::Multicast, &["224.0.0.1", "239.1.1.1", "[ff02::1]"]),
        (
            Scope::Unspecified,
            &["0.0.0.0", "0", "[::]", "[::ffff:0.0.0.0]"],
        ),
        (
            Scope::Reserved,
            &[
                "0.1.2.3",
                "192.0.0.1",
                "192.0.2.1",
                "198.51.100.1",
                "203.0.113.1",
                "198.18.0.1",
                "198.19.255.255",
                "192.88.99.1",
                "240.0.0.1",
                "255.255.255.255",
                "[2001:db8::1]",
                "[3fff::1]",
                "[2001:2::1]",
                "[100::1]",
                "[2001:0:7f00:1::]",
                "[2001:0:4136:e378:8000:63bf:80ff:fffe]",
                "[5f00::1]",
                "[4000::1]",
            ],
        ),
    ] {
        for host in hosts {
            let error = call(&outbound, &format!("http://{host}:9/x")).await;
            assert!(refused(scope)(&error), "{host}: {error:?}");
            assert!(error.is_permanent());
        }
    }
}

#[test]
fn addresses_of_the_internet_are_not_refused() {
    for text in [
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.1",
        "100.63.255.255",
        "100.128.0.1",
        "172.15.0.1",
        "172.32.0.1",
        "169.253.1.1",
        "198.17.0.1",
        "198.20.0.1",
        "223.255.255.255",
        "2606:4700::1111",
        "2001:4860:4860::8888",
        "2002:0808:0808::1",
        "64:ff9b::808:808",
        "::ffff:8.8.8.8",
    ] {
        assert_eq!(address::scope(text.parse().unwrap()), None, "{text}");
    }
}

#[tokio::test]
async fn what_is_no_http_address_is_not_called() {
    let outbound = Outbound::new(Vec::new());
    for url in [
        "",
        "example.com",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "http://",
        "http://user:password@example.com/",
        "http://user@example.com/",
        "http://[::1%25eth0]/",
        "http://256.1.1.1/",
    ] {
        let error = call(&outbound, url).await;
        assert!(
            matches!(error, OutboundError::Invalid(_)),
            "{url}: {error:?}"
        );
    }
}

/// Attack 28. Fails when names are called without a look at what they resolve to.
#[tokio::test]
async fn names_of_this_machine_are_refused() {
    let outbound = Outbound::new(Vec::new());
    for host in ["localhost", "localhost.", "LOCALHOST", "a.localhost"] {
        let error = call(&outbound, &format!("http://{host}:9/")).await;
        assert!(refused(Scope::Loopback)(&error), "{host}: {error:?}");
    }
}

/// Attack 28. Fails when only the first address of a name is looked at.
#[tokio::test]
async fn one_inner_address_among_public_ones_refuses_the_name() {
    let resolver = |_: String| -> futures_util::future::BoxFuture<'static, _> {
        Box::pin(async {
            Ok(vec![
                "1.1.1.1".parse().unwrap(),
                "10.0.0.1".parse().unwrap(),
            ])
        })
    };
    let outbound = Outbound::with_resolver(Vec::new(), Arc::new(resolver));
    let error = call(&outbound, "http://two.example/").await;
    assert!(refused(Scope::Private)(&error), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains("outbound.allow") && !text.contains("10.0.0.1"),
        "{text}"
    );
}

/// Attack 28: names that change their address. Fails when the connector resolves the name again after the check.
#[tokio::test]
async fn a_name_is_resolved_once_and_the_connection_goes_to_what_was_checked() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    // The first answer may be called, each later one leads to the listener.
    let rebinding = move |_: String| -> futures_util::future::BoxFuture<'static, _> {
        let is_first = count.fetch_add(1, Ordering::SeqCst) == 0;
        let address = if is_first { "127.0.0.2" } else { "127.0.0.1" };
        Box::pin(async move { Ok(vec![address.parse().unwrap()]) })
    };
    let allow = vec![Network::parse("127.0.0.2/32").unwrap()];
    let outbound = Outbound::with_resolver(allow, Arc::new(rebinding));
    let url = format!("http://rebind.example:{port}/");
    let error = call(&outbound, &url).await;
    assert!(matches!(error, OutboundError::Connect { .. }), "{error:?}");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    let error = call(&outbound, &url).await;
    assert!(refused(Scope::Loopback)(&error), "{error:?}");
}

#[test]
fn an_origin_has_one_spelling() {
    for (url, expected) in [
        (
            "https://Hooks.Example.com:443/a?b#c",
            "https://hooks.example.com",
        ),
        ("http://hooks.example.com:80", "http://hooks.example.com"),
        (
            "http://hooks.example.com:8080/x",
            "http://hooks.example.com:8080",
        ),
        ("http://0x7f.1/", "http://127.0.0.1"),
    ] {
        assert_eq!(origin(url).unwrap(), expected);
    }
}
