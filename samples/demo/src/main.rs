//! The demo: this machine's measurements travel MQTT broker → sandboxed source → sandboxed function → sandboxed sink → broker →
//! subscriber and are counted at the far end; then a connector reaches for an address that nobody granted.

mod broker;
mod far_end;
mod options;
mod platform;
mod readings;

use anyhow::{Context as _, Result, ensure};
use far_end::FarEnd;
use options::{Asked, Options};
use platform::Platform;
use rumqttc::{Client, Event, MqttOptions, Outgoing, Packet, QoS};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How often everything is measured.
const INTERVAL: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    let options = match options::read(std::env::args().skip(1)) {
        Ok(Asked::Demo(options)) => options,
        Ok(Asked::Help) => {
            print!("{}", options::USAGE);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprint!("error: {error}\n\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    match show(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn show(options: &Options) -> Result<()> {
    let data = tempfile::tempdir()?;
    let broker = broker::start()?;
    let (forbidden, intrusions) = forbidden_listener()?;
    println!("broker on {broker}; starting the platform");
    let mut platform = Platform::start(data.path(), broker, forbidden)?;
    let far_end = FarEnd::subscribe(broker)?;

    let documents = Path::new(env!("CARGO_MANIFEST_DIR")).join("documents");
    let document = |name: &str| documents.join(name).to_string_lossy().into_owned();
    print!("{}", platform.command(&["apply", "-f", &document("pipeline.yaml")])?);
    platform.wait_for("stream", "machine-readings-source", "open", ready)?;
    platform.wait_for("stream", "machine-readings-sink", "open", ready)?;

    let published = publish(options, broker, &far_end, &mut platform)?;
    far_end.wait_for(published, Duration::from_secs(20)).context("not everything arrived at the far end")?;
    let (delivered, duplicates, _) = far_end.counts();

    println!("\na connector reaches for {forbidden}, which nobody granted:");
    print!("{}", platform.command(&["apply", "-f", &document("forbidden.yaml")])?);
    let refused = platform.wait_for("stream", "forbidden-source", "refused", |stream| refusal(stream).is_some())?;
    println!("{}", refusal(&refused).unwrap_or_default());
    let intrusions = intrusions.load(Ordering::SeqCst);

    let status = platform.stop()?;
    println!(
        "\npublished {published} = delivered {delivered}, lost {}, duplicates {duplicates}",
        published - delivered
    );
    println!("connections at the forbidden address: {intrusions}");
    ensure!(published > 0 && published == delivered, "published {published}, delivered {delivered}");
    ensure!(intrusions == 0, "the forbidden address was reached");
    ensure!(status.success(), "ferrule serve ended with {status}");
    Ok(())
}

/// Publishes measurements, with QoS 1, and shows once a second what comes out. Returns how many the broker acknowledged.
fn publish(options: &Options, broker: SocketAddr, far_end: &FarEnd, platform: &mut Platform) -> Result<u64> {
    let (client, mut connection) =
        Client::new(MqttOptions::new("demo-meter", broker.ip().to_string(), broker.port()), 1000);
    let acknowledged = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&acknowledged);
    let events = thread::Builder::new().name("meter".into()).spawn(move || {
        for event in connection.iter() {
            match event {
                Ok(Event::Incoming(Packet::PubAck(_))) => {
                    counter.fetch_add(1, Ordering::SeqCst);
                }
                Ok(Event::Outgoing(Outgoing::Disconnect)) => return,
                Ok(_) => {}
                Err(error) => {
                    eprintln!("the meter lost its broker: {error}");
                    return;
                }
            }
        }
    })?;

    let mut meter = readings::Meter::new()?;
    let start = Instant::now();
    let (mut sent, mut next_line, mut seen) = (0_u64, Duration::from_secs(1), 0);
    while options.keep || start.elapsed() < options.duration {
        for reading in meter.read() {
            client.publish(reading.topic, QoS::AtLeastOnce, false, reading.payload)?;
            sent += 1;
        }
        if start.elapsed() >= next_line {
            platform.check()?;
            let (delivered, _, last) = far_end.counts();
            println!(
                "{:>3} s  published {sent:>6}  delivered {delivered:>6}  {:>4}/s  {}",
                next_line.as_secs(),
                delivered - seen,
                last.unwrap_or_default()
            );
            (seen, next_line) = (delivered, next_line + Duration::from_secs(1));
        }
        thread::sleep(INTERVAL);
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while acknowledged.load(Ordering::SeqCst) < sent {
        ensure!(
            Instant::now() < deadline,
            "the broker acknowledged {} of {sent} readings",
            acknowledged.load(Ordering::SeqCst)
        );
        thread::sleep(Duration::from_millis(10));
    }
    client.disconnect()?;
    events.join().ok().context("the meter's thread panicked")?;
    Ok(sent)
}

/// A listener that counts who reaches it.
fn forbidden_listener() -> Result<(SocketAddr, Arc<AtomicU64>)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let count = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&count);
    thread::Builder::new().name("forbidden".into()).spawn(move || {
        for _ in listener.incoming() {
            counter.fetch_add(1, Ordering::SeqCst);
        }
    })?;
    Ok((address, count))
}

fn ready(stream: &serde_json::Value) -> bool {
    conditions(stream).any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// The message of the condition that says that the stream was refused something.
fn refusal(stream: &serde_json::Value) -> Option<String> {
    let refused = conditions(stream).find(|condition| condition["reason"] == "Refused")?;
    Some(refused["message"].as_str()?.to_owned())
}

fn conditions(object: &serde_json::Value) -> impl Iterator<Item = &serde_json::Value> {
    object["status"]["conditions"].as_array().into_iter().flatten()
}
