//! The check of the decision core: the code that runs is driven through every interleaving of events in small worlds, and
//! through long random runs in larger ones. Deliberate mistakes in it show that the check sees them.
//!
//! After every step: each record is in exactly one place, and done once; a record is written neither before its time nor past an
//! earlier one of its key; windows and batches keep their bounds; the cursor says exactly what is done. In every state: what
//! can be written or is too old is announced, and healthy sinks finish everything, given up being just what should be.

mod explore;
mod fingerprint;
mod random;
mod world;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::fault::{Fault, with_fault};
use super::{KeyOrder, Policy};
use crate::backoff::BackoffPolicy;
use explore::explore;
use world::{Output, Setup, TICK};

const A: u8 = 1;
const B: u8 = 2;
const NONE: u8 = 0;

fn policy(key_order: KeyOrder, window: usize, batch: usize) -> Policy {
    // Without waits of its own: a jittered wait would make each state differ from all others.
    let backoff = BackoffPolicy { first: Duration::ZERO, longest: Duration::ZERO };
    Policy { batch_records: batch, window, key_order, backoff, ..Policy::default() }
}

/// One record of each key for one sink, from inputs of their own.
fn keys(keys: &[u8]) -> Vec<Vec<Output>> {
    keys.iter().map(|key| vec![(0, *key, 1)]).collect()
}

/// Records of one key order under retries and lost sessions.
fn order(name: &'static str, key_order: KeyOrder, order: &[u8]) -> Setup {
    let inputs = keys(order);
    Setup {
        name,
        inputs,
        policies: vec![policy(key_order, 3, 2)],
        retries: vec![Some(2)],
        losses: true,
        ..Setup::default()
    }
}

fn poison(name: &'static str, poison: impl IntoIterator<Item = u64>) -> Setup {
    let policies = vec![policy(KeyOrder::OneWrite, 4, 3)];
    let poison = BTreeSet::from_iter(poison);
    let inputs = keys(&[A, NONE, A, B]);
    Setup { name, inputs, policies, poison, retries: vec![Some(1)], losses: true, ..Setup::default() }
}

fn worlds() -> Vec<Setup> {
    let mut worlds = vec![
        order("one write of a key", KeyOrder::OneWrite, &[A, A, B, A, NONE]),
        order("one record of a key", KeyOrder::OneRecord, &[A, A, B, A, NONE]),
        order("pipelined", KeyOrder::Pipelined, &[A, A, B, A, NONE]),
        order("without keys", KeyOrder::OneWrite, &[NONE, NONE, A, NONE, A]),
        poison("poison at the head", [0]),
        poison("poison within", [2]),
        poison("much poison", [0, 1, 3]),
    ];
    let limits = Policy { attempts: Some(2), age: Some(TICK * 3), linger: TICK, ..policy(KeyOrder::OneWrite, 2, 2) };
    worlds.push(Setup {
        name: "limits",
        inputs: keys(&[A, NONE, A]),
        policies: vec![limits],
        retries: vec![Some(2), None],
        rejects: true,
        losses: true,
        ..Setup::default()
    });
    let wide = Policy { linger: TICK, ..policy(KeyOrder::Pipelined, 3, 2) };
    worlds.push(Setup {
        name: "changing policies",
        inputs: keys(&[A, A, NONE]),
        policies: vec![policy(KeyOrder::OneRecord, 1, 1), wide, policy(KeyOrder::OneWrite, 2, 2)],
        retries: vec![Some(1)],
        losses: true,
        flushes: true,
        ..Setup::default()
    });
    let bytes = Policy { batch_bytes: 4, window_bytes: 6, ..policy(KeyOrder::OneWrite, 4, 3) };
    worlds.push(Setup {
        name: "bytes",
        inputs: vec![vec![(0, NONE, 3), (0, NONE, 1), (0, NONE, 7)], vec![(0, A, 4), (0, A, 2)]],
        policies: vec![bytes],
        retries: vec![Some(1)],
        losses: true,
        ..Setup::default()
    });
    worlds.push(Setup {
        name: "two sinks",
        sinks: 2,
        inputs: vec![vec![(0, A, 1), (1, A, 1)], vec![(0, A, 1)], vec![], vec![(1, A, 1), (1, NONE, 1)]],
        policies: vec![policy(KeyOrder::OneWrite, 2, 2)],
        retries: vec![Some(1)],
        rejects: true,
        ..Setup::default()
    });
    worlds.push(Setup {
        name: "crashes",
        inputs: keys(&[A, A, NONE]),
        policies: vec![policy(KeyOrder::OneWrite, 3, 3)],
        retries: vec![Some(1)],
        losses: true,
        crashes: true,
        ..Setup::default()
    });
    worlds
}

#[test]
fn every_interleaving_of_small_worlds_keeps_every_promise() {
    for world in worlds() {
        let name = world.name;
        match explore(&Arc::new(world)) {
            // A world in which hardly anything happens checks hardly anything.
            Ok(states) => assert!(states > 1_000, "world {name} has {states} states only"),
            Err(breach) => panic!("{breach}"),
        }
    }
}

#[test]
fn every_seeded_fault_is_found() {
    let faults = [
        (Fault::LaneForgotten, "one write of a key", "of the same key is Waiting"),
        (Fault::LaneOvertaken, "one write of a key", "of the same key is Flying"),
        (Fault::RetryAfterIgnored, "limits", "too early"),
        (Fault::DoneStays, "limits", "is in [Flying] and should be in []"),
        (Fault::LostForGood, "limits", "and should be in [Waiting]"),
        (Fault::WindowForgotten, "without keys", "exceed the window"),
        (Fault::WindowBytesForgotten, "bytes", "bytes in flight"),
        (Fault::PoisonTooEarly, "poison within", "is given up for a loss of"),
        (Fault::PoisonInCompany, "poison at the head", "is given up for a loss of"),
        (Fault::PoisonNeverNarrowed, "poison within", "is not done after"),
        (Fault::ExpiredInFlight, "limits", "is too old in"),
        (Fault::WakeMissed, "limits", "may be written in"),
        (Fault::LowPastOpen, "two sinks", "the cursor"),
        (Fault::DoneCountedDouble, "two sinks", "the cursor"),
    ];
    for (fault, world, said) in faults {
        let world = worlds().into_iter().find(|setup| setup.name == world).expect("a world of this name");
        let breach = with_fault(fault, || explore(&Arc::new(world))).expect_err("a mistake, and nothing is broken");
        assert!(breach.contains(said), "{fault:?} is found as something else: {breach}");
    }
}
