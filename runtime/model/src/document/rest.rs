//! The form that a data pipeline has in KPS's REST API and its client, beside the one that is written in files.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::kps::{KpsField, To, kps, member_of};
use crate::{
    quantity::Span,
    shape::{Shape, field, needed},
};

/// A category by its id, and one of its values.
const SELECTOR: Shape = Shape::Record(&[needed("id", Shape::Filled), needed("value", Shape::Text)]);

const ARGUMENT: Shape =
    Shape::Record(&[needed("name", Shape::Filled), field("type", Shape::Text), field("value", Shape::Any)]);

const TRANSFORMATION: Shape =
    Shape::Record(&[needed("transformationId", Shape::Filled), field("args", Shape::List(&ARGUMENT))]);

/// The fields. Several of them together say what a member of the spec is, so [`spec`] reads them, and the document stays as it was.
pub(super) const FIELDS: &[KpsField] = &[
    kps(&["id"], Shape::Filled, To::Id),
    kps(&["name"], Shape::Filled, To::Name).needed(),
    kps(&["description"], Shape::Text, To::Same("description")),
    kps(&["projectId"], Shape::Filled, To::Uid("project")),
    kps(&["origin"], Shape::Word(&["Data Source", "Data Stream"]), To::Kept).needed(),
    kps(&["originSelectors"], Shape::List(&SELECTOR), To::Kept),
    kps(&["originId"], Shape::Text, To::Kept),
    kps(&["transformationArgsList"], Shape::List(&TRANSFORMATION), To::Kept),
    kps(&["destination"], Shape::Word(&["Edge", "Cloud"]), To::Kept).needed(),
    kps(&["edgeStreamType"], Shape::Text, To::Kept),
    kps(&["cloudType"], Shape::Text, To::Kept),
    kps(&["endPoint"], Shape::Filled, To::Kept).needed(),
    kps(&["enableSampling"], Shape::Bool, To::Kept),
    kps(&["samplingInterval"], Shape::Any, To::Kept),
    kps(&["dataType"], Shape::Text, To::Kept),
    kps(&["dataRetention"], Shape::Any, To::Kept),
    kps(&["size"], Shape::Any, To::Kept),
];

/// Whether a pipeline's document has this form.
pub(super) fn is_pipeline(document: &Map<String, Value>) -> bool {
    ["originSelectors", "transformationArgsList", "edgeStreamType"]
        .iter()
        .any(|name| member_of(document, name).is_some())
}

/// What the fields are in the envelope.
pub(super) fn spec(document: &Map<String, Value>) -> Map<String, Value> {
    let value = |name| member_of(document, name).map_or(&Value::Null, |(_, value)| value);
    let text = |name| value(name).as_str().unwrap_or_default();
    let list = |name| value(name).as_array().into_iter().flatten();
    let mut spec = Map::new();
    if text("origin").eq_ignore_ascii_case("Data Stream") {
        if !text("originId").is_empty() {
            spec.insert("inputPipeline".to_owned(), json!({"uid": text("originId")}));
        }
    } else {
        let mut selectors: Map<String, Value> = Map::new();
        for selector in list("originSelectors") {
            let (Some(id), Some(of)) = (inner(selector, "id").as_str(), inner(selector, "value").as_str()) else {
                continue;
            };
            if let Value::Array(values) = selectors.entry(id).or_insert_with(|| json!([])) {
                values.push(json!(of));
            }
        }
        spec.insert("selectors".to_owned(), Value::Object(selectors));
    }
    let functions: Vec<Value> = list("transformationArgsList")
        .map(|step| {
            let given = inner(step, "args").as_array().into_iter().flatten();
            let args: Map<String, Value> = given
                .filter_map(|arg| Some((inner(arg, "name").as_str()?.to_owned(), inner(arg, "value").clone())))
                .collect();
            json!({"function": {"uid": inner(step, "transformationId")}, "args": args})
        })
        .collect();
    if !functions.is_empty() {
        spec.insert("functions".to_owned(), json!(functions));
    }
    let end = text("endPoint");
    if text("destination").eq_ignore_ascii_case("Cloud") {
        let external = json!({"place": "publicCloud", "type": text("cloudType"), "endpointName": end});
        spec.insert("external".to_owned(), external);
    } else if text("edgeStreamType").eq_ignore_ascii_case("Connector") {
        spec.insert("sink".to_owned(), json!({"name": end}));
    } else {
        let external = json!({"place": "localEdge", "type": text("edgeStreamType"), "endpointName": end});
        spec.insert("external".to_owned(), external);
    }
    let seconds = value("samplingInterval").as_f64().filter(|seconds| (0.001..1e9).contains(seconds));
    if let Some(seconds) = seconds.filter(|_| value("enableSampling").as_bool() == Some(true)) {
        spec.insert("samplingInterval".to_owned(), json!(Span(Duration::from_secs_f64(seconds))));
    }
    spec
}

/// A member of an object in a document, in any case.
fn inner<'a>(object: &'a Value, name: &str) -> &'a Value {
    object.as_object().and_then(|object| member_of(object, name)).map_or(&Value::Null, |(_, value)| value)
}

/// Where in a document a member of the spec is said.
pub(super) fn path(native: &str) -> String {
    let end = native.find(['.', '[']).unwrap_or(native.len());
    let (head, rest) = native.split_at(end);
    match head {
        // The values of one category lie apart there.
        "selectors" => "originSelectors".to_owned(),
        "inputPipeline" => "originId".to_owned(),
        "functions" => format!("transformationArgsList{}", rest.replace(".function", ".transformationId")),
        "sink" | "external" => "endPoint".to_owned(),
        "project" => "projectId".to_owned(),
        _ => native.to_owned(),
    }
}
