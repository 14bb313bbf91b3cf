//! The native bridge: two clients of the crate rumqttc, one for each side, in a process of its own.

use anyhow::{Context as _, Result, bail};
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, Publish, QoS};
use std::net::SocketAddr;
use tokio::sync::mpsc;

use super::IN_FLIGHT;

/// Runs until it is ended, or one of its connections breaks. The broker's address is in `FERRULE_BENCH_BROKER`.
pub(crate) async fn run() -> Result<()> {
    let broker = std::env::var("FERRULE_BENCH_BROKER").context("FERRULE_BENCH_BROKER names no broker")?;
    let broker: SocketAddr = broker.parse()?;
    let (source, source_events) = client(broker, "native-source", true);
    let (sink, sink_events) = client(broker, "native-sink", false);
    // What was published and is not acknowledged, in order; and what may be acknowledged. Both without a bound, so that neither
    // side ever waits for the other with an acknowledgement in its hand.
    let (published, waiting) = mpsc::unbounded_channel();
    let (done, acknowledged) = mpsc::unbounded_channel();
    tokio::select! {
        ended = take(source_events, &source, sink, published) => ended,
        ended = give(sink_events, waiting, done) => ended,
        ended = acknowledge(&source, acknowledged) => ended,
    }
}

fn client(broker: SocketAddr, name: &str, manual: bool) -> (AsyncClient, EventLoop) {
    let mut options = MqttOptions::new(name, broker.ip().to_string(), broker.port());
    options.set_manual_acks(manual).set_inflight(IN_FLIGHT).set_max_packet_size(1 << 20, 1 << 20);
    AsyncClient::new(options, usize::from(IN_FLIGHT))
}

/// Takes messages and hands each to the other side.
async fn take(
    mut events: EventLoop,
    source: &AsyncClient,
    sink: AsyncClient,
    published: mpsc::UnboundedSender<Publish>,
) -> Result<()> {
    let (messages, mut taken) = mpsc::channel::<Publish>(usize::from(IN_FLIGHT));
    let forward = async {
        while let Some(message) = taken.recv().await {
            let content = message.payload.clone();
            published.send(message)?;
            sink.publish_bytes("out", QoS::AtLeastOnce, false, content).await?;
        }
        bail!("nothing more is taken")
    };
    let poll = async {
        loop {
            match events.poll().await? {
                Event::Incoming(Packet::ConnAck(_)) => source.subscribe("in", QoS::AtLeastOnce).await?,
                Event::Incoming(Packet::Publish(message)) => messages.send(message).await?,
                _ => {}
            }
        }
    };
    tokio::select! {
        ended = forward => ended,
        ended = poll => ended,
    }
}

/// The broker acknowledges in the order of publishing.
async fn give(
    mut events: EventLoop,
    mut waiting: mpsc::UnboundedReceiver<Publish>,
    done: mpsc::UnboundedSender<Publish>,
) -> Result<()> {
    loop {
        if let Event::Incoming(Packet::PubAck(_)) = events.poll().await? {
            done.send(waiting.recv().await.context("an acknowledgement of nothing")?)?;
        }
    }
}

async fn acknowledge(source: &AsyncClient, mut acknowledged: mpsc::UnboundedReceiver<Publish>) -> Result<()> {
    while let Some(message) = acknowledged.recv().await {
        source.ack(&message).await?;
    }
    bail!("nothing more is acknowledged")
}
