//! The contract of a log, and its guarantees as data.

use std::ops::Range;
use std::pin::Pin;
use std::time::Duration;

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
    /// After they were read too, as [`Keep`] says.
    Kept,
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
    /// Bytes of the largest record that it takes: payload, key and headers together.
    pub largest_record: usize,
    /// How long records stay.
    pub retention: Retention,
}

/// What one stream may hold that was not read to its end by every reader. A batch larger than the bounds is taken when nothing
/// else is held.
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

impl Bounds {
    /// What suits a log on disk: 1 GiB, however many records that is.
    pub const ON_DISK: Self = Self { records: u64::MAX, bytes: 1 << 30 };
}

/// What becomes of an append when the bounds of its stream are reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// It waits: that is the backpressure.
    #[default]
    Block,
    /// The oldest records go, unread; each is counted.
    DropOldest,
    /// The new records go; each is counted.
    DropNewest,
}

/// How long records stay after every reader is done with them, to be read again. The first limit that is reached counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Bytes of such records at most.
    pub bytes: u64,
    /// Their age at most.
    pub age: Duration,
    /// Whether the age removes records too that a reader has not read; each is counted as dropped.
    pub even_unread: bool,
}

impl Default for Keep {
    /// 256 MiB or a week, and nothing that was not read is removed.
    fn default() -> Self {
        Self { bytes: 256 << 20, age: Duration::from_secs(7 * 24 * 3600), even_unread: false }
    }
}

/// How one stream is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamOptions {
    /// What its records are to survive; the log may give more.
    pub durability: Durability,
    /// What it may hold unread.
    pub bounds: Bounds,
    /// What becomes of an append over the bounds.
    pub when_full: WhenFull,
    /// How long records stay that were read.
    pub keep: Keep,
}

impl StreamOptions {
    /// The usual options of a stream of this durability.
    pub fn new(durability: Durability) -> Self {
        let bounds = if durability == Durability::Process { Bounds::default() } else { Bounds::ON_DISK };
        Self { durability, bounds, when_full: WhenFull::default(), keep: Keep::default() }
    }
}

/// What a stream holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The offset that the next record gets.
    pub next_offset: u64,
    /// The offset of the oldest record that is held; `next_offset` when none is.
    pub first_offset: u64,
    /// Bytes of payload, key and headers held.
    pub bytes: u64,
    /// Bytes held that some reader is not done with.
    pub unread_bytes: u64,
    /// Records that a policy removed unread, or did not take, since the log was opened.
    pub dropped: u64,
    /// Readers that are open.
    pub readers: usize,
}

/// How a log as a whole is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Why it takes nothing now; none when it does. It goes on by itself.
    pub trouble: Option<String>,
    /// What was found, and done about it, when it was opened: torn ends that were cut off, damage in the middle.
    pub findings: Vec<String>,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// How often it made sure that records survive the end of the machine.
    pub syncs: u64,
    /// Batches that were appended.
    pub batches: u64,
}

/// Where the records of an append went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendReceipt {
    /// The partition.
    pub partition: u32,
    /// The offset of the first record; the others follow.
    pub first_offset: u64,
    /// `false` if the policy of the stream dropped the records.
    pub taken: bool,
}

/// Where a reader begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// After the newest record.
    Latest,
    /// At the oldest record that is held.
    Oldest,
    /// At the first record that was appended at this time or later, in milliseconds since 1970.
    Time(i64),
    /// Where the cursor says; at the oldest record if that is gone.
    Cursor(Cursor),
}

/// Which reader is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReaderId {
    /// One that nobody remembers once it is dropped.
    Passing,
    /// One whose committed cursor lasts as long as the log does: opened again by this name, it goes on there, and its start
    /// counts only the first time. Until it is forgotten it holds back what it has not read, open or not.
    Named(String),
    /// The same, but it begins anew at its start, wherever it was.
    Rewound(String),
}

/// How far a reader is: everything below `low` is done, and so are the ranges above it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The low-water mark.
    pub low: u64,
    /// What is done above it: in order, apart from each other, not empty.
    pub done: Vec<Range<u64>>,
}

/// What waits for a reader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Records that it has not read.
    pub records: u64,
    /// Their bytes, as exactly as the log knows without reading them.
    pub bytes: u64,
    /// When the oldest of them was appended, in milliseconds since 1970; none when there is none.
    pub oldest_ms: Option<i64>,
}

/// Records as they are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entries {
    /// The partition.
    pub partition: u32,
    /// The offset of the first record; the others follow.
    pub first_offset: u64,
    /// When they were appended, in milliseconds since 1970.
    pub appended_ms: i64,
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
    /// What was stored is damaged. It is not skipped: a reader stays before it until it is told to go on elsewhere.
    #[error("the log is damaged at {place}: records {from} to {until} of stream {stream} cannot be read ({detail})")]
    Damaged {
        /// The stream.
        stream: Uid,
        /// The first offset that cannot be read.
        from: u64,
        /// The offset after the last that cannot be read.
        until: u64,
        /// The file and the position in it.
        place: String,
        /// What is wrong.
        detail: String,
    },
    /// The backend failed; the same call may work later.
    #[error("the log is not available: {0}")]
    Unavailable(String),
}

/// A log of records, a sequence for each stream.
///
/// - **Append** answers when the records are held as the stream's [`Guarantees::durable`] says. While the stream's [`Bounds`]
///   are reached and its policy is [`WhenFull::Block`], or the log takes nothing (its disk is full), it waits: that is the
///   backpressure. On a log that keeps records only until they are read it waits for a reader too. A dropped call has appended
///   all of the batch or none, and its position with it.
/// - **A record stays** until every reader is done with it, and then as [`Keep`] says.
/// - **Offsets** of a partition begin at 0 and have no gaps, over restarts too.
#[async_trait]
pub trait Log: Send + Sync {
    /// What the backend is called in documents and messages: `memory`, `embedded`, `nats`.
    fn name(&self) -> &'static str;

    /// What it promises for streams that ask for this durability.
    fn guarantees(&self, durability: Durability) -> Guarantees;

    /// How a stream is kept, from the next append on. Until this is called it is kept as [`StreamOptions::new`] says for the
    /// least durability that the log gives.
    fn configure(&self, stream: &Uid, options: StreamOptions);

    /// Appends records and says where they went. `position`, where the source goes on after them, is saved together with them,
    /// never before them; none leaves the one before. Without records only the position is saved.
    async fn append(&self, stream: &Uid, records: Batch, position: Option<Vec<u8>>) -> Result<AppendReceipt, LogError>;

    /// The position that was saved last.
    async fn position(&self, stream: &Uid) -> Result<Option<Vec<u8>>, LogError>;

    /// Opens a reader. A named one that is open elsewhere ends there with [`LogError::Closed`].
    async fn reader(&self, stream: &Uid, id: ReaderId, start: StartAt) -> Result<Box<dyn LogReader>, LogError>;

    /// Forgets a named reader: it holds nothing back any more.
    fn forget_reader(&self, stream: &Uid, name: &str);

    /// What the stream holds.
    fn usage(&self, stream: &Uid) -> Usage;

    /// How the log as a whole is doing.
    fn health(&self) -> Health {
        Health::default()
    }

    /// Forgets a stream and what it holds, its position and readers too; readers and appends end with [`LogError::Closed`].
    fn remove(&self, stream: &Uid);

    /// The streams that it knows, so that what belongs to none that is wanted can be removed.
    fn streams(&self) -> Vec<Uid>;

    /// The named readers that it knows of a stream, so that those that nobody wants can be forgotten.
    fn readers(&self, stream: &Uid) -> Vec<String>;

    /// Makes what was appended and committed last as long as it can, and takes nothing more.
    async fn close(&self) {}
}

/// A wait for records.
pub type Arrivals = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Reads one stream.
#[async_trait]
pub trait LogReader: Send {
    /// The next records: at least one, at most `max_records`, and no more than `max_bytes` beyond the first. Waits while there
    /// is none. A dropped call has read nothing.
    async fn next(&mut self, max_records: u32, max_bytes: u64) -> Result<Entries, LogError>;

    /// Done when there may be more to read than at the call: nothing that comes after it is missed. None while records are on
    /// their way already, and only `next` tells when they are there. For whoever has many readers, and asks those with news.
    fn arrivals(&self) -> Option<Arrivals>;

    /// The reader is done with what the cursor says; it never goes back. Does not wait: a log that lasts saves the cursor
    /// soon after, so that after the end of the process a little of what was committed is read again, and nothing is skipped.
    fn commit(&mut self, cursor: &Cursor);

    /// The offset of the next record to be read.
    fn position(&self) -> u64;

    /// What above the position is done already, as the cursor said that it was opened with: it is not read. In order.
    fn skips(&self) -> &[Range<u64>] {
        &[]
    }

    /// What waits to be read.
    fn lag(&self) -> Lag;
}
