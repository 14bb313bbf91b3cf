//! The far end: a native subscriber that counts what really arrived.

use anyhow::{Context as _, Result};
use rumqttc::{Client, Event, MqttOptions, Packet, QoS};
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// What arrived so far.
#[derive(Default)]
struct Arrived {
    subscribed: bool,
    sequences: BTreeSet<u64>,
    duplicates: u64,
    last: Option<String>,
}

/// A subscriber on `out/#`.
#[derive(Clone, Default)]
pub(crate) struct FarEnd {
    arrived: Arc<(Mutex<Arrived>, Condvar)>,
}

impl FarEnd {
    /// Connects, and returns once the broker confirmed the subscription.
    pub(crate) fn subscribe(broker: SocketAddr) -> Result<FarEnd> {
        let far_end = FarEnd::default();
        let mut options = MqttOptions::new("demo-far-end", broker.ip().to_string(), broker.port());
        options.set_max_packet_size(1 << 20, 1 << 20);
        let (client, mut connection) = Client::new(options, 1000);
        client.subscribe("out/#", QoS::AtLeastOnce)?;
        let inner = far_end.clone();
        thread::Builder::new().name("far-end".into()).spawn(move || {
            // The client lives as long as the thread: without it the connection ends.
            let _client = client;
            for event in connection.iter() {
                match event {
                    Ok(Event::Incoming(Packet::SubAck(_))) => inner.note(|arrived| arrived.subscribed = true),
                    Ok(Event::Incoming(Packet::Publish(publish))) => inner.count(&publish.payload),
                    Ok(_) => {}
                    Err(error) => {
                        eprintln!("the far end lost its broker: {error}");
                        return;
                    }
                }
            }
        })?;
        far_end
            .wait(Duration::from_secs(10), |arrived| arrived.subscribed)
            .context("the far end's subscription was not confirmed")?;
        Ok(far_end)
    }

    /// How many different readings arrived, how many of them more than once, and the last.
    pub(crate) fn counts(&self) -> (u64, u64, Option<String>) {
        let arrived = self.arrived.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        (arrived.sequences.len() as u64, arrived.duplicates, arrived.last.clone())
    }

    /// Waits until `count` different readings arrived.
    pub(crate) fn wait_for(&self, count: u64, at_most: Duration) -> Result<()> {
        self.wait(at_most, |arrived| arrived.sequences.len() as u64 >= count)
    }

    fn count(&self, payload: &[u8]) {
        self.note(|arrived| {
            let sequence =
                serde_json::from_slice::<Value>(payload).ok().and_then(|reading| reading["sequence"].as_u64());
            // What carries no sequence number was not published by the demo and must not count as delivered.
            if let Some(sequence) = sequence {
                if !arrived.sequences.insert(sequence) {
                    arrived.duplicates += 1;
                }
                arrived.last = Some(String::from_utf8_lossy(payload).into_owned());
            }
        });
    }

    fn note(&self, change: impl FnOnce(&mut Arrived)) {
        change(&mut self.arrived.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        self.arrived.1.notify_all();
    }

    fn wait(&self, at_most: Duration, done: impl Fn(&Arrived) -> bool) -> Result<()> {
        let deadline = Instant::now() + at_most;
        let mut arrived = self.arrived.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        while !done(&arrived) {
            let left =
                deadline.checked_duration_since(Instant::now()).with_context(|| format!("not within {at_most:?}"))?;
            arrived = self.arrived.1.wait_timeout(arrived, left).unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
        Ok(())
    }
}
