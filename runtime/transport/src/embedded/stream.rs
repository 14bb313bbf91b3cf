//! What is known of one stream without reading its records: where they are, who holds them back, what may go.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use ferrule_model::ids::Uid;
use ferrule_model::record::Batch;
use tokio::sync::Notify;

use crate::log::{Cursor, Durability, Lag, LogError, ReaderId, StartAt, StreamOptions, Usage};

/// Wakes whoever waits for one stream.
#[derive(Debug, Default)]
pub(super) struct Signals {
    /// Records came, or the stream closed, or a reader ended.
    pub(super) data: Arc<Notify>,
    /// Records or readers went or came, or the stream closed.
    pub(super) room: Notify,
}

impl Signals {
    pub(super) fn wake(&self) {
        self.data.notify_waiters();
        self.room.notify_waiters();
    }
}

/// Where a frame is. No segment has the number 0: such a frame is not written yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Spot {
    pub(super) segment: u64,
    pub(super) position: u64,
}

/// The records of one frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk {
    pub(super) first: u64,
    pub(super) count: u32,
    /// Bytes of the frame.
    pub(super) length: u32,
    /// Bytes of payload, key and headers.
    pub(super) size: u64,
    /// Bytes of the stream ever appended before it, as far as it is known.
    pub(super) before: u64,
    pub(super) appended_ms: i64,
    pub(super) spot: Spot,
}

impl Chunk {
    pub(super) fn end(&self) -> u64 {
        self.first + u64::from(self.count)
    }

    /// Bytes ever appended before an offset in it, if its records are all as large.
    fn before(&self, offset: u64) -> u64 {
        let into = offset.saturating_sub(self.first).min(u64::from(self.count));
        self.before + self.size * into / u64::from(self.count.max(1))
    }
}

/// Records that cannot be read.
#[derive(Clone, Debug)]
pub(super) struct Damage {
    pub(super) range: Range<u64>,
    pub(super) place: String,
    pub(super) detail: String,
}

/// A reader's claim on records.
#[derive(Clone, Debug)]
pub(super) struct Hold {
    pub(super) cursor: Cursor,
    pub(super) open: bool,
}

/// One stream of the journal.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) uid: Uid,
    pub(super) options: StreamOptions,
    pub(super) signals: Arc<Signals>,
    /// Everything that is held, also what is not written yet.
    pub(super) chunks: VecDeque<Chunk>,
    pub(super) damage: Vec<Damage>,
    /// Nothing before it is held.
    pub(super) first: u64,
    /// What the next record gets.
    pub(super) next: u64,
    /// Bytes ever appended.
    pub(super) total: u64,
    /// What readers may see: records before it are as durable as the stream wants.
    pub(super) visible: u64,
    /// The position that belongs to what is visible.
    pub(super) position: Option<Vec<u8>>,
    /// How far the journal is.
    pub(super) written: u64,
    pub(super) written_position: Option<Vec<u8>>,
    pub(super) dropped: u64,
    pub(super) holds: HashMap<u64, Hold>,
    /// What every reader was past when the last of them was forgotten.
    past: u64,
    pub(super) names: HashMap<String, u64>,
    pub(super) next_reader: u64,
    pub(super) last_ms: i64,
    /// The newest batches, by their first offset.
    pub(super) recent: VecDeque<(u64, i64, Batch)>,
}

impl Stream {
    pub(super) fn new(uid: Uid) -> Self {
        Self {
            uid,
            options: StreamOptions::new(Durability::System),
            signals: Arc::default(),
            chunks: VecDeque::new(),
            damage: Vec::new(),
            first: 0,
            next: 0,
            total: 0,
            visible: 0,
            position: None,
            written: 0,
            written_position: None,
            dropped: 0,
            holds: HashMap::new(),
            past: 0,
            names: HashMap::new(),
            next_reader: 0,
            last_ms: i64::MIN,
            recent: VecDeque::new(),
        }
    }

    /// What every reader is past. Without readers nothing is read: what came since waits for the first of them.
    pub(super) fn low(&self) -> u64 {
        let low = self.holds.values().map(|hold| hold.cursor.low).min().unwrap_or(self.past);
        low.min(self.visible).max(self.first)
    }

    /// Bytes ever appended before an offset.
    fn bytes_before(&self, offset: u64) -> u64 {
        let index = self.chunks.partition_point(|chunk| chunk.end() <= offset);
        self.chunks.get(index).map_or(self.total, |chunk| chunk.before(offset))
    }

    pub(super) fn unread_bytes(&self) -> u64 {
        self.total - self.bytes_before(self.low())
    }

    pub(super) fn has_room(&self, records: &Batch) -> bool {
        let held = self.next - self.low();
        held == 0
            || (held.saturating_add(records.len() as u64) <= self.options.bounds.records
                && self.unread_bytes().saturating_add(records.size() as u64) <= self.options.bounds.bytes)
    }

    /// Removes the oldest frame that may be removed, whatever was read of it: its unread records are counted. `None` if all
    /// that is held is still on its way.
    pub(super) fn drop_oldest(&mut self) -> Option<Chunk> {
        let low = self.low();
        let chunk = *self.chunks.front().filter(|chunk| chunk.end() <= self.visible)?;
        self.dropped += chunk.end().saturating_sub(low.max(chunk.first));
        self.chunks.pop_front();
        self.first = chunk.end().max(self.first);
        self.forget_before_first();
        Some(chunk)
    }

    /// Removes what every reader is past and nobody wants kept, and says which frames.
    pub(super) fn trim(&mut self, now: i64) -> Vec<Chunk> {
        let mut gone = Vec::new();
        let low = self.low();
        let keep = self.options.keep;
        let oldest = now.saturating_sub(i64::try_from(keep.age.as_millis()).unwrap_or(i64::MAX));
        let before_low = self.bytes_before(low);
        while let Some(chunk) = self.chunks.front().copied() {
            let kept = before_low.saturating_sub(chunk.before(self.first));
            let old = chunk.appended_ms < oldest;
            let read = chunk.end() <= low;
            if chunk.end() <= self.first || (read && (old || kept > keep.bytes)) {
                self.first = self.first.max(chunk.end());
            } else if old && keep.even_unread && chunk.end() <= self.visible {
                self.dropped += chunk.end() - low.max(chunk.first);
                self.first = self.first.max(chunk.end());
            } else {
                if kept > keep.bytes {
                    self.first = self.first.max(low);
                }
                break;
            }
            self.chunks.pop_front();
            gone.push(chunk);
        }
        self.forget_before_first();
        gone
    }

    fn forget_before_first(&mut self) {
        let first = self.first;
        self.damage.retain(|damage| damage.range.end > first);
        while self.recent.front().is_some_and(|(start, _, batch)| start + batch.len() as u64 <= first) {
            self.recent.pop_front();
        }
    }

    fn first_offset(&self) -> u64 {
        self.first.min(self.next)
    }

    /// Where a reader starts, and what above it is done already.
    fn start(&self, start: StartAt) -> Cursor {
        let at = |low| Cursor { low, done: Vec::new() };
        match start {
            StartAt::Latest => at(self.visible),
            StartAt::Oldest => at(self.first),
            StartAt::Time(time) => {
                let index = self.chunks.partition_point(|chunk| chunk.appended_ms < time);
                at(self.chunks.get(index).map_or(self.visible, |chunk| chunk.first.clamp(self.first, self.visible)))
            }
            StartAt::Cursor(cursor) => Cursor { low: cursor.low.clamp(self.first, self.visible), done: cursor.done },
        }
    }

    /// Opens a reader: its number and where it begins.
    pub(super) fn open(&mut self, id: ReaderId, start: StartAt) -> (u64, Cursor) {
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
        let number = self.add_hold(name, cursor.clone());
        if let Some(hold) = self.holds.get_mut(&number) {
            hold.open = true;
        }
        (number, cursor)
    }

    /// A hold that nobody has open.
    pub(super) fn add_hold(&mut self, name: Option<String>, cursor: Cursor) -> u64 {
        let number = self.next_reader;
        self.next_reader += 1;
        self.holds.insert(number, Hold { cursor, open: false });
        if let Some(name) = name {
            self.names.insert(name, number);
        }
        number
    }

    /// The cursor of a named reader, as it was saved.
    pub(super) fn save(&mut self, name: String, cursor: Cursor) {
        match self.names.get(&name).and_then(|number| self.holds.get_mut(number)) {
            Some(hold) => hold.cursor = cursor,
            None => {
                self.add_hold(Some(name), cursor);
            }
        }
    }

    /// Forgets a named reader; `false` if there is none.
    pub(super) fn forget(&mut self, name: &str) -> bool {
        let low = self.low();
        let number = self.names.remove(name);
        let known = number.is_some_and(|number| self.holds.remove(&number).is_some());
        if known && self.holds.is_empty() {
            self.past = low;
        }
        known
    }

    pub(super) fn name_of(&self, number: u64) -> Option<&String> {
        self.names.iter().find(|(_, found)| **found == number).map(|(name, _)| name)
    }

    /// The cursor of a named reader.
    pub(super) fn cursor(&self, name: &str) -> Option<&Cursor> {
        Some(&self.holds.get(self.names.get(name)?)?.cursor)
    }

    /// The frame with an offset, or the first after it.
    pub(super) fn chunk_at(&self, offset: u64) -> Option<usize> {
        let index = self.chunks.partition_point(|chunk| chunk.end() <= offset);
        (index < self.chunks.len()).then_some(index)
    }

    /// The frame that begins at an offset.
    pub(super) fn chunk_mut(&mut self, first: u64) -> Option<&mut Chunk> {
        let index = self.chunks.partition_point(|chunk| chunk.first < first);
        self.chunks.get_mut(index).filter(|chunk| chunk.first == first)
    }

    /// A recent batch with an offset.
    pub(super) fn recent_at(&self, offset: u64) -> Option<&(u64, i64, Batch)> {
        let index = self.recent.partition_point(|(first, _, batch)| first + batch.len() as u64 <= offset);
        self.recent.get(index).filter(|(first, ..)| *first <= offset)
    }

    /// What is wrong with the record at an offset.
    pub(super) fn damage_at(&self, offset: u64) -> Option<LogError> {
        let damage = self.damage.iter().find(|damage| damage.range.contains(&offset))?;
        Some(LogError::Damaged {
            stream: self.uid.clone(),
            from: damage.range.start,
            until: damage.range.end,
            place: damage.place.clone(),
            detail: damage.detail.clone(),
        })
    }

    pub(super) fn lag(&self, from: u64) -> Lag {
        let from = from.max(self.first);
        if from >= self.visible {
            return Lag::default();
        }
        let oldest_ms = self.chunk_at(from).and_then(|index| self.chunks.get(index)).map(|chunk| chunk.appended_ms);
        let bytes = self.bytes_before(self.visible).saturating_sub(self.bytes_before(from));
        Lag { records: self.visible - from, bytes, oldest_ms }
    }

    pub(super) fn usage(&self) -> Usage {
        Usage {
            next_offset: self.next,
            first_offset: self.first_offset(),
            bytes: self.total - self.bytes_before(self.first),
            unread_bytes: self.unread_bytes(),
            dropped: self.dropped,
            readers: self.holds.values().filter(|hold| hold.open).count(),
        }
    }
}
