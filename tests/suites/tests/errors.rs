//! Error codes as people meet them: what brings each one about, through the real binary.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use ferrule_suites::ferrule::{native, root};
use ferrule_suites::{Ferrule, until};
use serde_json::Value;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

fn test_guest(name: &str) -> String {
    root().join("target/test-guests").join(format!("{name}.wasm")).display().to_string()
}

/// The last error of a stream or pipeline, once it has one with this code.
fn last_error(ferrule: &Ferrule, list: &str, name: &str, code: &str) -> String {
    until(&format!("{code} of {name}"), || {
        let status = ferrule.status();
        let found = status[list].as_array().unwrap().iter().find(|entry| entry["name"] == name)?;
        found["lastError"].as_str().filter(|error| error.contains(code)).map(str::to_owned)
    })
}

/// An HTTP server that answers each request with one status, or falls silent and holds the connections.
struct Http {
    address: SocketAddr,
    silent: Arc<AtomicBool>,
    held: Arc<AtomicUsize>,
}

impl Http {
    fn answering(status: &'static str) -> Http {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let http = Http { address: listener.local_addr().unwrap(), silent: Arc::default(), held: Arc::default() };
        let (silent, held) = (http.silent.clone(), http.held.clone());
        std::thread::spawn(move || {
            let mut holding = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                if silent.load(SeqCst) {
                    holding.push(stream);
                    held.store(holding.len(), SeqCst);
                    continue;
                }
                let mut request = [0; 65536];
                let _ = stream.read(&mut request);
                let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
        });
        http
    }

    /// From now on nobody gets an answer.
    fn fall_silent(self) -> Http {
        self.silent.store(true, SeqCst);
        self
    }

    fn holds_a_request(&self) {
        until("a request that gets no answer", || (self.held.load(SeqCst) > 0).then_some(()));
    }
}

/// A pipeline that posts what a generator gives.
fn posts(http: &Http, more: &str) -> String {
    let address = http.address;
    let spec = format!(
        "{{source: {{class: generator, parameters: {{rate: 0, count: 5, size: 32}}}}, \
         sink: {{class: http, parameters: {{url: 'http://{address}/'}}}}, start: beginning{more}}}"
    );
    [
        native("Pipeline", "posts", &spec),
        native("Grant", "posts", &format!("{{class: http, allow: [{{http: '{address}'}}]}}")),
    ]
    .concat()
}

#[test]
fn a_file_that_is_no_component_of_ours_is_told_as_what_it_is() {
    let ferrule = Ferrule::start();
    for (guest, code) in [
        ("command", "FE0303"),
        ("exports-nothing", "FE0304"),
        ("imports-unknown", "FE0305"),
        ("newer-contract", "FE0306"),
        ("describes-garbage", "FE0307"),
        ("traps-describe", "FE0307"),
    ] {
        let file = test_guest(guest);
        ferrule.run(&["register", &file]).fails(7, &[code, "ferrule explain"]);
        ferrule.run(&["inspect", &file]).fails(7, &[code]);
    }
    let whole = fs::read(root().join("target/guests/generator.wasm")).unwrap();
    let cut = ferrule.file("cut.wasm", &whole[..whole.len() / 2]);
    ferrule.run(&["register", cut.to_str().unwrap()]).fails(7, &["FE0301", "the file is damaged: "]);
    ferrule.run(&["inspect", &test_guest("exports-nothing")]).fails(7, &["it lacks ", "; it exports "]);
    // Damage within the code of a function is found when it is compiled; between functions, when it is read.
    let guest = fs::read(test_guest("traps")).unwrap();
    let compiled = (0..50).map(|step| guest.len() / 2 + step * 64).any(|at| {
        let mut damaged = guest.clone();
        damaged[at..at + 16].fill(0xff);
        let damaged = ferrule.file("damaged.wasm", damaged);
        ferrule.run(&["register", damaged.to_str().unwrap()]).fails(7, &["error[FE030"]).err.contains("FE0308")
    });
    assert!(compiled, "damage in the code of a function is told as FE0308");
    let large = ferrule.folder().join("large.wasm");
    fs::File::create(&large).unwrap().set_len((128 << 20) + 1).unwrap();
    ferrule.run(&["register", large.to_str().unwrap()]).fails(7, &["FE0309", "128 MiB"]);
    ferrule.run(&["register", "nowhere.wasm"]).fails(3, &["FE0125", "nowhere.wasm"]);
}

#[test]
fn a_registered_file_that_was_changed_is_not_run() {
    let mut ferrule = Ferrule::start();
    ferrule.run(&["register", &test_guest("traps-midway")]).ok();
    let document = "{source: {class: traps-midway, parameters: {folder: /nowhere, trap: never}}, sink: {class: blackhole}, paused: true}";
    ferrule.apply(&native("Pipeline", "line", document)).ok();
    let class: Value = serde_json::from_str(&ferrule.run(&["inspect", "traps-midway", "-o", "json"]).ok().out).unwrap();
    ferrule.terminate();
    let name = class["digest"].as_str().unwrap().replace(':', "-");
    let path = ferrule.folder().join("data/components").join(format!("{name}.wasm"));
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, bytes).unwrap();
    ferrule.up();
    let message = ferrule.reason("stream", "line-source", "ComponentBroken");
    assert!(message.contains("FE0312") && message.contains("not what was registered"), "{message}");
}

#[test]
fn what_is_not_there_yet_is_a_warning_and_a_condition() {
    let ferrule = Ferrule::start();
    let answer = ferrule.apply(&native("Pipeline", "early", "{source: later, sink: later}")).ok();
    assert!(answer.err.contains("warning[FE0210]") && answer.err.contains("`later`"), "{}", answer.err);
    assert!(ferrule.reason("pipeline", "early", "ReferenceMissing").contains("FE0210"));
    let documents = [
        native("Class", "picked", "{component: 'generator@{static.version}'}"),
        native("Instance", "unpicked", "{class: picked}"),
    ];
    let answer = ferrule.apply(&documents.concat()).ok();
    assert!(answer.err.contains("warning[FE0404]") && answer.err.contains("`version`"), "{}", answer.err);
    let cloud = "{source: {class: generator}, external: {place: publicCloud, type: AWS, endpointName: e}}";
    let answer = ferrule.apply(&native("Pipeline", "away", cloud)).ok();
    assert!(answer.err.contains("warning[FE0603]"), "{}", answer.err);
}

#[test]
fn what_is_refused_to_a_guest_carries_its_code() {
    let ferrule = Ferrule::start();
    let folder = ferrule.folder().display().to_string();
    let mqtt = |name: &str, broker: &str| {
        let source = format!("{{class: mqtt, parameters: {{broker: 'mqtt://{broker}', topics: ['#']}}}}");
        native("Pipeline", name, &format!("{{source: {source}, sink: {{class: blackhole}}}}"))
    };
    let file = format!("{{class: file, parameters: {{folder: '{folder}', file: x}}}}");
    let documents = [
        mqtt("named", "broker.example:1883"),
        mqtt("own", "127.0.0.1:1883"),
        mqtt("metadata", "169.254.169.254:80"),
        native("Pipeline", "files", &format!("{{source: {file}, sink: {{class: blackhole}}}}")),
        native("Grant", "wide", "{class: mqtt, allow: [{tcp: '*:80'}]}"),
    ];
    ferrule.apply(&documents.concat()).ok();
    for (stream, code) in [("named-source", "FE0401"), ("own-source", "FE0403"), ("metadata-source", "FE0406")] {
        let message = ferrule.reason("stream", stream, "Refused");
        assert!(message.contains(code), "{stream}: {message}");
        assert!(last_error(&ferrule, "streams", stream, code).contains("may not connect"));
    }
    let message = ferrule.reason("stream", "files-source", "NotGranted");
    assert!(message.contains("FE0402") && message.contains(&folder), "{message}");
    last_error(&ferrule, "streams", "files-source", "FE0402");
    // Granted, and not there.
    ferrule.apply(&native("Grant", "files", &format!("{{class: file, allow: [{{read: '{folder}'}}]}}"))).ok();
    last_error(&ferrule, "streams", "files-source", "FE0504");
}

#[test]
fn records_that_are_given_up_say_why() {
    let (ferrule, http) = (Ferrule::start(), Http::answering("503 Service Unavailable"));
    ferrule.apply(&posts(&http, ", retry: {attempts: 2, backoff: {initial: 1ms}}")).ok();
    let letters = |code: &str| {
        until(&format!("letters with {code}"), || {
            let listed = ferrule.run(&["deadletter", "list", "-o", "json"]).ok().out;
            let all: Value = serde_json::from_str(&listed).unwrap();
            all.as_array()?.iter().find(|letter| letter["error"] == code).cloned()
        })
    };
    let letter = letters("FE0510");
    assert_eq!(letter["code"], "attempts", "{letter}");
    let listed = ferrule.run(&["deadletter", "show", &letter["number"].to_string()]).ok();
    assert!(listed.out.contains("attempts (FE0510)"), "{}", listed.out);
    // Two replays do not take the same letter.
    let http = http.fall_silent();
    let replay = ["deadletter", "replay", "--pipeline", "posts"];
    let mut first = ferrule.spawn(&replay);
    http.holds_a_request();
    let second = ferrule.run(&replay);
    assert!(second.code != 0 && second.err.contains("FE0515"), "{second:?}");
    first.kill().and_then(|()| first.wait()).unwrap();
    let rejected = "{source: {class: generator, parameters: {rate: 0, count: 1, size: 32}}, \
                    functions: [{function: jq, args: {program: error}}], sink: {class: blackhole}, start: beginning}";
    ferrule.apply(&native("Pipeline", "rejected", rejected)).ok();
    assert_eq!(letters("FE0508")["pipeline"], "rejected");
    let large = vec![b'x'; (1 << 20) + 1];
    ferrule.feed(&["try", "rejected"], &large).fails(7, &["FE0511"]);
}

#[test]
fn a_drain_that_takes_too_long_and_what_does_not_run_are_told() {
    let (ferrule, http) = (Ferrule::start(), Http::answering("").fall_silent());
    ferrule.apply(&posts(&http, "")).ok();
    http.holds_a_request();
    ferrule.run(&["drain", "pipeline", "posts", "--deadline", "0"]).fails(9, &["FE0512", "in flight"]);
    ferrule.apply(&native("Pipeline", "early", "{source: later, sink: later}")).ok();
    let why = ["FE0611", "pipeline early does not run: there is no stream `later`", "ferrule describe pipeline early"];
    ferrule.run(&["tail", "early"]).fails(4, &why);
    ferrule.run(&["logs", "early"]).fails(4, &why);
    ferrule.feed(&["try", "early"], b"{}").fails(4, &why);
    ferrule.run(&["tail", "early/nosuch"]).fails(3, &["FE0201", "pipeline early has no step `nosuch`"]);
}

#[test]
fn servers_and_command_lines_that_do_not_find_each_other_say_how_to() {
    let ferrule = Ferrule::start();
    let data = ferrule.folder().join("data").display().to_string();
    let socket = ferrule.folder().join("s").display().to_string();
    let serve = |words: &[&str]| ferrule.run(&[&["serve", "--log", "warn"], words].concat());
    serve(&["--no-metrics", "--socket", &socket]).fails(4, &["FE0602", "store.redb", "folder of its own"]);
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let other = ferrule.folder().join("other").display().to_string();
    serve(&["--data", &other, "--no-metrics", "--listen", &address]).fails(4, &["FE0607", &address, "--listen"]);
    serve(&["--data", &other, "--metrics", &address]).fails(4, &["FE0607", &address, "--no-metrics"]);
    serve(&["--data", &format!("{data}/store.redb")]).fails(1, &["FE0605", "store.redb"]);
    let foreign = ferrule.file("foreign/store.redb", "not a store");
    serve(&["--data", foreign.parent().unwrap().to_str().unwrap(), "--no-metrics"]).fails(1, &["FE0212", "store.redb"]);
    let idle = Ferrule::idle();
    idle.run(&["status"]).fails(6, &["error[FE0601]", "ferrule serve"]);
    idle.run(&["--server", "ftp://x", "status"]).fails(2, &["error[FE0604]"]);
    // What listens there is no server of ours.
    let words = ["--server".to_owned(), format!("http://{}", Http::answering("200 OK").address), "status".to_owned()];
    let answer = ferrule.run(&words.each_ref().map(String::as_str));
    assert!([1, 6].contains(&answer.code) && answer.err.contains("error[FE06"), "{answer:?}");
}

#[test]
fn records_that_are_not_kept_are_not_read_again() {
    let ferrule = Ferrule::serve_with(&["--transport", "memory"]);
    let spec = "{source: {class: generator, parameters: {rate: 10, size: 32}}, sink: {class: blackhole}}";
    ferrule.apply(&native("Pipeline", "line", spec)).ok();
    ferrule.ready("pipeline", "line");
    ferrule.run(&["pipeline", "rewind", "line", "--to", "beginning"]).fails(5, &["FE0514", "memory"]);
}

#[test]
fn a_failed_test_says_how_many() {
    let ferrule = Ferrule::idle();
    let script = "tests:\n- name: wrong\n  parameters: {program: .a}\n  steps:\n  - apply: ['{\"a\":1}']\n    output: ['2']\n\
                  - name: right\n  parameters: {program: .a}\n  steps:\n  - apply: ['{\"a\":1}']\n    output: ['1']\n";
    let script = ferrule.file("tests/x.test.yaml", script);
    let jq = root().join("target/guests/jq.wasm");
    ferrule
        .run(&["test", "--component", jq.to_str().unwrap(), script.to_str().unwrap()])
        .fails(101, &["error[FE0609]: 1 of 2 tests failed"]);
}
