//! What is asked, what is granted, and what comes of it.

use serde_json::json;

use super::*;

fn ask(kind: &str, target: &str) -> Capability {
    Capability { kind: kind.into(), target: target.into(), reason: String::new() }
}

/// The abilities that come of one asked and one granted `tcp` target.
fn check(asked: &str, granted: &str, params: Value) -> Vec<String> {
    let granted = [Allowance::Tcp(granted.into())];
    let abilities = effective(&[ask("tcp", asked)], &granted, &json!({"site": "north.example.com"}), &params);
    abilities.iter().map(ToString::to_string).collect()
}

#[test]
fn what_is_asked_for_and_granted_is_given() {
    let broker = || json!({"broker": "mqtt://user:p@ss:w@broker.example.com/path?x=1"});
    assert_eq!(check("{broker}", "broker.example.com:1883", broker()), ["tcp: broker.example.com:1883"]);
    assert_eq!(check("{broker}", "*.example.com:1883", broker()), ["tcp: broker.example.com:1883"]);
    assert_eq!(check("{broker}", "*.Example.COM.:1000-2000", broker()), ["tcp: broker.example.com:1883"]);
    assert_eq!(check("{broker}", "*:*", broker()), ["tcp: broker.example.com:1883"]);
    assert_eq!(check("{broker}", "{broker}", broker()), ["tcp: broker.example.com:1883"]);
    assert_eq!(check("{static.site}:80", "*.example.com:80", json!({})), ["tcp: north.example.com:80"]);
    assert_eq!(check("{a.b}:{a.c}", "h.example:9", json!({"a": {"b": "h.example", "c": 9}})), ["tcp: h.example:9"]);
    let two = json!({"brokers": ["a.example.com:1", "b.example.com:2"]});
    assert_eq!(check("{brokers}", "{brokers}", two), ["tcp: a.example.com:1", "tcp: b.example.com:2"]);
}

#[test]
fn what_is_not_granted_is_not_given() {
    let broker = || json!({"broker": "mqtt://broker.example.com"});
    for granted in [
        "example.com:1883",
        "broker.example.com:8883",
        "*.broker.example.com:1883",
        "*.ample.com:1883",
        "broker.example.com:1884-1900",
        "192.0.2.1:1883",
        "{other}",
    ] {
        assert_eq!(check("{broker}", granted, broker()), [""; 0], "{granted}");
    }
    assert_eq!(check("{missing}", "*:*", broker()), [""; 0]);
    let http =
        effective(&[ask("http", "a.example:80")], &[Allowance::Tcp("a.example:80".into())], &json!({}), &json!({}));
    assert_eq!(http, []);
}

#[test]
fn the_narrower_of_what_is_asked_and_granted_is_given() {
    assert_eq!(check("*.example.com:443", "*:*", json!({})), ["tcp: *.example.com:443"]);
    assert_eq!(check("*:*", "*.example.com:443", json!({})), ["tcp: *.example.com:443"]);
    assert_eq!(check("*.example.com:1-10", "*.a.example.com:5-20", json!({})), ["tcp: *.a.example.com:5-10"]);
}

#[test]
fn loopback_is_given_only_where_it_is_named_with_its_port() {
    for (asked, granted) in [
        ("127.0.0.1:1883", "127.0.0.1:1883"),
        ("localhost:1883", "LOCALHOST:1883"),
        ("[::1]:1883", "[0:0:0:0:0:0:0:1]:1883"),
        ("[::ffff:127.0.0.1]:1883", "127.0.0.1:1883"),
        ("mqtt://127.0.0.1", "127.0.0.1:1883"),
    ] {
        assert_eq!(check("{b}", granted, json!({"b": asked})).len(), 1, "{asked} {granted}");
    }
    for (asked, granted) in [
        ("127.0.0.1:1883", "{b}"),
        ("localhost:1883", "{b}"),
        ("[::1]:1883", "{b}"),
        ("127.0.0.1:1883", "*:1883"),
        ("127.0.0.1:1883", "*:*"),
        ("127.0.0.1:1883", "127.0.0.1:*"),
        ("127.0.0.1:1883", "127.0.0.1:1000-2000"),
        ("x.localhost:1883", "*.localhost:1883"),
        ("127.0.0.2:1883", "127.0.0.1:1883"),
        ("localhost:1883", "127.0.0.1:1883"),
        ("[::ffff:127.0.0.1]:1883", "*:1883"),
        ("169.254.169.254:80", "*:80"),
        ("169.254.169.254:80", "{b}"),
        ("0.0.0.0:80", "*:80"),
        ("[64:ff9b::7f00:1]:80", "*:80"),
    ] {
        assert_eq!(check("{b}", granted, json!({"b": asked})), [""; 0], "{asked} {granted}");
    }
    assert_eq!(check("*:*", "127.0.0.1:1883", json!({})), ["tcp: 127.0.0.1:1883"]);
}

#[test]
fn a_name_that_resolves_to_this_machine_is_refused() {
    let ability = |target| Ability::parse(AbilityKind::Tcp, target).unwrap();
    let named = ability("evil.example.com:80");
    assert!(named.permits_host("EVIL.example.com.", 80));
    assert!(!named.permits_host("evil.example.com", 81));
    assert!(named.permits_resolved("evil.example.com", [192, 0, 2, 1].into(), 80));
    assert!(!named.permits_resolved("evil.example.com", [127, 0, 0, 1].into(), 80));
    assert!(!named.permits_resolved("evil.example.com", [169, 254, 169, 254].into(), 80));
    assert!(!named.permits_resolved("evil.example.com", "::ffff:127.0.0.1".parse().unwrap(), 80));
    assert!(!ability("*:80").permits_resolved("evil.example.com", "::1".parse().unwrap(), 80));
    assert!(!ability("*:80").permits_host("localhost", 80));
    let local = ability("localhost:80");
    assert!(local.permits_resolved("localhost", "::1".parse().unwrap(), 80));
    assert!(!local.permits_resolved("localhost", [192, 0, 2, 1].into(), 80));
    let literal = ability("[::1]:80");
    assert!(literal.permits_resolved("0:0::1", "::1".parse().unwrap(), 80));
    assert!(!literal.permits_host("127.0.0.1", 80));
}

#[test]
fn addresses_in_strange_spellings_are_refused() {
    for target in [
        "127.1:80",
        "0x7f000001:80",
        "2130706433:80",
        "1.2.3.4.5:80",
        "::1:80x",
        "a b:80",
        "[::1:80",
        "[fe80::1%eth0]:80",
    ] {
        assert!(Ability::parse(AbilityKind::Tcp, target).is_err(), "{target}");
    }
    for target in [
        "example.com",
        "example.com:",
        "example.com:99999",
        "example.com:9-1",
        "a*.example.com:1",
        "user@host:1",
        ":80",
    ] {
        assert!(Ability::parse(AbilityKind::Tcp, target).is_err(), "{target}");
    }
    assert!(Ability::parse(AbilityKind::Resolve, "example.com").is_ok());
    let message = Ability::parse(AbilityKind::Tcp, "x://user:secret@host").unwrap_err().to_string();
    assert!(!message.contains("secret"), "{message}");
}

#[test]
fn a_parameter_cannot_widen_what_is_meant() {
    for (target, value) in [
        ("{b}", json!("*:80")),
        ("{b}", json!("host:1-65535")),
        ("{b}:80", json!("evil.example:81/")),
        ("{b}:80", json!("user@evil.example")),
        ("mqtt://{b}:80", json!("evil.example:81#")),
        ("host:{b}", json!("1-2")),
        ("{b}", json!({"a": 1})),
        ("{b}", json!("")),
        ("{b", json!("host:1")),
        ("{}", json!("host:1")),
    ] {
        assert!(fill(&ask("tcp", target), &json!({}), &json!({"b": value})).is_err(), "{target} {value}");
    }
    assert_eq!(
        fill(&ask("tcp", "{b}:80"), &json!({}), &json!({"b": "2001:DB8::1"})).unwrap()[0].to_string(),
        "tcp: [2001:db8::1]:80"
    );
    assert_eq!(
        fill(&ask("tcp", "{b}:80"), &json!({}), &json!({"b": "my-host.example"})).unwrap()[0].to_string(),
        "tcp: my-host.example:80"
    );
}

#[test]
fn the_default_port_is_that_of_the_scheme() {
    for (target, port) in [
        ("mqtt://h.example", 1883),
        ("mqtts://h.example", 8883),
        ("http://h.example/a", 80),
        ("HTTPS://h.example", 443),
        ("nats://h.example", 4222),
        ("mqtt://h.example:99", 99),
    ] {
        let ability = Ability::parse(AbilityKind::Tcp, target).unwrap();
        assert!(ability.permits_host("h.example", port), "{target}");
    }
}

#[test]
fn folders_are_given_as_far_as_granted() {
    let check = |asked: &str, granted: &str| {
        let abilities = effective(
            &[ask("read", "{path}")],
            &[Allowance::Read(granted.into())],
            &json!({}),
            &json!({"path": asked}),
        );
        abilities.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(check("/data/in/", "/data"), ["read: /data/in"]);
    assert_eq!(check("/data", "/data/in"), ["read: /data/in"]);
    assert_eq!(check("/data", "/"), ["read: /data"]);
    assert_eq!(check("/database", "/data"), [""; 0]);
    assert_eq!(check("/data/../etc", "/data"), [""; 0]);
    assert_eq!(check("data", "/data"), [""; 0]);
    let ability = Ability::parse(AbilityKind::Read, "/data").unwrap();
    assert!(ability.permits_path("/data/x/../y") == ability.permits_path("/etc"));
    assert!(ability.permits_path("/data/x"));
}

#[test]
fn a_grant_is_written_as_one_pair() {
    let entry: Allowance = serde_json::from_value(json!({"tcp": "127.0.0.1:1883"})).unwrap();
    assert_eq!(entry, Allowance::Tcp("127.0.0.1:1883".into()));
    assert_eq!(serde_json::to_value(&entry).unwrap(), json!({"tcp": "127.0.0.1:1883"}));
    assert!(serde_json::from_value::<Allowance>(json!({"udp": "x"})).is_err());
    entry.check().unwrap();
    assert!(Allowance::Tcp("x".into()).check().is_err());
    assert!(Allowance::Tcp("{x".into()).check().is_err());
    let ability = Ability::parse(AbilityKind::Tcp, "[::1]:80").unwrap();
    assert_eq!(ability.allowance(), Allowance::Tcp("[::1]:80".into()));
}

#[test]
fn the_entry_that_gives_an_ability_is_one_that_applies() {
    for (kind, target, entry) in [
        (AbilityKind::Tcp, "*:*", "*:*"),
        (AbilityKind::Http, "*.example:*", "*.example:*"),
        (AbilityKind::Tcp, "[2001:db8::1]:*", "[2001:db8::1]:*"),
        (AbilityKind::Tcp, "a.example:1-9", "a.example:1-9"),
        (AbilityKind::Resolve, "*", "*"),
        (AbilityKind::Read, "/data", "/data"),
    ] {
        let ability = Ability::parse(kind, target).unwrap();
        let allowance = ability.allowance();
        assert_eq!(allowance.target(), entry);
        allowance.check().unwrap();
        assert_eq!(Ability::parse(kind, allowance.target()).unwrap(), ability);
    }
}

#[test]
fn what_is_missing_is_told() {
    let asked = [ask("tcp", "{broker}"), ask("resolve", "a.example"), ask("telepathy", "x")];
    let params = json!({"broker": "127.0.0.1:1883"});
    let missing = unmet(&asked, &[Allowance::Resolve("*".into())], &json!({}), &params);
    assert_eq!(missing.iter().map(ToString::to_string).collect::<Vec<_>>(), ["tcp: 127.0.0.1:1883"]);
}
