//! `ferrule pipeline`: what only pipelines can be told.

use clap::{Args, Subcommand};
use ferrule_api::Platform;
use ferrule_api::request::{Rewind as Request, RewindTo};

use super::deadletter::parse_time;
use super::noun::Scope;
use crate::context::Context;
use crate::exit::Outcome;
use crate::output::Format;

/// Does what only pipelines can be told to do.
#[derive(Debug, Args)]
pub(crate) struct Pipeline {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Read the records of the log again from somewhere else; what was delivered is delivered again.
    Rewind(Rewind),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ferrule pipeline rewind readings --to beginning\n  \
                        ferrule pipeline rewind readings --to -1h")]
struct Rewind {
    /// The pipeline.
    name: String,
    /// beginning, a time such as 2026-01-31T12:00:00Z, how long ago such as -1h, or an offset such as offset:1000.
    #[arg(long, value_name = "WHERE", allow_hyphen_values = true, value_parser = parse_to)]
    to: RewindTo,
    #[command(flatten)]
    scope: Scope,
}

fn parse_to(text: &str) -> Result<RewindTo, String> {
    if text == "beginning" {
        return Ok(RewindTo::Beginning);
    }
    let digits = text.strip_prefix("offset:").unwrap_or(text);
    if let Ok(offset) = digits.parse() {
        return Ok(RewindTo::Offset(offset));
    }
    if digits != text {
        return Err("expected a number after `offset:`".to_owned());
    }
    parse_time(text).map(RewindTo::Time).map_err(|_| {
        "expected beginning, a time such as 2026-01-31T12:00:00Z, how long ago such as -1h, or offset:NUMBER".to_owned()
    })
}

impl Pipeline {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let Verb::Rewind(rewind) = self.verb;
        let client = context.client().await?;
        let request = Request { pipeline: rewind.name.clone(), namespace: rewind.scope.namespace(), to: rewind.to };
        let streams = client.rewind(request).await?;
        let output = &context.output;
        if output.format != Format::Table {
            return output.value(&streams);
        }
        for stream in &streams {
            output.line(format!(
                "pipeline {} reads stream {} again from offset {}",
                rewind.name, stream.stream, stream.offset
            ))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read() {
        assert_eq!(parse_to("beginning"), Ok(RewindTo::Beginning));
        assert_eq!(parse_to("12"), Ok(RewindTo::Offset(12)));
        assert_eq!(parse_to("offset:12"), Ok(RewindTo::Offset(12)));
        assert_eq!(parse_to("1970-01-01T00:00:01Z"), Ok(RewindTo::Time(1_000)));
        assert!(matches!(parse_to("-1h"), Ok(RewindTo::Time(_))));
        assert!(parse_to("offset:x").unwrap_err().contains("number"));
        assert!(parse_to("end").unwrap_err().contains("beginning"));
    }
}
