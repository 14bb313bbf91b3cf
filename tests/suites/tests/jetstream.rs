//! The log at a real nats-server: what goes through it is counted at the far end while the server, and Ferrule, go and come.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use ferrule_suites::wait::PATIENCE;
use ferrule_suites::{Ferrule, Nats, until};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

/// generator → identity → lines of a file in the server's folder. A rate of 0 is as fast as it can.
fn documents(ferrule: &Ferrule, count: usize, rate: usize, log: &str) -> String {
    let folder = ferrule.folder().join("lines");
    fs::create_dir_all(&folder).unwrap();
    let folder = folder.display();
    format!(
        "apiVersion: connector.ferrule.dev/v1
kind: Pipeline
metadata: {{name: lines}}
spec:
  source:
    class: generator
    parameters: {{rate: {rate}, size: 100, count: {count}, keys: 4}}
    log: {{{log}}}
  functions: [{{function: identity}}]
  sink: {{class: file, parameters: {{folder: '{folder}', file: out.txt, sync: false}}}}
---
apiVersion: connector.ferrule.dev/v1
kind: Grant
metadata: {{name: lines}}
spec: {{class: file, allow: [{{write: '{folder}'}}, {{read: '{folder}'}}]}}
"
    )
}

/// How often each number is in the file. A line that a kill tore has none.
fn numbers(ferrule: &Ferrule) -> BTreeMap<u64, usize> {
    let text = fs::read(ferrule.folder().join("lines/out.txt")).unwrap_or_default();
    let mut numbers = BTreeMap::new();
    for line in text.split(|byte| *byte == b'\n') {
        let number = serde_json::from_slice::<Value>(line).ok().and_then(|line| line["sequence"].as_u64());
        if let Some(number) = number {
            *numbers.entry(number).or_default() += 1;
        }
    }
    numbers
}

fn arrived(ferrule: &Ferrule, count: usize) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let numbers = numbers(ferrule);
        if numbers.len() >= count {
            return;
        }
        if Instant::now() > deadline {
            let missing: Vec<_> = (0..count as u64).filter(|number| !numbers.contains_key(number)).take(5).collect();
            let (had, report) = (numbers.len(), ferrule.run(&["status", "-o", "json"]).out);
            panic!("{had} of {count} records at the far end; first missing {missing:?}\n{report}\n{}", ferrule.log());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn trouble(ferrule: &Ferrule) -> Option<String> {
    ferrule.status()["log"]["trouble"].as_str().map(str::to_owned)
}

#[test]
fn nothing_is_lost_over_the_end_of_the_server_of_the_log_and_of_ferrule() {
    const COUNT: usize = 12_000;
    let Some(mut nats) = Nats::start() else { return };
    let mut ferrule = Ferrule::serve_with(&["--transport", &nats.url()]);
    ferrule.apply(&documents(&ferrule, COUNT, 2_000, "")).ok();
    arrived(&ferrule, 1_000);
    let report = ferrule.status();
    assert_eq!(report["log"]["transport"], "nats");
    let source = report["streams"].as_array().unwrap().iter().find(|stream| stream["direction"] == "ingress").unwrap();
    assert_eq!(source["durability"], "os", "what JetStream gives by itself");
    nats.kill();
    until("the trouble is told", || trouble(&ferrule).filter(|why| why.contains(&nats.url())));
    assert!(ferrule.run(&["status"]).ok().out.contains("the log (nats) takes nothing"));
    nats.up();
    until("the trouble is over", || trouble(&ferrule).is_none().then_some(()));
    let before = numbers(&ferrule).len();
    arrived(&ferrule, before + 1_000);
    ferrule.kill();
    ferrule.up();
    arrived(&ferrule, before + 2_000);
    nats.down();
    ferrule.kill();
    ferrule.up();
    nats.up();
    arrived(&ferrule, COUNT);
    let numbers = numbers(&ferrule);
    assert_eq!((numbers.len(), numbers.keys().next_back()), (COUNT, Some(&(COUNT as u64 - 1))));
    let again: usize = numbers.values().map(|times| times - 1).sum();
    assert!(again <= 2 * 4_000, "{again} duplicates, and two ends explain what a pipeline has in hand");
    ferrule.run(&["delete", "pipeline", "lines"]).ok();
    until("NATS keeps nothing of it", || {
        let store = nats.store().join("jetstream");
        let streams = fs::read_dir(store.join("$G/streams")).ok()?;
        let names: Vec<_> = streams.flatten().map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.iter().all(|name| name.starts_with("KV_")).then_some(())
    });
}

#[test]
fn a_start_without_nats_is_a_start_and_no_word_has_the_password() {
    let Some(mut nats) = Nats::guarded("me", "hidden") else { return };
    nats.down();
    let (secret, open) = (nats.url().replace("nats://", "nats://me:hidden@"), nats.url());
    let mut ferrule = Ferrule::idle();
    let config =
        ferrule.file("serve.yaml", format!("# The log of this server.\ntransport: {secret}\ndead-letters: 1MiB\n"));
    ferrule.set_arguments(&["--config", config.to_str().unwrap()]);
    ferrule.up();
    let why = trouble(&ferrule).unwrap();
    assert!(why.contains(&open), "{why}");
    ferrule.apply(&documents(&ferrule, 3_000, 0, "")).ok();
    let waits = until("the stream says why it waits", || {
        let report = ferrule.status();
        let mut errors = report["streams"].as_array()?.iter().filter_map(|stream| stream["lastError"].as_str());
        errors.find(|error| error.contains(&open)).map(str::to_owned)
    });
    assert!(numbers(&ferrule).is_empty(), "{waits}");
    nats.up();
    arrived(&ferrule, 3_000);
    until("the trouble is over", || trouble(&ferrule).is_none().then_some(()));
    ferrule
        .apply(&documents(&ferrule, 3_000, 0, "durability: fsync"))
        .fails(7, &["FE0213", "durable=fsync", "embedded"]);
    assert!(ferrule.terminate().success());
    let words = [ferrule.log(), why, waits].concat();
    assert!(!words.contains("hidden"), "{words}");
}

#[test]
fn a_wrong_address_or_file_is_refused_at_once() {
    let ferrule = Ferrule::idle();
    for (transport, word) in [("nats://me:hidden@h:x", "is no port"), ("nat://me:hidden@h:1", "nats://HOST:PORT")] {
        let answer = ferrule.run(&["serve", "--transport", transport]).fails(2, &[word]);
        assert!(!answer.err.contains("hidden"), "{}", answer.err);
    }
    let config = ferrule.file("serve.yaml", "transprot: memory\n");
    ferrule
        .run(&["serve", "--config", config.to_str().unwrap()])
        .fails(7, &["serve.yaml", "did you mean `transport`?"]);
    ferrule.run(&["serve", "--config", "nowhere.yaml"]).fails(3, &["nowhere.yaml"]);
}

#[test]
fn a_rewind_while_nats_is_away_is_refused_and_does_not_come_later() {
    const COUNT: usize = 200;
    let Some(mut nats) = Nats::start() else { return };
    let ferrule = Ferrule::serve_with(&["--transport", &nats.url()]);
    ferrule.apply(&documents(&ferrule, COUNT, 0, "")).ok();
    arrived(&ferrule, COUNT);
    let rewind = || ferrule.run(&["pipeline", "rewind", "lines", "--to", "beginning"]);
    nats.down();
    until("the trouble is told", || trouble(&ferrule).map(drop));
    let refused = rewind();
    assert!(refused.code != 0, "{refused:?}");
    assert!(refused.err.contains("pipeline lines is not rewound") && refused.err.contains("NATS"), "{refused:?}");
    nats.up();
    until("the trouble is over", || trouble(&ferrule).is_none().then_some(()));
    rewind().ok();
    until("all of it twice", || numbers(&ferrule).values().all(|times| *times >= 2).then_some(()));
    until("nothing is under way", || (ferrule.entry("pipelines", "lines")["lag"] == 0).then_some(()));
    let numbers = numbers(&ferrule);
    assert!(numbers.values().all(|times| *times == 2), "read again more than once: {numbers:?}");
}
