//! Ids of records that a pipeline has seen within a time, so that what comes twice goes through once. No clock and no I/O.
//!
//! A second record of an id is done when the first is: should the process end before that, both are read again, and the first
//! goes through.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use ferrule_model::record::RecordId;

/// Ids that are remembered at most, whatever the time: about 200 MiB.
const MOST: usize = 4 << 20;

/// The ids of one stream.
#[derive(Debug)]
pub(crate) struct Seen {
    window: Duration,
    ids: HashSet<RecordId>,
    /// The ids with the time of their records, in milliseconds since 1970, oldest first.
    order: VecDeque<(i64, RecordId)>,
    /// Ids whose first record is not done: its offset.
    open: HashMap<RecordId, u64>,
    /// The offset of a first record that is not done: its id, and the offsets of the others.
    waiting: HashMap<u64, (RecordId, Vec<u64>)>,
}

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    /// The first of its id.
    First,
    /// Another of an id that is done.
    Again,
    /// Another of an id that is not done: it is done when that is.
    Tied,
}

impl Seen {
    pub(crate) fn new(window: Duration) -> Self {
        let (ids, order, open, waiting) = (HashSet::new(), VecDeque::new(), HashMap::new(), HashMap::new());
        Self { window, ids, order, open, waiting }
    }

    /// The time from which on records count, in milliseconds since 1970.
    pub(crate) fn since(&self, now_ms: i64) -> i64 {
        now_ms.saturating_sub(i64::try_from(self.window.as_millis()).unwrap_or(i64::MAX))
    }

    /// A record that was done before.
    pub(crate) fn done_before(&mut self, id: RecordId, time_ms: i64) {
        self.remember(id, time_ms);
    }

    /// A record comes.
    pub(crate) fn look(&mut self, id: RecordId, offset: u64, time_ms: i64) -> Sight {
        if let Some(first) = self.open.get(&id) {
            if let Some((_, others)) = self.waiting.get_mut(first) {
                others.push(offset);
            }
            return Sight::Tied;
        }
        self.expire(time_ms);
        if self.ids.contains(&id) {
            return Sight::Again;
        }
        self.open.insert(id, offset);
        self.waiting.insert(offset, (id, Vec::new()));
        self.remember(id, time_ms);
        Sight::First
    }

    /// A record is done: the offsets that are done with it.
    pub(crate) fn done(&mut self, offset: u64) -> Vec<u64> {
        let Some((id, others)) = self.waiting.remove(&offset) else { return Vec::new() };
        self.open.remove(&id);
        others
    }

    fn remember(&mut self, id: RecordId, time_ms: i64) {
        if self.ids.insert(id) {
            self.order.push_back((time_ms, id));
        }
        if self.order.len() > MOST
            && let Some((_, oldest)) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
    }

    fn expire(&mut self, now_ms: i64) {
        let since = self.since(now_ms);
        while let Some((time, id)) = self.order.front()
            && *time < since
        {
            self.ids.remove(id);
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use ferrule_model::ids::Uid;

    use super::*;

    fn id(name: &str) -> RecordId {
        RecordId::of_upstream(&Uid::new("s"), name.as_bytes())
    }

    #[test]
    fn what_comes_twice_within_the_window_goes_through_once() {
        let mut seen = Seen::new(Duration::from_millis(100));
        seen.done_before(id("z"), 0);
        assert_eq!(seen.look(id("z"), 4, 50), Sight::Again);
        assert_eq!(seen.look(id("a"), 5, 50), Sight::First);
        assert_eq!(seen.look(id("a"), 6, 60), Sight::Tied);
        assert_eq!(seen.look(id("a"), 7, 999), Sight::Tied, "what is not done does not grow old");
        assert_eq!(seen.done(6), [0; 0]);
        assert_eq!(seen.done(5), [6, 7]);
        assert_eq!(seen.look(id("b"), 8, 999), Sight::First);
        assert_eq!(seen.look(id("a"), 9, 999), Sight::First, "it is forgotten");
        assert_eq!(seen.look(id("b"), 10, 1_000), Sight::Tied);
    }
}
