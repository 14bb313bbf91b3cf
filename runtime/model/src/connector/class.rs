//! A class: a sort of connector, with the schemas of its parameters and the component that does the work.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::stream::{LIMITS, Limits, StreamDirection};
use crate::{
    Object,
    document::kps::{KpsField, To, kps},
    schema,
    shape::{Check, Field, Shape, field},
};

/// Which directions the streams of a class may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ClassType {
    /// From the outside world only.
    Ingress,
    /// To the outside world only.
    Egress,
    /// Both, each stream in one of them.
    Bidirectional,
}

impl ClassType {
    /// Whether a stream may go this way.
    pub fn allows(self, direction: StreamDirection) -> bool {
        matches!(
            (self, direction),
            (ClassType::Bidirectional, _)
                | (ClassType::Ingress, StreamDirection::Ingress)
                | (ClassType::Egress, StreamDirection::Egress)
        )
    }

    /// As documents write it.
    pub fn name(self) -> &'static str {
        match self {
            ClassType::Ingress => "INGRESS",
            ClassType::Egress => "EGRESS",
            ClassType::Bidirectional => "BIDIRECTIONAL",
        }
    }
}

/// A sort of connector.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClassSpec {
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The class's version; the component's if none is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The directions; those of the component if none are given.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub class_type: Option<ClassType>,
    /// The component, see [`ComponentSource`]; none: the registered component of the class's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// The lowest service domain version that it runs in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_service_domain_version: Option<String>,
    /// JSON Schema of an instance's `static`; none: the component's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub static_schema: Option<Value>,
    /// JSON Schema of a config's `parameters`; none: the component's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_schema: Option<Value>,
    /// JSON Schema of a stream's `parameters`; none: the component's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_schema: Option<Value>,
    /// The Kubernetes documents of a KPS class, as a template. Kept, not used to run it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub yaml_data: Option<String>,
    /// Limits for every stream of the class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
}

/// Where the component of a class or function is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ComponentSource {
    /// A file, its path relative to the document (or absolute): the text contains a `/` or ends in `.wasm`.
    File(String),
    /// A registered component by its digest, `sha256:...`.
    Digest(String),
    /// A registered component by name, and version if one is given: `name` or `name@version`.
    Name {
        /// Its name.
        name: String,
        /// Its version; none: the latest registered.
        version: Option<String>,
    },
}

impl ComponentSource {
    /// Reads the text of a `component` field.
    pub fn parse(text: &str) -> Self {
        if text.starts_with("sha256:") {
            Self::Digest(text.to_owned())
        } else if text.contains('/') || text.ends_with(".wasm") {
            Self::File(text.to_owned())
        } else {
            let (name, version) = match text.split_once('@') {
                Some((name, version)) => (name, Some(version.to_owned())),
                None => (text, None),
            };
            Self::Name { name: name.to_owned(), version }
        }
    }
}

/// The fields of a native document.
pub(crate) const NATIVE: &[Field] = &[
    field("description", Shape::Text),
    field("version", Shape::Filled),
    field("type", TYPE),
    field("component", Shape::Filled),
    field("minServiceDomainVersion", Shape::Text),
    field("staticSchema", Shape::Schema),
    field("configSchema", Shape::Schema),
    field("streamSchema", Shape::Schema),
    field("yamlData", Shape::Text),
    field("limits", LIMITS),
];

const TYPE: Shape = Shape::Word(&["INGRESS", "EGRESS", "BIDIRECTIONAL"]);

/// The fields of a KPS document.
pub(crate) const KPS: &[KpsField] = &[
    kps(&["id"], Shape::Filled, To::Id),
    kps(&["name"], Shape::Filled, To::Name).needed(),
    kps(&["description"], Shape::Text, To::Same("description")),
    kps(&["connectorVersion"], Shape::Filled, To::Same("version")).needed(),
    kps(&["minSvcDomainVersion"], Shape::Text, To::Same("minServiceDomainVersion")),
    kps(&["type"], TYPE, To::Same("type")).needed(),
    kps(&["staticParameterSchema"], Shape::Schema, To::Same("staticSchema")),
    kps(&["configParameterSchema"], Shape::Schema, To::Same("configSchema")),
    kps(&["streamParameterSchema"], Shape::Schema, To::Same("streamSchema")),
    kps(&["yamlData"], Shape::Text, To::Same("yamlData")).needed(),
];

impl ClassSpec {
    pub(crate) fn validate(&self, object: &Object, check: &mut Check) {
        for (field, schema) in [
            ("staticSchema", &self.static_schema),
            ("configSchema", &self.config_schema),
            ("streamSchema", &self.stream_schema),
        ] {
            if let Some(schema) = schema {
                for diagnostic in schema::problems(schema, &object.path(field)) {
                    check.add(diagnostic);
                }
            }
        }
    }
}
