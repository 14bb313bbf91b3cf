//! Native MQTT clients, independent of the guests.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use crate::until;
use rumqttc::{Client, Event, MqttOptions, Packet, QoS};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// A publisher with QoS 1 that counts acknowledgements.
pub struct Publisher {
    client: Client,
    sent: u64,
    acknowledged: Arc<AtomicU64>,
}

impl Publisher {
    /// Connects; goes on connecting again while the broker is away.
    pub fn connect(broker: SocketAddr, name: &str) -> Publisher {
        let mut options = options(broker, name);
        // What was not acknowledged is sent again after the connection broke.
        options.set_clean_session(false);
        let (client, mut connection) = Client::new(options, 100_000);
        let acknowledged = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&acknowledged);
        thread::spawn(move || {
            for event in connection.iter() {
                match event {
                    Ok(Event::Incoming(Packet::PubAck(_))) => _ = counter.fetch_add(1, Ordering::SeqCst),
                    Ok(Event::Outgoing(rumqttc::Outgoing::Disconnect)) => return,
                    Ok(_) => {}
                    Err(_) => thread::sleep(std::time::Duration::from_millis(50)),
                }
            }
        });
        Publisher { client, sent: 0, acknowledged }
    }

    /// Publishes one message.
    pub fn publish(&mut self, topic: &str, payload: impl Into<Vec<u8>>) {
        self.client.publish(topic, QoS::AtLeastOnce, false, payload).unwrap();
        self.sent += 1;
    }

    /// Waits until the broker acknowledged everything.
    pub fn flush(&self) {
        until("the broker acknowledges everything published", || {
            (self.acknowledged.load(Ordering::SeqCst) >= self.sent).then_some(())
        });
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.client.disconnect().ok();
    }
}

/// A message as it arrived: topic and payload.
pub type Message = (String, Vec<u8>);

/// A subscriber with QoS 1 and a persistent session that keeps what arrives.
pub struct Subscriber {
    client: Client,
    arrived: Arc<Mutex<Vec<Message>>>,
}

impl Subscriber {
    /// Connects and waits for the confirmation of the subscription.
    pub fn connect(broker: SocketAddr, name: &str, filter: &str) -> Subscriber {
        let mut options = options(broker, name);
        options.set_clean_session(false);
        let (client, mut connection) = Client::new(options, 100_000);
        client.subscribe(filter, QoS::AtLeastOnce).unwrap();
        let arrived = Arc::new(Mutex::new(Vec::new()));
        let confirmed = Arc::new(AtomicU64::new(0));
        let (keep, confirm) = (Arc::clone(&arrived), Arc::clone(&confirmed));
        thread::spawn(move || {
            for event in connection.iter() {
                match event {
                    Ok(Event::Incoming(Packet::SubAck(_))) => confirm.store(1, Ordering::SeqCst),
                    Ok(Event::Incoming(Packet::Publish(publish))) => {
                        keep.lock().unwrap().push((publish.topic, publish.payload.to_vec()));
                    }
                    Ok(Event::Outgoing(rumqttc::Outgoing::Disconnect)) => return,
                    Ok(_) => {}
                    Err(_) => thread::sleep(std::time::Duration::from_millis(50)),
                }
            }
        });
        until("the subscription is confirmed", || (confirmed.load(Ordering::SeqCst) == 1).then_some(()));
        Subscriber { client, arrived }
    }

    /// What arrived so far.
    pub fn arrived(&self) -> Vec<Message> {
        self.arrived.lock().unwrap().clone()
    }

    /// How many messages arrived so far.
    pub fn count(&self) -> usize {
        self.arrived.lock().unwrap().len()
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.client.disconnect().ok();
    }
}

fn options(broker: SocketAddr, name: &str) -> MqttOptions {
    let mut options = MqttOptions::new(name, broker.ip().to_string(), broker.port());
    options.set_max_packet_size(10 << 20, 10 << 20).set_inflight(1000);
    options
}
