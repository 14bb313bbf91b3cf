//! The pure part: documents in, what should run and what is said of each object out.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step is a failed test")]

use std::sync::Arc;

use ferrule_control::{LogOffer, Resolution, Site, Snapshot, resolve};
use ferrule_flow::plan::{Durability, Guarantees, Retention};
use ferrule_model::{Kind, Object, Uid, document};
use serde_json::{Value, json};

/// Registered in every case: `mqtt` 1.0.0 and 1.2.0 both ways, `feed` in, `sieve` as a function with two routes.
fn components() -> Vec<Object> {
    let ask = |kind: &str, target: &str| json!([{"kind": kind, "target": target, "reason": "the broker"}]);
    let stream = json!({"type": "object", "properties": {"broker": {"type": "string"}, "topic": {"type": "string"}}, "required": ["broker"]});
    let sieve = json!({"type": "object", "properties": {"over": {"type": "number"}}, "additionalProperties": false});
    vec![
        component("mqtt", "1.0.0", "a1", &["ingress", "egress"], ask("tcp", "{broker}"), &stream, &[]),
        component("mqtt", "1.2.0", "a2", &["ingress", "egress"], ask("tcp", "{broker}"), &stream, &[]),
        component("feed", "0.1.0", "f1", &["ingress"], json!([]), &json!({"type": "object"}), &[]),
        component("sieve", "0.1.0", "s1", &["transform"], json!([]), &sieve, &["default", "high"]),
    ]
}

fn component(
    name: &str,
    version: &str,
    digest: &str,
    ways: &[&str],
    asks: Value,
    stream: &Value,
    routes: &[&str],
) -> Object {
    let describes = json!({
        "name": name, "version": version, "summary": "", "directions": ways, "capabilities": asks, "reads": 1, "routes": routes,
        "schemas": [{"name": "stream", "content": stream.to_string()}], "properties": [],
    });
    let spec = json!({"version": version, "digest": format!("sha256:{digest}"), "size": 1, "world": "connector", "describes": describes});
    let mut object = Object::new(Kind::Component, name, spec).unwrap();
    object.metadata.uid = Uid::from(format!("component-{digest}"));
    object
}

/// Reads documents as `apply` does, and gives each object the uid `kind-name` where it has none.
fn objects(documents: &str) -> Vec<Object> {
    let read = document::read_documents("test.yaml", documents.as_bytes(), None, &|_| None)
        .unwrap_or_else(|found| panic!("{}", found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")));
    let mut objects = document::expand(read).unwrap();
    for object in &mut objects {
        if object.metadata.uid.is_unset() {
            object.metadata.uid = Uid::from(format!("{}-{}", object.kind.nouns()[0], object.name()));
        }
        object.metadata.generation = 1;
    }
    objects
}

fn resolved(objects: impl IntoIterator<Item = Object>, site: &Site) -> Resolution {
    resolve(&Snapshot::new(objects.into_iter().map(Arc::new)), site)
}

/// One line for each stream and pipeline that should run, and one for each condition.
fn lines(resolution: &Resolution) -> Vec<String> {
    let mut lines = Vec::new();
    for stream in &resolution.wanted.streams {
        let abilities: Vec<_> = stream.abilities.iter().map(ToString::to_string).collect();
        lines.push(format!(
            "run stream {} by {}@{} parameters {} config {} static {} may [{}]{}",
            stream.name,
            stream.component.name,
            stream.component.version,
            stream.parameters,
            stream.config,
            stream.static_parameters,
            abilities.join(", "),
            if stream.paused { " paused" } else { "" },
        ));
    }
    for pipeline in &resolution.wanted.pipelines {
        let steps: Vec<_> = pipeline.steps.iter().map(|step| format!("{}{}", step.name, step.args)).collect();
        let sources: Vec<_> = pipeline.sources.iter().map(Uid::as_str).collect();
        let routes: Vec<_> = pipeline.routes.iter().map(|(name, sink)| format!(" {name}->{sink}")).collect();
        lines.push(format!(
            "run pipeline {}: {} | {} -> {}{}{}",
            pipeline.name,
            sources.join("+"),
            steps.join(" | "),
            pipeline.sink,
            routes.concat(),
            if pipeline.paused { " paused" } else { "" },
        ));
    }
    for report in &resolution.reports {
        for finding in &report.findings {
            lines.push(format!(
                "{}: {}={:?} {}: {}",
                report.uid, finding.kind, finding.status, finding.reason, finding.message
            ));
        }
    }
    lines
}

/// Resolves the documents together with [`components`] and expects of each text that it occurs in a line; of one that
/// starts with `!`, that it does not.
#[track_caller]
fn check(documents: &str, expected: &[&str]) {
    check_at(&Site::default(), components(), documents, expected);
}

#[track_caller]
fn check_at(site: &Site, components: Vec<Object>, documents: &str, expected: &[&str]) {
    let lines = lines(&resolved(components.into_iter().chain(objects(documents)), site));
    for text in expected {
        let (wanted, text) = match text.strip_prefix('!') {
            Some(text) => (false, text),
            None => (true, *text),
        };
        let found = lines.iter().any(|line| line.contains(text));
        assert_eq!(found, wanted, "`{text}` in:\n{}", lines.join("\n"));
    }
}

const HALL: &str = "
kind: Class
metadata: {name: mqtt}
spec: {}
---
kind: Instance
metadata: {name: hall}
spec: {class: mqtt}
---
kind: Stream
metadata: {name: in}
spec: {instance: hall, direction: INGRESS, parameters: {broker: 'mqtt://broker.example:1883', topic: a}, labels: {measure: heat}}
---
kind: Stream
metadata: {name: out}
spec: {instance: hall, direction: EGRESS, parameters: {broker: 'mqtt://broker.example:1883', topic: b}}
---
";

fn hall(more: &str) -> String {
    format!("{HALL}{more}")
}

const STRAIGHT: &str = "
kind: Pipeline
metadata: {name: p}
spec: {source: in, sink: out}
";

#[test]
fn a_pipeline_of_named_streams_runs() {
    check(
        &hall(STRAIGHT),
        &[
            "run stream hall/in by mqtt@1.2.0 parameters {\"broker\":\"mqtt://broker.example:1883\",\"topic\":\"a\"}",
            "run stream hall/out by mqtt@1.2.0",
            "run pipeline p: stream-in |  -> stream-out",
            "stream-in: Resolved=True",
            "stream-in: Ready=Unknown Starting",
            "pipeline-p: Resolved=True",
            "class-mqtt: Ready=True ComponentFound",
            "instance-hall: Ready=True ComponentFound",
        ],
    );
}

#[test]
fn short_documents_run_as_they_are() {
    check(
        "
kind: Pipeline
metadata: {name: p}
spec:
  source: {class: feed, parameters: {rate: 5}}
  functions: [{component: sieve, args: {over: 3}}]
  sink: {class: mqtt, parameters: {broker: 'broker.example:1883'}}
---
kind: Class
metadata: {name: mqtt}
spec: {component: mqtt@1.0.0}
---
kind: Class
metadata: {name: feed}
spec: {}
",
        &[
            "run stream p-source/p-source by feed@0.1.0 parameters {\"rate\":5}",
            "run stream p-sink/p-sink by mqtt@1.0.0",
            "run pipeline p: stream-p-source | sieve{\"over\":3} -> stream-p-sink",
        ],
    );
}

#[test]
fn a_missing_reference_is_a_condition() {
    for (documents, expected) in [
        (
            "kind: Pipeline\nmetadata: {name: p}\nspec: {source: nowhere, sink: out}",
            "pipeline-p: Ready=False ReferenceMissing: there is no stream `nowhere` yet",
        ),
        (
            "kind: Pipeline\nmetadata: {name: p}\nspec: {source: in, sink: nowhere}",
            "pipeline-p: Ready=False ReferenceMissing: sink: there is no stream `nowhere`",
        ),
        (
            "kind: Stream\nmetadata: {name: s}\nspec: {instance: none, direction: EGRESS}",
            "stream-s: Resolved=False ReferenceMissing: there is no instance `none`",
        ),
        (
            "kind: Instance\nmetadata: {name: i}\nspec: {class: none}",
            "instance-i: Ready=False ReferenceMissing: there is no class `none`",
        ),
        (
            "kind: Instance\nmetadata: {name: i}\nspec: {class: mqtt@7}",
            "instance-i: Ready=False ReferenceMissing: there is no class `mqtt@7`",
        ),
        (
            "kind: Pipeline\nmetadata: {name: p}\nspec: {source: in, sink: out, functions: [{function: f}]}",
            "pipeline-p: Ready=False ReferenceMissing: functions[0]: there is no function `f`",
        ),
        (
            "kind: Pipeline\nmetadata: {name: p}\nspec: {inputPipeline: q, sink: out}",
            "pipeline-p: Ready=False ReferenceMissing: there is no pipeline `q`",
        ),
        (
            "kind: Config\nmetadata: {name: c}\nspec: {instance: none, parameters: {}}",
            "config-c: Ready=False ReferenceMissing",
        ),
    ] {
        check(&hall(documents), &[expected, "!run pipeline p"]);
    }
}

#[test]
fn a_missing_component_says_what_to_register() {
    check(
        "
kind: Class
metadata: {name: opcua}
spec: {}
---
kind: Instance
metadata: {name: i}
spec: {class: opcua}
---
kind: Stream
metadata: {name: s}
spec: {instance: i, direction: EGRESS}
",
        &[
            "class-opcua: Ready=False ComponentMissing: class opcua: no component called opcua is registered",
            "ferrule register FILE.wasm --for opcua",
            "instance-i: Ready=False ComponentMissing",
            "stream-s: Ready=False ComponentMissing",
            "(FE0211)",
        ],
    );
    let class = |component: &str| format!("kind: Class\nmetadata: {{name: c}}\nspec: {{component: '{component}'}}");
    for (component, expected) in [
        ("mqtt", "class-c: Ready=True ComponentFound: component mqtt 1.2.0 (sha256:a2)"),
        ("mqtt@1.0", "class-c: Ready=True ComponentFound: component mqtt 1.0.0 (sha256:a1)"),
        ("mqtt@3.0", "no component mqtt@3.0 is registered; registered: 1.0.0, 1.2.0"),
        ("sha256:a1", "class-c: Ready=True ComponentFound: component mqtt 1.0.0"),
        ("sha256:00", "no component sha256:00 is registered"),
        ("./build/c.wasm", "the file ./build/c.wasm, which was not registered"),
        ("mqtt@{static.version}", "class-c: Ready=True ChosenByInstances"),
    ] {
        check(&class(component), &[expected]);
    }
}

#[test]
fn a_stream_goes_only_where_its_class_and_component_go() {
    check(
        "
kind: Class
metadata: {name: mqtt}
spec: {type: INGRESS}
---
kind: Class
metadata: {name: feed}
spec: {}
---
kind: Instance
metadata: {name: m}
spec: {class: mqtt}
---
kind: Instance
metadata: {name: f}
spec: {class: feed}
---
kind: Stream
metadata: {name: a}
spec: {instance: m, direction: EGRESS, parameters: {broker: 'b.example:1'}}
---
kind: Stream
metadata: {name: b}
spec: {instance: f, direction: EGRESS}
",
        &[
            "stream-a: Ready=False DirectionNotAllowed: class mqtt is INGRESS, so it has no EGRESS streams",
            "stream-b: Ready=False DirectionNotSupported: component feed (sha256:f1) of class feed cannot do egress; it does ingress",
        ],
    );
    check(
        &hall("kind: Pipeline\nmetadata: {name: p}\nspec: {source: out, sink: out}"),
        &["source out is an egress stream"],
    );
    check(
        &hall("kind: Pipeline\nmetadata: {name: p}\nspec: {source: in, sink: in}"),
        &["sink in is an ingress stream"],
    );
}

#[test]
fn selectors_take_any_value_of_every_category() {
    let streams = |labels: &[(&str, &str)]| -> String {
        labels.iter().map(|(name, labels)| format!(
            "kind: Stream\nmetadata: {{name: {name}}}\nspec: {{instance: hall, direction: INGRESS, labels: {labels}, parameters: {{broker: 'b.example:1'}}}}\n---\n"
        )).collect()
    };
    let documents = |selectors: &str| {
        hall(&format!(
            "kind: Category\nmetadata: {{name: measure}}\nspec: {{values: [heat, damp]}}\n---\n{}kind: Pipeline\nmetadata: {{name: p}}\nspec: {{selectors: {selectors}, sink: out}}",
            streams(&[
                ("x", "{measure: damp, hall: '1'}"),
                ("y", "{measure: damp, hall: '2'}"),
                ("z", "{measure: noise}")
            ])
        ))
    };
    for (selectors, expected) in [
        ("{measure: [heat]}", "run pipeline p: stream-in |"),
        ("{measure: [heat, damp]}", "run pipeline p: stream-in+stream-x+stream-y |"),
        ("{measure: [heat, damp], hall: ['1']}", "run pipeline p: stream-x |"),
        ("{measure: [cold]}", "pipeline-p: Ready=False NoSource: no ingress stream has the labels measure = cold"),
        ("{smell: [heat]}", "pipeline-p: Ready=False NoSource"),
    ] {
        check(&documents(selectors), &[expected]);
    }
}

#[test]
fn a_pipeline_reads_what_of_its_sources_is_there() {
    let documents = "
kind: Stream
metadata: {name: broken}
spec: {instance: none, direction: INGRESS, labels: {measure: heat}}
---
kind: Pipeline
metadata: {name: p}
spec: {selectors: {measure: [heat]}, sink: out}
";
    check(
        &hall(documents),
        &[
            "run pipeline p: stream-in |",
            "pipeline-p: Resolved=True SomeSourcesMissing: source broken: there is no instance `none`",
        ],
    );
}

#[test]
fn projects_are_namespaces() {
    let documents = "
kind: Stream
metadata: {name: away, namespace: other}
spec: {instance: hall, direction: INGRESS, labels: {measure: heat}}
---
kind: Pipeline
metadata: {name: q, namespace: other}
spec: {source: in, sink: out}
";
    check(
        &hall(documents),
        &["there is no instance `hall` in project other", "pipeline-q: Ready=False ReferenceMissing"],
    );
}

#[test]
fn a_name_that_fits_several_is_told_apart() {
    let twin = "
kind: Instance
metadata: {name: attic}
spec: {class: mqtt}
---
kind: Stream
metadata: {name: out, uid: attic-out}
spec: {instance: attic, direction: EGRESS, parameters: {broker: 'b.example:1'}}
---
";
    let pipeline =
        |sink: &str| format!("{twin}kind: Pipeline\nmetadata: {{name: p}}\nspec: {{source: in, sink: {sink}}}");
    for (sink, expected) in [
        (
            "out",
            "pipeline-p: Ready=False Ambiguous: sink: `out` fits several streams; name one by its id (attic-out, stream-out), or write `instance/name`",
        ),
        ("attic/out", "-> attic-out"),
        ("hall/out", "-> stream-out"),
        ("{uid: attic-out}", "-> attic-out"),
    ] {
        check(&hall(&pipeline(sink)), &[expected]);
    }
}

#[test]
fn configs_are_merged_in_order_of_their_names() {
    let documents = "
kind: Config
metadata: {name: b}
spec: {instance: hall, parameters: {level: debug, extra: 1}}
---
kind: Config
metadata: {name: a}
spec: {instance: hall, parameters: {level: info, keep: true}}
---
";
    check(&hall(&format!("{documents}{STRAIGHT}")), &["config {\"level\":\"debug\",\"keep\":true,\"extra\":1}"]);
}

#[test]
fn parameters_and_arguments_are_checked() {
    let stream = "kind: Stream\nmetadata: {name: s}\nspec: {instance: hall, direction: EGRESS, parameters: {topic: 5}}";
    check(&hall(stream), &["stream-s: Ready=False ParametersInvalid: spec.parameters", "(FE0122)"]);
    let step = |step: &str| {
        hall(&format!(
            "kind: Function\nmetadata: {{name: sieve}}\nspec: {{args: {{over: 1}}}}\n---\nkind: Pipeline\nmetadata: {{name: p}}\nspec: {{source: in, sink: out, functions: [{step}]}}"
        ))
    };
    check(&step("{function: sieve}"), &["| sieve{\"over\":1} ->"]);
    check(
        &step("{function: sieve, args: {over: 2}}, {function: sieve}"),
        &["| sieve{\"over\":2} | sieve-2{\"over\":1} ->"],
    );
    check(
        &step("{function: sieve, args: {over: much}}"),
        &["pipeline-p: Ready=False ParametersInvalid: functions[0]: args"],
    );
    check(
        &step("{function: sieve, args: {under: 1}}"),
        &["pipeline-p: Ready=False ParametersInvalid: functions[0]: args"],
    );
}

#[test]
fn routes_are_those_of_the_last_function() {
    let documents = |routes: &str, functions: &str| {
        hall(&format!(
            "kind: Function\nmetadata: {{name: sieve}}\nspec: {{}}\n---\nkind: Pipeline\nmetadata: {{name: p}}\nspec: {{source: in, sink: out, functions: [{functions}], routes: {routes}}}"
        ))
    };
    check(&documents("{high: out}", "{function: sieve}"), &["-> stream-out high->stream-out"]);
    check(
        &documents("{low: out}", "{function: sieve}"),
        &["RouteUnknown: routes.low: the last function has no such route; it has default, high"],
    );
    check(
        &documents("{high: out}", ""),
        &["RouteUnknown: routes.high: the last function has no such route; it has default only"],
    );
}

#[test]
fn pipelines_that_read_pipelines_run_their_functions_first() {
    let documents = "
kind: Function
metadata: {name: sieve}
spec: {}
---
kind: Pipeline
metadata: {name: first}
spec: {source: in, functions: [{function: sieve, args: {over: 1}}]}
---
kind: Pipeline
metadata: {name: second}
spec: {inputPipeline: first, functions: [{function: sieve, args: {over: 2}}], sink: out}
---
kind: Pipeline
metadata: {name: third}
spec: {inputPipeline: first, sink: out, paused: true}
";
    check(
        &hall(documents),
        &[
            "run pipeline second: stream-in | sieve{\"over\":1} | sieve-2{\"over\":2} -> stream-out",
            "run pipeline third: stream-in | sieve{\"over\":1} -> stream-out paused",
            "!run pipeline first",
            "pipeline-first: Ready=True ReadByOthers",
            "pipeline-third: Paused=True",
        ],
    );
    check(&hall("kind: Pipeline\nmetadata: {name: p}\nspec: {source: in}"), &["pipeline-p: Ready=False NoSink"]);
    let pair = resolved(
        components().into_iter().chain([("a", "b"), ("b", "a")].map(|(name, input)| {
            let mut object = Object::new(Kind::Pipeline, name, json!({"inputPipeline": input})).unwrap();
            object.metadata.uid = Uid::from(name);
            object
        })),
        &Site::default(),
    );
    assert!(lines(&pair).iter().any(|line| line.contains("a: Ready=False Loop")), "{:?}", lines(&pair));
}

#[test]
fn a_stream_nobody_uses_is_opened_only_where_its_log_lasts() {
    check(
        HALL,
        &[
            "run stream hall/in",
            "!run stream hall/out",
            "stream-in: Ready=Unknown Starting",
            "stream-out: Ready=False NoPipeline: no pipeline writes it",
        ],
    );
    check_at(
        &Site { log: memory(), ..Site::default() },
        components(),
        HALL,
        &[
            "!run stream",
            "stream-in: Ready=False NoPipeline: no pipeline reads it",
            "stream-out: Ready=False NoPipeline: no pipeline writes it",
        ],
    );
    let paused = STRAIGHT.replace("sink: out", "sink: out, paused: true");
    check(
        &hall(&paused),
        &["run stream hall/in", "run pipeline p: stream-in |  -> stream-out paused", "pipeline-p: Paused=True"],
    );
}

/// A log that keeps nothing: what the memory transport gives.
fn memory() -> LogOffer {
    LogOffer::new("memory", |_| Guarantees {
        ordered: true,
        replayable: false,
        durable: Durability::Process,
        shared: false,
        largest_record: 1 << 20,
        retention: Retention::UntilRead,
    })
}

#[test]
fn what_the_log_does_not_give_is_said_of_the_stream_and_of_the_pipeline() {
    let asks = |stream: &str, pipeline: &str| {
        let documents = hall(STRAIGHT).replace("labels: {measure: heat}", &format!("log: {stream}"));
        documents.replace("sink: out", &format!("sink: out, {pipeline}"))
    };
    let site = Site { log: memory(), ..Site::default() };
    for durability in ["fsync", "os"] {
        let documents = asks(&format!("{{durability: {durability}}}"), "paused: true");
        let expected = format!("stream-in: Ready=False LogTooWeak: log.durability: {durability}");
        check_at(
            &site,
            components(),
            &documents,
            &[&expected, "embedded, nats", "(FE0213)", "!run stream hall/in", "!run pipeline p"],
        );
        check(&documents, &["run stream hall/in", "run pipeline p"]);
    }
    for (pipeline, asked) in [("start: beginning", "start: beginning"), ("deduplicate: {window: 10m}", "deduplicate")] {
        let documents = asks("{}", pipeline);
        let expected = format!("pipeline-p: Ready=False LogTooWeak: {asked}");
        check_at(&site, components(), &documents, &[&expected, "embedded, nats", "!run pipeline p"]);
        check(&documents, &["run pipeline p"]);
        let documents = asks("{durability: memory}", pipeline);
        check(&documents, &[&expected, "`log.durability: memory`", "!run pipeline p"]);
    }
    let documents = asks("{keep: {age: 5m}}", "deduplicate: {window: 10m}");
    check(&documents, &["pipeline-p: Ready=False LogTooWeak: deduplicate.window", "`log.keep.age`", "!run pipeline p"]);
}

#[test]
fn grants_give_what_is_asked_for_and_no_more() {
    let grant = |spec: &str| hall(&format!("kind: Grant\nmetadata: {{name: g}}\nspec: {spec}\n---\n{STRAIGHT}"));
    let given = "run stream hall/in by mqtt@1.2.0 parameters {\"broker\":\"mqtt://broker.example:1883\",\"topic\":\"a\"} config {} static {} may [tcp: broker.example:1883]";
    for spec in [
        "{class: mqtt, allow: [{tcp: 'broker.example:1883'}]}",
        "{class: mqtt, allow: [{tcp: '*.example:1883'}]}",
        "{class: mqtt, allow: [{tcp: '{broker}'}]}",
        "{instance: hall, allow: [{tcp: '{broker}'}]}",
        "{stream: in, class: mqtt, allow: [{tcp: '{broker}'}]}",
        "{stream: hall/in, allow: [{tcp: '{broker}'}]}",
    ] {
        check(&grant(spec), &[given, "stream-in: Granted=True"]);
    }
    for spec in [
        "{class: mqtt, allow: [{tcp: 'other.example:1883'}]}",
        "{class: mqtt, allow: [{tcp: 'broker.example:8883'}]}",
        "{class: mqtt, allow: [{http: 'broker.example:1883'}]}",
        "{class: other, allow: [{tcp: '{broker}'}]}",
        "{stream: out, allow: [{tcp: '{broker}'}]}",
        "{class: mqtt, stream: out, allow: [{tcp: '{broker}'}]}",
        "{function: mqtt, allow: [{tcp: '{broker}'}]}",
    ] {
        check(
            &grant(spec),
            &[
                "run stream hall/in by",
                "stream-in: Granted=False NotGranted",
                "!Granted=True Granted: tcp: broker.example:1883\nstream-in",
            ],
        );
        let all = lines(&resolved(components().into_iter().chain(objects(&grant(spec))), &Site::default()));
        assert!(
            all.iter().any(|line| line.starts_with("run stream hall/in") && line.ends_with("may []")),
            "{spec}: {all:?}"
        );
    }
    check(&hall(STRAIGHT), &["kind Grant with spec: {class: mqtt, allow: [{\"tcp\":\"broker.example:1883\"}]}"]);
}

#[test]
fn service_domains_place_streams() {
    let stream = |placement: &str| {
        hall(&format!(
            "kind: Stream\nmetadata: {{name: s}}\nspec: {{instance: hall, direction: EGRESS, parameters: {{broker: 'b.example:1'}}, {placement}}}\n---\nkind: ServiceDomain\nmetadata: {{name: cellar, uid: cellar-id}}\nspec: {{}}"
        ))
    };
    let here = Site { service_domain: Some("cellar".into()), ..Site::default() };
    let away = "stream-s: Ready=False OtherServiceDomain";
    for (placement, elsewhere) in [
        ("paused: false", false),
        ("serviceDomains: []", false),
        ("serviceDomains: [cellar]", false),
        ("serviceDomains: [{uid: cellar-id}]", false),
        ("serviceDomains: [attic]", true),
        ("excludeServiceDomains: [cellar]", true),
        ("excludeServiceDomains: [attic]", false),
    ] {
        let expected = if elsewhere { away.to_owned() } else { format!("!{away}") };
        check_at(&here, components(), &stream(placement), &[&expected]);
        check(&stream(placement), &[&format!("!{away}")]);
    }
    check(
        "kind: Class\nmetadata: {name: mqtt}\nspec: {minServiceDomainVersion: '2.10.0'}",
        &["class-mqtt: Ready=False ServiceDomainTooOld: class mqtt needs service domain version 2.10.0"],
    );
    check("kind: Class\nmetadata: {name: mqtt}\nspec: {minServiceDomainVersion: 2.3.0}", &["class-mqtt: Ready=True"]);
}

#[test]
fn what_was_chosen_stays_until_it_is_gone() {
    let mut all = objects(&hall(STRAIGHT));
    let old: Vec<_> = components().into_iter().filter(|component| component.version() != Some("1.2.0")).collect();
    let first = resolved(old.iter().cloned().chain(all.iter().cloned()), &Site::default());
    assert!(lines(&first).iter().any(|line| line.contains("hall/in by mqtt@1.0.0")), "{:?}", lines(&first));
    for object in &mut all {
        let report = first.report(object.kind, object.uid()).unwrap();
        object.status = report.status(&object.status, jiff::Timestamp::UNIX_EPOCH);
    }
    let later = resolved(components().into_iter().chain(all.iter().cloned()), &Site::default());
    assert!(
        lines(&later).iter().any(|line| line.contains("hall/in by mqtt@1.0.0")),
        "a new version changes nothing that runs"
    );
    assert_eq!(first.wanted, later.wanted);
    let replaced: Vec<_> = components().into_iter().filter(|component| component.version() != Some("1.0.0")).collect();
    let moved = resolved(replaced.into_iter().chain(all), &Site::default());
    assert!(lines(&moved).iter().any(|line| line.contains("hall/in by mqtt@1.2.0")), "what is gone cannot stay");
}

#[test]
fn revisions_change_with_what_matters() {
    let of = |documents: &str| resolved(components().into_iter().chain(objects(documents)), &Site::default()).wanted;
    let base = of(&hall(STRAIGHT));
    let stream = |wanted: &ferrule_control::Wanted| {
        wanted.streams.iter().find(|stream| stream.name == "hall/in").unwrap().revision.clone()
    };
    for (documents, stream_differs, pipeline_differs) in [
        (hall(STRAIGHT).replace("topic: a", "topic: c"), true, false),
        (hall(STRAIGHT).replace("topic: b", "topic: c"), false, false),
        (hall(STRAIGHT).replace("sink: out", "sink: out, paused: true"), false, false),
        (hall(STRAIGHT).replace("sink: out", "sink: out, batch: {records: 7}"), false, true),
        (
            hall(&format!(
                "kind: Config\nmetadata: {{name: c}}\nspec: {{instance: hall, parameters: {{a: 1}}}}\n---\n{STRAIGHT}"
            )),
            false,
            false,
        ),
        (
            hall(&format!(
                "kind: Grant\nmetadata: {{name: g}}\nspec: {{class: mqtt, allow: [{{tcp: '{{broker}}'}}]}}\n---\n{STRAIGHT}"
            )),
            true,
            false,
        ),
    ] {
        let changed = of(&documents);
        assert_ne!(changed, base, "{documents}");
        assert_eq!(stream(&changed) != stream(&base), stream_differs, "{documents}");
        assert_eq!(changed.pipelines[0].revision != base.pipelines[0].revision, pipeline_differs, "{documents}");
    }
}
