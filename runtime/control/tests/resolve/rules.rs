//! Where a stream may run, what it may reach, and what the log must give it.

use ferrule_control::{COMPONENT_BEFORE, Site};
use ferrule_model::Kind;
use serde_json::{Value, json};

use crate::setup::{HALL, STRAIGHT, check, check_at, component, components, hall, lines, memory, objects, resolved};

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
    let given = "run stream hall/in by mqtt@1.2.0 parameters {\"broker\":\"mqtt://broker.example:1883\",\"topic\":\"a\"} config {} static {} may [tcp: broker.example:1883";
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
fn a_denial_wins_whoever_it_is_for() {
    let with = |deny: &str| {
        hall(&format!(
            "kind: Grant\nmetadata: {{name: g}}\nspec: {{class: mqtt, allow: [{{tcp: '{{broker}}'}}]}}\n---\nkind: Grant\nmetadata: {{name: d}}\nspec: {deny}\n---\n{STRAIGHT}"
        ))
    };
    for deny in [
        "{deny: [{tcp: '*:1883'}]}",
        "{class: mqtt, deny: [{tcp: 'broker.example:*'}]}",
        "{stream: hall/in, deny: [{tcp: '*.example:1-2000'}]}",
    ] {
        check(
            &with(deny),
            &["static {} may []", "stream-in: Granted=False Denied: mqtt asks for tcp: broker.example:1883"],
        );
    }
    for deny in
        ["{deny: [{udp: '*:1883'}]}", "{class: other, deny: [{tcp: '*:*'}]}", "{stream: out, deny: [{tcp: '*:*'}]}"]
    {
        check(&with(deny), &["may [tcp: broker.example:1883]", "stream-in: Granted=True"]);
    }
    let site = Site { deny: vec!["tcp=*:1883".parse().unwrap()], ..Site::default() };
    check_at(&site, components(), &with("{deny: [{udp: '*:1'}]}"), &["may []", "stream-in: Granted=False Denied"]);
    // An address is judged when the name is resolved; until then it takes nothing away, but it opens the session anew.
    let revision = |deny: &str| {
        let resolution = resolved(components().into_iter().chain(objects(&with(deny))), &Site::default());
        resolution.wanted.streams.iter().find(|stream| stream.name == "hall/in").unwrap().revision.clone()
    };
    assert_ne!(revision("{deny: [{tcp: '10.0.0.0/8:*'}]}"), revision("{deny: [{tcp: '10.0.0.0/9:*'}]}"));
}

#[test]
fn a_version_that_asks_for_more_is_held_until_it_is_granted() {
    let ask = |target: &str| json!({"kind": "tcp", "target": target, "reason": "records"});
    let meter = |version: &str, digest: &str, asks: Value| {
        component("meter", version, digest, &["ingress"], asks, &json!({"type": "object"}), &[])
    };
    let stream = |more: &str| {
        let mut all = objects(&format!(
            "kind: Class\nmetadata: {{name: meter}}\nspec: {{component: 'sha256:m2'}}\n---\nkind: Instance\nmetadata: {{name: i}}\nspec: {{class: meter}}\n---\nkind: Stream\nmetadata: {{name: s}}\nspec: {{instance: i, direction: INGRESS}}\n---\nkind: Grant\nmetadata: {{name: g}}\nspec: {{class: meter, allow: [{{tcp: 'a.example:1'}}{more}]}}\n"
        ));
        let class = all.iter_mut().find(|object| object.kind == Kind::Class).unwrap();
        class.metadata.annotations.insert(COMPONENT_BEFORE.to_owned(), "sha256:m1".to_owned());
        let components = [
            meter("1.0.0", "m1", json!([ask("a.example:1")])),
            meter("2.0.0", "m2", json!([ask("a.example:1"), ask("b.example:2")])),
        ];
        lines(&resolved(components.into_iter().chain(all), &Site::default()))
    };
    let has =
        |lines: &[String], part: &str| assert!(lines.iter().any(|line| line.contains(part)), "{part}: {lines:#?}");
    let held = stream("");
    has(&held, "run stream i/s by meter@1.0.0");
    has(&held, "stream-s: Granted=False Held: version 2.0.0 is held");
    has(&held, "{\"tcp\":\"b.example:2\"}");
    let granted = stream(", {tcp: 'b.example:2'}");
    has(&granted, "run stream i/s by meter@2.0.0");
    has(&granted, "stream-s: Granted=True");
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
