//! The log within one process: bounded, ordered, gone with the process.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use ferrule_model::ids::Uid;
use ferrule_model::record::Batch;
use tokio::sync::Notify;

use crate::log::{
    AppendReceipt, Bounds, Cursor, Durability, Entries, Guarantees, Log, LogError, LogReader, Retention, StartAt, Usage,
};

/// Bytes of the largest record: what NATS takes by default too, so that a pipeline can move there.
const LARGEST_RECORD: usize = 1 << 20;

/// A log in memory. Cloning shares it.
#[derive(Clone, Debug)]
pub struct MemoryLog {
    streams: Arc<Mutex<HashMap<Uid, Arc<Stream>>>>,
    bounds: Bounds,
    largest_record: usize,
}

impl Default for MemoryLog {
    fn default() -> Self {
        Self::new(Bounds::default())
    }
}

impl MemoryLog {
    /// A log whose streams have these bounds unless told otherwise.
    pub fn new(bounds: Bounds) -> Self {
        Self { streams: Arc::default(), bounds, largest_record: LARGEST_RECORD }
    }

    /// Takes records up to so many bytes.
    #[must_use]
    pub fn with_largest_record(mut self, bytes: usize) -> Self {
        self.largest_record = bytes;
        self
    }

    fn stream(&self, uid: &Uid) -> Arc<Stream> {
        let mut streams = lock(&self.streams);
        if let Some(stream) = streams.get(uid) {
            return stream.clone();
        }
        let stream = Arc::new(Stream::new(self.bounds));
        streams.insert(uid.clone(), stream.clone());
        stream
    }
}

/// Nothing panics while it holds a lock, so a poisoned one is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct Stream {
    state: Mutex<State>,
    /// Records came, or the stream closed.
    data: Notify,
    /// Records or readers went or came, or the stream closed.
    room: Notify,
}

#[derive(Debug)]
struct State {
    bounds: Bounds,
    chunks: VecDeque<Chunk>,
    next_offset: u64,
    bytes: u64,
    /// For each reader, by its number, the low-water mark.
    readers: HashMap<u64, u64>,
    next_reader: u64,
    closed: bool,
}

#[derive(Debug)]
struct Chunk {
    first_offset: u64,
    records: Batch,
}

impl Chunk {
    fn end(&self) -> u64 {
        self.first_offset + self.records.len() as u64
    }
}

impl Stream {
    fn new(bounds: Bounds) -> Self {
        let state = State {
            bounds,
            chunks: VecDeque::new(),
            next_offset: 0,
            bytes: 0,
            readers: HashMap::new(),
            next_reader: 0,
            closed: false,
        };
        Self { state: Mutex::new(state), data: Notify::new(), room: Notify::new() }
    }
}

impl State {
    fn first_offset(&self) -> u64 {
        self.chunks.front().map_or(self.next_offset, |chunk| chunk.first_offset)
    }

    fn has_room(&self, records: &Batch) -> bool {
        if self.readers.is_empty() {
            return false;
        }
        let held = self.next_offset - self.first_offset();
        held == 0
            || (held + records.len() as u64 <= self.bounds.records
                && self.bytes + records.size() as u64 <= self.bounds.bytes)
    }

    fn append(&mut self, records: Batch) -> u64 {
        let first_offset = self.next_offset;
        if !records.is_empty() {
            self.next_offset += records.len() as u64;
            self.bytes += records.size() as u64;
            self.chunks.push_back(Chunk { first_offset, records });
        }
        first_offset
    }

    /// Drops what every reader is past. Part of a chunk goes too, as far as the count is concerned; its bytes go with the rest.
    fn trim(&mut self) {
        let low = self.readers.values().min().copied().unwrap_or(self.next_offset);
        while let Some(chunk) = self.chunks.front_mut() {
            if chunk.end() <= low {
                self.bytes -= chunk.records.size() as u64;
                self.chunks.pop_front();
                continue;
            }
            if chunk.first_offset < low {
                let skip = (low - chunk.first_offset) as usize;
                self.bytes -= chunk.records.size() as u64;
                chunk.records = chunk.records.slice(skip..chunk.records.len());
                chunk.first_offset = low;
                self.bytes += chunk.records.size() as u64;
            }
            break;
        }
    }

    fn read(&self, from: u64, max_records: u32, max_bytes: u64) -> Option<Entries> {
        let index = self.chunks.partition_point(|chunk| chunk.end() <= from);
        let chunk = self.chunks.get(index)?;
        let start = from.saturating_sub(chunk.first_offset) as usize;
        let mut end = start;
        let mut bytes = 0;
        while end < chunk.records.len() && end - start < max_records as usize {
            bytes += chunk.records.record_size(end) as u64;
            if end > start && bytes > max_bytes {
                break;
            }
            end += 1;
        }
        let first_offset = chunk.first_offset + start as u64;
        (end > start).then(|| Entries { partition: 0, first_offset, records: chunk.records.slice(start..end) })
    }
}

#[async_trait]
impl Log for MemoryLog {
    fn guarantees(&self) -> Guarantees {
        Guarantees {
            ordered: true,
            replayable: false,
            durable: Durability::Process,
            shared: false,
            largest_record: self.largest_record,
            retention: Retention::UntilRead,
        }
    }

    fn bound(&self, stream: &Uid, bounds: Bounds) {
        let stream = self.stream(stream);
        lock(&stream.state).bounds = bounds;
        stream.room.notify_waiters();
    }

    async fn append(&self, stream: &Uid, records: Batch) -> Result<AppendReceipt, LogError> {
        let limit = self.largest_record;
        let too_large =
            (0..records.len()).map(|index| (index, records.record_size(index))).find(|(_, size)| *size > limit);
        if let Some((index, size)) = too_large {
            return Err(LogError::RecordTooLarge { index, size, limit });
        }
        let stream = self.stream(stream);
        loop {
            let mut room = std::pin::pin!(stream.room.notified());
            room.as_mut().enable();
            {
                let mut state = lock(&stream.state);
                if state.closed {
                    return Err(LogError::Closed);
                }
                if state.has_room(&records) {
                    let first_offset = state.append(records);
                    drop(state);
                    stream.data.notify_waiters();
                    return Ok(AppendReceipt { partition: 0, first_offset });
                }
            }
            room.await;
        }
    }

    async fn reader(&self, stream: &Uid, start: StartAt) -> Result<Box<dyn LogReader>, LogError> {
        let stream = self.stream(stream);
        let (number, cursor, skip) = {
            let mut state = lock(&stream.state);
            if state.closed {
                return Err(LogError::Closed);
            }
            let (from, skip) = match start {
                StartAt::Latest => (state.next_offset, Vec::new()),
                StartAt::Oldest => (state.first_offset(), Vec::new()),
                StartAt::Cursor(cursor) => (cursor.low.clamp(state.first_offset(), state.next_offset), cursor.done),
            };
            let number = state.next_reader;
            state.next_reader += 1;
            state.readers.insert(number, from);
            (number, from, skip)
        };
        stream.room.notify_waiters();
        Ok(Box::new(Reader { stream, number, next: cursor, skip }))
    }

    fn usage(&self, stream: &Uid) -> Usage {
        let Some(stream) = lock(&self.streams).get(stream).cloned() else { return Usage::default() };
        let state = lock(&stream.state);
        Usage {
            next_offset: state.next_offset,
            first_offset: state.first_offset(),
            bytes: state.bytes,
            readers: state.readers.len(),
        }
    }

    fn remove(&self, stream: &Uid) {
        let Some(stream) = lock(&self.streams).remove(stream) else { return };
        let mut state = lock(&stream.state);
        state.closed = true;
        state.chunks.clear();
        state.bytes = 0;
        drop(state);
        stream.data.notify_waiters();
        stream.room.notify_waiters();
    }
}

struct Reader {
    stream: Arc<Stream>,
    number: u64,
    next: u64,
    /// What the cursor that the reader was opened with says is done already.
    skip: Vec<std::ops::Range<u64>>,
}

#[async_trait]
impl LogReader for Reader {
    async fn next(&mut self, max_records: u32, max_bytes: u64) -> Result<Entries, LogError> {
        loop {
            let mut data = std::pin::pin!(self.stream.data.notified());
            data.as_mut().enable();
            {
                let state = lock(&self.stream.state);
                if state.closed {
                    return Err(LogError::Closed);
                }
                while let Some(done) = self.skip.iter().find(|done| done.contains(&self.next)) {
                    self.next = done.end;
                }
                let until = self.skip.iter().map(|done| done.start).filter(|start| *start > self.next).min();
                let room = until.map_or(u64::MAX, |until| until - self.next);
                let max_records = u32::try_from(room).unwrap_or(u32::MAX).min(max_records.max(1));
                if let Some(entries) = state.read(self.next, max_records, max_bytes) {
                    self.next = entries.first_offset + entries.records.len() as u64;
                    return Ok(entries);
                }
            }
            data.await;
        }
    }

    fn commit(&mut self, cursor: &Cursor) {
        let mut state = lock(&self.stream.state);
        let Some(low) = state.readers.get_mut(&self.number) else { return };
        if cursor.low <= *low {
            return;
        }
        *low = cursor.low;
        state.trim();
        drop(state);
        self.stream.room.notify_waiters();
    }

    fn position(&self) -> u64 {
        self.next
    }

    fn lag(&self) -> u64 {
        lock(&self.stream.state).next_offset.saturating_sub(self.next)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = lock(&self.stream.state);
        state.readers.remove(&self.number);
        state.trim();
        drop(state);
        self.stream.room.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_keeps_the_contract_of_a_log() {
        crate::conformance::run(|bounds, largest| MemoryLog::new(bounds).with_largest_record(largest)).await.unwrap();
    }
}
