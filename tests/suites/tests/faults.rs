//! Faults of the broker and of the network between it and the guests: nothing is lost, order holds per topic, and duplicates are no
//! more than were in flight.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use ferrule_suites::mqtt::{Message, Publisher, Subscriber};
use ferrule_suites::{Ferrule, Mosquitto, Proxy, until};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// How many messages the sink may have unacknowledged.
const IN_FLIGHT: usize = 100;

const SOURCE: &str = "faults-source";
const SINK: &str = "faults-sink";

/// source → identity → sink, each by an address of its own, with keep-alives of two seconds.
fn bridge(source: SocketAddr, sink: SocketAddr) -> String {
    format!(
        "apiVersion: connector.ferrule.dev/v1
kind: Pipeline
metadata: {{name: bridge}}
spec:
  source:
    class: mqtt
    parameters: {{broker: 'mqtt://{source}', topics: ['in/#'], qos: 1, client-id: {SOURCE}, keep-alive: 2}}
  functions:
    - {{function: identity}}
  sink:
    class: mqtt
    parameters: {{broker: 'mqtt://{sink}', topic: 'out/{{mqtt.topic}}', qos: 1, client-id: {SINK}, keep-alive: 2, max-in-flight: {IN_FLIGHT}}}
---
apiVersion: connector.ferrule.dev/v1
kind: Grant
metadata: {{name: broker}}
spec: {{class: mqtt, allow: [{{tcp: '{source}'}}, {{tcp: '{sink}'}}]}}
"
    )
}

/// A broker, a proxy before it for each end, the runtime between, and clients at both far ends that use no proxy.
struct Rig {
    // Dropped in this order: the runtime before what it talks to.
    ferrule: Ferrule,
    near: Publisher,
    far: Subscriber,
    source: Proxy,
    sink: Proxy,
    broker: Mosquitto,
    sent: usize,
}

impl Rig {
    fn start() -> Option<Rig> {
        let broker = Mosquitto::start()?;
        let (source, sink) = (Proxy::before(broker.address()), Proxy::before(broker.address()));
        let ferrule = Ferrule::start();
        ferrule.apply(&bridge(source.address(), sink.address())).ok();
        until("the source's subscription", || (broker.logged(&["Sending SUBACK to", SOURCE]) > 0).then_some(()));
        let far = Subscriber::connect(broker.address(), "far-end", "out/#");
        let near = Publisher::connect(broker.address(), "near-end");
        Some(Rig { ferrule, near, far, source, sink, broker, sent: 0 })
    }

    /// Publishes the next numbers, in turn to five topics.
    fn publish(&mut self, count: usize) {
        for number in self.sent..self.sent + count {
            self.near.publish(&format!("in/{}", number % 5), format!("{number:08}"));
        }
        self.sent += count;
    }

    fn numbers(&self) -> BTreeSet<usize> {
        self.far.arrived().iter().map(number).collect()
    }

    /// Waits until `count` different records have arrived.
    fn arrived(&self, count: usize) {
        until(&format!("{count} records at the far end"), || (self.numbers().len() >= count).then_some(()));
    }

    /// Waits for everything; order must hold, and duplicates must be explained by `breaks` broken connections of the sink and by what
    /// the broker gave once more.
    fn complete(&self, breaks: usize) {
        self.near.flush();
        self.arrived(self.sent);
        let arrived = self.far.arrived();
        let mut highest: BTreeMap<&str, usize> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for message in &arrived {
            let number = number(message);
            if seen.insert(number) {
                let before = highest.insert(&message.0, number);
                assert!(before.is_none_or(|before| before < number), "{}: {number} after {before:?}", message.0);
            }
        }
        assert_eq!(seen, (0..self.sent).collect(), "foreign numbers");
        let again = self.broker.logged(&[&format!("Sending PUBLISH to {SOURCE} (d1")]);
        let (duplicates, bound) = (arrived.len() - seen.len(), again + breaks * IN_FLIGHT);
        assert!(duplicates <= bound, "{duplicates} duplicates, and {bound} are explained");
    }
}

fn number((_, payload): &Message) -> usize {
    std::str::from_utf8(payload).unwrap().parse().unwrap()
}

#[test]
fn a_broker_that_refuses_is_asked_again_until_it_takes() {
    let Some(mut rig) = Rig::start() else { return };
    rig.publish(100);
    rig.arrived(100);
    for proxy in [&rig.source, &rig.sink] {
        proxy.refuse(true);
        proxy.reset();
    }
    rig.publish(500);
    rig.ferrule.wait("stream", "bridge-source", "unhealthy while it is refused", |stream| {
        let conditions = stream["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|condition| condition["type"] == "Healthy" && condition["status"] == "False")
    });
    for proxy in [&rig.source, &rig.sink] {
        proxy.refuse(false);
    }
    rig.complete(1);
}

#[test]
fn a_slow_way_to_the_broker_holds_back_and_loses_nothing() {
    let Some(mut rig) = Rig::start() else { return };
    rig.sink.slow(50_000);
    rig.publish(5000);
    rig.arrived(500);
    rig.sink.slow(0);
    rig.source.slow(50_000);
    rig.publish(1000);
    rig.arrived(5200);
    rig.source.slow(0);
    rig.complete(0);
}

#[test]
fn a_half_open_connection_is_noticed_by_its_keep_alive() {
    let Some(mut rig) = Rig::start() else { return };
    rig.publish(2000);
    rig.arrived(200);
    // From here on both connections are dead, and nobody says so.
    let connections = [&rig.source, &rig.sink].map(Proxy::accepted);
    rig.source.freeze();
    rig.sink.freeze();
    rig.publish(1000);
    for (proxy, before) in [&rig.source, &rig.sink].into_iter().zip(connections) {
        until("a new connection in place of the dead one", || (proxy.accepted() > before).then_some(()));
    }
    rig.complete(1);
}

#[test]
fn resets_in_the_middle_of_batches_lose_nothing() {
    let Some(mut rig) = Rig::start() else { return };
    let resets = 4;
    for turn in 0..resets {
        rig.publish(500);
        // Somewhere in what is on its way, elsewhere each time.
        rig.arrived(turn * 500 + 37 * (turn + 1));
        rig.source.reset();
        rig.sink.reset();
    }
    rig.complete(resets);
}

#[test]
fn what_a_broker_acknowledged_and_then_lost_itself_is_all_that_is_missing() {
    let Some(mut rig) = Rig::start() else { return };
    let publish = |rig: &mut Rig, numbers: std::ops::Range<usize>| {
        for number in numbers {
            // A topic each, because the broker's log tells topics.
            rig.near.publish(&format!("in/n{number}"), format!("{number:08}"));
        }
    };
    // The subscriptions must be on the broker's disk: two savings, because one may have begun before.
    let saved = || rig.broker.logged(&["Saving in-memory database"]);
    let before = saved();
    until("the broker saves its sessions", || (saved() >= before + 2).then_some(()));
    publish(&mut rig, 0..3000);
    rig.arrived(300);
    rig.broker.kill();
    rig.broker.up();
    publish(&mut rig, 3000..3500);
    until("the last record", || rig.numbers().contains(&3499).then_some(()));
    // What the source acknowledged is the runtime's to deliver, whatever the broker forgot. Afterwards the far end's own queue is the
    // broker's again: so what counts is that the sink handed it over.
    until("every acknowledged record handed to the broker", || {
        let (acknowledged, handed) = (acknowledged(&rig.broker), handed_over(&rig.broker));
        acknowledged.is_subset(&handed).then_some(())
    });
    assert!(acknowledged(&rig.broker).len() > 300);
}

/// The numbers that the source acknowledged, by the broker's log.
fn acknowledged(broker: &Mosquitto) -> BTreeSet<usize> {
    let (sent, taken) = (format!("Sending PUBLISH to {SOURCE} "), format!("Received PUBACK from {SOURCE} "));
    let (mut packets, mut numbers) = (BTreeMap::new(), BTreeSet::new());
    for line in broker.log_lines() {
        if line.contains(&sent) {
            let packet = between(&line, ", m", ",").parse::<u16>().unwrap();
            packets.insert(packet, between(&line, "in/n", "'").parse::<usize>().unwrap());
        } else if line.contains(&taken) {
            numbers.extend(packets.get(&between(&line, "(Mid: ", ",").parse::<u16>().unwrap()));
        }
    }
    numbers
}

/// The numbers that the sink handed to the broker, by the broker's log.
fn handed_over(broker: &Mosquitto) -> BTreeSet<usize> {
    let received = format!("Received PUBLISH from {SINK} ");
    let lines = broker.log_lines();
    lines
        .iter()
        .filter(|line| line.contains(&received))
        .map(|line| between(line, "in/n", "'").parse().unwrap())
        .collect()
}

fn between<'a>(line: &'a str, before: &str, after: &str) -> &'a str {
    line.split_once(before).unwrap().1.split(after).next().unwrap()
}
