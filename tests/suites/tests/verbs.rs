//! Every verb of the command line against a real server: what it does, what it prints where, and how it exits.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use ferrule_suites::ferrule::{condition, native, root};
use ferrule_suites::{Ferrule, until};
use serde_json::Value;
use std::process::{Command, Stdio};

/// A source that goes on, a function, and a sink that swallows everything.
fn steady(name: &str) -> String {
    let spec = "{source: {class: generator, parameters: {rate: 200, size: 32}}, \
                functions: [{function: jq, args: {program: '.'}}], sink: {class: blackhole}}";
    native("Pipeline", name, spec)
}

/// An instance with two streams and a pipeline that uses them.
fn by_name() -> String {
    [
        native("Instance", "numbers", "{class: generator}"),
        native("Instance", "nowhere", "{class: blackhole}"),
        native("Stream", "up", "{instance: numbers, direction: INGRESS, parameters: {rate: 100}}"),
        native("Stream", "down", "{instance: nowhere, direction: EGRESS}"),
        native("Pipeline", "line", "{source: up, sink: down}"),
    ]
    .concat()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

#[test]
fn what_is_in_use_goes_only_with_what_uses_it() {
    let ferrule = Ferrule::start();
    ferrule.apply(&by_name()).ok();
    ferrule.run(&["delete", "stream", "up"]).fails(4, &["FE0202", "in use by pipeline line", "--cascade"]);
    let instance = ["delete", "instance", "numbers"];
    ferrule.run(&instance).fails(4, &["FE0202", "stream", "up"]);
    // A dry run says what would go, and nothing goes.
    let would = ferrule.run(&["delete", "instance", "numbers", "--cascade", "--dry-run"]).ok();
    for gone in ["instance numbers", "stream up", "pipeline line"] {
        assert!(would.out.contains(gone), "{}", would.out);
    }
    assert!(ferrule.get("pipeline", "line").is_some());
    let done = json(&ferrule.run(&["delete", "instance", "numbers", "--cascade", "-o", "json"]).ok().out);
    let names: Vec<&str> = done.as_array().unwrap().iter().filter_map(|object| object["name"].as_str()).collect();
    assert_eq!(names.len(), 3, "{done}");
    for (kind, name) in [("instance", "numbers"), ("stream", "up"), ("pipeline", "line")] {
        assert!(ferrule.get(kind, name).is_none(), "{kind} {name} is still there");
    }
    assert!(ferrule.get("stream", "down").is_some(), "what uses nothing of it stays");
    let file = ferrule.file("rest.yaml", native("Instance", "nowhere", "{class: blackhole}"));
    ferrule.run(&["delete", "-f", file.to_str().unwrap()]).fails(4, &["down"]);
    ferrule.run(&["delete", "stream", "down"]).ok();
    ferrule.run(&["delete", "-f", file.to_str().unwrap()]).ok();
    ferrule.run(&["delete", "-f", file.to_str().unwrap()]).fails(3, &["FE0201", "nowhere"]);
}

#[test]
fn prune_deletes_what_the_set_no_longer_holds_and_nothing_else() {
    let ferrule = Ferrule::start();
    let category = |name: &str| native("Category", name, "{values: [a]}");
    let apply = |text: String, words: &[&str]| {
        let words: Vec<&str> = ["apply", "-f", "-"].iter().chain(words).copied().collect();
        ferrule.feed(&words, text.as_bytes()).ok()
    };
    apply([category("one"), category("two"), category("three")].concat(), &["--set", "mine"]);
    apply(category("other"), &["--set", "another"]);
    let only_one = category("one");
    let shown = ferrule.feed(&["diff", "-f", "-", "--set", "mine", "--prune"], only_one.as_bytes());
    let shown = shown.fails(8, &["category two: deleted", "category three: deleted"]);
    assert!(!shown.out.contains("other"), "{}", shown.out);
    let dry = apply(only_one.clone(), &["--set", "mine", "--prune", "--dry-run"]);
    assert!(dry.out.contains("category two deleted"), "{}", dry.out);
    assert!(ferrule.get("category", "two").is_some(), "a dry run deleted something");
    apply(only_one, &["--set", "mine", "--prune"]);
    for (name, there) in [("one", true), ("two", false), ("three", false), ("other", true)] {
        assert_eq!(ferrule.get("category", name).is_some(), there, "{name}");
    }
    // What others use is not pruned.
    apply(by_name(), &["--set", "mine"]);
    let streams = native("Pipeline", "line", "{source: up, sink: down}");
    let answer = ferrule.feed(&["apply", "-f", "-", "--set", "mine", "--prune"], streams.as_bytes());
    answer.fails(4, &["FE0202", "pipeline line"]);
    assert!(ferrule.get("stream", "up").is_some());
}

#[test]
fn diff_shows_each_value_that_would_change_and_exits_with_8() {
    let ferrule = Ferrule::start();
    let document = |rate: u32| {
        let spec =
            format!("{{source: {{class: generator, parameters: {{rate: {rate}}}}}, sink: {{class: blackhole}}}}");
        native("Pipeline", "line", &spec)
    };
    let diff = |text: String, more: &[&str]| {
        let words: Vec<&str> = ["diff", "-f", "-"].iter().chain(more).copied().collect();
        ferrule.feed(&words, text.as_bytes())
    };
    diff(document(10), &[]).fails(8, &["pipeline line: created"]);
    assert!(ferrule.get("pipeline", "line").is_none(), "diff changed something");
    ferrule.apply(&document(10)).ok();
    let same = diff(document(10), &[]).ok();
    assert_eq!((same.out.as_str(), same.err.contains("no differences")), ("", true), "{same:?}");
    diff(document(20), &[])
        .fails(8, &["stream line-source: configured", "- spec.parameters.rate: 10", "+ spec.parameters.rate: 20"]);
    let value = json(&diff(document(20), &["-o", "json"]).fails(8, &[]).out);
    assert!(value.as_array().unwrap().iter().all(|one| one["action"] == "configured"), "{value}");
    diff("kind: nonsense".to_owned(), &[]).fails(7, &["FE0107"]);
}

#[test]
fn create_refuses_what_is_there_and_update_what_is_not() {
    let ferrule = Ferrule::start();
    let file = ferrule.file("c.yaml", native("Category", "site", "{values: [north]}"));
    let path = file.to_str().unwrap();
    ferrule.run(&["update", "category", "site", "-f", path]).fails(3, &["FE0201", "category site"]);
    ferrule.run(&["create", "category", "-f", path, "--dry-run"]).ok();
    assert!(ferrule.get("category", "site").is_none(), "a dry run created something");
    let created = ferrule.run(&["create", "category", "-f", path]).ok();
    assert!(created.out.contains("category site created"), "{}", created.out);
    ferrule.run(&["create", "category", "-f", path]).fails(4, &["FE0204", "category site is there already"]);
    ferrule.run(&["create", "stream", "-f", path]).fails(7, &["FE0108"]);
    ferrule.file("c.yaml", native("Category", "site", "{values: [north, south]}"));
    ferrule.run(&["update", "category", "plant", "-f", path]).fails(2, &["site", "plant"]);
    let before = ferrule.get("category", "site").unwrap()["metadata"]["generation"].as_u64().unwrap();
    ferrule.run(&["update", "category", "site", "-f", path]).ok();
    let after = ferrule.get("category", "site").unwrap();
    assert_eq!(after["spec"]["values"][1], "south");
    assert_eq!(after["metadata"]["generation"].as_u64().unwrap(), before + 1);
}

#[test]
fn drain_waits_for_what_is_in_flight_and_leaves_the_target_paused() {
    let mut ferrule = Ferrule::start();
    ferrule.apply(&steady("line")).ok();
    until("records", || (ferrule.count("line", "delivered") > 0).then_some(()));
    let drained = ferrule.run(&["drain", "pipeline", "line"]).ok();
    assert!(drained.out.contains("pipeline line drained"), "{}", drained.out);
    ferrule.reason("pipeline", "line", "Paused");
    let status = json(&ferrule.run(&["status", "pipeline/line", "-o", "json"]).ok().out);
    assert_eq!(status["pipelines"][0]["inFlight"], 0, "{status}");
    let count = ferrule.count("line", "delivered");
    // Paused it stays, over a restart too, and an apply of the same document leaves it so.
    ferrule.terminate();
    ferrule.up();
    ferrule.reason("pipeline", "line", "Paused");
    ferrule.apply(&steady("line")).ok();
    ferrule.reason("pipeline", "line", "Paused");
    assert!(ferrule.count("line", "delivered") <= count);
    let resumed = ferrule.run(&["resume", "pipeline/line", "-o", "json"]).ok();
    assert_eq!(json(&resumed.out)[0]["name"], "line");
    until("records again", || (ferrule.count("line", "delivered") > 0).then_some(()));
    ferrule.run(&["drain", "pipeline", "lien"]).fails(3, &["FE0201", "did you mean `line`?"]);
    ferrule.run(&["pause", "category", "x"]).fails(3, &["no stream or pipeline"]);
}

#[test]
fn top_prints_one_table_where_nothing_can_be_redrawn() {
    let ferrule = Ferrule::start();
    ferrule.apply(&steady("line")).ok();
    ferrule.ready("pipeline", "line");
    let once = ferrule.run(&["top"]).ok();
    assert_eq!(once.out.matches("ferrule top").count(), 1, "{}", once.out);
    assert!(once.out.contains("line-source") && once.out.contains("PIPELINE"), "{}", once.out);
    assert!(!once.out.contains('\u{1b}'), "a pipe was drawn on: {}", once.out);
    let two = ferrule.run(&["top", "line", "--count", "2", "--interval", "0.1", "-o", "json"]).ok();
    let reports: Vec<Value> = serde_json::Deserializer::from_str(&two.out).into_iter().map(Result::unwrap).collect();
    assert_eq!(reports.len(), 2, "{}", two.out);
    ferrule.run(&["top", "nothing-of-that-name"]).fails(3, &["FE0201"]);
}

#[test]
fn top_draws_on_a_terminal_and_leaves_it_as_it_was() {
    let ferrule = Ferrule::start();
    ferrule.apply(&steady("line")).ok();
    ferrule.ready("pipeline", "line");
    let Some(drawn) = on_a_terminal(&ferrule, "top --count 2 --interval 0.1") else { return };
    for part in ["\u{1b}[?1049h", "\u{1b}[H\u{1b}[J", "Ctrl-C ends", "line-source", "\u{1b}[?1049l"] {
        assert!(drawn.contains(part), "no {part:?} in {drawn:?}");
    }
}

#[test]
fn progress_is_drawn_on_a_terminal_only() {
    let ferrule = Ferrule::idle();
    let component = root().join("target/guests/identity.wasm");
    let inspect = format!("inspect {}", component.display());
    let what = "loading ";
    let piped = ferrule.run(&inspect.split(' ').collect::<Vec<_>>()).ok();
    let said = piped.out + &piped.err;
    assert!(said.contains("identity") && !said.contains(what) && !said.contains(['\u{1b}', '\r']), "{said:?}");
    let Some(drawn) = on_a_terminal(&ferrule, &inspect) else { return };
    assert!(drawn.contains(what), "nothing was drawn: {drawn:?}");
    let Some(quiet) = on_a_terminal(&ferrule, &format!("--quiet {inspect}")) else { return };
    assert!(!quiet.contains(what), "drawn though quiet was asked for: {quiet:?}");
}

/// What `ferrule WORDS` writes to a pseudo-terminal; nothing where there is none.
fn on_a_terminal(ferrule: &Ferrule, words: &str) -> Option<String> {
    let script = |line: &str| {
        let mut command = Command::new("script");
        command.args(["-qec", line, "/dev/null"]).env("FERRULE_DATA", ferrule.folder().join("data"));
        command.stdin(Stdio::null()).output()
    };
    if !script("true").is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: needs script of util-linux for a pseudo-terminal");
        return None;
    }
    let program = ferrule_suites::ferrule::binary("ferrule");
    let output = script(&format!("{} {words}", program.display())).unwrap();
    let drawn = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{drawn}");
    Some(drawn)
}

#[test]
fn completions_are_scripts_that_their_shell_reads() {
    let ferrule = Ferrule::idle();
    for (shell, sign) in [("bash", "complete -F"), ("zsh", "#compdef ferrule"), ("fish", "complete -c ferrule")] {
        let script = ferrule.run(&["completion", shell]).ok();
        assert!(script.out.contains(sign), "{shell}: {}", script.out);
        for verb in ["apply", "register", "drain"] {
            assert!(script.out.contains(verb), "{shell} does not know {verb}");
        }
        let path = ferrule.file(&format!("completion.{shell}"), &script.out);
        match Command::new(shell).arg("-n").arg(&path).output() {
            Ok(checked) => assert!(checked.status.success(), "{shell}: {}", String::from_utf8_lossy(&checked.stderr)),
            Err(_) => eprintln!("skipped: {shell} is not installed, its script was not read by it"),
        }
    }
    ferrule.run(&["completion", "dos"]).fails(2, &["bash"]);
}

#[test]
fn the_kps_status_and_alerts_of_an_instance_are_its_streams() {
    let ferrule = Ferrule::start();
    ferrule.apply(&by_name()).ok();
    ferrule.ready("pipeline", "line");
    until("the stream runs", || {
        let table = ferrule.run(&["get", "connectorinstancestatus", "-i", "numbers"]).ok().out;
        (table.contains("up") && table.contains("running") && !table.contains("down")).then_some(())
    });
    let rows =
        json(&ferrule.run(&["get", "connectorinstancestatus", "-i", "numbers", "-t", "up", "-o", "json"]).ok().out);
    assert_eq!((rows[0]["name"].as_str(), rows[0]["direction"].as_str()), (Some("up"), Some("ingress")), "{rows}");
    let alerts = ferrule.run(&["get", "connectorinstancealerts", "-i", "numbers", "-o", "json"]).ok();
    assert_eq!(json(&alerts.out), Value::Array(Vec::new()));
    ferrule.run(&["get", "connectorinstancestatus"]).fails(2, &["-i"]);
    ferrule.run(&["get", "connectorinstancestatus", "-i", "nobody"]).fails(3, &["nobody"]);
}

#[test]
fn logs_are_what_guests_wrote_and_follow_goes_on() {
    let ferrule = Ferrule::start();
    // Nobody listens there: the guest says so, again and again.
    let address = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let documents = [
        native(
            "Pipeline",
            "calls",
            &format!(
                "{{source: {{class: mqtt, parameters: {{broker: 'mqtt://{address}', topics: ['#']}}}}, sink: {{class: blackhole}}}}"
            ),
        ),
        native("Grant", "calls", &format!("{{class: mqtt, allow: [{{tcp: '{address}'}}]}}")),
    ];
    ferrule.apply(&documents.concat()).ok();
    let line = until("a line of the source's log", || {
        ferrule.run(&["logs", "calls-source"]).ok().out.lines().next().map(str::to_owned)
    });
    assert!(line.contains("calls-source"), "{line}");
    let value =
        json(ferrule.run(&["logs", "calls-source", "--tail", "1", "-o", "json"]).ok().out.lines().next().unwrap());
    assert!(value["message"].is_string() && value["level"].is_string(), "{value}");
    ferrule.run(&["logs", "nobody"]).fails(3, &["nobody"]);
}

#[test]
fn tail_and_try_show_records_as_lines_and_as_values() {
    let ferrule = Ferrule::start();
    ferrule.apply(&steady("line")).ok();
    ferrule.ready("pipeline", "line");
    for target in ["line", "line-source", "line/jq"] {
        let tailed = ferrule.run(&["tail", target, "--count", "3", "-o", "json"]).ok();
        assert_eq!(tailed.out.lines().count(), 3, "{target}: {}", tailed.out);
        for line in tailed.out.lines() {
            assert!(json(line)["seenAt"].is_string() || json(line)["seenAt"].is_number(), "{line}");
        }
    }
    let steps = json(&ferrule.feed(&["try", "line", "-o", "json"], b"{\"n\": 1}\n").ok().out);
    assert_eq!((steps[0]["step"].as_str(), steps[0]["filtered"].as_bool()), (Some("jq"), Some(false)), "{steps}");
    let rejected = ferrule.feed(&["try", "line"], b"not json").ok();
    assert!(rejected.out.contains("rejected"), "{}", rejected.out);
    ferrule.feed(&["try", "nobody"], b"{}").fails(3, &["nobody"]);
    ferrule.run(&["tail", "nobody"]).fails(3, &["nobody"]);
}

#[test]
fn inspect_and_validate_need_no_server() {
    let ferrule = Ferrule::idle();
    let guest = root().join("target/guests/mqtt.wasm");
    let facts = json(&ferrule.run(&["inspect", guest.to_str().unwrap(), "-o", "json"]).ok().out);
    assert_eq!((facts["name"].as_str(), facts["world"].as_str()), (Some("mqtt"), Some("connector")), "{facts}");
    assert_eq!(facts["schemas"]["stream"]["additionalProperties"], false);
    let table = ferrule.run(&["inspect", guest.to_str().unwrap()]).ok();
    assert!(table.out.contains("Asks for"), "{}", table.out);
    ferrule.run(&["inspect", "/nowhere/x.wasm"]).fails(3, &["/nowhere/x.wasm"]);
    let core = ferrule.file("core.wasm", b"\0asm\x01\0\0\0");
    ferrule.run(&["inspect", core.to_str().unwrap()]).fails(7, &["core module"]);
    let good = ferrule.file("good.yaml", by_name());
    let checked = ferrule.run(&["validate", "-f", good.to_str().unwrap()]).ok();
    assert!(checked.out.contains("pipeline line ok"), "{}", checked.out);
    let values = ferrule.run(&["validate", "-f", good.to_str().unwrap(), "-o", "json"]).ok();
    assert_eq!(json(&values.out).as_array().unwrap().len(), 5);
    let bad = ferrule.file("bad.yaml", native("Stream", "up", "{instnace: numbers, direction: INGRESS}"));
    ferrule
        .run(&["validate", "-f", bad.to_str().unwrap()])
        .fails(7, &["FE0109", "bad.yaml", "did you mean `instance`?"]);
    ferrule.run(&["validate", "-f", "/nowhere.yaml"]).fails(3, &["/nowhere.yaml"]);
}

#[test]
fn each_form_has_its_data_on_standard_output_and_the_talk_on_standard_error() {
    let ferrule = Ferrule::start();
    let applied = ferrule.apply(&by_name()).ok();
    assert!(applied.out.contains("pipeline line created"), "{applied:?}");
    let table = ferrule.run(&["get", "streams"]).ok();
    assert!(table.out.starts_with("NAME "), "{}", table.out);
    assert_eq!(table.err, "");
    assert_eq!(json(&ferrule.run(&["get", "streams", "-o", "json"]).ok().out).as_array().unwrap().len(), 2);
    let yaml = ferrule.run(&["get", "streams", "-o", "yaml"]).ok();
    assert_eq!(yaml.out.matches("kind: Stream").count(), 2, "{}", yaml.out);
    assert_eq!(yaml.err, "");
    let described = ferrule.run(&["describe", "pipeline", "line"]).ok();
    assert!(described.out.contains("Conditions"), "{}", described.out);
    let nothing = ferrule.run(&["get", "projects"]).ok();
    assert_eq!((nothing.out.as_str(), nothing.err.trim()), ("", "nothing found"));
    let quiet = ferrule.run(&["get", "projects", "--quiet"]).ok();
    assert_eq!(quiet.err, "");
    assert_eq!(ferrule.run(&["get", "projects", "-o", "json"]).ok().out.trim(), "[]");
    let refused = ferrule.run(&["get", "stream", "nobody"]).fails(3, &["FE0201"]);
    assert_eq!(refused.out, "", "an error is no data");
    assert!(!table.out.contains('\u{1b}') && !refused.err.contains('\u{1b}'), "colour without a terminal");
    let coloured = ferrule.run(&["get", "stream", "nobody", "--color", "always"]);
    assert!(coloured.err.contains('\u{1b}'), "{}", coloured.err);
}

#[test]
fn every_exit_code_of_the_documentation_is_met() {
    let ferrule = Ferrule::start();
    let code = |words: &[&str]| ferrule.run(words).code;
    let met = |documented: i32, answer: i32| assert_eq!(answer, documented, "exit code {documented}");
    met(0, code(&["get", "classes"]));
    met(2, code(&["get", "nonsense"]));
    met(3, code(&["get", "stream", "nobody"]));
    ferrule.apply(&by_name()).ok();
    met(4, code(&["delete", "stream", "up"]));
    met(6, Ferrule::idle().run(&["status"]).code);
    met(7, ferrule.apply("kind: nonsense").code);
    met(8, ferrule.feed(&["diff", "-f", "-"], native("Category", "c", "{values: [a]}").as_bytes()).code);
    let endless = ferrule.file("endless.yaml", steady("endless"));
    met(9, code(&["run", endless.to_str().unwrap(), "--until-records", "1000000000", "--for", "0.5"]));
    let failing =
        "tests:\n- name: wrong\n  parameters: {program: .a}\n  steps:\n  - apply: ['{\"a\":1}']\n    output: ['2']\n";
    let script = ferrule.file("failing/tests/x.test.yaml", failing);
    let jq = root().join("target/guests/jq.wasm");
    let words = ["test", "--component", jq.to_str().unwrap(), script.to_str().unwrap()];
    met(101, code(&words));
    let listed: Vec<String> = std::fs::read_to_string(root().join("docs/cli.md"))
        .unwrap()
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split_once(" |").map(|(code, _)| code.to_owned()))
        .filter(|code| code.parse::<u8>().is_ok())
        .collect();
    assert_eq!(listed, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "101"]);
}

#[test]
fn one_document_of_every_kind_comes_back_as_it_can_be_applied_again() {
    let ferrule = Ferrule::start();
    // A component is made by registering, everything else by documents.
    let generator = root().join("target/guests/generator.wasm");
    ferrule.run(&["register", generator.to_str().unwrap()]).ok();
    let documents = [
        native("Category", "Measure", "{description: what is measured, values: [temperature, pressure]}"),
        native("ServiceDomain", "edge", "{labels: [{category: Measure, value: pressure}]}"),
        native("Project", "halls", "{description: two halls}"),
        native("Class", "own", "{version: '1.0', component: generator, streamSchema: {type: object}}"),
        native("Function", "passes", "{component: identity}"),
        native("Instance", "numbers", "{class: own, project: halls}"),
        native("Instance", "nowhere", "{class: blackhole, project: halls}"),
        native("Config", "quiet", "{instance: numbers, parameters: {}}"),
        native(
            "Stream",
            "up",
            "{instance: numbers, direction: INGRESS, labels: [{category: Measure, value: temperature}], parameters: {rate: 10}}",
        ),
        native("Stream", "down", "{instance: nowhere, direction: EGRESS}"),
        native("Pipeline", "line", "{project: halls, source: up, functions: [{function: passes}], sink: down}"),
        native("Grant", "allowed", "{class: own, allow: [{tcp: '192.0.2.1:1883'}]}"),
    ];
    ferrule.apply(&documents.concat()).ok();
    ferrule.ready("pipeline", "line");
    let all = [
        ("category", "Measure"),
        ("servicedomain", "edge"),
        ("project", "halls"),
        ("class", "own"),
        ("function", "passes"),
        ("instance", "numbers"),
        ("config", "quiet"),
        ("stream", "up"),
        ("pipeline", "line"),
        ("grant", "allowed"),
        ("component", "generator"),
    ];
    let mut back = String::new();
    for (kind, name) in all {
        let yaml = ferrule.run(&["get", kind, name, "-o", "yaml"]).ok().out;
        let generation = ferrule.get(kind, name).map(|object| object["metadata"]["generation"].clone());
        // As a file of its own: what is shown is a document.
        let file = ferrule.file(&format!("{kind}.yaml"), &yaml);
        if kind == "component" {
            continue;
        }
        let again = ferrule.run(&["apply", "-f", file.to_str().unwrap()]).ok();
        assert!(
            again.out.contains(&format!("{kind} {name}")) && again.out.contains("unchanged"),
            "{kind}: {}",
            again.out
        );
        assert!(!again.out.contains("configured") && !again.out.contains("created"), "{kind}: {}", again.out);
        assert_eq!(
            ferrule.get(kind, name).map(|object| object["metadata"]["generation"].clone()),
            generation,
            "{kind}"
        );
        back.push_str(&format!("---\n{}\n", yaml.trim_start_matches("---\n")));
    }
    let ready = ferrule.get("stream", "up").unwrap();
    assert!(condition(&ready, "Ready").is_some(), "applying what came back must leave the status alone: {ready}");
    let file = ferrule.file("back.yaml", &back);
    // With its streams gone the rest goes too: deleted by the very documents that came back.
    ferrule.run(&["delete", "-f", file.to_str().unwrap(), "--cascade"]).ok();
    for (kind, name) in all.iter().filter(|(kind, _)| *kind != "component") {
        assert!(ferrule.get(kind, name).is_none(), "{kind} {name} is still there");
    }
    // And they can be made anew from them.
    ferrule.run(&["apply", "-f", file.to_str().unwrap()]).ok();
    for (kind, name) in all {
        assert!(ferrule.get(kind, name).is_some() || kind == "component", "{kind} {name} did not come back");
    }
}

#[test]
fn further_names_may_be_written_with_their_noun() {
    let ferrule = Ferrule::start();
    ferrule.apply(&by_name()).ok();
    ferrule.apply(&steady("other")).ok();
    let both = ferrule.run(&["get", "dp/line", "dp/other"]).ok().out;
    assert!(both.contains("line") && both.contains("other"), "{both}");
    let mixed = ferrule.run(&["get", "dp/line", "ci/numbers"]).ok().out;
    assert!(mixed.contains("Pipeline") && mixed.contains("Instance"), "{mixed}");
    ferrule.run(&["delete", "dp/line", "ci/numbers"]).fails(2, &["one kind at a time"]);
    ferrule.run(&["delete", "dp/line", "dp/other"]).ok();
    assert!(ferrule.get("pipeline", "line").is_none() && ferrule.get("pipeline", "other").is_none());
}
