//! Records that were given up: shown, mended, replayed, dropped, and never lost.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use ferrule_suites::{Ferrule, until};
use serde_json::Value;

/// A file with records, a function that refuses some of them, and a file for the rest.
struct Line {
    ferrule: Ferrule,
    folder: PathBuf,
}

const REFUSES_SEVENS: &str = "if .a % 10 == 7 then error(\"a seven\") else .a end";
const TAKES_ALL: &str = ".a";

impl Line {
    fn new(records: u32) -> Self {
        let ferrule = Ferrule::start();
        let folder = ferrule.folder().join("lines");
        fs::create_dir(&folder).unwrap();
        let content: String = (0..records).map(|number| format!("{{\"a\":{number}}}\n")).collect();
        fs::write(folder.join("in.txt"), content).unwrap();
        let line = Self { ferrule, folder };
        line.apply(REFUSES_SEVENS);
        line
    }

    fn apply(&self, program: &str) {
        let folder = self.folder.display();
        let documents = format!(
            "apiVersion: connector.ferrule.dev/v1
kind: Pipeline
metadata: {{name: line}}
spec:
  source: {{class: file, parameters: {{folder: '{folder}', file: in.txt}}}}
  functions: [{{name: shape, function: jq, args: {{program: '{program}'}}}}]
  sink: {{class: file, parameters: {{folder: '{folder}', file: out.txt}}}}
---
apiVersion: connector.ferrule.dev/v1
kind: Grant
metadata: {{name: files}}
spec: {{class: file, allow: [{{write: '{folder}'}}, {{read: '{folder}'}}]}}
"
        );
        self.ferrule.apply(&documents).ok();
    }

    /// The numbers that reached the sink, each once.
    fn out(&self) -> BTreeSet<u32> {
        let text = fs::read_to_string(self.folder.join("out.txt")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    fn letters(&self) -> Vec<Value> {
        letters(&self.ferrule, &[])
    }

    fn with_letters(self, count: usize) -> Self {
        until(&format!("{count} dead letters"), || (self.letters().len() == count).then_some(()));
        self
    }
}

fn letters(ferrule: &Ferrule, filter: &[&str]) -> Vec<Value> {
    let answer = ferrule.run(&[&["deadletter", "list", "-o", "json"], filter].concat()).ok();
    serde_json::from_str(&answer.out).unwrap()
}

#[test]
fn what_was_refused_is_shown_mended_replayed_and_gone() {
    let line = Line::new(30).with_letters(3);
    let ferrule = &line.ferrule;
    let all = line.letters();
    let number = all[0]["number"].to_string();
    for letter in &all {
        let place = ["pipeline", "step", "code"].map(|field| letter[field].as_str().unwrap());
        assert_eq!(place, ["line", "shape", "rejected"]);
        assert!(letter["reason"].as_str().unwrap().contains("a seven"), "{letter}");
        assert!(letter["component"].as_str().unwrap().starts_with("sha256:"), "{letter}");
        assert_eq!((letter["attempts"].as_u64(), letter.get("payload")), (Some(1), None));
    }
    assert_eq!(all[0]["payloadBytes"], "{\"a\":7}".len());
    let table = ferrule.run(&["dl", "list"]).ok().out;
    assert!(table.starts_with("NUMBER") && table.lines().count() == 4 && table.contains("a seven"), "{table}");

    // Filters.
    assert_eq!(
        letters(ferrule, &["--pipeline", "line", "--step", "shape", "--reason", "A SEVEN", "--since", "1h"]).len(),
        3
    );
    assert_eq!(letters(ferrule, &["--reason", "rejected", "--limit", "2"]).len(), 2);
    assert_eq!(letters(ferrule, &["--stream", "line-source"]).len(), 3);
    assert_eq!(letters(ferrule, &["--step", "other"]).len(), 0);
    assert_eq!(letters(ferrule, &["--since", "2999-01-01T00:00:00Z"]).len(), 0);
    ferrule.run(&["deadletter", "list", "--pipeline", "lime"]).fails(3, &["FE0201", "did you mean `line`?"]);
    ferrule.run(&["deadletter", "list", "--since", "soon"]).fails(2, &["such as"]);

    // One of them.
    let shown = ferrule.run(&["deadletter", "show", &number]).ok().out;
    assert!(shown.contains("{\"a\":7}") && shown.contains("rejected"), "{shown}");
    let id = all[0]["id"].as_str().unwrap();
    let shown = ferrule.run(&["deadletter", "show", &id[..12], "-o", "json"]).ok();
    let shown: Value = serde_json::from_str(&shown.out).unwrap();
    assert_eq!((&shown["payload"], &shown["encoding"]), (&"{\"a\":7}".into(), &"text".into()));
    assert_eq!(ferrule.run(&["deadletter", "show", &number, "--payload"]).ok().out, "{\"a\":7}");
    ferrule.run(&["deadletter", "show", "4711"]).fails(3, &["no dead letter `4711`"]);

    // A copy of all.
    let lines = ferrule.run(&["deadletter", "export"]).ok().out;
    assert_eq!(lines.lines().count(), 3);
    let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!((&first["payload"], &first["encoding"]), (&"eyJhIjo3fQ==".into(), &"base64".into()));
    ferrule.run(&["deadletter", "export", "--file", "kept.jsonl"]).ok();
    assert_eq!(fs::read_to_string(ferrule.folder().join("kept.jsonl")).unwrap(), lines);
    ferrule.run(&["deadletter", "export", "--file", "kept.jsonl"]).fails(4, &["exists already"]);

    // Nothing is mended: a new letter for each, with one attempt more.
    ferrule.run(&["deadletter", "replay", &number]).fails(1, &["1 given up again"]);
    let again = line.letters();
    assert_eq!(again.len(), 3);
    let replaced = again.iter().find(|letter| letter["id"] == id).unwrap();
    assert_eq!((&replaced["attempts"], replaced["number"] == all[0]["number"]), (&2.into(), false));

    // A paused pipeline replays nothing, and nothing is lost.
    ferrule.run(&["pause", "pipeline", "line"]).ok();
    ferrule.run(&["deadletter", "replay"]).fails(9, &["3 dead letters were left", "paused"]);
    ferrule.run(&["resume", "pipeline", "line"]).ok();

    line.apply(TAKES_ALL);
    ferrule.ready("pipeline", "line");
    let said = ferrule.run(&["deadletter", "replay"]).ok().out;
    assert!(said.contains("3 delivered"), "{said}");
    until("all records", || (line.out() == (0..30).collect()).then_some(()));
    assert!(line.letters().is_empty());
    ferrule.run(&["deadletter", "replay"]).ok();
}

#[test]
fn what_is_dropped_is_gone_and_only_when_it_is_meant() {
    let line = Line::new(30).with_letters(3);
    let ferrule = &line.ferrule;
    let number = line.letters()[1]["number"].to_string();
    ferrule.run(&["deadletter", "drop"]).fails(2, &["--all"]);
    ferrule.run(&["deadletter", "drop", &number]).fails(2, &["--yes"]);
    assert_eq!(line.letters().len(), 3);
    ferrule.run(&["deadletter", "drop", &number, "--yes"]).ok();
    ferrule.run(&["deadletter", "drop", &number, "--yes"]).fails(3, &["no dead letter"]);
    assert_eq!(line.letters().len(), 2);
    ferrule.run(&["deadletter", "drop", "--all", "--yes"]).ok();
    assert!(line.letters().is_empty());
    ferrule.run(&["deadletter", "drop", "--all", "--yes"]).ok();
}

#[test]
fn letters_and_their_replay_survive_kill_9() {
    let mut line = Line::new(2_000).with_letters(200);
    until("the others", || (line.out().len() == 1_800).then_some(()));
    // From here on nothing comes but what is replayed.
    line.ferrule.run(&["pause", "stream", "line-source"]).ok();
    let before = line.letters();
    line.ferrule.kill();
    line.ferrule.up();
    assert_eq!(line.letters(), before);

    line.apply(TAKES_ALL);
    line.ferrule.ready("pipeline", "line");
    line.ferrule.run(&["deadletter", "replay", "--limit", "50"]).ok();
    assert_eq!(line.letters().len(), 150);
    // Killed right after it was asked for: some may be delivered whose letters are still there.
    let mut replay = line.ferrule.spawn(&["deadletter", "replay"]);
    until("a part of them is delivered, or all", || (line.out().len() > 1_850).then_some(()));
    line.ferrule.kill();
    replay.wait().unwrap();
    line.ferrule.up();
    line.ferrule.ready("pipeline", "line");
    line.ferrule.run(&["deadletter", "replay"]).ok();
    assert!(line.letters().is_empty());
    until("all records", || (line.out() == (0..2_000).collect()).then_some(()));
}

#[test]
fn at_the_bound_the_pipeline_waits_and_goes_on_when_there_is_room() {
    let ferrule = Ferrule::serve_with(&["--dead-letters", "8KiB"]);
    ferrule
        .apply(
            "apiVersion: connector.ferrule.dev/v1
kind: Pipeline
metadata: {name: refused}
spec:
  source: {class: generator, parameters: {rate: 200, count: 100, size: 16}}
  functions: [{function: jq, args: {program: 'error(\"no\")'}}]
  sink: {class: blackhole}
",
        )
        .ok();
    let alert = until("the dead letters are full", || {
        let answer = ferrule.run(&["status", "-o", "json"]).ok();
        let status: Value = serde_json::from_str(&answer.out).unwrap();
        let alerts = status["alerts"].as_array()?;
        alerts.iter().find(|alert| alert["name"] == "dead-letters-full").cloned()
    });
    assert!(alert["message"].as_str().unwrap().contains("ferrule deadletter replay"), "{alert}");
    assert!(ferrule.run(&["status"]).ok().err.contains("FE0513"));
    assert!(letters(&ferrule, &[]).len() < 100);
    let mut dropped = 0;
    until("all hundred, one lot after another", || {
        let said = ferrule.run(&["deadletter", "drop", "--all", "--yes"]).ok().err;
        dropped += said.split_whitespace().find_map(|word| word.parse::<u32>().ok()).unwrap_or_default();
        (dropped == 100).then_some(())
    });
}
