//! Draining and stopping: what was taken is finished, what was not delivered is not settled.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use ferrule_host::GuestErrorKind;

use super::set;
use crate::fakes::{Harness, World, guest_error, numbers};
use crate::{FlowError, StreamState};

#[tokio::test]
async fn draining_stops_intake_and_finishes_what_was_taken() {
    let harness = Harness::new(World::default());
    *harness.sink.stuck.lock().unwrap() = true;
    harness.start().await;
    harness.publish(100);
    harness.until("taken in", |flow| flow.streams["in"].records == 100).await;
    let short = Duration::from_millis(20);
    assert_eq!(harness.flow.drain(&"in".into(), short).await, Err(FlowError::NotDrained(short)));
    *harness.sink.stuck.lock().unwrap() = false;
    harness.sink.changed.notify_waiters();
    harness.flow.drain(&"in".into(), Duration::from_secs(10)).await.unwrap();
    assert_eq!(harness.source.settled(), 100);
    harness.publish_range(100..200);
    harness.flow.drain(&"p".into(), Duration::from_secs(10)).await.unwrap();
    assert_eq!(harness.stream("in").records, 100);
    harness.flow.resume(&"in".into()).unwrap();
    harness.flow.resume(&"p".into()).unwrap();
    harness.until_settled(200).await;
    assert!(matches!(harness.flow.drain(&"x".into(), short).await, Err(FlowError::Unknown(_))));
}

#[tokio::test]
async fn what_a_source_hands_over_while_it_stops_is_delivered() {
    let harness = Harness::new(World::default());
    harness.start().await;
    harness.publish(1);
    harness.until_settled(1).await;
    *harness.source.parting.lock().unwrap() = Some(("k1".into(), "1".into()));
    harness.flow.stop(Duration::from_secs(5)).await.unwrap();
    assert_eq!(harness.sink.delivered(), ["0", "1"]);
    assert_eq!(harness.source.settled(), 2);
    assert_eq!((harness.source.closed.load(SeqCst), harness.sink.closed.load(SeqCst)), (1, 1));
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_record_that_nobody_would_read() {
    let harness = Harness::new(World::default());
    *harness.sink.stuck.lock().unwrap() = true;
    harness.start().await;
    harness.publish(1);
    harness.until("written", |_| harness.sink.writes.load(SeqCst) > 0).await;
    *harness.source.parting.lock().unwrap() = Some(("k1".into(), "1".into()));
    let flow = harness.flow.clone();
    let stopping = tokio::spawn(async move { flow.stop(Duration::from_secs(5)).await });
    harness.until("handed over", |flow| flow.streams["in"].records == 2).await;
    *harness.sink.stuck.lock().unwrap() = false;
    harness.sink.changed.notify_waiters();
    stopping.await.unwrap().unwrap();
    assert_eq!((set(&harness.sink.delivered()), harness.source.settled()), (numbers(0..2), 2));
}

#[tokio::test]
async fn what_a_source_hands_over_while_it_is_drained_is_settled() {
    let harness = Harness::new(World::default());
    harness.start().await;
    harness.publish(1);
    harness.until_settled(1).await;
    for index in 1..4 {
        *harness.source.parting.lock().unwrap() = Some(("k1".into(), index.to_string()));
        harness.flow.drain(&"in".into(), Duration::from_secs(5)).await.unwrap();
        assert_eq!(harness.source.settled(), index + 1);
        harness.flow.resume(&"in".into()).unwrap();
        harness.until("it takes again", |flow| flow.streams["in"].guest.state == StreamState::Running).await;
    }
}

#[tokio::test]
async fn a_source_that_is_down_is_not_waited_for() {
    let harness = Harness::new(World::default());
    harness.source.open_errors.lock().unwrap().push_back(guest_error(GuestErrorKind::Invalid));
    harness.apply().await;
    harness.until("it is down", |flow| flow.streams["in"].guest.state == StreamState::Failed).await;
    harness.flow.stop(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn what_is_not_delivered_at_the_stop_is_not_settled() {
    let harness = Harness::new(World::default());
    *harness.sink.stuck.lock().unwrap() = true;
    harness.start().await;
    harness.publish(100);
    harness.until("written", |_| harness.sink.writes.load(SeqCst) > 0).await;
    let short = Duration::from_millis(20);
    assert_eq!(harness.flow.stop(short).await, Err(FlowError::NotDrained(short)));
    assert_eq!(harness.source.settled(), 0);
    assert_eq!(harness.source.unsettled.lock().unwrap().len(), 100);
    assert_eq!((harness.source.closed.load(SeqCst), harness.sink.closed.load(SeqCst)), (1, 1));
    assert_eq!(harness.flow.apply(harness.plan.clone()).await, Err(FlowError::Stopped));
}

#[tokio::test]
async fn a_stop_after_a_drain_takes_what_waited_for_room() {
    for drained in ["in", "p", "out"] {
        let bounds = ferrule_transport::Bounds { records: 10, bytes: 1 << 20 };
        let mut harness = Harness::with_bounds(World::default(), bounds);
        (harness.plan.pipelines[0].batch.records, harness.plan.pipelines[0].batch.window) = (5, 5);
        harness.start().await;
        harness.flow.drain(&drained.into(), Duration::from_secs(10)).await.unwrap();
        harness.publish(30);
        if drained == "p" {
            harness.until("taken in", |flow| flow.streams["in"].records == 30).await;
            harness.until("its lag is known", |flow| flow.pipelines["p"].lag == 30).await;
            harness.publish_range(30..60);
            harness.until("full", |flow| flow.streams["in"].guest.detail == "held back: the log is full").await;
        }
        harness.flow.stop(Duration::from_secs(10)).await.unwrap();
        let given = harness.source.given.lock().unwrap().len();
        let last = harness.flow.snapshot();
        let (stream, pipeline) = (&last.streams["in"], &last.pipelines["p"]);
        assert_eq!(
            (harness.sink.delivered().len(), stream.records, pipeline.delivered),
            (given, given as u64, given as u64)
        );
        assert_eq!(
            (stream.guest.state, pipeline.state, pipeline.lag),
            (StreamState::Stopped, "stopped", 0),
            "{drained}"
        );
    }
}
