//! `ferrule audit`: what guests reached for, and what was decided.

use clap::Args;
use ferrule_api::Platform;
use ferrule_api::report::{AuditReport, AuditTarget};
use ferrule_api::request::AuditQuery;

use crate::context::Context;
use crate::exit::Outcome;
use crate::output::{Format, Output, Tone, one_line};

/// Shows what guests reached for since the server started: each target once, with how often, and what would allow it.
#[derive(Debug, Args)]
#[command(after_help = "Example: ferrule audit --denied --stream readings")]
pub(crate) struct Audit {
    /// Only what was denied.
    #[arg(long)]
    denied: bool,
    /// Only this stream, or this PIPELINE/STEP.
    #[arg(long, value_name = "NAME")]
    stream: Option<String>,
}

impl Audit {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let report = context.client().await?.audit(AuditQuery { stream: self.stream, denied: self.denied }).await?;
        match context.output.format {
            Format::Table => show(&context.output, &report),
            Format::Json | Format::Yaml => context.output.value(&report),
        }
    }
}

fn show(output: &Output, report: &AuditReport) -> Outcome {
    for target in &report.targets {
        let tone = if target.allowed { Tone::Plain } else { Tone::Bad };
        output.line(output.tone(&line(target), tone))?;
        if !target.words.is_empty() {
            output.line(format!("    to allow it: {}", one_line(&target.words)))?;
        }
    }
    if report.targets.is_empty() {
        output.say("nothing yet");
    }
    output.say(format!("{} denied since the server started", report.denied));
    Ok(())
}

/// One line for a person.
fn line(target: &AuditTarget) -> String {
    let time = jiff::Timestamp::from_millisecond(target.last_ms)
        .map(|time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
        .unwrap_or_default();
    let AuditTarget { stream, class, kind, host, interface, rule, count, .. } = target;
    let word = if target.allowed { "allowed" } else { "denied" };
    let bracketed = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    let port = if target.port == 0 { String::new() } else { format!(":{}", target.port) };
    let address = match target.address.as_str() {
        "" => String::new(),
        address if address == host => String::new(),
        address => format!(" ({address})"),
    };
    one_line(&format!(
        "{time} {word:7} {count:>5}x {stream} ({class}) {kind} {bracketed}{port}{address} at {interface}: {rule}"
    ))
}
