//! The abilities that a component asks for, that an operator grants or denies, and that a session gets: never more than
//! what is both asked for and granted.

mod address;
mod allowance;
mod given;
mod range;
mod rules;
mod template;

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use address::{Host, HostPattern, Ports};
pub use allowance::Allowance;
pub use given::{Given, fill, given};
pub use range::Range;
pub use rules::{Rules, Verdict};

/// Why a target does not name anything that could be granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// A kind that this version does not know.
    #[error("`{0}` is not a capability of this version; it has {list}", list = AbilityKind::list())]
    UnknownKind(String),
    /// A template names a parameter that has no value.
    #[error("`{{{0}}}` names a parameter that is not set")]
    Missing(String),
    /// A parameter's value cannot stand in a target.
    #[error("the value of parameter `{parameter}` cannot stand in a target: {detail}")]
    Value {
        /// The parameter.
        parameter: String,
        /// Why.
        detail: &'static str,
    },
    /// A brace that is not closed, or an empty template.
    #[error("the template in `{0}` is malformed; write `{{name}}`, `{{a.b}}` or `{{static.name}}`")]
    Template(String),
    /// No host, or one that makes no sense.
    #[error("`{target}` is not a host and port: {detail}")]
    Address {
        /// The target.
        target: String,
        /// What is wrong.
        detail: &'static str,
    },
    /// No folder, or one that makes no sense.
    #[error("`{target}` is not a folder: {detail}")]
    Folder {
        /// The target.
        target: String,
        /// What is wrong.
        detail: &'static str,
    },
    /// No name of a variable or secret.
    #[error("`{target}` is not a name: {detail}")]
    Name {
        /// The target.
        target: String,
        /// What is wrong.
        detail: &'static str,
    },
}

/// What an ability is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AbilityKind {
    /// To connect by TCP, encrypted or not.
    Tcp,
    /// To connect by TCP with TLS, which the host makes.
    Tls,
    /// To send datagrams by UDP, and to receive the answers.
    Udp,
    /// To send HTTP requests, encrypted or not.
    Http,
    /// To send HTTP requests over TLS.
    Https,
    /// To look a name up.
    Resolve,
    /// To listen on a port.
    Listen,
    /// To read files.
    Read,
    /// To read and write files.
    Write,
    /// To see a variable of the server's environment.
    Env,
    /// To see the values of a secret.
    Secret,
}

impl AbilityKind {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::Tcp,
        Self::Tls,
        Self::Udp,
        Self::Http,
        Self::Https,
        Self::Resolve,
        Self::Listen,
        Self::Read,
        Self::Write,
        Self::Env,
        Self::Secret,
    ];

    /// The kind called `name` in descriptions and grants.
    pub fn parse(name: &str) -> Result<Self, TargetError> {
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == name);
        found.ok_or_else(|| TargetError::UnknownKind(name.to_owned()))
    }

    /// Its name in descriptions and grants.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Udp => "udp",
            Self::Http => "http",
            Self::Https => "https",
            Self::Resolve => "resolve",
            Self::Listen => "listen",
            Self::Read => "read",
            Self::Write => "write",
            Self::Env => "env",
            Self::Secret => "secret",
        }
    }

    /// All names, as messages list them.
    pub(crate) fn list() -> String {
        Self::ALL.map(Self::as_str).join(", ")
    }

    fn is_folder(self) -> bool {
        matches!(self, Self::Read | Self::Write)
    }

    fn is_name(self) -> bool {
        matches!(self, Self::Env | Self::Secret)
    }

    /// Whether an ability of this kind serves for `other`: what encrypts is a part of what need not.
    pub fn includes(self, other: Self) -> bool {
        self == other || matches!((self, other), (Self::Tcp, Self::Tls) | (Self::Http, Self::Https))
    }

    /// Whether a denial of this kind denies `other`: whoever may not connect may not send requests either.
    fn denies(self, other: Self) -> bool {
        self.includes(other)
            || matches!((self, other), (Self::Tcp, Self::Http | Self::Https) | (Self::Tls, Self::Https))
    }

    /// Whether a host that this kind reaches may be looked up.
    pub fn looks_up(self) -> bool {
        matches!(self, Self::Resolve | Self::Tcp | Self::Tls | Self::Udp | Self::Http | Self::Https)
    }
}

impl fmt::Display for AbilityKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an ability reaches.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// Ports of hosts.
    Host {
        /// Which hosts.
        host: HostPattern,
        /// Which of their ports.
        ports: Ports,
    },
    /// A folder and everything below it, as an absolute path without `.` and `..`.
    Folder(String),
    /// The variable or secret of this name.
    Name(String),
}

/// Something a session may do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ability {
    /// What it is for.
    pub kind: AbilityKind,
    /// What it reaches.
    pub target: Target,
    /// Whether the grant says which host is meant, so that a private address is meant too.
    named: bool,
}

impl Ability {
    /// An ability of a literal target (no templates): `host:port`, `host:from-to`, `*.example.com:443`, `10.0.0.0/8:443`,
    /// `*:443`, a URL, a folder, or a name.
    pub fn parse(kind: AbilityKind, target: &str) -> Result<Self, TargetError> {
        if kind.is_folder() {
            return Ok(Self { kind, target: Target::Folder(address::folder(target)?), named: true });
        }
        if kind.is_name() {
            return Ok(Self { kind, target: Target::Name(address::name(kind, target)?), named: true });
        }
        let (host, ports) = address::host_and_ports(kind, target)?;
        let named = kind == AbilityKind::Listen || host.names_hosts();
        Ok(Self { kind, target: Target::Host { host, ports }, named })
    }

    /// Whether `host` may be asked for at `port`, for a use of kind `kind`. What a name resolves to must pass
    /// [`Ability::permits_resolved`] as well.
    pub fn permits_host(&self, kind: AbilityKind, host: &Host, port: u16) -> bool {
        let Target::Host { host: pattern, ports } = &self.target else { return false };
        let right_use = match kind {
            AbilityKind::Resolve => self.kind.looks_up(),
            kind => self.kind.includes(kind) && ports.contains(port),
        };
        right_use && pattern.matches(host) && (kind == AbilityKind::Listen || self.reaches(host.range()))
    }

    /// Whether `address`, which the permitted `host` stands for, may be connected to at `port`.
    pub fn permits_resolved(&self, kind: AbilityKind, host: &Host, address: IpAddr, port: u16) -> bool {
        let range = Range::of(address);
        let stands_for = match host {
            Host::Address(_) => host.is(&Host::Address(address)),
            // Only this machine's own name stands for this machine, and it for nothing else.
            Host::Name(_) => (host.range() == Range::Loopback) == (range == Range::Loopback),
        };
        self.permits_host(kind, host, port) && stands_for && self.reaches(range)
    }

    /// Whether the absolute path `path` lies in the folder.
    pub fn permits_path(&self, path: &str) -> bool {
        let Target::Folder(folder) = &self.target else { return false };
        address::folder(path).is_ok_and(|path| address::within(folder, &path))
    }

    /// The line of a grant that gives this ability, and no more.
    pub fn allowance(&self) -> Allowance {
        Allowance::new(self.kind, self.written())
    }

    /// The target as documents write it.
    fn written(&self) -> String {
        match &self.target {
            Target::Folder(text) | Target::Name(text) => text.clone(),
            Target::Host { host, .. } if self.kind == AbilityKind::Resolve => host.to_string(),
            Target::Host { host, ports } => {
                let host = host.to_string();
                if host.contains(':') { format!("[{host}]:{ports}") } else { format!("{host}:{ports}") }
            }
        }
    }

    /// Whether it is for the same as `other`; who named the host does not count.
    pub fn is_same(&self, other: &Self) -> bool {
        self.kind == other.kind && self.target == other.target
    }

    /// Whether places of this range are within its reach.
    fn reaches(&self, range: Range) -> bool {
        match range {
            Range::Never(_) => false,
            Range::Loopback => self.is_literal(),
            Range::Private => self.named,
            Range::Open => true,
        }
    }

    /// Whether it names one host, and one port where that counts.
    pub fn is_literal(&self) -> bool {
        matches!(&self.target, Target::Host { host: HostPattern::Exact(_), ports }
            if ports.is_single() || self.kind == AbilityKind::Resolve)
    }

    /// The range of the one host that it names, if it names one.
    pub fn range(&self) -> Range {
        match &self.target {
            Target::Host { host: HostPattern::Exact(host), .. } if self.kind != AbilityKind::Listen => host.range(),
            _ => Range::Open,
        }
    }

    /// What both reach, if anything; whether hosts are named is as in `self`.
    fn intersection(&self, other: &Self) -> Option<Self> {
        let kind = match (self.kind, other.kind) {
            (one, two) if one.includes(two) => two,
            (one, two) if two.includes(one) => one,
            _ => return None,
        };
        let target = match (&self.target, &other.target) {
            (Target::Folder(one), Target::Folder(two)) if address::within(one, two) => Target::Folder(two.clone()),
            (Target::Folder(one), Target::Folder(two)) if address::within(two, one) => Target::Folder(one.clone()),
            (Target::Name(one), Target::Name(two)) if one == two => Target::Name(one.clone()),
            (Target::Host { host: one, ports: some }, Target::Host { host: two, ports: others }) => {
                Target::Host { host: one.intersection(two)?, ports: some.intersection(others)? }
            }
            _ => return None,
        };
        Some(Self { kind, target, named: self.named })
    }
}

impl fmt::Display for Ability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.written())?;
        let wide = matches!(&self.target, Target::Host { host, .. } if !host.names_hosts());
        if !self.named && !wide { f.write_str(" (public addresses only)") } else { Ok(()) }
    }
}

#[cfg(test)]
mod against_obvious;
#[cfg(test)]
mod tests;
