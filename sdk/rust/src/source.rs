//! A source takes records from the outside world.

use std::time::{Duration, Instant};

use crate::about::About;
use crate::bindings::exports::ferrule::connector::consume::{Limits, Pulled};
use crate::error::Error;
use crate::record::{BatchBuilder, Record};
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
            match self.read(&pull.wait())? {
                Some(record) => pull.push(&record),
                None => break,
            };
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
    next_token: u64,
    records: BatchBuilder,
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
            next_token,
            records: BatchBuilder::default(),
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
        self.records.len() >= self.max_records || self.bytes >= self.max_bytes
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
    #[inline]
    pub fn push(&mut self, record: &Record<'_>) -> u64 {
        if self.records.len() == 0 {
            // Without lingering, the first record is sent at once; the deadline is then already over.
            self.lingering = Some(if self.linger.is_zero() {
                self.deadline.min(Instant::now())
            } else {
                self.deadline.min(Instant::now() + self.linger)
            });
        }
        let token = record.token.unwrap_or(self.next_token);
        self.next_token += 1;
        self.bytes += record.size();
        self.records.push(record, token);
        token
    }

    /// Where to go on after these records; overrides [`Source::position`].
    pub fn set_position(&mut self, position: impl Into<Vec<u8>>) {
        self.position = Some(position.into());
    }
}

/// An open source and what the SDK keeps beside it.
#[doc(hidden)]
#[derive(Debug)]
pub struct Running<S> {
    pub(crate) source: S,
    next_token: u64,
    failed: Option<Error>,
}

impl<S: Source> Running<S> {
    pub(crate) fn new(source: S) -> Self {
        Self { source, next_token: 1, failed: None }
    }

    pub(crate) fn next(&mut self, limits: Limits) -> Result<Pulled, Error> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let mut pull = Pull::new(limits, self.next_token);
        let answer =
            if pull.max_records == 0 { self.source.service(&pull.wait()) } else { self.source.next(&mut pull) };
        self.next_token = pull.next_token;
        match answer {
            Err(error) if pull.is_empty() => return Err(error),
            answer => self.failed = answer.err(),
        }
        let position = match pull.position {
            None if !pull.is_empty() => self.source.position(),
            position => position,
        };
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
    }

    #[test]
    fn held_back_it_gives_nothing() {
        let mut running = Running::new(Numbers { next: 0, last: 5 });
        let pulled = running.next(Limits { max_wait_ms: 1, ..limits(0) }).unwrap();
        assert_eq!((pulled.records.count, pulled.position), (0, None));
    }
}
