//! Documents as people write them, and what happens to those that are wrong.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use ferrule_suites::{Ferrule, ferrule::root};

fn native(kind: &str, name: &str, spec: &str) -> String {
    format!("apiVersion: connector.ferrule.dev/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}

#[test]
fn the_published_kps_documents_apply_unchanged_and_appear() {
    let ferrule = Ferrule::start();
    let samples = root().join("samples/kps");
    ferrule.run(&["apply", "-f", samples.to_str().unwrap()]).ok();
    for (noun, name) in [
        ("connectorclass", "thermo"),
        ("connectorinstance", "thermo-hall-1"),
        ("connectorinstance", "thermo-hall-2"),
        ("connectorstream", "hall-1-readings"),
        ("connectorstream", "hall-1-alarms"),
        ("connectorconfig", "thermo-log"),
        ("category", "Measure"),
        ("project", "halls"),
        ("function", "too-hot"),
        ("datapipeline", "alarms"),
    ] {
        let listed = ferrule.run(&["get", noun, "--all-namespaces"]).ok();
        assert!(listed.out.contains(name), "{noun} {name} is not in:\n{}", listed.out);
    }
    // Applying the same again changes nothing.
    let again = ferrule.run(&["apply", "-f", samples.to_str().unwrap()]).ok();
    assert!(!again.out.contains("configured"), "{}", again.out);
}

#[test]
fn a_class_without_a_component_says_what_is_missing() {
    let ferrule = Ferrule::start();
    ferrule.run(&["apply", "-f", root().join("samples/kps").to_str().unwrap()]).ok();
    let object = ferrule.run(&["get", "connectorclass", "--all-namespaces", "-o", "json"]).ok();
    assert!(object.out.contains("ferrule register"), "{}", object.out);
}

#[test]
fn every_error_of_a_file_is_shown_at_once_with_code_path_and_mend() {
    let ferrule = Ferrule::start();
    let documents = [
        native("Stream", "one", "{instance: x, direction: sideways, parameters: {}}"),
        native("Pipeline", "two", "{source: s, sink: t, functoins: []}"),
        native("Strem", "three", "{}"),
    ];
    let answer =
        ferrule.apply(&documents.join("---\n")).fails(7, &["direction", "functoins", "functions", "Strem", "Stream"]);
    assert!(answer.err.matches("FE").count() >= 3, "{}", answer.err);
    assert!(ferrule.get("pipeline", "two").is_none(), "a file with errors changed something");
}

#[test]
fn a_dry_run_validates_and_changes_nothing() {
    let ferrule = Ferrule::start();
    let good = native("Pipeline", "dry", "{source: {class: generator}, sink: {class: blackhole}}");
    ferrule.feed(&["apply", "--dry-run", "-f", "-"], good.as_bytes()).ok();
    assert!(ferrule.get("pipeline", "dry").is_none());
    let bad =
        native("Pipeline", "dry", "{source: {class: generator, parameters: {rate: fast}}, sink: {class: blackhole}}");
    ferrule.feed(&["apply", "--dry-run", "-f", "-"], bad.as_bytes()).fails(7, &["rate", "fast"]);
}

#[test]
fn a_program_that_does_not_parse_is_refused_with_its_position() {
    let ferrule = Ferrule::start();
    let bad = native(
        "Pipeline",
        "broken",
        "{source: {class: generator}, functions: [{function: jq, args: {program: '.a | | .b'}}], sink: {class: blackhole}}",
    );
    ferrule.apply(&bad).fails(7, &["program", "line 1, column 6"]);
}

#[test]
fn documents_that_attack_the_reader_are_refused_quickly_and_clearly() {
    let ferrule = Ferrule::start();
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let items = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{items}]\n"));
    }
    ferrule.apply(&bomb).fails(7, &["FE"]);
    let large = native("Pipeline", "large", &format!("{{source: {}}}", "x".repeat(10 << 20)));
    ferrule.apply(&large).fails(7, &["FE0101", "4194304"]);
    ferrule.feed(&["apply", "-f", "-"], b"kind: \xff\xfe\n").fails(7, &["UTF-8"]);
    let deep = format!("{{\"kind\": {}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    ferrule.apply(&deep).fails(7, &["FE"]);
    // The server is as well as before.
    ferrule.run(&["get", "streams"]).ok();
}

#[test]
fn names_used_twice_in_one_file_are_refused() {
    let ferrule = Ferrule::start();
    let document = native("Pipeline", "twice", "{source: {class: generator}, sink: {class: blackhole}}");
    ferrule.apply(&format!("{document}---\n{document}")).fails(7, &["twice"]);
}

#[test]
fn environment_variables_enter_only_by_the_explicit_form() {
    let ferrule = Ferrule::start_with(&[("SIZE_OF_IT", "32")]);
    let document = |value: &str| native("Category", "env", &format!("{{description: '{value}', values: [a]}}"));
    ferrule.apply(&document("$SIZE_OF_IT and ${SIZE_OF_IT} and ${env:SIZE_OF_IT}")).ok();
    let object = ferrule.get("category", "env").unwrap();
    assert_eq!(object["spec"]["description"], "$SIZE_OF_IT and ${SIZE_OF_IT} and 32");
    ferrule.apply(&document("${env:NOT_SET_ANYWHERE}")).fails(7, &["NOT_SET_ANYWHERE"]);
}

#[test]
fn what_is_in_use_is_not_deleted_and_the_answer_names_the_user() {
    let ferrule = Ferrule::start();
    ferrule.run(&["apply", "-f", root().join("samples/kps").to_str().unwrap()]).ok();
    ferrule.run(&["delete", "connectorinstance", "thermo-hall-1", "-n", "halls"]).fails(4, &["hall-1-readings"]);
    ferrule.run(&["delete", "connectorstream", "no-such-stream"]).fails(3, &["no-such-stream"]);
}

#[test]
fn a_parameter_that_no_guest_knows_is_refused_with_a_suggestion() {
    let ferrule = Ferrule::start();
    let good = "{class: generator}";
    for (source, sink, wrong, meant) in [
        (
            "{class: mqtt, parameters: {broker: 'b:1', topics: ['#'], clean-sesion: true}}",
            "{class: blackhole}",
            "source.parameters.clean-sesion",
            "clean-session",
        ),
        (
            good,
            "{class: mqtt, parameters: {broker: 'b:1', topic: t, reatin: true}}",
            "sink.parameters.reatin",
            "retain",
        ),
        (
            good,
            "{class: mqtt, static: {image_tag: '1'}, parameters: {broker: 'b:1', topic: t}}",
            "sink.static.image_tag",
            "expected: nothing here",
        ),
        (good, "{class: http, parameters: {url: 'http://h/', timout: 3}}", "sink.parameters.timout", "timeout"),
        (good, "{class: file, parameters: {folder: /x, file: f, synk: true}}", "sink.parameters.synk", "sync"),
        ("{class: generator, parameters: {cuont: 3}}", "{class: blackhole}", "source.parameters.cuont", "count"),
        (good, "{class: blackhole, parameters: {depth: 3}}", "sink.parameters.depth", "expected: nothing here"),
    ] {
        let document = native("Pipeline", "typo", &format!("{{source: {source}, sink: {sink}}}"));
        let answer =
            ferrule.apply(&document).fails(7, &["FE0122", " -: spec.", wrong, "unknown field", "expected:", meant]);
        assert!(!answer.err.contains("panicked"), "{}", answer.err);
    }
    let function =
        "{source: {class: generator}, functions: [{function: jq, args: {progam: '.'}}], sink: {class: blackhole}}";
    let answer = ferrule.apply(&native("Pipeline", "typo", function));
    answer.fails(7, &["functions[0].args.progam", "unknown field", "did you mean `program`?"]);
    assert!(ferrule.get("pipeline", "typo").is_none());
}

#[test]
fn what_only_the_class_of_another_system_knows_passes_with_a_warning() {
    let ferrule = Ferrule::start();
    let thermo = root().join("target/guests/mqtt.wasm");
    let samples = root().join("samples/kps");
    ferrule.run(&["apply", "-f", samples.to_str().unwrap()]).ok();
    ferrule.run(&["register", thermo.to_str().unwrap(), "--for", "thermo"]).ok();
    let answer = ferrule.run(&["apply", "-f", samples.to_str().unwrap()]).ok();
    assert!(answer.err.contains("warning[FE0122]"), "{}", answer.err);
    assert!(answer.err.contains("image_tag"), "{}", answer.err);
    ferrule.wait("stream", "hall-1-alarms", "checked without complaint", |stream| {
        !stream["status"].to_string().contains("ParametersInvalid")
    });
}
