//! Templates in targets: `{a.b}` is a stream parameter, `{static.x}` a static one.

use std::net::IpAddr;

use serde_json::Value;

use super::TargetError;
use crate::secret::SecretRef;

enum Part<'a> {
    Text(&'a str),
    Parameter(&'a str),
}

fn parts(target: &str) -> Result<Vec<Part<'_>>, TargetError> {
    let malformed = || TargetError::Template(target.to_owned());
    let mut parts = Vec::new();
    let mut rest = target;
    while let Some((text, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or_else(malformed)?;
        if name.is_empty() || name.contains('{') || name.split('.').any(str::is_empty) {
            return Err(malformed());
        }
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        parts.push(Part::Parameter(name));
        rest = after;
    }
    if rest.contains('}') {
        return Err(malformed());
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest));
    }
    Ok(parts)
}

/// Whether the templates of `target` are well formed.
pub(super) fn check(target: &str) -> Result<(), TargetError> {
    parts(target).map(|_| ())
}

/// Whether `target` is one parameter and nothing else, so that its value decides everything.
pub(super) fn is_only_parameter(target: &str) -> Result<bool, TargetError> {
    Ok(matches!(parts(target)?[..], [Part::Parameter(_)]))
}

/// `target` with its parameters filled in; several where a parameter is a list.
pub(super) fn fill(target: &str, static_params: &Value, stream_params: &Value) -> Result<Vec<String>, TargetError> {
    let parts = parts(target)?;
    let whole = parts.len() == 1;
    let mut filled = vec![String::new()];
    for part in parts {
        let texts = match part {
            Part::Text(text) => vec![text.to_owned()],
            Part::Parameter(name) => {
                let mut texts = values(name, static_params, stream_params)?;
                for text in &mut texts {
                    guard(name, text, whole)?;
                }
                texts
            }
        };
        filled = filled.iter().flat_map(|head| texts.iter().map(move |text| format!("{head}{text}"))).collect();
    }
    Ok(filled)
}

/// The names of the secrets that a parameter refers to, where `target` is one parameter and nothing else. A parameter without a
/// reference asks for none.
pub(super) fn secrets(target: &str, static_params: &Value, stream_params: &Value) -> Result<Vec<String>, TargetError> {
    let parts = parts(target)?;
    let [Part::Parameter(name)] = parts[..] else { return Err(TargetError::Template(target.to_owned())) };
    let references = match value(name, static_params, stream_params) {
        Some(Value::Array(list)) => list.iter().filter_map(SecretRef::read).collect(),
        Some(value) => Vec::from_iter(SecretRef::read(value)),
        None => Vec::new(),
    };
    if references.is_empty() {
        return Err(TargetError::Missing(name.to_owned()));
    }
    Ok(references.into_iter().map(|reference| reference.secret).collect())
}

fn value<'a>(name: &str, static_params: &'a Value, stream_params: &'a Value) -> Option<&'a Value> {
    let (root, path) = match name.strip_prefix("static.") {
        Some(path) => (static_params, path),
        None => (stream_params, name),
    };
    path.split('.').try_fold(root, |value, member| value.get(member))
}

fn values(name: &str, static_params: &Value, stream_params: &Value) -> Result<Vec<String>, TargetError> {
    let one = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err(TargetError::Value { parameter: name.to_owned(), detail: "it is neither a text nor a number" }),
    };
    match value(name, static_params, stream_params) {
        None | Some(Value::Null) => Err(TargetError::Missing(name.to_owned())),
        Some(Value::Array(list)) => list.iter().map(one).collect(),
        Some(value) => Ok(vec![one(value)?]),
    }
}

/// A value may be a whole target, but inside of one it must not move the borders of host, port and path.
fn guard(parameter: &str, text: &mut String, whole: bool) -> Result<(), TargetError> {
    let refuse = |detail| Err(TargetError::Value { parameter: parameter.to_owned(), detail });
    if text.is_empty() {
        return Err(TargetError::Missing(parameter.to_owned()));
    }
    if text.contains('*') {
        return refuse("it contains a wildcard");
    }
    if text.chars().any(char::is_control) {
        return refuse("it contains a control character");
    }
    if whole {
        return Ok(());
    }
    if let Ok(IpAddr::V6(address)) = text.parse::<IpAddr>() {
        *text = format!("[{address}]");
        return Ok(());
    }
    if text.contains(['/', '\\', '@', '?', '#', ':', '[', ']', '-']) && !is_plain_host(text) {
        return refuse("it contains a character that separates the parts of an address");
    }
    Ok(())
}

/// Host names may contain hyphens, and IPv6 addresses stand in brackets.
fn is_plain_host(text: &str) -> bool {
    let bracketed = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !text.chars().all(|c| c.is_ascii_digit() || c == '-')
                && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '.' | '_'))
        }
    }
}
