//! What the gate lets through, in small cases.

use ferrule_model::Code;
use ferrule_model::capability::Ability;

use super::*;
use crate::observer::Unobserved;

fn gate(abilities: &[(AbilityKind, &str)]) -> Gate {
    let asked = ["tcp", "udp", "http", "resolve", "listen"].map(|kind| Capability {
        kind: kind.into(),
        target: "*:*".into(),
        reason: String::new(),
    });
    Gate::new(
        Identity {
            name: "meter".into(),
            hint: GrantHint { class: "mqtt".into() },
            rules: rules(abilities, &[]),
            asked: asked.to_vec(),
            redactor: Default::default(),
            observer: Arc::new(Unobserved),
            around: Arc::default(),
            tls: Default::default(),
            attached: Default::default(),
            component: String::new(),
            guards: crate::guards::Guards::default(),
        },
        &Limits::default(),
    )
}

fn rules(allowed: &[(AbilityKind, &str)], denied: &[(AbilityKind, &str)]) -> Rules {
    let parsed = |all: &[(AbilityKind, &str)]| {
        all.iter().map(|(kind, target)| Ability::parse(*kind, target).unwrap()).collect::<Vec<_>>()
    };
    Rules { allowed: parsed(allowed), denied: parsed(denied) }
}

fn refusal<T: std::fmt::Debug>(answer: Result<T, Failure>) -> Refusal {
    match answer {
        Err(Failure::Denied(refusal)) => *refusal,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[test]
fn what_is_granted_passes_and_nothing_else() {
    let gate = gate(&[(AbilityKind::Tcp, "broker.example.com:1883"), (AbilityKind::Tcp, "*.example.org:443")]);
    for (host, port) in [("broker.example.com", 1883), ("BROKER.example.com.", 1883), ("a.example.org", 443)] {
        gate.check_name(Door::Net, AbilityKind::Tcp, host, port).unwrap();
    }
    for (host, port) in [("broker.example.com", 1884), ("example.org", 443), ("evil.com", 1883)] {
        assert_eq!(refusal(gate.check_name(Door::Net, AbilityKind::Tcp, host, port)).code, Code::NetDenied, "{host}");
    }
    assert_eq!(refusal(gate.check_name(Door::Net, AbilityKind::Tcp, "127.0.0.1", 1883)).code, Code::LoopbackDenied);
    assert_eq!(
        refusal(gate.check_name(Door::Net, AbilityKind::Http, "broker.example.com", 1883)).code,
        Code::NetDenied
    );
    assert_eq!(gate.refusals(), 5);
}

#[test]
fn a_refusal_says_what_to_write_where() {
    let gate = gate(&[]);
    let refusal = refusal(gate.check_name(Door::Net, AbilityKind::Tcp, "127.0.0.1", 1883));
    assert_eq!(
        refusal.message,
        "`meter` may not connect to 127.0.0.1:1883: it is not granted [FE0403]. Apply a Grant that names it:"
    );
    assert_eq!(
        refusal.remedy,
        "apiVersion: connector.ferrule.dev/v1\nkind: Grant\nmetadata: {name: allow-mqtt}\nspec:\n  class: mqtt\n  allow:\n    - tcp: \"127.0.0.1:1883\""
    );
}

#[test]
fn metadata_is_refused_even_when_granted() {
    let gate = gate(&[(AbilityKind::Http, "169.254.169.254:80"), (AbilityKind::Tcp, "*:*")]);
    for host in ["169.254.169.254", "::ffff:169.254.169.254", "[fe80::1]"] {
        for kind in [AbilityKind::Http, AbilityKind::Tcp] {
            let refusal = refusal(gate.check_name(Door::Net, kind, host, 80));
            assert!(refusal.remedy.starts_with("No grant"), "{host}");
            assert_eq!(refusal.code, Code::AddressDenied, "{host}");
        }
    }
}

#[test]
fn a_component_that_does_not_ask_is_told_so() {
    let mut gate = gate(&[]);
    gate.asked.clear();
    assert!(refusal(gate.check_name(Door::Net, AbilityKind::Tcp, "a.example", 1)).remedy.contains("author"));
}

#[tokio::test]
async fn loopback_needs_a_literal_grant() {
    let wild = gate(&[(AbilityKind::Tcp, "*:*")]);
    for host in ["127.0.0.1", "::1", "localhost", "::ffff:127.0.0.1", "127.8.9.10"] {
        assert_eq!(
            refusal(wild.check_name(Door::Net, AbilityKind::Tcp, host, 1883)).code,
            Code::LoopbackDenied,
            "{host}"
        );
    }
    let literal = gate(&[(AbilityKind::Tcp, "localhost:1883"), (AbilityKind::Tcp, "127.0.0.1:1884")]);
    let destination = literal.check_name(Door::Net, AbilityKind::Tcp, "localhost", 1883).unwrap();
    assert!(literal.addresses(&destination).await.unwrap().iter().all(|address| address.ip().is_loopback()));
    literal.check_name(Door::Net, AbilityKind::Tcp, "127.0.0.1", 1884).unwrap();
    refusal(literal.check_name(Door::Net, AbilityKind::Tcp, "localhost", 1884));
}

#[tokio::test]
async fn a_permitted_name_that_stands_for_this_machine_is_refused() {
    let gate = gate(&[(AbilityKind::Tcp, "*:80")]);
    // As if `printer.example` resolved to the loopback address: what is judged is the address, under the permitted name.
    let wish = gate.check_name(Door::Net, AbilityKind::Tcp, "printer.example", 80).unwrap().0;
    for address in ["127.0.0.1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"] {
        assert_eq!(gate.judge(&wish, address.parse().unwrap()), Verdict::NotGranted);
    }
    assert!(matches!(gate.judge(&wish, "192.0.2.7".parse().unwrap()), Verdict::Allowed(_)));
}

#[tokio::test]
async fn a_name_may_be_looked_up_where_it_may_be_connected_to() {
    let gate = gate(&[(AbilityKind::Tcp, "localhost:1883")]);
    assert!(!gate.resolve("localhost").await.unwrap().is_empty());
    refusal(gate.resolve("example.com").await);
}

#[tokio::test]
async fn the_servers_own_doors_are_closed_to_all() {
    let mut gate = gate(&[(AbilityKind::Tcp, "127.0.0.1:9464"), (AbilityKind::Tcp, "127.0.0.1:7000")]);
    let doors = vec!["127.0.0.1:9464".parse().unwrap(), "0.0.0.0:7000".parse().unwrap()];
    gate.around = Arc::new(Around { doors, ..Around::default() });
    for port in [9464, 7000] {
        let destination = gate.check_name(Door::Net, AbilityKind::Tcp, "127.0.0.1", port).unwrap();
        let refusal = refusal(gate.addresses(&destination).await);
        assert!(refusal.message.contains("this server listens itself"), "{}", refusal.message);
        assert!(!gate.check_address(Door::Tcp, AbilityKind::Tcp, SocketAddr::from(([127, 0, 0, 1], port))));
    }
    let around = &gate.around;
    assert!(!around.is_own_door("127.0.0.2:9464".parse().unwrap()), "it listens at another address");
    assert!(around.is_own_door("[::ffff:127.0.0.1]:9464".parse().unwrap()));
    assert!(around.is_own_door("127.9.9.9:7000".parse().unwrap()), "it listens at every address of this machine");
    assert!(!around.is_own_door("192.0.2.1:7000".parse().unwrap()), "that is another machine");
}

#[tokio::test]
async fn sockets_of_wasi_use_what_is_granted_literally_or_was_looked_up() {
    let gate =
        gate(&[(AbilityKind::Tcp, "192.0.2.1:80"), (AbilityKind::Tcp, "localhost:81"), (AbilityKind::Udp, "*:53")]);
    let tcp = |address: &str| gate.check_address(Door::Tcp, AbilityKind::Tcp, address.parse().unwrap());
    assert!(tcp("192.0.2.1:80") && tcp("[::ffff:192.0.2.1]:80"));
    assert!(!tcp("192.0.2.1:81") && !tcp("192.0.2.2:80"));
    assert!(!tcp("127.0.0.1:81"), "the name is granted, the address is not");
    let addresses = gate.resolve("localhost").await.unwrap();
    assert!(addresses.iter().all(|ip| gate.check_address(Door::Tcp, AbilityKind::Tcp, SocketAddr::new(*ip, 81))));
    assert!(!tcp("127.0.0.1:80"), "not on that port");
    assert!(!tcp("169.254.169.254:80"));
    assert!(gate.check_address(Door::Udp, AbilityKind::Udp, "8.8.8.8:53".parse().unwrap()));
    assert!(!gate.check_address(Door::Udp, AbilityKind::Udp, "10.0.0.1:53".parse().unwrap()), "private, and not named");
    let printer = Host::parse("printer.example").unwrap();
    let narrow = self::gate(&[(AbilityKind::Udp, "8.8.8.8:53")]);
    assert!(!narrow.found(&printer, "192.0.2.9".parse().unwrap()), "nothing allows that name");
}

#[test]
fn a_denial_is_told_with_its_rule() {
    let mut gate = gate(&[]);
    gate.rules = rules(&[(AbilityKind::Tcp, "a.example:25")], &[(AbilityKind::Tcp, "*:25")]);
    let refusal = refusal(gate.check_name(Door::Net, AbilityKind::Tcp, "a.example", 25));
    assert!(refusal.message.contains("denied by `tcp: *:25`"), "{}", refusal.message);
    assert!(!refusal.remedy.contains("kind: Grant"), "{}", refusal.remedy);
}
