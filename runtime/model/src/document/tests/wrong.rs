//! Files that are wrong: broken, hostile, against the rules; all of it told at once, and where.

use super::*;

#[test]
fn all_errors_of_a_file_are_told_at_once() {
    let text = "\
apiVersion: connector.ferrule.dev/v1
kind: Stream
metadata: {name: a/b}
spec: {direction: SIDEWAYS, labels: 3}
---
kind: Streem
metadata: {name: x}
---
just a text
---
apiVersion: connector.ferrule.dev/v2
kind: Category
metadata: {name: ' c'}
spec: {values: [1]}
";
    let found = wrong(
        "many.yaml",
        text,
        &[
            (Code::BadValue, "spec.direction"),
            (Code::WrongType, "spec.labels"),
            (Code::MissingField, "spec.instance"),
            (Code::BadName, "metadata.name"),
            (Code::UnknownKind, "kind"),
            (Code::WrongType, ""),
            (Code::BadApiVersion, "apiVersion"),
            (Code::WrongType, "spec.values[0]"),
            (Code::BadName, "metadata.name"),
        ],
    );
    assert_eq!(found[0].document, "many.yaml#1");
    assert_eq!(found[8].document, "many.yaml#4");
    assert_eq!(found[4].help.as_deref(), Some("did you mean `Stream`?"));
}

#[test]
fn duplicate_names_are_refused() {
    let document = |kind: &str, name: &str, spec: &str| {
        format!("---\napiVersion: {API_VERSION}\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n")
    };
    let stream = |instance: &str| document("Stream", "s", &format!("{{instance: {instance}, direction: EGRESS}}"));
    let class = |version: &str| document("Class", "c", &format!("{{version: '{version}'}}"));
    let text = stream("one") + &stream("two") + &class("1.0") + &class("1.1") + &stream("one");
    let found = wrong("d.yaml", &text, &[(Code::DuplicateName, "metadata.name")]);
    assert_eq!(found[0].document, "d.yaml#5");
    assert!(found[0].message.contains("d.yaml#1"), "{}", found[0]);
    let text = class("1") + &class("1");
    wrong("d.yaml", &text, &[(Code::DuplicateName, "metadata.name")]);
}

#[test]
fn hostile_files_are_refused_soon() {
    // Ten levels of ten aliases each.
    let mut bomb = "a0: &a0 [lol,lol,lol,lol,lol,lol,lol,lol,lol,lol]\n".to_owned();
    for level in 1..10 {
        let before = level - 1;
        let aliases = vec![format!("*a{before}"); 10].join(",");
        bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    wrong("bomb.yaml", &bomb, &[(Code::TooComplex, "")]);
    // One long text, many times.
    let long = "x".repeat(1 << 20);
    let aliases = vec!["*a"; 60].join(", ");
    wrong("long.yaml", &format!("a: &a {long}\nb: [{aliases}]\n"), &[(Code::TooComplex, "")]);
    // Deep nesting, open and in blocks.
    wrong("deep.yaml", &"[".repeat(10_000), &[(Code::TooComplex, "")]);
    let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
    wrong("deep.yaml", &deep, &[(Code::TooComplex, "")]);
    let blocks: String = (0..200).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
    wrong("blocks.yaml", &blocks, &[(Code::TooComplex, "")]);
    wrong("deep.json", &"[".repeat(10_000), &[(Code::TooComplex, "")]);
    // Ten megabytes.
    let big = " ".repeat(10 << 20);
    let found = wrong("big.yaml", &big, &[(Code::DocumentTooLarge, "")]);
    assert!(found[0].message.contains("10485760"));
    // Thousands of documents.
    let many = "---\n1\n".repeat(5_000);
    assert_eq!(read_documents("m.yaml", many.as_bytes(), None, &none).unwrap_err()[0].code, Code::TooComplex);
}

#[test]
fn broken_files_say_where() {
    let found = read_documents("u.yaml", b"a: 1\nb: caf\xe9\n", None, &none).unwrap_err();
    assert_eq!((found[0].code, found[0].position), (Code::NotUtf8, Some((2, 7))));
    assert!(found[0].message.contains("0xe9 at offset 11"), "{}", found[0]);
    let found = wrong("y.yaml", "a: b\n c: [\n", &[(Code::NotYaml, "")]);
    assert_eq!(found[0].position.unwrap().0, 2, "{}", found[0]);
    let found = wrong("j.json", "{\n  \"a\": 1,\n}\n", &[(Code::NotJson, "")]);
    assert_eq!(found[0].position, Some((3, 1)), "{}", found[0]);
    let found = wrong("k.yaml", "kind: x\nname: a\nname: b\n", &[(Code::DuplicateKey, "")]);
    assert_eq!(found[0].position, Some((3, 1)), "{}", found[0]);
    assert!(found[0].message.contains("`name`"), "{}", found[0]);
    let found = wrong("k.json", "{\"name\": 1,\n \"name\": 2}", &[(Code::DuplicateKey, "")]);
    assert_eq!(found[0].position.unwrap().0, 2, "{}", found[0]);
    assert!(found[0].message.contains("`name`"), "{}", found[0]);
    wrong(
        "k.json",
        r#"{"name":"a","Name":"b","connectorClassID":"c","projectId":"p"}"#,
        &[(Code::DuplicateKey, "Name")],
    );
    wrong("e.yaml", "# nothing\n---\n", &[(Code::NoDocument, "")]);
    wrong("e.json", "", &[(Code::NoDocument, "")]);
    // The document after a broken one is read all the same.
    let text = "a: 1\na: 2\n---\nkind: category\nname: c\n";
    let found = read_documents("two.yaml", text.as_bytes(), None, &none).unwrap_err();
    let codes: Vec<Code> = found.iter().map(|d| d.code).collect();
    assert_eq!(codes, [Code::DuplicateKey, Code::MissingField]);
}

#[test]
fn rules_of_one_document_hold() {
    let kps = |labels: &str, direction: &str| {
        format!(r#"{{"name":"s","connectorInstanceID":"i","direction":"{direction}","labels":{labels},"stream":{{}}}}"#)
    };
    wrong("s.json", &kps("[]", "INGRESS"), &[(Code::LabelsMissing, "labels")]);
    wrong("s.json", &kps(r#"[{"id":"c","value":"v"}]"#, "EGRESS"), &[(Code::LabelsOnEgress, "labels")]);
    let long = "x".repeat(37);
    let id = |kind: &str, id: &str| format!("kind: {kind}\nid: {id}\nname: n\nvalues: [a]\n");
    wrong("c.yaml", &id("category", &"x".repeat(65)), &[(Code::BadName, "id")]);
    one("c.yaml", &id("category", &long));
    let instance = format!(r#"{{"id":"{long}","name":"i","connectorClassID":"c","projectId":"p"}}"#);
    wrong("i.json", &instance, &[(Code::BadName, "id")]);
    let class =
        r#"{"name":"c","connectorVersion":"1","type":"INGRES","yamlData":"x","streamParameterSchema":{"type":7}}"#;
    let found = wrong("c.json", class, &[(Code::BadValue, "type")]);
    assert_eq!(found[0].help.as_deref(), Some("did you mean INGRESS?"));
    let class = class.replace("INGRES", "INGRESS");
    wrong("c.json", &class, &[(Code::BadSchema, "streamParameterSchema.type")]);
    let function = "kind: function\nname: f\nproject: p\nlanguage: ruby\nenvironment: e\nsourceCodePath: f.rb\n";
    wrong("f.yaml", function, &[(Code::BadValue, "language")]);

    let native = |kind: &str, spec: &str| {
        format!("apiVersion: {API_VERSION}\nkind: {kind}\nmetadata: {{name: x}}\nspec: {spec}\n")
    };
    wrong("p.yaml", &native("Pipeline", "{sink: s}"), &[(Code::FieldsExclude, "spec")]);
    wrong("p.yaml", &native("Pipeline", "{source: s, inputPipeline: p, sink: s}"), &[(Code::FieldsExclude, "spec")]);
    wrong(
        "p.yaml",
        &native("Pipeline", "{source: {parameters: {}}, sink: s}"),
        &[(Code::FieldsExclude, "spec.source")],
    );
    wrong(
        "p.yaml",
        &native(
            "Pipeline",
            "{source: s, functions: [{name: a, function: f}, {name: a, component: f.wasm, function: f}]}",
        ),
        &[(Code::FieldsExclude, "spec.functions[1]"), (Code::DuplicateName, "spec.functions[1].name")],
    );
    wrong("g.yaml", &native("Grant", "{allow: []}"), &[(Code::FieldsExclude, "spec")]);
    wrong(
        "g.yaml",
        &native("Grant", "{class: c, allow: [{udp: x}, {tcp: 'no port'}, 7]}"),
        &[
            (Code::BadGrantEntry, "spec.allow[0]"),
            (Code::BadGrantEntry, "spec.allow[1]"),
            (Code::BadGrantEntry, "spec.allow[2]"),
        ],
    );
    let attach = |entries: &str| native("Grant", &format!("{{class: c, attach: [{entries}]}}"));
    for (entry, code, path) in [
        ("{to: {tls: '*.example:8883'}, roots: x}", Code::BadGrantEntry, "spec.attach[0].to"),
        ("{to: {tls: '{broker}'}, roots: x}", Code::BadGrantEntry, "spec.attach[0].to"),
        ("{to: {tcp: 'b.example:1883'}, roots: x}", Code::BadGrantEntry, "spec.attach[0].to"),
        ("{to: {http: 'api.example:80'}, bearer: {secret: s, key: k}}", Code::BadGrantEntry, "spec.attach[0].to"),
        ("{to: {tls: 'b.example:8883'}}", Code::BadGrantEntry, "spec.attach[0]"),
        ("{to: {tls: 'b.example:8883'}, certificate: x}", Code::BadGrantEntry, "spec.attach[0]"),
        ("{to: {tls: 'b.example:8883'}, bearer: {secret: s, key: k}}", Code::BadGrantEntry, "spec.attach[0]"),
        ("{to: {https: 'a.example:443'}, bearer: canary}", Code::WrongType, "spec.attach[0].bearer"),
        ("{to: {https: 'a.example:443'}, bearer: {secret: s}}", Code::MissingField, "spec.attach[0].bearer.key"),
        (
            "{to: {https: 'a.example:443'}, bearer: {secret: s, key: k}, basic: {user: u, password: {secret: s, key: k}}}",
            Code::FieldsExclude,
            "spec.attach[0]",
        ),
    ] {
        let found = wrong("a.yaml", &attach(entry), &[(code, path)]);
        assert!(!format!("{found:?}").contains("canary"), "{found:?}");
    }
    one(
        "a.yaml",
        &attach(
            "{to: {tls: 'b.example:8883'}, roots: x, serverName: b, certificate: {secret: s, key: c}, key: {secret: s, key: k}}, \
             {to: {https: 'a.example:443'}, sigv4: {region: r, service: s3, accessKey: a, secretKey: {secret: s, key: k}}}, \
             {to: {http: 'localhost:80'}, header: {name: x-key, value: {secret: s, key: k}}}",
        ),
    );
    wrong("k.yaml", "kind: Grant\nclass: c\n", &[(Code::MissingField, "metadata")]);
    wrong(
        "k.yaml",
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n",
        &[(Code::BadApiVersion, "apiVersion")],
    );
    wrong("s.yaml", &native("Stream", "{instance: '', direction: INGRESS}"), &[(Code::BadValue, "spec.instance")]);
    wrong(
        "c.yaml",
        &native("Class", "{streamSchema: {$ref: 'https://example.com/x'}}"),
        &[(Code::RemoteSchema, "spec.streamSchema")],
    );
}
