//! How the log of a server is kept on its disk, and why it does not open.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Tells the time, in milliseconds since 1970.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// How an [`EmbeddedLog`](super::EmbeddedLog) is kept.
#[derive(Clone)]
pub struct Options {
    /// Where its files are; made if it is not there.
    pub folder: PathBuf,
    /// Bytes of a file of the journal, from which on the next one is begun.
    pub segment_bytes: u64,
    /// Bytes of the newest records that are kept in memory, for all streams together.
    pub cache_bytes: u64,
    /// Bytes of the largest record.
    pub largest_record: usize,
    /// Bytes that may be written and not be on disk yet: they are kept in memory too, to be written again if the disk says
    /// that it lost them.
    pub unsynced_bytes: u64,
    /// How long a committed cursor may wait to be written.
    pub cursor_delay: Duration,
    /// How long a cursor that is written may wait to be on disk, whether anything else is synced or not.
    pub cursor_sync: Duration,
    /// How long a disk that is in trouble is left alone before it is tried again.
    pub retry_delay: Duration,
    /// What time it is.
    pub clock: Clock,
}

impl Options {
    /// The usual options, in this folder.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            segment_bytes: 64 << 20,
            cache_bytes: 32 << 20,
            largest_record: 1 << 20,
            unsynced_bytes: 32 << 20,
            cursor_delay: Duration::from_millis(5),
            cursor_sync: Duration::from_secs(1),
            retry_delay: Duration::from_millis(200),
            clock: Arc::new(|| {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
            }),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { folder, segment_bytes, cache_bytes, largest_record, .. } = self;
        f.debug_struct("Options")
            .field("folder", folder)
            .field("segment_bytes", segment_bytes)
            .field("cache_bytes", cache_bytes)
            .field("largest_record", largest_record)
            .finish_non_exhaustive()
    }
}

/// Why a log does not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it.
    #[error("the log in {0} is in use by another process; stop that one, or give this one a folder of its own")]
    InUse(String),
    /// A later version of Ferrule wrote it.
    #[error(
        "{place} was written by a newer release (format {found} of the log; this one reads up to {known}); use that release, or an empty data folder"
    )]
    Newer {
        /// The file.
        place: String,
        /// Its format.
        found: u32,
        /// The latest format that is known.
        known: u32,
    },
    /// A file that the journal did not write.
    #[error("{0} is not a file of Ferrule's log; move it elsewhere")]
    Foreign(String),
    /// The disk does not do what it is asked.
    #[error("the log in {place} cannot be opened: {error}")]
    Disk {
        /// The folder.
        place: String,
        /// What the disk said.
        error: std::io::Error,
    },
}
