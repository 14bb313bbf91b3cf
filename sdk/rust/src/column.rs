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
    // A sum instead of an early exit, so that the loop becomes a few vector instructions.
    let falls: usize = ends.iter().zip(&ends[1..]).map(|(a, b)| usize::from(a > b)).sum();
    ends.len() == count && falls == 0 && last as usize == column.bytes.len()
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
        self.bytes.extend_from_slice(row);
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

    /// Row `index` of those pushed so far.
    pub(crate) fn row(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[start as usize..self.ends[index] as usize]
    }

    pub(crate) fn finish(self) -> Column {
        Column { bytes: self.bytes, ends: self.ends }
    }
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
