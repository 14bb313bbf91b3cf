//! Everything that callers and the two threads of the log share, under one lock.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use ferrule_model::ids::Uid;
use ferrule_model::record::Batch;
use tokio::sync::{Notify, oneshot};

use super::disk::{Disk, DiskFile};
use super::frame::{Header, Kind};
use super::options::Options;
use super::stream::{Chunk, Spot, Stream};
use super::wire::{put_bytes, put_cursor, put_optional, put_u32, put_u64};
use super::{body, segment};
use crate::log::{AppendReceipt, Durability, LogError, StreamOptions, WhenFull};
use crate::memory::Held;

/// Bytes of appends that wait to be written, from which on further ones wait outside.
const QUEUE_BYTES: u64 = 32 << 20;

/// A batch on its way to the journal.
pub(super) struct Append {
    pub(super) stream: u32,
    pub(super) first: u64,
    pub(super) appended_ms: i64,
    pub(super) records: Batch,
    pub(super) position: Option<Vec<u8>>,
    pub(super) durability: Durability,
    pub(super) done: Option<oneshot::Sender<Result<(), LogError>>>,
}

/// What is to be written.
pub(super) enum Item {
    /// Records of a stream.
    Batch(Box<Append>),
    /// Records that are in a segment already, which is to go: the header, the body, and where they are.
    Moved(Box<Header>, Vec<u8>, Spot),
    /// Anything else.
    Control { kind: Kind, stream: u32, first: u64, body: Vec<u8> },
}

/// A batch that is written and waits for its durability.
pub(super) struct Written {
    pub(super) stream: u32,
    /// Where it ends.
    pub(super) spot: Spot,
    /// The offset after it.
    pub(super) end: u64,
    pub(super) position: Option<Vec<u8>>,
    pub(super) done: Option<oneshot::Sender<Result<(), LogError>>>,
}

/// A segment, to be read.
#[derive(Clone)]
pub(super) struct Segment {
    pub(super) file: Arc<dyn DiskFile>,
    /// Bytes in it.
    pub(super) len: u64,
    /// Bytes of frames in it with records that are held.
    pub(super) live: u64,
}

/// What is shared.
#[derive(Default)]
pub(super) struct Core {
    pub(super) streams: BTreeMap<u32, Stream>,
    pub(super) numbers: HashMap<Uid, u32>,
    pub(super) next_number: u32,
    pub(super) queue: VecDeque<Item>,
    pub(super) queued_bytes: u64,
    /// Cursors to be saved; without a name, the first offset of the stream.
    pub(super) dirty: BTreeSet<(u32, Option<String>)>,
    /// By number; the last one is written to.
    pub(super) segments: BTreeMap<u64, Segment>,
    /// Segments with a frame that cannot be read.
    pub(super) spoilt: BTreeSet<u64>,
    pub(super) written: Spot,
    pub(super) synced: Spot,
    pub(super) waiting: VecDeque<Written>,
    /// Up to where somebody wants the journal to be on disk.
    pub(super) wanted: Spot,
    pub(super) sync_failed: Option<String>,
    pub(super) trouble: Option<String>,
    pub(super) findings: Vec<String>,
    pub(super) syncs: u64,
    pub(super) batches: u64,
    /// Nothing more is taken.
    pub(super) closed: bool,
    /// The threads end when they are done.
    pub(super) ending: bool,
    /// What is in memory, oldest first.
    pub(super) recent: VecDeque<(u32, u64, u64)>,
    pub(super) recent_bytes: u64,
}

/// The lock, and who is woken by what.
pub(super) struct Shared {
    core: Mutex<Core>,
    syncing: Mutex<()>,
    /// There is something to write.
    pub(super) work: Condvar,
    /// There is something to sync.
    pub(super) unsynced: Condvar,
    /// The journal takes batches again.
    pub(super) admit: Notify,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) options: Options,
}

/// What became of an append, at first.
pub(super) enum Submitted {
    /// It is on its way.
    Accepted(AppendReceipt, oneshot::Receiver<Result<(), LogError>>),
    /// There is no room; the batch comes back.
    Full(Box<Batch>, Option<Vec<u8>>),
}

impl Shared {
    pub(super) fn new(core: Core, disk: Arc<dyn Disk>, options: Options) -> Self {
        let (work, unsynced, admit) = (Condvar::new(), Condvar::new(), Notify::new());
        Self { core: Mutex::new(core), syncing: Mutex::new(()), work, unsynced, admit, disk, options }
    }

    /// Nothing panics while it holds the lock, so a poisoned one is as good as any.
    pub(super) fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held while a file is synced, and until what came of it is known: a disk says only once that it lost something.
    pub(super) fn sync_turn(&self) -> MutexGuard<'_, ()> {
        self.syncing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> i64 {
        (self.options.clock)()
    }

    /// Puts a batch in the queue, if there is room.
    pub(super) fn submit(&self, number: u32, records: Batch, position: Option<Vec<u8>>) -> Result<Submitted, LogError> {
        let now = self.now();
        let mut guard = self.lock();
        let core = &mut *guard;
        if core.closed {
            return Err(LogError::Closed);
        }
        let admitted = core.trouble.is_none() && core.queued_bytes < QUEUE_BYTES;
        let stream = core.streams.get_mut(&number).ok_or(LogError::Closed)?;
        if !admitted {
            return Ok(Submitted::Full(Box::new(records), position));
        }
        let mut gone = Vec::new();
        let mut room = records.is_empty() || stream.has_room(&records);
        while !room && stream.options.when_full == WhenFull::DropOldest {
            let Some(chunk) = stream.drop_oldest() else { break };
            gone.push(chunk);
            core.dirty.insert((number, None));
            room = stream.has_room(&records);
        }
        let taken = room || stream.options.when_full != WhenFull::DropNewest;
        let first = stream.next;
        let receipt = AppendReceipt { partition: 0, first_offset: first, taken };
        let records = match (room, taken) {
            (true, _) => records,
            (false, false) => {
                stream.dropped += records.len() as u64;
                Batch::default()
            }
            (false, true) => {
                core.bury(&gone);
                return Ok(Submitted::Full(Box::new(records), position));
            }
        };
        let (done, receiver) = oneshot::channel();
        core.enqueue(number, records, position, now, Some(done));
        core.bury(&gone);
        drop(guard);
        self.work.notify_one();
        Ok(Submitted::Accepted(receipt, receiver))
    }
}

impl Core {
    /// Puts a batch in the queue: from now on it has its offsets.
    fn enqueue(
        &mut self,
        number: u32,
        records: Batch,
        position: Option<Vec<u8>>,
        now: i64,
        done: Option<oneshot::Sender<Result<(), LogError>>>,
    ) {
        let Some(stream) = self.streams.get_mut(&number) else { return };
        let first = stream.next;
        let appended_ms = now.max(stream.last_ms);
        stream.last_ms = appended_ms;
        let size = records.size() as u64;
        if !records.is_empty() {
            let count = records.count;
            stream.chunks.push_back(Chunk {
                first,
                count,
                length: 0,
                size,
                before: stream.total,
                appended_ms,
                spot: Spot::default(),
            });
            stream.total += size;
            stream.next += u64::from(count);
            stream.recent.push_back((first, appended_ms, records.clone()));
            self.recent.push_back((number, first, size));
            self.recent_bytes += size;
        }
        let durability = stream.options.durability;
        let append = Append { stream: number, first, appended_ms, records, position, durability, done };
        self.queue.push_back(Item::Batch(Box::new(append)));
        self.queued_bytes += size;
    }

    /// Takes over what a stream held that was in memory until now; its readers have ended, and are opened again.
    pub(super) fn adopt(&mut self, number: u32, held: Held) {
        let Some(stream) = self.streams.get_mut(&number) else { return };
        let first = held.batches.first().map_or(held.next_offset, |(first, ..)| *first);
        (stream.first, stream.next, stream.visible, stream.written) = (first, first, first, first);
        stream.dropped = held.dropped;
        self.queue.push_back(Item::Control { kind: Kind::First, stream: number, first, body: Vec::new() });
        for (name, cursor) in held.cursors {
            let mut body = Vec::new();
            put_bytes(&mut body, name.as_bytes());
            put_cursor(&mut body, &cursor);
            self.queue.push_back(Item::Control { kind: Kind::Cursor, stream: number, first: 0, body });
            stream.save(name, cursor);
        }
        stream.position.clone_from(&held.position);
        for (_, appended_ms, records) in held.batches {
            self.enqueue(number, records, None, appended_ms, None);
        }
        if held.position.is_some() {
            self.enqueue(number, Batch::default(), held.position, i64::MIN, None);
        }
    }

    /// The number of a stream, made now if it is new.
    pub(super) fn number(&mut self, uid: &Uid) -> u32 {
        if let Some(number) = self.numbers.get(uid) {
            return *number;
        }
        let number = self.next_number;
        self.next_number += 1;
        self.numbers.insert(uid.clone(), number);
        self.streams.insert(number, Stream::new(uid.clone()));
        let mut body = Vec::new();
        put_bytes(&mut body, uid.as_str().as_bytes());
        // Twice, because without it the records after it would be nobody's.
        for _ in 0..2 {
            self.queue.push_back(Item::Control { kind: Kind::Stream, stream: number, first: 0, body: body.clone() });
        }
        number
    }

    pub(super) fn configure(&mut self, number: u32, options: StreamOptions, now: i64) {
        if let Some(stream) = self.streams.get_mut(&number) {
            let durability = options.durability.max(Durability::System);
            stream.options = StreamOptions { durability, ..options };
        }
        self.trim(number, now);
    }

    /// Removes what nobody wants of a stream.
    pub(super) fn trim(&mut self, number: u32, now: i64) {
        let Some(stream) = self.streams.get_mut(&number) else { return };
        let dropped = stream.dropped;
        let gone = stream.trim(now);
        if stream.dropped != dropped {
            self.dirty.insert((number, None));
        }
        self.bury(&gone);
    }

    /// Removes what is too old, of all streams.
    pub(super) fn expire(&mut self, now: i64) {
        for number in self.streams.keys().copied().collect::<Vec<_>>() {
            self.trim(number, now);
        }
    }

    /// Takes frames off the count of what is live in their segments.
    pub(super) fn bury(&mut self, gone: &[Chunk]) {
        for chunk in gone {
            if let Some(segment) = self.segments.get_mut(&chunk.spot.segment) {
                segment.live = segment.live.saturating_sub(u64::from(chunk.length));
            }
        }
    }

    /// A batch is as durable as its stream wants: readers see it, and its append is answered.
    pub(super) fn complete(&mut self, written: Written) {
        let answer = match self.streams.get_mut(&written.stream) {
            None => Err(LogError::Closed),
            Some(stream) => {
                stream.visible = stream.visible.max(written.end);
                stream.position = written.position.or(stream.position.take());
                stream.signals.wake();
                Ok(())
            }
        };
        if let Some(done) = written.done {
            // Whoever appended may have stopped waiting.
            let _ = done.send(answer);
        }
    }

    /// Everything up to `spot` is on disk.
    pub(super) fn synced_to(&mut self, spot: Spot, now: i64) {
        self.syncs += 1;
        self.synced = self.synced.max(spot);
        let mut streams = BTreeSet::new();
        while self.waiting.front().is_some_and(|written| written.spot <= self.synced) {
            let Some(written) = self.waiting.pop_front() else { break };
            streams.insert(written.stream);
            self.complete(written);
        }
        for number in streams {
            self.trim(number, now);
        }
    }

    /// Forgets the oldest batches in memory until they fit.
    pub(super) fn evict(&mut self, limit: u64) {
        while self.recent_bytes > limit {
            let Some((number, first, size)) = self.recent.front().copied() else { break };
            if let Some(stream) = self.streams.get_mut(&number) {
                while stream.recent.front().is_some_and(|(found, ..)| *found <= first) {
                    stream.recent.pop_front();
                }
            }
            self.recent.pop_front();
            self.recent_bytes -= size;
        }
    }

    /// The body of a snapshot: everything but records, as far as it is written.
    pub(super) fn snapshot(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_u32(&mut out, self.next_number);
        put_u32(&mut out, u32::try_from(self.streams.len()).unwrap_or(u32::MAX));
        for (number, stream) in &self.streams {
            put_u32(&mut out, *number);
            put_bytes(&mut out, stream.uid.as_str().as_bytes());
            put_u64(&mut out, stream.written);
            put_u64(&mut out, stream.first.min(stream.written));
            put_optional(&mut out, stream.written_position.as_deref());
            put_u32(&mut out, u32::try_from(stream.names.len()).unwrap_or(u32::MAX));
            for name in stream.names.keys() {
                put_bytes(&mut out, name.as_bytes());
                put_cursor(&mut out, &stream.cursor(name).cloned().unwrap_or_default());
            }
        }
        out
    }

    /// What the cursors that changed say, as frames.
    pub(super) fn take_dirty(&mut self) -> Vec<Item> {
        let mut items = Vec::new();
        for (number, name) in std::mem::take(&mut self.dirty) {
            let Some(stream) = self.streams.get(&number) else { continue };
            let mut body = Vec::new();
            let Some(name) = name else {
                let first = stream.first.min(stream.visible);
                items.push(Item::Control { kind: Kind::First, stream: number, first, body });
                continue;
            };
            if let Some(cursor) = stream.cursor(&name) {
                put_bytes(&mut body, name.as_bytes());
                put_cursor(&mut body, cursor);
                items.push(Item::Control { kind: Kind::Cursor, stream: number, first: 0, body });
            }
        }
        items
    }

    /// Bytes of all segments.
    pub(super) fn disk_bytes(&self) -> u64 {
        self.segments.values().map(|segment| segment.len).sum()
    }

    /// A segment was begun.
    pub(super) fn begun(&mut self, number: u64, file: Arc<dyn DiskFile>, len: u64) {
        self.segments.insert(number, Segment { file, len, live: 0 });
        self.written = Spot { segment: number, position: len };
        self.synced = self.synced.max(self.written);
    }

    /// A frame with records is at `spot`.
    pub(super) fn place(&mut self, header: &Header, spot: Spot) {
        let length = u32::try_from(header.frame_length()).unwrap_or(u32::MAX);
        let Some(chunk) = self.streams.get_mut(&header.stream).and_then(|stream| stream.chunk_mut(header.first)) else {
            return;
        };
        let old = std::mem::replace(chunk, Chunk { spot, length, ..*chunk });
        if let Some(segment) = self.segments.get_mut(&old.spot.segment) {
            segment.live = segment.live.saturating_sub(u64::from(old.length));
        }
        if let Some(segment) = self.segments.get_mut(&spot.segment) {
            segment.live += u64::from(length);
        }
    }

    /// The segments in which nothing is held any more.
    pub(super) fn dead(&self) -> Vec<u64> {
        self.segments.iter().filter(|(_, segment)| segment.live == 0).map(|(number, _)| *number).collect()
    }

    /// Removes segments in which nothing was held when the snapshot was made that is on disk now: it says so, so that nobody
    /// looks for what is gone.
    pub(super) fn remove_dead(&mut self, shared: &Shared, dead: Vec<u64>) {
        for number in dead {
            if let Err(error) = shared.disk.remove(&segment::name(number)) {
                tracing::warn!("{} is not removed: {error}", shared.disk.place(&segment::name(number)));
                continue;
            }
            let _ = shared.disk.remove(&segment::index_name(number));
            self.segments.remove(&number);
        }
    }
}

/// Whether a batch can be taken at all.
pub(super) fn check(records: &Batch, limit: usize) -> Result<(), LogError> {
    if records.size() > limit {
        let sizes = (0..records.len()).map(|index| (index, records.record_size(index)));
        if let Some((index, size)) = sizes.into_iter().find(|(_, size)| *size > limit) {
            return Err(LogError::RecordTooLarge { index, size, limit });
        }
    }
    Ok(body::check(records)?)
}

/// What a place in a segment is called in messages.
pub(super) fn place(disk: &dyn Disk, spot: Spot) -> String {
    format!("{} at byte {}", disk.place(&segment::name(spot.segment)), spot.position)
}
