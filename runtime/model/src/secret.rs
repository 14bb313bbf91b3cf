//! Secrets: how documents write them, how parameters refer to them, and how parameters are filled in. Sealing and opening is for
//! whoever has the key.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::redact::{MASK, Redactor};
use crate::schema;
use crate::shape::{Check, Field, Shape, field, member};
use crate::{Code, Diagnostic, Kind, Object};

/// The `apiVersion` of secrets, which are there for all families.
pub const SECRET_API_VERSION: &str = "v1";

/// How a value begins that is sealed; then follow nonce and ciphertext in base64.
pub const SEALED: &str = "sealed:v1:";

/// What a value is longer by once it is sealed: its nonce and its tag.
pub const SEALED_MORE: usize = 24 + 16;

/// The largest value, in bytes.
const LARGEST_VALUE: usize = 64 << 10;

/// What all values of a secret may have together: as in Kubernetes.
const LARGEST: usize = 1 << 20;

/// A secret: values by key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SecretSpec {
    /// What it is for, as Kubernetes has it, such as `Opaque`; for people.
    #[serde(rename = "type")]
    pub secret_type: String,
    /// Base64 as documents have it, sealed as it is stored, or masked as it is shown.
    pub data: BTreeMap<String, String>,
}

/// The fields of a document besides those that every one has.
pub(crate) const fn fields() -> [Field; 3] {
    [field("type", Shape::Text), field("data", Shape::Values), field("stringData", Shape::Values)]
}

/// The fields of what is kept of it.
pub(crate) const NATIVE: &[Field] = &[field("type", Shape::Text), field("data", Shape::MapOf(&Shape::Text))];

/// Kubernetes keeps the whole document here, values included.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Takes `type`, `data` and `stringData` out of a document: the spec of a secret. No message repeats a value.
pub(crate) fn read(map: &mut Map<String, Value>, check: &mut Check) -> SecretSpec {
    let secret_type = map.shift_remove("type").and_then(|text| text.as_str().map(str::to_owned));
    let mut data = BTreeMap::new();
    let mut size = 0;
    for (field, is_text) in [("data", false), ("stringData", true)] {
        let values = map.shift_remove(field);
        for (key, value) in values.iter().filter_map(Value::as_object).flatten() {
            let path = member(field, key);
            let mut wrong = |code, message: &str, help: &str| {
                check.add(Diagnostic::new(code, message).at(&path).help(help));
            };
            if let Some(problem) = bad_key(key) {
                wrong(Code::BadName, problem, "keys have letters, digits, `-`, `_` and `.`, and at most 253 of them");
                continue;
            }
            let Some(text) = value.as_str() else {
                wrong(Code::WrongType, "expected a text", "write it in quotes");
                continue;
            };
            let bytes = match (is_text, is_masked(text)) {
                (true, true) => {
                    wrong(Code::BadValue, "this is how a value is shown, and not the value", "write the value itself");
                    continue;
                }
                (false, true) => {
                    data.insert(key.clone(), text.to_owned());
                    continue;
                }
                (true, false) => text.as_bytes().to_vec(),
                (false, false) => {
                    let compact: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
                    let Ok(bytes) = STANDARD.decode(compact) else {
                        wrong(Code::BadValue, "expected base64", "a value that is text goes under `stringData`");
                        continue;
                    };
                    bytes
                }
            };
            if bytes.len() > LARGEST_VALUE {
                let text = format!("the value has {} bytes, and {LARGEST_VALUE} are allowed", bytes.len());
                wrong(Code::BadValue, &text, "a secret is a password, a token or a key");
            }
            size += bytes.len();
            data.insert(key.clone(), STANDARD.encode(bytes));
        }
    }
    if size > LARGEST {
        let text = format!("the values have {size} bytes together, and {LARGEST} are allowed");
        check.add(Diagnostic::new(Code::BadValue, text).at("data").help("make several secrets of it"));
    }
    SecretSpec { secret_type: secret_type.unwrap_or_else(|| "Opaque".to_owned()), data }
}

/// What a grant could not name cannot be a secret's name.
pub(crate) fn check_name(name: &str, check: &mut Check) {
    if let Some(problem) = bad_key(name) {
        let text = format!("`{}` cannot be the name of a secret: {problem}", name.escape_debug());
        let help = "it has letters, digits, `-`, `_` and `.`, so that a grant can name it";
        check.add(Diagnostic::new(Code::BadName, text).at("metadata.name").help(help));
    }
}

fn bad_key(key: &str) -> Option<&'static str> {
    if key.is_empty() || key.len() > 253 {
        return Some("it has 1 to 253 characters");
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (!key.chars().all(plain)).then_some("it has another character than letters, digits, `-`, `_` and `.`")
}

/// Takes out of a document's metadata what repeats its values.
pub(crate) fn clean(object: &mut Object) {
    object.metadata.annotations.remove(LAST_APPLIED);
}

/// Whether a text is what stands for a value that is not shown. Base64 has no `*`.
pub fn is_masked(text: &str) -> bool {
    text.starts_with(MASK) && text.ends_with(')')
}

/// A sealed value as it is shown: how large it is, and nothing of it. Applied again, it keeps the value that is there. `note` is
/// put behind the size.
pub fn masked(sealed: &str, note: &str) -> String {
    let bytes = sealed.strip_prefix(SEALED).and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default();
    let size = bytes.len().saturating_sub(SEALED_MORE);
    format!("{MASK} ({size} bytes{note})")
}

/// An object as people see it: one that is a secret with its values masked. With `before`, values that differ from it say so.
pub fn shown(object: &Object, before: Option<&Object>) -> Object {
    let mut object = object.clone();
    if object.kind != Kind::Secret {
        return object;
    }
    let data = |object: &Object| object.typed::<SecretSpec>().map(|spec| spec.data).unwrap_or_default();
    let before = before.map(data);
    let mut spec: SecretSpec = object.typed().unwrap_or_default();
    for (key, value) in &mut spec.data {
        let changed = before.as_ref().is_some_and(|before| before.get(key).is_some_and(|old| old != value));
        *value = masked(value, if changed { ", changed" } else { "" });
    }
    // A spec of strings can always be written.
    let _ = object.set_spec(spec);
    object
}

/// The envelope of a secret in Kubernetes' shape.
pub(crate) fn written(mut envelope: Value) -> Value {
    if let Some(members) = envelope.as_object_mut()
        && let Some(Value::Object(spec)) = members.shift_remove("spec")
    {
        let status = members.shift_remove("status");
        members.extend(spec);
        members.extend(status.map(|status| ("status".to_owned(), status)));
    }
    envelope
}

/// Where a parameter gets its value from: `{secret: name, key: k}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretRef {
    /// The name of the secret, of the same project or of none.
    pub secret: String,
    /// Which of its values.
    pub key: String,
}

impl SecretRef {
    /// The reference that a value is, if it is one: an object with these two members and no other.
    pub fn read(value: &Value) -> Option<Self> {
        let members = value.as_object().filter(|members| members.len() == 2)?;
        let text = |name: &str| members.get(name)?.as_str().map(str::to_owned);
        Some(Self { secret: text("secret")?, key: text("key")? })
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key `{}` of secret `{}`", self.key, self.secret)
    }
}

/// All references in a value.
pub fn references(value: &Value) -> Vec<SecretRef> {
    let mut found = Vec::new();
    let _ = fill(value, &mut |reference| {
        found.push(reference.clone());
        None
    });
    found
}

/// The value that a reference stands for, for whoever may have it.
#[derive(Clone)]
pub struct Known {
    /// The value.
    pub text: String,
    /// Changes when the value does, and tells nothing of it.
    pub version: String,
}

/// Values with what their references stand for in their place.
#[derive(Debug, Clone, PartialEq)]
pub struct Filled {
    /// As they are meant. An unknown value is an arbitrary text.
    pub value: Value,
    /// As they are written.
    pub written: Value,
    /// As they are written, each reference with the version of its value: differs when the values do, and may be shown.
    pub told: Value,
    /// Where references were.
    pub places: Vec<Place>,
    /// Masks the values that were filled in.
    pub redactor: Redactor,
}

/// Where a reference was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// A JSON Pointer.
    pub pointer: String,
    /// The reference.
    pub reference: SecretRef,
    /// Whether its value was put there.
    pub known: bool,
}

impl Place {
    /// The place as messages say it, in values that are at `path`.
    pub fn path(&self, path: &str) -> String {
        schema::locate(path, &self.pointer)
    }
}

/// Puts the values of references in their places.
pub fn fill(value: &Value, look_up: &mut dyn FnMut(&SecretRef) -> Option<Known>) -> Filled {
    let mut filling = Filling { look_up, places: Vec::new(), texts: Vec::new() };
    let (mut filled, mut told) = (value.clone(), value.clone());
    filling.fill("", &mut filled, &mut told);
    let redactor = Redactor::new(filling.texts.iter().map(String::as_bytes));
    Filled { value: filled, written: value.clone(), told, places: filling.places, redactor }
}

struct Filling<'a> {
    look_up: &'a mut dyn FnMut(&SecretRef) -> Option<Known>,
    places: Vec<Place>,
    texts: Vec<String>,
}

impl Filling<'_> {
    fn fill(&mut self, pointer: &str, value: &mut Value, told: &mut Value) {
        if let Some(reference) = SecretRef::read(value) {
            let known = (self.look_up)(&reference);
            self.places.push(Place { pointer: pointer.to_owned(), reference, known: known.is_some() });
            let (text, version) =
                known.map_or_else(|| (MASK.to_owned(), None), |known| (known.text, Some(known.version)));
            if let (Some(version), Some(members)) = (version, told.as_object_mut()) {
                members.insert("version".to_owned(), Value::String(version));
                self.texts.push(text.clone());
            }
            *value = Value::String(text);
            return;
        }
        match (value, told) {
            (Value::Array(values), Value::Array(told)) => {
                for (index, (value, told)) in values.iter_mut().zip(told).enumerate() {
                    self.fill(&format!("{pointer}/{index}"), value, told);
                }
            }
            (Value::Object(values), Value::Object(told)) => {
                for ((name, value), told) in values.iter_mut().zip(told.values_mut()) {
                    let name = name.replace('~', "~0").replace('/', "~1");
                    self.fill(&format!("{pointer}/{name}"), value, told);
                }
            }
            _ => {}
        }
    }
}

impl Filled {
    /// What is wrong with the values by a schema; see [`schema::validate`]. Nothing of a secret is repeated, and what an unknown
    /// value would be is not judged.
    pub fn validate(&self, schema: &Value, path: &str) -> Vec<Diagnostic> {
        let found = schema::validate(schema, &self.value, path);
        found.into_iter().filter_map(|diagnostic| self.judged(diagnostic, path)).collect()
    }

    fn judged(&self, mut diagnostic: Diagnostic, path: &str) -> Option<Diagnostic> {
        for place in &self.places {
            let here = place.path(path);
            if diagnostic.path == here && !place.known {
                return None;
            }
            if here.starts_with(&diagnostic.path) {
                diagnostic.found = None;
            }
            if diagnostic.path == here {
                diagnostic.message = format!("{} ({} does not fit)", diagnostic.message, place.reference);
            }
        }
        Some(diagnostic.masked(&self.redactor))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn known(text: &str) -> Option<Known> {
        Some(Known { text: text.to_owned(), version: "v7".to_owned() })
    }

    #[test]
    fn references_are_filled_in_wherever_they_stand() {
        let value = json!({"a": {"secret": "s", "key": "k"}, "b": [{"secret": "s", "key": "x"}, 1], "c/d": {"e": {"key": "k", "secret": "t"}},
            "no": {"secret": "s", "key": "k", "more": 1}, "nor": {"secret": "s", "key": 1}});
        let filled = fill(&value, &mut |reference| known(&reference.to_string()).filter(|_| reference.key == "k"));
        assert_eq!(filled.value["a"], "key `k` of secret `s`");
        assert_eq!(filled.value["c/d"]["e"], "key `k` of secret `t`");
        assert_eq!((&filled.value["no"], &filled.value["nor"]), (&value["no"], &value["nor"]));
        assert_eq!(filled.told["a"], json!({"secret": "s", "key": "k", "version": "v7"}));
        assert_eq!(filled.told["b"], value["b"], "unknown");
        let places: Vec<_> = filled.places.iter().map(|place| (place.path("p"), place.known)).collect();
        let at = |path: &str, known| (path.to_owned(), known);
        assert_eq!(places, [at("p.a", true), at("p.b[0]", false), at("p[\"c/d\"].e", true)]);
        assert_eq!(references(&value).len(), 3);
    }

    #[test]
    fn what_is_wrong_with_a_value_does_not_repeat_it() {
        let schema = json!({"properties": {"p": {"type": "string", "maxLength": 3}, "q": {"type": "integer"}}, "maxProperties": 1});
        let value = json!({"p": {"secret": "s", "key": "k"}, "q": {"secret": "s", "key": "x"}});
        let told = |secret: &str| {
            let filled = fill(&value, &mut |reference| known(secret).filter(|_| reference.key == "k"));
            filled.validate(&schema, "spec")
        };
        let found = told("hunter2");
        let mut paths: Vec<_> = found.iter().map(|one| one.path.as_str()).collect();
        paths.sort_unstable();
        assert_eq!(paths, ["spec", "spec.p"], "an unknown value is not judged");
        assert!(found.iter().all(|one| !one.to_string().contains("hunter2")), "{found:?}");
        // Too short to be looked for: it is not shown either.
        assert!(told("xy").iter().all(|one| !one.to_string().contains("xy")));
    }

    #[test]
    fn a_secret_is_shown_by_its_size() {
        let sealed = |text: &str| format!("{SEALED}{}", STANDARD.encode([&[0; SEALED_MORE], text.as_bytes()].concat()));
        let object = |one: &str, two: &str| {
            let spec = json!({"type": "Opaque", "data": {"one": sealed(one), "two": sealed(two)}});
            Object::new(Kind::Secret, "s", spec).unwrap()
        };
        let (old, new) = (object("abc", "abc"), object("abc", "xyz"));
        assert_eq!(shown(&new, None).spec["data"], json!({"one": "**** (3 bytes)", "two": "**** (3 bytes)"}));
        assert_eq!(shown(&new, Some(&old)).spec["data"]["two"], "**** (3 bytes, changed)");
        assert!(is_masked("**** (3 bytes, changed)") && !is_masked("****") && !is_masked("abcd"));
    }
}
