//! What delivery does, case by case. What holds in every case is in `check`.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::backoff::BackoffPolicy;

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
    delivery.outcome(MS, 1, Outcome::Delivered);
    assert_eq!(write(&mut delivery, MS), [3]);
    assert_eq!(delivery.next_wake(0), Some(MS * 11));
    assert_eq!(delivery.next_write(MS * 11, 0), [Write { id: 0, attempt: 2 }]);
    assert_eq!(write(&mut delivery, MS * 11), [0; 0], "the first of the lane goes alone");
    assert!(delivery.outcome(MS * 12, 0, Outcome::Delivered).is_some());
    assert_eq!(write(&mut delivery, MS * 12), [2, 4]);
}

#[test]
fn a_key_goes_on_when_its_last_write_is_answered() {
    let mut delivery = delivery(policy());
    offer(&mut delivery, &["a", "a", "b"]);
    assert_eq!(write(&mut delivery, MS), [0, 1, 2]);
    offer(&mut delivery, &["a", "b", ""]);
    assert_eq!(write(&mut delivery, MS), [5], "the others follow a write that is not answered");
    delivery.outcome(MS, 1, retry(4));
    delivery.outcome(MS, 2, Outcome::Delivered);
    assert_eq!(write(&mut delivery, MS), [4]);
    assert_eq!(write(&mut delivery, MS * 5), [0; 0], "an earlier one of the key is in flight");
    delivery.outcome(MS * 5, 0, Outcome::Delivered);
    assert_eq!(write(&mut delivery, MS * 5), [1], "alone");
    delivery.outcome(MS * 6, 1, Outcome::Delivered);
    assert_eq!(write(&mut delivery, MS * 6), [3]);
}

#[test]
fn how_much_of_a_key_is_in_flight_is_a_policy() {
    let written = |key_order| {
        let mut delivery = delivery(Policy { key_order, ..policy() });
        offer(&mut delivery, &["a", "a", "b"]);
        let first = write(&mut delivery, MS);
        offer(&mut delivery, &["a"]);
        (first, write(&mut delivery, MS))
    };
    assert_eq!(written(KeyOrder::OneRecord), (vec![0, 2], vec![]));
    assert_eq!(written(KeyOrder::OneWrite), (vec![0, 1, 2], vec![]));
    assert_eq!(written(KeyOrder::Pipelined), (vec![0, 1, 2], vec![3]));
}

#[test]
fn the_window_is_bounded_in_bytes_beyond_a_first_record() {
    let mut delivery = delivery(Policy { window_bytes: 1_000, ..policy() });
    for size in [2_000, 600, 300, 300] {
        delivery.offer(Duration::ZERO, 0, b"", size);
    }
    assert_eq!(write(&mut delivery, MS), [0], "one that is larger goes when nothing is in flight");
    assert_eq!(write(&mut delivery, MS), [0; 0]);
    assert_eq!(delivery.next_wake(0), None, "only an answer changes that");
    delivery.outcome(MS, 0, Outcome::Delivered);
    assert_eq!(write(&mut delivery, MS), [1, 2]);
    assert_eq!(write(&mut delivery, MS), [0; 0]);
    delivery.outcome(MS, 1, Outcome::Delivered);
    assert_eq!(write(&mut delivery, MS), [3]);
}

#[test]
fn neighbours_are_offered_written_and_delivered_at_once() {
    let mut delivery = delivery(Policy { batch_records: 1_000, batch_bytes: 5_000, ..Policy::default() });
    let ids = delivery.offer_all(Duration::ZERO, 0, 1_000, |_| b"", |index| 1 + index % 10);
    assert_eq!(ids, 0..1_000);
    assert_eq!(delivery.next_runs(MS, 0), [WriteRun { ids: 0..909, attempt: 1 }], "as many as 5,000 bytes hold");
    assert_eq!(delivery.outcome(MS, 500, retry(1)), None);
    let done = delivery.delivered(0..2_000);
    let ranges: Vec<Range<u64>> = done.into_iter().map(|run| run.ids).collect();
    assert_eq!(ranges, [0..500, 501..909], "what is not in flight is left alone");
    assert_eq!(delivery.open(), 92);
    assert_eq!(delivery.next_runs(MS * 2, 0).len(), 2, "the postponed one, and the rest");
}

#[test]
fn a_record_that_waits_for_ever_costs_nothing_for_those_that_pass_it() {
    let mut delivery = delivery(policy());
    offer(&mut delivery, &[""]);
    write(&mut delivery, MS);
    delivery.outcome(MS, 0, retry(u64::from(u32::MAX)));
    for _ in 0..10_000 {
        let id = delivery.offer(MS, 0, b"", 10);
        assert_eq!(write(&mut delivery, MS), [id]);
        delivery.outcome(MS, id, Outcome::Delivered);
    }
    assert_eq!(delivery.open(), 1);
    assert!(format!("{delivery:?}").len() < 4_000, "nothing is kept of what is done");
}

#[test]
fn what_expires_is_announced_whichever_sink_it_is_for() {
    let mut delivery = Delivery::new(Policy { age: Some(MS * 20), ..policy() }, 2, 0, Jitter::new(1));
    delivery.offer(MS, 1, b"a", 10);
    assert_eq!((delivery.next_expiry(), delivery.next_wake(0)), (Some(MS * 21), None));
    delivery.next_write(MS, 1);
    assert_eq!(delivery.next_expiry(), None, "in flight nothing expires");
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
    assert_eq!(aged.lost(MS * 21, 0, &[1], Blame::None), []);
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
    assert_eq!(delivery.lost(MS, 0, &[3, 0, 2, 1], Blame::None), []);
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
    assert_eq!(delivery.lost(MS, 0, &[0], Blame::Sole), []);
    write(&mut delivery, MS);
    delivery.outcome(MS, 0, Outcome::Delivered);
    offer(&mut delivery, &[""]);
    write(&mut delivery, MS);
    assert_eq!(delivery.lost(MS, 0, &[1], Blame::Sole), []);
    assert_eq!(delivery.open(), 1);
}

#[test]
fn a_crash_in_company_is_no_proof() {
    let mut delivery = delivery(policy());
    offer(&mut delivery, &["a"]);
    for _ in 0..10 {
        assert_eq!(write(&mut delivery, MS), [0]);
        assert_eq!(delivery.lost(MS, 0, &[0], Blame::Shared), [], "another pipeline's record may have done it");
    }
    assert_eq!(write(&mut delivery, MS), [0]);
    let done = delivery.lost(MS, 0, &[0], Blame::Sole);
    assert!(
        matches!(done[..], [Done { id: 0, verdict: Verdict::GivenUp { code: LetterCode::Poison, .. }, .. }]),
        "{done:?}"
    );
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
                delivery.lost(now, 0, &ids, Blame::None)
            } else if ids.iter().any(|id| poison.contains(id)) {
                delivery.lost(now, 0, &ids, Blame::Sole)
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
}
