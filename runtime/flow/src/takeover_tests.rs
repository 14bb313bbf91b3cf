//! A component takes the place of another while records are in flight: which opens and closes when, what a new one must show, and
//! that nothing is lost, given up or out of order whatever becomes of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use ferrule_host::{CallError, GuestErrorKind};
use ferrule_model::record::{Batch, Rejection, Transformed};

use crate::TRIAL;
use crate::fakes::{Behaviour, Fake, Harness, World, guest_error, numbers, trap};
use crate::plan::{GuestPlan, StepPlan};
use crate::snapshot::RolledBack;

const COUNT: usize = 600;

/// A flow whose source, function and sink are version 1 of a component each.
fn harness(overlap: bool) -> Harness {
    let mut harness = Harness::new(World::default());
    let (source, sink) = (harness.source.clone(), harness.sink.clone());
    harness.plan.streams[0].guest = Fake::version("in 1", &source, Behaviour::Source, &source, overlap);
    harness.plan.streams[1].guest = Fake::version("out 1", &sink, Behaviour::Sink, &sink, overlap);
    harness.plan.pipelines[0].batch.records = 20;
    harness
}

fn sink_2(harness: &Harness, flaws: &Arc<World>, overlap: bool) -> GuestPlan {
    Fake::version("out 2", &harness.sink, Behaviour::Sink, flaws, overlap)
}

fn source_2(harness: &Harness, flaws: &Arc<World>, overlap: bool) -> GuestPlan {
    Fake::version("in 2", &harness.source, Behaviour::Source, flaws, overlap)
}

fn function(
    digest: &str,
    world: &Arc<World>,
    flaws: &Arc<World>,
    overlap: bool,
    function: impl Fn(&Batch) -> Result<Transformed, CallError> + Send + Sync + 'static,
) -> StepPlan {
    StepPlan::new("step", Fake::version(digest, world, Behaviour::Function(Arc::new(function)), flaws, overlap))
}

fn pass(batch: &Batch) -> Result<Transformed, CallError> {
    Ok(Transformed::pass(batch.count))
}

/// Everything is delivered exactly once and in the order of its key, and nothing was given up.
async fn complete(harness: &Harness, count: usize) {
    harness.until_settled(count as u64).await;
    let delivered = harness.sink.delivered();
    assert_eq!(delivered.iter().cloned().collect::<std::collections::BTreeSet<_>>(), numbers(0..count));
    assert_eq!(delivered.len(), count, "each once");
    for key in 0..5 {
        let of_key = delivered.iter().filter_map(|text| text.parse::<usize>().ok()).filter(|number| number % 5 == key);
        assert!(of_key.is_sorted(), "key {key}");
    }
    assert_eq!(harness.letters.letters(), [], "nothing is given up because of a new component");
}

fn events(world: &World) -> Vec<String> {
    world.events.lock().unwrap().clone()
}

fn traps(count: u32) -> impl Iterator<Item = CallError> {
    (0..count).map(|_| trap())
}

fn out(harness: &Harness) -> Option<RolledBack> {
    harness.stream("out").guest.rolled_back
}

#[tokio::test]
async fn components_that_may_overlap_open_before_the_old_ones_close() {
    for overlap in [true, false] {
        let mut harness = harness(overlap);
        harness.source.positioned.store(true, SeqCst);
        let functions = Arc::new(World::default());
        harness.plan.pipelines[0].steps = vec![function("step 1", &functions, &functions, overlap, pass)];
        harness.start().await;
        harness.publish(COUNT / 2);
        harness.until("some", |_| harness.sink.delivered().len() > 40).await;
        let none = Arc::new(World::default());
        harness.plan.streams[0].guest = source_2(&harness, &none, overlap);
        harness.plan.streams[1].guest = sink_2(&harness, &none, overlap);
        harness.plan.pipelines[0].steps = vec![function("step 2", &functions, &none, overlap, pass)];
        harness.apply().await;
        for (world, name) in [(&harness.source, "in"), (&harness.sink, "out"), (&functions, "step")] {
            harness.until(&format!("{name} 2 has taken over"), |_| events(world).len() == 3).await;
            let (open, close) = (format!("open {name} 2"), format!("close {name} 1"));
            let expected = if overlap { [open, close] } else { [close, open] };
            assert_eq!(events(world)[1..], expected);
        }
        assert_eq!(*harness.source.positions.lock().unwrap(), [None, Some(b"in 1".to_vec())], "where the old one was");
        harness.publish_range(COUNT / 2..COUNT);
        complete(&harness, COUNT).await;
        assert_eq!(harness.stream("in").guest.component, "in 2");
        assert_eq!(harness.stream("out").guest.component, "out 2");
        assert_eq!(harness.pipeline().steps[0].1.component, "step 2");
        assert_eq!((out(&harness), harness.stream("in").guest.restarts), (None, 0));
    }
}

#[tokio::test]
async fn a_sink_that_fails_its_first_batches_gives_its_place_back() {
    for (overlap, rejects) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut harness = harness(overlap);
        harness.start().await;
        harness.publish(COUNT / 2);
        harness.until("some", |_| harness.sink.delivered().len() > 40).await;
        let flaws = Arc::new(World::default());
        if rejects {
            flaws.rejects.lock().unwrap().extend(numbers(0..COUNT));
        } else {
            flaws.write_errors.lock().unwrap().extend(traps(100));
        }
        harness.plan.streams[1].guest = sink_2(&harness, &flaws, overlap);
        harness.apply().await;
        harness.until("it is open", |_| events(&harness.sink).contains(&"open out 2".to_owned())).await;
        harness.publish_range(COUNT / 2..COUNT);
        complete(&harness, COUNT).await;
        harness.until("it is said", |_| out(&harness).is_some()).await;
        let said = out(&harness).unwrap();
        assert_eq!((said.refused.as_str(), said.running.as_str(), said.opened), ("out 2", "out 1", true));
        let words = format!("the component out 2 failed its first {TRIAL} batches, so out 1 goes on: ");
        assert!(said.message.starts_with(&words), "{}", said.message);
        assert_eq!(harness.stream("out").guest.component, "out 1");
        assert_eq!(harness.stream("out").guest.last_error, Some(said.message));
        if !rejects {
            assert_eq!(flaws.write_errors.lock().unwrap().len(), 100 - TRIAL as usize);
        }
        // What the documents ask for is there again, and nothing needs to be said.
        harness.plan.streams[1].guest = Fake::version("out 1", &harness.sink, Behaviour::Sink, &harness.sink, overlap);
        harness.apply().await;
        harness.until("nothing is said", |_| out(&harness).is_none()).await;
    }
}

#[tokio::test]
async fn a_sink_that_works_after_a_bad_start_stays_and_answers_for_itself() {
    let mut harness = harness(true);
    harness.start().await;
    let flaws = Arc::new(World::default());
    flaws.write_errors.lock().unwrap().extend(traps(TRIAL - 1));
    // What it rejects in a batch of which it delivers others is rejected.
    flaws.rejects.lock().unwrap().insert("7".to_owned());
    harness.plan.streams[1].guest = sink_2(&harness, &flaws, true);
    harness.apply().await;
    harness.until("it has taken over", |_| harness.stream("out").guest.component == "out 2").await;
    harness.publish(COUNT);
    harness.until_settled(COUNT as u64).await;
    assert_eq!(harness.sink.delivered().len(), COUNT - 1);
    let letters = harness.letters.letters();
    assert_eq!((letters.len(), &*letters[0].payload, letters[0].component.as_str()), (1, &b"7"[..], "out 2"));
    // From then on what it rejects is rejected, be it all of a batch, and what it breaks on is looked for among the records.
    flaws.rejects.lock().unwrap().extend(numbers(COUNT..COUNT + 20));
    flaws.poison.lock().unwrap().insert((COUNT + 30).to_string());
    harness.publish_range(COUNT..COUNT + 60);
    harness.until_settled(COUNT as u64 + 60).await;
    assert_eq!((harness.letters.letters().len(), out(&harness)), (22, None));
    assert_eq!(harness.stream("out").guest.component, "out 2");
}

#[tokio::test]
async fn what_the_world_outside_does_turns_no_component_back() {
    let mut harness = harness(false);
    harness.start().await;
    let flaws = Arc::new(World::default());
    let unavailable = || (0..5).map(|_| guest_error(GuestErrorKind::Unavailable));
    flaws.open_errors.lock().unwrap().extend(unavailable());
    flaws.write_errors.lock().unwrap().extend(unavailable());
    harness.plan.streams[1].guest = sink_2(&harness, &flaws, false);
    harness.apply().await;
    harness.publish(COUNT);
    complete(&harness, COUNT).await;
    assert_eq!((harness.stream("out").guest.component.as_str(), out(&harness)), ("out 2", None));
}

#[tokio::test]
async fn a_source_that_gives_nothing_but_errors_gives_its_place_back() {
    for overlap in [true, false] {
        let mut harness = harness(overlap);
        harness.start().await;
        harness.publish(COUNT / 2);
        harness.until("some", |_| harness.source.settled() > 0).await;
        let flaws = Arc::new(World::default());
        flaws.next_errors.lock().unwrap().extend(traps(100));
        harness.plan.streams[0].guest = source_2(&harness, &flaws, overlap);
        harness.apply().await;
        harness.until("it is said", |flow| flow.streams["in"].guest.rolled_back.is_some()).await;
        harness.publish_range(COUNT / 2..COUNT);
        complete(&harness, COUNT).await;
        let seen = harness.stream("in").guest;
        let said = seen.rolled_back.unwrap();
        assert_eq!((said.refused.as_str(), said.running.as_str(), said.opened), ("in 2", "in 1", true));
        assert_eq!(seen.component, "in 1");
        assert_eq!(flaws.next_errors.lock().unwrap().len(), 100 - TRIAL as usize);
    }
}

#[tokio::test]
async fn what_does_not_open_beside_the_old_one_changes_nothing() {
    let mut harness = harness(true);
    let (functions, flaws) = (Arc::new(World::default()), Arc::new(World::default()));
    harness.plan.pipelines[0].steps = vec![function("step 1", &functions, &functions, true, pass)];
    harness.start().await;
    harness.publish(COUNT / 2);
    harness.until("some", |_| harness.sink.delivered().len() > 40).await;
    flaws.open_errors.lock().unwrap().extend(traps(3));
    harness.plan.streams[0].guest = source_2(&harness, &flaws, true);
    harness.plan.streams[1].guest = sink_2(&harness, &flaws, true);
    harness.plan.pipelines[0].steps = vec![function("step 2", &functions, &flaws, true, pass)];
    harness.apply().await;
    harness
        .until("all are turned back", |flow| {
            let steps = flow.pipelines["p"].steps.iter().map(|(_, step)| step);
            let all = flow.streams.values().map(|stream| &stream.guest).chain(steps);
            all.filter(|guest| guest.rolled_back.as_ref().is_some_and(|said| !said.opened)).count() == 3
        })
        .await;
    harness.publish_range(COUNT / 2..COUNT);
    complete(&harness, COUNT).await;
    for world in [&harness.source, &harness.sink, &functions] {
        assert_eq!(events(world).len(), 1, "the old session is still the first: {:?}", events(world));
    }
    assert!(harness.pipeline().last_error.unwrap().contains("step 2 does not open, so step 1 goes on"));
}

#[tokio::test]
async fn a_function_that_fails_its_first_batches_gives_its_place_back() {
    for (overlap, parallelism, rejects) in [(true, 1, false), (false, 1, true), (true, 3, true), (false, 3, false)] {
        let mut harness = harness(true);
        let (functions, calls) = (Arc::new(World::default()), Arc::new(AtomicU32::new(0)));
        let step = |step: StepPlan| vec![StepPlan { parallelism, ..step }];
        harness.plan.pipelines[0].steps = step(function("step 1", &functions, &functions, overlap, pass));
        harness.start().await;
        harness.publish(COUNT / 2);
        harness.until("some", |_| harness.sink.delivered().len() > 40).await;
        let counted = calls.clone();
        let broken = move |batch: &Batch| {
            counted.fetch_add(1, SeqCst);
            if !rejects {
                return Err(trap());
            }
            let reject = |record_ref| Rejection { record_ref, reason: "no".to_owned() };
            Ok(Transformed { rejected: (0..batch.len() as u64).map(reject).collect(), ..Transformed::default() })
        };
        let broken = function("step 2", &functions, &functions, overlap, broken);
        harness.plan.pipelines[0].steps = step(broken.clone());
        harness.apply().await;
        harness.until("it is open", |_| events(&functions).contains(&"open step 2".to_owned())).await;
        harness.publish_range(COUNT / 2..COUNT);
        complete(&harness, COUNT).await;
        let said = |harness: &Harness| harness.pipeline().steps[0].1.rolled_back.clone();
        harness.until("it is said", |_| said(&harness).is_some()).await;
        let said = said(&harness).unwrap();
        assert_eq!((said.refused.as_str(), said.running.as_str(), said.opened), ("step 2", "step 1", true));
        assert!(calls.load(SeqCst) <= TRIAL * parallelism, "{calls:?}");
        // Another change of the pipeline does not try it again.
        let before = calls.load(SeqCst);
        harness.plan.pipelines[0].sampling = std::time::Duration::from_nanos(1);
        harness.apply().await;
        harness.publish_range(COUNT..COUNT + 1);
        complete(&harness, COUNT + 1).await;
        assert_eq!(calls.load(SeqCst), before);
        assert_eq!(harness.pipeline().steps[0].1.component, "step 1");
    }
}
