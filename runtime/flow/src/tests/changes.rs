//! What changes while records flow: streams, pipelines, parameters and components.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use ferrule_model::record::{Batch, Transformed};

use super::set;
use crate::StreamState;
use crate::fakes::{Behaviour, Fake, Harness, World, numbers, trap};

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
