//! A category: a word with a list of values, for labels.

use serde::{Deserialize, Serialize};

use crate::{
    document::kps::{KpsField, To, kps},
    shape::{Field, Shape, field, needed},
};

/// A word with a list of values.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CategorySpec {
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The values that a label may have.
    pub values: Vec<String>,
}

/// The fields of a native document.
pub(crate) const NATIVE: &[Field] = &[field("description", Shape::Text), needed("values", Shape::List(&Shape::Filled))];

/// The fields of a KPS document.
pub(crate) const KPS: &[KpsField] = &[
    kps(&["id"], Shape::Filled, To::Id),
    kps(&["name"], Shape::Filled, To::Name).needed(),
    kps(&["description", "purpose"], Shape::Text, To::Same("description")),
    kps(&["values"], Shape::List(&Shape::Filled), To::Same("values")).needed(),
];
