//! The seam to whatever runs streams and pipelines.

use std::collections::HashMap;

use async_trait::async_trait;
use ferrule_model::{Kind, Uid};
use serde_json::Value;

use crate::finding::{Finding, Problem};
use crate::wanted::Wanted;

/// Runs what is wanted. [`crate::FlowRunner`] is the one that moves records; tests bring their own.
#[async_trait]
pub trait Runner: Send + Sync + 'static {
    /// Makes what runs equal to `wanted`, touching only what differs, and says what of it cannot run. Called again with the
    /// same when something in the answer may have mended itself.
    async fn apply(&self, wanted: &Wanted) -> Applied;

    /// How everything that runs is doing.
    async fn observe(&self) -> Observed;
}

/// What came of [`Runner::apply`].
#[derive(Debug, Clone, Default)]
pub struct Applied {
    /// Streams and pipelines that cannot run, and why.
    pub unable: HashMap<(Kind, Uid), Problem>,
    /// Whether to try again later although no object changes.
    pub again: bool,
}

/// How streams and pipelines are doing.
pub type Observed = HashMap<(Kind, Uid), Observation>;

/// How one stream or pipeline is doing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observation {
    /// Conditions, over those of the resolution.
    pub findings: Vec<Finding>,
    /// Facts that change rarely: the last error, restarts. They are written at once, into `details`.
    pub facts: serde_json::Map<String, Value>,
    /// Counts that change all the time. They are written from time to time, into `details.counters`.
    pub counters: Value,
}
