//! What the flow raises by itself, where people see it.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use ferrule_transport::{Bounds, WhenFull};

use crate::fakes::{Harness, World};

#[tokio::test]
async fn a_stream_whose_records_are_dropped_says_so() {
    let mut harness = Harness::with_bounds(World::default(), Bounds { records: 10, bytes: 1 << 20 });
    harness.plan.streams[0].log.when_full = WhenFull::DropNewest;
    *harness.sink.stuck.lock().unwrap() = true;
    harness.plan.pipelines[0].batch.records = 1;
    harness.plan.pipelines[0].batch.window = 1;
    harness.start().await;
    assert!(harness.stream("in").guest.alerts.is_empty());
    for number in 0..50 {
        harness.publish_range(number..number + 1);
        harness.until("taken in", |_| harness.source.given.lock().unwrap().len() == number + 1).await;
    }
    harness.until("it says so", |flow| flow.streams["in"].guest.alerts.contains_key("dropping")).await;
    assert!(harness.stream("in").usage.dropped > 0);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_long_in_retry_says_so_until_it_is_done() {
    let harness = Harness::new(World::default());
    *harness.sink.retries.lock().unwrap() = vec![("1".into(), u32::MAX)];
    harness.sink.retry_after.store(7_000, SeqCst);
    harness.start().await;
    harness.publish(5);
    harness.until("postponed", |flow| flow.pipelines["p"].last_error.is_some()).await;
    tokio::time::sleep(Duration::from_secs(290)).await;
    assert!(harness.pipeline().alerts.is_empty());
    tokio::time::sleep(Duration::from_secs(12)).await;
    let alert = harness.pipeline().alerts["retrying"].clone();
    assert_eq!(alert.message, "a record has been in retry for more than 300 s; the last error: busy");
    harness.sink.retries.lock().unwrap().clear();
    harness.until("delivered", |flow| flow.pipelines["p"].delivered == 5).await;
    harness.until("it is over", |flow| flow.pipelines["p"].alerts.is_empty()).await;
}
