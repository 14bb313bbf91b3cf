//! Addresses that no grant opens.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Metadata services of clouds outside the link-local range: they hand out credentials of the machine to whoever asks.
const METADATA: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)), IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254))];

/// Why nobody may connect to `address`, whatever is granted. IPv4 inside IPv6 is judged as IPv4.
pub(crate) fn forbidden(address: IpAddr) -> Option<&'static str> {
    let address = embedded(address);
    if METADATA.contains(&address) {
        return Some("it is a cloud's metadata service");
    }
    let (link_local, unspecified, multicast) = match address {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[0] == 0, v4.is_multicast() || v4.is_broadcast()),
        IpAddr::V6(v6) => (v6.is_unicast_link_local(), v6.is_unspecified(), v6.is_multicast()),
    };
    if link_local {
        Some("it is link-local, where clouds keep their metadata service")
    } else if unspecified {
        Some("it names no machine")
    } else if multicast {
        Some("it names many machines")
    } else {
        None
    }
}

/// The IPv4 address inside a mapped, compatible, NAT64 or 6to4 address; else the address itself.
pub(crate) fn embedded(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address.to_canonical() else { return address.to_canonical() };
    let [a, b, c, d, e, f, high, low] = v6.segments();
    let v4 = |high: u16, low: u16| {
        let ([one, two], [three, four]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(one, two, three, four))
    };
    match [a, b, c, d, e, f] {
        [0, 0, 0, 0, 0, 0] if high != 0 => v4(high, low),
        [0x64, 0xff9b, 0, 0, 0, 0] => v4(high, low),
        [0x2002, high, low, ..] => v4(high, low),
        _ => IpAddr::V6(v6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_addresses_are_never_connected_to() {
        for address in [
            "169.254.169.254",
            "169.254.0.1",
            "0.0.0.0",
            "0.1.2.3",
            "224.0.0.1",
            "255.255.255.255",
            "100.100.100.200",
            "::",
            "fe80::1",
            "ff02::1",
            "fd00:ec2::254",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
        ] {
            assert!(forbidden(address.parse().unwrap()).is_some(), "{address}");
        }
        for address in ["127.0.0.1", "::1", "10.0.0.1", "192.168.1.1", "93.184.216.34", "2606:2800:220:1::1", "fd00::1"]
        {
            assert!(forbidden(address.parse().unwrap()).is_none(), "{address}");
        }
    }

    #[test]
    fn ipv4_inside_ipv6_is_ipv4() {
        for address in ["::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "::127.0.0.1"] {
            assert_eq!(embedded(address.parse().unwrap()).to_string(), "127.0.0.1", "{address}");
        }
        assert_eq!(embedded("::1".parse().unwrap()).to_string(), "::1");
    }
}
