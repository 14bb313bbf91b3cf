//! Components are replaced while records flow: the users of a name move to another version, newer or older, and a sink or function that
//! fails gives its place back.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use ferrule_suites::{Ferrule, ferrule::root, until};
use serde_json::Value;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// A guest that ships, which calls itself 0.1.0, as another version of itself.
fn version(ferrule: &Ferrule, guest: &str, version: &[u8; 5]) -> PathBuf {
    let mut bytes = fs::read(shipped(guest)).unwrap();
    let own = |at: &usize| bytes[*at..].starts_with(b"0.1.0") && bytes[at - 1] != b'@';
    let places: Vec<usize> = (1..bytes.len()).filter(own).collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at..at + 5].copy_from_slice(version);
    }
    ferrule.file(&format!("{guest}-{}.wasm", String::from_utf8_lossy(version)), bytes)
}

fn shipped(guest: &str) -> PathBuf {
    root().join(format!("target/guests/{guest}.wasm"))
}

/// Registers a file; the component's digest.
fn register(ferrule: &Ferrule, file: &Path, words: &[&str]) -> String {
    let answer = ferrule.run(&[&["register", file.to_str().unwrap(), "-o", "json"], words].concat()).ok();
    let registered: Value = serde_json::from_str(&answer.out).unwrap();
    registered["component"]["digest"].as_str().unwrap().to_owned()
}

/// The digests of the source's, the function's and the sink's component, as they are to run.
fn digests(ferrule: &Ferrule) -> [String; 3] {
    let digest = |kind, name, pointer| {
        let object = ferrule.get(kind, name).unwrap();
        object["status"]["details"].pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    [
        digest("stream", "steady-source", "/component/digest"),
        digest("pipeline", "steady", "/steps/0/component/digest"),
        digest("stream", "steady-sink", "/component/digest"),
    ]
}

fn status(ferrule: &Ferrule, field: &str) -> u64 {
    let status: Value = serde_json::from_str(&ferrule.run(&["status", "-o", "json"]).ok().out).unwrap();
    status["pipelines"][0][field].as_u64().unwrap_or_default()
}

/// Waits until the pipeline has delivered more than now.
fn goes_on(ferrule: &Ferrule) {
    let before = status(ferrule, "delivered");
    until("records go on", || (status(ferrule, "delivered") > before + 50).then_some(()));
}

fn grant(folder: &str) -> String {
    format!(
        "---
apiVersion: connector.ferrule.dev/v1
kind: Grant
metadata: {{name: lines}}
spec: {{class: file, allow: [{{write: '{folder}'}}, {{read: '{folder}'}}]}}
"
    )
}

#[test]
fn the_users_of_a_name_move_to_a_newer_version_and_back() {
    let mut ferrule = Ferrule::start();
    let lines = ferrule.folder().join("lines");
    fs::create_dir(&lines).unwrap();
    let folder = lines.to_str().unwrap();
    ferrule
        .apply(&format!(
            "apiVersion: connector.ferrule.dev/v1
kind: Pipeline
metadata: {{name: steady}}
spec:
  source: {{class: generator, parameters: {{rate: 500, size: 64}}}}
  functions: [{{function: identity}}]
  sink: {{class: file, parameters: {{folder: '{folder}', file: out.txt}}}}
{}",
            grant(folder)
        ))
        .ok();
    goes_on(&ferrule);
    let guests = ["generator", "identity", "file"];
    let first = digests(&ferrule);
    let newer = guests.map(|guest| version(&ferrule, guest, b"0.2.0"));
    let second = [0, 1, 2].map(|index| register(&ferrule, &newer[index], &[]));
    assert_ne!(first, second);
    assert_eq!(digests(&ferrule), first, "a newer version changes nothing that runs");
    let moved = |ferrule: &Ferrule, to: &[String; 3], what: &str| {
        until(what, || (digests(ferrule) == *to).then_some(()));
        for stream in ["steady-source", "steady-sink"] {
            ferrule.ready("stream", stream);
        }
        ferrule.ready("pipeline", "steady");
        goes_on(ferrule);
    };
    for file in &newer {
        register(&ferrule, file, &["--replace"]);
    }
    moved(&ferrule, &second, "all run the newer version");
    for guest in guests {
        register(&ferrule, &shipped(guest), &["--replace"]);
    }
    moved(&ferrule, &first, "all run the older version again");
    // What comes new uses the version that was moved to, and neither does a new version move anybody now.
    register(&ferrule, &version(&ferrule, "generator", b"0.3.0"), &[]);
    ferrule
        .apply(
            "apiVersion: connector.ferrule.dev/v1
kind: Pipeline
metadata: {name: another}
spec: {source: {class: generator, parameters: {rate: 1}}, sink: {class: blackhole}}
",
        )
        .ok();
    let stream = ferrule.ready("stream", "another-source");
    assert_eq!(stream["status"]["details"]["component"]["digest"].as_str(), Some(&*first[0]));
    assert_eq!(digests(&ferrule), first);
    assert!(ferrule.terminate().success());
    // Nothing is lost or out of order; what a sink had in hand when it was replaced may come twice.
    let text = fs::read_to_string(lines.join("out.txt")).unwrap();
    let mut next = 0;
    for line in text.lines() {
        let sequence = serde_json::from_str::<Value>(line).unwrap()["sequence"].as_u64().unwrap();
        assert!(sequence <= next, "{next} is missing before {sequence}");
        next = next.max(sequence + 1);
    }
    assert!(next > 200);
}

#[test]
fn a_sink_that_fails_gives_its_place_back() {
    let ferrule = Ferrule::start();
    ferrule
        .apply(
            "apiVersion: connector.ferrule.dev/v1
kind: Pipeline
metadata: {name: steady}
spec: {source: {class: generator, parameters: {rate: 200, size: 16}}, sink: {class: blackhole}}
",
        )
        .ok();
    goes_on(&ferrule);
    let good = ferrule.get("stream", "steady-sink").unwrap()["status"]["details"]["component"]["digest"].clone();
    // It opens, and takes memory without end when it is given records.
    register(&ferrule, &root().join("target/test-guests/hoards-memory.wasm"), &["--name", "blackhole", "--replace"]);
    let message = ferrule.reason("stream", "steady-sink", "FailedFirstBatches");
    for words in ["failed its first 3 batches", good.as_str().unwrap(), "goes on", "limit of memory"] {
        assert!(message.contains(words), "no {words:?} in {message}");
    }
    goes_on(&ferrule);
    assert_eq!((status(&ferrule, "deadLettered"), status(&ferrule, "dropped")), (0, 0));
    let stream = ferrule.ready("stream", "steady-sink");
    assert_eq!(stream["status"]["details"]["rolledBack"]["running"], good);
    // Going back on purpose ends it.
    register(&ferrule, &shipped("blackhole"), &["--replace"]);
    ferrule.wait("stream", "steady-sink", "as its documents say", |stream| {
        stream["status"]["details"]["rolledBack"].is_null()
            && stream["status"]["details"]["component"]["digest"] == good
    });
    goes_on(&ferrule);
}

#[test]
fn a_function_that_fails_gives_its_place_back() {
    let ferrule = Ferrule::start();
    let folder = ferrule.folder().join("lines");
    fs::create_dir(&folder).unwrap();
    let mut file = fs::File::create(folder.join("in.txt")).unwrap();
    let mut written = 0;
    // The function that is to fail does so at records that begin with an `o`.
    let mut write = || {
        writeln!(file, "o{written}").unwrap();
        written += 1;
        written
    };
    ferrule
        .apply(&format!(
            "apiVersion: connector.ferrule.dev/v1
kind: Pipeline
metadata: {{name: steady}}
spec:
  source: {{class: file, parameters: {{folder: '{0}', file: in.txt, follow: true}}}}
  functions: [{{function: identity}}]
  sink: {{class: file, parameters: {{folder: '{0}', file: out.txt}}}}
{1}",
            folder.display(),
            grant(folder.to_str().unwrap())
        ))
        .ok();
    write();
    until("a record", || (status(&ferrule, "delivered") > 0).then_some(()));
    let good = digests(&ferrule)[1].clone();
    register(&ferrule, &root().join("target/test-guests/bad-answer.wasm"), &["--name", "identity", "--replace"]);
    let failed = |object: &Value| {
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.into_iter().find(|condition| condition["reason"] == "FailedFirstBatches")
    };
    let told = until("rolled back", || {
        write();
        failed(&ferrule.get("pipeline", "steady").unwrap())
    });
    let message = told["message"].as_str().unwrap().to_owned();
    for words in ["failed its first 3 batches", &good, "goes on"] {
        assert!(message.contains(words), "no {words:?} in {message}");
    }
    let count = write();
    until("every record", || (status(&ferrule, "delivered") == count).then_some(()));
    assert_eq!((status(&ferrule, "deadLettered"), status(&ferrule, "dropped")), (0, 0));
    let text = fs::read_to_string(folder.join("out.txt")).unwrap();
    assert_eq!(text, (0..count).map(|number| format!("o{number}\n")).collect::<String>(), "each once, in order");
}
