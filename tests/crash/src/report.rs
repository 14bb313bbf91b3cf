//! What a run says in the end: one line for people, one of JSON for machines.

use crate::ledger::Verdict;
use crate::options::Options;
use crate::phase::{Phase, Tally};
use serde_json::{Value, json};
use std::time::Duration;

/// What the documents say of batches: a small window, so that few duplicates are explained.
pub(crate) const BATCH: &str = "{records: 100, window: 200}";

/// Records that come again after a kill though the sink had delivered them already: those that the pipeline had in hand (the window),
/// and as many again for what passes while a cursor waits for its turn on the disk (5 ms and the time of a write).
pub(crate) const WINDOW: u64 = 2 * 200;

/// How many duplicates the kills and orders explain.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bound {
    /// Records that the upstream side gave once more because they were in flight to the source.
    pub(crate) again: u64,
    /// Times that a pipeline was cut off: kills through which its records are not only in the broker's hands, and orders.
    pub(crate) cuts: u64,
}

impl Bound {
    /// The most duplicates.
    pub(crate) fn most(self) -> u64 {
        self.again + self.cuts * WINDOW
    }
}

/// The outcome of a run.
#[derive(Debug)]
pub(crate) struct Report {
    scenario: String,
    seed: u64,
    tally: Tally,
    verdict: Verdict,
    bound: Bound,
    /// What must not be.
    pub(crate) faults: Vec<String>,
    note: String,
    time: Duration,
}

impl Report {
    /// Judges: the verdict's faults, further ones, and requested phases without a kill.
    #[allow(clippy::too_many_arguments, reason = "the parts of one report, each from elsewhere")]
    pub(crate) fn new(
        options: &Options,
        tally: &Tally,
        requested: &[&'static Phase],
        verdict: Verdict,
        bound: Bound,
        further: Vec<String>,
        note: String,
        time: Duration,
    ) -> Report {
        let mut faults = verdict.faults(bound.most());
        faults.extend(further);
        faults
            .extend(tally.missing(requested).into_iter().map(|phase| format!("no kill fell into the phase {phase:?}")));
        let scenario = format!("{:?}", options.scenario).to_lowercase();
        Report { scenario, seed: options.seed, tally: tally.clone(), verdict, bound, faults, note, time }
    }

    /// Whether accepted records are lost.
    pub(crate) fn loses(&self) -> bool {
        self.verdict.lost > 0
    }

    /// Examples of what must not be.
    pub(crate) fn examples(&self) -> &[String] {
        &self.verdict.examples
    }

    /// The closing line.
    pub(crate) fn line(&self) -> String {
        let phases: Vec<String> = self.tally.by_phase().map(|(phase, count)| format!("{phase} {count}")).collect();
        let Verdict { accepted, duplicates, lost, .. } = &self.verdict;
        let fate = match self.faults.as_slice() {
            [] => "all arrived, in order per key, unaltered".to_owned(),
            faults => format!("FAILED: {}", faults.join("; ")),
        };
        format!(
            "crash {}: {} kills ({}); {accepted} records accepted, {lost} lost, {fate}; {duplicates} duplicates of at most {} in flight \
             ({} given again upstream, {WINDOW} on their way through a pipeline at each of {} cuts); {}; {} s; seed {}",
            self.scenario,
            self.tally.total(),
            phases.join(", "),
            self.bound.most(),
            self.bound.again,
            self.bound.cuts,
            self.note,
            self.time.as_secs(),
            self.seed,
        )
    }

    /// The same for machines.
    pub(crate) fn json(&self) -> Value {
        let phases: serde_json::Map<String, Value> =
            self.tally.by_phase().map(|(phase, count)| (phase.to_owned(), count.into())).collect();
        let Verdict { accepted, arrived, duplicates, lost, misordered, foreign, altered, examples } = &self.verdict;
        json!({
            "scenario": self.scenario, "seed": self.seed, "kills": self.tally.total(), "phases": phases,
            "accepted": accepted, "arrived": arrived, "lost": lost, "misordered": misordered, "foreign": foreign,
            "altered": altered, "duplicates": duplicates, "duplicatesAtMost": self.bound.most(), "faults": self.faults,
            "examples": examples, "note": self.note, "seconds": self.time.as_secs_f64(),
        })
    }
}
