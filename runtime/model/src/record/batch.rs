//! The batch, and the builder for it.

use std::ops::Range;
use std::sync::Arc;

use super::{BatchError, Column, ColumnBuilder, HeadersRef};

/// The event time of a record that has none.
pub const NO_TIMESTAMP: i64 = i64::MIN;

/// A batch of records as packed columns, each of `count` rows or absent. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// How many records.
    pub count: u32,
    /// Contents.
    pub payload: Column,
    /// Keys; no bytes is no key.
    pub key: Column,
    /// Headers, encoded; see [`HeadersRef`].
    pub headers: Column,
    /// Event times in nanoseconds since 1970, or [`NO_TIMESTAMP`].
    pub timestamps: Arc<[i64]>,
    /// Names of the records within a session.
    pub tokens: Arc<[u64]>,
    /// What the outside system calls the records.
    pub upstream_ids: Column,
    /// Ids that are stable over redelivery.
    pub record_ids: Column,
    /// Attempts to deliver, from 1.
    pub attempts: Arc<[u32]>,
    /// Columns by number that this version does not know.
    pub extra: Vec<(u16, Column)>,
}

/// One record, borrowed from a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordRef<'a> {
    /// The content.
    pub payload: &'a [u8],
    /// The key; no bytes is no key.
    pub key: &'a [u8],
    /// The headers.
    pub headers: HeadersRef<'a>,
    /// Event time in nanoseconds since 1970, or [`NO_TIMESTAMP`].
    pub timestamp: i64,
    /// The record's name within its session, where it has one.
    pub token: Option<u64>,
    /// What the outside system calls the record; no bytes where it does not.
    pub upstream_id: &'a [u8],
    /// The record's id; no bytes where it is not carried.
    pub record_id: &'a [u8],
    /// Attempt to deliver, from 1; 0 where it is not carried.
    pub attempt: u32,
}

impl Default for RecordRef<'_> {
    fn default() -> Self {
        Self {
            payload: &[],
            key: &[],
            headers: HeadersRef::default(),
            timestamp: NO_TIMESTAMP,
            token: None,
            upstream_id: &[],
            record_id: &[],
            attempt: 0,
        }
    }
}

impl<'a> RecordRef<'a> {
    /// A record of a payload and nothing else.
    pub fn of(payload: &'a [u8]) -> Self {
        Self { payload, ..Self::default() }
    }

    /// Bytes of payload, key and headers together.
    pub fn size(&self) -> usize {
        self.payload.len() + self.key.len() + self.headers.as_bytes().len()
    }
}

impl Batch {
    /// A batch of payloads and nothing else.
    pub fn of<T: AsRef<[u8]>>(payloads: impl IntoIterator<Item = T>) -> Result<Self, BatchError> {
        let payload = Column::of(payloads)?;
        Ok(Self { count: payload.len() as u32, payload, ..Self::default() })
    }

    /// How many records.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there are no records.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of payload, key and headers together.
    pub fn size(&self) -> usize {
        self.payload.bytes.len() + self.key.bytes.len() + self.headers.bytes.len()
    }

    /// Bytes of payload, key and headers of record `index`.
    pub fn record_size(&self, index: usize) -> usize {
        self.payload.get(index).len() + self.key.get(index).len() + self.headers.get(index).len()
    }

    /// Bytes of payload, key and headers of the records of `rows` together; cut to what there is.
    pub fn size_of(&self, rows: Range<usize>) -> usize {
        self.payload.size_of(&rows) + self.key.size_of(&rows) + self.headers.size_of(&rows)
    }

    /// Checks what a peer sent: every column holds `count` rows or is absent, ends fit, headers are in the layout.
    pub fn check(&self) -> Result<(), BatchError> {
        let rows = self.len();
        let columns = [
            ("payload", &self.payload),
            ("key", &self.key),
            ("headers", &self.headers),
            ("upstream-ids", &self.upstream_ids),
            ("record-ids", &self.record_ids),
        ];
        for (name, column) in columns.into_iter().chain(self.extra.iter().map(|(_, column)| ("extra", column))) {
            column.check(name, rows)?;
        }
        let lists =
            [("timestamps", self.timestamps.len()), ("tokens", self.tokens.len()), ("attempts", self.attempts.len())];
        for (column, found) in lists {
            if found != 0 && found != rows {
                return Err(BatchError::Rows { column, found, expected: rows });
            }
        }
        check_headers(&self.headers)
    }

    /// Record `index`; an empty record where there is none.
    #[inline]
    pub fn record(&self, index: usize) -> RecordRef<'_> {
        RecordRef {
            payload: self.payload.get(index),
            key: self.key.get(index),
            headers: HeadersRef::new(self.headers.get(index)),
            timestamp: self.timestamp(index),
            token: self.tokens.get(index).copied(),
            upstream_id: self.upstream_ids.get(index),
            record_id: self.record_ids.get(index),
            attempt: self.attempts.get(index).copied().unwrap_or_default(),
        }
    }

    /// The event time of record `index`, or [`NO_TIMESTAMP`].
    #[inline]
    pub fn timestamp(&self, index: usize) -> i64 {
        self.timestamps.get(index).copied().unwrap_or(NO_TIMESTAMP)
    }

    /// The records in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = RecordRef<'_>> {
        (0..self.len()).map(|index| self.record(index))
    }

    /// The records at `rows`, in that order. A run of neighbours shares the bytes, anything else copies them.
    pub fn select(&self, rows: &[u32]) -> Result<Self, BatchError> {
        if let Some(range) = contiguous(rows) {
            return Ok(self.slice(range));
        }
        let mut extra = Vec::with_capacity(self.extra.len());
        for (number, column) in &self.extra {
            extra.push((*number, column.select(rows)?));
        }
        Ok(Self {
            count: u32::try_from(rows.len()).map_err(|_| BatchError::TooLarge)?,
            payload: self.payload.select(rows)?,
            key: self.key.select(rows)?,
            headers: self.headers.select(rows)?,
            timestamps: select_list(&self.timestamps, rows, NO_TIMESTAMP),
            tokens: select_list(&self.tokens, rows, 0),
            upstream_ids: self.upstream_ids.select(rows)?,
            record_ids: self.record_ids.select(rows)?,
            attempts: select_list(&self.attempts, rows, 0),
            extra,
        })
    }

    /// The records of `range`, sharing the bytes; cut to what there is.
    pub fn slice(&self, range: Range<usize>) -> Self {
        let end = range.end.min(self.len());
        let range = range.start.min(end)..end;
        if range.len() == self.len() {
            return self.clone();
        }
        Self {
            count: range.len() as u32,
            payload: self.payload.slice(range.clone()),
            key: self.key.slice(range.clone()),
            headers: self.headers.slice(range.clone()),
            timestamps: self.timestamps.get(range.clone()).unwrap_or_default().into(),
            tokens: self.tokens.get(range.clone()).unwrap_or_default().into(),
            upstream_ids: self.upstream_ids.slice(range.clone()),
            record_ids: self.record_ids.slice(range.clone()),
            attempts: self.attempts.get(range.clone()).unwrap_or_default().into(),
            extra: self.extra.iter().map(|(number, column)| (*number, column.slice(range.clone()))).collect(),
        }
    }

    /// The same records in memory of their own. See [`Column::detached`].
    pub fn detached(&self) -> Self {
        Self {
            payload: self.payload.detached(),
            key: self.key.detached(),
            headers: self.headers.detached(),
            upstream_ids: self.upstream_ids.detached(),
            record_ids: self.record_ids.detached(),
            extra: self.extra.iter().map(|(number, column)| (*number, column.detached())).collect(),
            ..self.clone()
        }
    }

    /// The records of all batches in order. A column that some have is filled with empty rows for the others; `extra`
    /// columns are kept where all batches have them.
    pub fn concat(batches: &[Self]) -> Result<Self, BatchError> {
        if let [one] = batches {
            return Ok(one.clone());
        }
        let count = batches.iter().map(Self::len).sum::<usize>();
        let mut extra = Vec::new();
        if let Some(first) = batches.first() {
            for (number, _) in &first.extra {
                let all: Option<Vec<&Column>> = batches.iter().map(|batch| find_extra(&batch.extra, *number)).collect();
                if let Some(columns) = all {
                    extra.push((*number, concat_columns(batches.iter().map(Self::len).zip(columns))?));
                }
            }
        }
        let column = |of: fn(&Self) -> &Column| concat_columns(batches.iter().map(|batch| (batch.len(), of(batch))));
        Ok(Self {
            count: u32::try_from(count).map_err(|_| BatchError::TooLarge)?,
            payload: column(|batch| &batch.payload)?,
            key: column(|batch| &batch.key)?,
            headers: column(|batch| &batch.headers)?,
            timestamps: concat_lists(batches, |batch| &batch.timestamps, NO_TIMESTAMP),
            tokens: concat_lists(batches, |batch| &batch.tokens, 0),
            upstream_ids: column(|batch| &batch.upstream_ids)?,
            record_ids: column(|batch| &batch.record_ids)?,
            attempts: concat_lists(batches, |batch| &batch.attempts, 0),
            extra,
        })
    }
}

pub(super) fn check_headers(headers: &Column) -> Result<(), BatchError> {
    if headers.bytes.is_empty() {
        return Ok(());
    }
    for (row, bytes) in headers.iter().enumerate() {
        HeadersRef::parse(bytes).map_err(|detail| BatchError::Headers { row, detail })?;
    }
    Ok(())
}

pub(super) fn find_extra(extra: &[(u16, Column)], number: u16) -> Option<&Column> {
    extra.iter().find(|(found, _)| *found == number).map(|(_, column)| column)
}

fn contiguous(rows: &[u32]) -> Option<Range<usize>> {
    let first = *rows.first()?;
    let run = rows.iter().enumerate().all(|(index, &row)| row as usize == first as usize + index);
    run.then(|| first as usize..first as usize + rows.len())
}

fn select_list<T: Copy>(list: &[T], rows: &[u32], missing: T) -> Arc<[T]> {
    if list.is_empty() {
        return Arc::from([]);
    }
    rows.iter().map(|&row| list.get(row as usize).copied().unwrap_or(missing)).collect()
}

fn concat_columns<'a>(parts: impl Iterator<Item = (usize, &'a Column)> + Clone) -> Result<Column, BatchError> {
    if parts.clone().all(|(_, column)| column.is_absent()) {
        return Ok(Column::default());
    }
    let bytes = parts.clone().map(|(_, column)| column.bytes.len()).sum();
    let mut builder = ColumnBuilder::with_capacity(parts.clone().map(|(count, _)| count).sum(), bytes);
    for (count, column) in parts {
        for row in 0..count {
            builder.push(column.get(row))?;
        }
    }
    Ok(builder.finish())
}

fn concat_lists<T: Copy>(batches: &[Batch], of: fn(&Batch) -> &Arc<[T]>, missing: T) -> Arc<[T]> {
    if batches.iter().all(|batch| of(batch).is_empty()) {
        return Arc::from([]);
    }
    batches
        .iter()
        .flat_map(|batch| (0..batch.len()).map(move |row| of(batch).get(row).copied().unwrap_or(missing)))
        .collect()
}

/// Builds a [`Batch`] record by record. Columns in which no record has a value come out absent, payload excepted.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    payload: ColumnBuilder,
    key: ColumnBuilder,
    headers: ColumnBuilder,
    timestamps: Vec<i64>,
    tokens: Vec<u64>,
    any_token: bool,
    upstream_ids: ColumnBuilder,
    record_ids: ColumnBuilder,
    attempts: Vec<u32>,
}

impl BatchBuilder {
    /// An empty builder.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a copy of a record.
    pub fn push(&mut self, record: &RecordRef<'_>) -> Result<(), BatchError> {
        self.payload.push(record.payload)?;
        self.key.push(record.key)?;
        self.headers.push(record.headers.as_bytes())?;
        self.upstream_ids.push(record.upstream_id)?;
        self.record_ids.push(record.record_id)?;
        self.timestamps.push(record.timestamp);
        self.tokens.push(record.token.unwrap_or_default());
        self.any_token |= record.token.is_some();
        self.attempts.push(record.attempt);
        Ok(())
    }

    /// How many records were added.
    pub fn len(&self) -> usize {
        self.payload.len()
    }

    /// Whether no record was added.
    pub fn is_empty(&self) -> bool {
        self.payload.is_empty()
    }

    /// Bytes of payload, key and headers added.
    pub fn size(&self) -> usize {
        self.payload.bytes() + self.key.bytes() + self.headers.bytes()
    }

    /// The batch.
    pub fn finish(self) -> Batch {
        let any_timestamp = self.timestamps.iter().any(|&timestamp| timestamp != NO_TIMESTAMP);
        let any_attempt = self.attempts.iter().any(|&attempt| attempt != 0);
        Batch {
            count: self.payload.len() as u32,
            payload: self.payload.finish(),
            key: self.key.finish_or_absent(),
            headers: self.headers.finish_or_absent(),
            timestamps: if any_timestamp { self.timestamps.into() } else { Arc::from([]) },
            tokens: if self.any_token { self.tokens.into() } else { Arc::from([]) },
            upstream_ids: self.upstream_ids.finish_or_absent(),
            record_ids: self.record_ids.finish_or_absent(),
            attempts: if any_attempt { self.attempts.into() } else { Arc::from([]) },
            extra: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::Headers;

    type Row = (Vec<u8>, Vec<u8>, Vec<(String, Vec<u8>)>, i64, Option<u64>, Vec<u8>);

    fn rows() -> impl Strategy<Value = Vec<Row>> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..9);
        let headers = proptest::collection::vec(("[a-z]{1,4}", bytes()), 0..3);
        proptest::collection::vec((bytes(), bytes(), headers, any::<i64>(), any::<Option<u64>>(), bytes()), 0..12)
    }

    fn build(rows: &[Row]) -> Batch {
        let mut builder = BatchBuilder::new();
        for (payload, key, headers, timestamp, token, upstream_id) in rows {
            let headers = headers.iter().cloned().collect::<Headers>().encode().unwrap();
            let record = RecordRef {
                payload,
                key,
                headers: HeadersRef::new(&headers),
                timestamp: *timestamp,
                token: *token,
                upstream_id,
                ..RecordRef::default()
            };
            builder.push(&record).unwrap();
        }
        builder.finish()
    }

    proptest! {
        #[test]
        fn records_come_out_as_they_went_in(rows in rows()) {
            let batch = build(&rows);
            batch.check().unwrap();
            prop_assert_eq!(batch.len(), rows.len());
            for (record, row) in batch.iter().zip(&rows) {
                prop_assert_eq!(record.payload, &row.0);
                prop_assert_eq!(record.key, &row.1);
                let headers: Vec<_> = record.headers.iter().map(|(n, v)| (n.to_owned(), v.to_vec())).collect();
                prop_assert_eq!(&headers, &row.2);
                prop_assert_eq!(record.timestamp, row.3);
                prop_assert_eq!(record.token.unwrap_or_default(), row.4.unwrap_or_default());
                prop_assert_eq!(record.upstream_id, &row.5);
            }
        }

        #[test]
        fn slices_and_selections_hold_the_same_records(rows in rows(), picks in proptest::collection::vec(any::<prop::sample::Index>(), 0..12), cut in any::<(prop::sample::Index, prop::sample::Index)>()) {
            let batch = build(&rows);
            if !rows.is_empty() {
                let picks: Vec<u32> = picks.iter().map(|pick| pick.index(rows.len()) as u32).collect();
                let selected = batch.select(&picks).unwrap();
                selected.check().unwrap();
                for (record, &pick) in selected.iter().zip(&picks) {
                    prop_assert_eq!(record, batch.record(pick as usize));
                }
            }
            let (a, b) = (cut.0.index(rows.len() + 1), cut.1.index(rows.len() + 1));
            let (from, to) = (a.min(b), a.max(b));
            let (head, middle, tail) = (batch.slice(0..from), batch.slice(from..to), batch.slice(to..rows.len()));
            middle.check().unwrap();
            for (index, record) in middle.iter().enumerate() {
                prop_assert_eq!(record, batch.record(from + index));
            }
            let whole = Batch::concat(&[head, middle, tail]).unwrap();
            whole.check().unwrap();
            prop_assert_eq!(whole.len(), batch.len());
            for (one, other) in whole.iter().zip(batch.iter()) {
                prop_assert_eq!(one.payload, other.payload);
                prop_assert_eq!(one.timestamp, other.timestamp);
                prop_assert_eq!(one.headers, other.headers);
            }
        }
    }

    #[test]
    fn malformed_batches_are_refused() {
        let good = Batch::of(["a", "bc"]).unwrap();
        good.check().unwrap();
        let rows = Batch { count: 3, ..good.clone() };
        assert!(matches!(rows.check(), Err(BatchError::Rows { column: "payload", found: 2, expected: 3 })));
        let falling = Batch { payload: Column::new(&b"abc"[..], vec![3, 1]), ..good.clone() };
        assert!(matches!(falling.check(), Err(BatchError::Ends { .. })));
        assert_eq!(falling.record(1).payload, b"");
        let short = Batch { payload: Column::new(&b"abc"[..], vec![1, 2]), ..good.clone() };
        assert!(matches!(short.check(), Err(BatchError::Ends { .. })));
        let headers = Batch { headers: Column::of([&b""[..], &b"x"[..]]).unwrap(), ..good.clone() };
        assert!(matches!(headers.check(), Err(BatchError::Headers { row: 1, .. })));
        let tokens = Batch { tokens: Arc::from([1]), ..good };
        assert!(matches!(tokens.check(), Err(BatchError::Rows { column: "tokens", .. })));
    }

    #[test]
    fn a_run_of_neighbours_shares_the_bytes() {
        let batch = Batch::of(["a", "bc", "def"]).unwrap();
        let run = batch.select(&[1, 2]).unwrap();
        assert_eq!(run.payload.bytes.as_ptr(), batch.payload.bytes[1..].as_ptr());
    }
}
