//! How far a pipeline is with the records it took: done when all that came of them is done. No clock and no I/O.

use std::collections::VecDeque;
use std::ops::Range;

use ferrule_transport::Cursor;

use crate::delivery::{Fault, sound};

/// Neighbouring records of which equally much is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Stretch {
    /// The offset behind the last.
    end: u64,
    /// For each, how much that came of it is not done; 0: done.
    left: u32,
}

/// The records taken from one source. What happens to neighbours alike costs as much as for one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    /// From `low` on without gaps; no two neighbours are alike, and the first is not done.
    stretches: VecDeque<Stretch>,
    low: u64,
    open: usize,
    completed: Vec<Range<u64>>,
}

impl Progress {
    /// Nothing is taken yet; reading begins at `low`.
    pub(crate) fn starting_at(low: u64) -> Self {
        Self { low, ..Self::default() }
    }

    /// Records that are taken and not done.
    pub(crate) fn open(&self) -> usize {
        self.open
    }

    /// Everything before it is done.
    pub(crate) fn low(&self) -> u64 {
        self.low
    }

    /// All that tells one state from another, but for what is already completed.
    #[cfg(test)]
    pub(crate) fn hash_state(&self, hasher: &mut impl std::hash::Hasher) {
        use std::hash::Hash;
        let Self { stretches, low, open, completed: _ } = self;
        (stretches, low, open).hash(hasher);
    }

    fn end(&self) -> u64 {
        self.stretches.back().map_or(self.low, |last| last.end)
    }

    /// Records were taken; each counts as one thing to be done. Offsets that were skipped are done.
    pub(crate) fn take(&mut self, first_offset: u64, count: usize) {
        if self.stretches.is_empty() {
            self.low = self.low.max(first_offset);
        }
        if self.end() < first_offset {
            self.append(first_offset, 0);
        }
        let end = self.end().max(first_offset) + count as u64;
        self.append(end, 1);
        self.open += count;
    }

    fn append(&mut self, end: u64, left: u32) {
        if end == self.end() {
            return;
        }
        match self.stretches.back_mut() {
            Some(last) if last.left == left => last.end = end,
            _ => self.stretches.push_back(Stretch { end, left }),
        }
    }

    /// One more thing came of a record.
    pub(crate) fn add(&mut self, offset: u64) {
        self.change(offset..offset + 1, |left| left + 1);
    }

    /// One thing that came of a record is done.
    pub(crate) fn done(&mut self, offset: u64) {
        self.done_all(offset..offset + 1);
    }

    /// One thing that came of each of these records is done. What is done already stays so.
    pub(crate) fn done_all(&mut self, offsets: Range<u64>) {
        let step = if sound(Fault::DoneCountedDouble) { 1 } else { 2 };
        self.change(offsets, |left| left.saturating_sub(step));
        while let Some(first) = self.stretches.front().filter(|first| first.left == 0 || !sound(Fault::LowPastOpen)) {
            self.low = first.end;
            self.stretches.pop_front();
        }
    }

    /// Records that became done since the last call, as ranges in no order.
    pub(crate) fn take_completed_ranges(&mut self) -> Vec<Range<u64>> {
        std::mem::take(&mut self.completed)
    }

    /// The same one by one.
    #[cfg(test)]
    pub(crate) fn take_completed(&mut self) -> Vec<u64> {
        self.take_completed_ranges().into_iter().flatten().collect()
    }

    /// The low-water mark and what is done above it.
    pub(crate) fn cursor(&self) -> Cursor {
        let mut cursor = Cursor { low: self.low, done: Vec::new() };
        let mut from = self.low;
        for stretch in &self.stretches {
            if stretch.left == 0 {
                cursor.done.push(from..stretch.end);
            }
            from = stretch.end;
        }
        cursor
    }

    /// Where a stretch begins.
    fn start(&self, index: usize) -> u64 {
        index.checked_sub(1).and_then(|before| self.stretches.get(before)).map_or(self.low, |before| before.end)
    }

    /// Changes how much is left of these records, where it is not done.
    fn change(&mut self, offsets: Range<u64>, to: impl Fn(u32) -> u32) {
        let mut from = offsets.start.max(self.low);
        let mut index = match self.stretches.front() {
            Some(first) if from < first.end => 0,
            _ => self.stretches.partition_point(|stretch| stretch.end <= from),
        };
        while from < offsets.end
            && let Some(&stretch) = self.stretches.get(index)
        {
            let end = stretch.end.min(offsets.end);
            let left = if stretch.left == 0 { 0 } else { to(stretch.left) };
            if left == stretch.left {
                (from, index) = (end, index + 1);
                continue;
            }
            if left == 0 {
                self.open -= (end - from) as usize;
                match self.completed.last_mut() {
                    Some(last) if last.end == from => last.end = end,
                    _ => self.completed.push(from..end),
                }
            }
            index = self.replace(index, from..end, left);
            from = end;
        }
    }

    /// Gives a part of a stretch another count and joins it with neighbours that are alike; the index of what follows it.
    fn replace(&mut self, index: usize, part: Range<u64>, left: u32) -> usize {
        let start = self.start(index);
        let Some(stretch) = self.stretches.get_mut(index) else { return index };
        let before = *stretch;
        *stretch = Stretch { end: part.end, left };
        if part.end < before.end {
            self.stretches.insert(index + 1, before);
        }
        let mut index = index;
        if start < part.start {
            self.stretches.insert(index, Stretch { end: part.start, left: before.left });
            index += 1;
        }
        let alike = |this: &Self, index: usize| this.stretches.get(index).is_some_and(|other| other.left == left);
        if index > 0 && alike(self, index - 1) {
            index -= 1;
            self.stretches.remove(index);
        }
        if alike(self, index + 1) {
            self.stretches.remove(index);
            return index;
        }
        index + 1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_record_is_done_with_the_last_thing_that_came_of_it() {
        let mut progress = Progress::starting_at(5);
        progress.take(5, 3);
        progress.add(6);
        progress.done(6);
        assert_eq!(progress.take_completed(), [0; 0]);
        progress.done(7);
        progress.done(6);
        assert_eq!(progress.take_completed(), [7, 6]);
        assert_eq!(progress.cursor(), Cursor { low: 5, done: std::iter::once(6..8).collect() });
        progress.done(5);
        assert_eq!(progress.cursor(), Cursor { low: 8, done: vec![] });
        progress.done(5);
        assert_eq!((progress.open(), progress.take_completed()), (0, vec![5]));
        progress.take(10, 1);
        assert_eq!(progress.low, 10, "what was skipped is done");
    }

    /// The same, record by record.
    #[derive(Default)]
    struct Plain {
        left: Vec<u32>,
        completed: Vec<u64>,
    }

    impl Plain {
        fn done(&mut self, offset: u64) {
            if let Some(left) = self.left.get_mut(offset as usize).filter(|left| **left > 0) {
                *left -= 1;
                if *left == 0 {
                    self.completed.push(offset);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn stretches_say_the_same_as_single_records(steps in proptest::collection::vec((0u8..5, 0u64..40, 0u64..12), 0..80)) {
            let (mut progress, mut plain) = (Progress::default(), Plain::default());
            for (action, offset, count) in steps {
                match action {
                    0 => {
                        // What is between is skipped.
                        let first = plain.left.len() as u64 + offset % 3;
                        let first = if progress.stretches.is_empty() { first.max(progress.low) } else { first };
                        progress.take(first, count as usize);
                        if count > 0 || !progress.stretches.is_empty() {
                            plain.left.resize(first as usize, 0);
                        }
                        plain.left.extend(std::iter::repeat_n(1, count as usize));
                    }
                    1 => {
                        progress.add(offset);
                        if let Some(left) = plain.left.get_mut(offset as usize).filter(|left| **left > 0) { *left += 1; }
                    }
                    2 => {
                        progress.done(offset);
                        plain.done(offset);
                    }
                    _ => {
                        progress.done_all(offset..offset + count);
                        (offset..offset + count).for_each(|offset| plain.done(offset));
                    }
                }
                let cursor = progress.cursor();
                for (offset, left) in (0..).zip(&plain.left) {
                    let found = offset < cursor.low || cursor.done.iter().any(|range| range.contains(&offset));
                    prop_assert_eq!(found, *left == 0, "{} after {:?}", offset, progress);
                }
                prop_assert_eq!(progress.open(), plain.left.iter().filter(|left| **left > 0).count());
                let alike = |pair: &[Stretch]| pair[0].left == pair[1].left || pair[0].end >= pair[1].end;
                let stretches: Vec<Stretch> = progress.stretches.iter().copied().collect();
                prop_assert!(!stretches.windows(2).any(alike), "{:?}", progress);
                prop_assert!(stretches.first().is_none_or(|first| first.left > 0), "{:?}", progress);
                let mut completed = progress.take_completed();
                completed.sort_unstable();
                plain.completed.sort_unstable();
                prop_assert_eq!(completed, std::mem::take(&mut plain.completed));
            }
        }
    }
}
