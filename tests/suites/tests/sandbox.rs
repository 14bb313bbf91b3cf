//! What a component may reach: nothing that nobody granted, and the refusal says what to write.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use ferrule_suites::{Ferrule, until};
use std::net::{Ipv4Addr, TcpListener};

#[test]
fn an_address_that_nobody_granted_is_refused_until_the_lines_of_the_message_are_applied() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let ferrule = Ferrule::start();
    ferrule
        .apply(&format!(
            "apiVersion: connector.ferrule.dev/v1
kind: Pipeline
metadata: {{name: curious}}
spec:
  source: {{class: mqtt, parameters: {{broker: 'mqtt://{address}', topics: ['#']}}}}
  sink: {{class: blackhole}}
"
        ))
        .ok();
    let message = ferrule.reason("stream", "curious-source", "Refused");
    assert!(message.contains(&address.to_string()), "{message}");
    assert!(message.contains("mqtt"), "{message}");
    assert!(listener.accept().is_err(), "the refused connection was made all the same");

    // The message carries a document; what it says to write is what helps.
    let start = message.find("apiVersion:").unwrap_or_else(|| panic!("no document in: {message}"));
    ferrule.apply(&message[start..]).ok();
    until("the granted connection", || listener.accept().ok());
}

#[test]
fn a_refused_stream_does_not_disturb_another() {
    let ferrule = Ferrule::start();
    ferrule
        .apply(
            "apiVersion: connector.ferrule.dev/v1
kind: Pipeline
metadata: {name: refused}
spec:
  source: {class: mqtt, parameters: {broker: 'mqtt://192.0.2.1:1883', topics: ['#']}}
  sink: {class: blackhole}
---
apiVersion: connector.ferrule.dev/v1
kind: Pipeline
metadata: {name: allowed}
spec:
  source: {class: generator, parameters: {rate: 0, count: 1000, size: 16}}
  sink: {class: blackhole}
",
        )
        .ok();
    ferrule.reason("stream", "refused-source", "Refused");
    until("a thousand records delivered", || (ferrule.count("allowed", "delivered") == 1000).then_some(()));
}
