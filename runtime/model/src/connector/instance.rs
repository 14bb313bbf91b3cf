//! An instance: a class with values for its static parameters.

use serde::{Deserialize, Serialize};

use super::Values;
use crate::{
    Ref,
    document::kps::{KpsField, To, kps},
    shape::{Field, Shape, field, needed},
};

/// A class with values for its static parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceSpec {
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The class.
    pub class: Ref,
    /// The project that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<Ref>,
    /// Values for the class's static parameters; fixed while it runs.
    #[serde(default, rename = "static", skip_serializing_if = "Values::is_empty")]
    pub static_parameters: Values,
    /// The component to run instead of the class's, such as `mqtt@0.2.0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
}

/// The fields of a native document.
pub(crate) const NATIVE: &[Field] = &[
    field("description", Shape::Text),
    needed("class", Shape::Reference),
    field("project", Shape::Reference),
    field("static", Shape::Values),
    field("component", Shape::Filled),
];

/// The fields of a KPS document.
pub(crate) const KPS: &[KpsField] = &[
    kps(&["id"], Shape::Filled, To::Id),
    kps(&["name"], Shape::Filled, To::Name).needed(),
    kps(&["description"], Shape::Text, To::Same("description")),
    kps(&["connectorClassID"], Shape::Filled, To::Uid("class")).needed(),
    kps(&["projectId"], Shape::Filled, To::Uid("project")).needed(),
    kps(&["staticParameters"], Shape::Values, To::Same("static")),
];
