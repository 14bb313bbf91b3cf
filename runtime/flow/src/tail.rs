//! Records as they pass, for people who watch.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use ferrule_model::ids::Uid;
use ferrule_model::record::{Batch, RecordAddress, RecordId};
use tokio::sync::broadcast;

/// Records that a slow watcher may be behind before it misses some.
const BEHIND: usize = 1_024;

/// Where to watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TailTarget {
    /// What an ingress stream takes in, or what an egress stream has delivered.
    Stream(Uid),
    /// What a pipeline gives to its sinks.
    Pipeline(Uid),
    /// What a step of a pipeline gives on.
    Step(Uid, String),
}

/// A record that passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TailRecord {
    /// The stream, the pipeline, or `pipeline/step`.
    pub seen_at: Arc<str>,
    /// Where the record that it came of was taken in.
    pub address: Option<RecordAddress>,
    /// Its id; none where it is not known.
    pub id: Option<RecordId>,
    /// Its content.
    pub payload: Bytes,
    /// Its key.
    pub key: Bytes,
    /// Its headers, encoded as in the contract.
    pub headers: Bytes,
    /// Event time in nanoseconds since 1970, or `NO_TIMESTAMP`.
    pub timestamp: i64,
}

/// A place where records can be watched. It costs nothing while nobody does.
#[derive(Debug)]
pub(crate) struct TailPoint {
    name: Arc<str>,
    /// Made for the first watcher: its ring takes tens of KiB, and most streams are never watched.
    sender: OnceLock<broadcast::Sender<Arc<TailRecord>>>,
}

impl TailPoint {
    pub(crate) fn new(name: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), sender: OnceLock::new() }
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Arc<TailRecord>> {
        self.sender.get_or_init(|| broadcast::Sender::new(BEHIND)).subscribe()
    }

    pub(crate) fn is_watched(&self) -> bool {
        self.sender.get().is_some_and(|sender| sender.receiver_count() > 0)
    }

    pub(crate) fn send(
        &self,
        records: &Batch,
        row: usize,
        identity: impl FnOnce() -> (Option<RecordAddress>, Option<RecordId>),
    ) {
        let Some(sender) = self.sender.get() else { return };
        let (address, id) = identity();
        // Nobody listening is no error.
        let _ = sender.send(Arc::new(TailRecord {
            seen_at: self.name.clone(),
            address,
            id,
            // Copies, so that a watcher who holds on to a record does not hold its batch.
            payload: Bytes::copy_from_slice(records.payload.get(row)),
            key: Bytes::copy_from_slice(records.key.get(row)),
            headers: Bytes::copy_from_slice(records.headers.get(row)),
            timestamp: records.timestamp(row),
        }));
    }
}
