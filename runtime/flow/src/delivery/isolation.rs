//! The search for the record that breaks a sink.

use std::collections::{BTreeSet, VecDeque};

use super::fault::{Fault, sound};
use super::lanes::LaneKey;

/// Records that may break the sink, and the part of them that is tried now.
#[derive(Clone, Debug)]
pub(super) struct Isolation {
    pub(super) suspects: VecDeque<(u64, LaneKey)>,
    pub(super) testing: BTreeSet<u64>,
    pub(super) tested: usize,
    pub(super) part: usize,
}

impl Isolation {
    pub(super) fn new(suspects: VecDeque<(u64, LaneKey)>) -> Self {
        let part = (suspects.len() / 2).max(1);
        Self { suspects, testing: BTreeSet::new(), tested: 0, part }
    }

    /// Keeps the suspects that are still to be tried.
    pub(super) fn retain(&mut self, keep: impl Fn(u64, LaneKey) -> bool) {
        self.suspects.retain(|(id, key)| keep(*id, *key));
    }

    pub(super) fn is_over(&self) -> bool {
        self.suspects.is_empty()
    }

    /// The next records to try, with nothing else in flight.
    pub(super) fn next_part(&self) -> Vec<(u64, LaneKey)> {
        self.suspects.iter().copied().take(self.part).collect()
    }

    /// These are being tried.
    pub(super) fn tries(&mut self, part: impl Iterator<Item = u64>) {
        self.testing = part.collect();
        self.tested = self.testing.len();
    }

    /// A record cannot be tried now; it leaves the search.
    pub(super) fn excuse(&mut self, id: u64) {
        self.suspects.retain(|(suspect, _)| *suspect != id);
    }

    /// The sink answered for a record: it is no suspect any more.
    pub(super) fn passed(&mut self, id: u64) {
        if self.testing.remove(&id) {
            self.excuse(id);
        }
    }

    /// The sink broke on the part: the record, if it was one and the sink had nothing else in hand.
    pub(super) fn crashed(&mut self, alone: bool) -> Option<u64> {
        let testing = std::mem::take(&mut self.testing);
        let first = *testing.first()?;
        let proof = self.tested == 1 && (alone || !sound(Fault::PoisonInCompany));
        if proof || !sound(Fault::PoisonTooEarly) {
            self.excuse(first);
            return Some(first);
        }
        if sound(Fault::PoisonNeverNarrowed) {
            self.part = (self.tested / 2).max(1);
        }
        None
    }

    /// The part was not tried after all.
    pub(super) fn interrupted(&mut self) {
        self.testing.clear();
    }
}
