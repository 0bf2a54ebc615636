//! Which addresses are of the public internet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an address that is not of the public internet is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// This machine.
    Loopback,
    /// A private network.
    Private,
    /// The own link, where cloud providers serve credentials.
    LinkLocal,
    /// Addresses a provider shares between customers.
    Shared,
    /// Many machines at once.
    Multicast,
    /// None in particular, which is this machine.
    Unspecified,
    /// Documents, measurements and what is reserved.
    Reserved,
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Loopback => "loopback",
            Self::Private => "private",
            Self::LinkLocal => "link-local",
            Self::Shared => "shared (carrier-grade NAT)",
            Self::Multicast => "multicast",
            Self::Unspecified => "unspecified",
            Self::Reserved => "reserved",
        })
    }
}

/// `None` for an address of the public internet.
pub(super) fn scope(address: IpAddr) -> Option<Scope> {
    match address {
        IpAddr::V4(address) => scope_v4(address),
        IpAddr::V6(address) => scope_v6(address),
    }
}

fn scope_v4(address: Ipv4Addr) -> Option<Scope> {
    let scope = match address.octets() {
        [0, 0, 0, 0] => Scope::Unspecified,
        [127, ..] => Scope::Loopback,
        [10, ..] | [192, 168, ..] | [172, 16..=31, ..] => Scope::Private,
        // The last one is public by number only: Azure serves its machines' credentials there.
        [169, 254, ..] | [168, 63, 129, 16] => Scope::LinkLocal,
        [100, 64..=127, ..] => Scope::Shared,
        [224..=239, ..] => Scope::Multicast,
        // This network, protocol assignments, documentation, the old 6to4 relays, benchmarks, the future.
        [0 | 240..=255, ..]
        | [192, 0, 0 | 2, _]
        | [198, 51, 100, _]
        | [203, 0, 113, _]
        | [192, 88, 99, _]
        | [198, 18 | 19, ..] => Scope::Reserved,
        _ => return None,
    };
    Some(scope)
}

fn scope_v6(address: Ipv6Addr) -> Option<Scope> {
    let segments = address.segments();
    if address.is_unspecified() {
        return Some(Scope::Unspecified);
    }
    if address.is_loopback() {
        return Some(Scope::Loopback);
    }
    if let Some(inner) = embedded(segments) {
        return scope_v4(inner);
    }
    match segments {
        [0xff00..=0xffff, ..] => Some(Scope::Multicast),
        // fec0::/10, site-local, is what unique local addresses were before.
        [0xfc00..=0xfdff | 0xfec0..=0xfeff, ..] | [0x64, 0xff9b, 1, ..] => Some(Scope::Private),
        [0xfe80..=0xfebf, ..] => Some(Scope::LinkLocal),
        // 2001::/23 is Teredo, benchmarks and other protocols; the others are documentation.
        [0x2001, 0..=0x01ff | 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] => Some(Scope::Reserved),
        // All that is assigned to the internet so far.
        [0x2000..=0x3fff, ..] => None,
        _ => Some(Scope::Reserved),
    }
}

/// The IPv4 address to which packets for an IPv6 address are brought: mapped, compatible and translated addresses,
/// NAT64 and 6to4.
fn embedded(segments: [u16; 8]) -> Option<Ipv4Addr> {
    let ([0, 0, 0, 0, 0, 0 | 0xffff, high, low]
    | [0, 0, 0, 0, 0xffff, 0, high, low]
    | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
    | [0x2002, high, low, ..]) = segments
    else {
        return None;
    };
    let [a, b] = high.to_be_bytes();
    let [c, d] = low.to_be_bytes();
    Some(Ipv4Addr::new(a, b, c, d))
}
