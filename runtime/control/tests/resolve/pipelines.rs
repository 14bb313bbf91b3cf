//! What a pipeline reads, does and writes.

use ferrule_control::Site;
use ferrule_model::connector::StartAt;
use ferrule_model::{Kind, Object, Uid};
use serde_json::json;

use crate::setup::{STRAIGHT, check, check_at, components, hall, lines, memory, objects, resolved};

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
fn a_stream_of_a_pipeline_that_waits_says_so() {
    let waits = "kind: Pipeline\nmetadata: {name: p}\nspec: {source: nowhere, sink: out}\n";
    check(
        &hall(waits),
        &[
            "pipeline-p: Ready=False ReferenceMissing: there is no stream `nowhere`",
            "stream-out: Ready=False PipelineWaits: pipeline p writes it, and waits: there is no stream `nowhere`",
            "!no pipeline writes it",
        ],
    );
    let waits = "kind: Pipeline\nmetadata: {name: p}\nspec: {selectors: {measure: [heat]}, sink: nowhere}\n";
    let category = "kind: Category\nmetadata: {name: measure}\nspec: {values: [heat]}\n---\n";
    let site = Site { log: memory(), ..Site::default() };
    let expected = "stream-in: Ready=False PipelineWaits: pipeline p reads it, and waits: sink: there is no stream";
    check_at(&site, components(), &hall(&format!("{category}{waits}")), &[expected]);
}

#[test]
fn a_class_that_is_a_function_is_told_as_that() {
    let documents = "
kind: Function
metadata: {name: sieve}
spec: {}
---
kind: Pipeline
metadata: {name: p}
spec: {source: {class: sieve}, sink: {class: blackhol}}
---
kind: Class
metadata: {name: blackhole}
spec: {}
";
    check(documents, &["`sieve` is a function: name it under `functions`", "did you mean `blackhole`?"]);
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
fn a_stream_of_its_own_is_read_from_the_beginning() {
    let start = |own: bool| {
        let mut all = objects(&hall(STRAIGHT));
        let pipeline = all.iter().find(|object| object.kind == Kind::Pipeline).unwrap().as_owner();
        for stream in all.iter_mut().filter(|object| own && object.kind == Kind::Stream) {
            stream.metadata.owner_references = vec![pipeline.clone()];
        }
        resolved(components().into_iter().chain(all), &Site::default()).wanted.pipelines[0].start
    };
    assert_eq!((start(true), start(false)), (StartAt::Beginning, StartAt::Latest));
}
