//! What the platform answers.

use std::collections::BTreeMap;
use std::time::Duration;

use ferrule_model::component::{Capability, Description};
use ferrule_model::conditions::Condition;
use ferrule_model::error::Diagnostic;
use ferrule_model::{Kind, Object};
use serde::Serialize;

/// What runs at the other end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VersionReport {
    /// Of the server.
    pub version: String,
    /// Of the component contract.
    pub contract: String,
    /// Where the server keeps its data.
    pub data_folder: String,
    /// Since when it runs, in milliseconds since 1970.
    pub started_ms: i64,
    /// Where `/metrics` is served, if it is.
    pub metrics_address: Option<String>,
}

/// What became of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It is new.
    Created,
    /// It changed.
    Configured,
    /// It was so already.
    Unchanged,
    /// It is gone.
    Deleted,
    /// Storing it failed; its diagnostics say why.
    Failed,
}

impl Action {
    /// The word that is shown to people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Created => "created",
            Action::Configured => "configured",
            Action::Unchanged => "unchanged",
            Action::Deleted => "deleted",
            Action::Failed => "failed",
        }
    }
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One object, and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AppliedObject {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; empty for kinds that have none.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid; empty where a dry run would make it.
    pub uid: String,
    /// What became of it.
    pub action: Action,
    /// Its generation afterwards.
    pub generation: u64,
    /// Warnings; for [`Action::Failed`] the reason.
    pub diagnostics: Vec<Diagnostic>,
}

/// What [`crate::Platform::apply`] did.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Applied {
    /// In the order of the documents, then what was pruned.
    pub objects: Vec<AppliedObject>,
    /// Warnings that belong to no object.
    pub warnings: Vec<Diagnostic>,
}

/// One object as it is and as it would be.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What would become of it.
    pub action: Action,
    /// As it is, as JSON without status; none if there is none.
    pub before: Option<serde_json::Value>,
    /// As it would be; none if it would be deleted.
    pub after: Option<serde_json::Value>,
}

/// What [`crate::Platform::apply`] would change.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Differences {
    /// In the order of the documents, then what would be pruned.
    pub differences: Vec<Difference>,
    /// Warnings.
    pub warnings: Vec<Diagnostic>,
}

/// A stored object.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredObject {
    /// In the one envelope.
    pub object: Object,
    /// The document in the form it came in, if that is not the native one.
    pub original: Option<String>,
}

/// One target that a guest reached for, and what was decided.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditTarget {
    /// When first, in milliseconds since 1970.
    pub first_ms: i64,
    /// When last.
    pub last_ms: i64,
    /// How often.
    pub count: u64,
    /// `project/instance/stream`, or `project/pipeline/step`.
    pub stream: String,
    /// The class or function.
    pub class: String,
    /// The digest of its component.
    pub component: String,
    /// Whether it was allowed.
    pub allowed: bool,
    /// The interface that it came by, such as `ferrule:connector/net`.
    pub interface: String,
    /// What it wanted to do, such as `tcp`.
    pub kind: String,
    /// The name or address that it asked for.
    pub host: String,
    /// What that resolved to; empty if it was not resolved.
    pub address: String,
    /// The port; 0 where there is none.
    pub port: u16,
    /// What decided.
    pub rule: String,
    /// The entry of a grant that would allow it, as a grant has it; empty where none would.
    pub words: String,
}

/// What guests reached for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditReport {
    /// The one that was last reached for last.
    pub targets: Vec<AuditTarget>,
    /// Every denial since the server started; those of targets that are no longer kept too.
    pub denied: u64,
}

/// What is known of a component.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentFacts {
    /// `sha256:` and 64 digits.
    pub digest: String,
    /// `source`, `sink`, `connector` or `function`.
    pub world: String,
    /// What it says of itself.
    pub description: Description,
    /// The size of the file in bytes.
    pub size: u64,
}

impl ComponentFacts {
    /// The abilities it asks for.
    #[must_use]
    pub fn asks(&self) -> &[Capability] {
        &self.description.capabilities
    }
}

/// What [`crate::Platform::register`] did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Registered {
    /// The component.
    pub component: ComponentFacts,
    /// What was made or changed: the component, its class or function, the grant.
    pub objects: Vec<AppliedObject>,
    /// Warnings, such as abilities that it asks for and nobody granted.
    pub warnings: Vec<Diagnostic>,
}

/// Something that people should know: a guest raised it, or the platform.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Alert {
    /// `info`, `warning` or `critical`.
    pub severity: String,
    /// Its name.
    pub name: String,
    /// What it says.
    pub message: String,
}

/// Bytes to and from one target.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TargetBytes {
    /// A name or address with its port; `listen ADDRESS` for who calls there; `others` for those over the number that is kept.
    pub target: String,
    /// From there.
    pub received: u64,
    /// To there.
    pub sent: u64,
}

/// A limit of a guest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LimitStatus {
    /// As documents name it, such as `memory`.
    pub name: String,
    /// Its value in bytes, milliseconds, percent or pieces.
    pub value: u64,
    /// Its value as documents write it.
    pub text: String,
    /// How often it was reached.
    pub reached: u64,
}

/// How a stream is doing.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamStatus {
    /// Its uid.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The name of its instance.
    pub instance: String,
    /// `ingress` or `egress`.
    pub direction: String,
    /// The class, as `name@version`.
    pub class: String,
    /// The digest of the component.
    pub component: String,
    /// One word.
    pub state: String,
    /// As the guest sees it: `healthy`, `unhealthy` or `unknown`.
    pub health: String,
    /// What the guest says about it.
    pub health_message: String,
    /// Records since the server started.
    pub records: u64,
    /// Bytes since the server started.
    pub bytes: u64,
    /// The rate now.
    pub records_per_second: f64,
    /// The rate now.
    pub bytes_per_second: f64,
    /// How often it was opened again after a failure.
    pub restarts: u64,
    /// How often the guest reached for what it was not granted.
    pub refusals: u64,
    /// What was refused last, and what to write where.
    pub last_refusal: String,
    /// The last error.
    pub last_error: String,
    /// A source: whether what was in flight is given again after a crash; none while unknown.
    pub replayable: Option<bool>,
    /// What the guest holds now.
    pub memory_bytes: u64,
    /// The most that one of its sessions held.
    pub peak_memory_bytes: u64,
    /// Calls that were made into the guest.
    pub calls: u64,
    /// How long they computed in all, in seconds.
    pub cpu_seconds: f64,
    /// Bytes to and from outside, by target.
    pub targets: Vec<TargetBytes>,
    /// What the guest may use, and how often that was not enough.
    pub limits: Vec<LimitStatus>,
    /// What is raised about it and not cleared.
    pub alerts: Vec<Alert>,
    /// Lines of log that went over the rate.
    pub suppressed_log_lines: u64,
    /// A source: what its records survive once they are settled: `fsync`, `os` or `memory`. Empty while it does not run.
    pub durability: String,
    /// A source: records that the log holds of it.
    pub held_records: u64,
    /// Their bytes of payload, key and headers.
    pub held_bytes: u64,
    /// Those of them that some pipeline is not done with.
    pub unread_bytes: u64,
    /// A source: records that the policy of its log dropped.
    pub dropped: u64,
    /// A source: records taken in and not settled. A sink: records in flight.
    pub unsettled: u64,
    /// The conditions of the object.
    pub conditions: Vec<Condition>,
}

/// How often values up to each bound came.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Distribution {
    /// The bounds, rising.
    pub bounds: Vec<u64>,
    /// For each bound the values up to it and above the one before; last those above all.
    pub counts: Vec<u64>,
    /// The sum of all values.
    pub sum: u64,
}

impl Distribution {
    /// How many values there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The mean; none while there is no value.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "for people")]
    pub fn mean(&self) -> Option<f64> {
        let count = self.count();
        (count > 0).then(|| self.sum as f64 / count as f64)
    }
}

/// How a pipeline is doing.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PipelineStatus {
    /// Its uid.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// One word.
    pub state: String,
    /// The name of its source stream; several are joined by commas.
    pub source: String,
    /// The name of its sink stream.
    pub sink: String,
    /// The names of its steps.
    pub steps: Vec<String>,
    /// Records in the log that it is not done with: those that it has not taken yet, and those in flight.
    pub lag: u64,
    /// Records taken and without outcome.
    pub in_flight: u64,
    /// Records that the sink has.
    pub delivered: u64,
    /// Records that a function dropped.
    pub filtered: u64,
    /// Records given up and kept.
    pub dead_lettered: u64,
    /// Records given up and not kept.
    pub dropped: u64,
    /// Attempts after the first.
    pub retried: u64,
    /// Bytes that the sink has.
    pub delivered_bytes: u64,
    /// Records that went no further because their ids were seen before.
    pub duplicates: u64,
    /// How many attempts records took that the sink answered for.
    pub attempts: Distribution,
    /// How many records were written together.
    pub batches: Distribution,
    /// Their bytes.
    pub lag_bytes: u64,
    /// When the oldest of them was taken in, in milliseconds since 1970; none when there is none.
    pub oldest_ms: Option<i64>,
    /// The rate of delivery now.
    pub records_per_second: f64,
    /// How often a function was opened again after a failure.
    pub restarts: u64,
    /// What is raised about it and not cleared.
    pub alerts: Vec<Alert>,
    /// The last error.
    pub last_error: String,
    /// The conditions of the object.
    pub conditions: Vec<Condition>,
}

impl PipelineStatus {
    /// For how long the oldest record has waited that the pipeline is not done with, at this time in milliseconds since 1970.
    #[must_use]
    pub fn behind(&self, now_ms: i64) -> Duration {
        let waited = self.oldest_ms.map_or(0, |oldest| now_ms.saturating_sub(oldest));
        Duration::from_millis(u64::try_from(waited).unwrap_or(0))
    }
}

/// How the log as a whole is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LogStatus {
    /// Where it is: `memory`, `embedded` or `nats`.
    pub transport: String,
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

/// How streams and pipelines are doing.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusReport {
    /// By namespace and name.
    pub streams: Vec<StreamStatus>,
    /// By namespace and name.
    pub pipelines: Vec<PipelineStatus>,
    /// When it was taken, in milliseconds since 1970.
    pub time_ms: i64,
    /// What concerns the server as a whole.
    pub alerts: Vec<Alert>,
    /// The log that they share.
    pub log: LogStatus,
}

/// A record as people see it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// Its content.
    pub payload: Vec<u8>,
    /// Its key; empty: none.
    pub key: Vec<u8>,
    /// Its headers, in order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Event time in nanoseconds since 1970.
    pub timestamp_ns: Option<i64>,
    /// Stable over redelivery; empty: none yet.
    pub id: String,
}

/// A record that passed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tailed {
    /// The record.
    pub record: Record,
    /// Records missed since the one before, because the receiver was slow.
    pub missed: u64,
    /// The stream or step that it was seen at.
    pub seen_at: String,
    /// `stream/partition/offset`, where it has one.
    pub address: String,
}

/// A line that a guest wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LogLine {
    /// When, in milliseconds since 1970.
    pub time_ms: i64,
    /// `trace`, `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// The stream or step that wrote it.
    pub source: String,
    /// The module in the guest.
    pub target: String,
    /// The text.
    pub message: String,
    /// Structured fields.
    pub fields: BTreeMap<String, String>,
}

/// What one step made of a record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrialStep {
    /// The step.
    pub name: String,
    /// The records it gave, each with its route (empty: the default one).
    pub outputs: Vec<(Record, String)>,
    /// It dropped the record.
    pub filtered: bool,
    /// Why it rejected the record, if it did.
    pub rejected: Option<String>,
    /// Why it failed as a whole, if it did.
    pub error: Option<String>,
}

/// A record that was given up, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadLetter {
    /// What it is called here, from 1; never used twice.
    pub number: u64,
    /// The record's id.
    pub id: String,
    /// The pipeline; empty if the stream itself gave it up.
    pub pipeline: String,
    /// The stream that the record came from.
    pub stream: String,
    /// The step that gave it up, or the sink.
    pub step: String,
    /// Why, as a stable word.
    pub code: String,
    /// Why, in words.
    pub reason: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When, in milliseconds since 1970.
    pub time_ms: i64,
    /// The record.
    pub record: Record,
    /// The digest of the component that gave it up; empty if none did.
    pub component: String,
    /// `stream/partition/offset`.
    pub address: String,
    /// Bytes of payload that were not kept.
    pub truncated: u64,
    /// Bytes of payload that are kept.
    pub payload_bytes: u64,
    /// Why it cannot be replayed; empty if it can.
    pub obstacle: String,
    /// The error (`FE0001` and so on) whose page explains the code; empty where there is none.
    pub error: String,
}

/// How far a replay of dead letters is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplayProgress {
    /// Letters that were asked for.
    pub total: u64,
    /// Delivered, and removed.
    pub delivered: u64,
    /// Dropped by a function, and removed.
    pub filtered: u64,
    /// Given up again: a new letter says why.
    pub given_up: u64,
    /// Left as they are.
    pub left: u64,
    /// Why they were left, as far as not told before.
    pub problems: Vec<Diagnostic>,
}

/// What became of dead letters that were to be removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dropped {
    /// How many were removed.
    pub dropped: u64,
    /// Those that are being replayed, and so were left.
    pub busy: Vec<u64>,
}

/// Where a pipeline reads a stream from now on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadFrom {
    /// The stream.
    pub stream: String,
    /// The next record that is read.
    pub offset: u64,
}
