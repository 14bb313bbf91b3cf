//! Scenarios `mqtt`, `swap` and `jetstream`: broker → source → functions → sink → broker, with the oracle at both ends.

use crate::broker::{Broker, Client};
use crate::killer::Killer;
use crate::ledger::Ledger;
use crate::nats::Nats;
use crate::options::{Options, Scenario};
use crate::phase::{Kill, Order, Reach, Schedule, named};
use crate::record::Records;
use crate::report::{BATCH, Bound, Report};
use crate::runtime::Runtime;
use crate::traffic::{Publisher, Subscriber};
use crate::{dead_letters, variant};
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Messages that the sink may have unacknowledged, at most; each `apply` changes the figure, so that there is something to apply.
const SINK_WINDOW: u64 = 200;

/// How long nothing may change before the run is given up, once there are no more kills.
const PATIENCE: Duration = Duration::from_secs(60);

/// After everything that was in flight has been settled, what is missing may still be on its way for so long.
const GRACE: Duration = Duration::from_secs(3);

const SOURCE: &str = "crash-source";
const SINK: &str = "crash-sink";

/// How long the server of the log stays away, at most.
const AWAY: Duration = Duration::from_secs(1);

/// How long cursors are not saved because of a kill of it, at most: while it is away, for a second after it is back, and while it starts.
const UNSAVED: Duration = Duration::from_secs(3);

/// Runs the scenario; `swap` replaces components while records flow, also without a kill, and `jetstream` kills the server of the log.
pub(crate) async fn run(options: &Options, folder: &Path) -> Result<Report> {
    let begun = Instant::now();
    let swaps = options.scenario == Scenario::Swap;
    let mut serve = options.serve.clone();
    let mut nats = match options.scenario {
        Scenario::Jetstream => Some(Nats::start(folder).await?),
        _ => None,
    };
    if let Some(nats) = &nats {
        serve.push(format!("--transport={}", nats.url()));
    }
    let program = Broker::program().context("Mosquitto is not installed")?;
    let mut broker = Broker::start(&program, folder).await?;
    let records = Records { seed: options.seed, keys: options.keys };
    let subscriber = Subscriber::start(broker.address(), records).await?;
    let phases = options.phases(match options.scenario {
        Scenario::Swap => &["running", "busy", "swap"],
        Scenario::Jetstream => &["start", "opening", "busy", "drain", "apply", "nats"],
        _ => &["start", "opening", "running", "busy", "drain", "apply"],
    })?;
    let runtime = Runtime::new(&options.ferrule, folder, &serve, options.marks(&phases));
    let builds =
        if swaps || phases.iter().any(|phase| phase.name == "swap") { builds(options, folder)? } else { Vec::new() };
    let orders = orders(broker.address(), builds);
    let mut publisher = Publisher::connect(broker.address(), records);
    let (accepted, distinct) = (publisher.accepted(), subscriber.distinct());
    let passed = Box::new(broker.meter(SINK, |sink| sink.received));
    let under_way = Box::new(move || accepted().saturating_sub(distinct()));
    let mut killer = Killer::new(runtime, passed, under_way, Box::new(orders));

    let mut schedule = Schedule::new(&phases, options.seed);
    if phases.iter().any(|phase| phase.name == "start") {
        // The first kill of all falls into the first start, on an empty folder with nothing compiled.
        killer.life(schedule.next_in(named("start")?)).await?;
    }
    killer.start().await?;
    let documents = folder.join("bridge.yaml");
    fs::write(&documents, bridge(broker.address(), 0))?;
    killer.runtime.run(&["apply", "-f", &documents.to_string_lossy()]).await?;
    subscribed(&broker, &mut killer).await?;
    publisher.begin(options.rate);
    killer.flowing().await?;
    killer.running().await?;

    let mut in_flight = 0;
    while killer.tally.wants(options.kills, &phases) {
        if swaps && killer.tally.total() % 2 == 1 {
            killer.start().await?;
            killer.flowing().await?;
            killer.order(Order::Swap).await?;
            killer.flowing().await?;
            killer.running().await?;
            continue;
        }
        let kill = schedule.next().context("no phase to kill in")?;
        let phase = match &mut nats {
            Some(nats) if kill.phase.reach == Reach::Log => Some(both(&mut killer, nats, kill).await?),
            _ => killer.life(kill).await?,
        };
        schedule.fell(kill.phase, phase);
        in_flight = in_flight.max(broker.client(SOURCE).in_flight());
        broker.check()?;
        subscriber.check()?;
        options.progress(&killer.tally, begun.elapsed());
    }

    killer.start().await?;
    killer.flowing().await?;
    let accepted = publisher.finish().await?;
    let settled = settle(&mut broker, &mut killer.runtime, &subscriber, &accepted).await?;
    let letters = dead_letters::count(&killer.runtime).await?;
    killer.runtime.terminate().await?;
    let ended = killer.runtime.ended().await?;
    let ledger = subscriber.finish().await?;
    let source = broker.client(SOURCE);
    let mut faults = Vec::new();
    if !settled {
        faults.push(format!("{} messages were never acknowledged to the broker", source.in_flight()));
    }
    if letters > 0 {
        faults.push(format!("{letters} records are in the dead letters, and none should be"));
    }
    if !ended.status.success() {
        faults.push(format!("after everything the server did not stop in order: {}", ended.status));
    }
    // While the server of the log is away no cursor is saved, nor for a moment after it is back.
    let unsaved = nats.as_ref().map_or(0, |nats| nats.kills() * options.rate * UNSAVED.as_secs());
    let bound = Bound { again: source.sent_again + unsaved, cuts: killer.cuts() };
    let note = format!(
        "at most {in_flight} in flight to the source at one kill; {} of {} orders answered before the kill",
        killer.answered, killer.begun
    );
    Ok(Report::new(options, &killer.tally, &phases, ledger.judge(&accepted), bound, faults, note, begun.elapsed()))
}

/// Kills the server of the log under a runtime that works, and the runtime too: after the server came back, while it is away, or
/// after a start without it.
async fn both(killer: &mut Killer, nats: &mut Nats, kill: Kill) -> Result<&'static str> {
    killer.start().await?;
    killer.flowing().await?;
    killer.busy().await?;
    tokio::time::sleep(kill.at.share(kill.phase.within)).await;
    nats.kill().await?;
    killer.tally.add(kill.phase.name);
    let away = kill.before.share(AWAY);
    match kill.at.pick(3) {
        0 => {
            tokio::time::sleep(away).await;
            nats.up().await?;
            killer.flowing().await?;
            killer.running().await?;
        }
        1 => {
            tokio::time::sleep(away).await;
            killer.running().await?;
            nats.up().await?;
        }
        _ => {
            killer.running().await?;
            killer.start().await?;
            tokio::time::sleep(away).await;
            nats.up().await?;
            killer.flowing().await?;
            killer.running().await?;
        }
    }
    Ok(kill.phase.name)
}

async fn subscribed(broker: &Broker, killer: &mut Killer) -> Result<()> {
    let begun = Instant::now();
    while broker.client(SOURCE).subscriptions == 0 {
        killer.runtime.check()?;
        if begun.elapsed() > PATIENCE {
            bail!("the source did not subscribe within {PATIENCE:?}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// Waits until the last record of each key has arrived and nothing is in flight. Because order holds per key, what is missing then is
/// lost. Whether everything was acknowledged.
async fn settle(broker: &mut Broker, runtime: &mut Runtime, subscriber: &Subscriber, accepted: &[u64]) -> Result<bool> {
    let all: u64 = accepted.iter().sum();
    let state = |broker: &Broker, ledger: &Ledger| {
        let quiet = [SOURCE, "crash-far-end"].map(|name| Client::in_flight(&broker.client(name)));
        let last = accepted
            .iter()
            .enumerate()
            .all(|(key, count)| count.checked_sub(1).is_none_or(|last| ledger.has(key, last)));
        (ledger.distinct(), ledger.duplicates(), quiet, last)
    };
    let (mut before, mut changed) = (None, Instant::now());
    loop {
        broker.check()?;
        subscriber.check()?;
        runtime.check()?;
        let now = state(broker, &subscriber.ledger());
        if before != Some(now) {
            (before, changed) = (Some(now), Instant::now());
        }
        let (distinct, _, in_flight, last) = now;
        let still = changed.elapsed();
        if last && in_flight == [0, 0] && (distinct >= all && still > Duration::from_millis(300) || still > GRACE) {
            return Ok(true);
        }
        if still > PATIENCE {
            return Ok(in_flight[0] == 0);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The builds of the components that are swapped, with the words that register them.
fn builds(options: &Options, folder: &Path) -> Result<Vec<(String, Vec<PathBuf>)>> {
    let guests = options.guests();
    ["identity", "mqtt"]
        .into_iter()
        .map(|name| Ok((name.to_owned(), variant::write(&guests.join(format!("{name}.wasm")), folder)?)))
        .collect()
}

/// Makes commands that change something each time, whatever of the last one was carried out.
fn orders(
    broker: SocketAddr,
    builds: Vec<(String, Vec<PathBuf>)>,
) -> impl FnMut(&Runtime, Order) -> Result<tokio::process::Command> + Send {
    let (mut applied, mut swapped) = (0, 0);
    move |runtime, order| {
        let mut command = runtime.command();
        match order {
            Order::Apply => {
                applied += 1;
                let path = runtime.folder().join(format!("bridge-{}.yaml", applied % 8));
                fs::write(&path, bridge(broker, applied))?;
                command.args(["apply", "-f"]).arg(path);
            }
            Order::Swap => {
                let (turn, which) = (swapped / builds.len(), swapped % builds.len());
                let (name, files) = builds.get(which).context("nothing to swap")?;
                let file = files.get((turn + 1) % files.len()).context("nothing to swap with")?;
                swapped += 1;
                command.arg("register").arg(file).args(["--name", name, "--replace"]);
            }
            Order::Stop => bail!("a stop is a signal and no command"),
        }
        Ok(command)
    }
}

/// The documents; each `version` has other parameters for the sink and another program for the function.
fn bridge(broker: SocketAddr, version: u64) -> String {
    let window = SINK_WINDOW - version % 50;
    let spaces = " ".repeat(usize::try_from(version % 50).unwrap_or(0));
    format!(
        "apiVersion: connector.ferrule.dev/v1
kind: Pipeline
metadata: {{name: bridge}}
spec:
  source:
    class: mqtt
    parameters: {{broker: 'mqtt://{broker}', topics: ['in/#'], qos: 1, client-id: {SOURCE}}}
  functions:
    - {{function: identity}}
    - {{function: jq, args: {{program: '.{spaces}'}}}}
  sink:
    class: mqtt
    parameters: {{broker: 'mqtt://{broker}', topic: 'out/{{mqtt.topic}}', qos: 1, client-id: {SINK}, max-in-flight: {window}}}
  batch: {BATCH}
---
apiVersion: connector.ferrule.dev/v1
kind: Grant
metadata: {{name: broker}}
spec: {{class: mqtt, allow: [{{tcp: '{broker}'}}]}}
"
    )
}
