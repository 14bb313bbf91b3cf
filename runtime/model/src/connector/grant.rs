//! A grant: what the guests of a class, instance, stream or function may reach.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Ref;

/// What the guests of a class, instance, stream or function may reach. Where several are named, all must fit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrantSpec {
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// All streams of this class. Without a version: of each version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Ref>,
    /// All streams of this instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<Ref>,
    /// This stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<Ref>,
    /// All steps that use this function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<Ref>,
    /// What they may reach: each entry an object with one member, such as `{tcp: "broker.example:1883"}`; the entries
    /// that [`crate::capability`] reads.
    pub allow: Vec<Value>,
}
