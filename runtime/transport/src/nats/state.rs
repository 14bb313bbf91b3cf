//! What a runtime knows of one stream: its ends, who reads it and how far, and what it may hold.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use ferrule_model::ids::Uid;
use tokio::sync::{Notify, mpsc};

use super::frame::{Frame, Mark};
use super::writer::Write;
use crate::log::{Cursor, ReaderId, StreamOptions, Usage};

/// Marks of the newest messages that are remembered; older ones are asked for.
const MARKS: usize = 16 << 10;

/// One stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) uid: Uid,
    pub(super) state: Mutex<State>,
    /// Records came, or the stream closed, or a reader ended.
    pub(super) data: Arc<Notify>,
    /// Room or readers came, or the stream closed.
    pub(super) room: Notify,
    /// Held while the stream is opened.
    pub(super) opening: tokio::sync::Mutex<()>,
}

impl Stream {
    pub(super) fn new(uid: Uid, options: StreamOptions) -> Self {
        let state = State { options: Some(options), ..State::default() };
        let (data, room) = (Arc::default(), Notify::new());
        Self { uid, state: Mutex::new(state), data, room, opening: tokio::sync::Mutex::default() }
    }

    /// Everybody who waits looks again.
    pub(super) fn wake(&self) {
        self.data.notify_waiters();
        self.room.notify_waiters();
    }
}

/// What changes of it.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) options: Option<StreamOptions>,
    /// Its ends were read.
    pub(super) open: bool,
    /// It was removed, or the log was closed.
    pub(super) closed: bool,
    /// The newest message that is known.
    pub(super) head: Mark,
    /// The newest message that somebody told of.
    pub(super) heard: u64,
    /// What is held begins with this message.
    pub(super) oldest: Mark,
    pub(super) position: Option<Bytes>,
    /// The offset after, and the bytes with, what was given to the writer.
    pub(super) admitted: (u64, u64),
    pub(super) admitted_position: Option<Bytes>,
    pub(super) admitted_ms: i64,
    pub(super) writer: Option<mpsc::UnboundedSender<Write>>,
    pub(super) marks: VecDeque<Mark>,
    /// The newest messages themselves, until every reader has read them.
    pub(super) tail: VecDeque<Frame>,
    pub(super) tail_bytes: u64,
    pub(super) holds: HashMap<u64, Hold>,
    /// The low-water mark, and the bytes before it, when the last reader was forgotten.
    pub(super) past: (u64, u64),
    /// The numbers of the named readers.
    pub(super) names: HashMap<String, u64>,
    pub(super) next_reader: u64,
    pub(super) dropped: u64,
    pub(super) trouble: Option<String>,
}

/// A reader's claim on records.
#[derive(Clone, Debug)]
pub(super) struct Hold {
    pub(super) cursor: Cursor,
    /// Bytes ever appended before the low-water mark.
    pub(super) before: u64,
    /// Where the reader reads next, so that the tail can go.
    pub(super) next: u64,
    pub(super) open: bool,
    /// Names this opening of the reader among those of all runtimes.
    pub(super) token: uuid::Uuid,
}

pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl State {
    /// The message counts as the newest.
    pub(super) fn saw(&mut self, mark: Mark, position: Option<Bytes>) {
        if mark.sequence <= self.head.sequence {
            return;
        }
        if self.oldest.sequence == 0 {
            self.oldest = mark;
        }
        self.heard = self.heard.max(mark.sequence);
        self.head = mark;
        self.position = position;
        self.marks.push_back(mark);
        if self.marks.len() > MARKS {
            self.marks.pop_front();
        }
        if self.writer.is_none() {
            self.admitted = (mark.end, mark.before + mark.size);
        }
    }

    /// Keeps a message that was appended here for the readers that are open here.
    pub(super) fn keep(&mut self, frame: Frame, limit: u64) {
        self.tail_bytes += frame.mark.size;
        self.tail.push_back(frame);
        self.cut_tail(limit);
    }

    /// Lets go of what every open reader has read, and of what is over the limit.
    pub(super) fn cut_tail(&mut self, limit: u64) {
        let read = self.holds.values().filter(|hold| hold.open).map(|hold| hold.next).min().unwrap_or(u64::MAX);
        while let Some(frame) = self.tail.front() {
            if frame.mark.end > read && self.tail_bytes <= limit {
                break;
            }
            self.tail_bytes -= frame.mark.size;
            self.tail.pop_front();
        }
    }

    /// The message in memory with the record at `offset`.
    pub(super) fn kept(&self, offset: u64) -> Option<Frame> {
        let index = self.tail.partition_point(|frame| frame.mark.end <= offset);
        self.tail.get(index).filter(|frame| frame.mark.first <= offset).cloned()
    }

    /// Bytes ever appended before `offset`: as if the records of a message were of one size, where it is not in memory.
    pub(super) fn before(&self, offset: u64) -> u64 {
        if offset >= self.head.end {
            return self.head.before + self.head.size;
        }
        match (self.kept(offset), self.mark(offset)) {
            (Some(frame), _) => frame.before(offset),
            (None, Some(mark)) => mark.before + mark.size / (mark.end - mark.first).max(1) * (offset - mark.first),
            (None, None) => 0,
        }
    }

    /// The low-water mark of all readers, and the bytes ever appended before it. Without readers nothing is read: what came since
    /// waits for the first of them.
    pub(super) fn low(&self) -> (u64, u64) {
        let low = self.holds.values().map(|hold| (hold.cursor.low, hold.before)).min();
        low.unwrap_or_else(|| self.past.max(self.held()))
    }

    /// The offset of the oldest record that NATS holds, and the bytes ever appended before it.
    fn held(&self) -> (u64, u64) {
        let end = (self.head.end, self.head.before + self.head.size);
        if self.oldest.sequence == 0 { end } else { (self.oldest.first, self.oldest.before) }
    }

    /// Forgets a named reader.
    pub(super) fn forget_reader(&mut self, name: &str) {
        let low = self.low();
        let known = self.names.remove(name).is_some_and(|number| self.holds.remove(&number).is_some());
        if known && self.holds.is_empty() {
            self.past = low;
        }
    }

    /// Records and bytes that somebody has not read.
    pub(super) fn unread(&self) -> (u64, u64) {
        let (low, before) = self.low();
        (self.admitted.0.saturating_sub(low), self.admitted.1.saturating_sub(before))
    }

    pub(super) fn has_room(&self, records: u64, bytes: u64) -> bool {
        let Some(options) = self.options else { return true };
        let held = self.unread();
        held.0 == 0 || (held.0 + records <= options.bounds.records && held.1 + bytes <= options.bounds.bytes)
    }

    /// The remembered message with the record at `offset`.
    pub(super) fn mark(&self, offset: u64) -> Option<Mark> {
        let index = self.marks.partition_point(|mark| mark.end <= offset);
        self.marks.get(index).filter(|mark| mark.first <= offset).copied()
    }

    /// Every reader that is not past the end of this message is moved there, and what is not read counts as dropped.
    pub(super) fn drop_until(&mut self, mark: Mark) {
        self.dropped += mark.end.saturating_sub(self.low().0);
        self.past = self.past.max((mark.end, mark.before + mark.size));
        for hold in self.holds.values_mut().filter(|hold| hold.cursor.low < mark.end) {
            hold.cursor.low = mark.end;
            hold.cursor.done.retain(|done| done.end > mark.end);
            hold.before = mark.before + mark.size;
        }
    }

    /// Opens a reader that begins at `cursor`; its number.
    pub(super) fn hold(&mut self, id: &ReaderId, cursor: Cursor, before: u64, token: uuid::Uuid) -> u64 {
        let number = self.next_reader;
        self.next_reader += 1;
        if let ReaderId::Named(name) | ReaderId::Rewound(name) = id
            && let Some(previous) = self.names.insert(name.clone(), number)
        {
            self.holds.remove(&previous);
        }
        let next = cursor.low;
        self.holds.insert(number, Hold { cursor, before, next, open: true, token });
        number
    }

    /// Whose place a reader of this name would take.
    pub(super) fn former(&self, id: &ReaderId) -> Option<(u64, Hold)> {
        let (ReaderId::Named(name) | ReaderId::Rewound(name)) = id else { return None };
        let number = *self.names.get(name)?;
        Some((number, self.holds.get(&number)?.clone()))
    }

    /// The reader could not be opened after all: whose place it took is as before.
    pub(super) fn give_back(&mut self, id: &ReaderId, number: u64, former: Option<(u64, Hold)>) {
        self.holds.remove(&number);
        let (ReaderId::Named(name) | ReaderId::Rewound(name)) = id else { return };
        match former {
            Some((number, hold)) => {
                self.holds.insert(number, hold);
                self.names.insert(name.clone(), number);
            }
            None => drop(self.names.remove(name)),
        }
    }

    /// The name of a reader.
    pub(super) fn name(&self, number: u64) -> Option<&str> {
        self.names.iter().find(|(_, found)| **found == number).map(|(name, _)| name.as_str())
    }

    /// The offset of the oldest record that is held, and the bytes ever appended before it. What a stream that keeps nothing is to
    /// remove counts as gone at once; with NATS it goes with its whole message, soon after.
    pub(super) fn first(&self) -> (u64, u64) {
        let keeps = self.options.is_none_or(|options| options.keep.bytes > 0);
        if keeps { self.held() } else { self.held().max(self.low()) }
    }

    pub(super) fn usage(&self) -> Usage {
        let total = self.head.before + self.head.size;
        let (first_offset, gone) = self.first();
        Usage {
            next_offset: self.head.end,
            first_offset,
            bytes: total.saturating_sub(gone),
            unread_bytes: total.saturating_sub(self.low().1),
            dropped: self.dropped,
            readers: self.holds.values().filter(|hold| hold.open).count(),
        }
    }

    /// Trouble that was told is over, unless there is other trouble now.
    pub(super) fn recover(&mut self, told: Option<String>) {
        if told.is_some() && self.trouble == told {
            self.trouble = None;
        }
    }

    /// Forgets what was read from NATS, so that it is read again.
    pub(super) fn forget(&mut self) {
        self.open = false;
        self.writer = None;
        self.marks.clear();
        self.tail.clear();
        self.tail_bytes = 0;
        self.admitted = (self.head.end, self.head.before + self.head.size);
    }
}
