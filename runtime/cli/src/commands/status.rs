//! `ferrule status`: the state of streams and pipelines, once.

use clap::Args;
use ferrule_api::Platform;
use ferrule_api::request::StatusQuery;

use super::noun::Scope;
use crate::context::Context;
use crate::exit::Outcome;
use crate::output::Format;
use crate::views;

/// Shows health, throughput, lag, restarts and the last error of every stream and pipeline.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Names of streams and pipelines (stream/NAME or pipeline/NAME where both exist); none: all.
    targets: Vec<String>,
    #[command(flatten)]
    scope: Scope,
}

impl Status {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let client = context.client().await?;
        let report = client.status(StatusQuery { targets: self.targets, namespace: self.scope.namespace() }).await?;
        let output = &context.output;
        if output.format != Format::Table {
            return output.value(&report);
        }
        for alert in &report.alerts {
            output.warn(&alert.message);
        }
        if report.streams.is_empty() && report.pipelines.is_empty() {
            output.say("no streams and no pipelines yet; `ferrule apply -f FILE` makes some");
            return Ok(());
        }
        output.raw(views::status_text(output, &report).as_bytes())
    }
}
