//! What a real broker asks of its clients and offers them: logins, shared subscriptions, windows, retained messages.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use ferrule_suites::ferrule::native;
use ferrule_suites::mqtt::{Publisher, Subscriber};
use ferrule_suites::{Ferrule, Mosquitto, until};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{Client, Event, MqttOptions};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::mpsc;

/// A pipeline from broker to broker; `source` and `sink` are further parameters.
fn bridge(name: &str, broker: SocketAddr, source: &str, sink: &str) -> String {
    format!(
        "---
apiVersion: connector.ferrule.dev/v1
kind: Pipeline
metadata: {{name: {name}}}
spec:
  source: {{class: mqtt, parameters: {{client-id: {name}-source, {source}}}}}
  sink: {{class: mqtt, parameters: {{broker: 'mqtt://{broker}', client-id: {name}-sink, {sink}}}}}
---
apiVersion: connector.ferrule.dev/v1
kind: Grant
metadata: {{name: broker}}
spec: {{class: mqtt, allow: [{{tcp: '{broker}'}}]}}
"
    )
}

fn publish(broker: SocketAddr, name: &str, count: usize) {
    let mut publisher = Publisher::connect(broker, name);
    for number in 0..count {
        publisher.publish("in/a", format!("{number}"));
    }
    publisher.flush();
}

fn different(subscriber: &Subscriber) -> usize {
    subscriber.arrived().into_iter().map(|(_, payload)| payload).collect::<BTreeSet<_>>().len()
}

#[test]
fn a_login_is_accepted_and_a_wrong_password_is_said_in_the_status() {
    let Some(broker) = Mosquitto::start_with("", &[("ada", "s3cret")]) else { return };
    let address = broker.address();
    let ferrule = Ferrule::start();
    let subscriber = Subscriber::connect(address, "far-end", "out/#");
    for (name, version, password, words) in
        [("three", "3.1.1", "wrong", "not authorized"), ("five", "5.0", "wrong", "ot authorized")]
    {
        let source = format!(
            "broker: 'mqtt://{address}', username: ada, password: {password}, version: '{version}', topics: ['in/#']"
        );
        ferrule.apply(&bridge(name, address, &source, "topic: 'out/{mqtt.topic}'")).ok();
        let stream = ferrule.wait("stream", &format!("{name}-source"), "unhealthy", |stream| {
            stream["status"]["conditions"].to_string().contains("the broker refused the connection")
        });
        let conditions = stream["status"]["conditions"].to_string();
        assert!(conditions.contains(words), "{version}: no {words:?} in {conditions}");
        assert!(!conditions.contains("wrong"), "the password is shown: {conditions}");
    }
    // One has its password in its address, the other takes it from a secret, first a wrong one.
    let source = format!("broker: 'mqtt://ada:s3cret@{address}', topics: ['in/#']");
    let sink = "topic: 'out/{mqtt.topic}', username: ada, password: {secret: login, key: password}";
    ferrule.feed(&["create", "secret", "login", "--from-stdin", "password"], b"other\n").ok();
    ferrule.apply(&bridge("right", address, &source, sink)).ok();
    ferrule.reason("stream", "right-sink", "SecretNotGranted");
    ferrule.apply(&native("Grant", "login", "{class: mqtt, allow: [{secret: '{password}'}]}")).ok();
    ferrule.wait("stream", "right-sink", "unhealthy", |stream| {
        stream["status"]["conditions"].to_string().contains("the broker refused the connection")
    });
    ferrule.feed(&["create", "secret", "login", "--from-stdin", "password", "--replace"], b"s3cret\n").ok();
    ferrule.ready("stream", "right-source");
    ferrule.ready("stream", "right-sink");
    publish(address, "near-end", 1);
    until("the message of the one that may", || (subscriber.count() == 1).then_some(()));
    assert!(broker.logged(&["right-source", "u'ada'"]) > 0, "the broker did not see the user");
}

#[test]
fn a_shared_subscription_gives_each_message_to_one_of_its_members() {
    let Some(broker) = Mosquitto::start() else { return };
    let address = broker.address();
    let ferrule = Ferrule::start();
    let source = format!("broker: 'mqtt://{address}', version: '5.0', topics: ['$share/crew/in/#']");
    for name in ["left", "right"] {
        ferrule.apply(&bridge(name, address, &source, &format!("topic: 'out/{name}'"))).ok();
    }
    for stream in ["left-source", "right-source", "left-sink", "right-sink"] {
        ferrule.ready("stream", stream);
    }
    let subscriber = Subscriber::connect(address, "far-end", "out/#");
    publish(address, "near-end", 200);
    until("each message once", || (different(&subscriber) == 200).then_some(()));
    let arrived = subscriber.arrived();
    assert_eq!(arrived.len(), 200, "a message went to both members");
    for topic in ["out/left", "out/right"] {
        assert!(arrived.iter().any(|(to, _)| to == topic), "{topic} got nothing");
    }
}

#[test]
fn the_window_of_either_side_is_kept() {
    // The broker tells its clients of version 5 to have at most 3 messages on their way to it.
    let Some(broker) = Mosquitto::start_with("max_inflight_messages 3\n", &[]) else { return };
    let address = broker.address();
    // In memory a message is acknowledged when it is delivered; on disk, as soon as it is there.
    let ferrule = Ferrule::serve_with(&["--transport", "memory"]);
    let source =
        format!("broker: 'mqtt://{address}', version: '5.0', max-in-flight: 2, keep-alive: 2, topics: ['in/#']");
    let sink = "version: '5.0', max-in-flight: 500, topic: 'out/{mqtt.topic}'";
    ferrule.apply(&bridge("narrow", address, &source, sink)).ok();
    ferrule.ready("stream", "narrow-source");
    ferrule.ready("stream", "narrow-sink");
    let subscriber = Subscriber::connect(address, "far-end", "out/#");
    // With nothing delivered nothing is acknowledged: the broker may send two.
    ferrule.run(&["pause", "pipeline", "narrow"]).ok();
    ferrule.reason("pipeline", "narrow", "Paused");
    publish(address, "near-end", 300);
    let sent = || broker.logged(&["Sending PUBLISH to narrow-source "]);
    until("as many messages as the window takes", || (sent() >= 2).then_some(()));
    let pings = broker.logged(&["Received PINGREQ from narrow-source"]);
    until("two more keep-alives", || {
        (broker.logged(&["Received PINGREQ from narrow-source"]) >= pings + 2).then_some(())
    });
    assert_eq!(sent(), 2, "the broker sent more than the source's window");
    ferrule.run(&["resume", "pipeline", "narrow"]).ok();
    until("all messages", || (different(&subscriber) == 300).then_some(()));
    assert_eq!(subscriber.count(), 300);
    // A client that sends more than it may is thrown out.
    assert_eq!(broker.logged(&["New client connected", "narrow-sink"]), 1, "the sink was thrown out");
}

#[test]
fn retained_messages_are_kept_by_the_broker_and_known_as_such() {
    let Some(broker) = Mosquitto::start() else { return };
    let address = broker.address();
    let ferrule = Ferrule::start();
    let source = format!("broker: 'mqtt://{address}', topics: ['in/#']");
    ferrule.apply(&bridge("keeps", address, &source, "retain: true, topic: 'kept/{mqtt.topic}'")).ok();
    ferrule.ready("stream", "keeps-source");
    ferrule.ready("stream", "keeps-sink");
    publish(address, "near-end", 3);
    // Whoever comes later gets the last one of the topic, and knows that it is old.
    until("the last message, retained", || {
        let late = Subscriber::connect(address, "late", "kept/#");
        until("a retained message", || (late.count() > 0).then_some(()));
        (late.arrived().last() == Some(&("kept/in/a".to_owned(), b"2".to_vec()))).then_some(())
    });
    let later = format!("broker: 'mqtt://{address}', topics: ['kept/#']");
    let subscriber = Subscriber::connect(address, "far-end", "seen/#");
    ferrule.apply(&bridge("later", address, &later, "topic: 'seen/{mqtt.retain}'")).ok();
    until("what was retained", || (subscriber.count() > 0).then_some(()));
    assert_eq!(subscriber.arrived()[0], ("seen/true".to_owned(), b"2".to_vec()));
}

#[test]
fn an_encrypted_connection_is_refused_with_a_clear_word() {
    let Some(broker) = Mosquitto::start() else { return };
    let address = broker.address();
    let ferrule = Ferrule::start();
    let source = format!("broker: 'mqtts://{address}', topics: ['in/#']");
    ferrule.apply(&bridge("sealed", address, &source, "topic: out")).ok();
    let stream = ferrule.wait("stream", "sealed-source", "told that there is no TLS", |stream| {
        stream["status"].to_string().contains("it may speak no TLS on this port")
    });
    assert!(!stream["status"].to_string().contains("panic"), "{stream}");
    assert_eq!(broker.logged(&["sealed-source"]), 0, "something was sent without encryption");
}

#[test]
fn a_message_of_version_5_has_the_id_of_its_record_whenever_it_comes() {
    let Some(broker) = Mosquitto::start() else { return };
    let address = broker.address();
    let mut options = MqttOptions::new("far-end", address.ip().to_string(), address.port());
    options.set_clean_start(true);
    let (client, mut connection) = Client::new(options, 1_000);
    client.subscribe("out/#", QoS::AtLeastOnce).unwrap();
    let (arrived, arrivals) = mpsc::channel();
    let (ready, subscribed) = mpsc::channel();
    std::thread::spawn(move || {
        for event in connection.iter() {
            match event {
                Ok(Event::Incoming(Packet::SubAck(_))) => ready.send(()).unwrap(),
                Ok(Event::Incoming(Packet::Publish(message))) => {
                    let properties = message.properties.unwrap_or_default().user_properties;
                    if arrived.send((message.topic, message.payload, properties)).is_err() {
                        return;
                    }
                }
                Ok(_) => {}
                Err(_) => return,
            }
        }
    });
    subscribed.recv().unwrap();
    let ferrule = Ferrule::start();
    let pipeline = |version: &str| {
        let name = version.replace('.', "");
        format!(
            "---
apiVersion: connector.ferrule.dev/v1
kind: Pipeline
metadata: {{name: v{name}}}
spec:
  source: {{class: generator, parameters: {{rate: 0, count: 20, size: 32}}}}
  sink: {{class: mqtt, parameters: {{broker: 'mqtt://{address}', version: '{version}', topic: out/{name}}}}}
"
        )
    };
    let grant = format!(
        "---
apiVersion: connector.ferrule.dev/v1
kind: Grant
metadata: {{name: broker}}
spec: {{class: mqtt, allow: [{{tcp: '{address}'}}]}}
"
    );
    ferrule.apply(&[pipeline("5.0"), pipeline("3.1.1"), grant].concat()).ok();
    // By the topic's last level and the content: the ids that it came with.
    let mut seen: BTreeMap<(String, Vec<u8>), Vec<Option<String>>> = BTreeMap::new();
    let mut take = |count: usize| {
        for _ in 0..count {
            let (topic, payload, properties) = arrivals.recv_timeout(ferrule_suites::wait::PATIENCE).unwrap();
            let topic = String::from_utf8(topic.to_vec()).unwrap();
            assert!(properties.len() <= 1, "{properties:?}");
            let id = properties.into_iter().next().map(|(name, id)| {
                assert_eq!(name, "ferrule-record-id");
                id
            });
            seen.entry((topic, payload.to_vec())).or_default().push(id);
        }
    };
    take(40);
    ferrule.run(&["pipeline", "rewind", "v50", "--to", "beginning"]).ok();
    take(20);
    let (new, old): (Vec<_>, Vec<_>) = seen.into_iter().partition(|((topic, _), _)| topic == "out/50");
    assert_eq!((new.len(), old.len()), (20, 20));
    let mut ids = BTreeSet::new();
    for (message, with) in new {
        let [Some(first), Some(again)] = &with[..] else { panic!("{message:?} came with {with:?}") };
        assert_eq!(first, again, "another id for {message:?}");
        assert!(first.len() == 32 && ids.insert(first.clone()), "{first} is no id of its own");
    }
    assert!(old.iter().all(|(_, with)| with[..] == [None]), "MQTT 3.1.1 has no place for an id: {old:?}");
}
