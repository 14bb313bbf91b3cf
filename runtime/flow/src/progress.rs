//! How far a pipeline is with the records it took: done when all that came of them is done. No clock and no I/O.

use std::collections::VecDeque;

use ferrule_transport::Cursor;

/// The records taken from one source.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// For offset `low` + index, how much that came of it is not done; 0: done.
    inputs: VecDeque<u32>,
    low: u64,
    open: usize,
    completed: Vec<u64>,
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

    /// Records were taken; each counts as one thing to be done. Offsets that were skipped are done.
    pub(crate) fn take(&mut self, first_offset: u64, count: usize) {
        if self.inputs.is_empty() {
            self.low = self.low.max(first_offset);
        }
        while self.low + (self.inputs.len() as u64) < first_offset {
            self.inputs.push_back(0);
        }
        self.inputs.extend(std::iter::repeat_n(1, count));
        self.open += count;
    }

    /// One more thing came of a record.
    pub(crate) fn add(&mut self, offset: u64) {
        if let Some(left) = self.input(offset) {
            *left += 1;
        }
    }

    /// One thing that came of a record is done.
    pub(crate) fn done(&mut self, offset: u64) {
        let Some(left) = self.input(offset) else { return };
        let Some(less) = left.checked_sub(1) else { return };
        *left = less;
        if less > 0 {
            return;
        }
        self.open -= 1;
        self.completed.push(offset);
        while self.inputs.front() == Some(&0) {
            self.inputs.pop_front();
            self.low += 1;
        }
    }

    /// Records that became done since the last call.
    pub(crate) fn take_completed(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.completed)
    }

    /// The low-water mark.
    #[cfg(test)]
    fn low(&self) -> u64 {
        self.low
    }

    /// The low-water mark and what is done above it.
    pub(crate) fn cursor(&self) -> Cursor {
        let mut cursor = Cursor { low: self.low, done: Vec::new() };
        for (offset, _) in (self.low..).zip(&self.inputs).filter(|(_, left)| **left == 0) {
            match cursor.done.last_mut() {
                Some(range) if range.end == offset => range.end += 1,
                _ => cursor.done.push(offset..offset + 1),
            }
        }
        cursor
    }

    fn input(&mut self, offset: u64) -> Option<&mut u32> {
        self.inputs.get_mut(usize::try_from(offset.checked_sub(self.low)?).ok()?)
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
        assert_eq!(progress.low(), 10, "what was skipped is done");
    }

    proptest! {
        #[test]
        fn the_cursor_says_what_is_done(done in proptest::collection::vec(0u64..30, 0..40)) {
            let mut progress = Progress::default();
            progress.take(0, 30);
            let mut model = [false; 30];
            for offset in done {
                progress.done(offset);
                model[offset as usize] = true;
                let cursor = progress.cursor();
                for (offset, expected) in (0..).zip(model) {
                    let found = offset < cursor.low || cursor.done.iter().any(|range| range.contains(&offset));
                    prop_assert_eq!(found, expected);
                }
            }
        }
    }
}
