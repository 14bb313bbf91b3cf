//! Hosts, ports and folders in one spelling each, so that what is compared is what is meant.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use super::range::{Range, contains, judged};
use super::{AbilityKind, TargetError};

/// A host as it is named: an address, or a name in lower case without a closing dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// A literal address; IPv4 in IPv6 is IPv4.
    Address(IpAddr),
    /// A name.
    Name(String),
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

    /// The range that the host is in, as far as it is named; what a name resolves to does not show here.
    pub fn range(&self) -> Range {
        match self {
            Self::Address(address) => Range::of(*address),
            Self::Name(name) if name == "localhost" || name.ends_with(".localhost") => Range::Loopback,
            Self::Name(_) => Range::Open,
        }
    }

    /// Whether both are the same host; an address is the same as the one inside of it.
    pub(super) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Address(one), Self::Address(two)) => judged(*one) == judged(*two),
            (one, two) => one == two,
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
    /// Every host.
    Any,
    /// Every name below this one, which itself is not meant: `*.example.com`.
    Below(String),
    /// Every address that begins with so many bits of this one: `10.0.0.0/8`. Names are not meant.
    Network(IpAddr, u8),
    /// This one.
    Exact(Host),
}

impl HostPattern {
    fn parse(text: &str) -> Result<Self, &'static str> {
        if text == "*" {
            return Ok(Self::Any);
        }
        if let Some((address, length)) = text.split_once('/') {
            return network(address, length);
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

    /// Whether the pattern covers `host`, whatever range it is in.
    pub fn matches(&self, host: &Host) -> bool {
        match self {
            Self::Any => true,
            Self::Below(suffix) => matches!(host, Host::Name(name) if is_below(name, suffix)),
            Self::Network(network, length) => {
                matches!(host, Host::Address(address) if contains(*network, *length, judged(*address)))
            }
            Self::Exact(exact) => exact.is(host),
        }
    }

    /// The same for a denial, which covers an address in the spelling that it came in as well.
    pub(super) fn matches_any_spelling(&self, host: &Host) -> bool {
        self.matches(host)
            || matches!((self, host), (Self::Network(network, length), Host::Address(address)) if contains(*network, *length, *address))
    }

    /// Whether it says which hosts are meant, so that a private one among them is meant too.
    pub(super) fn names_hosts(&self) -> bool {
        matches!(self, Self::Exact(_) | Self::Network(..))
    }

    pub(super) fn intersection(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Any, pattern) | (pattern, Self::Any) => Some(pattern.clone()),
            (pattern, Self::Exact(host)) | (Self::Exact(host), pattern) => {
                pattern.matches(host).then(|| Self::Exact(host.clone()))
            }
            (Self::Below(one), Self::Below(two)) if one == two || is_below(one, two) => Some(Self::Below(one.clone())),
            (Self::Below(one), Self::Below(two)) if is_below(two, one) => Some(Self::Below(two.clone())),
            (Self::Network(one, some), Self::Network(two, more)) if some <= more && contains(*one, *some, *two) => {
                Some(Self::Network(*two, *more))
            }
            (Self::Network(one, some), Self::Network(two, more)) if more < some && contains(*two, *more, *one) => {
                Some(Self::Network(*one, *some))
            }
            _ => None,
        }
    }
}

fn network(address: &str, length: &str) -> Result<HostPattern, &'static str> {
    let bare = address.strip_prefix('[').unwrap_or(address);
    let network: IpAddr = bare.parse().map_err(|_| "before the `/` of a network stands no address")?;
    let bits = if network.is_ipv4() { 32 } else { 128 };
    let length: u8 = length
        .parse()
        .ok()
        .filter(|length| *length <= bits)
        .ok_or("after the `/` of a network stands the length of its prefix (1 to 32, or to 128 for IPv6)")?;
    match length {
        0 => Err("a network of every address is written `*`"),
        _ if !is_first(network, length) => Err("the network has bits after its prefix; write for example 10.0.0.0/8"),
        _ => Ok(HostPattern::Network(network, length)),
    }
}

/// Whether `address` is the first of its network.
fn is_first(address: IpAddr, length: u8) -> bool {
    match address {
        IpAddr::V4(v4) => u32::from(v4).checked_shl(length.into()).unwrap_or(0) == 0,
        IpAddr::V6(v6) => u128::from(v6).checked_shl(length.into()).unwrap_or(0) == 0,
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
            Self::Network(network, length) => write!(f, "{network}/{length}"),
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
        None if kind == AbilityKind::Listen && target.parse::<u16>().is_ok() => {
            return Ok((HostPattern::Any, Ports::parse(target)?));
        }
        None if target.contains(['?', '#', '\\', '@']) || (target.contains('/') && !is_network(target)) => {
            return Err("write `host:port`, a network such as `10.0.0.0/8:443`, or a URL with its scheme");
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
    let host = match HostPattern::parse(host)? {
        // To listen on the unspecified address is to listen on every address.
        HostPattern::Exact(Host::Address(address)) if kind == AbilityKind::Listen && address.is_unspecified() => {
            HostPattern::Any
        }
        host => host,
    };
    Ok((host, ports))
}

/// Whether what stands before the first `/` is an address.
fn is_network(target: &str) -> bool {
    let address = target.split('/').next().unwrap_or_default();
    address.strip_prefix('[').unwrap_or(address).parse::<IpAddr>().is_ok()
}

fn split_port(authority: &str) -> Result<(&str, Option<&str>), &'static str> {
    if authority.starts_with('[') {
        let end = authority.find(']').ok_or("a bracket is not closed")?;
        let (host, rest) = authority.split_at(end + 1);
        // `[fd00::/8]` is a network, `[fd00::1]` an address.
        let host = if host.contains('/') { &host[1..end] } else { host };
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err("only a port may follow the closing bracket"),
        };
    }
    if authority.split('/').next().is_some_and(|address| address.parse::<Ipv6Addr>().is_ok()) {
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
    if parts.first().is_some_and(|first| matches!(*first, "proc" | "sys" | "dev")) {
        return refuse("it is the kernel's, which shows the whole machine there");
    }
    Ok(format!("/{}", parts.join("/")))
}

/// The name of a variable of the environment, or of a secret.
pub(super) fn name(kind: AbilityKind, target: &str) -> Result<String, TargetError> {
    let refuse = |detail| Err(TargetError::Name { target: target.to_owned(), detail });
    if target.is_empty() || target.len() > 253 {
        return refuse("it has 1 to 253 characters");
    }
    let variable = kind == AbilityKind::Env;
    if variable && target.starts_with(|c: char| c.is_ascii_digit()) {
        return refuse("a variable does not begin with a digit");
    }
    match target.chars().find(|c| !(c.is_ascii_alphanumeric() || *c == '_' || (!variable && matches!(c, '-' | '.')))) {
        Some('*') => refuse("each is named; there is no wildcard"),
        Some(_) if variable => refuse("a variable has letters, digits and `_`"),
        Some(_) => refuse("a secret has letters, digits, `-`, `_` and `.`"),
        None => Ok(target.to_owned()),
    }
}

/// Whether `path` is `folder` or lies below it; both as [`folder`] gives them.
pub(super) fn within(folder: &str, path: &str) -> bool {
    folder == "/" || path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
