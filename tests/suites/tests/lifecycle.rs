//! Changes while records flow, and what survives the end of the process.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use ferrule_suites::{Ferrule, ferrule::root, until};
use std::fs;

fn pipeline(name: &str, source: &str, functions: &str, sink: &str) -> String {
    format!(
        "apiVersion: connector.ferrule.dev/v1
kind: Pipeline
metadata: {{name: {name}}}
spec:
  source: {source}
  functions: {functions}
  sink: {sink}
"
    )
}

/// A grant for the file guest in this folder.
fn file_grant(folder: &str) -> String {
    format!(
        "---
apiVersion: connector.ferrule.dev/v1
kind: Grant
metadata: {{name: files}}
spec: {{class: file, allow: [{{write: '{folder}'}}, {{read: '{folder}'}}]}}
"
    )
}

#[test]
fn records_cross_a_function_into_a_file_completely() {
    let ferrule = Ferrule::start();
    let out = ferrule.folder().join("out");
    fs::create_dir(&out).unwrap();
    let folder = out.to_str().unwrap();
    ferrule
        .apply(&format!(
            "{}{}",
            pipeline(
                "copy",
                "{class: generator, parameters: {rate: 0, count: 5000, size: 64}}",
                "[{function: identity}]",
                &format!("{{class: file, parameters: {{folder: '{folder}', file: lines.txt}}}}"),
            ),
            file_grant(folder)
        ))
        .ok();
    until("5,000 lines", || {
        let lines = fs::read_to_string(out.join("lines.txt")).unwrap_or_default().lines().count();
        (lines == 5000).then_some(())
    });
}

#[test]
fn what_a_stream_took_in_before_anybody_read_it_waits_for_the_first_reader() {
    let ferrule = Ferrule::start();
    let stream = "apiVersion: connector.ferrule.dev/v1
kind: Instance
metadata: {name: numbers}
spec: {class: generator}
---
apiVersion: connector.ferrule.dev/v1
kind: Stream
metadata: {name: numbers}
spec:
  instance: numbers
  direction: INGRESS
  labels: {Kind: numbers}
  log: {keep: {bytes: 0}}
  parameters: {rate: 0, count: 3000, size: 1000}
";
    ferrule.apply(stream).ok();
    let of_stream = |field: &str| ferrule.status()["streams"][0][field].as_u64();
    until("all is taken in", || (of_stream("records") == Some(3000)).then_some(()));
    let pipeline = pipeline("late", "numbers", "[]", "{class: blackhole}");
    ferrule.apply(&pipeline.replace("  source:", "  start: beginning\n  source:")).ok();
    until("all is delivered", || (ferrule.count("late", "delivered") == 3000).then_some(()));
    assert_eq!(of_stream("dropped"), Some(0));
}

#[test]
fn a_record_that_a_function_cannot_take_goes_to_the_dead_letters() {
    let ferrule = Ferrule::start();
    let lines = ferrule.folder().join("lines");
    fs::create_dir(&lines).unwrap();
    fs::write(lines.join("in.txt"), "{\"a\":1}\nnot json\n{\"a\":2}\n").unwrap();
    let folder = lines.to_str().unwrap();
    ferrule
        .apply(&format!(
            "{}{}",
            pipeline(
                "mixed",
                &format!("{{class: file, parameters: {{folder: '{folder}', file: in.txt}}}}"),
                "[{function: jq, args: {program: '.a'}}]",
                "{class: blackhole}",
            ),
            file_grant(folder)
        ))
        .ok();
    until("two delivered", || (ferrule.count("mixed", "delivered") == 2).then_some(()));
    until("one dead letter", || (ferrule.count("mixed", "deadLettered") == 1).then_some(()));
}

#[test]
fn a_record_that_ends_the_function_goes_to_the_dead_letters_and_its_batch_is_delivered() {
    let ferrule = Ferrule::start();
    let lines = ferrule.folder().join("lines");
    fs::create_dir(&lines).unwrap();
    let records: String = (0..20).map(|number| format!("{{\"a\":{number}}}\n")).collect();
    fs::write(lines.join("in.txt"), records).unwrap();
    let folder = lines.to_str().unwrap();
    // One record makes the program need more memory than a guest gets: the instance ends in the middle of the batch.
    ferrule
        .apply(&format!(
            "{}{}",
            pipeline(
                "poisoned",
                &format!("{{class: file, parameters: {{folder: '{folder}', file: in.txt}}}}"),
                "[{function: jq, args: {program: 'if .a == 7 then [range(1000000000)] | length else .a end'}}]",
                &format!("{{class: file, parameters: {{folder: '{folder}', file: out.txt}}}}"),
            ),
            file_grant(folder)
        ))
        .ok();
    until("one dead letter", || (ferrule.count("poisoned", "deadLettered") == 1).then_some(()));
    until("the rest delivered", || (ferrule.count("poisoned", "delivered") == 19).then_some(()));
    let out = fs::read_to_string(lines.join("out.txt")).unwrap();
    let numbers: std::collections::BTreeSet<u32> = out.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(numbers, (0..20).filter(|number| *number != 7).collect());
}

#[test]
fn objects_and_pauses_survive_kill_9() {
    let mut ferrule = Ferrule::start();
    let endless = "{class: generator, parameters: {rate: 10, size: 16}}";
    ferrule.apply(&pipeline("steady", endless, "[]", "{class: blackhole}")).ok();
    ferrule.ready("stream", "steady-source");
    ferrule.run(&["pause", "pipeline", "steady"]).ok();
    ferrule.kill();
    ferrule.up();
    let object = ferrule.get("pipeline", "steady").unwrap();
    assert_eq!(object["metadata"]["name"], "steady");
    ferrule.reason("pipeline", "steady", "Paused");
    ferrule.run(&["resume", "pipeline", "steady"]).ok();
    ferrule.ready("pipeline", "steady");
    until("records again", || (ferrule.count("steady", "delivered") > 0).then_some(()));
}

#[test]
fn sigterm_drains_and_ends_with_0() {
    let mut ferrule = Ferrule::start();
    let endless = "{class: generator, parameters: {rate: 1000, size: 16}}";
    ferrule.apply(&pipeline("steady", endless, "[]", "{class: blackhole}")).ok();
    until("records", || (ferrule.count("steady", "delivered") > 0).then_some(()));
    assert!(ferrule.terminate().success());
}

#[test]
fn a_change_restarts_only_what_changed() {
    let ferrule = Ferrule::start();
    let source = "{class: generator, parameters: {rate: 100, size: 16}}";
    ferrule.apply(&pipeline("stays", source, "[]", "{class: blackhole}")).ok();
    ferrule.apply(&pipeline("changes", source, "[]", "{class: blackhole}")).ok();
    until("records in both", || {
        (ferrule.count("stays", "delivered") > 0 && ferrule.count("changes", "delivered") > 0).then_some(())
    });
    let before = ferrule.count("stays", "delivered");
    let faster = "{class: generator, parameters: {rate: 200, size: 24}}";
    ferrule.apply(&pipeline("changes", faster, "[{function: identity}]", "{class: blackhole}")).ok();
    ferrule.ready("pipeline", "changes");
    // A restarted pipeline would count from 0 again.
    until("the other goes on", || (ferrule.count("stays", "delivered") > before).then_some(()));
    ferrule.run(&["delete", "pipeline", "changes"]).ok();
    until("the deleted one is gone", || ferrule.get("stream", "changes-source").is_none().then_some(()));
    let after = ferrule.count("stays", "delivered");
    until("the other still goes on", || (ferrule.count("stays", "delivered") > after).then_some(()));
}

#[test]
fn a_broken_file_is_refused_and_the_component_in_place_goes_on() {
    let ferrule = Ferrule::start();
    let source = "{class: generator, parameters: {rate: 100, size: 16}}";
    ferrule.apply(&pipeline("steady", source, "[]", "{class: blackhole}")).ok();
    until("records", || (ferrule.count("steady", "delivered") > 0).then_some(()));
    let good = fs::read(root().join("target/guests/generator.wasm")).unwrap();
    let cases: [(&str, Vec<u8>, &str); 4] = [
        ("empty.wasm", Vec::new(), "not a WebAssembly"),
        ("cut.wasm", good[..good.len() / 2].to_vec(), "FE03"),
        ("text.wasm", b"#!/bin/sh\n".to_vec(), "not a WebAssembly"),
        ("core.wasm", b"\0asm\x01\0\0\0".to_vec(), "core module"),
    ];
    for (name, bytes, words) in cases {
        let path = ferrule.file(name, bytes);
        let answer = ferrule.run(&["register", path.to_str().unwrap(), "--name", "generator", "--replace"]);
        assert_ne!(answer.code, 0, "{name} was accepted");
        assert!(answer.err.contains(words), "{name}: no {words:?} in {}", answer.err);
    }
    let before = ferrule.count("steady", "delivered");
    until("records go on", || (ferrule.count("steady", "delivered") > before).then_some(()));
}

#[test]
fn a_component_that_fails_gives_its_place_back() {
    let ferrule = Ferrule::start();
    let source = "{class: generator, parameters: {rate: 200, size: 16}}";
    ferrule.apply(&pipeline("steady", source, "[]", "{class: blackhole}")).ok();
    until("records", || (ferrule.count("steady", "delivered") > 0).then_some(()));
    let running = ferrule.get("stream", "steady-source").unwrap();
    let good = running["status"]["details"]["component"]["digest"].as_str().unwrap().to_owned();
    // It opens, and panics when it is asked for records.
    let broken = root().join("target/test-guests/traps.wasm");
    ferrule.run(&["register", broken.to_str().unwrap(), "--name", "generator", "--replace"]).ok();
    let message = ferrule.reason("stream", "steady-source", "FailedFirstBatches");
    for words in ["failed its first 3 batches", &good, "goes on", "the pump burst"] {
        assert!(message.contains(words), "no {words:?} in {message}");
    }
    let before = ferrule.count("steady", "delivered");
    until("records go on", || (ferrule.count("steady", "delivered") > before).then_some(()));
    assert_eq!(ferrule.count("steady", "deadLettered"), 0);
    let stream = ferrule.ready("stream", "steady-source");
    assert_eq!(stream["status"]["details"]["rolledBack"]["running"].as_str(), Some(good.as_str()));
}

#[test]
fn drops_of_a_policy_are_an_alert() {
    let ferrule = Ferrule::start();
    let source = "{class: generator, parameters: {rate: 500, size: 32}, log: {whenFull: drop-newest, maxRecords: 20}}";
    ferrule.apply(&pipeline("line", source, "[]", "{class: blackhole}")).ok();
    until("records", || (ferrule.count("line", "delivered") > 0).then_some(()));
    let alerts = || ferrule.entry("streams", "line-source")["alerts"].clone();
    assert_eq!(alerts().as_array().map(Vec::len), Some(0), "{}", alerts());
    ferrule.run(&["pause", "pipeline", "line"]).ok();
    until("the alert", || (alerts()[0]["name"] == "dropping").then_some(()));
    assert!(ferrule.entry("streams", "line-source")["dropped"].as_u64() > Some(0));
    let line = "alert: stream line-source: dropping: the policy of its log (log.whenFull";
    for command in ["status", "top"] {
        let shown = ferrule.run(&[command]).ok().out;
        assert!(shown.contains(line), "{command} shows {shown}");
    }
    let object = ferrule.wait("stream", "line-source", "its alert", |stream| {
        stream["status"]["details"]["alerts"]["dropping"]["severity"] == "warning"
    });
    assert!(object["status"]["details"]["alerts"]["dropping"]["message"].is_string(), "{object}");
}

#[test]
fn a_pipeline_reads_again_from_a_time() {
    let ferrule = Ferrule::start();
    let out = ferrule.folder().join("out");
    fs::create_dir(&out).unwrap();
    let folder = out.to_str().unwrap();
    let document = |count: usize| {
        pipeline(
            "line",
            &format!("{{class: generator, parameters: {{rate: 0, count: {count}, size: 64}}}}"),
            "[]",
            &format!("{{class: file, parameters: {{folder: '{folder}', file: lines.txt}}}}"),
        ) + &file_grant(folder)
    };
    let arrived = || -> Vec<u64> {
        let text = fs::read_to_string(out.join("lines.txt")).unwrap_or_default();
        let number = |line: &str| serde_json::from_str::<serde_json::Value>(line).ok()?["sequence"].as_u64();
        text.lines().filter_map(number).collect()
    };
    ferrule.apply(&document(100)).ok();
    until("the first", || (arrived().len() == 100).then_some(()));
    // The log tells milliseconds apart: the next records are of a later one.
    let now = || ferrule.status()["timeMs"].as_u64().unwrap();
    let first = now();
    until("a later time", || (now() > first + 1).then_some(()));
    let between = now();
    until("a later time", || (now() > between).then_some(()));
    ferrule.apply(&document(150)).ok();
    until("the rest", || (arrived().len() == 150).then_some(()));
    let rewind = |to: &str| ferrule.run(&["pipeline", "rewind", "line", "--to", to]);
    let time = time(between);
    let said = rewind(&time).ok().out;
    assert!(said.contains("again from offset 100"), "{said}");
    until("the rest again", || (arrived().len() == 200).then_some(()));
    let expected: Vec<u64> = (0..150).chain(100..150).collect();
    assert_eq!(arrived(), expected);
    assert!(rewind("-1h").ok().out.contains("again from offset 0"));
    until("all again", || (arrived().len() == 350).then_some(()));
    rewind("yesterday").fails(2, &["expected beginning, a time such as"]);
}

/// A time in milliseconds since 1970 as people write it, which are whole days of 86,400 seconds.
fn time(milliseconds: u64) -> String {
    let (days, of_day) = (milliseconds / 86_400_000, milliseconds % 86_400_000);
    let (mut year, mut rest) = (1970, days);
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    while rest >= 365 + u64::from(leap(year)) {
        rest -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if rest < length {
            break;
        }
        rest -= length;
        month += 1;
    }
    let (hour, minute, second) = (of_day / 3_600_000, of_day / 60_000 % 60, of_day / 1_000 % 60);
    format!("{year}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", rest + 1, of_day % 1_000)
}
