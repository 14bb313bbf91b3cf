//! A registered component: a file that was checked, under the name and version that it gives itself.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::shape::{Field, Shape, field, needed};

/// A registered component. Made by `register`; immutable.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ComponentSpec {
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The version that it gives itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// `sha256:` and 64 hexadecimal digits.
    pub digest: String,
    /// Its length in bytes.
    pub size: u64,
    /// `source`, `sink`, `connector` or `function`.
    pub world: String,
    /// What it says of itself: the JSON form of [`crate::component::Description`].
    #[serde(skip_serializing_if = "Value::is_null")]
    pub describes: Value,
}

/// The fields of a native document.
pub(crate) const NATIVE: &[Field] = &[
    field("description", Shape::Text),
    field("version", Shape::Filled),
    needed("digest", Shape::Filled),
    needed("size", Shape::Count(0, u64::MAX)),
    needed("world", Shape::Word(&["source", "sink", "connector", "function"])),
    field("describes", Shape::Values),
];
