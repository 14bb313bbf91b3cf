//! The side of a pipeline that reads: where it begins in a stream's log, what of it is done, and which ids it has seen.

use std::future::{Future, poll_fn};
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use ferrule_model::ids::Uid;
use ferrule_model::record::{Column, RecordId};
use ferrule_transport::{Cursor, Entries, Log, LogError, LogReader, ReaderId, StartAt};

use tokio::time::Instant;

use crate::acks::{Acks, Slot};
use crate::error::FlowError;
use crate::plan::{PipelinePlan, Start};
use crate::progress::Progress;
use crate::replay::RewindTo;
use crate::seen::{Seen, Sight};
use crate::shared::now_ms;

/// Bytes that are read at a time to learn which ids were seen.
const LOOK_BACK_BYTES: u64 = 4 << 20;

/// How long to wait before a log that could not be read is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// A stream that the pipeline reads: its tracker, the reader of its log, and what is done.
pub(super) struct SourceSide {
    pub(super) uid: Uid,
    pub(super) acks: Arc<Acks>,
    pub(super) slot: Slot,
    pub(super) reader: Box<dyn LogReader>,
    pub(super) progress: Progress,
    /// Ids that were seen, if the pipeline looks at them.
    seen: Option<Seen>,
    /// The offset that draining ends at.
    pub(super) until: Option<u64>,
    /// The log has closed it.
    pub(super) closed: bool,
    /// Why it cannot be read now, and when it is tried again; without a time, not before somebody rewinds the pipeline.
    pub(super) trouble: Option<(String, Option<Instant>)>,
}

impl SourceSide {
    fn is_readable(&self) -> bool {
        let waits = self.trouble.as_ref().is_some_and(|(_, again)| again.is_none_or(|again| Instant::now() < again));
        !self.closed && !waits
    }

    /// Reading failed; what is to be said of it.
    pub(super) fn failed(&mut self, error: &LogError) -> Option<String> {
        let again = match error {
            // A stream that is gone, or that this pipeline reads no more.
            LogError::Closed => {
                self.closed = true;
                return None;
            }
            LogError::Unavailable(_) => Some(Instant::now() + ASK_AGAIN),
            _ => None,
        };
        let mut what = format!("stream {} cannot be read: {error}", self.uid);
        if let LogError::Damaged { until, .. } = error {
            what.push_str(&format!("; to go on behind it, rewind the pipeline to offset {until}"));
        }
        self.trouble = Some((what.clone(), again));
        Some(what)
    }

    /// When reading is tried again.
    pub(super) fn again(&self) -> Option<Instant> {
        self.trouble.as_ref().and_then(|(_, again)| *again)
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
    let progress = Progress::starting_at(start);
    Ok(SourceSide {
        uid: uid.clone(),
        acks: acks.clone(),
        slot,
        reader,
        progress,
        seen,
        until: None,
        closed: false,
        trouble: None,
    })
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

type Reading<'a> = Pin<Box<dyn Future<Output = Result<Entries, LogError>> + Send + 'a>>;

/// The next records of whichever source has some. A dropped call has read nothing.
pub(super) async fn next_entries(
    sources: &mut [SourceSide],
    max_records: u32,
    max_bytes: u64,
) -> (usize, Result<Entries, LogError>) {
    let mut readings: Vec<(usize, Reading<'_>)> = sources
        .iter_mut()
        .enumerate()
        .filter(|(_, side)| side.is_readable() && side.until.is_none_or(|until| side.reader.position() < until))
        .map(|(index, side)| (index, side.reader.next(max_records, max_bytes)))
        .collect();
    poll_fn(|context| {
        for (index, reading) in &mut readings {
            if let Poll::Ready(entries) = reading.as_mut().poll(context) {
                return Poll::Ready((*index, entries));
            }
        }
        Poll::Pending
    })
    .await
}
