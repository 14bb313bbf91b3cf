//! Reads one stream: from memory what was just appended here, from NATS by number everything else.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::frame::Frame;
use super::jetstream::Read;
use super::state::Stream;
use super::writer::Backoff;
use super::{Shared, lock};
use crate::log::{Arrivals, Cursor, Entries, Lag, LogError, LogReader};

/// Messages and bytes that are asked for at once.
const MESSAGES: usize = 256;
const BYTES: usize = 2 << 20;
/// How often a reader asks though nobody told of a message: what tells it may be lost, and this bounds the loss.
const UNTOLD: Duration = Duration::from_secs(10);

pub(super) struct Reader {
    pub(super) shared: Arc<Shared>,
    pub(super) stream: Arc<Stream>,
    pub(super) number: u64,
    /// The offset of the next record.
    pub(super) next: u64,
    /// Bytes ever appended before it.
    pub(super) before: u64,
    /// The number of the message to ask for next.
    pub(super) sequence: u64,
    /// What the cursor that the reader was opened with says is done already.
    pub(super) skip: Vec<Range<u64>>,
    /// Messages that were read and not given out to their end.
    pub(super) ready: VecDeque<Frame>,
    /// Messages of which records were given out and are not done: a commit within them counts to the byte.
    pub(super) given: VecDeque<Frame>,
    /// A question that is under way; it goes on when a call of `next` is dropped.
    pub(super) asked: Option<JoinHandle<Result<Vec<Read>, LogError>>>,
    pub(super) backoff: Backoff,
    /// When it asked last though nobody told it to.
    pub(super) asked_untold: Instant,
    /// The trouble that it told of last, until it is over.
    pub(super) told: Option<String>,
}

impl Reader {
    /// Whether the reader is to go on, and where to if the stream moved on without it.
    fn check(&mut self) -> Result<(), LogError> {
        let state = lock(&self.stream.state);
        let Some(hold) = state.holds.get(&self.number).filter(|_| !state.closed) else {
            return Err(LogError::Closed);
        };
        if hold.cursor.low > self.next {
            (self.next, self.before) = (hold.cursor.low, hold.before);
        }
        drop(state);
        while let Some(done) = self.skip.iter().find(|done| done.contains(&self.next)) {
            self.next = done.end;
        }
        self.skip.retain(|done| done.end > self.next);
        while self.ready.front().is_some_and(|frame| frame.mark.end <= self.next) {
            self.ready.pop_front();
        }
        Ok(())
    }

    /// Cuts what is wanted from the message at hand, or from the one in memory.
    fn take(&mut self, max_records: u32, max_bytes: u64) -> Option<Entries> {
        if self.ready.front().is_none_or(|frame| frame.mark.first > self.next)
            && let Some(frame) = lock(&self.stream.state).kept(self.next)
        {
            self.ready.push_front(frame);
        }
        let frame = self.ready.front().filter(|frame| frame.mark.first <= self.next)?;
        let start = (self.next - frame.mark.first) as usize;
        let until = self.skip.iter().map(|done| done.start).filter(|start| *start > self.next).min();
        let room = until.map_or(usize::MAX, |until| (until - self.next) as usize);
        let most = room.min(max_records.max(1) as usize);
        let mut end = frame.records.len().min(start.saturating_add(most));
        if frame.mark.size > max_bytes {
            let mut bytes = 0;
            let fits = |index: &usize| {
                bytes += frame.records.record_size(*index) as u64;
                *index == start || bytes <= max_bytes
            };
            end = start + (start..end).take_while(fits).count();
        }
        let records = frame.records.slice(start..end);
        let entries = Entries { partition: 0, first_offset: self.next, appended_ms: frame.mark.appended_ms, records };
        self.before = frame.before(frame.mark.first + end as u64);
        self.next = frame.mark.first + end as u64;
        self.sequence = self.sequence.max(frame.mark.sequence + 1);
        if self.given.back().is_none_or(|given| given.mark.sequence != frame.mark.sequence) {
            self.given.push_back(frame.clone());
        }
        let mut state = lock(&self.stream.state);
        if let Some(hold) = state.holds.get_mut(&self.number) {
            hold.next = self.next;
        }
        state.cut_tail(self.shared.tail_bytes);
        Some(entries)
    }

    /// Whether there is something to ask NATS for.
    fn more(&self) -> bool {
        let state = lock(&self.stream.state);
        state.heard >= self.sequence
    }

    /// Waits for the answer of NATS, or begins with the question.
    async fn fetch(&mut self) -> Result<(), LogError> {
        let asked = match &mut self.asked {
            Some(asked) => asked,
            None => {
                let (shared, uid, sequence) = (self.shared.clone(), self.stream.uid.clone(), self.sequence);
                let ask = async move { shared.jetstream.read(&uid, sequence, MESSAGES, BYTES).await };
                self.asked.insert(tokio::spawn(ask))
            }
        };
        let answer = asked.await;
        self.asked = None;
        let frames = match answer {
            Ok(Ok(frames)) => frames,
            Ok(Err(error)) => {
                self.wait(&error).await;
                return Ok(());
            }
            Err(_) => return Err(LogError::Closed),
        };
        lock(&self.stream.state).recover(self.told.take());
        if frames.is_empty() {
            // What was told of is not to be read yet, or was removed in the meantime.
            self.backoff.wait().await;
            self.catch_up().await;
            return Ok(());
        }
        self.backoff = Backoff::new();
        for read in frames {
            let wanted = self.ready.back().map_or(self.next, |frame| frame.mark.end.max(self.next));
            match read {
                Ok(frame) => {
                    if frame.mark.first > wanted && self.ready.is_empty() {
                        match self.jump(&frame).await {
                            // It is asked again.
                            Err(error @ LogError::Unavailable(_)) => {
                                self.wait(&error).await;
                                return Ok(());
                            }
                            jumped => jumped?,
                        }
                    }
                    let mut state = lock(&self.stream.state);
                    state.saw(frame.mark, frame.position.clone());
                    drop(state);
                    self.sequence = self.sequence.max(frame.mark.sequence + 1);
                    // What was taken from memory in the meantime is not given out twice.
                    let wanted = self.ready.back().map_or(self.next, |frame| frame.mark.end.max(self.next));
                    if frame.mark.end > wanted {
                        self.ready.push_back(frame);
                    }
                }
                // What is whole before it is given out first.
                Err(_) if !self.ready.is_empty() => return Ok(()),
                Err(broken) => {
                    let until = broken.mark.end.max(wanted);
                    return Err(self.damaged(until, broken.mark.sequence, broken.detail));
                }
            }
        }
        Ok(())
    }

    /// Tells of the trouble, and waits a while.
    async fn wait(&mut self, error: &LogError) {
        let told = self.told.insert(error.to_string()).clone();
        lock(&self.stream.state).trouble = Some(told);
        self.backoff.wait().await;
    }

    /// The next message begins after what is wanted: the records between are gone. That is right at the beginning of a stream, where
    /// records are removed, and damage anywhere else.
    async fn jump(&mut self, frame: &Frame) -> Result<(), LogError> {
        let (first, _) = self.shared.jetstream.ends(&self.stream.uid).await?;
        if first < frame.mark.sequence {
            let detail = "the messages before it were deleted".to_owned();
            return Err(self.damaged(frame.mark.first, frame.mark.sequence, detail));
        }
        (self.next, self.before) = (frame.mark.first, frame.mark.before);
        Ok(())
    }

    fn damaged(&self, until: u64, sequence: u64, detail: String) -> LogError {
        LogError::Damaged {
            stream: self.stream.uid.clone(),
            from: self.next,
            until,
            place: format!(
                "JetStream stream {}, message {sequence}",
                self.shared.jetstream.names.stream(&self.stream.uid)
            ),
            detail,
        }
    }

    /// Nothing was found though something was told of: what is known of the end may be from a stream that was made anew.
    async fn catch_up(&mut self) {
        if let Ok((_, last)) = self.shared.jetstream.ends(&self.stream.uid).await {
            let mut state = lock(&self.stream.state);
            state.heard = state.heard.min(last.max(state.head.sequence));
            if last < state.head.sequence {
                state.forget();
                self.sequence = 1;
            }
        }
    }
}

#[async_trait]
impl LogReader for Reader {
    async fn next(&mut self, max_records: u32, max_bytes: u64) -> Result<Entries, LogError> {
        let stream = self.stream.clone();
        loop {
            let mut data = std::pin::pin!(stream.data.notified());
            data.as_mut().enable();
            self.check()?;
            if let Some(entries) = self.take(max_records, max_bytes) {
                return Ok(entries);
            }
            if self.asked.is_some() || self.more() {
                tokio::select! {
                    biased;
                    fetched = self.fetch() => fetched?,
                    // The stream may have closed.
                    () = data => {}
                }
                continue;
            }
            if tokio::time::timeout_at(self.asked_untold + UNTOLD, data).await.is_err() {
                self.asked_untold = Instant::now();
                self.fetch().await?;
            }
        }
    }

    fn arrivals(&self) -> Option<Arrivals> {
        let told = tokio::time::timeout_at(self.asked_untold + UNTOLD, self.stream.data.clone().notified_owned());
        self.asked.is_none().then(|| Box::pin(told.map(drop)) as Arrivals)
    }

    fn commit(&mut self, cursor: &Cursor) {
        while self.given.front().is_some_and(|frame| frame.mark.end < cursor.low) {
            self.given.pop_front();
        }
        let read = self.given.front().filter(|frame| frame.mark.first <= cursor.low);
        let mut state = lock(&self.stream.state);
        let before = match read {
            Some(frame) => frame.before(cursor.low),
            None if cursor.low == self.next => self.before,
            // It is done with what it never read: only a message in memory counts to the byte.
            None => state.before(cursor.low),
        };
        let Some(hold) = state.holds.get_mut(&self.number) else { return };
        if cursor.low < hold.cursor.low {
            return;
        }
        let further = cursor.low > hold.cursor.low;
        hold.cursor.clone_from(cursor);
        hold.before = hold.before.max(before);
        let named = state.name(self.number).map(str::to_owned);
        drop(state);
        if let Some(name) = named {
            self.shared.savings.save(&self.stream, &name);
        }
        if further {
            self.stream.room.notify_waiters();
        }
    }

    fn skips(&self) -> &[Range<u64>] {
        &self.skip
    }

    fn position(&self) -> u64 {
        self.next
    }

    fn lag(&self) -> Lag {
        let state = lock(&self.stream.state);
        let next = self.next.max(state.first().0);
        let records = state.head.end.saturating_sub(next);
        if records == 0 {
            return Lag::default();
        }
        let bytes = (state.head.before + state.head.size).saturating_sub(self.before);
        let ready = self.ready.front().filter(|frame| frame.mark.end > next).map(|frame| frame.mark);
        let oldest = ready.or_else(|| state.mark(next)).or(Some(state.oldest).filter(|mark| mark.sequence != 0));
        Lag { records, bytes, oldest_ms: oldest.map(|mark| mark.appended_ms) }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(asked) = &self.asked {
            asked.abort();
        }
        let mut state = lock(&self.stream.state);
        if state.name(self.number).is_some() {
            if let Some(hold) = state.holds.get_mut(&self.number) {
                hold.open = false;
            }
        } else {
            state.holds.remove(&self.number);
        }
        state.cut_tail(self.shared.tail_bytes);
        state.recover(self.told.take());
        drop(state);
        self.stream.room.notify_waiters();
    }
}
