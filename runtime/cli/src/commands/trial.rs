//! `ferrule try`: one record through a pipeline's functions, with no other effect.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use ferrule_api::Platform;
use ferrule_api::report::{Record, TrialStep};
use ferrule_api::request::Trial;
use ferrule_model::Code;
use serde_json::{Map, Value, json};

use super::noun::Scope;
use super::tail::{record_json, record_line};
use crate::context::Context;
use crate::documents::cannot_read;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{Format, Tone};

/// Sends one record through a pipeline's functions, in instances of their own, and shows each step's output. Nothing
/// reaches a sink or a log.
#[derive(Debug, Args)]
#[command(after_help = "Example: echo '{\"celsius\": 31}' | ferrule try readings")]
pub(crate) struct Try {
    /// The pipeline.
    pipeline: String,
    /// The file with the record's payload; - for standard input.
    #[arg(long, short = 'f', default_value = "-", value_name = "PATH")]
    file: PathBuf,
    /// The record's key.
    #[arg(long)]
    key: Option<String>,
    /// A header of the record (several times: several headers).
    #[arg(long, value_name = "NAME=VALUE")]
    header: Vec<String>,
    /// Keep the line end at the end of the payload.
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    scope: Scope,
}

/// The largest record by default; a larger one would be refused by the pipeline too.
const LARGEST: u64 = 1024 * 1024;

impl Try {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let mut payload = read(&self.file)?;
        if !self.raw && payload.last() == Some(&b'\n') {
            payload.pop();
        }
        let headers = self
            .header
            .iter()
            .map(|h| h.split_once('=').map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec())))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| Failure::usage("a header is NAME=VALUE"))?;
        let record = Record { payload, key: self.key.unwrap_or_default().into_bytes(), headers, ..Record::default() };
        let client = context.client().await?;
        let steps = client.trial(Trial { pipeline: self.pipeline, namespace: self.scope.namespace(), record }).await?;
        let output = &context.output;
        if output.format != Format::Table {
            let steps: Vec<Value> = steps.iter().map(step_json).collect();
            return output.value(&steps);
        }
        if steps.is_empty() {
            output.say("the pipeline has no functions: the record would reach the sink as it is");
        }
        for step in &steps {
            output.line(output.tone(&step.name, Tone::Strong))?;
            if step.filtered {
                output.line(output.tone("  filtered: nothing comes out", Tone::Warn))?;
            }
            if let Some(reason) = &step.rejected {
                output.line(output.tone(&format!("  rejected: {reason}"), Tone::Bad))?;
            }
            if let Some(error) = &step.error {
                output.line(output.tone(&format!("  failed: {error}"), Tone::Bad))?;
            }
            for (record, route) in &step.outputs {
                let route = if route.is_empty() { String::new() } else { format!("[{route}] ") };
                output.line(format!("  {route}{}", record_line(output, record)))?;
            }
        }
        if steps.iter().any(|s| s.error.is_some()) { Err(Failure::silent(Exit::Failed)) } else { Ok(()) }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().lock().take(LARGEST + 1).read_to_end(&mut bytes)?;
    } else {
        let read = std::fs::File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes));
        read.map_err(|error| cannot_read(path, &error))?;
    }
    if bytes.len() as u64 > LARGEST {
        return Err(Failure::new(Exit::Invalid, "the record is larger than 1 MiB, the largest that pipelines take")
            .with_code(Code::RecordTooLarge));
    }
    Ok(bytes)
}

fn step_json(step: &TrialStep) -> Value {
    let outputs: Vec<Value> = step
        .outputs
        .iter()
        .map(|(record, route)| {
            let mut value = record_json(record);
            if !route.is_empty() {
                value.insert("route".to_owned(), json!(route));
            }
            Value::Object(value)
        })
        .collect();
    let mut value = Map::new();
    value.insert("step".to_owned(), json!(step.name));
    value.insert("outputs".to_owned(), json!(outputs));
    value.insert("filtered".to_owned(), json!(step.filtered));
    if let Some(reason) = &step.rejected {
        value.insert("rejected".to_owned(), json!(reason));
    }
    if let Some(error) = &step.error {
        value.insert("error".to_owned(), json!(error));
    }
    Value::Object(value)
}
