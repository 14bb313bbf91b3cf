//! The streams that a pipeline reads, as one: whichever has records is read in its turn, and those that have none cost nothing.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use ferrule_transport::{Entries, Lag, LogError};
use futures_util::FutureExt as _;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::Instant;

use super::intake::{SourceSide, sum};

/// How long to wait before a log that could not be read is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// For so many streams their lag is looked at whenever anything happens.
const FEW: usize = 16;

/// For more, only so seldom that this is spent for each at most.
const LOOK_EACH: Duration = Duration::from_micros(20);

type Asleep = Pin<Box<dyn Future<Output = usize> + Send>>;

/// All the streams. Work is done for those that something happened to, not for all.
#[derive(Default)]
pub(super) struct Sources {
    sides: Vec<SourceSide>,
    /// Those that may have records, in the order in which they are asked.
    awake: VecDeque<usize>,
    /// Those that are about to have some: what they read is on its way.
    busy: Vec<usize>,
    /// Those that had none. Each gives its index when that may have changed.
    asleep: FuturesUnordered<Asleep>,
    /// Those of which something may have become done since it was last told.
    touched: Vec<usize>,
    /// Records that are taken and not done, but for what happened to those that are touched.
    open: usize,
    /// Why some cannot be read now, and when that is tried again; without a time, not before somebody rewinds the pipeline.
    trouble: BTreeMap<usize, (String, Option<Instant>)>,
    lag: Lag,
    /// When the lag may be looked at again.
    look_at: Option<Instant>,
    /// It may have changed since it was looked at.
    stale: bool,
}

impl Sources {
    pub(super) fn push(&mut self, side: SourceSide) {
        self.open += side.progress.open();
        self.awake.push_back(self.sides.len());
        self.sides.push(side);
        self.look_at = None;
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &SourceSide> {
        self.sides.iter()
    }

    pub(super) fn get(&self, index: usize) -> Option<&SourceSide> {
        self.sides.get(index)
    }

    /// A stream to which something happens.
    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut SourceSide> {
        let side = self.sides.get_mut(index)?;
        if !side.touched {
            side.touched = true;
            side.counted = side.progress.open();
            self.touched.push(index);
        }
        Some(side)
    }

    /// All of them, to change where draining ends.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut SourceSide> {
        self.sides.iter_mut()
    }

    /// Records that are taken and not done.
    pub(super) fn open(&self) -> usize {
        let touched = self.touched.iter().filter_map(|index| self.sides.get(*index));
        touched.fold(self.open, |open, side| open + side.progress.open() - side.counted)
    }

    /// Tells the trackers and the log what is done.
    pub(super) fn commit(&mut self) {
        for index in std::mem::take(&mut self.touched) {
            let Some(side) = self.sides.get_mut(index) else { continue };
            let completed = side.take_completed();
            side.touched = false;
            self.open = self.open + side.progress.open() - side.counted;
            if !completed.is_empty() {
                side.acks.done(side.slot, completed);
                side.reader.commit(&side.progress.cursor());
            }
        }
    }

    /// Reading one of them failed; what is to be said of it.
    pub(super) fn failed(&mut self, index: usize, error: &LogError) -> Option<String> {
        let side = self.sides.get_mut(index)?;
        let again = match error {
            // A stream that is gone, or that this pipeline reads no more.
            LogError::Closed => {
                side.closed = true;
                return None;
            }
            LogError::Unavailable(_) => Some(Instant::now() + ASK_AGAIN),
            _ => None,
        };
        let mut what = format!("stream {} cannot be read: {error}", side.uid);
        if let LogError::Damaged { until, .. } = error {
            what.push_str(&format!("; to go on behind it, rewind the pipeline to offset {until}"));
        }
        self.trouble.insert(index, (what.clone(), again));
        Some(what)
    }

    /// Why streams cannot be read, and when that is tried again.
    pub(super) fn trouble(&self) -> impl Iterator<Item = &(String, Option<Instant>)> {
        self.trouble.values()
    }

    /// When a stream that cannot be read is tried again.
    pub(super) fn next_try(&self) -> impl Iterator<Item = Instant> {
        let now = Instant::now();
        self.trouble.values().filter_map(|(_, again)| *again).filter(move |again| *again > now)
    }

    /// What is not done of all of them. Of many it may be a little old; `next_look` then says when to ask again.
    pub(super) fn lag(&mut self) -> Lag {
        let now = Instant::now();
        self.stale = self.look_at.is_some_and(|at| now < at);
        if !self.stale {
            self.lag = self.sides.iter_mut().map(SourceSide::lag).fold(Lag::default(), sum);
            let many = u32::try_from(self.sides.len()).unwrap_or(u32::MAX);
            self.look_at = (self.sides.len() > FEW).then(|| now + LOOK_EACH * many);
        }
        self.lag
    }

    /// When the lag is to be looked at, if it may have changed.
    pub(super) fn next_look(&self) -> Option<Instant> {
        self.look_at.filter(|_| self.stale)
    }

    /// The next records of whichever stream has some, each in its turn. A dropped call has read nothing.
    pub(super) async fn next(&mut self, max_records: u32, max_bytes: u64) -> (usize, Result<Entries, LogError>) {
        loop {
            while let Some(Some(woken)) = self.asleep.next().now_or_never() {
                self.awake.push_back(woken);
            }
            self.awake.extend(self.busy.drain(..));
            if let Some(found) = self.ask_awake(max_records, max_bytes) {
                return found;
            }
            if let Some((index, entries)) = self.wait(max_records, max_bytes).await {
                self.busy.retain(|busy| *busy != index);
                self.awake.push_back(index);
                return self.read(index, entries);
            }
        }
    }

    /// What was read; a stream that gives records is in no trouble.
    fn read(&mut self, index: usize, entries: Result<Entries, LogError>) -> (usize, Result<Entries, LogError>) {
        if entries.is_ok() {
            self.trouble.remove(&index);
        }
        (index, entries)
    }

    /// Asks each that may have records once.
    fn ask_awake(&mut self, max_records: u32, max_bytes: u64) -> Option<(usize, Result<Entries, LogError>)> {
        for _ in 0..self.awake.len() {
            let index = self.awake.pop_front()?;
            let Some(side) = self.sides.get_mut(index) else { continue };
            let waits =
                self.trouble.get(&index).is_some_and(|(_, again)| again.is_none_or(|again| Instant::now() < again));
            if waits || !side.is_readable() {
                self.awake.push_back(index);
                continue;
            }
            let mut read = side.reader.next(max_records, max_bytes).now_or_never();
            if read.is_none()
                && let Some(arrivals) = side.reader.arrivals()
            {
                // What came before it listened is not told.
                read = side.reader.next(max_records, max_bytes).now_or_never();
                if read.is_none() {
                    self.asleep.push(Box::pin(async move {
                        arrivals.await;
                        index
                    }));
                    continue;
                }
            }
            match read {
                Some(entries) => {
                    self.awake.push_back(index);
                    return Some(self.read(index, entries));
                }
                None => self.busy.push(index),
            }
        }
        None
    }

    /// Waits for one that is busy, or for one to wake: then there is nothing yet.
    async fn wait(&mut self, max_records: u32, max_bytes: u64) -> Option<(usize, Result<Entries, LogError>)> {
        self.busy.sort_unstable();
        let mut readings = Vec::with_capacity(self.busy.len());
        let (mut rest, mut before) = (&mut self.sides[..], 0);
        for &index in &self.busy {
            let Some((head, tail)) = rest.split_at_mut_checked(index + 1 - before) else { break };
            (rest, before) = (tail, index + 1);
            if let Some(side) = head.last_mut() {
                readings.push((index, side.reader.next(max_records, max_bytes)));
            }
        }
        let (asleep, awake) = (&mut self.asleep, &mut self.awake);
        poll_fn(|context| {
            for (index, reading) in &mut readings {
                if let Poll::Ready(entries) = reading.as_mut().poll(context) {
                    return Poll::Ready(Some((*index, entries)));
                }
            }
            match asleep.poll_next_unpin(context) {
                Poll::Ready(Some(woken)) => {
                    awake.push_back(woken);
                    Poll::Ready(None)
                }
                Poll::Ready(None) | Poll::Pending => Poll::Pending,
            }
        })
        .await
    }
}
