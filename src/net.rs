//! Addresses: networks in settings, and the client behind trusted proxies.

use std::net::{IpAddr, Ipv6Addr};

/// An address range such as `10.0.0.0/8`; a bare address is a range of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    base: IpAddr,
    prefix: u8,
}

impl Network {
    /// Reads `address` or `address/prefix`.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse().ok()?)),
            None => (text, None),
        };
        let base: IpAddr = address.trim().parse().ok()?;
        let widest = if base.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(widest);
        (prefix <= widest).then_some(Self { base, prefix })
    }

    /// Whether `address` lies in the range. IPv4 addresses in IPv6 notation count as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        fn equal_bits(a: &[u8], b: &[u8], bits: u8) -> bool {
            let whole = usize::from(bits / 8);
            let rest = bits % 8;
            let mask = if rest == 0 { 0 } else { 0xff_u8 << (8 - rest) };
            a[..whole] == b[..whole] && (mask == 0 || a[whole] & mask == b[whole] & mask)
        }
        match (self.base.to_canonical(), address.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                equal_bits(&a.octets(), &b.octets(), self.prefix.min(32))
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => equal_bits(&a.octets(), &b.octets(), self.prefix),
            _ => false,
        }
    }
}

/// The addresses that count as one client: an IPv4 address, or the /64 of an IPv6 address, which a single machine can have
/// to itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AddressBlock {
    first: IpAddr,
    last: IpAddr,
}

impl AddressBlock {
    /// The block that `address` lies in. IPv4 addresses in IPv6 notation count as IPv4.
    pub fn of(address: IpAddr) -> Self {
        const HOST: u128 = u64::MAX as u128;
        let address = address.to_canonical();
        let (first, last) = match address {
            IpAddr::V4(_) => (address, address),
            IpAddr::V6(address) => {
                let bits = address.to_bits();
                let end = |bits| IpAddr::V6(Ipv6Addr::from_bits(bits));
                (end(bits & !HOST), end(bits | HOST))
            }
        };
        Self { first, last }
    }

    /// Its first and its last address.
    pub fn bounds(self) -> (IpAddr, IpAddr) {
        (self.first, self.last)
    }
}

/// The client's address: the peer, or, when the peer is a trusted proxy, the right-most hop of `forwarded`
/// (`X-Forwarded-For`) that is none. A hop that is no address ends the walk at the last trusted one.
pub fn client_ip(peer: IpAddr, forwarded: Option<&str>, trusted: &[Network]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut client = peer.to_canonical();
    for hop in forwarded.unwrap_or_default().rsplit(',') {
        if !is_trusted(client) {
            break;
        }
        let Ok(address) = hop.trim().parse::<IpAddr>() else {
            break;
        };
        client = address.to_canonical();
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn networks_contain_their_addresses_only() {
        let ten = Network::parse("10.0.0.0/8").unwrap();
        assert!(
            ten.contains(ip("10.255.1.2"))
                && ten.contains(ip("::ffff:10.1.2.3"))
                && !ten.contains(ip("11.0.0.1"))
        );
        let odd = Network::parse("192.168.16.0/20").unwrap();
        assert!(odd.contains(ip("192.168.31.255")) && !odd.contains(ip("192.168.32.0")));
        assert!(Network::parse("::1").unwrap().contains(ip("::1")));
        assert!(Network::parse("10.0.0.0/33").is_none() && Network::parse("proxy").is_none());
    }

    #[test]
    fn a_subscriber_is_one_block() {
        let block = |text| AddressBlock::of(ip(text));
        assert_eq!(block("2001:db8:0:1::1"), block("2001:db8:0:1:ffff::"));
        assert_ne!(block("2001:db8:0:1::1"), block("2001:db8:0:2::1"));
        assert_eq!(block("::ffff:192.0.2.1"), block("192.0.2.1"));
        assert_ne!(block("192.0.2.1"), block("192.0.2.2"));
        let bounds = (ip("2001:db8:0:1::"), ip("2001:db8:0:1:ffff:ffff:ffff:ffff"));
        assert_eq!(block("2001:db8:0:1::1").bounds(), bounds);
    }

    /// Attack 43. Fails when the header of anybody is believed, or read from the left.
    #[test]
    fn only_trusted_proxies_may_name_the_client() {
        let trusted = [Network::parse("10.0.0.0/8").unwrap()];
        let client = |peer, forwarded| client_ip(ip(peer), Some(forwarded), &trusted).to_string();
        assert_eq!(client("203.0.113.9", "1.2.3.4"), "203.0.113.9");
        assert_eq!(client("10.0.0.1", "6.6.6.6, 1.2.3.4, 10.0.0.2"), "1.2.3.4");
        assert_eq!(client("10.0.0.1", "1.2.3.4, evil"), "10.0.0.1");
        assert_eq!(client("10.0.0.1", ""), "10.0.0.1");
    }
}
