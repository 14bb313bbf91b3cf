//! A backup of a server while it runs, and the server made from it again.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use ferrule_suites::{Ferrule, until};
use serde_json::Value;

fn documents(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "apiVersion: connector.ferrule.dev/v1
kind: Pipeline
metadata: {{name: line}}
spec:
  source: {{class: file, parameters: {{folder: '{folder}', file: in.txt, follow: true}}}}
  functions: [{{name: shape, function: jq, args: {{program: 'if . % 10 == 7 then error(\"a seven\") else . end'}}}}]
  sink: {{class: file, parameters: {{folder: '{folder}', file: out.txt}}}}
---
apiVersion: connector.ferrule.dev/v1
kind: Grant
metadata: {{name: files}}
spec: {{class: file, allow: [{{write: '{folder}'}}, {{read: '{folder}'}}]}}
"
    )
}

fn lines(range: std::ops::Range<u32>) -> String {
    range.map(|number| format!("{number}\n")).collect()
}

fn out(folder: &Path) -> BTreeSet<u32> {
    let text = fs::read_to_string(folder.join("out.txt")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

fn wanted(range: std::ops::Range<u32>) -> BTreeSet<u32> {
    range.filter(|number| number % 10 != 7).collect()
}

fn letters(ferrule: &Ferrule) -> usize {
    let answer = ferrule.run(&["deadletter", "list", "-o", "json"]).ok();
    serde_json::from_str::<Vec<Value>>(&answer.out).unwrap().len()
}

/// Records in the log that the pipeline has not taken.
fn lag(ferrule: &Ferrule) -> Option<u64> {
    let status: Value = serde_json::from_str(&ferrule.run(&["status", "-o", "json"]).ok().out).unwrap();
    status["pipelines"][0]["lag"].as_u64()
}

#[test]
fn a_server_is_restored_as_it_was_when_the_backup_was_made() {
    let mut first = Ferrule::start();
    let folder = first.folder().join("lines");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("in.txt"), lines(0..30)).unwrap();
    first.apply(&documents(&folder)).ok();
    until("27 lines and 3 letters", || (out(&folder) == wanted(0..30) && letters(&first) == 3).then_some(()));
    first.run(&["pause", "pipeline", "line"]).ok();
    let mut more = fs::File::options().append(true).open(folder.join("in.txt")).unwrap();
    more.write_all(lines(30..50).as_bytes()).unwrap();
    until("20 more in the log", || (lag(&first) == Some(20)).then_some(()));

    let backup = first.folder().join("ferrule.tar");
    let backup = backup.to_str().unwrap();
    first.run(&["backup", backup]).ok();
    first.run(&["backup", backup]).fails(4, &["is there already"]);
    first.run(&["resume", "pipeline", "line"]).ok();
    until("the first server went on", || (out(&folder) == wanted(0..50)).then_some(()));
    first.terminate();

    let mut second = Ferrule::idle();
    second.run(&["restore", backup, "--check"]).ok();
    let cut = second.folder().join("cut.tar");
    let whole = fs::read(backup).unwrap();
    fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    second.run(&["restore", cut.to_str().unwrap()]).fails(7, &["not a usable backup"]);
    assert!(!second.folder().join("data").exists(), "nothing is left of the attempt");
    second.run(&["restore", backup]).ok();
    second.run(&["restore", backup]).fails(4, &["is there already", "--data"]);
    fs::remove_file(folder.join("out.txt")).unwrap();
    fs::write(folder.join("in.txt"), "").unwrap();
    second.up();
    assert_eq!(letters(&second), 3);
    assert_eq!(out(&folder), BTreeSet::new(), "the pipeline is paused, as it was");
    second.run(&["resume", "pipeline", "line"]).ok();
    until("what was in the log", || (out(&folder) == wanted(30..50) && letters(&second) == 5).then_some(()));
}
