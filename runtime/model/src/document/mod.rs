//! Documents: how files of people and of other systems become objects, and objects documents again.

pub(crate) mod kps;

mod expand;
mod rest;
mod text;
mod variables;

use std::collections::HashMap;

use serde_json::{Map, Value};

pub use self::{
    expand::{expand, place_in_pipeline},
    text::LARGEST_FILE,
};
use crate::{
    API_VERSION, Code, Diagnostic, Form, Kind, Object, Syntax, connector,
    error::suggestion,
    secret::{self, SECRET_API_VERSION},
    shape::{Check, Field, Shape, field, needed, shown},
};

/// What a file holds: the objects that can be used, and all that is wrong with it, errors and warnings.
#[derive(Debug, Default)]
pub struct Reading {
    /// The objects of documents without errors, in order.
    pub objects: Vec<Object>,
    /// For each object the name of its document: the file's, with `#2` for the second in it.
    pub documents: Vec<String>,
    /// All that is wrong, in order.
    pub diagnostics: Vec<Diagnostic>,
}

impl Reading {
    /// Whether anything keeps the file from being used.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }

    /// What is odd, and does not keep the file from being used.
    pub fn warnings(&self) -> impl Iterator<Item = &Diagnostic> {
        self.diagnostics.iter().filter(|d| !d.is_error())
    }
}

/// Reads a file of documents; all of its errors at once. [`read`] also gives the warnings.
///
/// `noun` is the kind that the command names, if it names one. `env` looks up variables for `${env:NAME}`.
pub fn read_documents(
    name: &str,
    bytes: &[u8],
    noun: Option<Kind>,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<Object>, Vec<Diagnostic>> {
    let reading = read(name, bytes, noun, env);
    if reading.has_errors() { Err(reading.diagnostics) } else { Ok(reading.objects) }
}

/// Reads a file of documents, with everything that can be said of it. See [`read_documents`].
pub fn read(name: &str, bytes: &[u8], noun: Option<Kind>, env: &dyn Fn(&str) -> Option<String>) -> Reading {
    let mut reading = Reading::default();
    let (syntax, values) = match text::read(name, bytes) {
        Ok(values) => values,
        Err(diagnostic) => {
            reading.diagnostics.push(*diagnostic);
            return reading;
        }
    };
    let mut parsed = Vec::new();
    for value in values {
        match value {
            Ok(value) => flatten(value, &mut parsed),
            Err(diagnostic) => reading.diagnostics.push(*diagnostic),
        }
    }
    if parsed.is_empty() && reading.diagnostics.is_empty() {
        let diagnostic = Diagnostic::new(Code::NoDocument, "there is no document in the file");
        let help = "is it the right file? A document begins with `kind:`, or is a JSON object";
        reading.diagnostics.push(diagnostic.in_document(name).help(help));
    }
    let several = parsed.len() > 1;
    let mut names = HashMap::new();
    for (index, value) in parsed.into_iter().enumerate() {
        let document = if several { format!("{name}#{}", index + 1) } else { name.to_owned() };
        let mut check = Check::new(&document);
        if let Some(object) = read_one(value, syntax, noun, env, &mut check) {
            if let Some(diagnostic) = taken(&mut names, &object, &document) {
                check.add(diagnostic);
            } else {
                reading.objects.push(object);
                reading.documents.push(document);
            }
        }
        reading.diagnostics.append(&mut check.found);
    }
    reading
}

/// How the command begins that [`read`] shows where the noun of the command was wrong.
const CREATE: &str = "ferrule create ";

/// Has the commands in the help of diagnostics name the verb that was used.
pub fn say_verb(diagnostics: &mut [Diagnostic], verb: &str) {
    for diagnostic in diagnostics.iter_mut().filter(|diagnostic| diagnostic.code == Code::WrongNoun) {
        let rest = diagnostic.help.as_deref().and_then(|help| help.strip_prefix(CREATE));
        diagnostic.help = rest.map(|rest| format!("ferrule {verb} {rest}")).or(diagnostic.help.take());
    }
}

/// Takes lists of documents apart: a list, and what `get -o yaml` gives (`kind: List`).
fn flatten(value: Value, out: &mut Vec<Value>) {
    match value {
        Value::Null => {}
        Value::Array(list) => out.extend(list),
        Value::Object(mut map)
            if map.get("kind").and_then(Value::as_str) == Some("List") && map.contains_key("items") =>
        {
            if let Some(Value::Array(list)) = map.remove("items") {
                out.extend(list);
            }
        }
        value => out.push(value),
    }
}

/// Whether another document of the file stands for the same object.
fn taken(names: &mut HashMap<String, String>, object: &Object, document: &str) -> Option<Diagnostic> {
    let mut keys = vec![(object.identity(), "name")];
    if !object.metadata.uid.is_unset() {
        keys.push((format!("{} id {}", object.kind, object.metadata.uid), "uid"));
    }
    let mut found = None;
    for (key, field) in keys {
        if let Some(other) = names.get(&key) {
            let message = format!("{} is in {other} already", object.title());
            let path = match (&object.form, field) {
                (Form::Native, field) => format!("metadata.{field}"),
                (_, "uid") => "id".to_owned(),
                (_, field) => field.to_owned(),
            };
            found.get_or_insert(Diagnostic::new(Code::DuplicateName, message).at(path));
        } else {
            names.insert(key, document.to_owned());
        }
    }
    found
}

fn read_one(
    mut value: Value,
    syntax: Syntax,
    noun: Option<Kind>,
    env: &dyn Fn(&str) -> Option<String>,
    check: &mut Check,
) -> Option<Object> {
    variables::fill(check, "", &mut value, env);
    let Value::Object(map) = value else {
        check.add(
            Diagnostic::new(Code::WrongType, "a document is an object")
                .found(shown("", &value))
                .help("a document begins with `kind:`, or is a JSON object"),
        );
        return None;
    };
    let (kind, native) = classify(&map, noun, check)?;
    if let Some(noun) = noun.filter(|noun| *noun != kind) {
        let command = kind.kps_noun().unwrap_or(kind.nouns()[0]);
        let said = format!("this is a {}, and the command says {}", kind.nouns()[0], noun.nouns()[0]);
        // The README of the KPS template creates its config under the noun of streams.
        let slip = kind == Kind::Config && noun == Kind::Stream && !native;
        let diagnostic = Diagnostic::new(Code::WrongNoun, said)
            .help(format!("{CREATE}{command} -f {}", check.document.split('#').next().unwrap_or_default()));
        if slip {
            check.add(diagnostic.as_warning());
        } else {
            check.add(diagnostic);
            return None;
        }
    }
    let before = check.errors();
    let object = if native { read_native(kind, map, check)? } else { kps::read(kind, map, syntax, check)? };
    connector::validate(&object, check);
    (before == 0 && check.errors() == 0).then_some(object)
}

/// Finds out the kind of a document, and whether it is a native one.
fn classify(map: &Map<String, Value>, noun: Option<Kind>, check: &mut Check) -> Option<(Kind, bool)> {
    let native = map.contains_key("apiVersion") || map.contains_key("metadata") || map.contains_key("spec");
    let names = Kind::ALL.map(Kind::name);
    let Some((key, word)) = kps::member_of(map, "kind") else {
        let kind = if native { noun } else { kps::recognise(map).or(noun) };
        if kind.is_none() {
            check.add(
                Diagnostic::new(Code::UnknownKind, "`kind` is missing, and the fields do not tell it")
                    .at("kind")
                    .expected(names.join(", "))
                    .help("add `kind`, or name it on the command line: ferrule create stream -f FILE"),
            );
        }
        return with_form(kind?, native, check);
    };
    let kind = word.as_str().and_then(Kind::parse);
    let Some(kind) = kind else {
        let word = word.as_str().map_or_else(|| word.to_string(), str::to_owned);
        let foreign = map.get("apiVersion").and_then(Value::as_str).filter(|version| !version.contains("ferrule.dev"));
        if let Some(version) = foreign {
            check.add(bad_version(version));
            return None;
        }
        let help = suggestion(&word, names).map(|name| format!("did you mean `{name}`?"));
        check.add(
            Diagnostic::new(Code::UnknownKind, format!("`{word}` is no kind"))
                .at(key)
                .maybe_help(help.or_else(|| Some(format!("kinds are {}", names.join(", "))))),
        );
        return None;
    };
    // These words are ours alone: KPS says `connectorstream` or `dataPipeline`, or nothing.
    let ours = word.as_str().is_some_and(|word| {
        kind.name().eq_ignore_ascii_case(word) && !matches!(kind, Kind::Project | Kind::Category | Kind::Function)
    });
    if !native && ours && kps::recognise(map) != Some(kind) {
        check.add(
            Diagnostic::new(Code::MissingField, "missing")
                .at("metadata")
                .expected("an object with a name")
                .help(format!("a native document has apiVersion: {API_VERSION}, kind, metadata and spec")),
        );
        return None;
    }
    with_form(kind, native, check)
}

fn with_form(kind: Kind, native: bool, check: &mut Check) -> Option<(Kind, bool)> {
    if !native && connector::kps_fields(kind).is_none() {
        check.add(
            Diagnostic::new(Code::MissingField, "missing")
                .at("metadata")
                .expected("an object with a name")
                .help(format!("a {} is written with apiVersion: {API_VERSION}, kind, metadata and spec", kind.name())),
        );
        return None;
    }
    Some((kind, native))
}

fn bad_version(found: &str) -> Diagnostic {
    Diagnostic::new(Code::BadApiVersion, format!("expected {API_VERSION}")).at("apiVersion").found(format!("{found:?}"))
}

const METADATA: Shape = Shape::Record(&[
    needed("name", Shape::Text),
    field("namespace", Shape::Filled),
    field("uid", Shape::Filled),
    field("resourceVersion", Shape::Text),
    field("generation", Shape::Count(0, u64::MAX)),
    field("creationTimestamp", Shape::Text),
    field("labels", Shape::MapOf(&Shape::Text)),
    field("annotations", Shape::MapOf(&Shape::Text)),
    field("ownerReferences", Shape::List(&Shape::Any)),
    field("finalizers", Shape::List(&Shape::Text)),
    field("deletionTimestamp", Shape::Text),
    field("managedFields", Shape::List(&Shape::Any)),
]);

fn read_native(kind: Kind, mut map: Map<String, Value>, check: &mut Check) -> Option<Object> {
    let before = check.errors();
    // What is observed is not for a document to say; `get -o yaml` shows it all the same.
    map.shift_remove("status");
    if kind == Kind::Secret {
        return read_secret(map, check);
    }
    if map.get("spec").is_none_or(Value::is_null) {
        map.insert("spec".to_owned(), Value::Object(Map::new()));
    }
    map.insert("kind".to_owned(), Value::String(kind.name().to_owned()));
    if let Some(version) = map.get("apiVersion").and_then(Value::as_str)
        && version != API_VERSION
    {
        check.add(bad_version(version));
    }
    let fields: [Field; 4] = [
        field("apiVersion", Shape::Text),
        field("kind", Shape::Text),
        needed("metadata", METADATA),
        field("spec", Shape::Values),
    ];
    check.record("", &mut map, &fields);
    if let Some(Value::Object(spec)) = map.get_mut("spec") {
        check.record("spec", spec, connector::native_fields(kind));
    }
    let metadata = map.get("metadata").cloned().unwrap_or_default();
    if let Some(name) = metadata.get("name").and_then(Value::as_str) {
        check.name("metadata.name", name, true);
    }
    if let Some(uid) = metadata.get("uid").and_then(Value::as_str) {
        check.id("metadata.uid", uid, 64);
    }
    if check.errors() > before {
        return None;
    }
    match serde_json::from_value::<Object>(Value::Object(map)) {
        Ok(mut object) => {
            if let (None, Some(crate::Ref::Name { name, .. })) = (&object.metadata.namespace, object.project_ref()) {
                object.metadata.namespace = Some(name);
            }
            Some(object)
        }
        Err(error) => {
            check.add(Diagnostic::new(Code::WrongType, error.to_string()).at("metadata"));
            None
        }
    }
}

/// A secret has Kubernetes' shape: no spec, and another version.
fn read_secret(mut map: Map<String, Value>, check: &mut Check) -> Option<Object> {
    let before = check.errors();
    check.hides = true;
    match map.get("apiVersion").and_then(Value::as_str) {
        None | Some(SECRET_API_VERSION) => {}
        Some(version) => check.add(
            Diagnostic::new(Code::BadApiVersion, format!("expected {SECRET_API_VERSION}"))
                .at("apiVersion")
                .found(format!("{version:?}"))
                .help("a secret has Kubernetes' form: apiVersion: v1, kind, metadata, type, data, stringData"),
        ),
    }
    map.insert("apiVersion".to_owned(), SECRET_API_VERSION.into());
    map.insert("kind".to_owned(), Kind::Secret.name().into());
    let fields = [field("apiVersion", Shape::Text), field("kind", Shape::Text), needed("metadata", METADATA)];
    let fields: Vec<Field> = fields.into_iter().chain(secret::fields()).collect();
    check.record("", &mut map, &fields);
    let spec = secret::read(&mut map, check);
    if let Some(name) = map.get("metadata").and_then(|metadata| metadata.get("name")).and_then(Value::as_str) {
        secret::check_name(name, check);
    }
    if check.errors() > before {
        return None;
    }
    map.insert("spec".to_owned(), serde_json::to_value(spec).unwrap_or_default());
    match serde_json::from_value::<Object>(Value::Object(map)) {
        Ok(mut object) => {
            secret::clean(&mut object);
            Some(object)
        }
        Err(_) => {
            check.add(Diagnostic::new(Code::WrongType, "the metadata cannot be read").at("metadata"));
            None
        }
    }
}

impl Object {
    /// The object as a document of its own form: a KPS document as it was read, except for what changed since and the id;
    /// a native one in the envelope.
    pub fn to_original(&self) -> Value {
        match &self.form {
            Form::Kps { document, .. } => Value::Object(kps::write(self.kind, &self.metadata, &self.spec, document)),
            Form::Native => self.to_native(),
        }
    }

    /// The object in the envelope, without what only the store needs to know of its form; a secret in Kubernetes' shape.
    pub fn to_native(&self) -> Value {
        let native = Object { form: Form::Native, ..self.clone() };
        let envelope = serde_json::to_value(native).unwrap_or_default();
        if self.kind == Kind::Secret { secret::written(envelope) } else { envelope }
    }

    /// Where in the object's document a member of the spec is: `parameters.broker` is `spec.parameters.broker` in a native
    /// document of a stream, and `stream.broker` in one of KPS.
    pub fn path(&self, member: &str) -> String {
        match &self.form {
            Form::Native if self.kind == Kind::Secret => member.to_owned(),
            Form::Native if member.is_empty() => "spec".to_owned(),
            Form::Native => format!("spec.{member}"),
            Form::Kps { document, .. } => kps::path(self.kind, document, member),
        }
    }

    /// What makes the object one of its kind, without looking anything up: project, instance, name and version as the
    /// document says them. Two documents with one identity stand for one object.
    pub fn identity(&self) -> String {
        let mut identity = self.kind.name().to_owned();
        if self.kind.is_in_instance() {
            let instance = self.instance_ref().map(|instance| instance.to_string());
            identity.push_str(&format!(" in {}", instance.unwrap_or_default()));
        } else if self.kind.is_in_project() {
            let project = self.metadata.namespace.clone();
            let project = project.or_else(|| self.project_ref().map(|project| project.to_string()));
            identity.push_str(&format!(" in {}", project.unwrap_or_default()));
        }
        identity.push_str(&format!(" named {:?}", self.metadata.name));
        if self.kind.is_versioned() {
            identity.push_str(&format!(" {}", self.version().unwrap_or_default()));
        }
        identity
    }
}

/// Writes values as text: YAML documents one after another, or JSON (a list, if there are several).
pub fn write(values: &[Value], syntax: Syntax) -> String {
    match (syntax, values) {
        (Syntax::Json, [value]) => format!("{value:#}\n"),
        (Syntax::Json, values) => format!("{:#}\n", Value::Array(values.to_vec())),
        (Syntax::Yaml, values) => {
            let texts: Vec<String> =
                values.iter().map(|value| serde_saphyr::to_string(value).unwrap_or_default()).collect();
            texts.join("---\n")
        }
    }
}

#[cfg(test)]
mod tests;
