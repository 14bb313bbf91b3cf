//! `cargo xtask crash`: the oracle that kills the runtime at random moments and proves from outside that no record was lost.
//!
//! It links no crate of ours: what it knows of the runtime is its command line, its exit and its log. It starts the broker and
//! the runtime, and both end with it, also when it is interrupted or fails.

mod bridge;
mod broker;
mod dead_letters;
mod far;
mod file;
mod killer;
mod ledger;
mod nats;
mod options;
mod phase;
mod random;
mod record;
mod report;
mod runtime;
mod traffic;
mod variant;

use anyhow::{Context as _, Result, bail};
use options::{Options, Scenario};
use report::Report;
use std::path::Path;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> ExitCode {
    judged().await.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

/// Runs, reports, and says how the process ends.
async fn judged() -> Result<ExitCode> {
    let options = Options::read()?;
    if !matches!(options.scenario, Scenario::File | Scenario::Once) && broker::Broker::program().is_none() {
        println!("skipped: crash runs need the Mosquitto broker (Debian: apt-get install mosquitto)");
        return Ok(ExitCode::SUCCESS);
    }
    if options.scenario == Scenario::Jetstream && nats::Nats::program().is_none() {
        println!("skipped: this scenario needs nats-server, which `cargo xtask setup` builds where there is Go");
        return Ok(ExitCode::SUCCESS);
    }
    let folder = tempfile::Builder::new().prefix("ferrule-crash-").tempdir()?;
    let mut terminate = signal(SignalKind::terminate())?;
    let outcome = tokio::select! {
        outcome = tokio::time::timeout(options.limit(), run(&options, folder.path())) => outcome,
        // What was started is killed when the run is dropped.
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        _ = terminate.recv() => bail!("interrupted"),
    };
    let report = match outcome.with_context(|| format!("the run did not end within {:?}", options.limit())) {
        Ok(Ok(report)) => report,
        Ok(Err(error)) | Err(error) => {
            return Err(error.context(format!(
                "seed {}; what was written is in {}",
                options.seed,
                folder.keep().display()
            )));
        }
    };
    if options.json {
        println!("{}", report.json());
    }
    println!("{}", report.line());
    let well = if options.expect_loss { report.loses() } else { report.faults.is_empty() };
    if options.expect_loss {
        println!("the deliberate fault was {}", if well { "caught" } else { "NOT caught: this check cannot fail" });
    }
    if well {
        return Ok(ExitCode::SUCCESS);
    }
    for example in report.examples() {
        eprintln!("  {example}");
    }
    eprintln!("what was written is in {}", folder.keep().display());
    Ok(ExitCode::FAILURE)
}

async fn run(options: &Options, folder: &Path) -> Result<Report> {
    match options.scenario {
        Scenario::Mqtt | Scenario::Swap | Scenario::Jetstream => bridge::run(options, folder).await,
        Scenario::File => file::run(options, folder, false).await,
        Scenario::Once => file::run(options, folder, true).await,
    }
}
