//! The side of a pipeline that reads: where it begins in a stream's log, what of it is done, and which ids it has seen.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use ferrule_model::ids::Uid;
use ferrule_model::record::{Column, RecordId};
use ferrule_transport::{Cursor, Entries, Lag, Log, LogReader, ReaderId, StartAt};

use crate::acks::{Acks, Slot};
use crate::error::FlowError;
use crate::plan::{PipelinePlan, Start};
use crate::progress::Progress;
use crate::replay::RewindTo;
use crate::seen::{Seen, Sight};
use crate::shared::now_ms;

/// Bytes that are read at a time to learn which ids were seen.
const LOOK_BACK_BYTES: u64 = 4 << 20;

/// A stream that the pipeline reads: its tracker, the reader of its log, and what is done.
pub(super) struct SourceSide {
    pub(super) uid: Uid,
    pub(super) acks: Arc<Acks>,
    pub(super) slot: Slot,
    pub(super) reader: Box<dyn LogReader>,
    pub(super) progress: Progress,
    hand: Hand,
    /// Ids that were seen, if the pipeline looks at them.
    seen: Option<Seen>,
    /// The offset that draining ends at.
    pub(super) until: Option<u64>,
    /// The log has closed it.
    pub(super) closed: bool,
    /// Something may have become done that is not told yet; how many records were open before.
    pub(super) touched: bool,
    pub(super) counted: usize,
}

/// The batches that were taken and are not done to their end.
#[derive(Default)]
struct Hand {
    /// In order: the offset behind the last record, how many there are, their bytes, and when they were appended.
    batches: VecDeque<(u64, u64, u64, i64)>,
    records: u64,
    bytes: u64,
}

impl Hand {
    fn take(&mut self, entries: &Entries) {
        let (count, bytes) = (entries.records.len() as u64, entries.records.size() as u64);
        self.batches.push_back((entries.first_offset + count, count, bytes, entries.appended_ms));
        self.records += count;
        self.bytes += bytes;
    }

    /// What of them is not done: all before `low` is, and `open` of the rest are not.
    fn lag(&mut self, low: u64, open: u64) -> Lag {
        while let Some((_, count, bytes, _)) = self.batches.pop_front_if(|(end, ..)| *end <= low) {
            self.records -= count;
            self.bytes -= bytes;
        }
        let oldest_ms = self.batches.front().filter(|_| open > 0).map(|(.., appended_ms)| *appended_ms);
        // Which of them are done is not looked up: each counts as the mean of them.
        let bytes = u128::from(self.bytes) * u128::from(open) / u128::from(self.records.max(1));
        Lag { records: open, bytes: u64::try_from(bytes).unwrap_or(u64::MAX), oldest_ms }
    }
}

impl SourceSide {
    /// A stream whose reader is where the pipeline begins.
    pub(super) fn new(uid: Uid, acks: Arc<Acks>, slot: Slot, reader: Box<dyn LogReader>, seen: Option<Seen>) -> Self {
        let (progress, hand) = (Progress::starting_at(reader.position()), Hand::default());
        Self { uid, acks, slot, reader, progress, hand, seen, until: None, closed: false, touched: false, counted: 0 }
    }

    /// Records came from the log.
    pub(super) fn take(&mut self, entries: &Entries) {
        self.progress.take(entries.first_offset, entries.records.len());
        self.hand.take(entries);
    }

    /// What of the stream is not done: it waits in the log or is in hand.
    pub(super) fn lag(&mut self) -> Lag {
        let (waiting, hand) = (self.reader.lag(), self.hand.lag(self.progress.low(), self.progress.open() as u64));
        sum(waiting, hand)
    }

    /// Whether there is something of it to be read.
    pub(super) fn is_readable(&self) -> bool {
        !self.closed && !self.is_drained()
    }

    /// Draining has all of it that it takes.
    pub(super) fn is_drained(&self) -> bool {
        self.until.is_some_and(|until| self.reader.position() >= until)
    }

    /// The rows whose ids were seen before, in order; they are done, or will be with the first of their id.
    pub(super) fn look(&mut self, upstream_ids: &Column, first_offset: u64, appended_ms: i64) -> Vec<u32> {
        let Some(seen) = &mut self.seen else { return Vec::new() };
        let mut duplicates = Vec::new();
        for (row, offset) in (0..upstream_ids.len()).zip(first_offset..) {
            let upstream = upstream_ids.get(row);
            if upstream.is_empty() {
                continue;
            }
            match seen.look(RecordId::of_upstream(&self.uid, upstream), offset, appended_ms) {
                Sight::First => continue,
                Sight::Again => {}
                Sight::Tied => self.progress.add(offset),
            }
            duplicates.push(row as u32);
        }
        duplicates
    }

    /// Records that became done since the last call, and what is done with them.
    pub(super) fn take_completed(&mut self) -> Vec<Range<u64>> {
        let mut completed = self.progress.take_completed_ranges();
        if let Some(seen) = &mut self.seen {
            let mut looked = 0;
            while let Some(range) = completed.get(looked).cloned() {
                for tied in range.flat_map(|offset| seen.done(offset)) {
                    self.progress.done(tied);
                }
                looked += 1;
                completed.extend(self.progress.take_completed_ranges());
            }
        }
        completed
    }
}

/// A stream that the pipeline is to read and does not read yet.
pub(super) struct Absent {
    pub(super) uid: Uid,
    pub(super) acks: Arc<Acks>,
    pub(super) rewind: Option<RewindTo>,
    /// The offset that draining ended at before.
    pub(super) until: Option<u64>,
    /// When the log was asked first and was not available, in milliseconds since 1970.
    pub(super) since: Option<i64>,
}

/// Reads a stream from where the pipeline was when it last read it, or from somewhere else.
pub(super) async fn attach(
    log: &Arc<dyn Log>,
    plan: &PipelinePlan,
    absent: &mut Absent,
) -> Result<SourceSide, FlowError> {
    let attached = begin(log, plan, absent).await;
    if attached.is_err() {
        absent.since.get_or_insert(now_ms());
    }
    attached
}

async fn begin(log: &Arc<dyn Log>, plan: &PipelinePlan, absent: &Absent) -> Result<SourceSide, FlowError> {
    let Absent { uid, acks, .. } = absent;
    let slot = acks.attach(&plan.uid)?;
    let name = plan.uid.to_string();
    let (id, start) = match (absent.rewind, plan.start) {
        (Some(RewindTo::Beginning), _) => (ReaderId::Rewound(name), StartAt::Oldest),
        (Some(RewindTo::Time(time)), _) => (ReaderId::Rewound(name), StartAt::Time(time)),
        (Some(RewindTo::Offset(low)), _) => {
            (ReaderId::Rewound(name), StartAt::Cursor(Cursor { low, done: Vec::new() }))
        }
        // What came since the log was asked first is for this pipeline too.
        (None, Start::Latest) => (ReaderId::Named(name), absent.since.map_or(StartAt::Latest, StartAt::Time)),
        (None, Start::Beginning) => (ReaderId::Named(name), StartAt::Oldest),
    };
    let reader = log.reader(uid, id, start).await?;
    let start = reader.position();
    acks.started(slot, start);
    let seen = match plan.deduplicate {
        Some(window) => Some(look_back(log, uid, window, start, reader.skips()).await?),
        None => None,
    };
    Ok(SourceSide::new(uid.clone(), acks.clone(), slot, reader, seen))
}

/// The ids of the records before `start`, and of those above it that are done, that are within the window, as far as the log still
/// has them.
async fn look_back(
    log: &Arc<dyn Log>,
    uid: &Uid,
    window: Duration,
    start: u64,
    done: &[Range<u64>],
) -> Result<Seen, FlowError> {
    let mut seen = Seen::new(window);
    let since = seen.since(now_ms());
    let until = done.last().map_or(start, |last| last.end.max(start));
    let mut reader = log.reader(uid, ReaderId::Passing, StartAt::Time(since)).await?;
    while reader.position() < until && reader.lag().records > 0 {
        let entries = reader.next(u32::MAX, LOOK_BACK_BYTES).await?;
        let ids = &entries.records.upstream_ids;
        for (row, offset) in (0..ids.len()).zip(entries.first_offset..) {
            let upstream = ids.get(row);
            let is_done = offset < start || done.iter().any(|done| done.contains(&offset));
            if is_done && !upstream.is_empty() {
                seen.done_before(RecordId::of_upstream(uid, upstream), entries.appended_ms);
            }
        }
    }
    Ok(seen)
}

/// Both together.
pub(super) fn sum(one: Lag, other: Lag) -> Lag {
    Lag {
        records: one.records + other.records,
        bytes: one.bytes + other.bytes,
        oldest_ms: one.oldest_ms.into_iter().chain(other.oldest_ms).min(),
    }
}
