//! The contract of a log, and its guarantees as data.

use std::ops::Range;

use async_trait::async_trait;
use ferrule_model::ids::Uid;
use ferrule_model::record::{Batch, BatchError};

/// What a record survives once it is appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// Nothing: it is gone with the process.
    Process,
    /// The end of the process, not that of the machine.
    System,
    /// The end of the machine.
    Disk,
}

/// How long a log keeps records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// Until every reader is past them.
    UntilRead,
    /// As long as its bounds allow, read or not.
    Bounded,
}

/// What a log promises, as data, so that a plan that needs more is refused before it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guarantees {
    /// Records of one partition are read in the order of their appends.
    pub ordered: bool,
    /// A reader may go back to records that it read before.
    pub replayable: bool,
    /// What a record survives once `append` answered.
    pub durable: Durability,
    /// Several processes may share it.
    pub shared: bool,
    /// Bytes of the largest record that it takes.
    pub largest_record: usize,
    /// How long records stay.
    pub retention: Retention,
}

/// What one stream may hold. A batch larger than the bounds is taken when nothing else is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Records at most.
    pub records: u64,
    /// Bytes of payload, key and headers at most.
    pub bytes: u64,
}

impl Default for Bounds {
    /// 10,000 records and 16 MiB: some seconds of a fast stream, and little enough that hundreds of streams fit a machine.
    fn default() -> Self {
        Self { records: 10_000, bytes: 16 << 20 }
    }
}

/// What a stream holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The offset that the next record gets.
    pub next_offset: u64,
    /// The offset of the oldest record that is held; `next_offset` when none is.
    pub first_offset: u64,
    /// Bytes held.
    pub bytes: u64,
    /// Readers that are open.
    pub readers: usize,
}

/// Where the records of an append went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendReceipt {
    /// The partition.
    pub partition: u32,
    /// The offset of the first record; the others follow.
    pub first_offset: u64,
}

/// Where a new reader begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// After the newest record.
    Latest,
    /// At the oldest record that is held.
    Oldest,
    /// Where the cursor says; at the oldest record if that is gone.
    Cursor(Cursor),
}

/// How far a reader is: everything below `low` is done, and so are the ranges above it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The low-water mark.
    pub low: u64,
    /// What is done above it: in order, apart from each other, not empty.
    pub done: Vec<Range<u64>>,
}

/// Records as they are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entries {
    /// The partition.
    pub partition: u32,
    /// The offset of the first record; the others follow.
    pub first_offset: u64,
    /// The records, as appended.
    pub records: Batch,
}

/// Why a log does not do what it is asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// A record is larger than the log takes; nothing was appended.
    #[error("record {index} of the batch has {size} bytes, and the log takes {limit} at most")]
    RecordTooLarge {
        /// The record's index in the batch.
        index: usize,
        /// Its bytes.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
    /// A batch that does not hold together.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// The backend failed; the same call may work later.
    #[error("the log is not available: {0}")]
    Unavailable(String),
}

/// A log of records, a sequence for each stream.
///
/// - **Append** answers when the records are held as [`Guarantees::durable`] says. While the stream's [`Bounds`] are reached
///   or nobody reads the stream, it waits: that is the backpressure. A dropped call has appended all of the batch or none.
/// - **A record stays** until the cursor of every reader is past it. A reader that is dropped holds nothing back.
/// - **Offsets** of a partition begin at 0 and have no gaps.
#[async_trait]
pub trait Log: Send + Sync {
    /// What it promises.
    fn guarantees(&self) -> Guarantees;

    /// Sets the bounds of a stream; they hold from the next append on.
    fn bound(&self, stream: &Uid, bounds: Bounds);

    /// Appends records and says where they went.
    async fn append(&self, stream: &Uid, records: Batch) -> Result<AppendReceipt, LogError>;

    /// Opens a reader.
    async fn reader(&self, stream: &Uid, start: StartAt) -> Result<Box<dyn LogReader>, LogError>;

    /// What the stream holds.
    fn usage(&self, stream: &Uid) -> Usage;

    /// Forgets a stream and what it holds; its readers and appends end with [`LogError::Closed`].
    fn remove(&self, stream: &Uid);
}

/// Reads one stream.
#[async_trait]
pub trait LogReader: Send {
    /// The next records: at least one, at most `max_records`, and no more than `max_bytes` beyond the first. Waits while there
    /// is none. A dropped call has read nothing.
    async fn next(&mut self, max_records: u32, max_bytes: u64) -> Result<Entries, LogError>;

    /// The reader is done with what the cursor says; it never goes back.
    fn commit(&mut self, cursor: &Cursor);

    /// The offset of the next record to be read.
    fn position(&self) -> u64;

    /// How many records wait to be read.
    fn lag(&self) -> u64;
}
