//! The oracle's own MQTT clients: one publishes numbered records at QoS 1, one receives what comes out; neither loses anything.

use crate::ledger::Ledger;
use crate::random::Random;
use crate::record::Records;
use anyhow::{Context as _, Result, bail};
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Outgoing, Packet, QoS};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Between two bursts on average.
const TICK: Duration = Duration::from_millis(10);

/// How long the broker may take to acknowledge what was published.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the clients' event loops count.
#[derive(Debug, Default)]
struct Wire {
    acknowledged: AtomicU64,
    subscribed: AtomicBool,
    broke: AtomicU64,
}

/// Publishes records until it is told to stop.
pub(crate) struct Publisher {
    client: AsyncClient,
    records: Records,
    wire: Arc<Wire>,
    stop: Arc<AtomicBool>,
    sending: Option<JoinHandle<Result<Vec<u64>>>>,
}

impl Publisher {
    /// Connects, and publishes nothing yet.
    pub(crate) fn connect(broker: SocketAddr, records: Records) -> Publisher {
        let (client, events) = AsyncClient::new(options(broker, "crash-near-end"), 1000);
        let wire = Arc::new(Wire::default());
        tokio::spawn(poll(events, Arc::clone(&wire), |_, _| {}));
        Publisher { client, records, wire, stop: Arc::default(), sending: None }
    }

    /// From now on publishes about `rate` records a second to `in/kN`.
    pub(crate) fn begin(&mut self, rate: u64) {
        self.sending = Some(tokio::spawn(send(self.client.clone(), self.records, rate, Arc::clone(&self.stop))));
    }

    /// Reads how many records the broker accepted.
    pub(crate) fn accepted(&self) -> impl Fn() -> u64 + Send + Sync + use<> {
        let wire = Arc::clone(&self.wire);
        move || wire.acknowledged.load(Ordering::SeqCst)
    }

    /// Stops, publishes one last record of each key, and waits until the broker accepted all. How many of each key it accepted.
    pub(crate) async fn finish(self) -> Result<Vec<u64>> {
        self.stop.store(true, Ordering::SeqCst);
        let mut sent = self.sending.context("nothing was published")?.await??;
        for (key, next) in sent.iter_mut().enumerate() {
            publish(&self.client, &self.records, key, *next).await?;
            *next += 1;
        }
        let all: u64 = sent.iter().sum();
        let accepted = async {
            while self.wire.acknowledged.load(Ordering::SeqCst) < all {
                tokio::time::sleep(TICK).await;
            }
        };
        if tokio::time::timeout(PATIENCE, accepted).await.is_err() {
            bail!("the broker did not acknowledge everything that the oracle published");
        }
        unbroken(&self.wire)?;
        self.client.disconnect().await.ok();
        Ok(sent)
    }
}

async fn send(client: AsyncClient, records: Records, rate: u64, stop: Arc<AtomicBool>) -> Result<Vec<u64>> {
    let mut random = Random::new(records.seed, "traffic");
    let mut sent = vec![0; records.keys];
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !stop.load(Ordering::SeqCst) {
        ticks.tick().await;
        // Half of the records come in a steady trickle and half in bursts, so that batches are of all sizes.
        let burst = if random.below(16) == 0 { rate / 6 } else { rate / 100 };
        for _ in 0..random.below(burst + 1) {
            let key = usize::try_from(random.below(records.keys as u64)).unwrap_or(0);
            publish(&client, &records, key, sent[key]).await?;
            sent[key] += 1;
        }
    }
    Ok(sent)
}

async fn publish(client: &AsyncClient, records: &Records, key: usize, number: u64) -> Result<()> {
    let payload = records.bytes(key, number);
    Ok(client.publish(format!("in/k{key}"), QoS::AtLeastOnce, false, payload).await?)
}

/// Receives what comes out into a ledger, by a persistent session.
pub(crate) struct Subscriber {
    client: AsyncClient,
    wire: Arc<Wire>,
    ledger: Arc<Mutex<Ledger>>,
}

impl Subscriber {
    /// Subscribes to `out/#`, and waits for the confirmation.
    pub(crate) async fn start(broker: SocketAddr, records: Records) -> Result<Subscriber> {
        let (client, events) = AsyncClient::new(options(broker, "crash-far-end"), 1000);
        client.subscribe("out/#", QoS::AtLeastOnce).await?;
        let wire = Arc::new(Wire::default());
        let ledger = Arc::new(Mutex::new(Ledger::new(records)));
        let book = Arc::clone(&ledger);
        tokio::spawn(poll(events, Arc::clone(&wire), move |topic, payload| {
            let key = topic.strip_prefix("out/in/k").and_then(|key| key.parse().ok());
            let mut ledger = book.lock().unwrap_or_else(PoisonError::into_inner);
            match key {
                Some(key) => ledger.payload(payload, Some(key)),
                None => ledger.foreign(format!("topic {topic}")),
            }
        }));
        let confirmed = async {
            while !wire.subscribed.load(Ordering::SeqCst) {
                tokio::time::sleep(TICK).await;
            }
        };
        if tokio::time::timeout(PATIENCE, confirmed).await.is_err() {
            bail!("the broker did not confirm the oracle's subscription");
        }
        Ok(Subscriber { client, wire, ledger })
    }

    /// What arrived so far.
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads how many different records arrived.
    pub(crate) fn distinct(&self) -> impl Fn() -> u64 + Send + Sync + use<> {
        let ledger = Arc::clone(&self.ledger);
        move || ledger.lock().unwrap_or_else(PoisonError::into_inner).distinct()
    }

    /// An error if the oracle's own connection broke: its counts would say nothing of the runtime.
    pub(crate) fn check(&self) -> Result<()> {
        unbroken(&self.wire)
    }

    /// Leaves.
    pub(crate) async fn finish(self) -> Result<Ledger> {
        self.check()?;
        self.client.disconnect().await.ok();
        Ok(self.ledger().clone())
    }
}

fn unbroken(wire: &Wire) -> Result<()> {
    match wire.broke.load(Ordering::SeqCst) {
        0 => Ok(()),
        times => bail!("the oracle's own connection to the broker broke {times} times; this run says nothing"),
    }
}

async fn poll(mut events: EventLoop, wire: Arc<Wire>, mut arrived: impl FnMut(&str, &[u8])) {
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::PubAck(_))) => _ = wire.acknowledged.fetch_add(1, Ordering::SeqCst),
            Ok(Event::Incoming(Packet::SubAck(_))) => wire.subscribed.store(true, Ordering::SeqCst),
            Ok(Event::Incoming(Packet::Publish(publish))) => arrived(&publish.topic, &publish.payload),
            Ok(Event::Outgoing(Outgoing::Disconnect)) => return,
            Ok(_) => {}
            Err(_) => {
                wire.broke.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn options(broker: SocketAddr, name: &str) -> MqttOptions {
    let mut options = MqttOptions::new(name, broker.ip().to_string(), broker.port());
    options.set_clean_session(false).set_max_packet_size(1 << 20, 1 << 20).set_inflight(1000);
    options.set_keep_alive(Duration::from_secs(300));
    options
}
