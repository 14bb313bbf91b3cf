//! Documents as people write them, and what happens to those that are wrong.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use ferrule_suites::Ferrule;
use ferrule_suites::ferrule::{native, root};

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
        ferrule.apply(&documents.concat()).fails(7, &["direction", "functoins", "functions", "Strem", "Stream"]);
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
    ferrule
        .apply(&bomb)
        .fails(7, &["FE0105", "the document grows too much: its aliases stand for more than", "help: "]);
    let large = native("Pipeline", "large", &format!("{{source: {}}}", "x".repeat(10 << 20)));
    ferrule.apply(&large).fails(7, &["FE0101", "4194304"]);
    ferrule.feed(&["apply", "-f", "-"], b"kind: \xff\xfe\n").fails(7, &["UTF-8"]);
    let deep = format!("{{\"kind\": {}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    ferrule.apply(&deep).fails(7, &["FE0105", "nested more than 128 levels deep", "help: "]);
    let deep = format!("kind: {}1{}", "[".repeat(1000), "]".repeat(1000));
    ferrule.apply(&deep).fails(7, &["FE0105", "help: "]);
    // The server is as well as before.
    ferrule.run(&["get", "streams"]).ok();
}

#[test]
fn names_used_twice_in_one_file_are_refused() {
    let ferrule = Ferrule::start();
    let document = native("Pipeline", "twice", "{source: {class: generator}, sink: {class: blackhole}}");
    ferrule.apply(&format!("{document}{document}")).fails(7, &["twice"]);
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

#[test]
fn what_a_component_finds_is_told_beside_what_is_wrong_elsewhere() {
    let ferrule = Ferrule::start();
    let jq = |program: &str| {
        format!(
            "{{source: {{class: generator}}, functions: [{{function: jq, args: {{program: '{program}'}}}}], sink: {{class: blackhole}}}}"
        )
    };
    let documents = [
        native("Pipeline", "broken", &jq(".a | | .b")),
        native("Pipeline", "fast", "{source: {class: generator, parameters: {rate: fast}}, sink: {class: blackhole}}"),
        native("Pipeline", "nowhere", "{source: {component: nowhere.wasm}, sink: {class: blackhole}}"),
    ];
    // The first error decides the exit code: a file that is not there.
    let answer = ferrule.apply(&documents.concat()).fails(
        3,
        &["FE0124", "line 1, column 6", "FE0122", "spec.source.parameters.rate", "FE0125", "spec.source.component"],
    );
    assert!(!answer.err.contains("FE0211"), "{}", answer.err);
    for (code, path) in [("FE0124", "functions[0].args.program"), ("FE0122", "rate"), ("FE0125", "component")] {
        let lines = answer.err.lines().filter(|line| line.contains(&format!("[{code}]")) && line.contains(path));
        assert_eq!(lines.count(), 1, "{code} in {}", answer.err);
    }
    let text = ferrule.file("text.wasm", "no component");
    let spec = format!("{{source: {{component: '{}'}}, sink: {{class: blackhole}}}}", text.display());
    ferrule.apply(&native("Pipeline", "text", &spec)).fails(7, &["FE0301", "spec.source.component"]);
    let spec = format!(
        "{{source: {{class: generator}}, functions: [{{function: jq, args: {{program: .}}}}, {{component: '{}'}}], sink: {{class: blackhole}}}}",
        text.display()
    );
    ferrule.apply(&native("Pipeline", "text", &spec)).fails(7, &["FE0301", "spec.functions[1].component"]);
}

#[test]
fn a_class_of_the_other_direction_is_told_once_where_it_is_named() {
    let ferrule = Ferrule::start();
    let wrong = native("Pipeline", "wrong", "{source: {class: blackhole}, sink: {class: generator}}");
    let answer =
        ferrule.apply(&wrong).fails(7, &["spec.source.class", "spec.sink.class", "found: blackhole", "help: "]);
    assert_eq!(
        answer.err.matches("error[FE").count() - answer.err.matches("error[FE0206]").count(),
        0,
        "{}",
        answer.err
    );
    assert_eq!(answer.err.matches("error[FE0206]").count(), 2, "{}", answer.err);
}

#[test]
fn one_cause_is_one_warning() {
    let ferrule = Ferrule::start();
    let answer = ferrule.run(&["apply", "-f", root().join("samples/kps").to_str().unwrap()]).ok();
    let warnings: Vec<&str> = answer.err.lines().filter(|line| line.contains("warning[FE0211]")).collect();
    assert!(!warnings.is_empty(), "{}", answer.err);
    for warning in &warnings {
        assert!(warning.matches("class thermo").count() <= 1, "{warning}");
    }
    let of_thermo = warnings.iter().filter(|line| line.contains("thermo")).count();
    assert_eq!(of_thermo, 1, "{}", answer.err);
}

#[test]
fn each_error_of_a_document_says_how_to_mend_it() {
    let ferrule = Ferrule::start();
    for (document, code) in [
        ("a: b: c\n".to_owned(), "FE0103"),
        ("{\"a\": 1,}".to_owned(), "FE0104"),
        ("a: 1\na: 2\n".to_owned(), "FE0106"),
        (native("Stream", "s", "{instance: i}"), "FE0110"),
        (native("Stream", "s", "{instance: i, direction: UP}"), "FE0112"),
        (native("Class", "c", "{streamSchema: {type: 7}}"), "FE0121"),
        ("# nothing\n".to_owned(), "FE0123"),
    ] {
        let answer = ferrule.apply(&document).fails(7, &[code]);
        assert!(answer.err.contains("\n  help: "), "{code}: {}", answer.err);
    }
}

#[test]
fn a_project_that_is_not_there_is_told() {
    let ferrule = Ferrule::start();
    let document = native("Pipeline", "line", "{source: {class: generator}, sink: {class: blackhole}}");
    ferrule.apply(&native("Project", "halls", "{}")).ok();
    let answer = ferrule.feed(&["apply", "-f", "-", "-p", "hals"], document.as_bytes()).ok();
    assert!(answer.err.contains("warning[FE0210]") && answer.err.contains("did you mean `halls`?"), "{}", answer.err);
    ferrule.run(&["get", "streams", "-p", "nosuch"]).fails(3, &["FE0201", "no project `nosuch`"]);
    ferrule.run(&["get", "streams", "-i", "nosuch"]).fails(3, &["FE0201", "no instance nosuch"]);
    // A name in two projects: the answer says how to tell them apart.
    ferrule.feed(&["apply", "-f", "-", "-p", "halls"], document.as_bytes()).ok();
    ferrule.run(&["delete", "dp", "line"]).fails(7, &["FE0205", "halls/line", "hals/line", "-p PROJECT"]);
    let listed = ferrule.run(&["get", "dp"]).ok().out;
    assert!(listed.starts_with("PROJECT"), "{listed}");
    assert!(!ferrule.run(&["get", "dp", "-p", "halls"]).ok().out.starts_with("PROJECT"));
}

#[test]
fn documents_of_kps_are_listed_with_names() {
    let ferrule = Ferrule::start();
    ferrule.run(&["apply", "-f", root().join("samples/kps").to_str().unwrap()]).ok();
    for (noun, name) in [("ci", "thermo"), ("cs", "thermo-hall-1"), ("cfg", "thermo-hall-1")] {
        let listed = ferrule.run(&["get", noun]).ok().out;
        let cells = |line: &str| line.split("   ").map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
        assert!(listed.lines().any(|line| cells(line).iter().any(|cell| cell == name)), "{noun}: {listed}");
    }
    let described = ferrule.run(&["describe", "ci", "thermo-hall-1"]).ok().out;
    assert!(described.contains("class: thermo\n"), "{described}");
}
