//! What one guest may use: the one place where limits stand, with their defaults, the field of a document that changes each, and
//! what is told when one is reached. Each limit names the threat it answers and why it has the value it has.

use std::fmt;
use std::time::Duration;

/// Linear memory of one instance. Threat: a leak or a hostile guest takes the memory of its neighbours. 64 MiB is what a
/// slot of the dense engine holds, and hundreds of times what our own guests use.
pub const MEMORY_BYTES: usize = 64 << 20;

/// Elements of all tables of functions together. Threat: tables take host memory outside the limit on linear memory. Compilers of
/// guest languages make tables of some thousands.
pub const TABLE_ELEMENTS: usize = 100_000;

/// Core instances inside one component. Threat: a component composed of thousands takes the pool that all share. A component made
/// by the Rust tool chain has 3 to 5, one composed of several more.
pub const INSTANCES: usize = 64;

/// Time that one call may spend computing (being polled); waiting does not count. Threat: an endless loop holds a
/// processor. A call handles one batch, so even a slow function in a slow language ends within seconds.
pub const CALL_TIME: Duration = Duration::from_secs(5);

/// How long a call may go on after the wake-up, and a call that has nothing to wait for (`settle`, `configure`, `close`,
/// `apply`) after its start. Threat: a guest that ignores the wake-up keeps a stream from being settled, changed or
/// stopped. Ten seconds leave room for a farewell over a slow link.
pub const WAIT: Duration = Duration::from_secs(10);

/// Percent of one processor that a call may take once it has computed for [`BURST`]. Threat: a guest that spins takes a processor
/// until its computing time is over, again and again. Calls of honest guests end before that, or lose half their speed.
pub const CPU_PERCENT: u32 = 50;

/// Computing time before [`CPU_PERCENT`] holds. A batch takes a few milliseconds.
pub const BURST: Duration = Duration::from_millis(100);

/// Open handles of any kind in one instance: connections, streams, subscriptions. Threat: a guest that leaks handles takes the
/// memory of the host. A broker that serves a few hundred clients through one guest stays below.
pub const HANDLES: usize = 1_024;

/// Open sockets of one instance, those being connected and those still sending included. Threat: file descriptors are the
/// process's. A broker with two hundred clients stays below.
pub const SOCKETS: usize = 256;

/// Names being looked up at once. Threat: look-ups take threads that all share.
pub const LOOKUPS: usize = 16;

/// HTTP requests in flight at once. Threat: each has a connection and buffers.
pub const REQUESTS: usize = 64;

/// Bytes of one HTTP body, or head, that the host keeps in memory. Threat: a peer, or the guest, that is faster than the other
/// side. Bodies of any length pass through.
pub const BODY_BYTES: usize = 1 << 20;

/// Bytes that one answer of a guest may make the host allocate. Threat: lists in guest memory may overlap, so a small
/// guest can describe an answer larger than the host. It is twice a slot of memory.
pub const ANSWER_BYTES: usize = 128 << 20;

/// Bytes of the records that one call returns. Threat: a batch is kept in memory until the log has it, once for each stream. The
/// host asks for 1 MiB.
pub const BATCH_BYTES: usize = 64 << 20;

/// Records that one call returns. Threat: records of no bytes cost the host memory for each. The host asks for 1,000, and a function
/// that splits records makes a hundred of one.
pub const BATCH_RECORDS: usize = 100_000;

/// Lines of log a second, standard output included. Threat: a guest floods the log, the disk and the reader. A guest that
/// logs a line for each record is over it at once, and what is over is counted.
pub const LOG_LINES_PER_SECOND: u32 = 100;

/// Bytes of log a second. Threat: as above, with long lines.
pub const LOG_BYTES_PER_SECOND: usize = 256 << 10;

/// Bytes kept of one line of log with its fields. Threat: one line as large as the guest's memory.
pub const LOG_LINE_BYTES: usize = 8 << 10;

/// Names of metrics, and alerts raised, that one instance may have. Threat: a name made from data (an address, a key)
/// grows the operator's metrics without end.
pub const METRIC_SERIES: usize = 200;

/// Times a second that a guest may tell its health, or raise or clear an alert. Threat: a flapping guest hides what it says, and
/// takes the time of whoever reads. What it said last is always told.
pub const STATUS_UPDATES_PER_SECOND: u32 = 20;

/// Bytes kept of a text that a guest says: why it failed, what the matter is. Threat: texts end up in status, letters and terminals.
pub const TEXT_BYTES: usize = 8 << 10;

/// Bytes of one artifact. Threat: a file that takes minutes and gigabytes to compile. A component that carries a whole
/// Python interpreter has 40 MB.
pub const ARTIFACT_BYTES: usize = 128 << 20;

/// Bytes of one function's body. Threat: time and memory to compile grow faster than the body. The largest of an interpreter has
/// some hundred KB.
pub const FUNCTION_BYTES: usize = 2 << 20;

/// Modules and components nested in one artifact. Threat: each is compiled and kept apart. Tool chains make 3 to 10.
pub const NESTED: usize = 500;

/// Time to compile one artifact; after that it is given up. Threat: code that is made to be slow to compile. The largest honest ones
/// take seconds.
pub const COMPILE_TIME: Duration = Duration::from_secs(60);

/// What an artifact may cost before anything of it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeLimits {
    /// See [`ARTIFACT_BYTES`].
    pub artifact_bytes: usize,
    /// See [`FUNCTION_BYTES`].
    pub function_bytes: usize,
    /// See [`NESTED`].
    pub nested: usize,
    /// See [`COMPILE_TIME`].
    pub compile_time: Duration,
}

impl Default for CodeLimits {
    fn default() -> Self {
        Self {
            artifact_bytes: ARTIFACT_BYTES,
            function_bytes: FUNCTION_BYTES,
            nested: NESTED,
            compile_time: COMPILE_TIME,
        }
    }
}

/// Something that one instance may use only so much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Limit {
    /// See [`MEMORY_BYTES`].
    Memory,
    /// See [`TABLE_ELEMENTS`].
    TableElements,
    /// See [`INSTANCES`].
    Instances,
    /// See [`CALL_TIME`].
    CallTime,
    /// See [`WAIT`].
    Wait,
    /// See [`CPU_PERCENT`].
    Cpu,
    /// See [`HANDLES`].
    Handles,
    /// See [`SOCKETS`].
    Sockets,
    /// See [`LOOKUPS`].
    Lookups,
    /// See [`REQUESTS`].
    Requests,
    /// See [`BODY_BYTES`].
    BodyBytes,
    /// See [`ANSWER_BYTES`].
    AnswerBytes,
    /// See [`BATCH_BYTES`].
    BatchBytes,
    /// See [`BATCH_RECORDS`].
    BatchRecords,
    /// See [`LOG_LINES_PER_SECOND`].
    LogLines,
    /// See [`LOG_BYTES_PER_SECOND`].
    LogBytes,
    /// See [`METRIC_SERIES`].
    Metrics,
    /// See [`STATUS_UPDATES_PER_SECOND`].
    StatusUpdates,
}

impl Limit {
    /// All of them.
    pub const ALL: [Limit; 18] = [
        Self::Memory,
        Self::TableElements,
        Self::Instances,
        Self::CallTime,
        Self::Wait,
        Self::Cpu,
        Self::Handles,
        Self::Sockets,
        Self::Lookups,
        Self::Requests,
        Self::BodyBytes,
        Self::AnswerBytes,
        Self::BatchBytes,
        Self::BatchRecords,
        Self::LogLines,
        Self::LogBytes,
        Self::Metrics,
        Self::StatusUpdates,
    ];

    /// For people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::TableElements => "table elements",
            Self::Instances => "core instances",
            Self::CallTime => "computing time of a call",
            Self::Wait => "time to return",
            Self::Cpu => "processor share",
            Self::Handles => "open handles",
            Self::Sockets => "open sockets",
            Self::Lookups => "pending look-ups",
            Self::Requests => "HTTP requests in flight",
            Self::BodyBytes => "HTTP bytes buffered",
            Self::AnswerBytes => "bytes of an answer",
            Self::BatchBytes => "bytes of a batch",
            Self::BatchRecords => "records of a batch",
            Self::LogLines => "log lines a second",
            Self::LogBytes => "log bytes a second",
            Self::Metrics => "metrics and alerts",
            Self::StatusUpdates => "status updates a second",
        }
    }

    /// Where a document changes it.
    #[must_use]
    pub fn field(self) -> &'static str {
        match self {
            Self::Memory => "limits.memory",
            Self::TableElements => "limits.tableElements",
            Self::Instances => "limits.instances",
            Self::CallTime => "limits.callTime",
            Self::Wait => "limits.wait",
            Self::Cpu => "limits.cpu",
            Self::Handles => "limits.handles",
            Self::Sockets => "limits.sockets",
            Self::Lookups => "limits.lookups",
            Self::Requests => "limits.requests",
            Self::BodyBytes => "limits.bodyBytes",
            Self::AnswerBytes => "limits.answerBytes",
            Self::BatchBytes => "limits.batchBytes",
            Self::BatchRecords => "limits.batchRecords",
            Self::LogLines => "limits.logLines",
            Self::LogBytes => "limits.logBytes",
            Self::Metrics => "limits.metrics",
            Self::StatusUpdates => "limits.statusUpdates",
        }
    }

    /// The last word of [`Limit::field`], as metrics name it.
    #[must_use]
    pub fn word(self) -> &'static str {
        self.field().trim_start_matches("limits.")
    }

    fn unit(self) -> Unit {
        match self {
            Self::Memory | Self::BodyBytes | Self::AnswerBytes | Self::BatchBytes | Self::LogBytes => Unit::Bytes,
            Self::CallTime | Self::Wait => Unit::Milliseconds,
            Self::Cpu => Unit::Percent,
            _ => Unit::Count,
        }
    }

    /// An amount of it as documents write it.
    #[must_use]
    pub fn shown(self, amount: u64) -> String {
        match self.unit() {
            Unit::Bytes => ferrule_model::quantity::Size(amount).to_string(),
            Unit::Milliseconds => ferrule_model::quantity::Span(Duration::from_millis(amount)).to_string(),
            Unit::Percent => format!("{amount} %"),
            Unit::Count => amount.to_string(),
        }
    }
}

enum Unit {
    Bytes,
    Milliseconds,
    Percent,
    Count,
}

/// A guest reached a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// Which one.
    pub limit: Limit,
    /// Its value, and what was wanted if that is known.
    pub value: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit, value } = self;
        write!(f, "the guest is at its limit of {}: {value}; change it with `{}`", limit.name(), limit.field())
    }
}

/// The limits of one instance. The default is what the constants of this module say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// See [`MEMORY_BYTES`]; more than that needs the roomy engine.
    pub memory_bytes: usize,
    /// See [`TABLE_ELEMENTS`]; more than that in one table needs the roomy engine.
    pub table_elements: usize,
    /// See [`INSTANCES`]; more than that needs the roomy engine.
    pub instances: usize,
    /// See [`CALL_TIME`].
    pub call_time: Duration,
    /// See [`WAIT`].
    pub wait: Duration,
    /// Percent of one processor that the session may take, over all its calls; none: [`CPU_PERCENT`], for each call anew.
    pub cpu_percent: Option<u32>,
    /// See [`HANDLES`].
    pub handles: usize,
    /// See [`SOCKETS`].
    pub sockets: usize,
    /// See [`LOOKUPS`].
    pub lookups: usize,
    /// See [`REQUESTS`].
    pub requests: usize,
    /// See [`BODY_BYTES`].
    pub body_bytes: usize,
    /// See [`ANSWER_BYTES`].
    pub answer_bytes: usize,
    /// See [`BATCH_BYTES`].
    pub batch_bytes: usize,
    /// See [`BATCH_RECORDS`].
    pub batch_records: usize,
    /// See [`LOG_LINES_PER_SECOND`].
    pub log_lines_per_second: u32,
    /// See [`LOG_BYTES_PER_SECOND`].
    pub log_bytes_per_second: usize,
    /// See [`METRIC_SERIES`].
    pub metric_series: usize,
    /// See [`STATUS_UPDATES_PER_SECOND`].
    pub status_updates_per_second: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: MEMORY_BYTES,
            table_elements: TABLE_ELEMENTS,
            instances: INSTANCES,
            call_time: CALL_TIME,
            wait: WAIT,
            cpu_percent: None,
            handles: HANDLES,
            sockets: SOCKETS,
            lookups: LOOKUPS,
            requests: REQUESTS,
            body_bytes: BODY_BYTES,
            answer_bytes: ANSWER_BYTES,
            batch_bytes: BATCH_BYTES,
            batch_records: BATCH_RECORDS,
            log_lines_per_second: LOG_LINES_PER_SECOND,
            log_bytes_per_second: LOG_BYTES_PER_SECOND,
            metric_series: METRIC_SERIES,
            status_updates_per_second: STATUS_UPDATES_PER_SECOND,
        }
    }
}

impl Limits {
    /// The value of one, in bytes, milliseconds, percent or pieces.
    #[must_use]
    pub fn value(&self, limit: Limit) -> u64 {
        let time = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        match limit {
            Limit::Memory => self.memory_bytes as u64,
            Limit::TableElements => self.table_elements as u64,
            Limit::Instances => self.instances as u64,
            Limit::CallTime => time(self.call_time),
            Limit::Wait => time(self.wait),
            Limit::Cpu => u64::from(self.cpu_percent.unwrap_or(CPU_PERCENT)),
            Limit::Handles => self.handles as u64,
            Limit::Sockets => self.sockets as u64,
            Limit::Lookups => self.lookups as u64,
            Limit::Requests => self.requests as u64,
            Limit::BodyBytes => self.body_bytes as u64,
            Limit::AnswerBytes => self.answer_bytes as u64,
            Limit::BatchBytes => self.batch_bytes as u64,
            Limit::BatchRecords => self.batch_records as u64,
            Limit::LogLines => u64::from(self.log_lines_per_second),
            Limit::LogBytes => self.log_bytes_per_second as u64,
            Limit::Metrics => self.metric_series as u64,
            Limit::StatusUpdates => u64::from(self.status_updates_per_second),
        }
    }

    /// That this limit was reached.
    #[must_use]
    pub fn breach(&self, limit: Limit) -> Breach {
        Breach { limit, value: limit.shown(self.value(limit)) }
    }

    /// That more of it was wanted.
    pub(crate) fn breach_by(&self, limit: Limit, wanted: u64) -> Breach {
        let Breach { limit, value } = self.breach(limit);
        Breach { limit, value: format!("{value}; the guest wanted {}", limit.shown(wanted)) }
    }
}

/// Answers the engine when a guest wants more memory or tables, and remembers a refusal, so that the trap that follows is told as
/// what it is.
#[derive(Debug)]
pub(crate) struct Growth {
    limits: Limits,
    memory: usize,
    elements: usize,
    refused: Option<Breach>,
}

impl Growth {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { limits: limits.clone(), memory: 0, elements: 0, refused: None }
    }

    /// Bytes of linear memory that the instance holds. Memory only grows, so this is also the most that it held.
    pub(crate) fn memory(&self) -> usize {
        self.memory
    }

    /// The refusal since the last question.
    pub(crate) fn take_refusal(&mut self) -> Option<Breach> {
        self.refused.take()
    }
}

impl wasmtime::ResourceLimiter for Growth {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let held = self.memory.saturating_sub(current).saturating_add(desired);
        if held > self.limits.memory_bytes {
            self.refused = Some(self.limits.breach_by(Limit::Memory, held as u64));
            return Ok(false);
        }
        self.memory = held;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let held = self.elements.saturating_sub(current).saturating_add(desired);
        if held > self.limits.table_elements {
            self.refused = Some(self.limits.breach_by(Limit::TableElements, held as u64));
            return Ok(false);
        }
        self.elements = held;
        Ok(true)
    }

    fn instances(&self) -> usize {
        self.limits.instances
    }

    fn tables(&self) -> usize {
        self.limits.instances
    }

    fn memories(&self) -> usize {
        self.limits.instances
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::ResourceLimiter as _;

    use super::*;

    #[test]
    fn memories_and_tables_of_one_instance_count_together() {
        let mut growth = Growth::new(&Limits { memory_bytes: 100, table_elements: 10, ..Limits::default() });
        assert!(growth.memory_growing(0, 60, None).unwrap());
        assert!(growth.memory_growing(0, 40, None).unwrap());
        assert!(!growth.memory_growing(40, 41, None).unwrap());
        assert_eq!(growth.memory(), 100);
        let refused = growth.take_refusal().unwrap();
        assert_eq!((refused.limit, refused.value.as_str()), (Limit::Memory, "100; the guest wanted 101"));
        assert!(growth.take_refusal().is_none());
        assert!(growth.table_growing(0, 6, None).unwrap());
        assert!(!growth.table_growing(0, 5, None).unwrap());
        assert_eq!(growth.take_refusal().unwrap().limit, Limit::TableElements);
    }

    #[test]
    fn the_page_has_each_limit_with_its_field_and_default() {
        let page = include_str!("../../../docs/limits.md");
        let limits = Limits::default();
        for limit in Limit::ALL {
            let row = format!("| `{}` | {} |", limit.word(), limit.shown(limits.value(limit)));
            assert!(page.contains(&row), "docs/limits.md has no row `{row}`");
        }
        let code = CodeLimits::default();
        let size = |bytes: usize| ferrule_model::quantity::Size(bytes as u64).to_string();
        for value in [
            size(code.artifact_bytes),
            size(code.function_bytes),
            code.nested.to_string(),
            format!("{} s", code.compile_time.as_secs()),
        ] {
            assert!(page.contains(&format!("| {value} |")), "docs/limits.md has no value {value} for components");
        }
    }
}
