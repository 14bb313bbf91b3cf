//! What tells one state of the core from another, with times seen from now, so that the same state met later is the same.
//!
//! Every structure is taken apart by all its fields: a new field does not compile until somebody says here what it means.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use super::super::isolation::Isolation;
use super::super::lanes::{Lane, LaneKey, Lanes};
use super::super::outlet::Outlet;
use super::super::runs::{Run, Runs};
use super::super::{Delivery, Policy};

/// How the times of a world are seen.
struct View {
    now: Duration,
    /// Ages beyond make no difference.
    oldest: Duration,
    /// Nor do retries beyond.
    retries: u32,
}

/// The state of the core into `hasher`.
pub(super) fn hash(delivery: &Delivery, now: Duration, oldest: Duration, hasher: &mut impl Hasher) {
    // The worlds whose states are told apart use no chance, and set policies of their own.
    let Delivery { policy, jitter: _, next_id, open, outlets, flushing } = delivery;
    let Policy { attempts, .. } = policy;
    let view = View { now, oldest, retries: attempts.unwrap_or(0) };
    (next_id, open, flushing).hash(hasher);
    for outlet in outlets {
        hash_outlet(outlet, &view, hasher);
    }
}

fn hash_outlet(outlet: &Outlet, view: &View, hasher: &mut impl Hasher) {
    // Writes are only counted to tell one from the next.
    let Outlet { fresh, again, lanes, flying, isolation, crashed_on, writes: _ } = outlet;
    for runs in [fresh, again, flying] {
        hash_runs(runs, view, hasher);
    }
    hash_lanes(lanes, view, hasher);
    crashed_on.hash(hasher);
    match isolation {
        None => 0_u8.hash(hasher),
        Some(Isolation { suspects, testing, tested, part }) => (suspects, testing, tested, part).hash(hasher),
    }
}

fn hash_runs(runs: &Runs, view: &View, hasher: &mut impl Hasher) {
    (runs.records(), runs.bytes()).hash(hasher);
    for Run { ids, lane, sizes: _, offered, until, attempts: _, retries, postponed: _ } in runs.iter() {
        // Sizes follow from the ids; attempts, and since when a record is put off, are only reported.
        (ids, lane, view.now.saturating_sub(*offered).min(view.oldest)).hash(hasher);
        (until.saturating_sub(view.now), until.is_zero(), retries.min(&view.retries)).hash(hasher);
    }
}

fn hash_lanes(lanes: &Lanes, view: &View, hasher: &mut impl Hasher) {
    // The order is of the policy, and heads follow from the lanes.
    let Lanes { lanes, ready, schedule, .. } = lanes;
    let mut keys: Vec<&LaneKey> = lanes.keys().collect();
    keys.sort();
    for key in keys {
        // The place and the head follow from what is held; which write took the last is forgotten after it.
        let Lane { held, in_flight, alone, probe, .. } = &lanes[key];
        (key, in_flight, alone, probe).hash(hasher);
        hash_runs(held, view, hasher);
    }
    ready.hash(hasher);
    for (until, key) in schedule {
        (until.saturating_sub(view.now), key).hash(hasher);
    }
}
