//! Secrets, from the command line to the disk: values that were planted are found in nothing that the system writes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use ferrule_suites::ferrule::{condition, native, root};
use ferrule_suites::{Ferrule, until};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// A value for each way in. None has another's text in it.
const CANARIES: [(&str, &str); 4] = [
    ("file", "canary-in-a-file-8841"),
    ("stdin", "finch/of standard+input"),
    ("variable", "linnet-of-the-environment"),
    ("document", "siskin-in-a-document-55"),
];

/// The canaries and the forms in which a guest shows them.
fn hidden() -> Vec<String> {
    let mut all = Vec::new();
    for (_, value) in CANARIES {
        all.push(value.to_owned());
        all.push(value.bytes().map(|byte| format!("%{byte:02X}")).collect());
        // Of base64 the middle, at each place that the value can have in something longer.
        for shift in 0..3 {
            let encoded = base64(&[&b"xxx"[..shift], value.as_bytes()].concat());
            all.push(encoded[4..encoded.len() - 5].to_owned());
        }
    }
    all
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = bytes.chunks(3).flat_map(|chunk| {
        let bits = chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        (0..=chunk.len()).map(move |digit| DIGITS[((bits >> (18 - 6 * digit)) & 63) as usize] as char)
    });
    digits.collect()
}

/// Every canary that is in the bytes.
fn found_in(bytes: &[u8]) -> Vec<String> {
    let is_in = |canary: &String| bytes.windows(canary.len()).any(|window| window == canary.as_bytes());
    hidden().into_iter().filter(is_in).collect()
}

/// What of a folder has a canary in it.
fn search(folder: &Path, found: &mut Vec<String>, files: &mut usize) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("compiled") {
            search(&path, found, files);
        } else if path.is_file() {
            *files += 1;
            let canaries = found_in(&fs::read(&path).unwrap());
            if !canaries.is_empty() {
                found.push(format!("{}: {canaries:?}", path.display()));
            }
        }
    }
}

fn metrics(port: u16) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// A server that serves its metrics and logs all that it has to say, on standard output and error.
fn loud(environment: &[(&str, &str)]) -> (Ferrule, u16) {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let script = format!(
        "bin=$1; shift 5; exec \"$bin\" serve --metrics 127.0.0.1:{port} --log trace,h2=info,hyper=info,tower=info \"$@\" 1>&2"
    );
    let mut ferrule = Ferrule::idle_with(environment);
    ferrule.set_wrapper(&["sh", "-c", &script, "sh"]);
    ferrule.up();
    (ferrule, port)
}

fn pipeline(how: &str, secret: &str) -> String {
    let take = |name: &str| format!("{name}: {{secret: {secret}, key: {name}}}");
    let takes = ["file", "stdin", "variable"].map(take).join(", ");
    native(
        "Pipeline",
        how,
        &format!(
            "{{source: {{class: generator, parameters: {{rate: 100, count: 4, size: 16}}}}, \
             sink: {{class: tells-secrets, parameters: {{how: {how}, {takes}}}}}, retry: {{attempts: 2}}}}"
        ),
    )
}

#[test]
fn what_was_planted_is_found_in_nothing_that_the_system_writes() {
    let [(_, in_file), (_, stdin), (_, variable), (_, document)] = CANARIES;
    let (mut ferrule, port) = loud(&[("CANARY", variable)]);
    let file = ferrule.folder().join("planted");
    fs::write(&file, in_file).unwrap();
    let from_file = format!("file={}", file.display());
    let mut said = String::new();
    let mut tell = |words: &[&str]| {
        let answer = ferrule.run(words);
        said.push_str(&format!("$ {words:?}\n{}\n{}\n", answer.out, answer.err));
        answer
    };
    let words = [
        "create",
        "secret",
        "planted",
        "--from-file",
        &from_file,
        "--from-stdin",
        "stdin",
        "--from-env",
        "variable=CANARY",
    ];
    let made = ferrule.feed(&words, format!("{stdin}\n").as_bytes()).ok();
    fs::remove_file(&file).unwrap();
    assert!(found_in(made.out.as_bytes()).is_empty() && found_in(made.err.as_bytes()).is_empty(), "{made:?}");
    let secret =
        format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: written}}\nstringData: {{document: {document}}}\n");
    ferrule.apply(&secret).ok();
    let guest = root().join("target/test-guests/tells-secrets.wasm");
    tell(&["register", guest.to_str().unwrap(), "--grant"]).ok();
    // Nobody granted it: it says so, and is given nothing.
    let refused = ferrule.feed(&["diff", "-f", "-"], secret.replace(document, &format!("{document}2")).as_bytes());
    assert!(refused.out.contains("changed") && found_in(refused.out.as_bytes()).is_empty(), "{refused:?}");
    let hows = ["shows", "fails", "invalid", "panics"];
    for how in hows {
        let answer = ferrule.apply(&pipeline(how, "planted")).ok();
        assert!(found_in(format!("{answer:?}").as_bytes()).is_empty(), "{answer:?}");
    }
    let problem = ferrule.apply(&pipeline("problem", "planted"));
    assert!(
        problem.code != 0 && problem.err.contains("****") && found_in(problem.err.as_bytes()).is_empty(),
        "{problem:?}"
    );
    // Documents in which something is wrong, with a value at hand.
    for wrong in [
        format!("stringData: {{a: {document}, a: {document}}}"),
        format!("stringData: {{a: *{document}}}"),
        format!("stringData: {{a: [{document}]}}"),
        format!("data: {{a: {document}}}"),
        format!("stringData: {{a: {document}}}\nmore: {document}"),
    ] {
        let answer = ferrule.apply(&format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: wrong}}\n{wrong}\n"));
        assert!(answer.code != 0 && found_in(answer.err.as_bytes()).is_empty(), "{wrong}: {answer:?}");
    }

    // Each guest has shown what it has: in the log, as its status, an alert, a number, an error, a panic, a reason.
    until("dead letters", || (ferrule.run(&["deadletter", "list", "-o", "json"]).out.contains("****")).then_some(()));
    for how in &hows[1..] {
        let stream = format!("{how}-sink");
        ferrule.wait("stream", &stream, "failing", |object| {
            condition(object, "Ready")
                .is_some_and(|ready| ready["message"].as_str().is_some_and(|text| text.contains("****")))
        });
    }
    until("the denied connection in the audit", || ferrule.run(&["audit"]).out.contains("****.example").then_some(()));
    let logs = ferrule.run(&["logs", "shows-sink", "-o", "json"]).ok().out;
    assert!(logs.contains("****") && logs.contains(r#""target":"stderr""#), "{logs}");
    let numbers = metrics(port);
    assert!(numbers.contains("value=\"****\""), "{numbers}");

    let mut tell = |words: &[&str]| {
        let answer = ferrule.run(words);
        said.push_str(&format!("$ {words:?}\n{}\n{}\n", answer.out, answer.err));
    };
    for format in ["json", "yaml", "table"] {
        for words in [
            &["status"][..],
            &["get", "all"],
            &["get", "secrets"],
            &["get", "secret", "planted"],
            &["get", "all", "--original"],
            &["describe", "secret", "planted"],
            &["describe", "secret", "written"],
            &["describe", "stream", "shows-sink"],
            &["describe", "stream", "fails-sink"],
            &["describe", "stream", "panics-sink"],
            &["describe", "pipeline", "shows"],
            &["logs"],
            &["audit"],
            &["deadletter", "list"],
            &["deadletter", "show", "1"],
        ] {
            tell(&[words, &["-o", format]].concat());
        }
    }
    let backup = ferrule.folder().join("backup.tar");
    let with_key = ferrule.folder().join("with-key.tar");
    tell(&["backup", backup.to_str().unwrap()]);
    tell(&["backup", with_key.to_str().unwrap(), "--with-secret-key"]);
    said.push_str(&metrics(port));
    assert!(said.contains("**** (21 bytes)"), "{said}");
    assert_eq!(found_in(said.as_bytes()), Vec::<String>::new(), "{said}");

    // The whole folder of the test: the data folder, what the server wrote to its outputs, and the backups.
    let key = fs::read_to_string(ferrule.folder().join("data/secret.key")).unwrap();
    assert_eq!(fs::metadata(ferrule.folder().join("data/secret.key")).unwrap().permissions().mode() & 0o777, 0o600);
    let has_key = |path: &Path| {
        let bytes = fs::read(path).unwrap();
        bytes.windows(64).any(|window| window == key.trim().as_bytes())
    };
    assert!(!has_key(&backup) && has_key(&with_key));
    assert!(!ferrule.log().contains(key.trim()) && ferrule.log().contains("****"));
    let check = |ferrule: &Ferrule| {
        let (mut found, mut files) = (Vec::new(), 0);
        search(ferrule.folder(), &mut found, &mut files);
        assert!(files > 5, "{files}");
        assert_eq!(found, Vec::<String>::new());
    };
    check(&ferrule);
    ferrule.terminate();
    check(&ferrule);
}

#[test]
fn a_stream_starts_by_itself_when_its_secret_and_the_grant_come() {
    let ferrule = Ferrule::start();
    let guest = root().join("target/test-guests/tells-secrets.wasm");
    ferrule.run(&["register", guest.to_str().unwrap()]).ok();
    ferrule.apply(&pipeline("shows", "late")).ok();
    let message = ferrule.reason("stream", "shows-sink", "SecretMissing");
    assert!(message.contains("there is no secret `late` yet") && message.contains("FE0210"), "{message}");

    let create = |value: &str, more: &[&str]| {
        let file = ferrule.file("value", value);
        let from = |key: &str| format!("{key}={}", file.display());
        let (one, two, three) = (from("file"), from("stdin"), from("variable"));
        let words = ["create", "secret", "late", "--from-file", &one, "--from-file", &two, "--from-file", &three];
        ferrule.run(&[&words, more].concat())
    };
    create("first-value", &[]).ok();
    let message = ferrule.reason("stream", "shows-sink", "SecretNotGranted");
    let start = message.find("spec: ").unwrap_or_else(|| panic!("no words in: {message}"));
    let spec = message[start + 6..].split(" (FE").next().unwrap();
    // The words of the message, as a document.
    ferrule.apply(&native("Grant", "words", spec)).ok();
    // What the guest writes to standard output, with the values masked.
    let opened = |ferrule: &Ferrule| {
        let lines = ferrule.run(&["logs", "shows-sink", "-o", "json"]).out;
        lines.lines().filter(|line| line.contains(r#""target":"stdout""#) && line.contains("****")).count()
    };
    let first = until("the session that was given it", || Some(opened(&ferrule)).filter(|lines| *lines > 0));

    create("second-value", &[]).fails(4, &["FE0204"]);
    create("second-value", &["--replace"]).ok();
    until("another session, with the new value", || (opened(&ferrule) > first).then_some(()));
    ferrule.run(&["delete", "secret", "late"]).fails(4, &["FE0202", "stream shows-sink"]);
    let logs = ferrule.run(&["logs"]).out;
    assert!(!logs.contains("first-value") && !logs.contains("second-value"), "{logs}");
}

#[test]
fn a_backup_without_its_key_says_so_and_runs_when_the_key_is_put_back() {
    let mut ferrule = Ferrule::start();
    ferrule.apply("apiVersion: v1\nkind: Secret\nmetadata: {name: login}\nstringData: {password: hunter2}\n").ok();
    let backup = ferrule.folder().join("backup.tar").display().to_string();
    ferrule.run(&["backup", &backup]).ok();
    ferrule.terminate();
    let data = ferrule.folder().join("data");
    let old = ferrule.folder().join("old");
    fs::rename(&data, &old).unwrap();
    let restored = ferrule.run(&["restore", &backup]).ok();
    assert!(restored.err.contains("secret.key"), "{restored:?}");
    assert!(!data.join("secret.key").exists());
    ferrule.up();
    let message = ferrule.reason("secret", "login", "SecretUnreadable");
    assert!(message.contains("FE0214"), "{message}");
    ferrule.terminate();
    fs::copy(old.join("secret.key"), data.join("secret.key")).unwrap();
    ferrule.up();
    ferrule.reason("secret", "login", "Accepted");
}
