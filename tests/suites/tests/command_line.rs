//! The command line as scripts and people meet it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use ferrule_suites::ferrule::{native, root, terminate};
use ferrule_suites::{Ferrule, until};
use std::process::Stdio;

#[test]
fn without_a_server_the_answer_says_how_to_start_one() {
    Ferrule::idle().run(&["get", "streams"]).fails(6, &["ferrule serve"]);
}

#[test]
fn usage_errors_have_their_own_code() {
    let ferrule = Ferrule::idle();
    ferrule.run(&["no-such-verb"]).fails(2, &["no-such-verb"]);
    ferrule.run(&["get", "streems"]).fails(2, &["streems", "did you mean `streams`?"]);
    for verb in ["get", "validate"] {
        ferrule.run(&[verb, "hello.yaml"]).fails(2, &["a file is given with -f"]);
    }
    ferrule.run(&["run", "x.yaml", "--for", "-1"]).fails(2, &["expected a number of seconds, at least 0.1"]);
    let class = root().join("samples/kps/connector_class.json").display().to_string();
    ferrule.run(&["validate", "category", "-f", &class]).fails(7, &["FE0108", "ferrule validate connectorclass -f"]);
    ferrule.run(&["update", "category", "thermo", "-f", &class]).fails(7, &["ferrule update connectorclass -f"]);
    assert!(ferrule.run(&["--help"]).ok().out.starts_with("Ferrule is a connector platform"));
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

#[test]
fn the_last_table_of_a_run_has_every_record() {
    let ferrule = Ferrule::idle();
    let out = ferrule.folder().join("out");
    std::fs::create_dir(&out).unwrap();
    let folder = out.display();
    let file = ferrule.file(
        "fast.yaml",
        format!(
            "apiVersion: connector.ferrule.dev/v1
kind: Pipeline
metadata: {{name: fast}}
spec:
  source: {{class: generator, parameters: {{rate: 0, size: 100}}}}
  sink: {{class: file, parameters: {{folder: '{folder}', file: lines.txt, sync: false}}}}
---
apiVersion: connector.ferrule.dev/v1
kind: Grant
metadata: {{name: lines}}
spec: {{class: file, allow: [{{write: '{folder}'}}, {{read: '{folder}'}}]}}
"
        ),
    );
    let run = ["run", file.to_str().unwrap(), "--until-records", "20000", "-o", "json"];
    let report: serde_json::Value = serde_json::from_str(&ferrule.run(&run).ok().out).unwrap();
    let lines = std::fs::read(out.join("lines.txt")).unwrap().iter().filter(|byte| **byte == b'\n').count() as u64;
    let (pipeline, streams) = (&report["pipelines"][0], report["streams"].as_array().unwrap());
    let counts = [&pipeline["delivered"], &streams[0]["records"], &streams[1]["records"]].map(|count| count.as_u64());
    assert_eq!(counts, [Some(lines); 3], "{report}");
    assert_eq!((&pipeline["lag"], &pipeline["state"]), (&0.into(), &"running".into()), "{report}");
}

#[test]
fn running_says_what_is_not_there_and_what_is() {
    let ferrule = Ferrule::idle();
    let run = |spec: &str| {
        let file = ferrule.file("c.yaml", native("Pipeline", "c", spec));
        ferrule.run(&["run", file.to_str().unwrap(), "--for", "60"])
    };
    let answer = run("{source: {class: generator}, sink: {class: blackhol}}");
    let answer = answer.fails(7, &["error[FE0210]", "no class `blackhol`", "did you mean `blackhole`?"]);
    assert_eq!(answer.err.matches("FE0210]").count(), 1, "one cause, one message: {}", answer.err);
    run("{source: {class: weather}, sink: {class: blackhole}}").fails(7, &["there are blackhole, file, generator"]);
    run("{source: {class: jq}, sink: {class: blackhole}}").fails(7, &["`jq` is a function"]);
}

#[test]
fn a_component_is_compiled_once_for_all_runs() {
    let ferrule = Ferrule::idle();
    let file = ferrule.file(
        "p.yaml",
        native("Pipeline", "p", "{source: {class: generator, parameters: {rate: 0, count: 10}}, functions: [{function: jq, args: {program: .}}], sink: {class: blackhole}}"),
    );
    let cache = ferrule.folder().join("cache");
    let run = || {
        let mut command = ferrule.program();
        command.env("XDG_CACHE_HOME", &cache).args(["run", file.to_str().unwrap(), "--until-records", "10"]);
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        // The last word has all records, those too that came while it stopped.
        assert!(String::from_utf8_lossy(&output.stdout).lines().any(|line| line.contains(" 10 ")), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(run().contains("compiling jq"));
    assert!(!run().contains("compiling"));
    let forms = std::fs::read_dir(cache.join("ferrule/compiled")).unwrap();
    let forms = forms.filter(|form| form.as_ref().unwrap().path().extension().is_some_and(|e| e == "compiled"));
    assert_eq!(forms.count(), 3);
}

/// A start that compiles takes seconds; the store is there at its beginning.
#[test]
fn a_start_that_is_cut_off_ends_in_an_orderly_way() {
    let ferrule = Ferrule::idle();
    let start = |words: &[&str], store: &dyn Fn() -> bool| {
        let mut command = ferrule.program();
        command.env("XDG_CACHE_HOME", ferrule.folder().join("cache")).env("TMPDIR", ferrule.folder().join("tmp"));
        command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        until("the store of the start", || (store() || process.try_wait().unwrap().is_some()).then_some(()));
        assert_eq!(terminate(&mut process).code(), Some(0), "{words:?}");
        let output = process.wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told.contains("SIGTERM: stopped before"), "{words:?}: {told}");
    };
    let data = ferrule.folder().join("data");
    start(&["serve", "--no-metrics"], &|| data.join("store.redb").exists());
    assert!(!data.join("ferrule.sock").exists());
    let temporary = ferrule.folder().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let folders = || std::fs::read_dir(&temporary).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let file = ferrule.file(
        "p.yaml",
        native("Pipeline", "p", "{source: {class: mqtt, parameters: {broker: 'b.example:1', topics: ['#']}}, functions: [{function: jq, args: {program: .}}], sink: {class: http, parameters: {url: 'http://h.example/'}}}"),
    );
    start(&["run", file.to_str().unwrap()], &|| folders().iter().any(|folder| folder.join("data/store.redb").exists()));
    assert_eq!(folders().len(), 0, "the temporary folder is left: {:?}", folders());
}
