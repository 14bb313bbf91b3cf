//! A service domain: a place that streams run in. A runtime is one of them.

use serde::{Deserialize, Serialize};

use super::Labels;
use crate::shape::{Field, Shape, field};

/// A place that streams run in.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceDomainSpec {
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What it is selected by.
    #[serde(skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
}

/// The fields of a native document.
pub(crate) const NATIVE: &[Field] = &[field("description", Shape::Text), field("labels", Shape::Labels)];
