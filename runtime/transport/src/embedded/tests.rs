//! The embedded log against the conformance suite, and over its own files.

use std::sync::atomic::{AtomicI64, Ordering};

use tempfile::TempDir;

use super::*;
use crate::conformance;
use crate::log::{Cursor, Keep};

/// A log, and the folder that goes with it.
fn log(folder: &TempDir, name: &str, largest: usize) -> EmbeddedLog {
    let options = Options { largest_record: largest, ..Options::new(folder.path().join(name)) };
    EmbeddedLog::open(options).unwrap()
}

#[tokio::test]
async fn it_keeps_the_contract_of_a_log() {
    let folder = TempDir::new().unwrap();
    for durability in [Durability::Process, Durability::System, Durability::Disk] {
        let count = std::cell::Cell::new(0);
        let make = async |largest| {
            count.set(count.get() + 1);
            log(&folder, &format!("{durability:?}-{}", count.get()), largest)
        };
        conformance::run_at(durability, make).await.unwrap();
    }
}

#[tokio::test]
async fn it_keeps_the_contract_of_a_log_that_lasts() {
    for durability in [Durability::System, Durability::Disk] {
        let folder = TempDir::new().unwrap();
        conformance::run_lasting(durability, async || log(&folder, "lasting", 1 << 20)).await.unwrap();
    }
}

#[tokio::test]
async fn a_second_process_is_kept_out() {
    let folder = TempDir::new().unwrap();
    let first = log(&folder, "log", 500);
    let options = Options::new(folder.path().join("log"));
    assert!(matches!(EmbeddedLog::open(options.clone()), Err(OpenError::InUse(_))));
    first.close().await;
    EmbeddedLog::open(options).unwrap();
}

#[tokio::test]
async fn a_newer_format_and_a_foreign_file_are_refused() {
    let folder = TempDir::new().unwrap();
    log(&folder, "log", 500).close().await;
    let path = folder.path().join("log").join(segment::name(1));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[8] = 2;
    let crc = crc32c::crc32c(&bytes[..36]);
    bytes[36..40].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&path, &bytes).unwrap();
    let refused = EmbeddedLog::open(Options::new(folder.path().join("log"))).unwrap_err();
    assert!(matches!(refused, OpenError::Newer { found: 2, known: 1, .. }), "{refused}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes, "it is left as it was");
    std::fs::write(&path, b"something else entirely, and long enough to have a header").unwrap();
    let refused = EmbeddedLog::open(Options::new(folder.path().join("log"))).unwrap_err();
    assert!(matches!(refused, OpenError::Foreign(_)), "{refused}");
}

fn batch(text: &str) -> Batch {
    Batch::of([text]).unwrap()
}

#[tokio::test]
async fn what_was_in_memory_goes_along_when_a_stream_is_to_last() {
    let folder = TempDir::new().unwrap();
    let log = log(&folder, "log", 500);
    let stream = Uid::new("stream");
    let named = ReaderId::Named("pipeline".into());
    let mut reader = log.reader(&stream, named.clone(), StartAt::Latest).await.unwrap();
    for text in ["a", "b", "c"] {
        log.append(&stream, batch(text), Some(text.into())).await.unwrap();
    }
    reader.next(1, 100).await.unwrap();
    reader.commit(&Cursor { low: 1, done: Vec::new() });
    log.configure(&stream, StreamOptions::new(Durability::Disk));
    assert_eq!(reader.next(1, 100).await, Err(LogError::Closed));
    assert_eq!(log.append(&stream, batch("d"), None).await.unwrap().first_offset, 3);
    let mut reader = log.reader(&stream, named, StartAt::Latest).await.unwrap();
    for (offset, text) in [(1, "b"), (2, "c"), (3, "d")] {
        let entries = reader.next(10, 100).await.unwrap();
        assert_eq!((entries.first_offset, entries.records.record(0).payload), (offset, text.as_bytes()));
    }
    assert_eq!(log.position(&stream).await.unwrap(), Some(b"c".to_vec()));
}

#[tokio::test]
async fn what_was_read_is_kept_by_bytes_and_by_age() {
    let folder = TempDir::new().unwrap();
    let time = Arc::new(AtomicI64::new(1_000));
    let clock = time.clone();
    let clock: Clock = Arc::new(move || clock.load(Ordering::Relaxed));
    let log = EmbeddedLog::open(Options { clock, ..Options::new(folder.path()) }).unwrap();
    let stream = Uid::new("stream");
    let age = std::time::Duration::from_secs(60);
    let keep = Keep { bytes: 3, age, even_unread: false };
    let options = StreamOptions { keep, ..StreamOptions::new(Durability::System) };
    log.configure(&stream, options);
    for text in ["a", "b", "c", "d", "e"] {
        log.append(&stream, batch(text), None).await.unwrap();
    }
    assert_eq!(log.usage(&stream).first_offset, 0, "nobody has read it");
    let mut first = log.reader(&stream, ReaderId::Named("first".into()), StartAt::Oldest).await.unwrap();
    first.commit(&Cursor { low: 5, done: Vec::new() });
    drop(first);
    log.forget_reader(&stream, "first");
    assert_eq!(log.usage(&stream).first_offset, 2, "three bytes are kept");
    let mut reader = log.reader(&stream, ReaderId::Named("pipeline".into()), StartAt::Oldest).await.unwrap();
    assert_eq!(reader.position(), 2);
    time.store(200_000, Ordering::Relaxed);
    log.append(&stream, batch("f"), None).await.unwrap();
    assert_eq!(log.usage(&stream).first_offset, 2, "what is unread stays, however old");
    reader.commit(&Cursor { low: 4, done: Vec::new() });
    assert_eq!(log.usage(&stream).first_offset, 4);
    log.configure(&stream, StreamOptions { keep: Keep { even_unread: true, ..keep }, ..options });
    assert_eq!((log.usage(&stream).first_offset, log.usage(&stream).dropped), (5, 1), "unless the policy says so");
    assert_eq!(reader.next(10, 100).await.unwrap().first_offset, 5);
}

#[tokio::test]
async fn an_old_segment_with_little_in_it_goes() {
    let folder = TempDir::new().unwrap();
    let mut log = EmbeddedLog::open(Options { segment_bytes: 20_000, ..Options::new(folder.path()) }).unwrap();
    let (slow, fast) = (Uid::new("slow"), Uid::new("fast"));
    for stream in [&slow, &fast] {
        let keep = Keep { bytes: 0, ..Keep::default() };
        log.configure(stream, StreamOptions { keep, ..StreamOptions::new(Durability::System) });
    }
    let slow_reader = log.reader(&slow, ReaderId::Named("slow".into()), StartAt::Oldest).await.unwrap();
    let mut fast_reader = log.reader(&fast, ReaderId::Named("fast".into()), StartAt::Oldest).await.unwrap();
    let held = batch("held for long");
    log.append(&slow, held.clone(), None).await.unwrap();
    let large = "x".repeat(1_000);
    let first = folder.path().join(segment::name(1));
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while first.exists() {
        assert!(std::time::Instant::now() < deadline, "the first segment is never removed");
        let offset = log.append(&fast, batch(&large), None).await.unwrap().first_offset;
        fast_reader.commit(&Cursor { low: offset + 1, done: Vec::new() });
    }
    drop((slow_reader, fast_reader));
    for _ in 0..2 {
        let mut reader = log.reader(&slow, ReaderId::Passing, StartAt::Oldest).await.unwrap();
        let entries = reader.next(10, 100).await.unwrap();
        assert_eq!((entries.first_offset, entries.records), (0, held.clone()));
        log.close().await;
        log = EmbeddedLog::open(Options { segment_bytes: 20_000, ..Options::new(folder.path()) }).unwrap();
        assert_eq!(log.health().findings, Vec::<String>::new());
    }
}
