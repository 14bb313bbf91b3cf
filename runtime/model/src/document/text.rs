//! From bytes to values: YAML with several documents, JSON, and the bounds that keep a small file from filling the memory.

use std::{cell::Cell, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy};

use crate::{Code, Diagnostic, Kind, Syntax};

/// The largest file, in bytes: a hundred times the largest set of documents seen, and read in a blink.
pub const LARGEST_FILE: usize = 4 << 20;
/// How many bytes of text a file may become when its aliases are expanded.
const LARGEST_TEXT: usize = 4 * LARGEST_FILE;
/// How many values may come from aliases in one file.
const REPLAYED: usize = 20_000;
/// How deep YAML may be nested.
const DEPTH: usize = 64;
/// How deep JSON may be nested: serde_json's own limit.
const JSON_DEPTH: usize = 128;
/// How many documents a file may hold.
const DOCUMENTS: usize = 1_000;

/// The values in a file, in order, each with what could be said of it; and how the file is written.
pub(super) type Values = (Syntax, Vec<Result<Value, Box<Diagnostic>>>);

/// Reads a file. An error in one YAML document does not hide those in the next, as long as the text can be followed.
pub(super) fn read(name: &str, bytes: &[u8]) -> Result<Values, Box<Diagnostic>> {
    let fail =
        |code, message: String, help: &str| Box::new(Diagnostic::new(code, message).in_document(name).help(help));
    if bytes.len() > LARGEST_FILE {
        let message = format!("the file has {} bytes, and {LARGEST_FILE} are allowed", bytes.len());
        return Err(fail(
            Code::DocumentTooLarge,
            message,
            "split the file; data and components do not belong into documents",
        ));
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
        Err(error) => {
            let at = error.valid_up_to();
            let message = format!("byte 0x{:02x} at offset {at} is not UTF-8", bytes[at]);
            let mut diagnostic = fail(Code::NotUtf8, message, "save the file as UTF-8");
            diagnostic.position = Some(position(&bytes[..at]));
            return Err(diagnostic);
        }
    };
    ROOM.set(LARGEST_TEXT);
    let (syntax, values) =
        if is_json(name, text) { (Syntax::Json, json(name, text)) } else { (Syntax::Yaml, yaml(name, text)) };
    if values.len() > DOCUMENTS {
        let message = format!("the file holds more than {DOCUMENTS} documents");
        return Err(fail(Code::TooComplex, message, "split the file"));
    }
    Ok((syntax, values))
}

/// The place after some bytes, as line and column from 1.
fn position(before: &[u8]) -> (u32, u32) {
    let line = before.iter().filter(|byte| **byte == b'\n').count();
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let column = String::from_utf8_lossy(&before[start..]).chars().count();
    (count(line), count(column))
}

fn count(from_zero: usize) -> u32 {
    u32::try_from(from_zero).unwrap_or(u32::MAX).saturating_add(1)
}

fn is_json(name: &str, text: &str) -> bool {
    match name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase()).as_deref() {
        Some("json") => true,
        Some("yaml" | "yml") => false,
        _ => text.trim_start().starts_with(['{', '[']),
    }
}

fn json(name: &str, text: &str) -> Vec<Result<Value, Box<Diagnostic>>> {
    serde_json::Deserializer::from_str(text)
        .into_iter::<Strict>()
        .map(|value| {
            value.map(|strict| strict.0).map_err(|error| {
                let text = error.to_string();
                let (code, message) = if error.is_data() {
                    own_error(&text).unwrap_or((Code::NotJson, text.clone()))
                } else if text.starts_with("recursion limit") {
                    (Code::TooComplex, format!("the document is nested more than {JSON_DEPTH} levels deep"))
                } else {
                    (Code::NotJson, text.clone())
                };
                let message = message.split(" at line ").next().unwrap_or(&message).to_owned();
                let mut diagnostic = Box::new(told(code, message).in_document(name));
                let line = u32::try_from(error.line()).unwrap_or(u32::MAX);
                let column = u32::try_from(error.column()).unwrap_or(u32::MAX);
                diagnostic.position = (line > 0).then_some((line, column.max(1)));
                diagnostic
            })
        })
        .collect()
}

fn yaml(name: &str, text: &str) -> Vec<Result<Value, Box<Diagnostic>>> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_reader_input_bytes: Some(LARGEST_FILE),
            max_documents: DOCUMENTS,
            max_depth: DEPTH,
            max_aliases: REPLAYED,
            max_anchors: 1_000,
            max_recorded_anchor_bytes: LARGEST_TEXT,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: REPLAYED,
            max_replay_stack_depth: 16,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::Merge,
        strict_booleans: true,
        with_snippet: false,
    };
    let mut bytes = text.as_bytes();
    let values = serde_saphyr::read_with_options::<_, Strict>(&mut bytes, options);
    values
        .take(DOCUMENTS + 1)
        .map(|value| {
            value.map(|strict| strict.0).map_err(|error| {
                let mut diagnostic = yaml_error(name, &error);
                // What the reader says may be a piece of the text, and the text may be a password.
                if diagnostic.code == Code::NotYaml && text.contains(Kind::Secret.name()) {
                    diagnostic.message = "this is not YAML".to_owned();
                }
                diagnostic
            })
        })
        .collect()
}

fn yaml_error(name: &str, error: &serde_saphyr::Error) -> Box<Diagnostic> {
    let text = error.to_string();
    let (code, message) = match error {
        serde_saphyr::Error::DuplicateMappingKey { key, .. } => {
            let key = key.as_deref().unwrap_or("?");
            (Code::DuplicateKey, format!("key `{key}` occurs twice"))
        }
        _ => own_error(&text).unwrap_or_else(|| {
            // Which of the variants a breach of a bound arrives in depends on where it is noticed; the words are the same.
            if BREACHES.iter().any(|breach| text.contains(breach)) {
                (Code::TooComplex, breach(&text))
            } else {
                (Code::NotYaml, first_line(&text))
            }
        }),
    };
    let mut diagnostic = Box::new(told(code, message).in_document(name));
    diagnostic.position = error.location().map(|location| {
        let bound = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        (bound(location.line()), bound(location.column()))
    });
    diagnostic
}

/// The first line of a message, without the place, which the diagnostic has of its own.
fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or(text);
    let line = line.split(" at line ").next().unwrap_or(line);
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

/// A diagnostic of the text itself, with what to do about it.
fn told(code: Code, message: String) -> Diagnostic {
    let help = match code {
        Code::NotYaml => {
            "look at this line and the one above: indent with spaces, and quote a text that has `: ` or ` #` in it or begins with one of {[*&!%@`"
        }
        Code::NotJson => {
            "JSON has double quotes around names and texts, commas between members, and none after the last"
        }
        Code::DuplicateKey => "keep one of the two",
        _ => "write what is repeated out, with less nesting, or split the file",
    };
    Diagnostic::new(code, message).help(help)
}

/// Which bound was passed, from what the YAML reader says.
fn breach(text: &str) -> String {
    let text = text.to_lowercase();
    if text.contains("depth") || text.contains("nest") {
        format!("the document is nested more than {DEPTH} levels deep")
    } else if text.contains("documents") {
        format!("the file holds more than {DOCUMENTS} documents")
    } else if text.contains("alias") || text.contains("anchor") || text.contains("replay") {
        format!("{GROWS}: its aliases stand for more than {REPLAYED} values")
    } else {
        format!("{GROWS}: it has more values than are read")
    }
}

/// What the YAML reader says when a bound is passed.
const BREACHES: [&str; 6] =
    ["limit exceeded", "depth exceeded", "breached", "too complex", "configured limit", "supported limit"];
const TWICE: &str = "key occurs twice: ";
const GROWS: &str = "the document grows too much";

/// Recognises what [`Strict`] says.
fn own_error(text: &str) -> Option<(Code, String)> {
    if let Some(at) = text.find(TWICE) {
        let rest = &text[at + TWICE.len()..];
        let key = rest.split(" at line ").next().unwrap_or(rest);
        let key = key.lines().next().unwrap_or(key);
        return Some((Code::DuplicateKey, format!("key {key} occurs twice")));
    }
    text.contains(GROWS).then(|| (Code::TooComplex, format!("{GROWS}: more than {LARGEST_TEXT} bytes of text")))
}

thread_local! {
    /// How many more bytes of text the file in hand may have. Neither reader counts what aliases repeat, and neither
    /// lets a state be handed in.
    static ROOM: Cell<usize> = const { Cell::new(0) };
}

fn take<E: de::Error>(bytes: usize) -> Result<(), E> {
    let room = ROOM.get().checked_sub(bytes).ok_or_else(|| E::custom(GROWS))?;
    ROOM.set(room);
    Ok(())
}

/// A value whose objects have no key twice.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> DeserializeSeed<'de> for StrictVisitor {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number that is not finite"))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        take(value.len())?;
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Value, E> {
        take(value.len())?;
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(StrictVisitor)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            take(key.len())?;
            let value = members.next_value_seed(StrictVisitor)?;
            if map.contains_key(&key) {
                return Err(de::Error::custom(format!("{TWICE}`{key}`")));
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}
