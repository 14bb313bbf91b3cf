//! Edits one field of a JSON record without building a tree: the record is walked once, and only the value's own bytes change.
//!
//! The guest and its native counterpart both use it, so that they differ in nothing but where they run.

use std::fmt;
use std::io::Write as _;
use std::ops::Range;

/// What is done to the value of a field.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// This is added to a number.
    Add(f64),
    /// This JSON text takes its place.
    Set(String),
}

/// Why a record is not edited: what was expected, and at which byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// What was expected.
    pub expected: &'static str,
    /// At which byte of the record.
    pub at: usize,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {} at byte {}", self.expected, self.at)
    }
}

/// Appends `record` to `out` with the field of its outermost object edited.
///
/// The whole record is walked: braces, strings and separators of the outermost object must be right, and nesting closed. A name
/// that is written with escapes is not recognised. Nothing is appended on an error.
pub fn edit(record: &[u8], field: &[u8], edit: &Edit, out: &mut Vec<u8>) -> Result<(), Mismatch> {
    let value = find(record, field)?;
    let start = out.len();
    let (before, text, after) = (&record[..value.start], &record[value.clone()], &record[value.end..]);
    out.extend_from_slice(before);
    match edit {
        Edit::Set(new) => out.extend_from_slice(new.as_bytes()),
        Edit::Add(amount) => {
            let number = std::str::from_utf8(text).ok().and_then(|text| text.parse::<f64>().ok());
            let Some(number) = number.filter(|_| text[0] == b'-' || text[0].is_ascii_digit()) else {
                out.truncate(start);
                return Err(Mismatch { expected: "a number", at: value.start });
            };
            // Writing to a `Vec` cannot fail.
            let _ = write!(out, "{}", number + amount);
        }
    }
    out.extend_from_slice(after);
    Ok(())
}

/// Where the value of the field is.
fn find(record: &[u8], field: &[u8]) -> Result<Range<usize>, Mismatch> {
    let mut at = expect(record, blank(record, 0), b'{', "an object")?;
    let mut found = None;
    loop {
        at = expect(record, blank(record, at), b'"', "the name of a field")?;
        let name = at..string_end(record, at)?;
        at = expect(record, blank(record, name.end + 1), b':', "a colon")?;
        let start = blank(record, at);
        let end = value_end(record, start)?;
        if &record[name] == field {
            found = Some(start..end);
        }
        at = blank(record, end);
        match record.get(at) {
            Some(b',') => at += 1,
            Some(b'}') => break,
            _ => return Err(Mismatch { expected: "a comma or the end of the object", at }),
        }
    }
    let rest = blank(record, at + 1);
    if rest != record.len() {
        return Err(Mismatch { expected: "the end of the record", at: rest });
    }
    found.ok_or(Mismatch { expected: "the field", at })
}

fn expect(record: &[u8], at: usize, byte: u8, expected: &'static str) -> Result<usize, Mismatch> {
    if record.get(at) == Some(&byte) { Ok(at + 1) } else { Err(Mismatch { expected, at }) }
}

fn blank(record: &[u8], mut at: usize) -> usize {
    while matches!(record.get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

/// The closing quote of the string whose first character is at `at`.
fn string_end(record: &[u8], mut at: usize) -> Result<usize, Mismatch> {
    loop {
        let rest = record.get(at..).unwrap_or_default();
        match rest.iter().position(|byte| matches!(byte, b'"' | b'\\')) {
            Some(place) if rest[place] == b'"' => return Ok(at + place),
            Some(place) => at += place + 2,
            None => return Err(Mismatch { expected: "the end of a string", at: record.len() }),
        }
    }
}

/// The byte after the value that begins at `start`.
fn value_end(record: &[u8], start: usize) -> Result<usize, Mismatch> {
    let mut at = start;
    match record.get(at) {
        Some(b'"') => Ok(string_end(record, at + 1)? + 1),
        Some(b'{' | b'[') => {
            let mut depth = 0_usize;
            loop {
                match record.get(at) {
                    Some(b'"') => at = string_end(record, at + 1)?,
                    Some(b'{' | b'[') => depth += 1,
                    Some(b'}' | b']') => depth -= 1,
                    Some(_) => {}
                    None => return Err(Mismatch { expected: "the end of a nested value", at }),
                }
                at += 1;
                if depth == 0 {
                    return Ok(at);
                }
            }
        }
        _ => {
            while record.get(at).is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.'))
            {
                at += 1;
            }
            if at == start { Err(Mismatch { expected: "a value", at }) } else { Ok(at) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(record: &str, field: &str, change: Edit) -> Result<String, Mismatch> {
        let mut out = b"before".to_vec();
        let done = edit(record.as_bytes(), field.as_bytes(), &change, &mut out);
        let text = String::from_utf8(out).unwrap();
        match done {
            Ok(()) => Ok(text["before".len()..].to_owned()),
            Err(error) => {
                assert_eq!(text, "before", "nothing is appended on an error");
                Err(error)
            }
        }
    }

    #[test]
    fn only_the_value_changes() {
        let record = r#"{"sequence":7, "value" : 21.25,"filling":"a\"}b"}"#;
        assert_eq!(
            edited(record, "value", Edit::Add(1.0)).unwrap(),
            r#"{"sequence":7, "value" : 22.25,"filling":"a\"}b"}"#
        );
        assert_eq!(edited(record, "sequence", Edit::Add(1.0)).unwrap(), record.replace(":7", ":8"));
        assert_eq!(
            edited(record, "filling", Edit::Set("null".into())).unwrap(),
            r#"{"sequence":7, "value" : 21.25,"filling":null}"#
        );
    }

    #[test]
    fn only_the_outermost_object_is_looked_at() {
        let record = r#"{"in":{"x":[1,{"x":"}"}]},"x":-1e2}"#;
        assert_eq!(edited(record, "x", Edit::Add(1.0)).unwrap(), r#"{"in":{"x":[1,{"x":"}"}]},"x":-99}"#);
    }

    #[test]
    fn what_is_no_such_record_is_told() {
        let expected = |record: &str| edited(record, "x", Edit::Add(1.0)).unwrap_err().expected;
        assert_eq!(expected("[1]"), "an object");
        assert_eq!(expected(r#"{"x":"1"}"#), "a number");
        assert_eq!(expected(r#"{"y":1}"#), "the field");
        assert_eq!(expected(r#"{"x":1} 2"#), "the end of the record");
        assert_eq!(expected(r#"{"x":1"#), "a comma or the end of the object");
        assert_eq!(expected(r#"{"y":"1"#), "the end of a string");
        assert_eq!(expected(r#"{"y":[1"#), "the end of a nested value");
        assert_eq!(expected(r#"{"x":}"#), "a value");
        assert_eq!(expected(r#"{"x":true}"#), "a number");
        assert_eq!(expected("{}"), "the name of a field");
    }
}
