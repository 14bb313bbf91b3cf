//! Turns, sleep and waking of the streams of one pipeline, over the memory log.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;

use async_trait::async_trait;
use ferrule_model::ids::Uid;
use ferrule_model::record::{BatchBuilder, RecordRef};
use ferrule_transport::{Arrivals, Cursor, Log, LogReader, MemoryLog, ReaderId, StartAt};

use super::*;
use crate::acks::Acks;

/// Counts how often its reader is asked.
struct Counted {
    reader: Box<dyn LogReader>,
    asked: Arc<AtomicUsize>,
}

#[async_trait]
impl LogReader for Counted {
    async fn next(&mut self, max_records: u32, max_bytes: u64) -> Result<Entries, LogError> {
        self.asked.fetch_add(1, SeqCst);
        self.reader.next(max_records, max_bytes).await
    }

    fn arrivals(&self) -> Option<Arrivals> {
        self.reader.arrivals()
    }

    fn commit(&mut self, cursor: &Cursor) {
        self.reader.commit(cursor);
    }

    fn position(&self) -> u64 {
        self.reader.position()
    }

    fn skips(&self) -> &[Range<u64>] {
        self.reader.skips()
    }

    fn lag(&self) -> Lag {
        self.reader.lag()
    }
}

fn uid(number: usize) -> Uid {
    Uid::from(format!("stream-{number}"))
}

async fn append(log: &MemoryLog, number: usize, records: usize) {
    let mut batch = BatchBuilder::default();
    for _ in 0..records {
        batch.push(&RecordRef { payload: b"payload", ..RecordRef::default() }).unwrap();
    }
    log.append(&uid(number), batch.finish(), None).await.unwrap();
}

/// So many streams, and how often each was asked.
async fn sources(log: &MemoryLog, many: usize) -> (Sources, Vec<Arc<AtomicUsize>>) {
    let mut sources = Sources::default();
    let mut asked = Vec::new();
    for number in 0..many {
        let acks = Arc::new(Acks::default());
        let slot = acks.attach(&Uid::from("pipeline")).unwrap();
        let reader = log.reader(&uid(number), ReaderId::Named("pipeline".into()), StartAt::Oldest).await.unwrap();
        let counter = Arc::new(AtomicUsize::new(0));
        asked.push(counter.clone());
        let reader = Box::new(Counted { reader, asked: counter });
        sources.push(SourceSide::new(uid(number), acks, slot, reader, None));
    }
    (sources, asked)
}

async fn read(sources: &mut Sources) -> (usize, usize) {
    let (index, entries) = sources.next(10, u64::MAX).await;
    let entries = entries.unwrap();
    sources.get_mut(index).unwrap().progress.take(entries.first_offset, entries.records.len());
    (index, entries.records.len())
}

#[tokio::test]
async fn a_stream_that_always_has_records_keeps_no_other_waiting() {
    let log = MemoryLog::default();
    let (mut sources, _) = sources(&log, 3).await;
    append(&log, 0, 1_000).await;
    append(&log, 2, 1).await;
    assert_eq!(read(&mut sources).await, (0, 10));
    assert_eq!(read(&mut sources).await, (2, 1));
    assert_eq!(read(&mut sources).await, (0, 10));
    // One that slept has its turn too.
    append(&log, 1, 1).await;
    let next = [read(&mut sources).await.0, read(&mut sources).await.0];
    assert!(next.contains(&1), "{next:?}");
}

#[tokio::test]
async fn streams_without_records_are_not_asked_until_they_have_some() {
    let log = MemoryLog::default();
    let (mut sources, asked) = sources(&log, 100).await;
    append(&log, 7, 1_000).await;
    for _ in 0..100 {
        assert_eq!(read(&mut sources).await, (7, 10));
    }
    let most = asked.iter().enumerate().filter(|(index, _)| *index != 7).map(|(_, asked)| asked.load(SeqCst)).max();
    assert_eq!(most, Some(2), "asked once, and once more after it listened");

    // A call that is given up has read nothing, and forgets nobody.
    assert!(sources.next(10, u64::MAX).now_or_never().is_none());
    append(&log, 99, 3).await;
    append(&log, 7, 1).await;
    let mut next = [read(&mut sources).await, read(&mut sources).await];
    next.sort_unstable();
    assert_eq!(next, [(7, 1), (99, 3)]);

    // What comes while it waits wakes it.
    let (read, ()) = tokio::join!(read(&mut sources), append(&log, 50, 2));
    assert_eq!(read, (50, 2));
}

#[tokio::test]
async fn what_is_open_and_done_is_counted_for_all() {
    let log = MemoryLog::default();
    let (mut sources, _) = sources(&log, FEW + 10).await;
    append(&log, 0, 10).await;
    append(&log, 20, 5).await;
    assert_eq!(sources.lag().records, 15);
    read(&mut sources).await;
    read(&mut sources).await;
    assert_eq!(sources.open(), 15);
    sources.get_mut(20).unwrap().progress.done_all(0..3);
    assert_eq!(sources.open(), 12, "before it is told");
    sources.commit();
    assert_eq!(sources.open(), 12);
    // The lag of many is looked at now and then, and never forgotten.
    let lag = sources.lag();
    assert!(lag.records == 0 || sources.next_look().is_some(), "{lag:?}");
    let reader = log.reader(&uid(20), ReaderId::Named("pipeline".into()), StartAt::Oldest).await.unwrap();
    assert_eq!(reader.position(), 3, "the cursor was saved");
}
