//! Functions, what they do to records, and how people see each step.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use ferrule_model::record::{Batch, CHANGED_PAYLOAD, Column, Rejection, Transformed};

use super::keys_in_order;
use crate::fakes::{Behaviour, Fake, Harness, World, trap};
use crate::{FlowError, LetterCode, TailTarget};

#[tokio::test]
async fn a_record_of_which_a_function_makes_more_than_a_batch_holds_is_refused_alone() {
    let mut harness = Harness::new(World::default());
    let world = Arc::new(World::default());
    // Of a large record it makes so many that they are over 4 GiB together, and says so in a few bytes.
    harness.step("many", &world, |batch: &Batch| {
        let origins = (0..).zip(batch.iter()).flat_map(|(index, record)| {
            let times = if record.payload.len() > 1_000 { 9_000 } else { 1 };
            std::iter::repeat_n(index, times)
        });
        Ok(Transformed { origins: origins.collect(), ..Transformed::default() })
    });
    harness.start().await;
    let large = "x".repeat(500_000);
    let number = |number: usize| if number == 7 { large.clone() } else { number.to_string() };
    harness.source.publish((0..50).map(|index| (format!("k{}", index % 5), number(index))));
    harness.until_settled(50).await;
    let letters = harness.letters.letters();
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].code, letters[0].step.as_str()), (LetterCode::Malformed, "many"));
    assert_eq!(letters[0].address.as_ref().unwrap().offset, 7);
    assert!(letters[0].reason.contains("its answers do not fit together"), "{}", letters[0].reason);
    let delivered = harness.sink.delivered();
    assert_eq!(delivered.len(), 49);
    assert!(keys_in_order(&delivered));
}

#[tokio::test]
async fn functions_that_end_by_themselves_are_started_again_with_what_they_had() {
    for parallelism in [1, 2] {
        let mut harness = Harness::new(World::default());
        let (world, panics) = (Arc::new(World::default()), std::sync::atomic::AtomicU32::new(2));
        harness.step("fragile", &world, move |batch: &Batch| {
            let left = panics.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1));
            assert!(left.is_err(), "scripted: a fault of the host's own");
            Ok(Transformed::pass(batch.count))
        });
        harness.plan.pipelines[0].steps[0].parallelism = parallelism;
        harness.start().await;
        harness.publish(100);
        harness.until_settled(100).await;
        let delivered = harness.sink.delivered();
        assert_eq!(delivered.len(), 100);
        assert!(keys_in_order(&delivered));
        let error = harness.pipeline().last_error.unwrap();
        assert!(error.contains("the functions ended unexpectedly"), "{error}");
    }
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
