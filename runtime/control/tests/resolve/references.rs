//! What an object refers to: found, missing, in another project, or one of several.

use crate::setup::{check, hall};

#[test]
fn a_missing_reference_is_a_condition() {
    for (documents, expected) in [
        (
            "kind: Pipeline\nmetadata: {name: p}\nspec: {source: nowhere, sink: out}",
            "pipeline-p: Ready=False ReferenceMissing: there is no stream `nowhere` yet",
        ),
        (
            "kind: Pipeline\nmetadata: {name: p}\nspec: {source: in, sink: uot}",
            "there is no stream `uot` yet; apply its document; did you mean `out`? (FE0210)",
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
