//! Packed columns: how byte strings of a batch are laid out, read and built.

use crate::bindings::ferrule::connector::types::Column;

/// Event time of a record whose time is not known.
pub(crate) const NO_TIMESTAMP: i64 = i64::MIN;

/// Row `index`; empty where the column is absent.
#[inline]
pub(crate) fn row(column: &Column, index: usize) -> &[u8] {
    let Some(&end) = column.ends.get(index) else {
        return &[];
    };
    let start = if index == 0 { 0 } else { column.ends[index - 1] };
    column.bytes.get(start as usize..end as usize).unwrap_or_default()
}

/// Whether the column holds `count` rows that follow one another, or none at all.
pub(crate) fn is_sound(column: &Column, count: usize) -> bool {
    let ends = column.ends.as_slice();
    let Some(&last) = ends.last() else {
        return column.bytes.is_empty();
    };
    ends.len() == count && last as usize == column.bytes.len() && !falls(ends)
}

/// Numbers that are handled in one turn of a loop: in WebAssembly each turn asks whether it is time to give way.
const TURN: usize = 32;

/// Whether an end is less than the one before it. All are looked at, so that the loop becomes vector instructions.
#[cfg_attr(target_family = "wasm", target_feature(enable = "simd128"))]
fn falls(ends: &[u32]) -> bool {
    let (before, last_before) = ends[..ends.len() - 1].as_chunks::<TURN>();
    let (after, last_after) = ends[1..].as_chunks::<TURN>();
    let mut falls = [0_u32; TURN];
    for (before, after) in before.iter().zip(after) {
        for place in 0..TURN {
            falls[place] |= u32::from(before[place] > after[place]);
        }
    }
    let last = last_before.iter().zip(last_after).fold(false, |falls, (before, after)| falls | (before > after));
    last || falls.iter().any(|falls| *falls != 0)
}

/// The numbers from 0 to `count`, with room for `capacity`.
#[cfg_attr(target_family = "wasm", target_feature(enable = "simd128"))]
pub(crate) fn count_up(count: u32, capacity: usize) -> Vec<u32> {
    let mut numbers = Vec::with_capacity(capacity.max(count as usize));
    let mut next: [u32; TURN] = std::array::from_fn(|place| place as u32);
    for _ in 0..count as usize / TURN {
        numbers.extend_from_slice(&next);
        next = next.map(|number| number.wrapping_add(TURN as u32));
    }
    numbers.extend(numbers.len() as u32..count);
    numbers
}

/// A column being built that stays absent until some row has a value.
#[derive(Debug, Default)]
pub(crate) struct ColumnBuilder {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl ColumnBuilder {
    pub(crate) fn with_capacity(rows: usize, bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), ends: Vec::with_capacity(rows) }
    }

    /// Appends a row.
    #[inline]
    pub(crate) fn push(&mut self, row: &[u8]) {
        append(&mut self.bytes, row);
        // A batch is bounded far below 4 GiB, which is all of a guest's memory.
        self.ends.push(self.bytes.len() as u32);
    }

    /// Appends row number `rows`, unless it is empty and so were all before it.
    #[inline]
    pub(crate) fn push_sparse(&mut self, rows: usize, row: &[u8]) {
        if row.is_empty() && self.ends.is_empty() {
            return;
        }
        self.ends.resize(rows, 0);
        self.push(row);
    }

    /// Whether no row was pushed and no room made.
    #[inline]
    pub(crate) fn is_unused(&self) -> bool {
        self.ends.capacity() == 0
    }

    /// Row `index` of those pushed so far.
    pub(crate) fn row(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[start as usize..self.ends[index] as usize]
    }

    pub(crate) fn finish(self) -> Column {
        Column { bytes: self.bytes, ends: self.ends }
    }
}

/// Appends a row. A short one is copied as two pieces of a fixed size, its beginning and its end, which may overlap: a copy
/// whose size the compiler does not know is a call to the host in WebAssembly, which costs as much as copying 200 bytes.
#[inline]
fn append(bytes: &mut Vec<u8>, row: &[u8]) {
    let before = bytes.len();
    macro_rules! pieces {
        ($($size:literal)*) => {
            $(if let (Some(begin), Some(end)) = (row.first_chunk::<$size>(), row.last_chunk::<$size>()) {
                bytes.extend_from_slice(begin);
                bytes.truncate(before + row.len() - $size);
                bytes.extend_from_slice(end);
                return;
            })*
        };
    }
    if row.len() > 256 {
        bytes.extend_from_slice(row);
        return;
    }
    pieces!(128 64 32 16 8 4 2 1);
}

/// Appends value number `rows`, unless it is the `default` and so were all before it.
#[inline]
pub(crate) fn push_sparse<T: Copy + PartialEq>(values: &mut Vec<T>, rows: usize, value: T, default: T) {
    if value == default && values.is_empty() {
        return;
    }
    values.resize(rows, default);
    values.push(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(rows: &[&[u8]]) -> Column {
        let mut builder = ColumnBuilder::default();
        rows.iter().for_each(|row| builder.push(row));
        builder.finish()
    }

    #[test]
    fn rows_come_back() {
        let column = column(&[b"one", b"", b"three"]);
        assert!(is_sound(&column, 3));
        assert_eq!(row(&column, 0), b"one");
        assert_eq!(row(&column, 1), b"");
        assert_eq!(row(&column, 2), b"three");
        assert_eq!(row(&column, 3), b"");
    }

    #[test]
    fn rows_of_any_length_are_copied_whole() {
        let rows: Vec<Vec<u8>> = (0..600).map(|length| (0..length).map(|byte| byte as u8 ^ 0x5a).collect()).collect();
        let mut builder = ColumnBuilder::default();
        rows.iter().for_each(|row| builder.push(row));
        let column = builder.finish();
        assert!(is_sound(&column, rows.len()));
        rows.iter().enumerate().for_each(|(index, expected)| assert_eq!(row(&column, index), expected));
    }

    #[test]
    fn a_fall_is_found_at_any_place() {
        for place in 1..100_usize {
            let mut ends: Vec<u32> = (1..=100).map(|end| end * 2).collect();
            assert!(!falls(&ends));
            ends[place] = ends[place - 1] - 1;
            assert!(falls(&ends), "{place}");
        }
    }

    #[test]
    fn numbers_count_up() {
        assert!(count_up(0, 0).is_empty());
        assert_eq!(count_up(5, 2), [0, 1, 2, 3, 4]);
        (0..200).for_each(|count| assert_eq!(count_up(count, 100), (0..count).collect::<Vec<_>>()));
        assert!(count_up(1, 9).capacity() >= 9);
    }

    #[test]
    fn what_does_not_fit_is_unsound() {
        let good = column(&[b"ab", b"cd"]);
        assert!(!is_sound(&good, 3));
        assert!(!is_sound(&Column { ends: vec![3, 2], bytes: b"abcd".to_vec() }, 2));
        assert!(!is_sound(&Column { ends: vec![2, 3], bytes: b"abcd".to_vec() }, 2));
        assert!(!is_sound(&Column { ends: vec![], bytes: b"abcd".to_vec() }, 0));
        assert!(is_sound(&Column { ends: vec![], bytes: vec![] }, 7), "absent");
    }

    #[test]
    fn a_sparse_column_is_absent_until_used() {
        let mut builder = ColumnBuilder::default();
        builder.push_sparse(0, b"");
        builder.push_sparse(1, b"");
        builder.push_sparse(2, b"x");
        builder.push_sparse(3, b"");
        assert_eq!(builder.finish().ends, [0, 0, 1, 1]);
        let mut empty = ColumnBuilder::default();
        empty.push_sparse(0, b"");
        assert!(empty.finish().ends.is_empty());
    }

    #[test]
    fn sparse_values_are_filled_in() {
        let mut values = Vec::new();
        push_sparse(&mut values, 0, 0, 0);
        push_sparse(&mut values, 1, 5, 0);
        push_sparse(&mut values, 2, 0, 0);
        assert_eq!(values, [0, 5, 0]);
    }
}
