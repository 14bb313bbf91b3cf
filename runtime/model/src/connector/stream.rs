//! A stream: one flow of records between the outside world and the platform.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::{
    Values,
    log::{LOG, LogSpec},
};
use crate::{
    Code, Diagnostic, Object, Ref,
    document::kps::{KpsField, To, kps},
    quantity::{Size, Span},
    shape::{Check, Field, Shape, field, needed},
};

/// Which way a stream goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum StreamDirection {
    /// From the outside world into the platform.
    #[serde(alias = "ingress", alias = "Ingress")]
    Ingress,
    /// From the platform to the outside world.
    #[serde(alias = "egress", alias = "Egress")]
    Egress,
}

impl StreamDirection {
    /// As documents write it.
    pub fn name(self) -> &'static str {
        match self {
            StreamDirection::Ingress => "INGRESS",
            StreamDirection::Egress => "EGRESS",
        }
    }
}

/// A category and one of its values.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Label {
    /// The category.
    pub category: Ref,
    /// One of its values.
    pub value: String,
}

/// Labels, in order. Written as a list of [`Label`], or as a map from the category's name to a value or a list of values.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Labels(pub Vec<Label>);

impl Labels {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Them all.
    pub fn iter(&self) -> std::slice::Iter<'_, Label> {
        self.0.iter()
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            List(Vec<Label>),
            Map(Values),
        }
        let labels = match Written::deserialize(deserializer)? {
            Written::List(list) => list,
            Written::Map(map) => map
                .into_iter()
                .flat_map(|(category, values)| {
                    let values = match values {
                        Value::Array(values) => values,
                        value => vec![value],
                    };
                    // A key is a category's name, or its id; never a reference with parts.
                    let category = match Ref::parse(&category) {
                        Ref::Uid(uid) => Ref::Uid(uid),
                        Ref::Name { .. } => Ref::name(category),
                    };
                    values.into_iter().map(move |value| Label {
                        category: category.clone(),
                        value: match value {
                            Value::String(text) => text,
                            other => other.to_string(),
                        },
                    })
                })
                .collect(),
        };
        Ok(Labels(labels))
    }
}

/// What one session of a guest may use. What is not given is the host's default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Limits {
    /// Linear memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
    /// Time that one call may compute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_time: Option<Span>,
    /// Time that one call may wait after it was woken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait: Option<Span>,
    /// Log lines kept per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_lines: Option<u32>,
    /// Bytes of log kept per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_bytes: Option<Size>,
    /// Elements of its tables of functions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table_elements: Option<u32>,
    /// Core instances inside the component.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instances: Option<u32>,
    /// Percent of one processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u32>,
    /// Open handles of any kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handles: Option<u32>,
    /// Open sockets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sockets: Option<u32>,
    /// Names being looked up at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lookups: Option<u32>,
    /// HTTP requests in flight at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<u32>,
    /// Bytes of one HTTP body, or head, kept in memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_bytes: Option<Size>,
    /// Bytes that one answer may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer_bytes: Option<Size>,
    /// Bytes of the records that one call returns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_bytes: Option<Size>,
    /// Records that one call returns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_records: Option<u32>,
    /// Names and labels of metrics, and alerts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<u32>,
    /// Times a second that it may tell its health or raise an alert.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_updates: Option<u32>,
}

/// Goes through all fields: what `one` has, else what `other` has, or what `both` makes of two.
macro_rules! each_limit {
    ($one:ident, $other:ident, $both:expr) => {
        each_limit!(
            $one, $other, $both, memory, call_time, wait, log_lines, log_bytes, table_elements, instances, cpu,
            handles, sockets, lookups, requests, body_bytes, answer_bytes, batch_bytes, batch_records, metrics,
            status_updates
        )
    };
    ($one:ident, $other:ident, $both:expr, $($field:ident),+) => {
        Limits { $($field: match ($one.$field, $other.$field) {
            (Some(one), Some(other)) => Some($both(one, other)),
            (one, other) => one.or(other),
        },)+ }
    };
}

impl Limits {
    /// These; where they say nothing, what `under` says.
    #[must_use]
    pub fn over(self, under: Self) -> Self {
        fn first<T>(one: T, _: T) -> T {
            one
        }
        each_limit!(self, under, first)
    }

    /// Of each the smaller.
    #[must_use]
    pub fn smaller(self, other: Self) -> Self {
        fn least<T: Ord>(one: T, other: T) -> T {
            one.min(other)
        }
        each_limit!(self, other, least)
    }
}

/// One flow of records.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamSpec {
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The instance that it belongs to.
    pub instance: Ref,
    /// Which way it goes.
    pub direction: StreamDirection,
    /// What a pipeline selects it by.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// Values for the class's stream parameters.
    #[serde(default, skip_serializing_if = "Values::is_empty")]
    pub parameters: Values,
    /// Where it runs; none: in all service domains of the project.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub service_domains: Vec<Ref>,
    /// Where it does not run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_service_domains: Vec<Ref>,
    /// It runs in the service domains with these labels.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub service_domain_selectors: Labels,
    /// Whether it is held.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// What it may use, over what its class says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// An ingress stream: how the log keeps its records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogSpec>,
}

/// The fields of [`Limits`].
pub(crate) const LIMITS: Shape = Shape::Record(&[
    field("memory", Shape::Size),
    field("callTime", Shape::Span),
    field("wait", Shape::Span),
    field("logLines", Shape::Count(0, 1_000_000)),
    field("logBytes", Shape::Size),
    field("tableElements", Shape::Count(0, 100_000_000)),
    field("instances", Shape::Count(1, 10_000)),
    field("cpu", Shape::Count(1, 100)),
    field("handles", Shape::Count(1, 1_000_000)),
    field("sockets", Shape::Count(0, 1_000_000)),
    field("lookups", Shape::Count(0, 10_000)),
    field("requests", Shape::Count(0, 100_000)),
    field("bodyBytes", Shape::Size),
    field("answerBytes", Shape::Size),
    field("batchBytes", Shape::Size),
    field("batchRecords", Shape::Count(1, 100_000_000)),
    field("metrics", Shape::Count(0, 1_000_000)),
    field("statusUpdates", Shape::Count(0, 1_000_000)),
]);

/// Labels as KPS writes them.
pub(crate) const KPS_LABELS: Shape =
    Shape::List(&Shape::Record(&[needed("id", Shape::Filled), needed("value", Shape::Text)]));

/// The fields of a native document.
pub(crate) const NATIVE: &[Field] = &[
    field("description", Shape::Text),
    needed("instance", Shape::Reference),
    needed("direction", Shape::Word(&["INGRESS", "EGRESS"])),
    field("labels", Shape::Labels),
    field("parameters", Shape::Values),
    field("serviceDomains", Shape::List(&Shape::Reference)),
    field("excludeServiceDomains", Shape::List(&Shape::Reference)),
    field("serviceDomainSelectors", Shape::Labels),
    field("paused", Shape::Bool),
    field("limits", LIMITS),
    field("log", LOG),
];

/// The fields of a KPS document.
pub(crate) const KPS: &[KpsField] = &[
    kps(&["id"], Shape::Filled, To::Id),
    kps(&["name"], Shape::Filled, To::Name).needed(),
    kps(&["description"], Shape::Text, To::Same("description")),
    kps(&["connectorInstanceID"], Shape::Filled, To::Uid("instance")).needed(),
    kps(&["direction"], Shape::Word(&["INGRESS", "EGRESS"]), To::Same("direction")).needed(),
    kps(&["labels"], KPS_LABELS, To::Labels("labels")),
    kps(&["stream"], Shape::Values, To::Same("parameters")).needed(),
    kps(&["serviceDomainIds"], Shape::List(&Shape::Filled), To::Uids("serviceDomains")),
    kps(&["excludeServiceDomainIds"], Shape::List(&Shape::Filled), To::Uids("excludeServiceDomains")),
    kps(&["serviceDomainSelectors"], KPS_LABELS, To::Labels("serviceDomainSelectors")),
];

impl StreamSpec {
    pub(crate) fn validate(&self, object: &Object, check: &mut Check) {
        match self.direction {
            StreamDirection::Egress if !self.labels.is_empty() => check.add(
                Diagnostic::new(Code::LabelsOnEgress, "an egress stream has no labels")
                    .at(object.path("labels"))
                    .help("delete `labels`; a pipeline names its egress stream"),
            ),
            StreamDirection::Ingress if self.labels.is_empty() && !object.form.is_native() => check.add(
                Diagnostic::new(Code::LabelsMissing, "an ingress stream needs at least one label")
                    .at(object.path("labels"))
                    .help("pipelines find it by {id: category, value: one of its values}"),
            ),
            _ => {}
        }
        if self.direction == StreamDirection::Egress && self.log.is_some() {
            check.add(no_log(object.path("log")));
        }
    }
}

/// That an egress stream says how a log keeps its records.
pub(crate) fn no_log(path: String) -> Diagnostic {
    Diagnostic::new(Code::FieldsExclude, "an egress stream has no log")
        .at(path)
        .help("delete `log`; the ingress streams that the pipeline reads have one each")
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    #[test]
    fn every_limit_that_can_be_written_is_read_and_merged() {
        let Shape::Record(fields) = LIMITS else { panic!("limits are a record") };
        let all = |number: u32| {
            let values: Map<_, _> = fields.iter().map(|field| (field.name.to_owned(), json!(number))).collect();
            serde_json::from_value::<Limits>(Value::Object(values)).unwrap()
        };
        let count = |limits: Limits| serde_json::to_value(limits).unwrap().as_object().unwrap().len();
        assert_eq!(count(all(2)), fields.len());
        assert_eq!(all(2).over(all(1)), all(2));
        assert_eq!(Limits::default().over(all(1)), all(1));
        assert_eq!(all(2).smaller(all(1)), all(1));
        assert_eq!(all(2).smaller(Limits::default()), all(2));
    }
}
