//! What sort of place an address is: one that nobody may reach, this machine, a private network, or any other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What sort of place an address is, the strictest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Range {
    /// Nobody may connect to it, whatever is granted; the text says why.
    Never(&'static str),
    /// This machine: reached only by a grant that names it literally, with one port.
    Loopback,
    /// A private network: reached where the grant names the host, and not by a wildcard.
    Private,
    /// Any other.
    Open,
}

/// Metadata services of clouds outside the link-local range: they hand out credentials of the machine to whoever asks.
/// Network and length of its prefix.
const METADATA: &[(IpAddr, u8)] = &[
    (IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)), 32),
    (IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)), 32),
    (IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)), 32),
    (IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0)), 32),
    (IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)), 128),
    (IpAddr::V6(Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42)), 128),
    (IpAddr::V6(Ipv6Addr::new(0xfd00, 0xa9fe, 0xa9fe, 0, 0, 0, 0, 0)), 64),
];

const PRIVATE: &[(IpAddr, u8)] = &[
    (IpAddr::V4(Ipv4Addr::new(10, 0, 0, 0)), 8),
    (IpAddr::V4(Ipv4Addr::new(100, 64, 0, 0)), 10),
    (IpAddr::V4(Ipv4Addr::new(172, 16, 0, 0)), 12),
    (IpAddr::V4(Ipv4Addr::new(192, 168, 0, 0)), 16),
    (IpAddr::V4(Ipv4Addr::new(192, 0, 0, 0)), 24),
    (IpAddr::V4(Ipv4Addr::new(198, 18, 0, 0)), 15),
    (IpAddr::V4(Ipv4Addr::new(240, 0, 0, 0)), 4),
    (IpAddr::V6(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0)), 7),
    (IpAddr::V6(Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0)), 10),
];

impl Range {
    /// The range of `address`; one with IPv4 inside is in the range of what is inside.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::of_v4(v4),
            IpAddr::V6(v6) => {
                inside(v6).into_iter().flatten().map(Self::of_v4).min().unwrap_or_else(|| Self::of_v6(v6))
            }
        }
    }

    fn of_v4(v4: Ipv4Addr) -> Self {
        if v4.is_link_local() {
            Self::Never("it is link-local, where clouds keep their metadata service")
        } else if v4.octets()[0] == 0 {
            Self::Never("it names no machine")
        } else if v4.is_multicast() || v4.is_broadcast() {
            Self::Never("it names many machines")
        } else if v4.is_loopback() {
            Self::Loopback
        } else {
            Self::listed(IpAddr::V4(v4))
        }
    }

    fn of_v6(v6: Ipv6Addr) -> Self {
        if v6.is_unicast_link_local() {
            Self::Never("it is link-local, where clouds keep their metadata service")
        } else if v6.is_unspecified() {
            Self::Never("it names no machine")
        } else if v6.is_multicast() {
            Self::Never("it names many machines")
        } else if v6.is_loopback() {
            Self::Loopback
        } else {
            Self::listed(IpAddr::V6(v6))
        }
    }

    fn listed(address: IpAddr) -> Self {
        let is_in = |list: &[(IpAddr, u8)]| list.iter().any(|(network, length)| contains(*network, *length, address));
        if is_in(METADATA) {
            Self::Never("it is a cloud's metadata service")
        } else if is_in(PRIVATE) {
            Self::Private
        } else {
            Self::Open
        }
    }
}

/// The address that counts: the IPv4 address inside a mapped, compatible, translated, NAT64 or 6to4 address, else the
/// address itself.
pub(super) fn judged(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => match inside(v6) {
            // Where the IPv4 address lies depends on the network's choice: none of the two is the address.
            [Some(v4), None] => IpAddr::V4(v4),
            _ => IpAddr::V6(v6),
        },
    }
}

/// The IPv4 addresses that may be inside of `v6`. Only in the local NAT64 prefix there are two, since a network chooses
/// where it puts them (RFC 6052, section 2.2).
fn inside(v6: Ipv6Addr) -> [Option<Ipv4Addr>; 2] {
    let [a, b, c, d, e, f, high, low] = v6.segments();
    let v4 = |high: u16, low: u16| {
        let ([one, two], [three, four]) = (high.to_be_bytes(), low.to_be_bytes());
        Some(Ipv4Addr::new(one, two, three, four))
    };
    match [a, b, c, d, e, f] {
        // `::` and `::1` are IPv6 addresses in their own right.
        [0, 0, 0, 0, 0, 0] if high != 0 || low > 1 => [v4(high, low), None],
        [0, 0, 0, 0, 0xffff, 0] | [0x64, 0xff9b, 0, 0, 0, 0] => [v4(high, low), None],
        [0x64, 0xff9b, 1, ..] => {
            let bytes = v6.octets();
            [v4(high, low), Some(Ipv4Addr::new(bytes[6], bytes[7], bytes[9], bytes[10]))]
        }
        [0x2002, high, low, ..] => [v4(high, low), None],
        _ => [None, None],
    }
}

/// Whether `address` lies in `network`, of which the first `length` bits count.
pub(super) fn contains(network: IpAddr, length: u8, address: IpAddr) -> bool {
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let ignored = 32u32.saturating_sub(length.into());
            (u32::from(network) ^ u32::from(address)).checked_shr(ignored).unwrap_or(0) == 0
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let ignored = 128u32.saturating_sub(length.into());
            (u128::from(network) ^ u128::from(address)).checked_shr(ignored).unwrap_or(0) == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Range {
        Range::of(text.parse().unwrap())
    }

    #[test]
    fn some_addresses_are_never_reached() {
        for address in [
            "169.254.169.254",
            "169.254.0.1",
            "0.0.0.0",
            "0.1.2.3",
            "224.0.0.1",
            "255.255.255.255",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "::",
            "fe80::1",
            "febf::1",
            "ff02::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "::ffff:0:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::a9fe:a9fe",
            "64:ff9b:1:a9fe:a9:fe00::",
            "2002:a9fe:a9fe::1",
        ] {
            assert!(matches!(range(address), Range::Never(_)), "{address}");
        }
    }

    #[test]
    fn ipv4_inside_ipv6_is_judged_as_ipv4() {
        for (inside, range) in [("127.0.0.1", Range::Loopback), ("10.1.2.3", Range::Private), ("8.8.8.8", Range::Open)]
        {
            let v4: Ipv4Addr = inside.parse().unwrap();
            let [one, two, three, four] = v4.octets();
            let (high, low) = (u16::from_be_bytes([one, two]), u16::from_be_bytes([three, four]));
            for v6 in [
                v4.to_ipv6_mapped(),
                Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, high, low),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
            ] {
                assert_eq!((Range::of(v6.into()), judged(v6.into())), (range, v4.into()), "{v6}");
            }
        }
        assert_eq!(range("::1"), Range::Loopback);
        assert_eq!(judged("::1".parse().unwrap()).to_string(), "::1");
    }

    #[test]
    fn private_networks_and_the_rest() {
        for address in ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "fd12::1", "fc00::1"] {
            assert_eq!(range(address), Range::Private, "{address}");
        }
        for address in
            ["9.255.255.255", "172.32.0.1", "93.184.216.34", "100.128.0.1", "2606:2800:220:1::1", "192.0.2.7"]
        {
            assert_eq!(range(address), Range::Open, "{address}");
        }
        assert_eq!(range("127.8.9.10"), Range::Loopback);
    }

    #[test]
    fn a_network_contains_what_begins_with_its_prefix() {
        let contains =
            |network: &str, length, address: &str| contains(network.parse().unwrap(), length, address.parse().unwrap());
        assert!(contains("10.0.0.0", 8, "10.255.0.1") && !contains("10.0.0.0", 8, "11.0.0.0"));
        assert!(contains("10.0.0.1", 32, "10.0.0.1") && !contains("10.0.0.1", 32, "10.0.0.0"));
        assert!(contains("fd00::", 8, "fdff::1") && !contains("fd00::", 8, "fe00::1"));
        assert!(contains("::", 0, "fdff::1") && !contains("::", 0, "10.0.0.1"));
    }
}
