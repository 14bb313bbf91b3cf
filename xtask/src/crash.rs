//! The crash runs: builds the runtime and the oracle, and lets the oracle kill the runtime.

use crate::{guests, process, tools};
use anyhow::{Context as _, Result};
use std::fs;

/// The feature that makes the runtime lose records on purpose.
const FAULT: &str = "ferrule-cli/fault-settle-early";

/// What the oracle is told for a runtime with the fault, unless the words given say otherwise: kills where most is at stake. In
/// memory, since on disk a record that is settled too early is in danger only until it is appended, a moment later.
const WITH_FAULT: [&str; 7] = ["--expect-loss", "--kills", "15", "--phases", "busy", "--serve", "--transport=memory"];

/// Runs the oracle with these words; with `--fault` among them, on a runtime that loses records, which must be caught.
pub(crate) fn run(words: &[String]) -> Result<()> {
    tools::wasm_targets()?;
    tools::mosquitto();
    if words.iter().any(|word| word.contains("jetstream")) {
        tools::nats_server();
    }
    guests::build()?;
    let (fault, words): (Vec<String>, Vec<String>) = words.iter().cloned().partition(|word| word == "--fault");
    let oracle = || process::built("ferrule-crash");
    if fault.is_empty() {
        process::build(&[])?;
        return process::run(oracle(), &words);
    }
    // The faulty program is kept elsewhere, and the right one is put back at once.
    process::build(&["--features", FAULT])?;
    let faulty = process::target().join("faulty").join("ferrule");
    fs::create_dir_all(faulty.parent().unwrap_or(&faulty))?;
    fs::copy(process::built("ferrule"), &faulty).with_context(|| format!("could not write {}", faulty.display()))?;
    process::build(&[])?;
    let mut all = vec!["--binary".to_owned(), faulty.display().to_string()];
    all.extend(WITH_FAULT.map(str::to_owned));
    all.extend(words);
    process::run(oracle(), &all)
}
