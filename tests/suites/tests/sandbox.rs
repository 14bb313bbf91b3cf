//! What a component may reach: nothing that nobody granted, and the refusal says what to write.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use ferrule_suites::{Ferrule, until};
use std::net::{Ipv4Addr, TcpListener};

#[test]
fn an_address_that_nobody_granted_is_refused_until_the_lines_of_the_message_are_applied() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let ferrule = Ferrule::start();
    ferrule
        .apply(&format!(
            "apiVersion: connector.ferrule.dev/v1
kind: Pipeline
metadata: {{name: curious}}
spec:
  source: {{class: mqtt, parameters: {{broker: 'mqtt://{address}', topics: ['#']}}}}
  sink: {{class: blackhole}}
"
        ))
        .ok();
    let message = ferrule.reason("stream", "curious-source", "Refused");
    assert!(message.contains(&address.to_string()), "{message}");
    assert!(message.contains("mqtt"), "{message}");
    assert!(listener.accept().is_err(), "the refused connection was made all the same");

    // The message carries a document; what it says to write is what helps.
    let start = message.find("apiVersion:").unwrap_or_else(|| panic!("no document in: {message}"));
    ferrule.apply(&message[start..]).ok();
    until("the granted connection", || listener.accept().ok());
}

#[test]
fn a_refused_stream_does_not_disturb_another() {
    let ferrule = Ferrule::start();
    ferrule
        .apply(
            "apiVersion: connector.ferrule.dev/v1
kind: Pipeline
metadata: {name: refused}
spec:
  source: {class: mqtt, parameters: {broker: 'mqtt://192.0.2.1:1883', topics: ['#']}}
  sink: {class: blackhole}
---
apiVersion: connector.ferrule.dev/v1
kind: Pipeline
metadata: {name: allowed}
spec:
  source: {class: generator, parameters: {rate: 0, count: 1000, size: 16}}
  sink: {class: blackhole}
",
        )
        .ok();
    ferrule.reason("stream", "refused-source", "Refused");
    until("a thousand records delivered", || (ferrule.count("allowed", "delivered") == 1000).then_some(()));
}

#[test]
fn a_denial_wins_over_a_grant_and_the_audit_tells_of_both() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let ferrule = Ferrule::serve_with(&["--deny", "tcp=192.0.2.0/24:*"]);
    let pipeline = |name: &str, broker: &str| {
        format!(
            "apiVersion: connector.ferrule.dev/v1
kind: Pipeline
metadata: {{name: {name}}}
spec:
  source: {{class: mqtt, parameters: {{broker: 'mqtt://{broker}', topics: ['#']}}}}
  sink: {{class: blackhole}}
---
"
        )
    };
    let grant = |name: &str, spec: &str| {
        format!("apiVersion: connector.ferrule.dev/v1\nkind: Grant\nmetadata: {{name: {name}}}\nspec: {spec}\n---\n")
    };
    let allow = format!("{{class: mqtt, allow: [{{tcp: '{address}'}}, {{tcp: '{{broker}}'}}]}}");
    let documents = [grant("all", &allow), pipeline("near", &address.to_string()), pipeline("far", "192.0.2.1:1883")];
    ferrule.apply(&documents.concat()).ok();

    // The server's configuration denies one of them, whatever is granted.
    let message = ferrule.reason("stream", "far-source", "Denied");
    assert!(message.contains("tcp: 192.0.2.0/24:*"), "{message}");
    until("the granted connection", || listener.accept().ok());
    let audit = |words: &[&str]| -> serde_json::Value {
        let answer = ferrule.run(&[&["audit", "-o", "json"], words].concat()).ok();
        serde_json::from_str(&answer.out).unwrap()
    };
    let denied = until("the denial in the audit", || {
        let report = audit(&["--denied", "--stream", "far-source"]);
        (report["denied"].as_u64()? > 0).then_some(report)
    });
    let target = &denied["targets"][0];
    assert_eq!((&target["host"], &target["port"]), (&"192.0.2.1".into(), &1883.into()), "{target}");
    assert_eq!(target["rule"], "deny tcp: 192.0.2.0/24:*", "{target}");
    assert_eq!((&target["class"], &target["interface"]), (&"mqtt".into(), &"ferrule:connector/net".into()), "{target}");
    let all = audit(&[]);
    let near = all["targets"].as_array().unwrap().iter().find(|target| target["allowed"] == true).unwrap();
    assert_eq!((&near["port"], &near["rule"]), (&address.port().into(), &format!("tcp: {address}").into()), "{near}");
    assert_eq!(audit(&["--stream", "near-source"])["denied"], 0);

    // A document denies the other: the session is opened anew, without it.
    ferrule.apply(&grant("no-more", &format!("{{deny: [{{tcp: '{address}'}}]}}"))).ok();
    ferrule.reason("stream", "near-source", "Denied");
    let described = ferrule.run(&["describe", "stream", "near-source"]).ok().out;
    assert!(described.contains("asked for, granted and denied"), "{described}");
    let text = ferrule.run(&["audit", "--denied"]).ok().out;
    assert!(text.contains("192.0.2.1:1883") && text.contains("denied"), "{text}");
}

#[test]
fn what_is_asked_for_and_not_granted_is_described_with_the_line_that_grants_it() {
    let ferrule = Ferrule::start();
    ferrule
        .apply(
            "apiVersion: connector.ferrule.dev/v1
kind: Pipeline
metadata: {name: quiet}
spec:
  source: {class: mqtt, parameters: {broker: 'mqtt://broker.example:1883', topics: ['#']}}
  sink: {class: blackhole}
",
        )
        .ok();
    ferrule.reason("stream", "quiet-source", "NotGranted");
    let described = ferrule.run(&["describe", "stream", "quiet-source"]).ok().out;
    assert!(
        described.contains("asked for and not granted") && described.contains("tcp: broker.example:1883"),
        "{described}"
    );
}

#[test]
fn a_learning_run_prints_the_grants_that_were_used() {
    let ferrule = Ferrule::idle();
    let folder = ferrule.folder().display().to_string();
    ferrule.file("lines.txt", "a\nb\nc\n");
    let documents = ferrule.file(
        "learn.yaml",
        format!(
            "apiVersion: connector.ferrule.dev/v1
kind: Pipeline
metadata: {{name: learn}}
spec:
  source: {{class: file, parameters: {{folder: '{folder}', file: lines.txt}}}}
  sink: {{class: blackhole}}
"
        ),
    );
    let run = ferrule.run(&["run", documents.to_str().unwrap(), "--learn", "--until-records", "3"]).ok();
    let start = run.out.find("apiVersion:").unwrap_or_else(|| panic!("no document in {}", run.out));
    assert!(run.out[start..].contains("class: file") && run.out.contains(&format!("read: {folder}")), "{}", run.out);
}
