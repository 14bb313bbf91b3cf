//! The thread that writes the journal: it gathers what all streams want written, writes it at once, and begins segments.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::body;
use super::compaction::Compaction;
use super::disk::{DiskFile, write_all};
use super::frame::{Header, Kind, MOVED, Previous, put_frame};
use super::segment::{self, Found};
use super::state::{Append, Item, Shared, Written};
use super::stream::Spot;
use crate::log::Durability;

/// Bytes that are written at once, unless one batch is larger.
const GROUP_BYTES: usize = 4 << 20;

/// Bytes from which on a sync is begun that nobody waits for.
const SYNC_BYTES: u64 = 8 << 20;

/// How long the thread sleeps at most when there is nothing to do.
const IDLE: Duration = Duration::from_secs(1);

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Something was written, or became possible.
    Worked,
    /// There is nothing to do.
    Idle,
    /// Too much waits to be synced.
    Behind,
    /// The disk is in trouble: try again later.
    Stuck,
}

/// A frame in the buffer.
pub(super) struct Placed {
    pub(super) header: Header,
    /// Where in the segment.
    pub(super) position: u64,
    pub(super) size: u64,
    pub(super) item: Item,
}

/// Writes the journal.
pub(super) struct Writer {
    pub(super) number: u64,
    pub(super) file: Arc<dyn DiskFile>,
    /// Bytes of the segment that are written.
    pub(super) len: u64,
    /// Where what is no preamble begins.
    pub(super) preamble: u64,
    pub(super) previous: Previous,
    /// Batches of the segment, for its index.
    pub(super) index: Vec<Found>,
    pub(super) pending: VecDeque<Item>,
    pub(super) buffer: Vec<u8>,
    pub(super) placed: Vec<Placed>,
    /// What was written since the last sync, with where it begins.
    pub(super) unsynced: VecDeque<(u64, Vec<u8>)>,
    pub(super) unsynced_bytes: u64,
    /// What the last frame said is on disk.
    pub(super) marked: u64,
    pub(super) dirty_since: Option<Instant>,
    /// When the first of the cursors was written for which nobody has asked for a sync.
    pub(super) unsynced_cursors: Option<Instant>,
    /// Begin a segment, however little is in this one.
    pub(super) roll: bool,
    pub(super) compaction: Option<Compaction>,
    /// Look whether a segment is worth compacting.
    pub(super) look: bool,
}

impl Writer {
    /// Begins a segment after those that are there, with a snapshot.
    pub(super) fn begin(shared: &Shared) -> io::Result<Self> {
        let (number, snapshot, dead) = {
            let core = shared.lock();
            (core.segments.keys().next_back().copied().unwrap_or_default() + 1, core.snapshot(), core.dead())
        };
        let (bytes, previous) = segment::preamble(number, None, &snapshot, |_, previous| previous);
        let file = segment::create(&*shared.disk, number, &bytes)?;
        let len = bytes.len() as u64;
        let mut core = shared.lock();
        core.begun(number, file.clone(), len);
        core.remove_dead(shared, dead);
        drop(core);
        Ok(Self {
            number,
            file,
            len,
            preamble: len,
            previous,
            index: Vec::new(),
            pending: VecDeque::new(),
            buffer: Vec::new(),
            placed: Vec::new(),
            unsynced: VecDeque::new(),
            unsynced_bytes: 0,
            marked: len,
            dirty_since: None,
            unsynced_cursors: None,
            roll: false,
            compaction: None,
            look: true,
        })
    }

    /// Writes until the log ends.
    pub(super) fn run(&mut self, shared: &Shared) {
        let mut expired = Instant::now();
        loop {
            let step = self.step(shared, false);
            let mut core = shared.lock();
            if expired.elapsed() >= Duration::from_secs(1) {
                expired = Instant::now();
                core.expire(shared.now());
                self.look = true;
            }
            let wait = match step {
                Step::Worked => continue,
                _ if core.ending => break,
                Step::Stuck => shared.options.retry_delay,
                Step::Behind | Step::Idle if core.sync_failed.is_some() => continue,
                Step::Behind => Duration::from_millis(50),
                Step::Idle if !core.queue.is_empty() => continue,
                Step::Idle if core.dirty.is_empty() && core.synced.position <= self.marked => {
                    let wait = shared.options.cursor_sync;
                    self.unsynced_cursors.map_or(IDLE, |since| wait.saturating_sub(since.elapsed()).min(IDLE))
                }
                Step::Idle => shared.options.cursor_delay,
            };
            drop(shared.work.wait_timeout(core, wait));
        }
        self.finish(shared);
    }

    /// Writes and syncs what is left, as far as the disk lets it.
    fn finish(&mut self, shared: &Shared) {
        while self.step(shared, true) == Step::Worked {}
        if self.sync(shared).is_ok() && self.step(shared, true) == Step::Worked {
            let _ = self.sync(shared);
        }
    }

    /// One round. `now` writes cursors and marks too that could wait a little.
    pub(super) fn step(&mut self, shared: &Shared, now: bool) -> Step {
        let failed = shared.lock().sync_failed.clone();
        if let Some(detail) = failed {
            let result = self.rescue(shared);
            return self.conclude(shared, result.map_err(|error| (error, detail)));
        }
        self.forget_synced(shared);
        self.sync_cursors(shared);
        if self.placed.is_empty() {
            if self.unsynced_bytes > shared.options.unsynced_bytes {
                shared.unsynced.notify_one();
                return Step::Behind;
            }
            self.gather(shared, now);
            if self.pending.is_empty() && !self.roll {
                return Step::Idle;
            }
            if self.roll || (self.len > self.preamble && self.len >= shared.options.segment_bytes) {
                let result = self.roll(shared);
                if result.is_err() || shared.lock().sync_failed.is_some() {
                    return self.conclude(shared, result.map_err(|error| (error, "the segment is full".to_owned())));
                }
            }
            self.encode(shared);
            if self.placed.is_empty() {
                return Step::Worked;
            }
        }
        let result = write_all(&*self.file, self.len, &self.buffer);
        if result.is_err() {
            // What was written in part is written over; it is cut off too, so that it is not taken for a torn end.
            let _ = self.file.truncate(self.len);
        } else {
            self.apply(shared);
        }
        self.conclude(shared, result.map_err(|error| (error, "writing".to_owned())))
    }

    fn conclude(&self, shared: &Shared, result: Result<(), (io::Error, String)>) -> Step {
        let mut core = shared.lock();
        match result {
            Ok(()) => {
                if core.trouble.take().is_some() {
                    tracing::info!(log = %shared.options.folder.display(), "the log takes records again");
                }
                drop(core);
                shared.admit.notify_waiters();
                Step::Worked
            }
            Err((error, doing)) => {
                let place = shared.disk.place(&segment::name(self.number));
                let trouble =
                    format!("{place} cannot be written: {error} ({doing}); nothing is lost, and it is tried again");
                if core.trouble.is_none() {
                    tracing::error!("{trouble}");
                }
                core.trouble = Some(trouble);
                Step::Stuck
            }
        }
    }

    /// Takes from the queue what one group holds.
    fn gather(&mut self, shared: &Shared, now: bool) {
        let mut guard = shared.lock();
        let core = &mut *guard;
        if !self.pending.is_empty() {
            return;
        }
        let mut bytes = 0;
        while bytes < GROUP_BYTES {
            let Some(item) = core.queue.pop_front() else { break };
            if let Item::Batch(append) = &item {
                bytes += append.records.size();
                core.queued_bytes = core.queued_bytes.saturating_sub(append.records.size() as u64);
            }
            self.pending.push_back(item);
        }
        drop(guard);
        self.compact(shared, bytes);
        let core = &mut *shared.lock();
        let since = (!core.dirty.is_empty()).then(|| *self.dirty_since.get_or_insert_with(Instant::now));
        let due = since.is_some_and(|since| since.elapsed() >= shared.options.cursor_delay);
        if !self.pending.is_empty() || due || now {
            self.pending.extend(core.take_dirty());
            self.dirty_since = None;
        }
        let synced = if core.synced.segment == self.number { core.synced.position } else { 0 };
        // A mark would be marked by the next, and so on: what only marks is not worth it.
        if self.pending.is_empty() && synced > self.marked && (now || core.queue.is_empty()) {
            self.pending.push_back(Item::Control { kind: Kind::Mark, stream: 0, first: 0, body: Vec::new() });
        }
    }

    /// Puts what is pending in the buffer, as far as it fits the segment.
    fn encode(&mut self, shared: &Shared) {
        let synced = {
            let core = shared.lock();
            if core.synced.segment == self.number { core.synced.position } else { 0 }
        };
        self.buffer.clear();
        while let Some(item) = self.pending.pop_front() {
            let position = self.len + self.buffer.len() as u64;
            let (mut header, size) = match &item {
                Item::Batch(append) => {
                    let (count, first, appended_ms) = (append.records.count, append.first, append.appended_ms);
                    let header = Header { count, first, appended_ms, ..Header::new(Kind::Batch, append.stream) };
                    (header, append.records.size() as u64)
                }
                Item::Moved(header, body, _) => {
                    let size = body::decode_head(body).map_or(0, |(size, _)| size);
                    (Header { flags: header.flags | MOVED, ..**header }, size)
                }
                Item::Control { kind, stream, first, .. } => {
                    (Header { first: *first, ..Header::new(*kind, *stream) }, 0)
                }
            };
            header.synced = synced;
            header.previous = self.previous;
            let header = match &item {
                Item::Batch(append) => put_frame(&mut self.buffer, header, |out| {
                    body::encode(out, &append.records, append.position.as_deref());
                }),
                Item::Moved(_, body, _) | Item::Control { body, .. } => {
                    put_frame(&mut self.buffer, header, |out| out.extend_from_slice(body))
                }
            };
            self.previous = header.as_previous();
            self.marked = synced;
            self.placed.push(Placed { header, position, size, item });
            if position + header.frame_length() as u64 >= shared.options.segment_bytes
                || self.buffer.len() >= GROUP_BYTES
            {
                break;
            }
        }
    }

    /// What was written is the journal now.
    fn apply(&mut self, shared: &Shared) {
        let start = self.len;
        self.len += self.buffer.len() as u64;
        let bytes = std::mem::take(&mut self.buffer);
        self.unsynced_bytes += bytes.len() as u64;
        self.unsynced.push_back((start, bytes));
        let now = shared.now();
        let mut guard = shared.lock();
        let core = &mut *guard;
        core.written = Spot { segment: self.number, position: self.len };
        if let Some(segment) = core.segments.get_mut(&self.number) {
            segment.len = self.len;
        }
        let mut want = self.unsynced_bytes > SYNC_BYTES;
        for Placed { header, position, size, item } in self.placed.drain(..) {
            match item {
                Item::Batch(append) => {
                    let Append { stream, records, position: source, durability, done, .. } = *append;
                    core.batches += u64::from(!records.is_empty());
                    if !records.is_empty() {
                        self.index.push(Found { header, position, size });
                        core.place(&header, Spot { segment: self.number, position });
                    }
                    if let Some(stream) = core.streams.get_mut(&stream) {
                        stream.written = stream.written.max(header.end());
                        if source.is_some() {
                            stream.written_position.clone_from(&source);
                        }
                    }
                    let spot = Spot { segment: self.number, position: position + header.frame_length() as u64 };
                    let written = Written { stream, spot, end: header.end(), position: source, done };
                    if durability == Durability::Disk {
                        want = true;
                        core.waiting.push_back(written);
                    } else {
                        core.complete(written);
                        core.trim(stream, now);
                    }
                }
                Item::Moved(_, _, old) => {
                    want = true;
                    self.index.push(Found { header, position, size });
                    core.replace(&header, old, Spot { segment: self.number, position });
                }
                Item::Control { kind: Kind::Stream | Kind::Forget | Kind::Remove, .. } => want = true,
                Item::Control { kind: Kind::Cursor, .. } => {
                    self.unsynced_cursors.get_or_insert_with(Instant::now);
                }
                Item::Control { .. } => {}
            }
        }
        core.evict(shared.options.cache_bytes);
        if want {
            self.unsynced_cursors = None;
            core.wanted = core.written;
            shared.unsynced.notify_one();
        }
    }

    /// Asks for a sync if cursors have waited for one long enough: after a power cut no more than that comes again.
    fn sync_cursors(&mut self, shared: &Shared) {
        if self.unsynced_cursors.is_some_and(|since| since.elapsed() >= shared.options.cursor_sync) {
            self.unsynced_cursors = None;
            let mut core = shared.lock();
            core.wanted = core.written;
            shared.unsynced.notify_one();
        }
    }

    /// Drops what need not be written again.
    fn forget_synced(&mut self, shared: &Shared) {
        let synced = shared.lock().synced;
        while let Some((start, bytes)) = self.unsynced.front() {
            if synced.segment == self.number && start + bytes.len() as u64 > synced.position {
                break;
            }
            self.unsynced_bytes -= bytes.len() as u64;
            self.unsynced.pop_front();
        }
    }

    /// Syncs everything that is written.
    pub(super) fn sync(&mut self, shared: &Shared) -> Result<(), ()> {
        let _turn = shared.sync_turn();
        if shared.lock().sync_failed.is_some() {
            return Err(());
        }
        match self.file.sync() {
            Ok(()) => {
                shared.lock().synced_to(Spot { segment: self.number, position: self.len }, shared.now());
                Ok(())
            }
            Err(error) => {
                shared.lock().sync_failed = Some(error.to_string());
                Err(())
            }
        }
    }

    /// Begins the next segment, after this one is on disk.
    fn roll(&mut self, shared: &Shared) -> io::Result<()> {
        if self.sync(shared).is_err() {
            return Ok(());
        }
        self.forget_synced(shared);
        let mut next = Self::begin(shared)?;
        // The index only saves time.
        if let Err(error) = segment::write_index(&*shared.disk, self.number, self.len, &self.index) {
            tracing::debug!("the index of segment {} is not written: {error}", self.number);
        }
        next.pending = std::mem::take(&mut self.pending);
        next.compaction = self.compaction.take();
        if self.roll {
            tracing::info!("compaction ended");
        }
        *self = next;
        Ok(())
    }
}
