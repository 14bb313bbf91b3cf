//! What every store must do, as checks to run against any of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed check is a failed test")]

use std::sync::Arc;

use ferrule_model::conditions::types;
use ferrule_model::{Condition, Kind, Object, Status, Uid};
use jiff::Timestamp;
use serde_json::json;

use crate::{Event, Precondition, Principal, Selector, Store, StoreError, Version, WatchError};

/// How many deletions the stores under test remember.
pub const TOMBSTONES: usize = 8;

/// Runs every check, each against a store of its own. `make` gives an empty store that remembers [`TOMBSTONES`] deletions.
pub async fn run<S, F>(make: impl Fn() -> F)
where
    S: Store,
    F: Future<Output = S>,
{
    create_and_read(&make().await).await;
    generation_and_versions(&make().await).await;
    compare_and_set(&make().await).await;
    status(&make().await).await;
    writes_that_change_nothing(&make().await).await;
    deletion(&make().await).await;
    finalizers(&make().await).await;
    selection(&make().await).await;
    watching(&make().await).await;
    watching_too_late(&make().await).await;
    many_writers(Arc::new(make().await)).await;
    closing(make().await).await;
}

/// An object to write.
pub fn stream(name: &str) -> Object {
    Object::new(Kind::Stream, name, json!({"instance": "hall", "direction": "INGRESS"})).unwrap()
}

fn me() -> Principal {
    Principal::new("conformance")
}

fn version(object: &Object) -> String {
    assert!(!object.metadata.resource_version.is_empty(), "a stored object has a resource version");
    object.metadata.resource_version.clone()
}

async fn create_and_read(store: &impl Store) {
    let created = store.create(&me(), stream("a")).await.unwrap();
    assert!(!created.metadata.uid.is_unset(), "a uid is made up");
    assert_eq!(created.metadata.generation, 1);
    assert!(created.metadata.creation_timestamp.is_some());
    assert!(created.metadata.managed_fields[0].to_string().contains("conformance"), "the principal is recorded");
    let read = store.get(Kind::Stream, &created.metadata.uid).await.unwrap();
    assert_eq!(read, Some(created.clone()));
    assert_eq!(store.get(Kind::Pipeline, &created.metadata.uid).await.unwrap(), None, "the kind is part of the key");

    let mut chosen = stream("b");
    chosen.metadata.uid = Uid::from("tenant-cat-data-type");
    assert_eq!(store.create(&me(), chosen.clone()).await.unwrap().metadata.uid.as_str(), "tenant-cat-data-type");
    let again = store.create(&me(), chosen).await;
    assert!(matches!(again, Err(StoreError::AlreadyExists { .. })), "{again:?}");
    // Names need not be unique: what they mean is decided elsewhere.
    store.create(&me(), stream("b")).await.unwrap();
}

async fn generation_and_versions(store: &impl Store) {
    let first = store.create(&me(), stream("a")).await.unwrap();
    let mut changed = Object::clone(&first);
    changed.metadata.labels.insert("hall".into(), "1".into());
    let labelled = store.update(&me(), changed).await.unwrap();
    assert_eq!(labelled.metadata.generation, 1, "metadata alone is no new generation");
    let mut changed = Object::clone(&labelled);
    changed.spec = json!({"instance": "hall", "direction": "INGRESS", "paused": true});
    changed.metadata.generation = 77;
    let respecified = store.update(&me(), changed).await.unwrap();
    assert_eq!(respecified.metadata.generation, 2, "a changed spec is the next generation");
    assert_eq!(respecified.metadata.creation_timestamp, first.metadata.creation_timestamp);
    let versions = [&first, &labelled, &respecified].map(|object| Version::of(object).unwrap());
    assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
    assert_eq!(store.list(None, &Selector::all()).await.unwrap().version, versions[2]);
}

async fn compare_and_set(store: &impl Store) {
    let first = store.create(&me(), stream("a")).await.unwrap();
    let mut mine = Object::clone(&first);
    mine.spec["note"] = json!("mine");
    let mut theirs = Object::clone(&first);
    theirs.spec["note"] = json!("theirs");
    store.update(&me(), mine).await.unwrap();
    let conflict = store.update(&me(), theirs.clone()).await;
    assert!(matches!(conflict, Err(StoreError::Conflict { .. })), "{conflict:?}");
    theirs.metadata.resource_version.clear();
    let unread = store.update(&me(), theirs).await;
    assert!(matches!(unread, Err(StoreError::Invalid { .. })), "{unread:?}");
    let stored = store.get(Kind::Stream, &first.metadata.uid).await.unwrap().unwrap();
    assert_eq!(stored.spec["note"], "mine");
    let mut absent = stream("c");
    absent.metadata.uid = Uid::random();
    absent.metadata.resource_version = version(&stored);
    let missing = store.update(&me(), absent).await;
    assert!(matches!(missing, Err(StoreError::NotFound { .. })), "{missing:?}");
}

fn observed(message: &str) -> Status {
    let mut status = Status { observed_generation: 1, ..Status::default() };
    status.set(Condition::new(types::READY, true, "Open", message, 1, Timestamp::UNIX_EPOCH));
    status
}

async fn status(store: &impl Store) {
    let first = store.create(&me(), stream("a")).await.unwrap();
    let uid = &first.metadata.uid;
    let second = store.update_status(&me(), Kind::Stream, uid, &version(&first), observed("x")).await.unwrap();
    assert_eq!(second.metadata.generation, 1, "a status is no new generation");
    assert_ne!(version(&first), version(&second));
    assert!(second.status.holds(types::READY));
    let late = store.update_status(&me(), Kind::Stream, uid, &version(&first), observed("y")).await;
    assert!(matches!(late, Err(StoreError::Conflict { .. })), "{late:?}");
    let mut update = Object::clone(&second);
    update.status = Status::default();
    update.spec["note"] = json!(1);
    let third = store.update(&me(), update).await.unwrap();
    assert_eq!(third.status, second.status, "an update leaves the status alone");
}

async fn writes_that_change_nothing(store: &impl Store) {
    let first = store.create(&me(), stream("a")).await.unwrap();
    let same = store.update(&Principal::new("another"), Object::clone(&first)).await.unwrap();
    assert_eq!(first, same);
    let uid = &first.metadata.uid;
    let status = store.update_status(&me(), Kind::Stream, uid, &version(&first), first.status.clone()).await.unwrap();
    assert_eq!(first, status);
}

async fn deletion(store: &impl Store) {
    let first = store.create(&me(), stream("a")).await.unwrap();
    let uid = first.metadata.uid.clone();
    let wrong = Precondition { resource_version: Some("999999".into()) };
    let refused = store.delete(&me(), Kind::Stream, &uid, &wrong).await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
    let right = Precondition { resource_version: Some(version(&first)) };
    store.delete(&me(), Kind::Stream, &uid, &right).await.unwrap();
    assert_eq!(store.get(Kind::Stream, &uid).await.unwrap(), None);
    let again = store.delete(&me(), Kind::Stream, &uid, &Precondition::default()).await;
    assert!(matches!(again, Err(StoreError::NotFound { .. })), "{again:?}");
    let mut reborn = stream("a");
    reborn.metadata.uid = uid;
    assert_eq!(store.create(&me(), reborn).await.unwrap().metadata.generation, 1, "the uid is free again");
}

async fn finalizers(store: &impl Store) {
    let mut object = stream("a");
    object.metadata.finalizers = vec!["drain".into()];
    let first = store.create(&me(), object).await.unwrap();
    let uid = first.metadata.uid.clone();
    let marked = store.delete(&me(), Kind::Stream, &uid, &Precondition::default()).await.unwrap();
    assert!(marked.metadata.deletion_timestamp.is_some());
    assert_eq!(marked.metadata.generation, 2);
    let twice = store.delete(&me(), Kind::Stream, &uid, &Precondition::default()).await.unwrap();
    assert_eq!(marked, twice, "deleting what is being deleted changes nothing");
    let mut more = Object::clone(&marked);
    more.metadata.finalizers.push("another".into());
    let refused = store.update(&me(), more).await;
    assert!(matches!(refused, Err(StoreError::Invalid { .. })), "{refused:?}");
    let mut done = Object::clone(&marked);
    done.metadata.finalizers.clear();
    store.update(&me(), done).await.unwrap();
    assert_eq!(store.get(Kind::Stream, &uid).await.unwrap(), None, "the last finalizer takes the object with it");
}

async fn selection(store: &impl Store) {
    for (name, namespace, hall) in [("a", "plant", "1"), ("b", "plant", "2"), ("a", "office", "1")] {
        let mut object = stream(name);
        object.metadata.namespace = Some(namespace.into());
        object.metadata.labels.insert("hall".into(), hall.into());
        object.spec["hall"] = json!({"number": hall.parse::<u32>().unwrap(), "open": true});
        store.create(&me(), object).await.unwrap();
    }
    store.create(&me(), Object::new(Kind::Category, "a", json!({})).unwrap()).await.unwrap();
    for (kind, selector, count) in [
        (None, Selector::all(), 4),
        (Some(Kind::Stream), Selector::all(), 3),
        (Some(Kind::Stream), Selector::named("a"), 2),
        (Some(Kind::Stream), Selector::named("a").within("plant"), 1),
        (None, Selector::all().within(""), 1),
        (None, Selector::all().label("hall", "1"), 2),
        (None, Selector::all().label("hall", "1").within("office"), 1),
        (None, Selector::all().field("spec.hall.number", "2"), 1),
        (None, Selector::all().field("spec.hall.open", "true"), 3),
        (None, Selector::all().field("spec.direction", "EGRESS"), 0),
        (None, Selector::all().field("metadata.name", "b"), 1),
        (None, Selector::all().field("spec.nothing", "x"), 0),
    ] {
        let found = store.list(kind, &selector).await.unwrap().objects.len();
        assert_eq!(found, count, "{kind:?} {selector:?}");
    }
}

async fn watching(store: &impl Store) {
    let before = store.create(&me(), stream("before")).await.unwrap();
    let listing = store.list(None, &Selector::all()).await.unwrap();
    let mut all = store.watch(Version::START);
    assert!(
        matches!(all.next().await, Ok(Event::Put(object)) if object == before),
        "what is there already comes first"
    );
    let mut watch = store.watch(listing.version);
    let principal = me();
    let (event, created) = tokio::join!(watch.next(), store.create(&principal, stream("after")));
    let created = created.unwrap();
    assert!(matches!(event, Ok(Event::Put(object)) if object == created), "a waiting watcher is woken");
    store.delete(&me(), Kind::Stream, &before.metadata.uid, &Precondition::default()).await.unwrap();
    let mut changed = Object::clone(&created);
    changed.spec["note"] = json!(1);
    let changed = store.update(&me(), changed).await.unwrap();
    let Ok(Event::Delete(gone)) = watch.next().await else { panic!("a deletion leaves a tombstone") };
    assert_eq!(gone.metadata.uid, before.metadata.uid);
    assert!(matches!(watch.next().await, Ok(Event::Put(object)) if object == changed));
    assert_eq!(watch.version(), Version::of(&changed).unwrap());
    // A watcher that comes late sees the last state of each object, in order.
    let mut late = store.watch(listing.version);
    let events = late.ready().unwrap();
    assert!(matches!(&events[..], [Event::Delete(_), Event::Put(object)] if *object == changed), "{events:?}");
    assert!(late.ready().unwrap().is_empty());
}

async fn watching_too_late(store: &impl Store) {
    store.create(&me(), stream("first")).await.unwrap();
    let early = store.list(None, &Selector::all()).await.unwrap().version;
    for round in 0..TOMBSTONES + 1 {
        let object = store.create(&me(), stream(&format!("s{round}"))).await.unwrap();
        store.delete(&me(), Kind::Stream, &object.metadata.uid, &Precondition::default()).await.unwrap();
    }
    let late = store.watch(early).next().await;
    let Err(WatchError::TooOld { from, oldest }) = late else { panic!("expected to be told to list again: {late:?}") };
    assert!(from == early && oldest > early);
    assert!(store.watch(oldest).next().await.is_ok());
    let now = store.list(None, &Selector::all()).await.unwrap().version;
    assert!(store.watch(now).ready().unwrap().is_empty());
}

async fn many_writers(store: Arc<impl Store>) {
    let object = store.create(&me(), stream("counter")).await.unwrap();
    let uid = object.metadata.uid.clone();
    let (writers, rounds) = (8, 10);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..writers {
        let (store, uid) = (store.clone(), uid.clone());
        tasks.spawn(async move {
            for _ in 0..rounds {
                loop {
                    let mut object = Object::clone(&store.get(Kind::Stream, &uid).await.unwrap().unwrap());
                    object.spec["count"] = json!(object.spec["count"].as_u64().unwrap_or(0) + 1);
                    match store.update(&me(), object).await {
                        Ok(_) => break,
                        Err(StoreError::Conflict { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let object = store.get(Kind::Stream, &uid).await.unwrap().unwrap();
    assert_eq!(object.spec["count"], writers * rounds, "no write was lost");
    assert_eq!(object.metadata.generation, 1 + writers * rounds);
}

async fn closing(store: impl Store) {
    let mut watch = store.watch(Version::START);
    drop(store);
    assert_eq!(watch.next().await.err(), Some(WatchError::Closed));
}
