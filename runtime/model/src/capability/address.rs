//! Hosts, ports and folders in one spelling each, so that what is compared is what is meant.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{AbilityKind, TargetError};

/// A host as it is named: an address, or a name in lower case without a closing dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// A literal address; IPv4 in IPv6 is IPv4.
    Address(IpAddr),
    /// A name.
    Name(String),
}

/// Whether an address is this machine, its link, everyone or nobody: reached only where it is named literally.
pub fn is_special(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            v4.is_loopback() || v4.is_link_local() || v4.is_multicast() || v4.is_broadcast() || v4.octets()[0] == 0
        }
        IpAddr::V6(v6) => {
            v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_multicast()
                || v6.is_unicast_link_local()
                || embedded_v4(v6).is_some_and(|v4| is_special(IpAddr::V4(v4)))
        }
    }
}

/// The IPv4 address inside an IPv4-compatible or NAT64 address.
fn embedded_v4(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, high, low] = v6.segments();
    let compatible = [a, b, c, d, e, f] == [0; 6];
    let nat64 = [a, b, c, d, e, f] == [0x64, 0xff9b, 0, 0, 0, 0];
    let [o1, o2] = high.to_be_bytes();
    let [o3, o4] = low.to_be_bytes();
    (compatible || nat64).then(|| Ipv4Addr::new(o1, o2, o3, o4))
}

impl Host {
    /// Reads a host; IPv6 with or without brackets. Numbers that a resolver would take for an address in another
    /// spelling (`127.1`, `0x7f000001`) are refused rather than guessed at.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let bracketed = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        if let Some(address) = bracketed {
            let address: Ipv6Addr = address.parse().map_err(|_| "what stands in brackets is not an IPv6 address")?;
            return Ok(Self::Address(IpAddr::V6(address).to_canonical()));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Address(address.to_canonical()));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if name.is_empty() {
            return Err("the host is missing");
        }
        if name.len() > 253 || name.split('.').any(|label| label.is_empty() || label.len() > 63) {
            return Err("the host is not a name");
        }
        if !name.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.')) {
            return Err("the host contains a character that names do not have");
        }
        let last = name.rsplit('.').next().unwrap_or_default();
        let hexadecimal = last.strip_prefix("0x").is_some_and(|digits| digits.chars().all(|c| c.is_ascii_hexdigit()));
        if hexadecimal || last.chars().all(|c| c.is_ascii_digit()) {
            return Err("the host is a number but no address in its usual spelling (such as 192.0.2.1)");
        }
        Ok(Self::Name(name))
    }

    /// Whether the host is named as one that needs a literal grant; a name that merely resolves to one does not show here.
    pub fn is_special(&self) -> bool {
        match self {
            Self::Address(address) => is_special(*address),
            Self::Name(name) => name == "localhost" || name.ends_with(".localhost"),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// Which hosts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// Every host that is not special.
    Any,
    /// Every name below this one, which itself is not meant: `*.example.com`.
    Below(String),
    /// This one.
    Exact(Host),
}

impl HostPattern {
    fn parse(text: &str) -> Result<Self, &'static str> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let Some(suffix) = text.strip_prefix("*.") else {
            return if text.contains('*') {
                Err("a wildcard stands for the whole host or for its first part (`*` or `*.example.com`)")
            } else {
                Host::parse(text).map(Self::Exact)
            };
        };
        match Host::parse(suffix)? {
            Host::Name(name) => Ok(Self::Below(name)),
            Host::Address(_) => Err("a wildcard cannot stand before an address"),
        }
    }

    /// Whether the pattern covers `host`, whatever is special about it.
    pub fn matches(&self, host: &Host) -> bool {
        match self {
            Self::Any => true,
            Self::Below(suffix) => matches!(host, Host::Name(name) if is_below(name, suffix)),
            Self::Exact(exact) => exact == host,
        }
    }

    pub(super) fn intersection(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Any, pattern) | (pattern, Self::Any) => Some(pattern.clone()),
            (pattern, Self::Exact(host)) | (Self::Exact(host), pattern) => {
                pattern.matches(host).then(|| Self::Exact(host.clone()))
            }
            (Self::Below(one), Self::Below(two)) if one == two || is_below(one, two) => Some(Self::Below(one.clone())),
            (Self::Below(one), Self::Below(two)) if is_below(two, one) => Some(Self::Below(two.clone())),
            (Self::Below(_), Self::Below(_)) => None,
        }
    }
}

fn is_below(name: &str, suffix: &str) -> bool {
    name.strip_suffix(suffix).is_some_and(|head| head.len() > 1 && head.ends_with('.'))
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Below(suffix) => write!(f, "*.{suffix}"),
            Self::Exact(host) => host.fmt(f),
        }
    }
}

/// Which ports: from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ports {
    first: u16,
    last: u16,
}

impl Ports {
    /// Every port.
    pub const ANY: Self = Self { first: 0, last: u16::MAX };

    /// One port.
    pub fn single(port: u16) -> Self {
        Self { first: port, last: port }
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        if text == "*" {
            return Ok(Self::ANY);
        }
        let port = |text: &str| -> Result<u16, &'static str> {
            if !text.chars().all(|c| c.is_ascii_digit()) {
                return Err("the port is not a number");
            }
            text.parse().map_err(|_| "the port is not a number from 0 to 65535")
        };
        match text.split_once('-') {
            Some((first, last)) => {
                let (first, last) = (port(first)?, port(last)?);
                if first <= last { Ok(Self { first, last }) } else { Err("the range of ports ends before it begins") }
            }
            None => port(text).map(Self::single),
        }
    }

    /// Whether `port` is one of them.
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    /// Whether it is one port only.
    pub fn is_single(self) -> bool {
        self.first == self.last
    }

    /// Whether it is every port.
    pub fn is_any(self) -> bool {
        self == Self::ANY
    }

    pub(super) fn intersection(&self, other: &Self) -> Option<Self> {
        let both = Self { first: self.first.max(other.first), last: self.last.min(other.last) };
        (both.first <= both.last).then_some(both)
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_any() {
            f.write_str("*")
        } else if self.is_single() {
            self.first.fmt(f)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// Reads `host:port`, `host:from-to`, `[v6]:port` or a URL; user, password, path and query of a URL do not matter.
pub(super) fn host_and_ports(kind: AbilityKind, target: &str) -> Result<(HostPattern, Ports), TargetError> {
    parse(kind, target).map_err(|detail| TargetError::Address { target: without_user(target), detail })
}

/// The target without user and password, which must not reach logs and messages.
fn without_user(target: &str) -> String {
    match (target.split_once("://"), target.rfind('@')) {
        (Some((scheme, _)), Some(at)) => format!("{scheme}://{}", &target[at + 1..]),
        (None, Some(at)) => target[at + 1..].to_owned(),
        _ => target.to_owned(),
    }
}

fn parse(kind: AbilityKind, target: &str) -> Result<(HostPattern, Ports), &'static str> {
    if target.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("it contains a blank or a control character");
    }
    let (authority, default) = match target.split_once("://") {
        Some((scheme, rest)) => {
            let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            let port = match scheme.to_ascii_lowercase().as_str() {
                "mqtt" => Some(1883),
                "mqtts" => Some(8883),
                "http" | "ws" => Some(80),
                "https" | "wss" => Some(443),
                "nats" => Some(4222),
                _ => None,
            };
            (host, port)
        }
        None if target.contains(['/', '?', '#', '\\', '@']) => {
            return Err("write `host:port`, or a URL with its scheme");
        }
        None => (target, None),
    };
    let (host, ports) = split_port(authority)?;
    let ports = match (ports, default) {
        (Some(ports), _) => Ports::parse(ports)?,
        (None, Some(port)) => Ports::single(port),
        (None, None) if kind == AbilityKind::Resolve => Ports::ANY,
        (None, None) => return Err("the port is missing; write `host:port`"),
    };
    let ports = if kind == AbilityKind::Resolve { Ports::ANY } else { ports };
    Ok((HostPattern::parse(host)?, ports))
}

fn split_port(authority: &str) -> Result<(&str, Option<&str>), &'static str> {
    if authority.starts_with('[') {
        let end = authority.find(']').ok_or("a bracket is not closed")?;
        let (host, rest) = authority.split_at(end + 1);
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err("only a port may follow the closing bracket"),
        };
    }
    if authority.parse::<Ipv6Addr>().is_ok() {
        return Ok((authority, None));
    }
    match authority.rsplit_once(':') {
        Some((host, _)) if host.contains(':') => Err("an IPv6 address with a port stands in brackets: `[::1]:1883`"),
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((authority, None)),
    }
}

/// An absolute path without `.`, `..` and doubled slashes.
pub(super) fn folder(target: &str) -> Result<String, TargetError> {
    let refuse = |detail| Err(TargetError::Folder { target: target.to_owned(), detail });
    if !target.starts_with('/') {
        return refuse("the path is not absolute (it does not begin with `/`)");
    }
    if target.contains('\0') {
        return refuse("the path contains a zero character");
    }
    let mut parts = Vec::new();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => return refuse("the path contains `..`"),
            part => parts.push(part),
        }
    }
    Ok(format!("/{}", parts.join("/")))
}

/// Whether `path` is `folder` or lies below it; both as [`folder`] gives them.
pub(super) fn within(folder: &str, path: &str) -> bool {
    folder == "/" || path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
