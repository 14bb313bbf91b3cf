//! What is on its way to one sink. Each record is in exactly one place: fresh, again, held in a lane, or in flight.

use std::time::Duration;

use super::fault::{Fault, sound};
use super::isolation::Isolation;
use super::lanes::{LaneKey, Lanes};
use super::policy::Policy;
use super::runs::{Run, Runs};

#[derive(Clone, Debug, Default)]
pub(super) struct Outlet {
    /// Never written, in the order in which they were offered.
    pub(super) fresh: Runs,
    /// Without key, given back by a lost session.
    pub(super) again: Runs,
    /// Of a key, or postponed.
    pub(super) lanes: Lanes,
    /// Written, without outcome.
    pub(super) flying: Runs,
    pub(super) isolation: Option<Isolation>,
    /// The first record of the last write that broke the sink.
    pub(super) crashed_on: Option<u64>,
    /// How many writes there were.
    pub(super) writes: u64,
}

/// What a write may still take.
struct Room {
    records: usize,
    batch_bytes: usize,
    window_bytes: usize,
    /// Nothing is in flight, and nothing is taken yet.
    clear: bool,
    first: bool,
}

impl Room {
    fn new(policy: &Policy, flying: &Runs) -> Self {
        let records = if sound(Fault::WindowForgotten) { flying.records() } else { 0 };
        let bytes = if sound(Fault::WindowBytesForgotten) { flying.bytes() } else { 0 };
        Self {
            records: policy.window.max(1).saturating_sub(records).min(policy.batch_records.max(1)),
            batch_bytes: policy.batch_bytes,
            window_bytes: policy.window_bytes.saturating_sub(bytes),
            clear: flying.is_empty(),
            first: true,
        }
    }

    /// How many records from the front of a run may be taken.
    fn fitting(&self, run: &Run) -> usize {
        let count = run.fitting(self.records, self.batch_bytes.min(self.window_bytes));
        let exempt = self.first && (self.clear || run.first_size() <= self.window_bytes);
        if count == 0 && exempt { self.records.min(1) } else { count }
    }

    fn take(&mut self, run: &Run) {
        let bytes = run.bytes();
        self.records -= run.len();
        self.batch_bytes = self.batch_bytes.saturating_sub(bytes);
        self.window_bytes = self.window_bytes.saturating_sub(bytes);
        self.first = false;
        self.clear = false;
    }
}

impl Outlet {
    /// What is to be written now, in order, as runs.
    pub(super) fn next(&mut self, now: Duration, policy: &Policy, flushing: bool) -> Vec<Run> {
        self.lanes.wake(now);
        let mut picked = Vec::new();
        if self.isolation.is_some() {
            self.next_part(now, policy, &mut picked);
        }
        if self.isolation.is_none() && (flushing || self.is_due(policy, now)) {
            self.next_batch(now, policy, &mut picked);
        }
        for run in &mut picked {
            run.attempts += 1;
            self.flying.push(run.clone());
        }
        picked
    }

    fn next_batch(&mut self, now: Duration, policy: &Policy, picked: &mut Vec<Run>) {
        self.writes += 1;
        let write = self.writes;
        let mut room = Room::new(policy, &self.flying);
        loop {
            let ready = self.lanes.ready.first().copied();
            let again = self.again.front().map(|run| run.ids.start);
            let taken_before = picked.len();
            match ready {
                Some((head, key)) if again.is_none_or(|again| head < again) => {
                    let room = std::cell::RefCell::new(&mut room);
                    self.lanes.take(
                        key,
                        now,
                        write,
                        |run| room.borrow().fitting(run),
                        |run| {
                            room.borrow_mut().take(&run);
                            picked.push(run);
                        },
                    );
                    if picked.len() == taken_before {
                        break;
                    }
                    continue;
                }
                _ => {}
            }
            let (from, is_fresh) = if again.is_some() { (&mut self.again, false) } else { (&mut self.fresh, true) };
            let Some(run) = from.front() else { break };
            let (key, fitting) = (run.lane, room.fitting(run));
            if fitting == 0 {
                break;
            }
            let admitted = if is_fresh { self.lanes.admit(key, write, fitting) } else { fitting };
            let count = if admitted == 0 { usize::MAX } else { admitted };
            let Some(run) = from.pop_front(count) else { break };
            if admitted == 0 {
                self.lanes.hold(run);
                continue;
            }
            room.take(&run);
            picked.push(run);
        }
        // Lanes come first, so that what goes out need not be in order yet.
        picked.sort_unstable_by_key(|run| run.ids.start);
    }

    /// The next part of a search for poison; without one the search is over.
    fn next_part(&mut self, now: Duration, policy: &Policy, picked: &mut Vec<Run>) {
        self.writes += 1;
        let write = self.writes;
        loop {
            let Some(isolation) = &mut self.isolation else { return };
            let (again, lanes, flying) = (&self.again, &self.lanes, &self.flying);
            isolation.retain(|id, key| again.contains(id) || flying.contains(id) || lanes.holds(key, id));
            if isolation.is_over() {
                self.isolation = None;
                self.crashed_on = None;
                return;
            }
            if !self.flying.is_empty() {
                return;
            }
            let mut room = Room::new(policy, &self.flying);
            for (id, key) in isolation.next_part() {
                // One at a time, so that the bounds hold for each.
                let run = match key {
                    LaneKey::Free => self.again.take_one(id),
                    _ => self.lanes.take_suspect(key, id, now, write),
                };
                let Some(run) = run else {
                    isolation.excuse(id);
                    continue;
                };
                if room.fitting(&run) == 0 {
                    give_back(&mut self.again, &mut self.lanes, run);
                    break;
                }
                room.take(&run);
                picked.push(run);
            }
            if !picked.is_empty() {
                isolation.tries(picked.iter().map(|run| run.ids.start));
                return;
            }
            // None could be tried, so that all of the part were excused: the rest is smaller.
        }
    }

    fn is_due(&self, policy: &Policy, now: Duration) -> bool {
        !self.again.is_empty()
            || !self.lanes.ready.is_empty()
            || self.fresh.records() >= policy.batch_records.min(policy.window)
            || self.fresh.bytes() >= policy.batch_bytes.min(policy.window_bytes)
            || self.fresh.front().is_some_and(|oldest| oldest.offered + policy.linger <= now)
    }

    /// When to ask again if nothing else happens.
    pub(super) fn next_wake(&self, policy: &Policy) -> Option<Duration> {
        let due = if sound(Fault::WakeMissed) { self.lanes.next_due() } else { None };
        // What stands before the fresh ones, or has no room, waits for an answer and not for a time.
        let first = self.isolation.is_none() && self.again.is_empty() && self.lanes.ready.is_empty();
        let fresh = self.fresh.front().filter(|run| first && Room::new(policy, &self.flying).fitting(run) > 0);
        let times = [due, fresh.map(|run| run.offered + policy.linger), self.next_expiry(policy)];
        times.into_iter().flatten().min()
    }

    /// When the next record is too old.
    pub(super) fn next_expiry(&self, policy: &Policy) -> Option<Duration> {
        let age = policy.age?;
        let oldest = [self.fresh.front(), self.again.front(), self.lanes.oldest()];
        oldest.into_iter().flatten().map(|run| run.offered + age).min()
    }

    /// When the first of those was put off that are not done.
    pub(super) fn postponed_since(&self) -> Option<Duration> {
        // What was put off is in a lane until it is written again.
        self.lanes.held().chain(self.flying.iter()).filter_map(|run| run.postponed).min()
    }

    /// Takes what was offered before `limit` or then, and is not in flight.
    pub(super) fn take_old(&mut self, limit: Duration) -> Vec<Run> {
        let mut old = Vec::new();
        let is_old = |run: &Run| run.offered <= limit;
        while self.again.front().is_some_and(is_old) {
            old.extend(self.again.pop_front(usize::MAX));
        }
        while self.lanes.oldest().is_some_and(is_old) {
            old.extend(self.lanes.take_oldest());
        }
        while self.fresh.front().is_some_and(is_old) {
            old.extend(self.fresh.pop_front(usize::MAX));
        }
        if !sound(Fault::ExpiredInFlight) {
            old.extend(self.flying.pop_front(usize::MAX));
        }
        old.sort_unstable_by_key(|run| run.ids.start);
        old
    }

    /// The sink answered for records that were in flight.
    pub(super) fn answered(&mut self, run: &Run) {
        if let Some(isolation) = &mut self.isolation {
            run.ids.clone().for_each(|id| isolation.passed(id));
        }
        if self.crashed_on.is_some_and(|id| run.ids.contains(&id)) {
            self.crashed_on = None;
        }
    }

    /// Records in flight are done.
    pub(super) fn done(&mut self, run: &Run) {
        if run.lane != LaneKey::Free {
            self.lanes.landed(run.lane, run.ids.start, run.len(), true);
        }
        if !sound(Fault::DoneStays) {
            self.flying.push(run.clone());
        }
    }

    /// A record in flight is to be written again, not before `until`.
    pub(super) fn postpone(&mut self, mut run: Run, until: Duration) {
        run.until = until;
        let from = run.lane;
        self.lanes.postpone(run, from);
    }

    /// Records in flight come back: what became of them is not known.
    pub(super) fn lost(&mut self, mut run: Run) {
        run.until = Duration::ZERO;
        give_back(&mut self.again, &mut self.lanes, run);
    }

    /// The sink broke with these in hand, `alone` or with others: the record that it breaks on, once that is known.
    pub(super) fn crashed(&mut self, suspects: Vec<(u64, LaneKey)>, alone: bool) -> Option<Run> {
        let (head, key) = *suspects.first()?;
        let poison = if let Some(isolation) = &mut self.isolation {
            let id = isolation.crashed(alone)?;
            suspects.into_iter().find(|(suspect, _)| *suspect == id)?
        } else if self.crashed_on != Some(head) {
            self.crashed_on = Some(head);
            return None;
        } else if suspects.len() == 1 {
            if !alone && sound(Fault::PoisonInCompany) {
                return None;
            }
            self.crashed_on = None;
            (head, key)
        } else {
            self.isolation = Some(Isolation::new(suspects.into()));
            return None;
        };
        match poison {
            (id, LaneKey::Free) => self.again.take_one(id),
            (id, key) => self.lanes.remove(key, id),
        }
    }
}

fn give_back(again: &mut Runs, lanes: &mut Lanes, run: Run) {
    if run.lane == LaneKey::Free {
        again.push(run);
    } else {
        let (key, first, count) = (run.lane, run.ids.start, run.len());
        // Back in its lane before it leaves flight, so that the lane is not forgotten in between.
        lanes.hold(run);
        lanes.landed(key, first, count, false);
    }
}
