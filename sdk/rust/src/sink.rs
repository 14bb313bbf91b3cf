//! A sink gives records to the outside world.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::about::About;
use crate::bindings::ferrule::connector::types;
use crate::error::Error;
use crate::record::{RecordRef, Records};
use crate::session::{Configured, Parameters, Problem, Session};
use crate::wait::Wait;

/// Gives records to the outside world, for one stream.
///
/// The least to write is [`open`](Self::open) and [`send`](Self::send). What writes many records at once, or learns later
/// what became of them, writes [`write`](Self::write) instead of `send`.
#[allow(unused_variables, reason = "the names of the defaults' parameters are documentation")]
pub trait Sink: Sized + 'static {
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

    /// Delivers one record; `Ok` when the outside system has it.
    fn send(&mut self, record: RecordRef<'_>) -> Result<(), Undelivered> {
        Err(Error::failed("the sink has neither `send` nor `write`").into())
    }

    /// Takes a batch, and says what became of those records whose outcome is known. The others are in flight, until a later
    /// `write` or [`idle`](Self::idle) says.
    ///
    /// A record that is to be offered again takes all later ones of its key in the same batch with it, as far as the outside
    /// system does not have them yet: else they would be ahead of it. With [`send`](Self::send) the SDK sees to that; a sink that
    /// does not read the key then sees all records as of one key.
    ///
    /// After an error, the outcomes given so far still count, and the error counts for the next call.
    fn write(&mut self, records: &Records, outcomes: &mut Outcomes) -> Result<(), Error> {
        let mut postponed = BTreeMap::new();
        for record in records {
            let key = record.key().unwrap_or_default();
            if let Some(after) = postponed.get(key) {
                outcomes.retry(record, *after, "an earlier record of its key is to be offered again");
                continue;
            }
            match self.send(record) {
                Ok(()) => outcomes.delivered(record),
                Err(Undelivered::Retry { after, reason }) => {
                    outcomes.retry(record, after, reason);
                    postponed.insert(key, after);
                }
                Err(Undelivered::Reject { reason }) => outcomes.reject(record, reason),
                Err(Undelivered::Session(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// Called while nothing is written and records are in flight (or always, with [`About::idle`]): services the connection
    /// until there are outcomes or `wait` is over.
    fn idle(&mut self, wait: &Wait, outcomes: &mut Outcomes) -> Result<(), Error> {
        wait.sleep();
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

/// Why [`Sink::send`] did not deliver a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Undelivered {
    /// Not now: it is offered again.
    Retry {
        /// Not before that long; none: the host's own backoff.
        after: Option<Duration>,
        /// What stood in the way.
        reason: String,
    },
    /// Never: it goes to the dead letters.
    Reject {
        /// What is wrong with it.
        reason: String,
    },
    /// The connection is gone: a new session is opened, and this record and those after it are offered again.
    Session(Error),
}

impl Undelivered {
    /// Not now; the host chooses when to try again.
    pub fn retry(reason: impl Into<String>) -> Self {
        Self::Retry { after: None, reason: reason.into() }
    }

    /// Not now, and not before that long.
    pub fn retry_after(after: Duration, reason: impl Into<String>) -> Self {
        Self::Retry { after: Some(after), reason: reason.into() }
    }

    /// Never.
    pub fn reject(reason: impl Into<String>) -> Self {
        Self::Reject { reason: reason.into() }
    }
}

impl<E: Into<Error>> From<E> for Undelivered {
    fn from(error: E) -> Self {
        Self::Session(error.into())
    }
}

/// The name of a record in a session: take it from the record itself, or keep the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token(pub u64);

impl From<u64> for Token {
    fn from(token: u64) -> Self {
        Self(token)
    }
}

impl From<RecordRef<'_>> for Token {
    #[inline]
    fn from(record: RecordRef<'_>) -> Self {
        Self(record.token())
    }
}

/// What became of records. Each is answered once.
#[derive(Debug, Default)]
pub struct Outcomes {
    delivered: Vec<u64>,
    retry: Vec<types::Postponement>,
    rejected: Vec<types::Rejection>,
}

impl Outcomes {
    /// None yet; for unit tests.
    pub fn new() -> Self {
        Self::default()
    }

    /// The outside system has it.
    #[inline]
    pub fn delivered(&mut self, record: impl Into<Token>) {
        self.delivered.push(record.into().0);
    }

    /// The outside system has all of them.
    pub fn all_delivered(&mut self, records: &Records) {
        self.delivered.extend_from_slice(records.tokens());
    }

    /// Not now: it is to be offered again, not before `after` if that is given.
    pub fn retry(&mut self, record: impl Into<Token>, after: Option<Duration>, reason: impl Into<String>) {
        self.retry.push(types::Postponement {
            token: record.into().0,
            after_ms: after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
            reason: reason.into(),
        });
    }

    /// Never: it goes to the dead letters.
    pub fn reject(&mut self, record: impl Into<Token>, reason: impl Into<String>) {
        self.rejected.push(types::Rejection { record_ref: record.into().0, reason: reason.into() });
    }

    /// Whether nothing is known yet.
    pub fn is_empty(&self) -> bool {
        self.delivered.is_empty() && self.retry.is_empty() && self.rejected.is_empty()
    }

    /// Tokens of what was delivered.
    pub fn delivered_tokens(&self) -> &[u64] {
        &self.delivered
    }

    /// Token, delay and reason of what is to be offered again.
    pub fn retries(&self) -> impl Iterator<Item = (u64, Option<Duration>, &str)> {
        self.retry.iter().map(|retry| (retry.token, retry.after_ms.map(Duration::from_millis), retry.reason.as_str()))
    }

    /// Token and reason of what was rejected.
    pub fn rejections(&self) -> impl Iterator<Item = (u64, &str)> {
        self.rejected.iter().map(|rejection| (rejection.record_ref, rejection.reason.as_str()))
    }
}

impl From<Outcomes> for types::Outcomes {
    fn from(outcomes: Outcomes) -> Self {
        Self { delivered: outcomes.delivered, retry: outcomes.retry, rejected: outcomes.rejected }
    }
}

/// An open sink and what the SDK keeps beside it.
#[doc(hidden)]
#[derive(Debug)]
pub struct Running<S> {
    pub(crate) sink: S,
    failed: Option<Error>,
}

impl<S: Sink> Running<S> {
    pub(crate) fn new(sink: S) -> Self {
        Self { sink, failed: None }
    }

    pub(crate) fn write(&mut self, batch: types::Batch) -> Result<types::Outcomes, Error> {
        let records = Records::new(batch)?;
        let room = Outcomes { delivered: Vec::with_capacity(records.len()), ..Outcomes::default() };
        self.call(room, |sink, outcomes| sink.write(&records, outcomes))
    }

    pub(crate) fn idle(&mut self, max_wait_ms: u32) -> Result<types::Outcomes, Error> {
        let wait = Wait::at_most(Duration::from_millis(max_wait_ms.into()));
        self.call(Outcomes::default(), |sink, outcomes| sink.idle(&wait, outcomes))
    }

    fn call(
        &mut self,
        mut outcomes: Outcomes,
        act: impl FnOnce(&mut S, &mut Outcomes) -> Result<(), Error>,
    ) -> Result<types::Outcomes, Error> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        match act(&mut self.sink, &mut outcomes) {
            Err(error) if outcomes.is_empty() => Err(error),
            answer => {
                self.failed = answer.err();
                Ok(outcomes.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{BatchBuilder, Record};
    use crate::session::NoParameters;

    /// Does what the payload says.
    struct Obedient;

    impl Sink for Obedient {
        type Static = NoParameters;
        type Config = NoParameters;
        type Parameters = NoParameters;

        fn open(_: Session<NoParameters, NoParameters, NoParameters>) -> Result<Self, Error> {
            Ok(Self)
        }

        fn send(&mut self, record: RecordRef<'_>) -> Result<(), Undelivered> {
            match record.payload() {
                b"retry" => Err(Undelivered::retry_after(Duration::from_secs(2), "busy")),
                b"reject" => Err(Undelivered::reject("bad")),
                b"break" => Err(Error::unavailable("gone").into()),
                _ => Ok(()),
            }
        }
    }

    /// Records of these payloads, the first letter of each as its key.
    fn batch(payloads: &[&str]) -> types::Batch {
        let mut builder = BatchBuilder::default();
        for (token, payload) in payloads.iter().enumerate() {
            builder.push(&Record::new(*payload).with_key(&payload.as_bytes()[..1]).row(), token as u64 + 10);
        }
        builder.finish()
    }

    #[test]
    fn each_record_has_its_outcome() {
        let outcomes = Running::new(Obedient).write(batch(&["a", "reject", "retry", "b"])).unwrap();
        assert_eq!(outcomes.delivered, [10, 13]);
        assert_eq!((outcomes.retry[0].token, outcomes.retry[0].after_ms), (12, Some(2000)));
        assert_eq!((outcomes.rejected[0].record_ref, outcomes.rejected[0].reason.as_str()), (11, "bad"));
    }

    #[test]
    fn a_record_that_waits_takes_the_later_ones_of_its_key_with_it() {
        let outcomes = Running::new(Obedient).write(batch(&["r", "retry", "r2", "a", "reject"])).unwrap();
        assert_eq!(outcomes.delivered, [10, 13]);
        let retried: Vec<_> = outcomes.retry.iter().map(|retry| (retry.token, retry.after_ms)).collect();
        assert_eq!(retried, [(11, Some(2000)), (12, Some(2000)), (14, Some(2000))]);
        assert!(outcomes.rejected.is_empty(), "what is to be rejected waits for its turn too");
    }

    #[test]
    fn what_was_delivered_before_a_break_is_told_first() {
        let mut running = Running::new(Obedient);
        let outcomes = running.write(batch(&["a", "break", "b"])).unwrap();
        assert_eq!(outcomes.delivered, [10]);
        assert_eq!(running.idle(0).unwrap_err(), Error::unavailable("gone"));
        assert_eq!(Running::new(Obedient).write(batch(&["break"])).unwrap_err(), Error::unavailable("gone"));
    }
}
