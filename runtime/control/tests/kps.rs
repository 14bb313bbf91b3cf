//! KPS documents as published: accepted as they are, with conditions that say what is missing, and run once it is there.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::sync::Arc;

use ferrule_control::{Resolution, Site, Snapshot, resolve};
use ferrule_model::{Kind, Object, Uid, document};
use serde_json::{Value, json};

const PROJECT: &str =
    "kind: Project\nid: 6f1c1b52-3d0e-4b5e-9d5a-0d8f6a5d1a02\nname: halls\nedges: [hall-edge]\nusers: []\n";
const CATEGORY: &str =
    "kind: category\nid: 6f1c1b52-3d0e-4b5e-9d5a-0d8f6a5d1a04\nname: Measure\nvalues: [temperature, humidity]\n";
const FUNCTION: &str = "kind: function\nname: too-hot\nproject: halls\nsourceCodePath: ./too_hot.py\nlanguage: python\nenvironment: python-env\nparams:\n- {name: limit, type: string}\n";
const PIPELINE: &str = "kind: dataPipeline
name: alarms
project: halls
samplingIntervalMsec: 250
input:
  categorySelectors:
    Measure: [temperature]
functions:
- name: too-hot
  args: {limit: \"30\"}
output:
  localEdge: {type: Connector, service: thermo-hall-1, endpointName: hall-1-alarms}
";

fn class() -> Value {
    json!({
        "id": "6f1c1b52-3d0e-4b5e-9d5a-0d8f6a5d1a01", "name": "thermo", "connectorVersion": "1.0", "minSvcDomainVersion": "2.3.0",
        "type": "BIDIRECTIONAL",
        "staticParameterSchema": {"type": "object", "properties": {"image_tag": {"type": "string"}}, "required": ["image_tag"]},
        "configParameterSchema": {"type": "object", "properties": {"log_level": {"type": "string"}}},
        "streamParameterSchema": {"type": "object", "properties": {"broker": {"type": "string"}}, "required": ["broker"]},
        "yamlData": "spec:\n  containers:\n    - name: thermo\n      image: registry.example/thermo:{{.Parameters.image_tag}}\n"
    })
}

fn documents() -> Vec<Vec<u8>> {
    let instance = json!({
        "id": "6f1c1b52-3d0e-4b5e-9d5a-0d8f6a5d1a03", "name": "thermo-hall-1",
        "connectorClassID": "6f1c1b52-3d0e-4b5e-9d5a-0d8f6a5d1a01", "projectId": "6f1c1b52-3d0e-4b5e-9d5a-0d8f6a5d1a02",
        "staticParameters": {"image_tag": "v1"}
    });
    let stream = |name: &str, direction: &str, labels: Value| {
        let mut stream = json!({
            "name": name, "connectorInstanceID": "6f1c1b52-3d0e-4b5e-9d5a-0d8f6a5d1a03", "direction": direction,
            "stream": {"broker": "mqtt://127.0.0.1:1883"}, "serviceDomainIds": []
        });
        if !labels.is_null() {
            stream["labels"] = labels;
        }
        stream
    };
    let labels = json!([{"id": "6f1c1b52-3d0e-4b5e-9d5a-0d8f6a5d1a04", "value": "temperature"}]);
    let config = json!({
        "name": "thermo-log", "connectorInstanceID": "6f1c1b52-3d0e-4b5e-9d5a-0d8f6a5d1a03",
        "config": {"log_level": "debug"}, "serviceDomainIds": []
    });
    let json = [
        class(),
        instance,
        stream("hall-1-readings", "INGRESS", labels),
        stream("hall-1-alarms", "EGRESS", Value::Null),
        config,
    ];
    let yaml = [PROJECT, CATEGORY, FUNCTION, PIPELINE].map(|text| text.as_bytes().to_vec());
    json.iter().map(|value| value.to_string().into_bytes()).chain(yaml).collect()
}

fn objects() -> Vec<Object> {
    let mut objects = Vec::new();
    for (index, bytes) in documents().iter().enumerate() {
        objects.extend(document::read_documents(&format!("{index}"), bytes, None, &|_| None).unwrap());
    }
    for object in &mut objects {
        if object.metadata.uid.is_unset() {
            object.metadata.uid = Uid::from(object.name());
        }
    }
    objects
}

fn component(name: &str, version: &str, directions: &[&str]) -> Object {
    let describes = json!({
        "name": name, "version": version, "summary": "", "directions": directions, "schemas": [], "capabilities": [],
        "reads": 1, "routes": [], "properties": []
    });
    let digest = format!("sha256:{name}-{version}");
    let spec = json!({"version": version, "digest": digest, "size": 1, "world": "connector", "describes": describes});
    let mut object = Object::new(Kind::Component, name, spec).unwrap();
    object.metadata.uid = Uid::from(digest);
    object
}

fn resolved(components: Vec<Object>) -> Resolution {
    let all = objects().into_iter().chain(components).map(Arc::new);
    resolve(&Snapshot::new(all), &Site::default())
}

#[track_caller]
fn says(resolution: &Resolution, kind: Kind, name: &str, text: &str) {
    let uid = objects().into_iter().find(|object| object.kind == kind && object.name() == name).unwrap().uid().clone();
    let report = resolution.report(kind, &uid).unwrap();
    let said: Vec<_> = report
        .findings
        .iter()
        .map(|found| format!("{}={:?} {}: {}", found.kind, found.status, found.reason, found.message))
        .collect();
    assert!(said.iter().any(|line| line.contains(text)), "`{text}` in {said:?}");
}

#[test]
fn without_components_they_are_accepted_and_say_what_is_missing() {
    let resolution = resolved(Vec::new());
    says(
        &resolution,
        Kind::Class,
        "thermo",
        "Ready=False ComponentMissing: class thermo@1.0: no component called thermo is registered. A KPS class describes a container",
    );
    says(
        &resolution,
        Kind::Function,
        "too-hot",
        "It is a python script, and nothing that runs such scripts is registered",
    );
    says(&resolution, Kind::Instance, "thermo-hall-1", "ComponentMissing");
    says(&resolution, Kind::Stream, "hall-1-readings", "ComponentMissing");
    says(&resolution, Kind::Pipeline, "alarms", "Ready=False ComponentMissing");
    says(&resolution, Kind::Config, "thermo-log", "Ready=True");
    assert!(resolution.wanted.streams.is_empty() && resolution.wanted.pipelines.is_empty(), "{:?}", resolution.wanted);
}

#[test]
fn with_components_they_run() {
    let components =
        || vec![component("thermo", "1.0.0", &["ingress", "egress"]), component("too-hot", "0.1.0", &["transform"])];
    let resolution = resolved(components());
    let wanted = &resolution.wanted;
    assert_eq!(wanted.streams.len(), 2, "{resolution:#?}");
    let readings = wanted.streams.iter().find(|stream| stream.name == "halls/thermo-hall-1/hall-1-readings").unwrap();
    assert_eq!(readings.static_parameters, json!({"image_tag": "v1"}));
    assert_eq!(readings.config, json!({"log_level": "debug"}));
    assert_eq!(readings.parameters, json!({"broker": "mqtt://127.0.0.1:1883"}));
    let [pipeline] = &wanted.pipelines[..] else { panic!("{wanted:#?}") };
    assert_eq!(pipeline.name, "halls/alarms");
    assert_eq!(pipeline.sources, std::slice::from_ref(&readings.uid));
    assert_eq!(pipeline.sink.as_str(), "hall-1-alarms");
    assert_eq!(pipeline.steps[0].args, json!({"limit": "30"}));
    assert_eq!(pipeline.sampling.unwrap().as_millis(), 250);

    // The image tag chooses the version, where there is one of that name.
    let mut more = components();
    more.extend([
        component("thermo", "v1", &["ingress", "egress"]),
        component("thermo", "9.0", &["ingress", "egress"]),
    ]);
    let chosen = resolved(more).wanted.streams[0].component.version.clone();
    assert!(ferrule_model::version::same(&chosen, "1"), "{chosen}");
}
