//! What the gate lets through, in small cases.

use super::*;
use crate::observer::Unobserved;

fn gate(abilities: &[(AbilityKind, &str)]) -> Gate {
    let asked = ["tcp", "http", "resolve", "listen"].map(|kind| Capability {
        kind: kind.into(),
        target: "*:*".into(),
        reason: String::new(),
    });
    Gate::new(Identity {
        name: "meter".into(),
        hint: GrantHint { class: "mqtt".into() },
        abilities: abilities.iter().map(|(kind, target)| Ability::parse(*kind, target).unwrap()).collect(),
        asked: asked.to_vec(),
        observer: Arc::new(Unobserved),
    })
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
        gate.check_name(AbilityKind::Tcp, host, port).unwrap();
    }
    for (host, port) in [("broker.example.com", 1884), ("example.org", 443), ("evil.com", 1883)] {
        assert_eq!(refusal(gate.check_name(AbilityKind::Tcp, host, port)).code, Code::NetDenied, "{host}");
    }
    assert_eq!(refusal(gate.check_name(AbilityKind::Tcp, "127.0.0.1", 1883)).code, Code::LoopbackDenied);
    assert_eq!(refusal(gate.check_name(AbilityKind::Http, "broker.example.com", 1883)).code, Code::NetDenied);
    assert_eq!(gate.refusals(), 5);
}

#[test]
fn a_refusal_says_what_to_write_where() {
    let gate = gate(&[]);
    let refusal = refusal(gate.check_name(AbilityKind::Tcp, "127.0.0.1", 1883));
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
            let refusal = refusal(gate.check_name(kind, host, 80));
            assert!(refusal.remedy.starts_with("No grant"), "{host}");
            assert_eq!(refusal.code, Code::AddressDenied, "{host}");
        }
    }
}

#[test]
fn a_component_that_does_not_ask_is_told_so() {
    let mut gate = gate(&[]);
    gate.asked.clear();
    assert!(refusal(gate.check_name(AbilityKind::Tcp, "a.example", 1)).remedy.contains("author"));
}

#[tokio::test]
async fn loopback_needs_a_literal_grant() {
    let wild = gate(&[(AbilityKind::Tcp, "*:*")]);
    for host in ["127.0.0.1", "::1", "localhost", "::ffff:127.0.0.1", "127.8.9.10"] {
        assert_eq!(refusal(wild.check_name(AbilityKind::Tcp, host, 1883)).code, Code::LoopbackDenied, "{host}");
    }
    let literal = gate(&[(AbilityKind::Tcp, "localhost:1883"), (AbilityKind::Tcp, "127.0.0.1:1884")]);
    let destination = literal.check_name(AbilityKind::Tcp, "localhost", 1883).unwrap();
    assert!(literal.addresses(&destination).await.unwrap().iter().all(|address| address.ip().is_loopback()));
    literal.check_name(AbilityKind::Tcp, "127.0.0.1", 1884).unwrap();
    refusal(literal.check_name(AbilityKind::Tcp, "localhost", 1884));
}

#[tokio::test]
async fn a_permitted_name_that_stands_for_this_machine_is_refused() {
    let gate = gate(&[(AbilityKind::Tcp, "*:80")]);
    // As if `printer.example` resolved to the loopback address: what is judged is the address, under the permitted name.
    assert!(!gate.permits_resolved(AbilityKind::Tcp, "printer.example", "127.0.0.1".parse().unwrap(), 80));
    assert!(!gate.permits_resolved(AbilityKind::Tcp, "printer.example", "::ffff:127.0.0.1".parse().unwrap(), 80));
    assert!(gate.permits_resolved(AbilityKind::Tcp, "printer.example", "192.0.2.7".parse().unwrap(), 80));
}

#[tokio::test]
async fn a_name_may_be_looked_up_where_it_may_be_connected_to() {
    let gate = gate(&[(AbilityKind::Tcp, "localhost:1883")]);
    assert!(!gate.resolve("localhost").await.unwrap().is_empty());
    refusal(gate.resolve("example.com").await);
}
