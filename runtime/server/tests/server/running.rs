//! A pipeline that runs: status, records, trial, pause, metrics, shutdown.

use std::time::Duration;

use ferrule_api::Platform;
use ferrule_api::report::{Action, Record};
use ferrule_api::request::{Control, ControlAction, Deletion, LogQuery, StatusQuery, Tail, Trial};
use ferrule_model::{Code, Kind};
use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::house::{DEADLINE, House, codes};

const HELLO: &str = r#"
apiVersion: connector.ferrule.dev/v1
kind: Pipeline
metadata: {name: hello}
spec:
  source: {class: generator, parameters: {rate: 200, size: 60}}
  functions: [{function: jq, args: {program: 'select(.sequence % 2 == 0)'}}]
  sink: {class: blackhole}
"#;

async fn hello() -> House {
    let house = House::new().await;
    for name in ["generator", "jq", "blackhole"] {
        house.register(name).await;
    }
    house.apply(HELLO).await.unwrap();
    house
}

fn delivered(report: &ferrule_api::report::StatusReport) -> u64 {
    report.pipelines.first().map_or(0, |pipeline| pipeline.delivered)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_runs_and_is_seen_from_all_sides() {
    let house = hello().await;
    let report = house.until("records are delivered", |report| delivered(report) > 20).await;
    assert_eq!(report.pipelines[0].source, "hello-source");
    assert!(report.streams.iter().all(|stream| stream.state == "running"), "{report:#?}");
    assert!(report.pipelines[0].filtered > 10);

    let tail = Tail { target: "hello".to_owned(), limit: Some(5), ..Tail::default() };
    let records: Vec<_> =
        tokio::time::timeout(DEADLINE, house.client.tail(tail).await.unwrap().collect::<Vec<_>>()).await.unwrap();
    assert_eq!(records.len(), 5);
    for record in records {
        let value: serde_json::Value = serde_json::from_slice(&record.unwrap().record.payload).unwrap();
        assert_eq!(value["sequence"].as_u64().unwrap() % 2, 0);
    }

    let record = |text: &str| Record { payload: text.as_bytes().to_vec(), ..Record::default() };
    let steps = |text: &str| {
        let trial = Trial { pipeline: "hello".to_owned(), record: record(text), ..Trial::default() };
        house.client.trial(trial)
    };
    let kept = steps(r#"{"sequence": 4}"#).await.unwrap();
    assert_eq!((kept[0].outputs.len(), kept[0].filtered), (1, false), "{kept:?}");
    assert!(steps(r#"{"sequence": 5}"#).await.unwrap()[0].filtered);
    assert!(steps("no JSON").await.unwrap()[0].rejected.is_some());

    // Lines may or may not be there yet; the call itself answers and ends.
    house.client.logs(LogQuery::default()).await.unwrap().collect::<Vec<_>>().await;

    let page = metrics(&house).await;
    assert!(page.contains("ferrule_pipeline_delivered_total{namespace=\"\",pipeline=\"hello\"}"), "{page}");
    assert!(page.contains("ferrule_components 3"), "{page}");
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
}

async fn metrics(house: &House) -> String {
    let mut connection = tokio::net::TcpStream::connect(house.server.metrics_address().unwrap()).await.unwrap();
    connection.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut page = String::new();
    connection.read_to_string(&mut page).await.unwrap();
    page
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_outlives_the_server_and_the_next_document() {
    let house = hello().await;
    house.until("records are delivered", |report| delivered(report) > 5).await;
    let control = |action, name: &str| Control { action, kind: None, names: vec![name.to_owned()], namespace: None };
    let drained = house.client.control(control(ControlAction::Drain { deadline: DEADLINE }, "hello")).await.unwrap();
    assert_eq!(drained[0].action, Action::Configured, "{drained:?}");
    let report = house.until("the pipeline is paused", |report| report.pipelines[0].state == "paused").await;
    assert_eq!(report.pipelines[0].in_flight, 0);

    house.apply(HELLO).await.unwrap();
    let house = house.again().await;
    let report = house.until("the pipeline is there", |report| report.pipelines[0].state == "paused").await;
    assert_eq!(delivered(&report), 0);

    house.client.control(control(ControlAction::Resume, "hello")).await.unwrap();
    house.until("records are delivered again", |report| delivered(report) > 5).await;
    assert_eq!(codes(house.client.control(control(ControlAction::Hold, "hallo")).await), [Code::NotFound]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_goes_with_what_it_brought() {
    let house = hello().await;
    let delete = |kind, name: &str| {
        house.client.delete(Deletion { kind: Some(kind), names: vec![name.to_owned()], ..Deletion::default() })
    };
    assert_eq!(codes(delete(Kind::Stream, "hello-source").await), [Code::InUse]);
    // Another source instead of the one that it brought: the old stream goes.
    let with = HELLO.replace("class: blackhole", "class: blackhole, parameters: {}");
    house.apply(&with).await.unwrap();
    delete(Kind::Pipeline, "hello").await.unwrap();
    for kind in [Kind::Stream, Kind::Instance, Kind::Pipeline] {
        assert!(house.get(kind).await.is_empty(), "{kind}");
    }
    assert_eq!(house.get(Kind::Class).await.len(), 2);
    let report = house.client.status(StatusQuery::default()).await.unwrap();
    assert!(report.streams.is_empty() && report.pipelines.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_ends_watchers_and_answers_in_time() {
    let house = hello().await;
    let mut watched = house.client.watch_status(StatusQuery::default(), Duration::from_millis(100)).await.unwrap();
    let mut tailed = house.client.tail(Tail { target: "hello".to_owned(), ..Tail::default() }).await.unwrap();
    tailed.next().await.unwrap().unwrap();
    watched.next().await.unwrap().unwrap();
    assert!(tokio::time::timeout(DEADLINE, house.server.stop()).await.unwrap(), "everything was delivered");
    let rest = async {
        while watched.next().await.is_some() {}
        while tailed.next().await.is_some() {}
    };
    tokio::time::timeout(DEADLINE, rest).await.unwrap();
}
