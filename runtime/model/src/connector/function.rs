//! A function: a component, or a script for a component, that turns records into records.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Values,
    stream::{LIMITS, Limits},
};
use crate::{
    Object, Ref,
    document::kps::{KpsField, To, kps},
    schema,
    shape::{Check, Field, Shape, field, needed},
};

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

const PARAMETERS: Shape = Shape::List(&Shape::Record(&[needed("name", Shape::Filled), field("type", Shape::Text)]));
const LANGUAGE: Shape = Shape::Word(&["python", "node", "golang"]);

/// The fields of a native document.
pub(crate) const NATIVE: &[Field] = &[
    field("description", Shape::Text),
    field("project", Shape::Reference),
    field("version", Shape::Filled),
    field("component", Shape::Filled),
    field("language", LANGUAGE),
    field("environment", Shape::Text),
    field("code", Shape::Text),
    field("sourceCodePath", Shape::Filled),
    field("params", PARAMETERS),
    field("argsSchema", Shape::Schema),
    field("args", Shape::Values),
    field("limits", LIMITS),
];

/// The fields of a KPS document.
pub(crate) const KPS: &[KpsField] = &[
    kps(&["id"], Shape::Filled, To::Id),
    kps(&["name"], Shape::Filled, To::Name).needed(),
    kps(&["description"], Shape::Text, To::Same("description")),
    kps(&["project"], Shape::Filled, To::Named("project")),
    kps(&["projectId"], Shape::Filled, To::Uid("project")),
    kps(&["sourceCodePath"], Shape::Filled, To::Same("sourceCodePath")),
    kps(&["code"], Shape::Text, To::Same("code")),
    kps(&["language"], LANGUAGE, To::Same("language")).needed(),
    kps(&["environment"], Shape::Filled, To::Same("environment")).needed(),
    kps(&["params"], PARAMETERS, To::Same("params")),
    kps(&["type"], Shape::Word(&["Transformation", "Function"]), To::Kept),
    kps(&["runtimeId"], Shape::Text, To::Kept),
    kps(&["runtimeTag"], Shape::Text, To::Kept),
];

impl FunctionSpec {
    pub(crate) fn validate(&self, object: &Object, check: &mut Check) {
        if let Some(schema) = &self.args_schema {
            for diagnostic in schema::problems(schema, &object.path("argsSchema")) {
                check.add(diagnostic);
            }
        }
        if object.form.is_native() {
            let given = [
                ("component", self.component.is_some()),
                ("code", self.code.is_some()),
                ("sourceCodePath", self.source_code_path.is_some()),
            ];
            if given.iter().filter(|(_, is)| *is).count() > 1 {
                check.choice("spec", &given, false);
            }
        } else {
            let given = [("sourceCodePath", self.source_code_path.is_some()), ("code", self.code.is_some())];
            check.choice("", &given, true);
        }
        let script = self.code.is_some() || self.source_code_path.is_some();
        if script && self.language.is_none() {
            check.missing(&object.path("language"), "python, node or golang");
        }
    }
}
