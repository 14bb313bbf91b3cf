//! MQTT over TLS against a real Mosquitto: it works with the right certificates, and the status says what is wrong with others.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use ferrule_suites::certificates::{Authority, Issued};
use ferrule_suites::mqtt::{Publisher, Subscriber};
use ferrule_suites::{Ferrule, Mosquitto, until};
use std::fs;
use tempfile::TempDir;

/// Files that stay as long as the broker needs them.
struct Files(TempDir);

impl Files {
    fn new() -> Files {
        Files(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, content: &str) -> String {
        let path = self.0.path().join(name);
        fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    /// The lines that make a listener of Mosquitto one with TLS.
    fn tls(&self, server: &Issued) -> String {
        let certificate = self.write("server.pem", &server.certificate);
        let key = self.write("server.key", &server.key);
        format!("certfile {certificate}\nkeyfile {key}\n")
    }
}

/// A pipeline from topics `in/#` to `out/...` over TLS.
fn bridge(broker: &str) -> String {
    format!(
        "---
apiVersion: connector.ferrule.dev/v1
kind: Pipeline
metadata: {{name: bridge}}
spec:
  source: {{class: mqtt, parameters: {{broker: 'mqtts://{broker}', client-id: near, topics: ['in/#']}}}}
  sink: {{class: mqtt, parameters: {{broker: 'mqtts://{broker}', client-id: far, topic: 'out/{{mqtt.topic}}'}}}}
---
apiVersion: connector.ferrule.dev/v1
kind: Grant
metadata: {{name: broker}}
spec: {{class: mqtt, allow: [{{tls: '{broker}'}}]}}
"
    )
}

/// What the stream's status says while it does not work.
fn said(ferrule: &Ferrule) -> String {
    let stream = ferrule.wait("stream", "bridge-source", "why there is no connection", |stream| {
        stream["status"]["conditions"].to_string().contains("FE0408")
    });
    stream["status"]["conditions"].to_string()
}

#[test]
fn a_bridge_over_tls_carries_records() {
    let (files, authority) = (Files::new(), Authority::new("Plant CA"));
    // One listener with TLS for Ferrule, and one without for the test's own clients.
    let server = authority.issue("127.0.0.1");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let lines = format!("listener {port} 127.0.0.1\n{}", files.tls(&server));
    let Some(broker) = Mosquitto::start_with(&lines, &[]) else { return };
    let roots = files.write("roots.pem", &authority.pem());
    let ferrule = Ferrule::start_with(&[("SSL_CERT_FILE", &roots)]);
    ferrule.apply(&bridge(&format!("127.0.0.1:{port}"))).ok();
    ferrule.ready("stream", "bridge-source");
    ferrule.ready("stream", "bridge-sink");
    let subscriber = Subscriber::connect(broker.address(), "test-far", "out/#");
    let mut publisher = Publisher::connect(broker.address(), "test-near");
    for number in 0..100 {
        publisher.publish("in/a", format!("{number}"));
    }
    publisher.flush();
    until("all messages at the far end", || (subscriber.count() == 100).then_some(()));
}

#[test]
fn what_is_wrong_with_a_certificate_is_said_in_the_status() {
    let (authority, other) = (Authority::new("Plant CA"), Authority::new("Other CA"));
    let cases = [
        ("wrong authority", other.issue("127.0.0.1"), vec!["`CN=Other CA`", "not trusted", "roots"]),
        ("expired", authority.issue_until("127.0.0.1", 2021), vec!["expired at 2021-01-01"]),
        ("wrong name", authority.issue("broker.plant.example"), vec!["not for `127.0.0.1`", "broker.plant.example"]),
    ];
    for (case, server, words) in cases {
        let files = Files::new();
        let Some(broker) = Mosquitto::start_with(&files.tls(&server), &[]) else { return };
        let roots = files.write("roots.pem", &authority.pem());
        let ferrule = Ferrule::start_with(&[("SSL_CERT_FILE", &roots)]);
        ferrule.apply(&bridge(&broker.address().to_string())).ok();
        let said = said(&ferrule);
        for word in words {
            assert!(said.contains(word), "{case}: no `{word}` in {said}");
        }
    }
}

#[test]
fn a_client_certificate_that_is_required_is_asked_for_in_the_status() {
    let (authority, clients, files) = (Authority::new("Plant CA"), Authority::new("Clients CA"), Files::new());
    let authorities = files.write("clients.pem", &clients.pem());
    let lines = format!(
        "{}cafile {authorities}\nrequire_certificate true\nuse_identity_as_username true\n",
        files.tls(&authority.issue("127.0.0.1"))
    );
    let Some(broker) = Mosquitto::start_with(&lines, &[]) else { return };
    let roots = files.write("roots.pem", &authority.pem());
    let ferrule = Ferrule::start_with(&[("SSL_CERT_FILE", &roots)]);
    ferrule.apply(&bridge(&broker.address().to_string())).ok();
    let said = said(&ferrule);
    assert!(said.contains("requires a client certificate") && said.contains("certificate: {secret"), "{said}");
}

#[test]
fn a_port_without_tls_is_told_apart() {
    let Some(broker) = Mosquitto::start() else { return };
    let ferrule = Ferrule::start();
    ferrule.apply(&bridge(&broker.address().to_string())).ok();
    let said = said(&ferrule);
    assert!(said.contains("no TLS on this port") || said.contains("does not speak TLS"), "{said}");
}

#[test]
fn a_grant_attaches_roots_and_a_client_certificate() {
    let (authority, clients, files) = (Authority::new("Plant CA"), Authority::new("Clients CA"), Files::new());
    let authorities = files.write("clients.pem", &clients.pem());
    let lines = format!(
        "{}cafile {authorities}\nrequire_certificate true\nuse_identity_as_username true\n",
        files.tls(&authority.issue("127.0.0.1"))
    );
    let Some(broker) = Mosquitto::start_with(&lines, &[]) else { return };
    let address = broker.address();
    let client = clients.issue("ada");
    let ferrule = Ferrule::start();
    let indented = |pem: &str| pem.lines().map(|line| format!("        {line}\n")).collect::<String>();
    let attach = |name: &str, secret: &str| {
        format!(
            "---
apiVersion: connector.ferrule.dev/v1
kind: Grant
metadata: {{name: {name}}}
spec:
  class: mqtt
  attach:
    - to: {{tls: '{address}'}}
      roots: |
{}      certificate: {{secret: {secret}, key: certificate}}
      key: {{secret: {secret}, key: key}}
",
            indented(&authority.pem())
        )
    };
    // The secret may come later.
    ferrule.apply(&format!("{}{}", bridge(&address.to_string()), attach("identity", "ada"))).ok();
    let stream = ferrule.wait("stream", "bridge-source", "what is missing", |stream| {
        stream["status"]["conditions"].to_string().contains("there is no secret")
    });
    assert!(stream["status"]["conditions"].to_string().contains("spec.attach[0].certificate"), "{stream}");
    let secret = serde_json::json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "ada"},
        "stringData": {"certificate": client.certificate, "key": client.key}});
    ferrule.apply(&secret.to_string()).ok();
    ferrule.ready("stream", "bridge-source");
    ferrule.ready("stream", "bridge-sink");
    assert!(broker.logged(&["near", "u'ada'"]) > 0, "the broker did not see who it is");
    let shown = ferrule.run(&["describe", "stream", "bridge-source"]).ok().out;
    assert!(shown.contains("client certificate"), "{shown}");
    // Nobody could say which of two counts.
    ferrule.apply(&attach("another", "ada")).ok();
    ferrule.wait("stream", "bridge-source", "the contradiction", |stream| {
        stream["status"]["conditions"].to_string().contains("attach to the same place")
    });
}
