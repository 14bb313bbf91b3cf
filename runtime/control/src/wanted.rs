//! What should run, as plain comparable data: components by digest, values as they reach the guest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ferrule_flow::plan::StreamOptions;
use ferrule_host::Attachments;
use ferrule_model::Uid;
use ferrule_model::capability::Rules;
use ferrule_model::component::Description;
use ferrule_model::connector::{BatchLimits, Limits, OnError, Retry, StartAt, StreamDirection};
use ferrule_model::redact::Redactor;
use serde_json::Value;

/// Everything that should run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wanted {
    /// Streams, by name.
    pub streams: Vec<WantedStream>,
    /// Pipelines, by name. Every stream that they name is among `streams`.
    pub pipelines: Vec<WantedPipeline>,
    /// Every stream that exists, whether it can run or not: its records are kept.
    pub existing_streams: BTreeSet<Uid>,
    /// Every pipeline that exists, whether it can run or not: how far it is, is kept.
    pub existing_pipelines: BTreeSet<Uid>,
}

/// The component that was chosen for a stream or step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// `sha256:` and the digits.
    pub digest: String,
    /// The name it is registered under.
    pub name: String,
    /// The version it gives itself; may be empty.
    pub version: String,
    /// What it says of itself.
    pub description: Arc<Description>,
    /// The class or function that a grant would name.
    pub class: String,
}

/// A stream that should be open.
#[derive(Debug, Clone, PartialEq)]
pub struct WantedStream {
    /// The stream's id.
    pub uid: Uid,
    /// `project/instance/stream`, without a project it does not have: unique in the server and stable.
    pub name: String,
    /// Which way it goes.
    pub direction: StreamDirection,
    /// What does the work.
    pub component: Chosen,
    /// The instance's static parameters.
    pub static_parameters: Value,
    /// The instance's configs, merged in order of their names.
    pub config: Value,
    /// The stream's parameters.
    pub parameters: Value,
    /// Masks what of them came from secrets.
    pub redactor: Redactor,
    /// What the session may reach.
    pub rules: Rules,
    /// What the host adds to its connections and requests.
    pub attached: Attachments,
    /// The stream's limits over the class's.
    pub limits: Limits,
    /// How the log keeps its records.
    pub log: StreamOptions,
    /// Whether it is held.
    pub paused: bool,
    /// Changes exactly when the session has to be opened anew: not with `config` or `paused`.
    pub revision: String,
}

/// A function in a pipeline.
#[derive(Debug, Clone, PartialEq)]
pub struct WantedStep {
    /// Unique within the pipeline.
    pub name: String,
    /// What does the work.
    pub component: Chosen,
    /// The arguments: the step's over the function's.
    pub args: Value,
    /// The same as they are written, with the versions of what they take from secrets.
    pub told: Value,
    /// Masks what of them came from secrets.
    pub redactor: Redactor,
    /// What the session may reach.
    pub rules: Rules,
    /// What the host adds to its connections and requests.
    pub attached: Attachments,
    /// Changes when that does, and tells nothing of it.
    pub attached_told: Vec<String>,
    /// The step's limits over the function's.
    pub limits: Limits,
    /// How many instances of it run side by side, at least 1.
    pub parallelism: u32,
}

/// A pipeline that should run.
#[derive(Debug, Clone, PartialEq)]
pub struct WantedPipeline {
    /// The pipeline's id.
    pub uid: Uid,
    /// `project/pipeline`.
    pub name: String,
    /// The ingress streams that it reads: at least one.
    pub sources: Vec<Uid>,
    /// The functions in order, those of the pipelines that it reads from first.
    pub steps: Vec<WantedStep>,
    /// The egress stream of route `default`.
    pub sink: Uid,
    /// The egress streams of further routes.
    pub routes: BTreeMap<String, Uid>,
    /// How records are offered again.
    pub retry: Retry,
    /// What becomes of records that cannot be delivered.
    pub on_error: OnError,
    /// How records are gathered.
    pub batch: BatchLimits,
    /// At most one record in this time.
    pub sampling: Option<Duration>,
    /// Where it begins in a stream that it has never read.
    pub start: StartAt,
    /// Records whose id was seen within this time go no further.
    pub deduplicate: Option<Duration>,
    /// Whether it is held.
    pub paused: bool,
    /// Changes exactly when the pipeline has to be started anew: not with `paused`.
    pub revision: String,
}
