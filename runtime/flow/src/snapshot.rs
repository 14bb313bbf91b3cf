//! How everything is doing, as data.

use std::collections::BTreeMap;
use std::time::Duration;

use ferrule_host::{Breach, Health, Limit, Refusal, Severity};
use ferrule_model::component::Direction;
use ferrule_model::ids::Uid;
use ferrule_transport::{Durability, Health as LogHealth, Usage};

/// What a stream, or a step, is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum StreamState {
    /// It has not been opened yet.
    #[default]
    Starting,
    /// An ingress stream that no pipeline reads: on a log that is not durable it is not opened, since its records would be lost.
    NoPipeline,
    /// It connects.
    Opening,
    /// It is open.
    Running,
    /// It is open and paused.
    Held,
    /// It failed and waits before it is opened again.
    BackingOff,
    /// Its parameters can never work; it waits for its documents to change.
    Failed,
    /// It is closed.
    Stopped,
}

impl StreamState {
    /// One word for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::NoPipeline => "no-pipeline",
            Self::Opening => "opening",
            Self::Running => "running",
            Self::Held => "paused",
            Self::BackingOff => "backing-off",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

/// What a guest, or the flow itself, raised and has not cleared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// How bad.
    pub severity: Severity,
    /// What it says.
    pub message: String,
}

/// A number that a guest keeps for the operator.
#[derive(Clone, Debug, PartialEq)]
pub struct GuestMetric {
    /// Its name, without the host's prefix.
    pub name: String,
    /// Its labels.
    pub labels: Vec<(String, String)>,
    /// Whether it only grows.
    pub counter: bool,
    /// Its value.
    pub value: f64,
}

/// A limit, and how often it was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitUse {
    /// Which one.
    pub limit: Limit,
    /// Its value, in bytes, milliseconds, percent or pieces.
    pub value: u64,
    /// How often it was reached.
    pub reached: u64,
}

/// A session that fails again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrashLoop {
    /// How often in a row.
    pub failures: u32,
    /// When it is tried again, in milliseconds since 1970.
    pub next_ms: i64,
}

/// Bytes to and from one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transferred {
    /// A name or address with its port.
    pub target: String,
    /// From there.
    pub received: u64,
    /// To there.
    pub sent: u64,
}

/// A component that took the place of another and gave it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolledBack {
    /// The digest of the component that was refused. It is what the documents ask for.
    pub refused: String,
    /// The digest of the one that runs in its place.
    pub running: String,
    /// Whether it had been open, and failed its first batches; else it does not open.
    pub opened: bool,
    /// All of it in words, with what went wrong.
    pub message: String,
}

/// How a session is doing: a stream's, or a step's.
#[derive(Clone, Debug, PartialEq)]
pub struct GuestSnapshot {
    /// The digest of the component that runs.
    pub component: String,
    /// What it is doing.
    pub state: StreamState,
    /// What more there is to say about the state.
    pub detail: String,
    /// Since when it is in this state, in milliseconds since 1970.
    pub since_ms: i64,
    /// How the guest says it is; none while it says nothing.
    pub health: Option<Health>,
    /// What is raised about it, by name.
    pub alerts: BTreeMap<String, Alert>,
    /// How often it was opened again after a failure.
    pub restarts: u64,
    /// The last error.
    pub last_error: Option<String>,
    /// When that was, in milliseconds since 1970.
    pub last_error_ms: Option<i64>,
    /// The component that should run and does not, because it failed; none when what should run does.
    pub rolled_back: Option<RolledBack>,
    /// How often it reached for what it was not granted.
    pub refusals: u64,
    /// What it was refused last, with what to write where.
    pub last_refusal: Option<Refusal>,
    /// Lines of log that were over the rate and not kept.
    pub suppressed_log_lines: u64,
    /// Bytes of memory that it holds.
    pub memory_bytes: u64,
    /// The most that one of its sessions held.
    pub peak_memory_bytes: u64,
    /// Calls that were made into it.
    pub calls: u64,
    /// How long they computed in all.
    pub computed: Duration,
    /// Bytes to and from outside, by target.
    pub transferred: Vec<Transferred>,
    /// What it may use.
    pub limits: Vec<LimitUse>,
    /// The limit that it reached last, within the last minutes.
    pub limit_reached: Option<Breach>,
    /// That it fails again and again; none while it does not.
    pub crash_loop: Option<CrashLoop>,
    /// Its own numbers.
    pub metrics: Vec<GuestMetric>,
}

/// How a stream is doing.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamSnapshot {
    /// Its uid.
    pub uid: Uid,
    /// Its name.
    pub name: String,
    /// Which way it goes.
    pub direction: Direction,
    /// Its session.
    pub guest: GuestSnapshot,
    /// Records taken in or delivered.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The rate now.
    pub records_per_second: f64,
    /// The rate now.
    pub bytes_per_second: f64,
    /// An ingress stream: whether the outside system gives again what is not settled; none while unknown.
    pub replayable: Option<bool>,
    /// An ingress stream: records taken in and not settled. An egress stream: records in flight.
    pub unsettled: u64,
    /// An ingress stream: what a record survives once it is settled.
    pub durability: Durability,
    /// An ingress stream: what the log holds of it.
    pub usage: Usage,
    /// The revision of its plan.
    pub revision: u64,
}

/// How often values up to each bound came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    /// The bounds, rising.
    pub bounds: Vec<u64>,
    /// For each bound the values up to it and above the one before; last those above all.
    pub counts: Vec<u64>,
    /// The sum of all values.
    pub sum: u64,
}

/// How a pipeline is doing.
#[derive(Clone, Debug, PartialEq)]
pub struct PipelineSnapshot {
    /// Its uid.
    pub uid: Uid,
    /// Its name.
    pub name: String,
    /// One word: `running`, `paused`, `waiting` (for a stream or for the log, see `detail`), `failed` (what it reads is damaged, or
    /// cannot be read at all: see `detail`), `stopped`.
    pub state: &'static str,
    /// What more there is to say about the state.
    pub detail: String,
    /// Records in the log that it is not done with: those that it has not taken, and those in flight.
    pub lag: u64,
    /// Their bytes.
    pub lag_bytes: u64,
    /// When the oldest of them was appended, in milliseconds since 1970; none when there is none.
    pub oldest_ms: Option<i64>,
    /// Records taken and without outcome.
    pub in_flight: u64,
    /// Records that the sinks have.
    pub delivered: u64,
    /// Their bytes.
    pub delivered_bytes: u64,
    /// Records that a function dropped.
    pub filtered: u64,
    /// Records given up and stored.
    pub dead: u64,
    /// Records given up and not stored.
    pub dropped: u64,
    /// Attempts after the first.
    pub retried: u64,
    /// Records that went no further because their ids were seen before.
    pub duplicates: u64,
    /// How many attempts records took that are done with the sinks.
    pub attempts: Distribution,
    /// How many records were written together.
    pub batches: Distribution,
    /// The rate of delivery now.
    pub records_per_second: f64,
    /// The rate of delivery now.
    pub bytes_per_second: f64,
    /// How often a function was opened again.
    pub restarts: u64,
    /// What is raised about it, by name.
    pub alerts: BTreeMap<String, Alert>,
    /// The last error.
    pub last_error: Option<String>,
    /// Its steps by name, in order.
    pub steps: Vec<(String, GuestSnapshot)>,
    /// The revision of its plan.
    pub revision: u64,
}

/// How everything is doing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FlowSnapshot {
    /// The streams, by uid.
    pub streams: BTreeMap<Uid, StreamSnapshot>,
    /// The pipelines, by uid.
    pub pipelines: BTreeMap<Uid, PipelineSnapshot>,
    /// How the log as a whole is doing.
    pub log: LogHealth,
}
