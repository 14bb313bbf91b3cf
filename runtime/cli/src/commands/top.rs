//! `ferrule top`: the state of streams and pipelines, live.

use std::time::Duration;

use clap::Args;
use ferrule_api::Platform;
use ferrule_api::request::StatusQuery;
use tokio_stream::StreamExt;

use super::noun::Scope;
use crate::context::Context;
use crate::exit::Outcome;
use crate::output::Format;
use crate::views;

/// Shows the same as `status`, and what each stream takes of the machine, again and again, redrawn in place on a terminal. Elsewhere: one report, or as many as --count says;
/// with -o json or yaml one after another.
#[derive(Debug, Args)]
pub(crate) struct Top {
    /// Names of streams and pipelines; none: all.
    targets: Vec<String>,
    #[command(flatten)]
    scope: Scope,
    /// Seconds between reports.
    #[arg(long, default_value_t = 1.0, value_name = "SECONDS", value_parser = parse_seconds)]
    interval: f64,
    /// End after so many reports.
    #[arg(long, value_name = "COUNT")]
    count: Option<u64>,
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    text.parse::<f64>()
        .ok()
        .filter(|seconds| (0.1..=3600.0).contains(seconds))
        .ok_or_else(|| "expected a number of seconds from 0.1 to 3600".to_owned())
}

/// Goes to the top left and clears everything below: less flicker than clearing first.
const REDRAW: &str = "\u{1b}[H\u{1b}[J";
/// A screen of its own, so that what the terminal showed before is there afterwards.
const ENTER: &str = "\u{1b}[?1049h\u{1b}[?25l";
const LEAVE: &str = "\u{1b}[?25h\u{1b}[?1049l";

impl Top {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let output = &context.output;
        let live = output.live && output.format == Format::Table;
        let client = context.client().await?;
        if live {
            output.raw(ENTER.as_bytes())?;
        }
        let outcome = tokio::select! {
            outcome = self.draw(context, &client, live) => outcome,
            _ = tokio::signal::ctrl_c() => Ok(()),
        };
        if live {
            output.raw(LEAVE.as_bytes())?;
        }
        outcome
    }

    async fn draw(&self, context: &Context, client: &ferrule_api::Client, live: bool) -> Outcome {
        let output = &context.output;
        let query = StatusQuery { targets: self.targets.clone(), namespace: self.scope.namespace() };
        let mut reports = client.watch_status(query, Duration::from_secs_f64(self.interval)).await?;
        // Nothing can be redrawn in a file or a pipe: one table is what whoever reads it wants.
        let once = (!live && output.format == Format::Table).then_some(1);
        let (mut shown, count) = (0, self.count.or(once));
        while let Some(report) = reports.next().await {
            let report = report?;
            if output.format != Format::Table {
                output.value(&report)?;
            } else {
                let time =
                    jiff::Timestamp::from_millisecond(report.time_ms).map(|t| t.strftime("%H:%M:%SZ").to_string());
                let head = format!(
                    "ferrule top   {}   {} streams, {} pipelines{}",
                    time.unwrap_or_default(),
                    report.streams.len(),
                    report.pipelines.len(),
                    if live { "   (Ctrl-C ends)" } else { "" }
                );
                let mut text = views::status_text(output, &report);
                if !report.streams.is_empty() {
                    text.push('\n');
                    text.push_str(&output.render(&views::usage_table(&report.streams)));
                }
                output.raw(
                    format!("{}{head}\n\n{text}{}", if live { REDRAW } else { "" }, if live { "" } else { "\n" })
                        .as_bytes(),
                )?;
            }
            shown += 1;
            if count.is_some_and(|count| shown >= count) {
                break;
            }
        }
        Ok(())
    }
}
