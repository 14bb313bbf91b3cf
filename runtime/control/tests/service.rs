//! The loop: follows the store, has it run, writes back what is seen, and never trips over its own writes.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use ferrule_control::{Applied, Control, ControlOptions, Finding, Observation, Observed, Runner, Wanted};
use ferrule_model::conditions::types;
use ferrule_model::{Kind, Object, Truth, Uid};
use ferrule_store::{MemoryStore, Precondition, Principal, Store, Version};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::timeout;

/// Runs nothing, and remembers what it was asked to run.
#[derive(Default)]
struct Fake {
    state: Mutex<State>,
    asked: Notify,
}

#[derive(Default)]
struct State {
    applied: Vec<Wanted>,
    observed: Observed,
    again: bool,
}

impl Fake {
    fn state<T>(&self, with: impl FnOnce(&mut State) -> T) -> T {
        with(&mut self.state.lock().unwrap())
    }
}

#[async_trait]
impl Runner for Fake {
    async fn apply(&self, wanted: &Wanted) -> Applied {
        let again = self.state(|state| {
            state.applied.push(wanted.clone());
            state.again
        });
        self.asked.notify_waiters();
        Applied { unable: HashMap::new(), again }
    }

    async fn observe(&self) -> Observed {
        self.state(|state| state.observed.clone())
    }
}

fn me() -> Principal {
    Principal::new("test")
}

fn object(kind: Kind, name: &str, spec: Value) -> Object {
    let mut object = Object::new(kind, name, spec).unwrap();
    object.metadata.uid = Uid::from(name);
    object
}

/// A component, a class, an instance, two streams and a pipeline `p` between them.
fn documents() -> Vec<Object> {
    let describes = json!({
        "name": "echo", "version": "1.0.0", "summary": "", "directions": ["ingress", "egress"], "schemas": [],
        "capabilities": [], "reads": 1, "routes": [], "properties": []
    });
    vec![
        object(
            Kind::Component,
            "echo",
            json!({"version": "1.0.0", "digest": "sha256:1", "size": 1, "world": "connector", "describes": describes}),
        ),
        object(Kind::Class, "echo", json!({})),
        object(Kind::Instance, "i", json!({"class": "echo"})),
        object(Kind::Stream, "in", json!({"instance": "i", "direction": "INGRESS"})),
        object(Kind::Stream, "out", json!({"instance": "i", "direction": "EGRESS"})),
        object(Kind::Pipeline, "p", json!({"source": "in", "sink": "out"})),
    ]
}

struct Rig {
    store: Arc<MemoryStore>,
    fake: Arc<Fake>,
    control: Control,
}

impl Rig {
    fn start() -> Self {
        let (store, fake) = (Arc::new(MemoryStore::new()), Arc::new(Fake::default()));
        let options = ControlOptions {
            refresh: Duration::from_millis(20),
            retry: Duration::from_millis(20),
            ..ControlOptions::default()
        };
        let control = Control::start(store.clone(), fake.clone(), options);
        Self { store, fake, control }
    }

    async fn create(&self, object: Object) -> Arc<Object> {
        self.store.create(&me(), object).await.unwrap()
    }

    async fn done(&self, object: &Object) {
        let wait = self.control.reconciled(Version::of(object).unwrap());
        timeout(Duration::from_secs(20), wait).await.unwrap().unwrap();
    }

    async fn get(&self, kind: Kind, uid: &str) -> Arc<Object> {
        self.store.get(kind, &Uid::from(uid)).await.unwrap().unwrap()
    }

    /// Waits until the object is as wanted.
    async fn until(&self, kind: Kind, uid: &str, wanted: impl Fn(&Object) -> bool) -> Arc<Object> {
        let mut watch = self.store.watch(Version::START);
        let wait = async {
            loop {
                let object = watch.next().await.unwrap().object().clone();
                if object.kind == kind && object.uid().as_str() == uid && wanted(&object) {
                    return object;
                }
            }
        };
        timeout(Duration::from_secs(20), wait).await.unwrap()
    }
}

#[tokio::test]
async fn documents_become_a_plan_and_conditions() {
    let rig = Rig::start();
    let mut last = None;
    for object in documents() {
        last = Some(rig.create(object).await);
    }
    rig.done(&last.unwrap()).await;
    let wanted = rig.fake.state(|state| state.applied.last().unwrap().clone());
    assert_eq!((wanted.streams.len(), wanted.pipelines.len()), (2, 1));
    let stream = rig.get(Kind::Stream, "in").await;
    assert!(stream.status.holds(types::RESOLVED));
    assert_eq!(stream.status.observed_generation, 1);
    assert_eq!(stream.status.condition(types::READY).unwrap().status, Truth::Unknown);
    assert_eq!(stream.metadata.generation, 1, "a status is no new generation");
    rig.control.stop().await;
    assert!(
        rig.control.reconciled(Version::of(&stream).unwrap()).await.is_err()
            || rig.control.version() >= Version::of(&stream).unwrap()
    );
}

#[tokio::test]
async fn changes_and_deletions_are_followed() {
    let rig = Rig::start();
    for object in documents() {
        rig.create(object).await;
    }
    let pipeline = rig.get(Kind::Pipeline, "p").await;
    let mut paused = Object::clone(&pipeline);
    // Its status may be written meanwhile.
    let paused = loop {
        paused.spec["paused"] = json!(true);
        match rig.store.update(&me(), paused).await {
            Ok(object) => break object,
            Err(_) => paused = Object::clone(&*rig.get(Kind::Pipeline, "p").await),
        }
    };
    rig.done(&paused).await;
    assert!(rig.fake.state(|state| state.applied.last().unwrap().pipelines[0].paused));
    let object = rig.until(Kind::Pipeline, "p", |object| object.status.observed_generation == 2).await;
    assert!(object.status.holds(types::PAUSED));

    let gone = rig.store.delete(&me(), Kind::Stream, &Uid::from("out"), &Precondition::default()).await.unwrap();
    rig.done(&gone).await;
    assert!(rig.fake.state(|state| state.applied.last().unwrap().pipelines.is_empty()));
    let object = rig.get(Kind::Pipeline, "p").await;
    assert_eq!(object.status.condition(types::READY).unwrap().reason, "ReferenceMissing");

    let back = rig.create(object_of("out")).await;
    rig.done(&back).await;
    assert_eq!(rig.fake.state(|state| state.applied.last().unwrap().pipelines.len()), 1);
    rig.control.stop().await;
}

fn object_of(name: &str) -> Object {
    documents().into_iter().find(|object| object.name() == name).unwrap()
}

#[tokio::test]
async fn what_is_observed_is_written_and_own_writes_are_no_change() {
    let rig = Rig::start();
    let mut last = None;
    for object in documents() {
        last = Some(rig.create(object).await);
    }
    rig.done(&last.unwrap()).await;
    let turns = rig.fake.state(|state| {
        let observation = Observation {
            findings: vec![Finding {
                kind: types::READY,
                status: Truth::True,
                reason: "Open".into(),
                message: String::new(),
                problem: None,
            }],
            facts: [("restarts".to_owned(), json!(2))].into_iter().collect(),
            counters: json!({"records": 7}),
        };
        state.observed.insert((Kind::Stream, Uid::from("in")), observation);
        state.applied.len()
    });
    let seen = rig.until(Kind::Stream, "in", |object| object.status.holds(types::READY)).await;
    assert_eq!(seen.status.details["restarts"], 2);
    // A write of somebody else's status is no change either; a label is none.
    let version = Version::of(&seen).unwrap();
    timeout(Duration::from_secs(20), rig.control.reconciled(version)).await.unwrap().unwrap();
    assert_eq!(rig.fake.state(|state| state.applied.len()), turns, "statuses are no reason to resolve again");
    // Counts alone wait for their time; a condition does not.
    rig.fake.state(|state| {
        let observation = state.observed.get_mut(&(Kind::Stream, Uid::from("in"))).unwrap();
        observation.findings[0].status = Truth::False;
        observation.findings[0].reason = "Failed".into();
    });
    let seen = rig
        .until(Kind::Stream, "in", |object| {
            object.status.condition(types::READY).is_some_and(|ready| ready.reason == "Failed")
        })
        .await;
    assert_eq!(seen.status.details["counters"]["records"], 7);
    rig.control.stop().await;
}

#[tokio::test]
async fn what_could_not_be_applied_is_tried_again() {
    let rig = Rig::start();
    rig.fake.state(|state| state.again = true);
    let created = rig.create(object_of("i")).await;
    rig.done(&created).await;
    let before = rig.fake.state(|state| state.applied.len());
    let tried = async {
        loop {
            let asked = rig.fake.asked.notified();
            if rig.fake.state(|state| state.applied.len()) >= before + 2 {
                break;
            }
            asked.await;
        }
    };
    timeout(Duration::from_secs(20), tried).await.unwrap();
    rig.control.stop().await;
}
