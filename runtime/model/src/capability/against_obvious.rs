//! The matcher against a slow, obvious one, which spells out in single steps what [`super::given`] and [`Rules`] promise.

use std::net::IpAddr;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::component::Capability;

/// Everything that is asked for by name, with the addresses that names may turn out to have.
const NAMES: &[&str] = &[
    "example",
    "a.example",
    "b.a.example",
    "localhost",
    "10.0.0.1",
    "10.9.0.1",
    "8.8.8.8",
    "127.0.0.1",
    "169.254.169.254",
    "fd00::1",
];
const ADDRESSES: &[&str] =
    &["10.0.0.1", "10.9.0.1", "8.8.8.8", "127.0.0.1", "169.254.169.254", "fd00::1", "2002:a00:1::", "::1"];
const PATTERNS: &[&str] = &[
    "*",
    "*.example",
    "*.a.example",
    "example",
    "a.example",
    "b.a.example",
    "localhost",
    "10.0.0.0/16",
    "10.0.0.0/8",
    "10.0.0.1",
    "8.8.8.8",
    "127.0.0.1",
    "[fd00::/8]",
    "[fd00::1]",
];
const PORTS: &[(&str, u16, u16)] = &[("1", 1, 1), ("2", 2, 2), ("1-2", 1, 2), ("*", 0, u16::MAX)];

#[derive(Clone, Debug)]
struct Entry {
    kind: AbilityKind,
    pattern: &'static str,
    ports: (&'static str, u16, u16),
}

fn entry() -> impl Strategy<Value = Entry> {
    let kinds = prop::sample::select(vec![AbilityKind::Tcp, AbilityKind::Tls, AbilityKind::Http, AbilityKind::Udp]);
    (kinds, prop::sample::select(PATTERNS), prop::sample::select(PORTS)).prop_map(|(kind, pattern, ports)| Entry {
        kind,
        pattern,
        ports,
    })
}

impl Entry {
    fn text(&self) -> String {
        format!("{}:{}", self.pattern, self.ports.0)
    }

    /// Whether it is written for this name; addresses stand for themselves and for the IPv4 address inside.
    fn covers(&self, name: &str) -> bool {
        match self.pattern {
            "*" => true,
            "*.example" => name.ends_with(".example"),
            "*.a.example" => name.ends_with(".a.example"),
            "10.0.0.0/16" => name.starts_with("10.0.") || name == "2002:a00:1::",
            "10.0.0.0/8" => name.starts_with("10.") || name == "2002:a00:1::",
            "[fd00::/8]" => name.starts_with("fd"),
            "[fd00::1]" => name == "fd00::1",
            "10.0.0.1" => name == "10.0.0.1" || name == "2002:a00:1::",
            exact => name == exact,
        }
    }

    fn has_port(&self, port: u16) -> bool {
        self.ports.1 <= port && port <= self.ports.2
    }

    fn is_one_host(&self) -> bool {
        !self.pattern.contains('*') && !self.pattern.contains('/')
    }
}

fn is_loopback(place: &str) -> bool {
    ["127.0.0.1", "::1", "localhost"].contains(&place)
}

fn is_private(place: &str) -> bool {
    place.starts_with("10.") || place.starts_with("fd") || place == "2002:a00:1::"
}

fn is_never(place: &str) -> bool {
    place == "169.254.169.254"
}

fn is_name(place: &str) -> bool {
    place.parse::<IpAddr>().is_err()
}

/// Whether `used` may be done where `kind` is allowed.
fn serves(kind: AbilityKind, used: AbilityKind) -> bool {
    kind == used || (kind == AbilityKind::Tcp && used == AbilityKind::Tls)
}

fn allowed(asked: &Entry, granted: &Entry, used: AbilityKind, name: &str, address: &str, port: u16) -> bool {
    let both = |test: &dyn Fn(&Entry) -> bool| test(asked) && test(granted);
    let one_host_and_port = |entry: &Entry| entry.is_one_host() && entry.ports.1 == entry.ports.2;
    // Who asks for a network by the name that is in the other's pattern must name it the same way: by name or by address.
    both(&|entry| serves(entry.kind, used) && entry.covers(name) && entry.has_port(port))
        // An address is itself; only this machine's name stands for this machine.
        && if is_name(name) { is_loopback(name) == is_loopback(address) } else { name == address || (name == "10.0.0.1" && address == "2002:a00:1::") }
        && [name, address].iter().all(|place| !is_never(place))
        && (![name, address].iter().any(|place| is_loopback(place)) || (one_host_and_port(granted) ))
        && (![name, address].iter().any(|place| is_private(place)) || !granted.pattern.contains('*'))
}

fn denied(entry: &Entry, used: AbilityKind, name: &str, address: &str, port: u16) -> bool {
    let kind = serves(entry.kind, used) || (entry.kind == AbilityKind::Tcp && used == AbilityKind::Http);
    kind && entry.has_port(port) && (entry.covers(name) || entry.covers(address))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn both_matchers_agree(
        asked in prop::collection::vec(entry(), 1..4),
        granted in prop::collection::vec(entry(), 1..4),
        denials in prop::collection::vec(entry(), 0..3),
    ) {
        let capabilities: Vec<_> = asked
            .iter()
            .map(|entry| Capability { kind: entry.kind.to_string(), target: entry.text(), reason: String::new() })
            .collect();
        let entries = |all: &[Entry]| all.iter().map(|entry| Allowance::new(entry.kind, entry.text())).collect::<Vec<_>>();
        let rules = given(&capabilities, &entries(&granted), &entries(&denials), &json!({}), &json!({})).rules;
        for used in [AbilityKind::Tcp, AbilityKind::Tls, AbilityKind::Http, AbilityKind::Udp] {
            for (name, address) in NAMES.iter().flat_map(|name| ADDRESSES.iter().map(move |address| (*name, *address))) {
                for port in [1, 2, 3] {
                    let host = Host::parse(name).unwrap();
                    let passes = matches!(rules.name(used, &host, port), Verdict::Allowed(_))
                        && matches!(rules.address(used, &host, address.parse().unwrap(), port), Verdict::Allowed(_));
                    let expected = asked.iter().any(|asked| {
                        granted.iter().any(|granted| allowed(asked, granted, used, name, address, port))
                    }) && !denials.iter().any(|entry| denied(entry, used, name, address, port));
                    prop_assert_eq!(passes, expected, "{} {} {} {}; in force: {:?}", used, name, address, port, rules);
                }
            }
        }
    }
}
