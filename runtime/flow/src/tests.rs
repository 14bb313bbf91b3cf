//! The flow as a whole, with scripted guests: what is promised to people who run it.

mod alerts;
mod changes;
mod steps;
mod stopping;

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use ferrule_host::GuestErrorKind;
use ferrule_model::Code;
use ferrule_model::record::{Batch, CHANGED_PAYLOAD, Column, Transformed};
use ferrule_transport::Bounds;

use crate::fakes::{Behaviour, Fake, Harness, World, guest_error, numbers, trap};
use crate::plan::{OnError, PipelinePlan, StepPlan};
use crate::{LetterCode, StreamState};

fn set(delivered: &[String]) -> std::collections::BTreeSet<String> {
    delivered.iter().cloned().collect()
}

/// Whether the numbers of each of the five keys are in order, ignoring repetitions.
fn keys_in_order(delivered: &[String]) -> bool {
    (0..5).all(|key| {
        let numbers: Vec<usize> =
            delivered.iter().map(|text| text.parse().unwrap()).filter(|number| number % 5 == key).collect();
        let mut first: Vec<usize> = Vec::new();
        for number in numbers {
            if !first.contains(&number) {
                first.push(number);
            }
        }
        first.is_sorted()
    })
}

#[tokio::test]
async fn records_are_delivered_in_order_and_then_settled() {
    let harness = Harness::new(World::default());
    harness.start().await;
    harness.publish(10_000);
    harness.until_settled(10_000).await;
    let delivered = harness.sink.delivered();
    assert_eq!(set(&delivered), numbers(0..10_000));
    assert_eq!(delivered.len(), 10_000, "each once");
    assert!(keys_in_order(&delivered));
    let pipeline = harness.pipeline();
    assert_eq!((pipeline.delivered, pipeline.dead, pipeline.retried), (10_000, 0, 0));
    assert_eq!(harness.stream("in").records, 10_000);
    assert_eq!(harness.stream("out").records, 10_000);
    harness.flow.stop(Duration::from_secs(5)).await.unwrap();
    assert_eq!((harness.source.closed.load(SeqCst), harness.sink.closed.load(SeqCst)), (1, 1));
}

#[tokio::test]
async fn a_settle_reaches_a_source_that_waits_for_data() {
    let harness = Harness::new(World { lazy: true, ..World::default() });
    harness.start().await;
    harness.publish(1);
    harness.until_settled(1).await;
    assert_eq!(harness.stream("in").guest.state, StreamState::Running);
}

#[tokio::test]
async fn outcomes_that_come_later_count() {
    let harness = Harness::new(World { lazy: true, ..World::default() });
    harness.start().await;
    harness.publish(5_000);
    harness.until_settled(5_000).await;
    assert_eq!(set(&harness.sink.delivered()), numbers(0..5_000));
}

#[tokio::test]
async fn a_sink_that_is_stuck_holds_back_the_source_and_nothing_grows() {
    let bounds = Bounds { records: 100, bytes: 1 << 20 };
    let mut harness = Harness::with_bounds(World::default(), bounds);
    harness.plan.pipelines[0].batch.window = 50;
    harness.plan.pipelines[0].batch.records = 50;
    *harness.sink.stuck.lock().unwrap() = true;
    harness.start().await;
    harness.publish(5_000);
    harness.until("it is full", |_| harness.source.pulls_held.load(SeqCst) > 0).await;
    let snapshot = harness.stream("in");
    assert!(snapshot.unsettled <= 100 + 1_000, "{snapshot:?}");
    assert_eq!(snapshot.guest.detail, "held back: the log is full");
    assert_eq!(harness.source.settled(), 0);
    *harness.sink.stuck.lock().unwrap() = false;
    harness.sink.changed.notify_waiters();
    harness.until_settled(5_000).await;
    assert_eq!(set(&harness.sink.delivered()), numbers(0..5_000));
}

#[tokio::test]
async fn what_a_sink_asks_to_retry_is_retried_and_keys_keep_their_order() {
    let harness = Harness::new(World::default());
    *harness.sink.retries.lock().unwrap() = vec![("3".into(), 4), ("11".into(), 2)];
    harness.start().await;
    harness.publish(500);
    harness.until_settled(500).await;
    let delivered = harness.sink.delivered();
    assert_eq!(delivered.len(), 500, "nothing twice");
    let pipeline = harness.pipeline();
    assert_eq!((pipeline.retried, pipeline.delivered), (6, 500));
    assert_eq!(pipeline.last_error.as_deref(), Some("busy"));
}

#[tokio::test]
async fn what_is_rejected_is_settled_once_its_letter_is_stored() {
    let harness = Harness::new(World::default());
    harness.sink.rejects.lock().unwrap().insert("7".into());
    harness.start().await;
    harness.publish(20);
    harness.until_settled(20).await;
    let letters = harness.letters.letters();
    assert_eq!(letters.len(), 1);
    assert_eq!((&*letters[0].payload, &*letters[0].key), (&b"7"[..], &b"k2"[..]));
    assert_eq!((letters[0].reason.as_str(), letters[0].attempts), ("scripted", 1));
    assert_eq!((letters[0].code, letters[0].code.error()), (LetterCode::Rejected, Some(Code::Rejected)));
    assert_eq!(letters[0].address.as_ref().unwrap().offset, 7);
    assert_eq!((letters[0].step.as_str(), letters[0].component.as_str()), ("out", "sink"));
    let pipeline = harness.pipeline();
    assert_eq!((pipeline.delivered, pipeline.dead, pipeline.dropped), (19, 1, 0));
}

#[tokio::test]
async fn what_is_rejected_may_be_dropped_and_is_counted() {
    let mut harness = Harness::new(World::default());
    harness.sink.rejects.lock().unwrap().insert("7".into());
    harness.plan.pipelines[0].on_error = OnError::Drop;
    harness.start().await;
    harness.publish(20);
    harness.until_settled(20).await;
    assert!(harness.letters.letters().is_empty());
    assert_eq!(harness.pipeline().dropped, 1);
}

#[tokio::test]
async fn a_limit_of_attempts_gives_up() {
    let mut harness = Harness::new(World::default());
    *harness.sink.retries.lock().unwrap() = vec![("1".into(), 100)];
    harness.plan.pipelines[0].retry.attempts = Some(3);
    harness.start().await;
    harness.publish(5);
    harness.until_settled(5).await;
    assert_eq!(harness.letters.letters()[0].reason, "gave up after 3 attempts: busy");
    assert_eq!(harness.letters.letters()[0].code, LetterCode::Attempts);
    assert_eq!(LetterCode::Attempts.error(), Some(Code::RetriesExhausted));
    assert_eq!(harness.letters.letters()[0].attempts, 3);
}

#[tokio::test]
async fn a_sink_that_is_gone_and_back_loses_nothing() {
    let harness = Harness::new(World::default());
    let errors = [trap(), guest_error(GuestErrorKind::Unavailable), guest_error(GuestErrorKind::Failed)];
    harness.sink.write_errors.lock().unwrap().extend(errors);
    harness.sink.open_errors.lock().unwrap().extend((0..5).map(|_| guest_error(GuestErrorKind::Unavailable)));
    harness.start().await;
    harness.publish(3_000);
    harness.until_settled(3_000).await;
    let delivered = harness.sink.delivered();
    assert_eq!(set(&delivered), numbers(0..3_000));
    assert!(keys_in_order(&delivered));
    assert!(harness.letters.letters().is_empty());
    assert!(harness.stream("out").guest.restarts >= 3);
    assert!(harness.stream("out").guest.last_error.is_some());
}

#[tokio::test]
async fn a_record_that_breaks_the_sink_is_found_and_the_others_are_delivered() {
    let harness = Harness::new(World::default());
    harness.sink.poison.lock().unwrap().extend(["137".to_owned(), "402".to_owned()]);
    harness.start().await;
    harness.publish(500);
    harness.until_settled(500).await;
    let mut letters: Vec<_> = harness.letters.letters().iter().map(|letter| letter.payload.to_vec()).collect();
    letters.sort();
    assert_eq!(letters, [b"137", b"402"]);
    let delivered = harness.sink.delivered();
    assert_eq!(set(&delivered).len(), 498);
    assert!(keys_in_order(&delivered));
}

#[tokio::test]
async fn a_record_that_breaks_the_sink_is_not_blamed_on_another_pipeline() {
    let mut harness = Harness::new(World { lazy: true, ..World::default() });
    harness.sink.slow_poison.lock().unwrap().extend(["137".to_owned(), "402".to_owned()]);
    let mark = |batch: &Batch| {
        let payloads: Vec<Vec<u8>> = batch.iter().map(|record| [record.payload, b"000"].concat()).collect();
        Ok(Transformed {
            changes: vec![CHANGED_PAYLOAD; batch.len()],
            payload: Column::of(payloads).unwrap(),
            ..Transformed::pass(batch.count)
        })
    };
    // The other one writes to the same sink all the time, nothing of which breaks it.
    let mut other = PipelinePlan::new("p2", "p2", "in", "out");
    let world = Arc::new(World::default());
    other.steps.push(StepPlan::new("mark", Fake::plan("mark", &world, Behaviour::Function(Arc::new(mark)))));
    harness.plan.pipelines.push(other);
    harness.start().await;
    harness.publish(500);
    harness.until_settled(500).await;
    let mut letters: Vec<_> = harness.letters.letters().iter().map(|letter| letter.payload.to_vec()).collect();
    letters.sort();
    assert_eq!(letters, [b"137", b"402"]);
    assert_eq!(set(&harness.sink.delivered()).len(), 998);
}

#[tokio::test]
async fn a_source_that_breaks_is_opened_again_and_its_records_come_again() {
    let harness = Harness::new(World::default());
    harness.source.open_errors.lock().unwrap().extend([trap(), guest_error(GuestErrorKind::Unavailable)]);
    harness.apply().await;
    harness.publish(100);
    harness.until_settled(100).await;
    assert_eq!(harness.stream("in").guest.restarts, 2);
}

#[tokio::test]
async fn parameters_that_can_never_work_keep_the_stream_down_until_they_change() {
    let mut harness = Harness::new(World::default());
    harness.source.open_errors.lock().unwrap().push_back(guest_error(GuestErrorKind::Invalid));
    harness.apply().await;
    harness
        .until("it has failed", |flow| flow.streams.values().any(|stream| stream.guest.state == StreamState::Failed))
        .await;
    let guest = harness.stream("in").guest;
    assert!(guest.detail.ends_with("[FE0505]") && guest.last_error.unwrap().ends_with("[FE0505]"));
    harness.publish(10);
    harness.plan.streams[0].guest.parameters = r#"{"better":true}"#.into();
    harness.apply().await;
    harness.until_settled(10).await;
    assert_eq!(harness.source.opened.load(SeqCst), 1);
}

#[tokio::test]
async fn every_pipeline_of_a_stream_gets_every_record_before_it_is_settled() {
    let mut harness = Harness::new(World::default());
    let second = Arc::new(World::default());
    *second.stuck.lock().unwrap() = true;
    let other = crate::plan::StreamPlan::new(
        "out2",
        "out2",
        ferrule_model::component::Direction::Egress,
        Fake::plan("sink", &second, Behaviour::Sink),
    );
    harness.plan.streams.push(other);
    harness.plan.pipelines.push(crate::plan::PipelinePlan::new("p2", "p2", "in", "out2"));
    harness.start().await;
    harness.publish(100);
    harness.until("the first has all", |_| harness.sink.delivered().len() == 100).await;
    assert_eq!(harness.source.settled(), 0);
    *second.stuck.lock().unwrap() = false;
    second.changed.notify_waiters();
    harness.until_settled(100).await;
}

#[tokio::test]
async fn a_record_too_large_for_the_log_wedges_nothing() {
    let harness = Harness::new(World::default());
    harness.start().await;
    let large = "x".repeat((1 << 20) + 1);
    harness.source.publish([("k0".into(), "0".into()), ("k1".into(), large), ("k2".into(), "2".into())]);
    harness.until_settled(3).await;
    assert_eq!(harness.sink.delivered(), ["0", "2"]);
    let letters = harness.letters.letters();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].code.error(), Some(Code::RecordTooLarge));
    assert_eq!(
        (letters[0].payload.len() as u64 + letters[0].truncated, letters[0].pipeline.clone()),
        ((1 << 20) + 1, None)
    );
}
