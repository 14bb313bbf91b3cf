//! The decision core of delivery: which record is written when, and what becomes of it. Events in, actions out; time and
//! chance are handed in, and nothing here waits or does I/O.
//!
//! - A record is *queued*, *in flight*, or *waiting* for its next attempt, until it is done: delivered or given up.
//! - Records go out in the order they were offered. A key in retry holds back its own lane: while a record of a key waits,
//!   no later record of that key to the same sink is written; its first record goes alone until it is through.
//! - A session that is lost gives its records back, in order. One that crashes twice on the same first record is fed smaller
//!   and smaller parts until the record that crashes it alone is found; that one is given up.

mod isolation;
mod lanes;

use std::collections::{BTreeSet, VecDeque};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::time::Duration;

use isolation::Isolation;
use lanes::{LaneKey, Lanes};

use crate::backoff::{BackoffPolicy, Jitter};
use crate::dead_letter::LetterCode;

/// What delivery may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Records of one write at most.
    pub batch_records: usize,
    /// Bytes of one write at most, beyond the first record.
    pub batch_bytes: usize,
    /// How long a record may wait for others to fill a batch.
    pub linger: Duration,
    /// Records in flight to one sink at most.
    pub window: usize,
    /// The wait between attempts.
    pub backoff: BackoffPolicy,
    /// Attempts that the sink answered, at most; none: without end.
    pub attempts: Option<u32>,
    /// Time since a record was offered, at most; none: without end.
    pub age: Option<Duration>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            batch_records: 1_000,
            batch_bytes: 1 << 20,
            linger: Duration::ZERO,
            window: 2_000,
            backoff: BackoffPolicy::default(),
            attempts: None,
            age: None,
        }
    }
}

/// What a sink said of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The outside system has it.
    Delivered,
    /// Not now.
    Retry {
        /// To wait at least; none: the policy's backoff.
        after: Option<Duration>,
        /// What stood in the way.
        reason: String,
    },
    /// Never.
    Rejected {
        /// Why.
        reason: String,
    },
}

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The sink has it.
    Delivered,
    /// It is not offered again.
    GivenUp {
        /// Why, as a stable word.
        code: LetterCode,
        /// Why, in words.
        reason: String,
    },
}

/// A record that is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// The record.
    pub id: u64,
    /// The sink that it was for.
    pub sink: usize,
    /// What became of it.
    pub verdict: Verdict,
    /// How often it was written.
    pub attempts: u32,
}

/// A record to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// The record.
    pub id: u64,
    /// Which attempt this is, from 1.
    pub attempt: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In `fresh` or `again` of its sink.
    Queued,
    /// In a lane.
    Waiting,
    /// Written, without outcome.
    InFlight,
}

#[derive(Clone, Debug)]
struct Entry {
    sink: u32,
    lane: LaneKey,
    size: u32,
    offered: Duration,
    attempts: u32,
    retries: u32,
    state: State,
}

#[derive(Debug, Default)]
struct Sink {
    /// Offered and never written, in order. May name records that are done already.
    fresh: VecDeque<u64>,
    fresh_bytes: usize,
    /// Written before, and to be written at once.
    again: BTreeSet<u64>,
    lanes: Lanes,
    in_flight: usize,
    isolation: Option<Isolation>,
    crashed_on: Option<u64>,
}

/// Records on their way to the sinks of one pipeline.
#[derive(Debug)]
pub struct Delivery {
    policy: Policy,
    jitter: Jitter,
    /// The entry of record `first` + index; none when it is done.
    entries: VecDeque<Option<Entry>>,
    first: u64,
    open: usize,
    sinks: Vec<Sink>,
    flushing: bool,
}

impl Delivery {
    /// Delivery to `sinks` sinks; the first record gets the id `first`.
    pub fn new(policy: Policy, sinks: usize, first: u64, jitter: Jitter) -> Self {
        let sinks = (0..sinks).map(|_| Sink::default()).collect();
        Self { policy, jitter, entries: VecDeque::new(), first, open: 0, sinks, flushing: false }
    }

    /// Another policy from now on.
    pub fn set_policy(&mut self, policy: Policy) {
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
        self.first + self.entries.len() as u64
    }

    /// A record to be delivered. A key of no bytes is no key.
    pub fn offer(&mut self, now: Duration, sink: usize, key: &[u8], size: usize) -> u64 {
        let id = self.next_id();
        let lane = if key.is_empty() {
            LaneKey::Record(id)
        } else {
            LaneKey::Key(BuildHasherDefault::<DefaultHasher>::default().hash_one(key))
        };
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        let Some(target) = self.sinks.get_mut(sink) else { return id };
        target.fresh.push_back(id);
        target.fresh_bytes += size as usize;
        self.open += 1;
        self.entries.push_back(Some(Entry {
            sink: sink as u32,
            lane,
            size,
            offered: now,
            attempts: 0,
            retries: 0,
            state: State::Queued,
        }));
        id
    }

    /// What is to be written to `sink` now, in order; empty when nothing is.
    pub fn next_write(&mut self, now: Duration, sink: usize) -> Vec<Write> {
        let Some(target) = self.sinks.get_mut(sink) else { return Vec::new() };
        for id in target.lanes.due(now) {
            if let Some(entry) = entry_mut(&mut self.entries, self.first, id) {
                entry.state = State::Queued;
                target.again.insert(id);
            }
        }
        if target.isolation.is_some() {
            return self.next_probe(now, sink);
        }
        let room = self.policy.window.saturating_sub(target.in_flight).min(self.policy.batch_records);
        if room == 0 || !(self.flushing || is_due(target, &self.policy, &self.entries, self.first, now)) {
            return Vec::new();
        }
        let mut picked = Vec::new();
        let mut bytes = 0;
        while picked.len() < room {
            let from_again = target.again.first().copied();
            let Some(id) = from_again.or_else(|| target.fresh.front().copied()) else { break };
            let Some(entry) = entry_mut(&mut self.entries, self.first, id) else {
                // Given up while it was queued.
                forget(target, id, from_again.is_some());
                continue;
            };
            let held = if from_again.is_some() {
                target.lanes.must_hold(entry.lane, id)
            } else {
                target.lanes.is_blocked(entry.lane)
            };
            if held {
                forget(target, id, from_again.is_some());
                if from_again.is_none() {
                    target.fresh_bytes = target.fresh_bytes.saturating_sub(entry.size as usize);
                }
                entry.state = State::Waiting;
                target.lanes.hold(entry.lane, id, now);
                continue;
            }
            if !picked.is_empty() && bytes + entry.size as usize > self.policy.batch_bytes {
                break;
            }
            bytes += entry.size as usize;
            forget(target, id, from_again.is_some());
            if from_again.is_none() {
                target.fresh_bytes = target.fresh_bytes.saturating_sub(entry.size as usize);
            }
            entry.state = State::InFlight;
            entry.attempts += 1;
            target.in_flight += 1;
            picked.push(Write { id, attempt: entry.attempts });
        }
        picked
    }

    /// The next part of a search for poison, or, when that is over, what is written as usual.
    fn next_probe(&mut self, now: Duration, sink: usize) -> Vec<Write> {
        loop {
            let Some(target) = self.sinks.get_mut(sink) else { return Vec::new() };
            let (entries, first) = (&mut self.entries, self.first);
            let Some(isolation) = &mut target.isolation else { return self.next_write(now, sink) };
            isolation.retain(|id| target.again.contains(&id) || is_in_flight(entries, first, id));
            if isolation.is_over() {
                target.isolation = None;
                target.crashed_on = None;
                continue;
            }
            if target.in_flight > 0 {
                return Vec::new();
            }
            let mut picked = Vec::new();
            for id in isolation.next_part() {
                let Some(entry) = entry_mut(entries, first, id) else { continue };
                target.again.remove(&id);
                if target.lanes.must_hold(entry.lane, id) {
                    entry.state = State::Waiting;
                    target.lanes.hold(entry.lane, id, now);
                    isolation.excuse(id);
                    continue;
                }
                entry.state = State::InFlight;
                entry.attempts += 1;
                target.in_flight += 1;
                picked.push(Write { id, attempt: entry.attempts });
            }
            // If none could be tried, all of the part were excused, and the next part is smaller by them.
            if !picked.is_empty() {
                return picked;
            }
        }
    }

    /// When to ask again for `sink` if nothing else happens.
    pub fn next_wake(&self, sink: usize) -> Option<Duration> {
        let target = self.sinks.get(sink)?;
        let expiry = self.policy.age.and_then(|age| {
            let oldest = self.entries.iter().flatten().find(|entry| entry.state != State::InFlight)?;
            Some(oldest.offered + age)
        });
        let mut times = vec![target.lanes.next_due(), expiry];
        if target.in_flight < self.policy.window && target.isolation.is_none() {
            let oldest = target.fresh.iter().find_map(|id| entry(&self.entries, self.first, *id));
            times.push(oldest.map(|entry| entry.offered + self.policy.linger));
        }
        times.into_iter().flatten().min()
    }

    /// What a sink said. An answer for a record that is not in flight is not for us.
    pub fn outcome(&mut self, now: Duration, id: u64, outcome: Outcome) -> Option<Done> {
        let entry = entry_mut(&mut self.entries, self.first, id)?;
        if entry.state != State::InFlight {
            return None;
        }
        let target = self.sinks.get_mut(entry.sink as usize)?;
        target.in_flight -= 1;
        if let Some(isolation) = &mut target.isolation {
            isolation.passed(id);
        }
        if target.crashed_on == Some(id) {
            target.crashed_on = None;
        }
        let (verdict, lane) = match outcome {
            Outcome::Delivered => (Verdict::Delivered, entry.lane),
            Outcome::Rejected { reason } => (Verdict::GivenUp { code: LetterCode::Rejected, reason }, entry.lane),
            Outcome::Retry { after, reason } => {
                entry.retries += 1;
                let given_up = match (self.policy.attempts, self.policy.age) {
                    (Some(limit), _) if entry.retries >= limit => {
                        let text = format!("gave up after {} attempts: {reason}", entry.retries);
                        Some((LetterCode::Attempts, text))
                    }
                    (_, Some(age)) if now >= entry.offered + age => {
                        Some((LetterCode::Age, format!("gave up after {} s: {reason}", age.as_secs_f64())))
                    }
                    _ => None,
                };
                match given_up {
                    Some((code, reason)) => (Verdict::GivenUp { code, reason }, entry.lane),
                    None => {
                        let wait = after.unwrap_or_else(|| self.policy.backoff.wait(entry.retries, self.jitter.roll()));
                        entry.state = State::Waiting;
                        target.lanes.retry(entry.lane, id, now + wait);
                        return None;
                    }
                }
            }
        };
        target.lanes.done(lane, id);
        self.finish(id, verdict)
    }

    /// The sink's session is gone, and with it what is known of these records in flight. `crashed`: the guest broke while it
    /// had just these in hand.
    pub fn lost(&mut self, now: Duration, sink: usize, ids: &[u64], crashed: bool) -> Vec<Done> {
        let mut ids: Vec<u64> = ids.iter().copied().filter(|id| is_in_flight(&self.entries, self.first, *id)).collect();
        ids.sort_unstable();
        let Some(target) = self.sinks.get_mut(sink) else { return Vec::new() };
        for &id in &ids {
            let Some(entry) = entry_mut(&mut self.entries, self.first, id) else { continue };
            target.in_flight -= 1;
            if target.lanes.is_blocked(entry.lane) {
                entry.state = State::Waiting;
                target.lanes.hold(entry.lane, id, now);
            } else {
                entry.state = State::Queued;
                target.again.insert(id);
            }
        }
        let poison = if crashed { Self::crashed(target, &ids) } else { None };
        if !crashed && let Some(isolation) = &mut target.isolation {
            isolation.interrupted();
        }
        let Some(id) = poison else { return Vec::new() };
        let lane = entry(&self.entries, self.first, id).map(|entry| entry.lane);
        target.again.remove(&id);
        if let Some(lane) = lane {
            target.lanes.done(lane, id);
        }
        let reason = "poisonous: the sink breaks each time it is given this record alone".to_owned();
        self.finish(id, Verdict::GivenUp { code: LetterCode::Poison, reason }).into_iter().collect()
    }

    /// The record that crashes the sink, once it is known.
    fn crashed(target: &mut Sink, ids: &[u64]) -> Option<u64> {
        let head = *ids.first()?;
        if let Some(isolation) = &mut target.isolation {
            return isolation.crashed();
        }
        if target.crashed_on != Some(head) {
            target.crashed_on = Some(head);
            return None;
        }
        if let [only] = ids {
            target.crashed_on = None;
            return Some(*only);
        }
        target.isolation = Some(Isolation::new(ids));
        None
    }

    /// Gives up what is older than the policy allows and not in flight.
    pub fn expire(&mut self, now: Duration) -> Vec<Done> {
        let Some(age) = self.policy.age else { return Vec::new() };
        let old = |entry: &Entry| entry.offered + age <= now;
        let ids: Vec<u64> = (self.first..)
            .zip(&self.entries)
            .take_while(|(_, entry)| entry.as_ref().is_none_or(old))
            .filter(|(_, entry)| entry.as_ref().is_some_and(|entry| entry.state != State::InFlight))
            .map(|(id, _)| id)
            .collect();
        let reason = format!("gave up after {} s without delivery", age.as_secs_f64());
        let mut done = Vec::new();
        for id in ids {
            let Some(entry) = entry(&self.entries, self.first, id) else { continue };
            let (sink, lane, size) = (entry.sink as usize, entry.lane, entry.size as usize);
            if let Some(target) = self.sinks.get_mut(sink) {
                if !target.again.remove(&id) && entry.state == State::Queued {
                    target.fresh_bytes = target.fresh_bytes.saturating_sub(size);
                }
                target.lanes.done(lane, id);
            }
            let verdict = Verdict::GivenUp { code: LetterCode::Age, reason: reason.clone() };
            done.extend(self.finish(id, verdict));
        }
        done
    }

    fn finish(&mut self, id: u64, verdict: Verdict) -> Option<Done> {
        let index = usize::try_from(id.checked_sub(self.first)?).ok()?;
        let entry = self.entries.get_mut(index)?.take()?;
        self.open -= 1;
        while matches!(self.entries.front(), Some(None)) {
            self.entries.pop_front();
            self.first += 1;
        }
        Some(Done { id, sink: entry.sink as usize, verdict, attempts: entry.attempts })
    }
}

fn entry(entries: &VecDeque<Option<Entry>>, first: u64, id: u64) -> Option<&Entry> {
    entries.get(usize::try_from(id.checked_sub(first)?).ok()?)?.as_ref()
}

fn entry_mut(entries: &mut VecDeque<Option<Entry>>, first: u64, id: u64) -> Option<&mut Entry> {
    entries.get_mut(usize::try_from(id.checked_sub(first)?).ok()?)?.as_mut()
}

fn is_in_flight(entries: &VecDeque<Option<Entry>>, first: u64, id: u64) -> bool {
    entry(entries, first, id).is_some_and(|entry| entry.state == State::InFlight)
}

fn forget(target: &mut Sink, id: u64, again: bool) {
    if again {
        target.again.remove(&id);
    } else {
        target.fresh.pop_front();
    }
}

fn is_due(target: &Sink, policy: &Policy, entries: &VecDeque<Option<Entry>>, first: u64, now: Duration) -> bool {
    !target.again.is_empty()
        || target.fresh.len() >= policy.batch_records
        || target.fresh_bytes >= policy.batch_bytes
        || target
            .fresh
            .iter()
            .find_map(|id| entry(entries, first, *id))
            .is_some_and(|oldest| oldest.offered + policy.linger <= now)
}

#[cfg(test)]
mod tests;
