//! Lanes: what is known of the keys that have records in flight or held back, so that the records of a key keep their order.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::time::Duration;

use super::KeyOrder;
use super::fault::{Fault, sound};
use super::runs::{Run, Runs};

/// What shares a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum LaneKey {
    /// A record without key, as long as nothing went wrong with it: it waits for nobody.
    Free,
    /// The records of a key, by its hash.
    Key(u64),
    /// A record without key that was postponed, alone.
    Record(u64),
}

/// Lane keys are spread already.
#[derive(Default)]
pub(super) struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_isize(&mut self, value: isize) {
        self.0 ^= value as u64;
    }
}

/// Where a lane stands that has something to write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Nothing, or not while something is in flight.
    #[default]
    None,
    Ready(u64),
    Scheduled(Duration),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Lane {
    /// Records that are neither fresh nor in flight.
    pub(super) held: Runs,
    /// How many are in flight.
    pub(super) in_flight: usize,
    /// The last write that took some.
    write: u64,
    /// A record was postponed: the first goes alone until it is through.
    pub(super) alone: bool,
    /// That first record, in flight.
    pub(super) probe: Option<u64>,
    place: Place,
    head: Option<u64>,
}

/// The lanes of one sink.
#[derive(Clone, Debug, Default)]
pub(super) struct Lanes {
    order: KeyOrder,
    pub(super) lanes: HashMap<LaneKey, Lane, BuildHasherDefault<Spread>>,
    /// Lanes that may be written at once, by their first record.
    pub(super) ready: BTreeSet<(u64, LaneKey)>,
    /// Lanes that may be written at a time to come.
    pub(super) schedule: BTreeSet<(Duration, LaneKey)>,
    /// Lanes by the first record that they hold.
    heads: BTreeMap<u64, LaneKey>,
}

impl Lanes {
    pub(super) fn set_order(&mut self, order: KeyOrder) {
        if self.order == order {
            return;
        }
        self.order = order;
        for key in self.lanes.keys().copied().collect::<Vec<_>>() {
            self.place(key);
        }
    }

    /// How many of `fitting` fresh records of a key may go with the write `write`; the rest of them, and if none then all, wait
    /// in the lane.
    pub(super) fn admit(&mut self, key: LaneKey, write: u64, fitting: usize) -> usize {
        if key == LaneKey::Free {
            return fitting;
        }
        let strict = self.order == KeyOrder::OneRecord;
        let lane = self.lanes.entry(key).or_default();
        let open = lane.held.is_empty() && !lane.alone;
        let follows = match self.order {
            KeyOrder::OneRecord => false,
            KeyOrder::OneWrite => lane.write == write || !sound(Fault::LaneOvertaken),
            KeyOrder::Pipelined => true,
        };
        let may = lane.in_flight == 0 || follows;
        let count = if !open || !may { 0 } else { fitting.min(if strict { 1 } else { usize::MAX }) };
        if count > 0 {
            lane.in_flight += count;
            lane.write = write;
        }
        count
    }

    /// Records that are not in flight, or not any more, wait for their turn in the lane.
    pub(super) fn hold(&mut self, run: Run) {
        let key = run.lane;
        self.lanes.entry(key).or_default().held.push(run);
        self.place(key);
    }

    /// Records left flight: `done`, or to come back.
    pub(super) fn landed(&mut self, key: LaneKey, first: u64, count: usize, done: bool) {
        let Some(lane) = self.lanes.get_mut(&key) else { return };
        lane.in_flight -= count;
        if lane.probe == Some(first) {
            lane.probe = None;
            lane.alone &= !done;
        }
        self.place(key);
    }

    /// A record in flight is postponed: from now on the first of its lane goes alone.
    pub(super) fn postpone(&mut self, mut run: Run, from: LaneKey) {
        if from != LaneKey::Free {
            self.landed(from, run.ids.start, 1, false);
        }
        if from == LaneKey::Free || !sound(Fault::LaneForgotten) {
            run.lane = LaneKey::Record(run.ids.start);
        }
        self.lanes.entry(run.lane).or_default().alone = true;
        self.hold(run);
    }

    /// When the next lane may send something.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.schedule.first().map(|(until, _)| *until)
    }

    /// Lanes whose time has come become ready.
    pub(super) fn wake(&mut self, now: Duration) {
        while let Some(&(until, key)) = self.schedule.first().filter(|(until, _)| *until <= now) {
            self.schedule.remove(&(until, key));
            if let Some(lane) = self.lanes.get_mut(&key)
                && let Some(head) = lane.held.front_mut()
            {
                // Ready from now on, even if there is no room for it yet.
                head.until = Duration::ZERO;
                lane.place = Place::Ready(head.ids.start);
                self.ready.insert((head.ids.start, key));
            }
        }
    }

    /// The first run that may go, of the lane that is ready.
    pub(super) fn first(&self, key: LaneKey) -> Option<&Run> {
        self.lanes.get(&key)?.held.front()
    }

    /// Takes what may go of a lane that is ready: `fitting` says how many records of a run have room.
    pub(super) fn take(
        &mut self,
        key: LaneKey,
        now: Duration,
        write: u64,
        mut fitting: impl FnMut(&Run) -> usize,
        mut taken: impl FnMut(Run),
    ) {
        let Some(lane) = self.lanes.get_mut(&key) else { return };
        let alone = lane.alone || self.order == KeyOrder::OneRecord;
        lane.write = write;
        while let Some(run) = lane.held.front() {
            if run.until > now {
                break;
            }
            let room = fitting(run);
            let most = if alone { room.min(1) } else { room };
            let whole = most >= run.len();
            if most == 0 {
                break;
            }
            let Some(run) = lane.held.pop_front(most) else { break };
            lane.in_flight += run.len();
            if lane.alone {
                lane.probe = Some(run.ids.start);
            }
            taken(run);
            if alone || !whole {
                break;
            }
        }
        self.place(key);
    }

    /// Takes one record of a search for poison, if it is the turn of that record in its lane.
    pub(super) fn take_suspect(&mut self, key: LaneKey, id: u64, now: Duration, write: u64) -> Option<Run> {
        let lane = self.lanes.get_mut(&key)?;
        let first = lane.held.front().is_some_and(|run| run.ids.start == id && run.until <= now);
        let follows = lane.write == write && !lane.alone && self.order != KeyOrder::OneRecord;
        if !first || !(lane.in_flight == 0 || follows) {
            return None;
        }
        let run = lane.held.pop_front(1)?;
        lane.write = write;
        lane.in_flight += 1;
        if lane.alone {
            lane.probe = Some(id);
        }
        self.place(key);
        Some(run)
    }

    /// Whether a record waits in its lane.
    pub(super) fn holds(&self, key: LaneKey, id: u64) -> bool {
        self.lanes.get(&key).is_some_and(|lane| lane.held.contains(id))
    }

    /// A record that waits is given up.
    pub(super) fn remove(&mut self, key: LaneKey, id: u64) -> Option<Run> {
        let run = self.lanes.get_mut(&key)?.held.take_one(id)?;
        self.place(key);
        Some(run)
    }

    /// All runs that are held.
    pub(super) fn held(&self) -> impl Iterator<Item = &Run> {
        self.lanes.values().flat_map(|lane| lane.held.iter())
    }

    /// The oldest run that is held.
    pub(super) fn oldest(&self) -> Option<&Run> {
        let (_, key) = self.heads.first_key_value()?;
        self.first(*key)
    }

    /// Takes the oldest run out of its lane.
    pub(super) fn take_oldest(&mut self) -> Option<Run> {
        let (_, &key) = self.heads.first_key_value()?;
        let run = self.lanes.get_mut(&key)?.held.pop_front(usize::MAX)?;
        self.place(key);
        Some(run)
    }

    /// Puts a lane where it belongs after a change; one that has nothing left is forgotten.
    fn place(&mut self, key: LaneKey) {
        let Some(lane) = self.lanes.get_mut(&key) else { return };
        let head = lane.held.front().map(|run| (run.ids.start, run.until));
        let waits = lane.in_flight > 0 && (lane.alone || self.order != KeyOrder::Pipelined);
        let place = match head {
            Some((id, Duration::ZERO)) if !waits => Place::Ready(id),
            Some((_, until)) if !waits => Place::Scheduled(until),
            _ => Place::None,
        };
        let before = std::mem::replace(&mut lane.place, place);
        let head_before = std::mem::replace(&mut lane.head, head.map(|(id, _)| id));
        let over = head.is_none() && lane.in_flight == 0;
        if lane.head != head_before {
            if let Some(id) = head_before {
                self.heads.remove(&id);
            }
            if let Some((id, _)) = head {
                self.heads.insert(id, key);
            }
        }
        if before != place {
            match before {
                Place::None => {}
                Place::Ready(id) => drop(self.ready.remove(&(id, key))),
                Place::Scheduled(until) => drop(self.schedule.remove(&(until, key))),
            }
            match place {
                Place::None => {}
                Place::Ready(id) => drop(self.ready.insert((id, key))),
                Place::Scheduled(until) => drop(self.schedule.insert((until, key))),
            }
        }
        if over {
            self.lanes.remove(&key);
        }
    }
}
