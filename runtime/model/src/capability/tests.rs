//! What is asked, what is granted, and what comes of it.

use serde_json::{Value, json};

use super::*;
use crate::component::Capability;

fn ask(kind: &str, target: &str) -> Capability {
    Capability { kind: kind.into(), target: target.into(), reason: String::new() }
}

fn effective(asked: &[Capability], granted: &[Allowance], static_params: &Value, params: &Value) -> Vec<Ability> {
    given(asked, granted, &[], static_params, params).rules.allowed
}

fn tcp(target: &str) -> Allowance {
    Allowance::new(AbilityKind::Tcp, target)
}

fn host(text: &str) -> Host {
    Host::parse(text).unwrap()
}

fn shown(abilities: &[Ability]) -> Vec<String> {
    abilities.iter().map(ToString::to_string).collect()
}

/// The abilities that come of one asked and one granted `tcp` target.
fn check(asked: &str, granted: &str, params: Value) -> Vec<String> {
    let granted = [tcp(granted)];
    shown(&effective(&[ask("tcp", asked)], &granted, &json!({"site": "north.example.com"}), &params))
}

#[test]
fn what_is_asked_for_and_granted_is_given() {
    let broker = || json!({"broker": "mqtt://user:p@ss:w@broker.example.com/path?x=1"});
    assert_eq!(check("{broker}", "broker.example.com:1883", broker()), ["tcp: broker.example.com:1883"]);
    assert_eq!(
        check("{broker}", "*.example.com:1883", broker()),
        ["tcp: broker.example.com:1883 (public addresses only)"]
    );
    assert_eq!(
        check("{broker}", "*.Example.COM.:1000-2000", broker()),
        ["tcp: broker.example.com:1883 (public addresses only)"]
    );
    assert_eq!(check("{broker}", "*:*", broker()), ["tcp: broker.example.com:1883 (public addresses only)"]);
    assert_eq!(check("{broker}", "{broker}", broker()), ["tcp: broker.example.com:1883"]);
    assert_eq!(check("{static.site}:80", "north.example.com:80", json!({})), ["tcp: north.example.com:80"]);
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
    let http = effective(&[ask("http", "a.example:80")], &[tcp("a.example:80")], &json!({}), &json!({}));
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
    let use_of = |ability: &Ability, name: &str, address: &str| {
        ability.permits_resolved(AbilityKind::Tcp, &host(name), address.parse().unwrap(), 80)
    };
    let asked = |ability: &Ability, name: &str, port| ability.permits_host(AbilityKind::Tcp, &host(name), port);
    let named = ability("evil.example.com:80");
    assert!(asked(&named, "EVIL.example.com.", 80));
    assert!(!asked(&named, "evil.example.com", 81));
    assert!(use_of(&named, "evil.example.com", "192.0.2.1"));
    assert!(use_of(&named, "evil.example.com", "10.0.0.1"));
    assert!(!use_of(&named, "evil.example.com", "127.0.0.1"));
    assert!(!use_of(&named, "evil.example.com", "169.254.169.254"));
    assert!(!use_of(&named, "evil.example.com", "::ffff:127.0.0.1"));
    assert!(!use_of(&named, "evil.example.com", "64:ff9b::7f00:1"));
    for wild in ["*:80", "*.example.com:80"] {
        assert!(use_of(&ability(wild), "evil.example.com", "192.0.2.1"));
        for inside in ["::1", "10.0.0.1", "fd12::1", "2002:a00:1::"] {
            assert!(!use_of(&ability(wild), "evil.example.com", inside), "{inside}");
        }
    }
    assert!(!asked(&ability("*:80"), "localhost", 80));
    let local = ability("localhost:80");
    assert!(use_of(&local, "localhost", "::1"));
    assert!(!use_of(&local, "localhost", "192.0.2.1"));
    let literal = ability("[::1]:80");
    assert!(use_of(&literal, "0:0::1", "::1"));
    assert!(!use_of(&literal, "0:0::1", "::2:1"));
    assert!(!asked(&literal, "127.0.0.1", 80));
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
        assert!(ability.permits_host(AbilityKind::Tcp, &host("h.example"), port), "{target}");
    }
}

#[test]
fn folders_are_given_as_far_as_granted() {
    let check = |asked: &str, granted: &str| {
        let abilities = effective(
            &[ask("read", "{path}")],
            &[Allowance::new(AbilityKind::Read, granted)],
            &json!({}),
            &json!({"path": asked}),
        );
        shown(&abilities)
    };
    assert_eq!(check("/data/in/", "/data"), ["read: /data/in"]);
    assert_eq!(check("/data", "/data/in"), ["read: /data/in"]);
    assert_eq!(check("/data", "/"), ["read: /data"]);
    assert_eq!(check("/", "/"), [""; 0]);
    assert_eq!(check("/proc/self", "/"), [""; 0]);
    assert_eq!(check("/database", "/data"), [""; 0]);
    assert_eq!(check("/data/../etc", "/data"), [""; 0]);
    assert_eq!(check("data", "/data"), [""; 0]);
    let ability = Ability::parse(AbilityKind::Read, "/data").unwrap();
    assert!(ability.permits_path("/data/x/../y") == ability.permits_path("/etc"));
    assert!(ability.permits_path("/data/x"));
}

#[test]
fn a_grant_is_written_as_one_pair() {
    for kind in AbilityKind::ALL {
        let entry: Allowance = serde_json::from_value(json!({kind.as_str(): "x"})).unwrap();
        assert_eq!(entry, Allowance::new(kind, "x"));
        assert_eq!(serde_json::to_value(&entry).unwrap(), json!({kind.as_str(): "x"}));
        assert_eq!(format!("{kind}=x").parse(), Ok(entry));
    }
    for wrong in
        [json!({"telepathy": "x"}), json!({}), json!({"tcp": "a:1", "udp": "a:1"}), json!({"tcp": 1}), json!("tcp")]
    {
        assert!(serde_json::from_value::<Allowance>(wrong.clone()).is_err(), "{wrong}");
    }
    tcp("127.0.0.1:1883").check().unwrap();
    assert!(tcp("x").check().is_err());
    assert!(tcp("{x").check().is_err());
    assert!(tcp("{x}").check().is_ok() && tcp("{x}").check_denial().is_err());
}

#[test]
fn what_is_shown_can_be_written() {
    for (kind, target) in [
        (AbilityKind::Tcp, "[::1]:80"),
        (AbilityKind::Tcp, "h.example:*"),
        (AbilityKind::Tcp, "*.example:1-9"),
        (AbilityKind::Tcp, "*:*"),
        (AbilityKind::Http, "*.example:*"),
        (AbilityKind::Tcp, "[2001:db8::1]:*"),
        (AbilityKind::Udp, "10.0.0.0/8:53"),
        (AbilityKind::Udp, "[fd00::/8]:*"),
        (AbilityKind::Resolve, "h.example"),
        (AbilityKind::Resolve, "*"),
        (AbilityKind::Listen, "*:8080"),
        (AbilityKind::Read, "/data"),
        (AbilityKind::Env, "HOME"),
        (AbilityKind::Secret, "broker-1.key"),
    ] {
        let ability = Ability::parse(kind, target).unwrap();
        assert_eq!(ability.allowance(), Allowance::new(kind, target));
        assert_eq!(ability.to_string(), format!("{kind}: {target}"));
    }
}

#[test]
fn networks_hold_addresses_and_no_names() {
    assert_eq!(check("10.1.2.3:80", "10.0.0.0/8:80", json!({})), ["tcp: 10.1.2.3:80"]);
    assert_eq!(check("[::ffff:10.1.2.3]:80", "10.0.0.0/8:80", json!({})), ["tcp: 10.1.2.3:80"]);
    assert_eq!(check("10.1.0.0/16:80", "10.0.0.0/8:1-99", json!({})), ["tcp: 10.1.0.0/16:80"]);
    assert_eq!(check("*:*", "[fd00::/8]:80", json!({})), ["tcp: [fd00::/8]:80"]);
    for (asked, granted) in [
        ("11.1.2.3:80", "10.0.0.0/8:80"),
        ("plc.example:80", "10.0.0.0/8:80"),
        ("127.0.0.1:80", "127.0.0.0/8:80"),
        ("{b}", "{b}"),
    ] {
        assert_eq!(check(asked, granted, json!({"b": "10.0.0.0/8:80"})), [""; 0], "{asked} {granted}");
    }
    for wrong in
        ["10.0.0.1/8:80", "0.0.0.0/0:80", "10.0.0.0/33:80", "10.0.0.0/x:80", "a.example/8:80", "[fd00::1/8]:80"]
    {
        assert!(tcp(wrong).check().is_err(), "{wrong}");
    }
}

#[test]
fn private_addresses_need_a_grant_that_names_the_host() {
    for granted in ["10.1.2.3:80", "10.0.0.0/8:80", "{b}", "10.1.2.3:*"] {
        assert_eq!(check("{b}", granted, json!({"b": "10.1.2.3:80"})), ["tcp: 10.1.2.3:80"], "{granted}");
    }
    for granted in ["*:80", "*:*"] {
        assert_eq!(check("{b}", granted, json!({"b": "10.1.2.3:80"})), [""; 0], "{granted}");
    }
    let named = |granted: &str| effective(&[ask("tcp", "*:*")], &[tcp(granted)], &json!({}), &json!({}))[0].clone();
    let inside = "192.168.0.9".parse().unwrap();
    assert!(named("nas.example:80").permits_resolved(AbilityKind::Tcp, &host("nas.example"), inside, 80));
    assert!(!named("*.example:80").permits_resolved(AbilityKind::Tcp, &host("nas.example"), inside, 80));
}

#[test]
fn what_is_encrypted_is_a_part_of_what_need_not_be() {
    let check = |asked: &str, granted: &str| {
        let entry = Allowance::new(AbilityKind::parse(granted).unwrap(), "a.example:1");
        shown(&effective(&[ask(asked, "a.example:1")], &[entry], &json!({}), &json!({})))
    };
    assert_eq!(check("tcp", "tls"), ["tls: a.example:1"]);
    assert_eq!(check("tls", "tcp"), ["tls: a.example:1"]);
    assert_eq!(check("http", "https"), ["https: a.example:1"]);
    for (asked, granted) in [("tcp", "http"), ("udp", "tcp"), ("https", "tls"), ("listen", "tcp"), ("resolve", "tcp")] {
        assert_eq!(check(asked, granted), [""; 0], "{asked} {granted}");
    }
}

#[test]
fn a_part_of_a_name_may_come_from_a_parameter() {
    let params = json!({"region": "north", "port": 8080, "evil": "*", "dots": "a.b"});
    let filled = |kind: &str, target: &str| fill(&ask(kind, target), &json!({}), &params).map(|all| shown(&all));
    assert_eq!(filled("https", "*.{region}.example.com:443").unwrap(), ["https: *.north.example.com:443"]);
    assert_eq!(filled("listen", "{port}").unwrap(), ["listen: *:8080"]);
    assert_eq!(filled("listen", "127.0.0.1:{port}").unwrap(), ["listen: 127.0.0.1:8080"]);
    assert_eq!(filled("secret", "{region}-broker").unwrap(), ["secret: north-broker"]);
    assert!(filled("https", "*.{evil}.example.com:443").is_err());
}

#[test]
fn listening_on_every_address_covers_each() {
    let check = |asked: &str, granted: &str| {
        let entry = Allowance::new(AbilityKind::Listen, granted);
        shown(&effective(&[ask("listen", asked)], &[entry], &json!({}), &json!({"port": 80})))
    };
    assert_eq!(check("{port}", "0.0.0.0:80"), ["listen: *:80"]);
    assert_eq!(check("{port}", "127.0.0.1:80"), ["listen: 127.0.0.1:80"]);
    assert_eq!(check("127.0.0.1:80", "[::]:1-99"), ["listen: 127.0.0.1:80"]);
    assert_eq!(check("{port}", "{port}"), ["listen: *:80"]);
    let rules = Rules::from(vec![Ability::parse(AbilityKind::Listen, "127.0.0.1:80").unwrap()]);
    assert!(matches!(rules.name(AbilityKind::Listen, &host("127.0.0.1"), 80), Verdict::Allowed(_)));
    assert_eq!(rules.name(AbilityKind::Listen, &host("0.0.0.0"), 80), Verdict::NotGranted);
}

#[test]
fn names_are_exact() {
    let check = |kind: AbilityKind, asked: &str, granted: &str| {
        shown(&effective(&[ask(kind.as_str(), asked)], &[Allowance::new(kind, granted)], &json!({}), &json!({})))
    };
    assert_eq!(check(AbilityKind::Env, "HTTP_PROXY", "HTTP_PROXY"), ["env: HTTP_PROXY"]);
    assert_eq!(check(AbilityKind::Env, "HTTP_PROXY", "http_proxy"), [""; 0]);
    assert_eq!(check(AbilityKind::Secret, "a", "b"), [""; 0]);
    for (kind, wrong) in [
        (AbilityKind::Env, "*"),
        (AbilityKind::Env, "A=B"),
        (AbilityKind::Env, ""),
        (AbilityKind::Env, "1A"),
        (AbilityKind::Env, "A-B"),
        (AbilityKind::Secret, "a/b"),
        (AbilityKind::Secret, "a*"),
    ] {
        assert!(Ability::parse(kind, wrong).is_err(), "{kind} {wrong}");
    }
}

/// What is in force where everything is granted and these entries deny.
fn denied(asked: (&str, &str), entries: &[(AbilityKind, &str)]) -> Given {
    let entries: Vec<_> = entries.iter().map(|(kind, target)| Allowance::new(*kind, *target)).collect();
    let granted = Allowance::new(AbilityKind::parse(asked.0).unwrap(), asked.1);
    given(&[ask(asked.0, asked.1)], &[granted], &entries, &json!({}), &json!({}))
}

#[test]
fn a_denial_wins_over_every_grant() {
    for (asked, entry) in [
        (("tcp", "a.example:25"), (AbilityKind::Tcp, "*:25")),
        (("tcp", "127.0.0.1:80"), (AbilityKind::Tcp, "127.0.0.0/8:*")),
        (("https", "a.b.example:443"), (AbilityKind::Tcp, "*.example:*")),
        (("tls", "10.0.0.1:1"), (AbilityKind::Tcp, "10.0.0.0/8:*")),
        (("http", "[::ffff:10.0.0.1]:1"), (AbilityKind::Http, "10.0.0.1:*")),
        (("read", "/data/in"), (AbilityKind::Read, "/data")),
        (("write", "/data/in"), (AbilityKind::Read, "/data")),
        (("read", "/data"), (AbilityKind::Read, "/data/private")),
        (("env", "TOKEN"), (AbilityKind::Env, "TOKEN")),
    ] {
        let given = denied(asked, &[entry]);
        assert_eq!((given.rules.allowed.len(), given.denied.len(), given.missing.len()), (0, 1, 0), "{asked:?}");
    }
    for (asked, entry) in [
        (("tcp", "a.example:25"), (AbilityKind::Tls, "*:25")),
        (("udp", "a.example:25"), (AbilityKind::Tcp, "*:25")),
        (("tcp", "a.example:25"), (AbilityKind::Tcp, "*:26")),
        (("read", "/data"), (AbilityKind::Write, "/data")),
    ] {
        assert_eq!(denied(asked, &[entry]).rules.allowed.len(), 1, "{asked:?}");
    }
}

#[test]
fn a_denial_of_an_address_holds_for_every_name_and_spelling() {
    let rules = denied(("tcp", "a.example:80"), &[(AbilityKind::Tcp, "10.0.0.0/8:*")]).rules;
    let name = host("a.example");
    assert!(matches!(rules.name(AbilityKind::Tcp, &name, 80), Verdict::Allowed(_)));
    for address in ["10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::a01:203", "2002:a01:203::"] {
        let verdict = rules.address(AbilityKind::Tcp, &name, address.parse().unwrap(), 80);
        assert!(matches!(verdict, Verdict::Denied(_)), "{address}: {verdict:?}");
    }
    assert!(matches!(rules.address(AbilityKind::Tcp, &name, [192, 168, 0, 1].into(), 80), Verdict::Allowed(_)));
    let rules = denied(("tcp", "*.example:80"), &[(AbilityKind::Tcp, "b.example:80")]).rules;
    assert!(matches!(rules.name(AbilityKind::Tcp, &host("b.example"), 80), Verdict::Denied(_)));
    assert!(matches!(rules.name(AbilityKind::Tcp, &host("c.example"), 80), Verdict::Allowed(_)));
}

#[test]
fn what_is_missing_is_told() {
    let asked = [ask("tcp", "{broker}"), ask("resolve", "a.example"), ask("telepathy", "x"), ask("tcp", "{none}")];
    let params = json!({"broker": "127.0.0.1:1883"});
    let given = given(&asked, &[Allowance::new(AbilityKind::Resolve, "*")], &[], &json!({}), &params);
    assert_eq!(shown(&given.missing), ["tcp: 127.0.0.1:1883"]);
    assert_eq!(shown(&given.rules.allowed), ["resolve: a.example (public addresses only)"]);
    assert_eq!(given.unfilled.iter().map(|(asked, _)| asked.kind.as_str()).collect::<Vec<_>>(), ["telepathy"]);
}
