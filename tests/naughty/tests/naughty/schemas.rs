//! Schemas that are hostile: patterns that take for ever, and references that lead outside. And what a spinner's share is told as.

use ferrule_model::Code;
use ferrule_model::schema;
use serde_json::json;

use crate::case::{Case, Meets, Off};
use crate::rig::Rig;

#[test]
fn a_catastrophic_pattern_ends() {
    let hostile = json!({"properties": {"name": {"type": "string", "pattern": "^(a+)+$"}}});
    let value = json!({"name": format!("{}!", "a".repeat(60))});
    // It would take years; that it comes back at all is what is tested.
    let found = schema::validate(&hostile, &value, "spec");
    assert!(!found.is_empty(), "the pattern fits nothing that ends in another letter");
}

#[test]
fn a_schema_that_refers_outside_is_refused() {
    for reference in ["http://127.0.0.1:1/schema.json", "file:///etc/passwd", "https://example.com/a.json#/b"] {
        let found = schema::problems(&json!({"$ref": reference}), "schema");
        assert!(found.iter().any(|problem| problem.code == Code::RemoteSchema), "{reference}: {found:?}");
    }
}

#[tokio::test]
async fn what_is_given_up_has_its_page() {
    let given_up = crate::code::cases().into_iter().find(|case| case.name == "takes-too-long-to-compile").unwrap();
    let met = Rig::guarded(&given_up).run(&given_up).await;
    let crate::case::End::NotLoaded(error) = met.end else { panic!("it was loaded") };
    assert_eq!(error.code(), Code::CompileTooSlow);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_share_of_a_spinner_is_told() {
    let spins = crate::case::next("(loop $l (br $l)) (i32.const 0)");
    let case =
        Case::new("spins", "spins", spins, Meets::Fine(|_| true), Off::Limits(|limits| limits.cpu_percent = Some(100)))
            .with(|limits| limits.call_time = std::time::Duration::from_millis(300));
    let parked = |told: &[String]| told.iter().any(|told| told == "limited cpu");
    let held = Rig::guarded(&case).run(&case).await;
    assert!(parked(&held.told), "{held:?}");
    let free = Rig::unguarded(&case).run(&case).await;
    assert!(!parked(&free.told), "{free:?}");
}
