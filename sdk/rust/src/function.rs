//! A function turns records into records.

use crate::about::About;
use crate::bindings::ferrule::connector::types::{self, Transformed};
use crate::column::{self, ColumnBuilder, NO_TIMESTAMP};
use crate::error::Error;
use crate::headers::Headers;
use crate::record::{RecordRef, Records};
use crate::session::{Configured, NoParameters, Parameters, Problem, Session};

const PAYLOAD: u8 = 1;
const KEY: u8 = 2;
const HEADERS: u8 = 4;
const TIMESTAMP: u8 = 8;

/// Turns records into records, for one step of one pipeline.
#[allow(unused_variables, reason = "the names of the defaults' parameters are documentation")]
pub trait Function: Sized + 'static {
    /// Its arguments; [`NoParameters`] if there are none.
    type Arguments: Parameters;

    /// What it reads and its routes, beside what Cargo.toml and the type of the arguments say.
    fn about() -> About {
        About::new()
    }

    /// What a schema cannot say of the arguments: a program that does not parse, two that exclude each other.
    fn validate(arguments: &Self::Arguments) -> Vec<Problem> {
        Vec::new()
    }

    /// Gets ready. The arguments are in `session.parameters`.
    fn open(session: Session<NoParameters, NoParameters, Self::Arguments>) -> Result<Self, Error>;

    /// Turns one batch into another. A record that `out` is not told of is filtered out.
    fn apply(&mut self, records: &Records, out: &mut Output) -> Result<(), Error>;

    /// Says goodbye.
    fn close(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

/// What replaces parts of a record; what is not set stays as it is in its origin.
///
/// ```
/// use ferrule_sdk::Change;
/// let change = Change::new().payload(b"{}").key(b"").route(1);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Change<'a> {
    payload: Option<&'a [u8]>,
    key: Option<&'a [u8]>,
    headers: Option<&'a Headers>,
    timestamp: Option<i64>,
    route: u16,
}

impl<'a> Change<'a> {
    /// Changes nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Another content.
    #[must_use]
    pub fn payload(mut self, payload: &'a [u8]) -> Self {
        self.payload = Some(payload);
        self
    }

    /// Another key; one of no bytes is no key.
    #[must_use]
    pub fn key(mut self, key: &'a [u8]) -> Self {
        self.key = Some(key);
        self
    }

    /// Other headers, in place of all that were.
    #[must_use]
    pub fn headers(mut self, headers: &'a Headers) -> Self {
        self.headers = Some(headers);
        self
    }

    /// Another event time, in nanoseconds since 1970; none: unknown.
    #[must_use]
    pub fn timestamp(mut self, nanoseconds: Option<i64>) -> Self {
        self.timestamp = Some(nanoseconds.unwrap_or(NO_TIMESTAMP));
        self
    }

    /// Another route than the default, by its index in [`About::routes`].
    #[must_use]
    pub fn route(mut self, route: u16) -> Self {
        self.route = route;
        self
    }
}

/// The records that a function makes of a batch, in the order of delivery.
#[derive(Debug, Default)]
pub struct Output {
    origins: Vec<u32>,
    also: Vec<(u32, u32)>,
    changes: Vec<u8>,
    payload: ColumnBuilder,
    key: ColumnBuilder,
    headers: ColumnBuilder,
    timestamps: Vec<i64>,
    routes: Vec<u16>,
    rejected: Vec<types::Rejection>,
}

impl Output {
    /// Room for the output of `records`; for unit tests.
    pub fn for_batch(records: &Records) -> Self {
        Self { origins: Vec::with_capacity(records.len()), ..Self::default() }
    }

    /// Passes a record on as it is. Costs nothing but its index.
    #[inline]
    pub fn keep(&mut self, record: RecordRef<'_>) {
        // Both lists are absent until a record needs them.
        if !self.changes.is_empty() {
            self.changes.push(0);
        }
        if !self.routes.is_empty() {
            self.routes.push(0);
        }
        self.origins.push(record.index());
    }

    /// Passes a record on with another content.
    #[inline]
    pub fn replace_payload(&mut self, record: RecordRef<'_>, payload: &[u8]) {
        let row = self.origins.len();
        if row == 0 {
            // The first of a batch is a fair guess at how all will be.
            self.payload =
                ColumnBuilder::with_capacity(self.origins.capacity(), payload.len() * self.origins.capacity());
        }
        self.payload.push(payload);
        self.changes.resize(row, 0);
        self.changes.push(PAYLOAD);
        if !self.routes.is_empty() {
            self.routes.push(0);
        }
        self.origins.push(record.index());
    }

    /// Passes a record on, changed. One record may be emitted several times. Returns the output's index, for
    /// [`also`](Self::also).
    #[inline]
    pub fn emit(&mut self, record: RecordRef<'_>, change: Change<'_>) -> u32 {
        let row = self.origins.len();
        let mut bits = 0;
        if let Some(payload) = change.payload {
            self.payload.push(payload);
            bits |= PAYLOAD;
        }
        if let Some(key) = change.key {
            self.key.push(key);
            bits |= KEY;
        }
        if let Some(headers) = change.headers {
            self.headers.push(headers.row());
            bits |= HEADERS;
        }
        if let Some(timestamp) = change.timestamp {
            self.timestamps.push(timestamp);
            bits |= TIMESTAMP;
        }
        column::push_sparse(&mut self.changes, row, bits, 0);
        column::push_sparse(&mut self.routes, row, change.route, 0);
        self.origins.push(record.index());
        row as u32
    }

    /// Passes a record on as it is, on another route than the default.
    #[inline]
    pub fn route(&mut self, record: RecordRef<'_>, route: u16) {
        self.emit(record, Change::new().route(route));
    }

    /// Filters a record out: it is done, and counted. The same as not mentioning it.
    #[inline]
    pub fn drop(&mut self, _record: RecordRef<'_>) {}

    /// Refuses a record: it goes to the dead letters. Not for one that was passed on.
    pub fn reject(&mut self, record: RecordRef<'_>, reason: impl Into<String>) {
        self.rejected.push(types::Rejection { record_ref: record.index().into(), reason: reason.into() });
    }

    /// Names a further record that went into an output: it is done when the output is.
    pub fn also(&mut self, output: u32, record: RecordRef<'_>) {
        self.also.push((output, record.index()));
    }

    /// How many records were made so far.
    pub fn len(&self) -> usize {
        self.origins.len()
    }

    /// Whether none was made so far.
    pub fn is_empty(&self) -> bool {
        self.origins.is_empty()
    }

    /// For unit tests: for each output the index of its origin, its new content if there is one, and its route.
    pub fn rows(&self) -> Vec<(u32, Option<&[u8]>, u16)> {
        let mut replaced = 0;
        (self.origins.iter().enumerate())
            .map(|(row, &origin)| {
                let payload = (self.changes.get(row).copied().unwrap_or(0) & PAYLOAD != 0).then(|| {
                    replaced += 1;
                    self.payload.row(replaced - 1)
                });
                (origin, payload, self.routes.get(row).copied().unwrap_or(0))
            })
            .collect()
    }

    /// For unit tests: index and reason of what was rejected.
    pub fn rejections(&self) -> impl Iterator<Item = (u64, &str)> {
        self.rejected.iter().map(|rejection| (rejection.record_ref, rejection.reason.as_str()))
    }

    fn finish(self) -> Transformed {
        Transformed {
            origins: self.origins,
            also: self.also,
            changes: self.changes,
            payload: self.payload.finish(),
            key: self.key.finish(),
            headers: self.headers.finish(),
            timestamps: self.timestamps,
            routes: self.routes,
            rejected: self.rejected,
            extra: Vec::new(),
        }
    }
}

/// An open function.
#[doc(hidden)]
#[derive(Debug)]
pub struct Running<F> {
    pub(crate) function: F,
}

impl<F: Function> Running<F> {
    pub(crate) fn apply(&mut self, batch: types::Batch) -> Result<Transformed, Error> {
        let records = Records::new(batch)?;
        let mut out = Output::for_batch(&records);
        self.function.apply(&records, &mut out)?;
        Ok(out.finish())
    }

    pub(crate) fn configure(&mut self) -> Configured {
        Configured::Applied
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;

    fn records() -> Records {
        Records::of((0..4).map(|n| Record::new(format!("record {n}"))))
    }

    #[test]
    fn what_is_kept_needs_no_columns() {
        let records = records();
        let mut out = Output::for_batch(&records);
        records.iter().filter(|record| record.index() != 2).for_each(|record| out.keep(record));
        let made = out.finish();
        assert_eq!(made.origins, [0, 1, 3]);
        assert!(made.changes.is_empty() && made.routes.is_empty() && made.payload.ends.is_empty());
    }

    #[test]
    fn changes_and_routes_are_filled_in_for_those_before() {
        let records = records();
        let at = |index| records.get(index).unwrap();
        let headers = Headers::new().with("a", b"b");
        let mut out = Output::for_batch(&records);
        out.keep(at(0));
        out.replace_payload(at(1), b"new");
        out.drop(at(2));
        let merged = out.emit(at(3), Change::new().payload(b"x").key(b"k").headers(&headers).timestamp(None).route(2));
        out.also(merged, at(0));
        out.keep(at(1));
        out.reject(at(2), "bad");
        assert_eq!(out.rows(), [(0, None, 0), (1, Some(&b"new"[..]), 0), (3, Some(&b"x"[..]), 2), (1, None, 0)]);
        let made = out.finish();
        assert_eq!(made.changes, [0, PAYLOAD, PAYLOAD | KEY | HEADERS | TIMESTAMP, 0]);
        assert_eq!(made.routes, [0, 0, 2, 0]);
        assert_eq!((made.payload.bytes.as_slice(), made.payload.ends.as_slice()), (&b"newx"[..], &[3, 4][..]));
        assert_eq!((made.key.ends.as_slice(), made.timestamps.as_slice()), (&[1][..], &[NO_TIMESTAMP][..]));
        assert_eq!(made.headers.bytes, headers.row());
        assert_eq!(made.also, [(2, 0)]);
        assert_eq!(made.rejected[0].record_ref, 2);
    }
}
