//! Documents as people write them, right and wrong.

mod rest;
mod wrong;

use serde_json::json;

use super::*;
use crate::{
    Ref, Status,
    conditions::Condition,
    connector::{PipelineSpec, StreamSpec, StreamUse},
};

fn none(_: &str) -> Option<String> {
    None
}

fn samples(folder: &str) -> Vec<(String, Vec<u8>)> {
    let folder = format!("{}/../../samples/{folder}", env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<(String, Vec<u8>)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "json" || e == "yaml"))
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap()))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

/// Reads a file with one document.
fn one(name: &str, text: &str) -> Object {
    let mut objects = read_documents(name, text.as_bytes(), None, &none)
        .unwrap_or_else(|found| panic!("{}", found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")));
    assert_eq!(objects.len(), 1);
    objects.remove(0)
}

/// Reads a wrong file, and expects these codes at these paths.
fn wrong(name: &str, text: &str, expected: &[(Code, &str)]) -> Vec<Diagnostic> {
    let found = read_documents(name, text.as_bytes(), None, &none).unwrap_err();
    let pairs: Vec<(Code, &str)> = found.iter().map(|d| (d.code, d.path.as_str())).collect();
    assert_eq!(pairs, expected, "{}", found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
    for diagnostic in &found {
        assert!(diagnostic.document.starts_with(name), "{diagnostic}");
    }
    found
}

#[test]
fn kps_documents_come_back_without_loss() {
    for (name, bytes) in samples("kps") {
        let reading = read(&name, &bytes, None, &none);
        assert!(reading.diagnostics.is_empty(), "{name}: {:?}", reading.diagnostics);
        let object = &reading.objects[0];
        let original: Value = match name.ends_with("json") {
            true => serde_json::from_slice(&bytes).unwrap(),
            false => serde_saphyr::from_slice(&bytes).unwrap(),
        };
        let back = object.to_original();
        assert_eq!(back, original, "{name}");
        assert_eq!(back.to_string(), original.to_string(), "{name}: in the same order");
        // Through the store as well.
        let stored: Object = serde_json::from_value(serde_json::to_value(object).unwrap()).unwrap();
        assert_eq!(&stored, object, "{name}");
        assert_eq!(stored.to_original(), original, "{name}");
        // And once more from what was written.
        let Form::Kps { syntax, .. } = object.form else { panic!("{name}") };
        let text = write(&[back], syntax);
        assert_eq!(&one(&name, &text), object, "{name}");
        // The same in the envelope is a document as well.
        let native = write(&[object.to_native()], Syntax::Yaml);
        let native = one("native.yaml", &native);
        assert_eq!(native.spec, object.spec, "{name}");
        assert_eq!(native.form, Form::Native);
    }
}

#[test]
fn kps_documents_become_what_they_mean() {
    let kinds: Vec<(String, Kind)> = samples("kps")
        .into_iter()
        .map(|(name, bytes)| {
            let object = read_documents(&name, &bytes, None, &none).unwrap().remove(0);
            (name, object.kind)
        })
        .collect();
    let expected = [
        ("category.yaml", Kind::Category),
        ("connector_class.json", Kind::Class),
        ("connector_config.json", Kind::Config),
        ("connector_instance.json", Kind::Instance),
        ("connector_instance_odd_case.json", Kind::Instance),
        ("connector_stream_egress.json", Kind::Stream),
        ("connector_stream_ingress.json", Kind::Stream),
        ("function.yaml", Kind::Function),
        ("pipeline.yaml", Kind::Pipeline),
        ("project.yaml", Kind::Project),
    ];
    assert_eq!(kinds, expected.map(|(name, kind)| (name.to_owned(), kind)));
    let files: HashMap<String, Vec<u8>> = samples("kps").into_iter().collect();
    let read = |name: &str| read_documents(name, &files[name], None, &none).unwrap().remove(0);

    let pipeline = read("pipeline.yaml");
    assert_eq!(pipeline.metadata.namespace.as_deref(), Some("halls"));
    let spec: PipelineSpec = pipeline.typed().unwrap();
    assert_eq!(spec.selectors["Measure"], ["temperature"]);
    assert_eq!(spec.functions[0].function, Some(Ref::name("too-hot")));
    assert_eq!(spec.functions[0].args["limit"], "30");
    assert_eq!(spec.sink, Some(StreamUse::Stream(Ref::parse("thermo-hall-1/hall-1-alarms"))));
    assert_eq!(spec.sampling_interval, None);
    assert_eq!(pipeline.path("sink"), "output.localEdge.endpointName");
    assert_eq!(pipeline.path("selectors.Measure[0]"), "input.categorySelectors.Measure[0]");
    assert_eq!(pipeline.path("functions[0].args.limit"), "functions[0].args.limit");

    let stream = read("connector_stream_ingress.json");
    let spec: StreamSpec = stream.typed().unwrap();
    assert_eq!(spec.instance, Ref::uid("6f1c1b52-3d0e-4b5e-9d5a-0d8f6a5d1a03"));
    assert_eq!(spec.labels.0[0].value, "temperature");
    assert_eq!(stream.path("parameters.broker"), "stream.broker");
    assert_eq!(stream.path("labels[0].value"), "labels[0].value");

    let odd = read("connector_instance_odd_case.json");
    assert_eq!(odd.path("class"), "ConnectorClassID");
    assert_eq!(odd.project_ref(), Some(Ref::uid("6f1c1b52-3d0e-4b5e-9d5a-0d8f6a5d1a02")));
    let class = read("connector_class.json");
    assert_eq!(class.uid().as_str(), "6f1c1b52-3d0e-4b5e-9d5a-0d8f6a5d1a01");
    assert_eq!(class.version(), Some("1.0"));
    assert_eq!(class.path("minServiceDomainVersion"), "minSvcDomainVersion");
}

#[test]
fn a_change_is_written_into_the_original() {
    let files: HashMap<String, Vec<u8>> = samples("kps").into_iter().collect();
    let read = |name: &str| read_documents(name, &files[name], None, &none).unwrap().remove(0);
    let mut stream = read("connector_stream_ingress.json");
    stream.metadata.uid = "u1".into();
    stream.spec["parameters"]["subject"] = json!("hall/2");
    stream.spec["paused"] = json!(true);
    let back = stream.to_original();
    assert_eq!(back["stream"]["subject"], "hall/2");
    assert_eq!(back["id"], "u1");
    assert_eq!(back.get("paused"), None, "KPS has no word for it");
    let mut pipeline = read("pipeline.yaml");
    pipeline.spec["sink"] = json!("other/out");
    pipeline.spec["samplingInterval"] = json!("250ms");
    let back = pipeline.to_original();
    assert_eq!(back["output"], json!({"localEdge": {"type": "Connector", "service": "other", "endpointName": "out"}}));
    assert_eq!(back["samplingIntervalMsec"], 250);
    assert_eq!(back["input"], json!({"categorySelectors": {"Measure": ["temperature"]}}));
    let mut odd = read("connector_instance_odd_case.json");
    odd.spec["class"] = json!({"uid": "c9"});
    assert_eq!(odd.to_original()["ConnectorClassID"], "c9");
    assert_eq!(odd.to_original().get("connectorClassID"), None);
}

#[test]
fn kps_spelling_varies() {
    let config =
        one("c.json", r#"{"NAME":"log","ConnectorInstanceId":"i","parameters":{"a":1},"serviceDomainIds":null}"#);
    assert_eq!(config.kind, Kind::Config);
    assert_eq!(config.spec["parameters"]["a"], 1);
    assert_eq!(config.path("parameters.a"), "parameters.a");
    let stream = one(
        "s.json",
        r#"{"name":"s","connectorinstanceid":"i","direction":"Ingress","Labels":[{"ID":"c","Value":"v"}],"stream":{}}"#,
    );
    assert_eq!(stream.spec["direction"], "INGRESS");
    assert_eq!(stream.spec["labels"], json!([{"category": {"uid": "c"}, "value": "v"}]));
    assert_eq!(stream.to_original()["direction"], "Ingress");
    for kind in ["dataPipeline", "datapipeline", "DATAPIPELINE"] {
        let text = format!(
            "kind: {kind}\nname: p\nproject: x\ninput: {{dataPipeline: q}}\noutput: {{publicCloud: {{type: AWS, service: S3, region: eu, endpointName: b, profile: p}}}}\n"
        );
        let pipeline = one("p.yaml", &text);
        assert_eq!(pipeline.spec["inputPipeline"], "q");
        assert_eq!(pipeline.spec["external"]["place"], "publicCloud");
    }
}

#[test]
fn unknown_fields_are_refused_in_native_and_kept_in_kps_documents() {
    let text = "apiVersion: connector.ferrule.dev/v1\nkind: Pipeline\nmetadata: {name: p, nmae: q}\nspec:\n  sorce: x\n  sink: {clas: mqtt, paramters: {}}\n  selectors: {a: [b]}\nextra: 1\n";
    let found = wrong(
        "n.yaml",
        text,
        &[
            (Code::UnknownField, "metadata.nmae"),
            (Code::UnknownField, "extra"),
            (Code::UnknownField, "spec.sorce"),
            (Code::UnknownField, "spec.sink.clas"),
            (Code::UnknownField, "spec.sink.paramters"),
        ],
    );
    let help: Vec<&str> = found.iter().skip(2).filter_map(|d| d.help.as_deref()).collect();
    assert_eq!(help, ["did you mean `source`?", "did you mean `class`?", "did you mean `parameters`?"]);

    let text = r#"{"name":"i","connectorClassID":"c","projectId":"p","staticParamters":{"a":1},"colour":"red"}"#;
    let reading = read("k.json", text.as_bytes(), None, &none);
    assert!(!reading.has_errors());
    let warnings: Vec<(Code, &str)> = reading.warnings().map(|d| (d.code, d.path.as_str())).collect();
    assert_eq!(warnings, [(Code::UnknownField, "staticParamters"), (Code::UnknownField, "colour")]);
    assert_eq!(reading.diagnostics[0].help.as_deref(), Some("did you mean `staticParameters`?"));
    assert_eq!(reading.objects[0].to_original(), serde_json::from_str::<Value>(text).unwrap());
}

#[test]
fn the_wrong_noun_is_answered() {
    let files: HashMap<String, Vec<u8>> = samples("kps").into_iter().collect();
    let mut found =
        read_documents("connector_class.json", &files["connector_class.json"], Some(Kind::Stream), &none).unwrap_err();
    assert_eq!(found[0].code, Code::WrongNoun);
    assert_eq!(found[0].help.as_deref(), Some("ferrule create connectorclass -f connector_class.json"));
    say_verb(&mut found, "update");
    assert_eq!(found[0].help.as_deref(), Some("ferrule update connectorclass -f connector_class.json"));
    // The slip in the README of the KPS template.
    let reading = read("connector_config.json", &files["connector_config.json"], Some(Kind::Stream), &none);
    assert!(!reading.has_errors());
    assert_eq!(reading.objects[0].kind, Kind::Config);
    assert_eq!(reading.diagnostics[0].code, Code::WrongNoun);
    // A document that tells nothing is of the kind that the command names.
    let found = read_documents("s.json", br#"{"name":"s"}"#, Some(Kind::Instance), &none).unwrap_err();
    assert_eq!(found[0].code, Code::MissingField);
    assert_eq!(found[0].path, "connectorClassID");
    assert_eq!(read_documents("s.json", br#"{"name":"s"}"#, None, &none).unwrap_err()[0].code, Code::UnknownKind);
}

#[test]
fn native_samples_are_read_and_come_back() {
    let mut kinds = Vec::new();
    for (name, bytes) in samples("hello") {
        let objects = read_documents(&name, &bytes, None, &none).unwrap_or_else(|found| panic!("{name}: {found:?}"));
        for object in objects {
            let text = write(&[object.to_original()], Syntax::Yaml);
            assert_eq!(one(&name, &text), object, "{text}");
            let text = write(&[object.to_original()], Syntax::Json);
            assert_eq!(one("x.json", &text), object, "{text}");
            kinds.push(object.kind);
        }
    }
    assert!(kinds.contains(&Kind::Grant) && kinds.contains(&Kind::Stream));
}

#[test]
fn every_kind_goes_there_and_back() {
    let documents = [
        (Kind::Project, "{users: [a@b.c], serviceDomains: [hall-edge], privileged: true}"),
        (Kind::ServiceDomain, "{labels: {Place: [north, south]}}"),
        (Kind::Category, "{description: d, values: [a, b]}"),
        (Kind::Secret, ""),
        (Kind::Component, "{version: 0.1.0, digest: 'sha256:00', size: 12, world: source, describes: {name: x}}"),
        (Kind::Grant, "{class: mqtt, allow: [{tcp: 'broker.example:1883'}, {read: /srv}, {tcp: '{broker}'}]}"),
        (
            Kind::Class,
            "{version: '1.0', type: BIDIRECTIONAL, component: mqtt@0.1.0, streamSchema: {type: object}, limits: {memory: 32MiB, callTime: 2s}}",
        ),
        (Kind::Function, "{component: ./f.wasm, args: {a: 1}, argsSchema: true, params: [{name: a, type: string}]}"),
        (Kind::Instance, "{class: mqtt@0.1.0, project: halls, static: {a: [1, 2.5, null]}}"),
        (Kind::Config, "{instance: i, parameters: {level: debug}, serviceDomains: [{uid: x}]}"),
        (
            Kind::Stream,
            "{instance: i, direction: INGRESS, labels: [{category: Measure, value: t}], parameters: {a: {b: c}}, paused: true, limits: {wait: 10s, logLines: 5}, log: {durability: os, maxBytes: 1GiB, maxRecords: 5, whenFull: drop-oldest, keep: {bytes: 0, age: 1h, evenUnread: true}}}",
        ),
        (
            Kind::Pipeline,
            "{source: i/s, functions: [{name: one, function: jq@1, args: {program: .}, parallelism: 4}], sink: {class: mqtt, static: {}, config: {a: 1}, parameters: {topic: t}}, routes: {odd: other}, retry: {attempts: 3, age: 1h, backoff: {initial: 100ms, max: 30s}}, onError: drop, batch: {records: 10, bytes: 64KiB, linger: 5ms, window: 20, windowBytes: 1MiB}, start: beginning, deduplicate: {window: 10m}, samplingInterval: 1s, paused: false}",
        ),
    ];
    let mut seen = Vec::new();
    for (kind, spec) in documents {
        let meta = "metadata:\n  name: x\n  namespace: halls\n  uid: u-1\n  labels: {a: b}\n  annotations: {n: m}\n";
        let text = match kind {
            Kind::Secret => format!("apiVersion: v1\nkind: Secret\n{meta}type: Opaque\ndata: {{a: aHVudGVyMg==}}\n"),
            _ => format!("apiVersion: {API_VERSION}\nkind: {kind}\n{meta}spec: {spec}\n"),
        };
        let mut object = one("x.yaml", &text);
        assert_eq!(object.kind, kind);
        let written: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(object.to_original(), written, "{kind}");
        object.status = Status { observed_generation: 1, ..Status::default() };
        object.status.set(Condition::new("Ready", true, "Open", "", 1, jiff::Timestamp::UNIX_EPOCH));
        let stored: Object = serde_json::from_str(&serde_json::to_string(&object).unwrap()).unwrap();
        assert_eq!(stored, object, "{kind}");
        // With a status in it, as `get -o yaml` gives it.
        let again = one("x.yaml", &write(&[object.to_original()], Syntax::Yaml));
        assert_eq!(again.spec, object.spec);
        assert!(again.status.is_empty());
        seen.push(kind);
    }
    assert_eq!(seen, Kind::ALL);
}

#[test]
fn a_secret_is_read_in_the_shape_of_kubernetes() {
    let text = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: login\n  annotations: {kubectl.kubernetes.io/last-applied-configuration: '{}', a: b}\n\
                data: {user: bWU=, kept: '**** (7 bytes)'}\nstringData: {password: hunter2, user: '${env:ME}'}\n";
    let env = |name: &str| (name == "ME").then(|| "you".to_owned());
    let objects = read_documents("s.yaml", text.as_bytes(), Some(Kind::Secret), &env).unwrap();
    let spec = serde_json::json!({"type": "Opaque", "data": {"kept": "**** (7 bytes)", "password": "aHVudGVyMg==", "user": "eW91"}});
    assert_eq!(objects[0].spec, spec);
    assert_eq!(objects[0].metadata.annotations.keys().collect::<Vec<_>>(), ["a"]);
    for (rest, code, path) in [
        ("stringData: {p: 12345}", Code::WrongType, "stringData.p"),
        ("stringData: {p: '**** (7 bytes)'}", Code::BadValue, "stringData.p"),
        ("data: {p: hunter2!}", Code::BadValue, "data.p"),
        ("data: {'a b': aGk=}", Code::BadName, "data[\"a b\"]"),
        ("data: hunter2", Code::WrongType, "data"),
        ("strngData: {p: hunter2}", Code::UnknownField, "strngData"),
        ("spec: {p: hunter2}", Code::UnknownField, "spec"),
        ("data: {p: *hunter2}", Code::NotYaml, ""),
        ("stringData: {p: 'hunter2, q: 12345}", Code::NotYaml, ""),
    ] {
        let text = format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: login}}\n{rest}\n");
        let found = read_documents("s.yaml", text.as_bytes(), None, &none).unwrap_err();
        assert_eq!((found[0].code, found[0].path.as_str()), (code, path), "{rest}: {found:?}");
        let told: String = found.iter().map(ToString::to_string).collect();
        assert!(!told.contains("hunter2") && !told.contains("12345"), "{told}");
    }
    for (head, code) in [
        ("apiVersion: connector.ferrule.dev/v1\nkind: Secret\nmetadata: {name: x}", Code::BadApiVersion),
        ("apiVersion: v1\nkind: Secret\nmetadata: {name: a b}", Code::BadName),
        ("kind: Secret", Code::MissingField),
    ] {
        assert_eq!(read_documents("s.yaml", head.as_bytes(), None, &none).unwrap_err()[0].code, code, "{head}");
    }
}

#[test]
fn variables_are_filled_in_and_missing_ones_named() {
    let text = format!(
        "apiVersion: {API_VERSION}\nkind: Category\nmetadata: {{name: c}}\nspec: {{values: ['${{env:A}}', '${{env:B:-b}}', '$${{env:C}}', '$A']}}\n"
    );
    let env = |name: &str| (name == "A").then(|| "from-env".to_owned());
    let objects = read_documents("c.yaml", text.as_bytes(), None, &env).unwrap();
    assert_eq!(objects[0].spec["values"], json!(["from-env", "b", "${env:C}", "$A"]));
    let found = wrong("c.yaml", &text, &[(Code::MissingVariable, "spec.values[0]")]);
    assert!(found[0].message.contains("variable A is not set"), "{}", found[0]);
    let text = text.replace("${env:A}", "${env:A");
    wrong("c.yaml", &text, &[(Code::BadVariable, "spec.values[0]")]);
}

#[test]
fn what_people_write_in_yaml_is_taken_as_meant() {
    let object = one("x.yaml", "kind: category\nname: on\ndescription: no\nvalues: ['1', yes, n]\n");
    assert_eq!(object.metadata.name, "on");
    assert_eq!(object.spec, json!({"description": "no", "values": ["1", "yes", "n"]}));
    // Lists, as `get -o json` and `-o yaml` give them.
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [object.to_original()]});
    assert_eq!(
        one("l.json", &list.to_string()),
        Object { form: one("l.json", &list.to_string()).form, ..object.clone() }
    );
    assert_eq!(one("l.json", &json!([object.to_original()]).to_string()).spec, object.spec);
    // A byte order mark, and a file without an ending.
    assert_eq!(one("x", "\u{feff}{\"kind\":\"category\",\"name\":\"c\",\"values\":[]}").kind, Kind::Category);
}

#[test]
fn a_short_pipeline_is_expanded() {
    let text = format!(
        "apiVersion: {API_VERSION}\nkind: Pipeline\nmetadata: {{name: hello, namespace: halls}}\nspec:\n  project: halls\n  source: {{class: generator@0.1.0, parameters: {{rate: 1}}, config: {{rate: 2}}, static: {{s: 1}}, labels: {{M: t}}}}\n  functions: [{{component: ./pick.wasm}}, {{function: jq}}, {{function: jq}}]\n  sink: {{component: ./sink.wasm}}\n  routes: {{odd: elsewhere/out}}\n"
    );
    let pipeline = one("h.yaml", &text);
    let spec: PipelineSpec = pipeline.typed().unwrap();
    assert_eq!(spec.step_names(), ["pick", "jq", "jq-2"]);
    let objects = expand(vec![pipeline]).unwrap();
    let titles: Vec<String> = objects.iter().map(Object::title).collect();
    assert_eq!(
        titles,
        [
            "instance hello-source",
            "config hello-source",
            "stream hello-source",
            "class hello-sink",
            "instance hello-sink",
            "stream hello-sink",
            "function hello-pick",
            "pipeline hello",
        ]
    );
    for object in &objects[..7] {
        assert_eq!(object.metadata.owner_references[0].name, "hello", "{}", object.title());
        assert_eq!(object.metadata.namespace.is_some(), object.kind.is_in_project());
        // Each is a document in its own right.
        one("x.yaml", &write(&[object.to_original()], Syntax::Yaml));
    }
    let spec: PipelineSpec = objects[7].typed().unwrap();
    assert_eq!(spec.source, Some(StreamUse::Stream(Ref::parse("hello-source/hello-source"))));
    assert_eq!(spec.functions[0].function, Some(Ref::name("hello-pick")));
    assert_eq!(spec.functions[0].name.as_deref(), Some("pick"));
    assert_eq!(spec.step_names(), ["pick", "jq", "jq-2"]);
    assert_eq!(expand(objects.clone()).unwrap(), objects);
}

#[test]
fn the_examples_of_the_page_are_documents() {
    let page = include_str!("../../../../docs/documents.md");
    let mut kinds: Vec<Kind> = page
        .split("```yaml\n")
        .skip(1)
        .map(|part| one("documents.md", part.split("```").next().unwrap()).kind)
        .collect();
    kinds.sort();
    kinds.dedup();
    let mut all = Kind::ALL;
    all.sort();
    assert_eq!(kinds, all, "an example of every kind");
    for kind in Kind::ALL {
        let section = page.split(&format!("\n## {kind}\n")).nth(1).unwrap();
        let section = section.split("\n## ").next().unwrap();
        for field in connector::native_fields(kind) {
            assert!(section.contains(&format!("`{}`", field.name)), "{kind}: {} is explained", field.name);
        }
    }
}

#[test]
fn what_a_log_takes_is_said_where_something_else_is_written() {
    let of = |kind: &str, spec: &str| {
        let text = format!("apiVersion: {API_VERSION}\nkind: {kind}\nmetadata: {{name: x}}\nspec: {spec}\n");
        let found = read_documents("x.yaml", text.as_bytes(), None, &|_| None).unwrap_err();
        let told: Vec<_> = found
            .iter()
            .map(|one| format!("{} {}: {} {:?} {:?}", one.code.id(), one.path, one.message, one.expected, one.help))
            .collect();
        told.join("\n")
    };
    let stream = |log: &str| of("Stream", &format!("{{instance: i, direction: INGRESS, log: {log}}}"));
    for (log, words) in [
        ("{durability: disk}", ["spec.log.durability", "fsync", "memory"]),
        ("{whenFull: drop}", ["spec.log.whenFull", "drop-oldest", "drop-newest"]),
        ("{maxRecords: 0}", ["spec.log.maxRecords", "FE0", "from 1"]),
        ("{keep: {evenUnred: true}}", ["spec.log.keep.evenUnred", "FE0109", "`evenUnread`"]),
    ] {
        let told = stream(log);
        for word in words {
            assert!(told.contains(word), "{word} is missing in {told}");
        }
    }
    let told = of("Stream", "{instance: i, direction: EGRESS, log: {durability: os}}");
    assert!(told.contains("FE0118 spec.log: an egress stream has no log"), "{told}");
    let told = of("Pipeline", "{source: s, sink: {class: c, log: {durability: os}}}");
    assert!(told.contains("FE0118 spec.sink.log"), "{told}");
    for (spec, words) in [
        ("{source: s, sink: t, start: newest}", ["spec.start", "latest", "beginning"]),
        ("{source: s, sink: t, deduplicate: {}}", ["spec.deduplicate", "window", "FE0110"]),
        ("{source: s, sink: t, deduplicate: {window: 0s}}", ["spec.deduplicate.window", "FE0112", "twice"]),
        (
            "{source: s, sink: t, functions: [{function: f, parallelism: 65}]}",
            ["parallelism", "FE0112", "from 1 to 64"],
        ),
        ("{source: s, sink: t, batch: {records: 100, window: 99}}", ["spec.batch.window", "FE0112", "99"]),
    ] {
        let told = of("Pipeline", spec);
        for word in words {
            assert!(told.contains(word), "{word} is missing in {told}");
        }
    }
}
