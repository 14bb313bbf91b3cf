//! Properties of delivery: nothing is lost, nothing is done twice, keys keep their order, poison is found.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);

fn policy() -> Policy {
    Policy {
        batch_records: 4,
        batch_bytes: 1_000,
        window: 6,
        backoff: BackoffPolicy { first: MS * 10, longest: MS * 100 },
        ..Policy::default()
    }
}

fn delivery(policy: Policy) -> Delivery {
    Delivery::new(policy, 1, 0, Jitter::new(1))
}

fn offer(delivery: &mut Delivery, keys: &[&str]) {
    for key in keys {
        delivery.offer(Duration::ZERO, 0, key.as_bytes(), 10);
    }
}

fn write(delivery: &mut Delivery, now: Duration) -> Vec<u64> {
    delivery.next_write(now, 0).iter().map(|write| write.id).collect()
}

fn retry(after: u64) -> Outcome {
    Outcome::Retry { after: Some(MS * after as u32), reason: "busy".into() }
}

#[test]
fn batches_go_by_size_or_time_whichever_is_first() {
    let mut delivery = delivery(Policy { linger: MS * 5, ..policy() });
    offer(&mut delivery, &["", "", ""]);
    assert_eq!(write(&mut delivery, MS * 4), [0; 0]);
    assert_eq!(delivery.next_wake(0), Some(MS * 5));
    assert_eq!(write(&mut delivery, MS * 5), [0, 1, 2]);
    for _ in 0..4 {
        delivery.offer(MS * 5, 0, b"", 10);
    }
    assert_eq!(write(&mut delivery, MS * 5), [3, 4, 5], "the window bounds what is in flight");
    assert_eq!(write(&mut delivery, MS * 50), [0; 0]);
}

#[test]
fn a_batch_is_cut_by_its_bytes() {
    let mut delivery = delivery(policy());
    for size in [2_000, 600, 600] {
        delivery.offer(Duration::ZERO, 0, b"", size);
    }
    assert_eq!(write(&mut delivery, MS), [0]);
    assert_eq!(write(&mut delivery, MS), [1]);
    assert_eq!(write(&mut delivery, MS), [2]);
}

#[test]
fn a_key_in_retry_holds_back_its_own_lane() {
    let mut delivery = delivery(policy());
    offer(&mut delivery, &["a", "b"]);
    assert_eq!(write(&mut delivery, MS), [0, 1]);
    assert_eq!(delivery.outcome(MS, 0, retry(10)), None);
    offer(&mut delivery, &["a", "b", "a"]);
    assert_eq!(write(&mut delivery, MS), [3]);
    assert_eq!(delivery.next_wake(0), Some(MS * 11));
    assert_eq!(delivery.next_write(MS * 11, 0), [Write { id: 0, attempt: 2 }]);
    assert_eq!(write(&mut delivery, MS * 11), [0; 0], "the first of the lane goes alone");
    assert!(delivery.outcome(MS * 12, 0, Outcome::Delivered).is_some());
    assert_eq!(write(&mut delivery, MS * 12), [2, 4]);
}

#[test]
fn a_record_about_to_go_again_waits_for_an_earlier_one_that_comes_back() {
    let mut delivery = delivery(Policy { window: 2, ..policy() });
    offer(&mut delivery, &["a", "a", "b"]);
    assert_eq!(write(&mut delivery, MS), [0, 1]);
    delivery.outcome(MS, 1, retry(0));
    assert_eq!(write(&mut delivery, MS), [1]);
    delivery.outcome(MS, 1, retry(1));
    offer(&mut delivery, &["b"]);
    assert_eq!(write(&mut delivery, MS), [2]);
    assert_eq!(write(&mut delivery, MS * 2), [0; 0], "its turn came while the window was full");
    delivery.outcome(MS * 2, 0, retry(5));
    delivery.outcome(MS * 2, 2, Outcome::Delivered);
    assert_eq!(write(&mut delivery, MS * 2), [3]);
    assert_eq!(write(&mut delivery, MS * 7), [0]);
}

#[test]
fn records_without_a_key_hold_nobody_back() {
    let mut delivery = delivery(policy());
    offer(&mut delivery, &["", "", ""]);
    assert_eq!(write(&mut delivery, MS), [0, 1, 2]);
    delivery.outcome(MS, 1, retry(10));
    offer(&mut delivery, &[""]);
    assert_eq!(write(&mut delivery, MS), [3]);
    assert_eq!(write(&mut delivery, MS * 11), [1]);
}

#[test]
fn limits_of_attempts_and_age_give_up() {
    let mut bounded = delivery(Policy { attempts: Some(2), ..policy() });
    offer(&mut bounded, &["a"]);
    write(&mut bounded, MS);
    assert_eq!(bounded.outcome(MS, 0, retry(1)), None);
    assert_eq!(write(&mut bounded, MS * 2), [0]);
    let done = bounded.outcome(MS * 2, 0, retry(1)).unwrap();
    let reason = "gave up after 2 attempts: busy".into();
    assert_eq!(done.verdict, Verdict::GivenUp { code: LetterCode::Attempts, reason });
    assert_eq!((done.attempts, bounded.open()), (2, 0));

    let mut aged = delivery(Policy { age: Some(MS * 20), ..policy() });
    offer(&mut aged, &["a", "a"]);
    write(&mut aged, MS);
    assert_eq!(aged.outcome(MS, 0, retry(100)), None);
    assert_eq!(aged.expire(MS * 19), []);
    assert_eq!(aged.next_wake(0), Some(MS * 20));
    assert_eq!(aged.expire(MS * 20).len(), 1, "what is in flight is left alone");
    assert_eq!(aged.lost(MS * 21, 0, &[1], false), []);
    assert_eq!(aged.expire(MS * 21).len(), 1);
    assert_eq!(aged.open(), 0);
    assert_eq!(write(&mut aged, MS * 200), [0; 0]);
}

#[test]
fn a_lost_session_gives_back_in_order() {
    let mut delivery = delivery(policy());
    offer(&mut delivery, &["a", "a", "a", "a"]);
    assert_eq!(write(&mut delivery, MS), [0, 1, 2, 3]);
    delivery.outcome(MS, 1, Outcome::Delivered);
    assert_eq!(delivery.lost(MS, 0, &[3, 0, 2, 1], false), []);
    offer(&mut delivery, &["a"]);
    assert_eq!(write(&mut delivery, MS), [0, 2, 3, 4]);
}

#[test]
fn an_answer_for_a_record_that_is_not_in_flight_changes_nothing() {
    let mut delivery = delivery(policy());
    offer(&mut delivery, &["a"]);
    assert_eq!(delivery.outcome(MS, 0, Outcome::Delivered), None);
    assert_eq!(delivery.outcome(MS, 99, Outcome::Delivered), None);
    write(&mut delivery, MS);
    assert!(delivery.outcome(MS, 0, Outcome::Delivered).is_some());
    assert_eq!(delivery.outcome(MS, 0, Outcome::Delivered), None);
}

#[test]
fn another_crash_of_another_record_is_no_poison() {
    let mut delivery = delivery(policy());
    offer(&mut delivery, &[""]);
    write(&mut delivery, MS);
    assert_eq!(delivery.lost(MS, 0, &[0], true), []);
    write(&mut delivery, MS);
    delivery.outcome(MS, 0, Outcome::Delivered);
    offer(&mut delivery, &[""]);
    write(&mut delivery, MS);
    assert_eq!(delivery.lost(MS, 0, &[1], true), []);
    assert_eq!(delivery.open(), 1);
}

proptest! {
    /// A sink that crashes on some records, is lost at times, and delivers the rest: the poisonous ones are given up, all others
    /// are delivered, and it ends.
    #[test]
    fn poison_is_found_and_nothing_else_is_given_up(count in 1usize..40, poison in proptest::collection::btree_set(0u64..40, 0..4), losses in proptest::collection::vec(any::<bool>(), 64)) {
        let mut delivery = delivery(policy());
        for index in 0..count { delivery.offer(Duration::ZERO, 0, format!("{}", index % 3).as_bytes(), 10); }
        let mut verdicts = BTreeMap::new();
        let mut now = MS;
        let mut losses = losses.into_iter();
        for _ in 0..5_000 {
            now += MS;
            let ids = write(&mut delivery, now);
            if ids.is_empty() {
                if delivery.open() == 0 { break; }
                prop_assert!(delivery.next_wake(0).is_some(), "records wait, and nothing would ever happen");
                continue;
            }
            let done = if losses.next() == Some(true) {
                delivery.lost(now, 0, &ids, false)
            } else if ids.iter().any(|id| poison.contains(id)) {
                delivery.lost(now, 0, &ids, true)
            } else {
                ids.iter().filter_map(|id| delivery.outcome(now, *id, Outcome::Delivered)).collect()
            };
            for done in done { prop_assert!(verdicts.insert(done.id, done.verdict).is_none()); }
        }
        prop_assert_eq!(verdicts.len(), count);
        for (id, verdict) in verdicts {
            prop_assert_eq!(verdict == Verdict::Delivered, !poison.contains(&id), "record {}", id);
        }
    }

    /// Against any sink: every record is done once, and a record is never written while an earlier one of its key waits.
    #[test]
    fn nothing_is_lost_and_keys_keep_their_order(steps in proptest::collection::vec((0u8..6, any::<u64>()), 1..200)) {
        let mut delivery = delivery(policy());
        let mut now = Duration::ZERO;
        let mut keys: Vec<String> = Vec::new();
        let mut flying = BTreeSet::new();
        let mut done = BTreeSet::new();
        let settle: Vec<(u8, u64)> = (0..2_000).map(|index| (if index % 2 == 0 { 1 } else { 2 }, 0)).collect();
        for (action, pick) in steps.into_iter().chain(settle) {
            now += MS;
            match action {
                0 => {
                    let key = ["", "a", "b", "c"][(pick % 4) as usize].to_owned();
                    delivery.offer(now, 0, key.as_bytes(), 10);
                    keys.push(key);
                }
                1 | 5 => {
                    let written = write(&mut delivery, now);
                    prop_assert!(written.len() <= 4);
                    for (position, id) in written.iter().enumerate() {
                        prop_assert!(!done.contains(id) && flying.insert(*id), "{} written twice", id);
                        let key = &keys[*id as usize];
                        if key.is_empty() { continue; }
                        for earlier in 0..*id {
                            let before = written[..position].contains(&earlier);
                            prop_assert!(keys[earlier as usize] != *key || done.contains(&earlier) || before || flying.contains(&earlier),
                                "{} written while {} of key {} waits", id, earlier, key);
                        }
                    }
                    prop_assert!(flying.len() <= 6);
                }
                2 => {
                    for id in std::mem::take(&mut flying) {
                        prop_assert!(delivery.outcome(now, id, Outcome::Delivered).is_some());
                        prop_assert!(done.insert(id));
                    }
                }
                3 => {
                    let all: Vec<u64> = flying.iter().copied().collect();
                    if let Some(id) = all.get((pick % all.len().max(1) as u64) as usize) {
                        flying.remove(id);
                        prop_assert_eq!(delivery.outcome(now, *id, retry(pick % 7)), None);
                    }
                }
                _ => {
                    let all: Vec<u64> = std::mem::take(&mut flying).into_iter().collect();
                    prop_assert_eq!(delivery.lost(now, 0, &all, false), vec![]);
                }
            }
            prop_assert_eq!(delivery.open(), keys.len() - done.len());
        }
        prop_assert_eq!(done.len(), keys.len());
        prop_assert_eq!(delivery.open(), 0);
    }
}
