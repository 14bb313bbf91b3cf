//! The forms that parts of documents have, as tables, and the check of a value against them that finds all that is wrong at once.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::{
    Code, Diagnostic,
    capability::{AbilityKind, Allowance, TargetError},
    connector::attach,
    error::suggestion,
    quantity::{SIZE_FORM, SPAN_FORM, Size, Span},
};

/// A field of an object.
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    pub(crate) required: bool,
}

/// What a value may be.
pub(crate) enum Shape {
    /// Any text.
    Text,
    /// A text with something in it.
    Filled,
    /// True or false.
    Bool,
    /// A whole number in a range.
    Count(u64, u64),
    /// A [`Span`].
    Span,
    /// A [`Size`].
    Size,
    /// A [`crate::Ref`].
    Reference,
    /// One of these words; the case is corrected.
    Word(&'static [&'static str]),
    /// Anything.
    Any,
    /// An object with anything in it.
    Values,
    /// An object or a boolean: a JSON Schema.
    Schema,
    /// [`crate::connector::Labels`].
    Labels,
    /// A list.
    List(&'static Shape),
    /// An object with these fields.
    Record(&'static [Field]),
    /// An object whose members are all of one shape.
    MapOf(&'static Shape),
    /// [`crate::connector::StreamUse`]: a reference, or an object with these fields.
    StreamUse(&'static [Field]),
    /// An entry of a grant: [`crate::capability::Allowance`].
    Allowance,
    /// An entry of a grant that denies: an allowance without templates.
    Denial,
    /// Where something is attached: [`crate::connector::Attach::to`].
    AttachedTo,
}

impl Shape {
    /// What is expected, for a person.
    pub(crate) fn expected(&self) -> String {
        match self {
            Shape::Text | Shape::Filled => "a text".to_owned(),
            Shape::Bool => "true or false".to_owned(),
            Shape::Count(0, u64::MAX) => "a whole number".to_owned(),
            Shape::Count(low, u64::MAX) => format!("a whole number from {low}"),
            Shape::Count(low, high) => format!("a whole number from {low} to {high}"),
            Shape::Span => SPAN_FORM.to_owned(),
            Shape::Size => SIZE_FORM.to_owned(),
            Shape::Reference => "a name, or {uid: ...}".to_owned(),
            Shape::Word(words) => one_of(words),
            Shape::Any => "a value".to_owned(),
            Shape::Values | Shape::Record(_) | Shape::MapOf(_) => "an object".to_owned(),
            Shape::Schema => "a JSON Schema".to_owned(),
            Shape::Labels => "a list of {category, value}, or an object such as {Measure: temperature}".to_owned(),
            Shape::List(_) => "a list".to_owned(),
            Shape::StreamUse(_) => {
                "the name of a stream, or an object such as {class: ..., parameters: ...}".to_owned()
            }
            Shape::Allowance | Shape::Denial => {
                format!("one of {}, and its target", AbilityKind::list())
            }
            Shape::AttachedTo => "one of tls, https and http, and one host and port".to_owned(),
        }
    }
}

impl Shape {
    /// How to write such a value.
    fn example(&self) -> Option<String> {
        Some(match self {
            Shape::Filled => "write at least one character that is no space".to_owned(),
            Shape::Bool => "write true or false, without quotes".to_owned(),
            Shape::Count(low, _) => format!("write a number such as {}, without quotes", low.max(&1)),
            Shape::Span => "write a number and a unit, such as 500ms or 10s".to_owned(),
            Shape::Size => "write a number and a unit, such as 64KiB".to_owned(),
            Shape::Reference => "write a name, `name@version` where there are versions, or {uid: ...}".to_owned(),
            Shape::Word(words) => format!("write one of these words, such as {}", words.first()?),
            _ => return None,
        })
    }
}

/// A required field.
pub(crate) const fn needed(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, required: true }
}

/// An optional field.
pub(crate) const fn field(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, required: false }
}

/// `a, b or c`.
pub(crate) fn one_of(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [word] => (*word).to_owned(),
        [words @ .., last] => format!("{} or {last}", words.join(", ")),
    }
}

/// The path of a member.
pub(crate) fn member(path: &str, name: &str) -> String {
    let plain = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '$'));
    match (path.is_empty(), plain) {
        (true, true) => name.to_owned(),
        (false, true) => format!("{path}.{name}"),
        (_, false) => format!("{path}[{name:?}]"),
    }
}

/// The path of an element.
pub(crate) fn element(path: &str, index: usize) -> String {
    format!("{path}[{index}]")
}

/// A value in a message: short, and hidden where the path says that it is a secret.
pub(crate) fn shown(path: &str, value: &Value) -> String {
    let last = path.rsplit(['.', '[']).next().unwrap_or(path).to_lowercase();
    if ["password", "passwd", "secret", "token", "credential", "apikey", "privatekey", "bearer"]
        .iter()
        .any(|word| last.replace(['_', '-'], "").contains(word))
        || last == "key"
    {
        return "(not shown)".to_owned();
    }
    let mut text = value.to_string();
    if let Some((cut, _)) = text.char_indices().nth(80) {
        text.truncate(cut);
        let _ = write!(text, "...");
    }
    text
}

fn told(checked: Result<(), TargetError>) -> Result<(), String> {
    checked.map_err(|error| error.to_string())
}

/// What is found wrong in one document.
pub(crate) struct Check {
    pub(crate) document: String,
    /// As documents of other systems are read: field names in any case, unknown fields kept with a warning.
    pub(crate) lenient: bool,
    /// No message repeats a value.
    pub(crate) hides: bool,
    pub(crate) found: Vec<Diagnostic>,
}

impl Check {
    pub(crate) fn new(document: impl Into<String>) -> Self {
        Self { document: document.into(), lenient: false, hides: false, found: Vec::new() }
    }

    /// Adds a diagnostic of this document.
    pub(crate) fn add(&mut self, diagnostic: Diagnostic) {
        self.found.push(diagnostic.in_document(&self.document));
    }

    fn wrong(&mut self, code: Code, path: &str, shape: &Shape, value: &Value) {
        let expected = shape.expected();
        let mut diagnostic = Diagnostic::new(code, format!("expected {expected}")).at(path);
        if !self.hides {
            diagnostic = diagnostic.found(shown(path, value));
        }
        self.add(diagnostic.maybe_help(shape.example()));
    }

    /// Checks a value. Words are put into the right case.
    pub(crate) fn value(&mut self, path: &str, value: &mut Value, shape: &Shape) {
        match (shape, value) {
            (Shape::Any, _)
            | (Shape::Text, Value::String(_))
            | (Shape::Bool, Value::Bool(_))
            | (Shape::Values | Shape::Schema, Value::Object(_))
            | (Shape::Schema, Value::Bool(_)) => {}
            (Shape::Filled, Value::String(text)) if !text.trim().is_empty() => {}
            (Shape::Filled, value @ Value::String(_)) => self.wrong(Code::BadValue, path, shape, value),
            (Shape::Count(low, high), value @ Value::Number(_)) => {
                if !value.as_u64().is_some_and(|n| (*low..=*high).contains(&n)) {
                    self.wrong(Code::BadValue, path, shape, value);
                }
            }
            (Shape::Span, value @ (Value::Number(_) | Value::String(_))) => {
                if serde_json::from_value::<Span>(value.clone()).is_err() {
                    self.wrong(Code::BadValue, path, shape, value);
                }
            }
            (Shape::Size, value @ (Value::Number(_) | Value::String(_))) => {
                if serde_json::from_value::<Size>(value.clone()).is_err() {
                    self.wrong(Code::BadValue, path, shape, value);
                }
            }
            (Shape::Reference, value @ (Value::String(_) | Value::Object(_))) => {
                if serde_json::from_value::<crate::Ref>(value.clone()).is_err() {
                    self.wrong(Code::BadValue, path, shape, value);
                }
            }
            (Shape::Word(words), Value::String(text)) => {
                match words.iter().find(|word| word.eq_ignore_ascii_case(text)) {
                    Some(word) => *text = (*word).to_owned(),
                    None => {
                        let help = suggestion(text, words.iter().copied());
                        self.add(
                            Diagnostic::new(Code::BadValue, format!("expected {}", shape.expected()))
                                .at(path)
                                .found(format!("{text:?}"))
                                .maybe_help(shape.example())
                                .maybe_help(help.map(|word| format!("did you mean {word}?"))),
                        );
                    }
                }
            }
            (Shape::Labels, Value::Array(list)) => {
                for (index, label) in list.iter_mut().enumerate() {
                    const LABEL: Shape =
                        Shape::Record(&[needed("category", Shape::Reference), needed("value", Shape::Text)]);
                    self.value(&element(path, index), label, &LABEL);
                }
            }
            (Shape::Labels, Value::Object(map)) => {
                const TEXT: Shape = Shape::Text;
                for (name, values) in map {
                    let path = member(path, name);
                    match values {
                        Value::Array(values) => {
                            for (index, value) in values.iter_mut().enumerate() {
                                self.value(&element(&path, index), value, &TEXT);
                            }
                        }
                        value => self.value(&path, value, &TEXT),
                    }
                }
            }
            (Shape::List(shape), Value::Array(list)) => {
                for (index, value) in list.iter_mut().enumerate() {
                    self.value(&element(path, index), value, shape);
                }
            }
            (Shape::Record(fields), Value::Object(map)) => self.record(path, map, fields),
            (Shape::MapOf(shape), Value::Object(map)) => {
                for (name, value) in map {
                    self.value(&member(path, name), value, shape);
                }
            }
            (Shape::StreamUse(fields), Value::Object(map)) if !map.contains_key("uid") && !map.contains_key("name") => {
                self.record(path, map, fields);
            }
            (Shape::StreamUse(_), value @ (Value::Object(_) | Value::String(_))) => {
                self.value(path, value, &Shape::Reference);
            }
            (Shape::Allowance, value) => self.allowance(path, value, shape, |entry| told(entry.check())),
            (Shape::Denial, value) => self.allowance(path, value, shape, |entry| told(entry.check_denial())),
            (Shape::AttachedTo, value) => self.allowance(path, value, shape, |to| attach::check_place(to).map(drop)),
            (shape, value) => self.wrong(Code::WrongType, path, shape, value),
        }
    }

    /// Checks the members of an object. A null stands for a field that is not given, and is taken out.
    pub(crate) fn record(&mut self, path: &str, map: &mut Map<String, Value>, fields: &[Field]) {
        if self.lenient {
            let members = std::mem::take(map);
            for (name, value) in members {
                let known = fields.iter().find(|f| f.name.eq_ignore_ascii_case(&name));
                map.insert(known.map_or(name, |field| field.name.to_owned()), value);
            }
        }
        map.retain(|name, value| {
            !(value.is_null() && fields.iter().any(|f| f.name == name && !matches!(f.shape, Shape::Any)))
        });
        for (name, value) in map.iter_mut() {
            let here = member(path, name);
            match fields.iter().find(|field| field.name == name) {
                Some(field) => self.value(&here, value, &field.shape),
                None => {
                    let names: Vec<&str> = fields.iter().map(|field| field.name).collect();
                    self.unknown(here, name, &names);
                }
            }
        }
        for field in fields {
            if field.required && !map.contains_key(field.name) {
                self.missing(&member(path, field.name), &field.shape.expected());
            }
        }
    }

    /// A field is not known.
    pub(crate) fn unknown(&mut self, path: String, name: &str, fields: &[&str]) {
        let help = match suggestion(name, fields.iter().copied()) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("fields here are {}", fields.join(", ")),
        };
        let diagnostic = Diagnostic::new(Code::UnknownField, format!("unknown field `{name}`")).at(path).help(help);
        self.add(if self.lenient { diagnostic.as_warning() } else { diagnostic });
    }

    /// How many errors there are.
    pub(crate) fn errors(&self) -> usize {
        self.found.iter().filter(|d| d.is_error()).count()
    }

    /// A field is missing.
    pub(crate) fn missing(&mut self, path: &str, expected: &str) {
        let name = path.rsplit('.').next().unwrap_or(path);
        let diagnostic = Diagnostic::new(Code::MissingField, "missing").at(path).expected(expected);
        self.add(diagnostic.help(format!("add `{name}`")));
    }

    fn allowance(
        &mut self,
        path: &str,
        value: &Value,
        shape: &Shape,
        check: impl FnOnce(&Allowance) -> Result<(), String>,
    ) {
        let problem = match serde_json::from_value::<Allowance>(value.clone()) {
            Ok(allowance) => match check(&allowance) {
                Ok(()) => return,
                Err(problem) => problem,
            },
            Err(_) => format!("expected {}", shape.expected()),
        };
        let help = match shape {
            Shape::AttachedTo => "write for example {tls: \"broker.example:8883\"} or {https: \"api.example.com:443\"}",
            _ => "write for example {tcp: \"broker.example:1883\"} or {read: \"/srv/data\"}",
        };
        self.add(Diagnostic::new(Code::BadGrantEntry, problem).at(path).found(shown(path, value)).help(help));
    }

    /// Checks a name. In native documents `/` and `@` are kept for references.
    pub(crate) fn name(&mut self, path: &str, name: &str, native: bool) {
        let problem = if name.is_empty() {
            "it is empty".to_owned()
        } else if name.chars().count() > 200 {
            "it has more than 200 characters".to_owned()
        } else if name.trim() != name {
            "it has a space at an end".to_owned()
        } else if name.chars().any(char::is_control) {
            "it contains a control character".to_owned()
        } else if let Some(c) = name.chars().find(|c| native && matches!(c, '/' | '@')) {
            format!("it contains `{c}`")
        } else {
            return;
        };
        let name: String = name.chars().take(60).collect();
        self.add(
            Diagnostic::new(Code::BadName, format!("`{}` cannot be a name: {problem}", name.escape_debug())).at(path),
        );
    }

    /// Checks an id.
    pub(crate) fn id(&mut self, path: &str, id: &str, longest: usize) {
        let length = id.chars().count();
        if length > longest {
            self.add(
                Diagnostic::new(Code::BadName, format!("an id has at most {longest} characters"))
                    .at(path)
                    .found(format!("{length} characters")),
            );
        } else if length == 0 || id.chars().any(|c| c.is_control() || c.is_whitespace()) {
            self.add(
                Diagnostic::new(Code::BadName, "an id has no spaces and is not empty")
                    .at(path)
                    .found(format!("{id:?}")),
            );
        }
    }

    /// Of these fields exactly one may be given (at least one, if `several`).
    pub(crate) fn choice(&mut self, path: &str, given: &[(&str, bool)], several: bool) {
        let names: Vec<&str> = given.iter().map(|(name, _)| *name).collect();
        let present: Vec<&str> = given.iter().filter(|(_, is)| *is).map(|(name, _)| *name).collect();
        let message = match present.len() {
            0 => format!("needs one of {}, and has none", names.join(", ")),
            1 => return,
            _ if several => return,
            _ => format!("may have one of {}, and has {}", names.join(", "), present.join(" and ")),
        };
        self.add(Diagnostic::new(Code::FieldsExclude, message).at(path));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn all_that_is_wrong_is_found_at_once() {
        const SHAPE: Shape = Shape::Record(&[
            needed("direction", Shape::Word(&["INGRESS", "EGRESS"])),
            needed("name", Shape::Filled),
            field("count", Shape::Count(1, 10)),
            field("age", Shape::Span),
            field("size", Shape::Size),
            field("labels", Shape::Labels),
        ]);
        let mut value =
            json!({"direction": "ingress", "cuont": 1, "count": 11, "age": "soon", "size": true, "labels": [{}]});
        let mut check = Check::new("a.yaml");
        check.value("spec", &mut value, &SHAPE);
        assert_eq!(value["direction"], "INGRESS");
        let found: Vec<(Code, &str)> = check.found.iter().map(|d| (d.code, d.path.as_str())).collect();
        assert_eq!(
            found,
            [
                (Code::UnknownField, "spec.cuont"),
                (Code::BadValue, "spec.count"),
                (Code::BadValue, "spec.age"),
                (Code::WrongType, "spec.size"),
                (Code::MissingField, "spec.labels[0].category"),
                (Code::MissingField, "spec.labels[0].value"),
                (Code::MissingField, "spec.name"),
            ]
        );
        assert_eq!(check.found[0].help.as_deref(), Some("did you mean `count`?"));
        for found in check.found.iter().filter(|found| matches!(found.code, Code::BadValue | Code::MissingField)) {
            assert!(found.help.is_some(), "{found}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        assert_eq!(shown("spec.parameters.password", &json!("p")), "(not shown)");
        assert_eq!(shown("a[0].api_key", &json!("p")), "(not shown)");
        assert_eq!(shown("spec.broker", &json!("p")), "\"p\"");
        assert_eq!(member("spec", "a b"), "spec[\"a b\"]");
    }
}
