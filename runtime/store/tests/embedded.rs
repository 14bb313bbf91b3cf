//! What only a store on disk has to prove: that it outlives its process, and that it refuses files it should not touch.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use ferrule_model::{Kind, Object, Uid};
use ferrule_store::{EmbeddedStore, FORMAT, Precondition, Principal, Selector, Store, StoreError, Version};
use redb::{Database, TableDefinition};
use serde_json::json;

fn me() -> Principal {
    Principal::new("test")
}

fn numbered(number: u64) -> Object {
    let spec = json!({"values": [number.to_string()]});
    let mut object = Object::new(Kind::Category, format!("n{number}"), spec).unwrap();
    object.metadata.uid = Uid::from(format!("uid-{number}"));
    object
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.redb");
    let store = EmbeddedStore::open(&path).await.unwrap();
    let kept = store.create(&me(), numbered(1)).await.unwrap();
    let gone = store.create(&me(), numbered(2)).await.unwrap();
    let seen = store.list(None, &Selector::all()).await.unwrap().version;
    store.delete(&me(), Kind::Category, &gone.metadata.uid, &Precondition::default()).await.unwrap();
    drop(store);

    let store = EmbeddedStore::open(&path).await.unwrap();
    let listing = store.list(None, &Selector::all()).await.unwrap();
    assert_eq!(listing.objects, [kept]);
    let events = store.watch(seen).ready().unwrap();
    assert_eq!(events.len(), 1, "the deletion is still told to a watcher from before: {events:?}");
    let next = store.create(&me(), numbered(3)).await.unwrap();
    assert!(Version::of(&next).unwrap() > listing.version, "versions go on, also past a deletion");
}

#[tokio::test]
async fn a_second_server_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.redb");
    let first = EmbeddedStore::open(&path).await.unwrap();
    let second = EmbeddedStore::open(&path).await;
    let Err(error @ StoreError::Locked { .. }) = second else { panic!("{second:?}") };
    assert!(error.to_string().contains("in use by another server"), "{error}");
    drop(first);
    EmbeddedStore::open(&path).await.unwrap();
}

#[tokio::test]
async fn a_newer_format_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.redb");
    drop(EmbeddedStore::open(&path).await.unwrap());
    let database = Database::open(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    let meta: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
    transaction.open_table(meta).unwrap().insert("format", FORMAT + 1).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let opened = EmbeddedStore::open(&path).await;
    let Err(error @ StoreError::NewerFormat { .. }) = opened else { panic!("{opened:?}") };
    assert!(error.to_string().contains("newer release"), "{error}");
}

#[tokio::test]
async fn other_files_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("notes.txt");
    std::fs::write(&text, "not a database, and longer than any header could be ".repeat(400)).unwrap();
    let opened = EmbeddedStore::open(&text).await;
    assert!(matches!(opened, Err(StoreError::NotAStore { .. })), "{opened:?}");
    assert!(std::fs::read_to_string(&text).unwrap().starts_with("not a database"));

    let foreign = folder.path().join("foreign.redb");
    let database = Database::create(&foreign).unwrap();
    let transaction = database.begin_write().unwrap();
    let other: TableDefinition<'_, &str, &str> = TableDefinition::new("other");
    transaction.open_table(other).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let opened = EmbeddedStore::open(&foreign).await;
    assert!(matches!(opened, Err(StoreError::NotAStore { .. })), "{opened:?}");

    let nowhere = EmbeddedStore::open(folder.path().join("no/such/folder/state.redb")).await;
    assert!(matches!(nowhere, Err(StoreError::Backend { .. })), "{nowhere:?}");
}

/// Where the child of the next test writes; absent in an ordinary run, which leaves the child's part out.
const CHILD: &str = "FERRULE_TEST_STORE_TO_KILL";

/// The child: writes numbered objects, and says each number once its write has returned.
#[tokio::test]
async fn child_that_writes_until_it_is_killed() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let store = EmbeddedStore::open(Path::new(&path)).await.unwrap();
    let start = store.list(None, &Selector::all()).await.unwrap().objects.len() as u64;
    for number in start.. {
        match store.create(&me(), numbered(number)).await {
            // One number may have been written and not said before the last kill.
            Ok(_) | Err(StoreError::AlreadyExists { .. }) => println!("\nwritten {number}"),
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_to_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.redb");
    let mut acknowledged = 0;
    for enough in [7, 31, 64] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_writes_until_it_is_killed", "--nocapture", "--test-threads=1"])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut said = |line: String| line.strip_prefix("written ").and_then(|number| number.parse::<u64>().ok());
        let mut count = 0;
        for number in output.by_ref().filter_map(&mut said) {
            acknowledged = number + 1;
            count += 1;
            if count >= enough {
                break;
            }
        }
        assert_eq!(count, enough, "the child wrote");
        child.kill().unwrap();
        child.wait().unwrap();
        // What it said before it died counts too.
        acknowledged = output.filter_map(said).map(|number| number + 1).max().unwrap_or(acknowledged);

        let store = EmbeddedStore::open(&path).await.unwrap();
        for number in 0..acknowledged {
            let uid = Uid::from(format!("uid-{number}"));
            let object = store.get(Kind::Category, &uid).await.unwrap();
            let object = object.unwrap_or_else(|| panic!("{number} of {acknowledged} is lost"));
            assert_eq!(object.spec, json!({"values": [number.to_string()]}));
        }
        let there = store.list(None, &Selector::all()).await.unwrap().objects.len() as u64;
        assert!(there == acknowledged || there == acknowledged + 1, "{there} stored, {acknowledged} acknowledged");
    }
}

#[tokio::test]
async fn a_copy_is_a_store_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(folder.path().join("state.redb")).await.unwrap();
    let kept = store.create(&me(), numbered(1)).await.unwrap();
    let gone = store.create(&me(), numbered(2)).await.unwrap();
    store.delete(&me(), Kind::Category, &gone.metadata.uid, &Precondition::default()).await.unwrap();
    let then = store.list(None, &Selector::all()).await.unwrap();
    let path = folder.path().join("copy.redb");
    store.copy_into(std::fs::File::create_new(&path).unwrap()).unwrap();
    store.create(&me(), numbered(3)).await.unwrap();

    let copy = EmbeddedStore::open(&path).await.unwrap();
    let listing = copy.list(None, &Selector::all()).await.unwrap();
    assert_eq!((listing.objects, listing.version), (vec![kept], then.version));
    assert_eq!(copy.watch(Version::START).ready().unwrap().len(), 2, "the deletion is known");
}
