//! Hostile guests in a whole server: what its user is told of them, and that another pipeline goes on.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use ferrule_naughty::{Parts, World, assemble, component};
use ferrule_suites::{Ferrule, until};
use serde_json::Value;

const NEIGHBOUR: &str = "apiVersion: connector.ferrule.dev/v1
kind: Pipeline
metadata: {name: other}
spec:
  source: {class: generator, parameters: {rate: 200, size: 16}}
  sink: {class: blackhole}
---
";

/// Registers a hostile component under its name.
fn register(ferrule: &Ferrule, name: &str, world: World, code: &str) {
    let text = component(&Parts { world, code, name, ..Parts::default() });
    let file = ferrule.file(&format!("{name}.wasm"), assemble(&text).unwrap());
    ferrule.run(&["register", file.to_str().unwrap()]).ok();
}

fn pipeline(name: &str, source: &str, sink: &str) -> String {
    format!(
        "apiVersion: connector.ferrule.dev/v1
kind: Pipeline
metadata: {{name: {name}}}
spec:
  source: {source}
  sink: {sink}
---
"
    )
}

/// The other pipeline goes on, and never had to begin anew.
fn undisturbed(ferrule: &Ferrule) {
    let before = ferrule.count("other", "delivered");
    until("the other goes on", || (ferrule.count("other", "delivered") > before + 50).then_some(()));
    assert_eq!(ferrule.count("other", "restarts"), 0);
}

fn limit(stream: &Value, name: &str) -> Value {
    let limits = stream["limits"].as_array().unwrap();
    limits.iter().find(|limit| limit["name"] == name).unwrap_or_else(|| panic!("no {name} in {stream}")).clone()
}

#[test]
fn a_source_that_always_traps_is_told_as_a_loop_and_tried_again() {
    let ferrule = Ferrule::start();
    register(
        &ferrule,
        "traps",
        World::Source,
        "(func (export \"next\") (param i32 i32 i32 i32) (result i32) unreachable)",
    );
    ferrule.apply(&format!("{NEIGHBOUR}{}", pipeline("bad", "{class: traps}", "{class: blackhole}"))).ok();
    let message = ferrule.reason("stream", "bad-source", "FailsAgainAndAgain");
    assert!(message.contains("times in a row; tried again at") && message.contains("FE0501"), "{message}");
    undisturbed(&ferrule);
}

#[test]
fn a_source_that_spins_is_told_its_limit_which_a_grant_sets() {
    let ferrule = Ferrule::start();
    register(
        &ferrule,
        "spins",
        World::Source,
        "(func (export \"next\") (param i32 i32 i32 i32) (result i32) (loop $l (br $l)) (i32.const 0))",
    );
    let grant = "apiVersion: connector.ferrule.dev/v1
kind: Grant
metadata: {name: brief}
spec: {class: spins, limits: {callTime: 300ms, cpu: 40}}
---
";
    ferrule.apply(&format!("{grant}{NEIGHBOUR}{}", pipeline("bad", "{class: spins}", "{class: blackhole}"))).ok();
    let message = ferrule.reason("stream", "bad-source", "CallTime");
    assert!(message.contains("300ms; change it with `limits.callTime` [FE0503]"), "{message}");
    let stream = ferrule.entry("streams", "bad-source");
    assert_eq!(limit(&stream, "cpu")["value"], 40, "{stream}");
    assert!(limit(&stream, "cpu")["reached"].as_u64().unwrap() > 0, "it was never parked: {stream}");
    assert!(stream["cpuSeconds"].as_f64().unwrap() > 0.2, "{stream}");
    let described = ferrule.run(&["describe", "stream", "bad-source"]).ok().out;
    assert!(described.contains("callTime 300ms (reached"), "{described}");
    let top = ferrule.run(&["top"]).ok().out;
    assert!(top.contains("CPU SECONDS") && top.contains("callTime"), "{top}");
    undisturbed(&ferrule);
}

#[test]
fn a_sink_that_answers_twice_and_for_others_is_told_so_and_counts_once() {
    let ferrule = Ferrule::start();
    // Tokens are at 60 of the batch, as address and number. It answers for each of them twice, and for one that nobody gave it.
    register(
        &ferrule,
        "answers-twice",
        World::Sink,
        "(func (export \"write\") (param $b i32) (result i32) (local $n i32) (local $size i32)
           (local.set $n (i32.load (i32.add (local.get $b) (i32.const 64))))
           (local.set $size (i32.mul (local.get $n) (i32.const 8)))
           (memory.copy (i32.const 20000) (i32.load (i32.add (local.get $b) (i32.const 60))) (local.get $size))
           (memory.copy (i32.add (i32.const 20000) (local.get $size))
             (i32.load (i32.add (local.get $b) (i32.const 60))) (local.get $size))
           (i64.store (i32.add (i32.const 20000) (i32.mul (local.get $size) (i32.const 2))) (i64.const 77777777777))
           (i32.store (i32.const 4100) (i32.const 20000))
           (i32.store (i32.const 4104) (i32.add (i32.mul (local.get $n) (i32.const 2)) (i32.const 1)))
           (i32.const 4096))",
    );
    let source = "{class: generator, parameters: {rate: 0, count: 500, size: 16}}";
    ferrule.apply(&format!("{NEIGHBOUR}{}", pipeline("bad", source, "{class: answers-twice}"))).ok();
    until("all records are delivered", || (ferrule.count("bad", "delivered") >= 500).then_some(()));
    let stream = ferrule.entry("streams", "bad-sink");
    assert!(stream["lastError"].as_str().unwrap().contains("that are not in flight"), "{stream}");
    undisturbed(&ferrule);
    assert_eq!(ferrule.count("bad", "delivered"), 500, "an answer counted twice");
}

#[test]
fn a_guest_that_wants_more_memory_than_there_is_ends_and_says_which_field_gives_more() {
    let ferrule = Ferrule::start();
    register(
        &ferrule,
        "grows",
        World::Source,
        "(func (export \"next\") (param i32 i32 i32 i32) (result i32)
           (if (i32.eq (memory.grow (i32.const 2000)) (i32.const -1)) (then unreachable)) (i32.const 0))",
    );
    ferrule.apply(&format!("{NEIGHBOUR}{}", pipeline("bad", "{class: grows}", "{class: blackhole}"))).ok();
    let message = ferrule.reason("stream", "bad-source", "Memory");
    assert!(message.contains("change it with `limits.memory` [FE0503]"), "{message}");
    undisturbed(&ferrule);
}
