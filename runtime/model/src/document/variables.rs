//! `${env:NAME}` and `${env:NAME:-default}` in the texts of a document: the only way that a document sees the environment.

use serde_json::Value;

use crate::{
    Code, Diagnostic,
    shape::{Check, element, member},
};

const OPEN: &str = "${env:";
const ESCAPED: &str = "$${env:";

/// Fills in the variables of every text in a value; keys stay as they are.
pub(super) fn fill(check: &mut Check, path: &str, value: &mut Value, env: &dyn Fn(&str) -> Option<String>) {
    match value {
        Value::String(text) if text.contains(OPEN) => {
            let filled = fill_text(text, env);
            match filled {
                Ok(filled) => *text = filled,
                Err(diagnostic) => check.add((*diagnostic).at(path)),
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter_mut().enumerate() {
                fill(check, &element(path, index), value, env);
            }
        }
        Value::Object(map) => {
            for (name, value) in map.iter_mut() {
                fill(check, &member(path, name), value, env);
            }
        }
        _ => {}
    }
}

fn fill_text(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, Box<Diagnostic>> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(OPEN) {
        if at > 0 && rest[..at].ends_with('$') {
            // `$${env:` stands for `${env:`.
            out.push_str(&rest[..at - 1]);
            out.push_str(OPEN);
            rest = &rest[at - 1 + ESCAPED.len()..];
            continue;
        }
        out.push_str(&rest[..at]);
        let inner = &rest[at + OPEN.len()..];
        let end = inner.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inner.len());
        let (name, after) = inner.split_at(end);
        let bad = |why: &str| {
            let shown: String = rest[at..].chars().take(40).collect();
            let message = format!("`{shown}`: {why}");
            Box::new(
                Diagnostic::new(Code::BadVariable, message)
                    .expected("${env:NAME} or ${env:NAME:-default}")
                    .help("to have the text itself, write $${env:"),
            )
        };
        if name.is_empty() {
            return Err(bad("a name of letters, digits and `_` is needed"));
        }
        let default;
        if let Some(after) = after.strip_prefix('}') {
            (default, rest) = (None, after);
        } else if let Some(after) = after.strip_prefix(":-") {
            let Some(end) = after.find('}') else {
                return Err(bad("it is not closed by `}`"));
            };
            (default, rest) = (Some(&after[..end]), &after[end + 1..]);
        } else {
            return Err(bad("it is not closed by `}` after the name"));
        }
        match (env(name), default) {
            (Some(value), _) => out.push_str(&value),
            (None, Some(default)) => out.push_str(default),
            (None, None) => {
                return Err(Box::new(
                    Diagnostic::new(Code::MissingVariable, format!("the variable {name} is not set"))
                        .help(format!("set it, or write ${{env:{name}:-default}}")),
                ));
            }
        }
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_filled_in_only_in_the_explicit_form() {
        let env = |name: &str| (name == "HOST").then(|| "broker".to_owned());
        for (text, filled) in [
            ("mqtt://${env:HOST}:1883", "mqtt://broker:1883"),
            ("${env:PORT:-1883}", "1883"),
            ("${env:PORT:-}", ""),
            ("$${env:HOST}", "${env:HOST}"),
            ("$HOST ${HOST} $${HOST}", "$HOST ${HOST} $${HOST}"),
            ("${env:HOST}${env:HOST}", "brokerbroker"),
        ] {
            assert_eq!(fill_text(text, &env).unwrap(), filled, "{text}");
        }
        for (text, code) in [
            ("${env:PORT}", Code::MissingVariable),
            ("${env:}", Code::BadVariable),
            ("${env:HOST", Code::BadVariable),
            ("${env:HOST:-x", Code::BadVariable),
            ("${env:HO ST}", Code::BadVariable),
        ] {
            assert_eq!(fill_text(text, &env).unwrap_err().code, code, "{text}");
        }
    }
}
