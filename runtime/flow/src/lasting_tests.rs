//! What a log that lasts changes: sources are settled at once, pipelines go on where they were and may read again.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use ferrule_model::record::{CHANGED_PAYLOAD, Column, Rejection, Transformed};
use ferrule_transport::LogError;

use crate::fakes::{Harness, World, numbers};
use crate::{FlowError, FlowSnapshot, Replayed, RewindTo, StreamState};

fn delivered(harness: &Harness) -> Vec<usize> {
    harness.sink.delivered().iter().map(|text| text.parse().unwrap()).collect()
}

#[tokio::test]
async fn a_source_is_settled_when_its_records_are_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = Harness::on_disk(World::default(), folder.path());
    harness.plan.pipelines[0].held = true;
    harness.start().await;
    harness.publish(1_000);
    harness.until_settled(1_000).await;
    assert_eq!(harness.sink.delivered().len(), 0, "nothing was delivered yet");
    harness.plan.pipelines[0].held = false;
    harness.apply().await;
    harness.until("delivered", |flow| flow.pipelines.values().all(|pipeline| pipeline.delivered == 1_000)).await;
}

#[tokio::test]
async fn a_pipeline_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    {
        let harness = Harness::on_disk(World::default(), folder.path());
        harness.start().await;
        harness.publish(100);
        harness.until("delivered", |flow| flow.pipelines.values().all(|pipeline| pipeline.delivered == 100)).await;
        harness.flow.stop(Duration::from_secs(10)).await.unwrap();
    }
    let mut harness = Harness::on_disk(World::default(), folder.path());
    harness.plan.pipelines[0].held = true;
    harness.start().await;
    harness.publish_range(100..150);
    harness.until_settled(50).await;
    harness.flow.stop(Duration::from_secs(10)).await.unwrap();
    drop(harness);
    let harness = Harness::on_disk(World::default(), folder.path());
    harness.start().await;
    harness.until("delivered", |flow| flow.pipelines.values().all(|pipeline| pipeline.delivered == 50)).await;
    let mut left = delivered(&harness);
    left.sort_unstable();
    assert_eq!(left, (100..150).collect::<Vec<_>>(), "what was accepted, and nothing that was delivered before");
}

#[tokio::test]
async fn a_log_that_comes_late_is_waited_for_and_a_new_pipeline_misses_nothing_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let there = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let harness = Harness::on_late_log(World::default(), folder.path(), there.clone());
    harness.apply().await;
    let told = |error: &Option<String>| error.as_ref().is_some_and(|error| error.contains("it is late"));
    harness
        .until("both say why they wait", |flow| {
            flow.pipelines.values().all(|pipeline| told(&pipeline.last_error))
                && told(&flow.streams["in"].guest.last_error)
        })
        .await;
    assert_eq!(harness.source.opened.load(SeqCst), 0, "a source is not opened while nobody knows where it goes on");
    // The source may be asked first, so that its records are in the log before the pipeline reads.
    harness.publish(100);
    there.store(true, SeqCst);
    harness.until("delivered", |flow| flow.pipelines.values().all(|pipeline| pipeline.delivered == 100)).await;
}

#[tokio::test]
async fn what_a_source_gave_before_it_broke_is_appended_and_it_goes_on_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let fast = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let harness = Harness::on_slow_log(World::default(), folder.path(), fast.clone());
    harness.source.counts.store(true, SeqCst);
    harness.start().await;
    harness.publish(20);
    harness.until_settled(20).await;
    fast.store(false, SeqCst);
    // The first of these are on their way to the log when the source breaks, the others wait behind them.
    for count in [40, 60] {
        harness.publish_range(count - 20..count);
        harness.until("taken in", |_| harness.source.given.lock().unwrap().len() == count).await;
    }
    harness.source.next_errors.lock().unwrap().push_back(crate::fakes::trap());
    harness.publish_range(60..80);
    harness.until("it broke", |flow| flow.streams["in"].guest.last_error.is_some()).await;
    fast.store(true, SeqCst);
    harness.until("it is open again", |_| harness.source.opened.load(SeqCst) == 2).await;
    harness.until("delivered", |_| harness.sink.delivered().len() >= 80).await;
    harness.until("all is read", |flow| flow.pipelines["p"].lag == 0 && flow.pipelines["p"].in_flight == 0).await;
    let mut delivered = delivered(&harness);
    delivered.sort_unstable();
    assert_eq!(delivered, (0..80).collect::<Vec<_>>(), "each once");
    let positions = harness.source.positions.lock().unwrap().clone();
    assert!([Some(b"60".to_vec()), Some(b"80".to_vec())].contains(&positions[1]), "{positions:?}");
}

#[tokio::test]
async fn no_position_passes_records_that_the_log_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refusals = crate::fakes::Refusals::default();
    let harness = Harness::on_refusing_log(World::default(), folder.path(), refusals.clone());
    harness.source.counts.store(true, SeqCst);
    harness.start().await;
    harness.publish(20);
    harness.until_settled(20).await;
    refusals.lock().unwrap().extend([LogError::Closed, LogError::Closed]);
    harness.publish_range(20..40);
    harness.until("refused", |flow| flow.streams["in"].guest.last_error.is_some()).await;
    harness.publish_range(40..60);
    harness.until("delivered", |_| harness.sink.delivered().len() >= 60).await;
    harness.until("all is read", |flow| flow.pipelines["p"].lag == 0 && flow.pipelines["p"].in_flight == 0).await;
    let mut delivered = delivered(&harness);
    delivered.sort_unstable();
    assert_eq!(delivered, (0..60).collect::<Vec<_>>(), "each once");
    let guest = harness.stream("in").guest;
    let error = guest.last_error.unwrap();
    assert!(error.contains("records were not taken in: the log is closed"), "{error}");
    assert_eq!((guest.restarts, harness.source.closed.load(SeqCst)), (2, 2), "each session ended in an orderly way");
    let positions = harness.source.positions.lock().unwrap().clone();
    assert_eq!(positions, [None, Some(b"20".to_vec()), Some(b"20".to_vec())]);
}

#[tokio::test]
async fn a_pipeline_that_cannot_run_for_a_while_misses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = Harness::on_disk(World::default(), folder.path());
    harness.start().await;
    let pipeline = harness.plan.pipelines.remove(0);
    harness.plan.retained.pipelines.insert(pipeline.uid.clone());
    harness.apply().await;
    harness.publish(100);
    harness.until_settled(100).await;
    harness.plan.pipelines.push(pipeline);
    harness.apply().await;
    harness.until("delivered", |_| harness.sink.delivered().len() == 100).await;
    let pipeline = harness.plan.pipelines.remove(0);
    harness.plan.retained = Default::default();
    harness.apply().await;
    harness.publish_range(100..200);
    harness.until_settled(200).await;
    harness.plan.pipelines.push(pipeline);
    harness.apply().await;
    harness.publish_range(200..300);
    harness.until("delivered", |_| harness.sink.delivered().len() == 200).await;
    assert!(delivered(&harness).iter().all(|number| !(100..200).contains(number)), "one that was deleted begins anew");
}

#[tokio::test]
async fn a_pipeline_reads_again_from_where_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let harness = Harness::on_disk(World::default(), folder.path());
    harness.start().await;
    harness.publish(100);
    harness.until("delivered", |flow| flow.pipelines.values().all(|pipeline| pipeline.delivered == 100)).await;
    let uid = "p".into();
    assert_eq!(harness.flow.rewind(&uid, RewindTo::Offset(90)).await.unwrap(), [("in".into(), 90)]);
    harness.until("delivered", |_| harness.sink.delivered().len() == 110).await;
    assert_eq!(harness.flow.rewind(&uid, RewindTo::Beginning).await.unwrap(), [("in".into(), 0)]);
    harness.until("delivered", |_| harness.sink.delivered().len() == 210).await;
    let memory = Harness::new(World::default());
    memory.start().await;
    let refused = memory.flow.rewind(&uid, RewindTo::Beginning).await.unwrap_err();
    assert!(matches!(refused, FlowError::NotReplayable { log: "memory", .. }), "{refused}");
}

#[tokio::test]
async fn a_rewind_that_the_log_does_not_allow_now_is_refused_and_does_not_come_later() {
    let folder = tempfile::tempdir().unwrap();
    let there = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let harness = Harness::on_late_log(World::default(), folder.path(), there.clone());
    harness.start().await;
    harness.publish(100);
    harness.until("delivered", |flow| flow.pipelines["p"].delivered == 100).await;
    // So that the cursor is known wherever it is kept.
    harness.until("done", |flow| flow.pipelines["p"].lag == 0).await;
    there.store(false, SeqCst);
    let refused = harness.flow.rewind(&"p".into(), RewindTo::Beginning).await.unwrap_err();
    assert!(matches!(refused, FlowError::Log(LogError::Unavailable(_))), "{refused}");
    there.store(true, SeqCst);
    harness.publish_range(100..150);
    harness.until("it goes on", |flow| flow.pipelines["p"].delivered >= 150).await;
    harness.until("all is done", |flow| flow.pipelines["p"].lag == 0).await;
    let mut delivered = delivered(&harness);
    delivered.sort_unstable();
    assert_eq!(delivered, (0..150).collect::<Vec<_>>(), "each once");
}

#[tokio::test]
async fn letters_that_are_offered_again_are_delivered() {
    let mut harness = Harness::new(World::default());
    let mended = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let world = Arc::new(World::default());
    let gate = mended.clone();
    harness.step("first", &world, |batch| Ok(Transformed::pass(batch.count)));
    harness.step("picky", &world, move |batch| {
        if gate.load(SeqCst) {
            let payloads = batch.iter().map(|record| [record.payload, b"0"].concat());
            let (changes, payload) = (vec![CHANGED_PAYLOAD; batch.len()], Column::of(payloads).unwrap());
            return Ok(Transformed { changes, payload, ..Transformed::pass(batch.count) });
        }
        let rejected = (0..u64::from(batch.count))
            .map(|record_ref| Rejection { record_ref, reason: "not yet".to_owned() })
            .collect();
        Ok(Transformed { rejected, ..Transformed::default() })
    });
    harness.start().await;
    harness.publish(10);
    harness.until_settled(10).await;
    let letters = harness.letters.letters();
    assert_eq!(letters.len(), 10);
    let uid = "p".into();
    let again = harness.flow.replay(&uid, letters.clone()).await.unwrap();
    assert_eq!(again, [Replayed::GivenUp; 10]);
    let twice = harness.letters.letters();
    assert_eq!(twice.len(), 20);
    assert_eq!(twice[10].attempts, 2, "attempts add up");
    assert_eq!((&twice[10].id, &twice[10].address), (&letters[0].id, &letters[0].address));
    mended.store(true, SeqCst);
    assert_eq!(harness.flow.replay(&uid, letters.clone()).await.unwrap(), [Replayed::Delivered; 10]);
    let mut numbers = delivered(&harness);
    numbers.sort_unstable();
    assert_eq!(
        numbers,
        (0..10).map(|number| number * 10).collect::<Vec<_>>(),
        "each went through the step that refused it"
    );
    let nowhere = vec![crate::DeadLetter { step: "gone".into(), ..letters[0].clone() }];
    let refused = harness.flow.replay(&uid, nowhere).await.unwrap_err();
    assert!(matches!(refused, FlowError::UnknownStep { .. }), "{refused}");
    harness.plan.pipelines[0].held = true;
    harness.apply().await;
    harness.until("paused", |flow| flow.pipelines.values().all(|pipeline| pipeline.state == "paused")).await;
    assert!(matches!(harness.flow.replay(&uid, letters).await.unwrap_err(), FlowError::Paused(_)));
}

#[tokio::test]
async fn a_step_in_lanes_keeps_the_order_of_each_key() {
    let mut harness = Harness::new(World::default());
    let world = Arc::new(World::default());
    harness.step("wide", &world, |batch| Ok(Transformed::pass(batch.count)));
    harness.plan.pipelines[0].steps[0].parallelism = 3;
    harness.start().await;
    harness.publish(5_000);
    harness.until_settled(5_000).await;
    let delivered = harness.sink.delivered();
    assert_eq!(delivered.iter().cloned().collect::<std::collections::BTreeSet<_>>(), numbers(0..5_000));
    for key in 0..5 {
        let of_key: Vec<usize> =
            delivered.iter().map(|text| text.parse().unwrap()).filter(|number| number % 5 == key).collect();
        assert!(of_key.is_sorted(), "{key}");
    }
    assert_eq!(world.opened.load(SeqCst), 3);
}

#[tokio::test]
async fn what_comes_twice_goes_through_once_and_over_a_restart_too() {
    let folder = tempfile::tempdir().unwrap();
    let publish = |harness: &Harness, payloads: &[&str]| {
        harness.source.publish(payloads.iter().map(|payload| ("k".to_owned(), (*payload).to_owned())));
    };
    {
        let mut harness = Harness::on_disk(World::default(), folder.path());
        harness.source.named.store(true, SeqCst);
        harness.start().await;
        publish(&harness, &["1", "1"]);
        harness.until("both", |_| harness.sink.delivered().len() == 2).await;
        harness.plan.pipelines[0].deduplicate = Some(Duration::from_secs(600));
        harness.apply().await;
        publish(&harness, &["2", "3", "2", "1"]);
        harness.until("duplicates", |flow| flow.pipelines.values().all(|pipeline| pipeline.duplicates == 2)).await;
        harness.until("delivered", |_| delivered(&harness) == [1, 1, 2, 3]).await;
        harness.flow.stop(Duration::from_secs(10)).await.unwrap();
    }
    let mut harness = Harness::on_disk(World::default(), folder.path());
    harness.source.named.store(true, SeqCst);
    harness.plan.pipelines[0].deduplicate = Some(Duration::from_secs(600));
    harness.start().await;
    publish(&harness, &["3", "4"]);
    harness.until("the rest", |_| delivered(&harness) == [4]).await;
    assert_eq!(harness.pipeline().duplicates, 1);
}

#[tokio::test]
async fn a_stopped_sink_leaves_to_the_log_what_is_over_the_window() {
    const RECORD: usize = 1_000;
    const WINDOW: u64 = 64_000;
    let folder = tempfile::tempdir().unwrap();
    let mut harness = Harness::on_disk(World::default(), folder.path());
    *harness.sink.stuck.lock().unwrap() = true;
    let pipeline = &mut harness.plan.pipelines[0];
    (pipeline.batch.window_bytes, pipeline.batch.records) = (WINDOW, 10);
    harness.start().await;
    let count = 100 * WINDOW as usize / RECORD;
    harness.source.publish((0..count).map(|number| (String::new(), format!("{number:0RECORD$}"))));
    harness.until_settled(count as u64).await;
    harness
        .until("the window is full", |flow| {
            flow.pipelines.values().all(|pipeline| pipeline.in_flight * RECORD as u64 >= WINDOW)
        })
        .await;
    let pipeline = harness.pipeline();
    let most = WINDOW / RECORD as u64 + 10;
    assert!(pipeline.in_flight <= most, "{} records in hand, and {most} are allowed", pipeline.in_flight);
    let all = |flow: &FlowSnapshot| flow.pipelines.values().all(|pipeline| pipeline.lag == count as u64);
    harness.until("the log has the rest, and the lag is known although nothing moves", all).await;
    *harness.sink.stuck.lock().unwrap() = false;
    harness.sink.changed.notify_waiters();
    harness.until("all", |flow| flow.pipelines.values().all(|pipeline| pipeline.delivered == count as u64)).await;
}

#[tokio::test]
async fn what_is_in_hand_and_not_done_counts_as_lag() {
    let folder = tempfile::tempdir().unwrap();
    let harness = Harness::on_disk(World::default(), folder.path());
    *harness.sink.stuck.lock().unwrap() = true;
    let before = crate::shared::now_ms();
    harness.start().await;
    harness.source.publish((0..100).map(|number| (String::from("key"), format!("{number:097}"))));
    harness.until("all are in hand", |flow| flow.pipelines["p"].in_flight == 100).await;
    let pipeline = harness.pipeline();
    assert_eq!((pipeline.lag, pipeline.lag_bytes), (100, 10_000));
    let oldest = pipeline.oldest_ms.unwrap();
    assert!((before..=crate::shared::now_ms()).contains(&oldest), "{oldest}");
    *harness.sink.retries.lock().unwrap() = vec![(format!("{:097}", 7), u32::MAX)];
    *harness.sink.stuck.lock().unwrap() = false;
    harness.sink.changed.notify_waiters();
    harness.until("one is left", |flow| flow.pipelines["p"].in_flight == 1).await;
    let pipeline = harness.pipeline();
    assert_eq!(
        (pipeline.lag, pipeline.lag_bytes, pipeline.oldest_ms),
        (1, 100, Some(oldest)),
        "the batch that it came in is the oldest"
    );
    harness.sink.retries.lock().unwrap().clear();
    harness.until("nothing is left", |flow| flow.pipelines["p"].lag == 0).await;
    let pipeline = harness.pipeline();
    assert_eq!((pipeline.delivered, pipeline.lag_bytes, pipeline.oldest_ms), (100, 0, None));
}

#[tokio::test]
async fn what_was_done_behind_an_open_record_is_known_again_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let window = Some(Duration::from_secs(3600));
    {
        let mut harness = Harness::on_disk(World::default(), folder.path());
        harness.source.named.store(true, SeqCst);
        harness.plan.pipelines[0].deduplicate = window;
        *harness.sink.retries.lock().unwrap() = vec![("0".into(), u32::MAX)];
        harness.start().await;
        harness.publish(10);
        harness.until("delivered", |_| harness.sink.delivered().len() == 9).await;
        assert!(harness.flow.stop(Duration::from_millis(50)).await.is_err(), "one record is open");
    }
    let mut harness = Harness::on_disk(World::default(), folder.path());
    harness.source.named.store(true, SeqCst);
    harness.plan.pipelines[0].deduplicate = window;
    harness.publish(11);
    harness.start().await;
    harness.until("delivered", |flow| flow.pipelines["p"].delivered == 2).await;
    harness.until("all is read", |flow| flow.pipelines["p"].lag == 0 && flow.pipelines["p"].in_flight == 0).await;
    let mut rest = delivered(&harness);
    rest.sort_unstable();
    assert_eq!(rest, [0, 10], "what was open, and what is new");
    assert_eq!(harness.pipeline().duplicates, 10);
}

#[tokio::test]
async fn damage_is_a_state_of_the_pipeline_until_it_is_told_to_go_on_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    {
        let mut harness = Harness::on_disk(World::default(), folder.path());
        harness.plan.pipelines[0].held = true;
        harness.start().await;
        for (count, text) in (1..).zip(["1", "2", "needle-in-the-log", "4", "5"]) {
            harness.source.publish([("k".to_owned(), text.to_owned())]);
            harness.until_settled(count).await;
        }
        harness.flow.stop(Duration::from_secs(10)).await.unwrap();
    }
    let mut spoilt = 0;
    for file in std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()) {
        let Ok(mut bytes) = std::fs::read(&file) else { continue };
        if let Some(place) = bytes.windows(17).position(|window| window == b"needle-in-the-log") {
            bytes[place] ^= 1;
            std::fs::write(&file, bytes).unwrap();
            spoilt += 1;
        }
    }
    assert_eq!(spoilt, 1);
    let harness = Harness::on_disk(World::default(), folder.path());
    harness.start().await;
    harness.until("it says so", |flow| flow.pipelines["p"].state == "failed").await;
    let pipeline = harness.pipeline();
    let words = ["the log is damaged at ", "records 2 to 3", "rewind the pipeline to offset 3"];
    assert!(words.iter().all(|word| pipeline.detail.contains(word)), "{}", pipeline.detail);
    harness.until("what is before it", |_| harness.sink.delivered() == ["1", "2"]).await;
    harness.flow.rewind(&"p".into(), RewindTo::Offset(3)).await.unwrap();
    harness.until("what is behind it", |_| harness.sink.delivered() == ["1", "2", "4", "5"]).await;
    harness.until("it runs", |flow| flow.pipelines["p"].state == "running").await;
}

#[tokio::test]
async fn a_position_is_not_saved_before_the_letter_of_a_record_in_front_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let harness = Harness::on_disk(World::default(), folder.path());
    harness.source.counts.store(true, SeqCst);
    harness.start().await;
    harness.letters_full.store(true, SeqCst);
    let large = "x".repeat((1 << 20) + 1);
    harness.source.publish([("k0".into(), "0".into()), ("k1".into(), large)]);
    let refused = |error: &Option<String>| error.as_ref().is_some_and(|error| error.contains("cannot be stored"));
    harness.until("the letter waits", |flow| refused(&flow.streams["in"].guest.last_error)).await;
    // The session that gave it ends meanwhile, and the next one goes on behind it.
    harness.source.next_errors.lock().unwrap().push_back(crate::fakes::trap());
    harness.source.publish([("k2".into(), "2".into())]);
    harness.until("it broke", |flow| flow.streams["in"].guest.state == StreamState::Opening).await;
    harness.letters_full.store(false, SeqCst);
    harness.until("delivered", |_| harness.sink.delivered().len() >= 2).await;
    assert_eq!(delivered(&harness), [0, 2]);
    assert_eq!(harness.letters.letters().len(), 1, "the large record is in the dead letters");
}
