//! The command line as scripts and people meet it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use ferrule_suites::Ferrule;

#[test]
fn without_a_server_the_answer_says_how_to_start_one() {
    Ferrule::idle().run(&["get", "streams"]).fails(6, &["ferrule serve"]);
}

#[test]
fn usage_errors_have_their_own_code() {
    let ferrule = Ferrule::idle();
    ferrule.run(&["no-such-verb"]).fails(2, &["no-such-verb"]);
    ferrule.run(&["get", "strems"]).fails(2, &["strems"]);
}

#[test]
fn data_goes_to_standard_output_and_talk_to_standard_error() {
    let ferrule = Ferrule::start();
    let answer = ferrule.run(&["get", "classes", "-o", "json"]).ok();
    let classes: serde_json::Value = serde_json::from_str(&answer.out).unwrap();
    assert!(classes.to_string().contains("mqtt"), "the shipped guests are registered: {classes}");
    assert!(!answer.out.contains('\u{1b}'), "colour without a terminal");
}

#[test]
fn one_record_is_tried_without_anything_else_happening() {
    let ferrule = Ferrule::start();
    ferrule
        .apply(
            "apiVersion: connector.ferrule.dev/v1
kind: Pipeline
metadata: {name: doubled}
spec:
  source: {class: generator, parameters: {rate: 1, count: 1, size: 64}}
  functions: [{function: jq, args: {program: '{double: (.n * 2)}'}}]
  sink: {class: blackhole}
",
        )
        .ok();
    ferrule.ready("pipeline", "doubled");
    let answer = ferrule.feed(&["try", "doubled"], b"{\"n\": 21}").ok();
    assert!(answer.out.contains("42"), "{}", answer.out);
}

#[test]
fn a_code_has_a_page() {
    Ferrule::idle().run(&["explain", "FE0101"]).ok();
    Ferrule::idle().run(&["explain", "FE9999"]).fails(3, &["FE9999"]);
}

#[test]
fn a_file_runs_in_one_process_with_no_server() {
    let ferrule = Ferrule::idle();
    let file = ferrule.file(
        "first.yaml",
        "apiVersion: connector.ferrule.dev/v1
kind: Pipeline
metadata: {name: first}
spec:
  source: {class: generator, parameters: {rate: 0, count: 100, size: 32}}
  sink: {class: blackhole}
",
    );
    let answer = ferrule.run(&["run", file.to_str().unwrap(), "--until-done"]).ok();
    assert!(answer.out.contains("100") || answer.err.contains("100"), "{answer:?}");
}
