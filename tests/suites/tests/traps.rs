//! Guests that end in the middle of a batch: what was given before and after arrives, and other streams do not notice.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use ferrule_suites::{Ferrule, ferrule::root, until};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// How many records the guest gives in all, how many at once, and the one that its sink stumbles over.
const TOTAL: u32 = 60;
const STEP: usize = 10;
const TRAP: u32 = 37;

/// The guest as source and as sink, each with its own idea of when to trap, beside a pipeline that has nothing to do with it.
fn rig(source: &str, sink: &str) -> (Ferrule, String) {
    let ferrule = Ferrule::start();
    let guest = root().join("target/test-guests/traps-midway.wasm");
    ferrule.run(&["register", guest.to_str().unwrap()]).ok();
    let folder = ferrule.folder().join("lines").display().to_string();
    fs::create_dir(&folder).unwrap();
    ferrule
        .apply(&format!(
            "apiVersion: connector.ferrule.dev/v1
kind: Pipeline
metadata: {{name: midway}}
spec:
  source: {{class: traps-midway, parameters: {{folder: '{folder}', trap: {source}}}}}
  sink: {{class: traps-midway, parameters: {{folder: '{folder}', trap: {sink}}}}}
  start: beginning
---
apiVersion: connector.ferrule.dev/v1
kind: Pipeline
metadata: {{name: other}}
spec:
  source: {{class: generator, parameters: {{rate: 200, size: 16}}}}
  sink: {{class: blackhole}}
---
apiVersion: connector.ferrule.dev/v1
kind: Grant
metadata: {{name: lines}}
spec: {{class: traps-midway, allow: [{{write: '{folder}'}}]}}
"
        ))
        .ok();
    (ferrule, folder)
}

fn lines(folder: &str) -> Vec<u32> {
    let text = fs::read_to_string(Path::new(folder).join("lines.txt")).unwrap_or_default();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

fn status(ferrule: &Ferrule) -> Value {
    serde_json::from_str(&ferrule.run(&["status", "-o", "json"]).ok().out).unwrap()
}

fn entry(ferrule: &Ferrule, list: &str, name: &str) -> Value {
    let status = status(ferrule);
    let found = status[list].as_array().unwrap().iter().find(|entry| entry["name"].as_str().unwrap().ends_with(name));
    found.unwrap_or_else(|| panic!("no {name} in {status}")).clone()
}

/// All numbers but those in `missing` arrive; those more than once are at most one batch for each trap of the sink.
fn complete(ferrule: &Ferrule, folder: &str, missing: &[u32], most_again: usize) {
    let expected: BTreeSet<u32> = (0..TOTAL).filter(|number| !missing.contains(number)).collect();
    until("every record", || (lines(folder).into_iter().collect::<BTreeSet<_>>() == expected).then_some(()));
    let again = lines(folder).len() - expected.len();
    assert!(again <= most_again, "{again} records came twice, and {most_again} are explained");
    let other = entry(ferrule, "pipelines", "other");
    assert_eq!(other["restarts"], 0, "{other}");
    let before = other["delivered"].as_u64().unwrap();
    until("the other goes on", || {
        (entry(ferrule, "pipelines", "other")["delivered"].as_u64().unwrap() > before).then_some(())
    });
}

#[test]
fn a_source_that_traps_while_it_makes_a_batch_goes_on_where_it_was() {
    let (ferrule, folder) = rig("once", "never");
    // What was handed over before the trap is in the log with its position before the next instance is asked.
    complete(&ferrule, &folder, &[], 0);
    let stream = entry(&ferrule, "streams", "midway-source");
    assert!(stream["restarts"].as_u64().unwrap() >= 1, "{stream}");
    let told = stream["lastError"].as_str().unwrap();
    assert!(told.contains("FE0501") && told.contains("the pump burst after"), "{told}");
}

#[test]
fn a_sink_that_traps_in_the_middle_of_a_batch_is_given_it_again() {
    let (ferrule, folder) = rig("never", "once");
    // Whatever was in the batch before the trap was written and not answered: that comes again.
    complete(&ferrule, &folder, &[], TOTAL as usize);
    let stream = entry(&ferrule, "streams", "midway-sink");
    assert!(stream["restarts"].as_u64().unwrap() >= 1, "{stream}");
    assert!(stream["lastError"].as_str().unwrap().contains("FE0501"), "{stream}");
    let pipeline = entry(&ferrule, "pipelines", "midway");
    assert_eq!((&pipeline["delivered"], &pipeline["deadLettered"]), (&TOTAL.into(), &0.into()), "{pipeline}");
}

#[test]
fn a_record_that_always_ends_the_sink_is_set_aside_and_the_rest_of_its_batch_arrives() {
    let (ferrule, folder) = rig("never", "always");
    until("one dead letter", || (entry(&ferrule, "pipelines", "midway")["deadLettered"] == 1).then_some(()));
    // It is found by halving, so the others of its batch may be given again each time.
    complete(&ferrule, &folder, &[TRAP], TOTAL as usize * STEP);
    let letters = ferrule.run(&["deadletter", "list", "-o", "json"]).ok();
    let letters: Value = serde_json::from_str(&letters.out).unwrap();
    assert_eq!((&letters[0]["code"], &letters[0]["error"]), (&"poison".into(), &"FE0509".into()), "{letters}");
    let shown = ferrule.run(&["deadletter", "show", &letters[0]["number"].to_string()]).ok();
    assert!(shown.out.contains("poison (FE0509)"), "{}", shown.out);
}
