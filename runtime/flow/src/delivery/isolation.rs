//! The search for the record that breaks a sink.

use std::collections::{BTreeSet, VecDeque};

/// Records that may break the sink, and the part of them that is tried now.
#[derive(Debug)]
pub(super) struct Isolation {
    suspects: VecDeque<u64>,
    testing: BTreeSet<u64>,
    tested: usize,
    part: usize,
}

impl Isolation {
    pub(super) fn new(suspects: &[u64]) -> Self {
        Self {
            suspects: suspects.iter().copied().collect(),
            testing: BTreeSet::new(),
            tested: 0,
            part: (suspects.len() / 2).max(1),
        }
    }

    /// Keeps the suspects that are still to be tried.
    pub(super) fn retain(&mut self, keep: impl Fn(u64) -> bool) {
        self.suspects.retain(|id| keep(*id));
    }

    pub(super) fn is_over(&self) -> bool {
        self.suspects.is_empty()
    }

    /// The next records to try, with nothing else in flight.
    pub(super) fn next_part(&mut self) -> Vec<u64> {
        let part: Vec<u64> = self.suspects.iter().copied().take(self.part).collect();
        self.testing = part.iter().copied().collect();
        self.tested = part.len();
        part
    }

    /// A record cannot be tried now; it leaves the search.
    pub(super) fn excuse(&mut self, id: u64) {
        if self.testing.remove(&id) {
            self.tested -= 1;
        }
        self.suspects.retain(|suspect| *suspect != id);
    }

    /// The sink answered for a record: it is no suspect any more.
    pub(super) fn passed(&mut self, id: u64) {
        if self.testing.remove(&id) {
            self.suspects.retain(|suspect| *suspect != id);
        }
    }

    /// The sink broke on the part: the record, if it was alone.
    pub(super) fn crashed(&mut self) -> Option<u64> {
        let tested = std::mem::take(&mut self.testing);
        if self.tested == 1 {
            let only = tested.first().copied()?;
            self.suspects.retain(|suspect| *suspect != only);
            return Some(only);
        }
        self.part = (self.tested / 2).max(1);
        None
    }

    /// The part was not tried after all.
    pub(super) fn interrupted(&mut self) {
        self.testing.clear();
    }
}
