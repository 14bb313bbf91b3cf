//! A bridge: Mosquitto → function → Mosquitto, QoS 1, in order; beside it a native bridge that does nothing else.

mod bridge;
mod wire;

use anyhow::{Context as _, Result, ensure};
use async_trait::async_trait;
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

use crate::Options;
use crate::clock;
use crate::measure::{Arm, Sample};
use crate::report::{Expected, Report, Table};
use crate::run::folder;
use crate::server::{Server, free_port, signal, until};

pub(crate) use bridge::run as bridge;

const SIZE: usize = 256;
const MESSAGES: u64 = 60_000;

/// What every client of the broker may have in flight.
pub(crate) const IN_FLIGHT: u16 = 1_000;

const OURS: &str = "ferrule";
const NATIVE: &str = "native bridge";

pub(crate) async fn run(options: &Options) -> Result<Report> {
    let mut table = Table::of_arms("size");
    let mut expected = Vec::new();
    if let Some(mosquitto) = program() {
        let arm = |name, what| Box::new(Bridged { name, what, mosquitto: mosquitto.clone() }) as Box<dyn Arm>;
        let arms = vec![arm(OURS, What::Ferrule), arm("ferrule again (A/A)", What::Ferrule), arm(NATIVE, What::Native)];
        let compared = options.compare("256 B", arms).await?;
        table.add_arms("256 B", &json!({ "size": SIZE }), &compared);
        expected.extend(Expected::at_least("against the native bridge: messages/s", 0.9, compared.rate(OURS, NATIVE)));
        expected.extend(compared.per_core(NATIVE, OURS).map(|ratio| Expected {
            what: "against the native bridge: CPU per message".into(),
            wanted: "≤ 1.5 ×".into(),
            found: format!("{ratio:.2} ×"),
            met: ratio <= 1.5,
        }));
    }
    let method = format!(
        "`ferrule serve` (the binary) bridges Mosquitto to itself through the function `identity`, QoS 1, messages of {SIZE} B; the native \
         bridge is a program around the crate rumqttc that acknowledges what its other side acknowledged. The bridge is stopped \
         (SIGSTOP) while {MESSAGES} messages are published and acknowledged, and the time runs from its continuing until a subscriber \
         has them all, in order. Processor time is the bridge's alone. All clients may have {IN_FLIGHT} messages in flight."
    );
    Ok(Report { suite: "mqtt", method, tables: vec![table], expected })
}

/// Where Mosquitto is; nothing, with one line that says so, where it is not.
fn program() -> Option<PathBuf> {
    let paths =
        ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto", "/opt/homebrew/sbin/mosquitto", "/usr/bin/mosquitto"];
    let found = paths.iter().map(PathBuf::from).find(|path| path.is_file());
    if found.is_none() {
        eprintln!("skipped: needs the Mosquitto broker (Debian: apt-get install mosquitto)");
    }
    found
}

#[derive(Clone, Copy)]
enum What {
    Ferrule,
    Native,
}

struct Bridged {
    name: &'static str,
    what: What,
    mosquitto: PathBuf,
}

/// The bridge of one turn.
enum Running {
    Ferrule(Server),
    Native(Ended),
}

impl Running {
    fn process(&self) -> u32 {
        match self {
            Running::Ferrule(server) => server.process(),
            Running::Native(child) => child.0.id(),
        }
    }
}

/// A child that ends with its owner.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        if self.0.kill().is_ok() {
            self.0.wait().ok();
        }
    }
}

#[async_trait]
impl Arm for Bridged {
    fn name(&self) -> &str {
        self.name
    }

    async fn turn(&mut self) -> Result<Sample> {
        let (what, mosquitto) = (self.what, self.mosquitto.clone());
        tokio::task::spawn_blocking(move || turn(what, &mosquitto)).await?
    }
}

fn turn(what: What, mosquitto: &PathBuf) -> Result<Sample> {
    let folder = folder()?;
    let (address, _broker) = broker(mosquitto, &folder)?;
    let mut far_end = wire::Subscriber::connect(address, "out")?;
    let running = match what {
        What::Ferrule => {
            let data = folder.path().join("data");
            let mut server = Server::start(&data)?;
            server.apply(&data, &documents(address))?;
            Running::Ferrule(server)
        }
        What::Native => {
            let mut command = Command::new(std::env::current_exe()?);
            let child = command.arg("bridge").env("FERRULE_BENCH_BROKER", address.to_string()).stdin(Stdio::null());
            Running::Native(Ended(child.spawn()?))
        }
    };
    // The bridge is up when a message comes through it.
    let mut publisher = wire::Publisher::connect(address)?;
    let mut probes = 0;
    until("the bridge is up", || {
        publisher.publish("in", &vec![b'p'; SIZE], 1)?;
        probes += 1;
        Ok(far_end.within(Duration::from_millis(100))?.then_some(()))
    })?;
    while far_end.within(Duration::from_millis(300))? {}
    // A server that starts compiles the classes that ship with it; that is not the bridge.
    until("the bridge is idle", || {
        let before = clock::of(running.process())?;
        std::thread::sleep(Duration::from_millis(300));
        Ok((clock::of(running.process())? - before < Duration::from_millis(15)).then_some(()))
    })?;
    signal(running.process(), "STOP")?;
    for number in 0..MESSAGES {
        let mut content = format!("{number:020} ").into_bytes();
        content.resize(SIZE, b'm');
        publisher.publish("in", &content, usize::from(IN_FLIGHT))?;
    }
    publisher.flush()?;
    let (start, cpu) = (Instant::now(), clock::of(running.process())?);
    signal(running.process(), "CONT")?;
    for number in 0..MESSAGES {
        let content = far_end.next().with_context(|| format!("message {number} of {MESSAGES}"))?;
        ensure!(
            content.len() == SIZE && content.starts_with(format!("{number:020} ").as_bytes()),
            "message {number} is {:?}",
            String::from_utf8_lossy(content)
        );
    }
    let wall = start.elapsed();
    let cpu = clock::of(running.process())? - cpu;
    Ok(Sample { records: MESSAGES, wall, cpu })
}

fn broker(program: &PathBuf, folder: &TempDir) -> Result<(SocketAddr, Ended)> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
    let config = format!(
        "listener {} 127.0.0.1\nallow_anonymous true\npersistence false\nmax_queued_messages 0\nmax_queued_bytes 0\n\
         max_inflight_messages {IN_FLIGHT}\nset_tcp_nodelay true\nlog_dest none\n",
        address.port()
    );
    let path = folder.path().join("mosquitto.conf");
    std::fs::write(&path, config)?;
    let mut command = Command::new(program);
    command.arg("-c").arg(path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let broker = Ended(command.spawn().context("could not start Mosquitto")?);
    until("Mosquitto listens", || Ok(TcpStream::connect(address).ok().map(drop)))?;
    Ok((address, broker))
}

fn documents(broker: SocketAddr) -> String {
    format!(
        "apiVersion: connector.ferrule.dev/v1
kind: Pipeline
metadata: {{name: bridge}}
spec:
  source:
    class: mqtt
    parameters: {{broker: 'mqtt://{broker}', topics: [in], qos: 1, client-id: source, max-in-flight: {IN_FLIGHT}}}
  functions:
    - {{function: identity}}
  sink:
    class: mqtt
    parameters: {{broker: 'mqtt://{broker}', topic: out, qos: 1, client-id: sink, max-in-flight: {IN_FLIGHT}}}
---
apiVersion: connector.ferrule.dev/v1
kind: Grant
metadata: {{name: broker}}
spec: {{class: mqtt, allow: [{{tcp: '{broker}'}}]}}
"
    )
}
