//! Opens streams, readers and writers, and takes records in.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use ferrule_model::ids::Uid;
use ferrule_model::record::Batch;
use tokio::sync::{mpsc, oneshot};

use super::frame::{Frame, Mark, POSITION_LIMIT};
use super::state::{State, Stream, now_ms};
use super::writer::{self, Backoff, Write, written_by};
use super::{NatsLog, Shared, lock};
use crate::embedded::body;
use crate::log::{AppendReceipt, Cursor, LogError, ReaderId, StartAt, WhenFull};

/// What became of an attempt to append.
enum Admitted {
    /// It is on its way.
    Sent(AppendReceipt, Option<oneshot::Receiver<Result<(), LogError>>>),
    /// There is no room.
    Full,
    /// There is none, and the oldest message that somebody has not read is to go.
    Oldest(u64),
    /// There is no writer any more.
    Unopened,
}

impl NatsLog {
    /// Appends, however long NATS is away.
    pub(super) async fn append_there(
        &self,
        stream: &Arc<Stream>,
        records: Batch,
        position: Option<Vec<u8>>,
    ) -> Result<AppendReceipt, LogError> {
        let parts = self.shared.parts(records)?;
        let position = position.map(Bytes::from);
        if let Some(length) = position.as_ref().map(Bytes::len).filter(|length| *length > POSITION_LIMIT) {
            return Err(LogError::Unavailable(format!(
                "the position of a source has {length} bytes, and the log at NATS takes {POSITION_LIMIT} at most"
            )));
        }
        let mut backoff = Backoff::new();
        loop {
            let mut room = std::pin::pin!(stream.room.notified());
            room.as_mut().enable();
            match self.shared.admit(stream, &parts, position.as_ref())? {
                Admitted::Sent(receipt, None) => return Ok(receipt),
                Admitted::Sent(receipt, Some(done)) => {
                    done.await.map_err(|_| LogError::Closed)??;
                    return Ok(receipt);
                }
                Admitted::Full => room.await,
                Admitted::Oldest(low) => self.shared.drop_oldest(stream, low).await?,
                Admitted::Unopened => match self.write(stream).await {
                    Ok(()) => {}
                    Err(Opening::Final(error)) => return Err(error),
                    Err(Opening::Again(error)) => {
                        lock(&stream.state).trouble = Some(error.to_string());
                        tokio::select! {
                            () = backoff.wait() => {}
                            // The log or the stream may have closed.
                            () = room => {}
                        }
                    }
                },
            }
        }
    }

    /// Opens the stream for writing.
    async fn write(&self, stream: &Arc<Stream>) -> Result<(), Opening> {
        self.shared.open(stream).await.map_err(Opening::from)?;
        let _opening = stream.opening.lock().await;
        if lock(&stream.state).writer.is_some() {
            return Ok(());
        }
        let last = self.shared.claim(stream).await?;
        let (sender, queue) = mpsc::unbounded_channel();
        {
            let mut state = lock(&stream.state);
            if state.closed {
                return Err(Opening::Final(LogError::Closed));
            }
            state.writer = Some(sender);
            state.trouble = None;
        }
        let mut writers = lock(&self.writers);
        while writers.try_join_next().is_some() {}
        writers.spawn(writer::run(self.shared.clone(), stream.clone(), queue, last));
        Ok(())
    }
}

/// Why a stream was not opened.
enum Opening {
    /// The same may work soon.
    Again(LogError),
    /// It will not by itself.
    Final(LogError),
}

impl From<LogError> for Opening {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Unavailable(_) => Self::Again(error),
            error => Self::Final(error),
        }
    }
}

impl Shared {
    /// The batch in parts that fit a message each.
    fn parts(&self, records: Batch) -> Result<Vec<Batch>, LogError> {
        let limit = self.largest_record;
        if records.size() > limit {
            let too_large =
                (0..records.len()).map(|index| (index, records.record_size(index))).find(|(_, size)| *size > limit);
            if let Some((index, size)) = too_large {
                return Err(LogError::RecordTooLarge { index, size, limit });
            }
        }
        records.check()?;
        body::check(&records)?;
        let (mut parts, mut rest) = (Vec::new(), vec![(0, records)]);
        while let Some((first, part)) = rest.pop() {
            let size = body::encoded_len(&part);
            if size <= self.budget {
                parts.push(part);
            } else if part.len() == 1 {
                return Err(LogError::RecordTooLarge { index: first, size, limit });
            } else {
                let middle = part.len() / 2;
                rest.push((first + middle, part.slice(middle..part.len())));
                rest.push((first, part.slice(0..middle)));
            }
        }
        Ok(parts)
    }

    /// Gives the records to the writer if there is room.
    fn admit(&self, stream: &Stream, parts: &[Batch], position: Option<&Bytes>) -> Result<Admitted, LogError> {
        let mut state = lock(&stream.state);
        if state.closed {
            return Err(LogError::Closed);
        }
        let records: u64 = parts.iter().map(|part| part.len() as u64).sum();
        let bytes = parts.iter().map(|part| part.size() as u64).sum();
        let Some(writer) = state.writer.clone() else { return Ok(Admitted::Unopened) };
        let receipt = AppendReceipt { partition: 0, first_offset: state.admitted.0, taken: true };
        if records == 0 && position.is_none() {
            return Ok(Admitted::Sent(receipt, None));
        }
        let when_full = state.options.map(|options| options.when_full).unwrap_or_default();
        let mut taken = true;
        if records > 0 && !state.has_room(records, bytes) {
            match (when_full, state.low()) {
                (WhenFull::DropNewest, _) => taken = false,
                (WhenFull::DropOldest, (low, _)) if low < state.head.end => return Ok(Admitted::Oldest(low)),
                _ => return Ok(Admitted::Full),
            }
        }
        let receipt = AppendReceipt { taken, ..receipt };
        if !taken {
            state.dropped += records;
            if position.is_none() {
                return Ok(Admitted::Sent(receipt, None));
            }
        }
        let (done, wait) = oneshot::channel();
        let nothing = [Batch::default()];
        let parts = if taken { parts } else { &nothing };
        let mut done = Some(done);
        for (index, part) in parts.iter().enumerate() {
            let last = index + 1 == parts.len();
            if last && position.is_some() {
                state.admitted_position = position.cloned();
            }
            let frame = self.frame(&mut state, part.clone());
            let write = Write { frame, done: if last { done.take() } else { None } };
            if writer.send(write).is_err() {
                state.forget();
                return Ok(Admitted::Unopened);
            }
        }
        Ok(Admitted::Sent(receipt, Some(wait)))
    }

    /// The next message.
    fn frame(&self, state: &mut State, records: Batch) -> Frame {
        let (first, before) = state.admitted;
        let size = records.size() as u64;
        state.admitted = (first + records.len() as u64, before + size);
        state.admitted_ms = now_ms().max(state.admitted_ms);
        let appended_ms = state.admitted_ms;
        Frame {
            mark: Mark { sequence: 0, first, end: state.admitted.0, before, size, appended_ms },
            writer: self.session.clone(),
            id: self.next_write.fetch_add(1, Ordering::Relaxed),
            position: state.admitted_position.clone(),
            records,
        }
    }

    /// Moves the readers past the message with the record at `low`.
    async fn drop_oldest(&self, stream: &Arc<Stream>, low: u64) -> Result<(), LogError> {
        let known = lock(&stream.state).mark(low);
        let mark = match known {
            Some(mark) => Some(mark),
            None => self.find(stream, |mark| mark.end > low).await?,
        };
        let Some(mark) = mark else { return Ok(()) };
        let names: Vec<String> = {
            let mut state = lock(&stream.state);
            state.drop_until(mark);
            state.names.keys().cloned().collect()
        };
        names.iter().for_each(|name| self.savings.save(stream, name));
        Ok(())
    }

    /// Reads the ends and the readers of a stream, and makes it if it is new.
    pub(super) async fn open(&self, stream: &Arc<Stream>) -> Result<(), LogError> {
        let _opening = stream.opening.lock().await;
        {
            let state = lock(&stream.state);
            if state.closed {
                return Err(LogError::Closed);
            }
            if state.open {
                return Ok(());
            }
        }
        loop {
            let mut removed = std::pin::pin!(self.removed.notified());
            removed.as_mut().enable();
            if !lock(&self.removing).contains(&stream.uid) {
                break;
            }
            removed.await;
        }
        self.jetstream.create(&stream.uid).await?;
        lock(&self.known).insert(stream.uid.clone());
        self.read_ends(stream).await?;
        self.learn_of_readers(stream).await?;
        let mut state = lock(&stream.state);
        let state = &mut *state;
        let read = state.holds.values().map(|hold| (hold.cursor.low, hold.before)).max().unwrap_or_default();
        self.go_on_after(stream, state, read);
        state.open = true;
        Ok(())
    }

    /// Reads the oldest and the newest message; the number of the newest and who wrote it.
    async fn read_ends(&self, stream: &Arc<Stream>) -> Result<Option<(u64, String)>, LogError> {
        let newest = self.jetstream.last(&stream.uid).await?;
        let newest = match newest {
            Some(Ok(frame)) => Some(frame),
            Some(Err(broken)) => {
                return Err(LogError::Damaged {
                    stream: stream.uid.clone(),
                    from: broken.mark.first,
                    until: broken.mark.end,
                    place: format!(
                        "JetStream stream {}, message {}, its newest",
                        self.jetstream.names.stream(&stream.uid),
                        broken.mark.sequence
                    ),
                    detail: broken.detail,
                });
            }
            None => None,
        };
        let oldest = match &newest {
            Some(newest) => self.message(stream, 1).await?.map_or(newest.mark, |frame| frame.mark),
            None => Mark::default(),
        };
        let wrote = newest.as_ref().map(|frame| (frame.mark.sequence, frame.writer.clone()));
        let mut state = lock(&stream.state);
        state.oldest = oldest;
        state.marks.clear();
        let state = &mut *state;
        let known = state.head;
        state.head = Mark::default();
        state.heard = 0;
        if let Some(frame) = newest {
            state.admitted_position = frame.position.clone();
            state.admitted_ms = frame.mark.appended_ms;
            state.saw(frame.mark, frame.position);
        }
        let head = state.head;
        state.admitted = (head.end, head.before + head.size);
        self.go_on_after(stream, state, (known.end, known.before + known.size));
        Ok(wrote)
    }

    /// Offsets never go back: where NATS lost what it had acknowledged, new records get offsets after those that were known, or the
    /// cursors of readers would skip them.
    fn go_on_after(&self, stream: &Stream, state: &mut State, known: (u64, u64)) {
        if known.0 > state.head.end {
            lock(&self.findings).push(format!(
                "NATS has lost records {} to {} of stream {}, which it had acknowledged",
                state.head.end, known.0, stream.uid
            ));
            (state.head.end, state.head.before, state.head.size) = (known.0, known.1, 0);
            state.admitted = known;
        }
    }

    /// Makes sure that nobody else writes the stream; the number of its newest message.
    async fn claim(&self, stream: &Arc<Stream>) -> Result<u64, Opening> {
        // The numbers go on after messages that were deleted by hand; whoever writes after this was read is found by them.
        let (_, last) = self.jetstream.ends(&stream.uid).await?;
        let Some((sequence, writer)) = self.read_ends(stream).await? else { return Ok(last) };
        let owner = writer.rsplit_once('/').map_or(writer.as_str(), |(owner, _)| owner);
        if owner != self.owner {
            let key = writer.rsplit('/').next().unwrap_or_default();
            let living = self.jetstream.runtimes.get(key).await;
            let living = living.map_err(|error| Opening::Again(LogError::Unavailable(error.to_string())))?;
            if living.is_some() {
                return Err(Opening::Final(written_by(stream, &writer)));
            }
        }
        Ok(sequence.max(last))
    }

    /// Opens a reader: its number, where it begins, the bytes before that, and the number of the message to ask for first.
    pub(super) async fn hold(
        &self,
        stream: &Arc<Stream>,
        id: ReaderId,
        start: StartAt,
    ) -> Result<(u64, Cursor, u64, u64), LogError> {
        if matches!(id, ReaderId::Named(_)) {
            // Another runtime may have moved it.
            self.learn_of_readers(stream).await?;
        }
        let known = match &id {
            ReaderId::Named(name) => {
                let state = lock(&stream.state);
                state.names.get(name).and_then(|number| state.holds.get(number)).cloned()
            }
            _ => None,
        };
        let at = |low| Cursor { low, done: Vec::new() };
        // All of it from one moment: records may be appended meanwhile.
        let (first, end, newest) = {
            let state = lock(&stream.state);
            (state.first(), (state.head.end, state.head.before + state.head.size), state.head.sequence)
        };
        let (cursor, before) = match (known, start) {
            (Some(hold), _) => {
                let low = hold.cursor.low.max(first.0);
                (Cursor { low, ..hold.cursor }, Some(if low == first.0 { first.1 } else { hold.before }))
            }
            (None, StartAt::Latest) => (at(end.0), Some(end.1)),
            (None, StartAt::Oldest) => (at(first.0), Some(first.1)),
            (None, StartAt::Time(time)) => match self.find(stream, |mark| mark.appended_ms >= time).await? {
                Some(mark) if mark.first > first.0 => (at(mark.first), Some(mark.before)),
                Some(_) => (at(first.0), Some(first.1)),
                None => (at(end.0), Some(end.1)),
            },
            (None, StartAt::Cursor(cursor)) => {
                let low = cursor.low.clamp(first.0, end.0);
                (Cursor { low, ..cursor }, None)
            }
        };
        let mark = if cursor.low >= end.0 { None } else { self.find(stream, |mark| mark.end > cursor.low).await? };
        let before = match (before, mark) {
            (Some(before), _) => before,
            (None, None) => end.1,
            (None, Some(mark)) if mark.first >= cursor.low => mark.before,
            (None, Some(mark)) => {
                let kept = lock(&stream.state).kept(cursor.low);
                let frame = match kept {
                    Some(frame) => Some(frame),
                    None => self.message(stream, mark.sequence).await?,
                };
                frame.map_or(mark.before, |frame| frame.before(cursor.low))
            }
        };
        let token = uuid::Uuid::new_v4();
        let (number, hold, sequence, former) = {
            let mut state = lock(&stream.state);
            let former = state.former(&id);
            let number = state.hold(&id, cursor.clone(), before, token);
            let sequence = mark.map_or(newest + 1, |mark| mark.sequence);
            (number, state.holds.get(&number).cloned(), sequence, former)
        };
        if let (ReaderId::Named(name) | ReaderId::Rewound(name), Some(hold)) = (&id, hold) {
            let cursor = self.jetstream.names.cursor(&stream.uid, name);
            if let Err(error) = self.savings.open(&self.jetstream, &cursor, &hold).await {
                lock(&stream.state).give_back(&id, number, former);
                return Err(error);
            }
        }
        Ok((number, cursor, before, sequence))
    }

    /// Removes a stream at NATS, however long that takes.
    pub(super) async fn remove(&self, uid: &Uid) {
        let mut backoff = Backoff::new();
        while let Err(error) = self.jetstream.remove(uid).await {
            lock(&self.findings).retain(|finding| !finding.starts_with("could not remove"));
            lock(&self.findings).push(format!("could not remove stream {uid} yet: {error}"));
            backoff.wait().await;
        }
        lock(&self.findings).retain(|finding| !finding.starts_with(&format!("could not remove stream {uid} ")));
        lock(&self.removing).remove(uid);
        self.removed.notify_waiters();
    }

    /// Says that this runtime lives.
    pub(super) async fn live(&self) -> Result<(), LogError> {
        let key = self.session.rsplit('/').next().unwrap_or_default();
        let said = self.jetstream.runtimes.put(key, Bytes::copy_from_slice(self.owner.as_bytes())).await;
        said.map(|_| ()).map_err(|error| super::jetstream::unavailable("NATS does not note who writes", error))
    }

    /// Says that it ends.
    pub(super) async fn leave(&self) {
        let key = self.session.rsplit('/').next().unwrap_or_default();
        self.jetstream.runtimes.purge(key).await.ok();
    }
}
