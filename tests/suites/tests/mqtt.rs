//! MQTT end to end against the real Mosquitto broker: nothing lost, order kept, keep-alives while nothing flows.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use ferrule_suites::mqtt::{Publisher, Subscriber};
use ferrule_suites::{Ferrule, Mosquitto, until};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// How many messages the sink may have unacknowledged.
const IN_FLIGHT: usize = 100;

/// broker → source → jq → sink → broker.
fn bridge(broker: SocketAddr, extra: &str) -> String {
    format!(
        "apiVersion: connector.ferrule.dev/v1
kind: Pipeline
metadata: {{name: bridge}}
spec:
  source:
    class: mqtt
    parameters: {{broker: 'mqtt://{broker}', topics: ['in/#'], qos: 1, client-id: ferrule-source{extra}}}
  functions:
    - {{function: jq, args: {{program: '.'}}}}
  sink:
    class: mqtt
    parameters: {{broker: 'mqtt://{broker}', topic: 'out/{{mqtt.topic}}', qos: 1, client-id: ferrule-sink, max-in-flight: {IN_FLIGHT}{extra}}}
---
apiVersion: connector.ferrule.dev/v1
kind: Grant
metadata: {{name: broker}}
spec: {{class: mqtt, allow: [{{tcp: '{broker}'}}]}}
"
    )
}

fn up(ferrule: &Ferrule) {
    ferrule.ready("stream", "bridge-source");
    ferrule.ready("stream", "bridge-sink");
}

#[test]
fn ten_thousand_messages_arrive_completely_and_in_order_per_topic() {
    let Some(broker) = Mosquitto::start() else { return };
    let ferrule = Ferrule::start();
    ferrule.apply(&bridge(broker.address(), "")).ok();
    up(&ferrule);
    let subscriber = Subscriber::connect(broker.address(), "far-end", "out/#");
    let mut publisher = Publisher::connect(broker.address(), "near-end");
    for number in 0..10_000 {
        publisher.publish(&format!("in/{}", number % 10), format!("{{\"n\":{number}}}"));
    }
    publisher.flush();
    until("10,000 messages at the far end", || (subscriber.count() >= 10_000).then_some(()));

    let mut per_topic: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (topic, payload) in subscriber.arrived() {
        per_topic.entry(topic).or_default().push(number(&payload));
    }
    assert_eq!(per_topic.len(), 10);
    for (topic, numbers) in per_topic {
        assert_eq!(numbers.len(), 1000, "{topic}");
        assert!(numbers.is_sorted(), "{topic} is out of order");
    }
}

#[test]
fn a_broker_that_stops_and_starts_again_costs_no_message() {
    let Some(mut broker) = Mosquitto::start() else { return };
    let ferrule = Ferrule::start();
    ferrule.apply(&bridge(broker.address(), "")).ok();
    up(&ferrule);
    let subscriber = Subscriber::connect(broker.address(), "far-end", "out/#");
    let mut publisher = Publisher::connect(broker.address(), "near-end");
    for number in 0..3000 {
        publisher.publish("in/a", format!("{{\"n\":{number}}}"));
    }
    publisher.flush();
    until("some messages at the far end", || (subscriber.count() > 100).then_some(()));
    broker.down();
    let in_flight = unacknowledged(&broker, "ferrule-source") + unacknowledged(&broker, "far-end") + IN_FLIGHT;
    ferrule.wait("stream", "bridge-source", "unhealthy while the broker is away", |stream| {
        let conditions = stream["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|condition| condition["type"] == "Healthy" && condition["status"] == "False")
    });
    broker.up();
    for number in 3000..4000 {
        publisher.publish("in/a", format!("{{\"n\":{number}}}"));
    }
    publisher.flush();
    let numbers = || subscriber.arrived().iter().map(|(_, payload)| number(payload)).collect::<Vec<_>>();
    until("every message at the far end", || (numbers().iter().collect::<BTreeSet<_>>().len() == 4000).then_some(()));
    // What may come twice is what was in flight at the cut: what the broker had sent without an acknowledgement, to the source and to
    // this subscriber, and what the sink had sent.
    let duplicates = numbers().len() - 4000;
    assert!(duplicates <= in_flight, "{duplicates} duplicates, and {in_flight} were in flight");
}

#[test]
fn a_silent_stream_outlives_its_keep_alive_and_so_does_an_idle_sink() {
    let Some(broker) = Mosquitto::start() else { return };
    let ferrule = Ferrule::start();
    ferrule.apply(&bridge(broker.address(), ", keep-alive: 2")).ok();
    up(&ferrule);
    for client in ["ferrule-source", "ferrule-sink"] {
        until("three keep-alives from each", || (broker.logged(&["Received PINGREQ from", client]) >= 3).then_some(()));
    }
    let subscriber = Subscriber::connect(broker.address(), "far-end", "out/#");
    Publisher::connect(broker.address(), "near-end").publish("in/late", "{\"n\":1}");
    until("the message after the silence", || (subscriber.count() == 1).then_some(()));
    assert_eq!(broker.logged(&["Client ferrule-source", "exceeded timeout"]), 0);
    assert_eq!(broker.logged(&["Client ferrule-sink", "exceeded timeout"]), 0);
}

#[test]
fn a_paused_stream_keeps_its_connection_and_takes_nothing() {
    let Some(broker) = Mosquitto::start() else { return };
    let ferrule = Ferrule::start();
    ferrule.apply(&bridge(broker.address(), ", keep-alive: 2")).ok();
    up(&ferrule);
    let subscriber = Subscriber::connect(broker.address(), "far-end", "out/#");
    ferrule.run(&["pause", "stream", "bridge-source"]).ok();
    ferrule.reason("stream", "bridge-source", "Paused");
    let mut publisher = Publisher::connect(broker.address(), "near-end");
    for number in 0..50 {
        publisher.publish("in/a", format!("{{\"n\":{number}}}"));
    }
    publisher.flush();
    let before = broker.logged(&["Received PINGREQ from", "ferrule-source"]);
    until("three keep-alives while paused", || {
        (broker.logged(&["Received PINGREQ from", "ferrule-source"]) >= before + 3).then_some(())
    });
    assert_eq!(subscriber.count(), 0, "a paused stream let records through");
    ferrule.run(&["resume", "stream", "bridge-source"]).ok();
    until("what was published meanwhile", || (subscriber.count() >= 50).then_some(()));
}

#[test]
fn both_versions_of_the_protocol_carry_messages() {
    let Some(broker) = Mosquitto::start() else { return };
    for version in ["3.1.1", "5.0"] {
        let ferrule = Ferrule::start();
        ferrule.apply(&bridge(broker.address(), &format!(", version: '{version}'"))).ok();
        up(&ferrule);
        let subscriber = Subscriber::connect(broker.address(), &format!("far-end-{version}"), "out/#");
        let mut publisher = Publisher::connect(broker.address(), &format!("near-end-{version}"));
        for number in 0..100 {
            publisher.publish("in/a", format!("{{\"n\":{number}}}"));
        }
        until("a hundred messages", || (subscriber.count() >= 100).then_some(()));
    }
}

/// How many messages the broker sent to this client that the client did not acknowledge, by the broker's own log.
fn unacknowledged(broker: &Mosquitto, client: &str) -> usize {
    let sent = broker.logged(&[&format!("Sending PUBLISH to {client} ")]);
    sent.saturating_sub(broker.logged(&[&format!("Received PUBACK from {client} ")]))
}

fn number(payload: &[u8]) -> u64 {
    let value: serde_json::Value = serde_json::from_slice(payload).unwrap();
    value["n"].as_u64().unwrap()
}
