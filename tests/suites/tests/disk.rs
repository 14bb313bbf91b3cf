//! What the server does, and says, when its disk is full or damaged.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use ferrule_suites::{Ferrule, until};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

fn status(ferrule: &Ferrule) -> Value {
    serde_json::from_str(&ferrule.run(&["status", "-o", "json"]).ok().out).unwrap()
}

fn pipeline(name: &str, source: &str) -> String {
    format!(
        "apiVersion: connector.ferrule.dev/v1
kind: Pipeline
metadata: {{name: {name}}}
spec: {{source: {{class: generator, parameters: {source}}}, sink: {{class: blackhole}}, start: beginning}}
"
    )
}

/// No file of the server may be longer than 8 MiB until somebody says otherwise: for the log that is a disk without room, and nobody
/// needs to be root for it.
#[test]
fn a_full_disk_holds_sources_back_until_there_is_room() {
    const COUNT: u64 = 30_000;
    if !Command::new("prlimit").arg("--version").output().is_ok_and(|answer| answer.status.success()) {
        eprintln!("skipped: needs prlimit (util-linux)");
        return;
    }
    let mut ferrule = Ferrule::start();
    ferrule.terminate();
    // The write fails; without this the signal that comes with it would end the server.
    ferrule.set_wrapper(&["sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh", "prlimit", "--fsize=8388608:"]);
    ferrule.up();
    ferrule.apply(&pipeline("flood", &format!("{{rate: 0, size: 1000, count: {COUNT}}}"))).ok();
    let trouble = |status: &Value| status["log"]["trouble"].as_str().map(str::to_owned);
    let told = until("the log is in trouble", || trouble(&status(&ferrule)));
    assert!(told.contains("cannot be written") && told.contains(".seg"), "{told}");
    // What is in the log is delivered all the same, and then everything waits.
    let mut before = 0;
    let full = until("everything waits", || {
        let status = status(&ferrule);
        let pipeline = &status["pipelines"][0];
        let delivered = pipeline["delivered"].as_u64().unwrap();
        let waits = pipeline["lag"] == 0 && pipeline["inFlight"] == 0 && delivered == before;
        before = delivered;
        waits.then_some(status)
    });
    assert!(before > 0 && before < COUNT, "{before} were delivered");
    let stream = full["streams"].as_array().unwrap().iter().find(|stream| stream["name"] == "flood-source").unwrap();
    assert_eq!(
        (&stream["state"], &stream["alerts"][0]["severity"]),
        (&"running".into(), &"critical".into()),
        "{stream}"
    );
    assert!(stream["alerts"][0]["message"].as_str().unwrap().contains("the log takes nothing"), "{stream}");
    let shown = ferrule.run(&["status"]).ok().out;
    assert!(shown.contains("alert: the log (embedded) takes nothing, and sources are held back"), "{shown}");
    let room = Command::new("prlimit").args(["--fsize=unlimited", "--pid", &ferrule.id().to_string()]).status();
    assert!(room.unwrap().success());
    until("all records", || (status(&ferrule)["pipelines"][0]["delivered"] == COUNT).then_some(()));
    let after = status(&ferrule);
    assert_eq!(trouble(&after), None);
    assert_eq!((&after["pipelines"][0]["deadLettered"], &after["pipelines"][0]["dropped"]), (&0.into(), &0.into()));
    assert!(after["streams"].as_array().unwrap().iter().all(|stream| stream["alerts"].as_array().unwrap().is_empty()));
}

/// The file of the log that has these bytes, and where.
fn find(ferrule: &Ferrule, needle: &[u8]) -> Option<(PathBuf, usize)> {
    fs::read_dir(ferrule.folder().join("data/log")).unwrap().find_map(|entry| {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).ok()?;
        let at = bytes.windows(needle.len()).position(|window| window == needle)?;
        Some((path, at))
    })
}

#[test]
fn a_damaged_log_is_a_state_of_the_pipeline_and_it_is_told_to_go_on_behind_it() {
    let mut ferrule = Ferrule::start();
    ferrule.apply(&pipeline("steady", "{rate: 300, size: 64}").replace("start:", "paused: true, start:")).ok();
    let accepted = |ferrule: &Ferrule| {
        let status = status(ferrule);
        let streams = status["streams"].as_array().unwrap();
        streams.iter().find(|stream| stream["name"] == "steady-source").and_then(|stream| stream["records"].as_u64())
    };
    until("records in the log", || accepted(&ferrule).filter(|accepted| *accepted > 300));
    assert!(ferrule.terminate().success());
    let (path, at) = find(&ferrule, br#"{"sequence":150,"#).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[at + 13] ^= 1;
    fs::write(&path, bytes).unwrap();
    ferrule.up();
    ferrule.run(&["resume", "pipeline", "steady"]).ok();
    let ready = |pipeline: &Value| {
        let conditions = pipeline["conditions"].as_array().unwrap();
        conditions.iter().find(|condition| condition["type"] == "Ready").unwrap().clone()
    };
    // The condition follows the state.
    let failed = until("it is failed", || {
        let pipeline = status(&ferrule)["pipelines"][0].clone();
        (pipeline["state"] == "failed" && ready(&pipeline)["status"] == "False").then_some(pipeline)
    });
    let told = failed["lastError"].as_str().unwrap();
    assert!(
        told.contains("the log is damaged at") && told.contains(path.file_name().unwrap().to_str().unwrap()),
        "{told}"
    );
    let shown = ferrule.run(&["status"]).ok().out;
    assert!(shown.contains("failed"), "{shown}");
    let condition = ready(&failed);
    // What is before the damage was delivered, and the message says where to go on.
    let delivered = failed["delivered"].as_u64().unwrap();
    assert!((1..=150).contains(&delivered), "{delivered}");
    let to = condition["message"].as_str().unwrap().rsplit_once("offset ").unwrap().1;
    let to: String = to.chars().take_while(char::is_ascii_digit).collect();
    let from = to.parse::<u64>().unwrap();
    assert!(from > 150, "{condition}");
    ferrule.run(&["pipeline", "rewind", "steady", "--to", &format!("offset:{to}")]).ok();
    until("what is behind it", || {
        (status(&ferrule)["pipelines"][0]["delivered"].as_u64().unwrap() > delivered + 100).then_some(())
    });
    ferrule.ready("pipeline", "steady");
}

#[test]
fn data_of_a_newer_release_is_refused_and_left_as_it_is() {
    let mut ferrule = Ferrule::start();
    ferrule.apply(&pipeline("steady", "{rate: 300, size: 64}")).ok();
    until("records", || (status(&ferrule)["pipelines"][0]["delivered"].as_u64() > Some(0)).then_some(()));
    assert!(ferrule.terminate().success());
    let data = ferrule.folder().join("data");
    let refused = |words: &[&str]| {
        let answer = ferrule.run(&["serve", "--no-metrics"]);
        assert_ne!(answer.code, 0);
        for word in words.iter().copied().chain(["use that release"]) {
            assert!(answer.err.contains(word), "no {word:?} in {}", answer.err);
        }
    };
    let format = data.join("format");
    let known = fs::read_to_string(&format).unwrap();
    fs::write(&format, "1000\n").unwrap();
    refused(&[data.to_str().unwrap(), "format 1000", &format!("up to {}", known.trim())]);
    assert_eq!(fs::read_to_string(&format).unwrap(), "1000\n");
    fs::write(&format, known).unwrap();
    // A segment of the log begins with 8 bytes of magic, its format, and ends its header with a checksum.
    let (segment, _) = find(&ferrule, br#"{"sequence":0,"#).unwrap();
    let right = fs::read(&segment).unwrap();
    let mut wrong = right.clone();
    wrong[8..12].copy_from_slice(&1000_u32.to_le_bytes());
    let crc = crc32c(&wrong[..36]);
    wrong[36..40].copy_from_slice(&crc.to_le_bytes());
    fs::write(&segment, &wrong).unwrap();
    refused(&[segment.to_str().unwrap(), "format 1000", "up to 1"]);
    assert_eq!(fs::read(&segment).unwrap(), wrong);
    fs::write(&segment, right).unwrap();
    ferrule.up();
    until("it goes on", || (status(&ferrule)["pipelines"][0]["delivered"].as_u64() > Some(0)).then_some(()));
}

/// The checksum of RFC 3720, section 12.1, a bit at a time.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82F6_3B78 & 0_u32.wrapping_sub(crc & 1)))
    })
}
