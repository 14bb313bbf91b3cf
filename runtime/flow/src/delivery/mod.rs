//! The decision core of delivery: which record is written when, and what becomes of it. Events in, actions out; time and
//! chance are handed in, and nothing here waits or does I/O.
//!
//! - A record is *fresh*, *in flight*, or *held* for its next attempt, until it is done: delivered or given up. Neighbours that
//!   share their past are one run, and are handled at once.
//! - Records go out in the order in which they were offered, except that a key holds back its own records: while a record is
//!   held, no later one of its key is written to the same sink, and after a retry the first goes alone until it is through.
//!   What of a key may be in flight together is [`KeyOrder`].
//! - A session that is lost gives its records back, in order. One that crashes twice on the same first record is fed smaller
//!   and smaller parts until the record that crashes it alone is found; that one is given up. What else the session had in hand,
//!   of other pipelines too, makes a crash no proof.
//!
//! How this is checked is in `check`, and why so in `docs/decisions/0005-checking-delivery.md`.

mod fault;
mod isolation;
mod lanes;
mod outlet;
mod policy;
mod runs;

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use fault::{Fault, sound};
use lanes::LaneKey;
use outlet::Outlet;
pub use policy::{Blame, DeliveredRun, Done, KeyOrder, Outcome, Policy, Verdict, Write, WriteRun};
use runs::{Run, Sizes};

use crate::backoff::Jitter;
use crate::dead_letter::LetterCode;

/// Records on their way to the sinks of one pipeline.
#[derive(Clone, Debug)]
pub struct Delivery {
    policy: Policy,
    jitter: Jitter,
    next_id: u64,
    open: usize,
    outlets: Vec<Outlet>,
    flushing: bool,
}

impl Delivery {
    /// Delivery to `sinks` sinks; the first record gets the id `first`.
    pub fn new(policy: Policy, sinks: usize, first: u64, jitter: Jitter) -> Self {
        let mut outlets = vec![Outlet::default(); sinks];
        outlets.iter_mut().for_each(|outlet| outlet.lanes.set_order(policy.key_order));
        Self { policy, jitter, next_id: first, open: 0, outlets, flushing: false }
    }

    /// Another policy from now on.
    pub fn set_policy(&mut self, policy: Policy) {
        self.outlets.iter_mut().for_each(|outlet| outlet.lanes.set_order(policy.key_order));
        self.policy = policy;
    }

    /// Whether what is there is written without waiting for more.
    pub fn set_flushing(&mut self, flushing: bool) {
        self.flushing = flushing;
    }

    /// Records that are not done.
    pub fn open(&self) -> usize {
        self.open
    }

    /// The id that the next record gets.
    pub fn next_id(&self) -> u64 {
        self.next_id
    }

    /// A record of `size` bytes to be delivered. A key of no bytes is no key.
    pub fn offer(&mut self, now: Duration, sink: usize, key: &[u8], size: usize) -> u64 {
        let id = self.next_id;
        let ids = id..id + 1;
        self.add(now, sink, ids, lane(key), Sizes::Same(size));
        id
    }

    /// `count` records to be delivered; `key` and `size` (in bytes) are asked for each index once, in order. The ids that they
    /// got. Neighbours of one key cost next to nothing.
    pub fn offer_all<'a>(
        &mut self,
        now: Duration,
        sink: usize,
        count: usize,
        key: impl Fn(usize) -> &'a [u8],
        size: impl Fn(usize) -> usize,
    ) -> Range<u64> {
        let first = self.next_id;
        let all = first..first + count as u64;
        if count == 0 {
            return all;
        }
        let common = size(0);
        let mut index = 1;
        while index < count && size(index) == common {
            index += 1;
        }
        let sums = (index < count).then(|| {
            let mut sums = Vec::with_capacity(count + 1);
            sums.push(0);
            let mut sum: usize = 0;
            sums.extend((0..count).map(|index| {
                sum = sum.saturating_add(if index == 0 { common } else { size(index) });
                sum
            }));
            Arc::new(sums)
        });
        let sizes = |from: usize| match &sums {
            Some(sums) => Sizes::Sums(sums.clone(), from),
            None => Sizes::Same(common),
        };
        let (mut begun, mut last) = (0, key(0));
        for index in 1..count {
            let key = key(index);
            if !std::ptr::eq(key, last) && key != last {
                let ids = first + begun as u64..first + index as u64;
                self.add(now, sink, ids, lane(last), sizes(begun));
                (begun, last) = (index, key);
            }
        }
        self.add(now, sink, first + begun as u64..all.end, lane(last), sizes(begun));
        all
    }

    fn add(&mut self, offered: Duration, sink: usize, ids: Range<u64>, lane: LaneKey, sizes: Sizes) {
        let Some(outlet) = self.outlets.get_mut(sink) else { return };
        self.next_id = ids.end;
        let run = Run { ids, lane, sizes, offered, until: Duration::ZERO, attempts: 0, retries: 0, postponed: None };
        self.open += run.len();
        outlet.fresh.offer(run);
    }

    /// What is to be written to `sink` now, in order; empty when nothing is.
    pub fn next_write(&mut self, now: Duration, sink: usize) -> Vec<Write> {
        let runs = self.next_runs(now, sink);
        runs.into_iter().flat_map(|run| run.ids.map(move |id| Write { id, attempt: run.attempt })).collect()
    }

    /// The same as runs: what costs no more for many records than for one.
    pub fn next_runs(&mut self, now: Duration, sink: usize) -> Vec<WriteRun> {
        let Some(outlet) = self.outlets.get_mut(sink) else { return Vec::new() };
        let runs = outlet.next(now, &self.policy, self.flushing);
        runs.into_iter().map(|run| WriteRun { ids: run.ids, attempt: run.attempts }).collect()
    }

    /// When to ask again for `sink` if nothing else happens, with the expiry of what is for it.
    pub fn next_wake(&self, sink: usize) -> Option<Duration> {
        self.outlets.get(sink)?.next_wake(&self.policy)
    }

    /// When [`expire`](Self::expire) has something to give up, whether or not its sink takes anything.
    pub fn next_expiry(&self) -> Option<Duration> {
        self.outlets.iter().filter_map(|outlet| outlet.next_expiry(&self.policy)).min()
    }

    /// Since when the sink has put off the record that is not done and was put off first; none if none was. Looks at all that is held.
    pub fn postponed_since(&self) -> Option<Duration> {
        self.outlets.iter().filter_map(Outlet::postponed_since).min()
    }

    /// What a sink said. An answer for a record that is not in flight is not for us.
    pub fn outcome(&mut self, now: Duration, id: u64, outcome: Outcome) -> Option<Done> {
        let (sink, outlet) = self.outlets.iter_mut().enumerate().find(|(_, outlet)| outlet.flying.contains(id))?;
        let mut run = outlet.flying.take_one(id)?;
        outlet.answered(&run);
        let (code, reason) = match outcome {
            Outcome::Delivered => {
                outlet.done(&run);
                self.open -= 1;
                return Some(Done { id, sink, verdict: Verdict::Delivered, attempts: run.attempts });
            }
            Outcome::Rejected { reason } => (LetterCode::Rejected, reason),
            Outcome::Retry { after, reason } => {
                run.retries += 1;
                run.postponed.get_or_insert(now);
                match self.policy.limit(&run, now) {
                    Some((code, limit)) => (code, format!("{limit}: {reason}")),
                    None => {
                        let wait = after.unwrap_or_else(|| self.policy.backoff.wait(run.retries, self.jitter.roll()));
                        let wait = if sound(Fault::RetryAfterIgnored) { wait } else { Duration::ZERO };
                        outlet.postpone(run, now + wait);
                        return None;
                    }
                }
            }
        };
        outlet.done(&run);
        self.open -= 1;
        Some(Done { id, sink, verdict: Verdict::GivenUp { code, reason }, attempts: run.attempts })
    }

    /// The sinks have these, as far as they are in flight: what is done with that, in order.
    pub fn delivered(&mut self, ids: Range<u64>) -> Vec<DeliveredRun> {
        let mut done = Vec::with_capacity(1);
        let mut taken = Vec::new();
        for (sink, outlet) in self.outlets.iter_mut().enumerate() {
            outlet.flying.take(&ids, |run| taken.push(run));
            for run in taken.drain(..) {
                outlet.answered(&run);
                outlet.done(&run);
                self.open -= run.len();
                done.push(DeliveredRun { ids: run.ids, sink, attempts: run.attempts });
            }
        }
        if self.outlets.len() > 1 {
            done.sort_unstable_by_key(|run| run.ids.start);
        }
        done
    }

    /// The sink's session is gone, and with it what is known of these records in flight.
    pub fn lost(&mut self, _now: Duration, sink: usize, ids: &[u64], blame: Blame) -> Vec<Done> {
        let Some(outlet) = self.outlets.get_mut(sink) else { return Vec::new() };
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        let mut runs = Vec::new();
        for neighbours in ids.chunk_by(|one, next| one + 1 == *next) {
            if let [first, ..] = neighbours {
                outlet.flying.take(&(*first..first + neighbours.len() as u64), |run| runs.push(run));
            }
        }
        if !sound(Fault::LostForGood) {
            runs.pop();
        }
        let suspects: Vec<(u64, LaneKey)> = if blame != Blame::None {
            runs.iter().flat_map(|run| run.ids.clone().map(|id| (id, run.lane))).collect()
        } else {
            Vec::new()
        };
        runs.into_iter().for_each(|run| outlet.lost(run));
        if blame == Blame::None
            && let Some(isolation) = &mut outlet.isolation
        {
            isolation.interrupted();
        }
        let Some(poison) = outlet.crashed(suspects, blame == Blame::Sole) else { return Vec::new() };
        self.open -= 1;
        let reason = "poisonous: the sink breaks each time it is given this record alone".to_owned();
        let verdict = Verdict::GivenUp { code: LetterCode::Poison, reason };
        vec![Done { id: poison.ids.start, sink, verdict, attempts: poison.attempts }]
    }

    /// Gives up what is older than the policy allows and not in flight.
    pub fn expire(&mut self, now: Duration) -> Vec<Done> {
        let Some(age) = self.policy.age else { return Vec::new() };
        let Some(limit) = now.checked_sub(age) else { return Vec::new() };
        let reason = format!("gave up after {} s without delivery", age.as_secs_f64());
        let mut done = Vec::new();
        for (sink, outlet) in self.outlets.iter_mut().enumerate() {
            for run in outlet.take_old(limit) {
                self.open -= run.len();
                let verdict = || Verdict::GivenUp { code: LetterCode::Age, reason: reason.clone() };
                done.extend(run.ids.map(|id| Done { id, sink, verdict: verdict(), attempts: run.attempts }));
            }
        }
        done
    }
}

impl Policy {
    /// The bound that a record in retry has reached.
    fn limit(&self, run: &Run, now: Duration) -> Option<(LetterCode, String)> {
        match (self.attempts, self.age) {
            (Some(limit), _) if run.retries >= limit => {
                Some((LetterCode::Attempts, format!("gave up after {} attempts", run.retries)))
            }
            (_, Some(age)) if now >= run.offered + age => {
                Some((LetterCode::Age, format!("gave up after {} s", age.as_secs_f64())))
            }
            _ => None,
        }
    }
}

fn lane(key: &[u8]) -> LaneKey {
    if key.is_empty() {
        LaneKey::Free
    } else {
        LaneKey::Key(BuildHasherDefault::<DefaultHasher>::default().hash_one(key))
    }
}

#[cfg(test)]
mod check;
#[cfg(test)]
mod speed;
#[cfg(test)]
mod tests;
