//! Parameters against JSON Schema, drafts 4 to 2020-12, without ever leaving the process.

use jsonschema::{
    Draft, ValidationError, Validator,
    error::{TypeKind, ValidationErrorKind as Kind},
};
use serde_json::Value;

use crate::{
    Code, Diagnostic,
    error::suggestion,
    shape::{element, member, one_of, shown},
};

/// How many errors of one value are told; more would not be read.
const TOLD: usize = 50;

/// How the message of a field that is not in the schema begins.
const UNKNOWN: &str = "unknown field";

/// What is wrong with a schema itself. `path` is where it stands in its document.
pub fn problems(schema: &Value, path: &str) -> Vec<Diagnostic> {
    match compile(schema, path) {
        Ok(_) => Vec::new(),
        Err(diagnostic) => vec![*diagnostic],
    }
}

/// Validates a value. `path` is where the value stands in its document; the document's name is for the caller to add.
/// A schema that is itself wrong is one error.
pub fn validate(schema: &Value, value: &Value, path: &str) -> Vec<Diagnostic> {
    let validator = match compile(schema, path) {
        Ok(validator) => validator,
        Err(diagnostic) => return vec![*diagnostic],
    };
    let mut found: Vec<Diagnostic> =
        validator.iter_errors(value).take(TOLD).flat_map(|error| explain((schema, value), &error, path)).collect();
    found.dedup();
    found
}

/// What a value holds that the schema has no field for, as warnings: for values that another schema allows.
pub fn unused(schema: &Value, value: &Value, path: &str) -> Vec<Diagnostic> {
    let Ok(validator) = compile(schema, path) else { return Vec::new() };
    let told = validator.iter_errors(value).take(TOLD).flat_map(|error| explain((schema, value), &error, path));
    told.filter(|diagnostic| diagnostic.message.starts_with(UNKNOWN)).map(Diagnostic::as_warning).collect()
}

/// The same schema without a word against fields that it does not know.
pub fn opened(mut schema: Value) -> Value {
    if let Some(members) = schema.as_object_mut() {
        for keyword in ["additionalProperties", "unevaluatedProperties"] {
            if members.get(keyword) == Some(&Value::Bool(false)) {
                members.remove(keyword);
            }
        }
        for keyword in ["anyOf", "oneOf", "allOf"] {
            if let Some(Value::Array(forms)) = members.get_mut(keyword) {
                *forms = std::mem::take(forms).into_iter().map(opened).collect();
            }
        }
    }
    schema
}

/// Without `$schema`, draft 7 and then 4 are tried: what KPS authors write is one of the two.
fn compile(schema: &Value, path: &str) -> Result<Validator, Box<Diagnostic>> {
    let build = |draft: Option<Draft>| {
        let mut options = jsonschema::options().offline();
        if let Some(draft) = draft {
            options = options.with_draft(draft);
        }
        options.build(schema)
    };
    let first = if schema.get("$schema").is_some() {
        build(None)
    } else {
        build(Some(Draft::Draft7)).or_else(|error| build(Some(Draft::Draft4)).map_err(|_| error))
    };
    first.map_err(|error| {
        let place = locate(path, error.instance_path().as_str());
        Box::new(match error.kind() {
            Kind::Referencing(problem) => {
                Diagnostic::new(Code::RemoteSchema, format!("refers to something that is not in the schema: {problem}"))
                    .at(path)
                    .help("copy it into `definitions` (or `$defs`) and point there")
            }
            _ => Diagnostic::new(Code::BadSchema, format!("not a valid JSON Schema: {}", message(&error)))
                .found(shown(&place, error.instance()))
                .at(place)
                .help("mend the schema there; drafts 4 to 2020-12 are known, and `$schema` says which it is"),
        })
    })
}

/// A JSON Pointer in the form of our paths.
pub(crate) fn locate(path: &str, pointer: &str) -> String {
    let mut out = path.to_owned();
    for part in pointer.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        out = match part.parse::<usize>() {
            Ok(index) => element(&out, index),
            Err(_) => member(&out, &part),
        };
    }
    out
}

fn types(kind: &TypeKind) -> String {
    let said = |name: String| match name.as_str() {
        "integer" => "a whole number".to_owned(),
        "array" => "a list".to_owned(),
        "object" => "an object".to_owned(),
        "null" => "null".to_owned(),
        "boolean" => "true or false".to_owned(),
        "string" => "a text".to_owned(),
        other => format!("a {other}"),
    };
    match kind {
        TypeKind::Single(one) => said(one.to_string()),
        TypeKind::Multiple(set) => {
            let words: Vec<String> = set.iter().map(|one| said(one.to_string())).collect();
            one_of(&words.iter().map(String::as_str).collect::<Vec<_>>())
        }
    }
}

/// What a schema says that it wants, in its own words.
fn wanted(schema: &Value) -> Option<String> {
    let kind = match &schema["type"] {
        Value::String(kind) => Some(kind.clone()),
        Value::Array(kinds) => Some(one_of(&kinds.iter().filter_map(Value::as_str).collect::<Vec<_>>())),
        _ => None,
    };
    let words = schema["description"].as_str().map(str::to_owned);
    match (kind, words) {
        (Some(kind), Some(words)) => Some(format!("{kind}: {words}")),
        (kind, words) => kind.or(words),
    }
}

fn message(error: &ValidationError<'_>) -> String {
    match error.kind() {
        Kind::Type { kind } => format!("expected {}", types(kind)),
        Kind::Enum { options } => match options.as_array() {
            Some(options) => {
                let words: Vec<String> = options.iter().map(Value::to_string).collect();
                format!("expected {}", one_of(&words.iter().map(String::as_str).collect::<Vec<_>>()))
            }
            None => format!("expected {options}"),
        },
        Kind::Constant { expected_value } => format!("expected {expected_value}"),
        Kind::Minimum { limit } => format!("expected at least {limit}"),
        Kind::Maximum { limit } => format!("expected at most {limit}"),
        Kind::ExclusiveMinimum { limit } => format!("expected more than {limit}"),
        Kind::ExclusiveMaximum { limit } => format!("expected less than {limit}"),
        Kind::MinLength { limit } => format!("expected at least {limit} characters"),
        Kind::MaxLength { limit } => format!("expected at most {limit} characters"),
        Kind::MinItems { limit } => format!("expected at least {limit} entries"),
        Kind::MaxItems { limit } => format!("expected at most {limit} entries"),
        Kind::Pattern { pattern } => format!("expected a text that matches {pattern}"),
        Kind::Format { format } => format!("expected a text in the form `{format}`"),
        Kind::AnyOf { .. } | Kind::OneOfNotValid { .. } => "fits none of the forms that are allowed".to_owned(),
        Kind::OneOfMultipleValid { .. } => "fits more than one of the forms that exclude each other".to_owned(),
        Kind::AdditionalItems { limit } => format!("expected at most {limit} entries"),
        Kind::UniqueItems => "has an entry twice".to_owned(),
        Kind::FalseSchema => "nothing is allowed here".to_owned(),
        // The value may be a secret.
        _ => error.masked().to_string(),
    }
}

/// Fields that the schema of an object does not have.
fn unknown<'a>(object: &Value, names: impl Iterator<Item = &'a str>, place: &str) -> Vec<Diagnostic> {
    let known: Vec<&str> =
        object["properties"].as_object().map(|map| map.keys().map(String::as_str).collect()).unwrap_or_default();
    let expected = if known.is_empty() { "nothing here".to_owned() } else { one_of(&known) };
    names
        .map(|name| {
            let near = suggestion(name, known.iter().copied());
            Diagnostic::new(Code::BadParameters, format!("{UNKNOWN} `{name}`"))
                .at(member(place, name))
                .expected(expected.clone())
                .maybe_help(near.map(|near| format!("did you mean `{near}`?")))
        })
        .collect()
}

/// Whether an error is about the value at `place` as a whole: then it was not meant to have this form.
fn refuses_all(error: &ValidationError<'_>, place: &str, path: &str) -> bool {
    let of_members = matches!(
        error.kind(),
        Kind::Required { .. } | Kind::AdditionalProperties { .. } | Kind::UnevaluatedProperties { .. }
    ) || error.schema_path().as_str().ends_with("/additionalProperties");
    !of_members && locate(path, error.instance_path().as_str()) == place
}

fn explain((schema, value): (&Value, &Value), error: &ValidationError<'_>, path: &str) -> Vec<Diagnostic> {
    let place = locate(path, error.instance_path().as_str());
    // The schema of the object that the keyword belongs to.
    let keyword = error.schema_path().as_str();
    let parent = keyword.rsplit_once('/').map_or("", |(parent, _)| parent);
    let object = schema.pointer(parent).unwrap_or(&Value::Null);
    match error.kind() {
        Kind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            let diagnostic = Diagnostic::new(Code::BadParameters, "missing").at(member(&place, name));
            let near = error
                .instance()
                .as_object()
                .and_then(|map| suggestion(name, map.keys().map(String::as_str)))
                .filter(|near| object["properties"].get(*near).is_none());
            let mut diagnostic = diagnostic.maybe_help(near.map(|near| format!("`{near}` is there; write `{name}`")));
            diagnostic.expected = wanted(&object["properties"][name]);
            vec![diagnostic]
        }
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            unknown(object, unexpected.iter().map(String::as_str), &place)
        }
        // What the validator makes of a schema that has no fields at all.
        Kind::FalseSchema if keyword.ends_with("/additionalProperties") => {
            let members = value.pointer(error.instance_path().as_str()).and_then(Value::as_object);
            unknown(object, members.into_iter().flat_map(|members| members.keys().map(String::as_str)), &place)
        }
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
            let forms = context.iter().filter(|form| !form.iter().any(|error| refuses_all(error, &place, path)));
            let forms = forms.map(|form| form.iter().flat_map(|error| explain((schema, value), error, path)).collect());
            // The form that was most likely meant: the one with the fewest faults, and with a suggestion for one of them.
            forms
                .min_by_key(|told: &Vec<Diagnostic>| (told.len(), told.iter().all(|one| one.help.is_none())))
                .unwrap_or_else(|| {
                    vec![
                        Diagnostic::new(Code::BadParameters, message(error))
                            .found(shown(&place, error.instance()))
                            .at(place),
                    ]
                })
        }
        Kind::Referencing(problem) => vec![
            Diagnostic::new(Code::RemoteSchema, format!("the schema refers to something outside itself: {problem}"))
                .at(place),
        ],
        _ => {
            let mut diagnostic =
                Diagnostic::new(Code::BadParameters, message(error)).found(shown(&place, error.instance())).at(place);
            diagnostic.expected = object["description"].as_str().map(str::to_owned);
            vec![diagnostic]
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(schema: &Value, value: &Value, expected: &[(Code, &str)]) -> Vec<Diagnostic> {
        let mut found = validate(schema, value, "stream");
        found.sort_by(|a, b| a.path.cmp(&b.path));
        let pairs: Vec<(Code, &str)> = found.iter().map(|d| (d.code, d.path.as_str())).collect();
        assert_eq!(pairs, expected, "{found:#?}");
        found
    }

    #[test]
    fn errors_say_where_and_what() {
        let schema = json!({
            "type": "object",
            "properties": {
                "broker": {"type": "string", "description": "address"},
                "port": {"type": "integer", "minimum": 1},
                "list": {"type": "array", "items": {"type": "object", "required": ["name"]}},
            },
            "required": ["broker"],
            "additionalProperties": false,
        });
        check(&schema, &json!({"broker": "b", "port": 1}), &[]);
        let found = check(
            &schema,
            &json!({"port": 0, "list": [{}], "prot": 1}),
            &[
                (Code::BadParameters, "stream.broker"),
                (Code::BadParameters, "stream.list[0].name"),
                (Code::BadParameters, "stream.port"),
                (Code::BadParameters, "stream.prot"),
            ],
        );
        let broker = found.iter().find(|d| d.path == "stream.broker").unwrap();
        assert_eq!(broker.expected.as_deref(), Some("string: address"));
        assert_eq!(found.last().unwrap().help.as_deref(), Some("did you mean `port`?"));
        assert_eq!(found.last().unwrap().expected.as_deref(), Some("broker, port or list"));
    }

    #[test]
    fn of_several_forms_the_one_that_was_meant_is_explained() {
        let form = |names: &[&str]| {
            let properties: serde_json::Map<String, Value> =
                names.iter().map(|name| ((*name).to_owned(), json!({"type": "string"}))).collect();
            json!({"type": "object", "properties": properties, "required": ["file"], "additionalProperties": false})
        };
        let schema = json!({"anyOf": [form(&["file", "pattern"]), form(&["file", "append"])]});
        check(&schema, &json!({"file": "a", "append": "b"}), &[]);
        let found = check(&schema, &json!({"file": "a", "appned": "b"}), &[(Code::BadParameters, "stream.appned")]);
        assert_eq!(found[0].help.as_deref(), Some("did you mean `append`?"));
        let found = check(&schema, &json!({"pattern": "b"}), &[(Code::BadParameters, "stream.file")]);
        assert_eq!(found[0].message, "missing");
        check(&schema, &json!(7), &[(Code::BadParameters, "stream")]);
    }

    #[test]
    fn what_a_schema_has_no_field_for_can_be_told_and_let_pass() {
        let closed = json!({"type": "object", "properties": {"topic": {}}, "additionalProperties": false});
        for schema in [closed.clone(), json!({"anyOf": [closed.clone()]})] {
            let value = json!({"topic": 1, "image_tag": "1.0"});
            let told = unused(&schema, &value, "static");
            assert_eq!(told.len(), 1, "{told:?}");
            assert_eq!((told[0].path.as_str(), told[0].is_error()), ("static.image_tag", false));
            assert_eq!(validate(&opened(schema), &value, "static"), []);
        }
        let none = json!({"type": "object", "additionalProperties": false});
        let found = check(
            &none,
            &json!({"a": 1, "b": 2}),
            &[(Code::BadParameters, "stream.a"), (Code::BadParameters, "stream.b")],
        );
        assert_eq!(found[0].expected.as_deref(), Some("nothing here"));
    }

    #[test]
    fn every_draft_is_understood() {
        // Draft 4: a boolean exclusiveMinimum; draft 7: tuple items; 2019-09 and 2020-12 as they say.
        let four = json!({"properties": {"n": {"type": "integer", "minimum": 0, "exclusiveMinimum": true}}});
        check(&four, &json!({"n": 0}), &[(Code::BadParameters, "stream.n")]);
        check(&four, &json!({"n": 1}), &[]);
        let seven = json!({"properties": {"t": {"items": [{"type": "string"}, {"type": "integer"}]}}});
        check(&seven, &json!({"t": ["a", "b"]}), &[(Code::BadParameters, "stream.t[1]")]);
        for (uri, tuple) in [
            ("http://json-schema.org/draft-04/schema#", "items"),
            ("http://json-schema.org/draft-06/schema#", "items"),
            ("http://json-schema.org/draft-07/schema#", "items"),
            ("https://json-schema.org/draft/2019-09/schema", "items"),
            ("https://json-schema.org/draft/2020-12/schema", "prefixItems"),
        ] {
            let schema = json!({"$schema": uri, "properties": {"t": {tuple: [{"type": "string"}]}}});
            check(&schema, &json!({"t": [1]}), &[(Code::BadParameters, "stream.t[0]")]);
        }
    }

    #[test]
    fn a_schema_never_leaves_the_process() {
        for target in ["https://example.com/s.json", "file:///etc/passwd", "other.json"] {
            check(&json!({"$ref": target}), &json!({}), &[(Code::RemoteSchema, "stream")]);
        }
        let inside =
            json!({"definitions": {"a": {"type": "string"}}, "properties": {"x": {"$ref": "#/definitions/a"}}});
        check(&inside, &json!({"x": 1}), &[(Code::BadParameters, "stream.x")]);
    }

    #[test]
    fn a_wrong_schema_is_said_once() {
        check(
            &json!({"properties": {"p": {"type": "int"}}}),
            &json!({}),
            &[(Code::BadSchema, "stream.properties.p.type")],
        );
        assert_eq!(problems(&json!({"type": 7}), "spec.streamSchema").len(), 1);
    }

    #[test]
    fn a_secret_is_not_repeated() {
        let schema = json!({"properties": {"password": {"type": "string", "maxLength": 3}}});
        let found = check(&schema, &json!({"password": "hunter2"}), &[(Code::BadParameters, "stream.password")]);
        assert!(!found[0].to_string().contains("hunter2"), "{}", found[0]);
    }
}
