//! A column of byte strings, packed.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::BatchError;

/// The bytes of all rows one after another, and for each row the offset where it ends. Cheap to clone.
///
/// A column without rows is *absent*. The fields are what crossed the boundary and may be malformed until
/// [`Column::check`] said otherwise; [`Column::get`] never panics on such a column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Column {
    /// All rows.
    pub bytes: Bytes,
    /// For each row the offset where it ends.
    pub ends: Arc<[u32]>,
}

impl Column {
    /// A column of the given parts, as they came.
    pub fn new(bytes: impl Into<Bytes>, ends: impl Into<Arc<[u32]>>) -> Self {
        Self { bytes: bytes.into(), ends: ends.into() }
    }

    /// A column of the given rows.
    pub fn of<T: AsRef<[u8]>>(rows: impl IntoIterator<Item = T>) -> Result<Self, BatchError> {
        let mut builder = ColumnBuilder::default();
        for row in rows {
            builder.push(row.as_ref())?;
        }
        Ok(builder.finish())
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Whether no record has a value here.
    pub fn is_absent(&self) -> bool {
        self.ends.is_empty()
    }

    /// Row `row`; no bytes where there is none.
    #[inline]
    pub fn get(&self, row: usize) -> &[u8] {
        self.bytes.get(self.range(row)).unwrap_or_default()
    }

    /// Row `row` as shared bytes, without a copy.
    pub fn get_shared(&self, row: usize) -> Bytes {
        let range = self.range(row);
        if range.start <= range.end && range.end <= self.bytes.len() { self.bytes.slice(range) } else { Bytes::new() }
    }

    /// Bytes of these rows together; cut to what there is.
    pub fn size_of(&self, rows: &Range<usize>) -> usize {
        let until = |row: usize| match row.checked_sub(1) {
            None => 0,
            Some(before) => self.ends.get(before).or(self.ends.last()).copied().unwrap_or_default() as usize,
        };
        until(rows.end).saturating_sub(until(rows.start))
    }

    /// The rows in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.len()).map(|row| self.get(row))
    }

    #[inline]
    fn range(&self, row: usize) -> Range<usize> {
        let Some(&end) = self.ends.get(row) else { return 0..0 };
        let start = if row == 0 { 0 } else { self.ends.get(row - 1).copied().unwrap_or_default() };
        start as usize..end as usize
    }

    /// Checks that the column holds `rows` rows or none, and that its ends fit its bytes.
    pub fn check(&self, name: &'static str, rows: usize) -> Result<(), BatchError> {
        if self.ends.is_empty() {
            if self.bytes.is_empty() {
                return Ok(());
            }
            return Err(BatchError::Ends {
                column: name,
                detail: format!("{} bytes belong to no row", self.bytes.len()),
            });
        }
        if self.ends.len() != rows {
            return Err(BatchError::Rows { column: name, found: self.ends.len(), expected: rows });
        }
        if falls(&self.ends) {
            return Err(BatchError::Ends { column: name, detail: "they decrease".into() });
        }
        let last = self.ends.last().copied().unwrap_or_default() as usize;
        if last != self.bytes.len() {
            return Err(BatchError::Ends {
                column: name,
                detail: format!("the last is {last}, and there are {} bytes", self.bytes.len()),
            });
        }
        Ok(())
    }

    /// The rows of `range`, sharing the bytes. An absent column stays absent.
    pub fn slice(&self, range: Range<usize>) -> Self {
        if self.is_absent() || range.is_empty() {
            return Self::default();
        }
        let Some(ends) = self.ends.get(range.clone()) else { return Self::default() };
        let start = self.range(range.start).start;
        let end = ends.last().copied().unwrap_or_default() as usize;
        if start > end || end > self.bytes.len() {
            return Self::default();
        }
        let base = start as u32;
        Self { bytes: self.bytes.slice(start..end), ends: ends.iter().map(|end| end.saturating_sub(base)).collect() }
    }

    /// The same rows in memory of their own: what this column shares with others is not kept by it.
    pub fn detached(&self) -> Self {
        Self { bytes: Bytes::copy_from_slice(&self.bytes), ends: self.ends.clone() }
    }

    /// The rows at `rows`, copied together. An absent column stays absent.
    pub fn select(&self, rows: &[u32]) -> Result<Self, BatchError> {
        if self.is_absent() || rows.is_empty() {
            return Ok(Self::default());
        }
        let total: usize = rows.iter().map(|&row| self.range(row as usize).len()).sum();
        // Before anything is copied: an answer of a few bytes may ask for all of this.
        u32::try_from(total).map_err(|_| BatchError::TooLarge)?;
        let mut builder = ColumnBuilder::with_capacity(rows.len(), total);
        for &row in rows {
            builder.push(self.get(row as usize))?;
        }
        Ok(builder.finish())
    }
}

/// Whether a number is less than the one before it. All are looked at, so that the loop becomes vector instructions.
fn falls(ends: &[u32]) -> bool {
    ends.iter().zip(ends.get(1..).unwrap_or_default()).fold(false, |falls, (before, after)| falls | (before > after))
}

/// Builds a [`Column`] row by row.
#[derive(Debug, Default)]
pub struct ColumnBuilder {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl ColumnBuilder {
    /// A builder with room for `rows` rows of `bytes` bytes altogether.
    pub fn with_capacity(rows: usize, bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), ends: Vec::with_capacity(rows) }
    }

    /// Adds a row. A column holds at most 4 GiB.
    #[inline]
    pub fn push(&mut self, row: &[u8]) -> Result<(), BatchError> {
        let end = u32::try_from(self.bytes.len() + row.len()).map_err(|_| BatchError::TooLarge)?;
        self.bytes.extend_from_slice(row);
        self.ends.push(end);
        Ok(())
    }

    /// How many rows were added.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether no row was added.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// How many bytes were added.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The column.
    pub fn finish(self) -> Column {
        Column { bytes: Bytes::from(self.bytes), ends: self.ends.into() }
    }

    /// The column, absent if no row has any bytes.
    pub fn finish_or_absent(self) -> Column {
        if self.bytes.is_empty() { Column::default() } else { self.finish() }
    }
}
