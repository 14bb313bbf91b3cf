//! The records that a pipeline holds while sinks have them: found by their ids, counted in bytes as they occupy memory, and let go
//! of as soon as they are done, however long one of their neighbours takes.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::{Held, Taken};

/// Of a batch smaller than this the rest is not copied out: it would cost more than it frees.
const WORTH_COPYING: usize = 64 * 1024;

/// What a part may be of a batch that it keeps in memory, as one over this; a smaller one is copied out. So all copies of a record
/// together cost less than half of copying it once.
const SMALLEST_PART: usize = 4;

/// Records that were handed to delivery together, until all of them are done.
struct Output {
    held: Arc<Held>,
    /// The rows that are not done, in order.
    open: Vec<Range<u32>>,
}

/// All that is not done.
#[derive(Default)]
pub(super) struct Outputs {
    /// By the id of the first record; the others follow.
    outputs: BTreeMap<u64, Output>,
    bytes: usize,
}

impl Outputs {
    /// Bytes of the batches that are held, whole as they are in memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Records got ids from `first` on.
    pub(super) fn add(&mut self, first: u64, held: Held) {
        let rows = 0..held.lot.len() as u32;
        self.bytes += held.lot.records.size();
        self.outputs.insert(first, Output { held: Arc::new(held), open: vec![rows] });
    }

    /// What holds a record, and the record's row in it.
    pub(super) fn find(&self, id: u64) -> Option<(&Arc<Held>, u32)> {
        let (first, output) = self.outputs.range(..=id).next_back()?;
        let row = id - first;
        (row < output.held.lot.len() as u64).then_some((&output.held, row as u32))
    }

    /// The records with these ids are done, which all are of one output.
    pub(super) fn release(&mut self, ids: Range<u64>) {
        let Some((&first, output)) = self.outputs.range_mut(..=ids.start).next_back() else { return };
        output.close(((ids.start - first) as u32)..((ids.end - first) as u32));
        let whole = output.held.lot.records.size();
        if output.open.is_empty() {
            self.bytes = self.bytes.saturating_sub(whole);
            self.outputs.remove(&first);
        } else if whole >= WORTH_COPYING && output.open_bytes() <= whole / SMALLEST_PART {
            self.copy_out(first);
        }
    }

    pub(super) fn clear(&mut self) {
        self.outputs.clear();
        self.bytes = 0;
    }

    /// Copies what is open of an output, so that the rest of its memory is free.
    fn copy_out(&mut self, first: u64) {
        let Some(Output { held, open }) = self.outputs.remove(&first) else { return };
        self.bytes = self.bytes.saturating_sub(held.lot.records.size());
        let taken = Arc::new(Taken { upstream_ids: held.taken.upstream_ids.detached(), ..held.taken.as_ref().clone() });
        for rows in open {
            let part = Held { lot: held.lot.detached(rows.clone()), taken: taken.clone() };
            self.add(first + u64::from(rows.start), part);
        }
    }
}

impl Output {
    fn open_bytes(&self) -> usize {
        let records = &self.held.lot.records;
        self.open.iter().map(|rows| records.size_of(rows.start as usize..rows.end as usize)).sum()
    }

    fn close(&mut self, rows: Range<u32>) {
        if let [all] = self.open.as_mut_slice()
            && all.start == rows.start
        {
            // Nearly always records are done from the front.
            all.start = rows.end.min(all.end);
        } else {
            let cut = |open: Range<u32>| {
                [open.start..rows.start.clamp(open.start, open.end), rows.end.clamp(open.start, open.end)..open.end]
            };
            self.open = self.open.drain(..).flat_map(cut).collect();
        }
        self.open.retain(|open| !open.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use ferrule_model::record::{Batch, Column};

    use super::super::From;
    use super::*;
    use crate::lot::Lot;

    fn held(rows: usize, size: usize) -> Held {
        let payloads = (0..rows).map(|row| vec![row as u8; size]);
        let taken = Taken {
            from: From::Source(0),
            first_offset: 0,
            partition: 0,
            upstream_ids: Column::of((0..rows).map(|row| vec![row as u8])).unwrap(),
            duplicates: Vec::new(),
            size: rows * size,
        };
        Held { lot: Lot::input(Batch::of(payloads).unwrap()), taken: Arc::new(taken) }
    }

    /// The payload's first byte and the input row of a record.
    fn seen(outputs: &Outputs, id: u64) -> Option<(u8, u32, Vec<u8>)> {
        let (held, row) = outputs.find(id)?;
        let root = held.lot.root(row);
        let upstream = held.taken.upstream_ids.get(root as usize).to_vec();
        Some((held.lot.records.payload.get(row as usize)[0], root, upstream))
    }

    #[test]
    fn a_record_that_stays_keeps_no_other_in_memory() {
        let mut outputs = Outputs::default();
        for batch in 0..10 {
            outputs.add(batch * 100, held(100, 10_000));
        }
        assert_eq!(outputs.bytes(), 10_000_000);
        // The first batch stays but for its last record; all later ones are done at once.
        for batch in 1..10 {
            outputs.release(batch * 100..batch * 100 + 100);
        }
        assert_eq!(outputs.bytes(), 1_000_000, "what is done behind an open record is let go of");
        outputs.release(0..40);
        assert_eq!(outputs.bytes(), 1_000_000, "a batch is whole in memory while a large part is open");
        outputs.release(41..100);
        assert_eq!(outputs.bytes(), 10_000, "one record is left, in memory of its own");
        assert_eq!(seen(&outputs, 40), Some((40, 40, vec![40])));
        assert_eq!((seen(&outputs, 39), seen(&outputs, 41)), (None, None));
        outputs.release(40..41);
        assert_eq!((outputs.bytes(), outputs.outputs.len()), (0, 0));
    }

    #[test]
    fn parts_that_stay_are_found_by_their_ids() {
        let mut outputs = Outputs::default();
        outputs.add(7, held(100, 1_000));
        for done in [10..30, 31..60, 7..9, 62..107] {
            outputs.release(done);
        }
        assert_eq!(outputs.bytes(), 4_000);
        for id in [9, 30, 60, 61] {
            let row = (id - 7) as u8;
            assert_eq!(seen(&outputs, id), Some((row, u32::from(row), vec![row])), "{id}");
        }
        assert_eq!(seen(&outputs, 29), None);
        for id in [61, 9, 60, 30] {
            outputs.release(id..id + 1);
        }
        assert_eq!((outputs.bytes(), outputs.outputs.len()), (0, 0));
    }
}
