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
        validator.iter_errors(value).take(TOLD).flat_map(|error| explain(schema, &error, path)).collect();
    found.dedup();
    found
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
                .at(place),
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

fn explain(schema: &Value, error: &ValidationError<'_>, path: &str) -> Vec<Diagnostic> {
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
            let known: Vec<&str> = object["properties"]
                .as_object()
                .map(|map| map.keys().map(String::as_str).collect())
                .unwrap_or_default();
            let of = |name: &str| match suggestion(name, known.iter().copied()) {
                Some(near) => Some(format!("did you mean `{near}`?")),
                None if known.is_empty() => None,
                None => Some(format!("fields here are {}", known.join(", "))),
            };
            unexpected
                .iter()
                .map(|name| {
                    Diagnostic::new(Code::BadParameters, format!("unknown field `{name}`"))
                        .at(member(&place, name))
                        .maybe_help(of(name))
                })
                .collect()
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
