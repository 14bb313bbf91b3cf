//! `ferrule tail`: records as they pass.

use clap::Args;
use ferrule_api::Platform;
use ferrule_api::report::{Record, Tailed};
use ferrule_api::request::Tail as TailQuery;
use serde_json::{Map, Value, json};
use tokio_stream::StreamExt;

use super::noun::Scope;
use crate::context::Context;
use crate::exit::Outcome;
use crate::output::{Format, Output, Tone, one_line};

/// Shows records as they pass. A slow reader misses records, and is told so; nothing is held back for it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ferrule tail readings\n  ferrule tail readings/too-hot --count 10 -o json")]
pub(crate) struct Tail {
    /// A stream, a pipeline (what reaches its sink) or PIPELINE/STEP (what that step gives).
    target: String,
    /// End after so many records.
    #[arg(long, value_name = "COUNT")]
    count: Option<u64>,
    #[command(flatten)]
    scope: Scope,
}

impl Tail {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let output = &context.output;
        let client = context.client().await?;
        let query = TailQuery { target: self.target, namespace: self.scope.namespace(), limit: self.count };
        let mut records = client.tail(query).await?;
        loop {
            let tailed = tokio::select! {
                tailed = records.next() => tailed,
                _ = tokio::signal::ctrl_c() => return Ok(()),
            };
            let Some(tailed) = tailed else { return Ok(()) };
            let tailed = tailed?;
            if tailed.missed > 0 {
                output.warn(format!("{} records passed too quickly to be shown", tailed.missed));
            }
            show(output, &tailed)?;
        }
    }
}

/// Shows one record.
pub(crate) fn show(output: &Output, tailed: &Tailed) -> Outcome {
    let mut value = record_json(&tailed.record);
    value.insert("seenAt".to_owned(), json!(tailed.seen_at));
    if !tailed.address.is_empty() {
        value.insert("address".to_owned(), json!(tailed.address));
    }
    match output.format {
        Format::Json => output.line(Value::Object(value).to_string()),
        Format::Yaml => output.raw(format!("---\n{}", crate::output::to_yaml(&value)?).as_bytes()),
        Format::Table => output.line(record_line(output, &tailed.record)),
    }
}

/// A record in one line: its headers and key faintly, then its payload.
pub(crate) fn record_line(output: &Output, record: &Record) -> String {
    let mut head = String::new();
    for (name, value) in &record.headers {
        head.push_str(&format!("{name}={} ", text_of(value)));
    }
    if !record.key.is_empty() {
        head.push_str(&format!("key={} ", text_of(&record.key)));
    }
    format!("{}{}", output.tone(&one_line(&head), Tone::Faint), one_line(&text_of(&record.payload)))
}

/// Bytes as text where they are text, as base64 with a mark otherwise.
fn text_of(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => format!("base64:{}", ferrule_testkit::base64::encode(bytes)),
    }
}

/// A record as JSON: the payload as JSON where it is JSON, as text where it is text, and as base64 otherwise.
pub(crate) fn record_json(record: &Record) -> Map<String, Value> {
    let mut value = Map::new();
    let mut bytes = |name: &str, bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) => value.insert(name.to_owned(), json!(text)),
        Err(_) => value.insert(format!("{name}Base64"), json!(ferrule_testkit::base64::encode(bytes))),
    };
    if !record.id.is_empty() {
        bytes("id", record.id.as_bytes());
    }
    if !record.key.is_empty() {
        bytes("key", &record.key);
    }
    match serde_json::from_slice::<Value>(&record.payload) {
        Ok(json) => {
            value.insert("json".to_owned(), json);
        }
        Err(_) => {
            bytes("payload", &record.payload);
        }
    }
    if !record.headers.is_empty() {
        let headers: Vec<Value> =
            record.headers.iter().map(|(name, v)| json!({"name": name, "value": text_of(v)})).collect();
        value.insert("headers".to_owned(), json!(headers));
    }
    if let Some(ns) = record.timestamp_ns {
        let time = jiff::Timestamp::from_nanosecond(i128::from(ns)).map(|t| t.to_string());
        value.insert("timestamp".to_owned(), json!(time.unwrap_or_else(|_| ns.to_string())));
    }
    value
}
