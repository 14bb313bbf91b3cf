//! Objects checked against each other.

use serde_json::json;

use super::*;
use crate::document::{expand, read_documents};

fn kps() -> Vec<Arc<Object>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../samples/kps");
    let mut objects = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "json" || e == "yaml") {
            let name = path.file_name().unwrap().to_str().unwrap();
            objects.extend(read_documents(name, &std::fs::read(&path).unwrap(), None, &|_| None).unwrap());
        }
    }
    objects.into_iter().map(Arc::new).collect()
}

fn native(kind: Kind, name: &str, spec: Value) -> Arc<Object> {
    let text = json!({"apiVersion": crate::API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec});
    let objects = read_documents("x.json", text.to_string().as_bytes(), None, &|_| None).unwrap();
    Arc::new(expand(objects).unwrap().pop().unwrap())
}

/// Changes an object of the set, and expects these codes at these paths.
fn changed(name: &str, change: impl Fn(&mut Object), expected: &[(Code, &str)]) -> Vec<Diagnostic> {
    let mut objects = kps();
    let index = objects.iter().position(|object| object.name() == name).unwrap();
    change(Arc::make_mut(&mut objects[index]));
    let found = check(&objects[index], &objects, &|_| None);
    let pairs: Vec<(Code, &str)> = found.iter().map(|d| (d.code, d.path.as_str())).collect();
    assert_eq!(pairs, expected, "{found:#?}");
    found
}

#[test]
fn the_kps_samples_fit_together() {
    let objects = kps();
    for object in &objects {
        assert_eq!(check(object, &objects, &|_| None), [], "{}", object.title());
        // What is not there yet is no error.
        assert_eq!(check(object, &Vec::new(), &|_| None), [], "{}", object.title());
    }
}

#[test]
fn parameters_are_held_against_the_schemas_of_the_class() {
    let found = changed(
        "hall-1-readings",
        |stream| stream.spec["parameters"] = json!({"brokr": "x", "subject": 3, "addresses": [{"name": 1}]}),
        &[
            (Code::BadParameters, "stream.broker"),
            (Code::BadParameters, "stream.subject"),
            (Code::BadParameters, "stream.addresses[0].name"),
        ],
    );
    assert_eq!(found[0].help.as_deref(), Some("`brokr` is there; write `broker`"));
    changed(
        "thermo-hall-1",
        |instance| instance.spec["static"] = json!({}),
        &[(Code::BadParameters, "staticParameters.image_tag")],
    );
    changed(
        "thermo-log",
        |config| config.spec["parameters"]["log_level"] = json!(3),
        &[(Code::BadParameters, "config.log_level")],
    );
}

#[test]
fn directions_labels_and_versions_are_compared() {
    let mut objects = kps();
    let class = objects.iter().position(|object| object.kind == Kind::Class).unwrap();
    Arc::make_mut(&mut objects[class]).spec["type"] = json!("INGRESS");
    let egress = objects.iter().find(|object| object.name() == "hall-1-alarms").unwrap();
    let found = check(egress, &objects, &|_| None);
    assert_eq!((found[0].code, found[0].path.as_str()), (Code::DirectionNotAllowed, "direction"));
    let found = changed(
        "hall-1-readings",
        |stream| stream.spec["labels"][0]["value"] = json!("temprature"),
        &[(Code::UnknownLabel, "labels[0].value")],
    );
    assert_eq!(found[0].help.as_deref(), Some("did you mean `temperature`?"));
    changed(
        "alarms",
        |pipeline| pipeline.spec["selectors"]["Measure"] = json!(["humidity", "noise"]),
        &[(Code::UnknownLabel, "input.categorySelectors.Measure[1]")],
    );
    changed(
        "thermo",
        |class| class.spec["minServiceDomainVersion"] = json!("2.10.0"),
        &[(Code::ServiceDomainTooOld, "minSvcDomainVersion")],
    );
    changed(
        "alarms",
        |pipeline| pipeline.spec["sink"] = json!("hall-1-readings"),
        &[(Code::DirectionNotAllowed, "output.localEdge.endpointName")],
    );
}

#[test]
fn a_component_brings_its_schemas_and_directions() {
    let describes = json!({
        "name": "gen", "version": "0.1.0", "summary": "", "directions": ["ingress"], "capabilities": [],
        "schemas": [{"name": "stream", "content": "{\"required\":[\"rate\"]}"}],
        "reads": serde_json::to_value(crate::component::Columns::default()).unwrap(), "routes": [], "properties": [],
    });
    let component =
        json!({"version": "0.1.0", "digest": "sha256:00", "size": 1, "world": "source", "describes": describes});
    let objects = vec![
        native(Kind::Component, "gen", component),
        native(Kind::Class, "numbers", json!({"component": "gen@0.1.0"})),
        native(Kind::Instance, "i", json!({"class": "numbers"})),
        native(Kind::Stream, "s", json!({"instance": "i", "direction": "EGRESS"})),
    ];
    let (schemas, description) = schemas_of(&objects, &objects[1]);
    assert!(schemas.stream.schema.is_some() && description.is_some());
    let codes: Vec<(Code, String)> =
        check(&objects[3], &objects, &|_| None).into_iter().map(|d| (d.code, d.path)).collect();
    assert_eq!(
        codes,
        [
            (Code::DirectionNotAllowed, "spec.direction".to_owned()),
            (Code::BadParameters, "spec.parameters.rate".to_owned()),
        ]
    );
    // The same said inline.
    let text = json!({"apiVersion": crate::API_VERSION, "kind": "Pipeline", "metadata": {"name": "p"},
        "spec": {"source": {"class": "numbers"}, "sink": {"class": "numbers", "parameters": {"rate": 1}}}});
    let pipeline = read_documents("x.json", text.to_string().as_bytes(), None, &|_| None).unwrap().remove(0);
    let codes: Vec<(Code, String)> =
        check(&pipeline, &objects, &|_| None).into_iter().map(|d| (d.code, d.path)).collect();
    assert_eq!(
        codes,
        [
            (Code::BadParameters, "spec.source.parameters.rate".to_owned()),
            (Code::DirectionNotAllowed, "spec.sink.class".to_owned()),
        ]
    );
    let problem = Problem {
        scope: "stream".to_owned(),
        path: "/list/0".to_owned(),
        position: Some((1, 7)),
        message: "expected a term".to_owned(),
    };
    let diagnostic = guest_problem(&pipeline, "functions[0].args", &problem);
    assert_eq!(diagnostic.path, "spec.functions[0].args.list[0]");
    assert_eq!(diagnostic.code, Code::GuestProblem);
}

#[test]
fn loops_and_ambiguous_names_are_found() {
    let pipeline = |name: &str, input: &str| native(Kind::Pipeline, name, json!({"inputPipeline": input}));
    let objects = vec![pipeline("a", "b"), pipeline("b", "c"), pipeline("c", "a")];
    let found = check(&objects[0], &objects, &|_| None);
    assert_eq!((found[0].code, found[0].message.as_str()), (Code::PipelineLoop, "a reads b reads c reads a"));
    let stream = |instance: &str| native(Kind::Stream, "s", json!({"instance": instance, "direction": "EGRESS"}));
    let user = native(Kind::Pipeline, "p", json!({"inputPipeline": "q", "sink": "s"}));
    let objects = vec![stream("one"), stream("two"), user];
    let found = check(&objects[2], &objects, &|_| None);
    assert_eq!((found[0].code, found[0].path.as_str()), (Code::Ambiguous, "spec.sink"));
    assert!(found[0].message.contains("one/s"), "{}", found[0]);
}

#[test]
fn what_an_object_is_does_not_change() {
    let old = native(Kind::Stream, "s", json!({"instance": "i", "direction": "EGRESS"}));
    let new = native(Kind::Stream, "s", json!({"instance": "i", "direction": "INGRESS", "parameters": {"a": 1}}));
    let found = check_change(&old, &new);
    assert_eq!((found[0].code, found[0].path.as_str()), (Code::Immutable, "spec.direction"));
    assert_eq!(check_change(&new, &new), []);
    // Its records would be left behind where they are.
    let kept = |log: Value| native(Kind::Stream, "s", json!({"instance": "i", "direction": "INGRESS", "log": log}));
    let (memory, os) = (kept(json!({"durability": "memory"})), kept(json!({"durability": "os", "maxRecords": 3})));
    for (old, new) in [(&memory, &os), (&os, &memory), (&new, &memory)] {
        let found = check_change(old, new);
        let found: Vec<_> = found.iter().map(|one| (one.code, one.path.as_str())).collect();
        assert_eq!(found, [(Code::Immutable, "spec.log.durability")]);
    }
    assert_eq!(check_change(&os, &kept(json!({"durability": "fsync"}))), []);
    assert_eq!(check_change(&os, &new), []);
}

#[test]
fn what_a_component_has_no_use_for_is_refused_unless_the_class_is_of_another_system() {
    let closed = r#"{"properties": {"topic": {}, "retain": {}}, "additionalProperties": false}"#;
    let describes = json!({
        "name": "mqtt", "version": "0.1.0", "summary": "", "directions": ["ingress"], "capabilities": [],
        "schemas": [{"name": "stream", "content": closed}, {"name": "static", "content": closed}],
        "reads": serde_json::to_value(crate::component::Columns::default()).unwrap(), "routes": [], "properties": [],
    });
    let component =
        json!({"version": "0.1.0", "digest": "sha256:00", "size": 1, "world": "source", "describes": describes});
    let mut class = native(Kind::Class, "mqtt", json!({}));
    let instance = native(Kind::Instance, "i", json!({"class": "mqtt", "static": {"image_tag": "1.0"}}));
    let parameters = json!({"topic": "t", "reatin": true});
    let stream = native(Kind::Stream, "s", json!({"instance": "i", "direction": "INGRESS", "parameters": parameters}));
    let component = native(Kind::Component, "mqtt", component);
    let judged = |class: &Arc<Object>| {
        let objects = vec![component.clone(), class.clone(), instance.clone(), stream.clone()];
        let mut found = check(&instance, &objects, &|_| None);
        found.extend(check(&stream, &objects, &|_| None));
        let paths: Vec<&str> = found.iter().map(|one| one.path.as_str()).collect();
        assert_eq!(paths, ["spec.static.image_tag", "spec.parameters.reatin"], "{found:#?}");
        assert_eq!(found[1].help.as_deref(), Some("did you mean `retain`?"));
        assert_eq!(found[1].expected.as_deref(), Some("topic or retain"));
        found.iter().map(Diagnostic::is_error).collect::<Vec<_>>()
    };
    assert_eq!(judged(&class), [true, true]);
    Arc::make_mut(&mut class).form = crate::Form::Kps { syntax: crate::Syntax::Json, document: Default::default() };
    assert_eq!(judged(&class), [false, false]);
    // A schema of the class's own says what is allowed, and the component what it has no use for.
    Arc::make_mut(&mut class).form = crate::Form::Native;
    Arc::make_mut(&mut class).set_spec(json!({"staticSchema": {}, "streamSchema": {"type": "object"}})).unwrap();
    assert_eq!(judged(&class), [false, false]);
}
