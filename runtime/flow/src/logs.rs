//! What guests log: the last lines of each, and new ones as they come.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ferrule_host::Level;
use tokio::sync::broadcast;

/// Lines kept of each guest: what somebody who comes to look wants to see, at some hundred KiB.
const KEPT: usize = 1_000;

/// Lines that a slow reader may be behind.
const BEHIND: usize = 1_024;

/// A line that a guest wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When, in milliseconds since 1970.
    pub time_ms: i64,
    /// How loud.
    pub level: Level,
    /// The stream, or `pipeline/step`.
    pub source: Arc<str>,
    /// The module in the guest.
    pub target: String,
    /// The text.
    pub message: String,
    /// Structured fields.
    pub fields: Vec<(String, String)>,
}

/// The last lines, and those that come.
#[derive(Debug)]
pub struct LogFeed {
    /// The last lines, oldest first.
    pub lines: Vec<Arc<LogLine>>,
    /// The lines after them.
    pub next: broadcast::Receiver<Arc<LogLine>>,
}

#[derive(Debug, Default)]
pub(crate) struct LogBook {
    lines: Mutex<VecDeque<Arc<LogLine>>>,
    /// Made for the first reader.
    sender: OnceLock<broadcast::Sender<Arc<LogLine>>>,
}

impl LogBook {
    pub(crate) fn push(&self, line: LogLine) {
        let line = Arc::new(line);
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == KEPT {
            lines.pop_front();
        }
        lines.push_back(line.clone());
        if let Some(sender) = self.sender.get() {
            // Nobody listening is no error.
            let _ = sender.send(line);
        }
    }

    pub(crate) fn feed(&self) -> LogFeed {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        LogFeed {
            lines: lines.iter().cloned().collect(),
            next: self.sender.get_or_init(|| broadcast::Sender::new(BEHIND)).subscribe(),
        }
    }
}
