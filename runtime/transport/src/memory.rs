//! The log within one process: bounded, ordered, gone with the process.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use ferrule_model::ids::Uid;
use ferrule_model::record::Batch;
use tokio::sync::Notify;

use crate::log::{
    AppendReceipt, Arrivals, Bounds, Cursor, Durability, Entries, Guarantees, Lag, Log, LogError, LogReader, ReaderId,
    Retention, StartAt, StreamOptions, Usage, WhenFull,
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

    /// Takes out what a stream holds; it is forgotten, and its readers and appends end.
    pub(crate) fn take(&self, stream: &Uid) -> Option<Held> {
        let stream = lock(&self.streams).remove(stream)?;
        let mut state = lock(&stream.state);
        state.closed = true;
        let cursor = |number: &u64| state.holds.get(number).map(|hold| hold.cursor.clone()).unwrap_or_default();
        let cursors = state.names.iter().map(|(name, number)| (name.clone(), cursor(number))).collect();
        let batches = std::mem::take(&mut state.chunks).into_iter();
        let held = Held {
            next_offset: state.next_offset,
            dropped: state.dropped,
            position: state.position.take(),
            cursors,
            batches: batches.map(|chunk| (chunk.first_offset, chunk.appended_ms, chunk.records)).collect(),
        };
        drop(state);
        stream.data.notify_waiters();
        stream.room.notify_waiters();
        Some(held)
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

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// What a stream held when it was taken out.
pub(crate) struct Held {
    pub(crate) next_offset: u64,
    pub(crate) dropped: u64,
    pub(crate) position: Option<Vec<u8>>,
    /// Of the named readers.
    pub(crate) cursors: Vec<(String, Cursor)>,
    /// First offset, when it was appended, records; without gaps.
    pub(crate) batches: Vec<(u64, i64, Batch)>,
}

#[derive(Debug)]
struct Stream {
    state: Mutex<State>,
    /// Records came, or the stream closed, or a reader ended.
    data: Arc<Notify>,
    /// Records or readers went or came, or the stream closed.
    room: Notify,
}

#[derive(Debug)]
struct State {
    bounds: Bounds,
    when_full: WhenFull,
    chunks: VecDeque<Chunk>,
    next_offset: u64,
    bytes: u64,
    /// Bytes ever appended.
    total: u64,
    dropped: u64,
    position: Option<Vec<u8>>,
    /// By number, what holds records back.
    holds: HashMap<u64, Hold>,
    /// The numbers of the named readers.
    names: HashMap<String, u64>,
    next_reader: u64,
    closed: bool,
}

/// A reader's claim on records.
#[derive(Debug)]
struct Hold {
    cursor: Cursor,
    open: bool,
}

#[derive(Debug)]
struct Chunk {
    first_offset: u64,
    appended_ms: i64,
    /// Bytes ever appended before it.
    before: u64,
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
            when_full: WhenFull::default(),
            chunks: VecDeque::new(),
            next_offset: 0,
            bytes: 0,
            total: 0,
            dropped: 0,
            position: None,
            holds: HashMap::new(),
            names: HashMap::new(),
            next_reader: 0,
            closed: false,
        };
        Self { state: Mutex::new(state), data: Arc::default(), room: Notify::new() }
    }
}

impl State {
    fn first_offset(&self) -> u64 {
        self.chunks.front().map_or(self.next_offset, |chunk| chunk.first_offset)
    }

    fn has_room(&self, records: &Batch) -> bool {
        let held = self.next_offset - self.first_offset();
        held == 0
            || (held + records.len() as u64 <= self.bounds.records
                && self.bytes + records.size() as u64 <= self.bounds.bytes)
    }

    fn append(&mut self, records: Batch) -> u64 {
        let first_offset = self.next_offset;
        if !records.is_empty() {
            let size = records.size() as u64;
            self.next_offset += records.len() as u64;
            self.bytes += size;
            self.chunks.push_back(Chunk { first_offset, appended_ms: now_ms(), before: self.total, records });
            self.total += size;
        }
        first_offset
    }

    fn drop_oldest(&mut self) {
        if let Some(chunk) = self.chunks.pop_front() {
            self.bytes -= chunk.records.size() as u64;
            self.dropped += chunk.records.len() as u64;
        }
    }

    /// Drops what every reader is past. Part of a chunk goes too, as far as the count is concerned; its bytes go with the rest.
    fn trim(&mut self) {
        let low = self.holds.values().map(|hold| hold.cursor.low).min().unwrap_or(self.next_offset);
        while let Some(chunk) = self.chunks.front_mut() {
            if chunk.end() <= low {
                self.bytes -= chunk.records.size() as u64;
                self.chunks.pop_front();
                continue;
            }
            if chunk.first_offset < low {
                let skip = (low - chunk.first_offset) as usize;
                let size = chunk.records.size() as u64;
                chunk.records = chunk.records.slice(skip..chunk.records.len());
                chunk.first_offset = low;
                let gone = size - chunk.records.size() as u64;
                chunk.before += gone;
                self.bytes -= gone;
            }
            break;
        }
    }

    /// Where a reader starts, and what above it is done already.
    fn start(&self, start: StartAt) -> Cursor {
        let at = |low| Cursor { low, done: Vec::new() };
        match start {
            StartAt::Latest => at(self.next_offset),
            StartAt::Oldest => at(self.first_offset()),
            StartAt::Time(time) => {
                let chunk = self.chunks.iter().find(|chunk| chunk.appended_ms >= time);
                at(chunk.map_or(self.next_offset, |chunk| chunk.first_offset))
            }
            StartAt::Cursor(cursor) => {
                Cursor { low: cursor.low.clamp(self.first_offset(), self.next_offset), done: cursor.done }
            }
        }
    }

    /// Opens a reader: its number and where it begins.
    fn open(&mut self, id: ReaderId, start: StartAt) -> (u64, Cursor) {
        let (name, rewound) = match id {
            ReaderId::Passing => (None, false),
            ReaderId::Named(name) => (Some(name), false),
            ReaderId::Rewound(name) => (Some(name), true),
        };
        let before = name.as_ref().and_then(|name| self.names.get(name)).and_then(|number| self.holds.remove(number));
        let start = match before {
            Some(hold) if !rewound => StartAt::Cursor(hold.cursor),
            _ => start,
        };
        let cursor = self.start(start);
        let number = self.next_reader;
        self.next_reader += 1;
        self.holds.insert(number, Hold { cursor: cursor.clone(), open: true });
        if let Some(name) = name {
            self.names.insert(name, number);
        }
        self.trim();
        (number, cursor)
    }

    fn read(&self, from: u64, max_records: u32, max_bytes: u64) -> Option<Entries> {
        let index = self.chunks.partition_point(|chunk| chunk.end() <= from);
        let chunk = self.chunks.get(index)?;
        let start = from.saturating_sub(chunk.first_offset) as usize;
        let mut end = chunk.records.len().min(start.saturating_add(max_records as usize));
        if chunk.records.size() as u64 > max_bytes {
            let mut bytes = 0;
            let fits = |index: &usize| {
                bytes += chunk.records.record_size(*index) as u64;
                *index == start || bytes <= max_bytes
            };
            end = start + (start..end).take_while(fits).count();
        }
        let first_offset = chunk.first_offset + start as u64;
        let appended_ms = chunk.appended_ms;
        let records = chunk.records.slice(start..end);
        (end > start).then_some(Entries { partition: 0, first_offset, appended_ms, records })
    }

    fn lag(&self, from: u64) -> Lag {
        let index = self.chunks.partition_point(|chunk| chunk.end() <= from);
        let Some(chunk) = self.chunks.get(index) else { return Lag::default() };
        Lag {
            records: self.next_offset - from.max(chunk.first_offset),
            bytes: self.total - chunk.before,
            oldest_ms: Some(chunk.appended_ms),
        }
    }
}

#[async_trait]
impl Log for MemoryLog {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn guarantees(&self, _: Durability) -> Guarantees {
        Guarantees {
            ordered: true,
            replayable: false,
            durable: Durability::Process,
            shared: false,
            largest_record: self.largest_record,
            retention: Retention::UntilRead,
        }
    }

    fn configure(&self, stream: &Uid, options: StreamOptions) {
        let stream = self.stream(stream);
        let mut state = lock(&stream.state);
        state.bounds = options.bounds;
        state.when_full = options.when_full;
        drop(state);
        stream.room.notify_waiters();
    }

    async fn append(&self, stream: &Uid, records: Batch, position: Option<Vec<u8>>) -> Result<AppendReceipt, LogError> {
        let limit = self.largest_record;
        if records.size() > limit {
            let too_large =
                (0..records.len()).map(|index| (index, records.record_size(index))).find(|(_, size)| *size > limit);
            if let Some((index, size)) = too_large {
                return Err(LogError::RecordTooLarge { index, size, limit });
            }
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
                let (read, mut room) = (!state.holds.is_empty(), state.has_room(&records));
                while read && !room && state.when_full == WhenFull::DropOldest {
                    state.drop_oldest();
                    room = state.has_room(&records);
                }
                let taken = room || state.when_full != WhenFull::DropNewest;
                if records.is_empty() || (read && (room || !taken)) {
                    state.position = position.or(state.position.take());
                    let first_offset = state.next_offset;
                    if taken {
                        state.append(records);
                    } else {
                        state.dropped += records.len() as u64;
                    }
                    drop(state);
                    stream.data.notify_waiters();
                    return Ok(AppendReceipt { partition: 0, first_offset, taken });
                }
            }
            room.await;
        }
    }

    async fn position(&self, stream: &Uid) -> Result<Option<Vec<u8>>, LogError> {
        Ok(lock(&self.stream(stream).state).position.clone())
    }

    async fn reader(&self, stream: &Uid, id: ReaderId, start: StartAt) -> Result<Box<dyn LogReader>, LogError> {
        let stream = self.stream(stream);
        let (number, cursor) = {
            let mut state = lock(&stream.state);
            if state.closed {
                return Err(LogError::Closed);
            }
            state.open(id, start)
        };
        // A reader of the same name ends, and whoever waits for a reader goes on.
        stream.data.notify_waiters();
        stream.room.notify_waiters();
        Ok(Box::new(Reader { stream, number, next: cursor.low, skip: cursor.done }))
    }

    fn forget_reader(&self, stream: &Uid, name: &str) {
        let Some(stream) = lock(&self.streams).get(stream).cloned() else { return };
        let mut state = lock(&stream.state);
        if let Some(number) = state.names.remove(name) {
            state.holds.remove(&number);
            state.trim();
        }
        drop(state);
        stream.data.notify_waiters();
        stream.room.notify_waiters();
    }

    fn usage(&self, stream: &Uid) -> Usage {
        let Some(stream) = lock(&self.streams).get(stream).cloned() else { return Usage::default() };
        let state = lock(&stream.state);
        Usage {
            next_offset: state.next_offset,
            first_offset: state.first_offset(),
            bytes: state.bytes,
            unread_bytes: state.bytes,
            dropped: state.dropped,
            readers: state.holds.values().filter(|hold| hold.open).count(),
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

    fn streams(&self) -> Vec<Uid> {
        lock(&self.streams).keys().cloned().collect()
    }

    fn readers(&self, stream: &Uid) -> Vec<String> {
        let stream = lock(&self.streams).get(stream).cloned();
        stream.map(|stream| lock(&stream.state).names.keys().cloned().collect()).unwrap_or_default()
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
                if state.closed || !state.holds.contains_key(&self.number) {
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

    fn arrivals(&self) -> Option<Arrivals> {
        Some(Box::pin(self.stream.data.clone().notified_owned()))
    }

    fn commit(&mut self, cursor: &Cursor) {
        let mut state = lock(&self.stream.state);
        let Some(hold) = state.holds.get_mut(&self.number) else { return };
        let further = cursor.low > hold.cursor.low;
        hold.cursor.clone_from(cursor);
        if !further {
            return;
        }
        state.trim();
        drop(state);
        self.stream.room.notify_waiters();
    }

    fn skips(&self) -> &[std::ops::Range<u64>] {
        &self.skip
    }

    fn position(&self) -> u64 {
        self.next
    }

    fn lag(&self) -> Lag {
        lock(&self.stream.state).lag(self.next)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = lock(&self.stream.state);
        if state.names.values().any(|number| *number == self.number) {
            if let Some(hold) = state.holds.get_mut(&self.number) {
                hold.open = false;
            }
        } else {
            state.holds.remove(&self.number);
            state.trim();
        }
        drop(state);
        self.stream.room.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_keeps_the_contract_of_a_log() {
        crate::conformance::run(async |largest| MemoryLog::default().with_largest_record(largest)).await.unwrap();
    }
}
