//! Records as scripts write them, and how a found record differs from an expected one.

use std::collections::BTreeMap;

use ferrule_model::record::{Batch, BatchBuilder, BatchError, Headers, HeadersRef, NO_TIMESTAMP, RecordRef};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Bytes in a script: text, or an object with one of `text`, `json` and `base64`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Bytes {
    /// UTF-8 text as it stands.
    Plain(String),
    /// One of the named forms.
    Named(NamedBytes),
}

/// Bytes by the name of their form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NamedBytes {
    /// UTF-8 text.
    Text(String),
    /// A JSON value, written without spaces.
    Json(Value),
    /// Any bytes.
    Base64(String),
}

impl Bytes {
    /// The bytes, with `replace` applied to text.
    pub fn to_bytes(&self, replace: &dyn Fn(&str) -> String) -> Result<Vec<u8>, String> {
        match self {
            Self::Plain(text) | Self::Named(NamedBytes::Text(text)) => Ok(replace(text).into_bytes()),
            Self::Named(NamedBytes::Json(value)) => Ok(value.to_string().into_bytes()),
            Self::Named(NamedBytes::Base64(text)) => crate::base64::decode(text),
        }
    }
}

/// A record in a script: its payload as text, or an object. In an expectation, what is not written is not compared, except
/// for the payload, of which one form must be there.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Record {
    /// A payload of text.
    Payload(String),
    /// A record with further parts.
    Full(Box<FullRecord>),
}

/// A record with further parts.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FullRecord {
    /// The payload as UTF-8 text.
    pub text: Option<String>,
    /// The payload as JSON; compared as a value, so that spaces and the order of members do not matter.
    pub json: Option<Value>,
    /// The payload as base64.
    pub base64: Option<String>,
    /// In an expectation: text that the payload contains.
    pub contains: Option<String>,
    /// The key.
    pub key: Option<String>,
    /// The headers; in an expectation those that must be there, among others.
    pub headers: Option<BTreeMap<String, String>>,
    /// Event time in nanoseconds since 1970.
    pub timestamp: Option<i64>,
    /// What the outside system calls the record.
    pub upstream_id: Option<String>,
    /// In a function's expectation: the name of the route.
    pub route: Option<String>,
}

impl Record {
    fn full(&self) -> FullRecord {
        match self {
            Self::Payload(text) => FullRecord { text: Some(text.clone()), ..FullRecord::default() },
            Self::Full(record) => (**record).clone(),
        }
    }

    /// The route that is expected, if one is.
    #[must_use]
    pub fn route(&self) -> Option<String> {
        self.full().route
    }

    /// How `found` differs: what was expected and what was found. Nothing if it does not.
    #[must_use]
    pub fn differs(
        &self,
        found: &RecordRef<'_>,
        route: Option<&str>,
        replace: &dyn Fn(&str) -> String,
    ) -> Option<Difference> {
        let wanted = self.full();
        let mut expected = Vec::new();
        let mut actual = Vec::new();
        let mut same = true;
        let mut compare = |equal: bool, want: String, have: String| {
            same &= equal;
            expected.push(want);
            actual.push(have);
        };
        let payload = shown(found.payload);
        if let Some(text) = wanted.text.as_deref().map(replace) {
            compare(text.as_bytes() == found.payload, shown(text.as_bytes()), payload.clone());
        }
        if let Some(json) = &wanted.json {
            let have = serde_json::from_slice::<Value>(found.payload).ok();
            compare(have.as_ref() == Some(json), json.to_string(), have.map_or(payload.clone(), |v| v.to_string()));
        }
        if let Some(text) = &wanted.base64 {
            let bytes = crate::base64::decode(text);
            compare(bytes.as_deref() == Ok(found.payload), format!("base64:{text}"), payload.clone());
        }
        if let Some(part) = wanted.contains.as_deref().map(replace) {
            let have = String::from_utf8_lossy(found.payload);
            compare(have.contains(&part), format!("a payload with {part:?} in it"), payload.clone());
        }
        if let Some(key) = wanted.key.as_deref().map(replace) {
            compare(key.as_bytes() == found.key, format!("key {key:?}"), format!("key {}", shown(found.key)));
        }
        for (name, value) in wanted.headers.unwrap_or_default() {
            let value = replace(&value);
            let have: Vec<&[u8]> = found.headers.iter().filter(|(n, _)| *n == name).map(|(_, v)| v).collect();
            let listed = if have.is_empty() {
                "none".to_owned()
            } else {
                have.iter().map(|v| shown(v)).collect::<Vec<_>>().join(", ")
            };
            compare(
                have.contains(&value.as_bytes()),
                format!("header {name} {value:?}"),
                format!("header {name} {listed}"),
            );
        }
        if let Some(timestamp) = wanted.timestamp {
            compare(
                timestamp == found.timestamp,
                format!("timestamp {timestamp}"),
                format!("timestamp {}", found.timestamp),
            );
        }
        if let Some(id) = wanted.upstream_id.as_deref().map(replace) {
            let have = shown(found.upstream_id);
            compare(id.as_bytes() == found.upstream_id, format!("upstream id {id:?}"), format!("upstream id {have}"));
        }
        if let Some(wanted) = &wanted.route {
            let have = route.unwrap_or("default");
            compare(wanted == have, format!("route {wanted}"), format!("route {have}"));
        }
        (!same).then(|| Difference { expected: expected.join(", "), found: actual.join(", ") })
    }
}

/// What was expected and what was found instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// In a script's words.
    pub expected: String,
    /// In the same words.
    pub found: String,
}

/// Bytes for a person: text in quotes, other bytes as base64; long ones shortened.
#[must_use]
pub fn shown(bytes: &[u8]) -> String {
    const LONGEST: usize = 400;
    let head = bytes.get(..LONGEST).unwrap_or(bytes);
    let more =
        if bytes.len() > LONGEST { format!(" (and {} bytes more)", bytes.len() - LONGEST) } else { String::new() };
    match std::str::from_utf8(head) {
        Ok(text) => format!("{text:?}{more}"),
        Err(_) => format!("base64:{}{more}", crate::base64::encode(head)),
    }
}

/// Puts records into a batch. Tokens count from `first_token`, attempts are 1, ids are made from the tokens.
pub fn batch(records: &[Record], first_token: Option<u64>, replace: &dyn Fn(&str) -> String) -> Result<Batch, String> {
    let failed = |error: BatchError| error.to_string();
    let mut builder = BatchBuilder::new();
    for (i, record) in records.iter().enumerate() {
        let full = record.full();
        let forms = [full.text.is_some(), full.json.is_some(), full.base64.is_some()].iter().filter(|x| **x).count();
        if forms > 1 || full.contains.is_some() || full.route.is_some() {
            return Err(format!(
                "record {i}: a record to send has one of text, json and base64, and neither contains nor route"
            ));
        }
        let payload = match (&full.text, &full.json, &full.base64) {
            (Some(text), _, _) => replace(text).into_bytes(),
            (_, Some(json), _) => json.to_string().into_bytes(),
            (_, _, Some(text)) => crate::base64::decode(text).map_err(|e| format!("record {i}: {e}"))?,
            _ => Vec::new(),
        };
        let key = replace(full.key.as_deref().unwrap_or_default());
        let headers: Headers = full
            .headers
            .unwrap_or_default()
            .into_iter()
            .map(|(name, value)| (name, replace(&value).into_bytes()))
            .collect();
        let headers = headers.encode().map_err(|e| format!("record {i}: {e}"))?;
        let token = first_token.map(|first| first + i as u64);
        let id = token.map(|t| format!("{t:032x}")).unwrap_or_default();
        let upstream = full.upstream_id.unwrap_or_default();
        builder
            .push(&RecordRef {
                payload: &payload,
                key: key.as_bytes(),
                headers: HeadersRef::new(&headers),
                timestamp: full.timestamp.unwrap_or(NO_TIMESTAMP),
                token,
                upstream_id: upstream.as_bytes(),
                record_id: id.as_bytes(),
                attempt: u32::from(token.is_some()),
            })
            .map_err(failed)?;
    }
    Ok(builder.finish())
}

/// Checks that `found` is `expected`, record by record.
#[must_use]
pub fn compare(
    expected: &[Record],
    found: &Batch,
    routes: &dyn Fn(usize) -> Option<String>,
    replace: &dyn Fn(&str) -> String,
) -> Option<Difference> {
    for (i, (want, have)) in expected.iter().zip(found.iter()).enumerate() {
        if let Some(difference) = want.differs(&have, routes(i).as_deref(), replace) {
            return Some(Difference {
                expected: format!("record {i}: {}", difference.expected),
                found: format!("record {i}: {}", difference.found),
            });
        }
    }
    if expected.len() != found.len() {
        let list = |found: &Batch| found.iter().take(10).map(|r| shown(r.payload)).collect::<Vec<_>>().join(", ");
        return Some(Difference {
            expected: format!("{} records", expected.len()),
            found: format!("{} records: {}", found.len(), list(found)),
        });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(text: &str) -> String {
        text.to_owned()
    }

    fn records(yaml: &str) -> Vec<Record> {
        serde_saphyr::from_str(yaml).unwrap()
    }

    #[test]
    fn what_a_script_writes_is_what_it_finds() {
        let written = records("[plain, {json: {b: 1, a: [x]}, key: k, headers: {h: v}, timestamp: 5}, {base64: /w==}]");
        let batch = batch(&written, Some(7), &same).unwrap();
        batch.check().unwrap();
        assert_eq!(&batch.tokens[..], [7, 8, 9]);
        assert_eq!(batch.record(2).payload, [0xff]);
        assert_eq!(compare(&written, &batch, &|_| None, &same), None);
        let loose = records("[{contains: lai}, {json: {a: [x], b: 1}}, {base64: /w==}]");
        assert_eq!(compare(&loose, &batch, &|_| None, &same), None);
    }

    #[test]
    fn a_difference_says_expected_and_found() {
        let batch = batch(&records("[one]"), None, &same).unwrap();
        let difference = compare(&records("[two]"), &batch, &|_| None, &same).unwrap();
        assert_eq!(difference.expected, "record 0: \"two\"");
        assert_eq!(difference.found, "record 0: \"one\"");
        let difference = compare(&records("[one, two]"), &batch, &|_| None, &same).unwrap();
        assert_eq!((difference.expected.as_str(), difference.found.as_str()), ("2 records", "1 records: \"one\""));
        let difference = compare(&records("[{text: one, headers: {a: b}}]"), &batch, &|_| None, &same).unwrap();
        assert_eq!(difference.found, "record 0: \"one\", header a none");
        assert!(compare(&records("[{text: one, route: b}]"), &batch, &|_| Some("b".into()), &same).is_none());
        assert!(compare(&records("[{text: one, route: b}]"), &batch, &|_| None, &same).is_some());
    }
}
