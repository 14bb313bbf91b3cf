//! Removes what every reader is past and nobody asked to keep, from time to time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::frame::{Frame, Mark};
use super::savings;
use super::state::{Stream, now_ms};
use super::{Shared, lock};
use crate::log::LogError;

/// How often.
const EVERY: Duration = Duration::from_secs(1);

/// Looks after all streams for ever.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut told = HashMap::new();
    loop {
        tokio::time::sleep(EVERY).await;
        let streams: Vec<_> = lock(&shared.streams).values().cloned().collect();
        for stream in streams {
            match shared.trim(&stream).await {
                Ok(()) => lock(&stream.state).recover(told.remove(&stream.uid)),
                Err(error) => {
                    lock(&stream.state).trouble = Some(error.to_string());
                    told.insert(stream.uid.clone(), error.to_string());
                }
            }
        }
    }
}

impl Shared {
    /// Trims one stream if this runtime writes it.
    pub(super) async fn trim(&self, stream: &Arc<Stream>) -> Result<(), LogError> {
        let (options, oldest, head) = {
            let state = lock(&stream.state);
            let Some(options) = state.options.filter(|_| state.open && state.writer.is_some() && !state.closed) else {
                return Ok(());
            };
            (options, state.oldest, state.head)
        };
        if oldest.sequence == 0 || oldest.sequence >= head.sequence {
            return Ok(());
        }
        let keep = options.keep;
        let total = head.before + head.size;
        let aged = now_ms().saturating_sub(i64::try_from(keep.age.as_millis()).unwrap_or(i64::MAX));
        let over = total.saturating_sub(keep.bytes);
        // Without this nothing can go, and nothing is asked.
        if oldest.appended_ms >= aged && oldest.before + oldest.size > over {
            return Ok(());
        }
        self.learn_of_readers(stream).await?;
        let (low, before) = lock(&stream.state).low();
        let over = before.saturating_sub(keep.bytes);
        let stays = |mark: &Mark| {
            let old = mark.appended_ms < aged;
            let read = mark.end <= low;
            !((old && (read || keep.even_unread)) || (read && mark.before + mark.size <= over))
        };
        // The newest message stays always: it says where the writer goes on.
        let first = self.find(stream, stays).await?.unwrap_or(head);
        if first.sequence <= oldest.sequence {
            return Ok(());
        }
        if first.first > low {
            let mut state = lock(&stream.state);
            state.drop_until(Mark { end: first.first, before: first.before, size: 0, ..first });
            let names: Vec<String> = state.names.keys().cloned().collect();
            drop(state);
            names.iter().for_each(|name| self.savings.save(stream, name));
            stream.wake();
        }
        self.jetstream.purge(&stream.uid, first.sequence).await?;
        let mut state = lock(&stream.state);
        if state.oldest.sequence < first.sequence {
            state.oldest = first;
        }
        Ok(())
    }

    /// Takes in the cursors of readers that other runtimes opened, so that nothing is removed before them.
    pub(super) async fn learn_of_readers(&self, stream: &Arc<Stream>) -> Result<(), LogError> {
        let _pause = self.savings.pause().await;
        let saved = self.jetstream.cursors(&stream.uid).await?;
        let mut state = lock(&stream.state);
        for (name, _, value) in saved {
            if self.savings.forgets(&self.jetstream.names.cursor(&stream.uid, &name)) {
                continue;
            }
            let Some(hold) = savings::decode(value) else {
                return Err(LogError::Unavailable(format!(
                    "the cursor of reader {name} of stream {} cannot be read: it was saved by a newer Ferrule, or is \
                     damaged; delete its key from the bucket {} to begin anew",
                    stream.uid,
                    self.jetstream.names.cursors()
                )));
            };
            match state.names.get(&name).copied() {
                // What is held here is newer than what was saved.
                Some(number) => {
                    let Some(known) = state.holds.get_mut(&number) else { continue };
                    if !known.open && known.token != hold.token {
                        *known = hold;
                    }
                }
                None => {
                    let number = state.next_reader;
                    state.next_reader += 1;
                    state.names.insert(name, number);
                    state.holds.insert(number, hold);
                }
            }
        }
        Ok(())
    }

    /// The first message of which this is true; it must be true of all that follow.
    pub(super) async fn find(
        &self,
        stream: &Arc<Stream>,
        wanted: impl Fn(&Mark) -> bool,
    ) -> Result<Option<Mark>, LogError> {
        let (mut from, mut until) = {
            let state = lock(&stream.state);
            let known = state.marks.front().copied();
            match known {
                // Asked for only when what is remembered does not say it.
                Some(known) if !wanted(&known) || known.sequence <= state.oldest.sequence => {
                    let index = state.marks.partition_point(|mark| !wanted(mark));
                    return Ok(state.marks.get(index).copied());
                }
                Some(known) => (state.oldest.sequence, known.sequence),
                None => (state.oldest.sequence, state.head.sequence + 1),
            }
        };
        let mut found = lock(&stream.state).marks.front().copied();
        while from < until {
            let middle = from + (until - from) / 2;
            match self.message(stream, middle).await? {
                Some(frame) if wanted(&frame.mark) => {
                    until = middle;
                    found = Some(frame.mark);
                }
                Some(frame) => from = frame.mark.sequence.max(middle) + 1,
                None => until = middle,
            }
        }
        Ok(found)
    }

    /// The message with this number, or the next one.
    pub(super) async fn message(&self, stream: &Stream, sequence: u64) -> Result<Option<Frame>, LogError> {
        match self.jetstream.read(&stream.uid, sequence, 1, 1).await?.into_iter().next() {
            Some(Ok(frame)) => Ok(Some(frame)),
            Some(Err(broken)) => Err(LogError::Damaged {
                stream: stream.uid.clone(),
                from: broken.mark.first,
                until: broken.mark.end,
                place: format!(
                    "JetStream stream {}, message {}",
                    self.jetstream.names.stream(&stream.uid),
                    broken.mark.sequence
                ),
                detail: broken.detail,
            }),
            None => Ok(None),
        }
    }
}
