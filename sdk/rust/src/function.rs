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
///
/// Most functions treat all records alike: output `i` comes from record `i`, the same parts are new, and all take the default
/// route. As long as that is so, outputs are only counted, and the lists are written at the end.
#[derive(Debug, Default)]
pub struct Output {
    /// How many outputs were only counted, and so the index of the record that may be counted next; [`SPELLED`]: the lists
    /// hold all outputs.
    alike: u32,
    /// What those outputs changed.
    bits: u8,
    /// How many outputs to make room for, and how many bytes of payload.
    capacity: usize,
    payload_bytes: usize,
    origins: Vec<u32>,
    also: Vec<(u32, u32)>,
    /// Absent, like the routes, until an output needs it.
    changes: Vec<u8>,
    payload: ColumnBuilder,
    key: ColumnBuilder,
    headers: ColumnBuilder,
    timestamps: Vec<i64>,
    routes: Vec<u16>,
    rejected: Vec<types::Rejection>,
}

/// Says that outputs are in the lists. No record has this index: a batch of so many would not fit the memory.
const SPELLED: u32 = u32::MAX;

impl Output {
    /// Room for the output of `records`; for unit tests.
    pub fn for_batch(records: &Records) -> Self {
        Self { capacity: records.len(), payload_bytes: records.payload_bytes(), ..Self::default() }
    }

    /// Passes a record on as it is. Costs nothing but its index.
    #[inline]
    pub fn keep(&mut self, record: RecordRef<'_>) {
        self.row(record.index(), 0, 0);
    }

    /// Passes a record on with another content.
    #[inline]
    pub fn replace_payload(&mut self, record: RecordRef<'_>, payload: &[u8]) {
        self.push_payload(payload);
        self.row(record.index(), PAYLOAD, 0);
    }

    /// Passes a record on, changed. One record may be emitted several times. Returns the output's index, for
    /// [`also`](Self::also).
    #[inline]
    pub fn emit(&mut self, record: RecordRef<'_>, change: Change<'_>) -> u32 {
        let row = self.len();
        let mut bits = 0;
        if let Some(payload) = change.payload {
            self.push_payload(payload);
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
        self.row(record.index(), bits, change.route);
        row as u32
    }

    /// Adds an output. What is not like the others is handled apart, so that this is small enough to stand in the loop of
    /// the caller: a call costs more than all that is done here.
    #[inline(always)]
    fn row(&mut self, origin: u32, bits: u8, route: u16) {
        if origin == self.alike && bits == self.bits && route == 0 {
            self.alike += 1;
        } else {
            self.unlike(origin, bits, route);
        }
    }

    /// Adds an output that is not like those before it, or follows one that was not.
    #[inline(never)]
    fn unlike(&mut self, origin: u32, bits: u8, route: u16) {
        if self.alike == 0 && origin == 0 && route == 0 {
            // The first says how the others should be.
            (self.alike, self.bits) = (1, bits);
            return;
        }
        if self.alike != SPELLED {
            self.spell();
        }
        column::push_sparse(&mut self.changes, self.origins.len(), bits, 0);
        column::push_sparse(&mut self.routes, self.origins.len(), route, 0);
        self.origins.push(origin);
    }

    /// Writes down the outputs that were only counted.
    fn spell(&mut self) {
        self.origins = column::count_up(self.alike, self.capacity);
        if self.bits != 0 {
            self.changes = vec![self.bits; self.alike as usize];
        }
        self.alike = SPELLED;
    }

    #[inline]
    fn push_payload(&mut self, payload: &[u8]) {
        if self.payload.is_unused() {
            // What a function makes is mostly about as long as what it is made of.
            self.payload = ColumnBuilder::with_capacity(self.capacity, self.payload_bytes);
        }
        self.payload.push(payload);
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
        if self.alike == SPELLED { self.origins.len() } else { self.alike as usize }
    }

    /// Whether none was made so far.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// For unit tests: for each output the index of its origin, its new content if there is one, and its route.
    pub fn rows(&self) -> Vec<(u32, Option<&[u8]>, u16)> {
        let mut replaced = 0;
        (0..self.len())
            .map(|row| {
                let (origin, bits) = match self.alike {
                    SPELLED => (self.origins[row], self.changes.get(row).copied().unwrap_or(0)),
                    _ => (row as u32, self.bits),
                };
                let payload = (bits & PAYLOAD != 0).then(|| {
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

    fn finish(mut self) -> Transformed {
        if self.alike != SPELLED {
            self.spell();
        }
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
    fn outputs_that_are_alike_come_out_as_if_written_one_by_one() {
        let records = records();
        let at = |index| records.get(index).unwrap();
        // All four alike; alike until one is dropped, changed otherwise, routed, or repeated.
        type Step = (usize, Option<&'static [u8]>, u16);
        let cases: [&[Step]; 7] = [
            &[(0, Some(b"a"), 0), (1, Some(b"b"), 0), (2, Some(b""), 0), (3, Some(b"d"), 0)],
            &[(0, None, 0), (1, None, 0), (3, None, 0)],
            &[(0, None, 0), (1, Some(b"b"), 0), (2, None, 0)],
            &[(0, Some(b"a"), 0), (1, None, 0)],
            &[(0, None, 0), (1, None, 3)],
            &[(0, None, 0), (0, None, 0), (1, None, 0)],
            &[(1, None, 0), (0, None, 0)],
        ];
        for steps in cases {
            let mut out = Output::for_batch(&records);
            for &(index, payload, route) in steps {
                match (payload, route) {
                    (None, 0) => out.keep(at(index)),
                    (Some(payload), 0) => out.replace_payload(at(index), payload),
                    (_, route) => out.route(at(index), route),
                }
            }
            assert_eq!(out.len(), steps.len());
            let rows: Vec<_> = steps.iter().map(|&(index, payload, route)| (index as u32, payload, route)).collect();
            assert_eq!(out.rows(), rows);
            let made = out.finish();
            let origins: Vec<u32> = steps.iter().map(|&(index, ..)| index as u32).collect();
            assert_eq!(made.origins, origins);
            let changes: Vec<u8> = steps.iter().map(|(_, payload, _)| u8::from(payload.is_some())).collect();
            let changed = changes.contains(&PAYLOAD);
            assert_eq!(made.changes, if changed { changes } else { Vec::new() });
            assert_eq!(made.payload.ends.len(), steps.iter().filter(|(_, payload, _)| payload.is_some()).count());
            assert_eq!(made.routes.is_empty(), steps.iter().all(|(.., route)| *route == 0));
        }
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
