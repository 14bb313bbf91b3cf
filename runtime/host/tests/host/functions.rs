//! Functions: what they are given, and what they may answer.

use ferrule_host::{CallError, World};
use ferrule_model::record::{Batch, BatchBuilder, RecordRef};

use crate::guests::{load, plain};

#[tokio::test]
async fn a_function_gets_only_the_columns_it_reads() {
    let component = load("by-index").await.unwrap();
    assert_eq!(component.world(), World::Function);
    let mut builder = BatchBuilder::new();
    for payload in ["a", "b"] {
        builder.push(&RecordRef { key: b"key", timestamp: 7, ..RecordRef::of(payload.as_bytes()) }).unwrap();
    }
    let batch = builder.finish();
    let mut instance = component.instantiate(ferrule_host::InstanceOptions::new("step")).await.unwrap();
    let answer = instance.apply(&batch).await.unwrap();
    assert_eq!(answer.assemble(&batch).unwrap(), batch);
}

#[tokio::test]
async fn an_answer_that_breaks_the_contract_is_refused() {
    for how in ["origins", "routes", "changes", "also", "payload"] {
        let mut instance = plain("bad-answer").await;
        let error = instance.apply(&Batch::of([how]).unwrap()).await.unwrap_err();
        assert!(matches!(&error, CallError::Malformed { call: "apply", .. }), "{how}: {error:?}");
    }
    plain("bad-answer").await.apply(&Batch::of(["good"]).unwrap()).await.unwrap();
}

/// Not a gate: prints what one record costs, there and back.
#[tokio::test]
#[ignore = "a measurement; run it with --ignored --nocapture"]
async fn what_a_record_costs() {
    let mut instance = plain("by-index").await;
    for (records, calls) in [(1_000_u32, 20_000_u32), (100, 50_000), (1, 200_000)] {
        let batch = Batch::of((0..records).map(|_| [b'x'; 100])).unwrap();
        let begun = std::time::Instant::now();
        for _ in 0..calls {
            instance.apply(&batch).await.unwrap();
        }
        let each = begun.elapsed().as_secs_f64() * 1e9 / f64::from(calls) / f64::from(records);
        println!("{records} records a batch: {each:.1} ns a record");
    }
}
