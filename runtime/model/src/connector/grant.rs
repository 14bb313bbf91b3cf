//! A grant: what the guests of a class, instance, stream or function may reach, and what they may not.

use serde::{Deserialize, Serialize};

use super::stream::{LIMITS, Limits};
use crate::{
    Ref,
    capability::Allowance,
    connector::attach::{self, Attach},
    shape::{Check, Field, Shape, element, field},
};

/// What the guests of a class, instance, stream or function may reach. Where several are named, all must fit. One that only
/// denies may name nobody, and is then for everybody.
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
    /// What they may reach: each entry an object with one member, such as `{tcp: "broker.example:1883"}`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<Allowance>,
    /// What the host adds to their connections and requests, and they never see.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attach: Vec<Attach>,
    /// What they may not reach, whoever allows it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<Allowance>,
    /// What they may use, over what classes, functions and streams say; where several grants say something, the smaller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
}

/// The fields of a native document.
pub(crate) const NATIVE: &[Field] = &[
    field("description", Shape::Text),
    field("class", Shape::Reference),
    field("instance", Shape::Reference),
    field("stream", Shape::Reference),
    field("function", Shape::Reference),
    field("allow", Shape::List(&Shape::Allowance)),
    field("attach", Shape::List(&Shape::Record(attach::FIELDS))),
    field("deny", Shape::List(&Shape::Denial)),
    field("limits", LIMITS),
];

impl GrantSpec {
    pub(crate) fn validate(&self, check: &mut Check) {
        let given = [
            ("class", self.class.is_some()),
            ("instance", self.instance.is_some()),
            ("stream", self.stream.is_some()),
            ("function", self.function.is_some()),
        ];
        if !self.allow.is_empty() || !self.attach.is_empty() || self.limits.is_some() || self.deny.is_empty() {
            check.choice("spec", &given, true);
        }
        for (index, entry) in self.attach.iter().enumerate() {
            entry.validate(check, &element("spec.attach", index));
        }
    }
}
