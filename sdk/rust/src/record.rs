//! Records: borrowed from a batch that the host gave, and new ones for a batch that the guest gives.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::bindings::ferrule::connector::types::Batch;
use crate::column::{self, NO_TIMESTAMP};
use crate::error::Error;
use crate::headers::{Headers, HeadersView};

/// A batch of records from the host, to be iterated over.
///
/// Nothing is decoded or copied beforehand: a [`RecordRef`] looks up what it is asked for.
#[derive(Debug)]
pub struct Records {
    batch: Batch,
}

impl Records {
    pub(crate) fn new(batch: Batch) -> Result<Self, Error> {
        let count = batch.count as usize;
        let columns = [
            ("payload", column::is_sound(&batch.payload, count)),
            ("key", column::is_sound(&batch.key, count)),
            ("headers", column::is_sound(&batch.headers, count)),
            ("upstream-ids", column::is_sound(&batch.upstream_ids, count)),
            ("record-ids", column::is_sound(&batch.record_ids, count)),
            ("timestamps", fits(batch.timestamps.len(), count)),
            ("tokens", fits(batch.tokens.len(), count)),
            ("attempts", fits(batch.attempts.len(), count)),
        ];
        match columns.iter().find(|(_, sound)| !sound) {
            None => Ok(Self { batch }),
            Some((name, _)) => Err(Error::Failed(format!(
                "the host sent a batch of {count} records whose column `{name}` does not fit"
            ))),
        }
    }

    /// A batch made by hand, for unit tests of sinks and functions; tokens count from 0.
    pub fn of<'a>(records: impl IntoIterator<Item = Record<'a>>) -> Self {
        let mut builder = BatchBuilder::default();
        for (token, record) in records.into_iter().enumerate() {
            let token = record.token.unwrap_or(token as u64);
            builder.push(&record.row(), token);
        }
        Self { batch: builder.finish() }
    }

    /// How many there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.batch.count as usize
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.batch.count == 0
    }

    /// The record at `index`, which must be less than [`len`](Self::len).
    #[inline]
    pub fn get(&self, index: usize) -> Option<RecordRef<'_>> {
        let payload = column::row(&self.batch.payload, index);
        (index < self.len()).then_some(RecordRef { records: self, index: index as u32, payload })
    }

    /// All records, in their order.
    #[inline]
    pub fn iter(&self) -> RecordsIter<'_> {
        let payload = &self.batch.payload;
        RecordsIter { records: self, next: 0, start: 0, bytes: &payload.bytes, ends: &payload.ends }
    }

    /// Bytes of all payloads together.
    #[inline]
    pub fn payload_bytes(&self) -> usize {
        self.batch.payload.bytes.len()
    }

    /// The tokens of all records; none in a function.
    #[inline]
    pub fn tokens(&self) -> &[u64] {
        &self.batch.tokens
    }
}

fn fits(len: usize, count: usize) -> bool {
    len == 0 || len == count
}

impl<'a> IntoIterator for &'a Records {
    type Item = RecordRef<'a>;
    type IntoIter = RecordsIter<'a>;

    #[inline]
    fn into_iter(self) -> RecordsIter<'a> {
        self.iter()
    }
}

/// Iterates over the records of a batch.
#[derive(Clone, Debug)]
pub struct RecordsIter<'a> {
    records: &'a Records,
    next: u32,
    /// Where the payload of the next record starts.
    start: usize,
    bytes: &'a [u8],
    ends: &'a [u32],
}

impl<'a> Iterator for RecordsIter<'a> {
    type Item = RecordRef<'a>;

    #[inline]
    fn next(&mut self) -> Option<RecordRef<'a>> {
        if self.next >= self.records.batch.count {
            return None;
        }
        let index = self.next;
        self.next += 1;
        let end = self.ends.get(index as usize).map_or(self.start, |&end| end as usize);
        let payload = self.bytes.get(self.start..end).unwrap_or_default();
        self.start = end;
        Some(RecordRef { records: self.records, index, payload })
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.records.batch.count - self.next) as usize;
        (left, Some(left))
    }
}

impl ExactSizeIterator for RecordsIter<'_> {}

/// One record of a batch.
#[derive(Clone, Copy, Debug)]
pub struct RecordRef<'a> {
    records: &'a Records,
    index: u32,
    payload: &'a [u8],
}

impl<'a> RecordRef<'a> {
    /// Its place in the batch.
    #[inline]
    pub fn index(self) -> u32 {
        self.index
    }

    /// Its content.
    #[inline]
    pub fn payload(self) -> &'a [u8] {
        self.payload
    }

    /// Its key, if it has one. Records of one key are kept in order.
    #[inline]
    pub fn key(self) -> Option<&'a [u8]> {
        Some(column::row(&self.records.batch.key, self.index as usize)).filter(|key| !key.is_empty())
    }

    /// Its headers.
    #[inline]
    pub fn headers(self) -> HeadersView<'a> {
        HeadersView::of(column::row(&self.records.batch.headers, self.index as usize))
    }

    /// The first header of that name.
    pub fn header(self, name: &str) -> Option<&'a [u8]> {
        self.headers().get(name)
    }

    /// Event time in nanoseconds since 1970, if it is known.
    #[inline]
    pub fn timestamp(self) -> Option<i64> {
        self.records.batch.timestamps.get(self.index as usize).copied().filter(|time| *time != NO_TIMESTAMP)
    }

    /// In a sink: the name by which its outcome is told. 0 in a function.
    #[inline]
    pub fn token(self) -> u64 {
        self.records.batch.tokens.get(self.index as usize).copied().unwrap_or_default()
    }

    /// In a sink: the record's id, the same whenever the record is delivered again.
    #[inline]
    pub fn id(self) -> Option<&'a [u8]> {
        Some(column::row(&self.records.batch.record_ids, self.index as usize)).filter(|id| !id.is_empty())
    }

    /// In a sink: 1 for the first attempt to deliver it, and so on.
    #[inline]
    pub fn attempt(self) -> u32 {
        self.records.batch.attempts.get(self.index as usize).copied().unwrap_or(1)
    }
}

/// A new record, with owned or borrowed parts.
///
/// ```
/// use ferrule_sdk::Record;
/// let record = Record::new("21.5 °C").with_key("kitchen").with_header("unit", b"celsius");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Record<'a> {
    pub(crate) payload: Cow<'a, [u8]>,
    pub(crate) key: Cow<'a, [u8]>,
    pub(crate) headers: Headers,
    pub(crate) timestamp: Option<i64>,
    pub(crate) token: Option<u64>,
    pub(crate) upstream_id: Cow<'a, [u8]>,
}

impl<'a> Record<'a> {
    /// A record of that content.
    pub fn new(payload: impl IntoBytes<'a>) -> Self {
        Self { payload: payload.into_bytes(), ..Self::default() }
    }

    /// Sets the key: records of one key are kept in order.
    #[must_use]
    pub fn with_key(mut self, key: impl IntoBytes<'a>) -> Self {
        self.key = key.into_bytes();
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &[u8]) -> Self {
        self.headers.add(name, value);
        self
    }

    /// Replaces all headers.
    #[must_use]
    pub fn with_headers(mut self, headers: Headers) -> Self {
        self.headers = headers;
        self
    }

    /// Sets the event time, in nanoseconds since 1970.
    #[must_use]
    pub fn with_timestamp(mut self, nanoseconds: i64) -> Self {
        self.timestamp = Some(nanoseconds);
        self
    }

    /// Sets the event time.
    #[must_use]
    pub fn with_time(self, time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        self.with_timestamp(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
    }

    /// Sets the name by which the host settles the record. A source that sets none gets numbers counting from 1; it sets
    /// all or none.
    #[must_use]
    pub fn with_token(mut self, token: u64) -> Self {
        self.token = Some(token);
        self
    }

    /// Sets what the outside system calls the record, so that the same record read twice keeps its id.
    #[must_use]
    pub fn with_upstream_id(mut self, id: impl IntoBytes<'a>) -> Self {
        self.upstream_id = id.into_bytes();
        self
    }

    /// Its content.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Its key, if it has one.
    pub fn key(&self) -> Option<&[u8]> {
        Some(&*self.key).filter(|key| !key.is_empty())
    }

    /// Its headers.
    pub fn headers(&self) -> HeadersView<'_> {
        self.headers.view()
    }

    /// Event time in nanoseconds since 1970, if it is known.
    pub fn timestamp(&self) -> Option<i64> {
        self.timestamp
    }

    /// What the outside system calls it.
    pub fn upstream_id(&self) -> Option<&[u8]> {
        Some(&*self.upstream_id).filter(|id| !id.is_empty())
    }

    #[inline]
    pub(crate) fn row(&self) -> Row<'_> {
        Row {
            payload: &self.payload,
            key: &self.key,
            headers: self.headers.view(),
            timestamp: self.timestamp,
            token: self.token,
            upstream_id: &self.upstream_id,
        }
    }
}

/// A new record of which all parts are borrowed: what a source with many records pushes without making a [`Record`] of each.
///
/// ```
/// # use ferrule_sdk::{Pull, Row};
/// # let mut pull = Pull::of(10, std::time::Duration::ZERO);
/// pull.push_row(&Row { payload: b"21.5", key: b"kitchen", ..Row::default() });
/// # assert_eq!(pull.len(), 1);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Row<'a> {
    /// Its content.
    pub payload: &'a [u8],
    /// Its key; no bytes is no key. Records of one key are kept in order.
    pub key: &'a [u8],
    /// Its headers.
    pub headers: HeadersView<'a>,
    /// Event time in nanoseconds since 1970, if it is known.
    pub timestamp: Option<i64>,
    /// The name by which the host settles the record; see [`Record::with_token`].
    pub token: Option<u64>,
    /// What the outside system calls the record; no bytes where it does not.
    pub upstream_id: &'a [u8],
}

impl Row<'_> {
    pub(crate) fn to_static(self) -> Record<'static> {
        Record {
            payload: Cow::Owned(self.payload.to_vec()),
            key: Cow::Owned(self.key.to_vec()),
            headers: self.headers.to_owned(),
            timestamp: self.timestamp,
            token: self.token,
            upstream_id: Cow::Owned(self.upstream_id.to_vec()),
        }
    }

    /// What the host counts against the bytes of a batch.
    #[inline]
    pub(crate) fn size(&self) -> usize {
        self.payload.len() + self.key.len() + self.headers.row().len()
    }
}

/// What a payload, key or id can be made of.
pub trait IntoBytes<'a> {
    /// The bytes, borrowed where that is possible.
    fn into_bytes(self) -> Cow<'a, [u8]>;
}

impl<'a, const N: usize> IntoBytes<'a> for &'a [u8; N] {
    fn into_bytes(self) -> Cow<'a, [u8]> {
        Cow::Borrowed(self.as_slice())
    }
}

macro_rules! into_bytes {
    ($($type:ty => |$value:ident| $bytes:expr),* $(,)?) => {
        $(impl<'a> IntoBytes<'a> for $type {
            fn into_bytes(self) -> Cow<'a, [u8]> {
                let $value = self;
                $bytes
            }
        })*
    };
}

into_bytes! {
    &'a [u8] => |bytes| Cow::Borrowed(bytes),
    &'a str => |text| Cow::Borrowed(text.as_bytes()),
    &'a String => |text| Cow::Borrowed(text.as_bytes()),
    &'a Vec<u8> => |bytes| Cow::Borrowed(bytes.as_slice()),
    Vec<u8> => |bytes| Cow::Owned(bytes),
    String => |text| Cow::Owned(text.into_bytes()),
    Cow<'a, [u8]> => |bytes| bytes,
}

/// Puts new records into columns.
#[derive(Debug, Default)]
pub(crate) struct BatchBuilder {
    count: usize,
    payload: column::ColumnBuilder,
    key: column::ColumnBuilder,
    headers: column::ColumnBuilder,
    timestamps: Vec<i64>,
    tokens: Vec<u64>,
    upstream_ids: column::ColumnBuilder,
}

impl BatchBuilder {
    /// An empty one with room for so many records and bytes of payload.
    pub(crate) fn with_capacity(rows: usize, bytes: usize) -> Self {
        Self {
            payload: column::ColumnBuilder::with_capacity(rows, bytes),
            tokens: Vec::with_capacity(rows),
            ..Self::default()
        }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    #[inline]
    pub(crate) fn push(&mut self, row: &Row<'_>, token: u64) {
        let rows = self.count;
        self.payload.push(row.payload);
        self.key.push_sparse(rows, row.key);
        self.headers.push_sparse(rows, row.headers.row());
        column::push_sparse(&mut self.timestamps, rows, row.timestamp.unwrap_or(NO_TIMESTAMP), NO_TIMESTAMP);
        self.upstream_ids.push_sparse(rows, row.upstream_id);
        self.tokens.push(token);
        self.count += 1;
    }

    pub(crate) fn finish(self) -> Batch {
        Batch {
            count: self.count as u32,
            payload: self.payload.finish(),
            key: self.key.finish(),
            headers: self.headers.finish(),
            timestamps: self.timestamps,
            tokens: self.tokens,
            upstream_ids: self.upstream_ids.finish(),
            record_ids: column::ColumnBuilder::default().finish(),
            attempts: Vec::new(),
            extra: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_reads_as_it_was_built() {
        let records = Records::of([
            Record::new(b"first"),
            Record::new("second").with_key("k").with_header("h", b"v").with_timestamp(7).with_token(40),
            Record::new(Vec::new()),
        ]);
        let seen: Vec<_> =
            records.iter().map(|r| (r.index(), r.payload(), r.key(), r.timestamp(), r.token())).collect();
        assert_eq!(
            seen,
            [
                (0, &b"first"[..], None, None, 0),
                (1, &b"second"[..], Some(&b"k"[..]), Some(7), 40),
                (2, &b""[..], None, None, 2)
            ]
        );
        assert_eq!(records.get(1).and_then(|r| r.header("h")), Some(&b"v"[..]));
        assert_eq!(records.payload_bytes(), 11);
        assert!(records.get(3).is_none());
    }

    #[test]
    fn a_batch_that_does_not_fit_is_refused() {
        let mut batch = BatchBuilder::default().finish();
        batch.count = 2;
        batch.tokens = vec![1];
        let error = Records::new(batch).unwrap_err();
        assert_eq!(error.message(), "the host sent a batch of 2 records whose column `tokens` does not fit");
    }

    #[test]
    fn absent_columns_read_as_nothing() {
        let mut batch = BatchBuilder::default().finish();
        batch.count = 1;
        let records = Records::new(batch).unwrap();
        let record = records.get(0).unwrap();
        assert_eq!((record.payload(), record.key(), record.id(), record.attempt()), (&b""[..], None, None, 1));
        assert!(record.headers().is_empty());
    }
}
