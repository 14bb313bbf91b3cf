//! What a run is told on the command line.

use crate::phase::{Phase, Reach, Tally, named};
use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// Kills the runtime at random moments, starts it again, and counts at the far end what became of every record.
#[derive(Clone, Debug, Parser)]
#[command(name = "cargo xtask crash", bin_name = "cargo xtask crash", args_override_self = true)]
pub(crate) struct Options {
    /// How many kills; at most as many again while a phase has none.
    #[arg(long, default_value_t = 50)]
    pub(crate) kills: u64,
    /// Decides the records, the order of the phases and the moment of each kill.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// What runs.
    #[arg(long, default_value = "mqtt")]
    pub(crate) scenario: Scenario,
    /// Phases to kill in, with commas, instead of the scenario's own; each must have at least one kill.
    #[arg(long, value_delimiter = ',')]
    phases: Vec<String>,
    /// Records a second.
    #[arg(long, default_value_t = 2000)]
    pub(crate) rate: u64,
    /// Different keys.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..))]
    keys_wanted: u8,
    /// Seconds after which the run fails, whatever it waits for [default: 120 and 20 for each kill].
    #[arg(long)]
    limit: Option<u64>,
    /// Also one line of JSON on standard output.
    #[arg(long)]
    pub(crate) json: bool,
    /// The runtime has a deliberate fault that loses records: the run succeeds only if the oracle sees it.
    #[arg(long)]
    pub(crate) expect_loss: bool,
    /// The binary under test [default: `ferrule` beside this program].
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// A further word for `ferrule serve`; may be given several times.
    #[arg(long = "serve", value_name = "WORD", allow_hyphen_values = true)]
    pub(crate) serve: Vec<String>,
    /// The binary, as a path that exists.
    #[arg(skip)]
    pub(crate) ferrule: PathBuf,
    /// As many keys.
    #[arg(skip)]
    pub(crate) keys: usize,
}

/// What runs between the oracle's two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// MQTT to MQTT at QoS 1, by a real broker.
    Mqtt,
    /// A generator to lines of a file; needs a log that lasts.
    File,
    /// The same to a server that takes each record once, by its id: the counts are exact.
    Once,
    /// The same as mqtt, while components are replaced.
    Swap,
    /// The same as mqtt with the log at a real nats-server, which is killed too.
    Jetstream,
}

impl Options {
    /// Reads the words, and finds the binary.
    pub(crate) fn read() -> Result<Options> {
        let mut options = Options::parse();
        let beside = || Ok::<_, std::io::Error>(std::env::current_exe()?.with_file_name("ferrule"));
        let binary = options.binary.clone().map_or_else(beside, Ok)?;
        options.ferrule = binary
            .canonicalize()
            .with_context(|| format!("there is no {}; `cargo xtask crash` builds it", binary.display()))?;
        options.keys = usize::from(options.keys_wanted);
        Ok(options)
    }

    /// The phases to kill in.
    pub(crate) fn phases(&self, usual: &[&str]) -> Result<Vec<&'static Phase>> {
        match self.phases.as_slice() {
            [] => usual.iter().map(|name| named(name)).collect(),
            wanted => wanted.iter().map(|name| named(name)).collect(),
        }
    }

    /// The words in the server's log that these phases wait for.
    pub(crate) fn marks(&self, phases: &[&'static Phase]) -> Vec<&'static str> {
        let words = phases.iter().filter_map(|phase| match phase.reach {
            Reach::Logged(words) => Some(words),
            _ => None,
        });
        words.collect()
    }

    /// When the run is given up.
    pub(crate) fn limit(&self) -> Duration {
        Duration::from_secs(self.limit.unwrap_or(120 + 20 * self.kills))
    }

    /// Where the shipped guests are: beside the folder of the binary, as `ferrule serve` finds them.
    pub(crate) fn guests(&self) -> PathBuf {
        self.ferrule.parent().and_then(|folder| folder.parent()).unwrap_or(&self.ferrule).join("guests")
    }

    /// A sign of life now and then.
    pub(crate) fn progress(&self, tally: &Tally, time: Duration) {
        if tally.total().is_multiple_of(10) {
            let phases: Vec<String> = tally.by_phase().map(|(phase, count)| format!("{phase} {count}")).collect();
            eprintln!("{} of {} kills after {} s: {}", tally.total(), self.kills, time.as_secs(), phases.join(", "));
        }
    }
}
