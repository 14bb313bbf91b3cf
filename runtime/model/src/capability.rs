//! The abilities that a component asks for, that an operator grants, and that a session gets: never more than both.

mod address;
mod template;

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use address::{Host, HostPattern, Ports, is_special};

use crate::component::Capability;

/// Why a target does not name anything that could be granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// A kind that this version does not know.
    #[error("`{0}` is not a capability of this version; it has tcp, http, resolve, listen, read and write")]
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
}

/// What an ability is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AbilityKind {
    /// To connect by TCP.
    Tcp,
    /// To send HTTP requests.
    Http,
    /// To look a name up.
    Resolve,
    /// To listen on a TCP port.
    Listen,
    /// To read files.
    Read,
    /// To write files.
    Write,
}

impl AbilityKind {
    /// The kind called `name` in descriptions and grants.
    pub fn parse(name: &str) -> Result<Self, TargetError> {
        Ok(match name {
            "tcp" => Self::Tcp,
            "http" => Self::Http,
            "resolve" => Self::Resolve,
            "listen" => Self::Listen,
            "read" => Self::Read,
            "write" => Self::Write,
            _ => return Err(TargetError::UnknownKind(name.to_owned())),
        })
    }

    /// Its name in descriptions and grants.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Http => "http",
            Self::Resolve => "resolve",
            Self::Listen => "listen",
            Self::Read => "read",
            Self::Write => "write",
        }
    }

    fn is_folder(self) -> bool {
        matches!(self, Self::Read | Self::Write)
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
}

/// Something a session may do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ability {
    /// What it is for.
    pub kind: AbilityKind,
    /// What it reaches.
    pub target: Target,
}

impl Ability {
    /// An ability of a literal target (no templates): `host:port`, `host:from-to`, `*.example.com:443`, `*:443`, a URL, or
    /// a folder.
    pub fn parse(kind: AbilityKind, target: &str) -> Result<Self, TargetError> {
        let target = if kind.is_folder() {
            Target::Folder(address::folder(target)?)
        } else {
            let (host, ports) = address::host_and_ports(kind, target)?;
            Target::Host { host, ports }
        };
        Ok(Self { kind, target })
    }

    /// Whether `host` (a name, or an address in any spelling) may be asked for at `port`. What the name resolves to must
    /// pass [`Ability::permits_resolved`] as well.
    pub fn permits_host(&self, host: &str, port: u16) -> bool {
        let Target::Host { host: pattern, ports } = &self.target else { return false };
        let Ok(host) = Host::parse(host) else { return false };
        ports.contains(port) && pattern.matches(&host) && self.literal_if_special(&host)
    }

    /// Whether the name `host` may be looked up.
    pub fn permits_name(&self, host: &str) -> bool {
        let Target::Host { host: pattern, .. } = &self.target else { return false };
        let Ok(host) = Host::parse(host) else { return false };
        matches!(self.kind, AbilityKind::Resolve | AbilityKind::Tcp | AbilityKind::Http)
            && pattern.matches(&host)
            && self.literal_if_special(&host)
    }

    /// Whether `address`, which the permitted `host` stands for, may be connected to at `port`. A name that resolves to this
    /// machine or its link is refused unless the ability names such a place literally.
    pub fn permits_resolved(&self, host: &str, address: IpAddr, port: u16) -> bool {
        if !self.permits_host(host, port) {
            return false;
        }
        let Target::Host { host: HostPattern::Exact(named), .. } = &self.target else {
            return !is_special(address);
        };
        match named {
            Host::Address(granted) => *granted == address.to_canonical(),
            Host::Name(_) if named.is_special() => address.to_canonical().is_loopback(),
            Host::Name(_) => !is_special(address),
        }
    }

    /// Whether the absolute path `path` lies in the folder.
    pub fn permits_path(&self, path: &str) -> bool {
        let Target::Folder(folder) = &self.target else { return false };
        address::folder(path).is_ok_and(|path| address::within(folder, &path))
    }

    /// The line of a grant that gives this ability, and no more.
    pub fn allowance(&self) -> Allowance {
        let target = match &self.target {
            // An entry says the port, all of them too; only a name to look up has none.
            Target::Host { host, ports } if ports.is_any() && self.kind != AbilityKind::Resolve => match host {
                HostPattern::Exact(Host::Address(IpAddr::V6(address))) => format!("[{address}]:{ports}"),
                host => format!("{host}:{ports}"),
            },
            target => target.to_string(),
        };
        Allowance::new(self.kind, target)
    }

    /// What both abilities reach, if anything.
    fn intersection(&self, other: &Self) -> Option<Self> {
        if self.kind != other.kind {
            return None;
        }
        let target = match (&self.target, &other.target) {
            (Target::Folder(one), Target::Folder(two)) if address::within(one, two) => Target::Folder(two.clone()),
            (Target::Folder(one), Target::Folder(two)) if address::within(two, one) => Target::Folder(one.clone()),
            (Target::Host { host: one, ports: some }, Target::Host { host: two, ports: others }) => {
                Target::Host { host: one.intersection(two)?, ports: some.intersection(others)? }
            }
            _ => return None,
        };
        Some(Self { kind: self.kind, target })
    }

    /// A special host is reached only by an ability that names it, and one port, literally.
    fn literal_if_special(&self, host: &Host) -> bool {
        let Target::Host { host: pattern, ports } = &self.target else { return false };
        !host.is_special()
            || (matches!(pattern, HostPattern::Exact(_)) && (ports.is_single() || self.kind == AbilityKind::Resolve))
    }

    fn is_special(&self) -> bool {
        matches!(&self.target, Target::Host { host: HostPattern::Exact(host), .. } if host.is_special())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host { host: HostPattern::Exact(Host::Address(IpAddr::V6(address))), ports } if !ports.is_any() => {
                write!(f, "[{address}]:{ports}")
            }
            Self::Host { host, ports } if ports.is_any() => write!(f, "{host}"),
            Self::Host { host, ports } => write!(f, "{host}:{ports}"),
            Self::Folder(folder) => f.write_str(folder),
        }
    }
}

impl fmt::Display for Ability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.target)
    }
}

/// One entry of a grant, as documents write it: `{tcp: "127.0.0.1:1883"}`, `{tcp: "*.example.com:1883"}`,
/// `{tcp: "{broker}"}` (whatever the parameter says), `{read: "/folder"}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Allowance {
    /// To connect by TCP.
    Tcp(String),
    /// To send HTTP requests.
    Http(String),
    /// To look names up.
    Resolve(String),
    /// To listen on a TCP port.
    Listen(String),
    /// To read files below a folder.
    Read(String),
    /// To write files below a folder.
    Write(String),
}

impl Allowance {
    /// An entry of this kind and target.
    pub fn new(kind: AbilityKind, target: String) -> Self {
        match kind {
            AbilityKind::Tcp => Self::Tcp(target),
            AbilityKind::Http => Self::Http(target),
            AbilityKind::Resolve => Self::Resolve(target),
            AbilityKind::Listen => Self::Listen(target),
            AbilityKind::Read => Self::Read(target),
            AbilityKind::Write => Self::Write(target),
        }
    }

    /// What it is for.
    pub fn kind(&self) -> AbilityKind {
        match self {
            Self::Tcp(_) => AbilityKind::Tcp,
            Self::Http(_) => AbilityKind::Http,
            Self::Resolve(_) => AbilityKind::Resolve,
            Self::Listen(_) => AbilityKind::Listen,
            Self::Read(_) => AbilityKind::Read,
            Self::Write(_) => AbilityKind::Write,
        }
    }

    /// What it names, templates included.
    pub fn target(&self) -> &str {
        match self {
            Self::Tcp(target)
            | Self::Http(target)
            | Self::Resolve(target)
            | Self::Listen(target)
            | Self::Read(target)
            | Self::Write(target) => target,
        }
    }

    /// Whether it leaves something to the parameters.
    pub fn is_template(&self) -> bool {
        self.target().contains('{')
    }

    /// Checks how it is written, as far as that can be known without parameters.
    pub fn check(&self) -> Result<(), TargetError> {
        if self.is_template() {
            return template::check(self.target());
        }
        Ability::parse(self.kind(), self.target()).map(|_| ())
    }
}

impl fmt::Display for Allowance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind(), self.target())
    }
}

/// What a capability asks for, once its templates are filled in: one ability for each value where a parameter is a list.
///
/// What comes from a parameter is one literal host and port: never a wildcard, never a range.
pub fn fill(
    capability: &Capability,
    static_params: &Value,
    stream_params: &Value,
) -> Result<Vec<Ability>, TargetError> {
    fill_target(AbilityKind::parse(&capability.kind)?, &capability.target, static_params, stream_params)
}

fn fill_target(
    kind: AbilityKind,
    target: &str,
    static_params: &Value,
    stream_params: &Value,
) -> Result<Vec<Ability>, TargetError> {
    if !target.contains('{') {
        return Ok(vec![Ability::parse(kind, target)?]);
    }
    let mut abilities = Vec::new();
    for filled in template::fill(target, static_params, stream_params)? {
        let ability = Ability::parse(kind, &filled)?;
        if let Target::Host { host, ports } = &ability.target
            && !(matches!(host, HostPattern::Exact(_)) && (ports.is_single() || kind == AbilityKind::Resolve))
        {
            return Err(TargetError::Address {
                target: filled,
                detail: "a parameter may name one host and one port only",
            });
        }
        abilities.push(ability);
    }
    Ok(abilities)
}

/// The abilities of a session: what is asked for, filled in with its parameters, as far as it is granted.
///
/// Loopback and link-local places are given only by an entry that names them, with the port, literally. Capabilities of an
/// unknown kind, or whose parameters are not set, ask for nothing; see [`unmet`].
pub fn effective(
    asked: &[Capability],
    granted: &[Allowance],
    static_params: &Value,
    stream_params: &Value,
) -> Vec<Ability> {
    let granted: Vec<Ability> = granted
        .iter()
        .flat_map(|entry| {
            let filled = fill_target(entry.kind(), entry.target(), static_params, stream_params).unwrap_or_default();
            filled.into_iter().filter(|ability| !(entry.is_template() && ability.is_special()))
        })
        .collect();
    let mut abilities = Vec::new();
    for ability in asked.iter().flat_map(|asked| fill(asked, static_params, stream_params).unwrap_or_default()) {
        for given in granted.iter().filter_map(|granted| granted_part(granted, &ability)) {
            if !abilities.contains(&given) {
                abilities.push(given);
            }
        }
    }
    abilities
}

fn granted_part(granted: &Ability, asked: &Ability) -> Option<Ability> {
    let part = granted.intersection(asked)?;
    // A wildcard or a range in the grant never opens a special place, however exactly it is asked for.
    let literal = matches!(&granted.target, Target::Host { host: HostPattern::Exact(_), ports }
        if ports.is_single() || part.kind == AbilityKind::Resolve);
    (literal || !part.is_special()).then_some(part)
}

/// The abilities that are asked for with these parameters and that `granted` does not give in full.
pub fn unmet(
    asked: &[Capability],
    granted: &[Allowance],
    static_params: &Value,
    stream_params: &Value,
) -> Vec<Ability> {
    let given = effective(asked, granted, static_params, stream_params);
    asked
        .iter()
        .flat_map(|asked| fill(asked, static_params, stream_params).unwrap_or_default())
        .filter(|ability| !given.contains(ability))
        .collect()
}

#[cfg(test)]
mod tests;
