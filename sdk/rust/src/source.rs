//! A source takes records from the outside world.

use std::time::{Duration, Instant};

use crate::about::About;
use crate::bindings::exports::ferrule::connector::consume::{Limits, Pulled};
use crate::error::Error;
use crate::record::{BatchBuilder, Record, Row};
use crate::session::{Configured, Parameters, Problem, Session};
use crate::wait::Wait;

/// Takes records from the outside world, for one stream.
///
/// The least to write is [`open`](Self::open) and [`read`](Self::read). What reads many records at once writes
/// [`next`](Self::next) instead of `read`.
#[allow(unused_variables, reason = "the names of the defaults' parameters are documentation")]
pub trait Source: Sized + 'static {
    /// Parameters of the instance, fixed while it lives; [`NoParameters`](crate::NoParameters) if there are none.
    type Static: Parameters;
    /// Values of the instance that may change while the stream runs.
    type Config: Parameters;
    /// Parameters of the stream.
    type Parameters: Parameters;

    /// What it asks for and what it can do, beside what Cargo.toml and the parameter types say.
    fn about() -> About {
        About::new()
    }

    /// What a schema cannot say of the parameters. Nothing may be connected here.
    fn validate(fixed: &Self::Static, config: &Self::Config, parameters: &Self::Parameters) -> Vec<Problem> {
        Vec::new()
    }

    /// Connects.
    fn open(session: Session<Self::Static, Self::Config, Self::Parameters>) -> Result<Self, Error>;

    /// Whether the outside system gives unsettled records again after the session ends.
    fn replayable(&self) -> bool {
        false
    }

    /// The next record; none if there is none by the end of `wait`. It is borrowed from the source or owned, as is easier.
    ///
    /// What has arrived is to be taken before `wait` is looked at; a record that is half there is kept for the next call.
    fn read(&mut self, wait: &Wait) -> Result<Option<Record<'_>>, Error> {
        Err(Error::failed("the source has neither `read` nor `next`"))
    }

    /// Fills a batch. Returns when it is full, when the wait is over or when the host wants the call back.
    ///
    /// After an error, the records of this batch are still taken in, and the error counts for the next call.
    fn next(&mut self, pull: &mut Pull) -> Result<(), Error> {
        while !pull.is_full() {
            // The next record may be one too many, and the position is that before it.
            if pull.is_tight() {
                pull.position = self.position();
            }
            match self.read(&pull.wait())? {
                Some(record) => pull.push(&record),
                None => break,
            };
        }
        // Nothing was one too many: the position is that after all of them.
        if pull.over.is_empty() {
            pull.position = None;
        }
        Ok(())
    }

    /// Called instead of [`next`](Self::next) while the stream is held back: keeps the connection alive until the end of `wait`.
    fn service(&mut self, wait: &Wait) -> Result<(), Error> {
        wait.sleep();
        Ok(())
    }

    /// Where to go on after the records read so far. Asked after each batch; `open` gets what was saved.
    fn position(&self) -> Option<Vec<u8>> {
        None
    }

    /// The records of these tokens are safe: they may be acknowledged upstream. Tokens come in any order
    /// ([`AckQueue`](crate::AckQueue) puts them in order). Does not wait.
    fn settle(&mut self, tokens: &[u64]) -> Result<(), Error> {
        Ok(())
    }

    /// The config changed. Unless it is taken over here, the session is closed and opened again.
    fn configure(&mut self, config: Self::Config) -> Result<Configured, Error> {
        Ok(Configured::Reopen)
    }

    /// Says goodbye to the outside system.
    fn close(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

/// The batch being filled, and how much may go into it.
#[derive(Debug)]
pub struct Pull {
    max_records: usize,
    max_bytes: usize,
    linger: Duration,
    /// With nothing to give, until then.
    deadline: Instant,
    /// Once there is a record, until then.
    lingering: Option<Instant>,
    bytes: usize,
    /// Bytes of the largest record so far in this session.
    largest: usize,
    next_token: u64,
    records: BatchBuilder,
    /// What did not fit; the next batch begins with it.
    over: Vec<Record<'static>>,
    /// Where to go on after `records`, if that is known.
    position: Option<Vec<u8>>,
}

impl Pull {
    fn new(limits: Limits, next_token: u64) -> Self {
        Self {
            max_records: limits.max_records as usize,
            max_bytes: limits.max_bytes as usize,
            linger: Duration::from_millis(limits.linger_ms.into()),
            deadline: Instant::now() + Duration::from_millis(limits.max_wait_ms.into()),
            lingering: None,
            bytes: 0,
            largest: 0,
            next_token,
            records: BatchBuilder::default(),
            over: Vec::new(),
            position: None,
        }
    }

    /// A batch for a unit test of a source that writes [`Source::next`].
    pub fn of(max_records: u32, max_wait: Duration) -> Self {
        let max_wait_ms = u32::try_from(max_wait.as_millis()).unwrap_or(u32::MAX);
        Self::new(Limits { max_records, max_bytes: 1 << 20, linger_ms: 0, max_wait_ms }, 1)
    }

    /// How long to wait for the next record: with a record in the batch, only as long as the host lingers for more.
    pub fn wait(&self) -> Wait {
        Wait::until(self.lingering.unwrap_or(self.deadline))
    }

    /// Whether no more should go in.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.records.len() >= self.max_records || self.bytes >= self.max_bytes || !self.over.is_empty()
    }

    /// Whether a record of so many bytes of payload, key and headers fits. The first one always does.
    #[inline]
    pub fn fits(&self, bytes: usize) -> bool {
        self.records.len() == 0 || !self.is_full() && self.bytes + bytes <= self.max_bytes
    }

    /// Whether a record like the largest one so far would not fit.
    fn is_tight(&self) -> bool {
        !self.fits(self.largest)
    }

    /// How many records may still go in.
    #[inline]
    pub fn room(&self) -> usize {
        self.max_records.saturating_sub(self.records.len())
    }

    /// How many bytes of payload, key and headers may still go in. The first record is exempt.
    #[inline]
    pub fn room_bytes(&self) -> usize {
        self.max_bytes.saturating_sub(self.bytes)
    }

    /// How many records are in.
    #[inline]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether nothing is in.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.records.len() == 0
    }

    /// Adds a record and returns its token, the one it came with or else the next number.
    ///
    /// One that does not [fit](Self::fits) any more begins the next batch.
    pub fn push(&mut self, record: &Record<'_>) -> u64 {
        self.push_row(&record.row())
    }

    /// The same for a record of which all parts are borrowed; a source with many records a second pushes these.
    #[inline]
    pub fn push_row(&mut self, row: &Row<'_>) -> u64 {
        let token = row.token.unwrap_or_else(|| {
            self.next_token += 1;
            self.next_token - 1
        });
        let size = row.size();
        self.largest = self.largest.max(size);
        if !self.fits(size) {
            self.over.push(row.to_static().with_token(token));
            return token;
        }
        if self.records.len() == 0 {
            // Without lingering, the first record is sent at once; the deadline is then already over.
            self.lingering = Some(self.deadline.min(Instant::now() + self.linger));
        }
        self.bytes += size;
        self.records.push(row, token);
        token
    }

    /// Where to go on after the records pushed so far, in place of [`Source::position`].
    pub fn set_position(&mut self, position: impl Into<Vec<u8>>) {
        if self.over.is_empty() {
            self.position = Some(position.into());
        }
    }
}

/// An open source and what the SDK keeps beside it.
#[doc(hidden)]
#[derive(Debug)]
pub struct Running<S> {
    pub(crate) source: S,
    next_token: u64,
    largest: usize,
    /// Records and bytes of the last batch: the next is likely as large.
    last: (usize, usize),
    /// Records that did not fit into the last batch, with their tokens.
    over: Vec<Record<'static>>,
    failed: Option<Error>,
}

impl<S: Source> Running<S> {
    pub(crate) fn new(source: S) -> Self {
        Self { source, next_token: 1, largest: 0, last: (0, 0), over: Vec::new(), failed: None }
    }

    pub(crate) fn next(&mut self, limits: Limits) -> Result<Pulled, Error> {
        let mut pull = Pull::new(limits, self.next_token);
        if pull.max_records == 0 {
            self.failed.take().map_or(Ok(()), Err)?;
            self.source.service(&pull.wait())?;
            return Ok(Pulled { records: pull.records.finish(), position: None });
        }
        pull.largest = self.largest;
        let (rows, bytes) = self.last;
        pull.records = BatchBuilder::with_capacity(rows.min(pull.max_records), bytes.min(pull.max_bytes));
        for record in std::mem::take(&mut self.over) {
            pull.push(&record);
        }
        if !pull.is_full() {
            let answer = match self.failed.take() {
                Some(error) => Err(error),
                None => self.source.next(&mut pull),
            };
            match answer {
                Err(error) if pull.is_empty() => return Err(error),
                answer => self.failed = answer.err(),
            }
        }
        self.next_token = pull.next_token;
        self.largest = pull.largest;
        self.last = (pull.records.len(), pull.bytes);
        let position = match pull.position {
            // With records left over, the source is further than this batch.
            None if !pull.is_empty() && pull.over.is_empty() => self.source.position(),
            position => position,
        };
        self.over = pull.over;
        Ok(Pulled { records: pull.records.finish(), position })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::NoParameters;

    /// Gives the numbers up to a limit, then fails.
    struct Numbers {
        next: u32,
        last: u32,
    }

    impl Source for Numbers {
        type Static = NoParameters;
        type Config = NoParameters;
        type Parameters = NoParameters;

        fn open(_: Session<NoParameters, NoParameters, NoParameters>) -> Result<Self, Error> {
            Ok(Self { next: 0, last: 5 })
        }

        fn read(&mut self, _: &Wait) -> Result<Option<Record<'_>>, Error> {
            if self.next == self.last {
                return Err(Error::unavailable("gone"));
            }
            self.next += 1;
            Ok(Some(Record::new(self.next.to_string())))
        }

        fn position(&self) -> Option<Vec<u8>> {
            Some(self.next.to_le_bytes().to_vec())
        }
    }

    fn limits(max_records: u32) -> Limits {
        Limits { max_records, max_bytes: 1000, linger_ms: 0, max_wait_ms: 10_000 }
    }

    #[test]
    fn reads_until_the_batch_is_full_and_keeps_an_error_for_the_next_call() {
        let mut running = Running::new(Numbers { next: 0, last: 5 });
        let first = running.next(limits(3)).unwrap();
        assert_eq!((first.records.count, first.records.tokens.as_slice()), (3, &[1, 2, 3][..]));
        assert_eq!(first.position, Some(vec![3, 0, 0, 0]));
        let second = running.next(limits(3)).unwrap();
        assert_eq!(
            (second.records.payload.bytes.as_slice(), second.records.tokens.as_slice()),
            (&b"45"[..], &[4, 5][..])
        );
        assert_eq!(running.next(limits(3)).unwrap_err(), Error::unavailable("gone"));
    }

    #[test]
    fn bytes_are_a_limit_too() {
        let mut running = Running::new(Numbers { next: 0, last: 5 });
        let pulled = running.next(Limits { max_bytes: 2, ..limits(100) }).unwrap();
        assert_eq!(pulled.records.count, 2);
        assert_eq!(pulled.position, Some(vec![2, 0, 0, 0]));
    }

    /// Gives texts of these lengths; the position is how many were read.
    struct Lengths {
        lengths: Vec<usize>,
        read: usize,
    }

    impl Source for Lengths {
        type Static = NoParameters;
        type Config = NoParameters;
        type Parameters = NoParameters;

        fn open(_: Session<NoParameters, NoParameters, NoParameters>) -> Result<Self, Error> {
            Ok(Self { lengths: Vec::new(), read: 0 })
        }

        fn read(&mut self, _: &Wait) -> Result<Option<Record<'_>>, Error> {
            let record = self.lengths.get(self.read).map(|length| Record::new(vec![b'x'; *length]));
            self.read += usize::from(record.is_some());
            Ok(record)
        }

        fn position(&self) -> Option<Vec<u8>> {
            Some(vec![self.read as u8])
        }
    }

    #[test]
    fn what_does_not_fit_begins_the_next_batch_and_the_position_waits_for_it() {
        let mut running = Running::new(Lengths { lengths: vec![60, 60, 30, 90, 200, 10, 10], read: 0 });
        let mut seen = Vec::new();
        for _ in 0..6 {
            let pulled = running.next(Limits { max_bytes: 100, ..limits(100) }).unwrap();
            seen.push((pulled.records.payload.ends, pulled.records.tokens, pulled.position));
        }
        let expected: [(&[u32], &[u64], Option<u8>); 6] = [
            // With 60 of 100 bytes in, another 60 would not fit, so where it stands before the next is known.
            (&[60], &[1], Some(1)),
            (&[60, 90], &[2, 3], Some(3)),
            (&[90], &[4], Some(4)),
            (&[200], &[5], Some(5)),
            (&[10, 20], &[6, 7], Some(7)),
            (&[], &[], None),
        ];
        for (seen, (ends, tokens, position)) in seen.into_iter().zip(expected) {
            assert_eq!(seen, (ends.to_vec(), tokens.to_vec(), position.map(|read| vec![read])));
        }
    }

    #[test]
    fn a_surprise_costs_the_position_of_one_batch() {
        let mut running = Running::new(Lengths { lengths: vec![10, 95], read: 0 });
        let first = running.next(Limits { max_bytes: 100, ..limits(100) }).unwrap();
        assert_eq!((first.records.count, first.position), (1, None));
        let second = running.next(Limits { max_bytes: 100, ..limits(100) }).unwrap();
        assert_eq!((second.records.count, second.position), (1, Some(vec![2])));
    }

    #[test]
    fn held_back_it_gives_nothing() {
        let mut running = Running::new(Numbers { next: 0, last: 5 });
        let pulled = running.next(Limits { max_wait_ms: 1, ..limits(0) }).unwrap();
        assert_eq!((pulled.records.count, pulled.position), (0, None));
    }
}
