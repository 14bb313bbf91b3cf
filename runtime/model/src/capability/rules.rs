//! The rules of one session, and what they say to a name and to an address. Every use of the network is judged by both.

use std::net::IpAddr;

use super::{Ability, AbilityKind, Host, HostPattern, Range, Target};

/// What a session may and may not reach: a denial wins over what is allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// What it may.
    pub allowed: Vec<Ability>,
    /// What it may not, whatever is allowed.
    pub denied: Vec<Ability>,
}

/// What the rules say, and which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// This ability allows it.
    Allowed(&'a Ability),
    /// This denial forbids it.
    Denied(&'a Ability),
    /// Nobody may, whatever is granted; the text says why.
    Never(&'static str),
    /// Nothing allows it.
    NotGranted,
}

impl From<Vec<Ability>> for Rules {
    fn from(allowed: Vec<Ability>) -> Self {
        Self { allowed, denied: Vec::new() }
    }
}

impl Rules {
    /// Whether `host` may be asked for at `port` (0 where there is none), for a use of this kind.
    pub fn name(&self, kind: AbilityKind, host: &Host, port: u16) -> Verdict<'_> {
        if kind != AbilityKind::Listen
            && let Range::Never(reason) = host.range()
        {
            return Verdict::Never(reason);
        }
        if let Some(denial) = self.denied.iter().find(|denial| denial.denies(kind, host, port)) {
            return Verdict::Denied(denial);
        }
        match self.allowed.iter().find(|ability| ability.permits_host(kind, host, port)) {
            Some(ability) => Verdict::Allowed(ability),
            None => Verdict::NotGranted,
        }
    }

    /// Whether `address` may be connected to at `port`, which `host` stands for and [`Rules::name`] allowed.
    pub fn address(&self, kind: AbilityKind, host: &Host, address: IpAddr, port: u16) -> Verdict<'_> {
        if let Range::Never(reason) = Range::of(address) {
            return Verdict::Never(reason);
        }
        let resolved = Host::Address(address);
        let denied = |denial: &&Ability| denial.denies(kind, host, port) || denial.denies(kind, &resolved, port);
        if let Some(denial) = self.denied.iter().find(denied) {
            return Verdict::Denied(denial);
        }
        match self.allowed.iter().find(|ability| ability.permits_resolved(kind, host, address, port)) {
            Some(ability) => Verdict::Allowed(ability),
            None => Verdict::NotGranted,
        }
    }
}

impl Ability {
    /// Whether a denial of this covers `host` at `port`. An address is covered in every spelling.
    fn denies(&self, kind: AbilityKind, host: &Host, port: u16) -> bool {
        let Target::Host { host: pattern, ports } = &self.target else { return false };
        self.kind.denies(kind)
            && (kind == AbilityKind::Resolve || ports.contains(port))
            && pattern.matches_any_spelling(host)
    }

    /// Whether a denial of this leaves nothing of `ability`; a folder in which a denied one lies is given up whole.
    pub(super) fn denies_all_of(&self, ability: &Self) -> bool {
        // Whoever may write may read.
        let reads = self.kind == AbilityKind::Read && ability.kind == AbilityKind::Write;
        if !(reads || self.kind.denies(ability.kind)) {
            return false;
        }
        match (&self.target, &ability.target) {
            (Target::Folder(denied), Target::Folder(folder)) => {
                super::address::within(denied, folder) || super::address::within(folder, denied)
            }
            (Target::Name(denied), Target::Name(name)) => denied == name,
            (Target::Host { host: denied, ports }, Target::Host { host, ports: others }) => {
                let hosts = match host {
                    HostPattern::Exact(host) => denied.matches_any_spelling(host),
                    pattern => denied.intersection(pattern).as_ref() == Some(pattern),
                };
                hosts && ports.intersection(others) == Some(*others)
            }
            _ => false,
        }
    }
}
