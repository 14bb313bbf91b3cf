//! A pipeline: records from streams, through functions, to a stream.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Labels, Values, stream::Limits};
use crate::{
    Ref,
    quantity::{Size, Span},
};

/// Records from streams, through functions, to a stream. Exactly one of `source`, `selectors` and `inputPipeline` is given.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PipelineSpec {
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The project that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<Ref>,
    /// The ingress stream that it reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<StreamUse>,
    /// It reads the ingress streams with such labels: one of the values of every category named.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub selectors: BTreeMap<String, Vec<String>>,
    /// It reads the output of this pipeline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_pipeline: Option<Ref>,
    /// The functions, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub functions: Vec<StepSpec>,
    /// The egress stream that it writes; none: other pipelines read its output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sink: Option<StreamUse>,
    /// Sinks by the name of a route that the last function chooses. Route `default` goes to `sink`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub routes: BTreeMap<String, StreamUse>,
    /// An output of KPS that is no connector.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external: Option<External>,
    /// How records are offered again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// What becomes of records that are rejected, poisonous or past the limits of `retry`.
    #[serde(skip_serializing_if = "OnError::is_default")]
    pub on_error: OnError,
    /// How records are gathered for the sink.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchLimits>,
    /// At most one record in this time goes through; the others are filtered. Zero or none: all go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampling_interval: Option<Span>,
    /// Whether it is held.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
}

/// A stream that exists, or one that the pipeline brings with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum StreamUse {
    /// One that the pipeline brings with it. After `expand` there are none.
    Inline(Box<Inline>),
    /// One that exists, by name or uid.
    Stream(Ref),
}

impl StreamUse {
    /// The reference, unless the stream is inline.
    pub fn reference(&self) -> Option<&Ref> {
        match self {
            StreamUse::Stream(reference) => Some(reference),
            StreamUse::Inline(_) => None,
        }
    }
}

/// A stream that a pipeline brings with it, and its instance. One of `class` and `component` is given.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Inline {
    /// The class, `name` or `name@version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Ref>,
    /// The component of a class that the pipeline brings with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// Static parameters of the instance.
    #[serde(default, rename = "static", skip_serializing_if = "Values::is_empty")]
    pub static_parameters: Values,
    /// Config parameters of the instance.
    #[serde(default, skip_serializing_if = "Values::is_empty")]
    pub config: Values,
    /// Parameters of the stream.
    #[serde(default, skip_serializing_if = "Values::is_empty")]
    pub parameters: Values,
    /// Labels of the stream.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// What the stream may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
}

/// One function in a pipeline. One of `function` and `component` is given.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StepSpec {
    /// The step's name within the pipeline; the function's if none is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The function, `name` or `name@version`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<Ref>,
    /// The component of a function that the pipeline brings with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// The function's arguments.
    #[serde(skip_serializing_if = "Values::is_empty")]
    pub args: Values,
    /// What the step may use, over what its function says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
}

/// How records are offered again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Retry {
    /// How often a record is offered at most; none: without end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// How long a record is offered at most; none: without end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age: Option<Span>,
    /// How long to wait in between.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
}

/// How long to wait between attempts: twice as long each time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Backoff {
    /// The first wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial: Option<Span>,
    /// The longest wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<Span>,
}

/// What becomes of a record that cannot be delivered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnError {
    /// It is stored as a dead letter.
    #[default]
    DeadLetter,
    /// It is dropped and counted.
    Drop,
}

impl OnError {
    fn is_default(&self) -> bool {
        *self == OnError::default()
    }
}

/// How records are gathered: until one of these is reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BatchLimits {
    /// So many records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records: Option<u32>,
    /// So many bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Size>,
    /// So long after the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linger: Option<Span>,
}

/// An output of a KPS pipeline that is no connector: kept, and not run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct External {
    /// `localEdge` or `publicCloud`.
    pub place: String,
    /// Such as `DataService`, `AWS`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Such as `Kafka`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Of a cloud.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// A topic, bucket or queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint_name: Option<String>,
    /// A cloud profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
}
