//! Scenarios `file` and `once`: generator → function → lines of a file, or a server that drops what it has by the record's id. Both
//! are judged by the lines alone. They need a log that lasts: the generator goes on at the position that was saved with its records.
//!
//! Beside it, a pipeline that is paused holds back a few records, so that the log has old files of which little is needed: it must
//! compact all the time, and lose none of these few.

use crate::dead_letters;
use crate::far::FarSide;
use crate::killer::Killer;
use crate::ledger::Ledger;
use crate::options::Options;
use crate::phase::{Order, Schedule};
use crate::record::Records;
use crate::report::{BATCH, Bound, Report};
use crate::runtime::Runtime;
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the file may stay as it is before the run is given up, once there are no more kills.
const PATIENCE: Duration = Duration::from_secs(60);

/// Records that are generated after the last kill, at least.
const AFTERWARDS: u64 = 1000;

/// Records that are held back all the time.
const HELD: u64 = 50;

/// A file of the log fills up in a moment, so that there is always something to compact.
const SEGMENT: &str = "--log-segment=128KiB";

/// Requests that the far side is given a second, at most: each is one of its own.
const REQUESTS: u64 = 500;

/// What a run writes and where.
struct Files {
    folder: PathBuf,
    seed: u64,
    keys: usize,
    rate: u64,
    /// The server that takes each record once, if there is one.
    far: Option<SocketAddr>,
}

/// Runs the scenario; with `once`, to a far side that takes each record once.
pub(crate) async fn run(options: &Options, folder: &Path, once: bool) -> Result<Report> {
    let begun = Instant::now();
    let phases = options.phases(&["start", "opening", "running", "drain", "apply", "compaction"])?;
    let lines = folder.join("lines");
    fs::create_dir(&lines)?;
    let [out, reference, held] = ["out.txt", "reference.txt", "held.txt"].map(|name| lines.join(name));
    let far = if once { Some(FarSide::start(&out).await?) } else { None };
    let rate = if once { options.rate.min(REQUESTS) } else { options.rate };
    let address = far.as_ref().map(FarSide::address);
    let files = Files { folder: lines, seed: options.seed, keys: options.keys, rate, far: address };
    let serve = [&[SEGMENT.to_owned()][..], &options.serve].concat();
    let runtime = Runtime::new(&options.ferrule, folder, &serve, options.marks(&phases));
    let passed: Box<dyn Fn() -> u64 + Send + Sync> = match &far {
        Some(far) => Box::new(far.count()),
        None => {
            let written = out.clone();
            Box::new(move || fs::metadata(&written).map_or(0, |file| file.len()))
        }
    };
    let apply = folder.join("pipeline.yaml");
    let orders = {
        let (apply, mut version) = (apply.clone(), 0);
        let files = files.again();
        move |runtime: &Runtime, order: Order| {
            let Order::Apply = order else { bail!("this scenario only applies") };
            version += 1;
            fs::write(&apply, files.pipeline("lines", "out.txt", 0, files.rate, version) + &files.held(true))?;
            let mut command = runtime.command();
            command.args(["apply", "-f"]).arg(&apply);
            Ok(command)
        }
    };
    let mut killer = Killer::new(runtime, passed, Box::new(|| 0), Box::new(orders));
    killer.start().await?;
    killer.order(Order::Apply).await?;
    killer.flowing().await?;
    killer.running().await?;
    let mut schedule = Schedule::new(&phases, options.seed);
    while killer.tally.wants(options.kills, &phases) {
        let kill = schedule.next().context("no phase to kill in")?;
        let phase = killer.life(kill).await?;
        schedule.fell(kill.phase, phase);
        options.progress(&killer.tally, begun.elapsed());
    }

    // Now the generator gets an end, beyond everything that it has made, and the same records are written once more undisturbed.
    killer.start().await?;
    killer.flowing().await?;
    let highest = numbers(&out)?.last().copied().context("nothing was written")?;
    let count = highest + AFTERWARDS + files.rate;
    let lines = files.pipeline("lines", "out.txt", count, files.rate, 0);
    let undisturbed = Files { far: None, ..files.again() }.pipeline("reference", "reference.txt", count, 0, 0);
    for documents in [lines, undisturbed, files.held(false)] {
        fs::write(&apply, documents)?;
        killer.runtime.run(&["apply", "-f", &apply.to_string_lossy()]).await?;
    }
    for (file, count) in [(&reference, count), (&out, count), (&held, HELD)] {
        complete(&mut killer.runtime, file, count).await?;
    }
    let letters = dead_letters::count(&killer.runtime).await?;
    killer.runtime.terminate().await?;
    let ended = killer.runtime.ended().await?;

    let mut faults = Vec::new();
    if letters > 0 {
        faults.push(format!("{letters} records are in the dead letters, and none should be"));
    }
    if !ended.status.success() {
        faults.push(format!("after everything the server did not stop in order: {}", ended.status));
    }
    let (ledger, torn) = judge(&out, &reference, options.keys)?;
    if torn > killer.tally.total() {
        faults.push(format!("{torn} torn lines, and a kill tears one at most"));
    }
    // The same seed gives the same records, so those that were held back are the first of the others.
    let first =
        fs::read(&reference)?.split_inclusive(|byte| *byte == b'\n').take(HELD as usize).collect::<Vec<_>>().concat();
    if fs::read(&held)? != first {
        faults.push(format!("of {HELD} records that were held back not each came once, in order and unaltered"));
    }
    let mut note =
        format!("{torn} lines torn by a kill; {} of {} orders answered before the kill", killer.answered, killer.begun);
    // What comes twice with its id the far side drops: so nothing is left to explain.
    let mut bound = Bound { again: 0, cuts: killer.cuts() };
    if let Some(far) = &far {
        if far.without_id() > 0 {
            faults.push(format!("{} records came without an id", far.without_id()));
        }
        note = format!("{note}; the far side dropped {} by their ids", far.again());
        bound = Bound::default();
    }
    let accepted: Vec<u64> =
        (0..options.keys as u64).map(|key| (count + options.keys as u64 - 1 - key) / options.keys as u64).collect();
    Ok(Report::new(options, &killer.tally, &phases, ledger.judge(&accepted), bound, faults, note, begun.elapsed()))
}

/// Waits until the file has all numbers below `count`, or nothing is written any more and the last number is there: what is missing
/// then is lost.
async fn complete(runtime: &mut Runtime, file: &Path, count: u64) -> Result<()> {
    let (mut size, mut changed) = (0, Instant::now());
    loop {
        runtime.check()?;
        let now = fs::metadata(file).map_or(0, |file| file.len());
        if now != size {
            (size, changed) = (now, Instant::now());
        }
        if changed.elapsed() > Duration::from_secs(1) {
            let numbers = numbers(file)?;
            if numbers.len() as u64 >= count
                || changed.elapsed() > Duration::from_secs(5) && numbers.last() == Some(&(count - 1))
            {
                return Ok(());
            }
        }
        if changed.elapsed() > PATIENCE {
            bail!("nothing was written to {} for {PATIENCE:?}, and its last record is not there", file.display());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The numbers of the whole lines of a file.
fn numbers(file: &Path) -> Result<BTreeSet<u64>> {
    let text = fs::read(file).with_context(|| format!("could not read {}", file.display()))?;
    Ok(text.split(|byte| *byte == b'\n').filter_map(number).collect())
}

fn number(line: &[u8]) -> Option<u64> {
    serde_json::from_slice::<serde_json::Value>(line).ok()?["sequence"].as_u64()
}

/// Compares each line with the undisturbed one of its number. What came, and how many lines are only the beginning of one.
fn judge(out: &Path, reference: &Path, keys: usize) -> Result<(Ledger, u64)> {
    let (out, reference) = (fs::read(out)?, fs::read(reference)?);
    let expected: Vec<&[u8]> = reference.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    let mut ledger = Ledger::new(Records { seed: 0, keys });
    let mut torn = 0;
    for line in out.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let shown = || String::from_utf8_lossy(line).into_owned();
        let Some(number) = number(line) else {
            if expected.iter().any(|expected| expected.starts_with(line)) {
                torn += 1;
            } else {
                ledger.foreign(shown());
            }
            continue;
        };
        match usize::try_from(number).ok().and_then(|place| expected.get(place)) {
            Some(expected) if *expected == line => {
                let key = usize::try_from(number % keys as u64).unwrap_or(0);
                ledger.record(key, number / keys as u64);
            }
            Some(_) => ledger.altered(shown()),
            None => ledger.foreign(shown()),
        }
    }
    Ok((ledger, torn))
}

impl Files {
    fn again(&self) -> Files {
        Files { folder: self.folder.clone(), ..*self }
    }

    /// The documents: `count` records, 0 without end; each `version` opens the sink anew.
    fn pipeline(&self, name: &str, file: &str, count: u64, rate: u64, version: u64) -> String {
        let (folder, seed, keys) = (self.folder.display(), self.seed, self.keys);
        let (multiline, sync) = (version % 3 == 1, version % 3 != 2);
        let sink = match self.far {
            None => {
                format!(
                    "{{class: file, parameters: {{folder: '{folder}', file: {file}, multiline: {multiline}, sync: {sync}}}}}"
                )
            }
            Some(address) => {
                let timeout = 30 + version % 3;
                format!("{{class: http, parameters: {{url: 'http://{address}/', timeout: {timeout}}}}}")
            }
        };
        let server = self.far.map(|address| {
            format!(
                "---
apiVersion: connector.ferrule.dev/v1
kind: Grant
metadata: {{name: far}}
spec: {{class: http, allow: [{{http: '{address}'}}]}}
"
            )
        });
        format!(
            "apiVersion: connector.ferrule.dev/v1
kind: Pipeline
metadata: {{name: {name}}}
spec:
  source:
    class: generator
    parameters: {{rate: {rate}, size: 120, count: {count}, seed: {seed}, keys: {keys}}}
    log: {{keep: {{bytes: 64KiB}}}}
  functions: [{{function: identity}}]
  sink: {sink}
  start: beginning
  deduplicate: {{window: 1m}}
  batch: {BATCH}
---
apiVersion: connector.ferrule.dev/v1
kind: Grant
metadata: {{name: lines}}
spec: {{class: file, allow: [{{write: '{folder}'}}, {{read: '{folder}'}}]}}
{}",
            server.unwrap_or_default()
        )
    }

    /// A pipeline that holds a few records back while it is paused.
    fn held(&self, paused: bool) -> String {
        let (folder, seed, keys) = (self.folder.display(), self.seed, self.keys);
        format!(
            "---
apiVersion: connector.ferrule.dev/v1
kind: Pipeline
metadata: {{name: held}}
spec:
  source: {{class: generator, parameters: {{rate: 0, size: 120, count: {HELD}, seed: {seed}, keys: {keys}}}}}
  sink: {{class: file, parameters: {{folder: '{folder}', file: held.txt}}}}
  start: beginning
  paused: {paused}
"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::judge;
    use std::fs;

    fn judged(out: &str) -> (Vec<String>, u64) {
        let folder = tempfile::tempdir().unwrap();
        let line = |number| format!("{{\"sequence\":{number},\"value\":1}}\n");
        let reference: String = (0..4).map(line).collect();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        fs::write(&a, out).unwrap();
        fs::write(&b, reference).unwrap();
        let (ledger, torn) = judge(&a, &b, 2).unwrap();
        (ledger.judge(&[2, 2]).faults(1), torn)
    }

    #[test]
    fn lines_are_compared_with_the_undisturbed_ones() {
        let all = [0, 1, 2, 3].map(|number| format!("{{\"sequence\":{number},\"value\":1}}\n"));
        assert_eq!(judged(&all.concat()), (vec![], 0));
        assert_eq!(judged(&[&all[0][..], "{\"sequ\n", &all[1..].concat()].concat()), (vec![], 1));
        assert_eq!(judged(&all[..3].concat()).0, ["1 accepted records are lost"]);
        assert_eq!(judged(&(all.concat() + &all[2..].concat())).0.len(), 1, "two duplicates where one is explained");
        assert_eq!(judged(&(all.concat() + "{\"sequence\":3,\"value\":2}\n")).0, ["1 arrivals are altered"]);
        assert_eq!(judged(&(all.concat() + "hello\n")).0, ["1 arrivals were never sent"]);
    }
}
