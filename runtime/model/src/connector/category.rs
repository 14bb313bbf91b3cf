//! A category: a word with a list of values, for labels.

use serde::{Deserialize, Serialize};

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
