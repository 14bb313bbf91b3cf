//! The flow as a whole, with scripted guests: what is promised to people who run it.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use ferrule_host::GuestErrorKind;
use ferrule_model::record::{Batch, CHANGED_PAYLOAD, Column, Rejection, Transformed};
use ferrule_transport::Bounds;

use crate::fakes::{Behaviour, Fake, Harness, World, guest_error, numbers, trap};
use crate::plan::OnError;
use crate::{FlowError, LetterCode, StreamState, TailTarget};

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
    assert_eq!(letters[0].code, LetterCode::Rejected);
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
    harness.publish(10);
    harness.plan.streams[0].guest.parameters = r#"{"better":true}"#.into();
    harness.apply().await;
    harness.until_settled(10).await;
    assert_eq!(harness.source.opened.load(SeqCst), 1);
}

#[tokio::test]
async fn functions_filter_split_merge_and_reject() {
    let mut harness = Harness::new(World::default());
    let world = Arc::new(World::default());
    // Of every six: two are filtered, one is rejected, one becomes two, two are merged.
    harness.step("shape", &world, |batch: &Batch| {
        let mut made = Transformed::default();
        let mut payloads = Vec::new();
        let mut even: Option<u32> = None;
        for (index, record) in (0..).zip(batch.iter()) {
            let text = String::from_utf8_lossy(record.payload).into_owned();
            let number: usize = text.parse().unwrap();
            match number % 6 {
                0 | 1 => {}
                2 => made.rejected.push(Rejection { record_ref: index, reason: "two".into() }),
                3 => {
                    for part in ["a", "b"] {
                        made.origins.push(index as u32);
                        payloads.push(format!("{text}{part}"));
                    }
                }
                4 => even = Some(index as u32),
                _ => {
                    made.origins.push(index as u32);
                    payloads.push(format!("{text}+"));
                    if let Some(four) = even.take() {
                        made.also.push((made.origins.len() as u32 - 1, four));
                    }
                }
            }
        }
        if let Some(four) = even {
            made.origins.push(four);
            payloads.push("alone".into());
        }
        made.changes = vec![CHANGED_PAYLOAD; made.origins.len()];
        made.payload = Column::of(&payloads).unwrap();
        Ok(made)
    });
    harness.start().await;
    harness.publish(600);
    harness.until_settled(600).await;
    let pipeline = harness.pipeline();
    assert_eq!((pipeline.filtered, pipeline.dead), (200, 100));
    let delivered = harness.sink.delivered();
    assert_eq!(delivered.iter().filter(|text| text.ends_with(['a', 'b'])).count(), 200);
    assert_eq!(delivered.iter().filter(|text| text.ends_with('+')).count(), 100);
    let letters = harness.letters.letters();
    assert!(
        letters.iter().all(|letter| letter.reason == "two" && letter.step == "shape" && letter.component == "shape")
    );
    let mut ids: Vec<_> = letters.iter().map(|letter| letter.id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 100);
}

#[tokio::test]
async fn a_merged_output_settles_all_it_came_of_and_only_then() {
    let mut harness = Harness::new(World::default());
    let world = Arc::new(World::default());
    harness.step("sum", &world, |batch: &Batch| {
        Ok(Transformed {
            origins: vec![0],
            also: (1..batch.count).map(|index| (0, index)).collect(),
            ..Transformed::default()
        })
    });
    *harness.sink.stuck.lock().unwrap() = true;
    harness.start().await;
    harness.publish(50);
    harness.until("the sum is written", |_| harness.sink.writes.load(SeqCst) > 0).await;
    assert_eq!(harness.source.settled(), 0);
    *harness.sink.stuck.lock().unwrap() = false;
    harness.sink.changed.notify_waiters();
    harness.until_settled(50).await;
    assert_eq!(harness.pipeline().filtered, 0);
}

#[tokio::test]
async fn a_record_that_breaks_a_function_is_found_and_rejected() {
    let mut harness = Harness::new(World::default());
    let world = Arc::new(World::default());
    world.poison.lock().unwrap().extend(["5".to_owned(), "250".to_owned()]);
    harness.step("pass", &world, |batch: &Batch| Ok(Transformed::pass(batch.count)));
    harness.start().await;
    harness.publish(300);
    harness.until_settled(300).await;
    let mut letters: Vec<_> = harness.letters.letters().iter().map(|letter| letter.payload.to_vec()).collect();
    letters.sort();
    assert_eq!(letters, [&b"250"[..], &b"5"[..]]);
    assert!(harness.letters.letters().iter().all(|letter| letter.code == LetterCode::Poison));
    let delivered = harness.sink.delivered();
    assert_eq!(delivered.len(), 298);
    assert!(keys_in_order(&delivered));
    assert!(harness.pipeline().restarts > 0);
    assert!(harness.pipeline().last_error.unwrap().starts_with("step pass:"));
}

#[tokio::test]
async fn routes_lead_to_their_sinks_and_others_go_on() {
    let mut harness = Harness::new(World::default());
    let (world, side) = (Arc::new(World::default()), Arc::new(World::default()));
    let route = |batch: &Batch| {
        let routes = batch.iter().map(|record| u16::from(record.payload.ends_with(b"0"))).collect();
        Ok(Transformed { routes, ..Transformed::pass(batch.count) })
    };
    let guest = Fake::plan_with_routes("router", &world, Behaviour::Function(Arc::new(route)), &["default", "tens"]);
    harness.plan.pipelines[0].steps.push(crate::plan::StepPlan::new("router", guest));
    harness.step("mark", &world, |batch: &Batch| {
        let payloads: Vec<Vec<u8>> = batch.iter().map(|record| [record.payload, b"!"].concat()).collect();
        Ok(Transformed {
            changes: vec![CHANGED_PAYLOAD; batch.len()],
            payload: Column::of(payloads).unwrap(),
            ..Transformed::pass(batch.count)
        })
    });
    let other = crate::plan::StreamPlan::new(
        "side",
        "side",
        ferrule_model::component::Direction::Egress,
        Fake::plan("sink", &side, Behaviour::Sink),
    );
    harness.plan.streams.push(other);
    harness.plan.pipelines[0].routes.insert("tens".into(), "side".into());
    harness.start().await;
    harness.publish(100);
    harness.until_settled(100).await;
    assert_eq!(side.delivered().len(), 10);
    assert!(side.delivered().iter().all(|text| text.ends_with('0')));
    let delivered = harness.sink.delivered();
    assert_eq!(delivered.len(), 90);
    assert!(delivered.iter().all(|text| text.ends_with('!')));
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
async fn a_stream_without_a_pipeline_is_not_opened_until_it_has_one() {
    let mut harness = Harness::new(World::default());
    let pipelines = std::mem::take(&mut harness.plan.pipelines);
    harness.apply().await;
    harness.publish(10);
    harness
        .until("it says so", |flow| flow.streams.values().any(|stream| stream.guest.state == StreamState::NoPipeline))
        .await;
    assert_eq!(harness.source.opened.load(SeqCst), 0);
    harness.plan.pipelines = pipelines;
    harness.apply().await;
    harness.until_settled(10).await;
    harness.plan.pipelines.clear();
    harness.apply().await;
    harness.until("it is closed", |_| harness.source.closed.load(SeqCst) == 1).await;
}

#[tokio::test]
async fn a_paused_stream_services_its_connection_and_takes_nothing() {
    let mut harness = Harness::new(World::default());
    harness.plan.streams[0].held = true;
    harness.apply().await;
    harness.publish(10);
    harness.until("it is held", |_| harness.source.pulls_held.load(SeqCst) > 0).await;
    assert_eq!(harness.stream("in").guest.state, StreamState::Held);
    assert_eq!(harness.stream("in").records, 0);
    harness.plan.streams[0].held = false;
    harness.apply().await;
    harness.until_settled(10).await;
    assert_eq!(harness.source.opened.load(SeqCst), 1, "the connection stayed");
}

#[tokio::test]
async fn a_paused_sink_and_a_paused_pipeline_deliver_nothing() {
    for what in ["sink", "pipeline"] {
        let mut harness = Harness::new(World::default());
        harness.plan.streams[1].held = what == "sink";
        harness.plan.pipelines[0].held = what == "pipeline";
        harness.start().await;
        harness.publish(10);
        harness.until("taken in", |flow| flow.streams["in"].records == 10).await;
        assert_eq!(harness.sink.writes.load(SeqCst), 0);
        harness.plan.streams[1].held = false;
        harness.plan.pipelines[0].held = false;
        harness.apply().await;
        harness.until_settled(10).await;
    }
}

#[tokio::test]
async fn a_new_config_reaches_the_guest_without_a_new_session() {
    let mut harness = Harness::new(World::default());
    harness.start().await;
    for stream in &mut harness.plan.streams {
        stream.guest.config = r#"{"a":1}"#.into();
    }
    harness.apply().await;
    harness
        .until("configured", |_| {
            harness.source.configured.lock().unwrap().len() == 1 && harness.sink.configured.lock().unwrap().len() == 1
        })
        .await;
    harness.publish(10);
    harness.until_settled(10).await;
    assert_eq!((harness.source.opened.load(SeqCst), harness.sink.opened.load(SeqCst)), (1, 1));
}

#[tokio::test]
async fn new_parameters_open_new_sessions_and_lose_nothing() {
    let mut harness = Harness::new(World { lazy: true, ..World::default() });
    harness.start().await;
    for round in 0..5 {
        harness.publish_range(round * 500..(round + 1) * 500);
        for stream in &mut harness.plan.streams {
            stream.guest.parameters = format!(r#"{{"round":{round}}}"#);
        }
        harness.apply().await;
    }
    harness
        .until("all is settled", |_| {
            harness.source.upstream.lock().unwrap().is_empty() && harness.source.unsettled.lock().unwrap().is_empty()
        })
        .await;
    assert_eq!(set(&harness.sink.delivered()), numbers(0..2_500));
    assert!(harness.source.opened.load(SeqCst) > 1);
    assert_eq!(harness.stream("in").guest.restarts, 0, "a change is no failure");
}

#[tokio::test]
async fn a_component_that_does_not_open_gives_way_to_the_old_one() {
    let mut harness = Harness::new(World::default());
    harness.start().await;
    let broken = Arc::new(World::default());
    broken.open_errors.lock().unwrap().extend((0..100).map(|_| trap()));
    let good = harness.plan.streams[1].guest.clone();
    harness.plan.streams[1].guest = Fake::plan("broken", &broken, Behaviour::Sink);
    harness.apply().await;
    harness.until("the new one was tried", |flow| flow.streams["out"].guest.last_error.is_some()).await;
    harness.publish(10);
    harness.until_settled(10).await;
    let out = harness.stream("out");
    assert_eq!(out.guest.component, "sink");
    assert!(out.guest.last_error.unwrap().contains("goes on"));
    assert_eq!(broken.open_errors.lock().unwrap().len(), 99, "it is tried once");
    harness.plan.streams[1].guest = good;
    harness.apply().await;
    harness.publish_range(10..20);
    harness.until_settled(20).await;
}

#[tokio::test]
async fn a_changed_pipeline_goes_on_where_it_was() {
    let mut harness = Harness::new(World::default());
    let world = Arc::new(World::default());
    harness.start().await;
    harness.publish(1_000);
    harness.step("pass", &world, |batch: &Batch| Ok(Transformed::pass(batch.count)));
    harness.apply().await;
    harness.publish_range(1_000..2_000);
    harness.plan.pipelines[0].batch.records = 7;
    harness.apply().await;
    harness.until_settled(2_000).await;
    assert_eq!(set(&harness.sink.delivered()), numbers(0..2_000));
    harness
        .until("the step runs", |_| {
            harness
                .pipeline()
                .steps
                .first()
                .is_some_and(|(name, step)| name == "pass" && step.state == StreamState::Running)
        })
        .await;
}

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
async fn people_watch_records_as_they_pass() {
    let mut harness = Harness::new(World::default());
    let world = Arc::new(World::default());
    harness.step("pass", &world, |batch: &Batch| Ok(Transformed::pass(batch.count)));
    harness.start().await;
    harness.until("the step is there", |_| harness.pipeline().steps.len() == 1).await;
    let targets = [
        TailTarget::Stream("in".into()),
        TailTarget::Stream("out".into()),
        TailTarget::Pipeline("p".into()),
        TailTarget::Step("p".into(), "pass".into()),
    ];
    let mut tails: Vec<_> = targets.iter().map(|target| harness.flow.tail(target).unwrap()).collect();
    harness.publish(3);
    harness.until_settled(3).await;
    for (tail, name) in tails.iter_mut().zip(["in", "out", "p", "p/pass"]) {
        for index in 0..3 {
            let record = tail.recv().await.unwrap();
            assert_eq!((&*record.seen_at, &*record.payload), (name, index.to_string().as_bytes()));
        }
    }
    assert!(matches!(
        harness.flow.tail(&TailTarget::Step("p".into(), "no".into())),
        Err(FlowError::UnknownStep { .. })
    ));
}

#[tokio::test]
async fn a_trial_shows_each_step_and_does_nothing_else() {
    let mut harness = Harness::new(World::default());
    let world = Arc::new(World::default());
    harness.step("twice", &world, |batch: &Batch| {
        Ok(Transformed {
            origins: (0..batch.count).flat_map(|index| [index, index]).collect(),
            ..Transformed::default()
        })
    });
    harness.step("one", &world, |_: &Batch| Ok(Transformed { origins: vec![1], ..Transformed::default() }));
    harness.step("break", &world, |_: &Batch| Err(trap()));
    harness.start().await;
    let steps = harness.flow.trial(&"p".into(), Batch::of(["x"]).unwrap()).await.unwrap();
    assert_eq!(steps.len(), 3);
    assert_eq!((steps[0].outputs.len(), steps[0].filtered), (2, 0));
    assert_eq!((steps[1].outputs.len(), steps[1].filtered), (1, 1));
    assert_eq!(steps[1].outputs[0].record.record(0).payload, b"x");
    assert_eq!(steps[2].error, Some(trap()));
    assert_eq!((harness.sink.writes.load(SeqCst), harness.pipeline().delivered), (0, 0));
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
    assert_eq!(
        (letters[0].payload.len() as u64 + letters[0].truncated, letters[0].pipeline.clone()),
        ((1 << 20) + 1, None)
    );
}

#[tokio::test]
async fn a_deleted_stream_closes_and_others_do_not_notice() {
    let mut harness = Harness::new(World::default());
    harness.start().await;
    let (other_in, other_out) = (Arc::new(World::default()), Arc::new(World::default()));
    let ingress = ferrule_model::component::Direction::Ingress;
    let egress = ferrule_model::component::Direction::Egress;
    harness.plan.streams.push(crate::plan::StreamPlan::new(
        "in2",
        "in2",
        ingress,
        Fake::plan("source", &other_in, Behaviour::Source),
    ));
    harness.plan.streams.push(crate::plan::StreamPlan::new(
        "out2",
        "out2",
        egress,
        Fake::plan("sink", &other_out, Behaviour::Sink),
    ));
    harness.plan.pipelines.push(crate::plan::PipelinePlan::new("p2", "p2", "in2", "out2"));
    harness.apply().await;
    other_in.publish([("k".into(), "1".into())]);
    harness.until("the second works", |_| other_in.settled() == 1).await;
    harness.plan.streams.truncate(2);
    harness.plan.pipelines.truncate(1);
    harness.apply().await;
    assert_eq!((other_in.closed.load(SeqCst), other_out.closed.load(SeqCst)), (1, 1), "closed when apply returns");
    harness.publish(10);
    harness.until_settled(10).await;
    assert_eq!((harness.source.opened.load(SeqCst), harness.sink.opened.load(SeqCst)), (1, 1));
    assert_eq!(harness.flow.snapshot().streams.len(), 2);
}
