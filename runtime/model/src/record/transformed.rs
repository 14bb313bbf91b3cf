//! What a function made of a batch, and the batch that it stands for.

use std::sync::Arc;

use super::batch::{check_headers, find_extra};
use super::{Batch, BatchError, Column, ColumnBuilder, Rejection};

/// The output's payload is new.
pub const CHANGED_PAYLOAD: u8 = 1;
/// The output's key is new.
pub const CHANGED_KEY: u8 = 2;
/// The output's headers are new.
pub const CHANGED_HEADERS: u8 = 4;
/// The output's timestamp is new.
pub const CHANGED_TIMESTAMP: u8 = 8;

/// What a function made of a batch: a row for each output, which starts as its origin's record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transformed {
    /// For each output the index of the input that it comes from.
    pub origins: Vec<u32>,
    /// Further origins, as pairs of output and input.
    pub also: Vec<(u32, u32)>,
    /// For each output which parts are new, by the `CHANGED_` bits; empty: none.
    pub changes: Vec<u8>,
    /// A row for each output with a new payload.
    pub payload: Column,
    /// A row for each output with a new key.
    pub key: Column,
    /// A row for each output with new headers.
    pub headers: Column,
    /// A value for each output with a new timestamp.
    pub timestamps: Arc<[i64]>,
    /// For each output the index of its route; empty: all take route 0.
    pub routes: Vec<u16>,
    /// Inputs refused.
    pub rejected: Vec<Rejection>,
    /// Columns by number that this version does not know, a row for each output.
    pub extra: Vec<(u16, Column)>,
}

impl Transformed {
    /// What a function answers that passes on all of `count` inputs.
    pub fn pass(count: u32) -> Self {
        Self { origins: (0..count).collect(), ..Self::default() }
    }

    /// How many outputs.
    pub fn len(&self) -> usize {
        self.origins.len()
    }

    /// Whether there are no outputs.
    pub fn is_empty(&self) -> bool {
        self.origins.is_empty()
    }

    /// The route of output `output`.
    pub fn route(&self, output: usize) -> u16 {
        self.routes.get(output).copied().unwrap_or_default()
    }

    /// Checks what a function answered to `input`. Routes are checked by whoever knows how many there are.
    pub fn check(&self, input: &Batch) -> Result<(), BatchError> {
        let (inputs, outputs) = (input.len(), self.len());
        let index = |what, index: u64, count: usize| {
            if index < count as u64 { Ok(()) } else { Err(BatchError::Index { what, index, count }) }
        };
        if !self.is_identity(inputs)
            && let Some(&highest) = self.origins.iter().max()
        {
            index("input", highest.into(), inputs)?;
        }
        for &(output, origin) in &self.also {
            index("output", output.into(), outputs)?;
            index("input", origin.into(), inputs)?;
        }
        let list = |column, found: usize| {
            if found == 0 || found == outputs {
                Ok(())
            } else {
                Err(BatchError::Rows { column, found, expected: outputs })
            }
        };
        list("changes", self.changes.len())?;
        list("routes", self.routes.len())?;
        let changes = Changes::of(&self.changes);
        if changes.any > 15
            && let Some((row, &bits)) = self.changes.iter().enumerate().find(|(_, bits)| **bits > 15)
        {
            return Err(BatchError::Changes { row, bits });
        }
        let columns = [
            ("payload", &self.payload, CHANGED_PAYLOAD),
            ("key", &self.key, CHANGED_KEY),
            ("headers", &self.headers, CHANGED_HEADERS),
        ];
        for (name, column, bit) in columns {
            let rows = changes.count(bit);
            if column.len() != rows {
                return Err(BatchError::Rows { column: name, found: column.len(), expected: rows });
            }
            column.check(name, rows)?;
        }
        let expected = changes.count(CHANGED_TIMESTAMP);
        if self.timestamps.len() != expected {
            return Err(BatchError::Rows { column: "timestamps", found: self.timestamps.len(), expected });
        }
        for (_, column) in &self.extra {
            column.check("extra", outputs)?;
        }
        check_headers(&self.headers)?;
        self.check_rejected(inputs)
    }

    fn check_rejected(&self, inputs: usize) -> Result<(), BatchError> {
        if self.rejected.is_empty() {
            return Ok(());
        }
        let mut named = vec![false; inputs];
        let origins = self.origins.iter().chain(self.also.iter().map(|(_, origin)| origin));
        for &origin in origins {
            if let Some(named) = named.get_mut(origin as usize) {
                *named = true;
            }
        }
        for rejection in &self.rejected {
            let index = rejection.record_ref;
            let named = usize::try_from(index).ok().and_then(|index| named.get_mut(index));
            let named = named.ok_or(BatchError::Index { what: "input", index, count: inputs })?;
            if std::mem::replace(named, true) {
                return Err(BatchError::Twice(index));
            }
        }
        Ok(())
    }

    /// Whether output `i` comes from input `i`, for all of them. No early exit, so that the loop becomes vector
    /// instructions.
    fn is_identity(&self, inputs: usize) -> bool {
        self.origins.len() == inputs
            && self.origins.iter().zip(0..inputs as u32).fold(0, |differ, (&origin, output)| differ | (origin ^ output))
                == 0
    }

    /// The batch that the outputs make: payload, key, headers, timestamps and `extra`; which token, id or attempt belongs to
    /// an output is for the caller, who knows its origins. Columns that nothing changes are shared, not copied.
    pub fn assemble(&self, input: &Batch) -> Result<Batch, BatchError> {
        let identity = self.is_identity(input.len());
        let column = |old: &Column, new: &Column, bit| self.column(old, new, bit, identity);
        let mut extra = self.extra.clone();
        for (number, old) in &input.extra {
            if find_extra(&extra, *number).is_none() {
                extra.push((*number, if identity { old.clone() } else { old.select(&self.origins)? }));
            }
        }
        Ok(Batch {
            count: u32::try_from(self.origins.len()).map_err(|_| BatchError::TooLarge)?,
            payload: column(&input.payload, &self.payload, CHANGED_PAYLOAD)?,
            key: column(&input.key, &self.key, CHANGED_KEY)?,
            headers: column(&input.headers, &self.headers, CHANGED_HEADERS)?,
            timestamps: self.assemble_timestamps(input, identity),
            tokens: Arc::default(),
            upstream_ids: Column::default(),
            record_ids: Column::default(),
            attempts: Arc::default(),
            extra,
        })
    }

    fn column(&self, old: &Column, new: &Column, bit: u8, identity: bool) -> Result<Column, BatchError> {
        let changed = new.len();
        if changed == 0 {
            return if identity { Ok(old.clone()) } else { old.select(&self.origins) };
        }
        if changed == self.origins.len() {
            return Ok(new.clone());
        }
        let mut builder = ColumnBuilder::with_capacity(self.origins.len(), old.bytes.len() + new.bytes.len());
        let mut next = 0;
        for (output, &origin) in self.origins.iter().enumerate() {
            if self.changes.get(output).is_some_and(|bits| bits & bit != 0) {
                builder.push(new.get(next))?;
                next += 1;
            } else {
                builder.push(old.get(origin as usize))?;
            }
        }
        Ok(builder.finish())
    }

    fn assemble_timestamps(&self, input: &Batch, identity: bool) -> Arc<[i64]> {
        if self.timestamps.is_empty() {
            if identity || input.timestamps.is_empty() {
                return input.timestamps.clone();
            }
            return self.origins.iter().map(|&origin| input.timestamp(origin as usize)).collect();
        }
        let mut new = self.timestamps.iter().copied();
        let row = |(output, &origin): (usize, &u32)| {
            let changed = self.changes.get(output).is_some_and(|bits| bits & CHANGED_TIMESTAMP != 0);
            changed.then(|| new.next()).flatten().unwrap_or_else(|| input.timestamp(origin as usize))
        };
        self.origins.iter().enumerate().map(row).collect()
    }
}

/// Which bits the outputs have. Mostly all have the same, and then nothing needs to be counted.
struct Changes<'a> {
    bits: &'a [u8],
    any: u8,
    all: u8,
}

impl<'a> Changes<'a> {
    fn of(bits: &'a [u8]) -> Self {
        let (any, all) = bits.iter().fold((0, u8::MAX), |(any, all), bits| (any | bits, all & bits));
        Self { bits, any, all }
    }

    /// How many have `bit`.
    fn count(&self, bit: u8) -> usize {
        if self.any & bit == 0 {
            0
        } else if self.all & bit != 0 {
            self.bits.len()
        } else {
            self.bits.iter().filter(|bits| **bits & bit != 0).count()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::NO_TIMESTAMP;

    fn input() -> Batch {
        let mut batch = Batch::of(["a", "b", "c"]).unwrap();
        batch.key = Column::of(["1", "2", "3"]).unwrap();
        batch.timestamps = Arc::from([10, 20, 30]);
        batch
    }

    #[test]
    fn what_passes_unchanged_is_shared() {
        let input = input();
        let output = Transformed::pass(3);
        output.check(&input).unwrap();
        let batch = output.assemble(&input).unwrap();
        assert_eq!(batch.payload.bytes.as_ptr(), input.payload.bytes.as_ptr());
        assert!(Arc::ptr_eq(&batch.timestamps, &input.timestamps));
        assert_eq!(batch.key, input.key);
    }

    #[test]
    fn an_output_is_its_origin_with_the_parts_that_changed() {
        let input = input();
        let output = Transformed {
            origins: vec![2, 0, 0],
            also: vec![(0, 1)],
            changes: vec![0, CHANGED_PAYLOAD, CHANGED_KEY | CHANGED_TIMESTAMP],
            payload: Column::of(["new"]).unwrap(),
            key: Column::of([""]).unwrap(),
            timestamps: Arc::from([99]),
            ..Transformed::default()
        };
        output.check(&input).unwrap();
        let batch = output.assemble(&input).unwrap();
        batch.check().unwrap();
        let rows: Vec<_> = batch.iter().map(|r| (r.payload.to_vec(), r.key.to_vec(), r.timestamp)).collect();
        assert_eq!(
            rows,
            [(b"c".to_vec(), b"3".to_vec(), 30), (b"new".to_vec(), b"1".to_vec(), 10), (b"a".to_vec(), Vec::new(), 99)]
        );
    }

    #[test]
    fn an_output_without_timestamps_stays_without() {
        let mut input = input();
        input.timestamps = Arc::from([]);
        let output = Transformed { origins: vec![1], ..Transformed::default() };
        assert_eq!(output.assemble(&input).unwrap().timestamp(0), NO_TIMESTAMP);
    }

    #[test]
    fn malformed_answers_are_refused() {
        let input = input();
        let check = |transformed: Transformed| transformed.check(&input).unwrap_err();
        let pass = || Transformed::pass(3);
        assert!(matches!(check(Transformed { origins: vec![3], ..pass() }), BatchError::Index { what: "input", .. }));
        assert!(matches!(
            check(Transformed { also: vec![(3, 0)], ..pass() }),
            BatchError::Index { what: "output", .. }
        ));
        assert!(matches!(check(Transformed { also: vec![(0, 3)], ..pass() }), BatchError::Index { what: "input", .. }));
        assert!(matches!(
            check(Transformed { changes: vec![1], ..pass() }),
            BatchError::Rows { column: "changes", .. }
        ));
        assert!(matches!(
            check(Transformed { changes: vec![16, 0, 0], ..pass() }),
            BatchError::Changes { row: 0, bits: 16 }
        ));
        assert!(matches!(
            check(Transformed { changes: vec![1, 0, 0], ..pass() }),
            BatchError::Rows { column: "payload", .. }
        ));
        assert!(matches!(
            check(Transformed { changes: vec![8, 0, 0], ..pass() }),
            BatchError::Rows { column: "timestamps", .. }
        ));
        assert!(matches!(check(Transformed { routes: vec![0], ..pass() }), BatchError::Rows { column: "routes", .. }));
        let rejected = |record_ref| vec![Rejection { record_ref, reason: String::new() }];
        assert!(matches!(check(Transformed { rejected: rejected(1), ..pass() }), BatchError::Twice(1)));
        assert!(matches!(
            check(Transformed { rejected: rejected(3), origins: vec![], ..pass() }),
            BatchError::Index { .. }
        ));
        let twice = [rejected(1), rejected(1)].concat();
        assert!(matches!(check(Transformed { rejected: twice, origins: vec![], ..pass() }), BatchError::Twice(1)));
        let merged =
            Transformed { origins: vec![0], also: vec![(0, 1)], rejected: rejected(1), ..Transformed::default() };
        assert!(matches!(check(merged), BatchError::Twice(1)));
        let fine =
            Transformed { origins: vec![0], also: vec![(0, 1)], rejected: rejected(2), ..Transformed::default() };
        fine.check(&input).unwrap();
    }

    #[test]
    fn what_is_alike_is_checked_as_closely_as_what_is_not() {
        let rows = 100_u32;
        let input = Batch::of((0..rows).map(|row| row.to_string())).unwrap();
        let all = |bits| vec![bits; rows as usize];
        let rebuilt =
            || Transformed { changes: all(CHANGED_PAYLOAD), payload: input.payload.clone(), ..Transformed::pass(rows) };
        rebuilt().check(&input).unwrap();
        assert_eq!(rebuilt().assemble(&input).unwrap().payload, input.payload);
        for row in 0..rows {
            let mut one_odd = rebuilt();
            one_odd.changes[row as usize] = 0;
            assert!(matches!(one_odd.check(&input), Err(BatchError::Rows { column: "payload", .. })), "{row}");
            one_odd.changes[row as usize] = 17;
            assert_eq!(one_odd.check(&input), Err(BatchError::Changes { row: row as usize, bits: 17 }));
            let mut beyond = rebuilt();
            beyond.origins[row as usize] = rows;
            assert!(matches!(beyond.check(&input), Err(BatchError::Index { what: "input", .. })), "{row}");
            let mut falls = rebuilt();
            let mut ends = falls.payload.ends.to_vec();
            ends[row as usize] += 1_000;
            falls.payload.ends = ends.into();
            assert!(matches!(falls.check(&input), Err(BatchError::Ends { .. })), "{row}");
            let mut swapped = Transformed::pass(rows);
            swapped.origins.swap(row as usize, (row as usize + 1) % rows as usize);
            swapped.check(&input).unwrap();
            let batch = swapped.assemble(&input).unwrap();
            assert_eq!(batch.record(row as usize).payload, input.record((row as usize + 1) % rows as usize).payload);
        }
    }

    proptest! {
        #[test]
        fn what_is_assembled_follows_the_rule_of_the_contract(rows in proptest::collection::vec((0u32..3, 0u8..16), 0..20)) {
            let input = input();
            let mut payload = ColumnBuilder::default();
            let mut key = ColumnBuilder::default();
            let mut headers = ColumnBuilder::default();
            let mut timestamps = Vec::new();
            for (index, (_, bits)) in rows.iter().enumerate() {
                if bits & CHANGED_PAYLOAD != 0 { payload.push(format!("p{index}").as_bytes()).unwrap(); }
                if bits & CHANGED_KEY != 0 { key.push(format!("k{index}").as_bytes()).unwrap(); }
                if bits & CHANGED_HEADERS != 0 { headers.push(b"").unwrap(); }
                if bits & CHANGED_TIMESTAMP != 0 { timestamps.push(index as i64); }
            }
            let transformed = Transformed {
                origins: rows.iter().map(|(origin, _)| *origin).collect(),
                changes: rows.iter().map(|(_, bits)| *bits).collect(),
                payload: payload.finish(), key: key.finish(), headers: headers.finish(), timestamps: timestamps.into(),
                ..Transformed::default()
            };
            transformed.check(&input).unwrap();
            let batch = transformed.assemble(&input).unwrap();
            batch.check().unwrap();
            for (index, ((origin, bits), record)) in rows.iter().zip(batch.iter()).enumerate() {
                let old = input.record(*origin as usize);
                let expected = if bits & CHANGED_PAYLOAD != 0 { format!("p{index}").into_bytes() } else { old.payload.to_vec() };
                prop_assert_eq!(record.payload, &expected);
                let expected = if bits & CHANGED_KEY != 0 { format!("k{index}").into_bytes() } else { old.key.to_vec() };
                prop_assert_eq!(record.key, &expected);
                let expected = if bits & CHANGED_TIMESTAMP != 0 { index as i64 } else { old.timestamp };
                prop_assert_eq!(record.timestamp, expected);
            }
        }
    }
}
