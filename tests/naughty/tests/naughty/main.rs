//! Hostile guests, one rule each: what each must meet, that its neighbour is not disturbed, and that the test fails without the guard.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails loudly")]

mod answers;
mod case;
mod code;
mod endless;
mod hunger;
mod reach;
mod rig;
mod schemas;
mod talk;

use case::{Case, Off};
use rig::{Neighbour, Rig};

fn all() -> Vec<Case> {
    [endless::cases(), hunger::cases(), answers::cases(), talk::cases(), reach::cases(), code::cases()].concat()
}

#[test]
fn there_are_enough_and_each_has_a_name_and_a_rule_of_its_own() {
    let cases = all();
    assert!(cases.len() >= 50, "{} guests", cases.len());
    for (index, case) in cases.iter().enumerate() {
        let earlier = cases.iter().take(index);
        assert!(earlier.clone().all(|other| other.name != case.name), "`{}` is there twice", case.name);
        assert!(!case.rule.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_meets_its_guard_and_its_neighbour_is_not_disturbed() {
    let neighbour = Neighbour::start().await;
    let mut problems = Vec::new();
    for case in all() {
        let before = neighbour.records();
        let met = Rig::guarded(&case).run(&case).await;
        if !case.meets.is(&met) {
            problems.push(format!("{} ({}): expected {:?}, met {met:#?}", case.name, case.rule, case.meets));
        }
        if !neighbour.delivers_more_than(before).await {
            problems.push(format!("{}: its neighbour delivers nothing more", case.name));
        }
    }
    assert!(problems.is_empty(), "{} of {}:\n{}", problems.len(), all().len(), problems.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_test_fails_when_its_guard_is_switched_off() {
    let neighbour = Neighbour::start().await;
    let (mut problems, mut tried) = (Vec::new(), 0);
    for case in all() {
        if matches!(case.off, Off::Never(_)) {
            continue;
        }
        tried += 1;
        let met = Rig::unguarded(&case).run(&case).await;
        if case.meets.is(&met) {
            problems.push(format!("{}: without its guard it meets the same: {met:?}", case.name));
        }
    }
    assert!(problems.is_empty(), "{} of {tried}:\n{}", problems.len(), problems.join("\n"));
    assert!(tried >= 40, "{tried}");
    assert!(neighbour.delivers_more_than(neighbour.records()).await);
}
