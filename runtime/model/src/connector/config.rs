//! A config: values of an instance that change while it runs.

use serde::{Deserialize, Serialize};

use super::{Labels, Values, stream::KPS_LABELS};
use crate::{
    Ref,
    document::kps::{KpsField, To, kps},
    shape::{Field, Shape, field, needed},
};

/// Values that change while an instance runs. Several configs of one instance are merged in order of their names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigSpec {
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The instance.
    pub instance: Ref,
    /// Values for the class's config parameters.
    #[serde(default, skip_serializing_if = "Values::is_empty")]
    pub parameters: Values,
    /// Where it holds; none: in all service domains of the project.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub service_domains: Vec<Ref>,
    /// Where it does not hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_service_domains: Vec<Ref>,
    /// It holds in the service domains with these labels.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub service_domain_selectors: Labels,
}

/// The fields of a native document.
pub(crate) const NATIVE: &[Field] = &[
    field("description", Shape::Text),
    needed("instance", Shape::Reference),
    field("parameters", Shape::Values),
    field("serviceDomains", Shape::List(&Shape::Reference)),
    field("excludeServiceDomains", Shape::List(&Shape::Reference)),
    field("serviceDomainSelectors", Shape::Labels),
];

/// The fields of a KPS document.
pub(crate) const KPS: &[KpsField] = &[
    kps(&["id"], Shape::Filled, To::Id),
    kps(&["name"], Shape::Filled, To::Name).needed(),
    kps(&["description"], Shape::Text, To::Same("description")),
    kps(&["connectorInstanceID"], Shape::Filled, To::Uid("instance")).needed(),
    kps(&["config", "parameters"], Shape::Values, To::Same("parameters")),
    kps(&["serviceDomainIds"], Shape::List(&Shape::Filled), To::Uids("serviceDomains")),
    kps(&["excludeServiceDomainIds"], Shape::List(&Shape::Filled), To::Uids("excludeServiceDomains")),
    kps(&["serviceDomainSelectors"], KPS_LABELS, To::Labels("serviceDomainSelectors")),
];
