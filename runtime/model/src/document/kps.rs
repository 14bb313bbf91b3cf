//! Documents as KPS publishes them: read into the envelope, and written back in their own form without loss.

use serde_json::{Map, Value, json};

use super::rest;
use crate::{
    API_VERSION, Code, Diagnostic, Form, Kind, Metadata, Object, Ref, Status, Syntax, Uid, connector,
    quantity::Span,
    shape::{Check, Shape},
};

/// A field of a KPS document and what it becomes.
pub(crate) struct KpsField {
    /// Its spellings; the case does not matter. The first is written.
    names: &'static [&'static str],
    shape: Shape,
    required: bool,
    to: To,
}

/// What a field becomes in the envelope; the text names a member of the spec.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum To {
    /// `metadata.uid`.
    Id,
    /// `metadata.name`.
    Name,
    /// The same value.
    Same(&'static str),
    /// A reference by id.
    Uid(&'static str),
    /// A reference by name.
    Named(&'static str),
    /// References by id.
    Uids(&'static str),
    /// References by name.
    Names(&'static str),
    /// Labels that name their category by id.
    Labels(&'static str),
    /// Milliseconds; 0 is none.
    Millis(&'static str),
    /// The functions of a pipeline.
    Steps(&'static str),
    /// The input of a pipeline: `selectors` or `inputPipeline`.
    Input,
    /// The output of a pipeline: `sink` or `external`.
    Output,
    /// Nothing: it stays in the document.
    Kept,
}

/// An optional field.
pub(crate) const fn kps(names: &'static [&'static str], shape: Shape, to: To) -> KpsField {
    KpsField { names, shape, required: false, to }
}

impl KpsField {
    pub(crate) const fn needed(self) -> Self {
        let Self { names, shape, to, .. } = self;
        Self { names, shape, required: true, to }
    }

    fn has_name(&self, name: &str) -> bool {
        self.names.iter().any(|known| known.eq_ignore_ascii_case(name))
    }

    /// The key under which a document has the field.
    fn key_in<'a>(&self, document: &'a Map<String, Value>) -> Option<&'a String> {
        document.iter().find(|(key, value)| self.has_name(key) && !value.is_null()).map(|(key, _)| key)
    }
}

/// The member with this name in any case.
pub(super) fn member_of<'a>(document: &'a Map<String, Value>, name: &str) -> Option<(&'a String, &'a Value)> {
    document.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))
}

/// The fields of a document of this kind.
fn fields_of(kind: Kind, document: &Map<String, Value>) -> Option<&'static [KpsField]> {
    if is_rest(kind, document) { Some(rest::FIELDS) } else { connector::kps_fields(kind) }
}

fn is_rest(kind: Kind, document: &Map<String, Value>) -> bool {
    kind == Kind::Pipeline && rest::is_pipeline(document)
}

/// Recognises a document without a kind by its fields.
pub(super) fn recognise(document: &Map<String, Value>) -> Option<Kind> {
    let has = |name| member_of(document, name).is_some();
    if has("connectorVersion") || has("yamlData") && has("streamParameterSchema") {
        Some(Kind::Class)
    } else if has("connectorClassID") {
        Some(Kind::Instance)
    } else if has("connectorInstanceID") && (has("direction") || has("stream")) {
        Some(Kind::Stream)
    } else if has("connectorInstanceID") && (has("config") || has("parameters")) {
        Some(Kind::Config)
    } else if rest::is_pipeline(document) {
        Some(Kind::Pipeline)
    } else {
        None
    }
}

/// Reads a document of a known kind. Nothing if it has errors.
pub(super) fn read(kind: Kind, document: Map<String, Value>, syntax: Syntax, check: &mut Check) -> Option<Object> {
    let fields = fields_of(kind, &document)?;
    let before = check.errors();
    check.lenient = true;
    let mut metadata = Metadata::default();
    let mut spec = Map::new();
    let mut seen: Vec<&str> = Vec::new();
    for (key, value) in &document {
        if key.eq_ignore_ascii_case("kind") || key.eq_ignore_ascii_case("apiVersion") {
            continue;
        }
        let Some(field) = fields.iter().find(|field| field.has_name(key)) else {
            let names: Vec<&str> = fields.iter().map(|field| field.names[0]).collect();
            check.unknown(key.clone(), key, &names);
            continue;
        };
        if value.is_null() {
            continue;
        }
        if seen.contains(&field.names[0]) {
            let message = format!("key `{}` occurs twice, in two spellings", field.names[0]);
            check.add(Diagnostic::new(Code::DuplicateKey, message).at(key));
            continue;
        }
        seen.push(field.names[0]);
        let errors = check.errors();
        let mut value = value.clone();
        check.value(key, &mut value, &field.shape);
        if check.errors() > errors {
            continue;
        }
        match (field.to, &value) {
            (To::Id, Value::String(id)) => {
                let longest = if matches!(kind, Kind::Project | Kind::Category) { 64 } else { 36 };
                check.id(key, id, longest);
                metadata.uid = Uid::from(id.as_str());
            }
            (To::Name, Value::String(name)) => {
                check.name(key, name, false);
                metadata.name.clone_from(name);
            }
            (to, value) => spec.extend(convert(to, value)),
        }
    }
    for field in fields {
        if field.required && !seen.contains(&field.names[0]) {
            check.missing(field.names[0], &field.shape.expected());
        }
    }
    if check.errors() > before {
        return None;
    }
    if is_rest(kind, &document) {
        spec.extend(rest::spec(&document));
    }
    if let Some(project) = spec.get("project") {
        metadata.namespace = project.get("name").or(Some(project)).and_then(Value::as_str).map(str::to_owned);
    }
    Some(Object {
        api_version: API_VERSION.to_owned(),
        kind,
        metadata,
        spec: Value::Object(spec),
        status: Status::default(),
        form: Form::Kps { syntax, document },
    })
}

/// A reference by name, written so that it reads back as a name whatever it looks like.
fn named(name: &str) -> Value {
    json!(Ref::name(name))
}

/// The members of the spec that a checked value becomes.
fn convert(to: To, value: &Value) -> Vec<(String, Value)> {
    let one = |name: &str, value: Value| vec![(name.to_owned(), value)];
    let list = |value: &Value, each: &dyn Fn(&Value) -> Value| {
        Value::Array(value.as_array().into_iter().flatten().map(each).collect())
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match to {
        To::Id | To::Name | To::Kept => Vec::new(),
        To::Same(name) => one(name, value.clone()),
        To::Uid(name) => one(name, json!({ "uid": value })),
        To::Named(name) => one(name, named(&text(value))),
        To::Uids(name) => one(name, list(value, &|id| json!({ "uid": id }))),
        To::Names(name) => one(name, list(value, &|value| named(&text(value)))),
        To::Labels(name) => {
            one(name, list(value, &|label| json!({"category": {"uid": label["id"]}, "value": label["value"]})))
        }
        To::Millis(name) => match value.as_u64() {
            None | Some(0) => Vec::new(),
            Some(millis) => one(name, json!(Span(std::time::Duration::from_millis(millis)))),
        },
        To::Steps(name) => one(
            name,
            list(value, &|step| {
                let mut native = Map::new();
                native.insert("function".to_owned(), named(&text(&step["name"])));
                if step["args"].is_object() {
                    native.insert("args".to_owned(), step["args"].clone());
                }
                Value::Object(native)
            }),
        ),
        To::Input => {
            let mut members = Vec::new();
            if value["categorySelectors"].is_object() {
                members.push(("selectors".to_owned(), value["categorySelectors"].clone()));
            }
            if value["dataPipeline"].is_string() {
                members.push(("inputPipeline".to_owned(), named(&text(&value["dataPipeline"]))));
            }
            members
        }
        To::Output => output(value),
    }
}

fn output(value: &Value) -> Vec<(String, Value)> {
    let local = &value["localEdge"];
    let mut members = Vec::new();
    if local["type"].as_str().is_some_and(|kind| kind.eq_ignore_ascii_case("Connector")) {
        let mut sink = Map::from_iter([("name".to_owned(), local["endpointName"].clone())]);
        if let Some(service) = local["service"].as_str().filter(|service| !service.is_empty()) {
            sink.insert("in".to_owned(), json!(service));
        }
        members.push(("sink".to_owned(), Value::Object(sink)));
    }
    let other = if members.is_empty() && local.is_object() {
        Some(("localEdge", local))
    } else {
        value["publicCloud"].as_object().map(|_| ("publicCloud", &value["publicCloud"]))
    };
    if let Some((place, endpoint)) = other {
        let mut external = Map::from_iter([("place".to_owned(), json!(place))]);
        for name in ["type", "service", "region", "endpointName", "profile"] {
            if endpoint[name].is_string() {
                external.insert(name.to_owned(), endpoint[name].clone());
            }
        }
        members.push(("external".to_owned(), Value::Object(external)));
    }
    members
}

/// The names of the spec's members that a field becomes.
fn targets(to: To) -> Vec<&'static str> {
    match to {
        To::Id | To::Name | To::Kept => Vec::new(),
        To::Same(name)
        | To::Uid(name)
        | To::Named(name)
        | To::Uids(name)
        | To::Names(name)
        | To::Labels(name)
        | To::Millis(name)
        | To::Steps(name) => vec![name],
        To::Input => vec!["selectors", "inputPipeline"],
        To::Output => vec!["sink", "external"],
    }
}

/// The value of a field that the spec stands for now, if it can be said in KPS.
fn invert(to: To, spec: &Value) -> Option<Value> {
    let reference = |value: &Value| serde_json::from_value::<Ref>(value.clone()).ok();
    let uid = |value: &Value| match reference(value)? {
        Ref::Uid(uid) => Some(json!(uid)),
        Ref::Name { .. } => None,
    };
    let name = |value: &Value| match reference(value)? {
        Ref::Name { name, .. } => Some(json!(name)),
        Ref::Uid(_) => None,
    };
    let each = |value: &Value, one: &dyn Fn(&Value) -> Option<Value>| {
        let list: Option<Vec<Value>> = value.as_array()?.iter().map(one).collect();
        list.map(Value::Array)
    };
    match to {
        To::Id | To::Name | To::Kept => None,
        To::Same(field) => spec.get(field).cloned(),
        To::Uid(field) => uid(spec.get(field)?),
        To::Named(field) => name(spec.get(field)?),
        To::Uids(field) => each(spec.get(field)?, &uid),
        To::Names(field) => each(spec.get(field)?, &name),
        To::Labels(field) => {
            each(spec.get(field)?, &|label| Some(json!({"id": uid(&label["category"])?, "value": label["value"]})))
        }
        To::Millis(field) => {
            let span: Span = serde_json::from_value(spec.get(field)?.clone()).ok()?;
            Some(json!(u64::try_from(span.0.as_millis()).unwrap_or(u64::MAX)))
        }
        To::Steps(field) => each(spec.get(field)?, &|step| {
            let mut out = Map::from_iter([("name".to_owned(), name(&step["function"])?)]);
            if step["args"].is_object() {
                out.insert("args".to_owned(), step["args"].clone());
            }
            Some(Value::Object(out))
        }),
        To::Input => {
            let mut input = Map::new();
            if let Some(selectors) = spec.get("selectors") {
                input.insert("categorySelectors".to_owned(), selectors.clone());
            }
            if let Some(pipeline) = spec.get("inputPipeline") {
                input.insert("dataPipeline".to_owned(), name(pipeline)?);
            }
            Some(Value::Object(input))
        }
        To::Output => {
            let mut output = Map::new();
            if let Some(external) = spec.get("external").and_then(Value::as_object) {
                let mut external = external.clone();
                let place = external.remove("place")?;
                output.insert(place.as_str()?.to_owned(), Value::Object(external));
            }
            if let Some(sink) = spec.get("sink") {
                let Ref::Name { parent, name, .. } = reference(sink)? else {
                    return None;
                };
                let mut edge = Map::from_iter([("type".to_owned(), json!("Connector"))]);
                edge.extend(parent.map(|parent| ("service".to_owned(), json!(parent))));
                edge.insert("endpointName".to_owned(), json!(name));
                output.insert("localEdge".to_owned(), Value::Object(edge));
            }
            Some(Value::Object(output))
        }
    }
}

/// The document of an object in its own form, as it was read, except for what has changed since.
pub(super) fn write(
    kind: Kind,
    metadata: &Metadata,
    spec: &Value,
    document: &Map<String, Value>,
) -> Map<String, Value> {
    let mut out = document.clone();
    let fields = fields_of(kind, document).unwrap_or_default();
    for field in fields {
        let key = field.key_in(document).cloned();
        let place = key.clone().unwrap_or_else(|| field.names[0].to_owned());
        match field.to {
            To::Kept => {}
            To::Name => {
                out.insert(place, json!(metadata.name));
            }
            To::Id if metadata.uid.is_unset() => {}
            To::Id => {
                out.insert(place, json!(metadata.uid));
            }
            to => {
                let names = targets(to);
                let said_elsewhere = fields.iter().any(|other| {
                    other.names != field.names
                        && targets(other.to).iter().any(|name| names.contains(name))
                        && other.key_in(document).is_some()
                });
                let then = key.as_ref().map(|key| then(field, &document[key]));
                let now = names
                    .iter()
                    .filter_map(|name| Some(((*name).to_owned(), spec.get(name)?.clone())))
                    .collect::<Map<_, _>>();
                if then.unwrap_or_default() == now || key.is_none() && said_elsewhere {
                    continue;
                }
                match invert(to, spec) {
                    Some(value) => {
                        out.insert(place, value);
                    }
                    None => {
                        out.shift_remove(&place);
                    }
                }
            }
        }
    }
    out
}

/// What the spec's members were when the document was read.
fn then(field: &KpsField, value: &Value) -> Map<String, Value> {
    let mut check = Check::new("");
    check.lenient = true;
    let mut value = value.clone();
    check.value("", &mut value, &field.shape);
    convert(field.to, &value).into_iter().collect()
}

/// Where in a document a member of the spec is said.
pub(super) fn path(kind: Kind, document: &Map<String, Value>, native: &str) -> String {
    let end = native.find(['.', '[']).unwrap_or(native.len());
    let (head, rest) = native.split_at(end);
    if is_rest(kind, document) {
        return rest::path(native);
    }
    let fields = connector::kps_fields(kind).unwrap_or_default();
    let of_head = || fields.iter().filter(|field| targets(field.to).contains(&head));
    let field = of_head().find(|field| field.key_in(document).is_some()).or_else(|| of_head().next());
    let Some(field) = field else {
        return native.to_owned();
    };
    let key = field.key_in(document).map_or(field.names[0], String::as_str);
    match (field.to, head) {
        (To::Input, "selectors") => format!("{key}.categorySelectors{rest}"),
        (To::Input, _) => format!("{key}.dataPipeline{rest}"),
        (To::Output, "sink") => format!("{key}.localEdge.endpointName"),
        (To::Output, _) => format!("{key}{rest}"),
        (To::Labels(_), _) => format!("{key}{}", rest.replace(".category", ".id")),
        (To::Steps(_), _) => format!("{key}{}", rest.replace(".function", ".name")),
        _ => format!("{key}{rest}"),
    }
}
