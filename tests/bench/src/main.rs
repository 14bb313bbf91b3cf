//! Benchmarks that count at the far end and print ratios: `cargo xtask bench SUITE`.

mod clock;
mod hop;
mod json;
mod latency;
mod log;
mod measure;
mod mqtt;
mod native;
mod neighbours;
mod peer;
mod pipeline;
mod report;
mod run;
mod server;
mod start;
mod step;

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use std::path::PathBuf;

use measure::{Arm, Compared, alternate};
use report::{Machine, Report};

/// The suites whose reports the page has a place for.
pub(crate) const SUITES: [&str; 8] = ["hop", "pipeline", "json", "mqtt", "log", "start", "latency", "neighbours"];

/// Measures what the platform costs a record.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench")]
pub(crate) struct Options {
    /// `hop`, `pipeline`, `json`, `mqtt`, `log`, `start`, `latency` or `neighbours`; `gate` is the check that `.ci/run` makes.
    suite: String,
    /// Measure beside peers: needs Go, and builds them.
    #[arg(long)]
    peers: bool,
    /// How often each arm has its turn.
    #[arg(long, default_value_t = 5)]
    turns: usize,
    /// Only shapes whose title holds this.
    #[arg(long, default_value = "")]
    only: String,
    /// Only arms whose name holds this: to profile one.
    #[arg(long, default_value = "")]
    arm: String,
    /// Writes the figures to this file as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes the tables to docs/benchmarks.md.
    #[arg(long)]
    write: bool,
}

impl Options {
    fn wants(&self, title: &str) -> bool {
        title.contains(&self.only)
    }

    /// Lets those arms take turns that are wanted.
    async fn compare(&self, title: &str, mut arms: Vec<Box<dyn Arm>>) -> Result<Compared> {
        arms.retain(|arm| arm.name().contains(&self.arm));
        let compared = alternate(&mut arms, self.turns).await?;
        self.say(title, &compared);
        Ok(compared)
    }

    /// Tells how it goes, so that a long run is not silent.
    fn say(&self, title: &str, compared: &Compared) {
        let arms: Vec<String> = compared
            .0
            .iter()
            .map(|figures| format!("{} {}", figures.arm, report::nanoseconds(figures.cpu.median)))
            .collect();
        eprintln!("{}: {title}: {}", self.suite, arms.join(", "));
    }
}

fn main() -> Result<()> {
    let options = Options::parse();
    if options.suite == "gate" {
        return tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(step::gate());
    }
    // The native bridge of the suite `mqtt` is this program too, so that its processor time stands alone.
    if options.suite == "bridge" {
        return tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(mqtt::bridge());
    }
    let runtime = if options.suite == "hop" {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?
    } else {
        tokio::runtime::Runtime::new()?
    };
    let report = runtime.block_on(measured(&options))?;
    publish(&options, &report)
}

async fn measured(options: &Options) -> Result<Report> {
    match options.suite.as_str() {
        "hop" => hop::run(options).await,
        "pipeline" => pipeline::run(options).await,
        "json" => json::run(options).await,
        "mqtt" => mqtt::run(options).await,
        "log" => log::run(options).await,
        "start" => start::run(options).await,
        "latency" => latency::run(options).await,
        "neighbours" => neighbours::run(options).await,
        other => bail!("there is no suite {other:?}; there are: gate, {}", SUITES.join(", ")),
    }
}

fn publish(options: &Options, report: &Report) -> Result<()> {
    let machine = Machine::here();
    // Where the figures go does not change them.
    let (mut words, mut given) = (Vec::new(), std::env::args().skip(1));
    while let Some(word) = given.next() {
        match word.as_str() {
            "--write" => {}
            "--json" => drop(given.next()),
            _ => words.push(word),
        }
    }
    let command = format!("cargo xtask bench {}", words.join(" "));
    let section = report.markdown(&machine, &command);
    println!("{section}");
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&report.json(&machine, &command))?;
        std::fs::write(path, text).with_context(|| format!("could not write {}", path.display()))?;
    }
    if options.write { report.write(&section) } else { Ok(()) }
}
