//! Dead letters and rewinding, as a caller has them.

use ferrule_api::Platform;
use ferrule_api::report::{DeadLetter, ReplayProgress};
use ferrule_api::request::{DeadLetterQuery, Deletion, Rewind, RewindTo};
use ferrule_model::{Code, Kind};
use futures_util::StreamExt;

use crate::house::{House, codes};

const REFUSING: &str = r#"
apiVersion: connector.ferrule.dev/v1
kind: Pipeline
metadata: {name: refusing}
spec:
  source: {class: generator, parameters: {rate: 0, count: 30, size: 60}}
  functions: [{function: jq, args: {program: 'if .sequence % 10 == 7 then error("seven") else . end'}}]
  sink: {class: blackhole}
"#;

async fn refusing() -> House {
    let house = House::new().await;
    for name in ["generator", "jq", "blackhole"] {
        house.register(name).await;
    }
    house.apply(REFUSING).await.unwrap();
    house
        .until("three letters", |report| report.pipelines.first().is_some_and(|pipeline| pipeline.dead_lettered == 3))
        .await;
    house
}

async fn letters(house: &House, query: DeadLetterQuery) -> Vec<DeadLetter> {
    house.client.dead_letters(query).await.unwrap().map(Result::unwrap).collect().await
}

async fn replay(house: &House) -> ReplayProgress {
    let reports = house.client.replay_dead_letters(DeadLetterQuery::default()).await.unwrap();
    reports.map(Result::unwrap).fold(ReplayProgress::default(), |_, report| async { report }).await
}

fn of_pipeline(name: &str) -> DeadLetterQuery {
    DeadLetterQuery { pipeline: Some(name.to_owned()), ..DeadLetterQuery::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_outlive_the_server_and_their_pipeline_and_go_to_the_one_that_has_its_name() {
    let house = refusing().await;
    let all = letters(&house, DeadLetterQuery::default()).await;
    assert!(all.iter().all(|letter| letter.obstacle.is_empty() && !letter.record.payload.is_empty()), "{all:?}");
    let heads = letters(&house, DeadLetterQuery { heads_only: true, ..DeadLetterQuery::default() }).await;
    assert!(heads.iter().all(|letter| letter.record.payload.is_empty() && letter.payload_bytes > 0), "{heads:?}");
    let by_id = DeadLetterQuery { letters: vec![all[1].id[..20].to_owned()], ..DeadLetterQuery::default() };
    assert_eq!(letters(&house, by_id).await, all[1..2]);
    let missing = DeadLetterQuery { letters: vec!["99".into(), "ffffffffff".into()], ..DeadLetterQuery::default() };
    assert_eq!(codes(house.client.dead_letters(missing).await.map(drop)), [Code::NotFound, Code::NotFound]);

    let names = vec!["refusing".to_owned()];
    house.client.delete(Deletion { kind: Some(Kind::Pipeline), names, ..Deletion::default() }).await.unwrap();
    let house = house.again().await;
    assert_eq!(letters(&house, of_pipeline("refusing")).await.len(), 3);
    assert_eq!(codes(house.client.dead_letters(of_pipeline("refused")).await.map(drop)), [Code::NotFound]);
    let left = replay(&house).await;
    assert_eq!((left.total, left.left), (3, 3));
    assert_eq!(left.problems.iter().map(|problem| problem.code).collect::<Vec<_>>(), [Code::NotReady]);

    // Another pipeline of that name, whose source gives nothing, takes them.
    let mended = REFUSING
        .replace("if .sequence % 10 == 7 then error(\"seven\") else . end", ".")
        .replace("count: 30", "count: 1");
    house.apply(&mended).await.unwrap();
    house.until("it runs", |report| report.pipelines.first().is_some_and(|pipeline| pipeline.delivered == 1)).await;
    let done = replay(&house).await;
    assert_eq!((done.total, done.delivered, done.left), (3, 3, 0), "{done:?}");
    assert!(letters(&house, DeadLetterQuery::default()).await.is_empty());
    assert_eq!(replay(&house).await.total, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_that_does_not_exist_cannot_be_rewound() {
    let house = refusing().await;
    let rewind = |name: &str, to| house.client.rewind(Rewind { pipeline: name.to_owned(), namespace: None, to });
    assert_eq!(codes(rewind("refused", RewindTo::Beginning).await), [Code::NotFound]);
    let numbers = letters(&house, DeadLetterQuery::default()).await.iter().map(|letter| letter.number).collect();
    let outcome = house.client.drop_dead_letters(numbers).await.unwrap();
    assert_eq!((outcome.dropped, outcome.busy.len()), (3, 0));
}
