//! Runs: records with neighbouring ids that share one fate so far. A run is split where something happens to a part of it.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::lanes::LaneKey;

/// The sizes of the records of a run, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sizes {
    /// All have this one.
    Same(usize),
    /// Sums over the records of a lot, beginning with 0; the run begins at this index.
    Sums(Arc<Vec<usize>>, usize),
}

impl Sizes {
    fn of_first(&self, count: usize) -> usize {
        match self {
            Self::Same(size) => size.saturating_mul(count),
            Self::Sums(sums, at) => {
                let sum = |index: usize| sums.get(index).copied().unwrap_or_default();
                sum(at + count).saturating_sub(sum(*at))
            }
        }
    }

    /// How many of the first `most` have together no more than `bytes`.
    fn fitting(&self, most: usize, bytes: usize) -> usize {
        match self {
            Self::Same(size) => bytes.checked_div(*size).map_or(most, |count| count.min(most)),
            Self::Sums(sums, at) => {
                let part = sums.get(*at..=(at + most).min(sums.len().saturating_sub(1))).unwrap_or_default();
                let Some(base) = part.first() else { return 0 };
                part.partition_point(|sum| sum - base <= bytes).saturating_sub(1)
            }
        }
    }

    fn skip(&mut self, count: usize) {
        if let Self::Sums(_, at) = self {
            *at += count;
        }
    }
}

/// Records with neighbouring ids that were offered together and have the same past.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) ids: Range<u64>,
    pub(super) lane: LaneKey,
    pub(super) sizes: Sizes,
    pub(super) offered: Duration,
    /// Not to be written before.
    pub(super) until: Duration,
    pub(super) attempts: u32,
    pub(super) retries: u32,
    /// When the sink first put it off.
    pub(super) postponed: Option<Duration>,
}

impl Run {
    pub(super) fn len(&self) -> usize {
        (self.ids.end - self.ids.start) as usize
    }

    pub(super) fn bytes(&self) -> usize {
        self.sizes.of_first(self.len())
    }

    /// How many records from the front fit both bounds.
    pub(super) fn fitting(&self, records: usize, bytes: usize) -> usize {
        self.sizes.fitting(records.min(self.len()), bytes)
    }

    pub(super) fn first_size(&self) -> usize {
        self.sizes.of_first(1)
    }

    /// Takes one more record in, if it shares everything.
    fn grow(&mut self, next: &Self) -> bool {
        let shared = self.ids.end == next.ids.start
            && self.lane == next.lane
            && self.offered == next.offered
            && matches!((&self.sizes, &next.sizes), (Sizes::Same(one), Sizes::Same(other)) if one == other);
        if shared {
            self.ids.end = next.ids.end;
        }
        shared
    }

    /// Splits off the first `count` records; at least one must stay.
    fn split_front(&mut self, count: usize) -> Self {
        let mut front = self.clone();
        front.ids.end = front.ids.start + count as u64;
        self.ids.start = front.ids.end;
        self.sizes.skip(count);
        front
    }
}

/// Runs in the order of their ids.
#[derive(Clone, Debug, Default)]
pub(super) struct Runs {
    runs: VecDeque<Run>,
    records: usize,
    bytes: usize,
}

impl Runs {
    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// How many records there are.
    pub(super) fn records(&self) -> usize {
        self.records
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn front(&self) -> Option<&Run> {
        self.runs.front()
    }

    pub(super) fn front_mut(&mut self) -> Option<&mut Run> {
        self.runs.front_mut()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter()
    }

    pub(super) fn contains(&self, id: u64) -> bool {
        self.runs.get(self.find(id)).is_some_and(|run| run.ids.start <= id)
    }

    /// The index of the first run that ends behind `id`.
    fn find(&self, id: u64) -> usize {
        match self.runs.front() {
            Some(front) if id < front.ids.end => 0,
            _ => self.runs.partition_point(|run| run.ids.end <= id),
        }
    }

    /// Adds records that were never written, at the end.
    pub(super) fn offer(&mut self, run: Run) {
        self.records += run.len();
        self.bytes += run.bytes();
        if self.runs.back_mut().is_some_and(|last| last.grow(&run)) {
            return;
        }
        self.runs.push_back(run);
    }

    pub(super) fn push(&mut self, run: Run) {
        self.records += run.len();
        self.bytes += run.bytes();
        if self.runs.back().is_none_or(|last| last.ids.end <= run.ids.start) {
            self.runs.push_back(run);
        } else {
            self.runs.insert(self.find(run.ids.start), run);
        }
    }

    /// Takes the first run, or as many of its records.
    pub(super) fn pop_front(&mut self, most: usize) -> Option<Run> {
        let front = self.runs.front_mut()?;
        let run = if most < front.len() { front.split_front(most) } else { self.runs.pop_front()? };
        self.records -= run.len();
        self.bytes -= run.bytes();
        Some(run)
    }

    /// Takes what is there of these records, in order.
    pub(super) fn take(&mut self, ids: &Range<u64>, mut taken: impl FnMut(Run)) {
        let mut index = self.find(ids.start);
        while let Some(run) = self.runs.get_mut(index) {
            if run.ids.start >= ids.end {
                break;
            }
            if run.ids.start < ids.start {
                let before = run.split_front((ids.start - run.ids.start) as usize);
                self.runs.insert(index, before);
                index += 1;
                continue;
            }
            let run = if run.ids.end > ids.end {
                run.split_front((ids.end - run.ids.start) as usize)
            } else {
                let Some(run) = self.runs.remove(index) else { break };
                run
            };
            self.records -= run.len();
            self.bytes -= run.bytes();
            taken(run);
        }
    }

    /// Takes one record.
    pub(super) fn take_one(&mut self, id: u64) -> Option<Run> {
        let mut found = None;
        self.take(&(id..id + 1), |run| found = Some(run));
        found
    }
}
