//! A project: a namespace that spans service domains.

use serde::{Deserialize, Serialize};

use super::Labels;
use crate::{
    Ref,
    document::kps::{KpsField, To, kps},
    shape::{Field, Shape, field},
};

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

/// The fields of a native document.
pub(crate) const NATIVE: &[Field] = &[
    field("description", Shape::Text),
    field("users", Shape::List(&Shape::Text)),
    field("serviceDomains", Shape::List(&Shape::Reference)),
    field("serviceDomainSelectors", Shape::Labels),
    field("cloudProfiles", Shape::List(&Shape::Text)),
    field("dockerProfiles", Shape::List(&Shape::Text)),
    field("privileged", Shape::Bool),
];

/// The fields of a KPS document.
pub(crate) const KPS: &[KpsField] = &[
    kps(&["id"], Shape::Filled, To::Id),
    kps(&["name"], Shape::Filled, To::Name).needed(),
    kps(&["description"], Shape::Text, To::Same("description")),
    kps(&["users"], Shape::List(&Shape::Text), To::Same("users")),
    kps(&["edges"], Shape::List(&Shape::Filled), To::Names("serviceDomains")),
    kps(&["cloudProfiles"], Shape::List(&Shape::Text), To::Same("cloudProfiles")),
    kps(&["dockerProfiles"], Shape::List(&Shape::Text), To::Same("dockerProfiles")),
    kps(&["privileged"], Shape::Bool, To::Same("privileged")),
];
