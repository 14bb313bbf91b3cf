//! Documents in, lines of what should run and what is said of each object out.

use std::sync::Arc;

use ferrule_control::{LogOffer, Resolution, Site, Snapshot, resolve};
use ferrule_flow::plan::{Durability, Guarantees, Retention};
use ferrule_model::{Kind, Object, Uid, document};
use serde_json::{Value, json};

/// Registered in every case: `mqtt` 1.0.0 and 1.2.0 both ways, `feed` in, `sieve` as a function with two routes.
pub(crate) fn components() -> Vec<Object> {
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

pub(crate) fn component(
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
pub(crate) fn objects(documents: &str) -> Vec<Object> {
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

pub(crate) fn resolved(objects: impl IntoIterator<Item = Object>, site: &Site) -> Resolution {
    resolve(&Snapshot::new(objects.into_iter().map(Arc::new)), site)
}

/// One line for each stream and pipeline that should run, and one for each condition.
pub(crate) fn lines(resolution: &Resolution) -> Vec<String> {
    let mut lines = Vec::new();
    for stream in &resolution.wanted.streams {
        let abilities: Vec<_> = stream.rules.allowed.iter().map(ToString::to_string).collect();
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
pub(crate) fn check(documents: &str, expected: &[&str]) {
    check_at(&Site::default(), components(), documents, expected);
}

#[track_caller]
pub(crate) fn check_at(site: &Site, components: Vec<Object>, documents: &str, expected: &[&str]) {
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

pub(crate) const HALL: &str = "
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

pub(crate) fn hall(more: &str) -> String {
    format!("{HALL}{more}")
}

pub(crate) const STRAIGHT: &str = "
kind: Pipeline
metadata: {name: p}
spec: {source: in, sink: out}
";

/// A log that keeps nothing: what the memory transport gives.
pub(crate) fn memory() -> LogOffer {
    LogOffer::new("memory", |_| Guarantees {
        ordered: true,
        replayable: false,
        durable: Durability::Process,
        shared: false,
        largest_record: 1 << 20,
        retention: Retention::UntilRead,
    })
}
