//! What a log holds: its bounds, whom it keeps records for, what it drops, and what it keeps of what was read.

use std::pin::pin;
use std::time::Duration;

use ferrule_model::ids::Uid;
use ferrule_model::record::Batch;

use super::{batch, below, is_pending, named, options, stream, texts};
use crate::log::{Durability, Keep, Log, LogError, ReaderId, Retention, StartAt, StreamOptions, WhenFull};

pub(super) async fn holds_back_at_the_bound_of_records<L: Log>(log: &L) -> Result<(), LogError> {
    let stream = stream();
    let mut reader = log.reader(&stream, ReaderId::Passing, StartAt::Latest).await?;
    log.append(&stream, batch(&["a", "b", "c"])?, None).await?;
    let mut append = pin!(log.append(&stream, batch(&["d", "e"])?, None));
    assert!(is_pending(append.as_mut()).await);
    reader.next(10, 1_000).await?;
    assert!(is_pending(append.as_mut()).await, "what was read is held until it is done");
    reader.commit(&below(1));
    assert_eq!(append.await?.first_offset, 3);
    let usage = log.usage(&stream);
    assert_eq!((usage.first_offset, usage.next_offset), (1, 5));
    Ok(())
}

pub(super) async fn holds_back_at_the_bound_of_bytes<L: Log>(log: &L) -> Result<(), LogError> {
    let stream = stream();
    let mut reader = log.reader(&stream, ReaderId::Passing, StartAt::Latest).await?;
    let large = "x".repeat(400);
    log.append(&stream, batch(&[&large, &large])?, None).await?;
    let mut append = pin!(log.append(&stream, batch(&[&large])?, None));
    assert!(is_pending(append.as_mut()).await);
    reader.commit(&below(1));
    append.await?;
    assert_eq!(log.usage(&stream).bytes, 800);
    reader.commit(&below(3));
    assert_eq!(log.usage(&stream).bytes, 0);
    Ok(())
}

pub(super) async fn takes_a_batch_over_the_bounds_when_empty<L: Log>(log: &L) -> Result<(), LogError> {
    let stream = stream();
    let mut reader = log.reader(&stream, ReaderId::Passing, StartAt::Latest).await?;
    log.append(&stream, batch(&["a", "b", "c", "d", "e", "f"])?, None).await?;
    assert_eq!(reader.next(10, 1_000).await?.records.len(), 6);
    Ok(())
}

/// A log that keeps records takes them without a reader; any other would lose them, and waits.
pub(super) async fn waits_for_a_reader<L: Log>(log: &L) -> Result<(), LogError> {
    if log.guarantees(Durability::Process).retention != Retention::UntilRead {
        return Ok(());
    }
    let stream = stream();
    let mut append = pin!(log.append(&stream, batch(&["a"])?, None));
    assert!(is_pending(append.as_mut()).await);
    let mut reader = log.reader(&stream, ReaderId::Passing, StartAt::Latest).await?;
    append.await?;
    assert_eq!(texts(&reader.next(10, 1_000).await?.records), ["a"]);
    Ok(())
}

pub(super) async fn keeps_for_the_slowest_reader<L: Log>(log: &L) -> Result<(), LogError> {
    let stream = stream();
    let mut fast = log.reader(&stream, ReaderId::Passing, StartAt::Latest).await?;
    let mut slow = log.reader(&stream, ReaderId::Passing, StartAt::Latest).await?;
    log.append(&stream, batch(&["a", "b", "c", "d"])?, None).await?;
    fast.next(10, 1_000).await?;
    fast.commit(&below(4));
    let mut append = pin!(log.append(&stream, batch(&["e"])?, None));
    assert!(is_pending(append.as_mut()).await);
    assert_eq!(texts(&slow.next(1, 1_000).await?.records), ["a"]);
    slow.commit(&below(1));
    append.await?;
    let mut append = pin!(log.append(&stream, batch(&["f"])?, None));
    assert!(is_pending(append.as_mut()).await);
    drop(slow);
    append.await?;
    assert_eq!(log.usage(&stream).first_offset, 4);
    Ok(())
}

pub(super) async fn drops_the_oldest<L: Log>(log: &L) -> Result<(), LogError> {
    let stream = stream();
    log.configure(&stream, StreamOptions { when_full: WhenFull::DropOldest, ..options(log) });
    let mut reader = log.reader(&stream, named(), StartAt::Latest).await?;
    for payload in ["a", "b", "c", "d", "e", "f"] {
        assert!(log.append(&stream, batch(&[payload])?, None).await?.taken);
    }
    assert_eq!(log.usage(&stream).dropped, 2);
    let entries = reader.next(10, 1_000).await?;
    assert_eq!((entries.first_offset, texts(&entries.records)), (2, vec!["c".to_owned()]));
    Ok(())
}

pub(super) async fn drops_the_newest<L: Log>(log: &L) -> Result<(), LogError> {
    let stream = stream();
    log.configure(&stream, StreamOptions { when_full: WhenFull::DropNewest, ..options(log) });
    let mut reader = log.reader(&stream, named(), StartAt::Latest).await?;
    log.append(&stream, batch(&["a", "b", "c"])?, Some(b"1".to_vec())).await?;
    assert!(!log.append(&stream, batch(&["d", "e"])?, Some(b"2".to_vec())).await?.taken);
    assert_eq!(log.usage(&stream).dropped, 2);
    assert_eq!(log.position(&stream).await?.as_deref(), Some(&b"2"[..]), "the source goes on after them");
    assert_eq!(texts(&reader.next(10, 1_000).await?.records), ["a", "b", "c"]);
    reader.commit(&below(3));
    assert_eq!(log.append(&stream, batch(&["f"])?, None).await?.first_offset, 3);
    Ok(())
}

/// Nobody reads yet, or nobody reads any more: what comes waits within the bounds, and the first to read from the beginning has it.
pub(super) async fn keeps_what_nobody_has_read<L: Log>(log: &L) -> Result<(), LogError> {
    let stream = stream();
    for payload in ["a", "b", "c", "d"] {
        log.append(&stream, batch(&[payload])?, None).await?;
    }
    let usage = log.usage(&stream);
    assert_eq!((usage.first_offset, usage.unread_bytes, usage.dropped), (0, 4, 0));
    let mut append = pin!(log.append(&stream, batch(&["e"])?, None));
    assert!(is_pending(append.as_mut()).await, "it is full");
    let mut reader = log.reader(&stream, named(), StartAt::Oldest).await?;
    let mut read = Vec::new();
    while read.len() < 4 {
        read.extend(texts(&reader.next(10, 1_000).await?.records));
    }
    assert_eq!(read, ["a", "b", "c", "d"]);
    reader.commit(&below(4));
    append.await?;
    drop(reader);
    log.forget_reader(&stream, "pipeline");
    // What the forgotten one was past does not count; what it was not past waits.
    for payload in ["f", "g", "h"] {
        log.append(&stream, batch(&[payload])?, None).await?;
    }
    assert!(is_pending(pin!(log.append(&stream, batch(&["i"])?, None))).await);
    let mut reader = log.reader(&stream, named(), StartAt::Oldest).await?;
    let first = loop {
        let entries = reader.next(10, 1_000).await?;
        if entries.first_offset + entries.records.len() as u64 > 4 {
            break texts(&entries.records)[4_u64.saturating_sub(entries.first_offset) as usize].clone();
        }
    };
    assert_eq!((first.as_str(), log.usage(&stream).dropped), ("e", 0));
    Ok(())
}

pub(super) async fn counts_what_it_drops_unread<L: Log>(log: &L) -> Result<(), LogError> {
    let stream = stream();
    log.configure(&stream, StreamOptions { when_full: WhenFull::DropOldest, ..options(log) });
    for payload in ["a", "b", "c", "d", "e", "f"] {
        assert!(log.append(&stream, batch(&[payload])?, None).await?.taken);
    }
    assert_eq!(log.usage(&stream).dropped, 2, "without a reader too");
    let mut reader = log.reader(&stream, named(), StartAt::Oldest).await?;
    while reader.position() < 2 {
        // A log elsewhere removes whole messages, a little later.
        reader.next(1, 1_000).await?;
    }
    assert_eq!(texts(&reader.next(1, 1_000).await?.records), ["c"]);
    Ok(())
}

/// What was read stays within the bytes and the age that the stream says.
pub(super) async fn keeps_after_reading_as_told<L: Log>(log: &L) -> Result<(), LogError> {
    for keep in [
        Keep { bytes: 2, age: Duration::from_secs(3_600), ..Keep::default() },
        Keep { bytes: 1 << 20, age: Duration::from_millis(1), ..Keep::default() },
    ] {
        let stream = Uid::random();
        log.configure(&stream, StreamOptions { keep, ..options(log) });
        let mut reader = log.reader(&stream, named(), StartAt::Latest).await?;
        for payload in ["a", "b", "c", "d"] {
            log.append(&stream, batch(&[payload])?, None).await?;
        }
        let mut append = pin!(log.append(&stream, batch(&["e"])?, None));
        assert!(is_pending(append.as_mut()).await);
        assert_eq!(log.usage(&stream).first_offset, 0, "what is not read stays");
        reader.commit(&below(4));
        append.await?;
        let first = if keep.bytes == 2 { 2 } else { 4 };
        for round in 5_u64.. {
            if log.usage(&stream).first_offset >= first {
                break;
            }
            // What is old goes with the next that comes, or a little later.
            tokio::time::sleep(Duration::from_millis(20)).await;
            log.append(&stream, Batch::default(), Some(round.to_le_bytes().to_vec())).await?;
            assert!(round < 1_000, "{keep:?}: {:?}", log.usage(&stream));
        }
        if keep.bytes == 2 {
            assert_eq!(log.usage(&stream).first_offset, 2, "as much as is to be kept is kept");
        }
        assert_eq!(log.usage(&stream).dropped, 0, "what was read is not dropped");
    }
    Ok(())
}
