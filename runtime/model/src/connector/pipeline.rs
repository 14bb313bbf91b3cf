//! A pipeline: records from streams, through functions, to a stream.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Labels, Values,
    log::{LOG, LogSpec},
    stream::{LIMITS, Limits, no_log},
};
use crate::{
    Code, Diagnostic, Object, Ref,
    document::kps::{KpsField, To, kps},
    quantity::{Size, Span},
    shape::{Check, Field, Shape, field, member, needed},
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
    /// Where it begins in a stream that it has never read.
    #[serde(skip_serializing_if = "StartAt::is_default")]
    pub start: StartAt,
    /// What comes twice goes through once; none: no id is looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deduplicate: Option<Unique>,
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
    /// A source: how the log keeps its records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogSpec>,
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
    /// How many instances of it run side by side; none: one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallelism: Option<u32>,
}

/// Where a pipeline begins in a stream that it has never read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StartAt {
    /// After what is there.
    #[default]
    Latest,
    /// At the oldest record that the log holds.
    Beginning,
}

impl StartAt {
    fn is_default(&self) -> bool {
        *self == StartAt::default()
    }
}

/// How records that come twice are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unique {
    /// A record whose id came within this time goes no further.
    pub window: Span,
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
    /// Records in flight to one sink at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<u32>,
    /// Bytes of records that the pipeline has in hand at most, beyond one batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_bytes: Option<Size>,
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

const INLINE: &[Field] = &[
    field("class", Shape::Reference),
    field("component", Shape::Filled),
    field("static", Shape::Values),
    field("config", Shape::Values),
    field("parameters", Shape::Values),
    field("labels", Shape::Labels),
    field("limits", LIMITS),
    field("log", LOG),
];

/// Instances of one step at most.
const LANES: u64 = 64;

/// The fields of a native document.
pub(crate) const NATIVE: &[Field] = &[
    field("description", Shape::Text),
    field("project", Shape::Reference),
    field("source", Shape::StreamUse(INLINE)),
    field("selectors", SELECTORS),
    field("inputPipeline", Shape::Reference),
    field(
        "functions",
        Shape::List(&Shape::Record(&[
            field("name", Shape::Filled),
            field("function", Shape::Reference),
            field("component", Shape::Filled),
            field("args", Shape::Values),
            field("limits", LIMITS),
            field("parallelism", Shape::Count(1, LANES)),
        ])),
    ),
    field("sink", Shape::StreamUse(INLINE)),
    field("routes", Shape::MapOf(&Shape::StreamUse(INLINE))),
    field(
        "external",
        Shape::Record(&[
            needed("place", Shape::Word(&["localEdge", "publicCloud"])),
            field("type", Shape::Text),
            field("service", Shape::Text),
            field("region", Shape::Text),
            field("endpointName", Shape::Text),
            field("profile", Shape::Text),
        ]),
    ),
    field(
        "retry",
        Shape::Record(&[
            field("attempts", Shape::Count(1, u32::MAX as u64)),
            field("age", Shape::Span),
            field("backoff", Shape::Record(&[field("initial", Shape::Span), field("max", Shape::Span)])),
        ]),
    ),
    field("onError", Shape::Word(&["dead-letter", "drop"])),
    field(
        "batch",
        Shape::Record(&[
            field("records", Shape::Count(1, 1_000_000)),
            field("bytes", Shape::Size),
            field("linger", Shape::Span),
            field("window", Shape::Count(1, 1_000_000)),
            field("windowBytes", Shape::Size),
        ]),
    ),
    field("start", Shape::Word(&["latest", "beginning"])),
    field("deduplicate", Shape::Record(&[needed("window", Shape::Span)])),
    field("samplingInterval", Shape::Span),
    field("paused", Shape::Bool),
];

const SELECTORS: Shape = Shape::MapOf(&Shape::List(&Shape::Text));

const ENDPOINT: Shape = Shape::Record(&[
    needed("type", Shape::Filled),
    field("service", Shape::Text),
    field("region", Shape::Text),
    needed("endpointName", Shape::Filled),
    field("profile", Shape::Text),
]);

/// The fields of a KPS document.
pub(crate) const KPS: &[KpsField] = &[
    kps(&["id"], Shape::Filled, To::Id),
    kps(&["name"], Shape::Filled, To::Name).needed(),
    kps(&["description"], Shape::Text, To::Same("description")),
    kps(&["project"], Shape::Filled, To::Named("project")),
    kps(&["projectId"], Shape::Filled, To::Uid("project")),
    kps(&["samplingIntervalMsec"], Shape::Count(0, u64::MAX), To::Millis("samplingInterval")),
    kps(
        &["functions"],
        Shape::List(&Shape::Record(&[needed("name", Shape::Filled), field("args", Shape::Values)])),
        To::Steps("functions"),
    ),
    kps(
        &["input"],
        Shape::Record(&[field("categorySelectors", SELECTORS), field("dataPipeline", Shape::Filled)]),
        To::Input,
    )
    .needed(),
    kps(&["output"], Shape::Record(&[field("localEdge", ENDPOINT), field("publicCloud", ENDPOINT)]), To::Output)
        .needed(),
];

impl PipelineSpec {
    pub(crate) fn validate(&self, object: &Object, check: &mut Check) {
        let native = object.form.is_native();
        let inputs: &[(&str, bool)] = if native {
            &[
                ("source", self.source.is_some()),
                ("selectors", !self.selectors.is_empty()),
                ("inputPipeline", self.input_pipeline.is_some()),
            ]
        } else {
            &[("categorySelectors", !self.selectors.is_empty()), ("dataPipeline", self.input_pipeline.is_some())]
        };
        // `input` in a document of a file, `originSelectors` in one of the REST API.
        let input = object.path("selectors");
        let input = input.split('.').next().unwrap_or_default();
        check.choice(if native { "spec" } else { input }, inputs, false);
        if !native && self.sink.is_none() && self.external.is_none() {
            check.choice("output", &[("localEdge", false), ("publicCloud", false)], false);
        }
        for (path, used) in self.uses() {
            if let StreamUse::Inline(inline) = used {
                let given = [("class", inline.class.is_some()), ("component", inline.component.is_some())];
                check.choice(&object.path(&path), &given, false);
                if path != "source" && !inline.labels.is_empty() {
                    check.add(
                        Diagnostic::new(Code::LabelsOnEgress, "an egress stream has no labels")
                            .at(object.path(&format!("{path}.labels"))),
                    );
                }
                if path != "source" && inline.log.is_some() {
                    check.add(no_log(object.path(&format!("{path}.log"))));
                }
            }
        }
        let batch = self.batch.unwrap_or_default();
        if let (Some(records), Some(window)) = (batch.records, batch.window)
            && window < records
        {
            let message = format!("a window of {window} has no room for a batch of {records} records");
            check.add(
                Diagnostic::new(Code::BadValue, message)
                    .at(object.path("batch.window"))
                    .help("make `window` at least `records`, or delete it"),
            );
        }
        if self.deduplicate.is_some_and(|unique| unique.window.0.is_zero()) {
            check.add(
                Diagnostic::new(Code::BadValue, "nothing comes twice within no time")
                    .at(object.path("deduplicate.window"))
                    .help("give a time such as 10m, or delete `deduplicate`"),
            );
        }
        let mut names = Vec::new();
        for (index, step) in self.functions.iter().enumerate() {
            let path = object.path(&format!("functions[{index}]"));
            let given = [("function", step.function.is_some()), ("component", step.component.is_some())];
            check.choice(&path, &given, false);
            let Some(name) = &step.name else { continue };
            if native {
                check.name(&format!("{path}.name"), name, true);
            }
            if names.contains(&name) {
                check.add(
                    Diagnostic::new(Code::DuplicateName, format!("another step is named `{name}`"))
                        .at(format!("{path}.name")),
                );
            }
            names.push(name);
        }
    }

    /// Its streams, with the path of each in the spec.
    pub fn uses(&self) -> Vec<(String, &StreamUse)> {
        let ends = [("source", &self.source), ("sink", &self.sink)];
        let ends = ends.into_iter().filter_map(|(name, used)| Some((name.to_owned(), used.as_ref()?)));
        let routes = self.routes.iter().map(|(name, used)| (member("routes", name), used));
        ends.chain(routes).collect()
    }

    /// The names of its steps, in order: as given, else the function's or component's, with a number where that occurs twice.
    pub fn step_names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::with_capacity(self.functions.len());
        for step in &self.functions {
            let base = step.base_name();
            let mut name = base.clone();
            let mut number = 2;
            while names.contains(&name) || (step.name.is_none() && self.is_taken(&name)) {
                name = format!("{base}-{number}");
                number += 1;
            }
            names.push(name);
        }
        names
    }

    fn is_taken(&self, name: &str) -> bool {
        self.functions.iter().any(|step| step.name.as_deref() == Some(name))
    }
}

impl StepSpec {
    fn base_name(&self) -> String {
        if let Some(name) = &self.name {
            return name.clone();
        }
        match (&self.function, &self.component) {
            (Some(Ref::Name { name, .. }), _) => name.clone(),
            (Some(Ref::Uid(uid)), _) => uid.to_string(),
            (None, Some(component)) => component_stem(component),
            (None, None) => "step".to_owned(),
        }
    }
}

/// The name in the text of a `component` field: of a file without folder and ending, of a component without version.
pub(crate) fn component_stem(component: &str) -> String {
    let file = component.rsplit(['/', '\\']).next().unwrap_or(component);
    let stem = file.strip_suffix(".wasm").unwrap_or(file);
    let stem = stem.split('@').next().unwrap_or(stem);
    if stem.starts_with("sha256:") {
        return "component".to_owned();
    }
    stem.to_owned()
}
