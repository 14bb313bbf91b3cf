//! What one guest may use. Each limit names the threat it answers and why it has the value it has.

use std::time::Duration;

use crate::error::CallError;

/// Linear memory of one instance. Threat: a leak or a hostile guest takes the memory of its neighbours. 64 MiB is what a
/// slot of the dense engine holds, and hundreds of times what our own guests use.
pub const MEMORY_BYTES: usize = 64 << 20;

/// Time that one call may spend computing (being polled); waiting does not count. Threat: an endless loop holds a
/// processor. A call handles one batch, so even a slow function in a slow language ends within seconds.
pub const CALL_TIME: Duration = Duration::from_secs(5);

/// How long a call may go on after the wake-up, and a call that has nothing to wait for (`settle`, `configure`, `close`,
/// `apply`) after its start. Threat: a guest that ignores the wake-up keeps a stream from being settled, changed or
/// stopped. Ten seconds leave room for a farewell over a slow link.
pub const WAIT: Duration = Duration::from_secs(10);

/// Lines of log a second, standard output included. Threat: a guest floods the log, the disk and the reader. A guest that
/// logs a line for each record is over it at once, and what is over is counted.
pub const LOG_LINES_PER_SECOND: u32 = 100;

/// Bytes kept of one line of log with its fields. Threat: one line as large as the guest's memory.
pub const LOG_LINE_BYTES: usize = 8 << 10;

/// Bytes that one answer of a guest may make the host allocate. Threat: lists in guest memory may overlap, so a small
/// guest can describe an answer larger than the host. It is twice a slot of memory.
pub const ANSWER_BYTES: usize = 128 << 20;

/// Open connections, listeners, subscriptions and the like in one instance. Threat: a guest that leaks handles takes the
/// file descriptors of the process. A broker that serves a few hundred clients through one guest stays below.
pub const HANDLES: usize = 1_024;

/// Elements of one table of functions. Threat: tables take host memory outside the limit on linear memory. Compilers of
/// guest languages make tables of some thousands.
pub const TABLE_ELEMENTS: usize = 100_000;

/// Names of metrics, and alerts raised, that one instance may have. Threat: a name made from data (an address, a key)
/// grows the operator's metrics without end.
pub const METRIC_SERIES: usize = 200;

/// Bytes of one artifact. Threat: a file that takes minutes and gigabytes to compile. A component that carries a whole
/// Python interpreter has 40 MB.
pub const ARTIFACT_BYTES: usize = 128 << 20;

/// The limits of one instance. The default is what the constants of this module say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// See [`MEMORY_BYTES`]; more than that needs the roomy engine.
    pub memory_bytes: usize,
    /// See [`CALL_TIME`].
    pub call_time: Duration,
    /// See [`WAIT`].
    pub wait: Duration,
    /// See [`LOG_LINES_PER_SECOND`].
    pub log_lines_per_second: u32,
    /// See [`ANSWER_BYTES`].
    pub answer_bytes: usize,
    /// See [`HANDLES`].
    pub handles: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: MEMORY_BYTES,
            call_time: CALL_TIME,
            wait: WAIT,
            log_lines_per_second: LOG_LINES_PER_SECOND,
            answer_bytes: ANSWER_BYTES,
            handles: HANDLES,
        }
    }
}

/// Answers the engine when a guest wants more memory, and remembers a refusal, so that the trap that follows is told as
/// what it is.
#[derive(Debug)]
pub(crate) struct MemoryLimiter {
    limit: usize,
    held: usize,
    refused: Option<usize>,
}

impl MemoryLimiter {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, held: 0, refused: None }
    }

    /// Bytes of linear memory that the instance holds.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// The refusal since the last question, as an error.
    pub(crate) fn take_refusal(&mut self) -> Option<CallError> {
        self.refused.take().map(|wanted| CallError::Limit {
            which: "memory",
            value: format!("{} bytes; the guest wanted {wanted}", self.limit),
            field: "limits.memory",
        })
    }
}

impl wasmtime::ResourceLimiter for MemoryLimiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let held = self.held.saturating_sub(current).saturating_add(desired);
        if held > self.limit {
            self.refused = Some(held);
            return Ok(false);
        }
        self.held = held;
        Ok(true)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS)
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::ResourceLimiter as _;

    use super::*;

    #[test]
    fn memories_of_one_instance_count_together() {
        let mut limiter = MemoryLimiter::new(100);
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        assert!(limiter.memory_growing(0, 40, None).unwrap());
        assert!(!limiter.memory_growing(40, 41, None).unwrap());
        assert_eq!(limiter.held(), 100);
        assert!(matches!(limiter.take_refusal(), Some(CallError::Limit { which: "memory", .. })));
        assert!(limiter.take_refusal().is_none());
    }
}
