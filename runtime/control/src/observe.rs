//! From what the flow tells of itself to conditions and facts.

use std::collections::BTreeMap;

use ferrule_flow::{
    Alert, CrashLoop, FlowSnapshot, GuestSnapshot, PipelineSnapshot, RolledBack, StreamSnapshot, StreamState,
};
use ferrule_model::component::Direction;
use ferrule_model::conditions::types;
use ferrule_model::{Code, Kind, Truth};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::finding::Finding;
use crate::log::word;
use crate::runner::{Observation, Observed};

/// The condition type that says whether the outside system of an ingress stream gives again what was not settled.
const REPLAYABLE: &str = "Replayable";

pub(crate) fn observe(snapshot: &FlowSnapshot) -> Observed {
    let streams = snapshot.streams.values().map(|seen| ((Kind::Stream, seen.uid.clone()), stream(seen)));
    let pipelines = snapshot.pipelines.values().map(|seen| ((Kind::Pipeline, seen.uid.clone()), pipeline(seen)));
    streams.chain(pipelines).collect()
}

fn stream(seen: &StreamSnapshot) -> Observation {
    let guest = &seen.guest;
    let mut findings = vec![ready(guest)];
    findings.extend(health(guest));
    findings.extend(refused(guest));
    findings.extend(rolled_back(guest));
    findings.extend(limit_reached(guest));
    findings.extend(crash_loop(guest));
    if guest.state == StreamState::Held {
        findings.push(drained(seen.unsettled));
    }
    if let (Direction::Ingress, Some(replayable)) = (seen.direction, seen.replayable) {
        findings.push(if replayable {
            Finding::new(REPLAYABLE, true, "Replayable", "what is not settled is given again")
        } else {
            let message = "the outside system does not give again what was taken in and not delivered: it is lost if this process dies";
            Finding::new(REPLAYABLE, false, "NotReplayable", message)
        });
    }
    let mut facts = guest_facts(guest);
    if let Some(replayable) = seen.replayable {
        facts.insert("replayable".to_owned(), replayable.into());
    }
    if seen.direction == Direction::Ingress {
        facts.insert("durability".to_owned(), word(seen.durability).into());
    }
    let counters = json!({
        "held": seen.usage.next_offset - seen.usage.first_offset, "heldBytes": seen.usage.bytes,
        "unreadBytes": seen.usage.unread_bytes, "dropped": seen.usage.dropped,
        "records": seen.records, "bytes": seen.bytes,
        "recordsPerSecond": rate(seen.records_per_second), "bytesPerSecond": rate(seen.bytes_per_second),
        "unsettled": seen.unsettled, "refusals": guest.refusals, "memoryBytes": guest.memory_bytes,
    });
    Observation { findings, facts, counters }
}

fn pipeline(seen: &PipelineSnapshot) -> Observation {
    let detail = seen.detail.clone();
    let mut findings = vec![match seen.state {
        "running" => Finding::new(types::READY, true, "Running", detail),
        "paused" => Finding::new(types::READY, true, "Paused", detail),
        "waiting" => Finding::new(types::READY, false, "Waiting", detail),
        "failed" => Finding::new(types::READY, false, "Failed", detail),
        _ => Finding::new(types::READY, false, "Stopped", detail),
    }];
    if seen.state == "paused" {
        findings.push(drained(seen.in_flight));
    }
    findings.extend(seen.steps.iter().find_map(|(_, step)| refused(step)));
    findings.extend(seen.steps.iter().find_map(|(_, step)| rolled_back(step)));
    findings.extend(seen.steps.iter().find_map(|(_, step)| limit_reached(step)));
    findings.extend(seen.steps.iter().find_map(|(_, step)| crash_loop(step)));
    let mut facts = Map::new();
    facts.insert("state".to_owned(), seen.state.into());
    facts.insert("restarts".to_owned(), seen.restarts.into());
    if let Some(error) = &seen.last_error {
        facts.insert("lastError".to_owned(), json!({"message": error}));
    }
    let steps: Map<_, _> =
        seen.steps.iter().map(|(name, step)| (name.clone(), Value::Object(guest_facts(step)))).collect();
    if !steps.is_empty() {
        facts.insert("stepStates".to_owned(), Value::Object(steps));
    }
    insert_alerts(&mut facts, &seen.alerts);
    let counters = json!({
        "lag": seen.lag, "lagBytes": seen.lag_bytes, "duplicates": seen.duplicates, "inFlight": seen.in_flight, "delivered": seen.delivered, "deliveredBytes": seen.delivered_bytes,
        "filtered": seen.filtered, "dead": seen.dead, "dropped": seen.dropped, "retried": seen.retried,
        "recordsPerSecond": rate(seen.records_per_second), "bytesPerSecond": rate(seen.bytes_per_second),
    });
    Observation { findings, facts, counters }
}

fn ready(guest: &GuestSnapshot) -> Finding {
    let (truth, reason) = match guest.state {
        StreamState::Starting => (Truth::Unknown, "Starting"),
        StreamState::Opening => (Truth::Unknown, "Opening"),
        StreamState::Running => (Truth::True, "Running"),
        StreamState::Held => (Truth::True, "Paused"),
        StreamState::NoPipeline => (Truth::False, "NoPipeline"),
        StreamState::BackingOff => (Truth::False, "BackingOff"),
        StreamState::Failed => (Truth::False, "Failed"),
        StreamState::Stopped => (Truth::False, "Stopped"),
    };
    let error = guest.last_error.as_deref().filter(|error| truth == Truth::False && !guest.detail.contains(error));
    let parts: Vec<&str> =
        error.into_iter().chain(Some(guest.detail.as_str())).filter(|part| !part.is_empty()).collect();
    Finding::new(types::READY, truth, reason, parts.join("; "))
}

fn health(guest: &GuestSnapshot) -> Option<Finding> {
    let health = guest.health.as_ref()?;
    let reason = if health.healthy { "Healthy" } else { "Unhealthy" };
    Some(Finding::new(types::HEALTHY, health.healthy, reason, health.message.clone()))
}

fn refused(guest: &GuestSnapshot) -> Option<Finding> {
    let refusal = guest.last_refusal.as_ref()?;
    Some(Finding::new(types::REFUSED, true, "Refused", format!("{}\n{}", refusal.message, refusal.remedy)))
}

fn rolled_back(guest: &GuestSnapshot) -> Option<Finding> {
    let rolled_back = guest.rolled_back.as_ref()?;
    let reason = if rolled_back.opened { "FailedFirstBatches" } else { "DoesNotOpen" };
    Some(Finding::new(types::ROLLED_BACK, true, reason, rolled_back.message.clone()))
}

/// Which limit, its value, and the field that raises it.
fn limit_reached(guest: &GuestSnapshot) -> Option<Finding> {
    let breach = guest.limit_reached.as_ref()?;
    let word = breach.limit.word();
    let reason: String = word.chars().take(1).flat_map(char::to_uppercase).chain(word.chars().skip(1)).collect();
    Some(Finding::new(types::LIMIT_REACHED, true, &reason, format!("{breach} [{}]", Code::LimitReached)))
}

/// What happened last, and when it is tried again.
fn crash_loop(guest: &GuestSnapshot) -> Option<Finding> {
    let CrashLoop { failures, next_ms } = guest.crash_loop.as_ref()?;
    let last = guest.last_error.as_deref().unwrap_or("nobody knows why");
    let next = Timestamp::from_millisecond(*next_ms).map(|next| next.strftime("%H:%M:%SZ").to_string());
    let message = format!(
        "it failed {failures} times in a row; tried again at {}; the last time: {last}",
        next.unwrap_or_default()
    );
    Some(Finding::new(types::CRASH_LOOP, true, "FailsAgainAndAgain", message))
}

fn drained(left: u64) -> Finding {
    match left {
        0 => Finding::new(types::DRAINED, true, "Drained", "nothing is in flight"),
        _ => Finding::new(types::DRAINED, false, "Draining", "records are in flight"),
    }
}

fn guest_facts(guest: &GuestSnapshot) -> Map<String, Value> {
    let mut facts = Map::new();
    facts.insert("state".to_owned(), guest.state.as_str().into());
    facts.insert("since".to_owned(), time(guest.since_ms));
    facts.insert("restarts".to_owned(), guest.restarts.into());
    if let Some(error) = &guest.last_error {
        let at = guest.last_error_ms.map_or(Value::Null, time);
        facts.insert("lastError".to_owned(), json!({"message": error, "time": at}));
    }
    if let Some(RolledBack { refused, running, message, .. }) = &guest.rolled_back {
        facts.insert("rolledBack".to_owned(), json!({"refused": refused, "running": running, "message": message}));
    }
    insert_alerts(&mut facts, &guest.alerts);
    facts
}

fn insert_alerts(facts: &mut Map<String, Value>, raised: &BTreeMap<String, Alert>) {
    if raised.is_empty() {
        return;
    }
    let alerts = raised.iter().map(|(name, alert)| {
        let severity = format!("{:?}", alert.severity).to_lowercase();
        (name.clone(), json!({"severity": severity, "message": alert.message}))
    });
    facts.insert("alerts".to_owned(), Value::Object(alerts.collect()));
}

fn time(milliseconds: i64) -> Value {
    Timestamp::from_millisecond(milliseconds).map_or(Value::Null, |time| time.to_string().into())
}

/// One decimal: more would differ at every look.
fn rate(per_second: f64) -> Value {
    json!((per_second * 10.0).round() / 10.0)
}

#[cfg(test)]
mod tests {
    use ferrule_host::{Health, Refusal};
    use ferrule_model::Uid;

    use super::*;

    fn guest(state: StreamState) -> GuestSnapshot {
        GuestSnapshot {
            component: "sha256:1".into(),
            state,
            detail: String::new(),
            since_ms: 0,
            health: None,
            alerts: Default::default(),
            restarts: 3,
            last_error: Some("broken pipe".into()),
            last_error_ms: Some(1_000),
            rolled_back: None,
            refusals: 0,
            last_refusal: None,
            suppressed_log_lines: 0,
            memory_bytes: 1,
            peak_memory_bytes: 1,
            calls: 0,
            computed: std::time::Duration::ZERO,
            transferred: Vec::new(),
            limits: Vec::new(),
            limit_reached: None,
            crash_loop: None,
            metrics: Vec::new(),
        }
    }

    fn seen(guest: GuestSnapshot) -> StreamSnapshot {
        StreamSnapshot {
            uid: Uid::from("s"),
            name: "s".into(),
            direction: Direction::Ingress,
            guest,
            records: 10,
            bytes: 100,
            records_per_second: 1.234,
            bytes_per_second: 12.0,
            replayable: Some(false),
            unsettled: 0,
            durability: ferrule_flow::plan::Durability::Disk,
            usage: ferrule_flow::Usage::default(),
            revision: 1,
        }
    }

    fn finding<'a>(observation: &'a Observation, kind: &str) -> Option<&'a Finding> {
        observation.findings.iter().find(|finding| finding.kind == kind)
    }

    #[test]
    fn states_become_conditions() {
        for (state, truth, reason, message) in [
            (StreamState::Opening, Truth::Unknown, "Opening", ""),
            (StreamState::Running, Truth::True, "Running", ""),
            (StreamState::Held, Truth::True, "Paused", ""),
            (StreamState::BackingOff, Truth::False, "BackingOff", "broken pipe"),
            (StreamState::Failed, Truth::False, "Failed", "broken pipe"),
        ] {
            let observation = stream(&seen(guest(state)));
            let ready = finding(&observation, types::READY).unwrap();
            assert_eq!((ready.status, ready.reason.as_str(), ready.message.as_str()), (truth, reason, message));
            assert_eq!(finding(&observation, types::DRAINED).is_some(), state == StreamState::Held);
            assert_eq!(observation.facts["restarts"], 3);
            assert_eq!(observation.facts["durability"], "fsync");
            assert_eq!(observation.facts["lastError"]["time"], "1970-01-01T00:00:01Z");
            assert_eq!(observation.counters["recordsPerSecond"], 1.2);
            assert!(finding(&observation, REPLAYABLE).unwrap().message.contains("lost"));
        }
    }

    #[test]
    fn why_and_until_when_it_backs_off_is_one_message() {
        let mut waits = guest(StreamState::BackingOff);
        waits.detail = "next attempt in 4 s".into();
        let observation = stream(&seen(waits));
        assert_eq!(finding(&observation, types::READY).unwrap().message, "broken pipe; next attempt in 4 s");
    }

    #[test]
    fn what_the_guest_says_and_what_it_was_refused_is_shown() {
        let mut says = guest(StreamState::Running);
        says.health = Some(Health { healthy: false, message: "next attempt in 4 s".into() });
        says.last_refusal = Some(Refusal {
            code: ferrule_model::Code::NetDenied,
            guest: "s".into(),
            kind: "tcp".into(),
            host: "h".into(),
            address: None,
            port: 1,
            message: "s may not connect to h:1".into(),
            remedy: "grant it".into(),
        });
        says.rolled_back = Some(RolledBack {
            refused: "sha256:2".into(),
            running: "sha256:1".into(),
            opened: true,
            message: "2 failed, so 1 goes on".into(),
        });
        let observation = stream(&seen(says));
        let back = finding(&observation, types::ROLLED_BACK).unwrap();
        assert_eq!((back.status, back.reason.as_str()), (Truth::True, "FailedFirstBatches"));
        assert_eq!(
            (back.message.as_str(), &observation.facts["rolledBack"]["running"]),
            ("2 failed, so 1 goes on", &json!("sha256:1"))
        );
        let health = finding(&observation, types::HEALTHY).unwrap();
        assert_eq!((health.status, health.message.as_str()), (Truth::False, "next attempt in 4 s"));
        assert_eq!(finding(&observation, types::REFUSED).unwrap().message, "s may not connect to h:1\ngrant it");
    }

    #[test]
    fn a_limit_and_a_loop_of_crashes_become_conditions() {
        let mut loops = guest(StreamState::BackingOff);
        loops.limit_reached = Some(ferrule_host::Limits::default().breach(ferrule_host::Limit::CallTime));
        loops.crash_loop = Some(CrashLoop { failures: 7, next_ms: 3_661_000 });
        let observation = stream(&seen(loops));
        let limit = finding(&observation, types::LIMIT_REACHED).unwrap();
        assert_eq!(limit.reason, "CallTime");
        assert!(limit.message.contains("5s; change it with `limits.callTime` [FE0503]"), "{}", limit.message);
        let crashes = finding(&observation, types::CRASH_LOOP).unwrap();
        assert_eq!(crashes.message, "it failed 7 times in a row; tried again at 01:01:01Z; the last time: broken pipe");
    }
}
