//! What every log has to do, written against the trait. A backend is finished when [`run`] passes.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

use ferrule_model::ids::Uid;
use ferrule_model::record::Batch;

use crate::log::{Bounds, Cursor, Guarantees, Log, LogError, StartAt};

/// Runs the suite against logs that `make` makes, each of these bounds and this largest record.
///
/// An `Err` or a panic says that the log does not keep the contract.
pub async fn run<L: Log>(make: impl Fn(Bounds, usize) -> L) -> Result<(), LogError> {
    let bounds = Bounds { records: 4, bytes: 1_000 };
    let fresh = || make(bounds, 500);
    reads_in_order(&fresh()).await?;
    cuts_to_what_is_wanted(&fresh()).await?;
    holds_back_at_the_bound_of_records(&fresh()).await?;
    holds_back_at_the_bound_of_bytes(&fresh()).await?;
    takes_a_batch_over_the_bounds_when_empty(&fresh()).await?;
    waits_for_a_reader(&fresh()).await?;
    keeps_for_the_slowest_reader(&fresh()).await?;
    starts_where_it_is_told(&fresh()).await?;
    skips_what_the_cursor_says_is_done(&fresh()).await?;
    refuses_a_record_that_is_too_large(&fresh()).await?;
    forgets_a_stream(&fresh()).await?;
    keeps_streams_apart(&fresh()).await?;
    loses_nothing_of_a_dropped_call(&fresh()).await?;
    Ok(())
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
    let Guarantees { ordered, .. } = log.guarantees();
    assert!(ordered, "the suite is about logs that keep the order");
    let mut reader = log.reader(&stream, StartAt::Latest).await?;
    assert_eq!(reader.position(), 0);
    assert_eq!(log.append(&stream, batch(&["a", "b"])?).await?.first_offset, 0);
    assert_eq!(log.append(&stream, batch(&["c"])?).await?.first_offset, 2);
    assert_eq!(reader.lag(), 3);
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let entries = reader.next(10, 1_000).await?;
        assert_eq!(entries.first_offset, seen.len() as u64);
        seen.extend(texts(&entries.records));
    }
    assert_eq!(seen, ["a", "b", "c"]);
    assert_eq!(reader.lag(), 0);
    Ok(())
}

async fn cuts_to_what_is_wanted<L: Log>(log: &L) -> Result<(), LogError> {
    let stream = stream();
    let mut reader = log.reader(&stream, StartAt::Latest).await?;
    log.append(&stream, batch(&["aaaa", "bbbb", "cccc"])?).await?;
    assert_eq!(texts(&reader.next(1, 1_000).await?.records), ["aaaa"]);
    assert_eq!(texts(&reader.next(10, 1).await?.records), ["bbbb"], "the first record is exempt from the bytes");
    assert_eq!(texts(&reader.next(10, 8).await?.records), ["cccc"]);
    assert!(is_pending(pin!(reader.next(10, 8))).await);
    Ok(())
}

async fn holds_back_at_the_bound_of_records<L: Log>(log: &L) -> Result<(), LogError> {
    let stream = stream();
    let mut reader = log.reader(&stream, StartAt::Latest).await?;
    log.append(&stream, batch(&["a", "b", "c"])?).await?;
    let mut append = pin!(log.append(&stream, batch(&["d", "e"])?));
    assert!(is_pending(append.as_mut()).await);
    reader.next(10, 1_000).await?;
    assert!(is_pending(append.as_mut()).await, "what was read is held until it is done");
    reader.commit(&below(1));
    assert_eq!(append.await?.first_offset, 3);
    let usage = log.usage(&stream);
    assert_eq!((usage.first_offset, usage.next_offset), (1, 5));
    Ok(())
}

async fn holds_back_at_the_bound_of_bytes<L: Log>(log: &L) -> Result<(), LogError> {
    let stream = stream();
    let mut reader = log.reader(&stream, StartAt::Latest).await?;
    let large = "x".repeat(400);
    log.append(&stream, batch(&[&large, &large])?).await?;
    let mut append = pin!(log.append(&stream, batch(&[&large])?));
    assert!(is_pending(append.as_mut()).await);
    reader.commit(&below(1));
    append.await?;
    assert_eq!(log.usage(&stream).bytes, 800);
    reader.commit(&below(3));
    assert_eq!(log.usage(&stream).bytes, 0);
    Ok(())
}

async fn takes_a_batch_over_the_bounds_when_empty<L: Log>(log: &L) -> Result<(), LogError> {
    let stream = stream();
    let mut reader = log.reader(&stream, StartAt::Latest).await?;
    log.append(&stream, batch(&["a", "b", "c", "d", "e", "f"])?).await?;
    assert_eq!(reader.next(10, 1_000).await?.records.len(), 6);
    Ok(())
}

async fn waits_for_a_reader<L: Log>(log: &L) -> Result<(), LogError> {
    let stream = stream();
    let mut append = pin!(log.append(&stream, batch(&["a"])?));
    assert!(is_pending(append.as_mut()).await);
    let mut reader = log.reader(&stream, StartAt::Latest).await?;
    append.await?;
    assert_eq!(texts(&reader.next(10, 1_000).await?.records), ["a"]);
    Ok(())
}

async fn keeps_for_the_slowest_reader<L: Log>(log: &L) -> Result<(), LogError> {
    let stream = stream();
    let mut fast = log.reader(&stream, StartAt::Latest).await?;
    let mut slow = log.reader(&stream, StartAt::Latest).await?;
    log.append(&stream, batch(&["a", "b", "c", "d"])?).await?;
    fast.next(10, 1_000).await?;
    fast.commit(&below(4));
    let mut append = pin!(log.append(&stream, batch(&["e"])?));
    assert!(is_pending(append.as_mut()).await);
    assert_eq!(texts(&slow.next(1, 1_000).await?.records), ["a"]);
    slow.commit(&below(1));
    append.await?;
    let mut append = pin!(log.append(&stream, batch(&["f"])?));
    assert!(is_pending(append.as_mut()).await);
    drop(slow);
    append.await?;
    assert_eq!(log.usage(&stream).first_offset, 4);
    Ok(())
}

async fn starts_where_it_is_told<L: Log>(log: &L) -> Result<(), LogError> {
    let stream = stream();
    let keeper = log.reader(&stream, StartAt::Latest).await?;
    log.append(&stream, batch(&["a", "b"])?).await?;
    let mut oldest = log.reader(&stream, StartAt::Oldest).await?;
    let mut latest = log.reader(&stream, StartAt::Latest).await?;
    let mut at = log.reader(&stream, StartAt::Cursor(below(1))).await?;
    log.append(&stream, batch(&["c"])?).await?;
    assert_eq!(texts(&oldest.next(1, 1_000).await?.records), ["a"]);
    assert_eq!(texts(&latest.next(1, 1_000).await?.records), ["c"]);
    assert_eq!(texts(&at.next(1, 1_000).await?.records), ["b"]);
    drop(keeper);
    Ok(())
}

async fn skips_what_the_cursor_says_is_done<L: Log>(log: &L) -> Result<(), LogError> {
    let stream = stream();
    let keeper = log.reader(&stream, StartAt::Latest).await?;
    log.append(&stream, batch(&["a", "b", "c", "d"])?).await?;
    let cursor = Cursor { low: 0, done: vec![1..2, 3..4] };
    let mut reader = log.reader(&stream, StartAt::Cursor(cursor)).await?;
    assert_eq!(texts(&reader.next(10, 1_000).await?.records), ["a"]);
    let entries = reader.next(10, 1_000).await?;
    assert_eq!((entries.first_offset, texts(&entries.records)), (2, vec!["c".to_owned()]));
    assert!(is_pending(pin!(reader.next(10, 1_000))).await);
    drop(keeper);
    Ok(())
}

async fn refuses_a_record_that_is_too_large<L: Log>(log: &L) -> Result<(), LogError> {
    let stream = stream();
    let mut reader = log.reader(&stream, StartAt::Latest).await?;
    assert_eq!(log.guarantees().largest_record, 500);
    let refused = log.append(&stream, batch(&["a", &"x".repeat(501)])?).await;
    assert_eq!(refused, Err(LogError::RecordTooLarge { index: 1, size: 501, limit: 500 }));
    log.append(&stream, batch(&["b"])?).await?;
    assert_eq!(texts(&reader.next(10, 1_000).await?.records), ["b"], "nothing of a refused batch is appended");
    Ok(())
}

async fn forgets_a_stream<L: Log>(log: &L) -> Result<(), LogError> {
    let stream = stream();
    let mut reader = log.reader(&stream, StartAt::Latest).await?;
    log.append(&stream, batch(&["a"])?).await?;
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
    let other = Uid::new("other");
    let mut one = log.reader(&stream, StartAt::Latest).await?;
    let mut two = log.reader(&other, StartAt::Latest).await?;
    log.append(&stream, batch(&["a"])?).await?;
    log.append(&other, batch(&["b"])?).await?;
    assert_eq!(texts(&one.next(10, 1_000).await?.records), ["a"]);
    assert_eq!(texts(&two.next(10, 1_000).await?.records), ["b"]);
    Ok(())
}

async fn loses_nothing_of_a_dropped_call<L: Log>(log: &L) -> Result<(), LogError> {
    let stream = stream();
    let mut reader = log.reader(&stream, StartAt::Latest).await?;
    assert!(is_pending(pin!(reader.next(10, 1_000))).await);
    log.append(&stream, batch(&["a", "b", "c", "d"])?).await?;
    assert!(is_pending(pin!(log.append(&stream, batch(&["never"])?))).await);
    assert_eq!(texts(&reader.next(10, 1_000).await?.records), ["a", "b", "c", "d"]);
    reader.commit(&below(4));
    assert!(is_pending(pin!(reader.next(10, 1_000))).await);
    log.append(&stream, batch(&["e"])?).await?;
    assert_eq!(texts(&reader.next(10, 1_000).await?.records), ["e"]);
    Ok(())
}
