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
