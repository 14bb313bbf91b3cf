//! Lanes: the records of one key that wait because one of them is in retry.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

/// What shares a lane: the records of a key (by its hash), or a record without key alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum LaneKey {
    Key(u64),
    Record(u64),
}

#[derive(Debug, Default)]
struct Lane {
    /// Records that wait, and until when.
    waiting: BTreeMap<u64, Duration>,
    /// The first record, on its way alone.
    probe: Option<u64>,
    /// The last probe came through, so the others may follow together.
    healthy: bool,
    scheduled: Option<Duration>,
}

/// The lanes of one sink that are blocked.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: HashMap<LaneKey, Lane>,
    schedule: BTreeSet<(Duration, LaneKey)>,
}

impl Lanes {
    pub(super) fn is_blocked(&self, key: LaneKey) -> bool {
        !self.lanes.is_empty() && self.lanes.contains_key(&key)
    }

    /// Whether a record that is about to be written again has to wait behind an earlier one of its lane.
    pub(super) fn must_hold(&self, key: LaneKey, id: u64) -> bool {
        self.lanes.get(&key).is_some_and(|lane| {
            lane.probe.is_some_and(|probe| probe != id)
                || lane.waiting.first_key_value().is_some_and(|(first, _)| *first < id)
        })
    }

    /// A record that is not in flight, or not any more, waits in a blocked lane.
    pub(super) fn hold(&mut self, key: LaneKey, id: u64, now: Duration) {
        self.wait(key, id, now);
    }

    /// A record is to be tried again at `until`; its lane is blocked from now on.
    pub(super) fn retry(&mut self, key: LaneKey, id: u64, until: Duration) {
        self.lanes.entry(key).or_default().healthy = false;
        self.wait(key, id, until);
    }

    fn wait(&mut self, key: LaneKey, id: u64, until: Duration) {
        let lane = self.lanes.entry(key).or_default();
        lane.waiting.insert(id, until);
        if lane.probe == Some(id) {
            lane.probe = None;
        }
        self.reschedule(key);
    }

    /// A record is done, wherever it was.
    pub(super) fn done(&mut self, key: LaneKey, id: u64) {
        let Some(lane) = self.lanes.get_mut(&key) else { return };
        lane.waiting.remove(&id);
        if lane.probe == Some(id) {
            lane.probe = None;
            lane.healthy = true;
        }
        self.reschedule(key);
    }

    /// When the next lane may send something.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.schedule.first().map(|(until, _)| *until)
    }

    /// The records that may be written now.
    pub(super) fn due(&mut self, now: Duration) -> Vec<u64> {
        let mut due = Vec::new();
        while let Some(&(until, key)) = self.schedule.first() {
            if until > now {
                break;
            }
            let Some(lane) = self.lanes.get_mut(&key) else {
                self.schedule.remove(&(until, key));
                continue;
            };
            if lane.healthy {
                while let Some(first) = lane.waiting.first_entry() {
                    if *first.get() > now {
                        break;
                    }
                    due.push(first.remove_entry().0);
                }
            } else if let Some((id, _)) = lane.waiting.pop_first() {
                lane.probe = Some(id);
                due.push(id);
            }
            self.reschedule(key);
        }
        due
    }

    fn reschedule(&mut self, key: LaneKey) {
        let Some(lane) = self.lanes.get_mut(&key) else { return };
        if let Some(until) = lane.scheduled.take() {
            self.schedule.remove(&(until, key));
        }
        if lane.probe.is_some() {
            return;
        }
        match lane.waiting.first_key_value() {
            Some((_, &until)) => {
                lane.scheduled = Some(until);
                self.schedule.insert((until, key));
            }
            None => {
                self.lanes.remove(&key);
            }
        }
    }
}
