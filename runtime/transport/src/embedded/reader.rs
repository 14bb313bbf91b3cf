//! Reads one stream: the newest batches from memory, older ones from the disk, many at a time and off the runtime's threads.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use ferrule_model::record::Batch;
use tokio::task::JoinHandle;

use super::body;
use super::disk::{DiskFile, read_up_to};
use super::frame::{Header, Kind, frame_at};
use super::state::{Shared, place};
use super::stream::{Chunk, Signals, Spot};
use crate::log::{Arrivals, Cursor, Entries, Lag, LogError, LogReader};

/// Bytes that are read at once, unless one frame is larger.
const WINDOW: u64 = 1 << 20;

/// A reader of a stream of the journal.
pub(super) struct Reader {
    pub(super) shared: Arc<Shared>,
    pub(super) signals: Arc<Signals>,
    /// The stream.
    pub(super) stream: u32,
    /// The reader's hold.
    pub(super) hold: u64,
    pub(super) next: u64,
    /// What the cursor that the reader was opened with says is done already.
    pub(super) skip: Vec<Range<u64>>,
    /// What was read from the disk, and is to be handed out.
    pub(super) ahead: VecDeque<Ahead>,
    pub(super) reading: Option<JoinHandle<Read>>,
}

/// The records of a frame.
pub(super) struct Ahead {
    first: u64,
    appended_ms: i64,
    pub(super) records: Batch,
}

/// What one look at the disk found: frames, and what went wrong with the next.
pub(super) struct Read {
    pub(super) found: Vec<Ahead>,
    pub(super) failed: Option<(Chunk, Failure)>,
}

/// Why a frame cannot be read.
pub(super) enum Failure {
    /// The disk does not give it.
    Disk(std::io::Error),
    /// It is not what was written.
    Damaged(&'static str),
}

/// Where the next frames are.
pub(super) struct Plan {
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) chunks: Vec<Chunk>,
}

/// What a look at the state came to.
enum Look {
    Entries(Box<Entries>),
    Wait,
    Read(Plan),
}

impl Reader {
    fn look(&mut self, max_records: u32, max_bytes: u64) -> Result<Look, LogError> {
        let core = self.shared.lock();
        let stream = core.streams.get(&self.stream).ok_or(LogError::Closed)?;
        if core.closed || !stream.holds.contains_key(&self.hold) {
            return Err(LogError::Closed);
        }
        self.next = self.next.max(stream.first);
        while let Some(done) = self.skip.iter().find(|done| done.contains(&self.next)) {
            self.next = done.end;
        }
        if self.next >= stream.visible {
            return Ok(Look::Wait);
        }
        let until = self.skip.iter().map(|done| done.start).filter(|start| *start > self.next).min();
        let room = until.unwrap_or(u64::MAX).min(stream.visible) - self.next;
        let max_records = u32::try_from(room).unwrap_or(u32::MAX).min(max_records.max(1));
        if let Some(error) = stream.damage_at(self.next) {
            return Err(error);
        }
        let next = self.next;
        if let Some((first, appended_ms, records)) = stream.recent_at(next) {
            return Ok(Look::Entries(Box::new(cut(*first, *appended_ms, records, next, max_records, max_bytes))));
        }
        while self.ahead.front().is_some_and(|ahead| ahead.first + ahead.records.len() as u64 <= next) {
            self.ahead.pop_front();
        }
        if let Some(Ahead { first, appended_ms, records }) = self.ahead.front().filter(|ahead| ahead.first <= next) {
            return Ok(Look::Entries(Box::new(cut(*first, *appended_ms, records, next, max_records, max_bytes))));
        }
        self.ahead.clear();
        let Some(index) = stream.chunk_at(next) else { return Ok(Look::Wait) };
        let mut chunks: Vec<Chunk> = Vec::new();
        let mut own = 0;
        for chunk in stream.chunks.range(index..) {
            let begin = chunks.first().map_or(chunk.spot, |chunk: &Chunk| chunk.spot);
            own += u64::from(chunk.length);
            let span = (chunk.spot.position + u64::from(chunk.length)).saturating_sub(begin.position);
            // Together what is near: other streams' frames lie between.
            let near = chunk.spot.segment == begin.segment && chunk.spot.position >= begin.position;
            if !chunks.is_empty() && (!near || span > WINDOW || own < span / 4 || chunk.end() > stream.visible) {
                break;
            }
            chunks.push(*chunk);
        }
        let segment = chunks.first().and_then(|chunk| core.segments.get(&chunk.spot.segment));
        let Some(segment) = segment else {
            return Err(LogError::Unavailable("a file of the log is not there".into()));
        };
        Ok(Look::Read(Plan { file: segment.file.clone(), chunks }))
    }

    /// What to say of a frame that could not be read; nothing if it was moved meanwhile.
    fn fail(&self, chunk: Chunk, failure: Failure) -> Option<LogError> {
        let mut core = self.shared.lock();
        let stream = core.streams.get_mut(&self.stream)?;
        let now = stream.chunk_mut(chunk.first)?;
        if now.spot != chunk.spot {
            return None;
        }
        let uid = stream.uid.clone();
        let spot = place(&*self.shared.disk, chunk.spot);
        let detail = match failure {
            Failure::Disk(error) => return Some(LogError::Unavailable(format!("{spot}: {error}"))),
            Failure::Damaged(detail) => detail.to_owned(),
        };
        tracing::error!(stream = %uid, "{spot}: records {} to {} cannot be read: {detail}", chunk.first, chunk.end());
        let (from, until) = (chunk.first, chunk.end());
        stream.damage.push(super::stream::Damage { range: from..until, place: spot.clone(), detail: detail.clone() });
        core.findings.push(format!("{spot}: records {from} to {until} of stream {uid} cannot be read: {detail}"));
        Some(LogError::Damaged { stream: uid, from, until, place: spot, detail })
    }
}

fn cut(first: u64, appended_ms: i64, records: &Batch, from: u64, max_records: u32, max_bytes: u64) -> Entries {
    let start = usize::try_from(from - first).unwrap_or(usize::MAX);
    let mut end = records.len().min(start.saturating_add(max_records as usize));
    if records.size() as u64 > max_bytes {
        let mut bytes = 0;
        let fits = |index: &usize| {
            bytes += records.record_size(*index) as u64;
            *index == start || bytes <= max_bytes
        };
        end = start + (start..end).take_while(fits).count();
    }
    Entries { partition: 0, first_offset: from, appended_ms, records: records.slice(start..end) }
}

pub(super) fn read(stream: u32, plan: &Plan) -> Read {
    let mut found = Vec::with_capacity(plan.chunks.len());
    let begin = plan.chunks.first().map_or(Spot::default(), |chunk| chunk.spot).position;
    let end = plan.chunks.last().map_or(begin, |chunk| chunk.spot.position + u64::from(chunk.length));
    let bytes = match read_up_to(&*plan.file, begin, usize::try_from(end - begin).unwrap_or(0)) {
        Ok(bytes) => Bytes::from(bytes),
        Err(error) => {
            let failed = plan.chunks.first().map(|chunk| (*chunk, Failure::Disk(error)));
            return Read { found, failed };
        }
    };
    for chunk in &plan.chunks {
        let at = usize::try_from(chunk.spot.position - begin).unwrap_or(usize::MAX);
        let rest = bytes.get(at..).unwrap_or_default();
        let batch = frame_at(rest).and_then(|(header, content)| {
            let Header { kind, first, count, .. } = header;
            if kind != Kind::Batch || header.stream != stream || first != chunk.first || count != chunk.count {
                return Err("another frame is there");
            }
            body::decode(&bytes.slice_ref(content), count).ok_or("the columns do not fit their frame")
        });
        match batch {
            Ok(records) => found.push(Ahead { first: chunk.first, appended_ms: chunk.appended_ms, records }),
            Err(detail) => return Read { found, failed: Some((*chunk, Failure::Damaged(detail))) },
        }
    }
    Read { found, failed: None }
}

#[async_trait]
impl LogReader for Reader {
    async fn next(&mut self, max_records: u32, max_bytes: u64) -> Result<Entries, LogError> {
        let signals = self.signals.clone();
        loop {
            if let Some(reading) = &mut self.reading {
                let read = reading.await;
                self.reading = None;
                let Read { found, failed } = read.map_err(|error| LogError::Unavailable(error.to_string()))?;
                if found.is_empty()
                    && let Some((chunk, failure)) = failed
                    && let Some(error) = self.fail(chunk, failure)
                {
                    return Err(error);
                }
                self.ahead = found.into();
            }
            let mut data = std::pin::pin!(signals.data.notified());
            data.as_mut().enable();
            match self.look(max_records, max_bytes)? {
                Look::Entries(entries) => {
                    self.next = entries.first_offset + entries.records.len() as u64;
                    return Ok(*entries);
                }
                Look::Wait => data.await,
                Look::Read(plan) => {
                    let stream = self.stream;
                    self.reading = Some(tokio::task::spawn_blocking(move || read(stream, &plan)));
                }
            }
        }
    }

    fn arrivals(&self) -> Option<Arrivals> {
        let data = self.signals.data.clone().notified_owned();
        self.reading.is_none().then(|| Box::pin(data) as Arrivals)
    }

    fn commit(&mut self, cursor: &Cursor) {
        let now = self.shared.now();
        let mut core = self.shared.lock();
        let Some(stream) = core.streams.get_mut(&self.stream) else { return };
        let Some(hold) = stream.holds.get_mut(&self.hold) else { return };
        let further = cursor.low > hold.cursor.low;
        hold.cursor.clone_from(cursor);
        let name = stream.name_of(self.hold).cloned();
        let signals = stream.signals.clone();
        let first = core.dirty.is_empty();
        if let Some(name) = name {
            core.dirty.insert((self.stream, Some(name)));
        }
        if further {
            core.trim(self.stream, now);
        }
        let wake = first && !core.dirty.is_empty();
        drop(core);
        if wake {
            self.shared.work.notify_one();
        }
        if further {
            signals.room.notify_waiters();
        }
    }

    fn skips(&self) -> &[std::ops::Range<u64>] {
        &self.skip
    }

    fn position(&self) -> u64 {
        self.next
    }

    fn lag(&self) -> Lag {
        self.shared.lock().streams.get(&self.stream).map(|stream| stream.lag(self.next)).unwrap_or_default()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let now = self.shared.now();
        let mut core = self.shared.lock();
        let Some(stream) = core.streams.get_mut(&self.stream) else { return };
        if stream.name_of(self.hold).is_some() {
            if let Some(hold) = stream.holds.get_mut(&self.hold) {
                hold.open = false;
            }
        } else {
            stream.holds.remove(&self.hold);
        }
        let signals = stream.signals.clone();
        core.trim(self.stream, now);
        drop(core);
        signals.room.notify_waiters();
    }
}
