//! What every log has to do, written against the trait. A backend is finished when [`run`] passes. What it holds, for how long, and what it
//! drops is in `retention`.

mod retention;

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

use async_trait::async_trait;
use ferrule_model::ids::Uid;
use ferrule_model::record::{Batch, Column, Headers, NO_TIMESTAMP};

use crate::log::{
    AppendReceipt, Bounds, Cursor, Durability, Guarantees, Health, Keep, Log, LogError, LogReader, ReaderId, Retention,
    StartAt, StreamOptions, Usage,
};

use retention::{
    counts_what_it_drops_unread, drops_the_newest, drops_the_oldest, holds_back_at_the_bound_of_bytes,
    holds_back_at_the_bound_of_records, keeps_after_reading_as_told, keeps_for_the_slowest_reader,
    keeps_what_nobody_has_read, takes_a_batch_over_the_bounds_when_empty, waits_for_a_reader,
};

/// What a stream of the suite may hold.
const BOUNDS: Bounds = Bounds { records: 4, bytes: 1_000 };

/// Runs the suite against logs that `make` makes, each empty and with this largest record.
///
/// An `Err` or a panic says that the log does not keep the contract.
pub async fn run<L: Log>(make: impl AsyncFn(usize) -> L) -> Result<(), LogError> {
    run_at(Durability::Process, make).await
}

/// Runs the suite with streams of this durability.
pub async fn run_at<L: Log>(durability: Durability, make: impl AsyncFn(usize) -> L) -> Result<(), LogError> {
    let fresh = async || {
        let log = At { log: make(500).await, durability };
        for stream in [stream(), other()] {
            log.configure(&stream, options(&log));
        }
        log
    };
    reads_in_order(&fresh().await).await?;
    cuts_to_what_is_wanted(&fresh().await).await?;
    holds_back_at_the_bound_of_records(&fresh().await).await?;
    holds_back_at_the_bound_of_bytes(&fresh().await).await?;
    takes_a_batch_over_the_bounds_when_empty(&fresh().await).await?;
    waits_for_a_reader(&fresh().await).await?;
    keeps_for_the_slowest_reader(&fresh().await).await?;
    starts_where_it_is_told(&fresh().await).await?;
    skips_what_the_cursor_says_is_done(&fresh().await).await?;
    refuses_a_record_that_is_too_large(&fresh().await).await?;
    forgets_a_stream(&fresh().await).await?;
    keeps_streams_apart(&fresh().await).await?;
    loses_nothing_of_a_dropped_call(&fresh().await).await?;
    a_named_reader_goes_on_where_it_was(&fresh().await).await?;
    a_named_reader_is_one(&fresh().await).await?;
    drops_the_oldest(&fresh().await).await?;
    drops_the_newest(&fresh().await).await?;
    saves_the_position_with_the_records(&fresh().await).await?;
    says_what_waits(&fresh().await).await?;
    takes_records_of_any_size(&fresh().await).await?;
    if fresh().await.guarantees(durability).retention == Retention::Kept {
        keeps_what_nobody_has_read(&fresh().await).await?;
        counts_what_it_drops_unread(&fresh().await).await?;
        keeps_after_reading_as_told(&fresh().await).await?;
    }
    Ok(())
}

/// Runs what only a log that lasts can pass: `open` opens the same log each time, the first time empty, with records of 1 MiB at
/// most; it was closed before.
pub async fn run_lasting<L: Log>(durability: Durability, open: impl AsyncFn() -> L) -> Result<(), LogError> {
    let stream = stream();
    let options = StreamOptions::new(durability);
    let batches = all_shapes()?;
    let done = Cursor { low: 1, done: std::iter::once(2..3).collect() };
    {
        let log = open().await;
        log.configure(&stream, options);
        let mut reader = log.reader(&stream, named(), StartAt::Latest).await?;
        for (index, batch) in batches.iter().enumerate() {
            log.append(&stream, batch.clone(), (index == 1).then(|| b"after the second".to_vec())).await?;
        }
        log.reader(&stream, ReaderId::Named("forgotten".into()), StartAt::Oldest).await?;
        log.forget_reader(&stream, "forgotten");
        log.configure(&other(), options);
        log.append(&other(), batch(&["gone"])?, None).await?;
        log.remove(&other());
        reader.next(1, 1).await?;
        reader.commit(&done);
        drop(reader);
        log.close().await;
        assert_eq!(log.append(&stream, batch(&["late"])?, None).await, Err(LogError::Closed));
    }
    let next: u64 = batches.iter().map(|batch| batch.len() as u64).sum();
    for more in 0..2 {
        let log = open().await;
        log.configure(&stream, options);
        assert_eq!(log.position(&stream).await?.as_deref(), Some(&b"after the second"[..]));
        assert_eq!((log.readers(&stream), log.usage(&other()).next_offset), (vec!["pipeline".to_owned()], 0));
        let mut reader = log.reader(&stream, named(), StartAt::Latest).await?;
        assert_eq!(reader.position(), 1, "it goes on where it was");
        assert_eq!(reader.next(10, 1 << 30).await?.first_offset, 1);
        assert_eq!(reader.next(10, 1 << 30).await?.first_offset, 3, "what is done is left out");
        let mut again = log.reader(&stream, ReaderId::Passing, StartAt::Oldest).await?;
        let mut offset = 0;
        for batch in &batches {
            let mut read = Vec::new();
            while read.iter().map(Batch::len).sum::<usize>() < batch.len() {
                let entries = again.next(u32::MAX, 1 << 30).await?;
                assert_eq!(entries.first_offset, offset);
                offset += entries.records.len() as u64;
                read.push(entries.records);
            }
            assert_eq!(&Batch::concat(&read)?, batch, "as it was appended");
        }
        assert_eq!(log.append(&stream, batch(&["more"])?, None).await?.first_offset, next + more, "offsets go on");
        log.close().await;
    }
    Ok(())
}

/// Batches of all shapes that there are: no bytes, the most bytes, empty columns, all columns.
fn all_shapes() -> Result<Vec<Batch>, LogError> {
    let largest = "x".repeat(1 << 20);
    let full = Batch {
        key: Column::of(["k", ""])?,
        headers: Column::of([Headers::from_iter([("n", b"v".to_vec())]).encode()?, Vec::new()])?,
        timestamps: vec![7, NO_TIMESTAMP].into(),
        tokens: vec![u64::MAX, 0].into(),
        upstream_ids: Column::of(["u", "w"])?,
        record_ids: Column::of(["", "id"])?,
        attempts: vec![1, 2].into(),
        extra: vec![(9, Column::of(["x", ""])?)],
        ..Batch::of(["one", "two"])?
    };
    Ok(vec![
        batch(&["a"])?,
        batch(&["b", "c", "d"])?,
        batch(&["", ""])?,
        batch(&[&largest, ""])?,
        full,
        Batch { count: 2, ..Batch::default() },
    ])
}

/// The options of the suite's streams: nothing is kept that was read, so that the bounds are seen in the usage.
fn options<L: Log>(log: &L) -> StreamOptions {
    let durability = log.guarantees(Durability::Process).durable;
    let keep = Keep { bytes: 0, ..Keep::default() };
    StreamOptions { bounds: BOUNDS, keep, ..StreamOptions::new(durability) }
}

/// A log whose streams have a certain durability, so that each test can ask for the least.
struct At<L> {
    log: L,
    durability: Durability,
}

#[async_trait]
impl<L: Log> Log for At<L> {
    fn name(&self) -> &'static str {
        self.log.name()
    }

    fn guarantees(&self, durability: Durability) -> Guarantees {
        self.log.guarantees(durability.max(self.durability))
    }

    fn configure(&self, stream: &Uid, options: StreamOptions) {
        self.log.configure(stream, options);
    }

    async fn append(&self, stream: &Uid, records: Batch, position: Option<Vec<u8>>) -> Result<AppendReceipt, LogError> {
        self.log.append(stream, records, position).await
    }

    async fn position(&self, stream: &Uid) -> Result<Option<Vec<u8>>, LogError> {
        self.log.position(stream).await
    }

    async fn reader(&self, stream: &Uid, id: ReaderId, start: StartAt) -> Result<Box<dyn LogReader>, LogError> {
        self.log.reader(stream, id, start).await
    }

    fn forget_reader(&self, stream: &Uid, name: &str) {
        self.log.forget_reader(stream, name);
    }

    fn readers(&self, stream: &Uid) -> Vec<String> {
        self.log.readers(stream)
    }

    fn usage(&self, stream: &Uid) -> Usage {
        self.log.usage(stream)
    }

    fn health(&self) -> Health {
        self.log.health()
    }

    fn remove(&self, stream: &Uid) {
        self.log.remove(stream);
    }

    fn streams(&self) -> Vec<Uid> {
        self.log.streams()
    }

    async fn close(&self) {
        self.log.close().await;
    }
}

fn other() -> Uid {
    Uid::new("other")
}

fn stream() -> Uid {
    Uid::new("stream")
}

fn batch(payloads: &[&str]) -> Result<Batch, LogError> {
    Ok(Batch::of(payloads)?)
}

fn texts(batch: &Batch) -> Vec<String> {
    batch.iter().map(|record| String::from_utf8_lossy(record.payload).into_owned()).collect()
}

fn below(low: u64) -> Cursor {
    Cursor { low, done: Vec::new() }
}

async fn is_pending<F: Future>(mut future: Pin<&mut F>) -> bool {
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_pending())).await
}

async fn reads_in_order<L: Log>(log: &L) -> Result<(), LogError> {
    let stream = stream();
    let Guarantees { ordered, .. } = log.guarantees(Durability::Process);
    assert!(ordered, "the suite is about logs that keep the order");
    let mut reader = log.reader(&stream, ReaderId::Passing, StartAt::Latest).await?;
    assert_eq!(reader.position(), 0);
    assert_eq!(log.append(&stream, batch(&["a", "b"])?, None).await?.first_offset, 0);
    assert_eq!(log.append(&stream, batch(&["c"])?, None).await?.first_offset, 2);
    assert_eq!(reader.lag().records, 3);
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let entries = reader.next(10, 1_000).await?;
        assert_eq!(entries.first_offset, seen.len() as u64);
        seen.extend(texts(&entries.records));
    }
    assert_eq!(seen, ["a", "b", "c"]);
    assert_eq!(reader.lag().records, 0);
    Ok(())
}

async fn cuts_to_what_is_wanted<L: Log>(log: &L) -> Result<(), LogError> {
    let stream = stream();
    let mut reader = log.reader(&stream, ReaderId::Passing, StartAt::Latest).await?;
    log.append(&stream, batch(&["aaaa", "bbbb", "cccc"])?, None).await?;
    assert_eq!(texts(&reader.next(1, 1_000).await?.records), ["aaaa"]);
    assert_eq!(texts(&reader.next(10, 1).await?.records), ["bbbb"], "the first record is exempt from the bytes");
    assert_eq!(texts(&reader.next(10, 8).await?.records), ["cccc"]);
    assert!(is_pending(pin!(reader.next(10, 8))).await);
    Ok(())
}

async fn starts_where_it_is_told<L: Log>(log: &L) -> Result<(), LogError> {
    let stream = stream();
    let keeper = log.reader(&stream, ReaderId::Passing, StartAt::Latest).await?;
    log.append(&stream, batch(&["a", "b"])?, None).await?;
    let mut oldest = log.reader(&stream, ReaderId::Passing, StartAt::Oldest).await?;
    let mut latest = log.reader(&stream, ReaderId::Passing, StartAt::Latest).await?;
    let mut at = log.reader(&stream, ReaderId::Passing, StartAt::Cursor(below(1))).await?;
    log.append(&stream, batch(&["c"])?, None).await?;
    assert_eq!(texts(&oldest.next(1, 1_000).await?.records), ["a"]);
    assert_eq!(texts(&latest.next(1, 1_000).await?.records), ["c"]);
    assert_eq!(texts(&at.next(1, 1_000).await?.records), ["b"]);
    drop(keeper);
    Ok(())
}

async fn skips_what_the_cursor_says_is_done<L: Log>(log: &L) -> Result<(), LogError> {
    let stream = stream();
    let keeper = log.reader(&stream, ReaderId::Passing, StartAt::Latest).await?;
    log.append(&stream, batch(&["a", "b", "c", "d"])?, None).await?;
    let cursor = Cursor { low: 0, done: vec![1..2, 3..4] };
    let mut reader = log.reader(&stream, ReaderId::Passing, StartAt::Cursor(cursor)).await?;
    assert_eq!(texts(&reader.next(10, 1_000).await?.records), ["a"]);
    let entries = reader.next(10, 1_000).await?;
    assert_eq!((entries.first_offset, texts(&entries.records)), (2, vec!["c".to_owned()]));
    assert!(is_pending(pin!(reader.next(10, 1_000))).await);
    drop(keeper);
    Ok(())
}

async fn refuses_a_record_that_is_too_large<L: Log>(log: &L) -> Result<(), LogError> {
    let stream = stream();
    let mut reader = log.reader(&stream, ReaderId::Passing, StartAt::Latest).await?;
    assert_eq!(log.guarantees(Durability::Process).largest_record, 500);
    let refused = log.append(&stream, batch(&["a", &"x".repeat(501)])?, None).await;
    assert_eq!(refused, Err(LogError::RecordTooLarge { index: 1, size: 501, limit: 500 }));
    log.append(&stream, batch(&["b"])?, None).await?;
    assert_eq!(texts(&reader.next(10, 1_000).await?.records), ["b"], "nothing of a refused batch is appended");
    Ok(())
}

async fn forgets_a_stream<L: Log>(log: &L) -> Result<(), LogError> {
    let stream = stream();
    let mut reader = log.reader(&stream, ReaderId::Passing, StartAt::Latest).await?;
    log.append(&stream, batch(&["a"])?, None).await?;
    reader.next(10, 1_000).await?;
    let mut next = pin!(reader.next(10, 1_000));
    assert!(is_pending(next.as_mut()).await);
    log.remove(&stream);
    assert_eq!(next.await, Err(LogError::Closed));
    assert_eq!(log.usage(&stream).next_offset, 0);
    Ok(())
}

async fn keeps_streams_apart<L: Log>(log: &L) -> Result<(), LogError> {
    let stream = stream();
    let other = other();
    let mut one = log.reader(&stream, ReaderId::Passing, StartAt::Latest).await?;
    let mut two = log.reader(&other, ReaderId::Passing, StartAt::Latest).await?;
    log.append(&stream, batch(&["a"])?, None).await?;
    log.append(&other, batch(&["b"])?, None).await?;
    assert_eq!(texts(&one.next(10, 1_000).await?.records), ["a"]);
    assert_eq!(texts(&two.next(10, 1_000).await?.records), ["b"]);
    Ok(())
}

async fn loses_nothing_of_a_dropped_call<L: Log>(log: &L) -> Result<(), LogError> {
    let stream = stream();
    let mut reader = log.reader(&stream, ReaderId::Passing, StartAt::Latest).await?;
    assert!(is_pending(pin!(reader.next(10, 1_000))).await);
    log.append(&stream, batch(&["a", "b", "c", "d"])?, None).await?;
    assert!(is_pending(pin!(log.append(&stream, batch(&["never"])?, None))).await);
    assert_eq!(texts(&reader.next(10, 1_000).await?.records), ["a", "b", "c", "d"]);
    reader.commit(&below(4));
    assert!(is_pending(pin!(reader.next(10, 1_000))).await);
    log.append(&stream, batch(&["e"])?, None).await?;
    assert_eq!(texts(&reader.next(10, 1_000).await?.records), ["e"]);
    Ok(())
}

fn named() -> ReaderId {
    ReaderId::Named("pipeline".into())
}

async fn a_named_reader_goes_on_where_it_was<L: Log>(log: &L) -> Result<(), LogError> {
    let stream = stream();
    let mut reader = log.reader(&stream, named(), StartAt::Latest).await?;
    log.append(&stream, batch(&["a", "b", "c"])?, None).await?;
    reader.next(10, 1_000).await?;
    reader.commit(&Cursor { low: 0, done: std::iter::once(1..2).collect() });
    drop(reader);
    let mut append = pin!(log.append(&stream, batch(&["d", "e"])?, None));
    assert!(is_pending(append.as_mut()).await, "what a named reader has not read is held, though it is not open");
    let mut reader = log.reader(&stream, named(), StartAt::Latest).await?;
    assert_eq!(texts(&reader.next(10, 1_000).await?.records), ["a"]);
    assert_eq!(texts(&reader.next(10, 1_000).await?.records), ["c"]);
    reader.commit(&below(3));
    assert_eq!(append.await?.first_offset, 3);
    drop(reader);
    assert_eq!((log.streams().contains(&stream), log.readers(&stream)), (true, vec!["pipeline".to_owned()]));
    log.forget_reader(&stream, "pipeline");
    assert!(log.readers(&stream).is_empty());
    let mut reader = log.reader(&stream, named(), StartAt::Latest).await?;
    assert_eq!(reader.position(), 5, "what is forgotten begins anew");
    drop(reader);
    let at = StartAt::Cursor(below(5));
    reader = log.reader(&stream, ReaderId::Rewound("pipeline".into()), at).await?;
    assert_eq!(reader.position(), 5);
    Ok(())
}

async fn a_named_reader_is_one<L: Log>(log: &L) -> Result<(), LogError> {
    let stream = stream();
    let mut first = log.reader(&stream, named(), StartAt::Latest).await?;
    let mut second = {
        let mut next = pin!(first.next(10, 1_000));
        assert!(is_pending(next.as_mut()).await);
        let second = log.reader(&stream, named(), StartAt::Latest).await?;
        assert_eq!(next.await, Err(LogError::Closed));
        second
    };
    log.append(&stream, batch(&["a", "b", "c", "d"])?, None).await?;
    first.commit(&below(4));
    drop(first);
    assert_eq!(texts(&second.next(10, 1_000).await?.records), ["a", "b", "c", "d"]);
    let mut append = pin!(log.append(&stream, batch(&["e"])?, None));
    assert!(is_pending(append.as_mut()).await, "the commit of a reader that ended does not count");
    second.commit(&below(4));
    append.await?;
    Ok(())
}

async fn saves_the_position_with_the_records<L: Log>(log: &L) -> Result<(), LogError> {
    let stream = stream();
    let _reader = log.reader(&stream, named(), StartAt::Latest).await?;
    assert_eq!(log.position(&stream).await?, None);
    log.append(&stream, batch(&["a", "b"])?, Some(b"after b".to_vec())).await?;
    log.append(&stream, batch(&["c", "d"])?, None).await?;
    assert_eq!(log.position(&stream).await?.as_deref(), Some(&b"after b"[..]));
    assert!(is_pending(pin!(log.append(&stream, batch(&["e"])?, Some(b"after e".to_vec())))).await);
    assert_eq!(log.position(&stream).await?.as_deref(), Some(&b"after b"[..]), "not before its records");
    log.append(&stream, Batch::default(), Some(b"later".to_vec())).await?;
    assert_eq!(log.position(&stream).await?.as_deref(), Some(&b"later"[..]));
    Ok(())
}

async fn says_what_waits<L: Log>(log: &L) -> Result<(), LogError> {
    let stream = stream();
    let mut reader = log.reader(&stream, named(), StartAt::Latest).await?;
    assert_eq!((reader.lag().records, reader.lag().oldest_ms), (0, None));
    log.append(&stream, batch(&["aa", "bb"])?, None).await?;
    log.append(&stream, batch(&["cc"])?, None).await?;
    let lag = reader.lag();
    assert_eq!((lag.records, lag.bytes), (3, 6));
    let entries = reader.next(10, 1_000).await?;
    assert_eq!(lag.oldest_ms, Some(entries.appended_ms));
    let mut later = log.reader(&stream, ReaderId::Passing, StartAt::Time(entries.appended_ms)).await?;
    assert_eq!(later.next(10, 1_000).await?.first_offset, 0);
    let never = log.reader(&stream, ReaderId::Passing, StartAt::Time(i64::MAX)).await?;
    assert_eq!(never.position(), 3);
    Ok(())
}

/// Of the suite's logs the largest record has 500 bytes.
async fn takes_records_of_any_size<L: Log>(log: &L) -> Result<(), LogError> {
    let stream = stream();
    let mut reader = log.reader(&stream, named(), StartAt::Latest).await?;
    let largest = "x".repeat(500);
    for payloads in [["", ""], [&largest, ""]] {
        log.append(&stream, batch(&payloads)?, None).await?;
        let mut read = Vec::new();
        while read.len() < 2 {
            let entries = reader.next(10, 1_000).await?;
            reader.commit(&below(entries.first_offset + entries.records.len() as u64));
            read.extend(texts(&entries.records));
        }
        assert_eq!(read, payloads);
    }
    Ok(())
}
