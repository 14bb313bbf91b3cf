//! A project: a namespace that spans service domains.

use serde::{Deserialize, Serialize};

use super::Labels;
use crate::Ref;

/// A namespace that spans service domains.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProjectSpec {
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Who works in it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<String>,
    /// Its service domains. KPS: `edges`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub service_domains: Vec<Ref>,
    /// Its service domains, by label.
    #[serde(skip_serializing_if = "Labels::is_empty")]
    pub service_domain_selectors: Labels,
    /// Kept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cloud_profiles: Vec<String>,
    /// Kept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub docker_profiles: Vec<String>,
    /// Kept.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub privileged: bool,
}
