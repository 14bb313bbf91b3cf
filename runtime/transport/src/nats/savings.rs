//! Saves cursors soon after they were committed, several commits as one.
//!
//! The value in the bucket names the opening of the reader that wrote it, and is replaced only at the revision that this one wrote: a
//! reader of the same name that was opened elsewhere since, in any runtime, is not overwritten, and this one ends.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::jetstream::kv::UpdateErrorKind;
use bytes::{Buf, BufMut, Bytes};
use futures_util::future::join_all;
use tokio::sync::Notify;

use super::jetstream::{ANSWER, JetStream, unavailable};
use super::lock;
use super::state::{Hold, Stream};
use crate::log::{Cursor, LogError};

/// How long commits are gathered.
const GATHER: Duration = Duration::from_millis(20);
/// How long saving a cursor may take before it is tried again. Short: what was on its way when NATS went is never answered, and until
/// a cursor is saved, what is done comes again after the end of the process.
const SAVED: Duration = Duration::from_secs(1);
/// Between two attempts.
const AGAIN: Duration = Duration::from_millis(100);
/// The version of a saved cursor.
const VERSION: u8 = 1;

/// What is to be saved, by key.
#[derive(Debug, Default)]
pub(super) struct Savings {
    waiting: Mutex<HashMap<(String, String), Arc<Stream>>>,
    /// What is to be deleted, until it is.
    forgotten: Mutex<HashSet<String>>,
    /// The revision of each key that was written here last.
    revisions: Mutex<HashMap<String, u64>>,
    come: Notify,
    /// Held while some are on their way.
    flushing: tokio::sync::Mutex<()>,
}

impl Savings {
    /// The reader's cursor is to be saved.
    pub(super) fn save(&self, stream: &Arc<Stream>, name: &str) {
        let key = (stream.uid.to_string(), name.to_owned());
        lock(&self.waiting).insert(key, stream.clone());
        self.come.notify_one();
    }

    /// The keys are to be deleted.
    pub(super) fn forget(&self, keys: impl IntoIterator<Item = String>) {
        lock(&self.forgotten).extend(keys);
        self.come.notify_one();
    }

    /// Whether the key is to be deleted.
    pub(super) fn forgets(&self, key: &str) -> bool {
        lock(&self.forgotten).contains(key)
    }

    /// Saves and deletes nothing until this is dropped.
    pub(super) async fn pause(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.flushing.lock().await
    }

    /// Saves for ever.
    pub(super) async fn run(&self, jetstream: &JetStream) {
        let mut failing = false;
        loop {
            self.come.notified().await;
            tokio::time::sleep(GATHER).await;
            let Err(why) = self.flush(jetstream).await else {
                failing = false;
                continue;
            };
            if !std::mem::replace(&mut failing, true) {
                tracing::warn!("how far pipelines have read is not saved at NATS: {why}; it is tried until it is");
            }
            tokio::time::sleep(AGAIN).await;
            self.come.notify_one();
        }
    }

    /// Saves what waits; why not all of it was.
    pub(super) async fn flush(&self, jetstream: &JetStream) -> Result<(), String> {
        let _flushing = self.flushing.lock().await;
        let mut well = Ok(());
        let forgotten: Vec<String> = lock(&self.forgotten).iter().cloned().collect();
        for key in forgotten {
            lock(&self.revisions).remove(&key);
            match in_time(jetstream.cursors.purge(&key)).await {
                Ok(()) => drop(lock(&self.forgotten).remove(&key)),
                Err(why) => well = Err(why),
            }
        }
        let waiting = std::mem::take(&mut *lock(&self.waiting));
        let saved = join_all(waiting.into_iter().map(async |((uid, name), stream)| {
            let saved = in_time(self.put(jetstream, &stream, &name)).await;
            if saved.is_err() {
                lock(&self.waiting).entry((uid, name)).or_insert(stream);
            }
            saved
        }));
        saved.await.into_iter().fold(well, Result::and)
    }

    /// Saves one reader's cursor; why it has to be tried again.
    async fn put(&self, jetstream: &JetStream, stream: &Stream, name: &str) -> Result<(), String> {
        let found = {
            let state = lock(&stream.state);
            state.names.get(name).and_then(|number| Some((*number, state.holds.get(number)?.clone())))
        };
        let Some((number, hold)) = found else { return Ok(()) };
        let key = jetstream.names.cursor(&stream.uid, name);
        let Some(revision) = lock(&self.revisions).get(&key).copied() else { return Ok(()) };
        let failed = match jetstream.cursors.update(&key, encode(&hold), revision).await {
            Ok(revision) => {
                lock(&self.revisions).insert(key, revision);
                return Ok(());
            }
            Err(error) => error,
        };
        if failed.kind() != UpdateErrorKind::WrongLastRevision {
            return Err(failed.to_string());
        }
        // Either an answer was lost, or somebody else opened the reader.
        let entry = jetstream.cursors.entry(&key).await.map_err(|error| error.to_string())?;
        let theirs = entry.as_ref().and_then(|entry| decode(entry.value.clone()));
        match (entry, theirs) {
            (Some(entry), Some(theirs)) if theirs.token == hold.token => {
                let why = format!("{failed}: {revision}, and {} is there", entry.revision);
                lock(&self.revisions).insert(key, entry.revision);
                Err(why)
            }
            _ => {
                let mut state = lock(&stream.state);
                state.holds.remove(&number);
                state.names.remove(name);
                drop(state);
                stream.wake();
                Ok(())
            }
        }
    }

    /// Writes the cursor of a reader that is being opened: from now on it is this one.
    pub(super) async fn open(&self, jetstream: &JetStream, key: &str, hold: &Hold) -> Result<(), LogError> {
        let _flushing = self.flushing.lock().await;
        let put = tokio::time::timeout(ANSWER, jetstream.cursors.put(key, encode(hold))).await;
        let put = put.map_err(|_| LogError::Unavailable("NATS does not save the cursor of a reader in time".into()))?;
        let revision = put.map_err(|error| unavailable("NATS does not save the cursor of a reader", error))?;
        lock(&self.forgotten).remove(key);
        lock(&self.revisions).insert(key.to_owned(), revision);
        Ok(())
    }
}

/// What came of it, or that there is no answer in time.
async fn in_time<T, E: std::fmt::Display>(asked: impl Future<Output = Result<T, E>>) -> Result<T, String> {
    let answer = tokio::time::timeout(SAVED, asked).await.map_err(|_| format!("no answer within {SAVED:?}"))?;
    answer.map_err(|error| error.to_string())
}

fn encode(hold: &Hold) -> Bytes {
    let mut out = Vec::with_capacity(37 + 16 * hold.cursor.done.len());
    out.put_u8(VERSION);
    out.put_slice(hold.token.as_bytes());
    out.put_u64_le(hold.before);
    out.put_u64_le(hold.cursor.low);
    out.put_u32_le(hold.cursor.done.len() as u32);
    for done in &hold.cursor.done {
        out.put_u64_le(done.start);
        out.put_u64_le(done.end);
    }
    out.into()
}

/// A saved cursor; none when it is in a version that is not known, or damaged.
pub(super) fn decode(mut bytes: Bytes) -> Option<Hold> {
    if bytes.try_get_u8().ok()? != VERSION {
        return None;
    }
    let token = uuid::Uuid::from_u128(bytes.try_get_u128().ok()?);
    let before = bytes.try_get_u64_le().ok()?;
    let low = bytes.try_get_u64_le().ok()?;
    let count = bytes.try_get_u32_le().ok()?;
    let done = (0..count)
        .map(|_| Some(bytes.try_get_u64_le().ok()?..bytes.try_get_u64_le().ok()?))
        .collect::<Option<Vec<_>>>()?;
    Some(Hold { cursor: Cursor { low, done }, before, next: low, open: false, token })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_was() {
        let cursor = Cursor { low: 7, done: vec![9..12, 20..21] };
        let hold = Hold { cursor, before: 99, next: 7, open: true, token: uuid::Uuid::new_v4() };
        let bytes = encode(&hold);
        let read = decode(bytes.clone()).unwrap();
        assert_eq!((read.cursor, read.before, read.token), (hold.cursor, 99, hold.token));
        for end in 0..bytes.len() {
            assert!(decode(bytes.slice(..end)).is_none(), "cut at {end}");
        }
    }
}
