//! A function: a component, or a script for a component, that turns records into records.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Values, stream::Limits};
use crate::Ref;

/// The language of a KPS function's script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// `main(ctx, msg)`.
    Python,
    /// `exports.main = (ctx, msg) => promise`.
    Node,
    /// A Go file.
    Golang,
}

/// A parameter that a function says it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Its type, such as `string`.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

/// What turns records into records.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FunctionSpec {
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The project that it belongs to; none: it is there for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<Ref>,
    /// The function's version; the component's if none is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The component, see [`super::ComponentSource`]; none: the registered component of the function's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// The language of the script; none: the function is a component.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<Language>,
    /// The runtime of the script, such as `python-env`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// The script.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The script's file, relative to the document. Whoever reads the document puts the contents in `code`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_code_path: Option<String>,
    /// Parameters by name and type.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub params: Vec<Parameter>,
    /// JSON Schema of the arguments; none: the component's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args_schema: Option<Value>,
    /// Values for arguments that a pipeline does not give.
    #[serde(skip_serializing_if = "Values::is_empty")]
    pub args: Values,
    /// Limits for every step that uses it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
}
