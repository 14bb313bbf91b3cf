//! `ferrule logs`: what guests write to their logs.

use clap::Args;
use ferrule_api::Platform;
use ferrule_api::report::LogLine;
use ferrule_api::request::LogQuery;
use tokio_stream::StreamExt;

use super::noun::Scope;
use crate::context::Context;
use crate::exit::Outcome;
use crate::output::{Format, Output, Tone, one_line};

/// Shows the last log lines of a stream, a pipeline or PIPELINE/STEP.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// A stream, a pipeline or PIPELINE/STEP; none: all.
    target: Option<String>,
    /// Go on with new lines until Ctrl-C.
    #[arg(long)]
    follow: bool,
    /// How many of the last lines come first.
    #[arg(long, value_name = "COUNT")]
    tail: Option<u32>,
    #[command(flatten)]
    scope: Scope,
}

impl Logs {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let client = context.client().await?;
        let query =
            LogQuery { target: self.target, namespace: self.scope.namespace(), follow: self.follow, tail: self.tail };
        let mut lines = client.logs(query).await?;
        loop {
            let line = tokio::select! {
                line = lines.next() => line,
                _ = tokio::signal::ctrl_c() => return Ok(()),
            };
            match line {
                Some(line) => show(&context.output, &line?)?,
                None => return Ok(()),
            }
        }
    }
}

/// Shows one line: as text, as a JSON object of one line, or as a YAML document.
pub(crate) fn show(output: &Output, line: &LogLine) -> Outcome {
    match output.format {
        Format::Json => output.line(serde_json::to_string(line).unwrap_or_default()),
        Format::Yaml => output.raw(format!("---\n{}", crate::output::to_yaml(line)?).as_bytes()),
        Format::Table => {
            let tone = match line.level.as_str() {
                "error" => Tone::Bad,
                "warn" => Tone::Warn,
                "debug" | "trace" => Tone::Faint,
                _ => Tone::Plain,
            };
            output.line(output.tone(&text(line), tone))
        }
    }
}

/// One line for a person.
pub(crate) fn text(line: &LogLine) -> String {
    let time = jiff::Timestamp::from_millisecond(line.time_ms)
        .map(|t| t.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
        .unwrap_or_default();
    let fields: String = line.fields.iter().map(|(name, value)| format!(" {name}={value}")).collect();
    one_line(&format!("{time} {:5} {}: {}{fields}", line.level.to_uppercase(), line.source, line.message))
}
